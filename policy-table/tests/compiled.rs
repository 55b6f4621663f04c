//! A compiled snapshot on disk: what it says, and what becomes of one that is not as it was written.

#![expect(clippy::expect_used, reason = "a test that cannot go on has failed")]

use std::net::IpAddr;
use std::path::Path;

use policy_table::compiled::{Compiled, CompiledError, MAGIC, content, framed};
use policy_table::{
    Access, Enforcement, Flow, HttpRequest, HttpScratch, Identity, Names, Peer, Protocol, Settings,
    Snapshot, Table,
};

const CLUSTER: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: deathstar, labels: {org: empire, class: deathstar}}
spec: {containers: [{ports: [{name: web, containerPort: 80}]}]}
status: {podIP: 10.0.0.1}
---
apiVersion: v1
kind: Pod
metadata: {name: tiefighter, labels: {org: empire, class: tiefighter}}
status: {podIPs: [{ip: 10.0.0.2}, {ip: "fd00::2"}]}
---
apiVersion: v1
kind: Node
metadata: {name: n2}
status: {addresses: [{type: InternalIP, address: 192.168.0.2}]}
---
apiVersion: v1
kind: Service
metadata: {name: deathstar}
spec: {clusterIP: 10.96.0.1, ports: [{port: 80, targetPort: web}], selector: {class: deathstar}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: k, labels: {kubernetes.io/service-name: kubernetes}}
addressType: IPv4
endpoints: [{addresses: [192.168.0.9]}]
ports: [{name: https, port: 6443}]
"#;

const POLICY: &str = r#"
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: rule1}
spec:
  endpointSelector: {matchLabels: {class: deathstar}}
  ingress:
  - fromEndpoints: [{matchLabels: {org: empire}}]
    toPorts:
    - ports: [{port: web, protocol: TCP}]
      rules: {http: [{method: POST, path: /v1/request-landing, headers: ["X-Key: 1"]}, {path: "("}]}
  ingressDeny:
  - fromCIDRSet: [{cidr: 10.0.0.0/8, except: [10.0.0.0/9]}]
---
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: rule2}
spec:
  endpointSelector: {matchLabels: {class: tiefighter}}
  egress:
  - toEndpoints: [{}]
    toPorts:
    - ports: [{port: "53", protocol: ANY}]
      rules: {dns: [{matchPattern: "*.example.com"}]}
  - toFQDNs: [{matchName: api.example.com}]
    toPorts: [{ports: [{port: "443", endPort: 450, protocol: TCP}]}]
  - toEntities: [kube-apiserver]
"#;

const SOURCES: [(&str, &str); 2] = [("cluster.yaml", CLUSTER), ("policy.yaml", POLICY)];

fn file() -> Vec<u8> {
    Compiled::make(&SOURCES, Enforcement::Default).expect("good files").0
}

fn peer(table: &Table, address: &str) -> Peer {
    let address: IpAddr = address.parse().expect("an address");
    Peer { identity: table.identity_of(address), endpoint: table.endpoint_of(address) }
}

#[test]
fn what_is_loaded_says_what_was_compiled() {
    let compiled = Compiled::read(&file()).expect("what was written");
    let table = compiled.table(&Settings::default(), 7).expect("the same settings");
    assert_eq!(table.epoch(), 7);
    assert_eq!(compiled.policies(), 2);
    assert!(compiled.notices().iter().any(|notice| notice.starts_with("error: policy.yaml:11: ")));
    let flow = |from, port| Flow {
        source: peer(&table, from),
        destination: peer(&table, "10.0.0.1"),
        protocol: Protocol::TCP,
        dst_port: port,
    };
    let Access::Inspect(http) = table.judge(&Flow {
        source: Peer { endpoint: None, ..peer(&table, "10.0.0.2") },
        ..flow("10.0.0.2", 80)
    }) else {
        panic!("requests are judged")
    };
    let headers = |each: &mut dyn FnMut(&str, &[u8])| each("x-key", b"1");
    let request =
        HttpRequest { method: "POST", path: "/v1/request-landing", host: "", headers: &headers };
    let verdict = table.judge_http(&http, &request, &mut HttpScratch::default());
    assert!(verdict.is_allowed());
    let Access::Deny(denial) = table.judge(&flow("10.200.0.0", 80)) else { panic!("denied") };
    let rule = table.rule_of(denial.cause).and_then(|rule| table.rule(rule)).expect("a rule");
    assert_eq!(
        (&*rule.file, rule.line, rule.field.as_str()),
        ("policy.yaml", 13, "spec.ingressDeny[0]")
    );
    let pod = table.endpoint_named("default", "tiefighter").expect("a pod");
    let names = table.names_of(pod, "api.example.com.");
    assert_ne!(names, Names::NONE);
    let told = Flow { source: peer(&table, "10.0.0.2"), ..flow("10.0.0.2", 445) };
    let told = Flow { destination: peer(&table, "8.8.8.8"), ..told };
    assert!(matches!(table.judge_named(&told, &names), Access::Allow(_)));
    assert!(matches!(table.judge(&told), Access::Deny(_)));
    let service = table.services().get(0).expect("a service");
    assert_eq!(service.ports[0].backends, ["10.0.0.1:80".parse().expect("an address")]);
}

#[test]
fn the_files_in_it_are_those_it_was_made_of() {
    let compiled = Compiled::read(&file()).expect("what was written");
    assert_eq!(compiled.sources().collect::<Vec<_>>(), SOURCES);
    assert_eq!(compiled.snapshot().expect("good files").snapshot.policies.len(), 2);
}

#[test]
fn the_same_files_make_the_same_bytes() {
    assert_eq!(file(), file());
}

#[test]
fn other_settings_compile_the_files_again() {
    let compiled = Compiled::read(&file()).expect("what was written");
    let own = |address: &str| Settings {
        host_addresses: vec![address.parse().expect("an address")],
        ..Settings::default()
    };
    // The node's own address is known to the node only, and needs nothing compiled.
    let settings = own("192.168.0.2");
    assert!(compiled.is_made_for(&settings));
    let table = compiled.table(&settings, 1).expect("the same settings");
    assert_eq!(table.identity_of(settings.host_addresses[0]), Identity::HOST);
    // Where the API server runs, `host` is `kube-apiserver` too.
    let settings = own("192.168.0.9");
    assert!(!compiled.is_made_for(&settings));
    let table = compiled.table(&settings, 1).expect("good files");
    let flow = Flow {
        source: peer(&table, "10.0.0.2"),
        destination: peer(&table, "192.168.0.9"),
        protocol: Protocol::TCP,
        dst_port: 6443,
    };
    assert!(matches!(table.judge(&flow), Access::Allow(_)));
    let never = Settings { enforcement: Enforcement::Never, ..Settings::default() };
    let table = compiled.table(&never, 1).expect("good files");
    let open = Flow { dst_port: 1, destination: peer(&table, "10.0.0.1"), ..flow };
    assert!(matches!(table.judge(&open), Access::Allow(_)));
}

#[test]
fn every_flipped_byte_and_every_prefix_is_refused() {
    let file = file();
    for place in 0..file.len() {
        let mut damaged = file.clone();
        damaged[place] ^= 0x10;
        assert!(Compiled::read(&damaged).is_err(), "byte {place}");
        assert!(Compiled::read(&file[..place]).is_err(), "{place} bytes");
    }
    let mut longer = file;
    longer.push(0);
    assert!(matches!(Compiled::read(&longer), Err(CompiledError::Length { .. })));
}

#[test]
fn a_refusal_says_what_is_wrong_and_what_to_do() {
    let file = file();
    let said = |bytes: &[u8]| Compiled::read(bytes).expect_err("refused").to_string();
    assert!(said(b"apiVersion: v1").contains("blastdoor policy compile DIR -o FILE"));
    let mut other = file.clone();
    other[MAGIC.len()] = 9;
    assert!(said(&other).contains("format 9, this one reads 2"), "{}", said(&other));
    assert!(said(&file[..file.len() - 5]).contains("truncated"));
    let mut damaged = file.clone();
    *damaged.last_mut().expect("not empty") ^= 1;
    assert_eq!(said(&damaged), "the checksum of its table is wrong: damaged; compile it again");
}

/// With right checksums, what is read must still hold together.
#[test]
fn content_that_makes_no_sense_is_refused_whatever_its_checksum() {
    let whole = content(&file()).expect("what was written");
    assert_eq!(framed(&whole), file());
    let mut refused = 0;
    for place in 8..whole.len() {
        let mut damaged = whole.clone();
        damaged[place] ^= 0x81;
        refused += usize::from(read_and_ask(&framed(&damaged)).is_err());
    }
    assert!(refused > whole.len() / 10, "{refused} of {} were refused", whole.len());
}

/// The seeds and crashes of the fuzz target, each read and asked as the target does.
#[test]
fn the_fuzz_corpus_is_read_or_refused() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/snapshot_read");
    let mut read = [0, 0];
    for entry in std::fs::read_dir(&folder).expect("a corpus") {
        let bytes = std::fs::read(entry.expect("an entry").path()).expect("a seed");
        let good = read_and_ask(&framed(&bytes)).is_ok();
        read[usize::from(good)] += 1;
    }
    assert!(read[0] > 2 && read[1] > 5, "{} has {read:?}, refused and good", folder.display());
}

/// Whatever could be read answers every question.
fn read_and_ask(file: &[u8]) -> Result<(), CompiledError> {
    let compiled = Compiled::read(file)?;
    let Ok(table) = compiled.table(&Settings::default(), 1) else { return Ok(()) };
    let _snapshot: Option<Snapshot> = compiled.snapshot().ok().map(|loaded| loaded.snapshot);
    let mut scratch = HttpScratch::default();
    let addresses: Vec<IpAddr> =
        table.endpoints().iter().flat_map(|endpoint| endpoint.addresses.clone()).collect();
    for source in addresses.iter().take(4) {
        for destination in addresses.iter().take(4) {
            for (protocol, dst_port) in
                [(Protocol::TCP, 80), (Protocol::UDP, 53), (Protocol(47), 0)]
            {
                let peer = |address: &IpAddr| Peer {
                    identity: table.identity_of(*address),
                    endpoint: table.endpoint_of(*address),
                };
                let flow = Flow {
                    source: peer(source),
                    destination: peer(destination),
                    protocol,
                    dst_port,
                };
                let access = table.judge(&flow);
                if let Access::Inspect(http) = access {
                    let request =
                        HttpRequest { method: "GET", path: "/", host: "h", headers: &|_| {} };
                    table.judge_http(&http, &request, &mut scratch);
                }
                for cause in
                    access.grounds().into_iter().flat_map(|g| [g.egress, g.ingress]).flatten()
                {
                    let _rule = table.rule_of(cause).and_then(|rule| table.rule(rule));
                    let _matched = table.match_type(cause);
                }
            }
        }
    }
    Ok(())
}
