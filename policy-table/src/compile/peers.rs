//! Peers as policies name them: who they are, now and after whatever changes.
//!
//! Arrives: the peers of policies; identities that are born or die; services, groups and named ports that change. Leaves:
//! atoms that hold exactly the identities meant. Each distinct peer is one atom, however many policies name it.

use std::collections::{BTreeMap, BTreeSet};

use hashbrown::HashMap;
use ipnet::IpNet;
use roaring::RoaringBitmap;

use super::index::{LabelIndex, SelectorIndex};
use super::objects::Objects;
use super::sets::{Sets, Whom};
use crate::identity::Identity;
use crate::label::POD_NAMESPACE;
use crate::rule::name::NamePattern;
use crate::rule::{Entity, Peer, Protocol};
use crate::selector::{Requirement, Selector, SelectorKey};
use crate::snapshot::Service;
use crate::table::IdentityRecord;

/// A port that pods give a name: name in lower case, protocol, number.
pub(super) type NamedPort = (String, Protocol, u16);

/// What peers are looked up in.
#[derive(Clone, Copy)]
pub(super) struct Cluster<'c> {
    pub(super) objects: &'c Objects,
    pub(super) index: &'c LabelIndex,
    /// The identities of pods.
    pub(super) pods: &'c RoaringBitmap,
    /// Every identity of a prefix that a policy names.
    pub(super) prefixes: &'c BTreeMap<IpNet, Identity>,
    /// The identity of every pattern of `toFQDNs`. No selector finds them: they are names of addresses that have one.
    pub(super) names: &'c BTreeMap<NamePattern, Identity>,
    pub(super) world_v4: Identity,
    pub(super) world_v6: Identity,
}

/// A peer that policies name.
#[derive(Debug)]
struct Known {
    peer: Peer,
    /// How many policies do.
    policies: usize,
    /// The prefixes it names, the excepted ones included.
    prefixes: Vec<IpNet>,
}

/// The peers that policies name.
#[derive(Debug, Default)]
pub(super) struct Peers {
    by_peer: HashMap<Peer, u32>,
    /// The peer of each atom.
    peers: HashMap<u32, Known>,
    selectors: SelectorIndex,
    /// CIDRs, groups and services: what prefixes may be in.
    outside: BTreeSet<u32>,
    /// Entities and services: what is asked about everyone who is born.
    roles: BTreeSet<u32>,
    /// Groups and services: what other objects change.
    derived: BTreeSet<u32>,
    /// Who among some peers has a port of a name.
    holding: HashMap<u32, (Whom, NamedPort)>,
    by_holding: HashMap<(Vec<u32>, NamedPort), u32>,
    of_port: HashMap<NamedPort, BTreeSet<u32>>,
    /// Who has a port of a name, and by how many pods.
    holders: BTreeMap<NamedPort, HashMap<u32, usize>>,
    /// Whose holding of which port may be another now.
    restless: BTreeSet<(NamedPort, u32)>,
}

impl Peers {
    /// A policy names a peer; returns the prefixes in it if nobody did before: then nobody is in it until
    /// [`Peers::fill`].
    pub(super) fn name(
        &mut self,
        peer: &Peer,
        objects: &Objects,
        sets: &mut Sets,
    ) -> Option<&[IpNet]> {
        if let Some(atom) = self.by_peer.get(peer) {
            let known = self.peers.get_mut(atom)?;
            known.policies = known.policies.saturating_add(1);
            return None;
        }
        let atom = sets.add_atom(RoaringBitmap::new());
        self.by_peer.insert(peer.clone(), atom);
        let prefixes = named_prefixes(peer, objects);
        let known = Known { peer: peer.clone(), policies: 1, prefixes };
        Some(&self.peers.entry(atom).insert(known).into_mut().prefixes)
    }

    /// A policy is gone that named a peer; returns the prefixes in it if nobody names it now.
    pub(super) fn unname(&mut self, peer: &Peer) -> Option<&[IpNet]> {
        let known = self.peers.get_mut(self.by_peer.get(peer)?)?;
        known.policies = known.policies.saturating_sub(1);
        (known.policies == 0).then_some(&*known.prefixes)
    }

    /// Forgets a peer that nobody names, once no set uses it.
    pub(super) fn forget(&mut self, peer: &Peer, sets: &mut Sets) {
        let Some(atom) = self.by_peer.get(peer).copied() else { return };
        if self.peers.get(&atom).is_some_and(|known| known.policies > 0) || sets.is_used(atom) {
            return;
        }
        if matches!(peer, Peer::Endpoints(_)) {
            self.selectors.remove(atom);
        }
        self.by_peer.remove(peer);
        self.peers.remove(&atom);
        for list in [&mut self.outside, &mut self.roles, &mut self.derived] {
            list.remove(&atom);
        }
        sets.remove_atom(atom);
    }

    /// Finds out who a new peer is.
    pub(super) fn fill(&mut self, peer: &Peer, cluster: Cluster<'_>, sets: &mut Sets) {
        let Some(atom) = self.by_peer.get(peer).copied() else { return };
        sets.replace(atom, select(peer, cluster));
        match peer {
            Peer::Endpoints(selector) => self.selectors.add(selector, atom, cluster.index),
            Peer::Cidr { .. } => {
                self.outside.insert(atom);
            }
            Peer::CidrGroup { .. } => {
                self.outside.insert(atom);
                self.derived.insert(atom);
            }
            Peer::Service(_) => {
                self.outside.insert(atom);
                self.derived.insert(atom);
                self.roles.insert(atom);
            }
            Peer::Entity(_) => {
                self.roles.insert(atom);
            }
            // Nobody is born into a name: who has it, DNS tells.
            Peer::Name(_) => {}
        }
    }

    /// Whether an atom is a name of `toFQDNs`.
    pub(super) fn is_name(&self, atom: u32) -> bool {
        self.peers.get(&atom).is_some_and(|known| matches!(known.peer, Peer::Name(_)))
    }

    /// Groups or services changed: tells which prefixes are named less and more by the peers that depend on them.
    pub(super) fn derive_prefixes(
        &mut self,
        objects: &Objects,
        mut name: impl FnMut(&[IpNet], bool),
    ) {
        for atom in &self.derived {
            let Some(known) = self.peers.get_mut(atom).filter(|known| known.policies > 0) else {
                continue;
            };
            let prefixes = named_prefixes(&known.peer, objects);
            name(&prefixes, true);
            name(&known.prefixes, false);
            known.prefixes = prefixes;
        }
    }

    /// Groups or services changed: finds out anew who the peers are that depend on them.
    pub(super) fn derive(&mut self, cluster: Cluster<'_>, sets: &mut Sets) {
        for atom in &self.derived {
            let Some(known) = self.peers.get(atom) else { continue };
            sets.replace(*atom, select(&known.peer, cluster));
        }
        // Who holds a port among such peers may be others now.
        for port in self.of_port.keys() {
            for identity in self.holders.get(port).into_iter().flat_map(HashMap::keys) {
                self.restless.insert((port.clone(), *identity));
            }
        }
    }

    /// An identity is born: it enters every atom that means it.
    pub(super) fn born(&self, record: &IdentityRecord, cluster: Cluster<'_>, sets: &mut Sets) {
        let number = record.identity.number();
        for atom in self.selectors.candidates(&record.labels) {
            let known = self.peers.get(&atom);
            if known.is_some_and(|known| is_meant(&known.peer, record, cluster)) {
                sets.put(atom, number, true);
            }
        }
        let outside = record.prefix.is_some().then_some(&self.outside).into_iter().flatten();
        for atom in outside.chain(&self.roles) {
            let known = self.peers.get(atom);
            if known.is_some_and(|known| is_meant(&known.peer, record, cluster)) {
                sets.put(*atom, number, true);
            }
        }
    }

    /// An identity died: it leaves every atom.
    pub(super) fn died(&self, record: &IdentityRecord, sets: &mut Sets) {
        let number = record.identity.number();
        let candidates = self.selectors.candidates(&record.labels);
        for atom in candidates.iter().chain(&self.outside).chain(&self.roles) {
            sets.put(*atom, number, false);
        }
    }

    /// A pod of this identity has a port of a name, or has it no more; true if the port is known for the first time, or
    /// no longer.
    pub(super) fn hold(&mut self, port: NamedPort, identity: Identity, one_more: bool) -> bool {
        let number = identity.number();
        self.restless.insert((port.clone(), number));
        let was_known = self.holders.contains_key(&port);
        let holders = self.holders.entry(port.clone()).or_default();
        let pods = holders.entry(number).or_default();
        *pods = if one_more { pods.saturating_add(1) } else { pods.saturating_sub(1) };
        if *pods == 0 {
            holders.remove(&number);
        }
        if holders.is_empty() {
            self.holders.remove(&port);
        }
        was_known != self.holders.contains_key(&port)
    }

    /// The ports that pods have under a name (in lower case).
    pub(super) fn ports_named(&self, name: &str) -> Vec<NamedPort> {
        let from = (name.to_owned(), Protocol(0), 0);
        let ports = self.holders.range(from..).map(|(port, _)| port);
        ports.take_while(|(own, _, _)| own == name).cloned().collect()
    }

    /// Those among some peers that have a named port.
    pub(super) fn holding(&mut self, whom: &Whom, port: &NamedPort, sets: &mut Sets) -> Whom {
        let atoms = match whom {
            Whom::All => Vec::new(),
            Whom::Atoms(atoms) => atoms.clone(),
        };
        let key = (atoms, port.clone());
        if let Some(atom) = self.by_holding.get(&key) {
            return Whom::Atoms(vec![*atom]);
        }
        let holders = self.holders.get(port).into_iter().flat_map(HashMap::keys).copied();
        let among = |identity: &u32| is_among(whom, *identity, sets);
        let members: RoaringBitmap = holders.filter(among).collect();
        let atom = sets.add_atom(members);
        self.holding.insert(atom, (whom.clone(), port.clone()));
        self.of_port.entry(port.clone()).or_default().insert(atom);
        self.by_holding.insert(key, atom);
        Whom::Atoms(vec![atom])
    }

    /// Forgets an atom of holders that no set uses.
    pub(super) fn forget_holding(&mut self, atom: u32, sets: &mut Sets) {
        if sets.is_used(atom) {
            return;
        }
        let Some((whom, port)) = self.holding.remove(&atom) else { return };
        let atoms = match whom {
            Whom::All => Vec::new(),
            Whom::Atoms(atoms) => atoms,
        };
        if let Some(of_port) = self.of_port.get_mut(&port) {
            of_port.remove(&atom);
            if of_port.is_empty() {
                self.of_port.remove(&port);
            }
        }
        self.by_holding.remove(&(atoms, port));
        sets.remove_atom(atom);
    }

    /// Brings the atoms of holders up to date, once the others are.
    pub(super) fn settle_holders(&mut self, sets: &mut Sets) {
        for (port, identity) in std::mem::take(&mut self.restless) {
            let holds =
                self.holders.get(&port).is_some_and(|holders| holders.contains_key(&identity));
            for atom in self.of_port.get(&port).into_iter().flatten() {
                let Some((whom, _)) = self.holding.get(atom) else { continue };
                let inside = holds && is_among(whom, identity, sets);
                sets.put(*atom, identity, inside);
            }
        }
    }

    /// The atom of a peer; nobody's if no clause named it.
    pub(super) fn atom(&self, peer: &Peer) -> Option<u32> {
        self.by_peer.get(peer).copied()
    }
}

fn is_among(whom: &Whom, identity: u32, sets: &Sets) -> bool {
    match whom {
        Whom::All => true,
        Whom::Atoms(atoms) => atoms.iter().any(|atom| sets.contains(*atom, identity)),
    }
}

/// The prefixes that a peer names, the excepted ones included.
pub(super) fn named_prefixes(peer: &Peer, objects: &Objects) -> Vec<IpNet> {
    let mut named = match peer {
        Peer::Cidr { prefix, except } => [&[*prefix], except.as_slice()].concat(),
        Peer::CidrGroup { groups, except } => {
            let mut named = objects.group_prefixes(groups);
            named.extend(except);
            named
        }
        Peer::Service(service) => objects.service_prefixes(service),
        Peer::Endpoints(_) | Peer::Entity(_) | Peer::Name(_) => Vec::new(),
    };
    named.sort();
    named.dedup();
    named
}

/// Everyone a peer means.
fn select(peer: &Peer, cluster: Cluster<'_>) -> RoaringBitmap {
    let index = cluster.index;
    match peer {
        Peer::Endpoints(selector) => index.select(selector),
        Peer::Cidr { prefix, except } => outside(&[*prefix], except, cluster),
        Peer::CidrGroup { groups, except } => {
            outside(&cluster.objects.group_prefixes(groups), except, cluster)
        }
        Peer::Entity(entity) => match entity {
            Entity::All => index.select(&Selector::default()),
            Entity::Cluster => index.carrying(roles(Entity::Cluster)) | cluster.pods,
            Entity::WorldIpv4 => outside(&[EVERY_IPV4], &[], cluster),
            Entity::WorldIpv6 => outside(&[EVERY_IPV6], &[], cluster),
            role => index.carrying(roles(*role)),
        },
        Peer::Name(pattern) => {
            cluster.names.get(pattern).map(|identity| identity.number()).into_iter().collect()
        }
        Peer::Service(service) => {
            let mut set = outside(&cluster.objects.service_prefixes(service), &[], cluster);
            for service in cluster.objects.chosen_services(service) {
                if !service.selector.is_empty() {
                    set |= index.select(&behind(service));
                }
            }
            set
        }
    }
}

const EVERY_IPV4: IpNet = IpNet::V4(ipnet::Ipv4Net::new_assert(std::net::Ipv4Addr::UNSPECIFIED, 0));
const EVERY_IPV6: IpNet = IpNet::V6(ipnet::Ipv6Net::new_assert(std::net::Ipv6Addr::UNSPECIFIED, 0));

/// The reserved labels that make an entity.
fn roles(entity: Entity) -> &'static [&'static str] {
    match entity {
        Entity::All | Entity::None | Entity::WorldIpv4 | Entity::WorldIpv6 => &[],
        Entity::World => &["world", "world-ipv4", "world-ipv6"],
        Entity::Host => &["host"],
        Entity::RemoteNode => &["remote-node"],
        Entity::KubeApiserver => &["kube-apiserver"],
        Entity::Ingress => &["ingress"],
        Entity::Init => &["init"],
        Entity::Health => &["health"],
        Entity::Unmanaged => &["unmanaged"],
        Entity::Cluster => {
            &["host", "remote-node", "init", "ingress", "health", "unmanaged", "kube-apiserver"]
        }
    }
}

/// The identities of addresses outside the cluster that lie in `prefixes` and not in `except`.
fn outside(prefixes: &[IpNet], except: &[IpNet], cluster: Cluster<'_>) -> RoaringBitmap {
    let named = cluster.prefixes.iter().map(|(prefix, identity)| (*identity, Some(*prefix)));
    let worlds = [(cluster.world_v4, None), (cluster.world_v6, None)];
    named
        .chain(worlds)
        .filter(|(identity, prefix)| {
            is_outside(*identity, *prefix, prefixes, cluster)
                && !is_outside(*identity, *prefix, except, cluster)
        })
        .map(|(identity, _)| identity.number())
        .collect()
}

/// Whether an identity stands for addresses in one of `prefixes`.
///
/// The world without a prefix is what no named prefix covers: only a prefix of length zero reaches it.
fn is_outside(
    identity: Identity,
    own: Option<IpNet>,
    prefixes: &[IpNet],
    cluster: Cluster<'_>,
) -> bool {
    prefixes.iter().any(|net| match own {
        Some(own) => net.contains(&own),
        None => {
            let world = if net.addr().is_ipv4() { cluster.world_v4 } else { cluster.world_v6 };
            net.prefix_len() == 0 && world == identity
        }
    })
}

/// Whether a peer means this identity; the same answer as [`select`] gives for all.
fn is_meant(peer: &Peer, record: &IdentityRecord, cluster: Cluster<'_>) -> bool {
    let lies_in =
        |prefixes: &[IpNet]| is_outside(record.identity, record.prefix, prefixes, cluster);
    match peer {
        Peer::Endpoints(selector) => selector.matches(&record.labels),
        Peer::Cidr { prefix, except } => lies_in(&[*prefix]) && !lies_in(except),
        Peer::CidrGroup { groups, except } => {
            lies_in(&cluster.objects.group_prefixes(groups)) && !lies_in(except)
        }
        Peer::Entity(Entity::All) => true,
        Peer::Entity(Entity::WorldIpv4) => lies_in(&[EVERY_IPV4]),
        Peer::Entity(Entity::WorldIpv6) => lies_in(&[EVERY_IPV6]),
        Peer::Entity(entity) => {
            roles(*entity).iter().any(|name| record.labels.has_reserved(name))
                || *entity == Entity::Cluster && cluster.pods.contains(record.identity.number())
        }
        Peer::Name(_) => false,
        Peer::Service(service) => {
            lies_in(&cluster.objects.service_prefixes(service))
                || cluster.objects.chosen_services(service).into_iter().any(|service| {
                    !service.selector.is_empty() && behind(service).matches(&record.labels)
                })
        }
    }
}

/// The selector of the pods behind a service.
fn behind(service: &Service) -> Selector {
    let own = Requirement::equals(SelectorKey::k8s(POD_NAMESPACE), &service.namespace);
    let labels = service
        .selector
        .iter()
        .map(|(key, value)| Requirement::equals(SelectorKey::k8s(key), value));
    Selector::new(labels.chain([own]).collect())
}
