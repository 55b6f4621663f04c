//! One endpoint's policy in one direction, compiled: protocol and port lead to a slot of identity sets.
//!
//! Arrives: what `compile/` made. Leaves: plain data that the table reads; sets are numbers of the table's bitmaps.

use std::sync::Arc;

use crate::http::HttpRules;
use crate::names::NameIndex;
use crate::verdict::{CauseKind, MatchType, RuleId};

/// A set of identities of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum IdentitySet {
    None,
    All,
    /// The bitmap of this number.
    These(u32),
}

impl IdentitySet {
    pub(crate) fn is_all(self) -> bool {
        self == Self::All
    }
}

/// One endpoint's policy in one direction; endpoints under the same rules share it.
#[derive(Debug)]
pub(crate) struct Side {
    pub(crate) enforced: bool,
    /// Only policies in audit mode deny by default: what no rule allows passes, and is told.
    pub(crate) tried: bool,
    pub(crate) maps: [PortMap; 6],
    pub(crate) slots: Vec<Slot>,
    /// The names that its rules allow, so that the others need not be learned.
    pub(crate) names: IdentitySet,
}

/// A side that nobody has: what asks it is denied.
impl Default for Side {
    fn default() -> Self {
        Self {
            enforced: true,
            tried: false,
            maps: std::array::from_fn(|_| PortMap::Uniform(u32::MAX)),
            slots: Vec::new(),
            names: IdentitySet::None,
        }
    }
}

impl Side {
    /// Calls `each` with every set that its slots refer to.
    pub(crate) fn each_set(&self, mut each: impl FnMut(IdentitySet)) {
        each(self.names);
        for slot in &self.slots {
            let sets = [slot.denied, slot.objected, slot.allowed, slot.inspected, slot.resolved];
            sets.into_iter().for_each(&mut each);
            slot.clauses.iter().for_each(|clause| each(clause.peers));
            let http = slot.http.iter().flat_map(|http| &http.groups);
            for group in http.chain(slot.dns.iter().flat_map(|dns| &dns.groups)) {
                each(group.peers);
                group.sources.iter().for_each(|(peers, _)| each(*peers));
            }
        }
    }
}

/// Ports of one protocol to slots.
#[derive(Debug, Clone)]
pub(crate) enum PortMap {
    /// The same for every port.
    Uniform(u32),
    /// By the last of a few borders that a port is not below: nothing else is read than the side itself.
    Few(FewRuns),
    /// By the port's two bytes.
    Paged(Box<[Arc<[u32; 256]>; 256]>),
}

impl PortMap {
    #[inline]
    pub(crate) fn slot(&self, port: u16) -> Option<u32> {
        match self {
            Self::Uniform(slot) => Some(*slot),
            Self::Few(few) => few.slot(port),
            Self::Paged(pages) => {
                let [high, low] = port.to_be_bytes();
                pages.get(usize::from(high))?.get(usize::from(low)).copied()
            }
        }
    }
}

impl PortMap {
    /// The slots, each from the port where it begins.
    pub(crate) fn runs(&self) -> Vec<(u16, u32)> {
        let mut runs: Vec<(u16, u32)> = Vec::new();
        let ports = match self {
            Self::Uniform(_) => 0..=0,
            Self::Few(_) | Self::Paged(_) => 0..=u16::MAX,
        };
        for port in ports {
            let slot = self.slot(port).unwrap_or(u32::MAX);
            if runs.last().is_none_or(|(_, last)| *last != slot) {
                runs.push((port, slot));
            }
        }
        runs
    }
}

/// Runs of ports that [`FewRuns`] holds.
const FEW_RUNS: usize = 16;

/// A few runs of ports and their slots: one line of memory.
#[derive(Debug, Clone)]
pub(crate) struct FewRuns {
    /// Where each run begins, ascending from port 0; the last one is repeated.
    borders: [u16; FEW_RUNS],
    slots: [u16; FEW_RUNS],
}

impl FewRuns {
    /// These runs, if there are few enough and their slots have small numbers.
    pub(crate) fn of(runs: &[(u16, u32)]) -> Option<Self> {
        let (first, last) = (runs.first()?, runs.last()?);
        if runs.len() > FEW_RUNS || first.0 != 0 {
            return None;
        }
        let mut few =
            Self { borders: [last.0; FEW_RUNS], slots: [u16::try_from(last.1).ok()?; FEW_RUNS] };
        let places = few.borders.iter_mut().zip(&mut few.slots);
        for ((border, slot), run) in places.zip(runs) {
            (*border, *slot) = (run.0, u16::try_from(run.1).ok()?);
        }
        Some(few)
    }

    #[inline]
    fn slot(&self, port: u16) -> Option<u32> {
        let begun: u16 = self.borders.iter().map(|border| u16::from(*border <= port)).sum();
        self.slots.get(usize::from(begun).checked_sub(1)?).copied().map(u32::from)
    }
}

/// What holds on one port. So aligned, its sets are in one line of memory.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct Slot {
    pub(crate) denied: IdentitySet,
    /// Whom the deny rules of policies in audit mode would stop.
    pub(crate) objected: IdentitySet,
    pub(crate) allowed: IdentitySet,
    pub(crate) inspected: IdentitySet,
    pub(crate) http: Option<PortHttp>,
    /// With whom DNS is looked into.
    pub(crate) resolved: IdentitySet,
    pub(crate) dns: Option<PortDns>,
    /// The clauses the sets were made of, most specific first, to say which one decided.
    pub(crate) clauses: Vec<SlotClause>,
}

/// A clause as one slot sees it. Its rule is `None` for what policies imply (the host's access, default allow).
#[derive(Debug, Clone)]
pub(crate) struct SlotClause {
    pub(crate) peers: IdentitySet,
    pub(crate) kind: CauseKind,
    pub(crate) matched: MatchType,
    pub(crate) rule: Option<RuleId>,
}

/// The HTTP rules of a slot.
#[derive(Debug)]
pub(crate) struct PortHttp {
    pub(crate) rules: Arc<HttpRules>,
    /// For each of the rules, for whom it holds and who wrote it.
    pub(crate) groups: Vec<RuleGroup>,
}

/// The DNS rules of a slot.
#[derive(Debug)]
pub(crate) struct PortDns {
    pub(crate) names: Arc<NameIndex>,
    /// For each of the names, for whom it holds and who wrote it.
    pub(crate) groups: Vec<RuleGroup>,
}

/// Equal HTTP or DNS rules of one slot.
#[derive(Debug)]
pub(crate) struct RuleGroup {
    pub(crate) peers: IdentitySet,
    pub(crate) sources: Vec<(IdentitySet, RuleId)>,
}
