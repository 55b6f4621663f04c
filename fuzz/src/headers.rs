//! What must hold of any bytes that arrive as a frame, whether they are read or refused.

use std::net::IpAddr;

use parser::{
    answer::{self, ErrorReply},
    checksum::{complete_partial, verify_transport},
    ethernet::MacAddress,
    flow_key::FlowKey,
    fragment::{FragmentKey, Limits, Reassembler},
    headers::{Headers, Transport},
    rewrite::{self, TcpEdit},
    tcp::{SackBlock, SeqNumber, TcpOption, Timestamps},
};

const MAC: MacAddress = MacAddress::new([2, 0, 0, 0, 0, 9]);

/// Panics if one of the parser's promises is broken.
pub(crate) fn check(frame: &[u8]) {
    let Ok(headers) = Headers::parse(frame) else { return };
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
