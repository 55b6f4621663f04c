//! A snapshot becomes a table, and a change of it the next table.
//!
//! ```text
//! 1 census    pods, nodes, named prefixes ─ endpoints, addresses, identities that are born or die
//! 2 rules     policies ─ which rules select which identity
//! 3 peers     each distinct peer once ─ atoms; unions of atoms ─ the bitmaps that slots refer to by number
//! 4 sides     endpoints under the same rules share one; only those whose rules changed are made anew
//! 5 sweep     per protocol, over the borders of port ranges ─ slots, shared where the same clauses hold
//! ```
//! Arrives: a [`Update`]; the first one is everything. Leaves: a [`Table`] that answers as `oracle.rs` does, which the
//! property tests compare. It shares with the table before all that did not change, so a change costs what depends on it.
//! Invariants: an identity nobody could name is in no set but `All`; a table that has left is never changed.

mod census;
pub(crate) mod index;
mod objects;
mod peers;
mod rules;
mod services;
mod sets;
mod sides;
mod sweep;

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::identity::Identities;
use crate::rule::{Direction, Entity, Peer, Policy};
use crate::snapshot::{Object, Pod, Snapshot, Update};
use crate::table::{OwnSide, Settings, Sides, Table};
use crate::verdict::EndpointIndex;
use census::{Births, Census, Surroundings};
use index::LabelIndex;
use objects::Objects;
use peers::{Cluster, Peers};
use rules::Rules;
use services::Services;
use sets::Sets;
use sides::{SidesOf, Workshop};
pub(crate) use sweep::pages;

impl Table {
    /// Compiles a snapshot. `identities` must live as long as the daemon, so that numbers stay.
    pub fn compile(
        snapshot: &Snapshot,
        settings: &Settings,
        identities: &mut Identities,
        epoch: u64,
    ) -> Self {
        let mut compiler =
            Compiler { identities: std::mem::take(identities), ..Compiler::default() };
        compiler.set(settings.clone());
        let change = Update { gone: Vec::new(), come: snapshot.objects() };
        let table = compiler.apply(&change, epoch);
        *identities = compiler.identities;
        table
    }
}

/// The addresses that serve the Kubernetes API.
pub(crate) fn api_servers(snapshot: &Snapshot) -> BTreeSet<std::net::IpAddr> {
    let mut objects = Objects::default();
    snapshot.slices.iter().cloned().map(Object::Slice).for_each(|slice| objects.insert(&slice));
    objects.api_servers()
}

/// Compiles again and again, each time only what changed.
#[derive(Debug, Default)]
pub struct Compiler {
    /// They outlive everything else, so that numbers stay.
    identities: Identities,
    objects: Objects,
    settings: Settings,
    around: Option<Surroundings>,
    state: State,
}

/// What follows from the objects.
#[derive(Debug, Default)]
struct State {
    /// The table as it is to be.
    table: Table,
    census: Census,
    index: LabelIndex,
    peers: Peers,
    sets: Sets,
    rules: Rules,
    sides: SidesOf,
    services: Services,
}

impl Compiler {
    /// The settings from the next [`Compiler::apply`] on; other ones than before are compiled from scratch.
    pub fn set(&mut self, settings: Settings) {
        self.settings = settings;
    }

    /// Takes a change and returns the table of what is now.
    pub fn apply(&mut self, change: &Update, epoch: u64) -> Table {
        for object in &change.gone {
            self.objects.remove(object);
        }
        for object in &change.come {
            self.objects.insert(object);
        }
        let around = Surroundings {
            settings: self.settings.clone(),
            families: self.objects.families(),
            api: self.objects.api_servers(),
        };
        let Self { identities, objects, state, .. } = self;
        if self.around.as_ref() == Some(&around) {
            state.update(change, &around, objects, identities);
        } else {
            let all;
            let everything = if self.around.is_none() {
                change
            } else {
                all = Update { gone: Vec::new(), come: objects.all() };
                &all
            };
            *state = State::default();
            state.begin(&around, objects);
            state.update(everything, &around, objects, identities);
            self.around = Some(around);
        }
        let mut table = self.state.table.clone();
        table.epoch = epoch;
        table
    }
}

impl State {
    /// The identities and peers that are always there.
    fn begin(&mut self, around: &Surroundings, objects: &Objects) {
        self.table.tries_all = around.settings.audit;
        let births = self.census.reserved(around, &mut self.table);
        self.spread(&births, around, objects);
        let host = Peer::Entity(Entity::Host);
        self.peers.name(&host, objects, &mut self.sets);
        self.fill(&host, around, objects);
    }

    fn update(
        &mut self,
        change: &Update,
        around: &Surroundings,
        objects: &Objects,
        identities: &mut Identities,
    ) {
        let scratch = change.gone.is_empty() && self.table.endpoints.is_empty();
        let changed = Changed::of(change, objects, &self.table);
        // 1 Who there is.
        let mut ports = BTreeSet::new();
        for pod in &changed.pods_gone {
            self.remove_pod(pod, &mut ports);
        }
        let mut fresh = Vec::new();
        for pod in &changed.pods_come {
            fresh.extend(self.add_pod(pod, objects, identities, &mut ports));
        }
        for object in &change.gone {
            if let Object::Node(node) = object {
                self.census.node(node, false);
            }
        }
        for object in &change.come {
            if let Object::Node(node) = object {
                self.census.node(node, true);
            }
        }
        // 2 What policies name: prefixes are born before the peers that hold them are filled. What comes is named before
        // what goes is unnamed, so that a peer in both stays.
        let index = &self.index;
        let gone: Vec<Arc<Policy>> = changed
            .policies_gone
            .iter()
            .filter_map(|policy| self.rules.remove(policy, index))
            .collect();
        let mut named = Vec::new();
        for peer in changed.policies_come.iter().flat_map(|policy| rules::peers_of(policy)) {
            if let Some(prefixes) = self.peers.name(peer, objects, &mut self.sets) {
                self.census.name_prefixes(prefixes, true);
                if let Peer::Name(pattern) = peer {
                    self.census.name_pattern(pattern, true, identities);
                }
                named.push(peer.clone());
            }
        }
        let mut unnamed = Vec::new();
        for peer in gone.iter().flat_map(|policy| rules::peers_of(policy)) {
            if let Some(prefixes) = self.peers.unname(peer) {
                self.census.name_prefixes(prefixes, false);
                if let Peer::Name(pattern) = peer {
                    self.census.name_pattern(pattern, false, identities);
                }
                unnamed.push(peer.clone());
            }
        }
        if changed.derived {
            self.peers.derive_prefixes(objects, |prefixes, come| {
                self.census.name_prefixes(prefixes, come);
            });
        }
        let births = self.census.settle(around, identities, &mut self.table);
        self.spread(&births, around, objects);
        for peer in &named {
            self.fill(peer, around, objects);
        }
        if changed.derived {
            let cluster = cluster(&self.index, &self.census, around, objects);
            self.peers.derive(cluster, &mut self.sets);
        }
        self.peers.settle_holders(&mut self.sets);
        for policy in &changed.policies_come {
            self.rules.add(policy, &self.index, &mut self.table.rules);
        }
        self.sets.settle(&mut self.table.sets);
        // 3 What holds for whom.
        self.reside(fresh, &ports, around);
        for peer in &unnamed {
            self.peers.forget(peer, &mut self.sets);
        }
        // 4 What stands behind services.
        for (namespace, name) in &changed.services {
            self.services.touch(namespace, name);
        }
        if !scratch {
            for pod in changed.pods_gone.iter().chain(&changed.pods_come) {
                self.services.touch_pod(pod, objects);
            }
        }
        self.services.settle(objects, &mut self.table.services);
    }

    fn remove_pod(&mut self, pod: &Pod, ports: &mut BTreeSet<String>) {
        if pod.host_network {
            return self.census.shared_addresses(&pod.addresses, false);
        }
        let Some((endpoint, sides)) = self.census.remove_pod(pod, &mut self.table) else { return };
        self.sides.leave(sides.ingress.number);
        self.sides.leave(sides.egress.number);
        for port in endpoint.ports.iter().filter_map(sides::named_port) {
            let name = port.0.clone();
            if self.peers.hold(port, endpoint.identity, false) {
                ports.insert(name);
            }
        }
    }

    fn add_pod(
        &mut self,
        pod: &Pod,
        objects: &Objects,
        identities: &mut Identities,
        ports: &mut BTreeSet<String>,
    ) -> Option<EndpointIndex> {
        if pod.host_network {
            self.census.shared_addresses(&pod.addresses, true);
            return None;
        }
        if pod.addresses.is_empty() {
            return None;
        }
        let labels = objects.labels_of(pod);
        let (index, identity) = self.census.add_pod(pod, labels, identities, &mut self.table);
        for port in pod.ports.iter().filter_map(sides::named_port) {
            let name = port.0.clone();
            if self.peers.hold(port, identity, true) {
                ports.insert(name);
            }
        }
        Some(index)
    }

    /// Tells of identities that were born or died.
    fn spread(&mut self, births: &Births, around: &Surroundings, objects: &Objects) {
        for record in &births.died {
            self.index.remove(record);
            self.peers.died(record, &mut self.sets);
            self.rules.died(record);
        }
        for record in &births.born {
            self.index.add(record);
        }
        let cluster = cluster(&self.index, &self.census, around, objects);
        for record in &births.born {
            self.peers.born(record, cluster, &mut self.sets);
            self.rules.born(record);
        }
    }

    fn fill(&mut self, peer: &Peer, around: &Surroundings, objects: &Objects) {
        let cluster = cluster(&self.index, &self.census, around, objects);
        self.peers.fill(peer, cluster, &mut self.sets);
    }

    /// Gives every endpoint its sides whose rules or named ports changed, and those that are new.
    fn reside(
        &mut self,
        fresh: Vec<EndpointIndex>,
        ports: &BTreeSet<String>,
        around: &Surroundings,
    ) {
        let mut moving: BTreeSet<EndpointIndex> = fresh.into_iter().collect();
        for identity in std::mem::take(&mut self.rules.restless) {
            moving.extend(self.census.endpoints_of(identity));
        }
        let asking: BTreeSet<u32> = ports.iter().flat_map(|name| self.sides.asking(name)).collect();
        if !asking.is_empty() {
            let all = self.table.sides_of.iter().zip(0_u32..);
            let theirs = all.filter(|(sides, _)| asking.contains(&sides.egress.number));
            moving.extend(theirs.map(|(_, place)| EndpointIndex(place)));
        }
        let Self { table, peers, sets, rules, sides, .. } = self;
        let mut workshop = Workshop {
            enforcement: around.settings.enforcement,
            rules,
            peers,
            sets,
            bitmaps: &mut table.sets,
            sides: &mut table.sides,
        };
        for index in moving {
            let Some(endpoint) = table.endpoints.get(index.position()) else { continue };
            let own = workshop.rules.of(endpoint.identity.number());
            let [ingress, egress] = [Direction::Ingress, Direction::Egress]
                .map(|direction| sides.enter(direction, own, &endpoint.ports, &mut workshop));
            let Some(there) = table.sides_of.get_mut(index.position()) else { continue };
            let own = |number| OwnSide::of(number, endpoint.audited, workshop.sides);
            let own = Sides { egress: own(egress), ingress: own(ingress) };
            let before = std::mem::replace(there, own);
            sides.leave(before.ingress.number);
            sides.leave(before.egress.number);
            let enforced = |side: u32| {
                let side = usize::try_from(side).ok().and_then(|side| workshop.sides.get(side));
                side.is_none_or(|side| side.enforced)
            };
            let (ingress, egress) = (enforced(ingress), enforced(egress));
            if (endpoint.ingress_enforced, endpoint.egress_enforced) != (ingress, egress)
                && let Some(there) = table.endpoints.get_mut(index.position())
            {
                let there = Arc::make_mut(there);
                (there.ingress_enforced, there.egress_enforced) = (ingress, egress);
            }
        }
        sides.settle(&mut workshop);
        self.rules.settle(&mut self.table.rules);
    }
}

/// A change, sorted by what it touches.
#[derive(Default)]
struct Changed<'c> {
    pods_gone: Vec<&'c Arc<Pod>>,
    pods_come: Vec<&'c Arc<Pod>>,
    policies_gone: Vec<&'c Arc<Policy>>,
    policies_come: Vec<&'c Arc<Policy>>,
    /// Namespace and name of each service that changed, or whose slices did.
    services: BTreeSet<(&'c str, &'c str)>,
    /// Whether peers that name services or groups may be others now.
    derived: bool,
}

impl<'c> Changed<'c> {
    fn of(change: &'c Update, objects: &'c Objects, table: &Table) -> Self {
        let mut changed = Self::default();
        let mut namespaces = BTreeSet::new();
        for (objects, come) in [(&change.gone, false), (&change.come, true)] {
            for object in objects {
                match object {
                    Object::Namespace(namespace) => {
                        namespaces.insert(namespace.name.as_str());
                    }
                    Object::Pod(pod) if come => changed.pods_come.push(pod),
                    Object::Pod(pod) => changed.pods_gone.push(pod),
                    Object::Service(service) => {
                        changed.services.insert((&service.namespace, &service.name));
                        changed.derived = true;
                    }
                    Object::Slice(slice) => {
                        changed.services.insert((&slice.namespace, &slice.service));
                        changed.derived = true;
                    }
                    Object::CidrGroup(_) => changed.derived = true,
                    Object::Policy(policy) if come => changed.policies_come.push(policy),
                    Object::Policy(policy) => changed.policies_gone.push(policy),
                    Object::Node(_) => {}
                }
            }
        }
        // Pods that stay in a namespace with other labels now are other identities.
        let known = changed.pods_gone.iter().chain(&changed.pods_come);
        let known: BTreeSet<(&str, &str)> =
            known.map(|pod| (pod.namespace.as_str(), pod.name.as_str())).collect();
        for pod in namespaces.into_iter().flat_map(|namespace| objects.pods_in(namespace)) {
            let stays = !known.contains(&(pod.namespace.as_str(), pod.name.as_str()));
            if stays && table.endpoint_named(&pod.namespace, &pod.name).is_some() {
                changed.pods_gone.push(pod);
                changed.pods_come.push(pod);
            }
        }
        changed
    }
}

fn cluster<'c>(
    index: &'c LabelIndex,
    census: &'c Census,
    around: &Surroundings,
    objects: &'c Objects,
) -> Cluster<'c> {
    Cluster {
        objects,
        index,
        pods: &census.pods,
        prefixes: &census.prefixes,
        names: &census.names,
        world_v4: around.world_v4(),
        world_v6: around.world_v6(),
    }
}
