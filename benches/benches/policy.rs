//! What a verdict costs as rules grow, on a new connection and on a request; and what reading, compiling and loading them does.
//! `cargo run --release -p policy-table --example scale` measures the latter at the size of a large cluster.
//!
//!     cargo bench -p benches --bench policy
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a benchmark of another verdict must not run"
)]

use std::{fmt::Write, hint::black_box};

use criterion::{Criterion, criterion_group, criterion_main};
use policy_table::{
    Access, Enforcement, Flow, HttpRequest, HttpScratch, Identities, Peer, Protocol, Settings,
    Snapshot, Table, compiled::Compiled,
};

const RULES: [u32; 4] = [10, 100, 1_000, 10_000];

/// A server under `rules` items for as many clients, each with a rule about requests and one that is not: pods, and policy.
fn texts(rules: u32) -> (String, String) {
    let mut text = String::from(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: server, labels: {app: server}}\nstatus: {podIP: 10.255.0.1}\n",
    );
    let mut items = String::new();
    for rule in 0..rules {
        let [_, high, middle, low] = rule.to_be_bytes();
        // Writing into a String cannot fail.
        write!(
            text,
            "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: c{rule}, labels: {{client: c{rule}}}}}\n\
             status: {{podIP: 10.{high}.{middle}.{low}}}\n"
        )
        .ok();
        write!(
            items,
            "  - fromEndpoints: [{{matchLabels: {{client: c{rule}}}}}]\n    toPorts:\n    - ports: [{{port: \"80\", protocol: TCP}}]\n\
             \x20     rules: {{http: [{{method: GET, path: \"/item-{rule}/.*\"}}]}}\n\
             \x20   - ports: [{{port: \"{}\", protocol: TCP}}]\n",
            1_000 + rule
        )
        .ok();
    }
    let policy = format!(
        "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {{name: server}}\nspec:\n  \
         endpointSelector: {{matchLabels: {{app: server}}}}\n  ingress:\n{items}"
    );
    (text, policy)
}

/// The same, compiled, and the two ends of the last item.
fn policy(rules: u32) -> (Table, Peer, Peer) {
    let (pods, policy) = texts(rules);
    let loaded =
        Snapshot::parse(&[("pods.yaml", &pods), ("policy.yaml", &policy)]).expect("a snapshot");
    let table =
        Table::compile(&loaded.snapshot, &Settings::default(), &mut Identities::default(), 1);
    let peer = |name: &str| {
        let endpoint = table.endpoint_named("default", name).expect("a pod of ours");
        let identity = table.endpoint(endpoint).expect("a pod of ours").identity;
        Peer { identity, endpoint: Some(endpoint) }
    };
    let (server, client) = (peer("server"), peer(&format!("c{}", rules - 1)));
    (table, client, server)
}

fn verdict(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("verdict");
    for rules in RULES {
        let (table, source, destination) = policy(rules);
        let flow = |dst_port| Flow { source, destination, protocol: Protocol::TCP, dst_port };
        let port = u16::try_from(999 + rules).unwrap_or(0);
        group.bench_function(format!("allowed/{rules}"), |bencher| {
            bencher.iter(|| table.judge(black_box(&flow(port))));
        });
        group.bench_function(format!("denied/{rules}"), |bencher| {
            bencher.iter(|| table.judge(black_box(&flow(7))));
        });
        let Access::Inspect(access) = table.judge(&flow(80)) else { panic!("not inspected") };
        let mut scratch = HttpScratch::default();
        let path = format!("/item-{}/things", rules - 1);
        group.bench_function(format!("request allowed/{rules}"), |bencher| {
            bencher.iter(|| {
                let request = HttpRequest {
                    method: "GET",
                    path: black_box(&path),
                    host: "server.default",
                    headers: &|_| {},
                };
                table.judge_http(&access, &request, &mut scratch)
            });
        });
        group.bench_function(format!("request denied/{rules}"), |bencher| {
            bencher.iter(|| {
                let request = HttpRequest {
                    method: "GET",
                    path: black_box("/item-0/things"),
                    host: "server.default",
                    headers: &|_| {},
                };
                table.judge_http(&access, &request, &mut scratch)
            });
        });
    }
    group.finish();
}

fn snapshot(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("snapshot");
    group.sample_size(10);
    for rules in RULES {
        let (pods, policy) = texts(rules);
        let files = [("pods.yaml", pods.as_str()), ("policy.yaml", policy.as_str())];
        group.bench_function(format!("read/{rules}"), |bencher| {
            bencher.iter(|| Snapshot::parse(black_box(&files)).expect("a snapshot"));
        });
        let loaded = Snapshot::parse(&files).expect("a snapshot");
        let settings = Settings::default();
        group.bench_function(format!("compile/{rules}"), |bencher| {
            bencher.iter(|| {
                Table::compile(&loaded.snapshot, &settings, &mut Identities::default(), 1)
            });
        });
        let (file, _) = Compiled::make(&files, Enforcement::Default).expect("a snapshot");
        group.bench_function(format!("load compiled/{rules}"), |bencher| {
            bencher.iter(|| {
                Compiled::read(black_box(&file)).expect("a file").table(&settings, 1).expect("good")
            });
        });
    }
    group.finish();
}

criterion_group!(benches, verdict, snapshot);
criterion_main!(benches);
