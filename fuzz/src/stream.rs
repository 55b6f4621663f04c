//! What must hold of an inspected connection whose client does anything at all, over a network that loses, before an honest
//! server: every request that the server can read was judged and allowed, in that order, and no number is wrong.
//!
//! The input is a script: settings, the client's text from a dictionary, a second version of it that differs in some bytes,
//! and then what happens.

use core::ops::Range;

use parser::{
    http::{Body, HttpRefusal, Limits as HttpLimits, Progress, RequestHead, read_request},
    tcp::{SeqNumber, TcpFlags},
};

use super::inspect::{
    Disposition, Edit, Judge, Limits, NewSegment, Ruling, Segment, Side, Sink, Stream, Tick,
};

/// What clients say. The denied ones are told from the allowed by their path.
const PARTS: [&[u8]; 16] = [
    b"GET /allow HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /deny HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST /allow/l HTTP/1.1\r\nHost: a\r\nContent-Length: 30\r\n\r\nGET /deny HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST /allow/c HTTP/1.1\r\nHost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\nA\r\n0123456789\r\n0\r\n\r\n",
    b"POST /deny/l HTTP/1.1\r\nHost: a\r\ncontent-length: 12\r\n\r\nGET /allow H",
    b"POST /deny/c HTTP/1.1\r\nHost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    b"POST /allow/b HTTP/1.1\r\nHost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhelloXX",
    b"GET /allow/w HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13\r\n\r\n",
    b"HEAD /allow/h HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST /allow/e HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
    b"GET /allow/z HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    b"POST /allow/t HTTP/1.1\r\nHost: a\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nx-sum: 1\r\n\r\n",
    b"HEAD /deny/h HTTP/1.1\r\nHost: a\r\n\r\n",
    b"\r\n",
    b"GET /allow HTTP/1.1\nHost: a\n\n",
    b"0\r\n\r\nGET /deny HTTP/1.1\r\nHost: a\r\n\r\n",
];

/// What the server answers, and whether that is honest after any request.
const ANSWERS: [&[u8]; 8] = [
    b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi",
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 304 Not Modified\r\ncontent-length: 7\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n\r\nuntil close",
    b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
    b"HTTP/1.1 403 Forbidden\r\ncontent-length: 15\r\ncontent-type: text/plain\r\n\r\nAccess denied\r\n",
];
const SWITCH: &[u8] =
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";

/// The server's initial sequence number.
const SERVER: u32 = 5_000;

/// The input, byte by byte; zeros behind its end.
struct Script<'a> {
    rest: &'a [u8],
}

impl Script<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.rest.split_first() else { return 0 };
        self.rest = rest;
        *first
    }

    fn below(&mut self, limit: usize) -> usize {
        let high = usize::from(self.byte());
        (high << 8 | usize::from(self.byte())) % limit.max(1)
    }
}

/// What the engine sends, in words.
#[derive(Default)]
struct Log(Vec<String>);

impl Sink for Log {
    fn forward(&mut self, keep: Range<usize>, edit: Edit<'_>) {
        self.0.push(format!("forward {keep:?} {edit:?}"));
    }

    fn inject(&mut self, to: Side, segment: NewSegment<'_>) {
        self.0.push(format!("inject {to:?} {segment:?}"));
    }
}

/// Allows what does not begin with `/deny`, and remembers it.
#[derive(Clone, Default)]
struct ByPath {
    allowed: Vec<String>,
}

impl Judge for ByPath {
    fn judge(&mut self, head: &RequestHead<'_>) -> Ruling {
        if head.path_and_query.starts_with("/deny") {
            return Ruling::Deny;
        }
        self.allowed.push(format!("{} {}", head.method, head.target));
        Ruling::Allow
    }

    fn refused(&mut self, _: HttpRefusal) {}
}

/// Both ends and the network between them and the engine.
struct Ends {
    client_isn: u32,
    /// Of early bytes that disagree the server takes the last instead of the first.
    last_wins: bool,
    window: usize,
    /// Packets to the server that are lost yet.
    lost: u8,
    at_server: Vec<Option<u8>>,
    /// What the server has read: it never changes again.
    read: usize,
    server_fin: Option<usize>,
    /// The furthest right edge that the engine was shown, counted from the first byte.
    shown_edge: usize,
    said: Vec<u8>,
    said_fin: bool,
    at_client: Vec<Option<u8>>,
    /// The furthest end of anything that the client sent, SYN included.
    client_sent: u32,
    closed: bool,
    forwards: u8,
    arriving: Vec<u8>,
    seq: u32,
    ack: u32,
    flags: TcpFlags,
    from: Side,
}

impl Ends {
    fn reach_server(&mut self, seq: u32, ack: u32, flags: TcpFlags, payload: &[u8]) {
        if flags.contains(TcpFlags::SYN) {
            assert!(payload.is_empty(), "payload with a SYN");
            return;
        }
        assert!(!self.closed || flags.is_rst() || self.flags.is_rst(), "a closed connection spoke");
        if flags.is_ack() && !flags.is_rst() {
            let acked = i64::from(ack.wrapping_sub(SERVER + 1).cast_signed());
            let said = self.said.len() + usize::from(self.said_fin);
            assert!(acked <= said as i64, "acknowledges {acked} of {said}");
        }
        // A reset brings nothing to read; whether the server hears it is up to the network.
        if flags.is_rst() || (payload.is_empty() && !flags.is_fin()) {
            return;
        }
        let at = seq.wrapping_sub(self.client_isn.wrapping_add(1)) as usize;
        let probes = payload.len() == 1 && at == self.shown_edge;
        assert!(probes || at + payload.len() <= self.shown_edge, "beyond the server's window");
        if self.lost > 0 {
            self.lost -= 1;
            return;
        }
        for (i, byte) in payload.iter().enumerate() {
            let place = at + i;
            if place < self.read || place >= self.read + self.window {
                continue;
            }
            if self.server_fin.is_some_and(|fin| place >= fin) {
                continue;
            }
            if self.at_server.len() <= place {
                self.at_server.resize(place + 1, None);
            }
            if self.last_wins || self.at_server[place].is_none() {
                self.at_server[place] = Some(*byte);
            }
        }
        self.read += self.at_server[self.read..].iter().take_while(|byte| byte.is_some()).count();
        if flags.is_fin() && self.server_fin.is_none() {
            self.server_fin = Some(at + payload.len());
        }
    }

    fn reach_client(&mut self, seq: u32, ack: u32, flags: TcpFlags, payload: &[u8]) {
        if flags.contains(TcpFlags::SYN) {
            assert!(payload.is_empty(), "payload with a SYN");
            return;
        }
        if flags.is_ack() && !flags.is_rst() {
            let acked = i64::from(ack.wrapping_sub(self.client_isn).cast_signed());
            let sent = i64::from(self.client_sent);
            assert!(acked <= sent, "acknowledges {acked} of {sent}");
        }
        let at = seq.wrapping_sub(SERVER + 1) as usize;
        for (i, byte) in payload.iter().enumerate() {
            if self.at_client.len() <= at + i {
                self.at_client.resize(at + i + 1, None);
            }
            let old = self.at_client[at + i].replace(*byte);
            assert!(old.is_none_or(|old| old == *byte), "the client is told two things");
        }
    }

    fn server_text(&self) -> Vec<u8> {
        self.at_server[..self.read].iter().flatten().copied().collect()
    }

    fn client_has(&self) -> u32 {
        self.at_client.iter().take_while(|byte| byte.is_some()).count() as u32
    }
}

impl Sink for Ends {
    fn forward(&mut self, keep: Range<usize>, edit: Edit<'_>) {
        self.forwards += 1;
        assert_eq!(self.forwards, 1, "one frame goes on at most once");
        let arriving = std::mem::take(&mut self.arriving);
        let (seq, ack, flags) = match edit {
            Edit::Unchanged => {
                assert_eq!(keep.start, 0, "what begins later has another number");
                (self.seq, self.ack, self.flags)
            }
            Edit::Rewrite(header) => {
                assert_eq!(header.urgent, 0);
                (header.seq.value(), header.ack.value(), header.flags)
            }
        };
        assert!(!flags.contains(TcpFlags::URG), "urgent data never passes");
        let payload = &arriving[keep];
        match self.from {
            Side::Client => self.reach_server(seq, ack, flags, payload),
            Side::Server => self.reach_client(seq, ack, flags, payload),
        }
        self.arriving = arriving;
    }

    fn inject(&mut self, to: Side, new: NewSegment<'_>) {
        assert!(new.options.len() <= 40 && new.options.len().is_multiple_of(4));
        match to {
            Side::Client => {
                self.reach_client(new.seq.value(), new.ack.value(), new.flags, new.payload)
            }
            Side::Server => {
                self.reach_server(new.seq.value(), new.ack.value(), new.flags, new.payload)
            }
        }
    }
}

/// The requests in what the server read, as a strict server reads them: method and target; and where the first upgrade ends.
fn requests(bytes: &[u8], tunnel: Option<usize>) -> (Vec<String>, Option<usize>) {
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() && tunnel.is_none_or(|tunnel| at < tunnel) {
        match read_request(&bytes[at..], &HttpLimits::REQUESTS) {
            Ok(Progress::Complete(head)) => {
                found.push(format!("{} {}", head.method, head.target));
                at += head.head_len;
                if head.upgrade.is_some() && tunnel.is_none() {
                    return (found, Some(at));
                }
                match Body::from(head.framing).advance(&bytes[at..]) {
                    Ok(step) if step.finished => at += step.consumed,
                    Ok(_) => break,
                    Err(refusal) => panic!("the server was sent bad content: {refusal:?}"),
                }
            }
            Ok(Progress::Incomplete) => break,
            Err(refusal) => panic!("the server was sent what we refuse: {refusal:?}"),
        }
    }
    (found, None)
}

struct Play {
    stream: Stream,
    ends: Ends,
    limits: Limits,
    judge: ByPath,
    now: u64,
}

impl Play {
    fn pass(&mut self, segment: &Segment<'_>) -> Disposition {
        self.now += 1;
        if segment.from == Side::Client {
            let occupied = segment.payload.len() as u32 + u32::from(segment.flags.is_fin());
            let end = segment.seq.value().wrapping_add(occupied).wrapping_sub(self.ends.client_isn);
            // Numbers from before the connection are no part of it.
            if end < 1 << 31 && occupied > 0 {
                self.ends.client_sent = self.ends.client_sent.max(end);
            }
        }
        self.ends.arriving.clear();
        self.ends.arriving.extend(segment.payload);
        self.ends.seq = segment.seq.value();
        self.ends.ack = segment.ack.value();
        self.ends.flags = segment.flags;
        self.ends.from = segment.from;
        self.ends.forwards = 0;
        self.ends.closed = self.stream.is_closed();
        if self.stream.is_content(segment.from, segment.seq, segment.payload.len()) {
            self.content_is_not_read(segment);
        }
        let outcome = self.stream.segment(
            segment,
            Tick(self.now),
            &self.limits,
            &mut self.judge,
            &mut self.ends,
        );
        assert_eq!(outcome == Disposition::Forwarded, self.ends.forwards == 1, "{outcome:?}");
        self.bounded();
        outcome
    }

    /// Whoever carries content may show the engine anything in its place: nothing of it is sent, kept or judged.
    fn content_is_not_read(&self, segment: &Segment<'_>) {
        let take = |payload: &[u8]| {
            let (mut stream, mut judge) = (self.stream.clone(), self.judge.clone());
            let mut log = Log::default();
            let shown = Segment { payload, ..*segment };
            let now = Tick(self.now);
            let outcome = stream.segment(&shown, now, &self.limits, &mut judge, &mut log);
            (format!("{stream:?} {outcome:?}"), judge.allowed, log.0)
        };
        assert_eq!(take(segment.payload), take(&vec![0; segment.payload.len()]));
    }

    fn bounded(&self) {
        assert!(self.stream.held_bytes() < 300_000);
    }

    fn tick(&mut self, after: u64) {
        self.now += after;
        self.ends.flags = TcpFlags::ACK;
        self.ends.closed = self.stream.is_closed();
        self.stream.tick(Tick(self.now), &self.limits, &mut self.judge, &mut self.ends);
        let due = self.stream.deadline(&self.limits);
        assert!(due.is_none_or(|due| due > Tick(self.now)), "a timer that stays due");
        self.bounded();
    }

    /// The server says what it has, and perhaps more.
    fn serve(&mut self, answer: &[u8], fin: bool) {
        let acked = self.ends.read
            + usize::from(self.ends.server_fin.is_some_and(|fin| fin == self.ends.read));
        let seq = SERVER + 1 + self.ends.said.len() as u32;
        self.ends.said.extend(answer);
        self.server_segment(seq, acked, answer, fin);
    }

    fn server_segment(&mut self, seq: u32, acked: usize, payload: &[u8], fin: bool) {
        self.ends.shown_edge = self.ends.shown_edge.max(acked + self.ends.window);
        self.ends.said_fin |= fin;
        let ack = self.ends.client_isn.wrapping_add(1).wrapping_add(acked as u32);
        self.pass(&Segment {
            from: Side::Server,
            seq: SeqNumber::new(seq),
            ack: SeqNumber::new(ack),
            flags: if fin { TcpFlags::ACK.with(TcpFlags::FIN) } else { TcpFlags::ACK },
            window: self.ends.window as u16,
            urgent: 0,
            options: &[],
            payload,
        });
    }
}

fn open(settings: u8) -> Play {
    let client_isn = if settings & 1 == 0 { 77 } else { u32::MAX - 60 };
    let window = if settings & 2 == 0 { 60_000 } else { 100 };
    let mut limits = Limits::default();
    if settings & 4 != 0 {
        (limits.kept, limits.holes, limits.hole_parts) = (250, 100, 3);
        limits.denied_body = 8;
    }
    if settings & 8 != 0 {
        limits.outstanding = 1;
    }
    let mut ends = Ends {
        client_isn,
        last_wins: settings & 16 != 0,
        window,
        lost: 0,
        at_server: Vec::new(),
        read: 0,
        server_fin: None,
        shown_edge: window,
        said: Vec::new(),
        said_fin: false,
        at_client: Vec::new(),
        client_sent: 1,
        closed: false,
        forwards: 0,
        arriving: Vec::new(),
        seq: client_isn,
        ack: 0,
        flags: TcpFlags::SYN,
        from: Side::Client,
    };
    let options: &[u8] = if settings & 32 == 0 { &[] } else { &[1, 1, 4, 2] };
    let syn = Segment {
        from: Side::Client,
        seq: SeqNumber::new(client_isn),
        ack: SeqNumber::new(0),
        flags: TcpFlags::SYN,
        window: if settings & 64 == 0 { 60_000 } else { 90 },
        urgent: 0,
        options,
        payload: b"GET /deny HTTP/1.1\r\n",
    };
    let stream = Stream::open(&syn, Tick(1), &mut ends).unwrap();
    let mut play = Play { stream, ends, limits, judge: ByPath::default(), now: 1 };
    let syn_ack = Segment {
        from: Side::Server,
        seq: SeqNumber::new(SERVER),
        ack: SeqNumber::new(client_isn.wrapping_add(1)),
        flags: TcpFlags::SYN.with(TcpFlags::ACK),
        window: window as u16,
        ..syn
    };
    play.pass(&Segment { payload: &[], ..syn_ack });
    play
}

/// Panics if one of the engine's promises is broken.
pub(crate) fn check(bytes: &[u8]) {
    let mut script = Script { rest: bytes };
    let mut play = open(script.byte());
    let mut text = Vec::new();
    for _ in 0..1 + script.byte() % 6 {
        text.extend(PARTS[usize::from(script.byte()) % PARTS.len()]);
    }
    let mut other = text.clone();
    for _ in 0..script.byte() % 8 {
        let at = script.below(other.len());
        other[at] = script.byte();
    }
    if other[0] & 1 == 0 {
        other.extend(PARTS[1]);
    }
    let mut next = 0;
    let mut answered = 0;
    let mut tunnel = None;
    for _ in 0..80 {
        if script.rest.is_empty() {
            break;
        }
        let kind = script.byte();
        let source = if kind & 0x10 == 0 { &text } else { &other };
        match kind & 0x0f {
            0..=4 => {
                let (from, to, flags, lies) = match kind & 0x0f {
                    0 => (next, next + usize::from(script.byte()), TcpFlags::ACK, false),
                    1 => {
                        let from = script.below(source.len());
                        (from, from + usize::from(script.byte()), TcpFlags::ACK, false)
                    }
                    2 => {
                        let flags = TcpFlags::new(script.byte());
                        let from = script.below(source.len());
                        (from, from + usize::from(script.byte()), flags, true)
                    }
                    3 => (next, source.len(), TcpFlags::ACK, false),
                    _ => (next, source.len(), TcpFlags::ACK.with(TcpFlags::FIN), false),
                };
                let from = from.min(source.len());
                let to = to.min(source.len());
                if from == next && !lies {
                    next = to;
                }
                let (mut seq, mut ack) = (from as u32, play.ends.client_has());
                let (mut urgent, mut window) = (0, 60_000);
                if lies {
                    match script.byte() % 8 {
                        0 => seq = seq.wrapping_sub(script.byte().into()),
                        1 => seq = seq.wrapping_add(1 << 31),
                        2 => ack = ack.wrapping_add(script.byte().into()),
                        3 => ack = ack.wrapping_sub(script.byte().into()),
                        4 => urgent = script.byte().into(),
                        5 => window = script.byte().into(),
                        _ => {}
                    }
                }
                play.pass(&Segment {
                    from: Side::Client,
                    seq: SeqNumber::new(play.ends.client_isn.wrapping_add(1).wrapping_add(seq)),
                    ack: SeqNumber::new((SERVER + 1).wrapping_add(ack)),
                    flags,
                    window,
                    urgent,
                    options: &[],
                    payload: &source[from..to],
                });
            }
            5 => play.serve(&[], false),
            6 | 7 => {
                let has = play.ends.server_text();
                let (complete, upgrade) = requests(&has, tunnel);
                let choice = script.byte();
                if complete.len() > answered || choice & 0x80 != 0 {
                    answered += 1;
                    let switches = upgrade.is_some() && answered == complete.len();
                    if switches && choice & 1 != 0 {
                        tunnel = upgrade;
                        play.serve(SWITCH, false);
                    } else {
                        play.serve(
                            ANSWERS[usize::from(choice) % ANSWERS.len()],
                            choice & 0x40 != 0,
                        );
                    }
                }
            }
            8 => play.tick(u64::from(script.byte()) * 64),
            9 => {
                if let Some(due) = play.stream.deadline(&play.limits) {
                    play.tick(due.0.saturating_sub(play.now));
                }
            }
            10 => play.ends.lost = script.byte() % 8,
            11 => {
                // The server repeats something it has said.
                let from = script.below(play.ends.said.len());
                let to = (from + usize::from(script.byte())).min(play.ends.said.len());
                let said = play.ends.said[from..to].to_vec();
                let acked = play.ends.read;
                play.server_segment(SERVER + 1 + from as u32, acked, &said, false);
            }
            12 => {
                // Acknowledgements that come late.
                let acked = script.below(play.ends.read + 1);
                let seq = SERVER + 1 + play.ends.said.len() as u32;
                play.server_segment(seq, acked, &[], false);
            }
            13 => {
                play.stream.reset(&mut play.ends);
                assert!(play.stream.is_closed());
            }
            _ => play.ends.window = 1 + script.below(60_000),
        }
    }
    let (served, _) = requests(&play.ends.server_text(), tunnel);
    assert!(play.judge.allowed.starts_with(&served), "{served:?} of {:?}", play.judge.allowed);
}
