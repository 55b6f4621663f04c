//! IPv6 neighbour discovery. Read RFC 4861 first.
//!
//! An ICMPv6 message of types 133 to 137 arrives and leaves typed, after the checks of RFC 4861
//! §7.1 that keep off-link senders out.

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
                // Duplicate address detection knows no MAC to learn and asks the solicited-node
                // group (RFC 4861 §7.1.1).
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

/// What follows the second word of a solicitation or advertisement: the target, and one link-layer
/// address option.
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
            let address = bytes::array(option, 2).filter(|_| units == 1).map(MacAddress::new);
            found = address.filter(|address| !address.is_group());
            found.ok_or(ParseError::NdpMalformed)?;
        }
        options = rest;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::{
        emit::IcmpPacket,
        headers::{Headers, Transport},
        icmpv6::Icmpv6Message,
        testing::{CLIENT_MAC, built, envelope},
    };

    fn target() -> Ipv6Addr {
        "fd00::2".parse().unwrap()
    }

    struct Message {
        source: Ipv6Addr,
        destination: Ipv6Addr,
        hop_limit: u8,
        icmp_type: u8,
        code: u8,
        flags: u8,
        body: Vec<u8>,
    }

    impl Message {
        fn solicitation() -> Self {
            let body =
                target_and_link_layer(target(), OPTION_SOURCE_LINK_LAYER, CLIENT_MAC).to_vec();
            let (source, destination) =
                ("fd00::1".parse().unwrap(), "ff02::1:ff00:2".parse().unwrap());
            let icmp_type = NEIGHBOUR_SOLICITATION;
            Self { source, destination, hop_limit: 255, icmp_type, code: 0, flags: 0, body }
        }

        fn advertisement() -> Self {
            let body =
                target_and_link_layer(target(), OPTION_TARGET_LINK_LAYER, CLIENT_MAC).to_vec();
            let (flags, destination) = (FLAG_SOLICITED, "fd00::1".parse().unwrap());
            Self {
                icmp_type: NEIGHBOUR_ADVERTISEMENT,
                source: target(),
                destination,
                flags,
                body,
                ..Self::solicitation()
            }
        }

        fn parse(&self) -> Result<Ndp, ParseError> {
            let mut envelope = envelope(true);
            envelope.source = IpAddr::V6(self.source);
            envelope.destination = IpAddr::V6(self.destination);
            envelope.hop_limit = self.hop_limit;
            let word = [self.flags, 0, 0, 0];
            let packet = IcmpPacket {
                envelope,
                icmp_type: self.icmp_type,
                code: self.code,
                word,
                body: &self.body,
            };
            match Headers::parse(&built(|out| packet.emit(out)))?.transport {
                Transport::Icmpv6(icmpv6) => match icmpv6.message {
                    Icmpv6Message::Ndp(ndp) => Ok(ndp),
                    other => panic!("{other:?}"),
                },
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn solicitations_and_advertisements_are_read() {
        let asked = Ndp::NeighbourSolicitation { target: target(), source_mac: Some(CLIENT_MAC) };
        assert_eq!(Message::solicitation().parse(), Ok(asked));
        let said = Ndp::NeighbourAdvertisement {
            target: target(),
            target_mac: Some(CLIENT_MAC),
            is_router: false,
            is_solicited: true,
            overrides: false,
        };
        assert_eq!(Message::advertisement().parse(), Ok(said));
        let without_option =
            Message { body: target().octets().to_vec(), ..Message::solicitation() };
        let asked = Ndp::NeighbourSolicitation { target: target(), source_mac: None };
        assert_eq!(without_option.parse(), Ok(asked));
        let body = vec![1, 1, 2, 0, 0, 0, 0, 1];
        let router = Message { icmp_type: ROUTER_SOLICITATION, body, ..Message::solicitation() };
        assert_eq!(router.parse(), Ok(Ndp::RouterSolicitation { source_mac: Some(CLIENT_MAC) }));
    }

    #[test]
    fn what_only_routers_say_is_named() {
        let says = |icmp_type| Message { icmp_type, ..Message::solicitation() }.parse();
        assert_eq!(says(ROUTER_ADVERTISEMENT), Ok(Ndp::RouterAdvertisement));
        assert_eq!(says(REDIRECT), Ok(Ndp::Redirect));
    }

    #[test]
    fn nothing_is_believed_from_beyond_the_link() {
        for icmp_type in ROUTER_SOLICITATION..=REDIRECT {
            let message = Message { hop_limit: 254, icmp_type, ..Message::solicitation() };
            assert_eq!(message.parse(), Err(ParseError::NdpHopLimit));
        }
    }

    #[test]
    fn the_checks_of_rfc_4861_hold() {
        let malformed = Err(ParseError::NdpMalformed);
        assert_eq!(Message { code: 1, ..Message::solicitation() }.parse(), malformed);
        let group_target =
            target_and_link_layer("ff02::1".parse().unwrap(), 1, CLIENT_MAC).to_vec();
        assert_eq!(Message { body: group_target, ..Message::solicitation() }.parse(), malformed);
        let unasked =
            Message { destination: "ff02::1".parse().unwrap(), ..Message::advertisement() };
        assert_eq!(unasked.parse(), malformed);
        let anonymous_with_mac =
            Message { source: Ipv6Addr::UNSPECIFIED, ..Message::solicitation() };
        assert_eq!(anonymous_with_mac.parse(), malformed);
        let body = target().octets().to_vec();
        let anonymous_to_one = Message {
            source: Ipv6Addr::UNSPECIFIED,
            destination: target(),
            body,
            ..Message::solicitation()
        };
        assert_eq!(anonymous_to_one.parse(), malformed);
    }

    #[test]
    fn options_must_have_a_length_and_end_inside() {
        for option in [
            &[1, 0, 0, 0, 0, 0, 0, 0][..],
            &[1, 2, 0, 0, 0, 0, 0, 0],
            &[1],
            &[9, 1, 0],
            &[1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        ] {
            let body = [&target().octets()[..], option].concat();
            let message = Message { body, ..Message::solicitation() };
            assert_eq!(message.parse(), Err(ParseError::NdpMalformed), "{option:?}");
        }
        let group =
            target_and_link_layer(target(), OPTION_SOURCE_LINK_LAYER, MacAddress::BROADCAST)
                .to_vec();
        assert_eq!(
            Message { body: group, ..Message::solicitation() }.parse(),
            Err(ParseError::NdpMalformed)
        );
        let cut = Message { body: target().octets()[..12].to_vec(), ..Message::solicitation() };
        assert_eq!(cut.parse(), Err(ParseError::IcmpTruncated));
    }
}
