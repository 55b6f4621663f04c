//! Fragments: they wait until their packet is whole, and are judged as that packet, once, with every byte of it at hand.
//!
//! What arrives: a fragment whose addresses are in order. What leaves: all fragments of a packet, as they came and in their order,
//! each by an exit of its own; or, to an inspected stream, one packet made of them; or drops by name. A fragment alone is never
//! forwarded, and no byte that two fragments claim (`parser::fragment`).

use parser::{
    EmitError, checksum,
    fragment::{self, Arrival, FragmentKey, Reassembler, Refusal},
    headers::{Headers, Transport},
    icmpv6::Icmpv6Message,
    rewrite,
};

use super::{PortId, Worker, carry_out, clock::Tick, handoff::Parcel, judge::Verdict};
use crate::{
    connection::{Direction, Found},
    drop_reason::DropReason,
    umem::{Frame, Port},
    world::World,
};

/// The fragments that wait, and room for those of one packet.
#[derive(Debug)]
pub(super) struct Fragments {
    waiting: Reassembler<Frame>,
    /// The fragments of a packet that is whole, while it is dealt with.
    whole: Vec<Frame>,
    /// When the old ones were looked for.
    swept: Tick,
}

impl Fragments {
    pub(super) fn new(limits: fragment::Limits) -> Self {
        Self {
            waiting: Reassembler::new(limits),
            whole: Vec::with_capacity(limits.pieces_per_packet),
            swept: Tick::default(),
        }
    }

    /// Fragments that wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.waiting()
    }

    /// The frames of the fragments that wait.
    pub(super) fn held(&self) -> usize {
        self.waiting.buffers()
    }
}

impl<P: Port> Worker<P> {
    /// Takes in a fragment; if it was the last of its packet, the packet is judged and carried out.
    pub(super) fn gather(
        &mut self,
        world: &World,
        port: PortId,
        headers: &Headers,
        frame: Frame,
        settled: bool,
        now: Tick,
    ) {
        let Some((key, place)) = FragmentKey::of(headers, port.0) else {
            return self.discard(Verdict::Drop(DropReason::Fragment), frame);
        };
        let mut whole = std::mem::take(&mut self.fragments.whole);
        let Self { fragments, counters, pool, .. } = self;
        let (length, chunks) = (headers.payload_len, frame.chunks());
        let became = match fragments.waiting.insert(key, place, length, chunks, frame, now.0) {
            Arrival::Wait => None,
            Arrival::Refuse { items, reason } => {
                for frame in items {
                    counters.count_drop(reason.into());
                    pool.give(frame);
                }
                Some(Err(reason))
            }
            Arrival::Whole { items, length } => {
                whole.extend(items);
                Some(Ok(length))
            }
        };
        match became {
            None => {}
            Some(Ok(length)) => self.process_whole(world, port, length, &mut whole, settled, now),
            Some(Err(reason)) => self.tell_drop(world, headers, reason.into(), now),
        }
        self.fragments.whole = whole;
    }

    /// Gives up what has waited too long.
    pub(super) fn expire_fragments(&mut self, now: Tick) {
        if !self.fragments.waiting.is_empty() && now > self.fragments.swept {
            self.fragments.swept = now;
            self.drop_fragments(now.0);
        }
    }

    /// Gives up all that waits: a port is gone, and its number may come to name another.
    pub(super) fn forget_fragments(&mut self) {
        self.drop_fragments(u64::MAX);
    }

    fn drop_fragments(&mut self, now: u64) {
        let Self { fragments, counters, pool, .. } = self;
        fragments.waiting.expire(now, |frame| {
            counters.count_drop(DropReason::FragmentExpired);
            pool.give(frame);
        });
    }

    /// Judges the packet of all these fragments and carries the verdict out on each.
    fn process_whole(
        &mut self,
        world: &World,
        port: PortId,
        length: u16,
        fragments: &mut Vec<Frame>,
        settled: bool,
        now: Tick,
    ) {
        let Some(first) = fragments.first() else { return };
        let headers = match Headers::parse_whole(first.bytes(), first.len(), length) {
            Ok(headers) => headers,
            Err(malformed) => return self.drop_whole(malformed.into(), fragments),
        };
        // Nobody honest fragments these, and who reads them must not (RFC 6980 §5, RFC 1812 §4.3.2.3).
        if is_ndp(&headers) || headers.icmp_error().is_some() {
            return self.drop_whole(DropReason::Fragment, fragments);
        }
        let sought = headers.flow_tuple().map(|tuple| self.connections.seek(&tuple));
        match self.judge(world, port, (&headers, sought.as_ref()), settled, now) {
            Verdict::Forward { port, rewrite } => {
                self.forward_fragments(world, port, &headers, rewrite.as_ref(), fragments);
            }
            Verdict::Follow { found, port, rewrite } => {
                // A shadow reads packets in one piece only.
                self.unfollow(found.id);
                self.forward_fragments(world, port, &headers, rewrite.as_ref(), fragments);
            }
            Verdict::Inspect(found) => self.inspect_whole(world, found, fragments, now),
            Verdict::HandOn { worker, settled } => {
                // The other worker puts them together once more; they arrive there in their order.
                for frame in fragments.drain(..) {
                    self.hand_on(worker, Parcel::Judge { frame, port, settled });
                }
            }
            Verdict::Refuse(reason, answer) => {
                if let Some(first) = fragments.first() {
                    self.answer(world, port, &headers, &answer, first, now);
                }
                self.tell_drop(world, &headers, reason, now);
                self.drop_whole(reason, fragments);
            }
            Verdict::Drop(reason) => {
                self.tell_drop(world, &headers, reason, now);
                self.drop_whole(reason, fragments);
            }
            // A DNS message is read in one piece; resolvers avoid larger ones (RFC 9715).
            Verdict::Resolve(_) => self.drop_whole(DropReason::Fragment, fragments),
            // Questions to us, notes to us, and errors were sorted out above.
            Verdict::Answer(_)
            | Verdict::Note
            | Verdict::Relate { .. }
            | Verdict::Gather { .. } => self.drop_whole(DropReason::Fragment, fragments),
        }
    }

    fn drop_whole(&mut self, reason: DropReason, fragments: &mut Vec<Frame>) {
        for frame in fragments.drain(..) {
            self.discard(Verdict::Drop(reason), frame);
        }
    }

    /// Sends the fragments on as they came, but for their addresses.
    fn forward_fragments(
        &mut self,
        world: &World,
        to: PortId,
        headers: &Headers,
        wanted: Option<&parser::flow_key::FlowTuple>,
        fragments: &mut Vec<Frame>,
    ) {
        let most = world.port(to).map_or(0, |view| view.mtu);
        let too_big = |frame: &Frame| {
            let headers = Headers::parse_first(frame.bytes(), frame.len());
            !headers.is_ok_and(|it| it.network.packet_len().is_some_and(|length| length <= most))
        };
        if fragments.iter().any(too_big) {
            return self.drop_whole(DropReason::TooBig, fragments);
        }
        for (nth, mut frame) in fragments.drain(..).enumerate() {
            let routed = match nth {
                0 => carry_out::route(&mut frame, &mut { *headers }, wanted),
                _ => route_later(&mut frame, wanted),
            };
            match routed {
                Ok(()) => self.transmit(world, to, frame),
                Err(reason) => self.discard(Verdict::Drop(reason), frame),
            }
        }
    }

    /// Gives a stream one packet made of the fragments.
    fn inspect_whole(
        &mut self,
        world: &World,
        found: Found,
        fragments: &mut Vec<Frame>,
        now: Tick,
    ) {
        let room = self.workbench.room();
        let in_buffers = |frame| (Frame::bytes(frame), Frame::len(frame), Frame::rest(frame));
        let length = match fragment::join(fragments.iter().map(in_buffers), room) {
            Ok(length) => length,
            Err(EmitError::BufferTooSmall | EmitError::TooLong) => {
                return self.drop_whole(DropReason::FrameTooLong, fragments);
            }
            Err(EmitError::MixedFamilies | EmitError::NotAnswerable) => {
                return self.drop_whole(DropReason::Fragment, fragments);
            }
        };
        self.counters.absorbed += fragments.len() as u64;
        for frame in fragments.drain(..) {
            self.pool.give(frame);
        }
        self.counters.built += 1;
        let bytes = self.workbench.room().get(..length).unwrap_or_default();
        let Some(joined) = self.pool.packet(bytes) else {
            return self.counters.count_drop(DropReason::PoolEmpty);
        };
        match Headers::parse_first(joined.bytes(), length) {
            // Who sends fragments leaves no checksum to hardware, and nobody has written one here.
            Ok(headers)
                if !checksum::verify_transport_parts(joined.bytes(), joined.rest(), &headers) =>
            {
                self.discard(Verdict::Drop(DropReason::BadChecksum), joined);
            }
            Ok(mut headers) if self.fits(world, found, &headers) => {
                self.inspect(world, found, &mut headers, joined, now);
            }
            Ok(_) => self.discard(Verdict::Drop(DropReason::TooBig), joined),
            Err(malformed) => self.discard(Verdict::Drop(malformed.into()), joined),
        }
    }

    /// Whether the next link takes a packet in one piece.
    fn fits(&mut self, world: &World, found: Found, headers: &Headers) -> bool {
        let Some(connection) = self.connections.connection(found.id) else { return false };
        let to = match found.direction {
            Direction::Original => connection.judgement.destination_port,
            Direction::Reply => connection.judgement.source_port,
        };
        let most = world.port(to).map_or(0, |view| view.mtu);
        headers.network.packet_len().is_some_and(|length| length <= most)
    }
}

/// Makes a fragment that is not the first ready for its next link, as `carry_out::route` does a whole packet.
fn route_later(
    frame: &mut Frame,
    wanted: Option<&parser::flow_key::FlowTuple>,
) -> Result<(), DropReason> {
    let mut headers = Headers::parse_first(frame.bytes(), frame.len())?;
    carry_out::cut_padding(frame, &headers);
    let bytes = frame.bytes_mut();
    if let Some(wanted) = wanted {
        if headers.source() != Some(wanted.source) {
            rewrite::source(bytes, &mut headers, wanted.source, None)?;
        }
        if headers.destination() != Some(wanted.destination) {
            rewrite::destination(bytes, &mut headers, wanted.destination, None)?;
        }
    }
    rewrite::decrement_hop_limit(bytes, &mut headers)?;
    Ok(())
}

fn is_ndp(headers: &Headers) -> bool {
    matches!(headers.transport, Transport::Icmpv6(icmp) if matches!(icmp.message, Icmpv6Message::Ndp(_)))
}

impl From<Refusal> for DropReason {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Overlap | Refusal::TooManyPieces => Self::Fragment,
            Refusal::Full => Self::FragmentBudget,
            Refusal::Expired => Self::FragmentExpired,
        }
    }
}
