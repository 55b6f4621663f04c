//! Request heads of 70, 500 and 2 000 bytes: read as a whole, and scanned when they come in pieces.
//!
//!     cargo bench -p benches --bench inspect

use std::hint::black_box;

use benches::frames::head;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use parser::http::{HeadScanner, Limits, read_request};

fn heads(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("head inspection");
    let limits = Limits::default();
    for length in [70, 500, 2_000] {
        let head = head(length);
        assert_eq!(head.len(), length);
        group.throughput(Throughput::Bytes(u64::try_from(length).unwrap_or(u64::MAX)));
        group.bench_function(format!("whole/{length}"), |bencher| {
            bencher.iter(|| read_request(black_box(&head), &limits).is_ok());
        });
        group.bench_function(format!("two pieces/{length}"), |bencher| {
            bencher.iter(|| {
                let (first, second) = black_box(&head).split_at(length / 2);
                let mut scanner = HeadScanner::request();
                scanner.advance(first, &limits).is_ok() && scanner.advance(second, &limits).is_ok()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, heads);
criterion_main!(benches);
