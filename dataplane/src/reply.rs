//! What we say ourselves: ARP and neighbour answers, ICMP errors, RST. Built from the packet that they answer, into a free frame.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use parser::{
    answer::{self, ErrorReply, Unreachable},
    arp::Arp,
    emit,
    ethernet::MacAddress,
    headers::Headers,
};

use crate::world::{PortView, World};

/// An answer to a packet, sent back to where it came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Who has this IPv4 address: we do.
    Arp(
        /// The reply, filled in.
        Arp,
    ),
    /// Who has this IPv6 address: we do.
    NeighbourAdvertisement,
    /// The hop limit ran out.
    TimeExceeded,
    /// There is no way there.
    HostUnreachable,
    /// Too large for the next link.
    TooBig {
        /// What fits, in bytes.
        mtu: usize,
    },
    /// RST (RFC 9293 §3.10.7.1).
    Reset,
    /// DNS: refused (RFC 1035 §4.1.1).
    NameRefused,
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
        let error = |out: &mut [u8], error| {
            let from = world.gateway_like(headers.source()?)?;
            answer::icmp_error(packet, headers, error, from, out).ok()
        };
        match self {
            Self::Arp(reply) => reply.emit(out).ok(),
            Self::NeighbourAdvertisement => {
                answer::neighbour_advertisement(headers, view.mac, true, out).ok()
            }
            Self::TimeExceeded => error(out, ErrorReply::TimeExceeded),
            Self::HostUnreachable => error(out, ErrorReply::Unreachable(Unreachable::Host)),
            Self::TooBig { mtu } => {
                error(out, ErrorReply::TooBig { mtu: u32::try_from(*mtu).ok()? })
            }
            Self::Reset => answer::reset(headers, out).ok(),
            Self::NameRefused => answer::dns_refused(packet, headers, out).ok(),
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
                _ => Ipv4Addr::UNSPECIFIED,
            };
            Arp::request(view.mac, from, target).emit(out).ok()
        }
        IpAddr::V6(target) => {
            emit::neighbour_solicitation(view.mac, link_local(view.mac), target, out).ok()
        }
    }
}

/// Writes the news that `gateway` is where we are on this port into `out`; its length. Whoever asked in vain while nobody answered
/// waits up to a second before it asks again (RFC 5227 §3, Linux's `retrans_time_ms`); the news ends that wait.
pub fn announce(view: &PortView, gateway: IpAddr, out: &mut [u8]) -> Option<usize> {
    match gateway {
        IpAddr::V4(gateway) => Arp::request(view.mac, gateway, gateway).emit(out).ok(),
        IpAddr::V6(gateway) => answer::router_announcement(gateway, view.mac, out).ok(),
    }
}

/// Our link-local address on a port (RFC 4291 appendix A).
fn link_local(mac: MacAddress) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac.octets();
    Ipv6Addr::from([0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 0x02, b, c, 0xff, 0xfe, d, e, f])
}
