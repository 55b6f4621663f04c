//! The verdict on a connection, shared by all connections of one kind between the same ends: a worker has a million connections, and
//! a few hundred answers to what policy was asked about them.

use std::{
    hash::{Hash, Hasher},
    sync::Arc,
};

use hashbrown::HashSet;
use policy_table::{Access, Peer};

use super::hash::{self, FlowHasher};
use crate::worker::PortId;

/// Judgements that are shared; with more, sharing begins anew, and old ones live as long as their connections.
const SHARED: usize = 8192;

/// The verdict on a connection and the epoch of the table that gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// The table's epoch.
    pub epoch: u64,
    /// What it said.
    pub access: Access,
    /// The opener, as that table knows it.
    pub source: Peer,
    /// The other end, as that table knows it.
    pub destination: Peer,
    /// The port that leads to the opener.
    pub source_port: PortId,
    /// The port that leads to the other end.
    pub destination_port: PortId,
}

impl Hash for Judgement {
    /// Who talks to whom; connections of the same two to several ports share a bucket.
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.source.identity, self.source_port).hash(state);
        (self.destination.identity, self.destination_port).hash(state);
    }
}

/// The judgements of the current epoch.
#[derive(Debug)]
pub struct Judgements {
    epoch: u64,
    shared: HashSet<Arc<Judgement>, FlowHasher>,
}

impl Default for Judgements {
    fn default() -> Self {
        Self { epoch: 0, shared: HashSet::with_hasher(hash::seeded()) }
    }
}

impl Judgements {
    /// The one copy of a judgement.
    pub fn share(&mut self, judgement: Judgement) -> Arc<Judgement> {
        if judgement.epoch != self.epoch || self.shared.len() >= SHARED {
            self.shared.clear();
            self.epoch = judgement.epoch;
        }
        if let Some(known) = self.shared.get(&judgement) {
            return Arc::clone(known);
        }
        let judgement = Arc::new(judgement);
        self.shared.insert(Arc::clone(&judgement));
        judgement
    }
}

#[cfg(test)]
mod tests {
    use policy_table::{Grounds, Identity};

    use super::*;

    fn judgement(epoch: u64, destination_port: u16) -> Judgement {
        let peer = Peer { identity: Identity::WORLD, endpoint: None };
        Judgement {
            epoch,
            access: Access::Allow(Grounds { egress: None, ingress: None, audited: None }),
            source: peer,
            destination: peer,
            source_port: PortId(0),
            destination_port: PortId(destination_port),
        }
    }

    #[test]
    fn equal_judgements_are_one_and_others_are_not() {
        let mut judgements = Judgements::default();
        let one = judgements.share(judgement(1, 1));
        assert!(Arc::ptr_eq(&one, &judgements.share(judgement(1, 1))));
        assert!(!Arc::ptr_eq(&one, &judgements.share(judgement(1, 2))));
        let later = judgements.share(judgement(2, 1));
        assert_eq!((one.epoch, later.epoch), (1, 2));
    }

    #[test]
    fn what_is_shared_is_bounded() {
        let mut judgements = Judgements::default();
        for port in 0..u16::MAX {
            drop(judgements.share(judgement(1, port)));
            assert!(judgements.shared.len() <= SHARED);
        }
    }
}
