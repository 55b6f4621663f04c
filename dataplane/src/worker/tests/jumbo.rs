//! Packets of several chunks, and links of different MTUs (rows N8 and H15 of the threat model).

use parser::tcp::TcpOption;

use super::*;
use crate::umem::{CAPACITY, MAX_CHUNKS};

const JUMBO: usize = 65_000;

const ALLOWED: &str = "POST /v1/request-landing HTTP/1.1\r\nHost: deathstar\r\n\r\n";
const DENIED: &str = "PUT /v1/exhaust-port HTTP/1.1\r\nHost: deathstar\r\n\r\n";

/// Bytes of headers before the payload of the segments made here.
const HEADERS: usize = 14 + 20 + 20;

/// A rig whose pods have a jumbo MTU and an open connection from tiefighter to deathstar.
fn open_rig(policy: &str) -> Rig {
    let mut rig = Rig::new(policy);
    rig.mtus = [JUMBO, JUMBO, JUMBO, 1500];
    rig.apply(policy);
    let mut hello = tiefighter_syn();
    let mss = mss_option(64_960);
    hello.options = &mss;
    rig.open(TIEFIGHTER, hello);
    let mut answer = syn(envelope(DEATHSTAR, "10.0.0.2", "10.0.0.1"), 80, 40000);
    answer.flags = TcpFlags::SYN.with(TcpFlags::ACK);
    answer.seq = SeqNumber::new(5000);
    answer.ack = SeqNumber::new(1001);
    answer.options = &mss;
    rig.open(DEATHSTAR, answer);
    rig
}

fn mss_option(mss: u16) -> [u8; 4] {
    let [high, low] = mss.to_be_bytes();
    [2, 4, high, low]
}

fn announced_mss(packet: &[u8]) -> Option<u16> {
    headers(packet).tcp_options(packet).find_map(|option| match option {
        Ok(TcpOption::Mss(mss)) => Some(mss),
        _ => None,
    })
}

fn data(seq: u32, payload: &[u8]) -> Vec<u8> {
    let mut segment = tiefighter_syn();
    segment.flags = TcpFlags::ACK.with(TcpFlags::PSH);
    segment.seq = SeqNumber::new(seq);
    segment.ack = SeqNumber::new(5001);
    segment.payload = payload;
    long(&segment)
}

fn long(segment: &Segment<'_>) -> Vec<u8> {
    let mut out = vec![0; 70_000];
    let length = segment.emit(&mut out).unwrap();
    out.truncate(length);
    out
}

/// The payload that reached a port, in the order of its segments.
fn payload_to(port: PortId, out: &[(PortId, Vec<u8>)]) -> Vec<u8> {
    let there = out.iter().filter(|(to, _)| *to == port);
    there.flat_map(|(_, packet)| headers(packet).payload(packet).unwrap().to_vec()).collect()
}

impl Rig {
    /// Sends a packet cut into chunks of these lengths, the last one getting the rest.
    fn send_cut(&mut self, port: PortId, packet: &[u8], cuts: &[usize]) -> Vec<(PortId, Vec<u8>)> {
        let mut rest = packet;
        let mut parts = Vec::new();
        for cut in cuts {
            let (part, more) = rest.split_at(*cut);
            parts.push(part);
            rest = more;
        }
        parts.push(rest);
        let mut chunks = parts.into_iter().map(|part| self.worker.pool.packet(part).unwrap());
        let mut whole = chunks.next().unwrap();
        chunks.for_each(|chunk| whole.append(chunk));
        self.send_frame(port, whole)
    }
}

#[test]
fn a_packet_of_many_chunks_is_forwarded_as_it_is() {
    let mut rig = open_rig("");
    let payload: Vec<u8> = (0..60_000_u32).map(|at| at.to_le_bytes()[0]).collect();
    let out = rig.send(TIEFIGHTER, &data(1001, &payload));
    let [(DEATHSTAR, packet)] = &out[..] else { panic!("{} packets", out.len()) };
    let headers = headers(packet);
    assert_eq!(headers.hop_limit(), Some(63));
    assert_eq!(headers.ethernet.destination, pod_mac(1));
    assert_eq!(headers.payload(packet), Some(&payload[..]));
}

#[test]
fn every_chunk_of_a_packet_that_waits_is_in_the_ledger() {
    let mut rig = open_rig("");
    rig.neighbours[1] = Arc::new(Neighbour::default());
    rig.apply("");
    rig.send(TIEFIGHTER, &data(1001, &[7; 60_000])); // checks the ledger; only the question for the address leaves
    let report = rig.worker.report();
    assert_eq!((report.waiting, report.held), (1, (60_000 + HEADERS).div_ceil(CAPACITY)));
}

#[test]
fn a_checksum_left_to_hardware_is_completed_over_all_chunks() {
    let mut rig = open_rig("");
    let mut packet = data(1001, &[7; 20_001]);
    let pseudo = parser::checksum::pseudo_header_v4(
        [10, 0, 0, 1].into(),
        [10, 0, 0, 2].into(),
        parser::network::Protocol::TCP,
        20_021,
    );
    packet[14 + 20 + 16..14 + 20 + 18].copy_from_slice(&pseudo.value().to_be_bytes());
    let out = rig.send(TIEFIGHTER, &packet);
    headers(&out[0].1);
}

#[test]
fn an_inspected_packet_with_a_wrong_byte_in_its_last_chunk_is_dropped() {
    let mut rig = open_rig(L7);
    let mut packet = data(1001, &[b'x'; 10_000]);
    *packet.last_mut().unwrap() ^= 1;
    assert!(rig.send(TIEFIGHTER, &packet).is_empty());
    assert_eq!(rig.dropped(DropReason::BadChecksum), 1);
}

#[test]
fn a_head_may_end_at_any_byte_of_a_chunk() {
    // Every place of the first cut from the head's first byte to beyond its last: among them exactly its end.
    for cut in HEADERS..=HEADERS + ALLOWED.len() {
        let mut rig = open_rig(L7);
        let both = [ALLOWED, DENIED].concat();
        let out = rig.send_cut(TIEFIGHTER, &data(1001, both.as_bytes()), &[cut]);
        assert_eq!(payload_to(DEATHSTAR, &out), ALLOWED.as_bytes(), "cut at {cut}");
        assert_eq!((rig.requests().allowed, rig.requests().denied), (1, 1), "cut at {cut}");
    }
}

#[test]
fn forty_requests_in_one_packet_of_many_chunks_are_each_judged() {
    // Heads of 500 bytes: forty of them are 20 000 bytes in six chunks, and chunks end inside heads.
    let request = |text: &str, number: usize| {
        let (first, rest) = text.split_once("\r\n").unwrap();
        let pad = "p".repeat(500 - text.len() - "X-Pad: \r\n".len());
        let request = format!("{first}\r\nX-Pad: {pad}\r\n{rest}");
        assert_eq!(request.len(), 500, "request {number}");
        request
    };
    let mut rig = open_rig(L7);
    rig.worker.settings.limits.outstanding = 16;
    let texts: Vec<_> = (0..40)
        .map(|number| request(if number == 11 { DENIED } else { ALLOWED }, number))
        .collect();
    let out = rig.send(TIEFIGHTER, &data(1001, texts.concat().as_bytes()));
    // The denied one is not answered before the eleven before it are, and nothing behind it passes before that.
    assert_eq!(payload_to(DEATHSTAR, &out), texts[..11].concat().as_bytes());
    assert_eq!((rig.requests().allowed, rig.requests().denied), (11, 1));
    let response = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".repeat(11);
    let mut answer = syn(envelope(DEATHSTAR, "10.0.0.2", "10.0.0.1"), 80, 40000);
    answer.flags = TcpFlags::ACK;
    answer.seq = SeqNumber::new(5001);
    answer.ack = SeqNumber::new(1001 + 11 * 500);
    answer.payload = response.as_bytes();
    let out = rig.send(DEATHSTAR, &bytes(&answer));
    let told = String::from_utf8(payload_to(TIEFIGHTER, &out)).unwrap();
    assert!(told.starts_with(&response) && told.contains("HTTP/1.1 403 "), "{told}");
    assert_eq!(payload_to(DEATHSTAR, &out), texts[12..28].concat().as_bytes(), "sixteen at a time");
}

#[test]
fn a_denied_request_in_the_middle_of_a_packet_of_many_chunks_is_cut_out() {
    let mut rig = open_rig(L7);
    let body = "b".repeat(2 * CAPACITY);
    let upload = format!(
        "POST /v1/request-landing HTTP/1.1\r\nHost: deathstar\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let all = [&upload, DENIED, &upload].concat();
    let out = rig.send(TIEFIGHTER, &data(1001, all.as_bytes()));
    assert_eq!(payload_to(DEATHSTAR, &out), upload.as_bytes());
    assert_eq!((rig.requests().allowed, rig.requests().denied), (1, 1));
    let response = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    let mut answer = syn(envelope(DEATHSTAR, "10.0.0.2", "10.0.0.1"), 80, 40000);
    answer.flags = TcpFlags::ACK;
    answer.seq = SeqNumber::new(5001);
    answer.ack = SeqNumber::new(1001 + u32::try_from(upload.len()).unwrap());
    answer.payload = response.as_bytes();
    let out = rig.send(DEATHSTAR, &bytes(&answer));
    // What waited behind the denied one leaves in a packet of ours, itself of several chunks.
    assert_eq!(payload_to(DEATHSTAR, &out), upload.as_bytes());
    assert!(String::from_utf8(payload_to(TIEFIGHTER, &out)).unwrap().contains("403"));
}

#[test]
fn headers_that_are_not_whole_in_the_first_chunk_are_refused() {
    let mut rig = open_rig("");
    for cut in [1, 13, 14, 33, 34, HEADERS - 1] {
        assert!(rig.send_cut(TIEFIGHTER, &data(1001, &[1; 5000]), &[cut]).is_empty(), "{cut}");
    }
    assert_eq!(rig.dropped(DropReason::InvalidPacket), 4);
    assert_eq!(rig.dropped(DropReason::InvalidTransportHeader), 2);
}

#[test]
fn bytes_behind_the_packets_end_are_refused_in_a_packet_of_many_chunks() {
    let mut rig = open_rig("");
    let mut packet = data(1001, &[1; 5000]);
    packet.push(0);
    assert!(rig.send(TIEFIGHTER, &packet).is_empty());
    assert_eq!(rig.dropped(DropReason::InvalidPacket), 1);
}

#[test]
fn a_packet_of_too_many_chunks_is_a_drop_with_a_name() {
    let mut rig = open_rig("");
    let packet = data(1001, &[1; 1900]);
    assert_eq!(rig.send_cut(TIEFIGHTER, &packet, &[60; MAX_CHUNKS - 1]).len(), 1);
    assert!(rig.send_cut(TIEFIGHTER, &packet, &[60; MAX_CHUNKS]).is_empty());
    assert_eq!(rig.dropped(DropReason::FrameTooLong), 1);
}

#[test]
fn what_a_link_cannot_carry_is_told_with_its_mtu_whether_inspected_or_not() {
    for policy in ["", L7] {
        let mut rig = open_rig(policy);
        rig.mtus[1] = 9000;
        rig.apply(policy);
        let body = "b".repeat(20_000);
        let payload = format!(
            "POST /v1/request-landing HTTP/1.1\r\nHost: deathstar\r\nContent-Length: 20000\r\n\r\n{body}"
        );
        let out = rig.send(TIEFIGHTER, &data(1001, payload.as_bytes()));
        let [(TIEFIGHTER, error)] = &out[..] else { panic!("{} packets", out.len()) };
        let cause = headers(error).icmp_error().unwrap().cause;
        assert_eq!(cause, parser::icmp::ErrorCause::TooBig { mtu: 9000 });
        assert_eq!(rig.dropped(DropReason::TooBig), 1);
        // The sender cuts it smaller, and the engine has not noted what did not pass.
        let out = rig.send(TIEFIGHTER, &data(1001, &payload.as_bytes()[..8900]));
        assert_eq!(payload_to(DEATHSTAR, &out), &payload.as_bytes()[..8900]);
    }
}

#[test]
fn a_syn_announces_no_more_than_both_links_carry() {
    for (policy, mtus, announced, passed) in [
        ("", [JUMBO, 1500], 64_960, 1460),
        ("", [1500, JUMBO], 64_960, 1460),
        (L7, [9000, JUMBO], 64_960, 8960),
        (L7, [JUMBO, JUMBO], 1000, 1000),
    ] {
        let mut rig = Rig::new(policy);
        rig.mtus = [mtus[0], mtus[1], 1500, 1500];
        rig.apply(policy);
        let option = mss_option(announced);
        let mut hello = tiefighter_syn();
        hello.options = &option;
        let packet = rig.open(TIEFIGHTER, hello);
        assert_eq!(announced_mss(&packet), Some(passed), "{mtus:?}");
        let mut answer = syn(envelope(DEATHSTAR, "10.0.0.2", "10.0.0.1"), 80, 40000);
        answer.flags = TcpFlags::SYN.with(TcpFlags::ACK);
        answer.ack = SeqNumber::new(1001);
        answer.options = &option;
        let packet = rig.open(DEATHSTAR, answer);
        assert_eq!(announced_mss(&packet), Some(passed), "{mtus:?}, the answer");
    }
    let mut rig = Rig::new("");
    rig.mtus = [JUMBO, 1500, 1500, 1500];
    rig.apply("");
    let option = mss_option(64_940);
    let mut hello = syn(envelope(TIEFIGHTER, "fd00::1", "fd00::2"), 40000, 80);
    hello.options = &option;
    assert_eq!(announced_mss(&rig.open(TIEFIGHTER, hello)), Some(1440));
}

/// The deathstar's segment with payload.
fn answer(seq: u32, ack: u32, payload: &[u8]) -> Vec<u8> {
    let mut segment = syn(envelope(DEATHSTAR, "10.0.0.2", "10.0.0.1"), 80, 40000);
    segment.flags = TcpFlags::ACK;
    (segment.seq, segment.ack) = (SeqNumber::new(seq), SeqNumber::new(ack));
    segment.payload = payload;
    long(&segment)
}

/// Bytes that tell where they stand.
fn content(length: usize) -> Vec<u8> {
    (0..length).map(|at| b'a' + u8::try_from(at % 23).unwrap()).collect()
}

#[test]
fn content_in_packets_of_many_chunks_arrives_as_it_was_sent() {
    let mut rig = open_rig(L7);
    let body = content(40_000);
    let head =
        "POST /v1/request-landing HTTP/1.1\r\nHost: deathstar\r\nContent-Length: 40000\r\n\r\n";
    assert_eq!(rig.send(TIEFIGHTER, &data(1001, head.as_bytes())).len(), 1);
    let first = 1001 + u32::try_from(head.len()).unwrap();
    let out = rig.send(TIEFIGHTER, &data(first, &body[..15_000]));
    assert_eq!(payload_to(DEATHSTAR, &out), &body[..15_000]);
    // The server has a part; the client repeats more than the rest, so that a part of its packet goes on.
    assert_eq!(rig.send(DEATHSTAR, &answer(5001, first + 8_000, b"")).len(), 1);
    let out = rig.send(TIEFIGHTER, &data(first + 5_000, &body[5_000..30_000]));
    assert_eq!(payload_to(DEATHSTAR, &out), &body[8_000..30_000]);
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 40000\r\n\r\n";
    let out = rig.send(DEATHSTAR, &answer(5001, first + 30_000, head.as_bytes()));
    assert_eq!(payload_to(TIEFIGHTER, &out), head.as_bytes());
    let next = 5001 + u32::try_from(head.len()).unwrap();
    let out = rig.send(DEATHSTAR, &answer(next, first + 30_000, &body));
    assert_eq!(payload_to(TIEFIGHTER, &out), body);
    // Content ends where it was said to: what follows in the same packet is read.
    let rest = [&body[30_000..], DENIED.as_bytes()].concat();
    let out = rig.send(TIEFIGHTER, &data(first + 30_000, &rest));
    assert_eq!(payload_to(DEATHSTAR, &out), &body[30_000..]);
    assert_eq!((rig.requests().allowed, rig.requests().denied), (1, 1));
}

#[test]
fn content_with_a_wrong_byte_is_dropped_though_nobody_reads_it() {
    let mut rig = open_rig(L7);
    let head =
        "POST /v1/request-landing HTTP/1.1\r\nHost: deathstar\r\nContent-Length: 40000\r\n\r\n";
    assert_eq!(rig.send(TIEFIGHTER, &data(1001, head.as_bytes())).len(), 1);
    let mut packet = data(1001 + u32::try_from(head.len()).unwrap(), &content(20_000));
    *packet.last_mut().unwrap() ^= 1;
    assert!(rig.send(TIEFIGHTER, &packet).is_empty());
    assert_eq!(rig.dropped(DropReason::BadChecksum), 1);
}
