//! Packets that arrive at one worker while another one has their connection: what its owner lets the other one do with them.
//!
//! A connection is with the worker that received its first packet, so its replies often arrive at another one. Where nobody has to
//! read them, the owner grants what it would do with them, and the other worker does it by itself: as long as the owner keeps the
//! connection, in the same epoch, and while neither a stream nor a shadow has to see every segment.
//!
//! INVARIANT: a grant ends with the [`Granted`] that the owner keeps in the connection. Whatever removes or replaces the connection
//! ends it thereby, and needs no message to arrive.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use hashbrown::HashTable;
use parser::flow_key::FlowTuple;

use crate::{
    prefetch::prefetch,
    worker::{
        PortId,
        clock::{Tick, between},
    },
};

/// Grants among which those of flows that were silent the longest are forgotten together; a worker keeps twice as many at most.
const GENERATION: usize = 8192;

/// How often the owner learns that packets pass; far shorter than the shortest life of a silent connection.
const RENEWAL: Duration = Duration::from_secs(1);

/// The owner's end of a connection's grants.
#[derive(Debug, Default)]
pub struct Granted {
    /// When a packet last passed elsewhere, to [`RENEWAL`]; milliseconds of a [`Tick`].
    last_seen: AtomicU64,
}

impl Granted {
    /// When a packet last passed elsewhere, a second late at most.
    pub fn last_seen(&self) -> Tick {
        Tick(self.last_seen.load(Ordering::Relaxed))
    }

    /// Whether somebody has a grant, or is being sent one.
    pub fn is_in_use(self: &Arc<Self>) -> bool {
        Arc::weak_count(self) > 0
    }
}

/// What a worker may do with the packets of one flow of another one's connection.
#[derive(Debug)]
pub struct Grant {
    /// The packets' flow, as they arrive.
    pub flow: FlowTuple,
    /// The flow that they shall have, if a service was addressed.
    pub wanted: Option<FlowTuple>,
    /// The port that they arrive on.
    pub from: PortId,
    /// The port that they leave on.
    pub to: PortId,
    /// The epoch of the verdict.
    pub epoch: u64,
    granted: Weak<Granted>,
    renewed: Tick,
}

impl Grant {
    /// A grant for packets of `flow` that arrive and leave on `ports`, until the owner drops `granted`.
    pub fn new(
        flow: FlowTuple,
        wanted: Option<FlowTuple>,
        (from, to): (PortId, PortId),
        epoch: u64,
        granted: &Arc<Granted>,
    ) -> Self {
        let granted = Arc::downgrade(granted);
        Self { flow, wanted, from, to, epoch, granted, renewed: Tick(0) }
    }

    /// Whether it is of this epoch, and its owner still has the connection.
    #[inline]
    fn holds(&self, epoch: u64) -> bool {
        self.epoch == epoch && self.granted.strong_count() > 0
    }

    /// A packet passes, so the connection is not silent.
    #[inline]
    pub fn renew(&mut self, now: Tick) {
        if between(self.renewed, now) >= RENEWAL {
            self.renewed = now;
            if let Some(granted) = self.granted.upgrade() {
                granted.last_seen.store(now.0, Ordering::Relaxed);
            }
        }
    }
}

/// The grants that a worker has from others, by the hash of their flow: those that were used of late, and older ones.
#[derive(Debug, Default)]
pub(super) struct Grants {
    recent: HashTable<Grant>,
    older: HashTable<Grant>,
}

impl Grants {
    /// Keeps a grant, in place of an older one for the same flow.
    pub(super) fn keep(&mut self, grant: Grant, hash: impl Fn(&Grant) -> u64) {
        let place = hash(&grant);
        for table in [&mut self.recent, &mut self.older] {
            if let Ok(known) = table.find_entry(place, |known| known.flow == grant.flow) {
                known.remove();
            }
        }
        if self.recent.len() >= GENERATION {
            self.older = std::mem::take(&mut self.recent);
        }
        self.recent.insert_unique(place, grant, hash);
    }

    /// Asks for the memory of the grant that probably is the one with this hash.
    #[inline]
    pub(super) fn approach(&self, place: u64) {
        if let Some(grant) = self.recent.find(place, |_| true) {
            prefetch(grant, size_of::<Grant>());
        }
    }

    /// The grant for this flow, if it holds in this epoch; one that does not is forgotten.
    #[inline]
    pub(super) fn of(
        &mut self,
        flow: &FlowTuple,
        place: u64,
        epoch: u64,
        hash: impl Fn(&Grant) -> u64,
    ) -> Option<&mut Grant> {
        let of_flow = |grant: &Grant| grant.flow == *flow;
        if !self.older.is_empty()
            && let Ok(known) = self.older.find_entry(place, of_flow)
        {
            let (grant, _) = known.remove();
            self.keep(grant, hash);
        }
        let known = self.recent.find_entry(place, of_flow).ok()?;
        if known.get().holds(epoch) {
            return Some(known.into_mut());
        }
        known.remove();
        None
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use parser::network::Protocol;

    use super::*;

    fn grant(number: u16, granted: &Arc<Granted>) -> Grant {
        let flow = FlowTuple {
            source: IpAddr::from([10, 0, 0, 1]),
            destination: IpAddr::from([10, 0, 0, 2]),
            protocol: Protocol::UDP,
            src_port: number,
            dst_port: 53,
        };
        Grant::new(flow, None, (PortId(0), PortId(1)), 1, granted)
    }

    fn place(grant: &Grant) -> u64 {
        u64::from(grant.flow.src_port).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    fn has(grants: &mut Grants, number: u16, epoch: u64) -> bool {
        let wanted = grant(number, &Arc::default());
        grants.of(&wanted.flow, place(&wanted), epoch, place).is_some()
    }

    #[test]
    fn what_is_used_is_kept_and_the_number_is_bounded() {
        let (mut grants, granted) = (Grants::default(), Arc::default());
        for number in 0..u16::MAX {
            grants.keep(grant(number, &granted), place);
            assert!(has(&mut grants, 0, 1));
            assert!(grants.recent.len() + grants.older.len() <= 2 * GENERATION);
        }
        assert!(!has(&mut grants, 1, 1));
    }

    #[test]
    fn what_ended_is_forgotten_when_it_is_found() {
        let mut grants = Grants::default();
        let granted = Arc::default();
        grants.keep(grant(1, &granted), place);
        grants.keep(grant(1, &granted), place);
        assert!(has(&mut grants, 1, 1) && granted.is_in_use());
        assert!(!has(&mut grants, 1, 2) && !granted.is_in_use());
        grants.keep(grant(1, &granted), place);
        drop(granted);
        assert!(!has(&mut grants, 1, 1));
        assert!(grants.recent.is_empty());
    }
}
