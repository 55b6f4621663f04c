//! One TCP connection as a model endpoint keeps it. Read RFC 9293 first.
//!
//! Segments, messages and the time arrive; segments and what the peer sent leave. There is no I/O and no buffer: a message is
//! shared with every connection that sends the same one, and data that comes out of order is dropped for the peer to send again.
//!
//! DEVIATION, since this is a load and not a stack for everyday use: there is no congestion control, no delayed acknowledgement, no
//! window scaling, SACK, timestamps or TIME-WAIT; a retransmission starts again at the first byte that is missing (go back N);
//! a window smaller than one segment is taken for one segment.

use std::sync::Arc;

use parser::tcp::{SeqNumber, TcpFlags};

/// The receive window offered: the largest without scaling.
pub const WINDOW: u16 = u16::MAX;

/// Nanoseconds before the first retransmission; doubled each time. Linux's least one.
pub const RETRANSMIT: u64 = 200_000_000;

/// Retransmissions of one segment before the connection fails.
pub const ATTEMPTS: u32 = 6;

/// The largest segment if the peer names none (RFC 9293 §3.7.1).
const DEFAULT_MSS: u32 = 536;

/// A segment that came.
#[derive(Clone, Copy, Debug)]
pub struct Arrived<'a> {
    /// The number of its first byte.
    pub seq: SeqNumber,
    /// What its sender expects next.
    pub ack: SeqNumber,
    /// Control bits.
    pub flags: TcpFlags,
    /// Its sender's window.
    pub window: u16,
    /// The largest segment that its sender takes, if it says so.
    pub mss: Option<u16>,
    /// Data.
    pub payload: &'a [u8],
}

/// A segment to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Departing {
    /// The number of its first byte.
    pub seq: SeqNumber,
    /// What we expect next, with ACK.
    pub ack: SeqNumber,
    /// Control bits.
    pub flags: TcpFlags,
    /// The message that its data is a part of, and which part.
    pub data: Option<(Arc<[u8]>, std::ops::Range<usize>)>,
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Both sides closed it.
    Closed,
    /// The peer reset it.
    Reset,
    /// The peer did not answer.
    TimedOut,
}

/// What a segment brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct News<'a> {
    /// The handshake is done now.
    pub connected: bool,
    /// New data, in order.
    pub data: &'a [u8],
    /// The peer sends no more.
    pub peer_closed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    SynSent,
    SynReceived,
    /// Established, and everything after it: the FINs are fields.
    Open,
    Ended(End),
}

/// A connection.
#[derive(Clone, Debug)]
pub struct Connection {
    state: State,
    /// Our SYN's number.
    first: SeqNumber,
    /// The first number that the peer has not acknowledged.
    unacknowledged: SeqNumber,
    /// The next number to send; goes back to `unacknowledged` to send again.
    next: SeqNumber,
    /// The highest `next` there was.
    sent: SeqNumber,
    /// The next number expected from the peer.
    expected: SeqNumber,
    peer_window: u32,
    mss: u32,
    /// What is being sent, from number `message_at` on.
    message: Option<Arc<[u8]>>,
    message_at: SeqNumber,
    /// The number after all data given to send; our FIN has it.
    data_end: SeqNumber,
    is_closing: bool,
    peer_closed: bool,
    owes_ack: bool,
    duplicate_acks: u8,
    attempts: u32,
    /// When to retransmit.
    deadline: Option<u64>,
    /// Segments that were sent again, or whose followers were.
    pub retransmissions: u32,
}

impl Connection {
    /// Opens a connection whose SYN has number `first`.
    pub fn connect(first: SeqNumber) -> Self {
        Self {
            state: State::SynSent,
            first,
            unacknowledged: first,
            next: first,
            sent: first,
            expected: SeqNumber::new(0),
            peer_window: DEFAULT_MSS,
            mss: DEFAULT_MSS,
            message: None,
            message_at: first.plus(1),
            data_end: first.plus(1),
            is_closing: false,
            peer_closed: false,
            owes_ack: false,
            duplicate_acks: 0,
            attempts: 0,
            deadline: None,
            retransmissions: 0,
        }
    }

    /// Takes the peer's SYN up; our own has number `first`.
    pub fn accept(first: SeqNumber, syn: &Arrived<'_>) -> Self {
        let mut connection = Self::connect(first);
        connection.state = State::SynReceived;
        connection.expected = syn.seq.plus(1);
        connection.learn(syn);
        connection
    }

    /// Sends a message after what was sent before, which must have been acknowledged; false if it was not.
    pub fn send(&mut self, message: &Arc<[u8]>) -> bool {
        let Ok(len) = u32::try_from(message.len()) else { return false };
        if self.is_closing || self.message.is_some() {
            return false;
        }
        self.message_at = self.data_end;
        self.data_end = self.data_end.plus(len);
        self.message = Some(Arc::clone(message));
        true
    }

    /// Closes our side once everything is sent.
    pub fn close(&mut self) {
        self.is_closing = true;
    }

    /// How it ended, if it has.
    pub fn ended(&self) -> Option<End> {
        match self.state {
            State::Ended(end) => Some(end),
            State::Open
                if self.peer_closed
                    && !self.owes_ack
                    && self.is_closing
                    && self.unacknowledged == self.data_end.plus(1) =>
            {
                Some(End::Closed)
            }
            State::SynSent | State::SynReceived | State::Open => None,
        }
    }

    /// When [`Connection::expire`] should be called.
    pub fn deadline(&self) -> Option<u64> {
        self.deadline
    }

    /// Takes a segment in.
    pub fn arrive<'a>(&mut self, segment: &Arrived<'a>, now: u64) -> News<'a> {
        let mut news = News::default();
        if segment.flags.contains(TcpFlags::RST) {
            let is_ours = match self.state {
                State::SynSent => segment.ack == self.first.plus(1),
                State::SynReceived | State::Open => segment.seq == self.expected,
                State::Ended(_) => false,
            };
            if is_ours {
                self.end(End::Reset);
            }
            return news;
        }
        let is_syn = segment.flags.contains(TcpFlags::SYN);
        let is_ack = segment.flags.contains(TcpFlags::ACK);
        let answers_syn = is_ack && segment.ack == self.first.plus(1);
        match self.state {
            State::SynSent if is_syn && answers_syn => {
                self.expected = segment.seq.plus(1);
                self.owes_ack = true;
                self.learn(segment);
                self.open(segment);
                news.connected = true;
                return news;
            }
            State::SynSent | State::Ended(_) => return news,
            State::SynReceived if is_syn => {
                // Our SYN-ACK was lost.
                self.next = self.first;
                return news;
            }
            State::SynReceived if !answers_syn => return news,
            State::SynReceived => {
                self.open(segment);
                news.connected = true;
            }
            State::Open if is_syn || !is_ack => {
                // RFC 9293 §3.10.7.4: a challenge acknowledgement.
                self.owes_ack = true;
                return news;
            }
            State::Open => {}
        }
        self.take_ack(segment, now);
        self.take_data(segment, &mut news);
        news
    }

    /// The next segment to send, until there is none.
    pub fn depart(&mut self, now: u64) -> Option<Departing> {
        let segment = match self.state {
            State::Ended(_) => return None,
            State::SynSent | State::SynReceived if self.next != self.first => return None,
            State::SynSent => self.control(TcpFlags::SYN, SeqNumber::new(0)),
            State::SynReceived => self.control(TcpFlags::SYN.with(TcpFlags::ACK), self.expected),
            State::Open => match self.data_segment() {
                Some(segment) => segment,
                None if self.is_closing && self.next == self.data_end => {
                    self.control(TcpFlags::FIN.with(TcpFlags::ACK), self.expected)
                }
                None if self.owes_ack => {
                    self.owes_ack = false;
                    return Some(Departing {
                        seq: self.next,
                        ack: self.expected,
                        flags: TcpFlags::ACK,
                        data: None,
                    });
                }
                None => return None,
            },
        };
        self.owes_ack = false;
        self.sent = self.sent.later_of(self.next);
        if self.deadline.is_none() {
            self.deadline = Some(now.saturating_add(RETRANSMIT << self.attempts.min(ATTEMPTS)));
        }
        Some(segment)
    }

    /// The deadline has come: sends again, or gives up.
    pub fn expire(&mut self) {
        self.deadline = None;
        if self.attempts >= ATTEMPTS {
            self.end(End::TimedOut);
        } else {
            self.attempts += 1;
            self.go_back();
        }
    }

    /// The segment that ends it at once at the peer's side.
    pub fn reset(&self) -> Departing {
        let flags = match self.state {
            State::SynSent => TcpFlags::RST,
            State::SynReceived | State::Open | State::Ended(_) => TcpFlags::RST.with(TcpFlags::ACK),
        };
        Departing { seq: self.next, ack: self.expected, flags, data: None }
    }

    /// A segment of one number, SYN or FIN.
    fn control(&mut self, flags: TcpFlags, ack: SeqNumber) -> Departing {
        let seq = self.next;
        self.next = self.next.plus(1);
        Departing { seq, ack, flags, data: None }
    }

    fn data_segment(&mut self) -> Option<Departing> {
        let message = self.message.as_ref()?;
        let left = u32::try_from(self.data_end.distance_from(self.next)).ok()?;
        let in_flight = u32::try_from(self.next.distance_from(self.unacknowledged)).ok()?;
        let room = self.peer_window.max(self.mss).saturating_sub(in_flight);
        let len = left.min(self.mss).min(room);
        if len == 0 {
            return None;
        }
        let from = usize::try_from(self.next.distance_from(self.message_at)).ok()?;
        let range = from..from.checked_add(len as usize)?;
        let mut flags = TcpFlags::ACK;
        if len == left {
            flags = flags.with(TcpFlags::PSH);
        }
        let data = Some((Arc::clone(message), range));
        let segment = Departing { seq: self.next, ack: self.expected, flags, data };
        self.next = self.next.plus(len);
        Some(segment)
    }

    fn learn(&mut self, syn: &Arrived<'_>) {
        self.peer_window = u32::from(syn.window);
        self.mss = syn.mss.map_or(DEFAULT_MSS, |mss| u32::from(mss).clamp(64, 3700));
    }

    fn open(&mut self, segment: &Arrived<'_>) {
        self.state = State::Open;
        self.unacknowledged = segment.ack;
        self.next = self.next.later_of(segment.ack);
        self.deadline = None;
        self.attempts = 0;
    }

    fn take_ack(&mut self, segment: &Arrived<'_>, now: u64) {
        if segment.ack.is_after(self.unacknowledged) && segment.ack.is_at_or_before(self.sent) {
            self.unacknowledged = segment.ack;
            self.next = self.next.later_of(segment.ack);
            self.duplicate_acks = 0;
            self.attempts = 0;
            self.deadline = (self.sent != segment.ack).then(|| now.saturating_add(RETRANSMIT));
            if segment.ack.is_at_or_after(self.data_end) {
                self.message = None;
            }
        } else if segment.ack == self.unacknowledged
            && self.sent.is_after(segment.ack)
            && segment.payload.is_empty()
            && u32::from(segment.window) == self.peer_window
        {
            // RFC 5681 §3.2: three in a row mean that a segment is missing.
            self.duplicate_acks = self.duplicate_acks.saturating_add(1);
            if self.duplicate_acks == 3 {
                self.go_back();
            }
        }
        self.peer_window = u32::from(segment.window);
    }

    fn take_data<'a>(&mut self, segment: &Arrived<'a>, news: &mut News<'a>) {
        let is_fin = segment.flags.contains(TcpFlags::FIN);
        if segment.payload.is_empty() && !is_fin {
            return;
        }
        self.owes_ack = true;
        // What came before again is cut off; what leaves a hole is dropped.
        let Ok(known) = usize::try_from(self.expected.distance_from(segment.seq)) else { return };
        let Some(data) = segment.payload.get(known..) else { return };
        if self.peer_closed {
            return;
        }
        let len = u32::try_from(data.len()).unwrap_or(0);
        self.expected = self.expected.plus(len);
        news.data = data;
        if is_fin {
            self.expected = self.expected.plus(1);
            self.peer_closed = true;
            news.peer_closed = true;
        }
    }

    fn go_back(&mut self) {
        self.next = self.unacknowledged;
        self.duplicate_acks = 0;
        self.retransmissions += 1;
    }

    fn end(&mut self, end: End) {
        self.state = State::Ended(end);
        self.deadline = None;
        self.message = None;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    const MSS: u16 = 100;

    fn arrived(segment: &Departing) -> (Departing, Option<u16>) {
        (segment.clone(), segment.flags.contains(TcpFlags::SYN).then_some(MSS))
    }

    fn give<'a>(segment: &'a Departing, mss: Option<u16>) -> Arrived<'a> {
        let payload = segment.data.as_ref().map_or(&[][..], |(all, range)| &all[range.clone()]);
        let Departing { seq, ack, flags, .. } = *segment;
        Arrived { seq, ack, flags, window: WINDOW, mss, payload }
    }

    /// Two endpoints and a network between them that loses, doubles and reorders as told.
    struct Network {
        client: Connection,
        server: Option<Connection>,
        fates: VecDeque<u8>,
        now: u64,
    }

    impl Network {
        fn new(first: u32, fates: &[u8]) -> Self {
            let client = Connection::connect(SeqNumber::new(first));
            Self { client, server: None, fates: fates.iter().copied().collect(), now: 0 }
        }

        /// Exchanges `question` and `answer` and closes; returns what each side got and how it ended.
        fn run(&mut self, question: &Arc<[u8]>, answer: &Arc<[u8]>) -> (Vec<u8>, Vec<u8>, End) {
            let (mut at_server, mut at_client) = (Vec::new(), Vec::new());
            let mut to_server: VecDeque<(Departing, Option<u16>)> = VecDeque::new();
            let mut to_client: VecDeque<(Departing, Option<u16>)> = VecDeque::new();
            for _ in 0..100_000 {
                while let Some(segment) = self.client.depart(self.now) {
                    self.pass(&mut to_server, arrived(&segment));
                }
                if let Some(server) = &mut self.server {
                    while let Some(segment) = server.depart(self.now) {
                        let segment = arrived(&segment);
                        let mut queue = std::mem::take(&mut to_client);
                        pass(&mut self.fates, &mut queue, segment);
                        to_client = queue;
                    }
                }
                if let (Some(end), Some(server)) = (self.client.ended(), &self.server)
                    && (server.ended().is_some() || end != End::Closed)
                {
                    return (at_server, at_client, end);
                }
                if let Some((segment, mss)) = to_server.pop_front() {
                    let segment = give(&segment, mss);
                    match &mut self.server {
                        None => {
                            assert_eq!(segment.flags, TcpFlags::SYN);
                            self.server =
                                Some(Connection::accept(SeqNumber::new(u32::MAX - 50), &segment));
                        }
                        Some(server) => {
                            let news = server.arrive(&segment, self.now);
                            at_server.extend_from_slice(news.data);
                            if !news.data.is_empty() && at_server.len() == question.len() {
                                assert!(server.send(answer));
                            }
                            if news.peer_closed {
                                server.close();
                            }
                        }
                    }
                } else if let Some((segment, mss)) = to_client.pop_front() {
                    let news = self.client.arrive(&give(&segment, mss), self.now);
                    if news.connected {
                        assert!(self.client.send(question));
                    }
                    at_client.extend_from_slice(news.data);
                    if !news.data.is_empty() && at_client.len() == answer.len() {
                        self.client.close();
                    }
                } else {
                    // Nothing is on the way: time passes until somebody sends again.
                    let deadlines = [
                        self.client.deadline(),
                        self.server.as_ref().and_then(Connection::deadline),
                    ];
                    self.now =
                        deadlines.into_iter().flatten().min().expect("somebody waits for nothing");
                    let now = self.now;
                    let due =
                        |connection: &Connection| connection.deadline().is_some_and(|at| at <= now);
                    if due(&self.client) {
                        self.client.expire();
                    }
                    if let Some(server) = self.server.as_mut().filter(|server| due(server)) {
                        server.expire();
                    }
                }
            }
            panic!("it does not end");
        }

        fn pass(
            &mut self,
            queue: &mut VecDeque<(Departing, Option<u16>)>,
            segment: (Departing, Option<u16>),
        ) {
            pass(&mut self.fates, queue, segment);
        }
    }

    fn pass(
        fates: &mut VecDeque<u8>,
        queue: &mut VecDeque<(Departing, Option<u16>)>,
        segment: (Departing, Option<u16>),
    ) {
        match fates.pop_front() {
            Some(0) => {}
            Some(1) => queue.extend([segment.clone(), segment]),
            Some(2) => queue.push_front(segment),
            _ => queue.push_back(segment),
        }
    }

    fn message(len: usize) -> Arc<[u8]> {
        (0..len).map(|byte| u8::try_from(byte % 251).unwrap()).collect()
    }

    #[test]
    fn question_and_answer_cross_and_both_sides_close() {
        let (question, answer) = (message(70), message(100_000));
        let mut network = Network::new(u32::MAX - 10, &[]);
        let (at_server, at_client, end) = network.run(&question, &answer);
        assert_eq!((&*at_server, &*at_client, end), (&*question, &*answer, End::Closed));
        assert_eq!(network.client.retransmissions, 0);
        assert_eq!(network.now, 0, "nobody had to wait");
    }

    #[test]
    fn a_peer_that_never_answers_is_given_up() {
        let mut client = Connection::connect(SeqNumber::new(1));
        let mut sent = 0;
        let mut now = 0;
        while client.ended().is_none() {
            while client.depart(now).is_some() {
                sent += 1;
            }
            now = client.deadline().unwrap();
            client.expire();
        }
        assert_eq!((client.ended(), sent), (Some(End::TimedOut), ATTEMPTS + 1));
    }

    #[test]
    fn a_reset_counts_only_at_the_expected_number() {
        let mut client = Connection::connect(SeqNumber::new(7));
        client.depart(0);
        let reset = |seq, ack| Arrived {
            seq: SeqNumber::new(seq),
            ack: SeqNumber::new(ack),
            flags: TcpFlags::RST.with(TcpFlags::ACK),
            window: 0,
            mss: None,
            payload: &[],
        };
        client.arrive(&reset(0, 7), 0);
        assert_eq!(client.ended(), None);
        client.arrive(&reset(0, 8), 0);
        assert_eq!(client.ended(), Some(End::Reset));
    }

    proptest! {
        #[test]
        fn bytes_arrive_once_and_in_order_over_any_network(
            first: u32,
            question in 1..1000_usize,
            answer in 1..5000_usize,
            fates in prop::collection::vec(0..8_u8, 0..60),
        ) {
            let (question, answer) = (message(question), message(answer));
            let (at_server, at_client, end) = Network::new(first, &fates).run(&question, &answer);
            if end == End::Closed {
                prop_assert_eq!(&*at_server, &*question);
                prop_assert_eq!(&*at_client, &*answer);
            }
        }
    }
}
