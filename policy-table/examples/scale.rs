//! How long a large cluster takes to compile, to load and to change, and whether lookups stay flat as rules grow.
//!
//! `cargo run --release -p policy-table --example scale -- [PODS] [POLICIES] [RULES]` prints one JSON object a line: first
//! lookups under 10 to 10 000 rules, then the cluster at a sixteenth, a quarter and the whole of its size. Each pod has
//! labels, and so an identity, of its own; half of the policies look at requests. Times are those of the processor
//! (`/proc/self/schedstat`), so that a busy machine measures the same; those of changes are medians by the clock on the wall,
//! from the file on disk to the table that workers are given.

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a measurement for people")]

use std::fmt::Write;
use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use policy_table::compiled::Compiled;
use policy_table::{
    Access, Compiler, Directory, EndpointIndex, Enforcement, Flow, HttpRequest, HttpScratch,
    Identities, Peer, Protocol, Settings, Snapshot, Table,
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

fn timed<T>(run: impl FnOnce() -> T) -> (T, f64) {
    let start = used();
    let result = run();
    (result, (used() - start).as_secs_f64() * 1000.0)
}

/// The time: the processor's is counted in steps too coarse for a change.
#[expect(clippy::disallowed_methods, reason = "a measurement, not a worker")]
fn now() -> Instant {
    Instant::now()
}

/// The most memory held so far, in MiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse().ok());
    kib.unwrap_or(0) >> 10
}

/// The middle one of some times.
fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// A cluster on disk: read, compiled, written, loaded, changed.
fn cluster(count: usize, policy_count: usize, rule_count: usize) {
    let directory = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
    let (cluster, rules) = (pods(count), policies(policy_count, rule_count));
    put("pods.yaml", &cluster);
    put("rules.yaml", &rules);
    let mut files = Directory::new(directory.path());
    let mut compiler = Compiler::default();
    let (update, read) = timed(|| files.read().unwrap());
    let (table, compile) = timed(|| compiler.apply(&update, 1));
    drop(update);
    let peak_compile = peak();

    let mut change = |name: &str, text: Option<&str>| {
        match text {
            Some(text) => put(name, text),
            None => std::fs::remove_file(directory.path().join(name)).unwrap(),
        }
        let name: &Path = name.as_ref();
        let start = now();
        let update = files.read_files([name.as_os_str()]).unwrap();
        assert!(!update.is_empty());
        black_box(compiler.apply(&update, 2));
        start.elapsed().as_secs_f64() * 1000.0
    };
    let (mut pod_added, mut pod_removed, mut policy_changed) = (vec![], vec![], vec![]);
    for round in 0..21 {
        let pod = format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: new, namespace: n7, labels: {{app: a7, id: new{round}}}}}\n\
             status: {{podIP: 11.0.0.1}}\n"
        );
        pod_added.push(change("new.yaml", Some(&pod)));
        pod_removed.push(change("new.yaml", None));
        let policy = format!(
            "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {{name: new, namespace: n7}}\n\
             spec:\n  endpointSelector: {{matchLabels: {{app: a7}}}}\n  ingress:\n  \
             - fromEndpoints: [{{matchLabels: {{app: a{round}}}}}]\n    \
               toPorts: [{{ports: [{{port: \"80\", protocol: TCP}}], rules: {{http: [{{path: \"/v{round}/.*\"}}]}}}}]\n"
        );
        policy_changed.push(change("policy.yaml", Some(&policy)));
    }
    drop((table, compiler, files));

    let sources = [("pods.yaml", cluster.as_str()), ("rules.yaml", rules.as_str())];
    let (bytes, _) = Compiled::make(&sources, Enforcement::Default).unwrap();
    let load = (0..5).map(|_| {
        let (_table, took) =
            timed(|| Compiled::read(&bytes).unwrap().table(&Settings::default(), 1).unwrap());
        took
    });
    println!(
        "{{\"what\": \"cluster\", \"pods\": {count}, \"policies\": {policy_count}, \"rules\": {rule_count}, \
         \"text_mib\": {}, \"read_ms\": {read:.1}, \"compile_ms\": {compile:.1}, \"peak_mib\": {peak_compile}, \
         \"file_mib\": {}, \"load_ms\": {:.1}, \"pod_added_ms\": {:.2}, \"pod_removed_ms\": {:.2}, \
         \"policy_changed_ms\": {:.2}}}",
        (cluster.len() + rules.len()) >> 20,
        bytes.len() >> 20,
        median(load.collect()),
        median(pod_added),
        median(pod_removed),
        median(policy_changed),
    );
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
    println!(
        "{{\"what\": \"lookup\", \"rules\": {rules}, \"judge_ns\": {judge}, \"judge_http_ns\": {http}}}"
    );
}

fn main() {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<usize>().unwrap());
    let count = arguments.next().unwrap_or(64_000);
    let policy_count = arguments.next().unwrap_or(10_000);
    let rule_count = arguments.next().unwrap_or(100_000);
    for rules in [10, 100, 1000, 10_000] {
        lookups(rules);
    }
    for part in [16, 4, 1] {
        cluster(count / part, policy_count / part, rule_count / part);
    }
}
