//! Rules and whom they select.
//!
//! Arrives: policies that come or go, identities that are born or die. Leaves: for each identity its rules, and the
//! identities for which they are others now. A rule keeps its number as long as its policy is there; no number is ever
//! given again, so that a side made of rules is told by their numbers.

use std::collections::BTreeSet;
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};

use super::index::{LabelIndex, SelectorIndex};
use super::sets::Numbered;
use crate::rule::{Clause, Direction, Peer, Peers, Policy, PolicyKind, Rule, RuleOrigin};
use crate::selector::Selector;
use crate::shared::Chunks;
use crate::table::IdentityRecord;
use crate::verdict::RuleId;

/// A rule of a policy and the numbers of its clauses.
#[derive(Clone, Debug)]
pub(super) struct Numbering {
    policy: Arc<Policy>,
    rule: usize,
    ingress: Vec<RuleId>,
    egress: Vec<RuleId>,
}

impl Numbering {
    pub(super) fn rule(&self) -> Option<&Rule> {
        self.policy.rules.get(self.rule)
    }

    /// Whether its policy is only tried (audit mode).
    pub(super) fn is_audited(&self) -> bool {
        self.policy.audited
    }

    /// The clauses of a direction, each with its number.
    pub(super) fn clauses(&self, direction: Direction) -> impl Iterator<Item = (&Clause, RuleId)> {
        let clauses = self.rule().map(|rule| rule.section(direction).clauses.as_slice());
        let numbers = match direction {
            Direction::Ingress => &self.ingress,
            Direction::Egress => &self.egress,
        };
        clauses.unwrap_or_default().iter().zip(numbers.iter().copied())
    }

    /// In which order rules are read: as the files and what stands in them.
    pub(super) fn order(&self) -> (&str, u32, usize) {
        (&self.policy.file, self.policy.position, self.rule)
    }
}

/// Rules under one subject.
#[derive(Debug)]
struct Subject {
    selector: Selector,
    rules: BTreeSet<u32>,
}

/// All rules.
#[derive(Debug, Default)]
pub(super) struct Rules {
    rules: HashMap<u32, Numbering>,
    next: u32,
    of_policy: HashMap<(PolicyKind, Option<String>, String), Vec<u32>>,
    subjects: Numbered<Subject>,
    by_selector: HashMap<Selector, u32>,
    index: SelectorIndex,
    /// The rules of each identity of a pod, in order.
    selected: HashMap<u32, Vec<u32>>,
    /// Numbers of clauses that nobody has any more, and those given up since the last [`Rules::settle`].
    free: Vec<RuleId>,
    given_up: Vec<RuleId>,
    /// Identities whose rules are others now.
    pub(super) restless: BTreeSet<u32>,
}

impl Rules {
    pub(super) fn get(&self, rule: u32) -> Option<&Numbering> {
        self.rules.get(&rule)
    }

    /// The rules that select an identity.
    pub(super) fn of(&self, identity: u32) -> &[u32] {
        self.selected.get(&identity).map(Vec::as_slice).unwrap_or_default()
    }

    /// A policy comes. Its subjects must have been looked up in an index that is up to date.
    pub(super) fn add(
        &mut self,
        policy: &Arc<Policy>,
        index: &LabelIndex,
        origins: &mut Chunks<Option<Arc<RuleOrigin>>>,
    ) {
        let mut numbers = Vec::new();
        for (place, rule) in policy.rules.iter().enumerate() {
            let mut number = |clause: &Clause| {
                let origin = Some(Arc::new(policy.origin_of(clause)));
                match self.free.pop() {
                    Some(id) => {
                        if let Some(there) = origins.get_mut(id.position()) {
                            *there = origin;
                        }
                        id
                    }
                    None => RuleId::of(origins.push(origin)),
                }
            };
            let numbering = Numbering {
                policy: Arc::clone(policy),
                rule: place,
                ingress: rule.ingress.clauses.iter().map(&mut number).collect(),
                egress: rule.egress.clauses.iter().map(&mut number).collect(),
            };
            let own = self.next;
            self.next = self.next.saturating_add(1);
            self.rules.insert(own, numbering);
            numbers.push(own);
            let subject = match self.by_selector.get(&rule.subject) {
                Some(subject) => *subject,
                None => {
                    let selector = rule.subject.clone();
                    let rules = BTreeSet::new();
                    let subject = self.subjects.insert(Subject { selector, rules });
                    self.by_selector.insert(rule.subject.clone(), subject);
                    self.index.add(&rule.subject, subject, index);
                    subject
                }
            };
            if let Some(subject) = self.subjects.get_mut(subject) {
                subject.rules.insert(own);
            }
            for identity in index.select(&rule.subject) {
                let rules = self.selected.entry(identity).or_default();
                if let Err(place) = rules.binary_search(&own) {
                    rules.insert(place, own);
                }
                self.restless.insert(identity);
            }
        }
        let name = (policy.kind, policy.namespace.clone(), policy.name.clone());
        self.of_policy.insert(name, numbers);
    }

    /// A policy goes; returns it as it was.
    pub(super) fn remove(&mut self, policy: &Policy, index: &LabelIndex) -> Option<Arc<Policy>> {
        let name = (policy.kind, policy.namespace.clone(), policy.name.clone());
        let mut was = None;
        for number in self.of_policy.remove(&name)? {
            let Some(gone) = self.rules.remove(&number) else { continue };
            self.given_up.extend(gone.ingress.iter().chain(&gone.egress));
            if let Some(rule) = gone.rule() {
                for identity in index.select(&rule.subject) {
                    if let Some(rules) = self.selected.get_mut(&identity) {
                        rules.retain(|known| *known != number);
                    }
                    self.restless.insert(identity);
                }
                self.leave_subject(&rule.subject, number);
            }
            was = Some(gone.policy);
        }
        was
    }

    fn leave_subject(&mut self, selector: &Selector, rule: u32) {
        let Some(number) = self.by_selector.get(selector).copied() else { return };
        let Some(subject) = self.subjects.get_mut(number) else { return };
        subject.rules.remove(&rule);
        if subject.rules.is_empty() {
            self.subjects.remove(number);
            self.by_selector.remove(selector);
            self.index.remove(number);
        }
    }

    /// An identity is born: the rules that are there select it or do not.
    pub(super) fn born(&mut self, record: &IdentityRecord) {
        let mut rules = BTreeSet::new();
        for subject in self.index.candidates(&record.labels) {
            let Some(subject) = self.subjects.get(subject) else { continue };
            if subject.selector.matches(&record.labels) {
                rules.extend(&subject.rules);
            }
        }
        if !rules.is_empty() {
            self.selected.insert(record.identity.number(), rules.into_iter().collect());
        }
    }

    pub(super) fn died(&mut self, record: &IdentityRecord) {
        self.selected.remove(&record.identity.number());
    }

    /// The sides are made of the rules that are there: numbers given up are free, and nobody's.
    pub(super) fn settle(&mut self, origins: &mut Chunks<Option<Arc<RuleOrigin>>>) {
        for id in self.given_up.drain(..) {
            if let Some(there) = origins.get_mut(id.position()) {
                *there = None;
            }
            self.free.push(id);
        }
    }
}

/// The distinct peers of a policy.
pub(super) fn peers_of(policy: &Policy) -> Vec<&Peer> {
    let clauses = policy
        .rules
        .iter()
        .flat_map(|rule| rule.ingress.clauses.iter().chain(&rule.egress.clauses));
    let mut seen = HashSet::new();
    let mut distinct = Vec::new();
    for clause in clauses {
        let Peers::AnyOf(peers) = &clause.peers else { continue };
        distinct.extend(peers.iter().filter(|peer| seen.insert(*peer)));
    }
    distinct
}
