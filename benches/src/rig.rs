//! A worker over plain memory between a client's pod and a server's: what it does with a packet, without the kernel around it.
//!
//! Packets are put into ports as the wire would, the worker takes its turns, what came out is taken away again. Only the turns are timed.
//! Every packet that goes in must come out: one that is dropped is a broken benchmark, and panics.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a benchmark of a worker that drops its packets must not run"
)]

use std::{net::IpAddr, sync::Arc, time::Duration};

use crossbeam::queue::ArrayQueue;
use dataplane::{
    budgets::Budgets,
    connection::expiry,
    umem::{Frame, Pool, Region, pool, port::FakePort},
    worker::{
        self, Command, Observers, PortId, Reporting, Worker, WorkerId, clock::Clock,
        handoff::Inbox, wakeup::Rest,
    },
    world::{Neighbour, PortKind, PortView, World},
};
use nix::time::{ClockId, clock_gettime};
use parser::{
    emit::{Envelope, Segment},
    ethernet::MacAddress,
    tcp::{SeqNumber, TcpFlags, Timestamps},
};
use policy_table::{Identities, Settings, Snapshot, Table};

use crate::frames::{RESPONSE, head};

/// Packets that are put into a port at once, as many as a receive ring has room for; a worker takes them in several turns.
pub const BATCH: usize = 1024;
/// The server's port that policy speaks of.
pub const HTTP: u16 = 80;

const FRAMES: u32 = 16 * 1024;
const START: u32 = 1000;

/// What is enforced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Nothing.
    Bare,
    /// Identity and port.
    Packets,
    /// Identity, port, method and path, with 100 rules.
    Requests,
}

impl Policy {
    fn document(self) -> String {
        if self == Self::Bare {
            return String::new();
        }
        let mut text = String::from(
            "apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: server, namespace: default}
spec:
  endpointSelector: {matchLabels: {app: server}}
  ingress:
  - fromEndpoints: [{matchLabels: {app: client}}]
    toPorts:
    - ports: [{port: \"80\", protocol: TCP}]
",
        );
        if self == Self::Requests {
            text.push_str("      rules:\n        http:\n");
            for rule in 1..100 {
                text.push_str(&format!(
                    "        - {{method: GET, path: \"/service-{rule}/v[0-9]+/.*\"}}\n"
                ));
            }
            text.push_str("        - {method: GET, path: \"/public\"}\n");
        }
        text
    }
}

/// Pods of the rig: clients have even numbers, servers odd ones.
pub(crate) fn pod_address(pod: u16) -> IpAddr {
    let [high, low] = pod.saturating_add(1).to_be_bytes();
    IpAddr::from([10, 0, high, low])
}

fn pod_mac(pod: u16) -> MacAddress {
    let [high, low] = pod.to_be_bytes();
    MacAddress::new([2, 0, 0, 1, high, low])
}

fn our_mac(pod: u16) -> MacAddress {
    let [high, low] = pod.to_be_bytes();
    MacAddress::new([2, 0, 0, 2, high, low])
}

/// A world of `pods` pods, each behind the port of its number, whose home `home` tells.
pub(crate) fn world(policy: Policy, pods: u16, home: impl Fn(u16) -> WorkerId) -> Arc<World> {
    let mut cluster = String::new();
    for pod in 0..pods {
        let app = if pod % 2 == 0 { "client" } else { "server" };
        cluster.push_str(&format!(
            "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: p{pod}, namespace: default, labels: {{app: {app}}}}}\n\
             status: {{podIP: {}}}\n",
            pod_address(pod)
        ));
    }
    let document = policy.document();
    let loaded = Snapshot::parse(&[("cluster.yaml", &cluster), ("policy.yaml", &document)])
        .expect("a snapshot of ours");
    let table =
        Table::compile(&loaded.snapshot, &Settings::default(), &mut Identities::default(), 1);
    let ports = (0..pods).map(|pod| {
        let neighbour = Arc::new(Neighbour::default());
        neighbour.learn(pod_mac(pod));
        Some(PortView {
            name: format!("p{pod}"),
            kind: PortKind::Pod,
            mac: our_mac(pod),
            neighbour,
            home: home(pod),
            mtu: 1500,
            endpoint: table.endpoint_named("default", &format!("p{pod}")),
        })
    });
    let ports = ports.collect();
    Arc::new(World::new(1, Some(Arc::new(table)), ports, Vec::new()))
}

/// A worker with `pods` ports, of which it receives from those whose home it is.
pub(crate) fn worker(
    id: WorkerId,
    world: &Arc<World>,
    frames: &Arc<ArrayQueue<Frame>>,
    inboxes: Vec<Arc<Inbox>>,
    rest: &Rest,
    budgets: Budgets,
) -> Worker<FakePort> {
    let reporting = Reporting {
        events: Arc::new(ArrayQueue::new(64)),
        observers: Arc::new(Observers::default()),
        hits: crossbeam::channel::unbounded().0,
    };
    let pool = Pool::new(Arc::clone(frames));
    let settings = worker::Settings { budgets, ..worker::Settings::default() };
    let mut worker = Worker::new(id, Clock::start(), pool, inboxes, reporting, settings);
    for (port, view) in world.ports() {
        let sockets = FakePort::default();
        let receives = view.home == id;
        worker.obey(Command::AddPort { port, fd: None, sockets, receives }, rest);
    }
    worker.obey(Command::World(Arc::clone(world)), rest);
    worker
}

/// One direction of a connection, as its packets need it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way {
    pub(crate) from: u16,
    pub(crate) to: u16,
    pub(crate) src_port: u16,
    pub(crate) dst_port: u16,
}

impl Way {
    fn reversed(self) -> Self {
        Self { from: self.to, to: self.from, src_port: self.dst_port, dst_port: self.src_port }
    }

    /// A segment of it.
    pub(crate) fn write(
        self,
        frame: &mut Frame,
        flags: TcpFlags,
        (seq, ack): (u32, u32),
        payload: &[u8],
    ) {
        // An opening segment would need other options; inspected streams go without, as their peers then do.
        let options = Timestamps { value: 1, echo: 2 }.to_option();
        let plain = flags.is_syn() || !payload.is_empty();
        let segment = Segment {
            envelope: Envelope {
                source_mac: pod_mac(self.from),
                destination_mac: our_mac(self.from),
                source: pod_address(self.from),
                destination: pod_address(self.to),
                hop_limit: 64,
                traffic_class: 0,
            },
            src_port: self.src_port,
            dst_port: self.dst_port,
            seq: SeqNumber::new(seq),
            ack: SeqNumber::new(ack),
            flags,
            window: 65535,
            options: if plain { &[] } else { &options },
            payload,
        };
        let length = segment.emit(frame.room_mut()).expect("it fits");
        frame.set_len(length);
    }
}

/// A connection of the rig.
#[derive(Clone, Copy, Debug)]
struct Talk {
    way: Way,
    /// What the client sends next.
    up: u32,
    /// What the server sends next.
    down: u32,
}

/// A worker, its client and its server, and their connections.
#[derive(Debug)]
pub struct Rig {
    worker: Worker<FakePort>,
    /// Frames in our hands.
    stock: Vec<Frame>,
    reserve: Arc<ArrayQueue<Frame>>,
    talks: Vec<Talk>,
    next: usize,
    head: Vec<u8>,
}

const CLIENT: u16 = 0;
const SERVER: u16 = 1;

impl Rig {
    /// A rig with `connections` open ones, and a daemon's default budgets.
    #[must_use]
    pub fn new(policy: Policy, connections: usize) -> Self {
        Self::with_budgets(policy, connections, Budgets::default())
    }

    /// A rig with `connections` open ones, and other budgets.
    #[must_use]
    pub fn with_budgets(policy: Policy, connections: usize, budgets: Budgets) -> Self {
        let (_, frames) = Region::plain(FRAMES);
        let reserve = pool::reserve(frames);
        let stock = std::iter::from_fn(|| reserve.pop()).take(2 * BATCH).collect();
        let rest = Rest::new(Duration::ZERO).expect("a poll");
        let world = world(policy, 2, |_| WorkerId(0));
        let worker = worker(WorkerId(0), &world, &reserve, vec![rest.inbox()], &rest, budgets);
        let mut rig = Self {
            worker,
            stock,
            reserve,
            talks: Vec::with_capacity(connections),
            next: 0,
            head: head(500),
        };
        rig.open(policy, connections);
        rig
    }

    /// Opens `connections` more, each by a whole handshake.
    pub fn open(&mut self, policy: Policy, connections: usize) {
        let first = self.talks.len();
        for number in first..first + connections {
            // Policy speaks of one port; without it, ports tell connections apart.
            let [low, high] = [number % 50_000, number / 50_000];
            let dst_port = if policy == Policy::Bare { HTTP + narrow(high) } else { HTTP };
            let src_port = 10_000 + narrow(low);
            let way = Way { from: CLIENT, to: SERVER, src_port, dst_port };
            self.talks.push(Talk { way, up: START + 1, down: START + 1 });
        }
        let syn_ack = TcpFlags::SYN.with(TcpFlags::ACK);
        for start in (first..first + connections).step_by(BATCH) {
            let end = (start + BATCH).min(first + connections);
            self.all(start..end, CLIENT, |_| (TcpFlags::SYN, (START, 0), false));
            self.all(start..end, SERVER, |_| (syn_ack, (START, START + 1), false));
            self.all(start..end, CLIENT, |_| (TcpFlags::ACK, (START + 1, START + 1), false));
        }
    }

    /// Makes room for the rig's own notes of `connections` more, so that they are not counted as the worker's.
    pub fn reserve(&mut self, connections: usize) {
        self.talks.reserve_exact(connections);
    }

    /// How many connections the worker knows.
    pub fn connections(&mut self) -> usize {
        self.worker.report().connections
    }

    /// One packet with flags and numbers for each talk; returns the time of the turns that it took. Loaded packets carry the request
    /// head or the response.
    fn all(
        &mut self,
        talks: std::ops::Range<usize>,
        from: u16,
        what: impl Fn(&Talk) -> (TcpFlags, (u32, u32), bool),
    ) -> Duration {
        let count = talks.len();
        for number in talks {
            let mut frame = self.frame();
            let Some(talk) = self.talks.get(number) else { panic!("there is no talk {number}") };
            let (flags, numbers, loaded) = what(talk);
            let (way, payload) = if from == CLIENT {
                (talk.way, self.head.as_slice())
            } else {
                (talk.way.reversed(), RESPONSE)
            };
            way.write(&mut frame, flags, numbers, if loaded { payload } else { &[] });
            self.port(from).wire_in.push_back(frame);
        }
        let took = self.turns(from);
        let to = if from == CLIENT { SERVER } else { CLIENT };
        let mut came = 0;
        while let Some(frame) = self.port(to).wire_out.pop_front() {
            came += 1;
            self.stock.push(frame);
        }
        let report = || format!("{came} of {count} packets came out");
        assert_eq!(came, count, "{}", report());
        took
    }

    /// The next [`BATCH`] talks.
    fn batch(&mut self) -> std::ops::Range<usize> {
        let start = if self.next + BATCH <= self.talks.len() { self.next } else { 0 };
        self.next = start + BATCH;
        start..self.next
    }

    /// One packet on each of the next [`BATCH`] connections: the time of the turns.
    pub fn packets(&mut self) -> Duration {
        let batch = self.batch();
        self.all(batch, CLIENT, |talk| (TcpFlags::ACK, (talk.up, talk.down), false))
    }

    /// One request on each of the next [`BATCH`] connections, of four packets: a head of 500 bytes, its acknowledgement, the response,
    /// its acknowledgement. The time of all turns.
    pub fn requests(&mut self) -> Duration {
        let batch = self.batch();
        let (head, response) = (wide(self.head.len()), wide(RESPONSE.len()));
        let loaded = TcpFlags::PSH.with(TcpFlags::ACK);
        let mut took = self.all(batch.clone(), CLIENT, |talk| (loaded, (talk.up, talk.down), true));
        for talk in self.talks.get_mut(batch.clone()).into_iter().flatten() {
            talk.up = talk.up.wrapping_add(head);
        }
        took +=
            self.all(batch.clone(), SERVER, |talk| (TcpFlags::ACK, (talk.down, talk.up), false));
        took += self.all(batch.clone(), SERVER, |talk| (loaded, (talk.down, talk.up), true));
        for talk in self.talks.get_mut(batch.clone()).into_iter().flatten() {
            talk.down = talk.down.wrapping_add(response);
        }
        took + self.all(batch, CLIENT, |talk| (TcpFlags::ACK, (talk.up, talk.down), false))
    }

    /// Lets nothing happen until the worker has looked at each of `connections` and taken back what idle ones do not need.
    pub fn idle(&mut self, connections: usize) {
        let (start, patience) = (core_time(), expiry::REST + Duration::from_secs(1));
        // A turn looks at a few of them.
        let mut turns = 0;
        while core_time().saturating_sub(start) < patience || turns < connections {
            self.worker.turn();
            turns += 1;
        }
    }

    fn frame(&mut self) -> Frame {
        self.stock.pop().or_else(|| self.reserve.pop()).expect("a free frame")
    }

    fn port(&mut self, pod: u16) -> &mut FakePort {
        self.worker.sockets(PortId(pod)).expect("a port of ours")
    }

    /// Turns until everything that waits at a port is received.
    fn turns(&mut self, from: u16) -> Duration {
        let start = core_time();
        while !self.port(from).wire_in.is_empty() {
            self.worker.turn();
        }
        core_time().saturating_sub(start)
    }
}

/// The time that this thread had a core, so that a busy machine measures the same.
pub(crate) fn core_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("a clock every Linux has").into()
}

fn narrow(number: usize) -> u16 {
    u16::try_from(number).expect("a small number")
}

fn wide(number: usize) -> u32 {
    u32::try_from(number).expect("a small number")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_policy_lets_the_rigs_traffic_pass() {
        for policy in [Policy::Bare, Policy::Packets, Policy::Requests] {
            let mut rig = Rig::new(policy, 2 * BATCH);
            assert_eq!(rig.connections(), 2 * BATCH);
            for _ in 0..5 {
                assert!(rig.packets() > Duration::ZERO);
                assert!(rig.requests() > Duration::ZERO);
            }
        }
    }
}
