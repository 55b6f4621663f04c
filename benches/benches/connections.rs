//! The connection table at sizes that a node has: finding what is there and what is not.
//!
//!     cargo bench -p benches --bench connections
#![expect(clippy::expect_used, reason = "a benchmark without its table must not run")]

use std::hint::black_box;

use benches::table::{flow, full};
use criterion::{Criterion, criterion_group, criterion_main};
use dataplane::worker::clock::Tick;

const SIZES: [u32; 4] = [1_000, 100_000, 1_000_000, 4_000_000];

/// A step through the table that meets every connection once, in an order that no cache foresees.
const STRIDE: u32 = 7_919;

fn lookup(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("connection lookup");
    for size in SIZES {
        let mut table = full(size);
        let mut number = 0;
        group.bench_function(format!("hit/{size}"), |bencher| {
            bencher.iter(|| {
                number = (number + STRIDE) % size;
                table.find(black_box(&flow(number)))
            });
        });
        group.bench_function(format!("hit, other direction/{size}"), |bencher| {
            bencher.iter(|| {
                number = (number + STRIDE) % size;
                table.find(black_box(&flow(number).reversed()))
            });
        });
        group.bench_function(format!("hit and connection/{size}"), |bencher| {
            bencher.iter(|| {
                number = (number + STRIDE) % size;
                let found = table.find(black_box(&flow(number))).expect("it is there");
                table.connection(found.id).map(|connection| connection.last_seen = Tick(1))
            });
        });
        group.bench_function(format!("miss/{size}"), |bencher| {
            bencher.iter(|| {
                number = (number + STRIDE) % size;
                table.find(black_box(&flow(size + number)))
            });
        });
    }
    group.finish();
}

criterion_group!(benches, lookup);
criterion_main!(benches);
