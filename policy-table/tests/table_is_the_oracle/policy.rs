//! Random policies of every kind, as people write them.

use proptest::prelude::*;

use crate::text::{any_of, braces, listed};

fn selector() -> impl Strategy<Value = String> + Clone {
    any_of(&[
        "{}",
        "{matchLabels: {app: w}}",
        "{matchLabels: {app: x}}",
        "{matchLabels: {k8s:tier: f}}",
        "{matchLabels: {any:app: w, tier: f}}",
        "{matchLabels: {pod-template-hash: abc}}",
        "{matchExpressions: [{key: app, operator: In, values: [w, x]}]}",
        "{matchExpressions: [{key: tier, operator: NotIn, values: [f]}]}",
        "{matchExpressions: [{key: tier, operator: Exists}]}",
        "{matchExpressions: [{key: tier, operator: DoesNotExist}]}",
    ])
}

fn peer_selector() -> impl Strategy<Value = String> + Clone {
    prop_oneof![
        3 => selector(),
        2 => any_of(&[
            "{matchLabels: {k8s:io.kubernetes.pod.namespace: b}}",
            "{matchLabels: {io.kubernetes.pod.namespace: b, app: x}}",
            "{matchExpressions: [{key: io.kubernetes.pod.namespace, operator: Exists}]}",
            "{matchLabels: {k8s:io.cilium.k8s.namespace.labels.team: y}}",
            "{matchLabels: {io.cilium.k8s.namespace.labels.kubernetes.io/metadata.name: b}}",
            "{matchLabels: {io.cilium.k8s.policy.serviceaccount: robot}}",
            "{matchLabels: {io.cilium.k8s.policy.cluster: elsewhere}}",
            "{matchLabels: {reserved:host: \"\"}}",
            "{matchExpressions: [{key: reserved:world, operator: Exists}]}",
            "{matchExpressions: [{key: reserved:host, operator: DoesNotExist}]}",
        ]),
    ]
}

fn prefix() -> impl Strategy<Value = String> + Clone {
    any_of(&[
        "0.0.0.0/0",
        "\"::/0\"",
        "8.8.8.8/32",
        "8.0.0.0/8",
        "172.16.0.0/12",
        "172.16.1.0/24",
        "10.0.0.0/8",
        "192.168.0.0/16",
        "\"2001:db8::/32\"",
        "\"2001:db8::1/128\"",
    ])
}

/// The peers of an item, with `from` or `to` in front of their names.
fn peers(way: &'static str, allow: bool) -> impl Strategy<Value = String> {
    let cidr_set = prop_oneof![
        prefix().prop_map(|prefix| format!("{{cidr: {prefix}}}")),
        any_of(&[
            "{cidr: 8.0.0.0/8, except: [8.8.8.0/24]}",
            "{cidr: 172.0.0.0/8, except: [172.16.1.0/28, 172.16.1.0/30]}",
            "{cidr: 0.0.0.0/0, except: [172.16.0.0/12]}",
            "{cidr: \"::/0\", except: [\"2001:db8:1::/48\"]}",
            "{cidrGroupRef: group}",
            "{cidrGroupRef: gone}",
            "{cidrGroupRef: group, except: [172.16.1.1/32]}",
            "{cidrGroupSelector: {matchLabels: {which: far}}}",
        ]),
    ];
    let entities = any_of(&[
        "all",
        "world",
        "cluster",
        "host",
        "remote-node",
        "kube-apiserver",
        "init",
        "health",
        "unmanaged",
        "ingress",
        "none",
        "world-ipv4",
        "world-ipv6",
        "cluster-mesh",
    ]);
    let services = any_of(&[
        "{k8sService: {serviceName: chosen, namespace: a}}",
        "{k8sService: {serviceName: outer, namespace: a}}",
        "{k8sService: {serviceName: chosen, namespace: b}}",
        "{k8sServiceSelector: {selector: {matchLabels: {kind: inside}}}}",
        "{k8sServiceSelector: {selector: {matchExpressions: [{key: kind, operator: Exists}]}, namespace: a}}",
    ]);
    let named = move |kind: &'static str| move |list: String| format!("{way}{kind}: {list}");
    prop_oneof![
        2 => Just(String::new()),
        5 => listed(peer_selector(), 1..3).prop_map(named("Endpoints")),
        2 => listed(prefix(), 1..3).prop_map(named("CIDR")),
        2 => listed(cidr_set, 1..3).prop_map(named("CIDRSet")),
        3 => listed(entities, 1..3).prop_map(named("Entities")),
        1 => listed(services, 1..3).prop_map(move |list| {
            if way == "to" { format!("toServices: {list}") } else { String::new() }
        }),
        2 => listed(name_pattern(), 1..3).prop_map(move |list| {
            // No deny rule takes names.
            if way == "to" && allow { format!("toFQDNs: {list}") } else { String::new() }
        }),
    ]
}

/// An entry of `toFQDNs` or `rules.dns`.
fn name_pattern() -> impl Strategy<Value = String> + Clone {
    any_of(&[
        "{matchName: api.example.com}",
        "{matchName: Example.com.}",
        "{matchPattern: \"*.example.com\"}",
        "{matchPattern: \"**.example.com\"}",
        "{matchPattern: \"a*i.*.com\"}",
        "{matchPattern: \"*\"}",
    ])
}

fn http_rule() -> impl Strategy<Value = String> {
    let path = any_of(&[
        "",
        "path: /a",
        "path: \"/a(\\\\?.*)?\"",
        "path: /.*",
        "path: \"^/b$\"",
        "path: \"(\"",
    ]);
    let method = any_of(&["", "", "method: GET", "method: GET|PUT", "method: \"(?i)put\""]);
    let host = any_of(&["", "", "", "host: h", "host: \".*\\\\.h\""]);
    let headers = any_of(&[
        "",
        "",
        "",
        "headers: [X-K]",
        "headers: [\"X-K: 1,2\"]",
        "headerMatches: [{name: x-k, value: \"1\"}]",
        "headerMatches: [{name: x-k, value: \"1\", mismatch: LOG}]",
    ]);
    (path, method, host, headers)
        .prop_map(|(path, method, host, headers)| braces(&[path, method, host, headers]))
}

/// `toPorts` or `icmps`.
fn ports(way: &'static str, allow: bool) -> impl Strategy<Value = String> {
    let plain = listed(
        any_of(&[
            "{port: \"80\", protocol: TCP}",
            "{port: \"80\"}",
            "{port: \"53\", protocol: UDP}",
            "{port: \"80\", endPort: 443, protocol: ANY}",
            "{port: \"1\", endPort: 80, protocol: TCP}",
            "{port: \"0\", protocol: TCP}",
            "{port: \"0\"}",
            "{port: web}",
            "{port: WEB, protocol: TCP}",
            "{port: alt, protocol: UDP}",
            "{port: \"65535\", protocol: SCTP}",
            "{port: \"1\", endPort: 65535, protocol: SCTP}",
        ]),
        0..3,
    );
    let inspected = (
        listed(
            any_of(&[
                "{port: \"80\", protocol: TCP}",
                "{port: \"79\", endPort: 443, protocol: TCP}",
                "{port: web, protocol: TCP}",
            ]),
            1..3,
        ),
        listed(http_rule(), 0..4),
    );
    let plain = plain.prop_map(|ports| format!("toPorts: [{{ports: {ports}}}]"));
    let inspected = inspected.prop_map(|(ports, rules)| {
        format!("toPorts: [{{ports: {ports}, rules: {{http: {rules}}}}}]")
    });
    let resolved = (
        listed(
            any_of(&[
                "{port: \"53\"}",
                "{port: \"53\", protocol: UDP}",
                "{port: \"80\"}",
                "{port: \"443\"}",
            ]),
            1..3,
        ),
        listed(name_pattern(), 1..3),
    );
    let resolved = resolved.prop_map(|(ports, names)| {
        format!("toPorts: [{{ports: {ports}, rules: {{dns: {names}}}}}]")
    });
    let rest = any_of(&["", "", "", "toPorts: []", "toPorts: [{}]", "toPorts: [{ports: []}]"]);
    let icmp = any_of(&[
        "icmps: [{fields: [{type: 8}]}]",
        "icmps: [{fields: [{type: EchoRequest, family: IPv6}, {type: 0}]}]",
        "icmps: [{fields: []}]",
    ]);
    if allow && way == "to" {
        prop_oneof![2 => plain, 4 => inspected, 5 => resolved, 2 => rest, 1 => icmp].boxed()
    } else if allow {
        prop_oneof![2 => plain, 6 => inspected, 2 => rest, 1 => icmp].boxed()
    } else {
        prop_oneof![3 => plain, 2 => rest, 1 => icmp].boxed()
    }
}

fn items(way: &'static str, allow: bool) -> impl Strategy<Value = String> {
    let item =
        (peers(way, allow), ports(way, allow)).prop_map(|(peers, ports)| braces(&[peers, ports]));
    let empty = format!("{{{way}Endpoints: []}}");
    let item = prop_oneof![9 => item, 1 => Just(if allow { empty } else { "{}".to_owned() }), 1 => Just("{}".to_owned())];
    listed(item, 1..3)
}

pub(crate) fn cilium() -> impl Strategy<Value = String> {
    let subject = selector();
    let lists = (
        prop::option::weighted(0.7, items("from", true)),
        prop::option::weighted(0.2, items("from", false)),
        prop::option::weighted(0.5, items("to", true)),
        prop::option::weighted(0.2, items("to", false)),
    );
    let switch =
        any_of(&["", "", "", "ingress: false", "egress: false", "ingress: false, egress: false"]);
    let kind = any_of(&["a", "a", "b", "cluster"]);
    (kind, subject, lists, switch).prop_map(|(kind, subject, lists, switch)| {
        let (kind, namespace) = match kind.as_str() {
            "cluster" => ("CiliumClusterwideNetworkPolicy", String::new()),
            namespace => ("CiliumNetworkPolicy", format!(", namespace: {namespace}")),
        };
        let list = |name: &str, list: Option<String>| list.map(|list| format!("{name}: {list}")).unwrap_or_default();
        let mut parts = vec![
            format!("endpointSelector: {subject}"),
            list("ingress", lists.0),
            list("ingressDeny", lists.1),
            list("egress", lists.2),
            list("egressDeny", lists.3),
        ];
        if parts.iter().filter(|part| !part.is_empty()).count() == 1 {
            parts.push("ingress: [{}]".to_owned());
        }
        if !switch.is_empty() {
            parts.push(format!("enableDefaultDeny: {{{switch}}}"));
        }
        format!("apiVersion: cilium.io/v2\nkind: {kind}\nmetadata: {{name: NAME{namespace}}}\nspec: {}\n", braces(&parts))
    })
}

pub(crate) fn kubernetes() -> impl Strategy<Value = String> {
    let labels = any_of(&[
        "{}",
        "{matchLabels: {app: w}}",
        "{matchLabels: {team: y}}",
        "{matchExpressions: [{key: team, operator: NotIn, values: [y]}]}",
        "{matchExpressions: [{key: app, operator: DoesNotExist}]}",
    ]);
    let peer = prop_oneof![
        labels.clone().prop_map(|pods| format!("{{podSelector: {pods}}}")),
        labels.clone().prop_map(|spaces| format!("{{namespaceSelector: {spaces}}}")),
        (labels.clone(), labels.clone()).prop_map(|(pods, spaces)| format!(
            "{{podSelector: {pods}, namespaceSelector: {spaces}}}"
        )),
        any_of(&[
            "{ipBlock: {cidr: 0.0.0.0/0, except: [8.0.0.0/8]}}",
            "{ipBlock: {cidr: 172.16.1.0/24}}"
        ]),
    ];
    let port = any_of(&[
        "{port: 80}",
        "{port: 80, endPort: 443, protocol: TCP}",
        "{port: web}",
        "{protocol: UDP}",
        "{port: 53, protocol: UDP}",
        "{}",
    ]);
    let rules = |way: &'static str| {
        let item = (
            prop::option::of(listed(peer.clone(), 0..3)),
            prop::option::of(listed(port.clone(), 0..3)),
        );
        let item = item.prop_map(move |(peers, ports)| {
            braces(&[
                peers.map(|peers| format!("{way}: {peers}")).unwrap_or_default(),
                ports.map(|ports| format!("ports: {ports}")).unwrap_or_default(),
            ])
        });
        prop::option::of(listed(item, 0..3))
    };
    let types = any_of(&[
        "",
        "policyTypes: [Ingress]",
        "policyTypes: [Egress]",
        "policyTypes: [Ingress, Egress]",
    ]);
    (any_of(&["a", "b"]), labels, rules("from"), rules("to"), types).prop_map(
        |(namespace, subject, ingress, egress, types)| {
            let list =
                |name: &str, list: Option<String>| list.map(|list| format!("{name}: {list}")).unwrap_or_default();
            let parts =
                [format!("podSelector: {subject}"), list("ingress", ingress), list("egress", egress), types];
            format!(
                "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: NAME, namespace: {namespace}}}\n\
                 spec: {}\n",
                braces(&parts)
            )
        },
    )
}
