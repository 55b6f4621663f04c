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
