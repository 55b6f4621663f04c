//! How long a large cluster takes to compile, and whether lookups stay flat as rules grow.
//!
//! `cargo run --release -p policy-table --example scale -- [PODS] [POLICIES] [RULES]` prints the time to read, to compile,
//! to judge a flow and to judge a request, and the memory held. Each pod has labels, and so an identity, of its own. Times
//! are those of the processor (`/proc/self/schedstat`), so that a busy machine measures the same.

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a measurement for people")]

use std::fmt::Write;
use std::hint::black_box;
use std::time::Duration;

use policy_table::{
    Access, EndpointIndex, Flow, HttpRequest, HttpScratch, Identities, Peer, Protocol, Settings,
    Snapshot, Table,
};

/// Namespaces the pods are spread over.
const NAMESPACES: usize = 100;

fn pods(count: usize) -> String {
    let mut text = String::new();
    for pod in 0..count {
        let (high, middle, low) = (pod >> 16 & 255, pod >> 8 & 255, pod & 255);
        writeln!(
            text,
            "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: p{pod}, namespace: n{}, labels: {{app: a{}, id: i{pod}}}}}\n\
             status: {{podIP: 10.{high}.{middle}.{low}}}",
            pod % NAMESPACES,
            pod % 1000
        )
        .unwrap();
    }
    text
}

/// Policies of `rules` items in all; every other one looks at requests.
fn policies(count: usize, rules: usize) -> String {
    let mut text = String::new();
    let each = rules.checked_div(count).unwrap_or(1).max(1);
    for policy in 0..count {
        writeln!(
            text,
            "---\napiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {{name: r{policy}, namespace: n{}}}\n\
             spec:\n  endpointSelector: {{matchLabels: {{app: a{}}}}}\n  ingress:",
            policy % NAMESPACES,
            policy % 1000
        )
        .unwrap();
        for rule in 0..each {
            let port = 80 + rule;
            write!(
                text,
                "\n  - fromEndpoints: [{{matchLabels: {{app: a{}}}}}]\n    toPorts: [{{ports: [{{port: \"{port}\", protocol: TCP}}]",
                (policy + rule * 100) % 1000
            )
            .unwrap();
            if policy % 2 == 0 {
                write!(
                    text,
                    ", rules: {{http: [{{method: GET, path: \"/api/v{policy}/{rule}/.*\"}}]}}"
                )
                .unwrap();
            }
            writeln!(text, "}}]").unwrap();
        }
    }
    text
}

/// Processor time used so far.
fn used() -> Duration {
    let text = std::fs::read_to_string("/proc/self/schedstat").unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}

fn timed<T>(what: &str, run: impl FnOnce() -> T) -> (T, Duration) {
    let start = used();
    let result = run();
    let took = used() - start;
    println!("{what}: {took:?}");
    (result, took)
}

fn resident() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let lines =
        status.lines().filter(|line| line.starts_with("VmHWM") || line.starts_with("VmRSS"));
    lines.collect::<Vec<_>>().join(", ").replace(['\t', ' '], "")
}

/// Lookups against one pod under `rules` rules on one port, each for a peer and a path of its own.
fn lookups(rules: usize) {
    let mut policy = String::from(
        "---\napiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: many, namespace: n0}\n\
         spec:\n  endpointSelector: {matchLabels: {app: a0}}\n  ingress:\n",
    );
    for rule in 0..rules {
        writeln!(
            policy,
            "  - fromEndpoints: [{{matchLabels: {{k8s:io.kubernetes.pod.namespace: n{}, id: i{rule}}}}}]\n    \
             toPorts: [{{ports: [{{port: \"80\", protocol: TCP}}], rules: {{http: [{{method: GET, path: \"/item/{rule}/.*\"}}]}}}}]\n  \
             - fromEndpoints: [{{matchLabels: {{k8s:io.kubernetes.pod.namespace: n{}, id: i{rule}}}}}]\n    \
             toPorts: [{{ports: [{{port: \"{}\", protocol: TCP}}]}}]",
            rule % NAMESPACES,
            rule % NAMESPACES,
            1000 + rule % 5000
        )
        .unwrap();
    }
    let cluster = pods(rules.max(10));
    let loaded = Snapshot::parse(&[("pods.yaml", &cluster), ("policy.yaml", &policy)]).unwrap();
    let table =
        Table::compile(&loaded.snapshot, &Settings::default(), &mut Identities::default(), 1);
    let destination = table.endpoint_named("n0", "p0").unwrap();
    let peer = |endpoint: EndpointIndex| Peer {
        identity: table.endpoint(endpoint).unwrap().identity,
        endpoint: Some(endpoint),
    };
    let flows: Vec<Flow> = (1..rules.min(1000))
        .map(|pod| Flow {
            source: peer(
                table
                    .endpoint_named(&format!("n{}", pod % NAMESPACES), &format!("p{pod}"))
                    .unwrap(),
            ),
            destination: peer(destination),
            protocol: Protocol::TCP,
            dst_port: if pod % 2 == 0 { 80 } else { u16::try_from(1000 + pod % 5000).unwrap() },
        })
        .collect();
    let rounds = 1_000_000 / flows.len();
    let start = used();
    for _ in 0..rounds {
        for flow in &flows {
            black_box(table.judge(black_box(flow)));
        }
    }
    let judge = (used() - start).as_nanos() / (rounds * flows.len()) as u128;
    let mut scratch = HttpScratch::default();
    let requests: Vec<_> = flows
        .iter()
        .filter_map(|flow| match table.judge(flow) {
            Access::Inspect(access) => Some(access),
            Access::Allow(_) | Access::Deny(_) | Access::Resolve(_) => None,
        })
        .zip((2..).step_by(2).map(|pod| format!("/item/{pod}/things")))
        .collect();
    let ask = |scratch: &mut HttpScratch| {
        for (access, path) in &requests {
            let request =
                HttpRequest { method: "GET", path, host: "shop.example", headers: &|_| {} };
            assert!(black_box(table.judge_http(access, black_box(&request), scratch)).is_allowed());
        }
    };
    ask(&mut scratch);
    let rounds = 200_000 / requests.len().max(1);
    let start = used();
    for _ in 0..rounds {
        ask(&mut scratch);
    }
    let http = (used() - start).as_nanos() / (rounds * requests.len()).max(1) as u128;
    println!("{rules:>6} rules: judge {judge} ns, judge_http {http} ns");
}

fn main() {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<usize>().unwrap());
    let count = arguments.next().unwrap_or(64_000);
    let policy_count = arguments.next().unwrap_or(10_000);
    let rule_count = arguments.next().unwrap_or(100_000);
    for rules in [10, 100, 1000, 10_000] {
        lookups(rules);
    }
    let (cluster, rules) = (pods(count), policies(policy_count, rule_count));
    println!(
        "{count} pods, {policy_count} policies, {rule_count} rules; {} MiB of text",
        (cluster.len() + rules.len()) >> 20
    );
    let (loaded, _) = timed("read", || {
        Snapshot::parse(&[("pods.yaml", &cluster), ("rules.yaml", &rules)]).unwrap()
    });
    println!("  {}", resident());
    let mut identities = Identities::default();
    let (table, _) = timed("compile", || {
        Table::compile(&loaded.snapshot, &Settings::default(), &mut identities, 1)
    });
    println!(
        "  {}, {} endpoints, {} rules",
        resident(),
        table.endpoints().len(),
        table.rules().count()
    );
}
