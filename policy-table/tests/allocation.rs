//! Judging allocates nothing once the automata have seen the traffic.
//!
//! A counting allocator stands in for the system's; the file holds one test, so nothing else runs beside it.

#![expect(
    unsafe_code,
    reason = "an allocator is an unsafe trait; this one only counts and hands on"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use policy_table::{
    Access, DnsVerdict, Flow, HttpRequest, HttpScratch, Identities, Peer, Protocol, Settings,
    Snapshot, Table,
};

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

struct Counting;

// SAFETY: every method hands its arguments on to the system's allocator unchanged, which keeps the trait's contract.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps `alloc`'s contract, which is the same one.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: `pointer` came from `System.alloc` with this layout, for `alloc` above is the only source.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const CLUSTER: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: a, labels: {app: a}}
status: {podIP: 10.0.0.1}
---
apiVersion: v1
kind: Pod
metadata: {name: s, labels: {app: s}}
status: {podIP: 10.0.0.2}
---
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: r}
spec:
  endpointSelector: {matchLabels: {app: s}}
  ingress:
  - fromEndpoints: [{matchLabels: {app: a}}]
    toPorts:
    - ports: [{port: "80", endPort: 90, protocol: TCP}]
      rules: {http: [{method: GET, path: "/a/[^/]*(\\?.*)?"}, {path: "/b.*", headers: ["X-K: 1,2"]}]}
  - fromCIDRSet: [{cidr: 8.0.0.0/8, except: [8.8.0.0/16]}]
"#;

#[test]
fn judging_allocates_nothing_once_it_is_warm() {
    let loaded = Snapshot::parse(&[("cluster.yaml", CLUSTER)]).unwrap();
    let table =
        Table::compile(&loaded.snapshot, &Settings::default(), &mut Identities::default(), 1);
    let peer = |address: &str| {
        let address = address.parse().unwrap();
        Peer { identity: table.identity_of(address), endpoint: table.endpoint_of(address) }
    };
    let flows: Vec<Flow> = ["10.0.0.1", "8.9.9.9", "8.8.8.8", "2001:db8::1"]
        .into_iter()
        .flat_map(|from| [80, 81, 443].map(|port| (from, port)))
        .map(|(from, dst_port)| Flow {
            source: peer(from),
            destination: peer("10.0.0.2"),
            protocol: Protocol::TCP,
            dst_port,
        })
        .collect();
    let mut scratch = HttpScratch::default();
    let headers = |each: &mut dyn FnMut(&str, &[u8])| {
        each("Host", b"h");
        each("x-k", b"1");
        each("X-K", b"2");
    };
    let round = |scratch: &mut HttpScratch| {
        let (mut allowed, mut denied) = (0, 0);
        for flow in &flows {
            match table.judge(flow) {
                Access::Allow(_) => allowed += 1,
                Access::Deny(denial) => {
                    denied += usize::from(table.rule_of(denial.cause).is_none())
                }
                Access::Resolve(access) => {
                    for name in ["api.example.com.", "evil.example.com."] {
                        match table.judge_dns(&access, name) {
                            DnsVerdict::Allow(_) | DnsVerdict::Audit(_) => allowed += 1,
                            DnsVerdict::Deny(_) => denied += 1,
                        }
                    }
                }
                Access::Inspect(access) => {
                    for path in ["/a/x?y=z", "/a/x/y", "/b", "/c"] {
                        let request =
                            HttpRequest { method: "GET", path, host: "h", headers: &headers };
                        if table.judge_http(&access, &request, scratch).is_allowed() {
                            allowed += 1;
                        } else {
                            denied += 1;
                        }
                    }
                }
            }
        }
        (allowed, denied)
    };
    let cold = round(&mut scratch);
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    let mut warm = (0, 0);
    for _ in 0..1000 {
        warm = round(&mut scratch);
    }
    let after = ALLOCATIONS.load(Ordering::Relaxed);
    assert_eq!(warm, cold);
    assert_eq!(warm, (7, 11), "the rounds exercise every kind of answer");
    assert_eq!(after - before, 0, "allocations in 1000 warm rounds");
}
