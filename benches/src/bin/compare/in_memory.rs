//! What needs no kernel: a worker over plain memory, its memory, and a second worker beside it.

use std::time::Duration;

use benches::allocation::allocations;
use benches::rig::{BATCH, Policy, Rig};
use benches::{memory, pair};

use crate::sample::Spread;
use crate::stage::Cores;

/// Connections that take turns.
const CONNECTIONS: usize = 4 * BATCH;
/// Batches of one round.
const TURNS: usize = 200;
/// Idle connections whose memory is measured, judged at L4 and inspected.
const JUDGED: usize = 1_000_000;
const INSPECTED: usize = 40_000;

/// The figures of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InMemory {
    /// Nanoseconds for a packet of an established connection, judged at L4.
    pub(crate) packet: Spread,
    /// Nanoseconds for the four packets of a request with a head of 500 bytes, judged at L7.
    pub(crate) request: Spread,
    /// Allocations in all these turns.
    pub(crate) allocations: Spread,
    /// Bytes of an inspected connection.
    pub(crate) inspected: Spread,
    /// Bytes of one judged at L4.
    pub(crate) judged: Spread,
    /// Connections that one worker had, each of which carried a packet.
    pub(crate) stable: Spread,
    /// How many times one worker's packets per second two workers carry.
    pub(crate) two_workers: Spread,
}

/// Measures, `rounds` times what takes time.
pub(crate) fn measure(cores: Cores, rounds: usize) -> Option<InMemory> {
    let mut packets = Rig::new(Policy::Packets, CONNECTIONS);
    let mut requests = Rig::new(Policy::Requests, CONNECTIONS);
    // What grows to its size once has grown after this.
    turns(&mut packets, Rig::packets);
    turns(&mut requests, Rig::requests);
    let (mut packet, mut request) = (Vec::with_capacity(rounds), Vec::with_capacity(rounds));
    let before = allocations();
    for _ in 0..rounds {
        packet.push(turns(&mut packets, Rig::packets));
        request.push(turns(&mut requests, Rig::requests));
    }
    let allocated = allocations().saturating_sub(before);
    let mut two_workers = Vec::new();
    for _ in 0..rounds {
        let time = Duration::from_millis(400);
        let one = pair::throughput(1, cores.middle, time);
        let first = cores.middle.saturating_sub(1);
        two_workers.push(pair::throughput(2, first, time) / one);
    }
    let judged = memory::packets(JUDGED);
    Some(InMemory {
        packet: Spread::of(packet)?,
        request: Spread::of(request)?,
        allocations: Spread::of(vec![number(allocated)])?,
        inspected: Spread::of(vec![memory::requests(INSPECTED).bytes])?,
        judged: Spread::of(vec![judged.bytes])?,
        stable: Spread::of(vec![number(judged.connections)])?,
        two_workers: Spread::of(two_workers)?,
    })
}

/// Nanoseconds for one packet or request.
fn turns(rig: &mut Rig, turn: impl Fn(&mut Rig) -> Duration) -> f64 {
    let took: Duration = (0..TURNS).map(|_| turn(rig)).sum();
    took.as_secs_f64() * 1e9 / number(TURNS.saturating_mul(BATCH))
}

#[expect(clippy::cast_precision_loss, reason = "counts of a run")]
fn number(count: usize) -> f64 {
    count as f64
}
