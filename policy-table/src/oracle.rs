//! The slow, obvious verdict, straight from the specification.
//!
//! Arrives: a [`Snapshot`] and a question. Leaves: the answer, found by going through every policy, every rule, every
//! clause, every peer and every port, one field of one request at a time. It shares the rules as written with the compiler
//! and nothing else: no identities, no sets, no port maps, no combined automaton; addresses are compared with prefixes and
//! each pattern is a regular expression of its own. The property tests ask both and compare; `explain` builds on it too.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use regex_automata::meta::Regex;
use regex_automata::util::syntax;

use crate::label::{Label, Labels};
use crate::rule::name::NamePattern;
use crate::rule::pattern::Pattern;
use crate::rule::{
    CidrGroups, Clause, Direction, Effect, Entity, HeaderRule, HttpRule, L7, Peer, Peers, Policy,
    PortSpec, Ports, Protocol, Rule, ServiceChoice, ServicePeer,
};
use crate::snapshot::{ContainerPort, Pod, Service, Snapshot};
use crate::table::{Enforcement, Settings};
use crate::verdict::HttpRequest;

/// Answers questions about a snapshot.
#[derive(Debug)]
pub struct Oracle<'s> {
    snapshot: &'s Snapshot,
    settings: &'s Settings,
    /// Only so that a pattern is not compiled for every request.
    patterns: RefCell<HashMap<String, Option<Regex>>>,
    names: RefCell<HashMap<NamePattern, Option<Regex>>>,
    learned: &'s [Learned],
    /// What policies in audit mode deny passes.
    sparing: bool,
}

/// What a DNS answer told a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Learned {
    /// An address of the pod that asked.
    pub pod: IpAddr,
    /// The name it asked for, in lower case, with its last dot.
    pub name: String,
    /// An address that it was told.
    pub address: IpAddr,
}

/// A flow between two addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// Who opened it.
    pub source: IpAddr,
    /// Whom it is for, after service translation.
    pub destination: IpAddr,
    /// The IP protocol.
    pub protocol: Protocol,
    /// The port, or the ICMP type.
    pub dst_port: u16,
}

/// What is known about an address.
#[derive(Clone, Debug)]
pub struct Who<'s> {
    /// The address.
    pub address: IpAddr,
    /// The labels it is known by.
    pub labels: Labels,
    /// The pod, if it is one with an address of its own.
    pub pod: Option<&'s Pod>,
    /// Whether it lies outside the cluster.
    pub outside: bool,
}

/// The answer for a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It may pass.
    Allow,
    /// It may not.
    Deny {
        /// Whose policy denied.
        direction: Direction,
        /// Whether a deny rule did.
        explicit: bool,
    },
    /// Its requests are judged.
    Inspect,
    /// Its DNS queries are judged.
    Resolve,
}

/// What one direction says, and by which clauses.
#[derive(Debug)]
pub struct Reasons<'s> {
    /// Whether the direction is under policy at all.
    pub enforced: bool,
    /// Whether everything passes that no clause denies or inspects.
    pub default_allow: bool,
    /// Whether the source is the node itself, which may always reach its pods.
    pub host: bool,
    /// The clauses that match peer and port, with their policies.
    pub clauses: Vec<Reason<'s>>,
}

/// A clause that matches.
#[derive(Clone, Debug)]
pub struct Reason<'s> {
    /// Where it stands.
    pub policy: &'s Policy,
    /// The clause.
    pub clause: &'s Clause,
    /// For each port rule that matches: its HTTP rules, `None` for a plain one.
    pub http: Vec<Option<&'s [HttpRule]>>,
    /// For each port rule about DNS that matches: its names.
    pub dns: Vec<&'s [NamePattern]>,
    /// Its HTTP rules only watch.
    pub watches: bool,
}

impl Reasons<'_> {
    fn denied(&self) -> bool {
        self.clauses.iter().any(|reason| reason.clause.effect == Effect::Deny)
    }

    fn resolved(&self) -> bool {
        self.clauses.iter().any(|reason| !reason.dns.is_empty())
    }

    fn inspected(&self) -> bool {
        self.clauses.iter().any(|reason| reason.http.iter().any(Option::is_some))
    }

    /// Whether something allows it without looking at requests.
    pub fn plain(&self) -> bool {
        let allows = |reason: &Reason<'_>| {
            reason.clause.effect == Effect::Allow && reason.http.iter().any(Option::is_none)
        };
        self.default_allow || self.host || self.clauses.iter().any(allows)
    }

    /// The answer of this direction.
    pub fn answer(&self, direction: Direction) -> Answer {
        if !self.enforced {
            Answer::Allow
        } else if self.denied() {
            Answer::Deny { direction, explicit: true }
        } else if self.inspected() && self.resolved() {
            // The same bytes cannot be read as HTTP and as DNS.
            Answer::Deny { direction, explicit: false }
        } else if self.inspected() {
            Answer::Inspect
        } else if self.resolved() {
            Answer::Resolve
        } else if self.plain() {
            Answer::Allow
        } else {
            Answer::Deny { direction, explicit: false }
        }
    }
}

impl<'s> Oracle<'s> {
    /// An oracle over a snapshot.
    pub fn new(snapshot: &'s Snapshot, settings: &'s Settings) -> Self {
        Self {
            snapshot,
            settings,
            patterns: RefCell::default(),
            names: RefCell::default(),
            learned: &[],
            sparing: false,
        }
    }

    /// The same, but policies in audit mode deny nothing: neither by their deny rules nor by default. What they allow stays
    /// allowed, so that this oracle allows whatever the other one does.
    pub fn sparing(self) -> Self {
        Self { sparing: true, ..self }
    }

    /// The same, when these DNS answers came.
    pub fn knowing(self, learned: &'s [Learned]) -> Self {
        Self { learned, ..self }
    }

    /// Whether a flow may pass.
    pub fn access(&self, question: &Question) -> Answer {
        let (source, destination) = (self.who(question.source), self.who(question.destination));
        if source.pod.is_some_and(|one| destination.pod.is_some_and(|two| std::ptr::eq(one, two))) {
            return Answer::Allow;
        }
        let (mut inspect, mut resolve) = (false, false);
        for direction in [Direction::Egress, Direction::Ingress] {
            let Some(reasons) = self.reasons(direction, &source, &destination, question) else {
                continue;
            };
            match reasons.answer(direction) {
                Answer::Allow => {}
                Answer::Inspect => inspect = true,
                Answer::Resolve => resolve = true,
                deny @ Answer::Deny { .. } => return deny,
            }
        }
        match (inspect, resolve) {
            (true, true) => Answer::Deny { direction: Direction::Egress, explicit: false },
            (true, false) => Answer::Inspect,
            (false, true) => Answer::Resolve,
            (false, false) => Answer::Allow,
        }
    }

    /// Whether a DNS query for `name` is denied on a flow whose queries are judged.
    pub fn refuses_query(&self, question: &Question, name: &str) -> bool {
        let (source, destination) = (self.who(question.source), self.who(question.destination));
        let reasons = self.reasons(Direction::Egress, &source, &destination, question);
        reasons.is_some_and(|reasons| {
            let meets = |reason: &Reason<'_>| {
                !reason.dns.is_empty()
                    && (reason.watches
                        || reason.dns.iter().copied().flatten().any(|one| self.is_named(one, name)))
            };
            !reasons.plain() && !reasons.clauses.iter().any(meets)
        })
    }

    /// Whether a name meets a pattern, by the regular expression that Cilium makes of it
    /// (`pkg/fqdn/matchpattern/matchpattern.go`).
    fn is_named(&self, pattern: &NamePattern, name: &str) -> bool {
        const LETTER: &str = "[-a-zA-Z0-9_]";
        let written = || match pattern.text() {
            "*" => format!("(^({LETTER}+[.])+$)|(^[.]$)"),
            text => {
                let (depth, rest) = match text.strip_prefix("**.") {
                    Some(rest) => (format!("({LETTER}+([.]{LETTER}+)*)[.]"), rest),
                    None => (String::new(), text),
                };
                let rest = rest.replace('.', "[.]").replace('*', &format!("{LETTER}*"));
                format!("^{depth}{rest}$")
            }
        };
        let mut names = self.names.borrow_mut();
        if !names.contains_key(pattern) {
            names.insert(pattern.clone(), Regex::new(&written()).ok());
        }
        names.get(pattern).and_then(Option::as_ref).is_some_and(|regex| regex.is_match(name))
    }

    /// The direction that denies a request on a flow whose requests are judged, if one does.
    pub fn refuses(&self, question: &Question, request: &HttpRequest<'_>) -> Option<Direction> {
        let (source, destination) = (self.who(question.source), self.who(question.destination));
        [Direction::Egress, Direction::Ingress].into_iter().find(|direction| {
            let reasons = self.reasons(*direction, &source, &destination, question);
            reasons.is_some_and(|reasons| {
                reasons.answer(*direction) == Answer::Inspect && !self.allows(&reasons, request)
            })
        })
    }

    fn allows(&self, reasons: &Reasons<'_>, request: &HttpRequest<'_>) -> bool {
        reasons.plain()
            || reasons.clauses.iter().any(|reason| {
                let mut rules = reason.http.iter().flatten().copied().flatten();
                reason.http.iter().any(Option::is_some)
                    && (reason.watches || rules.any(|rule| self.meets(rule, request)))
            })
    }

    /// Who is behind an address.
    pub fn who(&self, address: IpAddr) -> Who<'s> {
        let known = |labels: Labels, pod, outside| Who { address, labels, pod, outside };
        let serves = self.api_servers().contains(&address);
        if self.settings.host_addresses.contains(&address) {
            let any_serves =
                self.settings.host_addresses.iter().any(|own| self.api_servers().contains(own));
            let roles: &[&str] = if any_serves { &["host", "kube-apiserver"] } else { &["host"] };
            return known(Labels::reserved(roles), None, false);
        }
        let own = |pod: &&Arc<Pod>| !pod.host_network && pod.addresses.contains(&address);
        if let Some(pod) = self.snapshot.pods.iter().find(own) {
            return known(self.snapshot.labels_of(pod), Some(pod), false);
        }
        let shared = |pod: &Arc<Pod>| pod.host_network && pod.addresses.contains(&address);
        if self.snapshot.nodes.iter().any(|node| node.addresses.contains(&address))
            || self.snapshot.pods.iter().any(shared)
        {
            let roles: &[&str] =
                if serves { &["kube-apiserver", "remote-node"] } else { &["remote-node"] };
            return known(Labels::reserved(roles), None, false);
        }
        let world = self.world(address.is_ipv4());
        let roles: &[&str] = if serves { &[world, "kube-apiserver"] } else { &[world] };
        known(Labels::reserved(roles), None, true)
    }

    /// The world's name: a cluster of one family calls the world of that family just `world`.
    fn world(&self, v4: bool) -> &'static str {
        let speaks = |v4: bool| {
            let pods = self.snapshot.pods.iter().filter(|pod| !pod.host_network);
            pods.flat_map(|pod| &pod.addresses).any(|address| address.is_ipv4() == v4)
        };
        match (v4, speaks(true), speaks(false)) {
            (true, _, false) | (false, false, true) => "world",
            (true, _, true) => "world-ipv4",
            (false, _, _) => "world-ipv6",
        }
    }

    fn api_servers(&self) -> BTreeSet<IpAddr> {
        let mut found = BTreeSet::new();
        for slice in &self.snapshot.slices {
            if slice.namespace == "default" && slice.service == "kubernetes" {
                found.extend(slice.endpoints.iter().flat_map(|endpoint| &endpoint.addresses));
            }
        }
        found
    }

    /// What one direction's policies say; `None` where no endpoint stands on that side.
    pub fn reasons(
        &self,
        direction: Direction,
        source: &Who<'s>,
        destination: &Who<'s>,
        question: &Question,
    ) -> Option<Reasons<'s>> {
        let (subject, peer) = match direction {
            Direction::Ingress => (destination, source),
            Direction::Egress => (source, destination),
        };
        let pod = subject.pod?;
        let selecting = self.selecting(direction, subject);
        let may_deny = |policy: &Policy| !(self.sparing && policy.audited);
        let default_deny = selecting
            .iter()
            .any(|(policy, rule)| rule.section(direction).default_deny && may_deny(policy));
        let (enforced, default_allow) = match self.settings.enforcement {
            Enforcement::Never => (false, false),
            Enforcement::Always => (true, false),
            Enforcement::Default => (!selecting.is_empty(), !default_deny),
        };
        let mut clauses = Vec::new();
        for (policy, rule) in selecting {
            for clause in &rule.section(direction).clauses {
                if clause.effect == Effect::Deny && !may_deny(policy) {
                    continue;
                }
                if !self.is_peer(&clause.peers, subject, peer) {
                    continue;
                }
                let named = self.named_ports(direction, pod, peer);
                let matching = ports(&clause.ports, question, &named);
                if !matching.is_empty() {
                    let watches = !rule.section(direction).default_deny;
                    let names = |l7: &&'s L7| l7.dns().map(|names| names.as_slice());
                    let dns = matching.iter().filter_map(names).collect();
                    let http = matching.iter().filter(|l7| l7.dns().is_none());
                    let http = http.map(|l7| l7.http().map(|rules| rules.as_slice())).collect();
                    clauses.push(Reason { policy, clause, http, dns, watches });
                }
            }
        }
        let host = direction == Direction::Ingress && peer.labels.has_reserved("host");
        Some(Reasons { enforced, default_allow, host, clauses })
    }

    /// The rules that say something about a direction of an endpoint, with their policies.
    pub(crate) fn selecting(
        &self,
        direction: Direction,
        subject: &Who<'s>,
    ) -> Vec<(&'s Policy, &'s Rule)> {
        let rules = self
            .snapshot
            .policies
            .iter()
            .flat_map(|policy| policy.rules.iter().map(move |rule| (policy.as_ref(), rule)));
        let speaks = |(_, rule): &(&Policy, &Rule)| {
            !rule.section(direction).clauses.is_empty() && rule.subject.matches(&subject.labels)
        };
        rules.filter(speaks).collect()
    }

    /// The container ports that names in a clause mean: the subject's on ingress, each peer's on egress.
    pub(crate) fn named_ports(
        &self,
        direction: Direction,
        pod: &Pod,
        peer: &Who<'s>,
    ) -> Vec<ContainerPort> {
        match direction {
            Direction::Ingress => pod.ports.clone(),
            Direction::Egress => self.ports_of_identity(peer),
        }
    }

    /// The container ports of every pod that has the same labels: a peer is known by its labels only.
    fn ports_of_identity(&self, peer: &Who<'s>) -> Vec<ContainerPort> {
        let alike = |pod: &&Arc<Pod>| {
            !pod.host_network
                && !pod.addresses.is_empty()
                && self.snapshot.labels_of(pod) == peer.labels
        };
        let pods = self.snapshot.pods.iter().filter(|_| peer.pod.is_some()).filter(alike);
        pods.flat_map(|pod| pod.ports.clone()).collect()
    }

    pub(crate) fn is_peer(&self, peers: &Peers, subject: &Who<'_>, who: &Who<'_>) -> bool {
        match peers {
            Peers::Anyone => true,
            Peers::Nobody => false,
            Peers::AnyOf(peers) => peers.iter().any(|peer| match peer {
                Peer::Endpoints(selector) => selector.matches(&who.labels),
                Peer::Cidr { prefix, except } => in_prefix(who, &[*prefix], except),
                Peer::CidrGroup { groups, except } => {
                    in_prefix(who, &self.prefixes(groups), except)
                }
                Peer::Entity(entity) => is_entity(*entity, who),
                Peer::Service(service) => self.is_behind(service, who),
                Peer::Name(pattern) => who.outside && self.is_called(pattern, subject, who),
            }),
        }
    }

    /// Whether a DNS answer told the subject that a name of this pattern has the address.
    fn is_called(&self, pattern: &NamePattern, subject: &Who<'_>, who: &Who<'_>) -> bool {
        self.learned.iter().any(|learned| {
            learned.address == who.address
                && subject.pod.is_some_and(|pod| pod.addresses.contains(&learned.pod))
                && self.is_named(pattern, &learned.name)
        })
    }

    fn prefixes(&self, groups: &CidrGroups) -> Vec<IpNet> {
        let mut found = Vec::new();
        for group in &self.snapshot.cidr_groups {
            let chosen = match groups {
                CidrGroups::Named(name) => group.name == *name,
                CidrGroups::Selected(selector) => selector.matches(&written(&group.labels)),
            };
            if chosen {
                found.extend(&group.prefixes);
            }
        }
        found
    }

    fn is_behind(&self, peer: &ServicePeer, who: &Who<'_>) -> bool {
        let chosen = |service: &&Arc<Service>| {
            peer.namespace.as_ref().is_none_or(|namespace| service.namespace == *namespace)
                && match &peer.which {
                    ServiceChoice::Named(name) => service.name == *name,
                    ServiceChoice::Selected(selector) => {
                        selector.matches(&written(&service.labels))
                    }
                }
        };
        self.snapshot.services.iter().filter(chosen).any(|service| {
            if service.selector.is_empty() {
                let mut slices = self.snapshot.slices.iter();
                return who.outside
                    && slices.any(|slice| {
                        slice.namespace == service.namespace
                            && slice.service == service.name
                            && slice
                                .endpoints
                                .iter()
                                .any(|endpoint| endpoint.addresses.contains(&who.address))
                    });
            }
            // Labels that identities leave out select nobody.
            let namespace = who.labels.find(Some("k8s"), crate::label::POD_NAMESPACE);
            namespace.is_some_and(|namespace| namespace.value == service.namespace)
                && service.selector.iter().all(|(key, value)| {
                    who.labels.find(Some("k8s"), key).is_some_and(|label| label.value == *value)
                })
        })
    }

    /// Whether a request meets an HTTP rule.
    pub fn meets(&self, rule: &HttpRule, request: &HttpRequest<'_>) -> bool {
        let fields = [
            (&rule.path, request.path),
            (&rule.method, request.method),
            (&rule.host, request.host),
        ];
        let clean = fields.iter().all(|(_, text)| !text.contains('\0'));
        let readable = fields
            .iter()
            .all(|(pattern, _)| pattern.as_ref().is_none_or(|p| p.problem().is_none()));
        clean
            && readable
            && fields
                .iter()
                .all(|(pattern, text)| pattern.as_ref().is_none_or(|p| self.full_match(p, text)))
            && rule.headers.iter().all(|header| has_header(header, request))
    }

    pub(crate) fn full_match(&self, pattern: &Pattern, text: &str) -> bool {
        let mut patterns = self.patterns.borrow_mut();
        let regex = patterns.entry(pattern.text().to_owned()).or_insert_with(|| {
            Regex::builder()
                .syntax(syntax::Config::new().utf8(false).octal(true))
                .build(&pattern.anchored()?)
                .ok()
        });
        regex.as_ref().is_some_and(|regex| regex.is_match(text))
    }
}

fn written(pairs: &[(String, String)]) -> Labels {
    pairs.iter().map(|(key, value)| Label::new("k8s", key, value)).collect()
}

fn in_prefix(who: &Who<'_>, prefixes: &[IpNet], except: &[IpNet]) -> bool {
    let inside = |nets: &[IpNet]| nets.iter().any(|net| net.contains(&who.address));
    who.outside && inside(prefixes) && !inside(except)
}

fn is_entity(entity: Entity, who: &Who<'_>) -> bool {
    let role = |name: &str| who.labels.has_reserved(name);
    match entity {
        Entity::All => true,
        Entity::None => false,
        Entity::World => who.outside,
        Entity::WorldIpv4 => who.outside && who.address.is_ipv4(),
        Entity::WorldIpv6 => who.outside && who.address.is_ipv6(),
        Entity::Host => role("host"),
        Entity::RemoteNode => role("remote-node"),
        Entity::KubeApiserver => role("kube-apiserver"),
        Entity::Cluster => {
            who.pod.is_some() || role("host") || role("remote-node") || role("kube-apiserver")
        }
        // No address of a snapshot has these roles.
        Entity::Ingress | Entity::Init | Entity::Health | Entity::Unmanaged => false,
    }
}

/// For each port rule that matches, what may be said on it; a clause that does not look at ports allows anything.
pub(crate) fn ports<'s>(
    ports: &'s Ports,
    question: &Question,
    named: &[ContainerPort],
) -> Vec<&'s L7> {
    let rules = match ports {
        Ports::All => return vec![&L7::Anything],
        Ports::Nothing => return Vec::new(),
        Ports::AnyOf(rules) => rules,
    };
    let matching = rules.iter().filter(|rule| {
        rule.protocol.covers(question.protocol)
            && match &rule.port {
                PortSpec::Every => true,
                PortSpec::Range(first, last) => (*first..=*last).contains(&question.dst_port),
                PortSpec::Named(name) => named.iter().any(|port| {
                    port.name.as_ref().is_some_and(|own| own.eq_ignore_ascii_case(name))
                        && port.protocol == question.protocol
                        && port.port == question.dst_port
                }),
            }
    });
    matching.map(|rule| &rule.l7).collect()
}

pub(crate) fn has_header(wanted: &HeaderRule, request: &HttpRequest<'_>) -> bool {
    let mut values: Vec<Vec<u8>> = Vec::new();
    (request.headers)(&mut |name, value| {
        if name.eq_ignore_ascii_case(&wanted.name) {
            values.push(value.to_vec());
        }
    });
    match &wanted.value {
        None => !values.is_empty(),
        Some(value) => !values.is_empty() && values.join(&b","[..]) == value.as_bytes(),
    }
}
