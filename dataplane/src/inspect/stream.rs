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

use parser::tcp::{SeqNumber, TcpFlags};

use super::{
    Disposition, Edit, Judge, Limits, NewSegment, Segment, Side, Sink, StreamDrop, Tick,
    flow::{End, Flow},
    handshake::forward_syn,
    holes::Holes,
    kept::Kept,
    options::{self, Options},
    outbox::Outbox,
    outstanding::Outstanding,
    reply::Reply,
    requests::Requests,
    responses::Responses,
    timers::Timers,
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

/// "Never", later than every other time.
pub const NO_TICK: Tick = Tick(u64::MAX);

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

    /// An idle connection has none.
    pub(super) timers: Option<Box<Timers>>,
    pub(super) last_seen: Tick,
    /// When the caller will call [`Stream::tick`] next, [`NO_TICK`] if it will not: its own note, kept here because only streams
    /// need one.
    pub wake: Tick,
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
        let plain = syn.flags.contains(TcpFlags::SYN)
            && !syn.flags.contains(TcpFlags::ACK)
            && !syn.flags.contains(TcpFlags::RST)
            && !syn.flags.contains(TcpFlags::FIN);
        if !plain || syn.from != Side::Client {
            return Err(StreamDrop::NotOpening);
        }
        let options = options::read(syn.options, true)
            .map_err(|options::Malformed| StreamDrop::BadOptions)?;
        let mut up = Flow::new(syn.seq);
        up.high = 1;
        // The server's numbers are filled in by its SYN-ACK.
        let mut down = Flow::new(SeqNumber::new(0));
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
            timers: None,
            last_seen: now,
            wake: NO_TICK,
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
        if self.take_bare(segment, now).is_some() {
            sink.forward(0..0, Edit::Unchanged);
            return Disposition::Forwarded;
        }
        self.go_the_long_way(segment, now, limits, judge, sink)
    }

    /// Takes any segment.
    pub(super) fn go_the_long_way<J: Judge, S: Sink>(
        &mut self,
        segment: &Segment<'_>,
        now: Tick,
        limits: &Limits,
        judge: &mut J,
        sink: &mut S,
    ) -> Disposition {
        let mut around = Around { now, limits, judge, sink };
        let outcome = match self.phase {
            Phase::Closed => {
                answer_with_reset(segment, around.sink);
                Err(StreamDrop::Closed)
            }
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

    /// Whether responses can still be paired with requests.
    pub(super) fn is_readable(&self) -> bool {
        !self.unpaired
    }

    /// Whether a request of the client's has led to another protocol, or asks for one.
    pub(super) fn is_tunnel(&self) -> bool {
        self.requests.is_tunnel()
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
            + self.requests.heap_bytes()
            + self.responses.heap_bytes()
            + self.timers.as_ref().map_or(0, |_| size_of::<Timers>())
            + self.up.splice.heap_bytes()
            + self.down.splice.heap_bytes()
    }

    /// Nothing has happened for a while: gives back the memory that was kept for the next request.
    pub fn rest(&mut self) {
        self.kept.rest();
        self.timers.take_if(|timers| timers.are_stopped());
    }

    /// Whether `len` payload bytes that `from` sends as number `seq` are content and nothing else: where they end is within
    /// what the framing has announced, and no byte of them has a copy here. [`Stream::segment`] then reads nothing of them but
    /// their length.
    #[must_use]
    pub fn is_content(&self, from: Side, seq: SeqNumber, len: usize) -> bool {
        let flow = self.flow(from);
        let Some(start) = flow.position(seq, flow.told).filter(|_| self.phase == Phase::Open)
        else {
            return false;
        };
        let end = start.saturating_add(len as u64);
        match from {
            Side::Client => {
                self.kept.end() <= start && end <= self.frontier && self.client_holes.is_empty()
            }
            Side::Server => end <= self.responses.frontier,
        }
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

    /// A link on the way takes packets of at most `mtu` bytes (RFC 1191, RFC 8201): segments of our own keep to it. What a router
    /// may claim is bounded by what every link can do.
    pub fn too_big(&mut self, mtu: u32, is_ipv6: bool) {
        // The headers without options, and the least MTU (RFC 8200 §5; Linux's `ip_rt_min_pmtu` for IPv4).
        let (headers, least) = if is_ipv6 { (60, 1280) } else { (40, 552) };
        let room = mtu.max(least).saturating_sub(headers);
        self.mss = self.mss.min(u16::try_from(room).unwrap_or(u16::MAX));
    }

    pub(super) fn flow(&self, from: Side) -> &Flow {
        match from {
            Side::Client => &self.up,
            Side::Server => &self.down,
        }
    }

    pub(super) fn end(&mut self, side: Side) -> &mut End {
        match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        }
    }

    fn established<J: Judge, S: Sink>(
        &mut self,
        segment: &Segment<'_>,
        around: &mut Around<'_, J, S>,
    ) -> Result<Disposition, StreamDrop> {
        let flags = segment.flags;
        if flags.contains(TcpFlags::SYN) {
            return self.repeated_syn(segment, around.sink);
        }
        if flags.contains(TcpFlags::RST) {
            return self.peer_reset(segment, around.sink);
        }
        if !flags.contains(TcpFlags::ACK) {
            return Err(StreamDrop::NoAck);
        }
        let options = read_options(segment)?;
        match segment.from {
            Side::Client => self.take_from_client(segment, options, around),
            Side::Server => self.take_from_server(segment, options, around),
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
        self.timers = None;
    }

    /// Resets one side, with the number that side expects if nothing is lost; if something is, its challenge is answered by the
    /// tombstone.
    pub(super) fn send_reset<S: Sink>(&self, side: Side, sink: &mut S) {
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
        sink.inject(side, bare(seq, ack, TcpFlags::RST.with(TcpFlags::ACK)));
    }
}

/// A segment without payload, options and window.
pub(super) fn bare(seq: SeqNumber, ack: SeqNumber, flags: TcpFlags) -> NewSegment<'static> {
    NewSegment { seq, ack, flags, window: 0, options: &[], payload: &[] }
}

/// A tombstone's answer: whoever still speaks hears that it is over (RFC 9293 §3.10.7.1), in exactly the number that it expects.
pub(super) fn answer_with_reset<S: Sink>(segment: &Segment<'_>, sink: &mut S) {
    if segment.flags.contains(TcpFlags::ACK) && !segment.flags.contains(TcpFlags::RST) {
        sink.inject(segment.from, bare(segment.ack, SeqNumber::new(0), TcpFlags::RST));
    }
}

pub(super) fn read_options(segment: &Segment<'_>) -> Result<Options, StreamDrop> {
    options::read(segment.options, segment.flags.contains(TcpFlags::SYN))
        .map_err(|options::Malformed| StreamDrop::BadOptions)
}

/// The part `from..to` of a payload that stands at `start`, as a range of its bytes.
pub(super) fn part(start: u64, len: usize, from: u64, to: u64) -> Range<usize> {
    let index = |position: u64| {
        usize::try_from(position.saturating_sub(start)).unwrap_or(usize::MAX).min(len)
    };
    let from = index(from);
    from..index(to).max(from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_connection_is_small() {
        assert!(size_of::<Stream>() <= 360, "{}", size_of::<Stream>());
    }
}
