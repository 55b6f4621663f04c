//! The hash of the connection index: fast, and keyed by the system's randomness, so that nobody outside can choose flows that fall
//! together.
//!
//! `hashbrown` alone would key it by the addresses of the stack and of the program, which its own author calls better than nothing.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    sync::OnceLock,
};

use foldhash::{SharedSeed, fast::SeedableRandomState};

/// Makes the hashers of one table.
pub(super) type FlowHasher = SeedableRandomState;

/// Half of every key; the other half is each table's own.
static SHARED: OnceLock<SharedSeed> = OnceLock::new();

/// Hashers with a key of their own.
pub(super) fn seeded() -> FlowHasher {
    // The standard library's hasher is keyed by the system; the hash of nothing gives away nothing but random bits.
    let random = || RandomState::new().build_hasher().finish();
    SeedableRandomState::with_seed(random(), SHARED.get_or_init(|| SharedSeed::from_u64(random())))
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, net::IpAddr};

    use parser::{
        flow_key::{FlowKey, FlowTuple},
        network::Protocol,
    };

    use super::*;

    /// Buckets that an attacker aims at one of.
    const BUCKETS: u64 = 1024;

    fn flow(number: u32) -> FlowKey {
        let [_, a, b, c] = number.to_be_bytes();
        let (source, destination) = (IpAddr::from([10, a, b, c]), IpAddr::from([10, 0, 0, 2]));
        let protocol = Protocol::TCP;
        FlowKey::of(&FlowTuple { source, destination, protocol, src_port: 7, dst_port: 80 }).0
    }

    #[test]
    fn flows_that_collide_under_one_key_are_spread_under_another() {
        let known = seeded();
        let chosen: Vec<_> = (0..1 << 20)
            .map(flow)
            .filter(|flow| known.hash_one(flow) % BUCKETS == 0)
            .take(1024)
            .collect();
        assert!(chosen.len() > 900);
        let own = seeded();
        let mut buckets: HashMap<u64, usize> = HashMap::new();
        for flow in &chosen {
            *buckets.entry(own.hash_one(flow) % BUCKETS).or_default() += 1;
        }
        // About one flow a bucket; a thousand fall together with a chance that nobody will live to see.
        assert!(buckets.values().all(|&flows| flows < 32), "{:?}", buckets.values().max());
    }
}
