//! What the wire formats cost per packet: reading, summing, rewriting.
//!
//!     cargo bench -p benches --bench parse
#![expect(clippy::expect_used, reason = "a benchmark of a refused frame must not run")]

use std::hint::black_box;

use benches::frames::{REQUEST, segment};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use parser::{
    checksum::{Sum, verify_transport},
    flow_key::FlowKey,
    headers::Headers,
    rewrite,
};

fn read(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("headers");
    for (name, is_ipv6) in [("ipv4", false), ("ipv6", true)] {
        let frame = segment(is_ipv6, REQUEST);
        group.bench_function(format!("parse/{name}"), |bencher| {
            bencher.iter(|| Headers::parse(black_box(&frame)));
        });
        group.bench_function(format!("parse and key/{name}"), |bencher| {
            bencher.iter(|| {
                let tuple =
                    Headers::parse(black_box(&frame)).ok().and_then(|headers| headers.flow_tuple());
                tuple.map(|tuple| FlowKey::of(&tuple))
            });
        });
        group.bench_function(format!("options/{name}"), |bencher| {
            let headers = Headers::parse(&frame).expect("a frame of ours");
            bencher.iter(|| headers.tcp_options(black_box(&frame)).count());
        });
    }
    group.finish();
}

fn sum(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("checksum");
    for length in [20, 64, 536, 1460, 4096, 65_000] {
        let bytes = vec![0xa5; length];
        group.throughput(Throughput::Bytes(u64::try_from(length).unwrap_or(u64::MAX)));
        group.bench_function(format!("sum/{length}"), |bencher| {
            bencher.iter(|| Sum::new().add_bytes(black_box(&bytes)));
        });
    }
    let frame = segment(false, &[0xa5; 1448]);
    let headers = Headers::parse(&frame).expect("a frame of ours");
    group.throughput(Throughput::Elements(1));
    group.bench_function("verify/1514", |bencher| {
        bencher.iter(|| verify_transport(black_box(&frame), black_box(&headers)));
    });
    group.finish();
}

fn edit(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("rewrite");
    for (name, is_ipv6) in [("ipv4", false), ("ipv6", true)] {
        let mut frame = segment(is_ipv6, REQUEST);
        let headers = Headers::parse(&frame).expect("a frame of ours");
        let address = headers.source().expect("an IP packet");
        group.bench_function(format!("service/{name}"), |bencher| {
            bencher.iter_batched_ref(
                || headers,
                |headers| {
                    rewrite::destination(
                        black_box(&mut frame),
                        headers,
                        black_box(address),
                        Some(8080),
                    )
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, read, sum, edit);
criterion_main!(benches);
