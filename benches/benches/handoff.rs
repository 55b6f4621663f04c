//! A frame that changes hands between workers: into the other's queue and out of it.
//!
//!     cargo bench -p benches --bench handoff
#![expect(clippy::expect_used, reason = "a benchmark without its frame must not run")]

use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use dataplane::{
    umem::Region,
    worker::{PortId, handoff::Parcel, wakeup::Rest},
};

const BATCH: usize = 64;

fn handoff(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("hand-off");
    group.throughput(Throughput::Elements(u64::try_from(BATCH).unwrap_or(1)));
    let rest = Rest::new(Duration::ZERO).expect("a poll");
    let inbox = rest.inbox();
    let (_, mut frames) = Region::plain(u32::try_from(BATCH).unwrap_or(1));
    group.bench_function(format!("{BATCH} frames there and back"), |bencher| {
        bencher.iter(|| {
            for frame in frames.drain(..) {
                inbox.push(Parcel::Transmit { frame, port: PortId(0) }).expect("there is room");
            }
            inbox.ring();
            while let Some(Parcel::Transmit { frame, .. } | Parcel::Judge { frame, .. }) =
                inbox.pop()
            {
                frames.push(frame);
            }
        });
    });
    group.finish();
}

criterion_group!(benches, handoff);
criterion_main!(benches);
