//! Edits of a TCP header: numbers and control bits, selective acknowledgements and timestamps, options blanked out.

use super::{carry_on, check, replace};
use crate::{
    RewriteError,
    checksum::{Change, ChecksumField},
    headers::{Headers, Transport},
    tcp::{self, SackBlock, SeqNumber, Tcp, TcpFlags, TcpOption, Timestamps},
};

/// The option of one byte that means nothing.
const NO_OPERATION: u8 = 1;

/// New values for fields of a TCP header; what is `None` stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpEdit {
    /// The sequence number.
    pub seq: Option<SeqNumber>,
    /// The acknowledgement number.
    pub ack: Option<SeqNumber>,
    /// The control bits.
    pub flags: Option<TcpFlags>,
    /// The receive window, not scaled.
    pub window: Option<u16>,
    /// The urgent pointer.
    pub urgent: Option<u16>,
}

/// Edits the fixed header of a segment.
///
/// # Errors
/// The frame is not the headers' own, or not TCP.
pub fn tcp(frame: &mut [u8], headers: &mut Headers, edit: &TcpEdit) -> Result<(), RewriteError> {
    let start = headers.transport_offset;
    check(frame, headers)?;
    let tcp = tcp_mut(headers)?;
    let mut change = Change::NONE;
    if let Some(seq) = edit.seq {
        change = change.and(replace(frame, start, 4, &seq.value().to_be_bytes())?);
        tcp.seq = seq;
    }
    if let Some(ack) = edit.ack {
        change = change.and(replace(frame, start, 8, &ack.value().to_be_bytes())?);
        tcp.ack = ack;
    }
    if let Some(flags) = edit.flags {
        change = change.and(replace(frame, start, 13, &[flags.bits()])?);
        tcp.flags = flags;
    }
    if let Some(window) = edit.window {
        change = change.and(replace(frame, start, 14, &window.to_be_bytes())?);
        tcp.window = window;
    }
    if let Some(urgent) = edit.urgent {
        change = change.and(replace(frame, start, 18, &urgent.to_be_bytes())?);
        tcp.urgent = urgent;
    }
    carry_on(frame, headers, ChecksumField::Tcp, change)
}

/// Writes other options over those of the segment; both have the same length, so that no byte moves.
///
/// # Errors
/// The frame is not the headers' own, not TCP, or has options of another length.
pub fn options(
    frame: &mut [u8],
    headers: &mut Headers,
    options: &[u8],
) -> Result<(), RewriteError> {
    check(frame, headers)?;
    tcp_mut(headers)?;
    if headers.tcp_options_len() != options.len() {
        return Err(RewriteError::NoSuchField);
    }
    let change = replace(frame, headers.transport_offset, tcp::MIN_HEADER_LEN, options)?;
    carry_on(frame, headers, ChecksumField::Tcp, change)
}

/// Passes every selective acknowledgement through `translate`.
///
/// # Errors
/// The frame is not the headers' own, not TCP, or has a malformed option; options before that one are already edited.
pub fn sack_blocks(
    frame: &mut [u8],
    headers: &mut Headers,
    mut translate: impl FnMut(SackBlock) -> SackBlock,
) -> Result<(), RewriteError> {
    edit_options(frame, headers, |option, bytes| {
        let TcpOption::Sack(sack) = option else { return };
        let edges = bytes.get_mut(2..).unwrap_or_default().as_chunks_mut::<8>().0;
        for (edge, block) in edges.iter_mut().zip(sack.as_slice()) {
            let block = translate(*block);
            let ([l0, l1, l2, l3], [r0, r1, r2, r3]) =
                (block.left.value().to_be_bytes(), block.right.value().to_be_bytes());
            *edge = [l0, l1, l2, l3, r0, r1, r2, r3];
        }
    })
}

/// Passes the timestamps through `translate`.
///
/// # Errors
/// As for [`sack_blocks`].
pub fn timestamps(
    frame: &mut [u8],
    headers: &mut Headers,
    mut translate: impl FnMut(Timestamps) -> Timestamps,
) -> Result<(), RewriteError> {
    edit_options(frame, headers, |option, bytes| {
        let TcpOption::Timestamps(old) = option else { return };
        let new = translate(*old).to_option();
        // The option without the two bytes of padding in front.
        if let Some(new) = new.get(2..).filter(|new| new.len() == bytes.len()) {
            bytes.copy_from_slice(new);
        }
    })
}

/// Turns every option that `is_unwanted` picks into padding, such as multipath and fast open in a SYN.
///
/// # Errors
/// As for [`sack_blocks`].
pub fn blank_options(
    frame: &mut [u8],
    headers: &mut Headers,
    mut is_unwanted: impl FnMut(&TcpOption) -> bool,
) -> Result<(), RewriteError> {
    edit_options(frame, headers, |option, bytes| {
        if is_unwanted(option) {
            bytes.fill(NO_OPERATION);
        }
    })
}

/// Lets `edit` change the bytes of each option in place, and the checksum with them.
fn edit_options(
    frame: &mut [u8],
    headers: &mut Headers,
    mut edit: impl FnMut(&TcpOption, &mut [u8]),
) -> Result<(), RewriteError> {
    check(frame, headers)?;
    tcp_mut(headers)?;
    let start = headers.transport_offset;
    let mut offset = tcp::MIN_HEADER_LEN;
    let mut change = Change::NONE;
    let mut outcome = Ok(());
    loop {
        let place = start.saturating_add(offset);
        let rest = frame.get(place..headers.payload_offset).unwrap_or_default();
        let (skipped, length, option) = match tcp::next_option(rest) {
            None => break,
            Some(Ok(found)) => found,
            Some(Err(_malformed)) => {
                outcome = Err(RewriteError::MalformedOption);
                break;
            }
        };
        let mut bytes = [0; 40];
        let Some(new) = bytes.get_mut(..length) else { break };
        let begin = place.saturating_add(skipped);
        new.copy_from_slice(
            frame.get(begin..begin.saturating_add(length)).ok_or(RewriteError::FrameTooShort)?,
        );
        edit(&option, new);
        change = change.and(replace(frame, start, offset.saturating_add(skipped), new)?);
        offset = offset.saturating_add(skipped).saturating_add(length);
    }
    carry_on(frame, headers, ChecksumField::Tcp, change)?;
    outcome
}

const fn tcp_mut(headers: &mut Headers) -> Result<&mut Tcp, RewriteError> {
    match &mut headers.transport {
        Transport::Tcp(tcp) => Ok(tcp),
        _ => Err(RewriteError::NoSuchField),
    }
}
