//! Entries become slots: per protocol, over the borders of their port ranges.
//!
//! Arrives: everything that holds for a side. Leaves: the [`Side`]. Invariant: ports under the same entries share one slot,
//! and equal lists of HTTP rules one automaton.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};

use hashbrown::HashMap;

use super::sets::{Sets, Whom};
use crate::http::HttpRules;
use crate::members::Members;
use crate::names::NameIndex;
use crate::rule::name::NamePattern;
use crate::rule::{HttpRule, L7};
use crate::shared::Chunks;
use crate::side::{
    FewRuns, IdentitySet, PortDns, PortHttp, PortMap, RuleGroup, Side, Slot, SlotClause,
};
use crate::verdict::{CauseKind, MatchType, RuleId};

/// Everything that holds for a side, in the order it was written.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) peers: Whom,
    pub(super) kind: CauseKind,
    pub(super) rule: Option<RuleId>,
    pub(super) l7: L7,
    /// The rules only watch (`enableDefaultDeny: false`): every request passes.
    pub(super) watches: bool,
    /// Which protocols of [`CLASSES`](crate::table::CLASSES), and which ports of them; `None`: everything.
    pub(super) ports: Option<([bool; 6], u16, u16)>,
    pub(super) matched: MatchType,
}

/// Automata by their rules, as long as a table has them.
#[derive(Debug, Default)]
pub(super) struct Automata {
    known: HashMap<Arc<[HttpRule]>, Weak<HttpRules>>,
    names: HashMap<Vec<NamePattern>, Weak<NameIndex>>,
    /// How many were alive when the dead were last taken out.
    alive: usize,
}

impl Automata {
    fn of(&mut self, rules: Vec<HttpRule>) -> Arc<HttpRules> {
        if let Some(known) = self.known.get(rules.as_slice()).and_then(Weak::upgrade) {
            return known;
        }
        let rules: Arc<[HttpRule]> = rules.into();
        let automaton = Arc::new(HttpRules::new(Arc::clone(&rules)));
        self.known.insert(rules, Arc::downgrade(&automaton));
        automaton
    }

    fn of_names(&mut self, names: Vec<NamePattern>) -> Arc<NameIndex> {
        if let Some(known) = self.names.get(&names).and_then(Weak::upgrade) {
            return known;
        }
        let index = Arc::new(NameIndex::new(names.clone()));
        self.names.insert(names, Arc::downgrade(&index));
        index
    }

    /// Takes the dead out, when they may be the half of all.
    pub(super) fn settle(&mut self) {
        let known = self.known.len().saturating_add(self.names.len());
        if known > self.alive.saturating_mul(2).saturating_add(64) {
            self.known.retain(|_, automaton| automaton.strong_count() > 0);
            self.names.retain(|_, index| index.strong_count() > 0);
            self.alive = self.known.len().saturating_add(self.names.len());
        }
    }
}

/// Entries on their way to slots.
pub(super) struct Sweep<'w> {
    pub(super) entries: &'w [Entry],
    pub(super) sets: &'w mut Sets,
    pub(super) bitmaps: &'w mut Chunks<Members>,
    pub(super) automata: &'w mut Automata,
}

impl Sweep<'_> {
    /// Turns entries into slots: per protocol, over the borders of their ranges.
    pub(super) fn side(mut self, tried: bool, names: IdentitySet) -> Side {
        let mut slots = Slots::default();
        let maps = std::array::from_fn(|class| {
            let mut opens: BTreeMap<u16, Vec<u32>> = BTreeMap::new();
            let mut closes: BTreeMap<u16, Vec<u32>> = BTreeMap::new();
            let mut active: BTreeSet<u32> = BTreeSet::new();
            for (entry, number) in self.entries.iter().zip(0_u32..) {
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
                runs.push((border, self.slot(&active, &mut slots)));
            }
            pages(&runs)
        });
        Side { enforced: true, tried, maps, slots: slots.made, names }
    }

    fn slot(&mut self, active: &BTreeSet<u32>, slots: &mut Slots) -> u32 {
        let key: Vec<u32> = active.iter().copied().collect();
        if let Some(slot) = slots.known.get(&key) {
            return *slot;
        }
        let entries: Vec<&Entry> = key
            .iter()
            .filter_map(|entry| self.entries.get(usize::try_from(*entry).ok()?))
            .collect();
        let mut clauses: Vec<(u32, SlotClause)> = entries
            .iter()
            .map(|entry| {
                let width = entry
                    .ports
                    .map_or(u32::MAX, |(_, first, last)| u32::from(last.saturating_sub(first)));
                let peers = self.sets.of(Some(&entry.peers), self.bitmaps);
                let Entry { kind, rule, matched, .. } = **entry;
                (width, SlotClause { peers, kind, matched, rule })
            })
            .collect();
        // The narrowest decides, then the one that names its peer: the order Cilium reports by.
        clauses.sort_by_key(|(width, clause)| (*width, clause.peers.is_all()));
        let mut set = |kind: CauseKind| {
            let alike = entries.iter().filter(|entry| entry.kind == kind);
            let whom = Whom::union(alike.map(|entry| &entry.peers));
            self.sets.of(whom.as_ref(), self.bitmaps)
        };
        let [denied, objected, allowed, inspected, resolved] = [
            CauseKind::Denied,
            CauseKind::Objected,
            CauseKind::Allowed,
            CauseKind::Inspected,
            CauseKind::Resolved,
        ]
        .map(&mut set);
        let slot = Slot {
            denied,
            objected,
            allowed,
            inspected,
            http: self.http(&entries),
            resolved,
            dns: self.dns(&entries),
            clauses: clauses.into_iter().map(|(_, clause)| clause).collect(),
        };
        let number = u32::try_from(slots.made.len()).unwrap_or(u32::MAX);
        slots.made.push(slot);
        slots.known.insert(key, number);
        number
    }

    /// The HTTP rules of a slot: equal ones once, for the union of their peers.
    fn http(&mut self, entries: &[&Entry]) -> Option<PortHttp> {
        let everything = HttpRule::default();
        let mut rules: Vec<HttpRule> = Vec::new();
        let mut places: HashMap<&HttpRule, usize> = HashMap::new();
        let mut groups: Vec<Vec<(&Whom, RuleId)>> = Vec::new();
        for entry in entries {
            let Some(list) = entry.l7.http() else { continue };
            for rule in list.iter().chain(entry.watches.then_some(&everything)) {
                let place = *places.entry(rule).or_insert_with(|| {
                    rules.push(rule.clone());
                    groups.push(Vec::new());
                    groups.len().saturating_sub(1)
                });
                if let (Some(group), Some(id)) = (groups.get_mut(place), entry.rule) {
                    group.push((&entry.peers, id));
                }
            }
        }
        if rules.is_empty() {
            return None;
        }
        let groups = groups.into_iter().map(|sources| self.group(sources)).collect();
        Some(PortHttp { rules: self.automata.of(rules), groups })
    }

    /// The DNS rules of a slot: equal names once, for the union of their peers.
    fn dns(&mut self, entries: &[&Entry]) -> Option<PortDns> {
        let everything = NamePattern::every();
        let mut written: BTreeMap<&NamePattern, Vec<(&Whom, RuleId)>> = BTreeMap::new();
        for entry in entries {
            let Some(list) = entry.l7.dns() else { continue };
            for name in list.iter().chain(entry.watches.then_some(&everything)) {
                let sources = written.entry(name).or_default();
                sources.extend(entry.rule.map(|rule| (&entry.peers, rule)));
            }
        }
        if written.is_empty() {
            return None;
        }
        let (names, groups): (Vec<NamePattern>, Vec<RuleGroup>) =
            written.into_iter().map(|(name, sources)| (name.clone(), self.group(sources))).unzip();
        Some(PortDns { names: self.automata.of_names(names), groups })
    }

    fn group(&mut self, sources: Vec<(&Whom, RuleId)>) -> RuleGroup {
        let whom = Whom::union(sources.iter().map(|(whom, _)| *whom));
        let peers = self.sets.of(whom.as_ref(), self.bitmaps);
        let sources = sources.into_iter();
        let sources = sources.map(|(whom, id)| (self.sets.of(Some(whom), self.bitmaps), id));
        RuleGroup { peers, sources: sources.collect() }
    }
}

/// Slots being made, one for each distinct set of entries.
#[derive(Default)]
struct Slots {
    known: HashMap<Vec<u32>, u32>,
    made: Vec<Slot>,
}

/// Runs of ports, each from its border to the next; many of them as pages, of which equal ones are one.
pub(crate) fn pages(runs: &[(u16, u32)]) -> PortMap {
    if let [(_, only)] = runs {
        return PortMap::Uniform(*only);
    }
    if let Some(few) = FewRuns::of(runs) {
        return PortMap::Few(few);
    }
    // A page without a border in it holds one slot: only the others are filled port by port.
    let mut even: HashMap<u32, Arc<[u32; 256]>> = HashMap::new();
    let mut odd: HashMap<[u32; 256], Arc<[u32; 256]>> = HashMap::new();
    let mut rest = runs.iter().peekable();
    let mut current = u32::MAX;
    let top = std::array::from_fn(|high| {
        let first = u16::try_from(high.saturating_mul(256)).unwrap_or(u16::MAX);
        let last = first | 0xff;
        while let Some((_, slot)) = rest.next_if(|(border, _)| *border <= first) {
            current = *slot;
        }
        if rest.peek().is_none_or(|(border, _)| *border > last) {
            return Arc::clone(even.entry(current).or_insert_with(|| Arc::new([current; 256])));
        }
        let page: [u32; 256] = std::array::from_fn(|low| {
            let port = first | u16::try_from(low).unwrap_or(u16::MAX);
            while let Some((_, slot)) = rest.next_if(|(border, _)| *border <= port) {
                current = *slot;
            }
            current
        });
        Arc::clone(odd.entry(page).or_insert_with(|| Arc::new(page)))
    });
    PortMap::Paged(Box::new(top))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn pages_hold_the_slot_of_the_last_border(
            borders in prop::collection::btree_map(any::<u16>(), 0_u32..5, 0..20), first in 0_u32..5,
            far in prop::option::of(60_000_u32..70_000),
        ) {
            let mut borders = borders;
            borders.insert(0, first);
            // A number of a slot that one line has no room for.
            borders.extend(far.map(|slot| (7, slot)));
            let runs: Vec<(u16, u32)> = borders.iter().map(|(port, slot)| (*port, *slot)).collect();
            let read = pages(&pages(&runs).runs());
            for port in 0..=u16::MAX {
                let wanted = borders.range(..=port).next_back().map(|(_, slot)| *slot);
                prop_assert_eq!(read.slot(port), wanted, "{}", port);
            }
        }
    }
}
