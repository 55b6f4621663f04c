//! The table of one worker's connections: bounded, with one keyed index for both directions.
//!
//! Whoever has its share of the table, or finds it full, first gives up what nobody answered. A full table is shared evenly: who
//! has more connections than the newcomer gives one up, so no set of endpoints can keep another one out.

use std::hash::BuildHasher;

use hashbrown::HashTable;
use parser::flow_key::{FlowKey, FlowTuple};

use super::{
    Connection, Direction, Follower, expiry,
    grant::{Grant, Grants},
    hash::{self, FlowHasher},
    shares::Shares,
    tcp::Phase,
};
use crate::{
    budgets::Budgets,
    drop_reason::DropReason,
    inspect::Shadow,
    prefetch::prefetch,
    worker::{PortId, clock::Tick},
};

/// Entries that a packet without room may look at for one that can go.
const EVICTION_PROBES: usize = 32;

/// The same among the connections of one endpoint, and among streams that hold bytes.
const SHARE_PROBES: usize = 8;

/// The number of a connection in its table; numbers are used again, so an old one may name another connection, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId {
    slot: u32,
    generation: u32,
}

#[cfg(test)]
impl ConnectionId {
    /// A number for tests that need no connection.
    pub(crate) fn numbered(slot: u32) -> Self {
        Self { slot, generation: 0 }
    }
}

/// A connection that a packet belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// The connection.
    pub id: ConnectionId,
    /// Which end sent the packet.
    pub direction: Direction,
}

/// Where the index leads: a slot, by the flow that its connection has behind a service, or by the one that the opener addressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry(u32);

impl Entry {
    const AS_ADDRESSED: u32 = 1 << 31;

    fn slot(self) -> usize {
        (self.0 & !Self::AS_ADDRESSED) as usize
    }

    /// The flow, from the opener's side, by which this entry is found.
    fn flow(self, slots: &[Slot]) -> Option<&FlowTuple> {
        let connection = slots.get(self.slot())?.connection()?;
        if self.0 & Self::AS_ADDRESSED != 0 {
            connection.service.as_deref()
        } else {
            Some(&connection.flow)
        }
    }

    /// The entries of a connection in `slot`.
    fn of(slot: u32, connection: &Connection) -> impl Iterator<Item = (Self, FlowTuple)> {
        let addressed =
            connection.service.as_deref().map(|&flow| (Self(slot | Self::AS_ADDRESSED), flow));
        [Some((Self(slot), connection.flow)), addressed].into_iter().flatten()
    }
}

/// A flow that is looked for, and where its connection probably is.
///
/// Looking for the flows of a batch before the first of them is needed brings their connections into the cache together.
#[derive(Clone, Copy, Debug)]
pub struct Sought {
    tuple: FlowTuple,
    hash: u64,
    /// Where it is, or that it is nowhere, once that was guessed.
    guess: Option<Option<Entry>>,
    /// The table's version when this was guessed: in another one, the flow may have become another connection's.
    version: u64,
}

impl Sought {
    /// The flow.
    pub fn tuple(&self) -> &FlowTuple {
        &self.tuple
    }
}

/// No slot.
const NONE: u32 = u32::MAX;

/// A slot; the free ones form a list.
#[derive(Debug)]
enum Slot {
    Taken(Connection),
    Free {
        /// How many connections were here before.
        generation: u32,
        /// The free slot behind it, or [`NONE`].
        next: u32,
    },
}

impl Slot {
    fn generation(&self) -> u32 {
        match self {
            Self::Taken(connection) => connection.generation,
            Self::Free { generation, .. } => *generation,
        }
    }

    fn connection(&self) -> Option<&Connection> {
        match self {
            Self::Taken(connection) => Some(connection),
            Self::Free { .. } => None,
        }
    }

    fn connection_mut(&mut self) -> Option<&mut Connection> {
        match self {
            Self::Taken(connection) => Some(connection),
            Self::Free { .. } => None,
        }
    }
}

/// The table.
#[derive(Debug)]
pub struct Connections {
    /// By the hash of [`FlowKey`], which both directions of a flow share; a connection to a service has two entries.
    index: HashTable<Entry>,
    hasher: FlowHasher,
    slots: Vec<Slot>,
    /// The first free slot, or [`NONE`].
    free: u32,
    /// Slots that hold a connection.
    taken: usize,
    shares: Shares,
    /// What other workers let this one do with packets of their connections.
    grants: Grants,
    budgets: Budgets,
    shadows: usize,
    cursor: usize,
    evicted: u64,
    expired: u64,
    /// Counts the changes of the index.
    version: u64,
}

impl Connections {
    /// An empty table with these budgets. It takes its room at once, so that no packet waits while it grows; the system gives the
    /// memory when it is used.
    pub fn new(budgets: Budgets) -> Self {
        Self {
            index: HashTable::with_capacity(budgets.connections),
            hasher: hash::seeded(),
            slots: Vec::with_capacity(budgets.connections),
            free: NONE,
            taken: 0,
            shares: Shares::with_capacity(budgets.connections),
            grants: Grants::default(),
            budgets,
            shadows: 0,
            cursor: 0,
            evicted: 0,
            expired: 0,
            version: 0,
        }
    }

    /// Connections in the table.
    pub fn len(&self) -> usize {
        self.taken
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Of these, inspected ones. Looks at every slot.
    pub fn streams(&self) -> usize {
        let inspected =
            |slot: &&Slot| slot.connection().is_some_and(|known| known.follower.is_stream());
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
        self.found(&self.seek(tuple))
    }

    /// Begins to look for the connection that a packet with this tuple belongs to; [`Connections::found`] tells which it is.
    // Inlined, the tuple stays in registers, and what kind of addresses it has is known.
    #[inline(always)]
    pub fn seek(&self, tuple: &FlowTuple) -> Sought {
        Sought { tuple: *tuple, hash: self.hash(tuple), guess: None, version: self.version }
    }

    /// Guesses where the connection is, and asks for its memory.
    #[inline]
    pub fn guess(&self, sought: &mut Sought) {
        let mut guess = None;
        // The index keeps seven bits of each hash, so the first entry that has the same ones is nearly always the right one.
        let _first = self.index.find(sought.hash, |entry| {
            guess = Some(*entry);
            true
        });
        match guess.and_then(|entry| self.slots.get(entry.slot())) {
            Some(slot) => prefetch(slot, size_of::<Slot>()),
            None => self.grants.approach(sought.hash),
        }
        sought.guess = Some(guess);
    }

    /// Asks for the memory behind the connection that is looked for.
    #[inline]
    pub fn approach(&self, sought: &Sought) {
        let slot = sought.guess.flatten().and_then(|entry| self.slots.get(entry.slot()));
        if let Some(connection) = slot.and_then(Slot::connection) {
            connection.prefetch();
        }
    }

    /// The connection that was looked for. Exactly what [`Connections::find`] finds.
    pub fn found(&self, sought: &Sought) -> Option<Found> {
        let (entry, direction) = self.entry(sought)?;
        let slot = u32::try_from(entry.slot()).ok()?;
        let generation = self.slots.get(entry.slot())?.generation();
        Some(Found { id: ConnectionId { slot, generation }, direction })
    }

    /// The connection that was looked for, and which end sent the packet.
    #[inline]
    pub fn found_mut(&mut self, sought: &Sought) -> Option<(Found, &mut Connection)> {
        let (entry, direction) = self.entry(sought)?;
        let slot = u32::try_from(entry.slot()).ok()?;
        let connection = self.slots.get_mut(entry.slot())?.connection_mut()?;
        let id = ConnectionId { slot, generation: connection.generation };
        Some((Found { id, direction }, connection))
    }

    /// Where the connection that was looked for is: as guessed, or else by a search.
    #[inline(always)]
    fn entry(&self, sought: &Sought) -> Option<(Entry, Direction)> {
        let Sought { tuple, hash, guess, version } = sought;
        if let Some(guess) = *guess
            && *version == self.version
        {
            // No entry has the same bits of its hash, so none is of this flow.
            let entry = guess?;
            if let Some(direction) = self.direction(entry, tuple) {
                return Some((entry, direction));
            }
        }
        let entry = self.search(tuple, *hash)?;
        Some((entry, self.direction(entry, tuple)?))
    }

    #[inline(never)]
    fn search(&self, tuple: &FlowTuple, hash: u64) -> Option<Entry> {
        self.index.find(hash, |entry| self.direction(*entry, tuple).is_some()).copied()
    }

    /// Which end of this entry's connection sends packets with this tuple, if one does.
    #[inline(always)]
    fn direction(&self, entry: Entry, tuple: &FlowTuple) -> Option<Direction> {
        let flow = entry.flow(&self.slots)?;
        if flow == tuple {
            Some(Direction::Original)
        } else if *flow == tuple.reversed() {
            Some(Direction::Reply)
        } else {
            None
        }
    }

    #[inline(always)]
    fn hash(&self, tuple: &FlowTuple) -> u64 {
        self.hasher.hash_one(FlowKey::of(tuple).0)
    }

    /// The connection of that number, if it still exists.
    pub fn connection(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        self.slots
            .get_mut(id.slot as usize)
            .and_then(Slot::connection_mut)
            .filter(|connection| connection.generation == id.generation)
    }

    /// Lets this worker do with the packets of another one's connection what its owner would do.
    pub fn keep(&mut self, grant: Grant) {
        let Self { grants, hasher, .. } = self;
        grants.keep(grant, |grant| hasher.hash_one(FlowKey::of(&grant.flow).0));
    }

    /// What the owner of the connection that was looked for lets this worker do with the packet in this epoch.
    #[inline]
    pub fn granted(&mut self, sought: &Sought, epoch: u64) -> Option<&mut Grant> {
        let Self { grants, hasher, .. } = self;
        let hash = |grant: &Grant| hasher.hash_one(FlowKey::of(&grant.flow).0);
        grants.of(&sought.tuple, sought.hash, epoch, hash)
    }

    /// Whether one more connection may have a shadow.
    pub fn can_follow(&self) -> bool {
        self.shadows < self.budgets.shadows
    }

    /// Lets a connection have a shadow, if there is room for one.
    pub fn follow(&mut self, id: ConnectionId, shadow: Shadow) {
        if self.can_follow()
            && let Some(connection) = self.connection(id)
            && matches!(connection.follower, Follower::Nobody)
        {
            connection.follower = Follower::Shadow(shadow);
            self.shadows += 1;
        }
    }

    /// Connections that have a shadow.
    pub fn shadows(&self) -> usize {
        self.shadows
    }

    /// Takes a connection's shadow.
    pub fn take_shadow(&mut self, id: ConnectionId) -> Option<Shadow> {
        let follower = &mut self.connection(id)?.follower;
        match std::mem::take(follower) {
            Follower::Shadow(shadow) => {
                self.shadows = self.shadows.saturating_sub(1);
                Some(shadow)
            }
            other => {
                *follower = other;
                None
            }
        }
    }

    /// Adds a connection.
    ///
    /// # Errors
    /// [`DropReason::EndpointBudget`] if its endpoint has as many as it may have, [`DropReason::ConnectionTableFull`] if there is no
    /// room, and nothing that can make room.
    pub fn insert(
        &mut self,
        mut connection: Connection,
        now: Tick,
    ) -> Result<ConnectionId, DropReason> {
        let owner = connection.charged_to();
        if self.shares.connections(owner) >= self.budgets.connections_per_endpoint
            && !self.make_room_of(owner, now)
        {
            return Err(DropReason::EndpointBudget);
        }
        if self.len() >= self.budgets.connections
            && !self.make_room(now)
            && !self.take_from_the_greediest(owner)
        {
            return Err(DropReason::ConnectionTableFull);
        }
        let id = self.free_slot();
        self.taken += 1;
        self.shares.add(id.slot, owner);
        for (entry, flow) in Entry::of(id.slot, &connection) {
            self.enter(entry, &flow);
        }
        connection.generation = id.generation;
        if let Some(place) = self.slots.get_mut(id.slot as usize) {
            *place = Slot::Taken(connection);
        }
        Ok(id)
    }

    /// A slot that nobody has, no longer in the list of free ones.
    fn free_slot(&mut self) -> ConnectionId {
        let slot = self.free;
        if let Some(&Slot::Free { generation, next }) = self.slots.get(slot as usize) {
            self.free = next;
            return ConnectionId { slot, generation };
        }
        let slot = u32::try_from(self.slots.len()).unwrap_or(NONE);
        self.slots.push(Slot::Free { generation: 0, next: NONE });
        ConnectionId { slot, generation: 0 }
    }

    /// Lets `entry` be what is found by `flow`, in place of an older one.
    fn enter(&mut self, entry: Entry, flow: &FlowTuple) {
        let hash = self.hash(flow);
        self.version += 1;
        let Self { index, slots, hasher, .. } = self;
        let same = |other: &Entry| {
            other.flow(slots).is_some_and(|other| other == flow || *other == flow.reversed())
        };
        match index.find_mut(hash, same) {
            Some(known) => {
                let older = std::mem::replace(known, entry);
                // Its packets are the newer connection's from now on, so nobody may forward them for it any more.
                if let Some(older) = slots.get_mut(older.slot()).and_then(Slot::connection_mut) {
                    older.follower.revoke();
                }
            }
            None => {
                let rehash = |entry: &Entry| {
                    entry.flow(slots).map_or(0, |flow| hasher.hash_one(FlowKey::of(flow).0))
                };
                index.insert_unique(hash, entry, rehash);
            }
        }
    }

    /// Takes a connection out.
    pub fn remove(&mut self, id: ConnectionId) -> Option<Connection> {
        let slot = self
            .slots
            .get_mut(id.slot as usize)
            .filter(|slot| slot.connection().is_some_and(|own| own.generation == id.generation))?;
        let free = Slot::Free { generation: id.generation.wrapping_add(1), next: self.free };
        let Slot::Taken(connection) = std::mem::replace(slot, free) else { return None };
        self.free = id.slot;
        self.taken -= 1;
        self.version += 1;
        self.shadows = self.shadows.saturating_sub(usize::from(connection.follower.is_shadow()));
        self.shares.remove(id.slot);
        for (entry, flow) in Entry::of(id.slot, &connection) {
            // A newer connection may have taken the place over; then there is none of ours.
            if let Ok(entry) = self.index.find_entry(self.hash(&flow), |other| *other == entry) {
                entry.remove();
            }
        }
        Some(connection)
    }

    /// Looks at the next `budget` slots and removes connections that have been silent for too long; those that are idle rest.
    pub fn expire(&mut self, now: Tick, budget: usize) {
        for _ in 0..budget.min(self.slots.len()) {
            let Some((id, connection)) = self.next() else { continue };
            let silent = connection.silence(now);
            if silent > expiry::lifetime(connection.phase) {
                self.remove(id);
                self.expired += 1;
            } else if silent > expiry::REST {
                self.rest(id);
            }
        }
    }

    /// Gives back what an idle connection does not need.
    fn rest(&mut self, id: ConnectionId) {
        // Who holds nothing is not looked at: with many idle connections, their streams' memory is what a look costs.
        if self.shares.held_in(id.slot) == 0 {
            return;
        }
        let Some(connection) = self.connection(id) else { return };
        let held = match &mut connection.follower {
            Follower::Stream(stream) => {
                stream.rest();
                stream.held_bytes()
            }
            Follower::Shadow(shadow) => {
                shadow.rest();
                shadow.held_bytes()
            }
            Follower::Nobody | Follower::Grantee(_) => 0,
        };
        self.shares.charge(id.slot, held);
    }

    /// Removes one connection that is expired, closing, half open or not TCP.
    fn make_room(&mut self, now: Tick) -> bool {
        for _ in 0..EVICTION_PROBES {
            let Some((id, connection)) = self.next() else { continue };
            if can_go(connection, now) {
                self.evict(id);
                return true;
            }
        }
        false
    }

    /// The same among the connections charged to `owner`.
    fn make_room_of(&mut self, owner: PortId, now: Tick) -> bool {
        for _ in 0..SHARE_PROBES {
            let Some((id, connection)) = self.next_of(owner) else { return false };
            if can_go(connection, now) {
                self.evict(id);
                return true;
            }
        }
        false
    }

    /// Removes a connection of whoever has the most, unless that is `owner`.
    fn take_from_the_greediest(&mut self, owner: PortId) -> bool {
        let Some(greediest) = self.shares.greediest() else { return false };
        if self.shares.connections(greediest) <= self.shares.connections(owner) {
            return false;
        }
        let Some((id, _)) = self.next_of(greediest) else { return false };
        self.evict(id);
        true
    }

    fn evict(&mut self, id: ConnectionId) {
        self.remove(id);
        self.evicted += 1;
    }

    /// Bytes that streams hold.
    pub fn held(&self) -> usize {
        self.shares.held()
    }

    /// The stream of this connection holds `bytes` now. If that is more than its endpoint or all may hold, the connection that
    /// should be reset for it: the one that holds the most among some of whoever is to blame.
    pub fn charge(&mut self, id: ConnectionId, bytes: usize) -> Option<ConnectionId> {
        let (owner, held_by_owner) = self.shares.charge(id.slot, bytes)?;
        let blamed = if held_by_owner > self.budgets.stream_bytes_per_endpoint {
            owner
        } else if self.shares.held() > self.budgets.stream_bytes {
            self.shares.fattest()?
        } else {
            return None;
        };
        let own = (blamed == owner).then_some((bytes, id));
        let looked_at = (0..SHARE_PROBES).filter_map(|_| {
            let (other, _) = self.next_of(blamed)?;
            Some((self.shares.held_in(other.slot), other))
        });
        let (held, victim) = looked_at.chain(own).max_by_key(|(held, _)| *held)?;
        // None of those that were looked at holds anything: the one that asks for more does without.
        Some(if held > 0 { victim } else { id })
    }

    fn next_of(&mut self, owner: PortId) -> Option<(ConnectionId, &Connection)> {
        let slot = self.shares.next(owner)?;
        let place = self.slots.get(slot as usize)?;
        let id = ConnectionId { slot, generation: place.generation() };
        place.connection().map(|connection| (id, connection))
    }

    fn next(&mut self) -> Option<(ConnectionId, &Connection)> {
        self.cursor = if self.cursor + 1 < self.slots.len() { self.cursor + 1 } else { 0 };
        let slot = self.slots.get(self.cursor)?;
        let id =
            ConnectionId { slot: u32::try_from(self.cursor).ok()?, generation: slot.generation() };
        slot.connection().map(|connection| (id, connection))
    }
}

/// Whether a connection gives way to others: expired, closing, half open or not TCP.
fn can_go(connection: &Connection, now: Tick) -> bool {
    connection.silence(now) > expiry::lifetime(connection.phase)
        || matches!(connection.phase, Phase::Opening | Phase::Closing | Phase::Datagram)
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, net::IpAddr, sync::Arc};

    use parser::network::Protocol;
    use policy_table::{Access, Grounds, Identity, Peer};
    use proptest::prelude::*;

    use super::*;
    use crate::{connection::Judgement, worker::PortId};

    fn tuple(port: u16) -> FlowTuple {
        FlowTuple {
            source: IpAddr::from([10, 0, 0, 1]),
            destination: IpAddr::from([10, 0, 0, 2]),
            protocol: Protocol::TCP,
            src_port: port,
            dst_port: 80,
        }
    }

    fn connection(port: u16, phase: Phase) -> Connection {
        let peer = Peer { identity: Identity::WORLD, endpoint: None };
        let judgement = Judgement {
            epoch: 1,
            access: Access::Allow(Grounds { egress: None, ingress: None, audited: None }),
            source: peer,
            destination: peer,
            source_port: PortId(0),
            destination_port: PortId(1),
        };
        let mut connection = Connection::new(tuple(port), None, 80, Arc::new(judgement), Tick(0));
        connection.phase = phase;
        connection
    }

    fn table(connections: usize) -> Connections {
        Connections::new(Budgets { connections, ..Budgets::default() })
    }

    #[test]
    fn a_connection_is_small() {
        assert!(size_of::<Slot>() <= 88, "{}", size_of::<Slot>());
    }

    #[test]
    fn both_directions_find_the_connection_and_know_which_they_are() {
        let mut table = table(4);
        let id = table.insert(connection(1000, Phase::Established), Tick(0)).unwrap();
        assert_eq!(table.find(&tuple(1000)), Some(Found { id, direction: Direction::Original }));
        assert_eq!(
            table.find(&tuple(1000).reversed()),
            Some(Found { id, direction: Direction::Reply })
        );
        assert_eq!(table.find(&tuple(1001)), None);
    }

    #[test]
    fn what_was_sought_before_the_table_changed_is_found_as_it_is_now() {
        let mut table = table(8);
        let flow = tuple(1000).reversed();
        let before = table.seek(&flow);
        let mut missed = before;
        table.guess(&mut missed);
        let first = table.insert(connection(1000, Phase::Established), Tick(0)).unwrap();
        let found = |table: &Connections, sought| {
            let found = table.found(&sought);
            assert_eq!(found, table.find(&flow));
            found.map(|found| found.id)
        };
        assert_eq!(found(&table, before), Some(first));
        assert_eq!(found(&table, missed), Some(first));
        // Another connection takes the flow over, while the first one still has it.
        let known = table.seek(&flow);
        assert_eq!(found(&table, known), Some(first));
        let second = table.insert(connection(1000, Phase::Established), Tick(0)).unwrap();
        assert_eq!(found(&table, known), Some(second));
        let known = table.seek(&flow);
        assert!(table.remove(second).is_some());
        assert_eq!(found(&table, known), None);
    }

    #[test]
    fn a_service_connection_is_found_by_either_address() {
        let mut table = table(4);
        let frontend = FlowTuple { destination: IpAddr::from([10, 96, 0, 1]), ..tuple(1000) };
        let mut connection = connection(1000, Phase::Established);
        connection.service = Some(Box::new(frontend));
        let id = table.insert(connection, Tick(0)).unwrap();
        assert_eq!(table.find(&frontend), Some(Found { id, direction: Direction::Original }));
        assert_eq!(
            table.find(&tuple(1000).reversed()),
            Some(Found { id, direction: Direction::Reply })
        );
        table.remove(id);
        assert_eq!(table.find(&frontend), None);
        assert_eq!(table.find(&tuple(1000)), None);
    }

    #[test]
    fn a_number_used_again_does_not_name_the_old_connection() {
        let mut table = table(4);
        let old = table.insert(connection(1000, Phase::Established), Tick(0)).unwrap();
        table.remove(old);
        let new = table.insert(connection(1001, Phase::Established), Tick(0)).unwrap();
        assert!(table.connection(old).is_none());
        assert!(table.connection(new).is_some());
    }

    #[test]
    fn a_full_table_gives_up_what_nobody_answered_and_nothing_else() {
        let mut table = table(2);
        table.insert(connection(1, Phase::Established), Tick(0)).unwrap();
        table.insert(connection(2, Phase::Opening), Tick(0)).unwrap();
        table.insert(connection(3, Phase::Established), Tick(0)).unwrap();
        assert_eq!((table.find(&tuple(2)), table.evicted()), (None, 1));
        assert!(
            table.insert(connection(4, Phase::Established), Tick(0)).is_err(),
            "both are in use"
        );
        assert_eq!(table.len(), 2);
    }

    #[test]
    fn silence_ends_a_connection_when_its_phase_says_so() {
        let mut table = table(4);
        table.insert(connection(1, Phase::Established), Tick(0)).unwrap();
        table.insert(connection(2, Phase::Opening), Tick(0)).unwrap();
        table.expire(Tick(59_000), 8);
        assert_eq!(table.len(), 2);
        table.expire(Tick(61_000), 8);
        assert_eq!((table.len(), table.expired()), (1, 1));
        table.expire(Tick(8_001_000), 8);
        assert!(table.is_empty());
    }

    /// A connection that is charged to `port`.
    fn of(port: u16, src_port: u16, phase: Phase) -> Connection {
        let mut connection = connection(src_port, phase);
        connection.flow.source = IpAddr::from([10, 0, 1, u8::try_from(port).unwrap()]);
        Arc::make_mut(&mut connection.judgement).destination_port = PortId(port);
        connection
    }

    #[test]
    fn an_endpoint_has_its_share_and_gives_up_its_own_half_open_ones_first() {
        let budgets =
            Budgets { connections: 100, connections_per_endpoint: 3, ..Budgets::default() };
        let mut table = Connections::new(budgets);
        table.insert(of(5, 1, Phase::Opening), Tick(0)).unwrap();
        for src_port in 1..=3 {
            table.insert(of(6, src_port, Phase::Established), Tick(0)).unwrap();
        }
        let refused = table.insert(of(6, 4, Phase::Established), Tick(0));
        assert_eq!(refused, Err(DropReason::EndpointBudget));
        for src_port in 2..100 {
            table.insert(of(5, src_port, Phase::Opening), Tick(0)).unwrap();
        }
        assert_eq!(table.len(), 6);
        assert!(table.find(&of(5, 1, Phase::Opening).flow).is_none(), "its oldest");
    }

    #[test]
    fn two_that_work_together_cannot_keep_a_third_out() {
        let budgets =
            Budgets { connections: 10, connections_per_endpoint: 5, ..Budgets::default() };
        let mut table = Connections::new(budgets);
        for src_port in 0..5 {
            table.insert(of(1, src_port, Phase::Established), Tick(0)).unwrap();
            table.insert(of(2, src_port, Phase::Established), Tick(0)).unwrap();
        }
        for src_port in 0..3 {
            table.insert(of(3, src_port, Phase::Established), Tick(0)).unwrap();
        }
        assert_eq!(table.len(), 10);
        for (port, has) in [(1, 3..=4), (2, 3..=4), (3, 3..=3)] {
            assert!(has.contains(&table.shares.connections(PortId(port))), "port {port}");
        }
        let refused = table.insert(of(3, 9, Phase::Established), Tick(0));
        assert_eq!(refused.map(drop), Ok(()), "up to an even share");
        let refused = table.insert(of(3, 10, Phase::Established), Tick(0));
        assert_eq!(refused, Err(DropReason::ConnectionTableFull), "and no further");
    }

    #[test]
    fn the_stream_that_holds_the_most_goes_when_its_endpoint_holds_too_much() {
        let budgets =
            Budgets { stream_bytes: 1000, stream_bytes_per_endpoint: 500, ..Budgets::default() };
        let mut table = Connections::new(budgets);
        let mut insert =
            |port, src_port| table.insert(of(port, src_port, Phase::Established), Tick(0)).unwrap();
        let (small, big, other, third) = (insert(1, 1), insert(1, 2), insert(2, 1), insert(3, 1));
        assert_eq!(table.charge(small, 100), None);
        assert_eq!(table.charge(big, 400), None);
        assert_eq!(table.charge(small, 101), Some(big));
        assert_eq!(table.charge(big, 0), None);
        assert_eq!(table.charge(other, 499), None);
        assert_eq!(table.charge(third, 400), None);
        assert_eq!(table.charge(third, 401), Some(other), "all together hold too much");
        table.remove(other);
        assert_eq!(table.held(), 502);
    }

    proptest! {
        #[test]
        fn slots_are_used_again_and_never_shared(steps in prop::collection::vec((0..6_u16, any::<bool>()), 0..80)) {
            let mut table = table(6);
            let mut known = HashMap::new();
            let mut gone = Vec::new();
            for (port, opens) in steps {
                match known.remove(&port) {
                    None if opens => {
                        let id = table.insert(connection(port, Phase::Established), Tick(0)).unwrap();
                        known.insert(port, id);
                    }
                    None => {}
                    Some(id) => {
                        prop_assert_eq!(table.remove(id).map(|own| own.flow), Some(tuple(port)));
                        gone.push(id);
                    }
                }
                prop_assert_eq!(table.len(), known.len());
                prop_assert!(table.slots.len() <= 6, "a free slot is used before a new one");
                for port in 0..6 {
                    let found = table.find(&tuple(port)).map(|found| found.id);
                    prop_assert_eq!(found, known.get(&port).copied());
                }
                for id in &gone {
                    prop_assert!(table.connection(*id).is_none() && table.remove(*id).is_none());
                }
            }
        }
    }
}
