//! NetworkPolicy: the truth table of a peer, and the upstream cases on the grid of namespaces x, y, z and pods a, b, c.

use std::collections::BTreeSet;

use crate::lab::{HOST, Lab, PodRow};
use policy_table::Protocol;

const PODS: [PodRow<'static>; 9] = [
    ("x", "a", "{pod: a}"),
    ("x", "b", "{pod: b}"),
    ("x", "c", "{pod: c}"),
    ("y", "a", "{pod: a}"),
    ("y", "b", "{pod: b}"),
    ("y", "c", "{pod: c}"),
    ("z", "a", "{pod: a}"),
    ("z", "b", "{pod: b}"),
    ("z", "c", "{pod: c}"),
];
const NAMES: [&str; 9] = ["x/a", "x/b", "x/c", "y/a", "y/b", "y/c", "z/a", "z/b", "z/c"];
const SPACES: &str = "apiVersion: v1\nkind: Namespace\nmetadata: {name: x, labels: {ns: x}}\n---\n\
                      apiVersion: v1\nkind: Namespace\nmetadata: {name: y, labels: {ns: y}}\n---\n\
                      apiVersion: v1\nkind: Namespace\nmetadata: {name: z, labels: {ns: z}}\n";

fn policy(name: &str, namespace: &str, spec: &str) -> String {
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
         spec: {{{spec}}}\n"
    )
}

fn lab(policies: &[String]) -> Lab {
    let mut texts = vec![SPACES];
    texts.extend(policies.iter().map(String::as_str));
    Lab::new(&PODS, &texts)
}

/// Who of the grid and beyond reaches `to` on TCP 80.
fn reach(lab: &Lab, to: &str) -> BTreeSet<&'static str> {
    let others = [HOST, "8.8.8.8"];
    NAMES
        .into_iter()
        .chain(others)
        .filter(|from| *from != to && lab.tcp(from, to, 80) == "ok")
        .collect()
}

fn set(names: &[&'static str]) -> BTreeSet<&'static str> {
    // The node always reaches its pods.
    names.iter().copied().chain([HOST]).collect()
}

/// §7.4: the nine combinations of pod and namespace selector, and ipBlock.
#[test]
fn the_truth_table_of_a_peer() {
    let everyone = ["x/b", "x/c", "y/a", "y/b", "y/c", "z/a", "z/b", "z/c"];
    let rows: [(&str, &[&str]); 10] = [
        ("{podSelector: {}}", &["x/b", "x/c"]),
        ("{podSelector: {matchLabels: {pod: b}}}", &["x/b"]),
        ("{namespaceSelector: {}}", &everyone),
        ("{podSelector: {}, namespaceSelector: {}}", &everyone),
        ("{namespaceSelector: {matchLabels: {ns: y}}}", &["y/a", "y/b", "y/c"]),
        ("{podSelector: {}, namespaceSelector: {matchLabels: {ns: y}}}", &["y/a", "y/b", "y/c"]),
        ("{podSelector: {matchLabels: {pod: b}}, namespaceSelector: {}}", &["x/b", "y/b", "z/b"]),
        (
            "{podSelector: {matchLabels: {pod: b}}, namespaceSelector: {matchLabels: {ns: y}}}",
            &["y/b"],
        ),
        ("{ipBlock: {cidr: 10.0.0.0/8}}", &[]),
        ("{ipBlock: {cidr: 0.0.0.0/0, except: [10.0.0.0/8]}}", &["8.8.8.8"]),
    ];
    for (peer, expected) in rows {
        let spec =
            format!("podSelector: {{matchLabels: {{pod: a}}}}, ingress: [{{from: [{peer}]}}]");
        assert_eq!(reach(&lab(&[policy("p", "x", &spec)]), "x/a"), set(expected), "{peer}");
    }
}

#[test]
fn the_upstream_cases() {
    let a = "podSelector: {matchLabels: {pod: a}}";
    let all_of_x = ["x/b", "x/c"];
    let rows: [(&str, Vec<String>, &[&str]); 12] = [
        (
            "default deny ingress",
            vec![policy("p", "x", "podSelector: {}, policyTypes: [Ingress]")],
            &[],
        ),
        ("no rules, no types", vec![policy("p", "x", "podSelector: {}")], &[]),
        (
            "allow all",
            vec![policy("p", "x", "podSelector: {}, ingress: [{}]")],
            &["x/b", "x/c", "y/a", "y/b", "y/c", "z/a", "z/b", "z/c", "8.8.8.8"],
        ),
        (
            "pod selector",
            vec![policy("p", "x", &format!("{a}, ingress: [{{from: [{{podSelector: {{}}}}]}}]"))],
            &all_of_x,
        ),
        (
            "either or",
            vec![policy(
                "p",
                "x",
                &format!(
                    "{a}, ingress: [{{from: [{{podSelector: {{matchLabels: {{pod: b}}}}}}, {{namespaceSelector: {{matchLabels: {{ns: y}}}}}}]}}]"
                ),
            )],
            &["x/b", "y/a", "y/b", "y/c"],
        ),
        (
            "match expressions of namespaces",
            vec![policy(
                "p",
                "x",
                &format!(
                    "{a}, ingress: [{{from: [{{namespaceSelector: {{matchExpressions: [{{key: ns, operator: NotIn, values: [x]}}]}}}}]}}]"
                ),
            )],
            &["y/a", "y/b", "y/c", "z/a", "z/b", "z/c"],
        ),
        (
            "match expressions of pods",
            vec![policy(
                "p",
                "x",
                &format!(
                    "{a}, ingress: [{{from: [{{podSelector: {{matchExpressions: [{{key: pod, operator: In, values: [b, q]}}]}}}}]}}]"
                ),
            )],
            &["x/b"],
        ),
        (
            "default namespace label",
            vec![policy(
                "p",
                "x",
                &format!(
                    "{a}, ingress: [{{from: [{{namespaceSelector: {{matchLabels: {{kubernetes.io/metadata.name: z}}}}}}]}}]"
                ),
            )],
            &["z/a", "z/b", "z/c"],
        ),
        (
            "stacked: deny all and allow one",
            vec![
                policy("p", "x", "podSelector: {}"),
                policy(
                    "q",
                    "x",
                    &format!(
                        "{a}, ingress: [{{from: [{{podSelector: {{matchLabels: {{pod: c}}}}}}]}}]"
                    ),
                ),
            ],
            &["x/c"],
        ),
        (
            "a policy of another namespace",
            vec![policy("p", "y", "podSelector: {}")],
            &["x/b", "x/c", "y/a", "y/b", "y/c", "z/a", "z/b", "z/c", "8.8.8.8"],
        ),
        (
            "from is empty",
            vec![policy("p", "x", &format!("{a}, ingress: [{{from: []}}]"))],
            &["x/b", "x/c", "y/a", "y/b", "y/c", "z/a", "z/b", "z/c", "8.8.8.8"],
        ),
        (
            "except, overlapped by another allow",
            vec![policy(
                "p",
                "x",
                &format!(
                    "{a}, ingress: [{{from: [{{ipBlock: {{cidr: 8.0.0.0/8, except: [8.8.8.0/24]}}}}, {{ipBlock: {{cidr: 8.8.8.8/32}}}}]}}]"
                ),
            )],
            &["8.8.8.8"],
        ),
    ];
    for (what, policies, expected) in rows {
        assert_eq!(reach(&lab(&policies), "x/a"), set(expected), "{what}");
    }
}

#[test]
fn ports_and_protocols() {
    let rows: [(&str, [&str; 6]); 7] = [
        // TCP 80, TCP 81, UDP 80, SCTP 80, TCP 8080, ICMP
        ("[{port: 80}]", ["ok", "no", "no", "no", "no", "no"]),
        ("[{port: 80, protocol: UDP}]", ["no", "no", "ok", "no", "no", "no"]),
        ("[{port: 80, protocol: SCTP}]", ["no", "no", "no", "ok", "no", "no"]),
        ("[{port: 80, endPort: 81}]", ["ok", "ok", "no", "no", "no", "no"]),
        ("[{protocol: TCP}]", ["ok", "ok", "no", "no", "ok", "no"]),
        ("[{port: http-8080}]", ["no", "no", "no", "no", "ok", "no"]),
        ("[]", ["ok", "ok", "ok", "ok", "ok", "ok"]),
    ];
    for (ports, expected) in rows {
        let lab =
            lab(&[policy("p", "x", &format!("podSelector: {{}}, ingress: [{{ports: {ports}}}]"))]);
        let asked = [
            (Protocol::TCP, 80),
            (Protocol::TCP, 81),
            (Protocol::UDP, 80),
            (Protocol::SCTP, 80),
            (Protocol::TCP, 8080),
            (Protocol::ICMP, 8),
        ];
        let seen =
            asked.map(
                |(protocol, port)| {
                    if lab.ask("y/a", "x/a", protocol, port) == "ok" { "ok" } else { "no" }
                },
            );
        assert_eq!(seen, expected, "{ports}");
    }
}

#[test]
fn egress_and_policy_types() {
    let one = "egress: [{to: [{podSelector: {matchLabels: {pod: b}}}]}]";
    let rows: [(&str, [&str; 3]); 5] = [
        // x/a -> x/b, x/a -> x/c, y/a -> x/a
        ("policyTypes: [Egress]", ["133 egress", "133 egress", "ok"]),
        ("policyTypes: [Ingress, Egress]", ["133 egress", "133 egress", "133 ingress"]),
        (&format!("policyTypes: [Egress], {one}"), ["ok", "133 egress", "ok"]),
        // Rules for egress count though the type is not named, and ingress is closed as always.
        (one, ["ok", "133 egress", "133 ingress"]),
        ("policyTypes: [Egress], egress: [{}]", ["ok", "ok", "ok"]),
    ];
    for (rest, expected) in rows {
        let lab =
            lab(&[policy("p", "x", &format!("podSelector: {{matchLabels: {{pod: a}}}}, {rest}"))]);
        let seen = [("x/a", "x/b"), ("x/a", "x/c"), ("y/a", "x/a")]
            .map(|(from, to)| lab.tcp(from, to, 80));
        assert_eq!(seen, expected, "{rest}");
    }
}

#[test]
fn a_cilium_deny_overrules_a_kubernetes_allow() {
    let deny = "apiVersion: cilium.io/v2\nkind: CiliumClusterwideNetworkPolicy\nmetadata: {name: d}\n\
                spec: {endpointSelector: {matchLabels: {pod: a}}, ingressDeny: [{fromEndpoints: [{matchLabels: {pod: b}}]}]}\n";
    let lab = lab(&[policy("p", "x", "podSelector: {}, ingress: [{}]"), deny.to_owned()]);
    assert_eq!(
        ["x/b", "y/b", "x/c"].map(|from| lab.tcp(from, "x/a", 80)),
        ["181 ingress", "181 ingress", "ok"]
    );
}
