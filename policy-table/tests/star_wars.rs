//! The Star Wars policies, as published and as our own: the verdicts of the article's acts.
//!
//! The published files are read from `../shared`; where they are absent the test says so and checks the same policies as
//! written here.

#![expect(clippy::unwrap_used, reason = "a test that cannot read its input has failed")]

use std::io::Write as _;
use std::net::IpAddr;
use std::path::Path;

use policy_table::{
    Access, Direction, Flow, HttpRequest, HttpScratch, HttpVerdict, Identities, Peer, Protocol,
    Settings, Snapshot, Table,
};

const PODS: &str = r#"
apiVersion: v1
kind: Service
metadata: {name: deathstar}
spec: {clusterIP: 10.96.0.10, ports: [{port: 80}], selector: {org: empire, class: deathstar}}
---
apiVersion: v1
kind: Pod
metadata: {name: deathstar-1, labels: {org: empire, class: deathstar}}
status: {podIP: 10.0.0.1}
---
apiVersion: v1
kind: Pod
metadata: {name: deathstar-2, labels: {org: empire, class: deathstar}}
status: {podIP: 10.0.0.2}
---
apiVersion: v1
kind: Pod
metadata: {name: tiefighter, labels: {org: empire, class: tiefighter}}
status: {podIP: 10.0.0.3}
---
apiVersion: v1
kind: Pod
metadata: {name: xwing, labels: {org: alliance, class: xwing}}
status: {podIP: 10.0.0.4}
"#;

const L3_L4: &str = r#"
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: rule1}
spec:
  endpointSelector: {matchLabels: {org: empire, class: deathstar}}
  ingress:
  - fromEndpoints: [{matchLabels: {org: empire}}]
    toPorts:
    - ports: [{port: "80", protocol: TCP}]
"#;

const DENY: &str = r#"
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: empire-default-deny}
spec: {endpointSelector: {matchLabels: {org: empire}}, ingress: [{}]}
"#;

fn l7() -> String {
    format!("{L3_L4}      rules: {{http: [{{method: POST, path: /v1/request-landing}}]}}\n")
}

fn table(policies: &[&str]) -> Table {
    let mut sources = vec![("pods.yaml", PODS)];
    sources.extend(policies.iter().map(|text| ("policy.yaml", *text)));
    let loaded = Snapshot::parse(&sources).unwrap();
    Table::compile(&loaded.snapshot, &Settings::default(), &mut Identities::default(), 7)
}

fn peer(table: &Table, address: &str) -> Peer {
    let address: IpAddr = address.parse().unwrap();
    Peer { identity: table.identity_of(address), endpoint: table.endpoint_of(address) }
}

/// What curl would see: a status, or `drop` with Cilium's reason number.
fn ask(table: &Table, from: &str, port: u16, method: &str, path: &str) -> &'static str {
    let flow = Flow {
        source: peer(table, from),
        destination: peer(table, "10.0.0.1"),
        protocol: Protocol::TCP,
        dst_port: port,
    };
    let request =
        HttpRequest { method, path, host: "deathstar.default.svc.cluster.local", headers: &|_| {} };
    match table.judge(&flow) {
        Access::Allow(_) => "pass",
        Access::Deny(denial) if denial.explicit => "drop 181",
        Access::Deny(_) => "drop 133",
        Access::Resolve(_) => "no policy here speaks of DNS",
        Access::Inspect(access) => {
            match table.judge_http(&access, &request, &mut HttpScratch::default()) {
                HttpVerdict::Allow { .. } => "200",
                HttpVerdict::Deny { direction: Direction::Ingress, .. } => "403",
                HttpVerdict::Deny { .. } => "403 of the wrong side",
            }
        }
    }
}

const TIEFIGHTER: &str = "10.0.0.3";
const XWING: &str = "10.0.0.4";

fn acts(l3_l4: &str, l7: &str, deny: &str) {
    let expected = [
        (vec![], ["pass", "pass", "pass", "pass"]),
        (vec![l3_l4], ["pass", "pass", "drop 133", "drop 133"]),
        (vec![l7], ["200", "403", "drop 133", "drop 133"]),
        (vec![deny], ["drop 133", "drop 133", "drop 133", "drop 133"]),
        // The same name replaces, but both names together are a union.
        (vec![l7, deny], ["200", "403", "drop 133", "drop 133"]),
    ];
    for (act, (policies, wanted)) in expected.into_iter().enumerate() {
        let table = table(&policies);
        let seen = [
            ask(&table, TIEFIGHTER, 80, "POST", "/v1/request-landing"),
            ask(&table, TIEFIGHTER, 80, "PUT", "/v1/exhaust-port"),
            ask(&table, XWING, 80, "POST", "/v1/request-landing"),
            ask(&table, XWING, 8080, "POST", "/v1/request-landing"),
        ];
        assert_eq!(seen, wanted, "act {act}");
    }
}

#[test]
fn the_acts_have_the_article_s_verdicts() {
    acts(L3_L4, &l7(), DENY);
}

#[test]
fn the_published_policies_have_the_same_verdicts() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../shared/policies/cilium-main/examples/minikube");
    let read = |name: &str| std::fs::read_to_string(directory.join(name));
    let Ok(l3_l4) = read("sw_l3_l4_policy.yaml") else {
        let _told = writeln!(std::io::stderr(), "SKIPPED: {} is absent", directory.display());
        return;
    };
    acts(&l3_l4, &read("sw_l3_l4_l7_policy.yaml").unwrap(), &read("sw_deny_policy.yaml").unwrap());
    let loaded = Snapshot::load(&directory).unwrap_err();
    assert!(
        loaded.to_string().contains("the object is also in"),
        "two policies of one name: {loaded}"
    );
}

#[test]
fn a_denial_and_a_request_name_the_rule_and_its_line() {
    let l7 = l7();
    let table = table(&[&l7]);
    let flow = Flow {
        source: peer(&table, TIEFIGHTER),
        destination: peer(&table, "10.0.0.2"),
        protocol: Protocol::TCP,
        dst_port: 80,
    };
    let Access::Inspect(access) = table.judge(&flow) else { panic!("not inspected") };
    let cause = access.grounds().ingress.unwrap();
    assert_eq!(table.match_type(cause).to_string(), "L3-L4");
    let rule = table.rule(table.rule_of(cause).unwrap()).unwrap();
    assert_eq!(
        rule.to_string(),
        "CiliumNetworkPolicy default/rule1 spec.ingress[0] (policy.yaml:8)"
    );
    let request =
        HttpRequest { method: "POST", path: "/v1/request-landing", host: "", headers: &|_| {} };
    let HttpVerdict::Allow { ingress: Some(cause), egress: None, report: false, .. } =
        table.judge_http(&access, &request, &mut HttpScratch::default())
    else {
        panic!("not allowed by ingress")
    };
    assert_eq!(table.rule_of(cause), table.rule_of(access.grounds().ingress.unwrap()));
    assert_eq!(table.http_rule_of(cause).unwrap().method.as_ref().unwrap().text(), "POST");
}

#[test]
fn both_replicas_stand_behind_the_service() {
    let table = table(&[]);
    let service = &table.services().get(0).unwrap();
    let backends: Vec<String> = service.ports[0].backends.iter().map(ToString::to_string).collect();
    assert_eq!(backends, ["10.0.0.1:80", "10.0.0.2:80"]);
    assert_eq!(service.cluster_ips, ["10.96.0.10".parse::<IpAddr>().unwrap()]);
    let [one, two] = ["10.0.0.1", "10.0.0.2"].map(|address| peer(&table, address));
    assert_eq!(one.identity, two.identity);
    assert_ne!(one.endpoint, two.endpoint);
}

#[test]
fn an_access_of_another_epoch_lets_no_request_pass() {
    let l7 = l7();
    let old = table(&[&l7]);
    let flow = Flow {
        source: peer(&old, TIEFIGHTER),
        destination: peer(&old, "10.0.0.1"),
        protocol: Protocol::TCP,
        dst_port: 80,
    };
    let Access::Inspect(access) = old.judge(&flow) else { panic!("not inspected") };
    let loaded = Snapshot::parse(&[("pods.yaml", PODS), ("policy.yaml", &l7)]).unwrap();
    let new = Table::compile(&loaded.snapshot, &Settings::default(), &mut Identities::default(), 8);
    let request =
        HttpRequest { method: "POST", path: "/v1/request-landing", host: "", headers: &|_| {} };
    let mut scratch = HttpScratch::default();
    assert!(old.judge_http(&access, &request, &mut scratch).is_allowed());
    assert!(!new.judge_http(&access, &request, &mut scratch).is_allowed());
}
