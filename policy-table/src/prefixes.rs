//! Addresses to identities: exact ones first, then prefixes, the longest first, then the world.
//!
//! Arrives: an address. Leaves: the identity it has, in as many steps as there are lengths of prefixes.

use std::net::IpAddr;
use std::sync::Arc;

use hashbrown::HashMap;
use ipnet::IpNet;

use crate::identity::Identity;
use crate::shared::Addresses;

/// Addresses to identities.
#[derive(Clone, Debug, Default)]
pub(crate) struct Prefixes {
    pub(crate) exact: Addresses<Identity>,
    pub(crate) levels: Arc<Levels>,
    pub(crate) world_v4: Option<Identity>,
    pub(crate) world_v6: Option<Identity>,
}

/// Prefixes to identities, longest first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Levels {
    /// By mask, longest first: IPv4 addresses masked by it.
    v4: Vec<(u32, HashMap<u32, Identity>)>,
    /// The same for IPv6.
    v6: Vec<(u128, HashMap<u128, Identity>)>,
}

impl Levels {
    /// Gives a prefix an identity, or takes it from it.
    pub(crate) fn set(&mut self, prefix: IpNet, identity: Option<Identity>) {
        match prefix {
            IpNet::V4(net) => {
                put(&mut self.v4, net.netmask().to_bits(), net.network().to_bits(), identity);
            }
            IpNet::V6(net) => {
                put(&mut self.v6, net.netmask().to_bits(), net.network().to_bits(), identity);
            }
        }
    }
}

fn put<B: Ord + std::hash::Hash>(
    levels: &mut Vec<(B, HashMap<B, Identity>)>,
    mask: B,
    bits: B,
    identity: Option<Identity>,
) {
    let place = levels.partition_point(|(own, _)| *own > mask);
    if levels.get(place).is_none_or(|(own, _)| *own != mask) {
        levels.insert(place, (mask, HashMap::new()));
    }
    let Some((_, level)) = levels.get_mut(place) else { return };
    match identity {
        Some(identity) => level.insert(bits, identity),
        None => level.remove(&bits),
    };
    if level.is_empty() {
        levels.remove(place);
    }
}

impl Prefixes {
    pub(crate) fn find(&self, address: IpAddr) -> Identity {
        if let Some(identity) = self.exact.of(address) {
            return identity;
        }
        let levels = &self.levels;
        let (found, world) = match address {
            IpAddr::V4(v4) => {
                let bits = v4.to_bits();
                let mut levels = levels.v4.iter();
                (levels.find_map(|(mask, level)| level.get(&(bits & mask))), self.world_v4)
            }
            IpAddr::V6(v6) => {
                let bits = v6.to_bits();
                let mut levels = levels.v6.iter();
                (levels.find_map(|(mask, level)| level.get(&(bits & mask))), self.world_v6)
            }
        };
        found.copied().or(world).unwrap_or(Identity::WORLD)
    }
}
