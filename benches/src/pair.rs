//! Workers beside each other over plain memory: how much more two carry than one.
//!
//! Four pods, two clients and two servers, every client talks to every server. With two workers each is at home on one client's and one
//! server's port, so that of all packets a quarter arrives where its connection is not known and is handed on. What is timed is the
//! workers' turns, on threads pinned to cores of their own; making packets and taking them away is not.
#![expect(clippy::expect_used, clippy::panic, reason = "a benchmark that cannot run must not")]

use std::{
    sync::{
        Arc, Barrier,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::Duration,
};

use crossbeam::queue::ArrayQueue;
use dataplane::{
    budgets::Budgets,
    umem::{Frame, Region, pool, port::FakePort},
    worker::{PortId, Worker, WorkerId, affinity::spawn_pinned, handoff::Inbox, wakeup::Rest},
    world::World,
};
use parser::tcp::TcpFlags;

use crate::rig::{BATCH, HTTP, Policy, Way, core_time, worker, world};

const PODS: u16 = 4;
/// Connections of each client with each server.
const TALKS: usize = 256;
const FRAMES: u32 = 24 * 1024;

/// Packets per second of `workers` workers, on the cores from `first_core` on, over `time`.
#[must_use]
pub fn throughput(workers: u16, first_core: usize, time: Duration) -> f64 {
    let (_, frames) = Region::plain(FRAMES);
    let reserve = pool::reserve(frames);
    // Pods 0 and 2 are clients, 1 and 3 servers; 0 and 1 are at home with the first worker.
    let home = |pod: u16| WorkerId(if workers > 1 { pod / 2 } else { 0 });
    let world = world(Policy::Packets, PODS, home);
    let rests: Vec<Rest> =
        (0..workers).map(|_| Rest::new(Duration::ZERO).expect("a poll")).collect();
    let inboxes: Vec<Arc<Inbox>> = rests.iter().map(Rest::inbox).collect();
    let barrier = Arc::new(Barrier::new(usize::from(workers) + 1));
    let stop = Arc::new(AtomicBool::new(false));
    let (tell, told) = mpsc::channel();
    let mut threads = Vec::new();
    for (number, rest) in (0..workers).zip(rests) {
        let bench = Bench {
            id: WorkerId(number),
            world: Arc::clone(&world),
            reserve: Arc::clone(&reserve),
            inboxes: inboxes.clone(),
            barrier: Arc::clone(&barrier),
            stop: Arc::clone(&stop),
        };
        let tell = tell.clone();
        let core = first_core + usize::from(number);
        let run = move || {
            // The receiver waits for every worker.
            tell.send(bench.run(&rest)).ok();
        };
        let unpinned = || panic!("a worker without a core of its own measures nothing");
        threads
            .push(spawn_pinned(&format!("bench-{number}"), core, unpinned, run).expect("a thread"));
    }
    barrier.wait();
    std::thread::sleep(time);
    stop.store(true, Ordering::Relaxed);
    let rates = threads.iter().map(|_| told.recv().expect("a rate"));
    let rate = rates.sum();
    for thread in threads {
        thread.join().expect("a worker that ended well");
    }
    rate
}

/// What one worker's thread needs.
struct Bench {
    id: WorkerId,
    world: Arc<World>,
    reserve: Arc<ArrayQueue<Frame>>,
    inboxes: Vec<Arc<Inbox>>,
    barrier: Arc<Barrier>,
    stop: Arc<AtomicBool>,
}

impl Bench {
    /// Works until it is told to stop; packets sent per second of turns.
    #[expect(clippy::cast_precision_loss, reason = "packets of seconds")]
    fn run(self, rest: &Rest) -> f64 {
        let mut desk = Desk {
            worker: worker(
                self.id,
                &self.world,
                &self.reserve,
                self.inboxes,
                rest,
                Budgets::default(),
            ),
            homes: self
                .world
                .ports()
                .filter_map(|(id, view)| (view.home == self.id).then_some(id.0))
                .collect(),
            stock: Vec::with_capacity(8 * BATCH),
            reserve: self.reserve,
        };
        // The clients open all connections; nobody speaks before every connection is known.
        for client in desk.homes.clone().into_iter().filter(|pod| is_client(*pod)) {
            for packet in desk.packets(client, TcpFlags::SYN) {
                desk.put(client, &packet);
                desk.worker.turn();
                desk.collect();
            }
        }
        let traffic: Vec<(u16, Vec<Vec<u8>>)> = desk
            .homes
            .clone()
            .into_iter()
            .map(|pod| (pod, desk.packets(pod, TcpFlags::ACK)))
            .collect();
        self.barrier.wait();
        let (mut sent, mut worked, mut next) = (0_u64, Duration::ZERO, 0_usize);
        while !self.stop.load(Ordering::Relaxed) {
            for (pod, packets) in &traffic {
                for packet in packets.iter().cycle().skip(next % packets.len()).take(BATCH) {
                    desk.put(*pod, packet);
                }
            }
            next += BATCH;
            let start = core_time();
            while desk.waits() {
                desk.worker.turn();
            }
            worked += core_time().saturating_sub(start);
            sent += desk.collect();
        }
        desk.clear();
        sent as f64 / worked.as_secs_f64()
    }
}

/// A worker and the frames that are in our hands.
struct Desk {
    worker: Worker<FakePort>,
    /// The pods whose packets this worker receives.
    homes: Vec<u16>,
    stock: Vec<Frame>,
    reserve: Arc<ArrayQueue<Frame>>,
}

impl Desk {
    /// Puts a packet on a port's wire; without a free frame it is lost.
    fn put(&mut self, pod: u16, packet: &[u8]) {
        let Some(mut frame) = self.stock.pop().or_else(|| self.reserve.pop()) else { return };
        if let Some(room) = frame.room_mut().get_mut(..packet.len()) {
            room.copy_from_slice(packet);
        }
        frame.set_len(packet.len());
        self.worker.sockets(PortId(pod)).expect("a port of ours").wire_in.push_back(frame);
    }

    /// Takes what was sent off the wires; how many packets.
    fn collect(&mut self) -> u64 {
        let mut came = 0;
        for pod in 0..PODS {
            let sockets = self.worker.sockets(PortId(pod)).expect("a port of ours");
            while let Some(frame) = sockets.wire_out.pop_front() {
                came += 1;
                self.stock.push(frame);
            }
        }
        // What piles up here is missed elsewhere.
        while self.stock.len() > 2 * BATCH {
            self.give_back();
        }
        came
    }

    /// Whether something waits to be received.
    fn waits(&mut self) -> bool {
        let worker = &mut self.worker;
        self.homes.iter().any(|pod| {
            worker.sockets(PortId(*pod)).is_some_and(|sockets| !sockets.wire_in.is_empty())
        })
    }

    /// One packet of every connection of a pod.
    fn packets(&mut self, pod: u16, flags: TcpFlags) -> Vec<Vec<u8>> {
        let mut frame = self.reserve.pop().expect("a frame");
        let mut packets = Vec::new();
        for other in (0..PODS).filter(|other| is_client(*other) != is_client(pod)) {
            for port in (10_000..).take(TALKS) {
                let (src_port, dst_port) = if is_client(pod) { (port, HTTP) } else { (HTTP, port) };
                let way = Way { from: pod, to: other, src_port, dst_port };
                way.write(&mut frame, flags, (1, 1), &[]);
                packets.push(frame.bytes().to_vec());
            }
        }
        self.stock.push(frame);
        packets
    }

    /// Gives all frames back; those on wires and in queues stay there.
    fn clear(&mut self) {
        while !self.stock.is_empty() {
            self.give_back();
        }
    }

    fn give_back(&mut self) {
        let given = self.stock.pop().map_or(Ok(()), |frame| self.reserve.push(frame));
        given.expect("room for every frame there is");
    }
}

/// Pods with even numbers are clients.
fn is_client(pod: u16) -> bool {
    pod.is_multiple_of(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_worker_and_two_carry_packets() {
        for workers in [1, 2] {
            assert!(throughput(workers, 0, Duration::from_millis(50)) > 0.0);
        }
    }
}
