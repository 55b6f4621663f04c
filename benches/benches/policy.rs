//! What a verdict costs as rules grow, on a new connection and on a request.
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
    Access, Flow, HttpRequest, HttpScratch, Identities, Peer, Protocol, Settings, Snapshot, Table,
};

const RULES: [u32; 4] = [10, 100, 1_000, 10_000];

/// A server under `rules` rules for as many clients, half of them about requests, and the two ends of the last one.
fn policy(rules: u32) -> (Table, Peer, Peer) {
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
    let loaded =
        Snapshot::parse(&[("pods.yaml", &text), ("policy.yaml", &policy)]).expect("a snapshot");
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

criterion_group!(benches, verdict);
criterion_main!(benches);
