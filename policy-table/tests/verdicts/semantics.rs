//! The truth tables of the specification (`../shared/cilium-semantics.md`), row by row, by table and oracle both.

use crate::lab::{HOST, Lab, NODE, PodRow, app, cnp};
use policy_table::{Enforcement, Protocol};

const PODS: [PodRow<'static>; 5] = [
    ("default", "a", "{app: a}"),
    ("default", "b", "{app: b}"),
    ("default", "s", "{app: s}"),
    ("other", "a", "{app: a}"),
    ("other", "s", "{app: s}"),
];
const WORLD: &str = "8.8.8.8";

fn ingress(items: &str) -> Lab {
    Lab::new(&PODS, &[&cnp("r", "s", &format!("ingress: {items}"))])
}

/// §1.4: what is absent, empty, or holds an empty item. Peers: pod a, pod of another namespace, host, remote node, world.
#[test]
fn absent_and_empty_and_empty_item_are_three_things() {
    const NO: &str = "133 ingress";
    let rows: [(&str, &str, [&str; 5]); 21] = [
        ("item {}", "[{}]", [NO, NO, "ok", NO, NO]),
        (
            "ports, peers absent",
            "[{toPorts: [{ports: [{port: \"80\"}]}]}]",
            ["ok", "ok", "ok", "ok", "ok"],
        ),
        (
            "other ports, peers absent",
            "[{toPorts: [{ports: [{port: \"81\"}]}]}]",
            [NO, NO, "ok", NO, NO],
        ),
        ("fromEndpoints []", "[{fromEndpoints: []}]", [NO, NO, "ok", NO, NO]),
        (
            "fromEndpoints [] with ports",
            "[{fromEndpoints: [], toPorts: [{ports: [{port: \"80\"}]}]}]",
            [NO, NO, "ok", NO, NO],
        ),
        (
            "fromCIDR [] with ports",
            "[{fromCIDR: [], toPorts: [{ports: [{port: \"80\"}]}]}]",
            [NO, NO, "ok", NO, NO],
        ),
        ("fromCIDRSet []", "[{fromCIDRSet: []}]", [NO, NO, "ok", NO, NO]),
        ("fromEntities []", "[{fromEntities: []}]", [NO, NO, "ok", NO, NO]),
        ("fromEndpoints [{}]", "[{fromEndpoints: [{}]}]", ["ok", NO, "ok", NO, NO]),
        ("fromEntities [all]", "[{fromEntities: [all]}]", ["ok", "ok", "ok", "ok", "ok"]),
        ("fromEntities [cluster]", "[{fromEntities: [cluster]}]", ["ok", "ok", "ok", "ok", NO]),
        ("fromEntities [world]", "[{fromEntities: [world]}]", [NO, NO, "ok", NO, "ok"]),
        ("fromEntities [remote-node]", "[{fromEntities: [remote-node]}]", [NO, NO, "ok", "ok", NO]),
        ("fromEntities [none]", "[{fromEntities: [none]}]", [NO, NO, "ok", NO, NO]),
        ("toPorts []", "[{fromEndpoints: [{}], toPorts: []}]", ["ok", NO, "ok", NO, NO]),
        ("toPorts [{}]", "[{fromEndpoints: [{}], toPorts: [{}]}]", [NO, NO, "ok", NO, NO]),
        (
            "toPorts [{ports: []}]",
            "[{fromEndpoints: [{}], toPorts: [{ports: []}]}]",
            [NO, NO, "ok", NO, NO],
        ),
        (
            "rules {}",
            "[{toPorts: [{ports: [{port: \"80\", protocol: TCP}], rules: {}}]}]",
            ["ok", "ok", "ok", "ok", "ok"],
        ),
        (
            "http []",
            "[{toPorts: [{ports: [{port: \"80\", protocol: TCP}], rules: {http: []}}]}]",
            ["ok", "ok", "ok", "ok", "ok"],
        ),
        (
            "http [{}]",
            "[{toPorts: [{ports: [{port: \"80\", protocol: TCP}], rules: {http: [{}]}}]}]",
            ["200", "200", "200", "200", "200"],
        ),
        (
            "null is absent",
            "[{fromEndpoints: null, toPorts: [{ports: [{port: \"80\"}]}]}]",
            ["ok", "ok", "ok", "ok", "ok"],
        ),
    ];
    for (what, items, expected) in rows {
        let lab = ingress(items);
        let seen = ["a", "other/a", HOST, NODE, WORLD].map(|from| lab.tcp(from, "s", 80));
        assert_eq!(seen, expected, "{what}");
    }
    // The egress-only kinds: nothing, where Cilium's code would make it anyone.
    for list in ["toServices: []", "toServices: [{k8sService: {serviceName: gone, namespace: x}}]"]
    {
        let policy = cnp(
            "r",
            "s",
            &format!("egress: [{{{list}, toPorts: [{{ports: [{{port: \"80\"}}]}}]}}]"),
        );
        assert_eq!(Lab::new(&PODS, &[&policy]).tcp("s", WORLD, 80), "133 egress", "{list}");
    }
}

#[test]
fn an_icmp_rule_is_about_types_and_a_port_rule_never_about_icmp() {
    let lab = ingress("[{icmps: [{fields: [{type: 8}]}]}]");
    assert_eq!(lab.ask("a", "s", Protocol::ICMP, 8), "ok");
    assert_eq!(lab.ask("a", "s", Protocol::ICMP, 13), "133 ingress");
    assert_eq!(lab.ask("a", "s", Protocol::ICMPV6, 8), "133 ingress");
    assert_eq!(lab.tcp("a", "s", 8), "133 ingress");
    let lab = ingress("[{toPorts: [{ports: [{port: \"0\"}]}]}]");
    assert_eq!(lab.ask("a", "s", Protocol::ICMP, 8), "133 ingress");
    assert_eq!(lab.ask("a", "s", Protocol(47), 0), "133 ingress");
    assert_eq!((lab.tcp("a", "s", 1), lab.ask("a", "s", Protocol::SCTP, 65535)), ("ok", "ok"));
    let lab = ingress("[{fromEndpoints: [{}]}]");
    assert_eq!(
        (lab.ask("a", "s", Protocol::ICMP, 8), lab.ask("a", "s", Protocol(47), 0)),
        ("ok", "ok")
    );
}

/// §2.3 and §7.3: ranges that allow and deny (`TestEgressPortRangePrecedence`, read from its rules, not from its loop).
#[test]
fn a_deny_range_punches_a_hole_and_an_allow_never_heals_it() {
    let ports = |first: u16, last: u16| match (first, last) {
        (0, 0) => String::new(),
        (first, last) => {
            format!("toPorts: [{{ports: [{{port: \"{first}\", endPort: {last}, protocol: TCP}}]}}]")
        }
    };
    let rule = |list: &[(u16, u16)]| {
        let items = list
            .iter()
            .map(|(first, last)| format!("{{toEntities: [all], {}}}", ports(*first, *last)));
        items.collect::<Vec<_>>().join(", ")
    };
    type Ranges = &'static [(u16, u16)];
    type Row = (Ranges, Ranges, &'static [(u16, &'static str)]);
    let rows: [Row; 5] = [
        (&[(80, 80)], &[(1, 1024)], &[(79, "181"), (80, "181"), (1024, "181"), (1025, "133")]),
        (
            &[(1, 1024)],
            &[(80, 80)],
            &[(1, "ok"), (79, "ok"), (80, "181"), (81, "ok"), (1024, "ok"), (1025, "133")],
        ),
        (&[(1, 1024)], &[(0, 0)], &[(1, "181"), (1024, "181"), (1025, "181")]),
        (&[(0, 0)], &[(1, 1024)], &[(1, "181"), (1024, "181"), (1025, "ok"), (65535, "ok")]),
        (
            &[(80, 90), (90, 100)],
            &[(85, 95)],
            &[
                (79, "133"),
                (80, "ok"),
                (84, "ok"),
                (85, "181"),
                (95, "181"),
                (96, "ok"),
                (100, "ok"),
                (101, "133"),
            ],
        ),
    ];
    for (allow, deny, expected) in rows {
        let policy =
            cnp("r", "a", &format!("egress: [{}], egressDeny: [{}]", rule(allow), rule(deny)));
        let lab = Lab::new(&PODS, &[&policy]);
        for (port, outcome) in expected {
            let seen = lab.tcp("a", "b", *port).trim_end_matches(" egress");
            assert_eq!(seen, *outcome, "allow {allow:?} deny {deny:?} port {port}");
        }
    }
}

/// §7.3: the matrix of Cilium's deny documentation.
#[test]
fn the_deny_matrix() {
    let allow = format!(
        "ingress: [{{fromEndpoints: {0}}}, {{toPorts: [{{ports: [{{port: \"80\", protocol: TCP}}]}}]}}, \
         {{toPorts: [{{ports: [{{port: \"81\", protocol: TCP}}]}}]}}]",
        app("a")
    );
    let l4 = "{toPorts: [{ports: [{port: \"80\", protocol: TCP}]}]}";
    let l3 = format!("{{fromEndpoints: {}}}", app("a"));
    let both = format!("{l3}, {l4}");
    let rows: [(&str, bool, [&str; 3]); 5] = [
        ("", true, ["ok", "ok", "ok"]),
        (l4, true, ["ok", "181 ingress", "ok"]),
        (&l3, true, ["181 ingress", "181 ingress", "181 ingress"]),
        (&both, true, ["181 ingress", "181 ingress", "181 ingress"]),
        (l4, false, ["133 ingress", "181 ingress", "133 ingress"]),
    ];
    for (deny, allowed, expected) in rows {
        let mut texts = Vec::new();
        if allowed {
            texts.push(cnp("allow", "s", &allow));
        }
        if !deny.is_empty() {
            texts.push(cnp("deny", "s", &format!("ingressDeny: [{deny}]")));
        }
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let lab = Lab::new(&PODS, &texts);
        let seen =
            [lab.tcp("a", "s", 81), lab.tcp("a", "s", 80), lab.ask("a", "s", Protocol::ICMP, 8)];
        assert_eq!(seen, expected, "deny {deny:?}");
    }
}

fn port_80(peers: &str, http: &str) -> String {
    let rules =
        if http.is_empty() { String::new() } else { format!(", rules: {{http: [{http}]}}") };
    let comma = if peers.is_empty() { "" } else { ", " };
    format!("{{{peers}{comma}toPorts: [{{ports: [{{port: \"80\", protocol: TCP}}]{rules}}}]}}")
}

/// §2.4: two rules on one port. Columns: GET / from a, PUT /z from a, GET / from b, PUT /z from b.
#[test]
fn rules_on_one_port_are_a_union_per_peer() {
    let a = format!("fromEndpoints: {}", app("a"));
    let b = format!("fromEndpoints: {}", app("b"));
    let get = "{method: GET, path: /}";
    let (ok, no, cut) = ("200", "403 ingress", "133 ingress");
    let l3 = format!("{{{a}}}");
    let rows: [(&str, Vec<String>, [&str; 4]); 10] = [
        ("* L4, * GET /", vec![port_80("", ""), port_80("", get)], [ok, ok, ok, ok]),
        ("a GET /, * L4", vec![port_80(&a, get), port_80("", "")], [ok, ok, "ok", "ok"]),
        ("a GET /, * GET /", vec![port_80(&a, get), port_80("", get)], [ok, no, ok, no]),
        (
            "a PUT /z, * GET /",
            vec![port_80(&a, "{method: PUT, path: /z}"), port_80("", get)],
            [ok, ok, ok, no],
        ),
        ("a L4, * GET /", vec![port_80(&a, ""), port_80("", get)], [ok, ok, ok, no]),
        ("a L3, * GET /", vec![l3, port_80("", get)], [ok, ok, ok, no]),
        (
            "a GET /, b PUT /z",
            vec![port_80(&a, get), port_80(&b, "{method: PUT, path: /z}")],
            [ok, no, no, ok],
        ),
        ("a GET / alone", vec![port_80(&a, get)], [ok, no, cut, cut]),
        ("[] L4", vec![port_80("fromEndpoints: []", "")], [cut, cut, cut, cut]),
        ("* GET / twice", vec![port_80("", get), port_80("", get)], [ok, no, ok, no]),
    ];
    for (what, items, expected) in rows {
        // The order of the rules must not matter, nor whether one object or two hold them.
        let mut turned = items.clone();
        turned.reverse();
        let one = cnp("r", "s", &format!("ingress: [{}]", items.join(", ")));
        let other = cnp("r", "s", &format!("ingress: [{}]", turned.join(", ")));
        let split: Vec<String> = items
            .iter()
            .enumerate()
            .map(|(i, item)| cnp(&format!("r{i}"), "s", &format!("ingress: [{item}]")))
            .collect();
        let split: Vec<&str> = split.iter().map(String::as_str).collect();
        for lab in [Lab::new(&PODS, &[&one]), Lab::new(&PODS, &[&other]), Lab::new(&PODS, &split)] {
            let seen =
                [("a", "GET", "/"), ("a", "PUT", "/z"), ("b", "GET", "/"), ("b", "PUT", "/z")]
                    .map(|(from, method, path)| lab.http(from, "s", 80, method, path));
            assert_eq!(seen, expected, "{what}");
        }
    }
    let lab = ingress(&format!("[{{{a}}}, {}]", port_80("", get)));
    assert_eq!(
        (lab.tcp("a", "s", 81), lab.tcp("b", "s", 81)),
        ("ok", "133 ingress"),
        "other ports are not inspected"
    );
    let denied = cnp("r", "s", &format!("ingress: [{}], ingressDeny: [{{{a}}}]", port_80(&a, get)));
    assert_eq!(
        Lab::new(&PODS, &[&denied]).http("a", "s", 80, "GET", "/"),
        "181 ingress",
        "no 403 for a denied peer"
    );
}

/// §2.2 and §2.4 cases 14 to 18: rules that do not switch default deny on.
#[test]
fn without_default_deny_rules_only_watch_and_deny() {
    let get = port_80(&format!("fromEndpoints: {}", app("a")), "{method: GET, path: /}");
    let soft =
        cnp("soft", "s", &format!("enableDefaultDeny: {{ingress: false}}, ingress: [{get}]"));
    let lab = Lab::new(&PODS, &[&soft]);
    assert_eq!(lab.http("a", "s", 80, "PUT", "/z"), "200", "watched, allowed");
    assert_eq!((lab.tcp("b", "s", 80), lab.tcp(WORLD, "s", 1)), ("ok", "ok"));
    let hard = cnp("hard", "s", "ingress: [{}]");
    let lab = Lab::new(&PODS, &[&soft, &hard]);
    assert_eq!(
        (lab.http("a", "s", 80, "PUT", "/z"), lab.tcp("b", "s", 80)),
        ("200", "133 ingress")
    );
    let denies = cnp(
        "d",
        "s",
        &format!(
            "enableDefaultDeny: {{ingress: false}}, ingressDeny: [{{fromEndpoints: {}}}]",
            app("a")
        ),
    );
    let lab = Lab::new(&PODS, &[&denies]);
    assert_eq!((lab.tcp("a", "s", 80), lab.tcp("b", "s", 80)), ("181 ingress", "ok"));
    let denies = cnp("d", "s", &format!("ingressDeny: [{{fromEndpoints: {}}}]", app("a")));
    let lab = Lab::new(&PODS, &[&denies]);
    assert_eq!(
        (lab.tcp("a", "s", 80), lab.tcp("b", "s", 80)),
        ("181 ingress", "133 ingress"),
        "deny alone denies by default"
    );
    let switched =
        cnp("d", "s", "enableDefaultDeny: {egress: true}, ingress: [{fromEndpoints: [{}]}]");
    assert_eq!(
        Lab::new(&PODS, &[&switched]).tcp("s", WORLD, 80),
        "ok",
        "a direction without items is not enforced"
    );
}

/// §2.1.
#[test]
fn the_enforcement_modes() {
    let policy = cnp("r", "s", "ingress: [{fromEndpoints: [{}]}]");
    let rows = [
        (Enforcement::Default, ["ok", "133 ingress", "ok"]),
        (Enforcement::Always, ["133 egress", "133 ingress", "133 egress"]),
        (Enforcement::Never, ["ok", "ok", "ok"]),
    ];
    for (mode, expected) in rows {
        let lab = Lab::with(mode, &PODS, &[&policy]);
        assert_eq!(
            [lab.tcp("a", "s", 80), lab.tcp(WORLD, "s", 80), lab.tcp("a", "b", 80)],
            expected,
            "{mode:?}"
        );
    }
}

/// §2.5.
#[test]
fn the_host_reaches_its_pods_unless_it_is_denied() {
    let lab = ingress("[{}]");
    assert_eq!((lab.tcp(HOST, "s", 80), lab.tcp(NODE, "s", 80)), ("ok", "133 ingress"));
    let denied = cnp("r", "s", "ingress: [{}], ingressDeny: [{fromEntities: [host]}]");
    assert_eq!(Lab::new(&PODS, &[&denied]).tcp(HOST, "s", 80), "181 ingress");
    let http = ingress(&format!("[{}]", port_80("", "{path: /x}")));
    assert_eq!(http.http(HOST, "s", 80, "GET", "/"), "200", "inspected, but never refused");
    let egress = cnp("r", "a", "egress: [{}]");
    assert_eq!(
        Lab::new(&PODS, &[&egress]).tcp("a", HOST, 80),
        "133 egress",
        "the other way nothing is implied"
    );
}

/// §1.7: prefixes are about what lies outside the cluster.
#[test]
fn a_prefix_never_matches_a_pod_or_a_node() {
    let lab = ingress("[{fromCIDR: [0.0.0.0/0]}]");
    let seen = ["a", NODE, WORLD, "2001:db8::1"].map(|from| lab.tcp(from, "s", 80));
    assert_eq!(seen, ["133 ingress", "133 ingress", "ok", "133 ingress"]);
    let lab = ingress("[{fromCIDRSet: [{cidr: 8.0.0.0/8, except: [8.8.0.0/16]}]}]");
    assert_eq!(
        ["8.8.8.8", "8.9.0.1", "9.0.0.1"].map(|from| lab.tcp(from, "s", 80)),
        ["133 ingress", "ok", "133 ingress"]
    );
    let lab = ingress(
        "[{fromCIDRSet: [{cidr: 8.0.0.0/8, except: [8.8.0.0/16]}]}, {fromCIDR: [8.8.8.0/24]}]",
    );
    assert_eq!(
        ["8.8.8.8", "8.8.9.8"].map(|from| lab.tcp(from, "s", 80)),
        ["ok", "133 ingress"],
        "except is local"
    );
}

#[test]
fn both_sides_must_allow() {
    let from = cnp("i", "s", &format!("ingress: [{{fromEndpoints: {}}}]", app("a")));
    let to = cnp("e", "a", &format!("egress: [{{toEndpoints: {}}}]", app("b")));
    let lab = Lab::new(&PODS, &[&from, &to]);
    assert_eq!(
        (lab.tcp("a", "s", 80), lab.tcp("b", "s", 80), lab.tcp("a", "b", 80)),
        ("133 egress", "133 ingress", "ok")
    );
    let each = [
        cnp("i", "s", &format!("ingress: [{}]", port_80("", "{path: /a.*}"))),
        cnp("e", "a", &format!("egress: [{}]", port_80("", "{path: /.*b}"))),
    ];
    let lab = Lab::new(&PODS, &[&each[0], &each[1]]);
    let seen = ["/ab", "/a", "/b"].map(|path| lab.http("a", "s", 80, "GET", path));
    assert_eq!(seen, ["200", "403 egress", "403 ingress"]);
    assert_eq!(lab.http("b", "s", 80, "GET", "/a"), "200", "only the subject's egress is asked");
}

#[test]
fn an_endpoint_may_always_talk_to_itself() {
    let closed = cnp("r", "s", "ingress: [{}], egress: [{}], ingressDeny: [{fromEntities: [all]}]");
    assert_eq!(Lab::new(&PODS, &[&closed]).tcp("s", "s", 80), "ok");
}

#[test]
fn a_named_port_is_the_subject_s_on_ingress_and_the_peer_s_on_egress() {
    let named = "toPorts: [{ports: [{port: HTTP-8080, protocol: TCP}, {port: dns}]}]";
    let lab = ingress(&format!("[{{{named}}}]"));
    assert_eq!(
        (lab.tcp("a", "s", 8080), lab.tcp("a", "s", 80), lab.tcp("a", "s", 53)),
        ("ok", "133 ingress", "133 ingress")
    );
    assert_eq!(lab.ask("a", "s", Protocol::UDP, 53), "ok");
    let lab = Lab::new(&PODS, &[&cnp("r", "a", &format!("egress: [{{{named}}}]"))]);
    assert_eq!(
        (lab.tcp("a", "s", 8080), lab.tcp("a", WORLD, 8080)),
        ("ok", "133 egress"),
        "the world has no names"
    );
    let lab = ingress("[{toPorts: [{ports: [{port: gone}]}]}]");
    assert_eq!(lab.tcp("a", "s", 8080), "133 ingress", "a name nobody has opens nothing");
}

/// §7.3: the vectors of the proxy's HTTP filter.
#[test]
fn the_http_filter_vectors() {
    let pods: [PodRow<'_>; 3] = [
        ("default", "one", "{app: one}"),
        ("default", "two", "{app: two}"),
        ("default", "s", "{app: s}"),
    ];
    let rules = "{path: /allowed}, {path: \".*public$\"}, {host: allowedHOST}, {host: \".*REGEX.*\"}, \
                 {method: PUT, path: /public/opinions}";
    let items = [
        port_80(&format!("fromEndpoints: {}", app("one")), rules),
        port_80(&format!("fromEndpoints: {}", app("two")), "{path: /only-2-allowed}"),
    ];
    let lab = Lab::new(&pods, &[&cnp("r", "s", &format!("ingress: [{}]", items.join(", ")))]);
    let rows = [
        ("GET", "/prefix", "host", "403 ingress"),
        ("GET", "/allowed", "host", "200"),
        ("GET", "/maybe/public", "host", "200"),
        ("GET", "/maybe/private", "host", "403 ingress"),
        ("GET", "/maybe/private", "allowedHOST", "200"),
        ("GET", "/maybe/private", "hostREGEXname", "200"),
        ("POST", "/maybe/private", "host", "403 ingress"),
        ("PUT", "/public/opinions", "host", "200"),
        ("GET", "/only-2-allowed", "host", "403 ingress"),
    ];
    for (method, path, host, expected) in rows {
        assert_eq!(
            lab.request("one", "s", Protocol::TCP, 80, (method, path, host, &[])),
            expected,
            "{method} {path} {host}"
        );
    }
    assert_eq!(lab.http("two", "s", 80, "GET", "/only-2-allowed"), "200");
}

/// §1.5: what a peer selector means without a namespace.
#[test]
fn namespaces_of_subjects_and_peers() {
    let pods: [PodRow<'_>; 4] = [
        ("x", "a", "{app: a}"),
        ("y", "a", "{app: a}"),
        ("x", "s", "{app: s}"),
        ("y", "s", "{app: s}"),
    ];
    let space = "apiVersion: v1\nkind: Namespace\nmetadata: {name: y, labels: {team: blue}}\n";
    let policy = |kind: &str, peer: &str| {
        let namespace = if kind == "CiliumNetworkPolicy" { ", namespace: x" } else { "" };
        format!(
            "apiVersion: cilium.io/v2\nkind: {kind}\nmetadata: {{name: r{namespace}}}\n\
             spec: {{endpointSelector: {{matchLabels: {{app: s}}}}, ingress: [{{fromEndpoints: [{peer}]}}]}}\n"
        )
    };
    let no = "133 ingress";
    // Columns: x/a -> x/s, y/a -> x/s, x/a -> y/s, world -> x/s.
    let rows: [(&str, &str, [&str; 4]); 10] = [
        ("CiliumNetworkPolicy", "{}", ["ok", no, "ok", no]),
        ("CiliumClusterwideNetworkPolicy", "{}", ["ok", "ok", "ok", no]),
        (
            "CiliumNetworkPolicy",
            "{matchLabels: {k8s:io.kubernetes.pod.namespace: y}}",
            [no, "ok", "ok", no],
        ),
        (
            "CiliumNetworkPolicy",
            "{matchExpressions: [{key: io.kubernetes.pod.namespace, operator: Exists}]}",
            ["ok", "ok", "ok", no],
        ),
        (
            "CiliumNetworkPolicy",
            "{matchLabels: {k8s:io.cilium.k8s.namespace.labels.team: blue}}",
            [no, "ok", "ok", no],
        ),
        (
            "CiliumNetworkPolicy",
            "{matchLabels: {k8s:io.cilium.k8s.policy.serviceaccount: default}}",
            ["ok", no, "ok", no],
        ),
        (
            "CiliumNetworkPolicy",
            "{matchLabels: {io.cilium.k8s.policy.cluster: elsewhere}}",
            [no, no, "ok", no],
        ),
        ("CiliumNetworkPolicy", "{matchLabels: {reserved:world: \"\"}}", [no, no, "ok", "ok"]),
        ("CiliumClusterwideNetworkPolicy", "{matchLabels: {app: a}}", ["ok", "ok", "ok", no]),
        (
            "CiliumClusterwideNetworkPolicy",
            "{matchLabels: {k8s:io.cilium.k8s.namespace.labels.team: blue}}",
            [no, "ok", no, no],
        ),
    ];
    for (kind, peer, expected) in rows {
        let lab = Lab::new(&pods, &[space, &policy(kind, peer)]);
        let seen = [("x/a", "x/s"), ("y/a", "x/s"), ("x/a", "y/s"), (WORLD, "x/s")]
            .map(|(from, to)| lab.tcp(from, to, 80));
        assert_eq!(seen, expected, "{kind} {peer}");
    }
}
