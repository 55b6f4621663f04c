//! ICMPv6. Read RFC 4443 first.
//!
//! A message arrives; an echo's identifier, an error's flow, or a neighbour discovery message
//! leaves.

use crate::{
    ParseError,
    icmp::{Echo, ErrorCause, HEADER_LEN, IcmpError},
    ipv6::Ipv6,
    ndp::{self, Ndp},
    quote::Quote,
};

pub(crate) const UNREACHABLE: u8 = 1;
pub(crate) const PACKET_TOO_BIG: u8 = 2;
pub(crate) const TIME_EXCEEDED: u8 = 3;
pub(crate) const PARAMETER_PROBLEM: u8 = 4;
pub(crate) const ECHO_REQUEST: u8 = 128;
pub(crate) const ECHO_REPLY: u8 = 129;

/// What an ICMPv6 message is, as far as it matters to connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Icmpv6Message {
    /// Answer me.
    EchoRequest(Echo),
    /// The answer.
    EchoReply(Echo),
    /// An error about a flow.
    Error(IcmpError),
    /// Neighbour discovery.
    Ndp(Ndp),
    /// Any other type, multicast listener discovery included.
    Other,
}

/// An ICMPv6 message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Icmpv6 {
    /// The type's number.
    pub icmp_type: u8,
    /// The code's number.
    pub code: u8,
    /// The checksum as sent.
    pub checksum: u16,
    /// What it is.
    pub message: Icmpv6Message,
}

impl Icmpv6 {
    /// Reads the message that starts at `offset` of its frame, behind the IPv6 header given.
    ///
    /// # Errors
    /// The message is cut short, an error's quote does not name a flow, or neighbour discovery
    /// breaks a rule of RFC 4861.
    pub fn parse(message: &[u8], offset: usize, ipv6: &Ipv6) -> Result<Self, ParseError> {
        let (header, body) =
            message.split_first_chunk::<HEADER_LEN>().ok_or(ParseError::IcmpTruncated)?;
        let &[icmp_type, code, c0, c1, w0, w1, w2, w3] = header;
        let echo = Echo {
            identifier: u16::from_be_bytes([w0, w1]),
            sequence: u16::from_be_bytes([w2, w3]),
        };
        let word = u32::from_be_bytes([w0, w1, w2, w3]);
        let error = |cause| {
            let quote = Quote::parse_v6(body, offset.saturating_add(HEADER_LEN))?;
            Ok(Icmpv6Message::Error(IcmpError { cause, quote }))
        };
        let message = match icmp_type {
            ECHO_REQUEST if code == 0 => Icmpv6Message::EchoRequest(echo),
            ECHO_REPLY if code == 0 => Icmpv6Message::EchoReply(echo),
            UNREACHABLE => error(ErrorCause::Unreachable)?,
            PACKET_TOO_BIG => error(ErrorCause::TooBig { mtu: word })?,
            TIME_EXCEEDED => error(ErrorCause::TimeExceeded)?,
            PARAMETER_PROBLEM => error(ErrorCause::ParameterProblem { pointer: word })?,
            ndp::ROUTER_SOLICITATION..=ndp::REDIRECT => {
                Icmpv6Message::Ndp(Ndp::parse(message, ipv6)?)
            }
            _ => Icmpv6Message::Other,
        };
        Ok(Self { icmp_type, code, checksum: u16::from_be_bytes([c0, c1]), message })
    }

    /// Whether the message reports an error or redirects, so that no error may answer it (RFC 4443
    /// §2.4 e).
    #[must_use]
    pub const fn is_error(&self) -> bool {
        self.icmp_type < 128 || self.icmp_type == ndp::REDIRECT
    }
}
