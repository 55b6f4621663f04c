//! One inspected TCP connection: segments and time in, segments out.
//!
//! ```text
//!   client ──▶ from_client ──▶ Requests ──▶ pass in place | hold (Kept) | cut + answer (Outbox)      ──▶ server
//!   client ◀── from_server ◀── Responses ◀── pass in place, always                                  ◀── server
//! ```
//!
//! The connection is never terminated. Client bytes are released once, in the order of the stream's framing, after their
//! request is judged; everything else that TCP says is passed on with its numbers translated.
//!
//! INVARIANT: a client byte that reaches the server lies below the frontier and in no cut; a byte of framing that was
//! released has a copy in `kept` until the server acknowledges it; a byte acknowledged to the client that the server has not
//! acknowledged is in `kept` and retransmitted from there.

use core::ops::Range;

use parser::stream::SeqNumber;

use super::{
    Disposition, Edit, Flags, Header, Judge, Limits, NewSegment, Segment, Side, Sink, StreamDrop,
    Tick,
    flow::{End, Flow},
    holes::Holes,
    kept::Kept,
    options::{self, OptionBytes, Options, Timestamps},
    outbox::Outbox,
    outstanding::Outstanding,
    reply::Reply,
    requests::Requests,
    responses::Responses,
};

/// Where a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The client's SYN has passed; the server's answer has not.
    Opening,
    /// The handshake is done.
    Open,
    /// We answered and closed; the ends are being brought to follow.
    Closing,
    /// Over: whatever comes is refused.
    Closed,
}

/// How much of a head is taken even when the server's window is smaller.
const HEAD_ROOM: u64 = 32 * 1024;

/// "No deadline".
pub(super) const NO_TICK: Tick = Tick(u64::MAX);

/// A retransmission clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    pub(super) due: Tick,
    pub(super) tries: u8,
    pub(super) duplicates: u8,
}

impl Clock {
    const STOPPED: Self = Self { due: NO_TICK, tries: 0, duplicates: 0 };

    /// Runs from now on, if it does not run already.
    pub(super) fn start(&mut self, now: Tick, limits: &Limits) {
        if self.due == NO_TICK {
            self.due = now.after(limits.retransmit_time);
        }
    }

    /// There was progress: counts from the beginning, and goes on if `more` remains.
    pub(super) fn restart(&mut self, more: bool, now: Tick, limits: &Limits) {
        *self = Self::STOPPED;
        if more {
            self.start(now, limits);
        }
    }

    /// After a try: twice as long.
    pub(super) fn back_off(&mut self, now: Tick, limits: &Limits) {
        self.tries = self.tries.saturating_add(1);
        self.due = now.after(limits.retransmit_time.saturating_mul(1 << self.tries.min(6)));
    }
}

/// Why held bytes wait, as far as timers care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waiting {
    No,
    /// For the rest of a head.
    Head,
    /// For the server.
    Server,
}

/// The state of one connection.
#[derive(Clone, Debug)]
pub struct Stream {
    pub(super) phase: Phase,
    /// Client to server.
    pub(super) up: Flow,
    /// Server to client.
    pub(super) down: Flow,
    pub(super) client: End,
    pub(super) server: End,
    /// Both ends offered timestamps.
    pub(super) timestamps: bool,
    /// Both ends permitted SACK.
    pub(super) sack: bool,
    /// Payload that fits into a segment without options, in either direction.
    pub(super) mss: u16,

    pub(super) requests: Requests,
    /// Client's position up to which bytes are decided: they may pass, or were cut.
    pub(super) frontier: u64,
    /// Bytes from the frontier on that wait in `kept`.
    pub(super) held: usize,
    /// Client's position from which on released bytes of our keeping were never sent to the server.
    pub(super) unsent: u64,
    /// Client's position up to which we may acknowledge what `kept` covers.
    pub(super) owned_to: u64,
    pub(super) kept: Kept,
    pub(super) client_holes: Holes,
    /// The client's FIN was sent to the server.
    pub(super) fin_sent: bool,

    pub(super) outstanding: Outstanding,
    /// An answer that waits for the responses before it.
    pub(super) pending: Option<Reply>,
    /// The server's bytes answer nothing: the next client byte ends the connection.
    pub(super) unpaired: bool,

    pub(super) responses: Responses,
    pub(super) server_holes: Holes,
    pub(super) outbox: Outbox,
    /// In [`Phase::Closing`]: client's view of the end of the server's bytes; the server is reset when they have arrived.
    pub(super) server_end: u64,
    pub(super) server_reset: bool,
    /// In [`Phase::Closing`]: the client's FIN was seen.
    pub(super) client_done: bool,

    pub(super) outbox_clock: Clock,
    pub(super) kept_clock: Clock,
    pub(super) waiting: Waiting,
    pub(super) waiting_since: u64,
    pub(super) waiting_due: Tick,
    pub(super) last_seen: Tick,
    pub(super) closing_due: Tick,
}

/// What every step needs from outside.
pub(super) struct Around<'a, J, S> {
    pub(super) now: Tick,
    pub(super) limits: &'a Limits,
    pub(super) judge: &'a mut J,
    pub(super) sink: &'a mut S,
}

impl Stream {
    /// Begins with a client's SYN, and sends it on without payload and without options that would hide the stream.
    ///
    /// # Errors
    /// [`StreamDrop::NotOpening`] if the segment is no plain SYN of a client, [`StreamDrop::BadOptions`] if its options
    /// cannot be read. Nothing is sent then, and there is no connection.
    pub fn open<S: Sink>(syn: &Segment<'_>, now: Tick, sink: &mut S) -> Result<Self, StreamDrop> {
        let plain = syn.flags.has(Flags::SYN)
            && !syn.flags.has(Flags::ACK)
            && !syn.flags.has(Flags::RST)
            && !syn.flags.has(Flags::FIN);
        if !plain || syn.from != Side::Client {
            return Err(StreamDrop::NotOpening);
        }
        let options = options::read(syn.options, true)
            .map_err(|options::Malformed| StreamDrop::BadOptions)?;
        let mut up = Flow::new(syn.seq);
        up.high = 1;
        // The server's numbers are filled in by its SYN-ACK.
        let mut down = Flow::new(SeqNumber(0));
        down.edge = 1 + u64::from(syn.window);
        let mut client = End { shift: options.window_scale.unwrap_or(u8::MAX), ..End::default() };
        if let Some(timestamps) = options.timestamps {
            client.note(timestamps, true);
        }
        let stream = Self {
            phase: Phase::Opening,
            up,
            down,
            client,
            server: End::default(),
            timestamps: options.timestamps.is_some(),
            sack: options.sack_permitted,
            // RFC 9293 §3.7.1: 536 unless said otherwise.
            mss: options.mss.unwrap_or(536).max(64),
            requests: Requests::new(),
            frontier: 1,
            held: 0,
            unsent: 0,
            owned_to: 0,
            kept: Kept::default(),
            client_holes: Holes::default(),
            fin_sent: false,
            outstanding: Outstanding::default(),
            pending: None,
            unpaired: false,
            responses: Responses::new(),
            server_holes: Holes::default(),
            outbox: Outbox::default(),
            server_end: 0,
            server_reset: false,
            client_done: false,
            outbox_clock: Clock::STOPPED,
            kept_clock: Clock::STOPPED,
            waiting: Waiting::No,
            waiting_since: 0,
            waiting_due: NO_TICK,
            last_seen: now,
            closing_due: NO_TICK,
        };
        forward_syn(syn, options, sink);
        Ok(stream)
    }

    /// Takes one segment of either side.
    pub fn segment<J: Judge, S: Sink>(
        &mut self,
        segment: &Segment<'_>,
        now: Tick,
        limits: &Limits,
        judge: &mut J,
        sink: &mut S,
    ) -> Disposition {
        let mut around = Around { now, limits, judge, sink };
        let outcome = match self.phase {
            Phase::Closed => self.after_close(segment, around.sink),
            Phase::Opening => self.opening(segment, around.sink),
            Phase::Open | Phase::Closing => self.established(segment, &mut around),
        };
        match outcome {
            Ok(disposition) => {
                self.last_seen = now;
                disposition
            }
            Err(reason) => Disposition::Dropped(reason),
        }
    }

    /// Resets both sides and refuses everything from now on.
    pub fn reset<S: Sink>(&mut self, sink: &mut S) {
        if self.phase == Phase::Closed {
            return;
        }
        if self.phase != Phase::Opening {
            self.send_reset(Side::Client, sink);
            if !self.server_reset {
                self.send_reset(Side::Server, sink);
            }
        }
        self.close();
    }

    /// Where the connection stands.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Whether everything from now on is refused. The caller may forget the connection once no late segment can come.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.phase == Phase::Closed
    }

    /// Whether both sides have closed and acknowledged it, or the connection is refused: a new SYN may open another in its
    /// place (RFC 6191).
    #[must_use]
    pub fn is_finished(&self) -> bool {
        match self.phase {
            Phase::Opening => false,
            Phase::Open => self.up.finished() && self.down.finished(),
            Phase::Closing => self.server_reset && self.client_done && self.outbox.is_empty(),
            Phase::Closed => true,
        }
    }

    /// Requests passed to the server and not yet answered.
    #[must_use]
    pub fn unanswered(&self) -> u8 {
        self.outstanding.len()
    }

    /// Heap in use beyond the state itself, for the caller's budgets; bytes.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.kept.heap_bytes()
            + self.client_holes.heap_bytes()
            + self.server_holes.heap_bytes()
            + self.outbox.heap_bytes()
            + self.responses.heap_bytes()
            + self.up.splice.heap_bytes()
            + self.down.splice.heap_bytes()
    }

    /// For an ICMP error about a segment that `from` sent and that was translated on its way: the number as `from` sent it.
    /// `None` when no segment with this number can be on its way.
    #[must_use]
    pub fn quoted(&self, from: Side, seq: SeqNumber) -> Option<SeqNumber> {
        let flow = self.flow(from);
        let position = flow.position(seq, flow.una)?;
        (flow.una <= position && position <= flow.sent())
            .then(|| flow.number(flow.splice.backward(position)))
    }

    fn flow(&self, from: Side) -> &Flow {
        match from {
            Side::Client => &self.up,
            Side::Server => &self.down,
        }
    }

    fn end(&mut self, side: Side) -> &mut End {
        match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        }
    }

    /// A tombstone: nothing passes, and whoever still speaks hears that it is over.
    fn after_close<S: Sink>(
        &mut self,
        segment: &Segment<'_>,
        sink: &mut S,
    ) -> Result<Disposition, StreamDrop> {
        if segment.flags.has(Flags::ACK) && !segment.flags.has(Flags::RST) {
            // RFC 9293 §3.10.7.1: exactly what the sender takes for valid.
            sink.inject(segment.from, bare(segment.ack, SeqNumber(0), Flags::RST));
        }
        Err(StreamDrop::Closed)
    }

    fn opening<S: Sink>(
        &mut self,
        segment: &Segment<'_>,
        sink: &mut S,
    ) -> Result<Disposition, StreamDrop> {
        let flags = segment.flags;
        match segment.from {
            Side::Client if flags.has(Flags::RST) && !flags.has(Flags::SYN) => {
                // The client may reset what an old connection of the server answers; only its own number ends this one.
                forward_bare(segment, sink);
                if segment.seq == self.up.number(1) {
                    self.close();
                }
                Ok(Disposition::Forwarded)
            }
            Side::Client if flags.has(Flags::SYN) => {
                if flags.has(Flags::FIN) || flags.has(Flags::RST) {
                    return Err(StreamDrop::BadFlags);
                }
                if flags.has(Flags::ACK) || segment.seq != self.up.number(0) {
                    return Err(StreamDrop::UnexpectedSyn);
                }
                let options = read_options(segment)?;
                if let Some(timestamps) = options.timestamps {
                    self.client.note(timestamps, true);
                }
                forward_syn(segment, options, sink);
                Ok(Disposition::Forwarded)
            }
            Side::Client => Err(StreamDrop::BadHandshake),
            Side::Server if flags.has(Flags::RST) => {
                if flags.has(Flags::SYN) {
                    return Err(StreamDrop::BadFlags);
                }
                if !flags.has(Flags::ACK) || segment.ack != self.up.number(1) {
                    return Err(StreamDrop::InexactReset);
                }
                forward_bare(segment, sink);
                self.close();
                Ok(Disposition::Forwarded)
            }
            Side::Server if flags.has(Flags::SYN) => {
                if flags.has(Flags::FIN) {
                    return Err(StreamDrop::BadFlags);
                }
                // A SYN without ACK would make the server the client (evasion row T6).
                if !flags.has(Flags::ACK) {
                    return Err(StreamDrop::UnexpectedSyn);
                }
                if segment.ack != self.up.number(1) {
                    return Err(StreamDrop::BadHandshake);
                }
                let options = read_options(segment)?;
                self.established_by(segment, options);
                forward_syn(segment, options, sink);
                Ok(Disposition::Forwarded)
            }
            Side::Server
                if flags.has(Flags::ACK)
                    && segment.payload.is_empty()
                    && !flags.has(Flags::FIN) =>
            {
                // A challenge from an older connection of the server (RFC 5961 §4): the client resets it and tries again.
                read_options(segment)?;
                forward_bare(segment, sink);
                Ok(Disposition::Forwarded)
            }
            Side::Server => Err(StreamDrop::BadHandshake),
        }
    }

    /// The server's SYN-ACK fixes both sides' numbers and what was negotiated.
    fn established_by(&mut self, syn_ack: &Segment<'_>, options: Options) {
        self.down.isn = syn_ack.seq.0;
        let offered = self.client.shift != u8::MAX;
        self.client.shift =
            if offered && options.window_scale.is_some() { self.client.shift } else { 0 };
        self.server.shift = if offered { options.window_scale.unwrap_or(0) } else { 0 };
        self.timestamps &= options.timestamps.is_some();
        self.sack &= options.sack_permitted;
        self.mss = self.mss.min(options.mss.unwrap_or(536).max(64));
        if let Some(timestamps) = options.timestamps {
            self.server.note(timestamps, true);
        }
        self.up.una = 1;
        self.up.told = 1;
        self.up.edge = 1 + u64::from(syn_ack.window);
        self.up.told_edge = self.up.edge;
        self.owned_to = 1;
        self.phase = Phase::Open;
    }

    fn established<J: Judge, S: Sink>(
        &mut self,
        segment: &Segment<'_>,
        around: &mut Around<'_, J, S>,
    ) -> Result<Disposition, StreamDrop> {
        let flags = segment.flags;
        if flags.has(Flags::SYN) {
            return self.repeated_syn(segment, around.sink);
        }
        if flags.has(Flags::RST) {
            return self.peer_reset(segment, around.sink);
        }
        if !flags.has(Flags::ACK) {
            return Err(StreamDrop::NoAck);
        }
        let options = read_options(segment)?;
        match segment.from {
            Side::Client => self.from_client(segment, options, around),
            Side::Server => self.from_server(segment, options, around),
        }
    }

    /// A SYN after the handshake: a retransmission of the handshake passes, anything else is challenged (RFC 5961 §4).
    fn repeated_syn<S: Sink>(
        &mut self,
        segment: &Segment<'_>,
        sink: &mut S,
    ) -> Result<Disposition, StreamDrop> {
        let flags = segment.flags;
        if flags.has(Flags::FIN) || flags.has(Flags::RST) {
            return Err(StreamDrop::BadFlags);
        }
        let plain = self.up.splice.is_identity() && self.down.splice.is_identity();
        let repeated = match segment.from {
            Side::Client => {
                !flags.has(Flags::ACK) && segment.seq == self.up.number(0) && self.down.una == 0
            }
            Side::Server => {
                flags.has(Flags::ACK)
                    && segment.seq == self.down.number(0)
                    && segment.ack == self.up.number(1)
                    && plain
            }
        };
        if !repeated {
            if segment.from == Side::Client {
                let acknowledgement = self.segment_to(Side::Client, self.down_next(), Flags::ACK);
                acknowledgement.send(&[], self, sink);
            }
            return Err(StreamDrop::UnexpectedSyn);
        }
        let options = read_options(segment)?;
        if let Some(timestamps) = options.timestamps {
            self.end(segment.from).note(timestamps, true);
        }
        forward_syn(segment, options, sink);
        Ok(Disposition::Forwarded)
    }

    /// A RST passes if its number lies in the window, so that the receiver may challenge it; it ends our state only if the
    /// number is exact (RFC 5961 §3.2).
    fn peer_reset<S: Sink>(
        &mut self,
        segment: &Segment<'_>,
        sink: &mut S,
    ) -> Result<Disposition, StreamDrop> {
        let from_client = segment.from == Side::Client;
        let flow = self.flow(segment.from);
        let position = flow.position(segment.seq, flow.told).ok_or(StreamDrop::InexactReset)?;
        let held_end = self.frontier.saturating_add(self.held as u64);
        let last = if from_client && self.held > 0 { held_end } else { flow.high };
        let exact = position == flow.told || position == last;
        if !exact && (position < flow.told || position > flow.sender_edge().max(last)) {
            return Err(StreamDrop::InexactReset);
        }
        if !from_client && self.phase == Phase::Closing {
            // The server is gone; our answer to the client still stands.
            self.server_reset = true;
            return Ok(Disposition::Absorbed);
        }
        let to_server_gone = from_client && self.server_reset;
        if !to_server_gone {
            let sent = if from_client { position.min(self.frontier) } else { position };
            let seq = flow.number(flow.splice.forward(sent));
            let header = Header {
                seq,
                ack: self.other_ack(segment),
                flags: segment.flags.without(Flags::URG),
                window: segment.window,
                urgent: 0,
                options: None,
            };
            sink.forward(0..0, Edit::Rewrite(header));
        }
        if exact {
            self.close();
        }
        Ok(if to_server_gone { Disposition::Absorbed } else { Disposition::Forwarded })
    }

    /// A segment's acknowledgement number in the other side's counting.
    fn other_ack(&self, segment: &Segment<'_>) -> SeqNumber {
        let flow = self.flow(segment.from.other());
        match flow.position(segment.ack, flow.una) {
            Some(position) => flow.number(flow.splice.backward(position.max(flow.una))),
            None => segment.ack,
        }
    }

    /// Forgets what only an open connection needs.
    pub(super) fn close(&mut self) {
        self.phase = Phase::Closed;
        self.kept = Kept::default();
        self.client_holes.clear();
        self.server_holes.clear();
        self.outbox = Outbox::default();
        self.responses.stop();
        self.held = 0;
        self.pending = None;
        self.outbox_clock = Clock::STOPPED;
        self.kept_clock = Clock::STOPPED;
        self.waiting = Waiting::No;
        self.waiting_due = NO_TICK;
        self.closing_due = NO_TICK;
    }

    /// Resets one side, with the number that side expects if nothing is lost; if something is, its challenge is answered by the
    /// tombstone.
    pub(super) fn send_reset<S: Sink>(&mut self, side: Side, sink: &mut S) {
        let flow = self.flow(side.other());
        let position = match side {
            Side::Client => self.down_end(),
            Side::Server => flow.sent(),
        };
        let seq = flow.number(position);
        let ack = match side {
            Side::Client => self.up.number(self.up.told),
            Side::Server => self.down.number(self.down.told),
        };
        sink.inject(side, bare(seq, ack, Flags::RST.with(Flags::ACK)));
    }

    /// Client's view of the end of everything that it can have received.
    fn down_end(&self) -> u64 {
        self.down.sent().max(self.outbox.fin().map_or(0, |fin| fin.saturating_add(1)))
    }

    /// Client's view of the number that the next byte to the client has: injected bytes may still wait for its window.
    pub(super) fn down_next(&self) -> u64 {
        match self.outbox.unsent() {
            Some(unsent) => unsent.min(self.down.sent()),
            None => self.down_end(),
        }
    }

    /// The beginnings of a segment of ours to `side`, at the receiver's `position`, in the name of the other side.
    pub(super) fn segment_to(&self, side: Side, position: u64, flags: Flags) -> Draft {
        let (flow, back, sender, receiver) = match side {
            Side::Client => (&self.down, &self.up, self.server, self.client),
            Side::Server => (&self.up, &self.down, self.client, self.server),
        };
        let ack = match side {
            Side::Client => self.client_may_be_told(),
            Side::Server => back.splice.backward(back.una).max(back.told),
        };
        let edge = match side {
            Side::Client => self.client_edge(),
            Side::Server => back.sender_edge(),
        };
        let mut options = OptionBytes::new();
        if self.timestamps {
            options.push_timestamps(Timestamps { value: sender.clock, echo: receiver.clock });
        }
        Draft {
            side,
            seq: flow.number(position),
            ack,
            edge,
            window: window(edge.saturating_sub(ack), sender.shift),
            flags,
            options,
        }
    }

    /// Payload that fits into a segment of ours.
    pub(super) fn room(&self) -> usize {
        usize::from(self.mss).saturating_sub(if self.timestamps { 12 } else { 0 }).max(32)
    }

    /// What may be acknowledged to the client: what the server has acknowledged, and what follows it in our keeping.
    pub(super) fn client_may_be_told(&self) -> u64 {
        let mut position = self.up.splice.backward(self.up.una);
        while position < self.owned_to {
            let kept = self.up.splice.skip_cut(position);
            let next = kept.saturating_add(self.kept.from(kept, usize::MAX).len() as u64);
            if next <= position {
                break;
            }
            position = next.min(self.owned_to);
        }
        position.max(self.up.told)
    }

    /// Client's position up to which we take bytes whatever the server's window: enough for the rest of a head that the server
    /// cannot be shown yet, or a window smaller than a head would never open.
    fn own_edge(&self) -> u64 {
        if self.held > 0 && self.requests.in_head() {
            self.frontier.saturating_add(HEAD_ROOM)
        } else {
            0
        }
    }

    /// The right edge of the window that the client has.
    pub(super) fn client_edge(&self) -> u64 {
        self.up.sender_edge().max(self.own_edge())
    }

    /// Reads the acknowledgement and window of a segment that answers `flow`'s sender: (position, right edge), in the
    /// receiver's counting.
    pub(super) fn acknowledgement(
        &mut self,
        segment: &Segment<'_>,
    ) -> Result<(u64, u64), StreamDrop> {
        let shift = self.end(segment.from).shift;
        let flow = self.flow(segment.from.other());
        let position = flow.position(segment.ack, flow.una).ok_or(StreamDrop::BadAck)?;
        let top = match segment.from {
            Side::Client => self.down_end(),
            Side::Server => flow.sent(),
        };
        if position > top {
            return Err(StreamDrop::BadAck);
        }
        Ok((position, position.saturating_add(u64::from(segment.window) << shift)))
    }

    /// The header with which `segment` goes on, its first kept byte (or its own number) at the sender's `position`.
    pub(super) fn header<'a>(
        &mut self,
        segment: &Segment<'_>,
        seq: SeqNumber,
        flags: Flags,
        acknowledged: (u64, u64),
        options: Options,
        buffer: &'a mut OptionBytes,
    ) -> Edit<'a> {
        let from_client = segment.from == Side::Client;
        let shift = self.end(segment.from).shift;
        let (may_be_told, own_edge) =
            if from_client { (0, 0) } else { (self.client_may_be_told(), self.own_edge()) };
        let back = if from_client { &mut self.down } else { &mut self.up };
        let (position, edge) = acknowledged;
        let plain = back.splice.is_identity();
        let sender_ack = back.splice.backward(position.max(back.una)).max(may_be_told);
        let sender_edge = back.splice.backward(edge).max(own_edge);
        // Without edits an old acknowledgement is passed as it is; only a number of our own must not be taken back.
        let same_ack =
            plain && own_edge <= edge && (sender_ack == position || may_be_told <= back.una);
        back.told = back.told.max(sender_ack);
        back.told_edge = back.told_edge.max(sender_edge);
        let rewritten = if options.has_foreign || (options.has_sack && !plain) {
            *buffer = options::rewrite(segment.options, false, |left, right| {
                back.sack_block(left, right)
            });
            true
        } else {
            false
        };
        if same_ack
            && !rewritten
            && seq == segment.seq
            && flags == segment.flags
            && segment.urgent == 0
        {
            return Edit::Unchanged;
        }
        let (ack, window) = if same_ack {
            (segment.ack, segment.window)
        } else {
            (back.number(sender_ack), window(sender_edge.saturating_sub(sender_ack), shift))
        };
        Edit::Rewrite(Header {
            seq,
            ack,
            flags,
            window,
            urgent: 0,
            options: rewritten.then(|| buffer.as_slice()),
        })
    }
}

/// A segment of ours, complete but for its payload.
pub(super) struct Draft {
    side: Side,
    seq: SeqNumber,
    /// Position acknowledged, in the receiver's own counting.
    ack: u64,
    edge: u64,
    window: u16,
    flags: Flags,
    pub(super) options: OptionBytes,
}

impl Draft {
    /// Sends it; what it says about acknowledgement and window is remembered as said.
    pub(super) fn send<S: Sink>(self, payload: &[u8], stream: &mut Stream, sink: &mut S) {
        let back = match self.side {
            Side::Client => &mut stream.up,
            Side::Server => &mut stream.down,
        };
        back.told = back.told.max(self.ack);
        back.told_edge = back.told_edge.max(self.edge);
        self.emit(back.number(self.ack), payload, sink);
    }

    /// Sends it without remembering, for callers that lend out the payload from the stream itself.
    pub(super) fn emit<S: Sink>(&self, ack: SeqNumber, payload: &[u8], sink: &mut S) {
        sink.inject(
            self.side,
            NewSegment {
                seq: self.seq,
                ack,
                flags: self.flags,
                window: self.window,
                options: self.options.as_slice(),
                payload,
            },
        );
    }

    /// Position acknowledged and right edge.
    pub(super) fn said(&self) -> (u64, u64) {
        (self.ack, self.edge)
    }
}

/// A window field for `bytes` of room.
fn window(bytes: u64, shift: u8) -> u16 {
    u16::try_from(bytes >> shift).unwrap_or(u16::MAX)
}

/// A segment without payload, options and window.
fn bare(seq: SeqNumber, ack: SeqNumber, flags: Flags) -> NewSegment<'static> {
    NewSegment { seq, ack, flags, window: 0, options: &[], payload: &[] }
}

fn read_options(segment: &Segment<'_>) -> Result<Options, StreamDrop> {
    options::read(segment.options, segment.flags.has(Flags::SYN))
        .map_err(|options::Malformed| StreamDrop::BadOptions)
}

/// Sends a SYN or SYN-ACK on: no payload (RFC 7413 data would arrive unjudged), no foreign options, no urgent pointer.
fn forward_syn<S: Sink>(segment: &Segment<'_>, options: Options, sink: &mut S) {
    let rewritten;
    let flags = segment.flags.without(Flags::URG);
    let replaced = if options.has_foreign {
        rewritten = options::rewrite(segment.options, true, |_, _| None);
        Some(rewritten.as_slice())
    } else {
        None
    };
    if replaced.is_none() && flags == segment.flags && segment.urgent == 0 {
        sink.forward(0..0, Edit::Unchanged);
        return;
    }
    let Segment { seq, ack, window, .. } = *segment;
    sink.forward(
        0..0,
        Edit::Rewrite(Header { seq, ack, flags, window, urgent: 0, options: replaced }),
    );
}

/// Sends a segment's header on, as it is but for urgent data.
fn forward_bare<S: Sink>(segment: &Segment<'_>, sink: &mut S) {
    let Segment { seq, ack, window, .. } = *segment;
    let flags = segment.flags.without(Flags::URG);
    sink.forward(0..0, Edit::Rewrite(Header { seq, ack, flags, window, urgent: 0, options: None }));
}

/// The part `from..to` of a payload that stands at `start`, as a range of its bytes.
pub(super) fn part(start: u64, len: usize, from: u64, to: u64) -> Range<usize> {
    let index = |position: u64| {
        usize::try_from(position.saturating_sub(start)).unwrap_or(usize::MAX).min(len)
    };
    let from = index(from);
    from..index(to).max(from)
}
