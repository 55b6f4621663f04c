//! Frames for this crate's tests: hosts, builders, proptest strategies, and a slow checksum that is
//! obviously right.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use crate::{
    emit::{Datagram, Envelope, IcmpPacket, Segment},
    ethernet::MacAddress,
    headers::Headers,
    network::Network,
    tcp::{SeqNumber, TcpFlags},
};

pub(crate) const CLIENT_MAC: MacAddress = MacAddress::new([2, 0, 0, 0, 0, 1]);
pub(crate) const SERVER_MAC: MacAddress = MacAddress::new([2, 0, 0, 0, 0, 2]);
pub(crate) const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
pub(crate) const SERVER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));
pub(crate) const CLIENT6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1));
pub(crate) const SERVER6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2));

pub(crate) const fn envelope(is_ipv6: bool) -> Envelope {
    let (source, destination) = if is_ipv6 { (CLIENT6, SERVER6) } else { (CLIENT, SERVER) };
    Envelope {
        source_mac: CLIENT_MAC,
        destination_mac: SERVER_MAC,
        source,
        destination,
        hop_limit: 64,
        traffic_class: 0,
    }
}

pub(crate) const fn segment(is_ipv6: bool, flags: TcpFlags, payload: &[u8]) -> Segment<'_> {
    Segment {
        envelope: envelope(is_ipv6),
        src_port: 40000,
        dst_port: 80,
        seq: SeqNumber::new(1000),
        ack: SeqNumber::new(2000),
        flags,
        window: 500,
        options: &[],
        payload,
    }
}

/// The frame that `emit` writes.
pub(crate) fn built(emit: impl FnOnce(&mut [u8]) -> Result<usize, crate::EmitError>) -> Vec<u8> {
    let mut buffer = vec![0xee; 70_000];
    let length = emit(&mut buffer).unwrap();
    buffer.truncate(length);
    buffer
}

pub(crate) fn tcp_frame(is_ipv6: bool, flags: TcpFlags, payload: &[u8]) -> Vec<u8> {
    built(|out| segment(is_ipv6, flags, payload).emit(out))
}

pub(crate) fn udp_frame(is_ipv6: bool, payload: &[u8]) -> Vec<u8> {
    let datagram = Datagram { envelope: envelope(is_ipv6), src_port: 40000, dst_port: 53, payload };
    built(|out| datagram.emit(out))
}

/// An ICMP error about `quoted`, from a router to the quoted packet's sender.
pub(crate) fn icmp_error_frame(
    is_ipv6: bool,
    icmp_type: u8,
    code: u8,
    word: [u8; 4],
    quoted: &[u8],
) -> Vec<u8> {
    let mut envelope = envelope(is_ipv6);
    (envelope.source, envelope.destination) = if is_ipv6 {
        ("fd00::ff".parse().unwrap(), CLIENT6)
    } else {
        ("10.0.0.254".parse().unwrap(), CLIENT)
    };
    built(|out| IcmpPacket { envelope, icmp_type, code, word, body: quoted }.emit(out))
}

pub(crate) fn parsed(frame: &[u8]) -> Headers {
    Headers::parse(frame).unwrap_or_else(|reason| panic!("{reason}: {frame:02x?}"))
}

/// RFC 1071 §1, word by word.
pub(crate) fn naive_sum(bytes: &[u8]) -> u16 {
    let mut sum = 0_u32;
    for word in bytes.chunks(2) {
        sum += u32::from(word[0]) << 8 | u32::from(*word.get(1).unwrap_or(&0));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).unwrap()
}

/// The sum over pseudo header and transport bytes, from the frame's own words: 0xffff when the
/// checksum is right.
pub(crate) fn naive_transport_sum(frame: &[u8], headers: &Headers, protocol: u8) -> u16 {
    let transport = &frame[headers.transport_offset..headers.payload_end()];
    let mut covered = match headers.network {
        Network::Ipv4(_) if protocol == 1 => Vec::new(),
        Network::Ipv4(_) => frame[26..34].to_vec(),
        Network::Ipv6(_) => frame[22..54].to_vec(),
        Network::Arp(_) => panic!("ARP has no transport"),
    };
    if !covered.is_empty() {
        covered.extend([0, protocol]);
        covered.extend(u16::try_from(transport.len()).unwrap().to_be_bytes());
    }
    covered.extend(transport);
    naive_sum(&covered)
}

/// Hosts that may talk to each other.
pub(crate) fn envelopes() -> impl Strategy<Value = Envelope> {
    let addresses = prop_oneof![
        (any::<[u8; 4]>(), any::<[u8; 4]>())
            .prop_map(|(source, destination)| (source.into(), destination.into())),
        (any::<[u8; 15]>(), any::<[u8; 15]>()).prop_map(|(source, destination)| {
            let global = |tail: [u8; 15]| {
                let mut octets = [0xfd; 16];
                octets[1..].copy_from_slice(&tail);
                IpAddr::from(octets)
            };
            (global(source), global(destination))
        }),
    ];
    (addresses, any::<u8>(), any::<u8>(), any::<[u8; 6]>()).prop_map(
        |((source, destination), hop_limit, traffic_class, destination_mac)| Envelope {
            source_mac: CLIENT_MAC,
            destination_mac: MacAddress::new(destination_mac),
            source,
            destination,
            hop_limit,
            traffic_class,
        },
    )
}

/// Control bits some connection could have.
pub(crate) fn flags() -> impl Strategy<Value = TcpFlags> {
    any::<u8>().prop_map(TcpFlags::new).prop_filter("legal", |flags| flags.check().is_ok())
}

/// Options a stack could send.
pub(crate) fn tcp_options() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(vec![]),
        Just(vec![2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 9, 0, 0, 0, 0, 1, 3, 3, 7]),
        Just(vec![8, 10, 1, 2, 3, 4, 5, 6, 7, 8, 5, 10, 0, 0, 0, 1, 0, 0, 1, 0]),
        (any::<[u8; 8]>(), any::<[u8; 16]>()).prop_map(|(stamps, sack)| {
            [&[1, 8, 10], &stamps[..], &[5, 18], &sack[..]].concat()
        }),
    ]
}

/// Whole TCP frames.
pub(crate) fn tcp_frames() -> impl Strategy<Value = Vec<u8>> {
    (
        envelopes(),
        flags(),
        tcp_options(),
        prop::collection::vec(any::<u8>(), 0..200),
        any::<[u32; 2]>(),
        1..u16::MAX,
    )
        .prop_map(|(envelope, flags, options, payload, [seq, ack], src_port)| {
            let segment = Segment {
                envelope,
                src_port,
                dst_port: 80,
                seq: SeqNumber::new(seq),
                ack: SeqNumber::new(ack),
                flags,
                window: src_port,
                options: &options,
                payload: &payload,
            };
            built(|out| segment.emit(out))
        })
}

/// Whole UDP frames.
pub(crate) fn udp_frames() -> impl Strategy<Value = Vec<u8>> {
    (envelopes(), prop::collection::vec(any::<u8>(), 0..200), any::<u16>(), 1..=u16::MAX).prop_map(
        |(envelope, payload, src_port, dst_port)| {
            built(|out| Datagram { envelope, src_port, dst_port, payload: &payload }.emit(out))
        },
    )
}

/// Echo requests and errors that quote one of the frames above.
pub(crate) fn icmp_frames() -> impl Strategy<Value = Vec<u8>> {
    let quoted = prop_oneof![tcp_frames(), udp_frames()];
    let errors = (quoted, 28_usize..200, any::<[u8; 4]>()).prop_map(|(quoted, length, word)| {
        let is_ipv6 = quoted[12] == 0x86;
        let quote = &quoted[14..];
        let length = length + if is_ipv6 { 20 } else { 0 };
        let quote = quote.get(..length).unwrap_or(quote);
        icmp_error_frame(
            is_ipv6,
            if is_ipv6 { 2 } else { 3 },
            if is_ipv6 { 0 } else { 4 },
            word,
            quote,
        )
    });
    let echoes =
        (envelopes(), any::<u16>(), any::<u16>(), prop::collection::vec(any::<u8>(), 0..60))
            .prop_map(|(envelope, identifier, sequence, data)| {
                built(|out| crate::emit::echo_request(envelope, identifier, sequence, &data, out))
            });
    prop_oneof![errors, echoes]
}

/// Any frame with a transport header.
pub(crate) fn frames() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![tcp_frames(), udp_frames(), icmp_frames()]
}
