//! Small random clusters, policies, flows and requests: the compiled table answers as the oracle does.
//!
//! Everything is generated as the text people write, so the loader is part of what is compared. A failure prints the
//! smallest snapshot found and its question; the seed is kept beside this file (`proptest-regressions/`).

#![expect(clippy::expect_used, reason = "a test that cannot go on has failed")]

use std::ffi::OsStr;
use std::net::IpAddr;

use policy_table::compiled::Compiled;
use policy_table::oracle::{Answer, Learned, Oracle, Question};
use policy_table::{
    Access, Compiler, Denial, Directory, DnsVerdict, Enforcement, Flow, HttpRequest, HttpScratch,
    HttpVerdict, Identities, Names, Peer, Protocol, Settings, Snapshot, Table, explain,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{FileFailurePersistence, TestRunner};

/// Kinds of answers.
const KINDS: usize = 5;

/// Cases of one run; `PROPTEST_CASES` asks for more.
const CASES: u32 = 2000;

const HOST: &str = "192.168.0.1";
const STRANGERS: [&str; 8] = [
    HOST,
    "192.168.0.2",
    "192.168.0.3",
    "8.8.8.8",
    "172.16.1.1",
    "172.16.1.9",
    "2001:db8::1",
    "2001:db8:1::1",
];
const PORTS: [u16; 5] = [79, 80, 443, 8080, 0];
const PROTOCOLS: [Protocol; 6] =
    [Protocol::TCP, Protocol::UDP, Protocol::SCTP, Protocol::ICMP, Protocol::ICMPV6, Protocol(47)];

/// One of these texts.
fn any_of(texts: &'static [&'static str]) -> impl Strategy<Value = String> + Clone {
    select(texts).prop_map(str::to_owned)
}

fn listed(
    item: impl Strategy<Value = String>,
    sizes: std::ops::Range<usize>,
) -> impl Strategy<Value = String> {
    vec(item, sizes).prop_map(|items| format!("[{}]", items.join(", ")))
}

fn pod(index: usize) -> impl Strategy<Value = String> {
    let namespace = any_of(&["a", "a", "b"]);
    let labels = any_of(&[
        "app: w",
        "app: x",
        "app: w, tier: f",
        "app: x, tier: g",
        "tier: f, pod-template-hash: abc",
        "\"kubernetes.io/x\": y, app: x",
    ]);
    let ports = any_of(&[
        "",
        "",
        "{name: web, containerPort: 80}",
        "{name: web, containerPort: 8080}",
        "{name: web, containerPort: 53, protocol: UDP}, {name: alt, containerPort: 443}",
    ]);
    let account = any_of(&["", "serviceAccountName: robot, "]);
    let addresses = any_of(&["v4", "v4", "v4", "v4", "both", "none"]);
    (namespace, labels, ports, account, addresses).prop_map(move |(namespace, labels, ports, account, addresses)| {
        let ips = match addresses.as_str() {
            "v4" => format!("{{ip: 10.0.0.{index}}}"),
            "both" => format!("{{ip: 10.0.0.{index}}}, {{ip: \"fd00::{index}\"}}"),
            _ => String::new(),
        };
        format!(
            "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: p{index}, namespace: {namespace}, labels: {{{labels}}}}}\n\
             spec: {{{account}containers: [{{ports: [{ports}]}}]}}\nstatus: {{podIPs: [{ips}]}}\n"
        )
    })
}

/// What does not change from case to case.
const SURROUNDINGS: &str = r#"
apiVersion: v1
kind: Namespace
metadata: {name: a, labels: {team: x}}
---
apiVersion: v1
kind: Namespace
metadata: {name: b, labels: {team: y, kubernetes.io/metadata.name: forged}}
---
apiVersion: v1
kind: Node
metadata: {name: n1}
status: {addresses: [{type: InternalIP, address: 192.168.0.1}, {type: Hostname, address: n1}]}
---
apiVersion: v1
kind: Node
metadata: {name: n2}
status: {addresses: [{type: InternalIP, address: 192.168.0.2}]}
---
apiVersion: v1
kind: Pod
metadata: {name: on-the-node, namespace: a, labels: {app: w}}
spec: {hostNetwork: true}
status: {podIP: 192.168.0.3}
---
apiVersion: v1
kind: Service
metadata: {name: chosen, namespace: a, labels: {kind: inside}}
spec: {clusterIP: 10.96.0.1, ports: [{port: 80}], selector: {app: w}}
---
apiVersion: v1
kind: Service
metadata: {name: outer, namespace: a, labels: {kind: outside}}
spec: {clusterIP: 10.96.0.2, ports: [{port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: outer-1, namespace: a, labels: {kubernetes.io/service-name: outer}}
addressType: IPv4
endpoints: [{addresses: [172.16.1.9]}]
ports: [{port: 80}]
---
apiVersion: cilium.io/v2
kind: CiliumCIDRGroup
metadata: {name: group, labels: {which: far}}
spec: {externalCIDRs: [172.16.0.0/12, "2001:db8::/32"]}
"#;

fn api_server() -> impl Strategy<Value = String> {
    any_of(&["192.168.0.1", "192.168.0.2", "172.16.1.1", "none"]).prop_map(|address| match address.as_str() {
        "none" => String::new(),
        address => format!(
            "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
             metadata: {{name: k, labels: {{kubernetes.io/service-name: kubernetes}}}}\n\
             addressType: IPv4\nendpoints: [{{addresses: [{address}]}}]\nports: [{{name: https, port: 6443}}]\n"
        ),
    })
}

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

/// Names that are asked for, and that addresses may have.
const NAMES: [&str; 5] =
    ["api.example.com.", "a.b.example.com.", "example.com.", "evil.com.", "api.other.com."];

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

/// A flow mapping of the parts that are there.
fn braces(parts: &[String]) -> String {
    let there: Vec<&str> =
        parts.iter().map(String::as_str).filter(|part| !part.is_empty()).collect();
    format!("{{{}}}", there.join(", "))
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

fn cilium() -> impl Strategy<Value = String> {
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

fn kubernetes() -> impl Strategy<Value = String> {
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

#[derive(Clone)]
struct Case {
    cluster: String,
    policies: Vec<String>,
    enforcement: Enforcement,
}

impl std::fmt::Debug for Case {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{:?}\n{}\n{}", self.enforcement, self.cluster, self.policies.join("---\n"))
    }
}

fn case() -> impl Strategy<Value = Case> {
    let pods = (pod(1), pod(2), pod(3)).prop_map(|(a, b, c)| [a, b, c].concat());
    let policies = vec(prop_oneof![3 => cilium(), 1 => kubernetes()], 0..5);
    let modes = select(vec![
        Enforcement::Default,
        Enforcement::Default,
        Enforcement::Default,
        Enforcement::Default,
        Enforcement::Always,
        Enforcement::Never,
    ]);
    (pods, api_server(), policies, modes).prop_map(|(pods, api, policies, enforcement)| {
        let policies = policies
            .iter()
            .enumerate()
            .map(|(i, text)| text.replace("NAME", &format!("r{i}")))
            .collect();
        Case { cluster: format!("{pods}{api}"), policies, enforcement }
    })
}

const REQUESTS: [(&str, &str, &str, &str); 7] = [
    ("GET", "/a", "h", ""),
    ("GET", "/a?x=1", "h", "1"),
    ("PUT", "/b", "x.h", "1,2"),
    ("put", "/", "h:80", ""),
    ("POST", "/a/b", "", "2,1"),
    ("GET", "(", "h", "1"),
    ("GET", "/\u{e9}", ".h", ""),
];

impl Case {
    /// The files of the case, by name: a pod or a policy each, so that one of them can change alone.
    fn files(&self) -> Vec<(String, String)> {
        let pods = self.cluster.split("---\n").filter(|text| !text.is_empty());
        let pods = pods.enumerate().map(|(i, text)| (format!("cluster-{i}.yaml"), text.to_owned()));
        let policies = self.policies.iter().enumerate();
        let policies = policies.map(|(i, text)| (format!("policy-{i}.yaml"), text.clone()));
        let rest = [("rest.yaml".to_owned(), SURROUNDINGS.to_owned())];
        pods.chain(rest).chain(policies).collect()
    }

    fn settings(&self) -> Settings {
        Settings {
            enforcement: self.enforcement,
            host_addresses: vec![HOST.parse().expect("an address")],
            audit: false,
        }
    }
}

/// Compares the table of a case with the oracle, and the same table out of a compiled file.
fn compare(case: &Case) -> Result<[usize; KINDS], TestCaseError> {
    let files = case.files();
    let sources: Vec<(&str, &str)> =
        files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let loaded = Snapshot::parse(&sources)
        .map_err(|refusals| TestCaseError::fail(format!("refused: {refusals}")))?;
    let settings = case.settings();
    let table = Table::compile(&loaded.snapshot, &settings, &mut Identities::default(), 1);
    let seen = ask(&loaded.snapshot, &settings, &table)?;
    let (bytes, _) = Compiled::make(&sources, case.enforcement)
        .map_err(|refusals| TestCaseError::fail(format!("refused: {refusals}")))?;
    let compiled =
        Compiled::read(&bytes).map_err(|error| TestCaseError::fail(error.to_string()))?;
    let loaded_table = compiled
        .table(&settings, 1)
        .map_err(|refusals| TestCaseError::fail(format!("refused: {refusals}")))?;
    ask(&loaded.snapshot, &settings, &loaded_table)?;
    Ok(seen)
}

/// Changes files from those of one case to those of others, step by step; the table that follows the changes is compared
/// with the oracle after each.
fn follow(cases: &[Case], masks: &[u32]) -> Result<(), TestCaseError> {
    let directory = tempfile::tempdir().expect("a directory");
    let mut files = Directory::new(directory.path());
    let mut compiler = Compiler::default();
    let mut there = std::collections::BTreeMap::new();
    for (case, mask) in cases.iter().zip(masks) {
        let wanted: std::collections::BTreeMap<String, String> = case.files().into_iter().collect();
        let names: std::collections::BTreeSet<String> =
            wanted.keys().chain(there.keys()).cloned().collect();
        let mut changed = Vec::new();
        for (place, name) in names.into_iter().enumerate() {
            // The first case comes whole.
            if !there.is_empty() && mask >> (place % 32) & 1 == 0 {
                continue;
            }
            let path = directory.path().join(&name);
            match wanted.get(&name) {
                Some(text) => std::fs::write(path, text).expect("a file"),
                None => std::fs::remove_file(path).expect("a file"),
            }
            changed.push(name);
        }
        there.extend(
            changed.iter().filter_map(|name| Some((name.clone(), wanted.get(name)?.clone()))),
        );
        there.retain(|name, _| wanted.contains_key(name) || !changed.contains(name));
        let sources: Vec<(&str, &str)> =
            there.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        let update = files.read_files(changed.iter().map(OsStr::new));
        let (update, loaded) = match (update, Snapshot::parse(&sources)) {
            (Ok(update), Ok(loaded)) => (update, loaded),
            // Pods of two cases may have one address: then both ways of reading refuse, and the next step mends it.
            (Err(_), Err(_)) => continue,
            (one, two) => {
                let said = format!("{one:?} but {:?}", two.err());
                return Err(TestCaseError::fail(said));
            }
        };
        let settings = case.settings();
        compiler.set(settings.clone());
        let table = compiler.apply(&update, 1);
        ask(&loaded.snapshot, &settings, &table)?;
        let scratch = Table::compile(&loaded.snapshot, &settings, &mut Identities::default(), 1);
        prop_assert_eq!(
            scratch.rules().count(),
            table.rules().count(),
            "as many rules as from scratch"
        );
        prop_assert_eq!(scratch.identities().len(), table.identities().len());
        prop_assert_eq!(services(&scratch), services(&table));
    }
    Ok(())
}

fn services(table: &Table) -> Vec<String> {
    let mut all: Vec<String> =
        table.services().iter().map(|service| format!("{service:?}")).collect();
    all.sort();
    all
}

/// Asks both about every pair of addresses, every protocol and port; returns how many answers of each kind there were.
fn ask(
    snapshot: &Snapshot,
    settings: &Settings,
    table: &Table,
) -> Result<[usize; KINDS], TestCaseError> {
    // Each pod is told other addresses of other names.
    let mut learned = Vec::new();
    let told = table.endpoints().iter().flat_map(|pod| pod.addresses.first()).zip(NAMES);
    for (pod, own) in told {
        for (name, address) in [
            (own, "8.8.8.8"),
            ("evil.com.", "172.16.1.1"),
            ("api.example.com.", "172.16.1.1"),
            (own, "192.168.0.2"),
            ("example.com.", "2001:db8::1"),
        ] {
            let address = address.parse().expect("an address");
            learned.push(Learned { pod: *pod, name: name.to_owned(), address });
        }
    }
    let oracle = Oracle::new(snapshot, settings).knowing(&learned);
    let mut scratch = HttpScratch::default();
    let mut seen = [0_usize; KINDS];
    let pods: Vec<IpAddr> =
        table.endpoints().iter().flat_map(|endpoint| endpoint.addresses.clone()).collect();
    let strangers = STRANGERS.map(|address| address.parse::<IpAddr>().expect("an address"));
    let everyone: Vec<IpAddr> = pods.iter().copied().chain(strangers).collect();
    let peer = |address| Peer {
        identity: table.identity_of(address),
        endpoint: table.endpoint_of(address),
    };
    for source in &everyone {
        for destination in &everyone {
            if !pods.contains(source) && !pods.contains(destination) {
                continue;
            }
            for protocol in PROTOCOLS {
                let asked: &[u16] = match protocol {
                    Protocol::TCP => &PORTS,
                    Protocol::ICMP | Protocol::ICMPV6 => &[8, 0, 128],
                    Protocol::SCTP => &[80, 65535],
                    Protocol(47) => &[0],
                    _ => &[53, 80],
                };
                for dst_port in asked.iter().copied() {
                    let flow = Flow {
                        source: peer(*source),
                        destination: peer(*destination),
                        protocol,
                        dst_port,
                    };
                    let question =
                        Question { source: *source, destination: *destination, protocol, dst_port };
                    let expected = oracle.access(&question);
                    let mut names = Names::NONE;
                    for one in learned.iter().filter(|one| one.address == *destination) {
                        let pod = table.endpoint_of(one.pod);
                        if let Some(pod) = pod.filter(|pod| flow.source.endpoint == Some(*pod)) {
                            names.extend(&table.names_of(pod, &one.name));
                        }
                    }
                    let access = table.judge_named(&flow, &names);
                    let answer = match access {
                        Access::Allow(_) => Answer::Allow,
                        Access::Deny(Denial { direction, explicit, .. }) => {
                            Answer::Deny { direction, explicit }
                        }
                        Access::Inspect(_) => Answer::Inspect,
                        Access::Resolve(_) => Answer::Resolve,
                    };
                    prop_assert_eq!(answer, expected, "{:?}", question);
                    let kind = match answer {
                        Answer::Allow => 0,
                        Answer::Deny { explicit: false, .. } => 1,
                        Answer::Deny { explicit: true, .. } => 2,
                        Answer::Inspect => 3,
                        Answer::Resolve => 4,
                    };
                    if let Some(count) = seen.get_mut(kind) {
                        *count += 1;
                    }
                    // A denial by rule names a deny rule; one by default names none.
                    if let Access::Deny(denial) = access {
                        prop_assert_eq!(
                            table.rule_of(denial.cause).is_some(),
                            denial.explicit,
                            "{:?}",
                            question
                        );
                    }
                    // What people are told is what happens.
                    let told = |request: Option<&HttpRequest<'_>>| {
                        explain(snapshot, settings, &question, request)
                    };
                    // `explain` knows files, not what DNS told.
                    let explained = pods.first() == Some(source)
                        && (protocol, dst_port) == (Protocol::TCP, 80)
                        && names.is_empty();
                    if explained {
                        let passes = !matches!(answer, Answer::Deny { .. });
                        prop_assert_eq!(told(None).passes, passes, "{}", told(None));
                    }
                    if let Access::Resolve(dns) = &access {
                        for name in NAMES.into_iter().chain(["."]) {
                            let refused = matches!(table.judge_dns(dns, name), DnsVerdict::Deny(_));
                            let expected = oracle.refuses_query(&question, name);
                            prop_assert_eq!(refused, expected, "{:?} {}", question, name);
                        }
                    }
                    let Access::Inspect(http) = access else { continue };
                    for (method, path, host, key) in REQUESTS {
                        let headers = |each: &mut dyn FnMut(&str, &[u8])| {
                            key.split(',')
                                .filter(|part| !part.is_empty())
                                .for_each(|part| each("X-k", part.as_bytes()));
                        };
                        let request = HttpRequest { method, path, host, headers: &headers };
                        let refused = oracle.refuses(&question, &request);
                        let verdict = match table.judge_http(&http, &request, &mut scratch) {
                            HttpVerdict::Allow { .. } => None,
                            HttpVerdict::Deny { direction, .. } => Some(direction),
                        };
                        if explained {
                            let told = told(Some(&request));
                            prop_assert_eq!(told.passes, refused.is_none(), "{}", told);
                        }
                        prop_assert_eq!(
                            verdict,
                            refused,
                            "{:?} {:?} key {:?}",
                            question,
                            request,
                            key
                        );
                    }
                }
            }
        }
    }
    Ok(seen)
}

#[test]
fn the_table_answers_as_the_oracle_does() {
    let cases =
        std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(CASES);
    let kept = concat!(env!("CARGO_MANIFEST_DIR"), "/proptest-regressions/table_is_the_oracle.txt");
    let mut runner = TestRunner::new(ProptestConfig {
        cases,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(kept))),
        ..ProptestConfig::default()
    });
    let seen = std::cell::RefCell::new([0_usize; KINDS]);
    let outcome = runner.run(&case(), |case| {
        let more = compare(&case)?;
        seen.borrow_mut().iter_mut().zip(more).for_each(|(all, more)| *all += more);
        Ok(())
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
    let seen = seen.into_inner();
    println!(
        "{cases} snapshots; answers: allow, deny by default, deny by rule, inspect, resolve: {seen:?}"
    );
    let enough = usize::try_from(cases / 4).unwrap_or(usize::MAX);
    assert!(
        cases < 200 || seen.iter().all(|count| *count > enough),
        "every kind of answer is common: {seen:?}"
    );
}

#[test]
fn a_table_that_was_changed_answers_as_one_from_scratch() {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    let kept = concat!(env!("CARGO_MANIFEST_DIR"), "/proptest-regressions/table_follows.txt");
    let mut runner = TestRunner::new(ProptestConfig {
        cases: cases.unwrap_or(CASES) / 8,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(kept))),
        ..ProptestConfig::default()
    });
    let steps = vec((case(), any::<u32>()), 2..6);
    let outcome = runner.run(&steps, |steps| {
        let (cases, masks): (Vec<Case>, Vec<u32>) = steps.into_iter().unzip();
        follow(&cases, &masks)
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
}
