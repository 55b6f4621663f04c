//! A worker carries frames: one pinned thread that receives from its ports, judges, and sends to any port.
//!
//! What arrives: frames from the rx rings of its home ports, parcels of other workers, commands of the control thread. What leaves:
//! every frame by exactly one exit of `Worker::carry_out`. Nothing here allocates per packet, locks, formats or panics.

pub mod affinity;
pub mod carry_out;
pub mod clock;
pub mod dns;
mod elsewhere;
mod established;
mod fragments;
pub mod handoff;
pub mod judge;
mod linear;
pub mod neighbour;
pub mod ports;
pub mod related;
pub mod stream;
pub mod wakeup;

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    net::IpAddr,
    os::fd::RawFd,
    sync::{Arc, atomic::AtomicBool},
};

use crossbeam::{
    channel::{Receiver, Sender},
    queue::ArrayQueue,
};
use parser::{headers::Headers, plain::Plain};
use policy_table::{HttpScratch, oracle::Learned};

use crate::{
    budgets::Budgets,
    connection::{ConnectionId, Connections, Judgements, Sought},
    counters::Counters,
    drop_reason::DropReason,
    flow::FlowEvent,
    hits::Hits,
    inspect,
    names::{LeaseTimes, PodNames},
    umem::{Frame, Pool, Port, PortFrames},
    world::World,
};

use clock::{Clock, Tick};
use handoff::{Inbox, Parcel};
use judge::Verdict;
use ports::Ports;
use wakeup::{Rest, Woken};

/// The number of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortId(pub u16);

/// The number of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WorkerId(pub u16);

/// Packets taken from one port in one turn.
const BATCH: usize = 64;

/// Connections looked at for expiry in one turn.
const EXPIRY_BUDGET: usize = 8;

/// Connections looked at for expiry after a sleep that nothing ended but time.
const IDLE_EXPIRY_BUDGET: usize = 4096;

/// What the control thread tells a worker.
#[derive(Debug)]
pub enum Command<P> {
    /// Use this world from the next turn on.
    World(Arc<World>),
    /// Use these sockets.
    AddPort {
        /// The port they belong to.
        port: PortId,
        /// What to wait on, if frames are received.
        fd: Option<RawFd>,
        /// The sockets.
        sockets: P,
        /// Whether this worker receives from the port.
        receives: bool,
    },
    /// Give the sockets of a port back.
    RemovePort {
        /// The port.
        port: PortId,
        /// Where to.
        back: Sender<P>,
    },
    /// Tell how things are.
    Report(Sender<Report>),
    /// Tell what rules did since this was last asked, or since the table is in use.
    Hits(Sender<Hits>),
    /// Tell what DNS told the pods of these addresses, of those that the worker is the home of.
    Learned {
        /// The pods.
        pods: Vec<IpAddr>,
        /// Where to.
        to: Sender<Vec<Learned>>,
    },
    /// End.
    Stop,
}

/// How things are with a worker, between two turns.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// What it counted.
    pub counters: Counters,
    /// Its ports.
    pub ports: Vec<(PortId, PortReport)>,
    /// Free frames in its pool.
    pub free: usize,
    /// Packets waiting for a neighbour's hardware address, or for the rest of a fragmented packet.
    pub waiting: usize,
    /// The frames of these.
    pub held: usize,
    /// Connections.
    pub connections: usize,
    /// Of these, inspected ones.
    pub streams: usize,
    /// Connections that made room for others.
    pub evicted: u64,
    /// Bytes that inspected streams hold.
    pub held_bytes: usize,
}

/// How things are with a worker's sockets on one port.
#[derive(Clone, Copy, Debug, Default)]
pub struct PortReport {
    /// Where its frames are.
    pub frames: PortFrames,
    /// Packets received.
    pub received: u64,
    /// Packets sent.
    pub sent: u64,
    /// Packets that the kernel could not give to its sockets.
    pub missed: u64,
}

/// Who listens to flow events.
#[derive(Debug, Default)]
pub struct Observers {
    /// Somebody follows: tell of allowed requests too.
    pub following: AtomicBool,
}

/// How a worker tells of flows.
#[derive(Clone, Debug)]
pub struct Reporting {
    /// The queue to the control thread.
    pub events: Arc<ArrayQueue<FlowEvent>>,
    /// Who listens.
    pub observers: Arc<Observers>,
    /// Where the hits of a table go that is out of use.
    pub hits: Sender<Hits>,
}

/// What an operator may set.
#[derive(Clone, Copy, Debug, Default)]
pub struct Settings {
    /// What one inspected connection may use, and which rules of the grammar are widened.
    pub limits: inspect::Limits,
    /// What the worker may use in all, and one endpoint of it.
    pub budgets: Budgets,
    /// How long what DNS told a pod may be used.
    pub leases: LeaseTimes,
}

/// Whether a turn had work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It had.
    Worked,
    /// There was nothing to do.
    Idle,
}

/// A worker. `P` is a [`Port`]: AF_XDP sockets, or plain memory in tests.
#[derive(Debug)]
pub struct Worker<P> {
    id: WorkerId,
    clock: Clock,
    /// The time of this turn.
    now: Tick,
    #[expect(
        clippy::redundant_allocation,
        reason = "every turn takes a count, and one that all workers share would travel between their cores"
    )]
    world: Arc<Arc<World>>,
    ports: Ports<P>,
    pool: Pool,
    batch: Vec<Frame>,
    /// What is known of the batch's frames that are plain, in their order; empty between two batches.
    read: Vec<Option<(Plain, Sought)>>,
    /// The ports of parcels that are in the batch, and whether they are settled; empty between two batches.
    notes: Vec<(PortId, bool)>,
    connections: Connections,
    judgements: Judgements,
    fragments: fragments::Fragments,
    /// When each inspected stream wants to be woken; entries of streams that changed their mind are skipped.
    deadlines: BinaryHeap<Reverse<(Tick, ConnectionId)>>,
    settings: Settings,
    scratch: HttpScratch,
    outbox: stream::Outbox,
    linear: linear::Linear,
    workbench: linear::Workbench,
    counters: Counters,
    hits: Hits,
    workers: Vec<Arc<Inbox>>,
    /// Workers that got parcels in this turn.
    to_ring: Vec<WorkerId>,
    reporting: Reporting,
    drop_budget: carry_out::Budget,
    /// What DNS told the pods that this worker is the home of, by port.
    names: Vec<Option<Box<PodNames>>>,
}

impl<P: Port> Worker<P> {
    /// A worker without ports. `workers` are the inboxes of all workers, its own among them.
    pub fn new(
        id: WorkerId,
        clock: Clock,
        pool: Pool,
        workers: Vec<Arc<Inbox>>,
        reporting: Reporting,
        settings: Settings,
    ) -> Self {
        Self {
            id,
            clock,
            now: Tick::default(),
            world: Arc::new(Arc::new(World::new(0, None, Vec::new(), Vec::new()))),
            ports: Ports::default(),
            pool,
            batch: Vec::with_capacity(BATCH),
            read: Vec::with_capacity(BATCH),
            notes: Vec::with_capacity(BATCH),
            connections: Connections::new(settings.budgets),
            judgements: Judgements::default(),
            fragments: fragments::Fragments::new(settings.budgets.fragment_limits()),
            deadlines: BinaryHeap::new(),
            settings,
            scratch: HttpScratch::default(),
            outbox: stream::Outbox::default(),
            linear: linear::Linear::default(),
            workbench: linear::Workbench::default(),
            counters: Counters::default(),
            hits: Hits::new(None),
            workers,
            to_ring: Vec::new(),
            reporting,
            drop_budget: carry_out::Budget::default(),
            names: Vec::new(),
        }
    }

    /// Works until it is told to stop.
    pub fn run(mut self, mut rest: Rest, commands: &Receiver<Command<P>>) {
        loop {
            while let Ok(command) = commands.try_recv() {
                if let Command::Stop = command {
                    return self.retire();
                }
                self.obey(command, &rest);
            }
            match self.turn() {
                Progress::Worked => rest.busy(),
                Progress::Idle => {
                    let deadline = self.deadlines.peek().map(|Reverse((tick, _))| *tick);
                    match rest.idle(self.clock.read(), deadline, || !commands.is_empty()) {
                        // Nobody waits for this worker now; while it spins, somebody may.
                        Woken::ByTime => self.connections.expire(self.now, IDLE_EXPIRY_BUDGET),
                        Woken::ByWork | Woken::Awake => {}
                    }
                }
            }
        }
    }

    /// One turn: a batch from every home port, the parcels of other workers, the streams that are due.
    pub fn turn(&mut self) -> Progress {
        self.now = self.clock.read().tick(); // once per batch
        let now = self.now;
        let world = Arc::clone(&self.world); // one epoch per batch
        let mut progress = Progress::Idle;
        for position in 0..self.ports.homes() {
            let Some(port) = self.ports.receive(
                position,
                &mut self.batch,
                BATCH,
                &mut self.pool,
                &mut self.counters,
            ) else {
                continue;
            };
            progress = Progress::Worked;
            self.process_batch(&world, std::iter::repeat((port, false)), now);
        }
        // Those that wait now and no more: whoever floods this worker with parcels must not keep it from its own ports.
        let waiting = self.workers.get(usize::from(self.id.0)).map_or(0, |inbox| inbox.len());
        for _ in 0..waiting.div_ceil(BATCH) {
            progress = Progress::Worked;
            self.process_parcels(&world, now);
        }
        self.wake_streams(&world, now);
        self.connections.expire(now, EXPIRY_BUDGET);
        self.expire_waiting();
        self.expire_fragments(now);
        self.flush();
        progress
    }

    /// At most a batch of what other workers hand on.
    fn process_parcels(&mut self, world: &World, now: Tick) {
        let mut notes = std::mem::take(&mut self.notes);
        while notes.len() < BATCH
            && let Some(parcel) =
                self.workers.get(usize::from(self.id.0)).and_then(|inbox| inbox.pop())
        {
            match parcel {
                Parcel::Judge { frame, port, settled } => {
                    self.batch.push(frame);
                    notes.push((port, settled));
                }
                Parcel::Transmit { frame, port } => {
                    // What came before it leaves before it.
                    self.process_batch(world, notes.drain(..), now);
                    self.transmit(world, port, frame);
                }
                Parcel::Grant(grant) => self.connections.keep(*grant),
            }
        }
        self.process_batch(world, notes.drain(..), now);
        self.notes = notes;
    }

    /// The packets of the batch. `notes` has for each the port that it came in on, and whether it is settled.
    fn process_batch(
        &mut self,
        world: &World,
        notes: impl Iterator<Item = (PortId, bool)>,
        now: Tick,
    ) {
        self.read_batch();
        let mut frames = std::mem::take(&mut self.batch);
        let mut batch = std::mem::take(&mut self.read);
        self.counters.received += frames.len() as u64;
        for ((frame, read), (port, settled)) in frames.drain(..).zip(&batch).zip(notes) {
            self.process(world, port, frame, read.as_ref(), settled, now);
        }
        batch.clear();
        self.read = batch;
        self.batch = frames;
    }

    /// Reads the packets of the batch. Each step asks for the memory of the next one for all of them, so that it comes at once.
    fn read_batch(&mut self) {
        let Self { batch, read, connections, .. } = self;
        for frame in &*batch {
            frame.prefetch();
        }
        for frame in &*batch {
            let plain = Plain::read(frame.bytes()).filter(|_| !frame.is_chain());
            read.push(plain.map(|(plain, tuple)| (plain, connections.seek(&tuple))));
        }
        // So little is done for one that the processor waits for several at a time.
        for (_, sought) in read.iter_mut().flatten() {
            connections.guess(sought);
        }
        for (_, sought) in read.iter().flatten() {
            connections.approach(sought);
        }
    }

    /// One packet: forwarded or handed on at once, or the long way.
    #[inline]
    fn process(
        &mut self,
        world: &World,
        port: PortId,
        frame: Frame,
        read: Option<&(Plain, Sought)>,
        settled: bool,
        now: Tick,
    ) {
        let (frame, sought) = match read {
            Some((plain, sought)) => {
                match self.forward_established(world, (port, settled), (plain, sought), frame, now)
                {
                    Ok(()) => return,
                    Err(frame) => (frame, Some(sought)),
                }
            }
            None => (frame, None),
        };
        self.go_the_long_way(world, port, (frame, sought), settled, now);
    }

    /// One packet: read in full, judged, carried out.
    #[inline(never)]
    fn go_the_long_way(
        &mut self,
        world: &World,
        port: PortId,
        (mut frame, sought): (Frame, Option<&Sought>),
        settled: bool,
        now: Tick,
    ) {
        // All headers lie in the first chunk, or the packet is malformed.
        match Headers::parse_first(frame.bytes(), frame.len()) {
            // Only a link's shortest frames are padded.
            Ok(headers) if frame.is_chain() && headers.packet_end() != frame.len() => {
                self.discard(Verdict::Drop(DropReason::InvalidPacket), frame);
            }
            Ok(mut headers) => {
                Self::complete_checksum(&mut frame, &headers);
                let sought =
                    sought.copied().or_else(|| Some(self.connections.seek(&headers.flow_tuple()?)));
                let verdict = self.judge(world, port, (&headers, sought.as_ref()), settled, now);
                self.carry_out(world, port, &mut headers, verdict, frame, now);
            }
            Err(error) => self.discard(Verdict::Drop(DropReason::from(error)), frame),
        }
    }

    fn flush(&mut self) {
        self.ports.flush(&mut self.pool);
        for worker in self.to_ring.drain(..) {
            if let Some(inbox) = self.workers.get(usize::from(worker.0)) {
                inbox.ring();
            }
        }
    }

    /// Does what the control thread says, between two turns; [`Command::Stop`] is for [`Worker::run`].
    pub fn obey(&mut self, command: Command<P>, rest: &Rest) {
        match command {
            Command::World(world) => {
                self.take_up(Arc::clone(&world));
                self.prepare_names(&world);
                self.release_waiting(&world);
                self.announce_gateways(&world);
            }
            Command::AddPort { port, fd, sockets, receives } => {
                let watched = fd.filter(|_| receives).is_none_or(|fd| rest.watch(fd).is_ok());
                // Without a watch the port is served whenever the worker is awake, at the latest every half second.
                let _slow = watched;
                self.ports.add(port, sockets, receives, fd, &mut self.pool);
            }
            Command::RemovePort { port, back } => {
                self.forget_names(port);
                for frame in self.ports.forget_waiting(port) {
                    self.counters.count_drop(DropReason::PortGone);
                    self.pool.give(frame);
                }
                self.forget_fragments();
                if let Some((sockets, fd)) = self.ports.remove(port) {
                    if let Some(fd) = fd {
                        let _unwatched = rest.unwatch(fd);
                    }
                    let _nobody = back.send(sockets);
                }
            }
            Command::Report(to) => {
                let report = self.report();
                let _nobody = to.send(report);
            }
            Command::Hits(to) => {
                let none = || Hits::new(self.world.table.clone());
                let hits = self.hits.turn(self.world.table.as_ref()).unwrap_or_else(none);
                let _nobody = to.send(hits);
            }
            Command::Learned { pods, to } => {
                let _nobody = to.send(self.learned(&pods));
            }
            Command::Stop => {}
        }
    }

    /// The sockets of a port, for those who drive a worker turn by turn over plain memory.
    pub fn sockets(&mut self, port: PortId) -> Option<&mut P> {
        self.ports.sockets(port)
    }

    /// Judges by this world from now on.
    fn take_up(&mut self, world: Arc<World>) {
        if !self.hits.are_of(world.table.as_ref())
            && let Some(hits) = self.hits.turn(world.table.as_ref())
        {
            let _nobody = self.reporting.hits.send(hits);
        }
        self.world = Arc::new(world);
    }

    /// How things are.
    pub fn report(&mut self) -> Report {
        Report {
            counters: self.counters.clone(),
            ports: self.ports.report(),
            free: self.pool.free(),
            waiting: self.ports.waiting() + self.fragments.waiting(),
            held: self.ports.held() + self.fragments.held(),
            connections: self.connections.len(),
            streams: self.connections.streams(),
            evicted: self.connections.evicted(),
            held_bytes: self.connections.held(),
        }
    }

    /// Ends: what waits is given back, the sockets are closed with the rings' frames in them.
    fn retire(mut self) {
        while let Some(parcel) =
            self.workers.get(usize::from(self.id.0)).and_then(|inbox| inbox.pop())
        {
            if let Some(frame) = parcel.into_frame() {
                self.pool.give(frame);
            }
        }
        for frame in self.ports.forget_all_waiting() {
            self.pool.give(frame);
        }
        self.forget_fragments();
        self.pool.retire();
    }

    /// Tells of a flow; if the control thread is behind, the event is lost and counted.
    fn tell(&mut self, event: FlowEvent) {
        if self.reporting.events.push(event).is_err() {
            self.counters.events_lost += 1;
        }
    }
}

#[cfg(test)]
mod tests;
