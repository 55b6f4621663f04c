//! Ethernet II. Read IEEE 802.3 §3 first.
//!
//! A frame arrives, addresses and `EtherType` leave. Tagged and LLC frames are refused here, so
//! that everything after this file finds its packet at one place: byte 14.

use std::fmt;

use crate::{ParseError, bytes};

/// Bytes of an untagged Ethernet header, where the network header starts.
pub const HEADER_LEN: usize = 14;

/// A 48-bit station address.
///
/// INVARIANT: the number's upper 16 bits are zero.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MacAddress(u64);

impl MacAddress {
    /// The address of every station on the link.
    pub const BROADCAST: Self = Self::new([0xff; 6]);

    /// The address with these bytes, in transmission order.
    #[must_use]
    pub const fn new(octets: [u8; 6]) -> Self {
        let [a, b, c, d, e, f] = octets;
        Self(u64::from_be_bytes([0, 0, a, b, c, d, e, f]))
    }

    /// The address whose bytes are the lower 48 bits of this number, the first of them the highest.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits & 0xffff_ffff_ffff)
    }

    /// The bytes as one number, the first of them the highest of 48 bits.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// The bytes in transmission order.
    #[must_use]
    pub const fn octets(self) -> [u8; 6] {
        let [_, _, a, b, c, d, e, f] = self.0.to_be_bytes();
        [a, b, c, d, e, f]
    }

    /// Whether the group bit is set: multicast or broadcast.
    #[must_use]
    pub const fn is_group(self) -> bool {
        self.0 >> 40 & 1 != 0
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, f] = self.octets();
        write!(formatter, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
    }
}

impl fmt::Debug for MacAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// What the payload of a frame is.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct EtherType(u16);

impl EtherType {
    /// RFC 894.
    pub const IPV4: Self = Self(0x0800);
    /// RFC 826.
    pub const ARP: Self = Self(0x0806);
    /// RFC 2464.
    pub const IPV6: Self = Self(0x86dd);

    /// The type with this number.
    #[must_use]
    pub const fn new(value: u16) -> Self {
        Self(value)
    }

    /// The number on the wire.
    #[must_use]
    pub const fn value(self) -> u16 {
        self.0
    }

    /// 802.1Q, 802.1ad and the older `QinQ` number.
    const fn is_vlan(self) -> bool {
        matches!(self.0, 0x8100 | 0x88a8 | 0x9100)
    }

    /// Below 0x0600 the field is a length (IEEE 802.3 §3.2.6).
    const fn is_length(self) -> bool {
        self.0 < 0x0600
    }
}

impl fmt::Debug for EtherType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "EtherType({:#06x})", self.0)
    }
}

/// Whom a frame is for, and who sent it, as the frame's first bytes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stations {
    /// The station the frame is for.
    pub destination: MacAddress,
    /// The station that sent it.
    pub source: MacAddress,
}

impl Stations {
    /// Bytes that they take.
    pub const LEN: usize = 12;

    /// Their bytes.
    #[must_use]
    #[inline]
    pub const fn to_bytes(self) -> [u8; Self::LEN] {
        let [d0, d1, d2, d3, d4, d5, s0, s1] =
            (self.destination.0 << 16 | self.source.0 >> 32).to_be_bytes();
        let [_, _, _, _, s2, s3, s4, s5] = self.source.0.to_be_bytes();
        [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5]
    }
}

/// The header of an Ethernet II frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ethernet {
    /// The station the frame is for.
    pub destination: MacAddress,
    /// The station that sent it.
    pub source: MacAddress,
    /// What comes next.
    pub ethertype: EtherType,
}

impl Ethernet {
    /// Reads the header.
    ///
    /// # Errors
    /// The frame is a runt, tagged, LLC, or claims to come from a group of stations.
    pub fn parse(frame: &[u8]) -> Result<Self, ParseError> {
        let header: [u8; HEADER_LEN] =
            bytes::array(frame, 0).ok_or(ParseError::EthernetTruncated)?;
        let [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, t0, t1] = header;
        let ethertype = EtherType(u16::from_be_bytes([t0, t1]));
        if ethertype.is_length() {
            return Err(ParseError::EthernetLlc);
        }
        if ethertype.is_vlan() {
            return Err(ParseError::EthernetVlan);
        }
        let source = MacAddress::new([s0, s1, s2, s3, s4, s5]);
        if source.is_group() {
            return Err(ParseError::EthernetGroupSource);
        }
        Ok(Self { destination: MacAddress::new([d0, d1, d2, d3, d4, d5]), source, ethertype })
    }

    /// The header's bytes.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; HEADER_LEN] {
        let [d0, d1, d2, d3, d4, d5] = self.destination.octets();
        let [s0, s1, s2, s3, s4, s5] = self.source.octets();
        let [t0, t1] = self.ethertype.0.to_be_bytes();
        [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, t0, t1]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const POD: MacAddress = MacAddress::new([2, 0, 0, 0, 0, 1]);

    fn frame(ethertype: u16) -> [u8; HEADER_LEN] {
        Ethernet {
            destination: MacAddress::BROADCAST,
            source: POD,
            ethertype: EtherType(ethertype),
        }
        .to_bytes()
    }

    #[test]
    fn a_runt_is_refused() {
        assert_eq!(Ethernet::parse(&frame(0x0800)[..13]), Err(ParseError::EthernetTruncated));
    }

    #[test]
    fn tags_and_lengths_are_refused() {
        for tag in [0x8100, 0x88a8, 0x9100] {
            assert_eq!(Ethernet::parse(&frame(tag)), Err(ParseError::EthernetVlan));
        }
        assert_eq!(Ethernet::parse(&frame(0x05ff)), Err(ParseError::EthernetLlc));
        assert!(Ethernet::parse(&frame(0x0600)).is_ok());
    }

    #[test]
    fn a_group_of_stations_cannot_send() {
        let mut frame = frame(0x0800);
        frame[6] = 1;
        assert_eq!(Ethernet::parse(&frame), Err(ParseError::EthernetGroupSource));
    }

    #[test]
    fn addresses_read_as_people_write_them() {
        assert_eq!(POD.to_string(), "02:00:00:00:00:01");
        assert!(MacAddress::BROADCAST.is_group());
        assert!(!POD.is_group());
    }

    proptest! {
        #[test]
        fn what_is_emitted_is_read_back(
            destination: [u8; 6],
            mut source: [u8; 6],
            ethertype in 0x0600u16..0x8100,
        ) {
            source[0] &= 0xfe;
            let header = Ethernet {
                destination: MacAddress::new(destination),
                source: MacAddress::new(source),
                ethertype: EtherType(ethertype),
            };
            prop_assert_eq!(Ethernet::parse(&header.to_bytes()), Ok(header));
        }
    }
}
