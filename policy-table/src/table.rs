//! The table: what workers ask.
//!
//! ```text
//! address ─ prefixes ─ identity            endpoint, direction ─ Side
//!                          │                   protocol, port ─ PortMap ─ Slot { denied, inspected, allowed }
//!                          └──────────────────────── is in which set? ──────┘
//! ```
//! Arrives: what `compile/` made. Leaves: answers in constant time: array reads lead to a slot, three set lookups decide;
//! the number of rules changes the size of the sets, not the steps. Nothing here allocates or locks. Invariant: a table
//! never changes, though the next one shares with it what stayed; whoever holds an `Arc` of it judges by one epoch.

mod judge;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ipnet::IpNet;
use roaring::RoaringBitmap;

use crate::identity::Identity;
use crate::label::Labels;
use crate::members::Members;
use crate::names::NameIndex;
use crate::prefixes::Prefixes;
use crate::rule::name::NamePattern;
use crate::rule::{Direction, HttpRule, Protocol, RuleOrigin};
use crate::shared::{Addresses, Chunks, Shards};
use crate::side::{IdentitySet, Side, Slot, SlotClause};
use crate::snapshot::ContainerPort;
use crate::verdict::{Cause, CauseKind, EndpointIndex, Flow, MatchType, RuleId};

/// How policies are enforced on endpoints that no policy selects (Cilium's `--enable-policy`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Enforcement {
    /// A direction is enforced on the endpoints a rule for it selects.
    #[default]
    Default,
    /// Everything is denied that no rule allows.
    Always,
    /// Nothing is denied.
    Never,
}

/// What a table is compiled with besides the snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// The enforcement mode.
    pub enforcement: Enforcement,
    /// The addresses of this node; its own traffic has the identity `host`.
    pub host_addresses: Vec<IpAddr>,
    /// Whether every endpoint's policy is only tried (Cilium's `--policy-audit-mode`).
    pub audit: bool,
}

/// A pod with an address of its own.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Its identity.
    pub identity: Identity,
    /// The labels the identity stands for.
    pub labels: Arc<Labels>,
    /// Whether traffic to it is under policy.
    pub ingress_enforced: bool,
    /// Whether traffic from it is under policy.
    pub egress_enforced: bool,
    /// The node it runs on, if it is known.
    pub node: Option<String>,
    /// The ports its containers declare.
    pub ports: Vec<ContainerPort>,
    /// Whether its policy is only tried (audit mode).
    pub audited: bool,
}

/// The sides of one endpoint. So aligned, they are never in two lines of memory.
#[derive(Clone, Debug)]
#[repr(align(32))]
pub(crate) struct Sides {
    pub(crate) egress: OwnSide,
    pub(crate) ingress: OwnSide,
}

/// A side that an endpoint has, beside its number among [`Table::sides`]: one place less to read for each packet.
#[derive(Clone, Debug)]
pub(crate) struct OwnSide {
    pub(crate) number: u32,
    /// As the side says it: where it is not, nothing else is read.
    enforced: bool,
    /// Whether the endpoint's policy is only tried (audit mode), as the endpoint says it.
    audited: bool,
    /// What is asked of none is denied.
    side: Option<Arc<Side>>,
}

impl OwnSide {
    const NONE: Self = Self { number: u32::MAX, enforced: true, audited: false, side: None };

    /// The side of this number, of an endpoint that is audited or not.
    pub(crate) fn of(number: u32, audited: bool, sides: &Chunks<Arc<Side>>) -> Self {
        let side = usize::try_from(number).ok().and_then(|place| sides.get(place)).cloned();
        let enforced = side.as_ref().is_none_or(|side| side.enforced);
        Self { number, enforced, audited, side }
    }

    /// The side, and what it has on the port of a flow.
    #[inline]
    fn slot(&self, flow: &Flow) -> Option<(&Side, u32, &Slot)> {
        let side = self.side.as_ref()?;
        let number = side.maps.get(protocol_class(flow.protocol))?.slot(flow.dst_port)?;
        Some((side, number, side.slots.get(usize::try_from(number).ok()?)?))
    }
}

/// A service, resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its cluster addresses; none for a headless one.
    pub cluster_ips: Vec<IpAddr>,
    /// Its ports.
    pub ports: Vec<ServicePort>,
}

/// A port of a service and what stands behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// Its name; empty if it has none.
    pub name: String,
    /// Its number.
    pub port: u16,
    /// Its protocol.
    pub protocol: Protocol,
    /// The ready backends of both families, sorted.
    pub backends: Vec<SocketAddr>,
}

/// An identity and what it stands for.
#[derive(Clone, Debug)]
pub struct IdentityRecord {
    /// The number.
    pub identity: Identity,
    /// The labels.
    pub labels: Arc<Labels>,
    /// The prefix, for one that stands for addresses a policy names.
    pub prefix: Option<IpNet>,
}

/// Compiled policies: immutable, shared by `Arc`, asked by workers.
///
/// A copy shares everything.
#[derive(Clone, Debug, Default)]
pub struct Table {
    pub(crate) epoch: u64,
    /// Every policy is only tried.
    pub(crate) tries_all: bool,
    pub(crate) endpoints: Chunks<Arc<Endpoint>>,
    /// What `judge` needs of each endpoint, close together.
    pub(crate) sides_of: Chunks<Sides>,
    pub(crate) by_address: Addresses<EndpointIndex>,
    pub(crate) by_name: Shards<EndpointIndex>,
    pub(crate) prefixes: Prefixes,
    pub(crate) identities: Chunks<IdentityRecord>,
    pub(crate) services: Chunks<Arc<Service>>,
    pub(crate) sides: Chunks<Arc<Side>>,
    /// The sets that sides refer to by number.
    pub(crate) sets: Chunks<Members>,
    /// `None` for numbers that no rule has now.
    pub(crate) rules: Chunks<Option<Arc<RuleOrigin>>>,
    /// Every pattern of `toFQDNs`, and its identity at the same place.
    pub(crate) names: Arc<NameIndex>,
    pub(crate) name_identities: Arc<[Identity]>,
}

impl Table {
    /// The generation of this table.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Every pod that has an address of its own, by [`EndpointIndex::position`].
    pub fn endpoints(&self) -> &Chunks<Arc<Endpoint>> {
        &self.endpoints
    }

    /// One endpoint.
    pub fn endpoint(&self, index: EndpointIndex) -> Option<&Endpoint> {
        self.endpoints.get(index.position()).map(AsRef::as_ref)
    }

    /// The endpoint that has this address.
    pub fn endpoint_of(&self, address: IpAddr) -> Option<EndpointIndex> {
        self.by_address.of(address)
    }

    /// The endpoint of this namespace and name.
    pub fn endpoint_named(&self, namespace: &str, name: &str) -> Option<EndpointIndex> {
        let is = |index: &EndpointIndex| {
            self.endpoint(*index).is_some_and(|own| own.namespace == namespace && own.name == name)
        };
        self.by_name.find(&(namespace, name), is).copied()
    }

    /// Gives addresses to the node: it is `host`, whoever else has them.
    pub(crate) fn set_hosts(&mut self, addresses: &[IpAddr]) {
        for address in addresses {
            self.prefixes.exact.set(*address, Some(Identity::HOST));
        }
    }

    /// Adds an endpoint without sides.
    pub(crate) fn add_endpoint(&mut self, endpoint: Endpoint) -> EndpointIndex {
        let index = EndpointIndex::of(self.endpoints.len());
        for address in &endpoint.addresses {
            self.by_address.set(*address, Some(index));
        }
        let key = (endpoint.namespace.as_str(), endpoint.name.as_str());
        self.by_name.put(&key, index, |known| *known == index);
        self.endpoints.push(Arc::new(endpoint));
        self.sides_of.push(Sides { egress: OwnSide::NONE, ingress: OwnSide::NONE });
        index
    }

    /// Takes an endpoint out; the last one takes its place.
    pub(crate) fn remove_endpoint(
        &mut self,
        index: EndpointIndex,
    ) -> Option<(Arc<Endpoint>, Sides)> {
        let gone = self.endpoints.swap_remove(index.position())?;
        let sides = self.sides_of.swap_remove(index.position())?;
        for address in &gone.addresses {
            self.by_address.set(*address, None);
        }
        let key = (gone.namespace.as_str(), gone.name.as_str());
        self.by_name.remove(&key, |known| *known == index);
        if let Some(moved) = self.endpoints.get(index.position()) {
            let last = EndpointIndex::of(self.endpoints.len());
            for address in &moved.addresses {
                self.by_address.set(*address, Some(index));
            }
            let key = (moved.namespace.as_str(), moved.name.as_str());
            self.by_name.put(&key, index, |known| *known == last);
        }
        Some((gone, sides))
    }

    /// Whose address it is: a pod's, a node's, that of a prefix a policy names (the longest), or the world's.
    pub fn identity_of(&self, address: IpAddr) -> Identity {
        self.prefixes.find(address)
    }

    /// Every identity and its labels.
    pub fn identities(&self) -> &Chunks<IdentityRecord> {
        &self.identities
    }

    /// The services.
    pub fn services(&self) -> &Chunks<Arc<Service>> {
        &self.services
    }

    /// Every rule with its number.
    pub fn rules(&self) -> impl Iterator<Item = (RuleId, &RuleOrigin)> {
        let all = self.rules.iter().enumerate();
        all.filter_map(|(place, origin)| Some((RuleId::of(place), origin.as_deref()?)))
    }

    /// How many numbers rules have, those that are free at the moment included.
    pub fn rule_count(&self) -> usize {
        self.rules.len()
    }

    /// Every pattern of `toFQDNs` with its identity.
    pub fn names(&self) -> impl Iterator<Item = (Identity, &NamePattern)> {
        self.name_identities.iter().copied().zip(self.names.patterns())
    }

    /// Where a rule was written.
    pub fn rule(&self, rule: RuleId) -> Option<&RuleOrigin> {
        self.rules.get(rule.position())?.as_deref()
    }

    /// Whether an identity is in a set.
    #[inline(always)]
    pub(crate) fn holds(&self, set: IdentitySet, identity: Identity) -> bool {
        match set {
            IdentitySet::None => false,
            IdentitySet::All => true,
            IdentitySet::These(set) => {
                self.members(set).is_some_and(|set| set.contains(identity.number()))
            }
        }
    }

    /// The bitmap of a set that has one.
    #[inline]
    pub(crate) fn bitmap(&self, set: IdentitySet) -> Option<&RoaringBitmap> {
        let IdentitySet::These(number) = set else { return None };
        self.members(number).map(|members| members.bitmap().as_ref())
    }

    #[inline]
    fn members(&self, number: u32) -> Option<&Members> {
        self.sets.get(usize::try_from(number).ok()?)
    }

    /// Whether nothing is denied in a direction of an endpoint because the policies that would are only tried (audit mode).
    pub fn is_tried(&self, endpoint: EndpointIndex, direction: Direction) -> bool {
        let (sides, own) = (
            self.sides_of.get(endpoint.position()),
            self.endpoint(endpoint).is_some_and(|own| self.tries_all || own.audited),
        );
        let side = sides.and_then(|sides| match direction {
            Direction::Egress => sides.egress.side.as_ref(),
            Direction::Ingress => sides.ingress.side.as_ref(),
        });
        side.is_some_and(|side| side.enforced && (side.tried || own))
    }

    /// Builds what judging an endpoint's requests needs, so that nobody waits for it on the packet path.
    ///
    /// Without it, the first request on a port does: the answer is the same.
    pub fn warm(&self, endpoint: EndpointIndex) {
        let Some(sides) = self.sides_of.get(endpoint.position()) else { return };
        for side in [&sides.egress, &sides.ingress].into_iter().filter_map(|own| own.side.as_ref())
        {
            side.slots
                .iter()
                .filter_map(|slot| slot.http.as_ref())
                .for_each(|http| http.rules.warm());
        }
    }

    fn side(&self, side: u32) -> Option<&Side> {
        self.sides.get(usize::try_from(side).ok()?).map(AsRef::as_ref)
    }

    fn slot(&self, side: u32, slot: u32) -> Option<&Slot> {
        self.side(side)?.slots.get(usize::try_from(slot).ok()?)
    }

    /// The clause that made an answer, if one did.
    fn clause(&self, cause: Cause) -> Option<&SlotClause> {
        let wanted = match cause.kind {
            CauseKind::Http(_) | CauseKind::NoRequest => CauseKind::Inspected,
            CauseKind::Name(_) => CauseKind::Resolved,
            same @ (CauseKind::Denied
            | CauseKind::Objected
            | CauseKind::Allowed
            | CauseKind::Inspected
            | CauseKind::Resolved) => same,
            CauseKind::NotEnforced | CauseKind::Itself | CauseKind::NoRule | CauseKind::Stale => {
                return None;
            }
        };
        let slot = self.slot(cause.side, cause.slot)?;
        slot.clauses
            .iter()
            .find(|clause| clause.kind == wanted && self.holds(clause.peers, cause.peer))
    }

    /// The rule that made an answer: `None` where no rule did (nothing enforced, nothing matched, the host's own access).
    ///
    /// Where a request was denied, it is the first rule as written whose HTTP rules it had to meet, as `explain` names it.
    /// Unlike judging, this looks through the rules of the port.
    pub fn rule_of(&self, cause: Cause) -> Option<RuleId> {
        if cause.kind == CauseKind::NoRequest {
            let place = |rule: &RuleId| self.rule(*rule).map(|rule| (&rule.file, rule.line));
            return self.inspecting(cause).min_by(|one, two| place(one).cmp(&place(two)));
        }
        let slot = self.slot(cause.side, cause.slot)?;
        let (groups, place) = match cause.kind {
            CauseKind::Http(place) => (&slot.http.as_ref()?.groups, place),
            CauseKind::Name(place) => (&slot.dns.as_ref()?.groups, place),
            _ => return self.clause(cause)?.rule,
        };
        let group = groups.get(usize::try_from(place).ok()?)?;
        let source = group.sources.iter().find(|(peers, _)| self.holds(*peers, cause.peer));
        source.map(|(_, rule)| *rule)
    }

    /// The rules whose HTTP rules a request of this cause has to meet.
    fn inspecting(&self, cause: Cause) -> impl Iterator<Item = RuleId> {
        let slot = self.slot(cause.side, cause.slot);
        let clauses = slot.into_iter().flat_map(|slot| &slot.clauses);
        clauses
            .filter(move |clause| {
                clause.kind == CauseKind::Inspected && self.holds(clause.peers, cause.peer)
            })
            .filter_map(|clause| clause.rule)
    }

    /// The HTTP rule that let a request pass, if one did.
    pub fn http_rule_of(&self, cause: Cause) -> Option<&HttpRule> {
        let CauseKind::Http(place) = cause.kind else { return None };
        self.slot(cause.side, cause.slot)?.http.as_ref()?.rules.rule(place)
    }

    /// How the deciding rule matched.
    pub fn match_type(&self, cause: Cause) -> MatchType {
        match cause.kind {
            CauseKind::NotEnforced | CauseKind::Itself => MatchType::All,
            CauseKind::NoRule | CauseKind::Stale => MatchType::None,
            CauseKind::Denied
            | CauseKind::Objected
            | CauseKind::Allowed
            | CauseKind::Inspected
            | CauseKind::Http(_)
            | CauseKind::Resolved
            | CauseKind::Name(_)
            | CauseKind::NoRequest => {
                self.clause(cause).map_or(MatchType::None, |clause| clause.matched)
            }
        }
    }
}

/// The place of a protocol's map in a side.
#[inline]
pub(crate) fn protocol_class(protocol: Protocol) -> usize {
    match protocol {
        Protocol::TCP => 0,
        Protocol::UDP => 1,
        Protocol::SCTP => 2,
        Protocol::ICMP => 3,
        Protocol::ICMPV6 => 4,
        Protocol(_) => 5,
    }
}

/// The protocols that have a map of their own, in order of [`protocol_class`].
pub(crate) const CLASSES: [Option<Protocol>; 6] = [
    Some(Protocol::TCP),
    Some(Protocol::UDP),
    Some(Protocol::SCTP),
    Some(Protocol::ICMP),
    Some(Protocol::ICMPV6),
    None,
];
