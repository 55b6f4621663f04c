//! Frames from nothing: TCP segments, UDP datagrams and ICMP messages with their IP and Ethernet
//! headers.
//!
//! Addresses, numbers and payload arrive; a whole frame with right checksums leaves in the caller's
//! buffer, and its length is returned. Every frame built here is one that
//! [`Headers::parse`](crate::headers::Headers::parse) accepts, if its addresses, ports and flags
//! are ones it accepts.

use std::net::{IpAddr, Ipv6Addr};

use crate::{
    EmitError, bytes,
    checksum::{Sum, pseudo_header_v4, pseudo_header_v6, udp_checksum},
    ethernet::{self, EtherType, Ethernet, MacAddress},
    icmpv6, ipv4, ipv6, ndp,
    network::{L4Port, Protocol},
    tcp::{self, SeqNumber, TcpFlags},
    udp,
};

/// The largest TCP header leaves 40 bytes for options (RFC 9293 §3.1).
const MAX_OPTIONS_LEN: usize = 40;

/// The Ethernet and IP headers around a transport header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// The sending station.
    pub source_mac: MacAddress,
    /// The receiving station.
    pub destination_mac: MacAddress,
    /// The sender's address.
    pub source: IpAddr,
    /// The receiver's address, of the same IP version.
    pub destination: IpAddr,
    /// The TTL or hop limit.
    pub hop_limit: u8,
    /// Differentiated services and congestion notification.
    pub traffic_class: u8,
}

impl Envelope {
    /// Writes both headers in front of `transport_len` bytes of the transport protocol, whose
    /// offset is returned with the sum over its pseudo header.
    ///
    /// IPv4 packets are marked "don't fragment", so that their identification may be 0 (RFC 6864
    /// §4.1).
    fn write(
        &self,
        out: &mut [u8],
        protocol: Protocol,
        transport_len: usize,
    ) -> Result<(usize, Sum), EmitError> {
        let (ethertype, header_len) = match self.source {
            IpAddr::V4(_) => (EtherType::IPV4, ipv4::MIN_HEADER_LEN),
            IpAddr::V6(_) => (EtherType::IPV6, ipv6::HEADER_LEN),
        };
        let transport_offset = ethernet::HEADER_LEN.saturating_add(header_len);
        if out.len() < transport_offset.saturating_add(transport_len) {
            return Err(EmitError::BufferTooSmall);
        }
        let length = u16::try_from(transport_len).map_err(|_beyond| EmitError::TooLong)?;
        let ethernet =
            Ethernet { destination: self.destination_mac, source: self.source_mac, ethertype };
        write(out, 0, &ethernet.to_bytes())?;
        let pseudo_header = match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let total_len = length.checked_add(20).ok_or(EmitError::TooLong)?;
                let [l0, l1] = total_len.to_be_bytes();
                let (s, d) = (source.octets(), destination.octets());
                let fixed = [
                    0x45,
                    self.traffic_class,
                    l0,
                    l1,
                    0,
                    0,
                    0x40,
                    0,
                    self.hop_limit,
                    protocol.value(),
                ];
                let checksum = Sum::new().add_bytes(&fixed).add_bytes(&s).add_bytes(&d).checksum();
                let fields: [&[u8]; 4] = [&fixed, &checksum.to_be_bytes(), &s, &d];
                write_all(out, ethernet::HEADER_LEN, fields)?;
                pseudo_header_v4(source, destination, protocol, length)
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let [l0, l1] = length.to_be_bytes();
                let version = 0x60 | self.traffic_class >> 4;
                let fixed = [
                    version,
                    self.traffic_class << 4,
                    0,
                    0,
                    l0,
                    l1,
                    protocol.value(),
                    self.hop_limit,
                ];
                write_all(
                    out,
                    ethernet::HEADER_LEN,
                    [&fixed[..], &source.octets(), &destination.octets()],
                )?;
                pseudo_header_v6(source, destination, protocol, length)
            }
            _ => return Err(EmitError::MixedFamilies),
        };
        Ok((transport_offset, pseudo_header))
    }
}

/// A TCP segment to build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment<'a> {
    /// The headers around it.
    pub envelope: Envelope,
    /// The sender's port.
    pub src_port: L4Port,
    /// The receiver's port.
    pub dst_port: L4Port,
    /// The number of the first payload byte, or of the SYN.
    pub seq: SeqNumber,
    /// The next number expected; 0 without ACK.
    pub ack: SeqNumber,
    /// The control bits.
    pub flags: TcpFlags,
    /// The receive window, not scaled.
    pub window: u16,
    /// Options as on the wire, at most 40 bytes; a last incomplete word is filled with zeros, the
    /// end of options.
    pub options: &'a [u8],
    /// The payload.
    pub payload: &'a [u8],
}

impl Segment<'_> {
    /// Writes the frame and returns its length.
    ///
    /// # Errors
    /// The frame does not fit the buffer, IP's length or TCP's options field, or the addresses are
    /// of different versions.
    pub fn emit(&self, out: &mut [u8]) -> Result<usize, EmitError> {
        if self.options.len() > MAX_OPTIONS_LEN {
            return Err(EmitError::TooLong);
        }
        let options_len = self.options.len().next_multiple_of(4);
        let header_len = tcp::MIN_HEADER_LEN.saturating_add(options_len);
        let transport_len = header_len.saturating_add(self.payload.len());
        let (offset, pseudo_header) = self.envelope.write(out, Protocol::TCP, transport_len)?;
        // 20 to 60 bytes: the quotient by 4 fits the upper half of the byte.
        let data_offset = u8::try_from(header_len << 2).map_err(|_beyond| EmitError::TooLong)?;
        let [s0, s1] = self.src_port.to_be_bytes();
        let [d0, d1] = self.dst_port.to_be_bytes();
        let [n0, n1, n2, n3] = self.seq.value().to_be_bytes();
        let [a0, a1, a2, a3] = self.ack.value().to_be_bytes();
        let [w0, w1] = self.window.to_be_bytes();
        let flags = self.flags.bits();
        let fixed = [
            s0,
            s1,
            d0,
            d1,
            n0,
            n1,
            n2,
            n3,
            a0,
            a1,
            a2,
            a3,
            data_offset,
            flags,
            w0,
            w1,
            0,
            0,
            0,
            0,
        ];
        let padding = [0_u8; 3];
        let padding =
            padding.get(..options_len.saturating_sub(self.options.len())).unwrap_or_default();
        write_all(out, offset, [&fixed[..], self.options, padding, self.payload])?;
        let end = offset.saturating_add(transport_len);
        let sum = sum_of(out, offset, end)?;
        write(out, offset.saturating_add(16), &pseudo_header.and(sum).checksum().to_be_bytes())?;
        Ok(end)
    }
}

/// A UDP datagram to build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram<'a> {
    /// The headers around it.
    pub envelope: Envelope,
    /// The sender's port.
    pub src_port: L4Port,
    /// The receiver's port.
    pub dst_port: L4Port,
    /// The payload.
    pub payload: &'a [u8],
}

impl Datagram<'_> {
    /// Writes the frame and returns its length.
    ///
    /// # Errors
    /// The frame does not fit the buffer or IP's length, or the addresses are of different
    /// versions.
    pub fn emit(&self, out: &mut [u8]) -> Result<usize, EmitError> {
        let transport_len = udp::HEADER_LEN.saturating_add(self.payload.len());
        let (offset, pseudo_header) = self.envelope.write(out, Protocol::UDP, transport_len)?;
        let length = u16::try_from(transport_len).map_err(|_beyond| EmitError::TooLong)?;
        let [s0, s1] = self.src_port.to_be_bytes();
        let [d0, d1] = self.dst_port.to_be_bytes();
        let [l0, l1] = length.to_be_bytes();
        write_all(out, offset, [&[s0, s1, d0, d1, l0, l1, 0, 0][..], self.payload])?;
        let end = offset.saturating_add(transport_len);
        let sum = sum_of(out, offset, end)?;
        let checksum = udp_checksum(pseudo_header.and(sum).checksum());
        write(out, offset.saturating_add(6), &checksum.to_be_bytes())?;
        Ok(end)
    }
}

/// An ICMP or ICMPv6 message to build, whichever version its envelope is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IcmpPacket<'a> {
    /// The headers around it.
    pub envelope: Envelope,
    /// The type's number.
    pub icmp_type: u8,
    /// The code's number.
    pub code: u8,
    /// The header's second word: identifier and sequence, MTU, or flags.
    pub word: [u8; 4],
    /// What follows the header.
    pub body: &'a [u8],
}

impl IcmpPacket<'_> {
    /// Writes the frame and returns its length.
    ///
    /// # Errors
    /// The frame does not fit the buffer or IP's length, or the addresses are of different
    /// versions.
    pub fn emit(&self, out: &mut [u8]) -> Result<usize, EmitError> {
        let is_ipv6 = self.envelope.source.is_ipv6();
        let protocol = if is_ipv6 { Protocol::ICMPV6 } else { Protocol::ICMP };
        let transport_len = 8_usize.saturating_add(self.body.len());
        let (offset, pseudo_header) = self.envelope.write(out, protocol, transport_len)?;
        write_all(out, offset, [&[self.icmp_type, self.code, 0, 0][..], &self.word, self.body])?;
        let end = offset.saturating_add(transport_len);
        let sum = sum_of(out, offset, end)?;
        let sum = if is_ipv6 { pseudo_header.and(sum) } else { sum };
        write(out, offset.saturating_add(2), &sum.checksum().to_be_bytes())?;
        Ok(end)
    }
}

/// The question "who has `target`?" to the target's solicited-node group (RFC 4861 §4.3, RFC 4291
/// §2.7.1).
///
/// # Errors
/// The buffer is shorter than 86 bytes.
pub fn neighbour_solicitation(
    source_mac: MacAddress,
    source: Ipv6Addr,
    target: Ipv6Addr,
    out: &mut [u8],
) -> Result<usize, EmitError> {
    let [.., a, b, c] = target.octets();
    let group = Ipv6Addr::from([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c]);
    let envelope = Envelope {
        source_mac,
        destination_mac: MacAddress::new([0x33, 0x33, 0xff, a, b, c]),
        source: IpAddr::V6(source),
        destination: IpAddr::V6(group),
        hop_limit: 255,
        traffic_class: 0,
    };
    let body = ndp::target_and_link_layer(target, ndp::OPTION_SOURCE_LINK_LAYER, source_mac);
    IcmpPacket {
        envelope,
        icmp_type: ndp::NEIGHBOUR_SOLICITATION,
        code: 0,
        word: [0; 4],
        body: &body,
    }
    .emit(out)
}

/// An echo request, such as `ping` sends.
///
/// # Errors
/// As for [`IcmpPacket::emit`].
pub fn echo_request(
    envelope: Envelope,
    identifier: u16,
    sequence: u16,
    data: &[u8],
    out: &mut [u8],
) -> Result<usize, EmitError> {
    let icmp_type =
        if envelope.source.is_ipv6() { icmpv6::ECHO_REQUEST } else { crate::icmp::ECHO_REQUEST };
    let ([i0, i1], [s0, s1]) = (identifier.to_be_bytes(), sequence.to_be_bytes());
    IcmpPacket { envelope, icmp_type, code: 0, word: [i0, i1, s0, s1], body: data }.emit(out)
}

fn write(out: &mut [u8], offset: usize, field: &[u8]) -> Result<(), EmitError> {
    bytes::put(out, offset, field).ok_or(EmitError::BufferTooSmall)
}

/// Writes `fields` one after the other from `offset` on.
fn write_all<const N: usize>(
    out: &mut [u8],
    mut offset: usize,
    fields: [&[u8]; N],
) -> Result<(), EmitError> {
    for field in fields {
        write(out, offset, field)?;
        offset = offset.saturating_add(field.len());
    }
    Ok(())
}

fn sum_of(out: &[u8], start: usize, end: usize) -> Result<Sum, EmitError> {
    Ok(Sum::new().add_bytes(out.get(start..end).ok_or(EmitError::BufferTooSmall)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        headers::{Headers, Transport},
        icmp::{Echo, IcmpMessage},
        icmpv6::Icmpv6Message,
        ndp::Ndp,
        testing::{CLIENT_MAC, built, envelope, envelopes, flags, parsed, segment, tcp_options},
    };

    fn assert_envelope(headers: &Headers, envelope: &Envelope) {
        assert_eq!(headers.ethernet.source, envelope.source_mac);
        assert_eq!(headers.ethernet.destination, envelope.destination_mac);
        assert_eq!(headers.source(), Some(envelope.source));
        assert_eq!(headers.destination(), Some(envelope.destination));
        assert_eq!(headers.hop_limit(), Some(envelope.hop_limit));
        let traffic_class = match headers.network {
            crate::network::Network::Ipv4(ipv4) => ipv4.traffic_class,
            crate::network::Network::Ipv6(ipv6) => ipv6.traffic_class,
            crate::network::Network::Arp(_) => panic!("ARP"),
        };
        assert_eq!(traffic_class, envelope.traffic_class);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let segment = segment(false, TcpFlags::ACK, b"hello");
        let length = built(|out| segment.emit(out)).len();
        assert_eq!(segment.emit(&mut vec![0; length - 1]), Err(EmitError::BufferTooSmall));
        assert_eq!(segment.emit(&mut vec![0; length]), Ok(length));
        let long = [0; 65_535];
        for is_ipv6 in [false, true] {
            let segment = Segment { payload: &long, ..self::segment(is_ipv6, TcpFlags::ACK, b"") };
            assert_eq!(segment.emit(&mut vec![0; 70_000]), Err(EmitError::TooLong));
        }
        let options = Segment { options: &[1; 41], ..segment };
        assert_eq!(options.emit(&mut [0; 200]), Err(EmitError::TooLong));
    }

    #[test]
    fn the_largest_ipv4_packet_is_65535_bytes() {
        let mut buffer = vec![0; 70_000];
        let payload = vec![7; 65_535 - 40];
        assert_eq!(segment(false, TcpFlags::ACK, &payload).emit(&mut buffer), Ok(65_535 + 14));
        let payload = vec![7; 65_535 - 39];
        assert_eq!(
            segment(false, TcpFlags::ACK, &payload).emit(&mut buffer),
            Err(EmitError::TooLong)
        );
    }

    #[test]
    fn versions_must_not_be_mixed() {
        let mut segment = segment(false, TcpFlags::ACK, b"");
        segment.envelope.destination = envelope(true).destination;
        assert_eq!(segment.emit(&mut [0; 200]), Err(EmitError::MixedFamilies));
    }

    #[test]
    fn a_solicitation_goes_to_the_target_s_group() {
        let (source, target) = ("fe80::1".parse().unwrap(), "fd00::12:3456".parse().unwrap());
        let frame = built(|out| neighbour_solicitation(CLIENT_MAC, source, target, out));
        assert_eq!(frame.len(), 86);
        let headers = parsed(&frame);
        assert_eq!(headers.ethernet.destination.to_string(), "33:33:ff:12:34:56");
        assert_eq!(headers.destination(), Some("ff02::1:ff12:3456".parse().unwrap()));
        let Transport::Icmpv6(icmpv6) = headers.transport else { panic!("{headers:?}") };
        let asked = Ndp::NeighbourSolicitation { target, source_mac: Some(CLIENT_MAC) };
        assert_eq!(icmpv6.message, Icmpv6Message::Ndp(asked));
        assert_eq!(headers.flow_tuple(), None);
    }

    proptest! {
        #[test]
        fn segments_are_read_back(
            envelope in envelopes(),
            ports in (1..=u16::MAX, 1..=u16::MAX),
            numbers: [u32; 2],
            window: u16,
            flags in flags(),
            options in tcp_options(),
            payload in prop::collection::vec(any::<u8>(), 0..100),
        ) {
            let segment = Segment {
                envelope,
                src_port: ports.0,
                dst_port: ports.1,
                seq: SeqNumber::new(numbers[0]),
                ack: SeqNumber::new(numbers[1]),
                flags,
                window,
                options: &options,
                payload: &payload,
            };
            let frame = built(|out| segment.emit(out));
            let headers = parsed(&frame);
            assert_envelope(&headers, &envelope);
            let tcp = headers.tcp().unwrap();
            prop_assert_eq!((tcp.src_port, tcp.dst_port), ports);
            prop_assert_eq!([tcp.seq.value(), tcp.ack.value()], numbers);
            prop_assert_eq!((tcp.flags, tcp.window, tcp.urgent), (flags, window, 0));
            prop_assert_eq!(headers.payload(&frame), Some(&payload[..]));
            let sent = tcp::options(&options).collect::<Vec<_>>();
            prop_assert_eq!(headers.tcp_options(&frame).collect::<Vec<_>>(), sent);
            prop_assert_eq!(headers.packet_end(), frame.len());
        }

        #[test]
        fn datagrams_are_read_back(
            envelope in envelopes(),
            src_port: u16,
            dst_port in 1..=u16::MAX,
            payload in prop::collection::vec(any::<u8>(), 0..100),
        ) {
            let frame = built(|out| Datagram { envelope, src_port, dst_port, payload: &payload }.emit(out));
            let headers = parsed(&frame);
            assert_envelope(&headers, &envelope);
            let Transport::Udp(udp) = headers.transport else { panic!("{headers:?}") };
            prop_assert_eq!((udp.src_port, udp.dst_port), (src_port, dst_port));
            prop_assert_ne!(udp.checksum, 0);
            prop_assert_eq!(headers.payload(&frame), Some(&payload[..]));
        }

        #[test]
        fn echo_requests_are_read_back(
            envelope in envelopes(),
            identifier: u16,
            sequence: u16,
            data in prop::collection::vec(any::<u8>(), 0..100),
        ) {
            let frame = built(|out| echo_request(envelope, identifier, sequence, &data, out));
            let headers = parsed(&frame);
            assert_envelope(&headers, &envelope);
            let echo = match headers.transport {
                Transport::Icmp(icmp) => icmp.message == IcmpMessage::EchoRequest(Echo { identifier, sequence }),
                Transport::Icmpv6(icmpv6) => icmpv6.message == Icmpv6Message::EchoRequest(Echo { identifier, sequence }),
                _ => false,
            };
            prop_assert!(echo);
            prop_assert_eq!(headers.payload(&frame), Some(&data[..]));
        }
    }
}
