//! Policies as they are written, whatever object they came in.
//!
//! Arrives: what `snapshot/` read from CiliumNetworkPolicy, CiliumClusterwideNetworkPolicy and NetworkPolicy. Leaves: one
//! shape for all three, which both the oracle and the compiler read. Invariant: *absent*, *empty list* and *list with an
//! empty item* have become three different values here ([`Peers`], [`Ports`]), so nobody behind has to remember them.

pub mod name;
pub mod pattern;
pub(crate) mod shape;

use std::fmt;
use std::sync::Arc;

use ipnet::IpNet;

use crate::selector::Selector;
use name::NamePattern;
use pattern::Pattern;

/// The kind of object a rule was written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PolicyKind {
    /// `cilium.io/v2 CiliumNetworkPolicy`.
    Cilium,
    /// `cilium.io/v2 CiliumClusterwideNetworkPolicy`.
    CiliumClusterwide,
    /// `networking.k8s.io/v1 NetworkPolicy`.
    Kubernetes,
}

impl fmt::Display for PolicyKind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Cilium => "CiliumNetworkPolicy",
            Self::CiliumClusterwide => "CiliumClusterwideNetworkPolicy",
            Self::Kubernetes => "NetworkPolicy",
        })
    }
}

/// Where a rule was written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RuleOrigin {
    /// The kind of the object.
    pub kind: PolicyKind,
    /// Its namespace; empty for a cluster-wide one.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The file it was read from.
    pub file: Arc<str>,
    /// The line of the rule, from 1.
    pub line: u32,
    /// The dotted path of the rule in the object, such as `spec.ingress[0]`.
    pub field: String,
}

impl fmt::Display for RuleOrigin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slash = if self.namespace.is_empty() { "" } else { "/" };
        write!(
            out,
            "{} {}{slash}{} {} ({}:{})",
            self.kind, self.namespace, self.name, self.field, self.file, self.line
        )
    }
}

/// A policy object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Its kind.
    pub kind: PolicyKind,
    /// Its namespace; `None` for a cluster-wide one.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
    /// The file it was read from.
    pub file: Arc<str>,
    /// The line it starts on.
    pub line: u32,
    /// Its place among the objects of its file.
    pub position: u32,
    /// Whether it is only tried (audit mode): it allows what it allows, and what it denies passes and is told.
    pub audited: bool,
    /// Its `spec` or `specs`.
    pub rules: Vec<Rule>,
}

impl Policy {
    /// Where a clause of this policy was written.
    pub fn origin_of(&self, clause: &Clause) -> RuleOrigin {
        RuleOrigin {
            kind: self.kind,
            namespace: self.namespace.clone().unwrap_or_default(),
            name: self.name.clone(),
            file: Arc::clone(&self.file),
            line: clause.line,
            field: clause.field.clone(),
        }
    }
}

/// One `spec`: whom it is about, and what holds in each direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The endpoints it applies to. A namespaced policy's selector already asks for the namespace.
    pub subject: Selector,
    /// Traffic to those endpoints.
    pub ingress: Section,
    /// Traffic from those endpoints.
    pub egress: Section,
}

impl Rule {
    /// The section of a direction.
    pub fn section(&self, direction: Direction) -> &Section {
        match direction {
            Direction::Ingress => &self.ingress,
            Direction::Egress => &self.egress,
        }
    }
}

/// Which way, always seen from the endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// Into the endpoint.
    Ingress,
    /// Out of the endpoint.
    Egress,
}

impl fmt::Display for Direction {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Ingress => "INGRESS",
            Self::Egress => "EGRESS",
        })
    }
}

/// One direction of a rule. Without clauses it says nothing about the direction at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Section {
    /// Whether traffic that no clause allows is denied (`enableDefaultDeny`). Counts only if there is a clause.
    pub default_deny: bool,
    /// The items, deny and allow.
    pub clauses: Vec<Clause>,
}

/// One item of `ingress`, `ingressDeny`, `egress` or `egressDeny`: peers and ports, both of which must match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clause {
    /// Dotted path in the object.
    pub field: String,
    /// Line, from 1.
    pub line: u32,
    /// What it does to what it matches.
    pub effect: Effect,
    /// With whom.
    pub peers: Peers,
    /// On which ports.
    pub ports: Ports,
}

/// What a clause does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Lets pass.
    Allow,
    /// Stops, whatever else allows.
    Deny,
}

/// The peers of a clause.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Peers {
    /// Not restricted (the peer list is absent, and ports or ICMP types are given).
    Anyone,
    /// No one (an item `{}`, or a list that is there and empty).
    Nobody,
    /// Whoever one of these selects; never empty.
    AnyOf(Vec<Peer>),
}

/// One way to name peers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Peer {
    /// By labels, namespace and cluster already filled in.
    Endpoints(Selector),
    /// Addresses outside the cluster: in `prefix`, but in none of `except`.
    Cidr {
        /// The prefix, host bits cleared.
        prefix: IpNet,
        /// What is taken out of it.
        except: Vec<IpNet>,
    },
    /// The addresses of CiliumCIDRGroups, without `except`.
    CidrGroup {
        /// Which groups.
        groups: CidrGroups,
        /// What is taken out of each of their prefixes.
        except: Vec<IpNet>,
    },
    /// By role.
    Entity(Entity),
    /// What stands behind Services.
    Service(ServicePeer),
    /// Addresses outside the cluster that a DNS answer gave this name (`toFQDNs`).
    Name(NamePattern),
}

/// Which CiliumCIDRGroups.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CidrGroups {
    /// The one of this name.
    Named(String),
    /// Those whose labels match.
    Selected(Selector),
}

/// Which Services.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServicePeer {
    /// Their namespace; `None`: any.
    pub namespace: Option<String>,
    /// Which of them.
    pub which: ServiceChoice,
}

/// How Services are chosen.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ServiceChoice {
    /// By name.
    Named(String),
    /// By labels.
    Selected(Selector),
}

/// A role traffic can have (`fromEntities`, `toEntities`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Entity {
    /// Everyone.
    All,
    /// Outside the cluster.
    World,
    /// Outside the cluster, IPv4.
    WorldIpv4,
    /// Outside the cluster, IPv6.
    WorldIpv6,
    /// Inside the cluster (`cluster` and, with one cluster, `cluster-mesh`).
    Cluster,
    /// This node.
    Host,
    /// Other nodes.
    RemoteNode,
    /// Whoever serves the Kubernetes API.
    KubeApiserver,
    /// The ingress proxy.
    Ingress,
    /// Endpoints without labels yet.
    Init,
    /// The health probe.
    Health,
    /// Pods that are not under policy.
    Unmanaged,
    /// No one.
    None,
}

impl Entity {
    /// The entity of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "all" => Self::All,
            "world" => Self::World,
            "world-ipv4" => Self::WorldIpv4,
            "world-ipv6" => Self::WorldIpv6,
            "cluster" | "cluster-mesh" => Self::Cluster,
            "host" => Self::Host,
            "remote-node" => Self::RemoteNode,
            "kube-apiserver" => Self::KubeApiserver,
            "ingress" => Self::Ingress,
            "init" => Self::Init,
            "health" => Self::Health,
            "unmanaged" => Self::Unmanaged,
            "none" => Self::None,
            _ => return None,
        })
    }
}

/// The ports of a clause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ports {
    /// Everything, ICMP and unknown protocols included (`toPorts` absent or `[]`).
    All,
    /// Nothing (`toPorts: [{}]`).
    Nothing,
    /// Whatever one of these matches; never empty.
    AnyOf(Vec<PortRule>),
}

/// One port, range, name or ICMP type, and what may be said on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortRule {
    /// Which protocols.
    pub protocol: PortProtocol,
    /// Which ports.
    pub port: PortSpec,
    /// What may be said.
    pub l7: L7,
}

/// What may be said on a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum L7 {
    /// Anything: bytes are not looked at.
    Anything,
    /// HTTP requests that match one of these (of no rule: none does).
    Http(Arc<Vec<HttpRule>>),
    /// DNS queries for a name that matches one of these.
    Dns(Arc<Vec<NamePattern>>),
}

impl L7 {
    /// The HTTP rules, if it has some.
    pub fn http(&self) -> Option<&Arc<Vec<HttpRule>>> {
        match self {
            Self::Http(rules) => Some(rules),
            Self::Anything | Self::Dns(_) => None,
        }
    }

    /// The names, if it is about DNS.
    pub fn dns(&self) -> Option<&Arc<Vec<NamePattern>>> {
        match self {
            Self::Dns(names) => Some(names),
            Self::Anything | Self::Http(_) => None,
        }
    }
}

/// The protocol of a port rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PortProtocol {
    /// TCP, UDP and SCTP.
    Any,
    /// One IP protocol.
    Is(Protocol),
}

impl PortProtocol {
    /// Whether it covers `protocol`.
    pub fn covers(self, protocol: Protocol) -> bool {
        match self {
            Self::Any => matches!(protocol, Protocol::TCP | Protocol::UDP | Protocol::SCTP),
            Self::Is(one) => one == protocol,
        }
    }
}

/// An IP protocol number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Protocol(pub u8);

impl Protocol {
    /// ICMP for IPv4.
    pub const ICMP: Self = Self(1);
    /// TCP.
    pub const TCP: Self = Self(6);
    /// UDP.
    pub const UDP: Self = Self(17);
    /// ICMP for IPv6.
    pub const ICMPV6: Self = Self(58);
    /// SCTP.
    pub const SCTP: Self = Self(132);
}

impl fmt::Display for Protocol {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::ICMP => out.write_str("ICMPv4"),
            Self::TCP => out.write_str("TCP"),
            Self::UDP => out.write_str("UDP"),
            Self::ICMPV6 => out.write_str("ICMPv6"),
            Self::SCTP => out.write_str("SCTP"),
            Self(number) => write!(out, "{number}"),
        }
    }
}

/// Which ports of a protocol. For ICMP the port is the message type.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PortSpec {
    /// All of them (`port: "0"`).
    Every,
    /// From the first to the last, both included.
    Range(u16, u16),
    /// The container port of this name: the subject's for ingress, each peer's for egress.
    Named(String),
}

/// One entry of `rules.http`: everything that is given must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct HttpRule {
    /// The path with its query.
    pub path: Option<Pattern>,
    /// The method.
    pub method: Option<Pattern>,
    /// The authority, with its port if the request gives one.
    pub host: Option<Pattern>,
    /// Header fields that must be there, from `headers` and the failing `headerMatches`.
    pub headers: Vec<HeaderRule>,
    /// Header fields whose mismatch is only reported (`headerMatches` with `mismatch: LOG`).
    pub logged: Vec<HeaderRule>,
}

/// A header field that is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HeaderRule {
    /// Its name; case does not count.
    pub name: String,
    /// Its whole value, several fields of the name joined by `,`; `None`: any.
    pub value: Option<String>,
}

impl HeaderRule {
    /// Reads an entry of `headers`: `Name` or `Name: value`, split at the first space.
    ///
    /// Without a space the whole text is a name, colon and all, and such a name never occurs: as in Cilium.
    pub fn parse(text: &str) -> Self {
        match text.split_once(' ') {
            Some((name, value)) => Self {
                name: name.strip_suffix(':').unwrap_or(name).to_owned(),
                value: Some(value.to_owned()),
            },
            None => Self { name: text.to_owned(), value: None },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_split_at_the_first_space() {
        let rule = |name: &str, value: Option<&str>| HeaderRule {
            name: name.to_owned(),
            value: value.map(str::to_owned),
        };
        assert_eq!(HeaderRule::parse("X-Key: a b"), rule("X-Key", Some("a b")));
        assert_eq!(HeaderRule::parse("X-Key a"), rule("X-Key", Some("a")));
        assert_eq!(HeaderRule::parse("X-Key:true"), rule("X-Key:true", None));
        assert_eq!(HeaderRule::parse("X-Key"), rule("X-Key", None));
    }

    #[test]
    fn any_is_three_protocols_and_never_icmp() {
        for protocol in [Protocol::TCP, Protocol::UDP, Protocol::SCTP] {
            assert!(PortProtocol::Any.covers(protocol));
        }
        assert!(
            !PortProtocol::Any.covers(Protocol::ICMP) && !PortProtocol::Any.covers(Protocol(47))
        );
    }
}
