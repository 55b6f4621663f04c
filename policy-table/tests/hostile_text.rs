//! Text that is no policy, or nearly one: it is refused or taken, never a panic, and what is taken compiles.

use std::io::Write as _;
use std::path::Path;

use policy_table::oracle::{Oracle, Question};
use policy_table::{
    Access, Flow, HttpRequest, HttpScratch, Identities, Peer, Protocol, Settings, Snapshot, Table,
};
use proptest::prelude::*;

/// Policies that use much of the language, to be broken.
const SEEDS: [&str; 3] = [
    "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: r, namespace: x}\nspec:\n  endpointSelector:\n    matchLabels: {app: s}\n  ingress:\n  - fromEndpoints:\n    - matchLabels: {k8s:app: a}\n      matchExpressions:\n      - {key: t, operator: NotIn, values: [a, b]}\n    toPorts:\n    - ports:\n      - {port: \"80\", endPort: 90, protocol: TCP}\n      rules:\n        http:\n        - {method: GET, path: \"/a(\\\\?.*)?\", headers: [\"X: 1\"], headerMatches: [{name: y, value: z, mismatch: LOG}]}\n  - fromCIDRSet:\n    - {cidr: 10.0.0.0/8, except: [10.1.0.0/16]}\n  - icmps: [{fields: [{type: 8, family: IPv4}]}]\n  egressDeny:\n  - toEntities: [world, kube-apiserver]\n  enableDefaultDeny: {egress: false}\n",
    "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p, namespace: x}\nspec:\n  podSelector: {}\n  policyTypes: [Ingress, Egress]\n  ingress:\n  - from:\n    - podSelector: {matchLabels: {a: b}}\n      namespaceSelector: {}\n    - ipBlock: {cidr: 10.0.0.0/8, except: [10.2.0.0/16]}\n    ports: [{port: 80, endPort: 90}, {port: web, protocol: UDP}]\n",
    "apiVersion: v1\nkind: Pod\nmetadata: &m {name: a, labels: {app: s}}\nspec: {containers: [{ports: [{name: web, containerPort: 80}]}]}\nstatus: {podIPs: [{ip: 10.0.0.1}, {ip: \"fd00::1\"}], conditions: [{type: Ready, status: \"True\"}]}\n---\napiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec: {clusterIP: 10.96.0.1, ports: [{port: 80, targetPort: web}], selector: {app: s}}\n",
];

fn take(text: &str) {
    if let Ok(loaded) = Snapshot::parse(&[("text.yaml", text)]) {
        Table::compile(&loaded.snapshot, &Settings::default(), &mut Identities::default(), 1);
    }
}

/// What is done to a text.
#[derive(Clone, Debug)]
enum Harm {
    Cut(prop::sample::Index, usize),
    Put(prop::sample::Index, String),
    Repeat(prop::sample::Index, usize),
}

fn harm() -> impl Strategy<Value = Harm> {
    let pieces = prop::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        ":",
        " ",
        "\n",
        "- ",
        "&a ",
        "*a",
        "\"",
        "'",
        "~",
        "null",
        "0",
        "-1",
        "65536",
        "!!int ",
        "\t",
        "---\n",
        "{{ .X }}",
        "(",
        "[[",
        "\\",
        "\u{0}",
        "\u{feff}",
        "\u{e9}",
        "<<: *m",
        "? ",
        "| ",
        "%YAML 1.2\n",
    ]);
    prop_oneof![
        (any::<prop::sample::Index>(), 1..40_usize).prop_map(|(at, length)| Harm::Cut(at, length)),
        (any::<prop::sample::Index>(), pieces)
            .prop_map(|(at, piece)| Harm::Put(at, piece.to_owned())),
        (any::<prop::sample::Index>(), 1..80_usize)
            .prop_map(|(at, length)| Harm::Repeat(at, length)),
    ]
}

fn harmed(text: &str, harms: &[Harm]) -> String {
    let mut text: Vec<char> = text.chars().collect();
    for harm in harms {
        if text.is_empty() {
            break;
        }
        match harm {
            Harm::Cut(at, length) => {
                let from = at.index(text.len());
                text.drain(from..text.len().min(from + length));
            }
            Harm::Put(at, piece) => {
                let from = at.index(text.len());
                text.splice(from..from, piece.chars());
            }
            Harm::Repeat(at, length) => {
                let from = at.index(text.len());
                let again: Vec<char> = text.iter().skip(from).take(*length).copied().collect();
                text.splice(from..from, again);
            }
        }
    }
    text.into_iter().collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_harmed_policy_never_panics(seed in prop::sample::select(SEEDS.to_vec()), harms in prop::collection::vec(harm(), 1..6)) {
        take(&harmed(seed, &harms));
    }

    #[test]
    fn any_text_never_panics(text in "\\PC{0,200}") {
        take(&text);
    }

    /// The automaton of a port reads a pattern as a regular expression of its own does.
    #[test]
    fn any_pattern_means_in_the_table_what_it_means_alone(
        // The one beside the random ones once fell apart: RE2's octal escapes were read by the table alone.
        pattern in prop_oneof![1 => Just(">\\0|".to_owned()), 60 => "[a-c/.*+?()\\[\\]{}|^$\\\\&:<>QEdDwsSzb0-9,-]{1,16}"],
        method in "(GET)?|[A-Z.*|^$()]{1,6}",
    ) {
        let quoted = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
        let text = format!(
            "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {{name: r}}\nspec: {{endpointSelector: {{}}, \
             ingress: [{{toPorts: [{{ports: [{{port: \"80\", protocol: TCP}}], \
             rules: {{http: [{{path: \"{}\", method: \"{}\"}}]}}}}]}}]}}\n---\n\
             apiVersion: v1\nkind: Pod\nmetadata: {{name: a}}\nstatus: {{podIP: 10.0.0.1}}\n",
            quoted(&pattern),
            quoted(&method)
        );
        let Ok(loaded) = Snapshot::parse(&[("text.yaml", &text)]) else {
            // Only what looks like a template is refused.
            prop_assert!(pattern.contains("{{"), "{text}");
            return Ok(());
        };
        let settings = Settings::default();
        let table = Table::compile(&loaded.snapshot, &settings, &mut Identities::default(), 1);
        let oracle = Oracle::new(&loaded.snapshot, &settings);
        let question = Question {
            source: [8, 8, 8, 8].into(),
            destination: [10, 0, 0, 1].into(),
            protocol: Protocol::TCP,
            dst_port: 80,
        };
        let peer = |address| Peer { identity: table.identity_of(address), endpoint: table.endpoint_of(address) };
        let flow = Flow {
            source: peer(question.source),
            destination: peer(question.destination),
            protocol: Protocol::TCP,
            dst_port: 80,
        };
        let Access::Inspect(access) = table.judge(&flow) else {
            return Err(TestCaseError::fail("not inspected"));
        };
        let mut scratch = HttpScratch::default();
        let paths = ["/", "", "/a", "a", "b", "/ab", "/a/b", "/a.b", "/[a", "a{", "a b", "/0", "\u{e9}", "aGET", pattern.as_str()];
        for (path, method) in paths.into_iter().flat_map(|path| [(path, "GET"), (path, ""), (path, "A")]) {
            let request = HttpRequest { method, path, host: "a", headers: &|_| {} };
            let alone = oracle.refuses(&question, &request).is_none();
            let table = table.judge_http(&access, &request, &mut scratch).is_allowed();
            prop_assert_eq!(table, alone, "{} {:?}", method, path);
        }
    }
}

#[test]
fn every_prefix_of_a_published_policy_is_taken_or_refused() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../shared/policies/cilium-main/examples/policies");
    let Ok(text) = std::fs::read_to_string(root.join("l7/http/http.yaml")) else {
        let _told = writeln!(std::io::stderr(), "SKIPPED: {} is absent", root.display());
        return;
    };
    for (end, _) in text.char_indices() {
        take(&text[..end]);
    }
}
