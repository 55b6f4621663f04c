//! The packet that nearly all traffic consists of, read at fixed places: untagged, without IP options or extension headers, whole
//! and in one buffer, between two hosts, with a hop to go; a segment of an open connection, or a datagram.
//!
//! ```text
//! | Ethernet | IPv4: 20 | TCP: 20 + options, flags ACK or ACK and PSH | payload | padding |
//! |          | IPv6: 40 | UDP: 8                                      |         |         |
//! 0          14         34 or 54 = transport_offset                  payload_offset      packet_end
//! ```
//!
//! A frame arrives and is not touched; the places and the flow leave. INVARIANT: a frame that is plain has [`Headers`], and they say
//! the same (`what_is_plain_has_headers_that_say_the_same`); what is not plain is read by them.
//!
//! [`Headers`]: crate::headers::Headers

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::{
    checksum::{self, Change, Sum},
    ethernet::{self, Stations},
    flow_key::FlowTuple,
    ipv4, ipv6,
    network::{L4Port, Protocol},
    tcp::{self, Tcp, TcpFlags},
    udp,
};

/// Where an IPv4 packet's transport header is.
const BEHIND_IPV4: usize = ethernet::HEADER_LEN + ipv4::MIN_HEADER_LEN;
/// Where an IPv6 packet's transport header is.
const BEHIND_IPV6: usize = ethernet::HEADER_LEN + ipv6::HEADER_LEN;

/// Where the parts of a plain packet are, in bytes from its frame's start.
///
/// INVARIANT: `transport_offset < payload_offset <= packet_end`, inside the frame that it was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plain {
    protocol: Protocol,
    transport_offset: u16,
    payload_offset: u16,
    packet_end: u16,
}

impl Plain {
    /// Reads a frame that lies in one buffer; none if it is not plain, be it wrong or only rare.
    #[must_use]
    #[inline]
    pub fn read(frame: &[u8]) -> Option<(Self, FlowTuple)> {
        // The shortest there is.
        let head = frame.first_chunk::<{ BEHIND_IPV4 + udp::HEADER_LEN }>()?;
        let is_from_a_group = head[6] & 1 != 0;
        if is_from_a_group {
            return None;
        }
        match [head[12], head[13]] {
            [0x08, 0x00] => Self::read_ipv4(frame, head),
            [0x86, 0xdd] => Self::read_ipv6(frame),
            _ => None,
        }
    }

    #[inline]
    fn read_ipv4(
        frame: &[u8],
        head: &[u8; BEHIND_IPV4 + udp::HEADER_LEN],
    ) -> Option<(Self, FlowTuple)> {
        let header = head.get(ethernet::HEADER_LEN..)?.first_chunk::<{ ipv4::MIN_HEADER_LEN }>()?;
        let [
            vi,
            _,
            l0,
            l1,
            _,
            _,
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
        ] = *header;
        let is_fragment = u16::from_be_bytes([f0, f1]) & 0x3fff != 0;
        // 224.0.0.0/3 are groups, reserved, and the broadcast address.
        let is_between_hosts = !matches!(s0, 0 | 127 | 224..) && d0 < 224;
        let is_usual = vi == 0x45 && !is_fragment && hop_limit > 1 && is_between_hosts;
        if !is_usual || !checksum::is_intact_ipv4(header) {
            return None;
        }
        let end = u16::from_be_bytes([l0, l1]).checked_add(14)?;
        let (source, destination) = (Ipv4Addr::new(s0, s1, s2, s3), Ipv4Addr::new(d0, d1, d2, d3));
        Self::read_transport(frame, BEHIND_IPV4, end, protocol, (source.into(), destination.into()))
    }

    #[inline]
    fn read_ipv6(frame: &[u8]) -> Option<(Self, FlowTuple)> {
        let header = frame.get(ethernet::HEADER_LEN..)?.first_chunk::<{ ipv6::HEADER_LEN }>()?;
        let [v0, _, _, _, l0, l1, protocol, hop_limit, addresses @ ..] = header;
        let (source, destination) = addresses.split_first_chunk::<16>()?;
        let source = Ipv6Addr::from(*source);
        let destination = Ipv6Addr::from(*destination.first_chunk::<16>()?);
        // ::/96 and ::ffff:0:0/96 hold no host (`Ipv6::has_martian_source`, `ParseError::Ipv6MappedAddress`).
        let is_between_hosts = source.to_bits() >> 48 != 0
            && destination.to_ipv4_mapped().is_none()
            && !source.is_multicast()
            && !destination.is_multicast();
        if v0 >> 4 != 6 || *hop_limit <= 1 || !is_between_hosts {
            return None;
        }
        let end = u16::from_be_bytes([*l0, *l1]).checked_add(54)?;
        let addresses = (source.into(), destination.into());
        Self::read_transport(frame, BEHIND_IPV6, end, *protocol, addresses)
    }

    #[inline(always)]
    fn read_transport(
        frame: &[u8],
        offset: usize,
        end: u16,
        protocol: u8,
        (source, destination): (IpAddr, IpAddr),
    ) -> Option<(Self, FlowTuple)> {
        let transport = frame.get(offset..usize::from(end))?;
        let protocol = Protocol::new(protocol);
        let (ports, header_len) = match protocol {
            Protocol::TCP => {
                let header = transport.first_chunk::<{ tcp::MIN_HEADER_LEN }>()?;
                let header_len = (header[12] >> 4) << 2;
                let in_reach = tcp::MIN_HEADER_LEN..=transport.len();
                let flags = TcpFlags::new(header[13]).without(TcpFlags::PSH);
                if flags != TcpFlags::ACK || !in_reach.contains(&usize::from(header_len)) {
                    return None;
                }
                ([header[0], header[1], header[2], header[3]], header_len)
            }
            Protocol::UDP => {
                let header = transport.first_chunk::<{ udp::HEADER_LEN }>()?;
                let length = u16::from_be_bytes([header[4], header[5]]);
                if usize::from(length) != transport.len() {
                    return None;
                }
                ([header[0], header[1], header[2], header[3]], 8)
            }
            _ => return None,
        };
        let [s0, s1, d0, d1] = ports;
        let (src_port, dst_port) = (u16::from_be_bytes([s0, s1]), u16::from_be_bytes([d0, d1]));
        // A datagram may come from no port; it is rare.
        if src_port == 0 || dst_port == 0 {
            return None;
        }
        let transport_offset = u16::try_from(offset).ok()?;
        let payload_offset = transport_offset.checked_add(u16::from(header_len))?;
        let plain = Self { protocol, transport_offset, payload_offset, packet_end: end };
        Some((plain, FlowTuple { source, destination, protocol, src_port, dst_port }))
    }

    /// Whether it is a segment; else it is a datagram.
    #[must_use]
    pub fn is_tcp(&self) -> bool {
        self.protocol == Protocol::TCP
    }

    /// Where the packet ends; what its frame has beyond is padding.
    #[must_use]
    pub fn packet_end(&self) -> usize {
        usize::from(self.packet_end)
    }

    /// Bytes of the IP packet.
    #[must_use]
    pub fn packet_len(&self) -> usize {
        self.packet_end().saturating_sub(ethernet::HEADER_LEN)
    }

    /// Bytes of the payload.
    #[must_use]
    pub fn payload_len(&self) -> usize {
        usize::from(self.packet_end.saturating_sub(self.payload_offset))
    }

    /// Transport header and payload in the frame that this was read from; nothing in a shorter one.
    #[must_use]
    #[inline]
    pub fn transport<'a>(&self, frame: &'a mut [u8]) -> &'a mut [u8] {
        frame.get_mut(usize::from(self.transport_offset)..self.packet_end()).unwrap_or_default()
    }

    /// The TCP header of this [`Plain::transport`], its options and the payload, if it is a segment.
    #[must_use]
    #[inline]
    pub fn tcp<'a>(&self, transport: &'a [u8]) -> Option<(Tcp, &'a [u8], &'a [u8])> {
        let (header, rest) = transport.split_first_chunk().filter(|_| self.is_tcp())?;
        let tcp = Tcp::read(header);
        let options = usize::from(tcp.header_len).saturating_sub(tcp::MIN_HEADER_LEN);
        let (options, payload) = rest.split_at_checked(options)?;
        Some((tcp, options, payload))
    }

    /// Completes a checksum that was left to the sender's hardware, see
    /// [`complete_partial`](checksum::complete_partial); true if it was, and the checksum is right.
    #[inline]
    pub fn complete_checksum(&self, transport: &mut [u8], pseudo_header: Sum) -> bool {
        let Some(field) = self.checksum_field(transport) else { return false };
        if u16::from_be_bytes(*field) != pseudo_header.value() {
            return false;
        }
        let computed = Sum::new().add_bytes(transport).checksum();
        let computed = if self.is_tcp() { computed } else { checksum::udp_checksum(computed) };
        if let Some(field) = self.checksum_field(transport) {
            *field = computed.to_be_bytes();
        }
        true
    }

    /// Whether the checksum is right, once it is complete; false for a datagram without one.
    #[must_use]
    #[inline]
    pub fn is_intact(&self, transport: &[u8], pseudo_header: Sum) -> bool {
        pseudo_header.and(Sum::new().add_bytes(transport)).is_intact()
    }

    /// Makes the frame ready for its next link: one hop less, and these hardware addresses. False, and nothing is changed, if it is
    /// not the one that this was read from.
    #[inline]
    pub fn forward(&self, frame: &mut [u8], stations: Stations) -> bool {
        let Some(head) = frame.first_chunk_mut::<BEHIND_IPV4>() else { return false };
        if self.is_ipv4() {
            let [before, protocol] = [head[22], head[23]];
            let after = before.saturating_sub(1);
            let change = Change::of_word(
                u16::from_be_bytes([before, protocol]),
                u16::from_be_bytes([after, protocol]),
            );
            let checksum = change.apply(u16::from_be_bytes([head[24], head[25]]));
            head[22] = after;
            [head[24], head[25]] = checksum.to_be_bytes();
        } else {
            head[21] = head[21].saturating_sub(1);
        }
        if let Some(place) = head.first_chunk_mut() {
            *place = stations.to_bytes();
        }
        true
    }

    /// Rewrites addresses and ports, as [`rewrite::source`](crate::rewrite::source) and
    /// [`rewrite::destination`](crate::rewrite::destination) do; `flow` is what they are. False if the frame is not the one that this
    /// was read from, or the addresses are of another version.
    pub fn translate(&self, frame: &mut [u8], flow: &FlowTuple, wanted: &FlowTuple) -> bool {
        let (source, destination) = if self.is_ipv4() { (12, 16) } else { (8, 24) };
        let ends = [
            (source, (flow.source, flow.src_port), 0, (wanted.source, wanted.src_port)),
            (
                destination,
                (flow.destination, flow.dst_port),
                2,
                (wanted.destination, wanted.dst_port),
            ),
        ];
        ends.into_iter().filter(|(_, is, _, wanted)| is != wanted).all(
            |(address_at, (_, is), port_at, (address, port))| {
                self.translate_end(frame, (address_at, address), (port_at, is, port)).is_some()
            },
        )
    }

    /// One end: its address in the network header, its port in the transport header.
    fn translate_end(
        &self,
        frame: &mut [u8],
        (address_at, address): (usize, IpAddr),
        (port_at, is, port): (usize, L4Port, L4Port),
    ) -> Option<()> {
        let (header, transport) = frame.split_at_mut_checked(usize::from(self.transport_offset))?;
        let network = header.get_mut(ethernet::HEADER_LEN..)?;
        let mut change = match address {
            IpAddr::V4(address) if self.is_ipv4() => {
                let change = replace(network, address_at, &address.octets())?;
                let checksum: &mut [u8; 2] = network.get_mut(10..)?.first_chunk_mut()?;
                *checksum = change.apply(u16::from_be_bytes(*checksum)).to_be_bytes();
                change
            }
            IpAddr::V6(address) if !self.is_ipv4() => {
                replace(network, address_at, &address.octets())?
            }
            IpAddr::V4(_) | IpAddr::V6(_) => return None,
        };
        if is != port {
            change = change.and(replace(transport, port_at, &port.to_be_bytes())?);
        }
        let field = self.checksum_field(transport)?;
        let checksum = u16::from_be_bytes(*field);
        let checksum =
            if self.is_tcp() { change.apply(checksum) } else { change.apply_udp(checksum) };
        *field = checksum.to_be_bytes();
        Some(())
    }

    const fn is_ipv4(&self) -> bool {
        self.transport_offset as usize == BEHIND_IPV4
    }

    /// The pseudo header's sum for this packet of `flow`.
    #[must_use]
    #[inline]
    pub fn pseudo_header(&self, flow: &FlowTuple) -> Sum {
        let length = self.packet_end.saturating_sub(self.transport_offset);
        match (flow.source, flow.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                checksum::pseudo_header_v4(source, destination, self.protocol, length)
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                checksum::pseudo_header_v6(source, destination, self.protocol, length)
            }
            // No flow has ends of two kinds.
            _ => Sum::new(),
        }
    }

    #[inline]
    fn checksum_field<'a>(&self, transport: &'a mut [u8]) -> Option<&'a mut [u8; 2]> {
        let behind = if self.is_tcp() { transport.get_mut(16..) } else { transport.get_mut(6..) };
        behind?.first_chunk_mut()
    }
}

/// Overwrites the bytes at an even place, and says what that changes in a sum over them.
fn replace<const N: usize>(bytes: &mut [u8], offset: usize, new: &[u8; N]) -> Option<Change> {
    let old: &mut [u8; N] = bytes.get_mut(offset..)?.first_chunk_mut()?;
    let change = Change::of(old, new);
    *old = *new;
    Some(change)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        emit::Segment,
        headers::Headers,
        testing::{built, frames, segment, tcp_frame, udp_frame},
    };

    #[test]
    fn open_connections_and_datagrams_are_plain() {
        for is_ipv6 in [false, true] {
            for flags in [TcpFlags::ACK, TcpFlags::ACK.with(TcpFlags::PSH)] {
                let mut frame = tcp_frame(is_ipv6, flags, b"GET");
                let end = frame.len();
                frame.extend([0; 6]);
                let (plain, _) = Plain::read(&frame).unwrap();
                assert_eq!((plain.is_tcp(), plain.payload_len()), (true, 3));
                assert_eq!((plain.packet_end(), plain.packet_len()), (end, end - 14));
            }
            let (plain, flow) = Plain::read(&udp_frame(is_ipv6, b"hello")).unwrap();
            assert_eq!((plain.is_tcp(), plain.payload_len()), (false, 5));
            assert_eq!((flow.src_port, flow.dst_port), (40000, 53));
        }
    }

    #[test]
    fn what_needs_a_closer_look_is_not_plain() {
        for flags in [TcpFlags::SYN, TcpFlags::FIN, TcpFlags::RST, TcpFlags::URG, TcpFlags::ECE] {
            let frame = tcp_frame(false, flags.with(TcpFlags::ACK), b"");
            assert_eq!(Plain::read(&frame), None, "{flags:?}");
        }
        for hop_limit in [0, 1] {
            let mut last = segment(false, TcpFlags::ACK, b"");
            last.envelope.hop_limit = hop_limit;
            assert_eq!(Plain::read(&built(|out| Segment::emit(&last, out))), None);
        }
    }

    proptest! {
        #[test]
        fn what_is_plain_has_headers_that_say_the_same(
            frame in frames(), spoilt in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
            cut in prop::option::of(any::<prop::sample::Index>()),
        ) {
            let mut frame = frame;
            if let Some((place, byte)) = spoilt {
                let place = place.index(frame.len());
                frame[place] = byte;
            }
            if let Some(cut) = cut {
                frame.truncate(cut.index(frame.len()));
            }
            if let Some((plain, flow)) = Plain::read(&frame) {
                let headers = Headers::parse(&frame).unwrap();
                prop_assert_eq!(headers.flow_tuple(), Some(flow));
                prop_assert_eq!(headers.packet_end(), plain.packet_end());
                prop_assert_eq!(headers.payload_len, plain.payload_len());
                prop_assert_eq!(headers.transport_len(), plain.transport(&mut frame).len());
                prop_assert!(headers.hop_limit() > Some(1));
                prop_assert!(!headers.network.has_martian_source());
                prop_assert!(!headers.network.is_to_group());
            }
        }
    }
}
