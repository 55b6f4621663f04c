//! Selectors and other peers become sets of identities.
//!
//! Arrives: the identities of a census. Leaves: sets. Each distinct peer is resolved once; a selector costs its
//! requirements, not the number of identities.

use std::net::IpAddr;
use std::sync::Arc;

use hashbrown::HashMap;
use ipnet::IpNet;
use roaring::RoaringBitmap;

use super::Compiler;
use super::census::{chosen_services, group_prefixes, service_prefixes};
use super::sweep::set_of;
use crate::rule::{Entity, Peer};
use crate::selector::{Requirement, Selector, SelectorKey, Test};
use crate::snapshot;
use crate::table::{IdentityRecord, IdentitySet};

/// Labels to identities, so that a selector costs its requirements and not the number of identities.
pub(crate) struct LabelIndex {
    everyone: RoaringBitmap,
    keys: HashMap<(Option<String>, String), RoaringBitmap>,
    values: HashMap<(Option<String>, String, String), RoaringBitmap>,
}

impl LabelIndex {
    pub(crate) fn new(records: &[IdentityRecord]) -> Self {
        let mut index =
            Self { everyone: RoaringBitmap::new(), keys: HashMap::new(), values: HashMap::new() };
        for record in records {
            let number = record.identity.number();
            index.everyone.insert(number);
            for label in record.labels.iter() {
                // Only the first label of a key counts where the source is not asked for.
                let first = record.labels.find(None, &label.key) == Some(label);
                for source in [Some(label.source.clone()), None] {
                    if source.is_some() || first {
                        index
                            .keys
                            .entry((source.clone(), label.key.clone()))
                            .or_default()
                            .insert(number);
                        index
                            .values
                            .entry((source, label.key.clone(), label.value.clone()))
                            .or_default()
                            .insert(number);
                    }
                }
            }
        }
        index
    }

    pub(crate) fn select(&self, selector: &Selector) -> RoaringBitmap {
        let mut found: Option<RoaringBitmap> = None;
        for requirement in selector.requirements() {
            let set = self.meet(requirement);
            found = Some(match found {
                None => set,
                Some(found) => found & set,
            });
        }
        found.unwrap_or_else(|| self.everyone.clone())
    }

    fn meet(&self, requirement: &Requirement) -> RoaringBitmap {
        let key = (requirement.key.source.clone(), requirement.key.name.clone());
        let any_of = |values: &[String]| {
            let mut set = RoaringBitmap::new();
            for value in values {
                if let Some(more) = self.values.get(&(key.0.clone(), key.1.clone(), value.clone()))
                {
                    set |= more;
                }
            }
            set
        };
        match &requirement.test {
            Test::In(values) => any_of(values),
            Test::NotIn(values) => &self.everyone - any_of(values),
            Test::Exists => self.keys.get(&key).cloned().unwrap_or_default(),
            Test::DoesNotExist => match self.keys.get(&key) {
                Some(set) => &self.everyone - set,
                None => self.everyone.clone(),
            },
        }
    }
}

impl Compiler<'_> {
    pub(super) fn union(&mut self, peers: &[Peer]) -> IdentitySet {
        let mut whole = RoaringBitmap::new();
        for peer in peers {
            if *peer == Peer::Entity(Entity::All) {
                return IdentitySet::All;
            }
            if !self.peers.contains_key(peer) {
                let set = self.select(peer);
                self.peers.insert(peer.clone(), set);
            }
            if let Some(set) = self.peers.get(peer) {
                whole |= set;
            }
        }
        set_of(Arc::new(whole))
    }

    fn select(&self, peer: &Peer) -> RoaringBitmap {
        match peer {
            Peer::Endpoints(selector) => self.index.select(selector),
            Peer::Cidr { prefix, except } => self.outside(&[*prefix], except),
            Peer::CidrGroup { groups, except } => {
                self.outside(&group_prefixes(self.snapshot, groups), except)
            }
            Peer::Entity(entity) => self.entity(*entity),
            Peer::Name(pattern) => {
                self.census.names.get(pattern).iter().map(|identity| identity.number()).collect()
            }
            Peer::Service(peer) => {
                let mut set = self.outside(&service_prefixes(self.snapshot, peer), &[]);
                for service in chosen_services(self.snapshot, peer) {
                    if !service.selector.is_empty() {
                        set |= self.index.select(&service_selector(service));
                    }
                }
                set
            }
        }
    }

    /// The identities of addresses outside the cluster that lie in `prefixes` and not in `except`.
    fn outside(&self, prefixes: &[IpNet], except: &[IpNet]) -> RoaringBitmap {
        let mut set = RoaringBitmap::new();
        for record in &self.census.records {
            // The world without a prefix is what no named prefix covers: only a prefix of length zero reaches it.
            let family = |v4: bool| {
                if v4 { self.census.prefixes.world_v4 } else { self.census.prefixes.world_v6 }
            };
            let inside = |net: &IpNet| match record.prefix {
                Some(own) => net.contains(&own),
                None => {
                    net.prefix_len() == 0 && family(net.addr().is_ipv4()) == Some(record.identity)
                }
            };
            if prefixes.iter().any(inside) && !except.iter().any(inside) {
                set.insert(record.identity.number());
            }
        }
        set
    }

    fn entity(&self, entity: Entity) -> RoaringBitmap {
        let carrying = |names: &[&str]| {
            let carriers = self
                .census
                .records
                .iter()
                .filter(|record| names.iter().any(|name| record.labels.has_reserved(name)));
            carriers.map(|record| record.identity.number()).collect::<RoaringBitmap>()
        };
        match entity {
            Entity::All => self.index.everyone.clone(),
            Entity::None => RoaringBitmap::new(),
            Entity::World => carrying(&["world", "world-ipv4", "world-ipv6"]),
            Entity::WorldIpv4 => self.family(true),
            Entity::WorldIpv6 => self.family(false),
            Entity::Host => carrying(&["host"]),
            Entity::RemoteNode => carrying(&["remote-node"]),
            Entity::KubeApiserver => carrying(&["kube-apiserver"]),
            Entity::Ingress => carrying(&["ingress"]),
            Entity::Init => carrying(&["init"]),
            Entity::Health => carrying(&["health"]),
            Entity::Unmanaged => carrying(&["unmanaged"]),
            Entity::Cluster => {
                let roles = carrying(&[
                    "host",
                    "remote-node",
                    "init",
                    "ingress",
                    "health",
                    "unmanaged",
                    "kube-apiserver",
                ]);
                let pods = self.census.pods.values().map(|(identity, _)| identity.number());
                roles | pods.collect::<RoaringBitmap>()
            }
        }
    }

    /// The world of one family: what a prefix of length zero holds.
    fn family(&self, v4: bool) -> RoaringBitmap {
        let zero: IpAddr = if v4 { [0, 0, 0, 0].into() } else { [0_u16; 8].into() };
        IpNet::new(zero, 0).map(|net| self.outside(&[net], &[])).unwrap_or_default()
    }
}

/// The selector of the pods behind a service.
fn service_selector(service: &snapshot::Service) -> Selector {
    let own =
        Requirement::equals(SelectorKey::k8s(crate::label::POD_NAMESPACE), &service.namespace);
    let labels = service
        .selector
        .iter()
        .map(|(key, value)| Requirement::equals(SelectorKey::k8s(key), value));
    Selector::new(labels.chain([own]).collect())
}
