//! Segmentation does not matter: however a client's bytes are cut, ordered and repeated, the same requests are judged, the same
//! bytes reach the server, and the same answers reach the client.

use std::collections::BTreeMap;

use dataplane::inspect::{Phase, Side};
use parser::http::{Body, Limits, Progress, read_request};

use crate::{
    hand::{ALLOWED, DENIED, Hand, OK, SERVER},
    random::Random,
};

/// Client streams with every kind of framing and ending.
fn corpus() -> Vec<Vec<u8>> {
    let chunked: &[u8] = b"POST /allow/c HTTP/1.1\r\nHost: a\r\ntransfer-encoding: chunked\r\n\r\n\
        5\r\nhello\r\nA\r\n0123456789\r\n0\r\nx-sum: 1\r\n\r\n";
    let length: &[u8] =
        b"PUT /allow/l HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\n\r\nGET /deny HT";
    let denied_length: &[u8] =
        b"PUT /deny/l HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\n\r\nGET /allow H";
    let denied_chunked: &[u8] =
        b"PUT /deny/c HTTP/1.1\r\nHost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    let closing: &[u8] = b"GET /allow/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    vec![
        ALLOWED.to_vec(),
        DENIED.to_vec(),
        chunked.to_vec(),
        [ALLOWED, DENIED, ALLOWED].concat(),
        [DENIED, ALLOWED].concat(),
        [length, ALLOWED].concat(),
        [denied_length, ALLOWED].concat(),
        [chunked, DENIED].concat(),
        [denied_chunked, ALLOWED].concat(),
        [closing, ALLOWED].concat(),
        [ALLOWED, b"GET /allow HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n", ALLOWED].concat(),
        [b"POST /allow HTTP/1.1\r\nHost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhelloXX".as_slice(), ALLOWED].concat(),
        b"GET /allow HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_vec(),
        b"\r\nGET /allow HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
        b"GET /allow HTTP/1.1\nHost: a\n\n".to_vec(),
    ]
}

/// What is compared.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    judged: Vec<String>,
    refused: usize,
    at_server: Vec<u8>,
    at_client: Vec<u8>,
    open: bool,
}

/// A connection whose server answers every complete request, and whose client repeats what it sent until nothing changes.
struct Play {
    hand: Hand,
    at_client: BTreeMap<u32, u8>,
    answered: usize,
    server_said: u32,
}

impl Play {
    fn new() -> Self {
        Self { hand: Hand::open(), at_client: BTreeMap::new(), answered: 0, server_said: 0 }
    }

    fn note(&mut self) {
        for (to, packet) in std::mem::take(&mut self.hand.last) {
            if to == Side::Client {
                for (i, byte) in packet.payload.iter().enumerate() {
                    let at = packet.seq.wrapping_add(i as u32).wrapping_sub(SERVER + 1);
                    let old = self.at_client.insert(at, *byte);
                    assert!(old.is_none_or(|old| old == *byte), "the client was told two things");
                }
            }
        }
    }

    /// What the client has without holes.
    fn client_has(&self) -> Vec<u8> {
        (0..).map_while(|at| self.at_client.get(&at).copied()).collect()
    }

    fn send(&mut self, at: usize, bytes: &[u8]) {
        let acked = self.client_has().len() as u32;
        self.hand.client_with(at as u32, bytes, |packet| packet.ack = SERVER + 1 + acked);
        self.note();
        self.serve();
    }

    fn serve(&mut self) {
        loop {
            let received: Vec<u8> = self.hand.at_server.iter().map_while(|byte| *byte).collect();
            let complete = complete_requests(&received);
            let waiting = complete.saturating_sub(self.answered);
            if waiting == 0 {
                // A bare acknowledgement, as every server sends sooner or later.
                self.hand.server(self.server_said, received.len() as u32, b"");
                self.note();
                return;
            }
            self.answered += 1;
            self.hand.server(self.server_said, received.len() as u32, OK);
            self.server_said += OK.len() as u32;
            self.note();
            let acked = self.client_has().len() as u32;
            self.hand.client_with(0, b"", |packet| packet.ack = SERVER + 1 + acked);
            self.note();
        }
    }

    fn outcome(self) -> Outcome {
        assert!(!self.hand.rewritten, "a byte had two values");
        let at_client = self.client_has();
        Outcome {
            judged: self.hand.judge.judged,
            refused: self.hand.judge.refused,
            at_server: self
                .hand
                .at_server
                .iter()
                .map(|byte| byte.expect("a hole at the server"))
                .collect(),
            at_client,
            open: self.hand.stream.phase() == Phase::Open,
        }
    }
}

/// How many requests a strict server would act on.
fn complete_requests(mut bytes: &[u8]) -> usize {
    let mut count = 0;
    while let Ok(Progress::Complete(head)) = read_request(bytes, &Limits::REQUESTS) {
        let mut body = Body::from(head.framing);
        match body.advance(&bytes[head.head_len..]) {
            Ok(step) if step.finished => {
                bytes = &bytes[head.head_len + step.consumed..];
                count += 1;
            }
            _ => break,
        }
    }
    count
}

fn play(stream: &[u8], order: &[(usize, usize)]) -> Outcome {
    let mut play = Play::new();
    for &(from, to) in order {
        play.send(from, &stream[from..to]);
    }
    // The client repeats everything, as it would after losses, until it is all known.
    for _ in 0..3 {
        for piece in 0..stream.len().div_ceil(30) {
            let from = piece * 30;
            play.send(from, &stream[from..(from + 30).min(stream.len())]);
        }
    }
    play.outcome()
}

fn whole(stream: &[u8]) -> Outcome {
    play(stream, &[(0, stream.len())])
}

#[test]
fn every_cut_in_two_and_both_orders_give_the_same() {
    let mut cases = 0;
    for stream in corpus() {
        let expected = whole(&stream);
        assert!(!String::from_utf8_lossy(&expected.at_server).contains("/deny/"));
        for cut in 1..stream.len() {
            let pieces = [(0, cut), (cut, stream.len())];
            for order in [[pieces[0], pieces[1]], [pieces[1], pieces[0]]] {
                assert_eq!(
                    play(&stream, &order),
                    expected,
                    "{:?} {order:?}",
                    String::from_utf8_lossy(&stream)
                );
                cases += 1;
            }
        }
    }
    assert!(cases > 2_000, "{cases}");
}

#[test]
fn every_order_of_up_to_five_pieces_gives_the_same() {
    let mut cases = 0;
    for stream in corpus() {
        let expected = whole(&stream);
        let mut random = Random::new(stream.len() as u64);
        for _ in 0..6 {
            let count = 3 + random.below(3) as usize;
            let mut cuts: Vec<usize> =
                (1..count).map(|_| 1 + random.below(stream.len() as u64 - 1) as usize).collect();
            cuts.extend([0, stream.len()]);
            cuts.sort_unstable();
            cuts.dedup();
            let pieces: Vec<(usize, usize)> =
                cuts.windows(2).map(|pair| (pair[0], pair[1])).collect();
            for order in permutations(&pieces) {
                assert_eq!(
                    play(&stream, &order),
                    expected,
                    "{:?} {order:?}",
                    String::from_utf8_lossy(&stream)
                );
                cases += 1;
            }
        }
    }
    assert!(cases > 4_000, "{cases}");
}

#[test]
fn random_overlapping_pieces_in_any_order_give_the_same() {
    for stream in corpus() {
        let expected = whole(&stream);
        let mut random = Random::new(7 + stream.len() as u64);
        for _ in 0..200 {
            let order: Vec<(usize, usize)> = (0..1 + random.below(12))
                .map(|_| {
                    let from = random.below(stream.len() as u64) as usize;
                    let to = from + 1 + random.below((stream.len() - from) as u64) as usize;
                    (from, to.min(stream.len()))
                })
                .collect();
            assert_eq!(
                play(&stream, &order),
                expected,
                "{:?} {order:?}",
                String::from_utf8_lossy(&stream)
            );
        }
    }
}

/// An attacker who sends every piece in two versions, in any order: whichever is first, the server sees one, and never a denied
/// request.
#[test]
fn two_versions_of_the_same_bytes_never_bring_a_denied_request_through() {
    let allowed =
        b"GET /allow/xxxxx HTTP/1.1\r\nHost: a\r\n\r\nGET /allow/yyyyy HTTP/1.1\r\nHost: a\r\n\r\n";
    let denied =
        b"GET /deny/xxxxxx HTTP/1.1\r\nHost: a\r\n\r\nGET /deny/yyyyyy HTTP/1.1\r\nHost: a\r\n\r\n";
    assert_eq!(allowed.len(), denied.len());
    for seed in 0..20_000 {
        let mut random = Random::new(seed);
        let mut hand = Hand::open();
        for _ in 0..2 + random.below(20) {
            let version: &[u8] = if random.per_mille(500) { allowed } else { denied };
            let from = random.below(version.len() as u64) as usize;
            let to = (from + 1 + random.below(40) as usize).min(version.len());
            hand.client(from as u32, &version[from..to]);
            if random.per_mille(100) {
                // The server acknowledges what it has without a hole.
                let has = hand.at_server.iter().take_while(|byte| byte.is_some()).count();
                hand.server(0, has as u32, b"");
            }
        }
        assert!(!hand.rewritten, "seed {seed}: a byte had two values");
        let text = hand.received();
        assert!(!text.contains("/deny"), "seed {seed}: {text}");
    }
}

fn permutations<T: Copy>(items: &[T]) -> Vec<Vec<T>> {
    if items.len() <= 1 {
        return vec![items.to_vec()];
    }
    let mut all = Vec::new();
    for first in 0..items.len() {
        let mut rest = items.to_vec();
        let item = rest.remove(first);
        for mut order in permutations(&rest) {
            order.insert(0, item);
            all.push(order);
        }
    }
    all
}
