//! IPv6 and its extension headers. Read RFC 8200, RFC 7112 and RFC 5095 first.
//!
//! A packet arrives after the Ethernet header; its header leaves together with the place where the
//! bounded chain of extension headers ends. What could send the packet elsewhere, or hide its
//! transport header, is refused on the way.

use std::net::Ipv6Addr;

use crate::{ParseError, bytes, fragment::Fragment, network::Protocol};

/// Bytes of the fixed header.
pub const HEADER_LEN: usize = 40;

/// Hop-by-hop, destination options, routing, fragment, destination options: RFC 8200 §4.1
/// recommends no longer chain.
const MAX_EXTENSIONS: usize = 5;

/// Where the fixed header announces what follows it.
const NEXT_HEADER_OFFSET: usize = 6;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION_OPTIONS: u8 = 60;

const OPTION_PAD1: u8 = 0;
const OPTION_JUMBO_PAYLOAD: u8 = 0xc2;
const OPTION_HOME_ADDRESS: u8 = 0xc9;

/// An IPv6 header and what its extension headers say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv6 {
    /// The sender's address, as claimed.
    pub source: Ipv6Addr,
    /// The receiver's address.
    pub destination: Ipv6Addr,
    /// Hops left.
    pub hop_limit: u8,
    /// Differentiated services and congestion notification.
    pub traffic_class: u8,
    /// 20 bits.
    pub flow_label: u32,
    /// Bytes after the fixed header. INVARIANT: inside the frame.
    pub payload_len: u16,
    /// What the chain of extension headers ends with; also behind a first fragment's header.
    /// Authentication, ESP, mobility and "no next header" end a chain, since nothing behind them
    /// can be judged.
    pub protocol: Protocol,
    /// Bytes from the start of the IPv6 header to what the chain ends with, or to a fragment's
    /// data.
    pub chain_len: u16,
    /// The place in a larger packet, when this is not a whole one. A fragment header on a whole
    /// packet counts for nothing (RFC 6946).
    pub fragment: Option<Fragment>,
}

impl Ipv6 {
    /// Reads the header and its extensions at the start of `packet`, of which `available` bytes are
    /// in the frame. `packet` itself may end earlier when the frame is spread over several buffers,
    /// but not before the chain does.
    ///
    /// # Errors
    /// A header is cut short, contradicts itself or the frame, routes elsewhere, or the chain is
    /// longer than allowed.
    pub fn parse(packet: &[u8], available: usize) -> Result<Self, ParseError> {
        let fixed: [u8; HEADER_LEN] = bytes::array(packet, 0).ok_or(ParseError::Ipv6Truncated)?;
        let [v0, v1, v2, v3, l0, l1, next_header, hop_limit, addresses @ ..] = fixed;
        let first_word = u32::from_be_bytes([v0, v1, v2, v3]);
        if first_word >> 28 != 6 {
            return Err(ParseError::Ipv6Version);
        }
        let payload_len = u16::from_be_bytes([l0, l1]);
        let end = HEADER_LEN.saturating_add(bytes::size(payload_len));
        if end > available {
            return Err(ParseError::Ipv6PayloadLength);
        }
        let source =
            Ipv6Addr::from(bytes::array::<16>(&addresses, 0).ok_or(ParseError::Ipv6Truncated)?);
        let destination =
            Ipv6Addr::from(bytes::array::<16>(&addresses, 16).ok_or(ParseError::Ipv6Truncated)?);
        if source.to_ipv4_mapped().is_some() || destination.to_ipv4_mapped().is_some() {
            return Err(ParseError::Ipv6MappedAddress);
        }
        let visible = packet.get(..end).unwrap_or(packet);
        let chain = Chain::walk(visible, end, next_header)?;
        Ok(Self {
            source,
            destination,
            hop_limit,
            traffic_class: v0 << 4 | v1 >> 4,
            flow_label: first_word & 0x000f_ffff,
            payload_len,
            protocol: chain.protocol,
            chain_len: u16::try_from(chain.length)
                .map_err(|_beyond| ParseError::Ipv6ExtensionTruncated)?,
            fragment: chain.fragment,
        })
    }

    /// Bytes of the packet, the fixed header included.
    #[must_use]
    pub fn packet_len(&self) -> usize {
        HEADER_LEN.saturating_add(bytes::size(self.payload_len))
    }

    /// ::, ::1, ff00::/8 and the deprecated ::/96 (RFC 4291 §2.5.5.1).
    pub(crate) fn has_martian_source(&self) -> bool {
        let is_ipv4_compatible = self.source.to_bits() >> 32 == 0;
        self.source.is_multicast() || is_ipv4_compatible
    }
}

/// Where the extension headers lead.
struct Chain {
    protocol: Protocol,
    length: usize,
    fragment: Option<Fragment>,
}

impl Chain {
    /// Walks from the fixed header of `packet`, whose last byte is at `end`, to the first header
    /// that is no extension.
    fn walk(packet: &[u8], end: usize, mut next_header: u8) -> Result<Self, ParseError> {
        let mut announced_at = NEXT_HEADER_OFFSET;
        let mut offset = HEADER_LEN;
        let mut fragment_header: Option<(Fragment, usize)> = None;
        let mut has_routing = false;
        let mut destination_options = 0_u8;
        for _ in 0..=MAX_EXTENSIONS {
            let length = match next_header {
                HOP_BY_HOP => {
                    if offset != HEADER_LEN {
                        return Err(ParseError::Ipv6ExtensionOrder);
                    }
                    options_length(packet, offset)?
                }
                DESTINATION_OPTIONS => {
                    destination_options = destination_options.saturating_add(1);
                    if destination_options > 2 {
                        return Err(ParseError::Ipv6ExtensionOrder);
                    }
                    options_length(packet, offset)?
                }
                ROUTING => {
                    if has_routing {
                        return Err(ParseError::Ipv6ExtensionOrder);
                    }
                    has_routing = true;
                    routing_length(packet, offset)?
                }
                FRAGMENT => {
                    if fragment_header.is_some() {
                        return Err(ParseError::Ipv6ExtensionOrder);
                    }
                    let fragment = read_fragment(packet, offset, announced_at)?;
                    let data_offset = offset.saturating_add(8);
                    fragment_header = Some((fragment, data_offset));
                    if fragment.offset != 0 {
                        fragment.check(end.saturating_sub(data_offset))?;
                        return Ok(Self {
                            protocol: fragment.protocol,
                            length: data_offset,
                            fragment: Some(fragment),
                        });
                    }
                    8
                }
                _ => {
                    let protocol = Protocol::new(next_header);
                    return Self::end(protocol, offset, end, fragment_header);
                }
            };
            next_header = bytes::byte(packet, offset).ok_or(ParseError::Ipv6ExtensionTruncated)?;
            announced_at = offset;
            offset = offset.saturating_add(length);
        }
        Err(ParseError::Ipv6ExtensionOrder)
    }

    /// The chain ends at `offset` with `protocol`. Behind a first fragment's header the whole
    /// transport header must follow (RFC 7112 §5).
    fn end(
        protocol: Protocol,
        offset: usize,
        end: usize,
        fragment_header: Option<(Fragment, usize)>,
    ) -> Result<Self, ParseError> {
        let Some((fragment, data_offset)) = fragment_header.filter(|(fragment, _)| fragment.more)
        else {
            return Ok(Self { protocol, length: offset, fragment: None });
        };
        fragment.check(end.saturating_sub(data_offset))?;
        let header_len = match protocol {
            Protocol::TCP => 20,
            Protocol::UDP | Protocol::ICMPV6 => 8,
            _ => 0,
        };
        if end < offset.saturating_add(header_len) {
            return Err(ParseError::Ipv6ExtensionTruncated);
        }
        Ok(Self { protocol, length: data_offset, fragment: Some(fragment) })
    }
}

/// All bytes of the extension header at `offset`, whose second byte counts units of 8 beyond the
/// first.
fn extension(packet: &[u8], offset: usize) -> Result<&[u8], ParseError> {
    let [_, units]: [u8; 2] =
        bytes::array(packet, offset).ok_or(ParseError::Ipv6ExtensionTruncated)?;
    let length = usize::from(units).saturating_add(1) << 3;
    bytes::range(packet, offset, length).ok_or(ParseError::Ipv6ExtensionTruncated)
}

/// Checks the options of a hop-by-hop or destination options header and returns its length.
fn options_length(packet: &[u8], offset: usize) -> Result<usize, ParseError> {
    let header = extension(packet, offset)?;
    let mut options = header.get(2..).unwrap_or_default();
    while let Some((&kind, rest)) = options.split_first() {
        options = match kind {
            OPTION_PAD1 => rest,
            OPTION_JUMBO_PAYLOAD => return Err(ParseError::Ipv6Jumbogram),
            OPTION_HOME_ADDRESS => return Err(ParseError::Ipv6HomeAddress),
            _ => {
                let (&length, body) = rest.split_first().ok_or(ParseError::Ipv6OptionMalformed)?;
                body.get(usize::from(length)..).ok_or(ParseError::Ipv6OptionMalformed)?
            }
        };
    }
    Ok(header.len())
}

/// Refuses type 0 always and any other type that has not reached its last segment; returns the
/// header's length.
fn routing_length(packet: &[u8], offset: usize) -> Result<usize, ParseError> {
    match extension(packet, offset)? {
        [_, _, 0, ..] => Err(ParseError::Ipv6RoutingHeader),
        header @ [_, _, _, 0, ..] => Ok(header.len()),
        _ => Err(ParseError::Ipv6RoutingHeader),
    }
}

fn read_fragment(
    packet: &[u8],
    offset: usize,
    announced_at: usize,
) -> Result<Fragment, ParseError> {
    let header: [u8; 8] = bytes::array(packet, offset).ok_or(ParseError::Ipv6ExtensionTruncated)?;
    let [next_header, _, o0, o1, i0, i1, i2, i3] = header;
    let place = u16::from_be_bytes([o0, o1]);
    Ok(Fragment {
        identification: u32::from_be_bytes([i0, i1, i2, i3]),
        offset: place & 0xfff8,
        more: place & 1 != 0,
        protocol: Protocol::new(next_header),
        announced_at,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const UDP: u8 = 17;
    const TCP: u8 = 6;

    /// A packet whose fixed header announces `next_header`, with `payload` behind it.
    fn packet(next_header: u8, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x60, 0, 0, 0, 0, 0, next_header, 64];
        packet[4..6].copy_from_slice(&u16::try_from(payload.len()).unwrap().to_be_bytes());
        packet.extend("fd00::1".parse::<Ipv6Addr>().unwrap().octets());
        packet.extend("fd00::2".parse::<Ipv6Addr>().unwrap().octets());
        packet.extend(payload);
        packet
    }

    fn parse(next_header: u8, payload: &[u8]) -> Result<Ipv6, ParseError> {
        let packet = packet(next_header, payload);
        Ipv6::parse(&packet, packet.len())
    }

    /// An extension header of 8 bytes with nothing but padding in it.
    const fn padding(next_header: u8) -> [u8; 8] {
        [next_header, 0, 1, 4, 0, 0, 0, 0]
    }

    fn fragment(next_header: u8, place: u16, payload: &[u8]) -> Vec<u8> {
        let [high, low] = place.to_be_bytes();
        [&[next_header, 0, high, low, 0, 0, 0, 7], payload].concat()
    }

    #[test]
    fn a_plain_header_is_read() {
        let mut bytes = packet(UDP, &[0; 8]);
        bytes[0..4].copy_from_slice(&[0x6a, 0xbc, 0xde, 0xf1]);
        let header = Ipv6::parse(&bytes, bytes.len() + 6).unwrap();
        assert_eq!(header.source, "fd00::1".parse::<Ipv6Addr>().unwrap());
        assert_eq!(header.destination, "fd00::2".parse::<Ipv6Addr>().unwrap());
        assert_eq!((header.traffic_class, header.flow_label), (0xab, 0xc_def1));
        assert_eq!((header.hop_limit, header.protocol, header.chain_len), (64, Protocol::UDP, 40));
        assert_eq!((header.payload_len, header.packet_len()), (8, 48));
    }

    #[test]
    fn lengths_and_version_must_agree_with_the_frame() {
        let good = packet(UDP, &[0; 8]);
        assert_eq!(Ipv6::parse(&good[..39], 48), Err(ParseError::Ipv6Truncated));
        assert_eq!(Ipv6::parse(&good, 47), Err(ParseError::Ipv6PayloadLength));
        let mut wrong = good;
        wrong[0] = 0x45;
        assert_eq!(Ipv6::parse(&wrong, 48), Err(ParseError::Ipv6Version));
    }

    #[test]
    fn a_mapped_address_is_refused_on_both_sides() {
        for offset in [8, 24] {
            let mut bytes = packet(UDP, &[0; 8]);
            bytes[offset..offset + 16]
                .copy_from_slice(&"::ffff:10.0.0.1".parse::<Ipv6Addr>().unwrap().octets());
            assert_eq!(Ipv6::parse(&bytes, bytes.len()), Err(ParseError::Ipv6MappedAddress));
        }
    }

    #[test]
    fn a_bounded_chain_is_walked_to_its_end() {
        let payload = [padding(DESTINATION_OPTIONS), padding(UDP), [0; 8]].concat();
        let header = parse(HOP_BY_HOP, &payload).unwrap();
        assert_eq!((header.protocol, header.chain_len, header.fragment), (Protocol::UDP, 56, None));
    }

    #[test]
    fn hop_by_hop_comes_first_and_nothing_comes_too_often() {
        let late = [padding(HOP_BY_HOP), padding(UDP), [0; 8]].concat();
        assert_eq!(parse(DESTINATION_OPTIONS, &late), Err(ParseError::Ipv6ExtensionOrder));
        let thrice =
            [padding(DESTINATION_OPTIONS), padding(DESTINATION_OPTIONS), padding(UDP), [0; 8]]
                .concat();
        assert_eq!(parse(DESTINATION_OPTIONS, &thrice), Err(ParseError::Ipv6ExtensionOrder));
        let two_fragment_headers = [fragment(FRAGMENT, 0, &[]), fragment(UDP, 0, &[0; 8])].concat();
        assert_eq!(parse(FRAGMENT, &two_fragment_headers), Err(ParseError::Ipv6ExtensionOrder));
    }

    #[test]
    fn a_chain_cut_short_is_refused() {
        assert_eq!(parse(HOP_BY_HOP, &[]), Err(ParseError::Ipv6ExtensionTruncated));
        assert_eq!(
            parse(HOP_BY_HOP, &[UDP, 1, 1, 4, 0, 0, 0, 0]),
            Err(ParseError::Ipv6ExtensionTruncated)
        );
        assert_eq!(parse(FRAGMENT, &[UDP, 0, 0, 0]), Err(ParseError::Ipv6ExtensionTruncated));
    }

    #[test]
    fn options_must_end_inside_their_header() {
        assert_eq!(
            parse(HOP_BY_HOP, &[UDP, 0, 1, 5, 0, 0, 0, 0]),
            Err(ParseError::Ipv6OptionMalformed)
        );
        assert_eq!(
            parse(HOP_BY_HOP, &[UDP, 0, 1, 3, 0, 0, 0, 5]),
            Err(ParseError::Ipv6OptionMalformed)
        );
    }

    #[test]
    fn jumbograms_and_home_addresses_are_refused() {
        assert_eq!(
            parse(HOP_BY_HOP, &[UDP, 0, 0xc2, 4, 0, 1, 0, 0]),
            Err(ParseError::Ipv6Jumbogram)
        );
        let home = [[UDP, 2, 1, 2, 0, 0, 0xc9, 16].as_slice(), &[0; 16]].concat();
        assert_eq!(parse(DESTINATION_OPTIONS, &home), Err(ParseError::Ipv6HomeAddress));
    }

    #[test]
    fn a_route_is_refused_unless_it_is_at_its_end() {
        let with_route =
            |kind, left| parse(ROUTING, &[[UDP, 0, kind, left, 0, 0, 0, 0], [0; 8]].concat());
        assert_eq!(with_route(0, 0), Err(ParseError::Ipv6RoutingHeader));
        assert_eq!(with_route(0, 1), Err(ParseError::Ipv6RoutingHeader));
        assert_eq!(with_route(4, 1), Err(ParseError::Ipv6RoutingHeader));
        assert_eq!(with_route(4, 0).unwrap().chain_len, 48);
    }

    #[test]
    fn an_atomic_fragment_is_a_whole_packet() {
        let header = parse(FRAGMENT, &fragment(TCP, 0, &[0; 20])).unwrap();
        assert_eq!((header.fragment, header.protocol, header.chain_len), (None, Protocol::TCP, 48));
    }

    #[test]
    fn fragments_name_their_place() {
        let first = parse(FRAGMENT, &fragment(TCP, 1, &[0; 24])).unwrap();
        let place = first.fragment.unwrap();
        assert_eq!((place.offset, place.more, place.identification), (0, true, 7));
        assert_eq!((place.announced_at, first.chain_len), (6, 48));
        let last = parse(FRAGMENT, &fragment(TCP, 16, &[0; 3])).unwrap().fragment.unwrap();
        assert_eq!((last.offset, last.more), (16, false));
        let behind_options = [padding(FRAGMENT).to_vec(), fragment(TCP, 16, &[0; 3])].concat();
        assert_eq!(parse(HOP_BY_HOP, &behind_options).unwrap().fragment.unwrap().announced_at, 40);
    }

    #[test]
    fn a_first_fragment_holds_the_whole_chain() {
        assert_eq!(parse(FRAGMENT, &fragment(TCP, 1, &[0; 16])), Err(ParseError::FragmentTiny));
        let options_then_tcp = [padding(TCP).as_slice(), &[0; 16]].concat();
        assert_eq!(
            parse(FRAGMENT, &fragment(DESTINATION_OPTIONS, 1, &options_then_tcp)),
            Err(ParseError::Ipv6ExtensionTruncated)
        );
        let options_cut_short = [DESTINATION_OPTIONS, 1, 1, 4, 0, 0, 0, 0];
        assert_eq!(
            parse(FRAGMENT, &fragment(DESTINATION_OPTIONS, 1, &options_cut_short)),
            Err(ParseError::Ipv6ExtensionTruncated)
        );
    }

    #[test]
    fn impossible_fragments_are_refused() {
        assert_eq!(parse(FRAGMENT, &fragment(UDP, 1, &[0; 12])), Err(ParseError::FragmentLength));
        assert_eq!(parse(FRAGMENT, &fragment(UDP, 16, &[])), Err(ParseError::FragmentLength));
        assert_eq!(
            parse(FRAGMENT, &fragment(UDP, 0xfff8, &[0; 8])),
            Err(ParseError::FragmentBeyondMaximum)
        );
        assert_eq!(parse(FRAGMENT, &fragment(TCP, 8, &[0; 8])), Err(ParseError::FragmentTiny));
    }

    #[test]
    fn no_host_has_a_martian_address() {
        let mut header = parse(UDP, &[0; 8]).unwrap();
        assert!(!header.has_martian_source());
        for martian in ["::", "::1", "::10.0.0.1", "ff02::1"] {
            header.source = martian.parse().unwrap();
            assert!(header.has_martian_source(), "{martian}");
        }
        header.source = "fe80::1".parse().unwrap();
        assert!(!header.has_martian_source());
    }
}
