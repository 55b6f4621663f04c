//! One turn of a worker over plain memory, for packets of established connections and for whole requests.
//!
//!     cargo bench -p benches --bench worker
//!
//! Ends with the allocations in all measured turns: there must be none.
#![expect(clippy::print_stderr, reason = "Criterion writes there as well")]

use std::time::Duration;

use benches::{
    allocation::{Counting, allocations},
    rig::{BATCH, Policy, Rig},
};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Connections that take turns, so that their state is not always in the nearest cache.
const CONNECTIONS: usize = 4 * BATCH;

/// Times `turns` of them, each for [`BATCH`] packets or requests; allocations within are shown.
fn turns(rig: &mut Rig, count: u64, name: &str, turn: impl Fn(&mut Rig) -> Duration) -> Duration {
    let before = allocations();
    let took = (0..count).map(|_| turn(rig)).sum();
    let allocated = allocations() - before;
    if allocated > 0 {
        eprintln!("{name}: {allocated} allocations in {count} turns");
    }
    took
}

fn worker(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("worker turn");
    group.throughput(Throughput::Elements(u64::try_from(BATCH).unwrap_or(1)));
    for (name, policy) in
        [("bare", Policy::Bare), ("L4", Policy::Packets), ("L7", Policy::Requests)]
    {
        let mut rig = Rig::new(policy, CONNECTIONS);
        // What a connection allocates at its first packets is its own, not the packets'.
        (0..CONNECTIONS / BATCH).for_each(|_| {
            rig.packets();
            rig.requests();
        });
        group.bench_function(format!("{BATCH} packets/{name}"), |bencher| {
            bencher.iter_custom(|count| turns(&mut rig, count, name, Rig::packets));
        });
        group.bench_function(format!("{BATCH} requests/{name}"), |bencher| {
            bencher.iter_custom(|count| turns(&mut rig, count, name, Rig::requests));
        });
    }
    group.finish();
}

criterion_group!(benches, worker);
criterion_main!(benches);
