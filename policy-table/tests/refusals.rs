//! What is refused, where, and in which words.

#![expect(clippy::panic, clippy::unwrap_used, reason = "a test whose input is taken has failed")]

use policy_table::{Refusal, Severity, Snapshot};

fn refusal(text: &str) -> Refusal {
    match Snapshot::parse(&[("f.yaml", text)]) {
        Ok(_) => panic!("taken: {text}"),
        Err(refusals) => refusals.0.into_iter().next().unwrap(),
    }
}

fn cnp(spec: &str) -> String {
    format!(
        "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {{name: r}}\nspec: {{{spec}}}\n"
    )
}

#[test]
fn a_refusal_says_where_what_and_what_instead() {
    let text = "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata:\n  name: rule1\nspec:\n  endpointSelector: {}\n  ingress:\n  - toPorts:\n    - ports:\n      - port: \"9092\"\n        protocol: TCP\n      rules:\n        kafka:\n        - role: produce\n";
    assert_eq!(
        refusal(text).to_string(),
        "f.yaml:14: CiliumNetworkPolicy rule1: spec.ingress[0].toPorts[0].rules.kafka: kafka rules were removed in \
         Cilium 1.20 and are not enforced here; take the rules section out to allow the port without inspection"
    );
}

#[test]
fn what_cilium_refuses_is_refused_in_its_words() {
    let rows = [
        (
            "endpointSelector: {}",
            "spec",
            "rule must have at least one of Ingress, IngressDeny, Egress, EgressDeny",
        ),
        ("endpointSelector: {}, ingress: []", "spec", "rule must have at least one of"),
        ("ingress: [{}]", "spec", "rule must have one of EndpointSelector or NodeSelector"),
        (
            "endpointSelector: {}, nodeSelector: {}, ingress: [{}]",
            "spec.nodeSelector",
            "rule cannot have both",
        ),
        (
            "nodeSelector: {}, ingress: [{}]",
            "spec.nodeSelector",
            "Invalid CiliumNetworkPolicy spec: rule cannot have NodeSelector",
        ),
        (
            "endpointSelector: {matchExpressions: [{key: a, operator: In, values: []}]}, ingress: [{}]",
            "spec.endpointSelector.matchExpressions[0].operator",
            "must be specified when",
        ),
        (
            "endpointSelector: {matchExpressions: [{key: a, operator: Exists, values: [x]}]}, ingress: [{}]",
            "spec.endpointSelector.matchExpressions[0].operator",
            "may not be specified when",
        ),
        (
            "endpointSelector: {matchExpressions: [{key: a, operator: Gt, values: [x]}]}, ingress: [{}]",
            "spec.endpointSelector.matchExpressions[0].operator",
            "not a valid label selector operator",
        ),
        (
            "endpointSelector: {matchLabels: {-bad-: x}}, ingress: [{}]",
            "spec.endpointSelector.matchLabels",
            "not a valid label key",
        ),
        (
            "endpointSelector: {matchLabels: {k8s:io.kubernetes.pod.namespace: y}}, ingress: [{}]",
            "spec.endpointSelector",
            "but the policy's own namespace is",
        ),
        (
            "endpointSelector: {}, ingress: [{fromEndpoints: [{}], fromCIDR: [10.0.0.0/8]}]",
            "spec.ingress[0].fromCIDR",
            "combining fromEndpoints and fromCIDR is not supported yet",
        ),
        (
            "endpointSelector: {}, ingress: [{fromEntities: [moon]}]",
            "spec.ingress[0].fromEntities[0]",
            "unsupported entity: moon",
        ),
        (
            "endpointSelector: {}, ingress: [{fromCIDR: [10.0.0.1]}]",
            "spec.ingress[0].fromCIDR[0]",
            "unable to parse CIDR",
        ),
        (
            "endpointSelector: {}, ingress: [{fromCIDRSet: [{}]}]",
            "spec.ingress[0].fromCIDRSet[0]",
            "one of cidr, cidrGroupRef, or cidrGroupSelector is required",
        ),
        (
            "endpointSelector: {}, ingress: [{fromCIDRSet: [{cidr: 10.0.0.0/8, cidrGroupRef: x}]}]",
            "spec.ingress[0].fromCIDRSet[0]",
            "more than one of",
        ),
        (
            "endpointSelector: {}, ingress: [{fromCIDRSet: [{cidr: 10.0.0.0/8, except: [11.0.0.0/8]}]}]",
            "spec.ingress[0].fromCIDRSet[0].except[0]",
            "does not contain exclude CIDR prefix",
        ),
        (
            "endpointSelector: {}, ingress: [{toPorts: [{ports: [{port: \"80\"}], rules: {http: [{}]}}]}]",
            "spec.ingress[0].toPorts[0].ports[0]",
            "L7 rules can only apply to TCP (not ANY) except for DNS rules",
        ),
        (
            "endpointSelector: {}, ingress: [{toPorts: [{ports: [{port: \"80\", protocol: UDP}], rules: {http: [{}]}}]}]",
            "spec.ingress[0].toPorts[0].ports[0]",
            "L7 rules can only apply to TCP (not UDP)",
        ),
        (
            "endpointSelector: {}, ingress: [{toPorts: [{ports: [{port: \"53\"}], rules: {dns: [{matchName: a}]}}]}]",
            "spec.ingress[0].toPorts[0].rules.dns",
            "DNS rules are not allowed on ingress",
        ),
        (
            "endpointSelector: {}, egress: [{toPorts: [{rules: {dns: [{matchName: a}]}}]}]",
            "spec.egress[0].toPorts",
            "port 53 must be specified for DNS rules",
        ),
        (
            "endpointSelector: {}, egress: [{toPorts: [{ports: [{port: \"53\", endPort: 54}], rules: {dns: [{matchName: a}]}}]}]",
            "spec.egress[0].toPorts[0].ports[0]",
            "DNS rules do not support port ranges",
        ),
        (
            "endpointSelector: {}, egress: [{toPorts: [{ports: [{port: \"0\"}], rules: {dns: [{matchName: a}]}}]}]",
            "spec.egress[0].toPorts[0].ports[0]",
            "L7 rules can not be used when a port is 0",
        ),
        (
            "endpointSelector: {}, egress: [{toPorts: [{ports: [{port: \"53\"}], rules: {dns: [{}], http: [{}]}}]}]",
            "spec.egress[0].toPorts[0].rules.dns",
            "multiple L7 protocol rule types specified in single rule",
        ),
        (
            "endpointSelector: {}, egress: [{toFQDNs: [{matchName: \"*.a\"}]}]",
            "spec.egress[0].toFQDNs[0].matchName",
            "Invalid characters in MatchName",
        ),
        (
            "endpointSelector: {}, egress: [{toFQDNs: [{matchPattern: \"a b\"}]}]",
            "spec.egress[0].toFQDNs[0].matchPattern",
            "Invalid characters in MatchPattern",
        ),
        (
            "endpointSelector: {}, egress: [{toFQDNs: [{matchName: a, matchPattern: a}]}]",
            "spec.egress[0].toFQDNs[0].matchPattern",
            "only one of MatchName or MatchPattern",
        ),
        (
            "endpointSelector: {}, egress: [{toFQDNs: [{matchName: a}], toCIDR: [10.0.0.0/8]}]",
            "spec.egress[0].toFQDNs",
            "combining toCIDR and toFQDNs is not supported yet",
        ),
        (
            "endpointSelector: {}, ingress: [{toPorts: [{ports: [{port: \"0\", protocol: TCP}], rules: {http: [{}]}}]}]",
            "spec.ingress[0].toPorts[0].ports[0]",
            "L7 rules can not be used when a port is 0",
        ),
        (
            "endpointSelector: {}, ingress: [{toPorts: [{ports: [{port: \"\"}]}]}]",
            "spec.ingress[0].toPorts[0].ports[0].port",
            "port must be specified",
        ),
        (
            "endpointSelector: {}, ingress: [{toPorts: [{ports: [{port: \"80\", protocol: ICMP}]}]}]",
            "spec.ingress[0].toPorts[0].ports[0].protocol",
            "invalid protocol",
        ),
        (
            "endpointSelector: {}, ingress: [{toPorts: [{ports: [{port: \"80\", endPort: 79}]}]}]",
            "spec.ingress[0].toPorts[0].ports[0].endPort",
            "invalid endPort",
        ),
        (
            "endpointSelector: {}, ingress: [{icmps: [{fields: [{type: 8}]}], toPorts: [{ports: [{port: \"80\"}]}]}]",
            "spec.ingress[0].icmps",
            "the ICMPs block may only be present without ToPorts",
        ),
        (
            "endpointSelector: {}, ingress: [{fromNodes: [{}]}]",
            "spec.ingress[0].fromNodes",
            "FromNodes/ToNodes rules can only be applied when",
        ),
        (
            "endpointSelector: {}, ingress: [{toPorts: [{ports: [{port: \"80\", protocol: TCP}], rules: {http: [{headerMatches: [{name: \"\"}]}]}}]}]",
            "spec.ingress[0].toPorts[0].rules.http[0].headerMatches[0].name",
            "Header name missing",
        ),
    ];
    for (spec, field, reason) in rows {
        let refusal = refusal(&cnp(spec));
        assert_eq!(refusal.field, field, "{spec}: {refusal}");
        assert!(refusal.reason.contains(reason), "{spec}: {refusal}");
        assert_eq!(refusal.object, "CiliumNetworkPolicy r");
    }
}

#[test]
fn what_cannot_be_enforced_is_refused_and_never_an_l4_allow() {
    let port = "ports: [{port: \"80\", protocol: TCP}]";
    let rows = [
        (format!("toPorts: [{{{port}, rules: {{l7proto: x, l7: [{{}}]}}}}]"), "l7proto"),
        (format!("toPorts: [{{{port}, rules: {{quic: [{{}}]}}}}]"), "unknown field"),
        (format!("toPorts: [{{{port}, rules: {{dns: [{{}}]}}}}]"), "DNS rules"),
        ("toFQDNs: [{matchName: a}]".to_owned(), "unknown field"),
        (format!("toPorts: [{{{port}, terminatingTLS: {{}}}}]"), "TLS"),
        (format!("toPorts: [{{{port}, originatingTLS: {{}}}}]"), "TLS"),
        (format!("toPorts: [{{{port}, serverNames: [a.b]}}]"), "server names"),
        (format!("toPorts: [{{{port}, listener: {{}}}}]"), "proxy"),
        (format!("toPorts: [{{{port}, rules: {{http: [{{pathh: /x}}]}}}}]"), "unknown field"),
        (
            format!(
                "toPorts: [{{{port}, rules: {{http: [{{headerMatches: [{{name: a, mismatch: ADD}}]}}]}}}}]"
            ),
            "would rewrite",
        ),
        (
            format!(
                "toPorts: [{{{port}, rules: {{http: [{{headerMatches: [{{name: a, secret: {{name: s}}}}]}}]}}}}]"
            ),
            "secrets",
        ),
        ("authentication: {mode: required}".to_owned(), "mutual auth feature is disabled"),
        ("fromRequires: [{}]".to_owned(), "removed in Cilium 1.19"),
        ("fromGroups: [{}]".to_owned(), "cloud provider"),
        ("fromEndpoints: [], fromCIDR: [10.0.0.0/8]".to_owned(), "selects nothing"),
        ("toEndpoints: [{}]".to_owned(), "unknown field"),
    ];
    for (item, reason) in rows {
        let refusal = refusal(&cnp(&format!("endpointSelector: {{}}, ingress: [{{{item}}}]")));
        assert!(refusal.reason.contains(reason), "{item}: {refusal}");
        assert!(refusal.field.starts_with("spec.ingress[0]"), "{item}: {refusal}");
    }
    for (spec, reason) in [
        ("endpointSelector: {}, egress: [{toFQDNs: [{}]}]", "one of matchName or matchPattern"),
        (
            "endpointSelector: {}, egressDeny: [{toFQDNs: [{matchName: a}]}]",
            "not known in egressDeny",
        ),
        (
            "endpointSelector: {}, egress: [{toPorts: [{ports: [{port: \"53\", protocol: SCTP}], rules: {dns: [{matchName: a}]}}]}]",
            "DNS rules can only apply to UDP and TCP",
        ),
        ("endpointSelector: {}, ingressDeny: [{fromEndpoints: []}]", "denies nothing"),
        (
            "endpointSelector: {}, ingressDeny: [{toPorts: [{ports: [{port: \"80\", protocol: TCP}], rules: {http: [{}]}}]}]",
            "no L7 rules",
        ),
        ("endpointSelector: {}, ingres: [{}], ingress: [{}]", "unknown field"),
    ] {
        let refusal = refusal(&cnp(spec));
        assert!(refusal.reason.contains(reason), "{spec}: {refusal}");
    }
}

#[test]
fn objects_of_other_policy_languages_are_refused_and_plain_ones_left_out() {
    for (api, kind) in [
        ("policy.networking.k8s.io/v1alpha2", "ClusterNetworkPolicy"),
        ("policy.networking.k8s.io/v1alpha1", "AdminNetworkPolicy"),
        ("cilium.io/v2alpha1", "CiliumLocalRedirectPolicy"),
        ("crd.projectcalico.org/v1", "NetworkPolicy"),
        ("security.istio.io/v1", "AuthorizationPolicy"),
    ] {
        let refusal = refusal(&format!("apiVersion: {api}\nkind: {kind}\nmetadata: {{name: x}}\n"));
        assert_eq!(refusal.object, format!("{kind} x"));
    }
    let loaded = Snapshot::parse(&[(
        "f.yaml",
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\n",
    )])
    .unwrap();
    assert_eq!(loaded.notices[0].severity, Severity::Info);
    assert_eq!(
        loaded.notices[0].to_string(),
        "info: f.yaml:1: Deployment d: bears no policy and is left out"
    );
}

#[test]
fn every_wrong_object_is_named_not_only_the_first() {
    let text = format!(
        "{}---\n{}---\n{}",
        cnp("ingress: [{}]"),
        cnp("endpointSelector: {}, ingress: [{}]"),
        cnp("bad: 1")
    );
    let refusals = Snapshot::parse(&[("f.yaml", &text)]).unwrap_err();
    assert_eq!(
        refusals.0.iter().map(|refusal| refusal.line).collect::<Vec<_>>(),
        [4, 14],
        "{refusals}"
    );
}

#[test]
fn what_is_ambiguous_is_refused() {
    let pod = |name: &str, ip: &str| {
        format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nstatus: {{podIP: {ip}}}\n")
    };
    let twice = format!("{}---\n{}", pod("a", "10.0.0.1"), pod("b", "10.0.0.1"));
    assert!(refusal(&twice).reason.contains("is also that of Pod default/a"));
    let service =
        "apiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec: {clusterIP: 10.0.0.1}\n";
    let shared = format!("{}---\n{service}", pod("a", "10.0.0.1"));
    assert_eq!(refusal(&shared).reason, "the address 10.0.0.1 is also that of Pod default/a");
    let same = format!("{}---\n{}", pod("a", "10.0.0.1"), pod("a", "10.0.0.2"));
    assert!(refusal(&same).reason.contains("the object is also in f.yaml:1"));
    let ended = format!(
        "{}  phase: Succeeded\n---\n{}",
        pod("a", "10.0.0.1").replace("{podIP: 10.0.0.1}", "\n  podIP: 10.0.0.1"),
        pod("b", "10.0.0.1")
    );
    assert_eq!(
        Snapshot::parse(&[("f.yaml", &ended)]).unwrap().snapshot.pods.len(),
        1,
        "an ended pod has no address"
    );
    assert!(refusal("kind: Pod\nkind: Pod\n").reason.contains("written twice"));
    assert!(refusal("just text").reason.contains("must be a mapping"));
    assert!(refusal("apiVersion: v1\n").reason.contains("kind is missing"));
}

#[test]
fn a_bad_pattern_is_an_error_notice_with_its_line() {
    let text = "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: r}\nspec:\n  endpointSelector: {}\n  ingress:\n  - toPorts:\n    - ports: [{port: \"80\", protocol: TCP}]\n      rules:\n        http:\n        - path: \"/(\"\n";
    let loaded = Snapshot::parse(&[("f.yaml", text)]).unwrap();
    assert_eq!(loaded.notices[0].severity, Severity::Error);
    let said = loaded.notices[0].to_string();
    assert!(said.starts_with("error: f.yaml:11: CiliumNetworkPolicy r: spec.ingress[0].toPorts[0].rules.http[0].path: invalid regular expression"), "{said}");
}

#[test]
fn a_directory_is_read_in_order_and_what_is_not_yaml_is_not_looked_at() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
    write("b.yaml", &cnp("endpointSelector: {}, ingress: [{}]"));
    write(
        "a.json",
        "{\"apiVersion\": \"v1\", \"kind\": \"List\", \"items\": [{\"apiVersion\": \"v1\", \"kind\": \"Namespace\", \"metadata\": {\"name\": \"n\"}}]}",
    );
    write("notes.txt", "{{{{");
    write(".hidden.yaml", "{{{{");
    let loaded = Snapshot::load(directory.path()).unwrap();
    assert_eq!((loaded.snapshot.policies.len(), loaded.snapshot.namespaces.len()), (1, 1));
    write("c.yml", "kind: [");
    assert!(Snapshot::load(directory.path()).unwrap_err().to_string().contains("c.yml:"));
    assert!(Snapshot::load(&directory.path().join("gone")).is_err());
}
