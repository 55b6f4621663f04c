//! A snapshot becomes a table.
//!
//! ```text
//! 1 census   who there is: pods, nodes, prefixes of policies ─ identities, addresses
//! 2 select   each distinct selector once, through an index of labels ─ sets of identities
//! 3 gather   the rules that select each endpoint; endpoints under the same rules share one Side
//! 4 sweep    per protocol, over the borders of port ranges ─ slots, shared where the same clauses hold
//! ```
//! Arrives: a [`Snapshot`]. Leaves: a [`Table`] that answers as `oracle.rs` does, which the property tests compare.
//! Invariant: an identity nobody could name is in no set but `All`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};
use ipnet::IpNet;
use roaring::RoaringBitmap;

use crate::http::HttpRules;
use crate::identity::{Identities, Identity};
use crate::label::Labels;
use crate::rule::{
    CidrGroups, Clause, Direction, Effect, Entity, HttpRule, Peer, Peers, PortSpec, Ports, Rule,
    RuleOrigin, ServiceChoice, ServicePeer,
};
use crate::selector::{Requirement, Selector, SelectorKey, Test};
use crate::snapshot::{self, Snapshot, TargetPort};
use crate::table::{
    CLASSES, Endpoint, Enforcement, HttpGroup, IdentityRecord, IdentitySet, PortHttp, PortMap,
    Prefixes, Service, ServicePort, Settings, Side, Slot, SlotClause, Table,
};
use crate::verdict::{CauseKind, EndpointIndex, MatchType, RuleId};

impl Table {
    /// Compiles a snapshot. `identities` must live as long as the daemon, so that numbers stay.
    pub fn compile(
        snapshot: &Snapshot,
        settings: &Settings,
        identities: &mut Identities,
        epoch: u64,
    ) -> Self {
        let census = Census::take(snapshot, settings, identities);
        let mut compiler = Compiler {
            snapshot,
            settings,
            census: &census,
            index: LabelIndex::new(&census.records),
            peers: HashMap::new(),
            rules: Vec::new(),
            sides: Vec::new(),
            shared: HashMap::new(),
            automata: HashMap::new(),
        };
        let endpoints = compiler.endpoints();
        let Compiler { rules, sides, .. } = compiler;
        let mut by_address = HashMap::new();
        let mut by_name = HashMap::new();
        for (endpoint, index) in endpoints.iter().zip((0_u32..).map(EndpointIndex)) {
            by_address.extend(endpoint.addresses.iter().map(|address| (*address, index)));
            by_name.insert((endpoint.namespace.clone(), endpoint.name.clone()), index);
        }
        let services = snapshot.services.iter().map(|service| resolve(snapshot, service)).collect();
        let Census { records, prefixes, .. } = census;
        Self {
            epoch,
            endpoints,
            by_address,
            by_name,
            prefixes,
            identities: records,
            services,
            sides,
            rules,
        }
    }
}

/// Who there is.
struct Census {
    records: Vec<IdentityRecord>,
    prefixes: Prefixes,
    /// Identity and labels of each pod of the snapshot that is an endpoint, by its place there.
    pods: BTreeMap<usize, (Identity, Arc<Labels>)>,
}

impl Census {
    fn take(snapshot: &Snapshot, settings: &Settings, identities: &mut Identities) -> Self {
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
            if known.insert(identity) {
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
        Self { records, prefixes, pods }
    }
}

/// The addresses that serve the Kubernetes API: what stands behind `default/kubernetes`.
pub(crate) fn api_servers(snapshot: &Snapshot) -> BTreeSet<IpAddr> {
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
                Peer::Endpoints(_) | Peer::Entity(_) => {}
            }
        }
    }
    named
}

fn as_labels(pairs: &[(String, String)]) -> Labels {
    pairs.iter().map(|(key, value)| crate::label::Label::new("k8s", key, value)).collect()
}

fn group_prefixes(snapshot: &Snapshot, groups: &CidrGroups) -> Vec<IpNet> {
    let chosen = snapshot.cidr_groups.iter().filter(|group| match groups {
        CidrGroups::Named(name) => group.name == *name,
        CidrGroups::Selected(selector) => selector.matches(&as_labels(&group.labels)),
    });
    chosen.flat_map(|group| &group.prefixes).copied().collect()
}

fn chosen_services<'s>(snapshot: &'s Snapshot, peer: &ServicePeer) -> Vec<&'s snapshot::Service> {
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
fn service_prefixes(snapshot: &Snapshot, peer: &ServicePeer) -> Vec<IpNet> {
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

/// Labels to identities, so that a selector costs its requirements and not the number of identities.
struct LabelIndex {
    everyone: RoaringBitmap,
    keys: HashMap<(Option<String>, String), RoaringBitmap>,
    values: HashMap<(Option<String>, String, String), RoaringBitmap>,
}

impl LabelIndex {
    fn new(records: &[IdentityRecord]) -> Self {
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

    fn select(&self, selector: &Selector) -> RoaringBitmap {
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

/// Everything that holds for a side, in the order it was written.
#[derive(Clone, Debug)]
struct Entry {
    peers: IdentitySet,
    kind: CauseKind,
    rule: Option<RuleId>,
    http: Option<Arc<Vec<HttpRule>>>,
    /// The rules only watch (`enableDefaultDeny: false`): every request passes.
    watches: bool,
    /// Which protocols of [`CLASSES`], and which ports of them; `None`: everything.
    ports: Option<([bool; 6], u16, u16)>,
    matched: MatchType,
}

/// What makes two endpoints' sides the same.
type SideKey = (Direction, Vec<u32>, Vec<snapshot::ContainerPort>);

struct Compiler<'s> {
    snapshot: &'s Snapshot,
    settings: &'s Settings,
    census: &'s Census,
    index: LabelIndex,
    peers: HashMap<Peer, RoaringBitmap>,
    rules: Vec<RuleOrigin>,
    sides: Vec<Side>,
    shared: HashMap<SideKey, u32>,
    automata: HashMap<Vec<HttpRule>, Arc<HttpRules>>,
}

/// A rule with the numbers of its clauses: ingress first, then egress.
struct Numbered<'s> {
    rule: &'s Rule,
    first_ingress: u32,
    first_egress: u32,
}

impl Compiler<'_> {
    fn endpoints(&mut self) -> Vec<Endpoint> {
        let snapshot = self.snapshot;
        let mut numbered = Vec::new();
        for policy in &snapshot.policies {
            for rule in &policy.rules {
                let next = |rules: &Vec<RuleOrigin>| u32::try_from(rules.len()).unwrap_or(u32::MAX);
                let first_ingress = next(&self.rules);
                self.rules
                    .extend(rule.ingress.clauses.iter().map(|clause| policy.origin_of(clause)));
                let first_egress = next(&self.rules);
                self.rules
                    .extend(rule.egress.clauses.iter().map(|clause| policy.origin_of(clause)));
                numbered.push(Numbered { rule, first_ingress, first_egress });
            }
        }
        // Which rules select which identity.
        let mut selected: HashMap<u32, Vec<u32>> = HashMap::new();
        let mut subjects: HashMap<&Selector, RoaringBitmap> = HashMap::new();
        for (entry, place) in numbered.iter().zip(0_u32..) {
            let subject = &entry.rule.subject;
            for identity in
                subjects.entry(subject).or_insert_with(|| self.index.select(subject)).iter()
            {
                selected.entry(identity).or_default().push(place);
            }
        }
        let mut endpoints = Vec::new();
        for (place, (identity, labels)) in &self.census.pods {
            let Some(pod) = snapshot.pods.get(*place) else { continue };
            let rules = selected.get(&identity.number()).map(Vec::as_slice).unwrap_or_default();
            let [ingress, egress] = [Direction::Ingress, Direction::Egress]
                .map(|direction| self.side(direction, rules, &numbered, &pod.ports));
            let enforced = |side: u32| {
                usize::try_from(side)
                    .ok()
                    .and_then(|side| self.sides.get(side))
                    .is_none_or(|side| side.enforced)
            };
            endpoints.push(Endpoint {
                namespace: pod.namespace.clone(),
                name: pod.name.clone(),
                addresses: pod.addresses.clone(),
                identity: *identity,
                labels: Arc::clone(labels),
                ingress_enforced: enforced(ingress),
                egress_enforced: enforced(egress),
                node: pod.node.clone(),
                ports: pod.ports.clone(),
                ingress,
                egress,
            });
        }
        endpoints
    }

    /// The side of an endpoint under these rules, made once for all that share it.
    fn side(
        &mut self,
        direction: Direction,
        rules: &[u32],
        numbered: &[Numbered<'_>],
        ports: &[snapshot::ContainerPort],
    ) -> u32 {
        let speaks = |place: &u32| {
            let entry = usize::try_from(*place).ok().and_then(|place| numbered.get(place));
            entry.is_some_and(|entry| !entry.rule.section(direction).clauses.is_empty())
        };
        let rules: Vec<u32> = rules.iter().copied().filter(speaks).collect();
        let of_rules: Vec<&Numbered<'_>> =
            rules.iter().filter_map(|place| numbered.get(usize::try_from(*place).ok()?)).collect();
        // Names of ports count for ingress only where a rule uses one.
        let names = direction == Direction::Ingress
            && of_rules.iter().any(|entry| uses_names(entry.rule, direction));
        let mut own: Vec<snapshot::ContainerPort> = if names {
            ports.iter().filter(|port| port.name.is_some()).cloned().collect()
        } else {
            Vec::new()
        };
        own.sort();
        let key = (direction, rules, own);
        if let Some(side) = self.shared.get(&key) {
            return *side;
        }
        let side = self.build(direction, &of_rules, &key.2);
        let number = u32::try_from(self.sides.len()).unwrap_or(u32::MAX);
        self.sides.push(side);
        self.shared.insert(key, number);
        number
    }

    fn build(
        &mut self,
        direction: Direction,
        rules: &[&Numbered<'_>],
        ports: &[snapshot::ContainerPort],
    ) -> Side {
        let default_deny = rules.iter().any(|entry| entry.rule.section(direction).default_deny);
        let (enforced, default_allow) = match self.settings.enforcement {
            Enforcement::Never => (false, false),
            Enforcement::Always => (true, false),
            Enforcement::Default => (!rules.is_empty(), !default_deny),
        };
        if !enforced {
            let maps = std::array::from_fn(|_| PortMap::Uniform(0));
            return Side { enforced, maps, slots: Vec::new() };
        }
        let mut entries = Vec::new();
        for entry in rules {
            let section = entry.rule.section(direction);
            let first = match direction {
                Direction::Ingress => entry.first_ingress,
                Direction::Egress => entry.first_egress,
            };
            for (clause, number) in section.clauses.iter().zip(first..) {
                self.entries(
                    direction,
                    clause,
                    RuleId(number),
                    !section.default_deny,
                    ports,
                    &mut entries,
                );
            }
        }
        let implied = |peers, matched| Entry {
            peers,
            kind: CauseKind::Allowed,
            rule: None,
            http: None,
            watches: false,
            ports: None,
            matched,
        };
        if direction == Direction::Ingress {
            entries.push(implied(these([Identity::HOST]), MatchType::L3Only));
        }
        if default_allow {
            entries.push(implied(IdentitySet::All, MatchType::All));
        }
        self.sweep(entries)
    }

    /// What a clause says, port by port.
    fn entries(
        &mut self,
        direction: Direction,
        clause: &Clause,
        rule: RuleId,
        watches: bool,
        subject_ports: &[snapshot::ContainerPort],
        into: &mut Vec<Entry>,
    ) {
        let peers = match &clause.peers {
            Peers::Nobody => return,
            Peers::Anyone => IdentitySet::All,
            Peers::AnyOf(peers) => self.union(peers),
        };
        let anyone = matches!(peers, IdentitySet::All);
        let plain = match clause.effect {
            Effect::Allow => CauseKind::Allowed,
            Effect::Deny => CauseKind::Denied,
        };
        let matched = |port: bool, every: bool| match (anyone, port, every) {
            (true, false, _) => MatchType::All,
            (false, false, _) => MatchType::L3Only,
            (true, true, true) => MatchType::ProtoOnly,
            (false, true, true) => MatchType::L3Proto,
            (true, true, false) => MatchType::L4Only,
            (false, true, false) => MatchType::L3L4,
        };
        let rules = match &clause.ports {
            Ports::Nothing => return,
            Ports::All => {
                let (kind, matched) = (plain, matched(false, false));
                into.push(Entry {
                    peers,
                    kind,
                    rule: Some(rule),
                    http: None,
                    watches: false,
                    ports: None,
                    matched,
                });
                return;
            }
            Ports::AnyOf(rules) => rules,
        };
        for port in rules {
            let covered = |own: crate::rule::PortProtocol| {
                CLASSES.map(|class| class.is_some_and(|protocol| own.covers(protocol)))
            };
            let kind = if port.http.is_some() { CauseKind::Inspected } else { plain };
            let mut push =
                |peers: IdentitySet, classes: [bool; 6], first: u16, last: u16, every: bool| {
                    into.push(Entry {
                        peers,
                        kind,
                        rule: Some(rule),
                        http: port.http.clone(),
                        watches,
                        ports: Some((classes, first, last)),
                        matched: matched(true, every),
                    });
                };
            match &port.port {
                PortSpec::Every => push(peers.clone(), covered(port.protocol), 0, u16::MAX, true),
                PortSpec::Range(first, last) => {
                    push(peers.clone(), covered(port.protocol), *first, *last, false)
                }
                PortSpec::Named(name) => {
                    let resolved = match direction {
                        Direction::Ingress => own_ports(name, subject_ports)
                            .map(|port| (port.protocol, port.port, peers.clone()))
                            .collect(),
                        Direction::Egress => self.peer_ports(name, &peers),
                    };
                    for (protocol, number, peers) in resolved {
                        if port.protocol.covers(protocol) {
                            let classes = CLASSES.map(|class| class == Some(protocol));
                            push(peers, classes, number, number, false);
                        }
                    }
                }
            }
        }
    }

    /// The ports of this name among the pods that `peers` holds, each with those who have it.
    fn peer_ports(
        &self,
        name: &str,
        peers: &IdentitySet,
    ) -> Vec<(crate::rule::Protocol, u16, IdentitySet)> {
        let mut found: BTreeMap<(crate::rule::Protocol, u16), RoaringBitmap> = BTreeMap::new();
        for (place, (identity, _)) in &self.census.pods {
            let Some(pod) = self.snapshot.pods.get(*place).filter(|_| peers.contains(*identity))
            else {
                continue;
            };
            for port in own_ports(name, &pod.ports) {
                found.entry((port.protocol, port.port)).or_default().insert(identity.number());
            }
        }
        found
            .into_iter()
            .map(|((protocol, port), set)| (protocol, port, IdentitySet::These(Arc::new(set))))
            .collect()
    }

    fn union(&mut self, peers: &[Peer]) -> IdentitySet {
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
        IdentitySet::These(Arc::new(whole))
    }

    fn select(&self, peer: &Peer) -> RoaringBitmap {
        match peer {
            Peer::Endpoints(selector) => self.index.select(selector),
            Peer::Cidr { prefix, except } => self.outside(&[*prefix], except),
            Peer::CidrGroup { groups, except } => {
                self.outside(&group_prefixes(self.snapshot, groups), except)
            }
            Peer::Entity(entity) => self.entity(*entity),
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

    /// Turns entries into slots: per protocol, over the borders of their ranges.
    fn sweep(&mut self, entries: Vec<Entry>) -> Side {
        let mut slots = Slots { entries: &entries, known: HashMap::new(), made: Vec::new() };
        let maps = std::array::from_fn(|class| {
            let mut opens: BTreeMap<u16, Vec<u32>> = BTreeMap::new();
            let mut closes: BTreeMap<u16, Vec<u32>> = BTreeMap::new();
            let mut active: BTreeSet<u32> = BTreeSet::new();
            for (entry, number) in entries.iter().zip(0_u32..) {
                match &entry.ports {
                    None => {
                        active.insert(number);
                    }
                    Some((classes, first, last))
                        if classes.get(class).copied().unwrap_or(false) =>
                    {
                        opens.entry(*first).or_default().push(number);
                        if let Some(after) = last.checked_add(1) {
                            closes.entry(after).or_default().push(number);
                        }
                    }
                    Some(_) => {}
                }
            }
            let borders: BTreeSet<u16> = [0]
                .into_iter()
                .chain(opens.keys().copied())
                .chain(closes.keys().copied())
                .collect();
            let mut runs = Vec::new();
            for border in borders {
                for gone in closes.get(&border).into_iter().flatten() {
                    active.remove(gone);
                }
                active.extend(opens.get(&border).into_iter().flatten());
                runs.push((border, slots.of(&active, &mut self.automata)));
            }
            pages(&runs)
        });
        Side { enforced: true, maps, slots: slots.made }
    }
}

/// Slots being made, one for each distinct set of entries.
struct Slots<'e> {
    entries: &'e [Entry],
    known: HashMap<Vec<u32>, u32>,
    made: Vec<Slot>,
}

impl Slots<'_> {
    fn of(
        &mut self,
        active: &BTreeSet<u32>,
        automata: &mut HashMap<Vec<HttpRule>, Arc<HttpRules>>,
    ) -> u32 {
        let key: Vec<u32> = active.iter().copied().collect();
        if let Some(slot) = self.known.get(&key) {
            return *slot;
        }
        let entries: Vec<&Entry> = key
            .iter()
            .filter_map(|entry| self.entries.get(usize::try_from(*entry).ok()?))
            .collect();
        let set = |kind: CauseKind| {
            union(entries.iter().filter(|entry| entry.kind == kind).map(|entry| &entry.peers))
        };
        let mut clauses: Vec<(u32, SlotClause)> = entries
            .iter()
            .map(|entry| {
                let width = entry
                    .ports
                    .map_or(u32::MAX, |(_, first, last)| u32::from(last.saturating_sub(first)));
                let Entry { peers, kind, rule, matched, .. } = (*entry).clone();
                (width, SlotClause { peers, kind, matched, rule })
            })
            .collect();
        // The narrowest decides, then the one that names its peer: the order Cilium reports by.
        clauses.sort_by_key(|(width, clause)| (*width, matches!(clause.peers, IdentitySet::All)));
        let slot = Slot {
            denied: set(CauseKind::Denied),
            allowed: set(CauseKind::Allowed),
            inspected: set(CauseKind::Inspected),
            http: http(&entries, automata),
            clauses: clauses.into_iter().map(|(_, clause)| clause).collect(),
        };
        let number = u32::try_from(self.made.len()).unwrap_or(u32::MAX);
        self.made.push(slot);
        self.known.insert(key, number);
        number
    }
}

/// The HTTP rules of a slot: equal ones once, for the union of their peers.
fn http(
    entries: &[&Entry],
    automata: &mut HashMap<Vec<HttpRule>, Arc<HttpRules>>,
) -> Option<PortHttp> {
    let mut rules: Vec<HttpRule> = Vec::new();
    let mut places: HashMap<HttpRule, usize> = HashMap::new();
    let mut groups: Vec<HttpGroup> = Vec::new();
    for entry in entries {
        let Some(list) = &entry.http else { continue };
        let everything = HttpRule::default();
        for rule in list.iter().chain(entry.watches.then_some(&everything)) {
            let place = *places.entry(rule.clone()).or_insert_with(|| {
                rules.push(rule.clone());
                groups.push(HttpGroup {
                    peers: IdentitySet::These(Arc::default()),
                    sources: Vec::new(),
                });
                groups.len().saturating_sub(1)
            });
            if let (Some(group), Some(id)) = (groups.get_mut(place), entry.rule) {
                group.sources.push((entry.peers.clone(), id));
            }
        }
    }
    if rules.is_empty() {
        return None;
    }
    for group in &mut groups {
        group.peers = union(group.sources.iter().map(|(peers, _)| peers));
    }
    let index = automata.len();
    let rules = automata
        .entry(rules)
        .or_insert_with_key(|rules| Arc::new(HttpRules::new(index, rules.clone())));
    Some(PortHttp { rules: Arc::clone(rules), groups })
}

fn union<'a>(sets: impl Iterator<Item = &'a IdentitySet>) -> IdentitySet {
    let mut one: Option<Arc<RoaringBitmap>> = None;
    for set in sets {
        match (set, &mut one) {
            (IdentitySet::All, _) => return IdentitySet::All,
            (IdentitySet::These(set), None) => one = Some(Arc::clone(set)),
            (IdentitySet::These(set), Some(one)) => *Arc::make_mut(one) |= set.as_ref(),
        }
    }
    IdentitySet::These(one.unwrap_or_default())
}

fn these(identities: impl IntoIterator<Item = Identity>) -> IdentitySet {
    IdentitySet::These(Arc::new(identities.into_iter().map(Identity::number).collect()))
}

/// Runs of ports, each from its border to the next, as pages; equal pages are one.
fn pages(runs: &[(u16, u32)]) -> PortMap {
    if let [(_, only)] = runs {
        return PortMap::Uniform(*only);
    }
    let mut known: HashMap<[u32; 256], Arc<[u32; 256]>> = HashMap::new();
    let mut rest = runs.iter().peekable();
    let mut current = 0;
    let mut next = |port: u16| {
        while let Some((_, slot)) = rest.next_if(|(border, _)| *border <= port) {
            current = *slot;
        }
        current
    };
    let top = std::array::from_fn(|high| {
        let page: [u32; 256] = std::array::from_fn(|low| {
            let port =
                u16::try_from(high.saturating_mul(256).saturating_add(low)).unwrap_or(u16::MAX);
            next(port)
        });
        Arc::clone(known.entry(page).or_insert_with(|| Arc::new(page)))
    });
    PortMap::Paged(Box::new(top))
}

fn uses_names(rule: &Rule, direction: Direction) -> bool {
    rule.section(direction).clauses.iter().any(|clause| match &clause.ports {
        Ports::AnyOf(ports) => ports.iter().any(|port| matches!(port.port, PortSpec::Named(_))),
        Ports::All | Ports::Nothing => false,
    })
}

fn own_ports<'p>(
    name: &'p str,
    ports: &'p [snapshot::ContainerPort],
) -> impl Iterator<Item = &'p snapshot::ContainerPort> {
    ports
        .iter()
        .filter(move |port| port.name.as_deref().is_some_and(|own| own.eq_ignore_ascii_case(name)))
}

/// A service with what stands behind each of its ports.
fn resolve(snapshot: &Snapshot, service: &snapshot::Service) -> Service {
    let own = |slice: &&snapshot::EndpointSlice| {
        slice.namespace == service.namespace && slice.service == service.name
    };
    let slices: Vec<&snapshot::EndpointSlice> = snapshot.slices.iter().filter(own).collect();
    let pods: Vec<&snapshot::Pod> = if slices.is_empty() && !service.selector.is_empty() {
        let chosen = |pod: &&snapshot::Pod| {
            pod.namespace == service.namespace
                && pod.ready
                && service.selector.iter().all(|pair| pod.labels.contains(pair))
        };
        snapshot.pods.iter().filter(chosen).collect()
    } else {
        Vec::new()
    };
    let ports = service.ports.iter().map(|port| {
        let mut backends = BTreeSet::new();
        for slice in &slices {
            let named = slice
                .ports
                .iter()
                .find(|(name, _, protocol)| *name == port.name && *protocol == port.protocol);
            let Some((_, number, _)) = named else { continue };
            let ready = slice.endpoints.iter().filter(|endpoint| endpoint.ready);
            backends.extend(
                ready.flat_map(|e| &e.addresses).map(|address| SocketAddr::new(*address, *number)),
            );
        }
        for pod in &pods {
            let number = match &port.target {
                TargetPort::Number(number) => Some(*number),
                TargetPort::Name(name) => {
                    let wanted = |own: &&snapshot::ContainerPort| {
                        own.name.as_ref() == Some(name) && own.protocol == port.protocol
                    };
                    pod.ports.iter().find(wanted).map(|own| own.port)
                }
            };
            let Some(number) = number else { continue };
            backends.extend(pod.addresses.iter().map(|address| SocketAddr::new(*address, number)));
        }
        ServicePort {
            name: port.name.clone(),
            port: port.port,
            protocol: port.protocol,
            backends: backends.into_iter().collect(),
        }
    });
    Service {
        namespace: service.namespace.clone(),
        name: service.name.clone(),
        cluster_ips: service.cluster_ips.clone(),
        ports: ports.collect(),
    }
}
