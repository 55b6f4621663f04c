//! IPv4. Read RFC 791, RFC 1812 and RFC 7126 first.
//!
//! A packet arrives after the Ethernet header; its header leaves, checked so far that a receiver
//! would not drop it and would find the same bytes at the same places.

use std::net::Ipv4Addr;

use crate::{ParseError, bytes, checksum::Sum, fragment::Fragment, network::Protocol};

/// Bytes of a header without options.
pub const MIN_HEADER_LEN: usize = 20;

const OPTION_END: u8 = 0;
const OPTION_NO_OPERATION: u8 = 1;
const OPTION_LOOSE_SOURCE_ROUTE: u8 = 131;
const OPTION_STRICT_SOURCE_ROUTE: u8 = 137;

/// An IPv4 header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv4 {
    /// The sender's address, as claimed.
    pub source: Ipv4Addr,
    /// The receiver's address.
    pub destination: Ipv4Addr,
    /// The TTL.
    pub hop_limit: u8,
    /// What follows the header.
    pub protocol: Protocol,
    /// Differentiated services and congestion notification, as one byte.
    pub traffic_class: u8,
    /// The packet's number, shared by its fragments.
    pub identification: u16,
    /// Whether routers must not fragment the packet.
    pub dont_fragment: bool,
    /// Whether fragments follow.
    pub more_fragments: bool,
    /// The fragment's place, in bytes.
    pub fragment_offset: u16,
    /// Bytes of the header, options included: 20 to 60.
    pub header_len: u8,
    /// Bytes of the packet, header included. INVARIANT: at least `header_len`, and inside the
    /// frame.
    pub total_len: u16,
}

impl Ipv4 {
    /// Reads the header at the start of `packet`, of which `available` bytes are in the frame.
    /// `packet` itself may end earlier when the frame is spread over several buffers, but not
    /// before the header does.
    ///
    /// # Errors
    /// The header is cut short, contradicts itself or the frame, is corrupt, or carries a source
    /// route.
    pub fn parse(packet: &[u8], available: usize) -> Result<Self, ParseError> {
        let fixed: [u8; MIN_HEADER_LEN] =
            bytes::array(packet, 0).ok_or(ParseError::Ipv4Truncated)?;
        let [
            vi,
            traffic_class,
            l0,
            l1,
            i0,
            i1,
            f0,
            f1,
            hop_limit,
            protocol,
            _,
            _,
            s0,
            s1,
            s2,
            s3,
            d0,
            d1,
            d2,
            d3,
        ] = fixed;
        if vi >> 4 != 4 {
            return Err(ParseError::Ipv4Version);
        }
        let header_len = (vi & 0x0f) << 2;
        if usize::from(header_len) < MIN_HEADER_LEN {
            return Err(ParseError::Ipv4HeaderLength);
        }
        let total_len = u16::from_be_bytes([l0, l1]);
        if total_len < u16::from(header_len) || usize::from(total_len) > available {
            return Err(ParseError::Ipv4TotalLength);
        }
        let header = packet.get(..usize::from(header_len)).ok_or(ParseError::Ipv4HeaderLength)?;
        if !Sum::new().add_bytes(header).is_intact() {
            return Err(ParseError::Ipv4Checksum);
        }
        check_options(header.get(MIN_HEADER_LEN..).unwrap_or_default())?;
        let fragment = u16::from_be_bytes([f0, f1]);
        Ok(Self {
            source: Ipv4Addr::new(s0, s1, s2, s3),
            destination: Ipv4Addr::new(d0, d1, d2, d3),
            hop_limit,
            protocol: Protocol::new(protocol),
            traffic_class,
            identification: u16::from_be_bytes([i0, i1]),
            dont_fragment: fragment & 0x4000 != 0,
            more_fragments: fragment & 0x2000 != 0,
            fragment_offset: (fragment & 0x1fff) << 3,
            header_len,
            total_len,
        })
    }

    /// The place in a larger packet, when this is not a whole one.
    #[must_use]
    pub fn fragment(&self) -> Option<Fragment> {
        let is_fragment = self.more_fragments || self.fragment_offset != 0;
        is_fragment.then_some(Fragment {
            identification: u32::from(self.identification),
            offset: self.fragment_offset,
            more: self.more_fragments,
            protocol: self.protocol,
            announced_at: 0,
        })
    }

    pub(crate) fn has_martian_source(&self) -> bool {
        let [first, ..] = self.source.octets();
        first == 0 || first == 127 || first >= 224
    }
}

/// Walks the options: each must end inside the header, and none may route the packet elsewhere.
fn check_options(mut options: &[u8]) -> Result<(), ParseError> {
    while let Some((&kind, rest)) = options.split_first() {
        options = match kind {
            OPTION_END => return Ok(()),
            OPTION_NO_OPERATION => rest,
            OPTION_LOOSE_SOURCE_ROUTE | OPTION_STRICT_SOURCE_ROUTE => {
                return Err(ParseError::Ipv4SourceRoute);
            }
            _ => {
                let length = rest.first().copied().filter(|&length| length >= 2);
                let length = length.ok_or(ParseError::Ipv4OptionMalformed)?;
                options.get(usize::from(length)..).ok_or(ParseError::Ipv4OptionMalformed)?
            }
        };
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header with these options, for a packet of `payload` further bytes, with a right checksum.
    fn packet(options: &[u8], payload: usize) -> Vec<u8> {
        assert_eq!(options.len() % 4, 0);
        let header_len = MIN_HEADER_LEN + options.len();
        let mut packet = vec![0; header_len + payload];
        packet[0] = 0x40 | u8::try_from(header_len / 4).unwrap();
        packet[2..4].copy_from_slice(&u16::try_from(header_len + payload).unwrap().to_be_bytes());
        packet[8..10].copy_from_slice(&[64, 17]);
        packet[12..20].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
        packet[20..header_len].copy_from_slice(options);
        seal(&mut packet);
        packet
    }

    fn seal(packet: &mut [u8]) {
        let header_len = usize::from(packet[0] & 15) * 4;
        packet[10..12].fill(0);
        let checksum = Sum::new().add_bytes(&packet[..header_len]).checksum();
        packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    }

    fn parse(packet: &[u8]) -> Result<Ipv4, ParseError> {
        Ipv4::parse(packet, packet.len())
    }

    fn edited(edit: impl FnOnce(&mut Vec<u8>)) -> Result<Ipv4, ParseError> {
        let mut packet = packet(&[], 8);
        edit(&mut packet);
        seal(&mut packet);
        parse(&packet)
    }

    #[test]
    fn a_plain_header_is_read() {
        let header = parse(&packet(&[], 8)).unwrap();
        assert_eq!(header.source, Ipv4Addr::new(10, 0, 0, 1));
        assert_eq!(header.destination, Ipv4Addr::new(10, 0, 0, 2));
        assert_eq!((header.hop_limit, header.protocol), (64, Protocol::UDP));
        assert_eq!((header.header_len, header.total_len), (20, 28));
        assert_eq!(header.fragment(), None);
    }

    #[test]
    fn a_header_cut_short_is_refused() {
        assert_eq!(parse(&packet(&[], 8)[..19]), Err(ParseError::Ipv4Truncated));
        let with_options = packet(&[1, 1, 1, 0], 8);
        assert_eq!(Ipv4::parse(&with_options[..22], 32), Err(ParseError::Ipv4HeaderLength));
    }

    #[test]
    fn a_version_that_contradicts_the_ethertype_is_refused() {
        assert_eq!(edited(|packet| packet[0] = 0x65), Err(ParseError::Ipv4Version));
    }

    #[test]
    fn a_header_length_below_the_minimum_is_refused() {
        assert_eq!(edited(|packet| packet[0] = 0x44), Err(ParseError::Ipv4HeaderLength));
    }

    #[test]
    fn total_length_must_lie_between_header_and_frame() {
        assert_eq!(edited(|packet| packet[3] = 19), Err(ParseError::Ipv4TotalLength));
        assert_eq!(edited(|packet| packet[3] = 29), Err(ParseError::Ipv4TotalLength));
        assert_eq!(edited(|packet| packet[3] = 20).unwrap().total_len, 20);
    }

    #[test]
    fn every_flipped_bit_of_the_header_is_noticed() {
        for bit in 0..160 {
            let mut packet = packet(&[], 8);
            packet[bit / 8] ^= 1 << (bit % 8);
            assert!(parse(&packet).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn source_routes_are_refused_behind_any_padding() {
        for kind in [OPTION_LOOSE_SOURCE_ROUTE, OPTION_STRICT_SOURCE_ROUTE] {
            assert_eq!(parse(&packet(&[1, kind, 3, 4], 0)), Err(ParseError::Ipv4SourceRoute));
        }
    }

    #[test]
    fn options_must_end_inside_the_header() {
        assert_eq!(parse(&packet(&[7, 5, 4, 0], 0)), Err(ParseError::Ipv4OptionMalformed));
        assert_eq!(parse(&packet(&[7, 1, 0, 0], 0)), Err(ParseError::Ipv4OptionMalformed));
        assert_eq!(parse(&packet(&[1, 1, 1, 7], 0)), Err(ParseError::Ipv4OptionMalformed));
        assert_eq!(parse(&packet(&[148, 4, 0, 0], 0)).unwrap().header_len, 24);
        assert_eq!(
            parse(&packet(&[0, 131, 1, 1], 0)).unwrap().header_len,
            24,
            "nothing after the end option counts"
        );
    }

    #[test]
    fn fragments_name_their_place_in_bytes() {
        let first = edited(|packet| packet[6] = 0x20).unwrap().fragment().unwrap();
        assert_eq!((first.offset, first.more), (0, true));
        let last = edited(|packet| packet[7] = 3).unwrap().fragment().unwrap();
        assert_eq!((last.offset, last.more), (24, false));
        assert!(edited(|packet| packet[6] = 0x40).unwrap().dont_fragment);
    }

    #[test]
    fn no_host_has_a_martian_address() {
        let is_martian = |source: [u8; 4]| {
            edited(|packet| packet[12..16].copy_from_slice(&source)).unwrap().has_martian_source()
        };
        for source in
            [[0, 0, 0, 0], [0, 1, 2, 3], [127, 0, 0, 1], [224, 0, 0, 1], [240, 0, 0, 1], [255; 4]]
        {
            assert!(is_martian(source), "{source:?}");
        }
        for source in [
            [1, 1, 1, 1],
            [10, 0, 0, 1],
            [126, 255, 255, 255],
            [128, 0, 0, 1],
            [223, 255, 255, 255],
        ] {
            assert!(!is_martian(source), "{source:?}");
        }
    }
}
