//! Segments that mean nothing, from both sides: the engine must not fall over, must not grow, and must not let anything through
//! that was not allowed.

use dataplane::inspect::{Side, StreamDrop};
use parser::{
    http::{Body, Limits, Progress, read_request},
    tcp::TcpFlags,
};

use crate::{
    hand::{ALLOWED, CLIENT, DENIED, Hand, OK, SERVER},
    packet::Packet,
    random::Random,
};

fn cases() -> u64 {
    std::env::var("BLASTDOOR_HOSTILE_CASES")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(5_000)
}

fn options(random: &mut Random) -> Vec<u8> {
    match random.below(6) {
        0 => (0..4 * random.below(11)).map(|_| random.next() as u8).collect(),
        1 => {
            let mut options = vec![1, 1, 8, 10];
            options.extend((random.below(5) as u32).to_be_bytes());
            options.extend((random.next() as u32).to_be_bytes());
            options
        }
        2 => {
            let mut options = vec![1, 1, 5, 18];
            for _ in 0..4 {
                options.extend(near(random, SERVER).to_be_bytes());
            }
            options
        }
        _ => Vec::new(),
    }
}

fn near(random: &mut Random, base: u32) -> u32 {
    match random.below(12) {
        0 => random.next() as u32,
        1 => base.wrapping_add(1 << 31),
        2 => base.wrapping_sub(random.below(100) as u32),
        _ => base.wrapping_add(random.below(400) as u32),
    }
}

fn flags(random: &mut Random) -> TcpFlags {
    match random.below(20) {
        0 => TcpFlags::new(random.next() as u8),
        1 => TcpFlags::FIN.with(TcpFlags::ACK),
        2 if random.per_mille(100) => TcpFlags::RST,
        3 => TcpFlags::SYN,
        _ => TcpFlags::ACK,
    }
}

/// Requests that a strict server would act on in `bytes`.
fn requests(mut bytes: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    while let Ok(Progress::Complete(head)) = read_request(bytes, &Limits::REQUESTS) {
        found.push(head.path_and_query.to_owned());
        let mut body = Body::from(head.framing);
        match body.advance(&bytes[head.head_len..]) {
            Ok(step) if step.finished => bytes = &bytes[head.head_len + step.consumed..],
            _ => break,
        }
    }
    found
}

/// A client that knows the protocol and lies in every field, against an honest server.
#[test]
fn no_lie_of_a_client_brings_a_denied_request_to_an_honest_server() {
    let post =
        b"POST /allow HTTP/1.1\r\nHost: a\r\ncontent-length: 20\r\n\r\nGET /deny HTTP/1.1\r\n\r\n";
    let chunks = b"POST /allow HTTP/1.1\r\nHost: a\r\ntransfer-encoding: chunked\r\n\r\n4\r\nGET \r\n0\r\n\r\n";
    for seed in 0..cases() {
        let mut random = Random::new(seed);
        let mut text = Vec::new();
        for _ in 0..1 + random.below(6) {
            text.extend_from_slice(random.one(&[ALLOWED, DENIED, post, chunks, DENIED]));
        }
        let mut other = text.clone();
        for _ in 0..3 {
            let at = random.below(other.len() as u64) as usize;
            other[at] = random.next() as u8;
        }
        let mut hand = Hand::open();
        if random.per_mille(500) {
            hand.limits.kept = 200;
            hand.limits.holes = 100;
            hand.limits.hole_parts = 3;
            hand.limits.outstanding = 1 + random.below(3) as u8;
        }
        let (mut served, mut said) = (0, 0u32);
        let mut next = 0usize;
        for _ in 0..20 + random.below(60) {
            let source = if random.per_mille(800) { &text } else { &other };
            let from = if random.per_mille(600) {
                next
            } else {
                random.below(source.len() as u64) as usize
            };
            let from = from.min(source.len());
            let to = (from + random.below(120) as usize).min(source.len());
            if from == next {
                next = to;
            }
            let mut packet = Packet {
                seq: CLIENT.wrapping_add(1).wrapping_add(from as u32),
                ack: SERVER.wrapping_add(1),
                flags: flags(&mut random),
                window: 60_000,
                urgent: random.below(3) as u16,
                options: options(&mut random),
                payload: source[from..to].to_vec(),
            };
            if random.per_mille(150) {
                packet.seq = near(&mut random, CLIENT);
            }
            if random.per_mille(300) {
                packet.ack = near(&mut random, SERVER);
            }
            if random.per_mille(100) {
                packet.window = random.next() as u16;
            }
            hand.pass(Side::Client, &packet);
            // The server answers and acknowledges what it has without a hole.
            let has: Vec<u8> = hand.at_server.iter().map_while(|byte| *byte).collect();
            if random.per_mille(500) {
                let complete = requests(&has).len();
                if complete > served && random.per_mille(500) {
                    served += 1;
                    hand.server(said, has.len() as u32, OK);
                    said += OK.len() as u32;
                } else {
                    hand.server(said, has.len() as u32, b"");
                }
            }
            if random.per_mille(50) {
                let after = random.below(12_000);
                hand.tick(after);
            }
            assert!(hand.stream.held_bytes() < 300_000);
        }
        let has: Vec<u8> = hand.at_server.iter().map_while(|byte| *byte).collect();
        for path in requests(&has) {
            assert!(!path.starts_with("/deny"), "seed {seed}: {:?}", String::from_utf8_lossy(&has));
        }
    }
}

/// Both sides send anything at all.
#[test]
fn nonsense_from_both_sides_is_survived_and_bounded() {
    let mut reasons = std::collections::BTreeSet::new();
    for seed in 0..cases() {
        let mut random = Random::new(seed ^ 0xABCD);
        let mut hand = if random.per_mille(500) {
            Hand::open()
        } else {
            Hand::open_with(&[1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 14, 1, 1, 4, 2])
        };
        for _ in 0..40 {
            let side = if random.per_mille(500) { Side::Client } else { Side::Server };
            let (seq, ack) = match side {
                Side::Client => (near(&mut random, CLIENT), near(&mut random, SERVER)),
                Side::Server => (near(&mut random, SERVER), near(&mut random, CLIENT)),
            };
            let payload = match random.below(4) {
                0 => Vec::new(),
                1 => random.one(&[ALLOWED, DENIED]).to_vec(),
                2 => OK[..random.below(OK.len() as u64) as usize].to_vec(),
                _ => (0..random.below(100)).map(|_| random.next() as u8).collect(),
            };
            let packet = Packet {
                seq,
                ack,
                flags: flags(&mut random),
                window: random.next() as u16,
                urgent: 0,
                options: options(&mut random),
                payload,
            };
            if let dataplane::inspect::Disposition::Dropped(reason) = hand.pass(side, &packet) {
                reasons.insert(reason);
            }
            if random.per_mille(100)
                && let Some(due) = hand.stream.deadline(&hand.limits)
            {
                let now = hand.now;
                reasons.extend(hand.tick(due.0.saturating_sub(now)));
            }
            assert!(hand.stream.held_bytes() < 300_000, "seed {seed}");
        }
    }
    for reason in [
        StreamDrop::Closed,
        StreamDrop::BadFlags,
        StreamDrop::NoAck,
        StreamDrop::UnexpectedSyn,
        StreamDrop::BadOptions,
        StreamDrop::BadAck,
        StreamDrop::OutOfWindow,
        StreamDrop::InexactReset,
        StreamDrop::AfterFin,
        StreamDrop::ConflictingOverlap,
    ] {
        assert!(reasons.contains(&reason), "{reason:?} never happened");
    }
}
