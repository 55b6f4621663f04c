//! Edits of a frame in place, every checksum kept right by the change alone (RFC 1624).
//!
//! A frame and the headers read from it arrive; both leave changed in the same way, so that the
//! headers still describe the frame. Checksums are carried on, not computed: a wrong one stays
//! wrong (but for an ICMP message of nothing but zeros, where the wrong 0 and the right all-ones
//! are one number), and a partial one must have been completed
//! ([`complete_partial`](crate::checksum::complete_partial)) before. A frame that is not the
//! headers' own is refused untouched.

mod quoted;
mod tcp;

use std::net::IpAddr;

pub use quoted::{quoted_destination, quoted_seq, quoted_source};
pub use tcp::{TcpEdit, blank_options, limit_mss, options, sack_blocks, tcp, timestamps};

use crate::{
    RewriteError, bytes,
    checksum::{Change, ChecksumField},
    ethernet::{self, MacAddress},
    headers::{Headers, Transport},
    icmp::{Echo, IcmpMessage},
    icmpv6::Icmpv6Message,
    ipv4::Ipv4,
    network::{L4Port, Network, Protocol},
};

/// Sets both station addresses.
///
/// # Errors
/// The frame is not the headers' own.
pub fn macs(
    frame: &mut [u8],
    headers: &mut Headers,
    source: MacAddress,
    destination: MacAddress,
) -> Result<(), RewriteError> {
    headers.ethernet.source = source;
    headers.ethernet.destination = destination;
    let header =
        frame.first_chunk_mut::<{ ethernet::HEADER_LEN }>().ok_or(RewriteError::FrameTooShort)?;
    *header = headers.ethernet.to_bytes();
    Ok(())
}

/// Takes one from the TTL or hop limit and returns what is left, at least 1.
///
/// # Errors
/// [`RewriteError::HopLimitExceeded`] when nothing would be left; the packet must die here (RFC
/// 1812 §5.3.1, RFC 8200 §3).
pub fn decrement_hop_limit(frame: &mut [u8], headers: &mut Headers) -> Result<u8, RewriteError> {
    check(frame, headers)?;
    let left = |hop_limit: u8| {
        hop_limit.checked_sub(1).filter(|&left| left != 0).ok_or(RewriteError::HopLimitExceeded)
    };
    let network_offset = headers.network_offset;
    match &mut headers.network {
        Network::Ipv4(ipv4) => {
            let word = |ipv4: &Ipv4| u16::from_be_bytes([ipv4.hop_limit, ipv4.protocol.value()]);
            let before = word(ipv4);
            ipv4.hop_limit = left(ipv4.hop_limit)?;
            let change = Change::of_word(before, word(ipv4));
            bytes::put(frame, network_offset.saturating_add(8), &[ipv4.hop_limit])
                .ok_or(RewriteError::FrameTooShort)?;
            apply(frame, network_offset.saturating_add(10), |checksum| change.apply(checksum))?;
            Ok(ipv4.hop_limit)
        }
        Network::Ipv6(ipv6) => {
            ipv6.hop_limit = left(ipv6.hop_limit)?;
            // No checksum covers the hop limit.
            bytes::put(frame, network_offset.saturating_add(7), &[ipv6.hop_limit])
                .ok_or(RewriteError::FrameTooShort)?;
            Ok(ipv6.hop_limit)
        }
        Network::Arp(_) => Err(RewriteError::NoSuchField),
    }
}

/// Sets the source address, and the source port or an echo request's identifier if one is given.
///
/// # Errors
/// The frame is not the headers' own, the address is of the other IP version, or the packet has no
/// such port. Protocols other than TCP, UDP and ICMP have their checksum out of reach, so their
/// addresses stay. Of a fragmented packet, the first fragment is edited with the headers of the
/// whole ([`Headers::parse_whole`]), which carries the checksum on, and later ones with their own.
pub fn source(
    frame: &mut [u8],
    headers: &mut Headers,
    address: IpAddr,
    port: Option<L4Port>,
) -> Result<(), RewriteError> {
    side(frame, headers, Side::Source, address, port)
}

/// Sets the destination address, and the destination port or an echo reply's identifier if one is
/// given.
///
/// # Errors
/// As for [`source`].
pub fn destination(
    frame: &mut [u8],
    headers: &mut Headers,
    address: IpAddr,
    port: Option<L4Port>,
) -> Result<(), RewriteError> {
    side(frame, headers, Side::Destination, address, port)
}

/// Which end of a flow an edit concerns.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Source,
    Destination,
}

impl Side {
    /// Where the address lies in an IP header.
    const fn address_offset(self, address: IpAddr) -> usize {
        match (address, self) {
            (IpAddr::V4(_), Self::Source) => 12,
            (IpAddr::V4(_), Self::Destination) => 16,
            (IpAddr::V6(_), Self::Source) => 8,
            (IpAddr::V6(_), Self::Destination) => 24,
        }
    }

    /// Where the port lies in a TCP or UDP header.
    const fn port_offset(self) -> usize {
        match self {
            Self::Source => 0,
            Self::Destination => 2,
        }
    }
}

/// Where an echo's identifier lies in an ICMP header.
const IDENTIFIER_OFFSET: usize = 4;

fn side(
    frame: &mut [u8],
    headers: &mut Headers,
    side: Side,
    address: IpAddr,
    port: Option<L4Port>,
) -> Result<(), RewriteError> {
    check(frame, headers)?;
    let field = ChecksumField::of(headers);
    let is_later_fragment =
        matches!(headers.transport, Transport::Fragment(fragment) if fragment.offset != 0);
    if field.is_none() && !is_later_fragment {
        return Err(RewriteError::NoSuchField);
    }
    let port_offset =
        port.map(|_| port_offset(headers, side).ok_or(RewriteError::NoSuchField)).transpose()?;
    match (&mut headers.network, address) {
        (Network::Ipv4(ipv4), IpAddr::V4(address)) => match side {
            Side::Source => ipv4.source = address,
            Side::Destination => ipv4.destination = address,
        },
        (Network::Ipv6(ipv6), IpAddr::V6(address)) => match side {
            Side::Source => ipv6.source = address,
            Side::Destination => ipv6.destination = address,
        },
        (Network::Ipv4(_) | Network::Ipv6(_), _) => return Err(RewriteError::MixedFamilies),
        (Network::Arp(_), _) => return Err(RewriteError::NoSuchField),
    }
    let address_change = replace_address(frame, headers.network_offset, side, address)?;
    let Some(field) = field else { return Ok(()) };
    let mut change = if field.covers_addresses() { address_change } else { Change::NONE };
    if let (Some(port), Some(offset)) = (port, port_offset) {
        change = change.and(replace(frame, headers.transport_offset, offset, &port.to_be_bytes())?);
        set_port(headers, side, port);
    }
    carry_on(frame, headers, field, change)
}

/// Writes an address into the IP header at `network_offset`, and into its checksum if it has one.
fn replace_address(
    frame: &mut [u8],
    network_offset: usize,
    side: Side,
    address: IpAddr,
) -> Result<Change, RewriteError> {
    let offset = side.address_offset(address);
    match address {
        IpAddr::V4(address) => {
            let change = replace(frame, network_offset, offset, &address.octets())?;
            apply(frame, network_offset.saturating_add(10), |checksum| change.apply(checksum))?;
            Ok(change)
        }
        IpAddr::V6(address) => replace(frame, network_offset, offset, &address.octets()),
    }
}

/// Where the packet's transport header has this side's port, if it has one.
fn port_offset(headers: &Headers, side: Side) -> Option<usize> {
    match (&headers.transport, side) {
        (Transport::Tcp(_) | Transport::Udp(_), _) => Some(side.port_offset()),
        (Transport::Icmp(icmp), _) => match (icmp.message, side) {
            (IcmpMessage::EchoRequest(_), Side::Source)
            | (IcmpMessage::EchoReply(_), Side::Destination) => Some(IDENTIFIER_OFFSET),
            _ => None,
        },
        (Transport::Icmpv6(icmpv6), _) => match (icmpv6.message, side) {
            (Icmpv6Message::EchoRequest(_), Side::Source)
            | (Icmpv6Message::EchoReply(_), Side::Destination) => Some(IDENTIFIER_OFFSET),
            _ => None,
        },
        _ => None,
    }
}

fn set_port(headers: &mut Headers, side: Side, port: L4Port) {
    let set_identifier = |echo: &mut Echo| echo.identifier = port;
    match (&mut headers.transport, side) {
        (Transport::Tcp(tcp), Side::Source) => tcp.src_port = port,
        (Transport::Tcp(tcp), Side::Destination) => tcp.dst_port = port,
        (Transport::Udp(udp), Side::Source) => udp.src_port = port,
        (Transport::Udp(udp), Side::Destination) => udp.dst_port = port,
        (Transport::Icmp(icmp), _) => match &mut icmp.message {
            IcmpMessage::EchoRequest(echo) | IcmpMessage::EchoReply(echo) => set_identifier(echo),
            IcmpMessage::Error(_) | IcmpMessage::Other => {}
        },
        (Transport::Icmpv6(icmpv6), _) => match &mut icmpv6.message {
            Icmpv6Message::EchoRequest(echo) | Icmpv6Message::EchoReply(echo) => {
                set_identifier(echo)
            }
            Icmpv6Message::Error(_) | Icmpv6Message::Ndp(_) | Icmpv6Message::Other => {}
        },
        (
            Transport::Sctp(_) | Transport::Fragment(_) | Transport::Other { .. } | Transport::None,
            _,
        ) => {}
    }
}

/// Refuses a frame that is too short for its headers, before anything is written.
fn check(frame: &[u8], headers: &Headers) -> Result<(), RewriteError> {
    if frame.len() < headers.payload_offset { Err(RewriteError::FrameTooShort) } else { Ok(()) }
}

/// Overwrites bytes at `start + offset` and says what that changes in a sum that begins at `start`.
#[inline]
fn replace(
    frame: &mut [u8],
    start: usize,
    offset: usize,
    new: &[u8],
) -> Result<Change, RewriteError> {
    let place = start.saturating_add(offset);
    let old = frame
        .get_mut(place..)
        .and_then(|rest| rest.get_mut(..new.len()))
        .ok_or(RewriteError::FrameTooShort)?;
    let change = Change::of(old, new);
    old.copy_from_slice(new);
    Ok(if offset & 1 == 0 { change } else { change.at_odd_place() })
}

/// Replaces the checksum at `offset` by what `update` makes of it, and returns the new one.
fn apply(
    frame: &mut [u8],
    offset: usize,
    update: impl FnOnce(u16) -> u16,
) -> Result<u16, RewriteError> {
    let checksum = update(bytes::be16(frame, offset).ok_or(RewriteError::FrameTooShort)?);
    bytes::put(frame, offset, &checksum.to_be_bytes()).ok_or(RewriteError::FrameTooShort)?;
    Ok(checksum)
}

/// Carries a change over into the transport checksum, in the frame and in the headers.
fn carry_on(
    frame: &mut [u8],
    headers: &mut Headers,
    field: ChecksumField,
    change: Change,
) -> Result<(), RewriteError> {
    let offset = headers.transport_offset.saturating_add(field.offset_in());
    let checksum = apply(frame, offset, |checksum| match field {
        ChecksumField::Udp => change.apply_udp(checksum),
        ChecksumField::Tcp | ChecksumField::Icmp | ChecksumField::Icmpv6 => change.apply(checksum),
    })?;
    match &mut headers.transport {
        Transport::Tcp(tcp) => tcp.checksum = checksum,
        Transport::Udp(udp) => udp.checksum = checksum,
        Transport::Icmp(icmp) => icmp.checksum = checksum,
        Transport::Icmpv6(icmpv6) => icmpv6.checksum = checksum,
        Transport::Sctp(_) | Transport::Fragment(_) | Transport::Other { .. } | Transport::None => {
        }
    }
    Ok(())
}

/// Whether a transport header of this protocol begins with two ports.
const fn has_ports(protocol: Protocol) -> bool {
    matches!(protocol, Protocol::TCP | Protocol::UDP | Protocol::SCTP)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;
    use crate::{
        checksum::verify_transport,
        tcp::TcpFlags,
        testing::{
            CLIENT, CLIENT_MAC, SERVER_MAC, SERVER6, built, envelope, frames, parsed, segment,
            tcp_frame, tcp_frames, udp_frame,
        },
    };

    /// After an edit the headers still describe the frame, and it is intact.
    pub(super) fn assert_consistent(frame: &[u8], headers: &Headers) {
        assert_eq!(parsed(frame), *headers);
        assert!(verify_transport(frame, headers), "{headers:?}");
    }

    /// An address of the version the packet has.
    pub(super) fn suited(headers: &Headers, v4: [u8; 4], v6: [u8; 15]) -> IpAddr {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o] = v6;
        match headers.network {
            Network::Ipv6(_) => IpAddr::from([0xfd, a, b, c, d, e, f, g, h, i, j, k, l, m, n, o]),
            _ => IpAddr::from(v4),
        }
    }

    #[test]
    fn the_last_hop_is_not_taken() {
        for (is_ipv6, hop_limit) in [(false, 1), (false, 0), (true, 1), (true, 0)] {
            let mut segment = segment(is_ipv6, TcpFlags::ACK, b"");
            segment.envelope.hop_limit = hop_limit;
            let mut frame = built(|out| segment.emit(out));
            let whole = frame.clone();
            let mut headers = parsed(&frame);
            assert_eq!(
                decrement_hop_limit(&mut frame, &mut headers),
                Err(RewriteError::HopLimitExceeded)
            );
            assert_eq!(frame, whole);
        }
    }

    #[test]
    fn an_address_of_the_other_version_is_refused() {
        let mut frame = tcp_frame(false, TcpFlags::ACK, b"");
        let whole = frame.clone();
        let mut headers = parsed(&frame);
        assert_eq!(
            source(&mut frame, &mut headers, SERVER6, None),
            Err(RewriteError::MixedFamilies)
        );
        assert_eq!((frame, headers), (whole.clone(), parsed(&whole)));
    }

    #[test]
    fn another_frame_than_the_headers_own_is_refused_untouched() {
        let mut headers = parsed(&tcp_frame(false, TcpFlags::ACK, b""));
        let mut short = [0xaa; 53];
        assert_eq!(
            source(&mut short, &mut headers, CLIENT, Some(1)),
            Err(RewriteError::FrameTooShort)
        );
        assert_eq!(
            tcp(&mut short, &mut headers, &TcpEdit::default()),
            Err(RewriteError::FrameTooShort)
        );
        assert_eq!(decrement_hop_limit(&mut short, &mut headers), Err(RewriteError::FrameTooShort));
        assert_eq!(short, [0xaa; 53]);
    }

    #[test]
    fn what_has_no_checksum_in_reach_keeps_its_addresses() {
        let mut frame = udp_frame(false, &[0; 24]);
        let mut headers = parsed(&frame);
        headers.transport = Transport::Other { protocol: Protocol::SCTP };
        assert_eq!(source(&mut frame, &mut headers, CLIENT, None), Err(RewriteError::NoSuchField));
    }

    #[test]
    fn udp_without_checksum_stays_without() {
        let mut frame = udp_frame(false, b"hello");
        frame[40..42].fill(0);
        let mut headers = parsed(&frame);
        destination(&mut frame, &mut headers, IpAddr::from([10, 9, 8, 7]), Some(5353)).unwrap();
        assert_eq!(frame[40..42], [0, 0]);
        assert_consistent(&frame, &headers);
    }

    #[test]
    fn only_the_requester_of_an_echo_has_a_port() {
        let mut frame = built(|out| crate::emit::echo_request(envelope(false), 7, 1, b"", out));
        let mut headers = parsed(&frame);
        let elsewhere = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 9));
        assert_eq!(
            destination(&mut frame, &mut headers, elsewhere, Some(1)),
            Err(RewriteError::NoSuchField)
        );
        destination(&mut frame, &mut headers, elsewhere, None).unwrap();
        source(&mut frame, &mut headers, elsewhere, Some(99)).unwrap();
        assert_eq!(headers.flow_tuple().unwrap().src_port, 99);
        assert_consistent(&frame, &headers);
    }

    proptest! {
        #[test]
        fn edits_keep_frame_and_headers_together(
            mut frame in frames(),
            v4: [u8; 4],
            v6: [u8; 15],
            port in 1..=u16::MAX,
        ) {
            let mut headers = parsed(&frame);
            macs(&mut frame, &mut headers, SERVER_MAC, CLIENT_MAC).unwrap();
            assert_consistent(&frame, &headers);
            let hop_limit = headers.hop_limit().unwrap();
            if hop_limit > 1 {
                prop_assert_eq!(decrement_hop_limit(&mut frame, &mut headers), Ok(hop_limit - 1));
            }
            assert_consistent(&frame, &headers);
            let address = suited(&headers, v4, v6);
            let has_ports = matches!(headers.transport, Transport::Tcp(_) | Transport::Udp(_));
            source(&mut frame, &mut headers, address, has_ports.then_some(port)).unwrap();
            prop_assert_eq!(headers.source(), Some(address));
            assert_consistent(&frame, &headers);
            destination(&mut frame, &mut headers, address, has_ports.then_some(port)).unwrap();
            prop_assert_eq!(headers.destination(), Some(address));
            assert_consistent(&frame, &headers);
            if has_ports {
                let tuple = headers.flow_tuple().unwrap();
                prop_assert_eq!((tuple.src_port, tuple.dst_port), (port, port));
            }
        }

        #[test]
        fn translating_there_and_back_restores_the_frame(
            mut frame in tcp_frames(),
            v4: [u8; 4],
            v6: [u8; 15],
            port in 1..=u16::MAX,
        ) {
            let whole = frame.clone();
            let mut headers = parsed(&frame);
            let before = headers.flow_tuple().unwrap();
            let address = suited(&headers, v4, v6);
            destination(&mut frame, &mut headers, address, Some(port)).unwrap();
            destination(&mut frame, &mut headers, before.destination, Some(before.dst_port)).unwrap();
            prop_assert_eq!(frame, whole);
        }
    }
}
