//! Entries become slots: per protocol, over the borders of their port ranges.
//!
//! Arrives: everything that holds for a side. Leaves: the [`Side`]. Invariant: ports under the same entries share one slot.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hashbrown::HashMap;
use roaring::RoaringBitmap;

use super::Compiler;
use crate::http::HttpRules;
use crate::identity::Identity;
use crate::names::NameIndex;
use crate::rule::name::NamePattern;
use crate::rule::{HttpRule, L7};
use crate::table::{IdentitySet, PortDns, PortHttp, PortMap, RuleGroup, Side, Slot, SlotClause};
use crate::verdict::{CauseKind, MatchType, RuleId};

/// Everything that holds for a side, in the order it was written.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) peers: IdentitySet,
    pub(super) kind: CauseKind,
    pub(super) rule: Option<RuleId>,
    pub(super) l7: L7,
    /// The rules only watch (`enableDefaultDeny: false`): every request passes.
    pub(super) watches: bool,
    /// Which protocols of [`CLASSES`], and which ports of them; `None`: everything.
    pub(super) ports: Option<([bool; 6], u16, u16)>,
    pub(super) matched: MatchType,
}

impl Compiler<'_> {
    /// Turns entries into slots: per protocol, over the borders of their ranges.
    pub(super) fn sweep(&mut self, entries: Vec<Entry>) -> Side {
        let mut slots = Slots { entries: &entries, known: HashMap::new(), made: Vec::new() };
        let maps = std::array::from_fn(|class| {
            let mut opens: BTreeMap<u16, Vec<u32>> = BTreeMap::new();
            let mut closes: BTreeMap<u16, Vec<u32>> = BTreeMap::new();
            let mut active: BTreeSet<u32> = BTreeSet::new();
            for (entry, number) in entries.iter().zip(0_u32..) {
                match &entry.ports {
                    None => {
                        active.insert(number);
                    }
                    Some((classes, first, last))
                        if classes.get(class).copied().unwrap_or(false) =>
                    {
                        opens.entry(*first).or_default().push(number);
                        if let Some(after) = last.checked_add(1) {
                            closes.entry(after).or_default().push(number);
                        }
                    }
                    Some(_) => {}
                }
            }
            let borders: BTreeSet<u16> = [0]
                .into_iter()
                .chain(opens.keys().copied())
                .chain(closes.keys().copied())
                .collect();
            let mut runs = Vec::new();
            for border in borders {
                for gone in closes.get(&border).into_iter().flatten() {
                    active.remove(gone);
                }
                active.extend(opens.get(&border).into_iter().flatten());
                runs.push((border, slots.of(&active, &mut self.automata, &mut self.indexes)));
            }
            pages(&runs)
        });
        let names = names(&entries);
        Side { enforced: true, maps, slots: slots.made, names }
    }
}

/// Slots being made, one for each distinct set of entries.
struct Slots<'e> {
    entries: &'e [Entry],
    known: HashMap<Vec<u32>, u32>,
    made: Vec<Slot>,
}

impl Slots<'_> {
    fn of(
        &mut self,
        active: &BTreeSet<u32>,
        automata: &mut HashMap<Vec<HttpRule>, Arc<HttpRules>>,
        indexes: &mut HashMap<Vec<NamePattern>, Arc<NameIndex>>,
    ) -> u32 {
        let key: Vec<u32> = active.iter().copied().collect();
        if let Some(slot) = self.known.get(&key) {
            return *slot;
        }
        let entries: Vec<&Entry> = key
            .iter()
            .filter_map(|entry| self.entries.get(usize::try_from(*entry).ok()?))
            .collect();
        let set = |kind: CauseKind| {
            union(entries.iter().filter(|entry| entry.kind == kind).map(|entry| &entry.peers))
        };
        let mut clauses: Vec<(u32, SlotClause)> = entries
            .iter()
            .map(|entry| {
                let width = entry
                    .ports
                    .map_or(u32::MAX, |(_, first, last)| u32::from(last.saturating_sub(first)));
                let Entry { peers, kind, rule, matched, .. } = (*entry).clone();
                (width, SlotClause { peers, kind, matched, rule })
            })
            .collect();
        // The narrowest decides, then the one that names its peer: the order Cilium reports by.
        clauses.sort_by_key(|(width, clause)| (*width, matches!(clause.peers, IdentitySet::All)));
        let slot = Slot {
            denied: set(CauseKind::Denied),
            allowed: set(CauseKind::Allowed),
            inspected: set(CauseKind::Inspected),
            http: http(&entries, automata),
            resolved: set(CauseKind::Resolved),
            dns: dns(&entries, indexes),
            clauses: clauses.into_iter().map(|(_, clause)| clause).collect(),
        };
        let number = u32::try_from(self.made.len()).unwrap_or(u32::MAX);
        self.made.push(slot);
        self.known.insert(key, number);
        number
    }
}

/// The HTTP rules of a slot: equal ones once, for the union of their peers.
fn http(
    entries: &[&Entry],
    automata: &mut HashMap<Vec<HttpRule>, Arc<HttpRules>>,
) -> Option<PortHttp> {
    let mut rules: Vec<HttpRule> = Vec::new();
    let mut places: HashMap<HttpRule, usize> = HashMap::new();
    let mut groups: Vec<RuleGroup> = Vec::new();
    for entry in entries {
        let Some(list) = entry.l7.http() else { continue };
        let everything = HttpRule::default();
        for rule in list.iter().chain(entry.watches.then_some(&everything)) {
            let place = *places.entry(rule.clone()).or_insert_with(|| {
                rules.push(rule.clone());
                groups.push(RuleGroup { peers: IdentitySet::None, sources: Vec::new() });
                groups.len().saturating_sub(1)
            });
            if let (Some(group), Some(id)) = (groups.get_mut(place), entry.rule) {
                group.sources.push((entry.peers.clone(), id));
            }
        }
    }
    if rules.is_empty() {
        return None;
    }
    for group in &mut groups {
        group.peers = union(group.sources.iter().map(|(peers, _)| peers));
    }
    let index = automata.len();
    let rules = automata
        .entry(rules)
        .or_insert_with_key(|rules| Arc::new(HttpRules::new(index, rules.clone())));
    Some(PortHttp { rules: Arc::clone(rules), groups })
}

/// The DNS rules of a slot: equal names once, for the union of their peers.
fn dns(
    entries: &[&Entry],
    indexes: &mut HashMap<Vec<NamePattern>, Arc<NameIndex>>,
) -> Option<PortDns> {
    let mut written: BTreeMap<NamePattern, Vec<(IdentitySet, RuleId)>> = BTreeMap::new();
    for entry in entries {
        let Some(list) = entry.l7.dns() else { continue };
        let everything = NamePattern::every();
        for name in list.iter().chain(entry.watches.then_some(&everything)) {
            let sources = written.entry(name.clone()).or_default();
            sources.extend(entry.rule.map(|rule| (entry.peers.clone(), rule)));
        }
    }
    if written.is_empty() {
        return None;
    }
    let (names, groups): (Vec<NamePattern>, Vec<RuleGroup>) = written
        .into_iter()
        .map(|(name, sources)| {
            (name, RuleGroup { peers: union(sources.iter().map(|(peers, _)| peers)), sources })
        })
        .unzip();
    let names =
        indexes.entry(names).or_insert_with_key(|names| Arc::new(NameIndex::new(names.clone())));
    Some(PortDns { names: Arc::clone(names), groups })
}

/// The identities of the names that entries allow. They are the greatest numbers of a set.
fn names(entries: &[Entry]) -> IdentitySet {
    let mut names = RoaringBitmap::new();
    for entry in entries {
        let IdentitySet::These(peers) = &entry.peers else { continue };
        let is_name = |number: &u32| Identity::from_number(*number).is_name();
        names.extend(peers.iter().rev().take_while(is_name));
    }
    set_of(Arc::new(names))
}

fn union<'a>(sets: impl Iterator<Item = &'a IdentitySet>) -> IdentitySet {
    let mut one: Option<Arc<RoaringBitmap>> = None;
    for set in sets {
        match (set, &mut one) {
            (IdentitySet::None, _) => {}
            (IdentitySet::All, _) => return IdentitySet::All,
            (IdentitySet::These(set), None) => one = Some(Arc::clone(set)),
            (IdentitySet::These(set), Some(one)) => *Arc::make_mut(one) |= set.as_ref(),
        }
    }
    set_of(one.unwrap_or_default())
}

/// A set that knows when it is empty.
pub(super) fn set_of(set: Arc<RoaringBitmap>) -> IdentitySet {
    if set.is_empty() { IdentitySet::None } else { IdentitySet::These(set) }
}

pub(super) fn these(identities: impl IntoIterator<Item = Identity>) -> IdentitySet {
    IdentitySet::These(Arc::new(identities.into_iter().map(Identity::number).collect()))
}

/// Runs of ports, each from its border to the next, as pages; equal pages are one.
fn pages(runs: &[(u16, u32)]) -> PortMap {
    if let [(_, only)] = runs {
        return PortMap::Uniform(*only);
    }
    let mut known: HashMap<[u32; 256], Arc<[u32; 256]>> = HashMap::new();
    let mut rest = runs.iter().peekable();
    let mut current = 0;
    let mut next = |port: u16| {
        while let Some((_, slot)) = rest.next_if(|(border, _)| *border <= port) {
            current = *slot;
        }
        current
    };
    let top = std::array::from_fn(|high| {
        let page: [u32; 256] = std::array::from_fn(|low| {
            let port =
                u16::try_from(high.saturating_mul(256).saturating_add(low)).unwrap_or(u16::MAX);
            next(port)
        });
        Arc::clone(known.entry(page).or_insert_with(|| Arc::new(page)))
    });
    PortMap::Paged(Box::new(top))
}
