//! Frames that answer a frame: echo replies, ICMP errors, TCP resets and neighbour advertisements.
//!
//! A frame and its headers arrive; the answer leaves in the caller's buffer, sent from the station
//! and, except for errors, the address the frame was for. Nothing answers what the RFCs say must
//! stay unanswered, so two of us cannot start a storm.

use std::net::{IpAddr, Ipv6Addr};

use crate::{
    EmitError, dns,
    emit::{Datagram, Envelope, IcmpPacket, Segment},
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

/// The ICMP error about `frame`, from our address `source`; quotes as much of the packet as the
/// RFCs allow and the frame has.
///
/// # Errors
/// [`EmitError::NotAnswerable`] for what must not be answered: errors, unknown ICMP, later
/// fragments, packets to a group of hosts or stations or from no single host, and ARP. Otherwise as
/// for [`IcmpPacket::emit`].
pub fn icmp_error(
    frame: &[u8],
    headers: &Headers,
    error: ErrorReply,
    source: IpAddr,
    out: &mut [u8],
) -> Result<usize, EmitError> {
    if !may_be_answered(headers) {
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

/// RFC 1122 §3.2.2 and RFC 4443 §2.4 e, without the latter's exception for multicast "packet too
/// big".
fn may_be_answered(headers: &Headers) -> bool {
    let is_about_one = match headers.transport {
        Transport::Icmp(icmp) => !icmp.is_error(),
        Transport::Icmpv6(icmpv6) => !icmpv6.is_error(),
        Transport::Fragment(fragment) => fragment.offset == 0,
        Transport::Tcp(_) | Transport::Udp(_) | Transport::Sctp(_) | Transport::Other { .. } => {
            true
        }
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
/// [`EmitError::NotAnswerable`] when the frame is no echo request to a single host, or does not
/// hold all of its data. Otherwise as for [`IcmpPacket::emit`].
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
    if !may_be_answered(headers) {
        return Err(EmitError::NotAnswerable);
    }
    let ([i0, i1], [s0, s1]) = (echo.identifier.to_be_bytes(), echo.sequence.to_be_bytes());
    let body = headers.payload(frame).ok_or(EmitError::NotAnswerable)?;
    let envelope = swapped(headers).ok_or(EmitError::NotAnswerable)?;
    IcmpPacket { envelope, icmp_type, code: 0, word: [i0, i1, s0, s1], body }.emit(out)
}

/// The reset that answers a segment to a connection which does not exist (RFC 9293 §3.10.7.1): it
/// takes its number from the segment's acknowledgement, or acknowledges the whole segment if there
/// is none.
///
/// # Errors
/// [`EmitError::NotAnswerable`] for a reset, for what is not TCP, and for what came to a group or
/// from no single host (RFC 9293 §3.9.2.3). Otherwise as for [`Segment::emit`].
pub fn reset(headers: &Headers, out: &mut [u8]) -> Result<usize, EmitError> {
    let tcp = headers.tcp().filter(|tcp| !tcp.flags.is_rst()).ok_or(EmitError::NotAnswerable)?;
    if !may_be_answered(headers) {
        return Err(EmitError::NotAnswerable);
    }
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

/// The answer to a DNS query that it is refused (RFC 1035 §4.1.1).
///
/// # Errors
/// [`EmitError::NotAnswerable`] for what is no UDP datagram with a query, and for what came to a group or from no single
/// host. Otherwise as for [`Datagram::emit`].
pub fn dns_refused(frame: &[u8], headers: &Headers, out: &mut [u8]) -> Result<usize, EmitError> {
    let Transport::Udp(udp) = headers.transport else { return Err(EmitError::NotAnswerable) };
    if !may_be_answered(headers) {
        return Err(EmitError::NotAnswerable);
    }
    let envelope = swapped(headers).ok_or(EmitError::NotAnswerable)?;
    let query = headers.payload(frame).ok_or(EmitError::NotAnswerable)?;
    let mut message = [0; dns::REFUSAL_LEN];
    let length = dns::refuse(query, &mut message).ok_or(EmitError::NotAnswerable)?;
    let payload = message.get(..length).ok_or(EmitError::NotAnswerable)?;
    Datagram { envelope, src_port: udp.dst_port, dst_port: udp.src_port, payload }.emit(out)
}

/// The answer to a neighbour solicitation: the target is at `mac`. Duplicate address detection is
/// answered to all nodes (RFC 4861 §7.2.4).
///
/// # Errors
/// [`EmitError::NotAnswerable`] for anything but a neighbour solicitation, or for one that no
/// single host sent. Otherwise as for [`IcmpPacket::emit`].
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
    } else if headers.network.has_martian_source() {
        return Err(EmitError::NotAnswerable);
    } else {
        (ipv6.source, source_mac.unwrap_or(headers.ethernet.source), ndp::FLAG_SOLICITED)
    };
    let router = if is_router { ndp::FLAG_ROUTER } else { 0 };
    advertise((target, mac), (destination, destination_mac), router | solicited, out)
}

/// Tells everybody on a link, unasked, that the router's address `target` is at `mac` (RFC 4861 §7.2.6).
///
/// # Errors
/// As for [`IcmpPacket::emit`].
pub fn router_announcement(
    target: Ipv6Addr,
    mac: MacAddress,
    out: &mut [u8],
) -> Result<usize, EmitError> {
    advertise((target, mac), (ALL_NODES, ALL_NODES_MAC), ndp::FLAG_ROUTER, out)
}

fn advertise(
    (target, mac): (Ipv6Addr, MacAddress),
    (destination, destination_mac): (Ipv6Addr, MacAddress),
    flags: u8,
    out: &mut [u8],
) -> Result<usize, EmitError> {
    let envelope = Envelope {
        source_mac: mac,
        destination_mac,
        source: IpAddr::V6(target),
        destination: IpAddr::V6(destination),
        hop_limit: 255,
        traffic_class: 0,
    };
    let body = ndp::target_and_link_layer(target, ndp::OPTION_TARGET_LINK_LAYER, mac);
    let word = [flags | ndp::FLAG_OVERRIDE, 0, 0, 0];
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        checksum::{Sum, verify_transport},
        emit,
        icmp::ErrorCause,
        testing::{
            CLIENT, CLIENT_MAC, SERVER, SERVER_MAC, built, envelope, flags, icmp_error_frame,
            parsed, segment, tcp_frame, udp_frame,
        },
    };

    const ROUTER: &str = "10.0.0.254";
    const ROUTER6: &str = "fd00::ff";

    fn answered(frame: &[u8], error: ErrorReply) -> Result<Vec<u8>, EmitError> {
        let headers = parsed(frame);
        let router = if headers.source().unwrap().is_ipv6() { ROUTER6 } else { ROUTER };
        let mut out = vec![0; 2000];
        let length = icmp_error(frame, &headers, error, router.parse().unwrap(), &mut out)?;
        out.truncate(length);
        assert!(verify_transport(&out, &parsed(&out)));
        Ok(out)
    }

    #[test]
    fn every_error_says_what_it_means_in_both_versions() {
        let prohibited = ErrorReply::Unreachable(Unreachable::Prohibited);
        let port = ErrorReply::Unreachable(Unreachable::Port);
        let host = ErrorReply::Unreachable(Unreachable::Host);
        let network = ErrorReply::Unreachable(Unreachable::Network);
        let too_big = ErrorReply::TooBig { mtu: 1400 };
        for (error, v4, v6, cause) in [
            (ErrorReply::TimeExceeded, (11, 0), (3, 0), ErrorCause::TimeExceeded),
            (network, (3, 0), (1, 0), ErrorCause::Unreachable),
            (host, (3, 1), (1, 3), ErrorCause::Unreachable),
            (port, (3, 3), (1, 4), ErrorCause::Unreachable),
            (prohibited, (3, 13), (1, 1), ErrorCause::Unreachable),
            (too_big, (3, 4), (2, 0), ErrorCause::TooBig { mtu: 1400 }),
        ] {
            for (is_ipv6, kind) in [(false, v4), (true, v6)] {
                let frame = tcp_frame(is_ipv6, TcpFlags::SYN, b"");
                let answer = answered(&frame, error).unwrap();
                let headers = parsed(&answer);
                let sent = match headers.transport {
                    Transport::Icmp(icmp) => (icmp.icmp_type, icmp.code),
                    Transport::Icmpv6(icmpv6) => (icmpv6.icmp_type, icmpv6.code),
                    _ => panic!("{headers:?}"),
                };
                assert_eq!(sent, kind, "{error:?}");
                let said = headers.icmp_error().unwrap();
                assert_eq!(said.cause, cause);
                assert_eq!(Some(said.quote.tuple), parsed(&frame).flow_tuple());
                assert_eq!(headers.destination(), parsed(&frame).source());
                assert_eq!(
                    (headers.ethernet.source, headers.ethernet.destination),
                    (SERVER_MAC, CLIENT_MAC)
                );
            }
        }
    }

    #[test]
    fn quotes_end_where_the_rfcs_and_the_packet_say() {
        for (is_ipv6, limit) in [(false, 576), (true, 1280)] {
            let long = answered(&udp_frame(is_ipv6, &[7; 3000]), ErrorReply::TimeExceeded).unwrap();
            assert_eq!(long.len(), 14 + limit);
            let mut padded = tcp_frame(is_ipv6, TcpFlags::SYN, b"");
            let plain = answered(&padded, ErrorReply::TimeExceeded).unwrap();
            padded.extend([0xaa; 6]);
            assert_eq!(answered(&padded, ErrorReply::TimeExceeded).unwrap(), plain);
        }
    }

    #[test]
    fn an_mtu_beyond_16_bits_is_capped_in_ipv4() {
        let error = ErrorReply::TooBig { mtu: 70_000 };
        let cause = |is_ipv6| {
            let answer = answered(&tcp_frame(is_ipv6, TcpFlags::ACK, b""), error).unwrap();
            parsed(&answer).icmp_error().unwrap().cause
        };
        assert_eq!(cause(false), ErrorCause::TooBig { mtu: 65_535 });
        assert_eq!(cause(true), ErrorCause::TooBig { mtu: 70_000 });
    }

    #[test]
    fn errors_and_unknown_icmp_are_not_complained_about() {
        for is_ipv6 in [false, true] {
            let quoted = tcp_frame(is_ipv6, TcpFlags::ACK, b"");
            let error =
                icmp_error_frame(is_ipv6, if is_ipv6 { 1 } else { 3 }, 1, [0; 4], &quoted[14..]);
            assert_eq!(answered(&error, ErrorReply::TimeExceeded), Err(EmitError::NotAnswerable));
            let unknown = icmp_error_frame(is_ipv6, 5, 1, [0; 4], &quoted[14..]);
            assert_eq!(answered(&unknown, ErrorReply::TimeExceeded), Err(EmitError::NotAnswerable));
            let echo = built(|out| emit::echo_request(envelope(is_ipv6), 1, 1, b"", out));
            assert!(answered(&echo, ErrorReply::TimeExceeded).is_ok());
        }
    }

    #[test]
    fn groups_and_martians_are_not_complained_to() {
        let to_all = |edit: fn(&mut emit::Segment<'_>)| {
            let mut segment = segment(false, TcpFlags::SYN, b"");
            edit(&mut segment);
            answered(&built(|out| segment.emit(out)), ErrorReply::TimeExceeded)
        };
        assert!(to_all(|_| {}).is_ok());
        let refused = Err(EmitError::NotAnswerable);
        assert_eq!(
            to_all(|segment| segment.envelope.destination_mac = MacAddress::BROADCAST),
            refused
        );
        assert_eq!(
            to_all(|segment| segment.envelope.destination = IpAddr::from([224, 0, 0, 1])),
            refused
        );
        assert_eq!(
            to_all(|segment| segment.envelope.destination = IpAddr::from([255, 255, 255, 255])),
            refused
        );
        assert_eq!(
            to_all(|segment| segment.envelope.source = IpAddr::from([127, 0, 0, 1])),
            refused
        );
        assert_eq!(to_all(|segment| segment.envelope.source = IpAddr::from([0, 0, 0, 0])), refused);
        let multicast = "ff02::1".parse().unwrap();
        let mut segment = segment(true, TcpFlags::SYN, b"");
        segment.envelope.destination = multicast;
        assert_eq!(answered(&built(|out| segment.emit(out)), ErrorReply::TimeExceeded), refused);
    }

    #[test]
    fn a_first_fragment_is_complained_about_and_a_later_one_is_not() {
        let with_place = |place: [u8; 2]| {
            let mut frame = udp_frame(false, &[0; 24]);
            frame[20..22].copy_from_slice(&place);
            frame[24..26].fill(0);
            let checksum = Sum::new().add_bytes(&frame[14..34]).checksum();
            frame[24..26].copy_from_slice(&checksum.to_be_bytes());
            answered(&frame, ErrorReply::TimeExceeded)
        };
        assert!(with_place([0x20, 0]).is_ok());
        assert_eq!(with_place([0x20, 2]), Err(EmitError::NotAnswerable));
    }

    #[test]
    fn a_router_of_the_other_version_cannot_complain() {
        let frame = tcp_frame(true, TcpFlags::SYN, b"");
        let result =
            icmp_error(&frame, &parsed(&frame), ErrorReply::TimeExceeded, CLIENT, &mut [0; 200]);
        assert_eq!(result, Err(EmitError::MixedFamilies));
    }

    #[test]
    fn an_echo_comes_back_with_its_data() {
        for is_ipv6 in [false, true] {
            let request =
                built(|out| emit::echo_request(envelope(is_ipv6), 7, 9, b"some data", out));
            let reply = built(|out| echo_reply(&request, &parsed(&request), out));
            let (asked, headers) = (parsed(&request), parsed(&reply));
            assert!(verify_transport(&reply, &headers));
            assert_eq!(headers.flow_tuple(), asked.flow_tuple().map(|tuple| tuple.reversed()));
            assert_eq!(headers.payload(&reply), Some(&b"some data"[..]));
            assert_eq!(echo_reply(&reply, &headers, &mut [0; 200]), Err(EmitError::NotAnswerable));
        }
        let segment = tcp_frame(false, TcpFlags::ACK, b"");
        assert_eq!(
            echo_reply(&segment, &parsed(&segment), &mut [0; 200]),
            Err(EmitError::NotAnswerable)
        );
    }

    #[test]
    fn a_reset_is_acceptable_to_the_segment_s_sender() {
        let answer = |flags, payload| {
            let frame = tcp_frame(false, flags, payload);
            let answer = built(|out| reset(&parsed(&frame), out));
            let headers = parsed(&answer);
            assert!(verify_transport(&answer, &headers));
            assert_eq!((headers.source(), headers.destination()), (Some(SERVER), Some(CLIENT)));
            let tcp = *headers.tcp().unwrap();
            assert_eq!((tcp.src_port, tcp.dst_port), (80, 40000));
            (tcp.flags, tcp.seq.value(), tcp.ack.value())
        };
        let reset_and_ack = TcpFlags::RST.with(TcpFlags::ACK);
        assert_eq!(answer(TcpFlags::SYN, b""), (reset_and_ack, 0, 1001));
        assert_eq!(answer(TcpFlags::SYN, b"data"), (reset_and_ack, 0, 1005));
        assert_eq!(answer(TcpFlags::ACK, b"data"), (TcpFlags::RST, 2000, 0));
        assert_eq!(answer(TcpFlags::SYN.with(TcpFlags::ACK), b""), (TcpFlags::RST, 2000, 0));
    }

    #[test]
    fn only_segments_without_reset_are_reset() {
        for frame in [tcp_frame(false, TcpFlags::RST, b""), udp_frame(false, b"")] {
            assert_eq!(reset(&parsed(&frame), &mut [0; 200]), Err(EmitError::NotAnswerable));
        }
    }

    #[test]
    fn a_solicitation_is_answered_to_its_sender() {
        let target = "fd00::ff".parse().unwrap();
        let request = built(|out| {
            emit::neighbour_solicitation(CLIENT_MAC, "fd00::1".parse().unwrap(), target, out)
        });
        let answer = built(|out| neighbour_advertisement(&parsed(&request), SERVER_MAC, true, out));
        let headers = parsed(&answer);
        assert!(verify_transport(&answer, &headers));
        assert_eq!(
            (headers.ethernet.source, headers.ethernet.destination),
            (SERVER_MAC, CLIENT_MAC)
        );
        assert_eq!(headers.destination(), parsed(&request).source());
        let Transport::Icmpv6(icmpv6) = headers.transport else { panic!("{headers:?}") };
        let said = Ndp::NeighbourAdvertisement {
            target,
            target_mac: Some(SERVER_MAC),
            is_router: true,
            is_solicited: true,
            overrides: true,
        };
        assert_eq!(icmpv6.message, Icmpv6Message::Ndp(said));
    }

    #[test]
    fn duplicate_address_detection_is_answered_to_all_nodes() {
        let target: Ipv6Addr = "fd00::ff".parse().unwrap();
        let request = built(|out| {
            let envelope = Envelope {
                source: IpAddr::V6(Ipv6Addr::UNSPECIFIED),
                destination: "ff02::1:ff00:ff".parse().unwrap(),
                hop_limit: 255,
                ..envelope(true)
            };
            let (icmp_type, body) = (ndp::NEIGHBOUR_SOLICITATION, target.octets());
            IcmpPacket { envelope, icmp_type, code: 0, word: [0; 4], body: &body }.emit(out)
        });
        let answer =
            built(|out| neighbour_advertisement(&parsed(&request), SERVER_MAC, false, out));
        let headers = parsed(&answer);
        assert_eq!(headers.destination(), Some(IpAddr::V6(ALL_NODES)));
        assert_eq!(headers.ethernet.destination, ALL_NODES_MAC);
        let Transport::Icmpv6(icmpv6) = headers.transport else { panic!("{headers:?}") };
        let Icmpv6Message::Ndp(Ndp::NeighbourAdvertisement { is_solicited, .. }) = icmpv6.message
        else {
            panic!("{headers:?}")
        };
        assert!(!is_solicited);
    }

    proptest! {
        #[test]
        fn a_reset_takes_the_number_rfc_9293_says(
            is_ipv6: bool,
            flags in flags(),
            payload in prop::collection::vec(any::<u8>(), 0..50),
        ) {
            let frame = tcp_frame(is_ipv6, flags, &payload);
            let headers = parsed(&frame);
            let mut out = [0; 200];
            let result = reset(&headers, &mut out);
            prop_assert_eq!(result.is_err(), flags.is_rst());
            if let Ok(length) = result {
                let tcp = *parsed(&out[..length]).tcp().unwrap();
                if flags.is_ack() {
                    prop_assert_eq!((tcp.seq.value(), tcp.flags), (2000, TcpFlags::RST));
                } else {
                    let end = 1000 + u32::try_from(payload.len()).unwrap() + 1;
                    prop_assert_eq!((tcp.seq.value(), tcp.ack.value()), (0, end));
                }
            }
        }
    }
}
