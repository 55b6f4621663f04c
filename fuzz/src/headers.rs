//! What must hold of any bytes that arrive as a frame, whether they are read or refused.

use std::net::IpAddr;

use parser::{
    answer::{self, ErrorReply},
    checksum::{complete_partial, verify_transport},
    ethernet::{MacAddress, Stations},
    flow_key::{FlowKey, FlowTuple},
    fragment::{FragmentKey, Limits, Reassembler},
    headers::{Headers, Transport},
    plain::Plain,
    rewrite::{self, TcpEdit},
    tcp::{SackBlock, SeqNumber, TcpFlags, TcpOption, Timestamps},
};

const MAC: MacAddress = MacAddress::new([2, 0, 0, 0, 0, 9]);

/// Panics if one of the parser's promises is broken.
pub(crate) fn check(frame: &[u8]) {
    let Ok(headers) = Headers::parse(frame) else {
        assert_eq!(Plain::read(frame), None, "what has no headers is not plain");
        return;
    };
    check_plain(frame, &headers);
    check_offsets(frame, &headers);
    check_answers(frame, &headers);
    check_edits(frame, &headers);
    check_reassembly(frame, &headers);
    let mut frame = frame.to_vec();
    if complete_partial(&mut frame, &headers) {
        assert!(verify_transport(&frame, &headers));
    }
}

/// Every offset lies inside the packet, and the packet inside the frame.
fn check_offsets(frame: &[u8], headers: &Headers) {
    assert!(headers.network_offset <= headers.transport_offset);
    assert!(headers.transport_offset <= headers.payload_offset);
    assert!(headers.payload_end() <= headers.packet_end());
    assert!(headers.packet_end() <= frame.len());
    assert!(headers.payload(frame).is_some());
    let _ = headers.tcp_options(frame).count();
    if let Some(error) = headers.icmp_error() {
        assert!(error.quote.transport_offset + 8 <= headers.payload_end());
    }
    if let Some(tuple) = headers.flow_tuple() {
        assert_eq!(FlowKey::of(&tuple).0, FlowKey::of(&tuple.reversed()).0);
    }
    // A frame may come without its payload in the first buffer; cut inside its headers, it is
    // refused or read alike.
    for cut in [headers.payload_offset, headers.payload_offset - 1, headers.transport_offset] {
        if let Ok(first) = Headers::parse_first(&frame[..cut], frame.len()) {
            assert_eq!(first.payload_offset, headers.payload_offset);
        }
    }
}

/// A plain frame is what its headers say, and its edits are theirs.
fn check_plain(frame: &[u8], headers: &Headers) {
    let Some((plain, flow)) = Plain::read(frame) else { return };
    assert_eq!(headers.flow_tuple(), Some(flow));
    assert_eq!(plain.is_tcp(), headers.tcp().is_some());
    assert_eq!(plain.packet_end(), headers.packet_end());
    assert_eq!(Some(plain.packet_len()), headers.network.packet_len());
    assert_eq!(plain.payload_len(), headers.payload_len);
    assert!(headers.hop_limit() > Some(1));
    assert!(!headers.network.has_martian_source() && !headers.network.is_to_group());
    let (mut short, mut long) = (frame.to_vec(), frame.to_vec());
    let transport = plain.transport(&mut short);
    if let Some((tcp, options, payload)) = plain.tcp(transport) {
        assert!(tcp.flags.without(TcpFlags::PSH) == TcpFlags::ACK);
        assert_eq!(Some(&tcp), headers.tcp());
        assert_eq!(options, headers.tcp_option_bytes(frame));
        assert_eq!(Some(payload), headers.payload(frame));
    }
    let pseudo_header = plain.pseudo_header(&flow);
    let was_partial = plain.complete_checksum(transport, pseudo_header);
    assert_eq!(was_partial, complete_partial(&mut long, headers));
    let has_none =
        long.get(headers.transport_offset + 6..).is_some_and(|it| it.starts_with(&[0, 0]));
    if plain.is_tcp() || !has_none {
        assert_eq!(
            plain.is_intact(plain.transport(&mut short), pseudo_header),
            verify_transport(&long, headers)
        );
    }
    let address = match flow.source {
        IpAddr::V6(_) => IpAddr::from([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]),
        IpAddr::V4(_) => IpAddr::from([10, 0, 0, 7]),
    };
    let mut headers = Headers::parse(&long).unwrap_or(*headers);
    for wanted in [
        FlowTuple { source: address, src_port: 7, ..flow },
        FlowTuple { destination: address, ..flow },
        FlowTuple { source: address, destination: address, dst_port: 8, ..flow },
    ] {
        let (mut short, mut long, mut headers) = (short.clone(), long.clone(), headers);
        assert!(plain.translate(&mut short, &flow, &wanted));
        let port = |is: u16, wanted: u16| (is != wanted).then_some(wanted);
        let (src_port, dst_port) =
            (port(flow.src_port, wanted.src_port), port(flow.dst_port, wanted.dst_port));
        if (flow.source, flow.src_port) != (wanted.source, wanted.src_port) {
            assert!(rewrite::source(&mut long, &mut headers, wanted.source, src_port).is_ok());
        }
        if (flow.destination, flow.dst_port) != (wanted.destination, wanted.dst_port) {
            let to = wanted.destination;
            assert!(rewrite::destination(&mut long, &mut headers, to, dst_port).is_ok());
        }
        assert_eq!(short, long);
    }
    assert!(plain.forward(&mut short, Stations { destination: MAC, source: MAC }));
    assert!(rewrite::decrement_hop_limit(&mut long, &mut headers).is_ok());
    assert!(rewrite::macs(&mut long, &mut headers, MAC, MAC).is_ok());
    assert_eq!(short, long);
}

/// What we send in answer, we would take ourselves.
fn check_answers(frame: &[u8], headers: &Headers) {
    let mut out = vec![0; frame.len() + 1500];
    let router = match headers.source() {
        Some(IpAddr::V6(_)) => IpAddr::from([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9]),
        _ => IpAddr::from([10, 0, 0, 9]),
    };
    let answers = [
        answer::icmp_error(frame, headers, ErrorReply::TooBig { mtu: 1400 }, router, &mut out)
            .map(|len| out[..len].to_vec()),
        answer::echo_reply(frame, headers, &mut out).map(|len| out[..len].to_vec()),
        answer::reset(headers, &mut out).map(|len| out[..len].to_vec()),
        answer::neighbour_advertisement(headers, MAC, true, &mut out)
            .map(|len| out[..len].to_vec()),
    ];
    for answer in answers.into_iter().flatten() {
        match Headers::parse(&answer) {
            Ok(headers) => assert!(verify_transport(&answer, &headers)),
            // An error may quote what names no flow, and a reset goes back to where nobody may
            // live.
            Err(reason) => assert!(format!("{reason:?}").starts_with("IcmpQuote"), "{reason:?}"),
        }
    }
}

/// After each edit the headers describe the frame, and it is as intact as it was.
fn check_edits(frame: &[u8], headers: &Headers) {
    let mut frame = frame.to_vec();
    let mut headers = *headers;
    let transport = &frame[headers.transport_offset..headers.payload_end()];
    if transport.iter().all(|&byte| byte == 0) {
        // Here a wrong checksum of 0 cannot be told from a right one of all ones (`rewrite`).
        return;
    }
    let was_intact = verify_transport(&frame, &headers);
    let assert_alike = |frame: &[u8], headers: &Headers, edit: &str| {
        assert_eq!(Headers::parse(frame).as_ref(), Ok(headers), "{edit}");
        assert_eq!(verify_transport(frame, headers), was_intact, "{edit}");
    };
    if rewrite::macs(&mut frame, &mut headers, MAC, MAC).is_ok() {
        assert_alike(&frame, &headers, "macs");
    }
    if !matches!(headers.transport, Transport::Icmpv6(_))
        && rewrite::decrement_hop_limit(&mut frame, &mut headers).is_ok()
    {
        assert_alike(&frame, &headers, "hop limit");
    }
    let address = match headers.source() {
        Some(IpAddr::V6(_)) => IpAddr::from([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]),
        _ => IpAddr::from([10, 0, 0, 7]),
    };
    let is_edited = rewrite::source(&mut frame, &mut headers, address, Some(7)).is_ok()
        | rewrite::destination(&mut frame, &mut headers, address, Some(8)).is_ok()
        | rewrite::source(&mut frame, &mut headers, address, None).is_ok()
        | rewrite::destination(&mut frame, &mut headers, address, None).is_ok();
    if is_edited {
        assert_alike(&frame, &headers, "addresses");
    }
    let is_edited = rewrite::quoted_source(&mut frame, &mut headers, address, Some(7)).is_ok()
        | rewrite::quoted_destination(&mut frame, &mut headers, address, None).is_ok()
        | rewrite::quoted_seq(&mut frame, &mut headers, SeqNumber::new(7)).is_ok();
    if is_edited {
        assert_alike(&frame, &headers, "quote");
    }
    let edit = TcpEdit {
        seq: Some(SeqNumber::new(1)),
        ack: Some(SeqNumber::new(2)),
        window: Some(3),
        ..TcpEdit::default()
    };
    if rewrite::tcp(&mut frame, &mut headers, &edit).is_ok() {
        assert_alike(&frame, &headers, "segment");
        let shift =
            |block: SackBlock| SackBlock { left: block.left.plus(1), right: block.right.plus(1) };
        let _ = rewrite::sack_blocks(&mut frame, &mut headers, shift);
        let _ = rewrite::timestamps(&mut frame, &mut headers, |old| Timestamps {
            value: old.echo,
            echo: old.value,
        });
        assert_alike(&frame, &headers, "options");
        let _ = rewrite::blank_options(&mut frame, &mut headers, |option| {
            *option != TcpOption::SackPermitted
        });
        assert_alike(&frame, &headers, "blanked options");
        assert!(
            headers
                .tcp_options(&frame)
                .all(|option| option.is_err() || option == Ok(TcpOption::SackPermitted))
        );
    }
}

/// A fragment waits, and is condemned if it comes again.
fn check_reassembly(frame: &[u8], headers: &Headers) {
    let Some((key, fragment)) = FragmentKey::of(headers, 0) else { return };
    let limits = Limits {
        packets: 1,
        packets_per_source: 1,
        packets_per_link: 1,
        pieces_per_packet: 4,
        buffers: 4,
        buffers_per_link: 4,
        age: 1,
    };
    let mut reassembler = Reassembler::new(limits);
    for _ in 0..2 {
        drop(reassembler.insert(key, fragment, headers.payload_len, 1, (), 0));
    }
    assert_eq!(reassembler.waiting(), 0);
    let _ = Headers::parse_whole(frame, frame.len(), u16::MAX);
}
