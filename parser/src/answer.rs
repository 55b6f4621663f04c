//! Frames that answer a frame: echo replies, ICMP errors, TCP resets and neighbour advertisements.
//!
//! A frame and its headers arrive; the answer leaves in the caller's buffer, sent from the station and, except for errors, the
//! address the frame was for. Nothing answers what the RFCs say must stay unanswered, so two of us cannot start a storm.

use std::net::{IpAddr, Ipv6Addr};

use crate::{
    EmitError,
    emit::{Envelope, IcmpPacket, Segment},
    ethernet::MacAddress,
    headers::{Headers, Transport},
    icmp::{self, IcmpMessage},
    icmpv6::{self, Icmpv6Message},
    ndp::{self, Ndp},
    network::Network,
    tcp::{SeqNumber, TcpFlags},
};

/// What a fresh packet of ours may cross (IANA "IP Option Numbers", default TTL; RFC 1700).
const HOP_LIMIT: u8 = 64;

/// Errors travel with precedence "internetwork control" (RFC 1812 §4.3.2.5).
const ERROR_TRAFFIC_CLASS: u8 = 0xc0;

/// Bytes of an IPv4 error at most (RFC 1812 §4.3.2.3), its header and the ICMP header included.
const MAX_ERROR_V4: usize = 576;

/// Bytes of an IPv6 error at most: the smallest MTU (RFC 4443 §2.4 c).
const MAX_ERROR_V6: usize = 1280;

const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_NODES_MAC: MacAddress = MacAddress::new([0x33, 0x33, 0, 0, 0, 1]);

/// Why a destination cannot be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreachable {
    /// No route leads there.
    Network,
    /// A route leads there, but nobody has the address.
    Host,
    /// Nobody listens there.
    Port,
    /// A policy forbids it.
    Prohibited,
}

/// An ICMP error to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorReply {
    /// The hop limit ran out here.
    TimeExceeded,
    /// The packet cannot be delivered.
    Unreachable(Unreachable),
    /// The packet is larger than the next link takes, and must not be fragmented.
    TooBig {
        /// Bytes the next link takes. IPv4 has room for 16 bits; more is sent as 65535.
        mtu: u32,
    },
}

impl ErrorReply {
    /// Type, code and second word in ICMP (RFC 792, RFC 1191 §4, RFC 1812 §5.2.7.1).
    fn to_v4(self) -> (u8, u8, [u8; 4]) {
        match self {
            Self::TimeExceeded => (icmp::TIME_EXCEEDED, 0, [0; 4]),
            Self::Unreachable(Unreachable::Network) => (icmp::UNREACHABLE, 0, [0; 4]),
            Self::Unreachable(Unreachable::Host) => (icmp::UNREACHABLE, 1, [0; 4]),
            Self::Unreachable(Unreachable::Port) => (icmp::UNREACHABLE, 3, [0; 4]),
            Self::Unreachable(Unreachable::Prohibited) => (icmp::UNREACHABLE, 13, [0; 4]),
            Self::TooBig { mtu } => {
                let [m0, m1] = u16::try_from(mtu).unwrap_or(u16::MAX).to_be_bytes();
                (icmp::UNREACHABLE, icmp::FRAGMENTATION_NEEDED, [0, 0, m0, m1])
            }
        }
    }

    /// Type, code and second word in ICMPv6 (RFC 4443 §3).
    const fn to_v6(self) -> (u8, u8, [u8; 4]) {
        match self {
            Self::TimeExceeded => (icmpv6::TIME_EXCEEDED, 0, [0; 4]),
            Self::Unreachable(Unreachable::Network) => (icmpv6::UNREACHABLE, 0, [0; 4]),
            Self::Unreachable(Unreachable::Prohibited) => (icmpv6::UNREACHABLE, 1, [0; 4]),
            Self::Unreachable(Unreachable::Host) => (icmpv6::UNREACHABLE, 3, [0; 4]),
            Self::Unreachable(Unreachable::Port) => (icmpv6::UNREACHABLE, 4, [0; 4]),
            Self::TooBig { mtu } => (icmpv6::PACKET_TOO_BIG, 0, mtu.to_be_bytes()),
        }
    }
}

/// The ICMP error about `frame`, from our address `source`; quotes as much of the packet as the RFCs allow and the frame has.
///
/// # Errors
/// [`EmitError::NotAnswerable`] for what must not be answered: errors, unknown ICMP, later fragments, packets to a group of
/// hosts or stations or from no single host, and ARP. Otherwise as for [`IcmpPacket::emit`].
pub fn icmp_error(
    frame: &[u8],
    headers: &Headers,
    error: ErrorReply,
    source: IpAddr,
    out: &mut [u8],
) -> Result<usize, EmitError> {
    if !may_be_complained_about(headers) {
        return Err(EmitError::NotAnswerable);
    }
    let Some(destination) = headers.source() else {
        return Err(EmitError::NotAnswerable);
    };
    let (max_quote, (icmp_type, code, word)) = match source {
        IpAddr::V4(_) => (MAX_ERROR_V4.saturating_sub(28), error.to_v4()),
        IpAddr::V6(_) => (MAX_ERROR_V6.saturating_sub(48), error.to_v6()),
    };
    let packet = frame
        .get(headers.network_offset..headers.packet_end().min(frame.len()))
        .unwrap_or_default();
    let body = packet.get(..max_quote).unwrap_or(packet);
    let envelope = Envelope {
        source_mac: headers.ethernet.destination,
        destination_mac: headers.ethernet.source,
        source,
        destination,
        hop_limit: HOP_LIMIT,
        traffic_class: ERROR_TRAFFIC_CLASS,
    };
    IcmpPacket { envelope, icmp_type, code, word, body }.emit(out)
}

/// RFC 1122 §3.2.2 and RFC 4443 §2.4 e, without the latter's exception for multicast "packet too big".
fn may_be_complained_about(headers: &Headers) -> bool {
    let is_about_one = match headers.transport {
        Transport::Icmp(icmp) => !icmp.is_error(),
        Transport::Icmpv6(icmpv6) => !icmpv6.is_error(),
        Transport::Fragment(fragment) => fragment.offset == 0,
        Transport::Tcp(_) | Transport::Udp(_) | Transport::Other { .. } => true,
        Transport::None => false,
    };
    is_about_one
        && !headers.ethernet.destination.is_group()
        && !headers.network.is_to_group()
        && !headers.network.has_martian_source()
}

/// The answer to an echo request, with the request's data.
///
/// # Errors
/// [`EmitError::NotAnswerable`] when the frame is no echo request to a single host, or does not hold all of its data.
/// Otherwise as for [`IcmpPacket::emit`].
pub fn echo_reply(frame: &[u8], headers: &Headers, out: &mut [u8]) -> Result<usize, EmitError> {
    let (icmp_type, echo) = match headers.transport {
        Transport::Icmp(icmp) => match icmp.message {
            IcmpMessage::EchoRequest(echo) => (icmp::ECHO_REPLY, echo),
            _ => return Err(EmitError::NotAnswerable),
        },
        Transport::Icmpv6(icmpv6) => match icmpv6.message {
            Icmpv6Message::EchoRequest(echo) => (icmpv6::ECHO_REPLY, echo),
            _ => return Err(EmitError::NotAnswerable),
        },
        _ => return Err(EmitError::NotAnswerable),
    };
    if !may_be_complained_about(headers) {
        return Err(EmitError::NotAnswerable);
    }
    let ([i0, i1], [s0, s1]) = (echo.identifier.to_be_bytes(), echo.sequence.to_be_bytes());
    let body = headers.payload(frame).ok_or(EmitError::NotAnswerable)?;
    let envelope = swapped(headers).ok_or(EmitError::NotAnswerable)?;
    IcmpPacket { envelope, icmp_type, code: 0, word: [i0, i1, s0, s1], body }.emit(out)
}

/// The reset that answers a segment to a connection which does not exist (RFC 9293 §3.10.7.1): it takes its number from the
/// segment's acknowledgement, or acknowledges the whole segment if there is none.
///
/// # Errors
/// [`EmitError::NotAnswerable`] for a reset and for what is not TCP. Otherwise as for [`Segment::emit`].
pub fn reset(headers: &Headers, out: &mut [u8]) -> Result<usize, EmitError> {
    let tcp = headers.tcp().filter(|tcp| !tcp.flags.is_rst()).ok_or(EmitError::NotAnswerable)?;
    let envelope = swapped(headers).ok_or(EmitError::NotAnswerable)?;
    let (seq, ack, flags) = if tcp.flags.is_ack() {
        (tcp.ack, SeqNumber::new(0), TcpFlags::RST)
    } else {
        let payload_len =
            u32::try_from(headers.payload_len).map_err(|_beyond| EmitError::TooLong)?;
        let end = tcp.seq.plus(payload_len).plus(tcp.flags.sequence_len());
        (SeqNumber::new(0), end, TcpFlags::RST.with(TcpFlags::ACK))
    };
    let (src_port, dst_port) = (tcp.dst_port, tcp.src_port);
    Segment { envelope, src_port, dst_port, seq, ack, flags, window: 0, options: &[], payload: &[] }
        .emit(out)
}

/// The answer to a neighbour solicitation: the target is at `mac`. Duplicate address detection is answered to all nodes
/// (RFC 4861 §7.2.4).
///
/// # Errors
/// [`EmitError::NotAnswerable`] for anything but a neighbour solicitation. Otherwise as for [`IcmpPacket::emit`].
pub fn neighbour_advertisement(
    headers: &Headers,
    mac: MacAddress,
    is_router: bool,
    out: &mut [u8],
) -> Result<usize, EmitError> {
    let (Transport::Icmpv6(icmpv6), Network::Ipv6(ipv6)) = (headers.transport, headers.network)
    else {
        return Err(EmitError::NotAnswerable);
    };
    let Icmpv6Message::Ndp(Ndp::NeighbourSolicitation { target, source_mac }) = icmpv6.message
    else {
        return Err(EmitError::NotAnswerable);
    };
    let (destination, destination_mac, solicited) = if ipv6.source.is_unspecified() {
        (ALL_NODES, ALL_NODES_MAC, 0)
    } else {
        (ipv6.source, source_mac.unwrap_or(headers.ethernet.source), ndp::FLAG_SOLICITED)
    };
    let router = if is_router { ndp::FLAG_ROUTER } else { 0 };
    let envelope = Envelope {
        source_mac: mac,
        destination_mac,
        source: IpAddr::V6(target),
        destination: IpAddr::V6(destination),
        hop_limit: 255,
        traffic_class: 0,
    };
    let body = ndp::target_and_link_layer(target, ndp::OPTION_TARGET_LINK_LAYER, mac);
    let word = [router | solicited | ndp::FLAG_OVERRIDE, 0, 0, 0];
    IcmpPacket { envelope, icmp_type: ndp::NEIGHBOUR_ADVERTISEMENT, code: 0, word, body: &body }
        .emit(out)
}

/// The way back to the sender of a frame, from whom it was for.
fn swapped(headers: &Headers) -> Option<Envelope> {
    Some(Envelope {
        source_mac: headers.ethernet.destination,
        destination_mac: headers.ethernet.source,
        source: headers.destination()?,
        destination: headers.source()?,
        hop_limit: HOP_LIMIT,
        traffic_class: 0,
    })
}
