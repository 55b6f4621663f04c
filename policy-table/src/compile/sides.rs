//! Sides: what holds for an endpoint in one direction, made once for all endpoints under the same rules.
//!
//! Arrives: an endpoint's rules. Leaves: the number of its [`Side`], made if nobody has it yet, and freed when the last
//! endpoint leaves it. Invariant: a side's key says everything it was made of but who its peers are, which its sets say.

use std::sync::Arc;

use hashbrown::{HashMap, HashSet};

use super::peers::{NamedPort, Peers};
use super::rules::{Numbering, Rules};
use super::sets::{Numbered, Sets, Whom};
use super::sweep::{Automata, Entry, Sweep};
use crate::members::Members;
use crate::rule;
use crate::rule::{
    Clause, Direction, Effect, Entity, L7, Peer, PortProtocol, PortSpec, Ports, Rule,
};
use crate::shared::Chunks;
use crate::side::{IdentitySet, PortMap, Side};
use crate::snapshot::ContainerPort;
use crate::table::{CLASSES, Enforcement};
use crate::verdict::{CauseKind, MatchType, RuleId};

/// What makes two endpoints' sides the same: the direction, the rules, and the ports their names stand for.
type SideKey = (Direction, Vec<u32>, Vec<NamedPort>);

#[derive(Debug)]
struct Known {
    key: SideKey,
    endpoints: usize,
    /// Every set it refers to, once.
    sets: Vec<u32>,
}

/// The sides that endpoints have.
#[derive(Debug, Default)]
pub(super) struct SidesOf {
    known: Numbered<Known>,
    by_key: HashMap<SideKey, u32>,
    automata: Automata,
    /// Sides that may have nobody any more.
    restless: Vec<u32>,
    /// Egress sides by the names of ports they ask for.
    asking: HashMap<String, HashSet<u32>>,
}

/// What sides are made from.
pub(super) struct Workshop<'w> {
    pub(super) enforcement: Enforcement,
    pub(super) rules: &'w Rules,
    pub(super) peers: &'w mut Peers,
    pub(super) sets: &'w mut Sets,
    pub(super) bitmaps: &'w mut Chunks<Members>,
    pub(super) sides: &'w mut Chunks<Arc<Side>>,
}

impl SidesOf {
    /// The side of an endpoint under these rules. Whoever is given it gives it back by [`SidesOf::leave`].
    pub(super) fn enter(
        &mut self,
        direction: Direction,
        rules: &[u32],
        ports: &[ContainerPort],
        workshop: &mut Workshop<'_>,
    ) -> u32 {
        let speaks = |number: &u32| {
            let rule = workshop.rules.get(*number).and_then(Numbering::rule);
            rule.is_some_and(|rule| !rule.section(direction).clauses.is_empty())
        };
        let rules: Vec<u32> = rules.iter().copied().filter(speaks).collect();
        let of_rules = rules.iter().filter_map(|number| workshop.rules.get(*number)?.rule());
        let mut names: Vec<String> =
            of_rules.flat_map(|rule| port_names(rule, direction)).collect();
        names.sort();
        names.dedup();
        // Names of ports are the endpoint's own for ingress, and its peers' for egress.
        let mut named: Vec<NamedPort> = match direction {
            Direction::Ingress => ports
                .iter()
                .filter_map(named_port)
                .filter(|(name, _, _)| names.contains(name))
                .collect(),
            Direction::Egress => {
                names.iter().flat_map(|name| workshop.peers.ports_named(name)).collect()
            }
        };
        named.sort();
        named.dedup();
        let key = (direction, rules, named);
        if let Some(side) = self.by_key.get(&key) {
            if let Some(known) = self.known.get_mut(*side) {
                known.endpoints = known.endpoints.saturating_add(1);
            }
            return *side;
        }
        let side = self.build(&key, workshop);
        let mut sets = HashSet::new();
        side.each_set(|set| {
            if let IdentitySet::These(set) = set {
                sets.insert(set);
            }
        });
        for set in &sets {
            workshop.sets.keep(*set);
        }
        let sets = sets.into_iter().collect();
        let number = self.known.insert(Known { key: key.clone(), endpoints: 1, sets });
        match usize::try_from(number).ok().and_then(|place| workshop.sides.get_mut(place)) {
            Some(there) => *there = Arc::new(side),
            None => {
                workshop.sides.push(Arc::new(side));
            }
        }
        if direction == Direction::Egress {
            for name in names {
                self.asking.entry(name).or_default().insert(number);
            }
        }
        self.by_key.insert(key, number);
        number
    }

    /// An endpoint has this side no more.
    pub(super) fn leave(&mut self, side: u32) {
        if let Some(known) = self.known.get_mut(side) {
            known.endpoints = known.endpoints.saturating_sub(1);
            if known.endpoints == 0 {
                self.restless.push(side);
            }
        }
    }

    /// The egress sides that ask for a port of this name.
    pub(super) fn asking(&self, name: &str) -> impl Iterator<Item = u32> + '_ {
        self.asking.get(name).into_iter().flatten().copied()
    }

    /// Frees the sides that nobody has.
    pub(super) fn settle(&mut self, workshop: &mut Workshop<'_>) {
        for number in std::mem::take(&mut self.restless) {
            if self.known.get(number).is_none_or(|known| known.endpoints > 0) {
                continue;
            }
            let Some(gone) = self.known.remove(number) else { continue };
            self.by_key.remove(&gone.key);
            self.asking.retain(|_, sides| {
                sides.remove(&number);
                !sides.is_empty()
            });
            if let Some(there) =
                usize::try_from(number).ok().and_then(|place| workshop.sides.get_mut(place))
            {
                *there = Arc::default();
            }
            for set in gone.sets {
                for atom in workshop.sets.release(set, workshop.bitmaps) {
                    workshop.peers.forget_holding(atom, workshop.sets);
                }
            }
        }
        self.automata.settle();
    }

    fn build(&mut self, (direction, rules, named): &SideKey, workshop: &mut Workshop<'_>) -> Side {
        let direction = *direction;
        let mut rules: Vec<&Numbering> =
            rules.iter().filter_map(|number| workshop.rules.get(*number)).collect();
        rules.sort_by(|one, two| one.order().cmp(&two.order()));
        let denies =
            |own: &Numbering| own.rule().is_some_and(|rule| rule.section(direction).default_deny);
        let default_deny = rules.iter().any(|own| denies(own));
        let tried = workshop.enforcement == Enforcement::Default
            && default_deny
            && !rules.iter().any(|own| denies(own) && !own.is_audited());
        let (enforced, default_allow) = match workshop.enforcement {
            Enforcement::Never => (false, false),
            Enforcement::Always => (true, false),
            Enforcement::Default => (!rules.is_empty(), !default_deny),
        };
        if !enforced {
            return Side::open();
        }
        let mut entries = Vec::new();
        for numbering in &rules {
            let Some(rule) = numbering.rule() else { continue };
            let watches = !rule.section(direction).default_deny;
            for (clause, id) in numbering.clauses(direction) {
                let audited = numbering.is_audited();
                let about = About { direction, clause, id, watches, audited, named };
                about.entries(workshop.peers, workshop.sets, &mut entries);
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
            let host = workshop.peers.atom(&Peer::Entity(Entity::Host));
            entries.push(implied(Whom::Atoms(host.into_iter().collect()), MatchType::L3Only));
        }
        if default_allow {
            entries.push(implied(Whom::All, MatchType::All));
        }
        let atoms = entries.iter().flat_map(|entry| match &entry.peers {
            Whom::Atoms(atoms) => atoms.as_slice(),
            Whom::All => &[],
        });
        let names: Vec<u32> = atoms.copied().filter(|atom| workshop.peers.is_name(*atom)).collect();
        let names = (!names.is_empty()).then_some(Whom::Atoms(names));
        let names = workshop.sets.of(names.as_ref(), workshop.bitmaps);
        Sweep {
            entries: &entries,
            sets: workshop.sets,
            bitmaps: workshop.bitmaps,
            automata: &mut self.automata,
        }
        .side(tried, names)
    }
}

/// A clause as one side sees it.
struct About<'r> {
    direction: Direction,
    clause: &'r Clause,
    id: RuleId,
    watches: bool,
    /// Its policy is only tried.
    audited: bool,
    named: &'r [NamedPort],
}

impl About<'_> {
    /// What the clause says, port by port.
    fn entries(&self, peers: &mut Peers, sets: &mut Sets, into: &mut Vec<Entry>) {
        let whom = match &self.clause.peers {
            rule::Peers::Nobody => return,
            rule::Peers::Anyone => Whom::All,
            rule::Peers::AnyOf(list) if list.contains(&Peer::Entity(Entity::All)) => Whom::All,
            rule::Peers::AnyOf(list) => {
                Whom::Atoms(list.iter().filter_map(|peer| peers.atom(peer)).collect())
            }
        };
        let anyone = whom == Whom::All;
        let plain = match self.clause.effect {
            Effect::Allow => CauseKind::Allowed,
            Effect::Deny if self.audited => CauseKind::Objected,
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
        let rules = match &self.clause.ports {
            Ports::Nothing => return,
            Ports::All => {
                let (kind, matched) = (plain, matched(false, false));
                into.push(Entry {
                    peers: whom,
                    kind,
                    rule: Some(self.id),
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
            let mut push = |peers: Whom, classes: [bool; 6], first: u16, last: u16, every: bool| {
                into.push(Entry {
                    peers,
                    kind,
                    rule: Some(self.id),
                    l7: port.l7.clone(),
                    watches: self.watches,
                    ports: Some((classes, first, last)),
                    matched: matched(true, every),
                });
            };
            match &port.port {
                PortSpec::Every => push(whom.clone(), covered(port.protocol), 0, u16::MAX, true),
                PortSpec::Range(first, last) => {
                    push(whom.clone(), covered(port.protocol), *first, *last, false);
                }
                PortSpec::Named(name) => {
                    let covers = |(own, protocol, _): &&NamedPort| {
                        own.eq_ignore_ascii_case(name) && port.protocol.covers(*protocol)
                    };
                    for named in self.named.iter().filter(covers) {
                        let (_, protocol, number) = named;
                        let whom = match self.direction {
                            Direction::Ingress => whom.clone(),
                            Direction::Egress => peers.holding(&whom, named, sets),
                        };
                        let classes = CLASSES.map(|class| class == Some(*protocol));
                        push(whom, classes, *number, *number, false);
                    }
                }
            }
        }
    }
}

/// The names of ports a rule uses in a direction, in lower case.
fn port_names(rule: &Rule, direction: Direction) -> impl Iterator<Item = String> {
    let ports = rule.section(direction).clauses.iter().flat_map(|clause| match &clause.ports {
        Ports::AnyOf(ports) => ports.as_slice(),
        Ports::All | Ports::Nothing => &[],
    });
    ports.filter_map(|port| match &port.port {
        PortSpec::Named(name) => Some(name.to_ascii_lowercase()),
        PortSpec::Every | PortSpec::Range(..) => None,
    })
}

/// A container's port by its name.
pub(super) fn named_port(port: &ContainerPort) -> Option<NamedPort> {
    let name = port.name.as_ref()?.to_ascii_lowercase();
    Some((name, port.protocol, port.port))
}

impl Side {
    /// Nothing is enforced.
    pub(super) fn open() -> Self {
        let maps = std::array::from_fn(|_| PortMap::Uniform(u32::MAX));
        Self { enforced: false, maps, ..Self::default() }
    }
}
