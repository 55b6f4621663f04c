//! IPv6 neighbour discovery. Read RFC 4861 first.
//!
//! An ICMPv6 message of types 133 to 137 arrives and leaves typed, after the checks of RFC 4861 §7.1 that keep off-link
//! senders out.

use std::net::Ipv6Addr;

use crate::{ParseError, bytes, ethernet::MacAddress, ipv6::Ipv6};

pub(crate) const ROUTER_SOLICITATION: u8 = 133;
pub(crate) const ROUTER_ADVERTISEMENT: u8 = 134;
pub(crate) const NEIGHBOUR_SOLICITATION: u8 = 135;
pub(crate) const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
pub(crate) const REDIRECT: u8 = 137;

pub(crate) const OPTION_SOURCE_LINK_LAYER: u8 = 1;
pub(crate) const OPTION_TARGET_LINK_LAYER: u8 = 2;

/// Set in an advertisement by routers.
pub(crate) const FLAG_ROUTER: u8 = 0x80;
/// Set in an advertisement that answers a solicitation.
pub(crate) const FLAG_SOLICITED: u8 = 0x40;
/// Set in an advertisement that replaces what the receiver believed.
pub(crate) const FLAG_OVERRIDE: u8 = 0x20;

/// A neighbour discovery message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ndp {
    /// Is there a router?
    RouterSolicitation {
        /// The asker's MAC, when it says so.
        source_mac: Option<MacAddress>,
    },
    /// I am a router: never a pod's to say.
    RouterAdvertisement,
    /// Who has the target address?
    NeighbourSolicitation {
        /// The address asked for.
        target: Ipv6Addr,
        /// The asker's MAC, when it says so; absent in duplicate address detection.
        source_mac: Option<MacAddress>,
    },
    /// The target address is here.
    NeighbourAdvertisement {
        /// The address claimed; the anti-spoofing check compares it with the port's.
        target: Ipv6Addr,
        /// The MAC claimed, when it says so.
        target_mac: Option<MacAddress>,
        /// Whether the sender says it is a router.
        is_router: bool,
        /// Whether it answers a solicitation.
        is_solicited: bool,
        /// Whether it replaces what the receiver believed.
        overrides: bool,
    },
    /// Use another router: never a pod's to say.
    Redirect,
}

impl Ndp {
    /// Reads a whole ICMPv6 message behind the IPv6 header given.
    pub(crate) fn parse(message: &[u8], ipv6: &Ipv6) -> Result<Self, ParseError> {
        if ipv6.hop_limit != 255 {
            return Err(ParseError::NdpHopLimit);
        }
        let [icmp_type, code, _, _, flags, ..] = message else {
            return Err(ParseError::IcmpTruncated);
        };
        if *code != 0 {
            return Err(ParseError::NdpMalformed);
        }
        match *icmp_type {
            ROUTER_SOLICITATION => {
                let source_mac = link_layer(message, 8, OPTION_SOURCE_LINK_LAYER)?;
                Ok(Self::RouterSolicitation { source_mac })
            }
            ROUTER_ADVERTISEMENT => Ok(Self::RouterAdvertisement),
            NEIGHBOUR_SOLICITATION => {
                let source_mac = link_layer(message, 24, OPTION_SOURCE_LINK_LAYER)?;
                // Duplicate address detection knows no MAC to learn and asks the solicited-node group (RFC 4861 §7.1.1).
                if ipv6.source.is_unspecified()
                    && (source_mac.is_some() || !ipv6.destination.is_multicast())
                {
                    return Err(ParseError::NdpMalformed);
                }
                Ok(Self::NeighbourSolicitation { target: target(message)?, source_mac })
            }
            NEIGHBOUR_ADVERTISEMENT => {
                let is_solicited = flags & FLAG_SOLICITED != 0;
                if is_solicited && ipv6.destination.is_multicast() {
                    return Err(ParseError::NdpMalformed);
                }
                Ok(Self::NeighbourAdvertisement {
                    target: target(message)?,
                    target_mac: link_layer(message, 24, OPTION_TARGET_LINK_LAYER)?,
                    is_router: flags & FLAG_ROUTER != 0,
                    is_solicited,
                    overrides: flags & FLAG_OVERRIDE != 0,
                })
            }
            REDIRECT => Ok(Self::Redirect),
            _ => Err(ParseError::NdpMalformed),
        }
    }
}

/// What follows the second word of a solicitation or advertisement: the target, and one link-layer address option.
pub(crate) fn target_and_link_layer(target: Ipv6Addr, option: u8, mac: MacAddress) -> [u8; 24] {
    let [t0, t1, t2, t3, t4, t5, t6, t7, t8, t9, t10, t11, t12, t13, t14, t15] = target.octets();
    let [m0, m1, m2, m3, m4, m5] = mac.octets();
    [
        t0, t1, t2, t3, t4, t5, t6, t7, t8, t9, t10, t11, t12, t13, t14, t15, option, 1, m0, m1,
        m2, m3, m4, m5,
    ]
}

/// The target address of a solicitation or advertisement, which is never a group.
fn target(message: &[u8]) -> Result<Ipv6Addr, ParseError> {
    let target = Ipv6Addr::from(bytes::array::<16>(message, 8).ok_or(ParseError::IcmpTruncated)?);
    if target.is_multicast() { Err(ParseError::NdpMalformed) } else { Ok(target) }
}

/// Walks the options from `offset` on and returns the address in the one of kind `wanted`.
fn link_layer(message: &[u8], offset: usize, wanted: u8) -> Result<Option<MacAddress>, ParseError> {
    let mut options = message.get(offset..).ok_or(ParseError::IcmpTruncated)?;
    let mut found = None;
    while let Some((&kind, rest)) = options.split_first() {
        let units =
            rest.first().copied().filter(|&units| units != 0).ok_or(ParseError::NdpMalformed)?;
        let (option, rest) =
            options.split_at_checked(usize::from(units) << 3).ok_or(ParseError::NdpMalformed)?;
        if kind == wanted {
            let address =
                bytes::array(option, 2).filter(|_| units == 1).ok_or(ParseError::NdpMalformed)?;
            found = Some(MacAddress::new(address));
        }
        options = rest;
    }
    Ok(found)
}
