//! Fragments of IPv4 and IPv6 packets. Read RFC 791 §3.2, RFC 8200 §4.5 and RFC 1858 first.
//!
//! A fragment's place is read with its IP header; [`Reassembler`] keeps what stands for it until
//! the packet is whole; then [`Headers::parse_whole`](crate::headers::Headers::parse_whole) reads
//! the transport header, once. [`join`] makes one packet of them for who must see its bytes in one
//! piece.

mod join;
mod reassembly;

pub use join::{InBuffers, join};
pub use reassembly::{Arrival, FragmentKey, Items, Limits, Reassembler, Refusal};

use crate::{ParseError, network::Protocol};

/// The place of a fragment in its packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// What the fragments of one packet share; 16 bits in IPv4.
    pub identification: u32,
    /// Where this fragment's bytes go, in bytes from the start of the fragmentable part; a multiple
    /// of 8.
    pub offset: u16,
    /// Whether fragments follow.
    pub more: bool,
    /// What the fragmentable part starts with: the transport protocol, or in IPv6 also a further
    /// extension header.
    pub protocol: Protocol,
    /// In IPv6, where in the packet the byte lies that announces the fragment header; [`join`]
    /// overwrites it. 0 in IPv4.
    pub announced_at: usize,
}

impl Fragment {
    /// Refuses what no honest sender emits: wrong lengths, an end beyond any packet, or a split
    /// inside the TCP header.
    pub(crate) fn check(&self, length: usize) -> Result<(), ParseError> {
        if length == 0 || (self.more && length & 7 != 0) {
            return Err(ParseError::FragmentLength);
        }
        if usize::from(self.offset).saturating_add(length) > usize::from(u16::MAX) {
            return Err(ParseError::FragmentBeyondMaximum);
        }
        let hides_header = self.offset == 8 || (self.offset == 0 && length < 20);
        if self.protocol == Protocol::TCP && hides_header {
            return Err(ParseError::FragmentTiny);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use proptest::prelude::*;

    use super::*;
    use crate::{
        EmitError,
        checksum::{Sum, verify_transport, verify_transport_parts},
        headers::{Headers, Transport},
        network::Network,
        rewrite,
        tcp::TcpFlags,
        testing::{parsed, tcp_frame, tcp_frames, udp_frame, udp_frames},
    };

    const LIMITS: Limits = Limits {
        packets: 2,
        packets_per_source: 2,
        packets_per_link: 2,
        pieces_per_packet: 40,
        buffers: 40,
        buffers_per_link: 40,
        age: 10,
    };

    /// What a sender makes of a frame when no more than `size` bytes of data, a multiple of 8, fit
    /// a fragment.
    fn fragments(frame: &[u8], size: usize) -> Vec<Vec<u8>> {
        let headers = parsed(frame);
        let (header, data) = frame.split_at(headers.transport_offset);
        let count = data.len().div_ceil(size);
        let fragment = |(index, data): (usize, &[u8])| {
            let (offset, more) = (u16::try_from(index * size).unwrap(), index + 1 < count);
            let mut fragment = header.to_vec();
            if let Network::Ipv6(ipv6) = headers.network {
                let [high, low] = (offset | u16::from(more)).to_be_bytes();
                fragment[20] = 44;
                fragment.extend([ipv6.protocol.value(), 0, high, low, 0, 0, 0, 7]);
                fragment[18..20]
                    .copy_from_slice(&u16::try_from(data.len() + 8).unwrap().to_be_bytes());
            } else {
                fragment[16..18]
                    .copy_from_slice(&u16::try_from(data.len() + 20).unwrap().to_be_bytes());
                fragment[20..22]
                    .copy_from_slice(&(offset >> 3 | u16::from(more) << 13).to_be_bytes());
                fragment[24..26].fill(0);
                let checksum = Sum::new().add_bytes(&fragment[14..34]).checksum();
                fragment[24..26].copy_from_slice(&checksum.to_be_bytes());
            }
            fragment.extend(data);
            fragment
        };
        data.chunks(size).enumerate().map(fragment).collect()
    }

    /// Sends fragments through a reassembler in reverse order.
    fn reassembled(fragments: Vec<Vec<u8>>) -> Option<(Vec<Vec<u8>>, u16)> {
        let mut reassembler = Reassembler::new(LIMITS);
        for frame in fragments.into_iter().rev() {
            let headers = parsed(&frame);
            let (key, fragment) = FragmentKey::of(&headers, 0).unwrap();
            match reassembler.insert(key, fragment, headers.payload_len, 1, frame, 0) {
                Arrival::Wait => {}
                Arrival::Whole { items, length } => return Some((items.collect(), length)),
                Arrival::Refuse { reason, .. } => panic!("{reason:?}"),
            }
        }
        None
    }

    /// A frame in one buffer.
    fn whole(frame: &[u8]) -> InBuffers<'_, [&[u8]; 0]> {
        (frame, frame.len(), [])
    }

    /// The data of all fragments but the first.
    fn rest(fragments: &[Vec<u8>]) -> Vec<&[u8]> {
        fragments[1..].iter().map(|frame| parsed(frame).payload(frame).unwrap()).collect()
    }

    #[test]
    fn a_transport_header_is_not_read_from_a_later_fragment() {
        let pieces = fragments(&udp_frame(false, &[0; 100]), 24);
        assert_eq!(
            Headers::parse_whole(&pieces[1], pieces[1].len(), 108),
            Err(ParseError::FragmentLength)
        );
        assert_eq!(
            Headers::parse_whole(&udp_frame(false, b""), 42, 8),
            Err(ParseError::FragmentLength)
        );
    }

    #[test]
    fn options_that_reach_into_the_second_fragment_are_refused() {
        let mut frame = tcp_frame(false, TcpFlags::ACK, &[1; 100]);
        frame[34 + 12] = 0xf0;
        let pieces = fragments(&frame, 24);
        assert_eq!(
            Headers::parse_whole(&pieces[0], pieces[0].len(), 120),
            Err(ParseError::TcpDataOffset)
        );
    }

    #[test]
    fn what_lies_behind_a_fragment_or_is_missing_from_it_is_never_joined() {
        let frame = tcp_frame(false, TcpFlags::ACK, &[1; 60]);
        let mut pieces = fragments(&frame, 40);
        pieces[1].extend([9; 6]);
        let mut joined = vec![0; 200];
        assert_eq!(join([whole(&pieces[0]), whole(&pieces[1])], &mut joined), Ok(frame.len()));
        assert_eq!(parsed(&joined[..frame.len()]).payload(&joined), Some(&[1; 60][..]));
        let (first, rest) = pieces[0].split_at(40);
        let short = (first, pieces[0].len(), [&rest[1..]]);
        let second = (&pieces[1][..], pieces[1].len(), [&pieces[1][..0]]);
        assert_eq!(join([short, second], &mut joined), Err(EmitError::NotAnswerable));
    }

    #[test]
    fn an_extension_header_behind_the_fragment_header_is_refused() {
        let frame = udp_frame(true, &[0; 32]);
        let mut first = fragments(&frame, 24).swap_remove(0);
        first[54] = 60;
        first[62..70].copy_from_slice(&[17, 0, 1, 4, 0, 0, 0, 0]);
        assert!(matches!(parsed(&first).transport, Transport::Fragment(_)));
        assert_eq!(
            Headers::parse_whole(&first, first.len(), 40),
            Err(ParseError::Ipv6ExtensionOrder)
        );
    }

    proptest! {
        #[test]
        fn a_reassembled_packet_reads_as_the_one_that_was_sent(
            frame in prop_oneof![tcp_frames(), udp_frames()], size in 3..12_usize, client: [u8; 3],
            buffer: prop::sample::Index,
        ) {
            let whole = parsed(&frame);
            let header_len = whole.payload_offset - whole.transport_offset;
            let size = (size * 8).max(header_len.next_multiple_of(8));
            prop_assume!(whole.transport_len() > size);
            let (mut pieces, length) = reassembled(fragments(&frame, size)).unwrap();
            let mut headers = Headers::parse_whole(&pieces[0], pieces[0].len(), length).unwrap();
            prop_assert_eq!(headers.transport, whole.transport);
            prop_assert_eq!(headers.flow_tuple(), whole.flow_tuple());
            prop_assert_eq!(headers.payload_len, whole.payload_len);
            prop_assert!(verify_transport_parts(&pieces[0], rest(&pieces), &headers));
            prop_assert!(!verify_transport(&pieces[0], &headers));

            let mut joined = vec![0; frame.len()];
            let in_buffers = || pieces.iter().map(|piece| {
                let headers_end = parsed(piece).payload_offset;
                let (first, rest) = piece.split_at(headers_end + buffer.index(piece.len() - headers_end));
                (first, piece.len(), rest.chunks(7))
            });
            prop_assert_eq!(join(in_buffers(), &mut joined), Ok(frame.len()));
            let again = parsed(&joined);
            prop_assert_eq!(again.transport, whole.transport);
            prop_assert_eq!(again.flow_tuple(), whole.flow_tuple());
            prop_assert_eq!(again.payload(&joined), whole.payload(&frame));
            prop_assert!(verify_transport(&joined, &again));
            let short = joined.len() - 1;
            let does_not_fit = join(in_buffers(), &mut joined[..short]);
            prop_assert_eq!(does_not_fit, Err(EmitError::BufferTooSmall));

            // Service translation of every fragment.
            let address = match headers.network {
                Network::Ipv6(_) => IpAddr::from([0xfd, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, client[0], client[1], client[2]]),
                _ => IpAddr::from([10, client[0], client[1], client[2]]),
            };
            rewrite::destination(&mut pieces[0], &mut headers, address, Some(8080)).unwrap();
            for piece in &mut pieces[1..] {
                let mut headers = parsed(piece);
                rewrite::destination(piece, &mut headers, address, None).unwrap();
                prop_assert_eq!(parsed(piece), headers);
            }
            prop_assert_eq!(Headers::parse_whole(&pieces[0], pieces[0].len(), length), Ok(headers));
            prop_assert!(verify_transport_parts(&pieces[0], rest(&pieces), &headers));
        }
    }
}
