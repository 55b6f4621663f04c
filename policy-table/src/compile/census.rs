//! Who there is: pods, nodes and the prefixes policies name, each with its identity.
//!
//! Arrives: a snapshot. Leaves: a [`Census`]: every identity with its labels, and every address with its identity.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};
use ipnet::IpNet;

use crate::identity::{Identities, Identity};
use crate::label::Labels;
use crate::rule::name::NamePattern;
use crate::rule::{CidrGroups, Peer, Peers, ServiceChoice, ServicePeer};
use crate::snapshot::{self, Snapshot};
use crate::table::{IdentityRecord, Prefixes, Settings};

/// Who there is.
pub(super) struct Census {
    pub(super) records: Vec<IdentityRecord>,
    pub(super) prefixes: Prefixes,
    /// Identity and labels of each pod of the snapshot that is an endpoint, by its place there.
    pub(super) pods: BTreeMap<usize, (Identity, Arc<Labels>)>,
    /// The identity of each pattern of `toFQDNs`. No selector finds them: they are names of addresses that have an identity.
    pub(super) names: BTreeMap<NamePattern, Identity>,
}

impl Census {
    pub(super) fn take(
        snapshot: &Snapshot,
        settings: &Settings,
        identities: &mut Identities,
    ) -> Self {
        let mut prefixes = Prefixes::default();
        let mut records = Vec::new();
        let api = api_servers(snapshot);
        let host_serves = settings.host_addresses.iter().any(|address| api.contains(address));
        let mut reserve = |identity: Identity, names: &[&str]| {
            records.push(IdentityRecord {
                identity,
                labels: Arc::new(Labels::reserved(names)),
                prefix: None,
            });
        };
        reserve(Identity::HOST, if host_serves { &["host", "kube-apiserver"] } else { &["host"] });
        reserve(Identity::WORLD, &["world"]);
        reserve(Identity::UNMANAGED, &["unmanaged"]);
        reserve(Identity::HEALTH, &["health"]);
        reserve(Identity::INIT, &["init"]);
        reserve(Identity::REMOTE_NODE, &["remote-node"]);
        reserve(Identity::KUBE_APISERVER, &["kube-apiserver", "remote-node"]);
        reserve(Identity::INGRESS, &["ingress"]);
        reserve(Identity::WORLD_IPV4, &["world-ipv4"]);
        reserve(Identity::WORLD_IPV6, &["world-ipv6"]);

        let mut pods = BTreeMap::new();
        let mut known = HashSet::new();
        for (place, pod) in snapshot.pods.iter().enumerate() {
            if pod.host_network || pod.addresses.is_empty() {
                continue;
            }
            let labels = Arc::new(snapshot.labels_of(pod));
            let identity = identities.of_labels(&labels);
            // Past the last number every label set is `UNKNOWN`: no rule may name it.
            if identity != Identity::UNKNOWN && known.insert(identity) {
                records.push(IdentityRecord {
                    identity,
                    labels: Arc::clone(&labels),
                    prefix: None,
                });
            }
            prefixes.exact.extend(pod.addresses.iter().map(|address| (*address, identity)));
            pods.insert(place, (identity, labels));
        }
        let shared_network =
            snapshot.pods.iter().filter(|pod| pod.host_network).flat_map(|pod| &pod.addresses);
        for address in snapshot.nodes.iter().flat_map(|node| &node.addresses).chain(shared_network)
        {
            let serves = api.contains(address);
            let identity = if serves { Identity::KUBE_APISERVER } else { Identity::REMOTE_NODE };
            prefixes.exact.entry(*address).or_insert(identity);
        }
        for address in &settings.host_addresses {
            prefixes.exact.insert(*address, Identity::HOST);
        }

        let families = |v4: bool| {
            snapshot
                .pods
                .iter()
                .filter(|pod| !pod.host_network)
                .flat_map(|pod| &pod.addresses)
                .any(|a| a.is_ipv4() == v4)
        };
        let (v4, v6) = (families(true), families(false));
        // One family: its world is `world`, as in a cluster that speaks only it.
        prefixes.world_v4 = Some(if v6 { Identity::WORLD_IPV4 } else { Identity::WORLD });
        prefixes.world_v6 = Some(if v6 && !v4 { Identity::WORLD } else { Identity::WORLD_IPV6 });

        let mut named = named_prefixes(snapshot);
        named.extend(
            api.iter()
                .filter(|address| !prefixes.exact.contains_key(*address))
                .map(|a| IpNet::from(*a)),
        );
        let mut levels_v4: BTreeMap<u8, HashMap<u32, Identity>> = BTreeMap::new();
        let mut levels_v6: BTreeMap<u8, HashMap<u128, Identity>> = BTreeMap::new();
        for prefix in named.into_iter().filter(|prefix| prefix.prefix_len() > 0) {
            let world = if prefix.addr().is_ipv4() { prefixes.world_v4 } else { prefixes.world_v6 };
            let mut names = vec![world.and_then(Identity::reserved_name).unwrap_or("world")];
            if prefix.prefix_len() == prefix.max_prefix_len() && api.contains(&prefix.addr()) {
                names.push("kube-apiserver");
            }
            let labels = Arc::new(Labels::reserved(&names));
            let identity = identities.of_prefix(prefix, &labels);
            records.push(IdentityRecord { identity, labels, prefix: Some(prefix) });
            match prefix {
                IpNet::V4(net) => {
                    levels_v4
                        .entry(net.prefix_len())
                        .or_default()
                        .insert(net.addr().to_bits(), identity);
                }
                IpNet::V6(net) => {
                    levels_v6
                        .entry(net.prefix_len())
                        .or_default()
                        .insert(net.addr().to_bits(), identity);
                }
            }
        }
        let mask_v4 = |length: u8| {
            u32::MAX.checked_shl(32_u32.saturating_sub(u32::from(length))).unwrap_or(0)
        };
        let mask_v6 = |length: u8| {
            u128::MAX.checked_shl(128_u32.saturating_sub(u32::from(length))).unwrap_or(0)
        };
        prefixes.v4 =
            levels_v4.into_iter().rev().map(|(length, level)| (mask_v4(length), level)).collect();
        prefixes.v6 =
            levels_v6.into_iter().rev().map(|(length, level)| (mask_v6(length), level)).collect();
        let names = name_patterns(snapshot)
            .into_iter()
            .map(|pattern| (pattern.clone(), identities.of_name(pattern)))
            .collect();
        Self { records, prefixes, pods, names }
    }
}

/// The addresses that serve the Kubernetes API: what stands behind `default/kubernetes`.
fn api_servers(snapshot: &Snapshot) -> BTreeSet<IpAddr> {
    let slices = snapshot
        .slices
        .iter()
        .filter(|slice| slice.namespace == "default" && slice.service == "kubernetes");
    slices
        .flat_map(|slice| &slice.endpoints)
        .flat_map(|endpoint| &endpoint.addresses)
        .copied()
        .collect()
}

/// Every prefix a policy names, the excepted ones included.
fn named_prefixes(snapshot: &Snapshot) -> BTreeSet<IpNet> {
    let mut named = BTreeSet::new();
    let rules = snapshot.policies.iter().flat_map(|policy| &policy.rules);
    let clauses = rules.flat_map(|rule| rule.ingress.clauses.iter().chain(&rule.egress.clauses));
    for clause in clauses {
        let Peers::AnyOf(peers) = &clause.peers else { continue };
        for peer in peers {
            match peer {
                Peer::Cidr { prefix, except } => {
                    named.insert(*prefix);
                    named.extend(except);
                }
                Peer::CidrGroup { groups, except } => {
                    named.extend(group_prefixes(snapshot, groups));
                    named.extend(except);
                }
                Peer::Service(service) => named.extend(service_prefixes(snapshot, service)),
                Peer::Endpoints(_) | Peer::Entity(_) | Peer::Name(_) => {}
            }
        }
    }
    named
}

/// Every pattern of `toFQDNs`.
fn name_patterns(snapshot: &Snapshot) -> BTreeSet<&NamePattern> {
    let rules = snapshot.policies.iter().flat_map(|policy| &policy.rules);
    let peers =
        rules.flat_map(|rule| &rule.egress.clauses).filter_map(|clause| match &clause.peers {
            Peers::AnyOf(peers) => Some(peers),
            Peers::Anyone | Peers::Nobody => None,
        });
    peers
        .flatten()
        .filter_map(|peer| if let Peer::Name(pattern) = peer { Some(pattern) } else { None })
        .collect()
}

fn as_labels(pairs: &[(String, String)]) -> Labels {
    pairs.iter().map(|(key, value)| crate::label::Label::new("k8s", key, value)).collect()
}

pub(super) fn group_prefixes(snapshot: &Snapshot, groups: &CidrGroups) -> Vec<IpNet> {
    let chosen = snapshot.cidr_groups.iter().filter(|group| match groups {
        CidrGroups::Named(name) => group.name == *name,
        CidrGroups::Selected(selector) => selector.matches(&as_labels(&group.labels)),
    });
    chosen.flat_map(|group| &group.prefixes).copied().collect()
}

pub(super) fn chosen_services<'s>(
    snapshot: &'s Snapshot,
    peer: &ServicePeer,
) -> Vec<&'s snapshot::Service> {
    let chosen = |service: &&snapshot::Service| {
        peer.namespace.as_ref().is_none_or(|namespace| service.namespace == *namespace)
            && match &peer.which {
                ServiceChoice::Named(name) => service.name == *name,
                ServiceChoice::Selected(selector) => selector.matches(&as_labels(&service.labels)),
            }
    };
    snapshot.services.iter().filter(chosen).collect()
}

/// The addresses behind services that choose nobody by labels, as prefixes.
pub(super) fn service_prefixes(snapshot: &Snapshot, peer: &ServicePeer) -> Vec<IpNet> {
    let mut prefixes = Vec::new();
    for service in
        chosen_services(snapshot, peer).into_iter().filter(|service| service.selector.is_empty())
    {
        let own = |slice: &&snapshot::EndpointSlice| {
            slice.namespace == service.namespace && slice.service == service.name
        };
        let endpoints = snapshot.slices.iter().filter(own).flat_map(|slice| &slice.endpoints);
        prefixes.extend(
            endpoints.flat_map(|endpoint| &endpoint.addresses).map(|address| IpNet::from(*address)),
        );
    }
    prefixes
}
