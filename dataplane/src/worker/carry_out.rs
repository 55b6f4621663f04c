//! Acting apart from judging: `Worker::carry_out` ends every packet's stay, by exactly one exit.

use std::net::IpAddr;

use parser::{
    checksum,
    ethernet::{MacAddress, Stations},
    flow_key::FlowTuple,
    headers::{Headers, Transport},
    ipv4, ipv6, rewrite, tcp,
};

use super::{
    PortId, Worker, WorkerId, clock::Tick, handoff::Parcel, judge::Verdict, ports::Waiting,
    related::relate,
};
use crate::{
    drop_reason::DropReason,
    flow::{FlowEvent, Happening},
    reply::{self, Answer},
    umem::{Frame, Port},
    world::{PortKind, World},
};

/// Dropped packets that one worker tells of in a second at most; all are counted.
const DROPS_TOLD_PER_SECOND: u32 = 1000;

/// How often something has been done in this second.
#[derive(Clone, Copy, Debug, Default)]
pub struct Budget {
    second: u64,
    spent: u32,
}

impl Budget {
    /// Whether it may be done once more.
    pub(super) fn take(&mut self, now: Tick, most: u32) -> bool {
        let second = now.0 / 1000;
        if second != self.second {
            *self = Self { second, spent: 0 };
        }
        self.spent = self.spent.saturating_add(1);
        self.spent <= most
    }
}

impl<P: Port> Worker<P> {
    /// Does what the verdict says. The only exit of a packet that could be read.
    pub(super) fn carry_out(
        &mut self,
        world: &World,
        port: PortId,
        headers: &mut Headers,
        verdict: Verdict,
        mut frame: Frame,
        now: Tick,
    ) {
        match verdict {
            Verdict::Follow { found, port: to, rewrite } => {
                fit_mss(world, (port, to), &mut frame, headers);
                self.follow(world, found, headers, &frame, now);
                self.forward(world, to, rewrite.as_ref(), headers, frame);
            }
            Verdict::Forward { port: to, rewrite } => {
                fit_mss(world, (port, to), &mut frame, headers);
                self.forward(world, to, rewrite.as_ref(), headers, frame);
            }
            Verdict::Gather { settled } => {
                self.gather(world, port, headers, frame, settled, now);
            }
            Verdict::Inspect(found) => {
                if let Some(connection) = self.connections.connection(found.id) {
                    let (to, _) = connection.way(found.direction);
                    fit_mss(world, (port, to), &mut frame, headers);
                }
                self.inspect(world, found, headers, frame, now)
            }
            Verdict::Resolve(found) => self.resolve(world, port, found, headers, frame, now),
            Verdict::Relate { port: to, quoted } => match relate(&mut frame, headers, &quoted) {
                Ok(()) => self.transmit(world, to, frame),
                Err(reason) => self.discard(Verdict::Drop(reason), frame),
            },
            Verdict::Answer(answer) => {
                self.answer(world, port, headers, &answer, &frame, now);
                self.counters.answered += 1;
                self.pool.give(frame);
            }
            Verdict::Note => {
                self.counters.answered += 1;
                self.pool.give(frame);
                self.release_waiting(world);
            }
            Verdict::HandOn { worker, settled } => {
                self.hand_on(worker, Parcel::Judge { frame, port, settled })
            }
            Verdict::Refuse(reason, answer) => {
                self.answer(world, port, headers, &answer, &frame, now);
                self.tell_drop(world, headers, reason, now);
                self.discard(Verdict::Drop(reason), frame);
            }
            Verdict::Drop(reason) => {
                self.tell_drop(world, headers, reason, now);
                self.discard(verdict, frame);
            }
        }
    }

    fn forward(
        &mut self,
        world: &World,
        to: PortId,
        rewrite: Option<&FlowTuple>,
        headers: &mut Headers,
        mut frame: Frame,
    ) {
        match route(&mut frame, headers, rewrite) {
            Ok(()) => self.transmit(world, to, frame),
            Err(reason) => self.discard(Verdict::Drop(reason), frame),
        }
    }

    /// Tells of a packet that is dropped for another reason than policy, whose denials are told with their verdict.
    pub(super) fn tell_drop(
        &mut self,
        world: &World,
        headers: &Headers,
        reason: DropReason,
        now: Tick,
    ) {
        let denied = matches!(reason, DropReason::PolicyDenied | DropReason::PolicyDeny);
        let tuple = headers.flow_tuple().or_else(|| fragment_tuple(headers));
        let (Some(table), Some(tuple)) = (world.table.as_deref(), tuple) else { return };
        if denied || !self.drop_budget.take(now, DROPS_TOLD_PER_SECOND) {
            return;
        }
        self.tell(FlowEvent {
            tick: now,
            epoch: table.epoch(),
            tuple,
            source: table.identity_of(tuple.source),
            destination: table.identity_of(tuple.destination),
            flags: headers.tcp().map(|tcp| tcp.flags).unwrap_or_default(),
            icmp_type: match headers.transport {
                Transport::Icmp(icmp) => Some(icmp.icmp_type),
                Transport::Icmpv6(icmpv6) => Some(icmpv6.icmp_type),
                _ => None,
            },
            happening: Happening::Drop(reason),
        });
    }

    /// A packet straight from a local stack may have only the pseudo header's sum in its checksum field, as its kernel left the
    /// rest to hardware that does not exist here (CHECKSUM_PARTIAL). Nobody downstream could tell, so it is completed first.
    pub(super) fn complete_checksum(frame: &mut Frame, headers: &Headers) {
        let (first, rest) = frame.parts_mut();
        let _was_partial = checksum::complete_partial_parts(first, rest, headers);
    }

    /// Ends a packet that goes nowhere.
    pub(super) fn discard(&mut self, verdict: Verdict, frame: Frame) {
        if let Verdict::Drop(reason) = verdict {
            self.counters.count_drop(reason);
        }
        self.pool.give(frame);
    }

    /// Sends a packet out of a port: through our own socket, or through its home worker's. It waits if the neighbour's
    /// hardware address is not known yet.
    pub(super) fn transmit(&mut self, world: &World, to: PortId, mut frame: Frame) {
        let Some(view) = world.port(to) else {
            return self.discard(Verdict::Drop(DropReason::PortGone), frame);
        };
        let Some(neighbour) = view.neighbour.mac() else {
            // Its answer arrives at the port's home worker, so that is where packets wait for it.
            if view.home != self.id {
                return self.hand_on(view.home, Parcel::Transmit { frame, port: to });
            }
            return self.wait_for_neighbour(world, to, frame);
        };
        set_stations(frame.bytes_mut(), neighbour, view.mac);
        if !self.ports.can_send(to) {
            return self.hand_on(view.home, Parcel::Transmit { frame, port: to });
        }
        self.put(to, frame);
    }

    /// Tries the packets that wait for a neighbour once more.
    pub(super) fn release_waiting(&mut self, world: &World) {
        for _ in 0..self.ports.waiting() {
            let Some(Waiting { port, frame, since }) = self.ports.next_waiting() else { return };
            let known = world.port(port).is_none_or(|view| view.neighbour.mac().is_some());
            if known {
                self.transmit(world, port, frame);
            } else if let Err(frame) = self.ports.wait(port, frame, since) {
                self.discard(Verdict::Drop(DropReason::NeighbourUnresolved), frame);
            }
        }
    }

    /// Drops the packets whose neighbour did not answer in time.
    pub(super) fn expire_waiting(&mut self) {
        if self.ports.waiting() > 0 {
            for frame in self.ports.expire_waiting(self.now) {
                self.discard(Verdict::Drop(DropReason::NeighbourUnresolved), frame);
            }
        }
    }

    /// Tells the pods of new ports where their gateway is now.
    pub(super) fn announce_gateways(&mut self, world: &World) {
        while let Some(port) = self.ports.next_to_announce() {
            let Some(view) = world.port(port).filter(|view| view.kind == PortKind::Pod) else {
                continue;
            };
            for &gateway in world.gateways() {
                let Some(mut frame) = self.pool.take() else { return };
                match reply::announce(view, gateway, frame.room_mut()) {
                    Some(len) => {
                        frame.set_len(len);
                        self.counters.built += 1;
                        self.put(port, frame);
                    }
                    None => self.pool.give(frame),
                }
            }
        }
    }

    fn wait_for_neighbour(&mut self, world: &World, to: PortId, frame: Frame) {
        let Some(view) = world.port(to) else {
            return self.discard(Verdict::Drop(DropReason::PortGone), frame);
        };
        let target = Headers::parse_first(frame.bytes(), frame.len())
            .ok()
            .and_then(|headers| headers.network.destination());
        if let (Some(target), Some(mut question)) = (target, self.pool.take()) {
            match reply::solicit(world, view, target, question.room_mut()) {
                Some(len) => {
                    question.set_len(len);
                    self.counters.built += 1;
                    self.send_as_is(to, question, view.home);
                }
                None => self.pool.give(question),
            }
        }
        if let Err(frame) = self.ports.wait(to, frame, self.now) {
            self.discard(Verdict::Drop(DropReason::NeighbourUnresolved), frame);
        }
    }

    /// Builds an answer and sends it back out of the port that the question came in on.
    pub(super) fn answer(
        &mut self,
        world: &World,
        port: PortId,
        headers: &Headers,
        answer: &Answer,
        to: &Frame,
        now: Tick,
    ) {
        let Some(view) = world.port(port) else { return };
        let most = self.settings.budgets.icmp_errors_per_second;
        if answer.is_icmp_error() && !self.ports.may_send_icmp_error(port, now, most) {
            return;
        }
        let Some(mut frame) = self.pool.take() else {
            self.counters.built += 1;
            self.counters.count_drop(DropReason::PoolEmpty);
            return;
        };
        match answer.build(world, view, headers, to.bytes(), frame.room_mut()) {
            Some(len) => {
                frame.set_len(len);
                self.counters.built += 1;
                set_stations(frame.bytes_mut(), headers.ethernet.source, view.mac);
                self.send_as_is(port, frame, view.home);
            }
            None => self.pool.give(frame),
        }
    }

    /// Sends a frame whose hardware addresses are in place.
    fn send_as_is(&mut self, to: PortId, frame: Frame, home: WorkerId) {
        if !self.ports.can_send(to) {
            return self.hand_on(home, Parcel::Transmit { frame, port: to });
        }
        self.put(to, frame);
    }

    /// Puts a frame that is ready into our own socket's ring.
    pub(super) fn put(&mut self, to: PortId, frame: Frame) {
        match self.ports.send(to, frame) {
            Ok(()) => self.counters.sent += 1,
            Err((reason, frame)) => self.discard(Verdict::Drop(reason), frame),
        }
    }

    pub(super) fn hand_on(&mut self, worker: WorkerId, parcel: Parcel) {
        let unread = matches!(parcel, Parcel::Judge { .. });
        let Some(inbox) = self.workers.get(usize::from(worker.0)).filter(|_| worker != self.id)
        else {
            return self.lose(parcel, DropReason::PortGone);
        };
        match inbox.push(parcel) {
            Ok(()) => {
                // A packet to be judged is received once more by the other worker; one to be sent is counted there alone.
                self.counters.handed_on += u64::from(unread);
                if !self.to_ring.contains(&worker) {
                    self.to_ring.push(worker);
                }
            }
            Err(parcel) => self.lose(parcel, DropReason::HandoffFull),
        }
    }

    fn lose(&mut self, parcel: Parcel, reason: DropReason) {
        if let Some(frame) = parcel.into_frame() {
            self.discard(Verdict::Drop(reason), frame);
        }
    }
}

/// Lowers what a SYN announces to what fits both links, so that ends with different MTUs never send what must be refused.
#[inline]
fn fit_mss(world: &World, ports: (PortId, PortId), frame: &mut Frame, headers: &mut Headers) {
    if headers.tcp().is_some_and(|tcp| tcp.flags.is_syn()) {
        limit_mss(world, ports, frame, headers);
    }
}

fn limit_mss(
    world: &World,
    (from, to): (PortId, PortId),
    frame: &mut Frame,
    headers: &mut Headers,
) {
    let mtu = |port| world.port(port).map_or(usize::MAX, |view| view.mtu);
    // RFC 9293 §3.7.1: the MSS counts neither IP nor TCP options, only the fixed headers.
    let network = match headers.source() {
        Some(IpAddr::V6(_)) => ipv6::HEADER_LEN,
        _ => ipv4::MIN_HEADER_LEN,
    };
    let fits = mtu(from).min(mtu(to)).saturating_sub(network + tcp::MIN_HEADER_LEN);
    let limit = u16::try_from(fits).unwrap_or(u16::MAX);
    // Options that cannot be read stay as they are: the receiver, or the stream engine, decides about them.
    let _malformed = rewrite::limit_mss(frame.bytes_mut(), headers, limit);
}

/// Makes a packet ready for its next link but for the hardware addresses: rewritten to `wanted`, one hop less, without the
/// padding of the last link.
pub(super) fn route(
    frame: &mut Frame,
    headers: &mut Headers,
    wanted: Option<&FlowTuple>,
) -> Result<(), DropReason> {
    cut_padding(frame, headers);
    let bytes = frame.bytes_mut();
    if let Some(wanted) = wanted
        && let Some(is) = headers.flow_tuple()
    {
        let port = |is: u16, wanted: u16| (is != wanted).then_some(wanted);
        if (is.source, is.src_port) != (wanted.source, wanted.src_port) {
            rewrite::source(bytes, headers, wanted.source, port(is.src_port, wanted.src_port))?;
        }
        if (is.destination, is.dst_port) != (wanted.destination, wanted.dst_port) {
            rewrite::destination(
                bytes,
                headers,
                wanted.destination,
                port(is.dst_port, wanted.dst_port),
            )?;
        }
    }
    rewrite::decrement_hop_limit(bytes, headers)?;
    Ok(())
}

/// Takes off what the last link put behind a short packet. A chain has nothing there (`Worker::process`).
pub(super) fn cut_padding(frame: &mut Frame, headers: &Headers) {
    if !frame.is_chain() {
        frame.set_len(headers.packet_end());
    }
}

/// Writes the hardware addresses of the next link.
fn set_stations(bytes: &mut [u8], destination: MacAddress, source: MacAddress) {
    if let Some(place) = bytes.first_chunk_mut() {
        *place = Stations { destination, source }.to_bytes();
    }
}

/// The addresses and protocol of a fragment, whose ports are not known.
fn fragment_tuple(headers: &Headers) -> Option<FlowTuple> {
    let Transport::Fragment(fragment) = headers.transport else { return None };
    Some(FlowTuple {
        source: headers.source()?,
        destination: headers.destination()?,
        protocol: fragment.protocol,
        src_port: 0,
        dst_port: 0,
    })
}
