//! The names of a flow and of the connection it belongs to.

use std::{
    hash::{Hash, Hasher},
    net::{IpAddr, Ipv4Addr},
};

use crate::network::{L4Port, Protocol};

/// One direction of a connection.
///
/// An ICMP echo's identifier takes the place of a port as in Cilium: the requester's side has it,
/// the other side has 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FlowTuple {
    /// Where the packets come from.
    pub source: IpAddr,
    /// Where they go.
    pub destination: IpAddr,
    /// The transport protocol.
    pub protocol: Protocol,
    /// The sender's port, 0 where the protocol has none.
    pub src_port: L4Port,
    /// The receiver's port, 0 where the protocol has none.
    pub dst_port: L4Port,
}

impl FlowTuple {
    /// The other direction of the same connection.
    #[must_use]
    pub const fn reversed(&self) -> Self {
        Self {
            source: self.destination,
            destination: self.source,
            protocol: self.protocol,
            src_port: self.dst_port,
            dst_port: self.src_port,
        }
    }
}

/// A connection, whichever direction is looked at: both sides in a fixed order, and the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FlowKey(Sides);

/// INVARIANT: the lower side comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sides {
    /// Each side as one number, its port behind its address. The protocol stands above both in the first.
    Ipv4(u64, u64),
    Ipv6((u128, L4Port), (u128, L4Port), Protocol),
}

impl Hash for Sides {
    /// In as few words as there are; the two kinds need not differ, as keys are compared after all.
    fn hash<H: Hasher>(&self, state: &mut H) {
        match *self {
            Self::Ipv4(low, high) => {
                state.write_u64(low);
                state.write_u64(high);
            }
            Self::Ipv6((low, low_port), (high, high_port), protocol) => {
                state.write_u128(low);
                state.write_u128(high);
                let ports = u64::from(low_port) << 16 | u64::from(high_port);
                state.write_u64(ports << 8 | u64::from(protocol.value()));
            }
        }
    }
}

impl FlowKey {
    /// The connection of a flow, and whether the flow's source is the key's higher side. The two
    /// directions of a connection have equal keys and, unless a host talks to its own port,
    /// different answers to "flipped?".
    #[must_use]
    #[inline]
    pub fn of(tuple: &FlowTuple) -> (Self, bool) {
        if let (IpAddr::V4(source), IpAddr::V4(destination)) = (tuple.source, tuple.destination) {
            let side = |address: Ipv4Addr, port: L4Port| {
                u64::from(address.to_bits()) << 16 | u64::from(port)
            };
            let source = side(source, tuple.src_port);
            let destination = side(destination, tuple.dst_port);
            let protocol = u64::from(tuple.protocol.value()) << 48;
            let sides = Sides::Ipv4(source.min(destination) | protocol, source.max(destination));
            return (Self(sides), destination < source);
        }
        let source = (bits(tuple.source), tuple.src_port);
        let destination = (bits(tuple.destination), tuple.dst_port);
        let sides = Sides::Ipv6(source.min(destination), source.max(destination), tuple.protocol);
        (Self(sides), destination < source)
    }
}

/// No packet has addresses of both kinds, and the parser refuses mapped ones on the wire: nothing meets here that should not.
#[inline]
fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tuple(source: [u8; 4], src_port: u16, destination: [u8; 4], dst_port: u16) -> FlowTuple {
        FlowTuple {
            source: IpAddr::from(source),
            destination: IpAddr::from(destination),
            protocol: Protocol::TCP,
            src_port,
            dst_port,
        }
    }

    #[test]
    fn ports_break_the_tie_between_equal_addresses() {
        let there = tuple([10, 0, 0, 1], 80, [10, 0, 0, 1], 81);
        assert_eq!(FlowKey::of(&there).0, FlowKey::of(&there.reversed()).0);
        assert_ne!(FlowKey::of(&there).1, FlowKey::of(&there.reversed()).1);
    }

    #[test]
    fn connections_that_differ_in_one_field_have_different_keys() {
        let flow = tuple([10, 0, 0, 1], 40000, [10, 0, 0, 2], 80);
        let (key, _) = FlowKey::of(&flow);
        for other in [
            FlowTuple { src_port: 40001, ..flow },
            FlowTuple { dst_port: 81, ..flow },
            FlowTuple { protocol: Protocol::UDP, ..flow },
            FlowTuple { source: IpAddr::from([10, 0, 0, 3]), ..flow },
            FlowTuple { destination: IpAddr::from([10, 0, 0, 3]), ..flow },
            FlowTuple { src_port: flow.dst_port, dst_port: flow.src_port, ..flow },
        ] {
            assert_ne!(FlowKey::of(&other).0, key, "{other:?}");
        }
    }

    proptest! {
        #[test]
        fn both_directions_have_one_key(
            source: [u8; 4], src_port: u16, destination: [u8; 16], dst_port: u16, is_ipv6: bool,
        ) {
            let destination = if is_ipv6 { IpAddr::from(destination) } else { IpAddr::from([10, 0, 0, destination[0]]) };
            let there = FlowTuple {
                source: IpAddr::from(source),
                destination,
                protocol: Protocol::UDP,
                src_port,
                dst_port,
            };
            let back = there.reversed();
            prop_assert_eq!(FlowKey::of(&there).0, FlowKey::of(&back).0);
            prop_assert!(there == back || FlowKey::of(&there).1 != FlowKey::of(&back).1);
        }
    }
}
