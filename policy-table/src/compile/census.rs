//! Who there is: endpoints, the identities they and the named prefixes have, and whose each address is.
//!
//! Arrives: pods, nodes and prefixes that come or go. Leaves: the table's endpoints, identities and addresses, and which
//! identities were born and which died. Invariant: an identity is in the table exactly while a pod or a policy needs it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use hashbrown::HashMap;
use ipnet::IpNet;
use roaring::RoaringBitmap;

use crate::identity::{Identities, Identity};
use crate::label::Labels;
use crate::names::NameIndex;
use crate::rule::name::NamePattern;
use crate::snapshot::{Node, Pod};
use crate::table::{Endpoint, IdentityRecord, Settings, Sides, Table};
use crate::verdict::EndpointIndex;

/// What everything depends on: a change of it is compiled from scratch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Surroundings {
    pub(super) settings: Settings,
    /// Whether pods have IPv4 addresses, and IPv6 ones.
    pub(super) families: (bool, bool),
    /// The addresses that serve the Kubernetes API.
    pub(super) api: BTreeSet<IpAddr>,
}

impl Surroundings {
    // One family: its world is `world`, as in a cluster that speaks only it.
    pub(super) fn world_v4(&self) -> Identity {
        if self.families.1 { Identity::WORLD_IPV4 } else { Identity::WORLD }
    }

    pub(super) fn world_v6(&self) -> Identity {
        let (v4, v6) = self.families;
        if v6 && !v4 { Identity::WORLD } else { Identity::WORLD_IPV6 }
    }
}

/// Who there is.
#[derive(Debug, Default)]
pub(super) struct Census {
    /// The place of each identity in the table.
    places: HashMap<u32, usize>,
    /// The endpoints of each pod identity.
    endpoints: HashMap<u32, Vec<EndpointIndex>>,
    /// The identities of pods.
    pub(super) pods: RoaringBitmap,
    /// Addresses of nodes and of pods in their network, and how often each is named.
    nodes: HashMap<IpAddr, usize>,
    /// How often each prefix is named.
    named: BTreeMap<IpNet, usize>,
    /// The prefixes that have an identity.
    pub(super) prefixes: BTreeMap<IpNet, Identity>,
    /// The identity of each pattern of `toFQDNs`.
    pub(super) names: BTreeMap<NamePattern, Identity>,
    names_changed: bool,
    /// Addresses whose owner may be another now.
    restless: BTreeSet<IpAddr>,
    /// Prefixes that may need an identity now, or need none any more.
    restless_prefixes: BTreeSet<IpNet>,
    /// Pod identities whose endpoints came or went, and whether they were there before.
    before: BTreeMap<u32, (bool, IdentityRecord)>,
}

/// Identities that came to be and that ceased to be.
#[derive(Debug, Default)]
pub(super) struct Births {
    pub(super) born: Vec<IdentityRecord>,
    pub(super) died: Vec<IdentityRecord>,
}

impl Census {
    /// The identities with a fixed meaning, which are always there.
    pub(super) fn reserved(&mut self, around: &Surroundings, table: &mut Table) -> Births {
        let mut births = Births::default();
        let host_serves =
            around.settings.host_addresses.iter().any(|address| around.api.contains(address));
        let host: &[&str] = if host_serves { &["host", "kube-apiserver"] } else { &["host"] };
        let reserved: [(Identity, &[&str]); 10] = [
            (Identity::HOST, host),
            (Identity::WORLD, &["world"]),
            (Identity::UNMANAGED, &["unmanaged"]),
            (Identity::HEALTH, &["health"]),
            (Identity::INIT, &["init"]),
            (Identity::REMOTE_NODE, &["remote-node"]),
            (Identity::KUBE_APISERVER, &["kube-apiserver", "remote-node"]),
            (Identity::INGRESS, &["ingress"]),
            (Identity::WORLD_IPV4, &["world-ipv4"]),
            (Identity::WORLD_IPV6, &["world-ipv6"]),
        ];
        for (identity, names) in reserved {
            let labels = Arc::new(Labels::reserved(names));
            self.enter(IdentityRecord { identity, labels, prefix: None }, table, &mut births);
        }
        table.prefixes.world_v4 = Some(around.world_v4());
        table.prefixes.world_v6 = Some(around.world_v6());
        self.restless.extend(&around.settings.host_addresses);
        self.restless_prefixes.extend(around.api.iter().map(|address| IpNet::from(*address)));
        births
    }

    fn enter(&mut self, record: IdentityRecord, table: &mut Table, births: &mut Births) {
        births.born.push(record.clone());
        self.places.insert(record.identity.number(), table.identities.push(record));
    }

    fn leave(&mut self, record: IdentityRecord, table: &mut Table, births: &mut Births) {
        let Some(place) = self.places.remove(&record.identity.number()) else { return };
        table.identities.swap_remove(place);
        if let Some(moved) = table.identities.get(place) {
            self.places.insert(moved.identity.number(), place);
        }
        births.died.push(record);
    }

    /// A pod with an address of its own: its endpoint and its identity.
    pub(super) fn add_pod(
        &mut self,
        pod: &Pod,
        labels: Labels,
        identities: &mut Identities,
        table: &mut Table,
    ) -> (EndpointIndex, Identity) {
        let identity = identities.of_labels(&labels);
        let known = self.places.get(&identity.number());
        let record = known.and_then(|place| table.identities.get(*place));
        let labels = record.map_or_else(|| Arc::new(labels), |record| Arc::clone(&record.labels));
        let endpoint = Endpoint {
            namespace: pod.namespace.clone(),
            name: pod.name.clone(),
            addresses: pod.addresses.clone(),
            identity,
            labels,
            ingress_enforced: false,
            egress_enforced: false,
            node: pod.node.clone(),
            ports: pod.ports.clone(),
            audited: pod.audited,
        };
        self.note(&endpoint);
        let index = table.add_endpoint(endpoint);
        self.endpoints.entry(identity.number()).or_default().push(index);
        self.restless.extend(&pod.addresses);
        (index, identity)
    }

    /// A pod is gone; its endpoint and the sides it had.
    pub(super) fn remove_pod(
        &mut self,
        pod: &Pod,
        table: &mut Table,
    ) -> Option<(Arc<Endpoint>, Sides)> {
        let index = table.endpoint_named(&pod.namespace, &pod.name)?;
        let (endpoint, sides) = table.remove_endpoint(index)?;
        self.note(&endpoint);
        if let Some(own) = self.endpoints.get_mut(&endpoint.identity.number()) {
            own.retain(|known| *known != index);
            if own.is_empty() {
                self.endpoints.remove(&endpoint.identity.number());
            }
        }
        // The last endpoint has taken its place.
        if let Some(moved) = table.endpoint(index) {
            let last = EndpointIndex::of(table.endpoints.len());
            let own = self.endpoints.get_mut(&moved.identity.number());
            for known in own.into_iter().flatten().filter(|known| **known == last) {
                *known = index;
            }
        }
        self.restless.extend(&endpoint.addresses);
        Some((endpoint, sides))
    }

    /// Remembers how an identity was before endpoints came or went.
    fn note(&mut self, endpoint: &Endpoint) {
        let number = endpoint.identity.number();
        let there = self.endpoints.contains_key(&number);
        self.before.entry(number).or_insert_with(|| {
            let labels = Arc::clone(&endpoint.labels);
            (there, IdentityRecord { identity: endpoint.identity, labels, prefix: None })
        });
    }

    /// The endpoints of an identity.
    pub(super) fn endpoints_of(&self, identity: u32) -> &[EndpointIndex] {
        self.endpoints.get(&identity).map(Vec::as_slice).unwrap_or_default()
    }

    /// Addresses of a node, or of a pod in its network, come or go.
    pub(super) fn shared_addresses(&mut self, addresses: &[IpAddr], come: bool) {
        for address in addresses {
            let named = self.nodes.entry(*address).or_default();
            *named = if come { named.saturating_add(1) } else { named.saturating_sub(1) };
            if *named == 0 {
                self.nodes.remove(address);
            }
            self.restless.insert(*address);
        }
    }

    pub(super) fn node(&mut self, node: &Node, come: bool) {
        self.shared_addresses(&node.addresses, come);
    }

    /// Prefixes are named by one peer more, or one less.
    pub(super) fn name_prefixes(&mut self, prefixes: &[IpNet], come: bool) {
        for prefix in prefixes {
            let named = self.named.entry(*prefix).or_default();
            *named = if come { named.saturating_add(1) } else { named.saturating_sub(1) };
            if *named == 0 {
                self.named.remove(prefix);
            }
            self.restless_prefixes.insert(*prefix);
        }
    }

    /// A pattern of `toFQDNs` is named, or is no more.
    pub(super) fn name_pattern(
        &mut self,
        pattern: &NamePattern,
        come: bool,
        identities: &mut Identities,
    ) {
        self.names_changed = true;
        if come {
            self.names.insert(pattern.clone(), identities.of_name(pattern));
        } else {
            self.names.remove(pattern);
        }
    }

    /// Brings addresses and identities up to date with pods, nodes and prefixes.
    pub(super) fn settle(
        &mut self,
        around: &Surroundings,
        identities: &mut Identities,
        table: &mut Table,
    ) -> Births {
        let mut births = Births::default();
        for (number, (was_there, record)) in std::mem::take(&mut self.before) {
            // Past the last number every label set is `UNKNOWN`: no rule may name it.
            let is_there =
                self.endpoints.contains_key(&number) && record.identity != Identity::UNKNOWN;
            match (was_there, is_there) {
                (false, true) => {
                    self.pods.insert(number);
                    self.enter(record, table, &mut births);
                }
                (true, false) => {
                    self.pods.remove(number);
                    self.leave(record, table, &mut births);
                }
                _ => {}
            }
        }
        if std::mem::take(&mut self.names_changed) {
            table.names = Arc::new(NameIndex::new(self.names.keys().cloned().collect()));
            table.name_identities = self.names.values().copied().collect();
        }
        for address in std::mem::take(&mut self.restless) {
            let owner = self.owner(address, around, table);
            table.prefixes.exact.set(address, owner);
            if around.api.contains(&address) {
                self.restless_prefixes.insert(IpNet::from(address));
            }
        }
        for prefix in std::mem::take(&mut self.restless_prefixes) {
            self.settle_prefix(prefix, around, identities, table, &mut births);
        }
        births
    }

    fn owner(&self, address: IpAddr, around: &Surroundings, table: &Table) -> Option<Identity> {
        if around.settings.host_addresses.contains(&address) {
            return Some(Identity::HOST);
        }
        if let Some(index) = table.endpoint_of(address) {
            return table.endpoint(index).map(|endpoint| endpoint.identity);
        }
        let serves = around.api.contains(&address);
        let node = if serves { Identity::KUBE_APISERVER } else { Identity::REMOTE_NODE };
        self.nodes.contains_key(&address).then_some(node)
    }

    fn settle_prefix(
        &mut self,
        prefix: IpNet,
        around: &Surroundings,
        identities: &mut Identities,
        table: &mut Table,
        births: &mut Births,
    ) {
        let whole = prefix.prefix_len() == prefix.max_prefix_len();
        let serves = whole && around.api.contains(&prefix.addr());
        let needed = self.named.contains_key(&prefix)
            || serves && table.prefixes.exact.of(prefix.addr()).is_none();
        let needed = needed && prefix.prefix_len() > 0;
        let known = self.prefixes.get(&prefix).copied();
        if needed == known.is_some() {
            return;
        }
        let world = if prefix.addr().is_ipv4() { around.world_v4() } else { around.world_v6() };
        let mut names = vec![world.reserved_name().unwrap_or("world")];
        if serves {
            names.push("kube-apiserver");
        }
        let labels = Arc::new(Labels::reserved(&names));
        let identity = identities.of_prefix(prefix, &labels);
        let record = IdentityRecord { identity, labels, prefix: Some(prefix) };
        let levels = Arc::make_mut(&mut table.prefixes.levels);
        levels.set(prefix, needed.then_some(identity));
        if needed {
            self.prefixes.insert(prefix, identity);
            self.enter(record, table, births);
        } else {
            self.prefixes.remove(&prefix);
            self.leave(record, table, births);
        }
    }
}
