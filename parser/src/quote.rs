//! The packet an ICMP error quotes. Read RFC 792, RFC 4443 §2.4 and RFC 5927 first.
//!
//! The bytes behind an ICMP error's header arrive; what they say about the connection, and where in
//! the frame it is said, leaves. The quote went the other way than the error, so it is judged and
//! translated as the flow it names.

use std::net::{IpAddr, Ipv4Addr};

use crate::{
    ParseError, bytes,
    flow_key::FlowTuple,
    icmp, icmpv6,
    ipv4::MIN_HEADER_LEN,
    ipv6::Ipv6,
    network::{L4Port, Protocol},
    tcp::SeqNumber,
};

/// Bytes of the transport header that every ICMP error carries (RFC 792).
const MIN_TRANSPORT_LEN: usize = 8;

/// The flow an ICMP error is about, as the error's sender saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quote {
    /// The flow of the quoted packet, in the quoted packet's direction.
    pub tuple: FlowTuple,
    /// The quoted segment's sequence number, when it is TCP.
    pub tcp_seq: Option<SeqNumber>,
    /// Where in the frame the quoted IP header starts.
    pub network_offset: usize,
    /// Where in the frame the quoted transport header starts; at least 8 bytes of it are there.
    pub transport_offset: usize,
}

impl Quote {
    /// Reads an IPv4 quote that starts at `offset` of its frame. Its own checksum and lengths are
    /// not relied on: routers are known to quote what they have already changed.
    pub(crate) fn parse_v4(quote: &[u8], offset: usize) -> Result<Self, ParseError> {
        let header: [u8; MIN_HEADER_LEN] =
            bytes::array(quote, 0).ok_or(ParseError::IcmpQuoteTruncated)?;
        let [vi, _, _, _, _, _, f0, f1, _, protocol, _, _, s0, s1, s2, s3, d0, d1, d2, d3] = header;
        let header_len = usize::from(vi & 0x0f) << 2;
        let is_later_fragment = u16::from_be_bytes([f0, f1]) & 0x1fff != 0;
        if vi >> 4 != 4 || header_len < MIN_HEADER_LEN || is_later_fragment {
            return Err(ParseError::IcmpQuoteUnusable);
        }
        Self::parse_transport(
            quote,
            offset,
            header_len,
            IpAddr::V4(Ipv4Addr::new(s0, s1, s2, s3)),
            IpAddr::V4(Ipv4Addr::new(d0, d1, d2, d3)),
            Protocol::new(protocol),
        )
    }

    /// Reads an IPv6 quote that starts at `offset` of its frame.
    pub(crate) fn parse_v6(quote: &[u8], offset: usize) -> Result<Self, ParseError> {
        let header = Ipv6::parse(quote, usize::MAX).map_err(|reason| match reason {
            ParseError::Ipv6Truncated | ParseError::Ipv6ExtensionTruncated => {
                ParseError::IcmpQuoteTruncated
            }
            _ => ParseError::IcmpQuoteUnusable,
        })?;
        // A first fragment names its ports, unless further extension headers come before them.
        if header
            .fragment
            .is_some_and(|fragment| fragment.offset != 0 || fragment.protocol != header.protocol)
        {
            return Err(ParseError::IcmpQuoteUnusable);
        }
        let (source, destination) = (IpAddr::V6(header.source), IpAddr::V6(header.destination));
        Self::parse_transport(
            quote,
            offset,
            bytes::size(header.chain_len),
            source,
            destination,
            header.protocol,
        )
    }

    fn parse_transport(
        quote: &[u8],
        offset: usize,
        header_len: usize,
        source: IpAddr,
        destination: IpAddr,
        protocol: Protocol,
    ) -> Result<Self, ParseError> {
        let transport: [u8; MIN_TRANSPORT_LEN] =
            bytes::array(quote, header_len).ok_or(ParseError::IcmpQuoteTruncated)?;
        let (src_port, dst_port) = ports(protocol, transport)?;
        let [.., q0, q1, q2, q3] = transport;
        let seq = SeqNumber::new(u32::from_be_bytes([q0, q1, q2, q3]));
        Ok(Self {
            tuple: FlowTuple { source, destination, protocol, src_port, dst_port },
            tcp_seq: (protocol == Protocol::TCP).then_some(seq),
            network_offset: offset,
            transport_offset: offset.saturating_add(header_len),
        })
    }
}

/// The ports in the first 8 bytes of a transport header, by the rules of [`FlowTuple`].
fn ports(
    protocol: Protocol,
    transport: [u8; MIN_TRANSPORT_LEN],
) -> Result<(L4Port, L4Port), ParseError> {
    let [a, b, c, d, e, f, ..] = transport;
    let identifier = u16::from_be_bytes([e, f]);
    match (protocol, a) {
        (Protocol::TCP | Protocol::UDP | Protocol::SCTP, _) => {
            Ok((u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])))
        }
        (Protocol::ICMP, icmp::ECHO_REQUEST) | (Protocol::ICMPV6, icmpv6::ECHO_REQUEST) => {
            Ok((identifier, 0))
        }
        (Protocol::ICMP, icmp::ECHO_REPLY) | (Protocol::ICMPV6, icmpv6::ECHO_REPLY) => {
            Ok((0, identifier))
        }
        (Protocol::ICMP | Protocol::ICMPV6, _) => Err(ParseError::IcmpQuoteUnusable),
        _ => Ok((0, 0)),
    }
}
