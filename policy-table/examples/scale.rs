//! How long a large cluster takes to compile, to load and to change, and whether lookups stay flat as rules grow.
//!
//! `cargo run --release -p policy-table --example scale -- [PODS] [POLICIES] [RULES]` prints one JSON object a line: first
//! lookups under 10 to 10 000 rules, then the cluster at a sixteenth, a quarter and the whole of its size. Each pod has
//! labels, and so an identity, of its own; half of the policies look at requests. Times are those of the processor
//! (`/proc/self/schedstat`), so that a busy machine measures the same; those of changes are medians by the clock on the wall,
//! from the file on disk to the table that workers are given.
//!
//! Lookups are timed three times: against one pod, whose part of the table stays in the nearest cache; in the whole cluster
//! against the pods of one node, from all their peers, which is what a worker sees: pods elsewhere are no endpoints there, as
//! their own node judges what they may send; and between any two pods, as if all of them ran on one node: then nearly every
//! read is one of main memory.

#![expect(
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a measurement for people"
)]

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

/// Applications the pods are of.
const APPS: usize = 1000;

/// Pods of one node: as many as Kubernetes places on one.
const NODE: usize = 110;

fn pods(count: usize) -> String {
    let mut text = String::new();
    for pod in 0..count {
        let (high, middle, low) = (pod >> 16 & 255, pod >> 8 & 255, pod & 255);
        writeln!(
            text,
            "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: p{pod}, namespace: n{}, labels: {{app: a{}, id: i{pod}}}}}\n\
             status: {{podIP: 10.{high}.{middle}.{low}}}",
            pod % NAMESPACES,
            pod % APPS
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
            policy % APPS
        )
        .unwrap();
        for rule in 0..each {
            let port = 80 + rule;
            write!(
                text,
                "\n  - fromEndpoints: [{{matchLabels: {{app: a{}}}}}]\n    toPorts: [{{ports: [{{port: \"{port}\", protocol: TCP}}]",
                (policy + rule * 100) % APPS
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
    if count >= APPS {
        cluster_lookups(&table, count, policy_count, rule_count);
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
    let flows: Vec<(Flow, String)> = (1..rules.min(1000))
        .map(|pod| {
            let name = (format!("n{}", pod % NAMESPACES), format!("p{pod}"));
            let source = peer(table.endpoint_named(&name.0, &name.1).unwrap());
            let port = if pod % 2 == 0 { 80 } else { 1000 + pod % 5000 };
            let dst_port = u16::try_from(port).unwrap();
            let destination = peer(destination);
            let flow = Flow { source, destination, protocol: Protocol::TCP, dst_port };
            (flow, format!("/item/{pod}/things"))
        })
        .collect();
    let (judge, http) = lookup_times(&table, &flows);
    println!(
        "{{\"what\": \"lookup\", \"rules\": {rules}, \"judge_ns\": {judge}, \"judge_http_ns\": {http}}}"
    );
}

/// Lookups in a whole cluster of a pod of each application at least, of flows and requests that its rules allow.
fn cluster_lookups(table: &Table, count: usize, policy_count: usize, rule_count: usize) {
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut below = |limit: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        usize::try_from(seed >> 33).unwrap() % limit
    };
    let peer = |pod: usize, here: usize| {
        let name = (format!("n{}", pod % NAMESPACES), format!("p{pod}"));
        let endpoint = table.endpoint_named(&name.0, &name.1).unwrap();
        let identity = table.endpoint(endpoint).unwrap().identity;
        Peer { identity, endpoint: (pod < here).then_some(endpoint) }
    };
    let each = rule_count.checked_div(policy_count).unwrap_or(1).max(1);
    for (whose, pods) in [("node", count.min(NODE)), ("cluster", count)] {
        let mut flow = |_| {
            // The policies of an app are a thousand apart, and so are its pods.
            let (app, rule) = (below(pods.min(policy_count).min(APPS)), below(each));
            let mut one_of =
                |count: usize, app: usize| app + APPS * below((count - app).div_ceil(APPS));
            let policy = one_of(policy_count, app);
            let (source, destination) =
                (one_of(count, (policy + rule * 100) % APPS), one_of(pods, app));
            let (source, destination) = (peer(source, pods), peer(destination, pods));
            let dst_port = u16::try_from(80 + rule).unwrap();
            let flow = Flow { source, destination, protocol: Protocol::TCP, dst_port };
            (flow, format!("/api/v{policy}/{rule}/things"))
        };
        let flows: Vec<(Flow, String)> = (0..count).map(&mut flow).collect();
        let (judge, http) = lookup_times(table, &flows);
        println!(
            "{{\"what\": \"lookup\", \"pods\": {count}, \"policies\": {policy_count}, \"rules\": {rule_count}, \
             \"of\": \"{whose}\", \"judge_ns\": {judge}, \"judge_http_ns\": {http}}}"
        );
    }
}

/// The nanoseconds of one `judge` of these flows, and of one `judge_http` of the paths of those that are inspected.
fn lookup_times(table: &Table, flows: &[(Flow, String)]) -> (u128, u128) {
    let each = |count: usize, times: usize, run: &mut dyn FnMut()| {
        let rounds = times.div_ceil(count);
        run();
        let start = used();
        (0..rounds).for_each(|_| run());
        (used() - start).as_nanos() / (rounds * count) as u128
    };
    let (questions, paths): (Vec<Flow>, Vec<&String>) =
        flows.iter().map(|(flow, path)| (*flow, path)).unzip();
    let judge = each(questions.len(), 5_000_000, &mut || {
        for flow in &questions {
            black_box(table.judge(black_box(flow)));
        }
    });
    let mut requests = Vec::new();
    for (flow, path) in questions.iter().zip(paths) {
        match table.judge(flow) {
            Access::Inspect(access) => requests.push((access, path)),
            Access::Allow(_) => {}
            Access::Deny(_) | Access::Resolve(_) => panic!("{flow:?} is allowed"),
        }
    }
    let mut scratch = HttpScratch::default();
    let http = each(requests.len(), 1_000_000, &mut || {
        for (access, path) in &requests {
            let request =
                HttpRequest { method: "GET", path, host: "shop.example", headers: &|_| {} };
            let verdict = table.judge_http(access, black_box(&request), &mut scratch);
            assert!(black_box(verdict).is_allowed());
        }
    });
    (judge, http)
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
