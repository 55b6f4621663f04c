//! What goes into the stream engine and what comes out: segments in both directions, as values.
//!
//! A [`Segment`] borrows the arriving frame; the engine answers through a [`Sink`], which alone may touch frames.

use core::ops::Range;

use parser::tcp::{SeqNumber, TcpFlags};

/// One end of a connection. The client is the one whose SYN opened it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The end that sends requests.
    Client,
    /// The end that sends responses.
    Server,
}

impl Side {
    /// The other end.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

/// A segment that arrived. The caller has verified its checksum and that its header is well formed.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'a> {
    /// Who sent it.
    pub from: Side,
    /// Sequence number, as the sender counts.
    pub seq: SeqNumber,
    /// Acknowledgement number, as the sender counts.
    pub ack: SeqNumber,
    /// TcpFlags.
    pub flags: TcpFlags,
    /// Window field, unscaled.
    pub window: u16,
    /// Urgent pointer.
    pub urgent: u16,
    /// The option bytes between the fixed header and the payload; at most 40.
    pub options: &'a [u8],
    /// The payload by IP's total length, without link padding. Where [`Stream::is_content`](super::Stream::is_content), any
    /// other bytes of its length do as well.
    pub payload: &'a [u8],
}

/// How the header of the arriving segment changes on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edit<'a> {
    /// It does not: send the frame as it came.
    Unchanged,
    /// These fields replace what is there.
    Rewrite(Header<'a>),
}

/// The fields of a TCP header that the engine may rewrite; ports, data offset and reserved bits stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// Sequence number of the first kept payload byte.
    pub seq: SeqNumber,
    /// Acknowledgement number.
    pub ack: SeqNumber,
    /// TcpFlags.
    pub flags: TcpFlags,
    /// Window field, unscaled.
    pub window: u16,
    /// Urgent pointer; always zero.
    pub urgent: u16,
    /// Option bytes of the same length as those that arrived, to be written over them; `None` leaves them.
    pub options: Option<&'a [u8]>,
}

/// A segment that the engine makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewSegment<'a> {
    /// Sequence number, as the receiver expects it.
    pub seq: SeqNumber,
    /// Acknowledgement number, as the receiver expects it.
    pub ack: SeqNumber,
    /// TcpFlags.
    pub flags: TcpFlags,
    /// Window field, scaled as negotiated.
    pub window: u16,
    /// Option bytes, a multiple of four, at most 40.
    pub options: &'a [u8],
    /// Payload; with the options at most the smaller MSS of the two sides.
    pub payload: &'a [u8],
}

/// Where the engine's segments go. Calls come in the order in which segments must leave.
pub trait Sink {
    /// Sends the arriving frame on to the other side, at most once per call of the engine: of the payload only `keep` (which is
    /// empty for a bare acknowledgement and may start anywhere), with the header edited.
    fn forward(&mut self, keep: Range<usize>, edit: Edit<'_>);

    /// Makes a segment and sends it to `to`.
    fn inject(&mut self, to: Side, segment: NewSegment<'_>);
}

/// What became of the arriving segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// [`Sink::forward`] was called.
    Forwarded,
    /// The engine took what was in it (held, answered, or already known); the frame goes back to its pool.
    Absorbed,
    /// Refused, with the reason. The frame goes back to its pool.
    Dropped(StreamDrop),
}

/// Why the stream engine refuses a segment or ends a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum StreamDrop {
    /// The connection is over; only a new SYN opens another.
    Closed,
    /// The first segment seen was not a plain SYN of the client (RFC 9293 §3.10.7): no mid-stream pick-up.
    NotOpening,
    /// A flag combination no sender uses: SYN with FIN or RST, or none at all.
    BadFlags,
    /// A segment without ACK after the handshake.
    NoAck,
    /// A SYN where none belongs: from the server, of another sequence number, or inside the connection.
    UnexpectedSyn,
    /// Data, FIN or an answer before the handshake allows it, or a SYN-ACK that does not answer the SYN.
    BadHandshake,
    /// The options are malformed: bad lengths, or more than forty bytes.
    BadOptions,
    /// Acknowledges what was never sent.
    BadAck,
    /// Outside the window that the receiver advertised.
    OutOfWindow,
    /// A RST whose number is not the next expected one (RFC 5961 §3.2).
    InexactReset,
    /// A timestamp older than the last one seen (RFC 7323 §5).
    StaleTimestamp,
    /// Bytes or a FIN at or after the sender's FIN.
    AfterFin,
    /// A second copy of a byte differs from the first.
    ConflictingOverlap,
    /// Early bytes exceed the budget for holes.
    HoleBudget,
    /// Held, owned and pinned bytes exceed their budget.
    HeldBudget,
    /// Bytes after a request that ends the connection, or after a refusal.
    AfterClose,
    /// The server's bytes cannot be paired with requests any more; the client may not speak.
    Unpaired,
    /// A head was not complete in time.
    HeadTimeout,
    /// Held bytes waited too long for the server.
    HeldTimeout,
    /// Nothing passed for the idle time.
    IdleTimeout,
    /// The handshake was not finished in time.
    HandshakeTimeout,
    /// Injected or owned bytes were retransmitted too often without an acknowledgement.
    RetransmitLimit,
    /// The connection was closed by us and its ends did not follow in time.
    LingerTimeout,
}

impl StreamDrop {
    /// Every reason, in the order of their numbers.
    pub const ALL: [Self; 23] = [
        Self::Closed,
        Self::NotOpening,
        Self::BadFlags,
        Self::NoAck,
        Self::UnexpectedSyn,
        Self::BadHandshake,
        Self::BadOptions,
        Self::BadAck,
        Self::OutOfWindow,
        Self::InexactReset,
        Self::StaleTimestamp,
        Self::AfterFin,
        Self::ConflictingOverlap,
        Self::HoleBudget,
        Self::HeldBudget,
        Self::AfterClose,
        Self::Unpaired,
        Self::HeadTimeout,
        Self::HeldTimeout,
        Self::IdleTimeout,
        Self::HandshakeTimeout,
        Self::RetransmitLimit,
        Self::LingerTimeout,
    ];
}
