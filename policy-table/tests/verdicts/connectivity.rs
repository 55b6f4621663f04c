//! Cilium's connectivity tests, as far as a policy decides them: published manifests, the tests' pods, expected outcomes
//! (`../shared/cilium-semantics.md` §7.2).

use std::io::Write as _;
use std::path::Path;

use crate::lab::{HOST, Lab, PodRow, app, cnp};
use policy_table::Protocol;

const CLIENT: &str = "cilium-test/client";
const CLIENT2: &str = "cilium-test/client2";
const ECHO: &str = "cilium-test/echo";
const WORLD: &str = "8.8.8.8";

const PODS: [PodRow<'static>; 3] = [
    ("cilium-test", "client", "{kind: client, name: client}"),
    ("cilium-test", "client2", "{kind: client, name: client2, other: client}"),
    ("cilium-test", "echo", "{kind: echo, name: echo-same-node, other: echo}"),
];

/// What is asked: from, to, `tcp/8080` or `ping` or `GET /path`.
type Ask = (&'static str, &'static str, &'static str);

fn outcome(lab: &Lab, (from, to, what): Ask) -> &'static str {
    match what {
        "ping" => lab.ask(from, to, Protocol::ICMP, 8),
        request if request.contains(" /") => {
            let (method, path) = request.split_once(' ').unwrap_or_default();
            lab.http(from, to, 8080, method, path)
        }
        port => lab.tcp(from, to, port.trim_start_matches("tcp/").parse().unwrap_or_default()),
    }
}

/// Manifests in force together, and what comes out.
type Row = (&'static [&'static str], &'static [(Ask, &'static str)]);

const ROWS: [Row; 17] = [
    (
        &[],
        &[
            ((CLIENT, ECHO, "tcp/8080"), "ok"),
            ((HOST, ECHO, "tcp/8080"), "ok"),
            ((CLIENT, WORLD, "tcp/443"), "ok"),
        ],
    ),
    (
        &["deny-all-egress.yaml"],
        &[
            ((CLIENT, ECHO, "tcp/8080"), "133 egress"),
            ((CLIENT, WORLD, "tcp/443"), "133 egress"),
            ((CLIENT, HOST, "ping"), "133 egress"),
        ],
    ),
    (
        &["allow-all-except-world.yaml"],
        &[
            ((CLIENT, ECHO, "tcp/8080"), "ok"),
            ((CLIENT, CLIENT2, "ping"), "ok"),
            ((CLIENT, HOST, "ping"), "ok"),
            ((CLIENT, WORLD, "tcp/443"), "133 egress"),
        ],
    ),
    (
        &["allow-cluster-entity.yaml"],
        &[((CLIENT, ECHO, "tcp/8080"), "ok"), ((CLIENT2, ECHO, "tcp/8080"), "ok")],
    ),
    (
        &["allow-host-entity-ingress.yaml"],
        &[((HOST, ECHO, "tcp/8080"), "ok"), ((HOST, CLIENT, "ping"), "ok")],
    ),
    (
        &["client-egress-to-entities-world.yaml"],
        &[((CLIENT, WORLD, "tcp/80"), "ok"), ((CLIENT, WORLD, "tcp/443"), "133 egress")],
    ),
    (
        &["echo-ingress-from-other-client.yaml"],
        &[
            ((CLIENT2, ECHO, "tcp/8080"), "ok"),
            ((CLIENT, ECHO, "tcp/8080"), "133 ingress"),
            ((WORLD, ECHO, "tcp/8080"), "133 ingress"),
        ],
    ),
    (
        &["echo-ingress-from-other-client-knp.yaml"],
        &[((CLIENT2, ECHO, "tcp/8080"), "ok"), ((CLIENT, ECHO, "tcp/8080"), "133 ingress")],
    ),
    (
        &["client-ingress-from-client2.yaml"],
        &[((CLIENT2, CLIENT, "ping"), "ok"), ((CLIENT, CLIENT2, "ping"), "133 ingress")],
    ),
    (
        &["echo-ingress-icmp.yaml"],
        &[((CLIENT2, CLIENT, "ping"), "ok"), ((ECHO, CLIENT, "ping"), "133 ingress")],
    ),
    (
        &["allow-all-ingress", "echo-ingress-icmp-deny.yaml"],
        &[((CLIENT2, CLIENT, "ping"), "181 ingress"), ((CLIENT, ECHO, "tcp/8080"), "ok")],
    ),
    (
        &["client-egress-to-echo-expression.yaml"],
        &[((CLIENT2, ECHO, "tcp/8080"), "ok"), ((CLIENT2, WORLD, "tcp/8080"), "133 egress")],
    ),
    (
        &["client-egress-to-echo-expression-knp.yaml"],
        &[((CLIENT2, ECHO, "tcp/8080"), "ok"), ((CLIENT2, WORLD, "tcp/443"), "133 egress")],
    ),
    (
        &["allow-all-egress.yaml", "client-egress-to-echo-deny.yaml"],
        &[((CLIENT, ECHO, "tcp/8080"), "181 egress"), ((CLIENT, CLIENT2, "tcp/8080"), "ok")],
    ),
    (
        &["allow-all-egress.yaml", "client-egress-to-echo-expression-deny-port-range.yaml"],
        &[((CLIENT, ECHO, "tcp/8080"), "181 egress"), ((CLIENT2, ECHO, "tcp/8080"), "ok")],
    ),
    (
        &["echo-ingress-l7-http.yaml"],
        &[
            ((CLIENT2, ECHO, "GET /"), "200"),
            ((CLIENT2, ECHO, "GET /public"), "200"),
            ((CLIENT2, ECHO, "GET /private"), "403 ingress"),
            ((CLIENT, ECHO, "GET /public"), "133 ingress"),
        ],
    ),
    (
        &["client-egress-l7-http-method.yaml"],
        &[
            ((CLIENT2, ECHO, "POST /public"), "200"),
            ((CLIENT2, ECHO, "POST /private"), "200"),
            ((CLIENT2, ECHO, "GET /public"), "403 egress"),
            ((CLIENT2, CLIENT, "tcp/8080"), "133 egress"),
        ],
    ),
];

#[test]
fn the_connectivity_tests_have_their_published_outcomes() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../shared/policies/cilium-main/cilium-cli/connectivity/builder/manifests");
    if !directory.is_dir() {
        let _told = writeln!(std::io::stderr(), "SKIPPED: {} is absent", directory.display());
        return;
    }
    let mut asked = 0;
    for (files, expected) in ROWS {
        let texts: Vec<String> = files
            .iter()
            .map(|file| match *file {
                "allow-all-ingress" => cnp("base", "none", "ingress: [{fromEntities: [all]}]")
                    .replace("{app: none}", "{}")
                    .replace("{name: base}", "{name: base, namespace: cilium-test}"),
                file => std::fs::read_to_string(directory.join(file)).unwrap(),
            })
            // The test runner installs them into its own namespace.
            .map(|text| {
                text.replacen("\nmetadata:\n", "\nmetadata:\n  namespace: cilium-test\n", 1)
            })
            .collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let lab = Lab::new(&PODS, &texts);
        for (ask, wanted) in expected {
            assert_eq!(outcome(&lab, *ask), *wanted, "{files:?} {ask:?}");
            asked += 1;
        }
        assert_eq!(lab.tcp(CLIENT, CLIENT, 8080), "ok", "a pod reaches itself under any policy");
    }
    println!("{asked} outcomes of {} policy sets", ROWS.len());
}

#[test]
fn a_secret_header_opens_the_private_path() {
    let rule = "{path: /private, headers: [\"X-Very-Secret-Token: 42\"]}";
    let policy = cnp(
        "r",
        "s",
        &format!(
            "ingress: [{{fromEndpoints: {}, toPorts: [{{ports: [{{port: \"80\", protocol: TCP}}], rules: {{http: [{rule}]}}}}]}}]",
            app("c")
        ),
    );
    let lab = Lab::new(&[("default", "c", "{app: c}"), ("default", "s", "{app: s}")], &[&policy]);
    let ask = |headers: &[(&str, &str)]| {
        lab.request("c", "s", Protocol::TCP, 80, ("GET", "/private", "", headers))
    };
    assert_eq!(ask(&[]), "403 ingress");
    assert_eq!(ask(&[("x-very-secret-token", "42")]), "200");
    assert_eq!(ask(&[("x-very-secret-token", "421")]), "403 ingress");
    assert_eq!(ask(&[("x-very-secret-token", "42"), ("x-very-secret-token", "42")]), "403 ingress");
}
