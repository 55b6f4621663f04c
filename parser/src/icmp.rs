//! ICMP for IPv4, and what both ICMPs share. Read RFC 792, RFC 1122 §3.2.2 and RFC 1191 first.
//!
//! A message arrives; an echo's identifier leaves, or what an error says about which flow.

use crate::{ParseError, quote::Quote};

/// Bytes before an echo's data or an error's quote.
pub const HEADER_LEN: usize = 8;

pub(crate) const ECHO_REPLY: u8 = 0;
pub(crate) const UNREACHABLE: u8 = 3;
pub(crate) const ECHO_REQUEST: u8 = 8;
pub(crate) const TIME_EXCEEDED: u8 = 11;
pub(crate) const PARAMETER_PROBLEM: u8 = 12;

/// The code of "unreachable" that carries an MTU (RFC 1191 §4).
pub(crate) const FRAGMENTATION_NEEDED: u8 = 4;

/// An echo request's or reply's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Echo {
    /// The requester's process; stands in for its port.
    pub identifier: u16,
    /// The number of the request.
    pub sequence: u16,
}

/// What an ICMP error complains about, with the numbers that matter to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorCause {
    /// The destination cannot be reached; the code says why.
    Unreachable,
    /// The packet is larger than the next link takes: "fragmentation needed" or "packet too big".
    TooBig {
        /// Bytes the next link takes; 0 from routers older than RFC 1191.
        mtu: u32,
    },
    /// The hop limit ran out, or a reassembly's time did.
    TimeExceeded,
    /// A header field is wrong.
    ParameterProblem {
        /// The offset of the field in the quoted packet.
        pointer: u32,
    },
}

/// An ICMP error about a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IcmpError {
    /// What went wrong.
    pub cause: ErrorCause,
    /// With which packet.
    pub quote: Quote,
}

/// What an ICMP message is, as far as it matters to connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IcmpMessage {
    /// Answer me.
    EchoRequest(Echo),
    /// The answer.
    EchoReply(Echo),
    /// An error about a flow.
    Error(IcmpError),
    /// Any other type, redirects and source quench included: nothing a pod may use to change a
    /// route.
    Other,
}

/// An ICMP message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Icmp {
    /// The type's number.
    pub icmp_type: u8,
    /// The code's number.
    pub code: u8,
    /// The checksum as sent.
    pub checksum: u16,
    /// What it is.
    pub message: IcmpMessage,
}

impl Icmp {
    /// Reads the message that starts at `offset` of its frame.
    ///
    /// # Errors
    /// The message is cut short, or an error's quote does not name a flow.
    pub fn parse(message: &[u8], offset: usize) -> Result<Self, ParseError> {
        let (header, body) =
            message.split_first_chunk::<HEADER_LEN>().ok_or(ParseError::IcmpTruncated)?;
        let &[icmp_type, code, c0, c1, w0, w1, w2, w3] = header;
        let echo = Echo {
            identifier: u16::from_be_bytes([w0, w1]),
            sequence: u16::from_be_bytes([w2, w3]),
        };
        let error = |cause| {
            let quote = Quote::parse_v4(body, offset.saturating_add(HEADER_LEN))?;
            Ok(IcmpMessage::Error(IcmpError { cause, quote }))
        };
        let message = match (icmp_type, code) {
            (ECHO_REQUEST, 0) => IcmpMessage::EchoRequest(echo),
            (ECHO_REPLY, 0) => IcmpMessage::EchoReply(echo),
            (UNREACHABLE, FRAGMENTATION_NEEDED) => {
                error(ErrorCause::TooBig { mtu: u32::from(u16::from_be_bytes([w2, w3])) })?
            }
            (UNREACHABLE, _) => error(ErrorCause::Unreachable)?,
            (TIME_EXCEEDED, _) => error(ErrorCause::TimeExceeded)?,
            (PARAMETER_PROBLEM, _) => {
                error(ErrorCause::ParameterProblem { pointer: u32::from(w0) })?
            }
            _ => IcmpMessage::Other,
        };
        Ok(Self { icmp_type, code, checksum: u16::from_be_bytes([c0, c1]), message })
    }

    /// Whether the message reports an error, so that no error may answer it (RFC 1122 §3.2.2).
    /// Unknown types count: one of them may be an error.
    #[must_use]
    pub const fn is_error(&self) -> bool {
        // Echo, router discovery, timestamp, information and address mask are questions and
        // answers.
        !matches!(self.icmp_type, 0 | 8 | 9 | 10 | 13..=18)
    }
}
