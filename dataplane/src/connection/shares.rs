//! What each endpoint uses of a worker's memory: its connections, and the bytes that its inspected streams hold.
//!
//! A connection is charged to one port: the opener's if a pod opened it, else that of the pod it was opened to. So whoever fills
//! its share is refused, and nobody else. What arrives are slots of the connection table; what leaves is whose slot can go.
//!
//! INVARIANT: the slots of one owner form one list, oldest first, rotated by [`Shares::next`]; an owner's counts are the sums over
//! its list, `held` the sum over all owners.

use crate::worker::PortId;

/// No slot.
const NONE: u32 = u32::MAX;

/// A slot in its owner's list.
#[derive(Clone, Copy, Debug)]
struct Link {
    older: u32,
    newer: u32,
    /// Bytes that the slot's stream holds.
    held: u32,
    owner: PortId,
}

/// What one port uses.
#[derive(Clone, Copy, Debug)]
struct Owner {
    oldest: u32,
    newest: u32,
    connections: u32,
    held: usize,
}

impl Owner {
    const NEW: Self = Self { oldest: NONE, newest: NONE, connections: 0, held: 0 };
}

/// Who uses how much.
#[derive(Debug, Default)]
pub(super) struct Shares {
    /// By slot. What stands at a slot that is free means nothing.
    links: Vec<Link>,
    /// By port.
    owners: Vec<Owner>,
    held: usize,
}

impl Shares {
    /// Room for this many slots.
    pub(super) fn with_capacity(slots: usize) -> Self {
        Self { links: Vec::with_capacity(slots), ..Self::default() }
    }

    /// Charges the connection in `slot` to `owner`.
    pub(super) fn add(&mut self, slot: u32, owner: PortId) {
        let (at, port) = (slot as usize, usize::from(owner.0));
        if self.links.len() <= at {
            self.links.resize(at + 1, Link { older: NONE, newer: NONE, held: 0, owner });
        }
        if self.owners.len() <= port {
            self.owners.resize(port + 1, Owner::NEW);
        }
        if let Some(link) = self.links.get_mut(at) {
            *link = Link { older: NONE, newer: NONE, held: 0, owner };
        }
        if let Some(owner) = self.owners.get_mut(port) {
            owner.connections += 1;
        }
        self.append(slot);
    }

    /// The connection in `slot` is gone.
    pub(super) fn remove(&mut self, slot: u32) {
        self.charge(slot, 0);
        self.unlink(slot);
        if let Some(owner) = self.owner_of(slot) {
            owner.connections -= 1;
        }
    }

    /// The stream in `slot` holds `bytes` now. Whom it is charged to, and what that one's streams hold.
    pub(super) fn charge(&mut self, slot: u32, bytes: usize) -> Option<(PortId, usize)> {
        let link = self.links.get_mut(slot as usize)?;
        let before = link.held as usize;
        link.held = u32::try_from(bytes).unwrap_or(u32::MAX);
        let now = link.held as usize;
        let port = link.owner;
        let owner = self.owners.get_mut(usize::from(port.0))?;
        if before != now {
            self.held = self.held - before + now;
            owner.held = owner.held - before + now;
        }
        Some((port, owner.held))
    }

    /// Connections charged to a port.
    pub(super) fn connections(&self, owner: PortId) -> usize {
        self.owners.get(usize::from(owner.0)).map_or(0, |owner| owner.connections as usize)
    }

    /// Bytes held by all streams.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// Bytes held by the stream in `slot`.
    pub(super) fn held_in(&self, slot: u32) -> usize {
        self.links.get(slot as usize).map_or(0, |link| link.held as usize)
    }

    /// The slot of the owner's that was looked at the longest time ago, or never; it counts as looked at now.
    pub(super) fn next(&mut self, owner: PortId) -> Option<u32> {
        let slot = self.owners.get(usize::from(owner.0))?.oldest;
        if slot == NONE {
            return None;
        }
        self.unlink(slot);
        self.append(slot);
        Some(slot)
    }

    /// The port with the most connections.
    pub(super) fn greediest(&self) -> Option<PortId> {
        self.most(|owner| owner.connections as usize)
    }

    /// The port whose streams hold the most bytes.
    pub(super) fn fattest(&self) -> Option<PortId> {
        self.most(|owner| owner.held)
    }

    fn most(&self, of: impl Fn(&Owner) -> usize) -> Option<PortId> {
        let (port, _) = self.owners.iter().enumerate().max_by_key(|(_, owner)| of(owner))?;
        u16::try_from(port).ok().map(PortId)
    }

    fn owner_of(&mut self, slot: u32) -> Option<&mut Owner> {
        let port = self.links.get(slot as usize)?.owner;
        self.owners.get_mut(usize::from(port.0))
    }

    /// Puts a slot that is in no list at the new end of its owner's.
    fn append(&mut self, slot: u32) {
        let Some(owner) = self.owner_of(slot) else { return };
        let newest = std::mem::replace(&mut owner.newest, slot);
        if newest == NONE {
            owner.oldest = slot;
        }
        if let Some(link) = self.links.get_mut(newest as usize) {
            link.newer = slot;
        }
        if let Some(link) = self.links.get_mut(slot as usize) {
            (link.older, link.newer) = (newest, NONE);
        }
    }

    fn unlink(&mut self, slot: u32) {
        let Some(&Link { older, newer, .. }) = self.links.get(slot as usize) else { return };
        match self.links.get_mut(older as usize) {
            Some(link) => link.newer = newer,
            None => {
                if let Some(owner) = self.owner_of(slot) {
                    owner.oldest = newer;
                }
            }
        }
        match self.links.get_mut(newer as usize) {
            Some(link) => link.older = older,
            None => {
                if let Some(owner) = self.owner_of(slot) {
                    owner.newest = older;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, VecDeque};

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Add(u32, u16),
        Remove(u32),
        Charge(u32, u32),
        Next(u16),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let (slot, port) = (0..8_u32, 0..3_u16);
        prop::collection::vec(
            prop_oneof![
                (slot.clone(), port.clone()).prop_map(|(slot, port)| Step::Add(slot, port)),
                slot.clone().prop_map(Step::Remove),
                (slot, 0..100_u32).prop_map(|(slot, bytes)| Step::Charge(slot, bytes)),
                port.prop_map(Step::Next),
            ],
            0..60,
        )
    }

    proptest! {
        #[test]
        fn shares_are_those_of_plain_queues(steps in steps()) {
            let mut shares = Shares::default();
            let mut queues: [VecDeque<u32>; 3] = Default::default();
            let mut slots: HashMap<u32, (u16, u32)> = HashMap::new();
            for step in steps {
                match step {
                    Step::Add(slot, port) if !slots.contains_key(&slot) => {
                        shares.add(slot, PortId(port));
                        slots.insert(slot, (port, 0));
                        queues[usize::from(port)].push_back(slot);
                    }
                    Step::Remove(slot) if slots.contains_key(&slot) => {
                        shares.remove(slot);
                        let (port, _) = slots.remove(&slot).unwrap();
                        queues[usize::from(port)].retain(|other| *other != slot);
                    }
                    Step::Charge(slot, bytes) if slots.contains_key(&slot) => {
                        slots.get_mut(&slot).unwrap().1 = bytes;
                        let port = slots[&slot].0;
                        let of_port = slots.values().filter(|(owner, _)| *owner == port);
                        let held: u32 = of_port.map(|(_, held)| held).sum();
                        let charged = shares.charge(slot, bytes as usize);
                        prop_assert_eq!(charged, Some((PortId(port), held as usize)));
                    }
                    Step::Next(port) => {
                        let queue = &mut queues[usize::from(port)];
                        prop_assert_eq!(shares.next(PortId(port)), queue.front().copied());
                        if !queue.is_empty() {
                            queue.rotate_left(1);
                        }
                    }
                    _ => {}
                }
                for port in 0..3 {
                    let own = slots.values().filter(|(owner, _)| *owner == port);
                    let held: u32 = own.map(|(_, held)| held).sum();
                    let owner = shares.owners.get(usize::from(port));
                    prop_assert_eq!(owner.map_or(0, |owner| owner.held), held as usize);
                    prop_assert_eq!(shares.connections(PortId(port)), queues[usize::from(port)].len());
                }
                let held: u32 = slots.values().map(|(_, held)| held).sum();
                prop_assert_eq!(shares.held(), held as usize);
            }
        }
    }
}
