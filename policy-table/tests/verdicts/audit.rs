//! Audit mode: a policy that is only tried stops nothing, and says what it would have stopped.

use crate::lab::{Lab, PodRow, app, cnp};

/// The annotation is on the pod, so a text of its own says it again.
const PODS: [PodRow<'static>; 3] = [
    ("default", "a", "{app: a}"),
    ("default", "tried", "{app: s}, annotations: {blastdoor.io/policy-audit-mode: enabled}"),
    ("default", "strict", "{app: s}, annotations: {blastdoor.io/policy-audit-mode: disabled}"),
];

#[test]
fn what_a_tried_policy_denies_passes_and_is_told_also_for_requests() {
    let http = format!(
        "ingress: [{{fromEndpoints: {}, toPorts: [{{ports: [{{port: \"80\", protocol: TCP}}], \
         rules: {{http: [{{path: /ok}}]}}}}]}}], ingressDeny: [{{toPorts: [{{ports: [{{port: \"22\"}}]}}]}}]",
        app("a")
    );
    let lab = Lab::new(&PODS, &[&cnp("r", "s", &http)]);
    for (to, port, path, outcome) in [
        ("tried", 80, "/ok", "200"),
        ("tried", 80, "/no", "audited 403 ingress"),
        ("tried", 81, "/", "audited 133 ingress"),
        ("tried", 22, "/", "audited 181 ingress"),
        ("strict", 80, "/no", "403 ingress"),
        ("strict", 81, "/", "133 ingress"),
        ("strict", 22, "/", "181 ingress"),
    ] {
        assert_eq!(lab.tried("a", to, port, path), outcome, "{to} {port} {path}");
    }
}

#[test]
fn the_other_ends_policy_still_holds() {
    let egress = cnp("e", "a", "egress: [{}]");
    let lab = Lab::new(&PODS, &[&egress]);
    assert_eq!(lab.tried("a", "tried", 80, "/"), "133 egress", "the client is not in audit mode");
    assert_eq!(lab.tried("tried", "a", 80, "/"), "ok");
}

/// A policy in audit mode about `s`.
fn tried(name: &str, rest: &str) -> String {
    let annotations = ", annotations: {blastdoor.io/policy-audit-mode: enabled}}";
    cnp(name, "s", rest).replacen('}', annotations, 1)
}

const TWO: [PodRow<'static>; 3] =
    [("default", "a", "{app: a}"), ("default", "b", "{app: b}"), ("default", "s", "{app: s}")];

/// One rule: from this peer, on this port, with these HTTP rules.
fn from(peer: &str, port: u16, rules: &str) -> String {
    let rules =
        if rules.is_empty() { String::new() } else { format!(", rules: {{http: [{rules}]}}") };
    format!(
        "{{fromEndpoints: {}, toPorts: [{{ports: [{{port: \"{port}\", protocol: TCP}}]{rules}}}]}}",
        app(peer)
    )
}

#[test]
fn a_policy_in_audit_mode_alone_stops_nothing() {
    let deny = "ingressDeny: [{toPorts: [{ports: [{port: \"22\"}]}]}]";
    let policy = tried("p", &format!("ingress: [{}], {deny}", from("a", 80, "{path: /ok}")));
    let lab = Lab::new(&TWO, &[&policy]);
    for (from, port, path, outcome) in [
        ("a", 80, "/ok", "200"),
        ("a", 80, "/no", "audited 403 ingress"),
        ("b", 80, "/ok", "audited 133 ingress"),
        ("a", 81, "/", "audited 133 ingress"),
        ("a", 22, "/", "audited 181 ingress"),
    ] {
        assert_eq!(lab.tried(from, "s", port, path), outcome, "{from} {port} {path}");
    }
}

/// It takes nothing from what other policies deny, and adds nothing but what it would allow.
#[test]
fn beside_an_enforcing_policy_it_takes_back_its_own_no_and_nobody_elses() {
    let deny = "ingressDeny: [{toPorts: [{ports: [{port: \"22\"}]}]}]";
    let firm = cnp("q", "s", &format!("ingress: [{}, {}]", from("a", 22, ""), from("b", 80, "")));
    let policy = tried("p", &format!("ingress: [{}], {deny}", from("a", 80, "{path: /ok}")));
    let lab = Lab::new(&TWO, &[&policy, &firm]);
    for (from, port, path, outcome) in [
        ("a", 80, "/ok", "200"),
        // Nothing but the HTTP rule of `p` allows `a` on 80, and `q` denies by default.
        ("a", 80, "/no", "403 ingress"),
        ("b", 80, "/no", "ok"),
        ("b", 81, "/", "133 ingress"),
        // `p` denies 22, `q` allows it to `a`.
        ("a", 22, "/", "audited 181 ingress"),
        ("b", 22, "/", "133 ingress"),
    ] {
        assert_eq!(lab.tried(from, "s", port, path), outcome, "{from} {port} {path}");
    }
    // A deny rule of an enforcing policy holds, whatever others in audit mode say.
    let firm = cnp("q", "s", "ingressDeny: [{fromEntities: [world]}, {fromEndpoints: [{}]}]");
    let lab = Lab::new(&TWO, &[&policy, &firm]);
    assert_eq!(lab.tried("a", "s", 80, "/ok"), "181 ingress");
}

#[test]
fn enforcement_always_denies_what_no_rule_allows_beside_audit_mode() {
    let policy = tried("p", &format!("ingress: [{}]", from("a", 80, "")));
    let lab = Lab::with(policy_table::Enforcement::Always, &TWO, &[&policy]);
    assert_eq!(lab.tried("a", "s", 81, "/"), "133 egress");
    let open = cnp("open", "a", "egress: [{toEntities: [all]}]");
    let lab = Lab::with(policy_table::Enforcement::Always, &TWO, &[&policy, &open]);
    assert_eq!(lab.tried("a", "s", 80, "/"), "ok");
    assert_eq!(lab.tried("a", "s", 81, "/"), "133 ingress", "the mode denies, not the policy");
}

#[test]
fn queries_are_tried_too() {
    let rules = "egress: [{toEntities: [world], toPorts: [{ports: [{port: \"53\", protocol: UDP}], \
                 rules: {dns: [{matchName: good.example}]}}]}]";
    let lab = Lab::new(&TWO, &[&tried("p", rules)]);
    assert_eq!(lab.dns("s", "8.8.8.8", "good.example."), "answered");
    assert_eq!(lab.dns("s", "8.8.8.8", "evil.example."), "audited refused");
    let firm = cnp("q", "s", "egress: [{}]");
    let lab = Lab::new(&TWO, &[&tried("p", rules), &firm]);
    assert_eq!(lab.dns("s", "8.8.8.8", "evil.example."), "refused");
}
