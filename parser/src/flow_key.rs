//! The names of a flow and of the connection it belongs to.

use std::net::IpAddr;

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
///
/// IPv4 addresses are kept in mapped form; the parser refuses mapped addresses on the wire, so the
/// two never meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FlowKey {
    /// INVARIANT: `(low, low_port) <= (high, high_port)`.
    low: u128,
    high: u128,
    low_port: L4Port,
    high_port: L4Port,
    protocol: Protocol,
}

impl FlowKey {
    /// The connection of a flow, and whether the flow's source is the key's higher side. The two
    /// directions of a connection have equal keys and, unless a host talks to its own port,
    /// different answers to "flipped?".
    #[must_use]
    #[inline]
    pub fn of(tuple: &FlowTuple) -> (Self, bool) {
        let source = (bits(tuple.source), tuple.src_port);
        let destination = (bits(tuple.destination), tuple.dst_port);
        let flipped = destination < source;
        let ((low, low_port), (high, high_port)) =
            if flipped { (destination, source) } else { (source, destination) };
        (Self { low, high, low_port, high_port, protocol: tuple.protocol }, flipped)
    }
}

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
