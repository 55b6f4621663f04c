//! The table of one worker's connections: bounded, with one keyed index for both directions.

use hashbrown::HashMap;
use parser::flow_key::{FlowKey, FlowTuple};

use super::{Connection, Direction, expiry, tcp::Phase};
use crate::worker::clock::{Tick, between};

/// Connections that a worker keeps, Cilium's default for TCP (`--bpf-ct-global-tcp-max`).
pub const CAPACITY: usize = 524_288;

/// Entries that a packet without room may look at for one that can go.
const EVICTION_PROBES: usize = 32;

/// The number of a connection in its table; numbers are used again, so an old one may name another connection, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId {
    slot: u32,
    generation: u32,
}

/// A connection that a packet belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// The connection.
    pub id: ConnectionId,
    /// Which end sent the packet.
    pub direction: Direction,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    slot: u32,
    /// Whether the opener's direction is the flipped one of the key.
    opener_flipped: bool,
}

#[derive(Debug)]
struct Slot {
    generation: u32,
    connection: Option<Connection>,
}

/// The table.
#[derive(Debug)]
pub struct Connections {
    /// Both directions of a flow have one key; a connection to a service has a second one, of the flow before translation.
    index: HashMap<FlowKey, Entry>,
    slots: Vec<Slot>,
    free: Vec<u32>,
    capacity: usize,
    cursor: usize,
    evicted: u64,
    expired: u64,
}

impl Connections {
    /// A table for at most `capacity` connections.
    pub fn new(capacity: usize) -> Self {
        Self {
            index: HashMap::new(),
            slots: Vec::new(),
            free: Vec::new(),
            capacity,
            cursor: 0,
            evicted: 0,
            expired: 0,
        }
    }

    /// Connections in the table.
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Of these, inspected ones. Looks at every slot.
    pub fn streams(&self) -> usize {
        let inspected = |slot: &&Slot| {
            slot.connection.as_ref().is_some_and(|connection| connection.stream.is_some())
        };
        self.slots.iter().filter(inspected).count()
    }

    /// Connections that made room for others.
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Connections that were silent for too long.
    pub fn expired(&self) -> u64 {
        self.expired
    }

    /// The connection that a packet with this tuple belongs to.
    pub fn find(&self, tuple: &FlowTuple) -> Option<Found> {
        let (key, flipped) = FlowKey::of(tuple);
        let entry = self.index.get(&key)?;
        let slot = self.slots.get(entry.slot as usize)?;
        let direction =
            if flipped == entry.opener_flipped { Direction::Original } else { Direction::Reply };
        Some(Found {
            id: ConnectionId { slot: entry.slot, generation: slot.generation },
            direction,
        })
    }

    /// The connection of that number, if it still exists.
    pub fn connection(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        self.slots
            .get_mut(id.slot as usize)
            .filter(|slot| slot.generation == id.generation)
            .and_then(|slot| slot.connection.as_mut())
    }

    /// Adds a connection; none if there is no room and nothing can make room.
    pub fn insert(&mut self, connection: Connection, now: Tick) -> Option<ConnectionId> {
        if self.len() >= self.capacity && !self.make_room(now) {
            return None;
        }
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, connection: None });
            u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
        });
        for tuple in [Some(&connection.flow), connection.service.as_ref()].into_iter().flatten() {
            let (key, opener_flipped) = FlowKey::of(tuple);
            self.index.insert(key, Entry { slot, opener_flipped });
        }
        let place = self.slots.get_mut(slot as usize)?;
        place.connection = Some(connection);
        Some(ConnectionId { slot, generation: place.generation })
    }

    /// Takes a connection out.
    pub fn remove(&mut self, id: ConnectionId) -> Option<Connection> {
        let slot =
            self.slots.get_mut(id.slot as usize).filter(|slot| slot.generation == id.generation)?;
        let connection = slot.connection.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(id.slot);
        for tuple in [Some(&connection.flow), connection.service.as_ref()].into_iter().flatten() {
            let (key, _) = FlowKey::of(tuple);
            // A newer connection may have taken the key over.
            if self.index.get(&key).is_some_and(|entry| entry.slot == id.slot) {
                self.index.remove(&key);
            }
        }
        Some(connection)
    }

    /// Looks at the next `budget` slots and removes connections that have been silent for too long.
    pub fn expire(&mut self, now: Tick, budget: usize) {
        for _ in 0..budget.min(self.slots.len()) {
            let Some((id, connection)) = self.next() else { continue };
            if between(connection.last_seen, now) > expiry::lifetime(connection.phase) {
                self.remove(id);
                self.expired += 1;
            }
        }
    }

    /// Removes one connection that is expired, closing, half open or not TCP.
    fn make_room(&mut self, now: Tick) -> bool {
        for _ in 0..EVICTION_PROBES {
            let Some((id, connection)) = self.next() else { continue };
            let expired = between(connection.last_seen, now) > expiry::lifetime(connection.phase);
            if expired
                || matches!(connection.phase, Phase::Opening | Phase::Closing | Phase::Datagram)
            {
                self.remove(id);
                self.evicted += 1;
                return true;
            }
        }
        false
    }

    fn next(&mut self) -> Option<(ConnectionId, &Connection)> {
        self.cursor = if self.cursor + 1 < self.slots.len() { self.cursor + 1 } else { 0 };
        let slot = self.slots.get(self.cursor)?;
        let id =
            ConnectionId { slot: u32::try_from(self.cursor).ok()?, generation: slot.generation };
        slot.connection.as_ref().map(|connection| (id, connection))
    }
}
