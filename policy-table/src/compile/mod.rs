//! A snapshot becomes a table.
//!
//! ```text
//! 1 census   who there is: pods, nodes, prefixes of policies ─ identities, addresses
//! 2 select   each distinct selector once, through an index of labels ─ sets of identities
//! 3 gather   the rules that select each endpoint; endpoints under the same rules share one Side
//! 4 sweep    per protocol, over the borders of port ranges ─ slots, shared where the same clauses hold
//! ```
//! Arrives: a [`Snapshot`]. Leaves: a [`Table`] that answers as `oracle.rs` does, which the property tests compare.
//! Invariant: an identity nobody could name is in no set but `All`.

mod census;
pub(crate) mod select;
mod services;
mod sweep;

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::HashMap;
use roaring::RoaringBitmap;

use crate::http::HttpRules;
use crate::identity::{Identities, Identity};
use crate::names::NameIndex;
use crate::rule::name::NamePattern;
use crate::rule::{
    Clause, Direction, Effect, HttpRule, L7, Peer, Peers, PortProtocol, PortSpec, Ports, Protocol,
    Rule, RuleOrigin,
};
use crate::selector::Selector;
use crate::snapshot::{self, Snapshot};
use crate::table::{
    CLASSES, Endpoint, Enforcement, IdentitySet, PortMap, Settings, Side, Sides, Table,
};
use crate::verdict::{CauseKind, EndpointIndex, MatchType, RuleId};
use census::Census;
use select::LabelIndex;
use sweep::{Entry, these};

impl Table {
    /// Compiles a snapshot. `identities` must live as long as the daemon, so that numbers stay.
    pub fn compile(
        snapshot: &Snapshot,
        settings: &Settings,
        identities: &mut Identities,
        epoch: u64,
    ) -> Self {
        let census = Census::take(snapshot, settings, identities);
        let mut compiler = Compiler {
            snapshot,
            settings,
            census: &census,
            index: LabelIndex::new(&census.records),
            peers: HashMap::new(),
            rules: Vec::new(),
            sides: Vec::new(),
            shared: HashMap::new(),
            automata: HashMap::new(),
            indexes: HashMap::new(),
        };
        let (endpoints, sides_of) = compiler.endpoints();
        let Compiler { rules, sides, .. } = compiler;
        let mut by_address = HashMap::new();
        let mut by_name = HashMap::new();
        for (endpoint, index) in endpoints.iter().zip((0_u32..).map(EndpointIndex)) {
            by_address.extend(endpoint.addresses.iter().map(|address| (*address, index)));
            by_name.insert((endpoint.namespace.clone(), endpoint.name.clone()), index);
        }
        let services =
            snapshot.services.iter().map(|service| services::resolve(snapshot, service)).collect();
        let Census { records, prefixes, names, .. } = census;
        let (patterns, name_identities) = names.into_iter().unzip();
        Self {
            epoch,
            endpoints,
            sides_of,
            by_address,
            by_name,
            prefixes,
            identities: records,
            services,
            sides,
            rules,
            names: NameIndex::new(patterns),
            name_identities,
        }
    }
}

/// What makes two endpoints' sides the same.
type SideKey = (Direction, Vec<u32>, Vec<snapshot::ContainerPort>);

struct Compiler<'s> {
    snapshot: &'s Snapshot,
    settings: &'s Settings,
    census: &'s Census,
    index: LabelIndex,
    peers: HashMap<Peer, RoaringBitmap>,
    rules: Vec<RuleOrigin>,
    sides: Vec<Side>,
    shared: HashMap<SideKey, u32>,
    automata: HashMap<Vec<HttpRule>, Arc<HttpRules>>,
    indexes: HashMap<Vec<NamePattern>, Arc<NameIndex>>,
}

/// A rule with the numbers of its clauses: ingress first, then egress.
struct Numbered<'s> {
    rule: &'s Rule,
    first_ingress: u32,
    first_egress: u32,
}

impl Compiler<'_> {
    fn endpoints(&mut self) -> (Vec<Endpoint>, Vec<Sides>) {
        let snapshot = self.snapshot;
        let mut numbered = Vec::new();
        for policy in &snapshot.policies {
            for rule in &policy.rules {
                let next = |rules: &Vec<RuleOrigin>| u32::try_from(rules.len()).unwrap_or(u32::MAX);
                let first_ingress = next(&self.rules);
                self.rules
                    .extend(rule.ingress.clauses.iter().map(|clause| policy.origin_of(clause)));
                let first_egress = next(&self.rules);
                self.rules
                    .extend(rule.egress.clauses.iter().map(|clause| policy.origin_of(clause)));
                numbered.push(Numbered { rule, first_ingress, first_egress });
            }
        }
        // Which rules select which identity.
        let mut selected: HashMap<u32, Vec<u32>> = HashMap::new();
        let mut subjects: HashMap<&Selector, RoaringBitmap> = HashMap::new();
        for (entry, place) in numbered.iter().zip(0_u32..) {
            let subject = &entry.rule.subject;
            for identity in
                subjects.entry(subject).or_insert_with(|| self.index.select(subject)).iter()
            {
                selected.entry(identity).or_default().push(place);
            }
        }
        let mut endpoints = Vec::new();
        let mut sides_of = Vec::new();
        for (place, (identity, labels)) in &self.census.pods {
            let Some(pod) = snapshot.pods.get(*place) else { continue };
            let rules = selected.get(&identity.number()).map(Vec::as_slice).unwrap_or_default();
            let [ingress, egress] = [Direction::Ingress, Direction::Egress]
                .map(|direction| self.side(direction, rules, &numbered, &pod.ports));
            let enforced = |side: u32| {
                usize::try_from(side)
                    .ok()
                    .and_then(|side| self.sides.get(side))
                    .is_none_or(|side| side.enforced)
            };
            endpoints.push(Endpoint {
                namespace: pod.namespace.clone(),
                name: pod.name.clone(),
                addresses: pod.addresses.clone(),
                identity: *identity,
                labels: Arc::clone(labels),
                ingress_enforced: enforced(ingress),
                egress_enforced: enforced(egress),
                node: pod.node.clone(),
                ports: pod.ports.clone(),
            });
            sides_of.push(Sides { egress, ingress });
        }
        (endpoints, sides_of)
    }

    /// The side of an endpoint under these rules, made once for all that share it.
    fn side(
        &mut self,
        direction: Direction,
        rules: &[u32],
        numbered: &[Numbered<'_>],
        ports: &[snapshot::ContainerPort],
    ) -> u32 {
        let speaks = |place: &u32| {
            let entry = usize::try_from(*place).ok().and_then(|place| numbered.get(place));
            entry.is_some_and(|entry| !entry.rule.section(direction).clauses.is_empty())
        };
        let rules: Vec<u32> = rules.iter().copied().filter(speaks).collect();
        let of_rules: Vec<&Numbered<'_>> =
            rules.iter().filter_map(|place| numbered.get(usize::try_from(*place).ok()?)).collect();
        // Names of ports count for ingress only where a rule uses one.
        let names = direction == Direction::Ingress
            && of_rules.iter().any(|entry| uses_names(entry.rule, direction));
        let mut own: Vec<snapshot::ContainerPort> = if names {
            ports.iter().filter(|port| port.name.is_some()).cloned().collect()
        } else {
            Vec::new()
        };
        own.sort();
        let key = (direction, rules, own);
        if let Some(side) = self.shared.get(&key) {
            return *side;
        }
        let side = self.build(direction, &of_rules, &key.2);
        let number = u32::try_from(self.sides.len()).unwrap_or(u32::MAX);
        self.sides.push(side);
        self.shared.insert(key, number);
        number
    }

    fn build(
        &mut self,
        direction: Direction,
        rules: &[&Numbered<'_>],
        ports: &[snapshot::ContainerPort],
    ) -> Side {
        let default_deny = rules.iter().any(|entry| entry.rule.section(direction).default_deny);
        let (enforced, default_allow) = match self.settings.enforcement {
            Enforcement::Never => (false, false),
            Enforcement::Always => (true, false),
            Enforcement::Default => (!rules.is_empty(), !default_deny),
        };
        if !enforced {
            let maps = std::array::from_fn(|_| PortMap::Uniform(0));
            return Side { enforced, maps, slots: Vec::new(), names: IdentitySet::None };
        }
        let mut entries = Vec::new();
        for entry in rules {
            let section = entry.rule.section(direction);
            let first = match direction {
                Direction::Ingress => entry.first_ingress,
                Direction::Egress => entry.first_egress,
            };
            for (clause, number) in section.clauses.iter().zip(first..) {
                self.entries(
                    direction,
                    clause,
                    RuleId(number),
                    !section.default_deny,
                    ports,
                    &mut entries,
                );
            }
        }
        let implied = |peers, matched| Entry {
            peers,
            kind: CauseKind::Allowed,
            rule: None,
            l7: L7::Anything,
            watches: false,
            ports: None,
            matched,
        };
        if direction == Direction::Ingress {
            entries.push(implied(these([Identity::HOST]), MatchType::L3Only));
        }
        if default_allow {
            entries.push(implied(IdentitySet::All, MatchType::All));
        }
        self.sweep(entries)
    }

    /// What a clause says, port by port.
    fn entries(
        &mut self,
        direction: Direction,
        clause: &Clause,
        rule: RuleId,
        watches: bool,
        subject_ports: &[snapshot::ContainerPort],
        into: &mut Vec<Entry>,
    ) {
        let peers = match &clause.peers {
            Peers::Nobody => return,
            Peers::Anyone => IdentitySet::All,
            Peers::AnyOf(peers) => self.union(peers),
        };
        let anyone = matches!(peers, IdentitySet::All);
        let plain = match clause.effect {
            Effect::Allow => CauseKind::Allowed,
            Effect::Deny => CauseKind::Denied,
        };
        let matched = |port: bool, every: bool| match (anyone, port, every) {
            (true, false, _) => MatchType::All,
            (false, false, _) => MatchType::L3Only,
            (true, true, true) => MatchType::ProtoOnly,
            (false, true, true) => MatchType::L3Proto,
            (true, true, false) => MatchType::L4Only,
            (false, true, false) => MatchType::L3L4,
        };
        let rules = match &clause.ports {
            Ports::Nothing => return,
            Ports::All => {
                let (kind, matched) = (plain, matched(false, false));
                into.push(Entry {
                    peers,
                    kind,
                    rule: Some(rule),
                    l7: L7::Anything,
                    watches: false,
                    ports: None,
                    matched,
                });
                return;
            }
            Ports::AnyOf(rules) => rules,
        };
        for port in rules {
            let covered = |own: PortProtocol| {
                CLASSES.map(|class| class.is_some_and(|protocol| own.covers(protocol)))
            };
            let kind = match port.l7 {
                L7::Anything => plain,
                L7::Http(_) => CauseKind::Inspected,
                L7::Dns(_) => CauseKind::Resolved,
            };
            let mut push =
                |peers: IdentitySet, classes: [bool; 6], first: u16, last: u16, every: bool| {
                    into.push(Entry {
                        peers,
                        kind,
                        rule: Some(rule),
                        l7: port.l7.clone(),
                        watches,
                        ports: Some((classes, first, last)),
                        matched: matched(true, every),
                    });
                };
            match &port.port {
                PortSpec::Every => push(peers.clone(), covered(port.protocol), 0, u16::MAX, true),
                PortSpec::Range(first, last) => {
                    push(peers.clone(), covered(port.protocol), *first, *last, false)
                }
                PortSpec::Named(name) => {
                    let resolved = match direction {
                        Direction::Ingress => own_ports(name, subject_ports)
                            .map(|port| (port.protocol, port.port, peers.clone()))
                            .collect(),
                        Direction::Egress => self.peer_ports(name, &peers),
                    };
                    for (protocol, number, peers) in resolved {
                        if port.protocol.covers(protocol) {
                            let classes = CLASSES.map(|class| class == Some(protocol));
                            push(peers, classes, number, number, false);
                        }
                    }
                }
            }
        }
    }

    /// The ports of this name among the pods that `peers` holds, each with those who have it.
    fn peer_ports(&self, name: &str, peers: &IdentitySet) -> Vec<(Protocol, u16, IdentitySet)> {
        let mut found: BTreeMap<(Protocol, u16), RoaringBitmap> = BTreeMap::new();
        for (place, (identity, _)) in &self.census.pods {
            let Some(pod) = self.snapshot.pods.get(*place).filter(|_| peers.contains(*identity))
            else {
                continue;
            };
            for port in own_ports(name, &pod.ports) {
                found.entry((port.protocol, port.port)).or_default().insert(identity.number());
            }
        }
        found
            .into_iter()
            .map(|((protocol, port), set)| (protocol, port, IdentitySet::These(Arc::new(set))))
            .collect()
    }
}

fn uses_names(rule: &Rule, direction: Direction) -> bool {
    rule.section(direction).clauses.iter().any(|clause| match &clause.ports {
        Ports::AnyOf(ports) => ports.iter().any(|port| matches!(port.port, PortSpec::Named(_))),
        Ports::All | Ports::Nothing => false,
    })
}

fn own_ports<'p>(
    name: &'p str,
    ports: &'p [snapshot::ContainerPort],
) -> impl Iterator<Item = &'p snapshot::ContainerPort> {
    ports
        .iter()
        .filter(move |port| port.name.as_deref().is_some_and(|own| own.eq_ignore_ascii_case(name)))
}
