//! Why: which rule decided in each direction, what nearly matched, and what would have let it pass.
//!
//! Arrives: a snapshot and a question a person asks. Leaves: an [`Explanation`] to print or to hand on. It goes through the
//! rules one by one, as the oracle does, so that it can also say why the others did not match; it needs no daemon.

use std::fmt;
use std::fmt::Write as _;

use crate::oracle::{Answer, Learned, Oracle, Question, Reason, Who, has_header, ports};
use crate::rule::{
    CidrGroups, Clause, Direction, Effect, HttpRule, Peer, Peers, Policy, PortProtocol, PortRule,
    PortSpec, Ports, RuleOrigin, ServiceChoice,
};
use crate::snapshot::Snapshot;
use crate::table::Settings;
use crate::verdict::HttpRequest;

/// Most near misses an explanation lists for a direction.
const MOST_MISSES: usize = 8;

/// What became of a question in one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// No endpoint of the snapshot stands on this side.
    NotAsked,
    /// No policy is enforced in this direction.
    NotEnforced,
    /// An endpoint talks to itself.
    Itself,
    /// A deny rule stops it (Cilium's reason 181).
    DeniedByRule,
    /// No rule allows it (133).
    NoRuleAllows,
    /// The node reaches its own pods.
    HostAllowed,
    /// Rules select the endpoint, but do not deny by default.
    DefaultAllowed,
    /// A rule allows it without looking at requests.
    Allowed,
    /// It may pass, and its requests are judged; none was asked about.
    Inspected,
    /// It may pass, and its DNS queries are judged.
    Resolved,
    /// The request may pass.
    RequestAllowed,
    /// The request is answered 403.
    RequestDenied,
}

impl Outcome {
    /// Whether it passes.
    pub fn passes(self) -> bool {
        !matches!(self, Self::DeniedByRule | Self::NoRuleAllows | Self::RequestDenied)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::NotAsked => "not asked (no endpoint of this snapshot)",
            Self::NotEnforced => "allowed (no policy is enforced)",
            Self::Itself => "allowed (an endpoint may talk to itself)",
            Self::DeniedByRule => "DENIED by a deny rule (181 Policy denied by denylist)",
            Self::NoRuleAllows => "DENIED, no rule allows it (133 Policy denied)",
            Self::HostAllowed => "allowed (the node reaches its own pods)",
            Self::DefaultAllowed => "allowed (the rules here do not deny by default)",
            Self::Allowed => "allowed",
            Self::Inspected => "allowed, its HTTP requests are judged",
            Self::Resolved => "allowed, its DNS queries are judged",
            Self::RequestAllowed => "request allowed",
            Self::RequestDenied => "request DENIED (403)",
        })
    }
}

/// Whose audit mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audit {
    /// Every policy's: the daemon is in audit mode.
    All,
    /// The endpoint's.
    Endpoint,
    /// That of the policies that deny.
    Policies,
}

impl fmt::Display for Audit {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::All => "every policy is in audit mode",
            Self::Endpoint => "the endpoint is in audit mode",
            Self::Policies => "the policies that would deny it are in audit mode",
        })
    }
}

/// A rule that did not match, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Miss {
    /// The rule.
    pub rule: RuleOrigin,
    /// For an HTTP rule, its place in `rules.http`.
    pub http: Option<usize>,
    /// What did not match; the fewer, the nearer.
    pub why: Vec<String>,
}

/// One direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Side {
    /// Which.
    pub direction: Direction,
    /// Whose policy.
    pub subject: String,
    /// What came out.
    pub outcome: Outcome,
    /// Whose audit mode lets it pass although the outcome denies it, if one does.
    pub audited: Option<Audit>,
    /// The rule that decided, if one did.
    pub decided_by: Option<RuleOrigin>,
    /// The HTTP rule that let the request pass, as text.
    pub http_rule: Option<String>,
    /// Rules for this endpoint that did not match, the nearest first.
    pub misses: Vec<Miss>,
    /// What would let it pass.
    pub advice: Option<String>,
}

impl Side {
    /// Whether it passes.
    pub fn passes(&self) -> bool {
        self.outcome.passes() || self.audited.is_some()
    }
}

/// The whole answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The question in words.
    pub question: String,
    /// The names under which the source knows the destination, because DNS told it.
    pub names: Vec<String>,
    /// Whether it passes.
    pub passes: bool,
    /// The source's egress, then the destination's ingress.
    pub sides: [Side; 2],
}

impl fmt::Display for Explanation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "{}: {}", self.question, if self.passes { "ALLOWED" } else { "DENIED" })?;
        if !self.names.is_empty() {
            writeln!(out, "  DNS told the source that this address is {}", self.names.join(", "))?;
        }
        for side in &self.sides {
            writeln!(out, "  {} of {}: {}", side.direction, side.subject, side.outcome)?;
            if let Some(audit) = side.audited {
                writeln!(out, "    passes nevertheless (AUDITED): {audit}")?;
            }
            if let Some(rule) = &side.decided_by {
                writeln!(out, "    by {rule}")?;
            }
            if let Some(http) = &side.http_rule {
                writeln!(out, "    HTTP rule {http}")?;
            }
            for miss in &side.misses {
                let http = miss.http.map(|place| format!(" http[{place}]")).unwrap_or_default();
                writeln!(out, "    not {}{http}: {}", miss.rule, miss.why.join("; "))?;
            }
            if let Some(advice) = &side.advice {
                writeln!(out, "    to allow it: {advice}")?;
            }
        }
        Ok(())
    }
}

/// Explains what becomes of a flow, or of a request on it, when DNS told pods these addresses.
pub fn explain(
    snapshot: &Snapshot,
    settings: &Settings,
    learned: &[Learned],
    question: &Question,
    request: Option<&HttpRequest<'_>>,
) -> Explanation {
    let oracle = Oracle::new(snapshot, settings).knowing(learned);
    let sparing = Oracle::new(snapshot, settings).knowing(learned).sparing();
    let (source, destination) = (oracle.who(question.source), oracle.who(question.destination));
    let audit = |subject: &Who<'_>| match subject.pod {
        _ if settings.audit => Some(Audit::All),
        Some(pod) if pod.audited => Some(Audit::Endpoint),
        _ => None,
    };
    // What is told of a side, and what becomes of it: they differ where policies in audit mode would deny it.
    let side = |direction, subject, peer| {
        let side = |oracle| Explaining { oracle, question, request }.side(direction, subject, peer);
        let (would, does) = (side(&oracle), side(&sparing));
        let outcome = does.outcome;
        let told = match (would.outcome.passes(), outcome.passes()) {
            (true, _) => would,
            (false, true) => Side { audited: Some(Audit::Policies), ..would },
            (false, false) => Side { audited: audit(subject), ..does },
        };
        (told, outcome)
    };
    let (mut egress, leaving) = side(Direction::Egress, &source, &destination);
    let (mut ingress, entering) = side(Direction::Ingress, &destination, &source);
    if source.pod.is_some() && egress.outcome == Outcome::Itself {
        ingress.outcome = Outcome::Itself;
    }
    let outcomes = [leaving, entering];
    if outcomes.contains(&Outcome::Resolved)
        && outcomes.iter().any(|outcome| {
            matches!(outcome, Outcome::Inspected | Outcome::RequestAllowed | Outcome::RequestDenied)
        })
    {
        egress.outcome = Outcome::NoRuleAllows;
        egress.audited = audit(&source);
        egress.advice = Some("one port cannot be read as DNS and as HTTP".to_owned());
    }
    let mut words = format!(
        "{} -> {} {}/{}",
        name(&source),
        name(&destination),
        question.protocol,
        question.dst_port
    );
    if let Some(request) = request {
        let _written = write!(words, " {} {}", request.method, request.path);
    }
    let passes = egress.passes() && ingress.passes();
    let told = |one: &&Learned| {
        one.address == question.destination
            && source.pod.is_some_and(|pod| pod.addresses.contains(&one.pod))
    };
    let mut names: Vec<String> = learned.iter().filter(told).map(|one| one.name.clone()).collect();
    names.sort();
    names.dedup();
    Explanation { question: words, names, passes, sides: [egress, ingress] }
}

struct Explaining<'a, 's> {
    oracle: &'a Oracle<'s>,
    question: &'a Question,
    request: Option<&'a HttpRequest<'a>>,
}

impl<'s> Explaining<'_, 's> {
    fn side(&self, direction: Direction, subject: &Who<'s>, peer: &Who<'s>) -> Side {
        let plain = |outcome| Side {
            direction,
            subject: name(subject),
            outcome,
            audited: None,
            decided_by: None,
            http_rule: None,
            misses: Vec::new(),
            advice: None,
        };
        let Some(pod) = subject.pod else { return plain(Outcome::NotAsked) };
        if peer.pod.is_some_and(|other| std::ptr::eq(other, pod)) {
            return plain(Outcome::Itself);
        }
        let (source, destination) = match direction {
            Direction::Egress => (subject, peer),
            Direction::Ingress => (peer, subject),
        };
        let Some(reasons) = self.oracle.reasons(direction, source, destination, self.question)
        else {
            return plain(Outcome::NotAsked);
        };
        let first = |wanted: &dyn Fn(&Reason<'s>) -> bool| {
            let found = reasons.clauses.iter().find(|reason| wanted(reason));
            found.map(|reason| reason.policy.origin_of(reason.clause))
        };
        let without_http = |reason: &Reason<'s>| {
            reason.clause.effect == Effect::Allow && reason.http.iter().any(Option::is_none)
        };
        let mut side = plain(Outcome::NotEnforced);
        if !reasons.enforced {
            return side;
        }
        match reasons.answer(direction) {
            Answer::Deny { explicit: true, .. } => {
                side.outcome = Outcome::DeniedByRule;
                side.decided_by = first(&|reason| reason.clause.effect == Effect::Deny);
                side.advice = Some(
                    "narrow that deny rule or take it out; no allow rule can overrule it"
                        .to_owned(),
                );
            }
            Answer::Deny { explicit: false, .. } => {
                side.outcome = Outcome::NoRuleAllows;
                side.misses = self.misses(direction, subject, peer);
                side.advice = Some(self.advice(direction, subject, peer));
            }
            Answer::Allow => {
                side.decided_by = first(&without_http);
                side.outcome = match (&side.decided_by, reasons.host) {
                    (Some(_), _) => Outcome::Allowed,
                    (None, true) => Outcome::HostAllowed,
                    (None, false) => Outcome::DefaultAllowed,
                };
            }
            Answer::Resolve => {
                side.outcome = Outcome::Resolved;
                side.decided_by = first(&|reason| !reason.dns.is_empty());
            }
            Answer::Inspect => {
                side.outcome = Outcome::Inspected;
                side.decided_by = first(&|reason| reason.http.iter().any(Option::is_some));
                if let Some(request) = self.request {
                    self.request(
                        &mut side,
                        &reasons.clauses,
                        reasons.plain(),
                        first(&without_http),
                        request,
                    );
                }
            }
        }
        side
    }

    /// Fills in what becomes of a request on an inspected flow.
    fn request(
        &self,
        side: &mut Side,
        clauses: &[Reason<'s>],
        plain: bool,
        plain_rule: Option<RuleOrigin>,
        request: &HttpRequest<'_>,
    ) {
        side.outcome = Outcome::RequestAllowed;
        for reason in clauses.iter().filter(|reason| reason.http.iter().any(Option::is_some)) {
            let mut rules = reason.http.iter().flatten().copied().flatten();
            let met = rules.find(|rule| self.oracle.meets(rule, request));
            if met.is_some() || reason.watches {
                side.decided_by = Some(reason.policy.origin_of(reason.clause));
                side.http_rule = met.map(describe_http);
                return;
            }
        }
        if plain {
            side.decided_by = plain_rule;
            return;
        }
        side.outcome = Outcome::RequestDenied;
        for reason in clauses {
            for (place, rule) in reason.http.iter().flatten().copied().flatten().enumerate() {
                let rule_origin = reason.policy.origin_of(reason.clause);
                side.misses.push(Miss {
                    rule: rule_origin,
                    http: Some(place),
                    why: self.http_why(rule, request),
                });
            }
        }
        nearest(&mut side.misses);
        let origin = side.decided_by.as_ref().map(ToString::to_string).unwrap_or_default();
        side.advice = Some(format!(
            "add `- {{method: {:?}, path: {:?}}}` to the HTTP rules of {origin}",
            regex_syntax::escape(request.method),
            regex_syntax::escape(request.path)
        ));
    }

    /// The allow rules that select the subject and do not match, with what is amiss.
    fn misses(&self, direction: Direction, subject: &Who<'s>, peer: &Who<'s>) -> Vec<Miss> {
        let mut misses = Vec::new();
        let Some(pod) = subject.pod else { return misses };
        for (policy, rule) in self.oracle.selecting(direction, subject) {
            let allows = rule
                .section(direction)
                .clauses
                .iter()
                .filter(|clause| clause.effect == Effect::Allow);
            for clause in allows {
                let mut why = Vec::new();
                if !self.oracle.is_peer(&clause.peers, subject, peer) {
                    why.push(format!(
                        "peer {} is not {}",
                        name(peer),
                        describe_peers(&clause.peers)
                    ));
                }
                let named = self.oracle.named_ports(direction, pod, peer);
                if ports(&clause.ports, self.question, &named).is_empty() {
                    let asked = format!("{}/{}", self.question.protocol, self.question.dst_port);
                    why.push(format!("{asked} is not {}", describe_ports(&clause.ports)));
                }
                misses.push(miss(policy, clause, why));
            }
        }
        nearest(&mut misses);
        misses
    }

    fn http_why(&self, rule: &HttpRule, request: &HttpRequest<'_>) -> Vec<String> {
        let mut why = Vec::new();
        let fields = [
            ("method", &rule.method, request.method),
            ("path", &rule.path, request.path),
            ("host", &rule.host, request.host),
        ];
        for (field, pattern, text) in fields {
            let Some(pattern) = pattern else { continue };
            if let Some(problem) = pattern.problem() {
                why.push(format!("{field}: {problem}"));
            } else if !self.oracle.full_match(pattern, text) {
                why.push(format!("{field} {text:?} is not {:?}", pattern.text()));
            }
        }
        for header in rule.headers.iter().filter(|header| !has_header(header, request)) {
            why.push(match &header.value {
                Some(value) => format!("header {} is not {value:?}", header.name),
                None => format!("header {} is missing", header.name),
            });
        }
        why
    }

    fn advice(&self, direction: Direction, subject: &Who<'s>, peer: &Who<'s>) -> String {
        let (list, way) = match direction {
            Direction::Ingress => ("ingress", "from"),
            Direction::Egress => ("egress", "to"),
        };
        let who = if let Some(pod) = peer.pod {
            let labels: Vec<String> =
                pod.labels.iter().map(|(key, value)| format!("{key}: {value:?}")).collect();
            let namespace = format!("k8s:io.kubernetes.pod.namespace: {:?}", pod.namespace);
            let same = subject.pod.is_some_and(|own| own.namespace == pod.namespace);
            let all: Vec<String> = labels.into_iter().chain((!same).then_some(namespace)).collect();
            format!("{way}Endpoints: [{{matchLabels: {{{}}}}}]", all.join(", "))
        } else if peer.outside {
            let length = if peer.address.is_ipv4() { 32 } else { 128 };
            format!("{way}CIDR: [\"{}/{length}\"]", peer.address)
        } else {
            let role = peer.labels.iter().next().map(|label| label.key.clone()).unwrap_or_default();
            format!("{way}Entities: [{role}]")
        };
        use crate::rule::Protocol;
        let port = self.question.dst_port;
        let ports = match self.question.protocol {
            Protocol::ICMP => format!(", icmps: [{{fields: [{{type: {port}}}]}}]"),
            Protocol::ICMPV6 => format!(", icmps: [{{fields: [{{family: IPv6, type: {port}}}]}}]"),
            protocol @ (Protocol::TCP | Protocol::UDP | Protocol::SCTP) => {
                format!(", toPorts: [{{ports: [{{port: \"{port}\", protocol: {protocol}}}]}}]")
            }
            Protocol(_) => String::new(),
        };
        format!("add `- {{{who}{ports}}}` to the {list} of a policy that selects {}", name(subject))
    }
}

fn miss(policy: &Policy, clause: &Clause, mut why: Vec<String>) -> Miss {
    if matches!(clause.peers, Peers::Nobody) {
        why = vec!["selects nobody".to_owned()];
    }
    Miss { rule: policy.origin_of(clause), http: None, why }
}

fn nearest(misses: &mut Vec<Miss>) {
    misses.sort_by_key(|miss| miss.why.len());
    misses.truncate(MOST_MISSES);
}

/// A pod by its name, an address by its role.
fn name(who: &Who<'_>) -> String {
    match who.pod {
        Some(pod) => format!("{}/{}", pod.namespace, pod.name),
        None => format!("{} ({})", who.address, who.labels),
    }
}

pub(crate) fn describe_peers(peers: &Peers) -> String {
    match peers {
        Peers::Anyone => "anyone".to_owned(),
        Peers::Nobody => "anybody".to_owned(),
        Peers::AnyOf(peers) => peers.iter().map(describe_peer).collect::<Vec<_>>().join(" or "),
    }
}

pub(crate) fn describe_peer(peer: &Peer) -> String {
    let but = |except: &[ipnet::IpNet]| {
        let list: Vec<String> = except.iter().map(ToString::to_string).collect();
        if list.is_empty() { String::new() } else { format!(" but {}", list.join(", ")) }
    };
    match peer {
        Peer::Endpoints(selector) => selector.to_string(),
        Peer::Cidr { prefix, except } => format!("{prefix}{}", but(except)),
        Peer::CidrGroup { groups: CidrGroups::Named(name), except } => {
            format!("CIDR group {name}{}", but(except))
        }
        Peer::CidrGroup { groups: CidrGroups::Selected(selector), except } => {
            format!("CIDR groups {selector}{}", but(except))
        }
        Peer::Entity(entity) => format!("entity {entity:?}"),
        Peer::Name(pattern) => format!("an address that DNS gives {pattern}"),
        Peer::Service(service) => {
            let which = match &service.which {
                ServiceChoice::Named(name) => name.clone(),
                ServiceChoice::Selected(selector) => selector.to_string(),
            };
            format!("service {}/{which}", service.namespace.as_deref().unwrap_or("*"))
        }
    }
}

pub(crate) fn describe_ports(ports: &Ports) -> String {
    match ports {
        Ports::All => "any port".to_owned(),
        Ports::Nothing => "any port (none is named)".to_owned(),
        Ports::AnyOf(rules) => rules.iter().map(describe_port).collect::<Vec<_>>().join(" or "),
    }
}

fn describe_port(rule: &PortRule) -> String {
    let protocol = match rule.protocol {
        PortProtocol::Any => "ANY".to_owned(),
        PortProtocol::Is(protocol) => protocol.to_string(),
    };
    match &rule.port {
        PortSpec::Every => format!("{protocol}/any"),
        PortSpec::Range(first, last) if first == last => format!("{protocol}/{first}"),
        PortSpec::Range(first, last) => format!("{protocol}/{first}-{last}"),
        PortSpec::Named(name) => format!("{protocol}/{name}"),
    }
}

pub(crate) fn describe_http(rule: &HttpRule) -> String {
    let mut parts: Vec<String> = Vec::new();
    for (field, pattern) in [("method", &rule.method), ("path", &rule.path), ("host", &rule.host)] {
        parts.extend(pattern.as_ref().map(|pattern| format!("{field} {:?}", pattern.text())));
    }
    parts.extend(rule.headers.iter().map(|header| match &header.value {
        Some(value) => format!("header {}: {value}", header.name),
        None => format!("header {}", header.name),
    }));
    if parts.is_empty() { "any request".to_owned() } else { parts.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::Protocol;

    const CLUSTER: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: deathstar, labels: {org: empire, class: deathstar}}
status: {podIP: 10.0.0.1}
---
apiVersion: v1
kind: Pod
metadata: {name: tiefighter, labels: {org: empire, class: tiefighter}}
status: {podIP: 10.0.0.2}
---
apiVersion: v1
kind: Pod
metadata: {name: xwing, labels: {org: alliance, class: xwing}}
status: {podIP: 10.0.0.3}
"#;
    const POLICY: &str = r#"
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: rule1}
spec:
  endpointSelector: {matchLabels: {class: deathstar}}
  ingress:
  - fromEndpoints: [{matchLabels: {org: empire}}]
    toPorts:
    - ports: [{port: "80", protocol: TCP}]
      rules: {http: [{method: POST, path: /v1/request-landing}]}
"#;

    fn ask(from: &str, port: u16, request: Option<(&str, &str)>) -> Explanation {
        let loaded = Snapshot::parse(&[("pods.yaml", CLUSTER), ("rule1.yaml", POLICY)]).unwrap();
        let question = Question {
            source: from.parse().unwrap(),
            destination: "10.0.0.1".parse().unwrap(),
            protocol: Protocol::TCP,
            dst_port: port,
        };
        let request =
            request.map(|(method, path)| HttpRequest { method, path, host: "", headers: &|_| {} });
        explain(&loaded.snapshot, &Settings::default(), &[], &question, request.as_ref())
    }

    #[test]
    fn a_denied_request_says_which_rules_were_near_and_what_to_add() {
        assert_eq!(
            ask("10.0.0.2", 80, Some(("PUT", "/v1/exhaust-port"))).to_string(),
            "default/tiefighter -> default/deathstar TCP/80 PUT /v1/exhaust-port: DENIED\n  \
             EGRESS of default/tiefighter: allowed (no policy is enforced)\n  \
             INGRESS of default/deathstar: request DENIED (403)\n    \
             by CiliumNetworkPolicy default/rule1 spec.ingress[0] (rule1.yaml:8)\n    \
             not CiliumNetworkPolicy default/rule1 spec.ingress[0] (rule1.yaml:8) http[0]: \
             method \"PUT\" is not \"POST\"; path \"/v1/exhaust-port\" is not \"/v1/request-landing\"\n    \
             to allow it: add `- {method: \"PUT\", path: \"/v1/exhaust\\\\-port\"}` to the HTTP rules of \
             CiliumNetworkPolicy default/rule1 spec.ingress[0] (rule1.yaml:8)\n"
        );
    }

    #[test]
    fn an_allowed_request_names_its_http_rule() {
        let told = ask("10.0.0.2", 80, Some(("POST", "/v1/request-landing")));
        assert!(told.passes);
        assert_eq!(told.sides[1].outcome, Outcome::RequestAllowed);
        assert_eq!(
            told.sides[1].http_rule.as_deref(),
            Some("method \"POST\", path \"/v1/request-landing\"")
        );
    }

    #[test]
    fn a_peer_that_no_rule_allows_is_told_how_far_it_was() {
        let told = ask("10.0.0.3", 81, None);
        assert!(!told.passes);
        let [egress, ingress] = told.sides;
        assert_eq!(
            (egress.outcome, ingress.outcome),
            (Outcome::NotEnforced, Outcome::NoRuleAllows)
        );
        assert_eq!(ingress.misses[0].why.len(), 2, "{:?}", ingress.misses);
        assert_eq!(ask("10.0.0.2", 81, None).sides[1].misses[0].why, ["TCP/81 is not TCP/80"]);
        let advice = ingress.advice.unwrap();
        assert!(
            advice.contains("org: \"alliance\"") && advice.contains("port: \"81\""),
            "{advice}"
        );
    }

    /// What `explain` advises, taken at its word, lets the traffic pass.
    #[test]
    fn the_advice_works() {
        for from in ["10.0.0.3", "8.8.8.8", "2001:db8::1"] {
            let advice = ask(from, 81, None).sides[1].advice.clone().unwrap();
            let item = advice.split('`').nth(1).unwrap().trim_start_matches("- ").to_owned();
            let policy = POLICY.replace("  ingress:\n", &format!("  ingress:\n  - {item}\n"));
            let loaded =
                Snapshot::parse(&[("pods.yaml", CLUSTER), ("rule1.yaml", &policy)]).unwrap();
            let question = Question {
                source: from.parse().unwrap(),
                destination: "10.0.0.1".parse().unwrap(),
                protocol: Protocol::TCP,
                dst_port: 81,
            };
            let told = explain(&loaded.snapshot, &Settings::default(), &[], &question, None);
            assert!(told.passes, "{item}\n{told}");
        }
    }

    /// Found by the property test: the deny that is only tried hid that the other policies' rules do not go together.
    #[test]
    fn a_deny_in_audit_mode_does_not_hide_that_a_port_is_read_in_two_ways() {
        let queries = r#"
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: queries}
spec:
  endpointSelector: {matchLabels: {org: empire}}
  egress:
  - toPorts:
    - ports: [{port: "80"}]
      rules: {dns: [{matchName: api.example.com}]}
---
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: tried, annotations: {blastdoor.io/policy-audit-mode: enabled}}
spec:
  endpointSelector: {matchLabels: {org: empire}}
  egressDeny:
  - toPorts:
    - ports: [{port: "80"}]
"#;
        let files = [("pods.yaml", CLUSTER), ("rule1.yaml", POLICY), ("queries.yaml", queries)];
        let loaded = Snapshot::parse(&files).unwrap();
        let question = Question {
            source: "10.0.0.2".parse().unwrap(),
            destination: "10.0.0.1".parse().unwrap(),
            protocol: Protocol::TCP,
            dst_port: 80,
        };
        let told = explain(&loaded.snapshot, &Settings::default(), &[], &question, None);
        assert!(!told.passes, "{told}");
    }
}
