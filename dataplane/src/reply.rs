//! What we say ourselves: ARP and neighbour answers, ICMP errors, RST. Built from the packet that they answer, into a free frame.

use std::net::{IpAddr, Ipv6Addr};

use parser::{arp::Arp, headers::Headers, icmp, ndp, tcp};

use crate::world::{PortView, World};

/// An answer to a packet, sent back to where it came from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Answer {
    /// Who has this IPv4 address: we do.
    Arp(
        /// The reply, filled in.
        Arp,
    ),
    /// Who has this IPv6 address: we do.
    NeighbourAdvertisement {
        /// The address.
        target: Ipv6Addr,
        /// Who asked.
        to: Ipv6Addr,
    },
    /// The hop limit ran out (RFC 792, RFC 4443 §3.3).
    TimeExceeded,
    /// There is no way there (RFC 792 type 3 code 1, RFC 4443 §3.1 code 3).
    HostUnreachable,
    /// Too large for the next link (RFC 1191, RFC 4443 §3.2).
    TooBig {
        /// What fits.
        mtu: usize,
    },
    /// RST (RFC 9293 §3.10.7.1).
    Reset,
}

impl Answer {
    /// Whether it is an ICMP error, which are limited in number (RFC 1812 §4.3.2.8, RFC 4443 §2.4 f).
    pub fn is_icmp_error(&self) -> bool {
        matches!(self, Self::TimeExceeded | Self::HostUnreachable | Self::TooBig { .. })
    }

    /// Writes the answer to `packet` into `out`; its length, or none if the packet may not be answered that way.
    pub fn build(
        &self,
        world: &World,
        view: &PortView,
        headers: &Headers,
        packet: &[u8],
        out: &mut [u8],
    ) -> Option<usize> {
        let error = |out: &mut [u8], kind| {
            let from = world.gateway_like(headers.network.source()?)?;
            icmp::emit_error(packet, headers, kind, from, out).ok()
        };
        match self {
            Self::Arp(reply) => reply.emit(out).ok(),
            Self::NeighbourAdvertisement { target, to } => {
                ndp::emit_advertisement(view.mac, headers.ethernet.source, *target, *to, out).ok()
            }
            Self::TimeExceeded => error(out, icmp::ErrorKind::TimeExceeded),
            Self::HostUnreachable => error(out, icmp::ErrorKind::HostUnreachable),
            Self::TooBig { mtu } => error(out, icmp::ErrorKind::TooBig { mtu: u32::try_from(*mtu).ok()? }),
            Self::Reset => tcp::emit_reset(packet, headers, out).ok(),
        }
    }
}

/// Writes a question for the hardware address of `target` into `out`; its length.
pub fn solicit(world: &World, view: &PortView, target: IpAddr, out: &mut [u8]) -> Option<usize> {
    match target {
        IpAddr::V4(target) => {
            let from = match world.gateway_like(IpAddr::V4(target)) {
                Some(IpAddr::V4(gateway)) => gateway,
                // A sender without an address is answered all the same (RFC 5227 §2.1.1).
                _ => std::net::Ipv4Addr::UNSPECIFIED,
            };
            Arp::request(view.mac, from, target).emit(out).ok()
        }
        IpAddr::V6(target) => ndp::emit_solicitation(view.mac, target, out).ok(),
    }
}
