//! Identities: numbers for label sets.
//!
//! Arrives: label sets of pods, prefixes of policies. Leaves: the same number for the same set as long as the allocator
//! lives, so that a connection, a log line and a table of yesterday agree about who is who. The reserved numbers are
//! Cilium's (`pkg/identity/numericidentity.go`): tools that know `1 = host`, `2 = world` read ours too.

use std::fmt;

use hashbrown::HashMap;
use ipnet::IpNet;

use crate::label::Labels;
use crate::rule::name::NamePattern;

/// The number of a label set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity(u32);

impl Identity {
    /// Not known: never allowed by a rule that names a peer.
    pub const UNKNOWN: Self = Self(0);
    /// This node and the pods that share its network.
    pub const HOST: Self = Self(1);
    /// Everything outside the cluster.
    pub const WORLD: Self = Self(2);
    /// A pod that is not under policy.
    pub const UNMANAGED: Self = Self(3);
    /// The health probe's endpoint.
    pub const HEALTH: Self = Self(4);
    /// An endpoint whose labels are not known yet.
    pub const INIT: Self = Self(5);
    /// Every other node.
    pub const REMOTE_NODE: Self = Self(6);
    /// A node that serves the Kubernetes API.
    pub const KUBE_APISERVER: Self = Self(7);
    /// The ingress proxy.
    pub const INGRESS: Self = Self(8);
    /// Everything outside the cluster that speaks IPv4, in a cluster of both families.
    pub const WORLD_IPV4: Self = Self(9);
    /// Everything outside the cluster that speaks IPv6, in a cluster of both families.
    pub const WORLD_IPV6: Self = Self(10);

    const FIRST_POD: u32 = 256;
    const FIRST_LOCAL: u32 = 1 << 24;
    const FIRST_NAME: u32 = 3 << 24;

    /// The number.
    pub const fn number(self) -> u32 {
        self.0
    }

    /// Whether it is one of the numbers with a fixed meaning.
    pub const fn is_reserved(self) -> bool {
        self.0 < Self::FIRST_POD
    }

    /// Whether it stands for a prefix that a policy names.
    pub const fn is_cidr(self) -> bool {
        self.0 >= Self::FIRST_LOCAL && self.0 < Self::FIRST_NAME
    }

    /// Whether it stands for the addresses that DNS gives a name of `toFQDNs`.
    pub const fn is_name(self) -> bool {
        self.0 >= Self::FIRST_NAME
    }

    /// Whether it stands for addresses outside the cluster: only those can have names that count.
    pub const fn is_outside(self) -> bool {
        matches!(self, Self::WORLD | Self::WORLD_IPV4 | Self::WORLD_IPV6) || self.is_cidr()
    }

    pub(crate) const fn from_number(number: u32) -> Self {
        Self(number)
    }

    /// The name of a reserved identity, without its `reserved:`.
    pub const fn reserved_name(self) -> Option<&'static str> {
        Some(match self.0 {
            0 => "unknown",
            1 => "host",
            2 => "world",
            3 => "unmanaged",
            4 => "health",
            5 => "init",
            6 => "remote-node",
            7 => "kube-apiserver",
            8 => "ingress",
            9 => "world-ipv4",
            10 => "world-ipv6",
            _ => return None,
        })
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.reserved_name() {
            Some(name) => write!(out, "{name}"),
            None => write!(out, "ID:{}", self.0),
        }
    }
}

/// Gives out identity numbers and remembers them. One lives as long as the daemon.
///
/// Numbers of pods start at 256 and are not limited to Cilium's 65535: nothing here is sized by it.
#[derive(Clone, Debug, Default)]
pub struct Identities {
    pods: HashMap<Labels, Identity>,
    prefixes: HashMap<(IpNet, Labels), Identity>,
    names: HashMap<NamePattern, Identity>,
}

impl Identities {
    /// The number of a pod's label set.
    pub fn of_labels(&mut self, labels: &Labels) -> Identity {
        if let Some(known) = self.pods.get(labels) {
            return *known;
        }
        let identity = Identity(next(Identity::FIRST_POD, self.pods.len(), Identity::FIRST_LOCAL));
        self.pods.insert(labels.clone(), identity);
        identity
    }

    /// The number of a prefix that a policy names, with the labels it carries.
    pub fn of_prefix(&mut self, prefix: IpNet, labels: &Labels) -> Identity {
        let key = (prefix.trunc(), labels.clone());
        if let Some(known) = self.prefixes.get(&key) {
            return *known;
        }
        let identity =
            Identity(next(Identity::FIRST_LOCAL, self.prefixes.len(), Identity::FIRST_NAME));
        self.prefixes.insert(key, identity);
        identity
    }

    /// The number of the addresses that DNS gives the names of a `toFQDNs` pattern.
    pub fn of_name(&mut self, pattern: &NamePattern) -> Identity {
        if let Some(known) = self.names.get(pattern) {
            return *known;
        }
        let identity = Identity(next(Identity::FIRST_NAME, self.names.len(), u32::MAX));
        self.names.insert(pattern.clone(), identity);
        identity
    }
}

/// The next free number; past the end it is `UNKNOWN`, which no rule allows.
fn next(first: u32, used: usize, end: u32) -> u32 {
    u32::try_from(used)
        .ok()
        .and_then(|used| first.checked_add(used))
        .filter(|n| *n < end)
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_labels_keep_their_number() {
        let mut identities = Identities::default();
        let a = Labels::of_pod([("app", "a")], "default", [], "default");
        let b = Labels::of_pod([("app", "b")], "default", [], "default");
        let first = identities.of_labels(&a);
        assert_eq!(first.number(), 256);
        assert_ne!(identities.of_labels(&b), first);
        assert_eq!(identities.of_labels(&a), first);
    }

    #[test]
    fn prefixes_have_numbers_of_their_own_range() {
        let mut identities = Identities::default();
        let world = Labels::reserved(&["world"]);
        let one = identities.of_prefix("10.1.2.3/8".parse().unwrap(), &world);
        assert!(one.is_cidr() && !one.is_reserved());
        assert_eq!(
            identities.of_prefix("10.0.0.0/8".parse().unwrap(), &world),
            one,
            "host bits do not count"
        );
    }

    #[test]
    fn exhaustion_gives_the_identity_nobody_allows() {
        assert_eq!(next(256, (1 << 24) - 256, 1 << 24), 0);
        assert_eq!(next(256, (1 << 24) - 257, 1 << 24), (1 << 24) - 1);
    }
}
