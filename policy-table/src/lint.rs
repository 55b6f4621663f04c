//! What is valid and probably not what was meant.
//!
//! Arrives: a snapshot that was taken, and its table. Leaves: [`Finding`]s, each with its rule and line, for `policy check`
//! to print. A finding never changes a verdict.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;
use std::net::IpAddr;

use crate::label::{Labels, POD_NAMESPACE};
use crate::rule::shape::Shape;
use crate::rule::{
    CidrGroups, Clause, Direction, HttpRule, Peer, Peers, Policy, PortSpec, Ports, Rule,
    RuleOrigin, ServiceChoice,
};
use crate::selector::{Selector, Test};
use crate::side::IdentitySet;
use crate::snapshot::{Severity, Snapshot};
use crate::table::Table;
use crate::verdict::CauseKind;
use roaring::RoaringBitmap;

/// Something worth a second look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// A short, stable name, such as `selects-nothing`.
    pub code: &'static str,
    /// The rule.
    pub rule: RuleOrigin,
    /// What is odd.
    pub message: String,
    /// What was probably meant; may be empty.
    pub advice: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { severity, code, rule, message, advice } = self;
        write!(out, "{severity}[{code}]: {rule}: {message}")?;
        if advice.is_empty() { Ok(()) } else { write!(out, "; {advice}") }
    }
}

/// Looks through a snapshot's policies; `table` must be compiled from it.
pub fn lint(snapshot: &Snapshot, table: &Table) -> Vec<Finding> {
    let mut linting = Linting::new(snapshot);
    for policy in &snapshot.policies {
        for rule in &policy.rules {
            linting.rule(policy, rule);
        }
    }
    linting.shadowed(table);
    linting.findings
}

struct Linting<'s> {
    snapshot: &'s Snapshot,
    /// The label sets of the pods, each once.
    identities: Vec<Labels>,
    addresses: BTreeSet<IpAddr>,
    port_names: BTreeSet<String>,
    /// The subjects of the rules whose DNS rules let us see answers.
    sees_answers: Vec<&'s Selector>,
    selects: HashMap<Selector, bool>,
    findings: Vec<Finding>,
}

impl<'s> Linting<'s> {
    fn new(snapshot: &'s Snapshot) -> Self {
        let identities: BTreeSet<Labels> =
            snapshot.pods.iter().map(|pod| snapshot.labels_of(pod)).collect();
        let ports = snapshot.pods.iter().flat_map(|pod| &pod.ports);
        let rules = snapshot.policies.iter().flat_map(|policy| &policy.rules);
        let sees_answers = rules.filter(|rule| rule.egress.clauses.iter().any(reads_dns));
        Self {
            snapshot,
            identities: identities.into_iter().collect(),
            addresses: snapshot.pods.iter().flat_map(|pod| &pod.addresses).copied().collect(),
            port_names: ports
                .filter_map(|port| port.name.as_ref().map(|name| name.to_ascii_lowercase()))
                .collect(),
            sees_answers: sees_answers.map(|rule| &rule.subject).collect(),
            selects: HashMap::new(),
            findings: Vec::new(),
        }
    }

    fn find(
        &mut self,
        severity: Severity,
        code: &'static str,
        at: RuleOrigin,
        message: String,
        advice: &str,
    ) {
        self.findings.push(Finding {
            severity,
            code,
            rule: at,
            message,
            advice: advice.to_owned(),
        });
    }

    /// Whether a selector selects a pod of the snapshot.
    fn selects(&mut self, selector: &Selector) -> bool {
        if let Some(known) = self.selects.get(selector) {
            return *known;
        }
        let found = self.identities.iter().any(|labels| selector.matches(labels));
        self.selects.insert(selector.clone(), found);
        found
    }

    fn rule(&mut self, policy: &Policy, rule: &Rule) {
        // Without pods there is nothing to select, and nothing to say about it.
        let populated = !self.identities.is_empty();
        if populated && !self.selects(&rule.subject) {
            let clause = rule.ingress.clauses.first().or(rule.egress.clauses.first());
            if let Some(clause) = clause {
                let message = format!("the policy selects no pod: {}", rule.subject);
                let advice = self.namespace_typo(&rule.subject);
                self.find(
                    Severity::Warning,
                    "selects-nothing",
                    policy.origin_of(clause),
                    message,
                    &advice,
                );
            }
        }
        self.audited(policy, rule);
        self.names(policy, rule);
        for direction in [Direction::Ingress, Direction::Egress] {
            for clause in &rule.section(direction).clauses {
                self.peers(policy, clause, populated);
                self.ports(policy, clause, populated);
            }
        }
    }

    /// A policy that is only tried: whoever reads the check's result should know that it stops nothing.
    fn audited(&mut self, policy: &Policy, rule: &Rule) {
        let clause = rule.ingress.clauses.first().or(rule.egress.clauses.first());
        if let Some(clause) = clause.filter(|_| policy.audited) {
            let message = "the policy is in audit mode: what it denies passes".to_owned();
            let advice = "take the annotation blastdoor.io/policy-audit-mode out to enforce it";
            self.find(Severity::Info, "audit-mode", policy.origin_of(clause), message, advice);
        }
    }

    /// `toFQDNs` for pods of whose DNS answers nothing is seen: no address ever gets a name.
    fn names(&mut self, policy: &Policy, rule: &Rule) {
        let names = |peer: &Peer| matches!(peer, Peer::Name(_));
        let named =
            rule.egress.clauses.iter().find(
                |clause| matches!(&clause.peers, Peers::AnyOf(peers) if peers.iter().any(names)),
            );
        let Some(clause) = named else { return };
        let blind = self.identities.iter().find(|labels| {
            rule.subject.matches(labels)
                && !self.sees_answers.iter().any(|subject| subject.matches(labels))
        });
        if let Some(labels) = blind {
            let message = format!(
                "toFQDNs opens nothing for pods with {labels}: no rules.dns lets their DNS answers be seen"
            );
            let advice =
                "allow their DNS server on port 53 with `rules: {dns: [{matchPattern: \"*\"}]}`";
            self.find(
                Severity::Warning,
                "names-not-seen",
                policy.origin_of(clause),
                message,
                advice,
            );
        }
    }

    fn peers(&mut self, policy: &Policy, clause: &Clause, populated: bool) {
        let Peers::AnyOf(peers) = &clause.peers else { return };
        let at = || policy.origin_of(clause);
        for peer in peers {
            match peer {
                Peer::Endpoints(selector) => {
                    let reserved = selector.mentions(&[Some("reserved")], |_| true);
                    if populated && !reserved && !self.selects(selector) {
                        let advice = self.namespace_typo(selector);
                        let message = format!("the peer selects no pod: {selector}");
                        self.find(
                            Severity::Warning,
                            "peer-selects-nothing",
                            at(),
                            message,
                            &advice,
                        );
                    }
                }
                Peer::Cidr { prefix, .. } => {
                    let inside =
                        self.addresses.iter().find(|address| prefix.contains(*address)).copied();
                    if let Some(pod) = inside.filter(|_| prefix.prefix_len() > 0) {
                        let message = format!(
                            "{prefix} holds the pod address {pod}, but prefixes never match pods"
                        );
                        self.find(
                            Severity::Warning,
                            "cidr-of-pods",
                            at(),
                            message,
                            "select the pods by labels",
                        );
                    }
                }
                Peer::CidrGroup { groups, .. } => {
                    let known = self.snapshot.cidr_groups.iter().any(|group| match groups {
                        CidrGroups::Named(name) => group.name == *name,
                        CidrGroups::Selected(selector) => {
                            selector.matches(&as_labels(&group.labels))
                        }
                    });
                    if !known {
                        let message =
                            "there is no such CiliumCIDRGroup, so it selects nobody".to_owned();
                        self.find(Severity::Warning, "no-such-group", at(), message, "");
                    }
                }
                Peer::Service(wanted) => {
                    let known = self.snapshot.services.iter().any(|service| {
                        wanted
                            .namespace
                            .as_ref()
                            .is_none_or(|namespace| service.namespace == *namespace)
                            && match &wanted.which {
                                ServiceChoice::Named(name) => service.name == *name,
                                ServiceChoice::Selected(selector) => {
                                    selector.matches(&as_labels(&service.labels))
                                }
                            }
                    });
                    if !known {
                        let message = "there is no such Service, so it selects nobody".to_owned();
                        self.find(Severity::Warning, "no-such-service", at(), message, "");
                    }
                }
                Peer::Entity(_) | Peer::Name(_) => {}
            }
        }
    }

    /// A namespace a selector asks for that does not exist, with the one that is nearest.
    fn namespace_typo(&self, selector: &Selector) -> String {
        let asked = selector
            .requirements()
            .iter()
            .filter(|requirement| requirement.key.name == POD_NAMESPACE);
        for requirement in asked {
            let Test::In(values) = &requirement.test else { continue };
            let unknown =
                values.iter().find(|value| !self.snapshot.namespaces.contains_key(*value));
            let Some(unknown) = unknown else { continue };
            let nearest =
                self.snapshot.namespaces.keys().min_by_key(|name| distance(name, unknown));
            return match nearest.filter(|name| distance(name, unknown) <= 2) {
                Some(name) => format!("there is no namespace {unknown:?}; did you mean {name:?}?"),
                None => format!("there is no namespace {unknown:?}"),
            };
        }
        String::new()
    }

    fn ports(&mut self, policy: &Policy, clause: &Clause, populated: bool) {
        let at = || policy.origin_of(clause);
        let rules = match &clause.ports {
            Ports::All => return,
            Ports::Nothing => {
                let message = "toPorts names no port, so the rule matches nothing".to_owned();
                let advice = "take toPorts out to mean every port";
                return self.find(Severity::Warning, "no-ports", at(), message, advice);
            }
            Ports::AnyOf(rules) => rules,
        };
        for rule in rules {
            if let PortSpec::Named(name) = &rule.port
                && populated
                && !self.port_names.contains(name)
            {
                let message = format!("no container port is called {name:?}, so it opens nothing");
                self.find(Severity::Warning, "no-such-port", at(), message, "");
            }
        }
        // The same HTTP rules hang on every port of an item.
        let mut seen: HashSet<&HttpRule> = HashSet::new();
        for http in rules.iter().filter_map(|rule| rule.l7.http()).flat_map(|rules| rules.iter()) {
            if seen.insert(http) {
                self.http(&at(), http);
            }
        }
    }

    fn http(&mut self, at: &RuleOrigin, rule: &HttpRule) {
        if let Some(path) = &rule.path
            && let Some(shape) = Shape::of(path)
        {
            let text = path.text();
            if !shape.begins_with(b'/') && !shape.begins_with(b'*') {
                let message =
                    format!("path {text:?} matches no path, for every path begins with \"/\"");
                self.find(
                    Severity::Warning,
                    "path-never-matches",
                    at.clone(),
                    message,
                    "begin it with \"/\" or \".*\"",
                );
            } else if !shape.can_hold(b'?') {
                let message = format!("path {text:?} matches no request with a query string");
                self.find(
                    Severity::Info,
                    "path-without-query",
                    at.clone(),
                    message,
                    "write (\\?.*)? behind it if one may come",
                );
            }
        }
        if let Some(method) = &rule.method
            && let Some(shape) = Shape::of(method)
            && !(b'A'..=b'Z').any(|letter| shape.begins_with(letter))
        {
            let message = format!(
                "method {:?} begins with no capital letter, as every method does",
                method.text()
            );
            self.find(
                Severity::Warning,
                "method-never-matches",
                at.clone(),
                message,
                "methods are matched with their case",
            );
        }
        for header in rule.headers.iter().filter(|header| header.name.contains(':')) {
            let message = format!(
                "header {:?} is read as a name with a colon, which never comes",
                header.name
            );
            self.find(
                Severity::Warning,
                "header-never-matches",
                at.clone(),
                message,
                "write a space behind the colon",
            );
        }
    }

    /// HTTP rules whose peers are all allowed without HTTP, on every port they are about.
    fn shadowed(&mut self, table: &Table) {
        // For each rule: whether it is shadowed wherever it holds, and by whom.
        let mut rules: BTreeMap<crate::verdict::RuleId, Option<Option<crate::verdict::RuleId>>> =
            BTreeMap::new();
        for slot in table.sides.iter().flat_map(|side| &side.slots) {
            for clause in slot.clauses.iter().filter(|clause| clause.kind == CauseKind::Inspected) {
                let Some(rule) = clause.rule else { continue };
                let by = slot.clauses.iter().find(|other| {
                    other.kind == CauseKind::Allowed
                        && other.rule.is_some()
                        && covers(table, other.peers, clause.peers)
                });
                let known = rules.entry(rule).or_insert(by.map(|by| by.rule));
                if by.is_none() {
                    *known = None;
                }
            }
        }
        for (rule, by) in rules {
            let (Some(Some(by)), Some(at)) = (by, table.rule(rule)) else { continue };
            let by = table.rule(by).map(ToString::to_string).unwrap_or_default();
            let message = format!(
                "its HTTP rules refuse nothing, for {by} allows the same peers without them"
            );
            self.find(
                Severity::Warning,
                "http-shadowed",
                at.clone(),
                message,
                "take one of the two rules out",
            );
        }
    }
}

/// Whether a clause has DNS rules, so that answers are seen.
fn reads_dns(clause: &Clause) -> bool {
    matches!(&clause.ports, Ports::AnyOf(ports) if ports.iter().any(|port| port.l7.dns().is_some()))
}

fn covers(table: &Table, wide: IdentitySet, narrow: IdentitySet) -> bool {
    let is_empty = |set| table.bitmap(set).is_some_and(RoaringBitmap::is_empty);
    match (wide, narrow) {
        (IdentitySet::All, _) | (_, IdentitySet::None) => true,
        (IdentitySet::None, narrow) => is_empty(narrow),
        (IdentitySet::These(_), IdentitySet::All) => false,
        (IdentitySet::These(_), IdentitySet::These(_)) => {
            match (table.bitmap(wide), table.bitmap(narrow)) {
                (Some(wide), Some(narrow)) => narrow.is_subset(wide),
                _ => false,
            }
        }
    }
}

fn as_labels(pairs: &[(String, String)]) -> Labels {
    pairs.iter().map(|(key, value)| crate::label::Label::new("k8s", key, value)).collect()
}

/// Levenshtein's distance.
fn distance(one: &str, two: &str) -> usize {
    let two: Vec<char> = two.chars().collect();
    let mut row: Vec<usize> = (0..=two.len()).collect();
    for (index, a) in one.chars().enumerate() {
        let mut before = index;
        let mut left = index.saturating_add(1);
        let mut next = vec![left];
        for (b, above) in two.iter().zip(row.iter().skip(1)) {
            let cost = before.saturating_add(usize::from(a != *b));
            left = cost.min(above.saturating_add(1)).min(left.saturating_add(1));
            before = *above;
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Identities;
    use crate::table::Settings;

    const PODS: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: shop, labels: {app: a}}\n\
                        spec: {containers: [{ports: [{name: web, containerPort: 80}]}]}\nstatus: {podIP: 10.0.0.1}\n---\n\
                        apiVersion: v1\nkind: Pod\nmetadata: {name: b, namespace: shop, labels: {app: b}}\n\
                        status: {podIP: 10.0.0.2}\n";

    fn codes(namespace: &str, spec: &str) -> Vec<&'static str> {
        found(namespace, spec).into_iter().map(|finding| finding.code).collect()
    }

    fn found(namespace: &str, spec: &str) -> Vec<Finding> {
        let policy = format!(
            "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {{name: r, namespace: {namespace}}}\nspec: {{{spec}}}\n"
        );
        let loaded = Snapshot::parse(&[("pods.yaml", PODS), ("r.yaml", &policy)]).unwrap();
        let table =
            Table::compile(&loaded.snapshot, &Settings::default(), &mut Identities::default(), 1);
        lint(&loaded.snapshot, &table)
    }

    fn http(rule: &str) -> Vec<&'static str> {
        let ports = format!(
            "toPorts: [{{ports: [{{port: web, protocol: TCP}}], rules: {{http: [{rule}]}}}}]"
        );
        codes("shop", &format!("endpointSelector: {{}}, ingress: [{{{ports}}}]"))
    }

    #[test]
    fn a_selector_that_selects_nothing_is_found_and_a_typo_is_named() {
        assert_eq!(
            codes("shop", "endpointSelector: {matchLabels: {app: c}}, ingress: [{}]"),
            ["selects-nothing"]
        );
        let typo = found("shp", "endpointSelector: {}, ingress: [{}]");
        assert_eq!(typo[0].advice, "there is no namespace \"shp\"; did you mean \"shop\"?");
        assert_eq!(
            typo[0].to_string(),
            "warning[selects-nothing]: CiliumNetworkPolicy shp/r spec.ingress[0] (r.yaml:4): the policy selects no pod: \
             {k8s:io.kubernetes.pod.namespace=shp}; there is no namespace \"shp\"; did you mean \"shop\"?"
        );
        let peer = "endpointSelector: {}, ingress: [{fromEndpoints: [{matchLabels: {app: gone}}]}]";
        assert_eq!(codes("shop", peer), ["peer-selects-nothing"]);
        assert!(codes("shop", "endpointSelector: {}, ingress: [{fromEndpoints: [{}]}]").is_empty());
    }

    #[test]
    fn peers_that_cannot_be_are_found() {
        let rows = [
            ("ingress: [{fromCIDR: [10.0.0.0/8]}]", "cidr-of-pods"),
            ("ingress: [{fromCIDRSet: [{cidrGroupRef: g}]}]", "no-such-group"),
            ("egress: [{toServices: [{k8sService: {serviceName: s}}]}]", "no-such-service"),
            ("ingress: [{toPorts: [{}]}]", "no-ports"),
            ("ingress: [{toPorts: [{ports: [{port: wbe}]}]}]", "no-such-port"),
        ];
        for (spec, code) in rows {
            assert_eq!(codes("shop", &format!("endpointSelector: {{}}, {spec}")), [code], "{spec}");
        }
    }

    #[test]
    fn names_without_dns_answers_to_learn_them_from_are_found() {
        let names = "{toFQDNs: [{matchName: api.example}]}";
        let dns = "{toEntities: [world], toPorts: [{ports: [{port: \"53\", protocol: UDP}], \
                   rules: {dns: [{matchPattern: \"*\"}]}}]}";
        let plain = "{toEntities: [world], toPorts: [{ports: [{port: \"53\", protocol: UDP}]}]}";
        let spec =
            |items: &str| codes("shop", &format!("endpointSelector: {{}}, egress: [{items}]"));
        assert_eq!(spec(names), ["names-not-seen"]);
        assert_eq!(spec(&format!("{names}, {plain}")), ["names-not-seen"]);
        assert!(spec(&format!("{names}, {dns}")).is_empty());
        // The rule that sees them may be another policy's, and must be for the same pods.
        let of = |policy: &str, app: &str, item: &str| {
            format!(
                "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {{name: {policy}, namespace: shop}}\n\
                 spec: {{endpointSelector: {{matchLabels: {{app: {app}}}}}, egress: [{item}]}}\n"
            )
        };
        for (app, expected) in [("a", 0), ("b", 1)] {
            let other = of("other", app, dns);
            let sources =
                [("pods.yaml", PODS), ("n.yaml", &of("n", "a", names)), ("o.yaml", &other)];
            let snapshot = Snapshot::parse(&sources).unwrap().snapshot;
            let settings = Settings::default();
            let table = Table::compile(&snapshot, &settings, &mut Identities::default(), 1);
            assert_eq!(lint(&snapshot, &table).len(), expected, "{app}");
        }
    }

    #[test]
    fn a_policy_in_audit_mode_is_said_to_be_one() {
        let policy = "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\n\
                      metadata: {name: r, namespace: shop, annotations: {blastdoor.io/policy-audit-mode: enabled}}\n\
                      spec: {endpointSelector: {}, ingress: [{}]}\n";
        let snapshot = Snapshot::parse(&[("p.yaml", PODS), ("r.yaml", policy)]).unwrap().snapshot;
        let table = Table::compile(&snapshot, &Settings::default(), &mut Identities::default(), 1);
        let found = lint(&snapshot, &table);
        assert_eq!(found.iter().map(|found| found.code).collect::<Vec<_>>(), ["audit-mode"]);
    }

    #[test]
    fn patterns_that_never_match_are_found() {
        assert_eq!(http("{path: public}"), ["path-never-matches"]);
        assert_eq!(http("{path: /public}"), ["path-without-query"]);
        assert_eq!(http("{path: \"/public$\"}"), ["path-without-query"]);
        assert_eq!(http("{method: get}"), ["method-never-matches"]);
        assert_eq!(http("{headers: [\"X-Key:true\"]}"), ["header-never-matches"]);
        for fine in [
            "{path: /.*}",
            "{path: \".*public\"}",
            "{path: \"/a(\\\\?.*)?\"}",
            "{method: \"(?i)get\"}",
            "{}",
        ] {
            assert!(http(fine).is_empty(), "{fine}");
        }
    }

    #[test]
    fn http_rules_that_refuse_nothing_are_found() {
        let port = "toPorts: [{ports: [{port: \"80\", protocol: TCP}]";
        let inspected = format!(
            "fromEndpoints: [{{matchLabels: {{app: a}}}}], {port}, rules: {{http: [{{path: /.*}}]}}}}]"
        );
        let spec = |plain: &str| {
            format!("endpointSelector: {{}}, ingress: [{{{inspected}}}, {{{plain}}}]")
        };
        assert_eq!(codes("shop", &spec("fromEndpoints: [{}]")), ["http-shadowed"]);
        assert_eq!(codes("shop", &spec(&format!("{port}}}]"))), ["http-shadowed"]);
        assert!(codes("shop", &spec("fromEndpoints: [{matchLabels: {app: b}}]")).is_empty());
    }

    #[test]
    fn distance_is_levenshtein_s() {
        for (one, two, expected) in
            [("", "", 0), ("abc", "abc", 0), ("shop", "shp", 1), ("kitten", "sitting", 3)]
        {
            assert_eq!(distance(one, two), expected);
        }
    }
}
