//! Between frames and the stream engine: a segment goes in as a view of its frame, what the engine wants sent comes out as edits
//! of that frame and as new frames, in order.

mod outbox;
mod policy;

use std::{cmp::Reverse, ops::Range};

use parser::{
    checksum,
    flow_key::FlowTuple,
    headers::Headers,
    plain::Plain,
    tcp::{Tcp, TcpFlags},
};
use policy_table::{Access, Denial, HttpScratch, Table};

pub(super) use self::outbox::Outbox;
use self::{
    outbox::{FrameSink, Out, OwnedHeader, emit},
    policy::PolicyJudge,
};
use super::{
    PortId, Reporting, Worker,
    clock::Tick,
    established::Link,
    judge::{Verdict, denied},
    linear::{Linear, Workbench},
};
use crate::{
    connection::{Connection, ConnectionId, Connections, Direction, Follower, Found, tcp::Phase},
    counters::Counters,
    drop_reason::DropReason,
    hits::Hits,
    inspect::{Disposition, Everybody, Limits, NO_TICK, NewSegment, Segment, Shadow, Side, Stream},
    umem::{Frame, Pool, Port},
    world::World,
};

/// Longest time between two wake-ups of a stream, in milliseconds.
const LONGEST_WAIT: u32 = 5_000;

/// Whether a segment is as its sender made it: only what its receiver would accept moves the engine's state (evasion row N4).
fn is_intact(frame: &Frame, headers: &Headers) -> bool {
    checksum::verify_completed_parts(frame.bytes(), frame.rest(), headers)
}

/// The engine's view of a segment.
#[inline(always)]
fn segment<'a>(
    direction: Direction,
    tcp: &Tcp,
    options: &'a [u8],
    payload: &'a [u8],
) -> Segment<'a> {
    Segment {
        from: side(direction),
        seq: tcp.seq,
        ack: tcp.ack,
        flags: tcp.flags,
        window: tcp.window,
        urgent: tcp.urgent,
        options,
        payload,
    }
}

/// The engine's view of a segment that was read in full.
fn full_segment<'a>(
    direction: Direction,
    headers: &Headers,
    frame: &'a Frame,
    payload: &'a [u8],
) -> Option<Segment<'a>> {
    let options = headers.tcp_option_bytes(frame.bytes());
    Some(segment(direction, headers.tcp()?, options, payload))
}

/// The engine's view of a plain segment.
#[inline(always)]
pub(super) fn plain_segment<'a>(
    direction: Direction,
    plain: &Plain,
    transport: &'a [u8],
) -> Option<Segment<'a>> {
    let (tcp, options, payload) = plain.tcp(transport)?;
    Some(segment(direction, &tcp, options, payload))
}

/// What the engine works with, apart from a connection.
struct Tools<'a> {
    limits: &'a Limits,
    scratch: &'a mut HttpScratch,
    reporting: &'a Reporting,
    hits: &'a mut Hits,
    outbox: &'a mut Outbox,
    pool: &'a mut Pool,
    workbench: &'a mut Workbench,
    counters: &'a mut Counters,
}

/// What became of a segment that its stream was shown.
enum Shown {
    /// The stream has taken it.
    Taken(Disposition),
    /// The permission is gone, and the stream with it.
    Revoked(Denial),
}

/// Shows a segment to the stream of its connection; a SYN begins one.
fn show(
    table: &Table,
    connection: &mut Connection,
    segment: &Segment<'_>,
    tools: Tools<'_>,
    now: Tick,
) -> Shown {
    let Connection { flow, service, follower, judgement, phase, .. } = connection;
    let Tools { limits, scratch, reporting, hits, outbox, pool, workbench, counters } = tools;
    let mut judge = PolicyJudge::new(table, (judgement, flow), scratch, (reporting, hits), now);
    let service = service.as_deref();
    let mut sink = FrameSink { outbox, pool, workbench, counters, flow, service };
    let shown = match (follower.stream_mut(), judgement.access) {
        (Some(stream), Access::Deny(denial)) if !stream.is_closed() => {
            // What the stream holds will never be sent. Both ends learn it at once.
            stream.reset(&mut sink);
            Shown::Revoked(denial)
        }
        (Some(stream), _) => {
            Shown::Taken(stream.segment(segment, now, limits, &mut judge, &mut sink))
        }
        (None, _) => Shown::Taken(match Stream::open(segment, now, &mut sink) {
            Ok(opened) => {
                *follower = Follower::Stream(Box::new(opened));
                Disposition::Forwarded
            }
            Err(reason) => Disposition::Dropped(reason),
        }),
    };
    judge.report(sink.counters);
    if follower.stream().is_some_and(Stream::is_closed) {
        *phase = Phase::Closing;
    }
    shown
}

/// Whether a connection's shadow could follow a segment.
enum Follows {
    Yes,
    No,
    /// It was a SYN, and perhaps a shadow begins.
    Begins(Option<Shadow>),
}

/// Shows a segment that is forwarded to the shadow of its connection, if the receiver will have it. Where HTTP rules are only tried,
/// its requests are judged and told.
fn watch(
    world: &World,
    connection: &mut Connection,
    segment: Option<&Segment<'_>>,
    tools: Tools<'_>,
    now: Tick,
) -> Follows {
    let Connection { flow, follower, judgement, .. } = connection;
    let Tools { limits, scratch, reporting, hits, counters, .. } = tools;
    let (shadow, segment) = match (follower, segment) {
        (Follower::Shadow(shadow), Some(segment)) => (shadow, segment),
        (_, Some(segment)) => return Follows::Begins(Shadow::open(segment, now)),
        (_, None) => return Follows::No,
    };
    let tried = matches!(judgement.access, Access::Inspect(_));
    let follows = match world.table.as_deref().filter(|_| tried) {
        Some(table) => {
            let telling = (reporting, hits);
            let mut judge = PolicyJudge::new(table, (judgement, flow), scratch, telling, now);
            let follows = shadow.watch(segment, now, limits, &mut judge);
            judge.report(counters);
            follows
        }
        None => shadow.watch(segment, now, limits, &mut Everybody),
    };
    if follows { Follows::Yes } else { Follows::No }
}

impl<P: Port> Worker<P> {
    /// What the engine needs of the worker: the connections, the packet at hand, and the rest.
    fn split(&mut self) -> (&mut Connections, &Linear, Tools<'_>) {
        let tools = Tools {
            limits: &self.settings.limits,
            scratch: &mut self.scratch,
            reporting: &self.reporting,
            hits: &mut self.hits,
            outbox: &mut self.outbox,
            pool: &mut self.pool,
            workbench: &mut self.workbench,
            counters: &mut self.counters,
        };
        (&mut self.connections, &self.linear, tools)
    }

    /// Shows a segment that is forwarded to the shadow of its connection; with a SYN, one begins.
    pub(super) fn follow(
        &mut self,
        world: &World,
        found: Found,
        headers: &Headers,
        frame: &Frame,
        now: Tick,
    ) {
        self.linear.load(frame);
        let (connections, linear, tools) = self.split();
        // What the receiver would not accept, it does not have: then nobody knows what it has.
        let segment = headers
            .payload(linear.view(frame))
            .and_then(|payload| full_segment(found.direction, headers, frame, payload))
            .filter(|_| is_intact(frame, headers));
        let Some(connection) = connections.connection(found.id) else { return };
        let follows = watch(world, connection, segment.as_ref(), tools, now);
        self.note_followed(found.id, follows);
    }

    /// The same for a plain segment that is intact.
    // Few packets come here, and the others need the registers.
    #[inline(never)]
    pub(super) fn follow_plain(
        &mut self,
        world: &World,
        found: Found,
        segment: &Segment<'_>,
        now: Tick,
    ) {
        let (connections, _, tools) = self.split();
        let Some(connection) = connections.connection(found.id) else { return };
        let follows = watch(world, connection, Some(segment), tools, now);
        self.note_followed(found.id, follows);
    }

    /// Keeps a shadow that could follow, and the one that has begun.
    fn note_followed(&mut self, id: ConnectionId, follows: Follows) {
        if let Follows::Begins(Some(shadow)) = follows {
            self.connections.follow(id, shadow);
        } else if let Follows::No = follows {
            return self.unfollow(id);
        }
        self.charge_shadow(id);
    }

    /// Notes what a connection's shadow holds now. Nobody needs a shadow as much as others need what it holds.
    pub(super) fn charge_shadow(&mut self, id: ConnectionId) {
        let connection = self.connections.connection(id);
        let held = match connection.map(|connection| &connection.follower) {
            Some(Follower::Shadow(shadow)) => shadow.held_bytes(),
            _ => 0,
        };
        if self.connections.charge(id, held).is_some() {
            self.unfollow(id);
        }
    }

    /// Forgets what a connection's bytes were.
    pub(super) fn unfollow(&mut self, id: ConnectionId) {
        drop(self.connections.take_shadow(id));
        let _less = self.connections.charge(id, 0);
    }

    /// Gives a segment to the stream of its connection and does what the stream wants.
    pub(super) fn inspect(
        &mut self,
        world: &World,
        found: Found,
        headers: &mut Headers,
        frame: Frame,
        now: Tick,
    ) {
        if !is_intact(&frame, headers) {
            return self.discard(Verdict::Drop(DropReason::BadChecksum), frame);
        }
        let content = frame.is_chain() && self.is_content(found, headers);
        if !content {
            self.linear.load(&frame);
        }
        let (connections, linear, tools) = self.split();
        let payload = if content {
            linear.unread(headers.payload_len)
        } else {
            headers.payload(linear.view(&frame))
        };
        let (Some(table), Some(segment), Some(connection)) = (
            world.table.as_deref(),
            payload.and_then(|payload| full_segment(found.direction, headers, &frame, payload)),
            connections.connection(found.id),
        ) else {
            return self.discard(Verdict::Drop(DropReason::InvalidTransportHeader), frame);
        };
        let shown = show(table, connection, &segment, tools, now);
        self.schedule(found.id);
        self.finish(world, found, shown, headers, frame);
    }

    /// The same for a plain segment that is intact.
    // Few packets come here, and the others need the registers.
    #[inline(never)]
    pub(super) fn inspect_plain(
        &mut self,
        world: &World,
        found: Found,
        (plain, link): (&Plain, &Link<'_>),
        mut frame: Frame,
        now: Tick,
    ) {
        let (connections, _, tools) = self.split();
        let transport = plain.transport(frame.bytes_mut());
        let (Some(table), Some(segment), Some(connection)) = (
            world.table.as_deref(),
            plain_segment(found.direction, plain, transport),
            connections.connection(found.id),
        ) else {
            return self.discard(Verdict::Drop(DropReason::InvalidTransportHeader), frame);
        };
        let shown = show(table, connection, &segment, tools, now);
        self.schedule(found.id);
        if self.outbox.is_whole(plain.payload_len()) {
            self.outbox.outs.clear();
            self.put_through(plain, link, frame);
            return self.settle(world, found.id);
        }
        match Headers::parse(frame.bytes()) {
            Ok(mut headers) => self.finish(world, found, shown, &mut headers, frame),
            Err(malformed) => self.discard(Verdict::Drop(malformed.into()), frame),
        }
    }

    /// Sends what the stream wants after a segment, and ends the segment's stay.
    fn finish(
        &mut self,
        world: &World,
        found: Found,
        shown: Shown,
        headers: &mut Headers,
        frame: Frame,
    ) {
        let rest = self.send_outbox(world, found, Some((headers, frame)));
        self.settle(world, found.id);
        if let Shown::Revoked(denial) = shown {
            self.hits.denied(denial.cause);
        }
        let Some(frame) = rest else { return };
        match shown {
            Shown::Revoked(denial) => {
                self.discard(Verdict::Drop(denied(denial.explicit)), frame);
            }
            Shown::Taken(Disposition::Dropped(reason)) => {
                self.discard(Verdict::Drop(reason.into()), frame)
            }
            Shown::Taken(Disposition::Absorbed | Disposition::Forwarded) => {
                self.counters.absorbed += 1;
                self.pool.give(frame);
            }
        }
    }

    /// Whether a segment carries content and nothing else, which its stream does not read.
    fn is_content(&mut self, found: Found, headers: &Headers) -> bool {
        let stream = self.connections.connection(found.id).and_then(|it| it.follower.stream());
        stream.zip(headers.tcp()).is_some_and(|(stream, tcp)| {
            stream.is_content(side(found.direction), tcp.seq, headers.payload_len)
        })
    }

    /// Wakes the streams that are due.
    pub(super) fn wake_streams(&mut self, world: &World, now: Tick) {
        while let Some(&Reverse((due, id))) = self.deadlines.peek() {
            if due > now {
                return;
            }
            self.deadlines.pop();
            let (Some(table), Some(connection)) =
                (world.table.as_deref(), self.connections.connection(id))
            else {
                continue;
            };
            let Some(stream) = connection.follower.stream_mut().filter(|stream| stream.wake == due)
            else {
                continue; // It has been scheduled anew since.
            };
            stream.wake = NO_TICK;
            let found = Found { id, direction: Direction::Original };
            if connection.judgement.epoch != world.epoch
                && self.judge_again(world, table, found, TcpFlags::NONE, now).is_err()
            {
                continue;
            }
            let Some(connection) = self.connections.connection(id) else { continue };
            let Connection { flow, service, follower, judgement, .. } = connection;
            let denied = matches!(judgement.access, Access::Deny(_));
            let reports = (&self.reporting, &mut self.hits);
            let mut judge =
                PolicyJudge::new(table, (judgement, flow), &mut self.scratch, reports, now);
            let mut sink = FrameSink {
                outbox: &mut self.outbox,
                pool: &mut self.pool,
                workbench: &mut self.workbench,
                counters: &mut self.counters,
                flow,
                service: service.as_deref(),
            };
            let Some(stream) = follower.stream_mut() else { continue };
            if denied {
                // As with a segment: nothing that is held may leave any more.
                stream.reset(&mut sink);
            } else {
                let _reason_is_the_engines_own =
                    stream.tick(now, &self.settings.limits, &mut judge, &mut sink);
            }
            judge.report(&mut self.counters);
            self.schedule(id);
            if let Some(frame) = self.send_outbox(world, found, None) {
                self.pool.give(frame);
            }
            self.settle(world, id);
        }
    }

    /// Notes what a stream holds now. If that is more than the budgets allow, the stream that holds the most is reset for it.
    pub(super) fn settle(&mut self, world: &World, id: ConnectionId) {
        let Some(stream) = self.connections.connection(id).and_then(|it| it.follower.stream())
        else {
            return;
        };
        let held = stream.held_bytes();
        let Some(victim) = self.connections.charge(id, held) else { return };
        let Some(connection) = self.connections.connection(victim) else { return };
        let Connection { flow, service, follower: Follower::Stream(stream), phase, .. } =
            connection
        else {
            return self.unfollow(victim);
        };
        stream.reset(&mut FrameSink {
            outbox: &mut self.outbox,
            pool: &mut self.pool,
            workbench: &mut self.workbench,
            counters: &mut self.counters,
            flow,
            service: service.as_deref(),
        });
        let left = stream.held_bytes();
        *phase = Phase::Closing;
        self.counters.streams_shed += 1;
        let _within_budget = self.connections.charge(victim, left);
        let found = Found { id: victim, direction: Direction::Original };
        if let Some(frame) = self.send_outbox(world, found, None) {
            self.pool.give(frame);
        }
    }

    /// Makes sure that the stream is woken when it wants to be.
    pub(super) fn schedule(&mut self, id: ConnectionId) {
        let Some(stream) = self.connections.connection(id).and_then(|it| it.follower.stream_mut())
        else {
            return;
        };
        // One that waits for nothing but the end of an idle time is woken often enough already.
        if stream.wake != NO_TICK && stream.is_at_ease() {
            return;
        }
        let Some(due) = stream.deadline(&self.settings.limits) else { return };
        // A wake-up that comes too early finds nothing due and schedules the next, so a far one is taken in steps: entries that
        // were replaced by nearer ones then leave the heap soon.
        let due = due.min(self.now.after(LONGEST_WAIT));
        if due < stream.wake {
            stream.wake = due;
            self.deadlines.push(Reverse((due, id)));
        }
    }

    /// Sends what the engine wants sent. Gives the arrived frame back if the engine did not send it on as it is.
    fn send_outbox(
        &mut self,
        world: &World,
        found: Found,
        arrived: Option<(&mut Headers, Frame)>,
    ) -> Option<Frame> {
        let Found { id, direction: from } = found;
        let mut outs = std::mem::take(&mut self.outbox.outs);
        let edit = self.outbox.edit.take();
        let Some(connection) = self.connections.connection(id) else {
            // What its stream wanted goes with it.
            for out in outs.drain(..) {
                if let Out::Inject { frame, .. } = out {
                    self.discard(Verdict::Drop(DropReason::MidStream), frame);
                }
            }
            self.outbox.outs = outs;
            return arrived.map(|(_, frame)| frame);
        };
        let (to_client, to_server) =
            (connection.judgement.source_port, connection.judgement.destination_port);
        let (way_port, way_tuple) = connection.way(from);
        let (mut headers, mut frame) = match arrived {
            Some((headers, frame)) => (Some(headers), Some(frame)),
            None => (None, None),
        };
        for out in outs.drain(..) {
            match out {
                Out::Inject { to, frame } => {
                    let port = if to == Side::Client { to_client } else { to_server };
                    self.transmit(world, port, frame);
                }
                Out::Forward { keep } => {
                    let (Some(headers), Some(whole)) = (headers.take(), frame.take()) else {
                        continue;
                    };
                    let way = (way_port, &way_tuple);
                    if keep == (0..headers.payload_len) {
                        self.forward_whole(world, way, headers, whole, edit.as_ref());
                    } else {
                        self.forward_part(world, way, headers, &whole, keep, edit.as_ref());
                        frame = Some(whole);
                    }
                }
            }
        }
        self.outbox.outs = outs;
        frame
    }

    /// Sends the arrived segment on, edited in place.
    fn forward_whole(
        &mut self,
        world: &World,
        (port, tuple): (PortId, &FlowTuple),
        headers: &mut Headers,
        mut frame: Frame,
        edit: Option<&OwnedHeader>,
    ) {
        let edited = edit
            .map_or(Ok(()), |edit| edit.write(frame.bytes_mut(), headers))
            .and_then(|()| super::carry_out::route(&mut frame, headers, Some(tuple)));
        match edited {
            Ok(()) => self.transmit(world, port, frame),
            Err(reason) => self.discard(Verdict::Drop(reason), frame),
        }
    }

    /// Sends a part of the arrived segment on, in a frame of its own.
    fn forward_part(
        &mut self,
        world: &World,
        (port, tuple): (PortId, &FlowTuple),
        headers: &Headers,
        whole: &Frame,
        keep: Range<usize>,
        edit: Option<&OwnedHeader>,
    ) {
        // Content was not read so far.
        self.linear.load(whole);
        let (Some(tcp), Some(payload)) = (
            headers.tcp(),
            headers.payload(self.linear.view(whole)).and_then(|payload| payload.get(keep)),
        ) else {
            return;
        };
        let unedited = OwnedHeader {
            seq: tcp.seq,
            ack: tcp.ack,
            flags: tcp.flags,
            window: tcp.window,
            options: None,
        };
        let edit = edit.unwrap_or(&unedited);
        let options = match &edit.options {
            Some((options, length)) => options.get(..*length).unwrap_or_default(),
            None => headers.tcp_option_bytes(whole.bytes()),
        };
        let segment = NewSegment {
            seq: edit.seq,
            ack: edit.ack,
            flags: edit.flags,
            window: edit.window,
            options,
            payload,
        };
        self.counters.built += 1;
        match emit(&segment, tuple, &mut self.pool, &mut self.workbench) {
            Ok(frame) => self.transmit(world, port, frame),
            Err(reason) => self.counters.count_drop(reason),
        }
    }
}

/// The side of a stream that sends in this direction.
pub(super) fn side(direction: Direction) -> Side {
    match direction {
        Direction::Original => Side::Client,
        Direction::Reply => Side::Server,
    }
}
