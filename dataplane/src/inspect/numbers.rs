//! The numbers of a segment on its way: read on one side, written for the other.
//!
//! INVARIANT: what either side is told about acknowledgement never goes back, and never exceeds what the other side or we
//! answer for.

use parser::tcp::{SeqNumber, TcpFlags};

use super::{
    Edit, Header, NewSegment, Segment, Side, Sink, StreamDrop,
    options::{self, OptionBytes, Options, Timestamps},
    stream::Stream,
};

/// How much of a head is taken even when the server's window is smaller.
const HEAD_ROOM: u64 = 32 * 1024;

impl Stream {
    /// Client's view of the end of everything that it can have received.
    pub(super) fn down_end(&self) -> u64 {
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
    pub(super) fn segment_to(&self, side: Side, position: u64, flags: TcpFlags) -> Draft {
        let (flow, back, sender, receiver) = match side {
            Side::Client => (&self.down, &self.up, self.server, self.client),
            Side::Server => (&self.up, &self.down, self.client, self.server),
        };
        let ack = match side {
            Side::Client => self.client_may_be_told(),
            // The client may have acknowledged a FIN of ours, which the server never sent.
            Side::Server => back.splice.backward(back.una).min(back.high).max(back.told),
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
        flags: TcpFlags,
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
    flags: TcpFlags,
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

    fn emit<S: Sink>(&self, ack: SeqNumber, payload: &[u8], sink: &mut S) {
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
}

/// A window field for `bytes` of room.
fn window(bytes: u64, shift: u8) -> u16 {
    u16::try_from(bytes >> shift).unwrap_or(u16::MAX)
}
