//! What DNS told one pod: the queries that wait for an answer, and the addresses its names have for now.
//!
//! Arrives: questions that policy let pass, and what their answers say. Leaves: what an address is called, in the terms of the
//! pod's own policy. Owner: the home worker of the pod. It sees every query, every answer and every connection that the pod
//! opens, so an address is known before the answer that told it leaves, and nothing is shared (ADR 7).
//!
//! INVARIANT: everything is allocated when a pod's policy first speaks of DNS, and never grows. What is full gives up the
//! oldest, of this pod and no other.

use std::{
    hash::{BuildHasher, RandomState},
    net::IpAddr,
};

use parser::dns::{Name, Question};
use policy_table::Names;

use crate::{
    connection::ConnectionId,
    worker::clock::{Tick, between},
};

/// Queries of one pod that wait for an answer.
const MOST_QUERIES: usize = 512;

/// Names that one pod knows addresses of.
const MOST_NAMES: usize = 256;

/// Addresses of names that one pod knows.
const MOST_LEASES: usize = 2048;

/// How long an answer is waited for: resolvers give up sooner (`resolv.conf(5)`: at most 30 seconds).
const PATIENCE_S: u64 = 30;

/// How long an address that an answer gave may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseTimes {
    /// At least so long, whatever the answer says, in seconds.
    pub at_least: u32,
    /// And so much longer than that, in seconds.
    pub grace: u32,
}

impl Default for LeaseTimes {
    /// No least time, as Cilium; and a minute more, after which Cilium takes expired addresses out at the latest.
    fn default() -> Self {
        Self { at_least: 0, grace: 60 }
    }
}

impl LeaseTimes {
    /// When a lease of `ttl` seconds that begins now ends.
    fn end(self, ttl: u32, now: Tick) -> Tick {
        let seconds = u64::from(ttl.max(self.at_least)) + u64::from(self.grace);
        Tick(now.0.saturating_add(seconds * 1000))
    }
}

/// What DNS told one pod.
#[derive(Debug)]
pub struct PodNames {
    queries: Vec<Query>,
    names: Vec<Known>,
    /// Sorted by address and name.
    leases: Vec<Lease>,
    /// The epoch whose policy the names were looked up in.
    epoch: u64,
    /// A name is compared by its keyed hash: nobody can make two names alike.
    hasher: RandomState,
    given_up: u64,
}

/// A query that waits for its answer.
#[derive(Clone, Copy, Debug)]
struct Query {
    connection: ConnectionId,
    id: u16,
    record_type: u16,
    class: u16,
    name: u64,
    since: Tick,
}

/// A name that has addresses.
#[derive(Debug)]
struct Known {
    name: Name,
    stands_for: Names,
    /// When its last lease ends.
    until: Tick,
}

/// An address of a name.
#[derive(Clone, Copy, Debug)]
struct Lease {
    address: IpAddr,
    /// The place of the name.
    name: usize,
    until: Tick,
}

impl Default for PodNames {
    fn default() -> Self {
        Self {
            queries: Vec::with_capacity(MOST_QUERIES),
            names: Vec::with_capacity(MOST_NAMES),
            leases: Vec::with_capacity(MOST_LEASES),
            epoch: 0,
            hasher: RandomState::new(),
            given_up: 0,
        }
    }
}

impl PodNames {
    /// Takes note of a query that is sent on.
    pub fn ask(&mut self, connection: ConnectionId, question: &Question, now: Tick) {
        let query = self.query(connection, question, now);
        if let Some(again) = self.queries.iter_mut().find(|other| other.is_for(&query)) {
            again.since = now;
        } else if self.queries.len() < MOST_QUERIES {
            self.queries.push(query);
        } else if let Some(oldest) = self.queries.iter_mut().min_by_key(|query| query.since) {
            *oldest = query;
        }
    }

    /// Whether an answer is to a query that waits for it: same connection, number and question. The query waits no longer.
    pub fn answered(&mut self, connection: ConnectionId, question: &Question, now: Tick) -> bool {
        let wanted = self.query(connection, question, now);
        let found = self.queries.iter().position(|query| query.is_for(&wanted));
        let query = found.map(|place| self.queries.swap_remove(place));
        query.is_some_and(|query| between(query.since, now).as_secs() <= PATIENCE_S)
    }

    fn query(&self, connection: ConnectionId, question: &Question, since: Tick) -> Query {
        let Question { id, name, record_type, class } = *question;
        let name = self.hasher.hash_one(name.as_str());
        Query { connection, id, record_type, class, name, since }
    }

    /// Takes note that a name has an address for so long. `stands_for` is what the pod's policy makes of the name.
    pub fn learn(
        &mut self,
        name: &Name,
        stands_for: Names,
        address: IpAddr,
        (ttl, times): (u32, LeaseTimes),
        now: Tick,
    ) {
        let until = times.end(ttl, now);
        let name = self.known(name, stands_for, until, now);
        let key = |lease: &Lease| (lease.address, lease.name).cmp(&(address, name));
        match self.leases.binary_search_by(key) {
            Ok(place) => {
                if let Some(lease) = self.leases.get_mut(place) {
                    lease.until = lease.until.max(until);
                }
            }
            Err(mut place) => {
                if self.leases.len() >= MOST_LEASES {
                    self.make_room(now);
                    place = self.leases.binary_search_by(key).unwrap_or_else(|place| place);
                }
                self.leases.insert(place, Lease { address, name, until });
            }
        }
    }

    /// The place of a name, which has an address until then.
    fn known(&mut self, name: &Name, stands_for: Names, until: Tick, now: Tick) -> usize {
        if let Some(place) = self.names.iter().position(|known| known.name == *name) {
            if let Some(known) = self.names.get_mut(place) {
                known.until = known.until.max(until);
                known.stands_for = stands_for;
            }
            return place;
        }
        let known = Known { name: *name, stands_for, until };
        if self.names.len() < MOST_NAMES {
            self.names.push(known);
            return self.names.len() - 1;
        }
        let first = self.names.iter().enumerate().min_by_key(|(_, known)| known.until);
        let place = first.map_or(0, |(place, _)| place);
        if let Some(old) = self.names.get_mut(place) {
            self.given_up += u64::from(old.until > now);
            *old = known;
        }
        self.leases.retain(|lease| lease.name != place);
        place
    }

    /// Makes room for a lease: those that ended go, or the one that ends first.
    fn make_room(&mut self, now: Tick) {
        self.leases.retain(|lease| lease.until > now);
        if self.leases.len() >= MOST_LEASES {
            let first = self.leases.iter().enumerate().min_by_key(|(_, lease)| lease.until);
            if let Some((place, _)) = first {
                self.leases.remove(place);
                self.given_up += 1;
            }
        }
    }

    /// What an address is called now. With a new epoch every name is looked up again by `look_up`.
    pub fn of(
        &mut self,
        address: IpAddr,
        now: Tick,
        epoch: u64,
        look_up: impl Fn(&str) -> Names,
    ) -> Names {
        if self.epoch != epoch {
            self.epoch = epoch;
            for known in &mut self.names {
                known.stands_for = look_up(known.name.as_str());
            }
        }
        let mut names = Names::NONE;
        let first = self.leases.partition_point(|lease| lease.address < address);
        let own = self.leases.get(first..).unwrap_or_default();
        for lease in own.iter().take_while(|lease| lease.address == address) {
            if let Some(known) = self.names.get(lease.name).filter(|_| lease.until > now) {
                names.extend(&known.stands_for);
            }
        }
        names
    }

    /// Every name that has an address now, with it.
    pub fn known_now(&self, now: Tick) -> impl Iterator<Item = (&str, IpAddr)> {
        let current = self.leases.iter().filter(move |lease| lease.until > now);
        current.filter_map(|lease| Some((self.names.get(lease.name)?.name.as_str(), lease.address)))
    }

    /// Addresses that were given up before their time, because there were too many.
    pub fn given_up(&self) -> u64 {
        self.given_up
    }

    /// Addresses that are known, ended ones among them.
    pub fn len(&self) -> usize {
        self.leases.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.leases.is_empty()
    }
}

impl Query {
    fn is_for(&self, other: &Self) -> bool {
        (self.connection, self.id, self.record_type, self.class, self.name)
            == (other.connection, other.id, other.record_type, other.class, other.name)
    }
}

#[cfg(test)]
mod tests {
    use parser::dns::read_query;

    use super::*;

    const TIMES: LeaseTimes = LeaseTimes { at_least: 0, grace: 2 };

    fn question(name: &str, id: u16) -> Question {
        let mut message = vec![0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        message[..2].copy_from_slice(&id.to_be_bytes());
        for label in name.split('.') {
            message.push(u8::try_from(label.len()).unwrap());
            message.extend(label.bytes());
        }
        message.extend([0, 0, 1, 0, 1]);
        read_query(&message).unwrap()
    }

    fn address(number: usize) -> IpAddr {
        IpAddr::from(u32::try_from(0x0a00_0000 + number).unwrap().to_be_bytes())
    }

    /// Two numbers of connections that are not the same.
    fn connections() -> [ConnectionId; 2] {
        [1, 2].map(ConnectionId::numbered)
    }

    /// The only pattern of these tests.
    fn every(identities: &mut policy_table::Identities) -> Names {
        let mut names = Names::NONE;
        names.add(identities.of_name(&policy_table::rule::name::NamePattern::every()));
        names
    }

    #[test]
    fn an_answer_must_be_to_a_query_that_waits() {
        let [connection, other] = connections();
        let mut pod = PodNames::default();
        let asked = question("a.b", 7);
        pod.ask(connection, &asked, Tick(0));
        assert!(!pod.answered(other, &asked, Tick(1)), "another connection");
        assert!(!pod.answered(connection, &question("a.b", 8), Tick(1)), "another number");
        assert!(!pod.answered(connection, &question("a.c", 7), Tick(1)), "another name");
        let kind = Question { record_type: 28, ..asked };
        assert!(!pod.answered(connection, &kind, Tick(1)), "another type");
        assert!(pod.answered(connection, &question("A.b", 7), Tick(1)), "case does not count");
        assert!(!pod.answered(connection, &asked, Tick(1)), "answered already");
        pod.ask(connection, &asked, Tick(0));
        assert!(!pod.answered(connection, &asked, Tick(31_000)), "too late");
    }

    #[test]
    fn queries_without_answer_give_way_to_new_ones_and_take_no_more_room() {
        let [connection, _] = connections();
        let mut pod = PodNames::default();
        let room = pod.queries.capacity();
        for id in 0..2000 {
            pod.ask(connection, &question("a.b", id), Tick(u64::from(id)));
        }
        assert_eq!((pod.queries.len(), pod.queries.capacity()), (MOST_QUERIES, room));
        assert!(!pod.answered(connection, &question("a.b", 1487), Tick(2000)));
        assert!(pod.answered(connection, &question("a.b", 1488), Tick(2000)));
        assert!(pod.answered(connection, &question("a.b", 1999), Tick(2000)));
    }

    #[test]
    fn a_lease_lasts_as_the_answer_says_and_a_little_longer() {
        let stands_for = every(&mut policy_table::Identities::default());
        let mut pod = PodNames::default();
        let name = question("a.b", 0).name;
        pod.learn(&name, stands_for, address(1), (10, TIMES), Tick(0));
        let look = |_: &str| stands_for;
        assert_eq!(pod.of(address(1), Tick(11_999), 1, look), stands_for);
        assert_eq!(pod.of(address(1), Tick(12_000), 1, look), Names::NONE);
        assert_eq!(pod.of(address(2), Tick(0), 1, look), Names::NONE);
        pod.learn(&name, stands_for, address(1), (0, TIMES), Tick(11_000));
        assert_eq!(pod.of(address(1), Tick(12_999), 1, look), stands_for, "a longer one counts");
        let at_least = LeaseTimes { at_least: 60, grace: 0 };
        pod.learn(&name, stands_for, address(3), (1, at_least), Tick(0));
        assert_eq!(pod.of(address(3), Tick(59_000), 1, look), stands_for);
    }

    #[test]
    fn a_new_epoch_looks_every_name_up_again() {
        let stands_for = every(&mut policy_table::Identities::default());
        let mut pod = PodNames::default();
        pod.learn(&question("a.b", 0).name, stands_for, address(1), (10, TIMES), Tick(0));
        assert_eq!(pod.of(address(1), Tick(0), 1, |_| stands_for), stands_for);
        assert_eq!(pod.of(address(1), Tick(0), 2, |_| Names::NONE), Names::NONE);
        let seen =
            pod.of(
                address(1),
                Tick(0),
                3,
                |name| {
                    if name == "a.b." { stands_for } else { Names::NONE }
                },
            );
        assert_eq!(seen, stands_for);
    }

    #[test]
    fn names_and_addresses_without_end_take_no_more_room() {
        let stands_for = every(&mut policy_table::Identities::default());
        let mut pod = PodNames::default();
        let room = (pod.names.capacity(), pod.leases.capacity());
        for number in 0..10_000_usize {
            let name = question(&format!("n{}.b", number / 4), 0).name;
            pod.learn(&name, stands_for, address(number), (60, TIMES), Tick(number as u64));
        }
        assert_eq!((pod.names.capacity(), pod.leases.capacity()), room);
        assert!(pod.names.len() <= MOST_NAMES && pod.len() <= MOST_LEASES && pod.given_up() > 0);
        let look = |_: &str| stands_for;
        assert_eq!(pod.of(address(9_999), Tick(10_000), 0, look), stands_for, "the newest stays");
        assert_eq!(pod.of(address(0), Tick(10_000), 0, look), Names::NONE, "the oldest went");
        let one = question("one.b", 0).name;
        for number in 0..5_000_usize {
            pod.learn(&one, stands_for, address(number), (60, TIMES), Tick(20_000));
        }
        assert_eq!((pod.names.capacity(), pod.leases.capacity()), room);
        assert!(pod.leases.is_sorted_by_key(|lease| (lease.address, lease.name)));
    }
}
