//! The network header, whichever version it is, and the numbers both versions share.

use std::{fmt, net::IpAddr};

use crate::{arp::Arp, ipv4::Ipv4, ipv6::Ipv6};

/// A TCP or UDP port, or what stands in for one (an ICMP echo's identifier).
pub type L4Port = u16;

/// The number of a transport protocol (IANA "Assigned Internet Protocol Numbers").
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Protocol(u8);

impl Protocol {
    /// RFC 792.
    pub const ICMP: Self = Self(1);
    /// RFC 9293.
    pub const TCP: Self = Self(6);
    /// RFC 768.
    pub const UDP: Self = Self(17);
    /// RFC 4443.
    pub const ICMPV6: Self = Self(58);
    /// RFC 9260.
    pub const SCTP: Self = Self(132);

    /// The protocol with this number.
    #[must_use]
    pub const fn new(value: u8) -> Self {
        Self(value)
    }

    /// The number on the wire.
    #[must_use]
    pub const fn value(self) -> u8 {
        self.0
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::ICMP => formatter.write_str("ICMPv4"),
            Self::TCP => formatter.write_str("TCP"),
            Self::UDP => formatter.write_str("UDP"),
            Self::ICMPV6 => formatter.write_str("ICMPv6"),
            Self::SCTP => formatter.write_str("SCTP"),
            Self(number) => write!(formatter, "protocol {number}"),
        }
    }
}

impl fmt::Debug for Protocol {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// What follows the Ethernet header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// IPv4.
    Ipv4(Ipv4),
    /// IPv6, its extension headers included.
    Ipv6(Ipv6),
    /// ARP, which has no transport header behind it.
    Arp(Arp),
}

impl Network {
    /// The address the packet claims to come from.
    #[must_use]
    pub const fn source(&self) -> Option<IpAddr> {
        match self {
            Self::Ipv4(header) => Some(IpAddr::V4(header.source)),
            Self::Ipv6(header) => Some(IpAddr::V6(header.source)),
            Self::Arp(_) => None,
        }
    }

    /// The address the packet is for.
    #[must_use]
    pub const fn destination(&self) -> Option<IpAddr> {
        match self {
            Self::Ipv4(header) => Some(IpAddr::V4(header.destination)),
            Self::Ipv6(header) => Some(IpAddr::V6(header.destination)),
            Self::Arp(_) => None,
        }
    }

    /// The TTL or hop limit.
    #[must_use]
    pub const fn hop_limit(&self) -> Option<u8> {
        match self {
            Self::Ipv4(header) => Some(header.hop_limit),
            Self::Ipv6(header) => Some(header.hop_limit),
            Self::Arp(_) => None,
        }
    }

    /// Bytes of the IP packet as its own header counts them, without Ethernet's padding.
    #[must_use]
    pub fn packet_len(&self) -> Option<usize> {
        match self {
            Self::Ipv4(header) => Some(usize::from(header.total_len)),
            Self::Ipv6(header) => Some(header.packet_len()),
            Self::Arp(_) => None,
        }
    }

    /// Whether no host may have the source address: unspecified, loopback, multicast, broadcast,
    /// reserved (RFC 6890, RFC 1812 §5.3.7, RFC 4291 §2.5). The anti-spoofing check refuses such
    /// packets before it looks up anything. An unspecified IPv6 source is legitimate in duplicate
    /// address detection alone (RFC 4862 §5.4.2).
    #[must_use]
    pub fn has_martian_source(&self) -> bool {
        match self {
            Self::Ipv4(header) => header.has_martian_source(),
            Self::Ipv6(header) => header.has_martian_source(),
            Self::Arp(_) => false,
        }
    }

    /// Whether the destination is a group of hosts (or an IPv4 broadcast), so that no error may
    /// answer the packet.
    #[must_use]
    pub fn is_to_group(&self) -> bool {
        match self {
            Self::Ipv4(header) => {
                header.destination.is_multicast() || header.destination.is_broadcast()
            }
            Self::Ipv6(header) => header.destination.is_multicast(),
            Self::Arp(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocols_print_their_names_or_numbers() {
        assert_eq!(Protocol::TCP.to_string(), "TCP");
        assert_eq!(Protocol::new(47).to_string(), "protocol 47");
    }
}
