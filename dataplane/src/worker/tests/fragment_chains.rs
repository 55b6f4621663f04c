//! Fragments that are themselves packets of several chunks, on an inspected connection (rows N1 and N8 of the threat model): what
//! they make is judged byte by byte as if it had come in one piece, or dropped by name.

use super::{fragments::fragments, *};
use crate::umem::CAPACITY;

const JUMBO: usize = 65_000;
/// Bytes of a head, and where its fragments end: each has more data than a chunk.
const HEAD: usize = 3 * CAPACITY;
const CUT: usize = (CAPACITY + 100).next_multiple_of(8);

const FAMILIES: [(&str, &str); 2] = [("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2")];

/// A rig with jumbo links and an inspected connection between two addresses.
fn open_rig((source, destination): (&str, &str)) -> Rig {
    let mut rig = Rig::new(L7);
    rig.mtus = [JUMBO, JUMBO, JUMBO, 1500];
    rig.apply(L7);
    rig.open(TIEFIGHTER, syn(envelope(TIEFIGHTER, source, destination), 40000, 80));
    let mut answer = syn(envelope(DEATHSTAR, destination, source), 80, 40000);
    answer.flags = TcpFlags::SYN.with(TcpFlags::ACK);
    answer.seq = SeqNumber::new(5000);
    answer.ack = SeqNumber::new(1001);
    rig.open(DEATHSTAR, answer);
    rig
}

/// A request of [`HEAD`] bytes, in two lines.
fn head(target: &str) -> Vec<u8> {
    let start = format!("POST {target} HTTP/1.1\r\nHost: deathstar\r\n");
    let rest = HEAD - start.len() - 2 - 2 * "X-Pad: \r\n".len();
    let pad = |length| format!("X-Pad: {}\r\n", "p".repeat(length));
    format!("{start}{}{}\r\n", pad(rest / 2), pad(rest - rest / 2)).into_bytes()
}

/// The segment that opens with `payload`.
fn packet((source, destination): (&str, &str), payload: &[u8]) -> Vec<u8> {
    let segment = Segment {
        flags: TcpFlags::ACK.with(TcpFlags::PSH),
        seq: SeqNumber::new(1001),
        ack: SeqNumber::new(5001),
        payload,
        ..syn(envelope(TIEFIGHTER, source, destination), 40000, 80)
    };
    let mut out = vec![0; 70_000];
    let length = segment.emit(&mut out).unwrap();
    out.truncate(length);
    out
}

/// What reached the deathstar's port.
fn to_server(out: &[(PortId, Vec<u8>)]) -> Vec<u8> {
    let there = out.iter().filter(|(port, _)| *port == DEATHSTAR);
    there.flat_map(|(_, packet)| headers(packet).payload(packet).unwrap().to_vec()).collect()
}

fn send_all(rig: &mut Rig, pieces: &[Vec<u8>]) -> Vec<(PortId, Vec<u8>)> {
    assert!(pieces.iter().filter(|piece| piece.len() > CAPACITY).count() + 1 >= pieces.len());
    pieces.iter().flat_map(|piece| rig.send(TIEFIGHTER, piece)).collect()
}

#[test]
fn a_request_in_fragments_of_many_chunks_is_judged_as_one_in_any_order() {
    for family in FAMILIES {
        for (target, passes) in [("/v1/request-landing", true), ("/v1/exhaust-port", false)] {
            let request = head(target);
            let pieces = fragments(&packet(family, &request), CUT);
            assert_eq!(pieces.len(), 3);
            for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
                let mut rig = open_rig(family);
                let out = send_all(&mut rig, &order.map(|at| pieces[at].clone())[..]);
                let expected = if passes { &request[..] } else { &[] };
                assert_eq!(to_server(&out), expected, "{family:?} {target} {order:?}");
                let judged = (rig.requests().allowed, rig.requests().denied);
                assert_eq!(judged, (u64::from(passes), u64::from(!passes)));
                assert_eq!(rig.worker.counters.dropped_in_all(), 0, "{family:?} {order:?}");
            }
        }
    }
}

#[test]
fn a_denied_request_behind_an_allowed_one_is_cut_out_of_the_whole() {
    for family in FAMILIES {
        let allowed = head("/v1/request-landing");
        let both = [&allowed[..], &head("/v1/exhaust-port")].concat();
        let mut rig = open_rig(family);
        let out = send_all(&mut rig, &fragments(&packet(family, &both), CUT));
        assert_eq!(to_server(&out), allowed);
        assert_eq!((rig.requests().allowed, rig.requests().denied), (1, 1));
    }
}

#[test]
fn fragments_of_many_chunks_that_share_a_byte_let_nothing_through() {
    for family in FAMILIES {
        let good = fragments(&packet(family, &head("/v1/request-landing")), CUT);
        let evil = fragments(&packet(family, &head("/v1/exhaust-port")), CUT);
        let mixes =
            [[&good[0], &evil[0], &good[1], &good[2]], [&evil[0], &good[0], &good[1], &good[2]]];
        for mix in mixes {
            let mut rig = open_rig(family);
            assert!(send_all(&mut rig, &mix.map(Clone::clone)[..]).is_empty());
            assert_eq!(rig.dropped(DropReason::Fragment), 4);
            assert_eq!((rig.requests().allowed, rig.requests().denied), (0, 0));
        }
    }
}

#[test]
fn a_fragment_of_another_packet_fails_the_checksum_of_the_whole() {
    for family in FAMILIES {
        let good = fragments(&packet(family, &head("/v1/request-landing")), CUT);
        let other = fragments(&packet(family, &[b'q'; HEAD]), CUT);
        let mut rig = open_rig(family);
        let mixed = [good[0].clone(), other[1].clone(), good[2].clone()];
        assert!(send_all(&mut rig, &mixed).is_empty());
        assert_eq!(rig.dropped(DropReason::BadChecksum), 1);
    }
}

#[test]
fn bytes_behind_a_fragment_of_many_chunks_are_no_part_of_the_whole() {
    for family in FAMILIES {
        let request = head("/v1/request-landing");
        let mut pieces = fragments(&packet(family, &request), CUT);
        pieces[0].extend(b"POST");
        let mut rig = open_rig(family);
        assert!(send_all(&mut rig, &pieces).is_empty());
        assert_eq!(rig.dropped(DropReason::InvalidPacket), 1);
    }
}

#[test]
fn a_whole_longer_than_the_next_link_takes_is_dropped_by_name() {
    for family in FAMILIES {
        let mut rig = open_rig(family);
        rig.mtus[1] = 9000;
        rig.apply(L7);
        let pieces = fragments(&packet(family, &head("/v1/request-landing")), CUT);
        assert!(send_all(&mut rig, &pieces).is_empty());
        assert_eq!(rig.dropped(DropReason::TooBig), 1);
        assert_eq!(rig.requests().allowed, 0, "the engine has not noted what did not pass");
    }
}
