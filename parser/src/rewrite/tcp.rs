//! Edits of a TCP header: numbers and control bits, selective acknowledgements and timestamps,
//! options blanked out.

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

/// Writes other options over those of the segment; both have the same length, so that no byte
/// moves.
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
/// The frame is not the headers' own, not TCP, or has a malformed option; options before that one
/// are already edited.
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

/// Lowers the maximum segment size that a SYN announces to `limit`, if it is larger. A SYN without the option stays without
/// it, and so at the default of RFC 9293 §3.7.1.
///
/// # Errors
/// As for [`sack_blocks`].
pub fn limit_mss(frame: &mut [u8], headers: &mut Headers, limit: u16) -> Result<(), RewriteError> {
    edit_options(frame, headers, |option, bytes| {
        if let (TcpOption::Mss(announced), [_, _, size @ ..]) = (option, bytes)
            && *announced > limit
        {
            size.copy_from_slice(&limit.to_be_bytes());
        }
    })
}

/// Turns every option that `is_unwanted` picks into padding, such as multipath and fast open in a
/// SYN.
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::tests::assert_consistent, *};
    use crate::testing::{built, flags, parsed, segment, tcp_frames, udp_frame};

    fn with_options(options: &[u8]) -> (Vec<u8>, Headers) {
        let mut segment = segment(false, TcpFlags::SYN, b"payload");
        segment.options = options;
        let frame = built(|out| segment.emit(out));
        let headers = parsed(&frame);
        (frame, headers)
    }

    #[test]
    fn every_block_is_translated_wherever_it_starts() {
        for padding in [&[1, 1][..], &[1], &[]] {
            let options =
                [padding, &[5, 18, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 5, 0xff, 0xff, 0xff, 0xff]]
                    .concat();
            let (mut frame, mut headers) = with_options(&options);
            sack_blocks(&mut frame, &mut headers, |block| SackBlock {
                left: block.left.plus(100),
                right: block.right.plus(100),
            })
            .unwrap();
            assert_consistent(&frame, &headers);
            let Some(Ok(TcpOption::Sack(sack))) = headers.tcp_options(&frame).next() else {
                panic!("no SACK")
            };
            let edges =
                sack.as_slice().iter().map(|block| (block.left.value(), block.right.value()));
            assert_eq!(edges.collect::<Vec<_>>(), [(101, 102), (105, 99)]);
        }
    }

    #[test]
    fn timestamps_are_translated_behind_an_odd_padding() {
        let (mut frame, mut headers) = with_options(&[1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]);
        timestamps(&mut frame, &mut headers, |old| Timestamps {
            value: old.value + 0x0102_0304,
            echo: 77,
        })
        .unwrap();
        assert_consistent(&frame, &headers);
        let stamps = Timestamps { value: 0x0102_0305, echo: 77 };
        assert_eq!(
            headers.tcp_options(&frame).collect::<Vec<_>>(),
            [Ok(TcpOption::Timestamps(stamps))]
        );
    }

    #[test]
    fn unwanted_options_leave_no_trace() {
        let (mut frame, mut headers) =
            with_options(&[2, 4, 5, 180, 34, 10, 1, 2, 3, 4, 5, 6, 7, 8, 30, 4, 0, 0, 3, 3, 7]);
        let is_unwanted =
            |option: &TcpOption| matches!(option, TcpOption::FastOpen | TcpOption::Mptcp);
        blank_options(&mut frame, &mut headers, is_unwanted).unwrap();
        assert_consistent(&frame, &headers);
        let left = headers.tcp_options(&frame).collect::<Vec<_>>();
        assert_eq!(left, [Ok(TcpOption::Mss(1460)), Ok(TcpOption::WindowScale(7))]);
    }

    #[test]
    fn a_malformed_option_ends_the_edit_with_a_right_checksum() {
        let (mut frame, mut headers) = with_options(&[34, 4, 1, 2, 3, 9, 7, 0]);
        let result = blank_options(&mut frame, &mut headers, |_| true);
        assert_eq!(result, Err(RewriteError::MalformedOption));
        assert_consistent(&frame, &headers);
    }

    #[test]
    fn only_segments_are_edited() {
        let mut frame = udp_frame(false, b"hello");
        let whole = frame.clone();
        let mut headers = parsed(&frame);
        let edit = TcpEdit { window: Some(1), ..TcpEdit::default() };
        assert_eq!(tcp(&mut frame, &mut headers, &edit), Err(RewriteError::NoSuchField));
        assert_eq!(
            blank_options(&mut frame, &mut headers, |_| true),
            Err(RewriteError::NoSuchField)
        );
        assert_eq!(frame, whole);
    }

    proptest! {
        #[test]
        fn edits_keep_frame_and_headers_together(
            mut frame in tcp_frames(),
            seq: Option<u32>,
            ack: Option<u32>,
            flags in prop::option::of(flags()),
            window: Option<u16>,
            urgent: Option<u16>,
            step: u32,
        ) {
            let mut headers = parsed(&frame);
            let before = *headers.tcp().unwrap();
            let edit = TcpEdit { seq: seq.map(SeqNumber::new), ack: ack.map(SeqNumber::new), flags, window, urgent };
            tcp(&mut frame, &mut headers, &edit).unwrap();
            assert_consistent(&frame, &headers);
            let after = *headers.tcp().unwrap();
            prop_assert_eq!(after.seq, edit.seq.unwrap_or(before.seq));
            prop_assert_eq!(after.ack, edit.ack.unwrap_or(before.ack));
            prop_assert_eq!(after.flags, flags.unwrap_or(before.flags));
            prop_assert_eq!(after.window, window.unwrap_or(before.window));
            prop_assert_eq!(after.urgent, urgent.unwrap_or(before.urgent));
            sack_blocks(&mut frame, &mut headers, |block| {
                SackBlock { left: block.left.plus(step), right: block.right.plus(step) }
            }).unwrap();
            timestamps(&mut frame, &mut headers, |old| Timestamps { value: old.echo, echo: old.value }).unwrap();
            assert_consistent(&frame, &headers);
        }
    }
}
