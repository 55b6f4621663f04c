//! HTTP rules and requests of any text: a table lets pass what a rule alone, run by another engine, says it may.

use policy_table::oracle::Oracle;
use policy_table::rule::HttpRule;
use policy_table::rule::pattern::Pattern;
use policy_table::{
    Access, Flow, HttpRequest, HttpScratch, HttpVerdict, Identities, Peer, Protocol, Settings,
    Snapshot, Table,
};

const POD: &str =
    "apiVersion: v1\nkind: Pod\nmetadata: {name: a, labels: {app: a}}\nstatus: {podIP: 10.0.0.1}\n";

const POLICY: &str = "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: p}\nspec:\n  \
    endpointSelector: {}\n  ingress:\n  - toPorts:\n    - ports: [{port: \"80\", protocol: TCP}]\n      rules:\n        http:\n";

/// The three fields of a line: method, path and host, with tabs between them.
fn fields(line: &str) -> [&str; 3] {
    let mut fields = line.splitn(3, '\t');
    std::array::from_fn(|_| fields.next().unwrap_or_default())
}

/// Lines of rules, an empty line, lines of requests; an empty field of a rule is none. Panics if an answer is wrong;
/// how many requests are denied, and allowed.
pub(crate) fn check(bytes: &[u8]) -> [usize; 2] {
    let text = String::from_utf8_lossy(bytes);
    let (rules, requests) = text.split_once("\n\n").unwrap_or((&text, ""));
    let rules: Vec<[&str; 3]> = rules.lines().take(24).map(fields).collect();
    let mut policy = POLICY.to_owned();
    for rule in &rules {
        let fields =
            ["method", "path", "host"].into_iter().zip(rule).filter(|(_, text)| !text.is_empty());
        let quoted = |text: &str| {
            text.chars().map(|c| format!("\\U{:08x}", u32::from(c))).collect::<String>()
        };
        let fields: Vec<String> =
            fields.map(|(name, text)| format!("{name}: \"{}\"", quoted(text))).collect();
        policy.push_str(&format!("        - {{{}}}\n", fields.join(", ")));
    }
    let Ok(loaded) = Snapshot::parse(&[("pod.yaml", POD), ("policy.yaml", &policy)]) else {
        return [0; 2];
    };
    let settings = Settings::default();
    let table = Table::compile(&loaded.snapshot, &settings, &mut Identities::default(), 1);
    let oracle = Oracle::new(&loaded.snapshot, &settings);
    let peer = |address: [u8; 4]| Peer {
        identity: table.identity_of(address.into()),
        endpoint: table.endpoint_of(address.into()),
    };
    let (source, destination) = (peer([8, 8, 8, 8]), peer([10, 0, 0, 1]));
    let flow = Flow { source, destination, protocol: Protocol::TCP, dst_port: 80 };
    let Access::Inspect(access) = table.judge(&flow) else { return [0; 2] };
    let pattern = |text: &str| (!text.is_empty()).then(|| Pattern::new(text));
    let alone: Vec<HttpRule> = rules
        .iter()
        .map(|[method, path, host]| HttpRule {
            method: pattern(method),
            path: pattern(path),
            host: pattern(host),
            ..HttpRule::default()
        })
        .collect();
    let (mut scratch, mut answers) = (HttpScratch::default(), [0; 2]);
    for line in requests.lines().take(24) {
        let [method, path, host] = fields(line);
        let request = HttpRequest { method, path, host, headers: &|_| {} };
        let expected = alone.iter().any(|rule| oracle.meets(rule, &request));
        answers[usize::from(expected)] += 1;
        match table.judge_http(&access, &request, &mut scratch) {
            HttpVerdict::Allow { ingress, .. } => {
                assert!(expected, "no rule of {alone:?} allows {request:?}");
                let rule = ingress.and_then(|cause| table.http_rule_of(cause));
                let rule = rule.expect("a rule allowed it");
                assert!(oracle.meets(rule, &request), "{rule:?} does not allow {request:?}");
            }
            HttpVerdict::Deny { .. } => {
                assert!(!expected, "a rule of {alone:?} allows {request:?}");
            }
        }
    }
    answers
}
