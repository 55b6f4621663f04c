//! `toFQDNs` and `rules.dns`: what a name opens, for whom, and which names may be asked for.

use crate::lab::{HOST, Lab, NODE, PodRow, cnp};
use policy_table::Protocol;

const PODS: [PodRow<'static>; 3] = [
    ("default", "a", "{app: a}"),
    ("default", "b", "{app: a}"),
    ("default", "resolver", "{app: resolver}"),
];
const NAMED: &str = "198.51.100.1";
const OTHER: &str = "198.51.100.2";
const DENIED: &str = "133 egress";

/// The rule that lets pods ask the resolver for these names.
fn resolving(names: &str) -> String {
    format!(
        "{{toEndpoints: [{{matchLabels: {{app: resolver}}}}], \
         toPorts: [{{ports: [{{port: \"53\", protocol: ANY}}], rules: {{dns: {names}}}}}]}}"
    )
}

fn egress(items: &[&str]) -> Lab {
    Lab::new(&PODS, &[&cnp("r", "a", &format!("egress: [{}]", items.join(", ")))])
}

#[test]
fn a_name_opens_the_addresses_that_were_told_to_the_pod_and_no_other() {
    let lab = egress(&[
        &resolving("[{matchPattern: \"*\"}]"),
        "{toFQDNs: [{matchName: api.example.com}], toPorts: [{ports: [{port: \"443\"}]}]}",
    ]);
    assert_eq!(lab.tcp("a", NAMED, 443), DENIED, "nothing is known yet");
    let lab = lab.told("a", "api.example.com.", NAMED).told("a", "evil.example.com.", OTHER);
    assert_eq!(lab.tcp("a", NAMED, 443), "ok");
    assert_eq!(lab.tcp("a", NAMED, 80), DENIED, "the port is the rule's");
    assert_eq!(lab.tcp("a", OTHER, 443), DENIED, "another name");
    assert_eq!(lab.tcp("b", NAMED, 443), DENIED, "another pod was not told");
}

#[test]
fn a_name_never_opens_pods_nodes_or_the_host() {
    let mut lab = egress(&["{toFQDNs: [{matchPattern: \"*\"}]}"]);
    for address in ["b", NODE, HOST, "2001:db8::1", NAMED] {
        lab = lab.told("a", "rebound.example.com.", address);
    }
    for (address, outcome) in
        [("b", DENIED), (NODE, DENIED), (HOST, DENIED), ("2001:db8::1", "ok"), (NAMED, "ok")]
    {
        assert_eq!(lab.tcp("a", address, 80), outcome, "{address}");
    }
}

/// §7.2 `to-fqdns`, with the rules of `client-egress-l7-http-port-range.yaml`.
#[test]
fn http_rules_beside_a_name_judge_its_requests() {
    let lab = egress(&["{toFQDNs: [{matchName: one.example.com}], \
         toPorts: [{ports: [{port: \"80\", protocol: TCP}], rules: {http: [{method: GET, path: /}]}}]}"])
    .told("a", "one.example.com.", NAMED);
    assert_eq!(lab.http("a", NAMED, 80, "GET", "/"), "200");
    assert_eq!(lab.http("a", NAMED, 80, "GET", "/other"), "403 egress");
    assert_eq!(lab.http("a", OTHER, 80, "GET", "/"), DENIED);
}

#[test]
fn rules_about_the_address_and_about_its_name_add_up() {
    let get = |peers: &str, path: &str| {
        format!(
            "{{{peers}, toPorts: [{{ports: [{{port: \"80\", protocol: TCP}}], \
             rules: {{http: [{{path: {path}}}]}}}}]}}"
        )
    };
    let lab = egress(&[
        &get("toCIDR: [198.51.100.0/24]", "/cidr"),
        &get("toFQDNs: [{matchPattern: \"*.example.com\"}]", "/name"),
        &get("toFQDNs: [{matchName: www.example.org}]", "/other-name"),
    ])
    .told("a", "one.example.com.", NAMED)
    .told("a", "www.example.org.", NAMED);
    let outcomes = ["/cidr", "/name", "/other-name", "/none"]
        .map(|path| (lab.http("a", NAMED, 80, "GET", path), lab.http("a", OTHER, 80, "GET", path)));
    assert_eq!(
        outcomes,
        [
            ("200", "200"),
            ("200", "403 egress"),
            ("200", "403 egress"),
            ("403 egress", "403 egress")
        ]
    );
}

#[test]
fn a_deny_rule_about_the_address_beats_its_name() {
    let lab = Lab::new(
        &PODS,
        &[&cnp(
            "r",
            "a",
            "egress: [{toFQDNs: [{matchPattern: \"*\"}]}], egressDeny: [{toCIDR: [198.51.100.1/32]}]",
        )],
    )
    .told("a", "x.", NAMED)
    .told("a", "x.", OTHER);
    assert_eq!((lab.tcp("a", NAMED, 80), lab.tcp("a", OTHER, 80)), ("181 egress", "ok"));
}

/// §7.2 `dns-only`: DNS is answered, nothing else passes.
#[test]
fn only_the_names_of_a_dns_rule_may_be_asked_for() {
    let lab = egress(&[&resolving("[{matchName: api.example.com}, {matchPattern: \"*.svc\"}]")]);
    for (name, outcome) in [
        ("api.example.com.", "answered"),
        ("web.svc.", "answered"),
        ("evil.api.example.com.", "refused"),
        ("api.example.com.evil.", "refused"),
        (".", "refused"),
    ] {
        assert_eq!(lab.dns("a", "resolver", name), outcome, "{name}");
    }
    assert_eq!(lab.dns("a", NAMED, "api.example.com."), DENIED, "another server");
    assert_eq!(lab.tcp("a", "resolver", 53), "resolved", "ANY is TCP too");
    assert_eq!(lab.ask("a", "resolver", Protocol::UDP, 54), DENIED);
    assert_eq!(lab.tcp("a", NAMED, 80), DENIED);
}

/// As §2.4 for HTTP: a rule without names allows every query, and each peer has its own list.
#[test]
fn dns_rules_add_up_as_http_rules_do() {
    let plain = "{toEndpoints: [{matchLabels: {app: resolver}}], \
                 toPorts: [{ports: [{port: \"53\", protocol: UDP}]}]}";
    let list = resolving("[{matchName: a.com}]");
    let anyone = "{toPorts: [{ports: [{port: \"53\"}], rules: {dns: [{matchName: b.com}]}}]}";
    let rows: [(&[&str], [&str; 3]); 4] = [
        (&[&list], ["answered", "refused", DENIED]),
        (&[&list, plain], ["answered", "answered", DENIED]),
        (&[&list, anyone], ["answered", "answered", "answered"]),
        (&[anyone], ["refused", "answered", "answered"]),
    ];
    for (items, outcomes) in rows {
        let lab = egress(items);
        let seen = [("resolver", "a.com."), ("resolver", "b.com."), (NAMED, "b.com.")]
            .map(|(server, name)| lab.dns("a", server, name));
        assert_eq!(seen, outcomes, "{items:?}");
    }
}

#[test]
fn without_default_deny_a_dns_rule_only_watches() {
    let rule = resolving("[{matchName: a.com}]");
    let lab = Lab::new(
        &PODS,
        &[&cnp("r", "a", &format!("egress: [{rule}], enableDefaultDeny: {{egress: false}}"))],
    );
    assert_eq!(lab.dns("a", "resolver", "b.com."), "answered");
    assert_eq!(lab.tcp("a", NAMED, 80), "ok");
}

/// §2.4: one port cannot be read as HTTP and as DNS for one peer.
#[test]
fn http_and_dns_rules_on_one_port_deny_each_other() {
    let http = "{toEndpoints: [{matchLabels: {app: resolver}}], \
                toPorts: [{ports: [{port: \"53\", protocol: TCP}], rules: {http: [{}]}}]}";
    let lab = egress(&[&resolving("[{matchPattern: \"*\"}]"), http]);
    assert_eq!(lab.tcp("a", "resolver", 53), DENIED);
    assert_eq!(lab.dns("a", "resolver", "a.com."), "answered", "UDP has no HTTP");
    let ingress = cnp(
        "i",
        "resolver",
        "ingress: [{toPorts: [{ports: [{port: \"53\", protocol: TCP}], rules: {http: [{}]}}]}]",
    );
    let egress = cnp("e", "a", &format!("egress: [{}]", resolving("[{matchPattern: \"*\"}]")));
    let lab = Lab::new(&PODS, &[&ingress, &egress]);
    assert_eq!(lab.tcp("a", "resolver", 53), DENIED);
}
