//! Ethernet to L4 in one walk.
//!
//! ```text
//! | Ethernet | IPv4 + options, or IPv6 + chain | TCP + options, UDP, ICMP | payload | padding |
//! 0          14 = network_offset               transport_offset           payload_offset
//! ```
//!
//! A frame arrives and is not touched; a small value with what the headers say, and where they
//! start, leaves. The frame's bytes stay with their owner. INVARIANT: `network_offset <=
//! transport_offset <= payload_offset`, and the payload ends no later than the IP header says the
//! packet ends, inside the frame: Ethernet's padding is never payload.

use std::net::IpAddr;

use crate::{
    ParseError,
    arp::Arp,
    ethernet::{self, EtherType, Ethernet},
    flow_key::FlowTuple,
    fragment::Fragment,
    icmp::{self, Icmp, IcmpError, IcmpMessage},
    icmpv6::{Icmpv6, Icmpv6Message},
    ipv4::Ipv4,
    ipv6::Ipv6,
    network::{Network, Protocol},
    sctp::{self, Sctp},
    tcp::{self, Tcp},
    udp::{self, Udp},
};

/// What follows the network header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP.
    Tcp(Tcp),
    /// UDP.
    Udp(Udp),
    /// SCTP.
    Sctp(Sctp),
    /// ICMP in IPv4.
    Icmp(Icmp),
    /// ICMPv6 in IPv6.
    Icmpv6(Icmpv6),
    /// A part of a packet, whose transport header is not looked at before all parts are there.
    Fragment(Fragment),
    /// Another protocol, judged by its number alone.
    Other {
        /// The number.
        protocol: Protocol,
    },
    /// ARP has no transport header.
    None,
}

/// The headers of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headers {
    /// The Ethernet header.
    pub ethernet: Ethernet,
    /// The network header.
    pub network: Network,
    /// The transport header.
    pub transport: Transport,
    /// Where the network header starts.
    pub network_offset: usize,
    /// Where the transport header starts, or a fragment's data.
    pub transport_offset: usize,
    /// Where the transport header ends.
    pub payload_offset: usize,
    /// Bytes from there to the end of the transport's payload.
    pub payload_len: usize,
}

impl Headers {
    /// Reads the headers of a frame that lies in one buffer.
    ///
    /// # Errors
    /// The frame could be read in two ways, or in none; see each [`ParseError`].
    pub fn parse(frame: &[u8]) -> Result<Self, ParseError> {
        Self::parse_first(frame, frame.len())
    }

    /// Reads the headers of a frame of `frame_len` bytes that is spread over several buffers, of
    /// which `first` is the first. All headers, options included, must lie in it.
    ///
    /// # Errors
    /// As for [`Headers::parse`].
    pub fn parse_first(first: &[u8], frame_len: usize) -> Result<Self, ParseError> {
        let first = first.get(..frame_len).unwrap_or(first);
        let ethernet = Ethernet::parse(first)?;
        let packet = first.get(ethernet::HEADER_LEN..).ok_or(ParseError::EthernetTruncated)?;
        let available = frame_len.saturating_sub(ethernet::HEADER_LEN);
        match ethernet.ethertype {
            EtherType::IPV4 => Self::parse_ipv4(ethernet, packet, available),
            EtherType::IPV6 => Self::parse_ipv6(ethernet, packet, available),
            EtherType::ARP => {
                let network = Network::Arp(Arp::parse(packet)?);
                let end = ethernet::HEADER_LEN.saturating_add(crate::arp::PACKET_LEN);
                Ok(Self::assemble(ethernet, network, Transport::None, [end, end, end]))
            }
            _ => Err(ParseError::UnsupportedL3Protocol),
        }
    }

    /// Reads the headers of a packet whose fragments have all come, from the frame of the first
    /// one: of its `frame_len` bytes, what lies in the first buffer. `length` is the packet's as [`Arrival::Whole`](crate::fragment::Arrival::Whole) says.
    ///
    /// The other fragments' data take the place of further buffers: the payload ends beyond this
    /// frame, and [`Headers::packet_end`] is the end of this frame's part of the packet.
    ///
    /// # Errors
    /// As for [`Headers::parse`]. The whole transport header must lie in the first fragment;
    /// further extension headers behind an IPv6 fragment header are refused, since no honest sender
    /// fragments between them.
    pub fn parse_whole(
        first_fragment: &[u8],
        frame_len: usize,
        length: u16,
    ) -> Result<Self, ParseError> {
        let headers = Self::parse_first(first_fragment, frame_len)?;
        let Transport::Fragment(Fragment { offset: 0, protocol, .. }) = headers.transport else {
            return Err(ParseError::FragmentLength);
        };
        if let Network::Ipv6(ipv6) = headers.network
            && ipv6.protocol != protocol
        {
            return Err(ParseError::Ipv6ExtensionOrder);
        }
        let end = headers.packet_end().min(first_fragment.len());
        let data = first_fragment.get(headers.transport_offset..end).unwrap_or_default();
        let reach =
            Reach { offset: headers.transport_offset, length: usize::from(length), bytes: data };
        reach.parse_transport(headers.ethernet, headers.network, protocol)
    }

    fn parse_ipv4(ethernet: Ethernet, packet: &[u8], available: usize) -> Result<Self, ParseError> {
        let ipv4 = Ipv4::parse(packet, available)?;
        let reach = Reach::of(packet, usize::from(ipv4.header_len), usize::from(ipv4.total_len));
        if let Some(fragment) = ipv4.fragment() {
            fragment.check(reach.length)?;
            return Ok(reach.assemble(
                ethernet,
                Network::Ipv4(ipv4),
                Transport::Fragment(fragment),
                0,
            ));
        }
        reach.parse_transport(ethernet, Network::Ipv4(ipv4), ipv4.protocol)
    }

    fn parse_ipv6(ethernet: Ethernet, packet: &[u8], available: usize) -> Result<Self, ParseError> {
        let ipv6 = Ipv6::parse(packet, available)?;
        let reach = Reach::of(packet, usize::from(ipv6.chain_len), ipv6.packet_len());
        if let Some(fragment) = ipv6.fragment {
            return Ok(reach.assemble(
                ethernet,
                Network::Ipv6(ipv6),
                Transport::Fragment(fragment),
                0,
            ));
        }
        reach.parse_transport(ethernet, Network::Ipv6(ipv6), ipv6.protocol)
    }

    /// `offsets` are those of the transport header, the payload, and the payload's end.
    fn assemble(
        ethernet: Ethernet,
        network: Network,
        transport: Transport,
        offsets: [usize; 3],
    ) -> Self {
        let [transport_offset, payload_offset, end] = offsets;
        Self {
            ethernet,
            network,
            transport,
            network_offset: ethernet::HEADER_LEN,
            transport_offset,
            payload_offset,
            payload_len: end.saturating_sub(payload_offset),
        }
    }

    /// The address the packet claims to come from; none for ARP.
    #[must_use]
    pub const fn source(&self) -> Option<IpAddr> {
        self.network.source()
    }

    /// The address the packet is for; none for ARP.
    #[must_use]
    pub const fn destination(&self) -> Option<IpAddr> {
        self.network.destination()
    }

    /// The TTL or hop limit; none for ARP.
    #[must_use]
    pub const fn hop_limit(&self) -> Option<u8> {
        self.network.hop_limit()
    }

    /// The TCP header, if this is a segment.
    #[must_use]
    pub const fn tcp(&self) -> Option<&Tcp> {
        match &self.transport {
            Transport::Tcp(tcp) => Some(tcp),
            _ => None,
        }
    }

    /// The flow the packet belongs to. Fragments, ARP, ICMP errors (see [`Headers::icmp_error`])
    /// and neighbour discovery belong to none; other protocols without ports have port 0 on both
    /// sides.
    #[must_use]
    #[inline]
    pub fn flow_tuple(&self) -> Option<FlowTuple> {
        let (protocol, src_port, dst_port) = match self.transport {
            Transport::Tcp(tcp) => (Protocol::TCP, tcp.src_port, tcp.dst_port),
            Transport::Udp(udp) => (Protocol::UDP, udp.src_port, udp.dst_port),
            Transport::Sctp(sctp) => (Protocol::SCTP, sctp.src_port, sctp.dst_port),
            Transport::Icmp(icmp) => match icmp.message {
                IcmpMessage::EchoRequest(echo) => (Protocol::ICMP, echo.identifier, 0),
                IcmpMessage::EchoReply(echo) => (Protocol::ICMP, 0, echo.identifier),
                IcmpMessage::Other => (Protocol::ICMP, 0, 0),
                IcmpMessage::Error(_) => return None,
            },
            Transport::Icmpv6(icmpv6) => match icmpv6.message {
                Icmpv6Message::EchoRequest(echo) => (Protocol::ICMPV6, echo.identifier, 0),
                Icmpv6Message::EchoReply(echo) => (Protocol::ICMPV6, 0, echo.identifier),
                Icmpv6Message::Other => (Protocol::ICMPV6, 0, 0),
                Icmpv6Message::Error(_) | Icmpv6Message::Ndp(_) => return None,
            },
            Transport::Other { protocol } => (protocol, 0, 0),
            Transport::Fragment(_) | Transport::None => return None,
        };
        let (source, destination) = (self.source()?, self.destination()?);
        Some(FlowTuple { source, destination, protocol, src_port, dst_port })
    }

    /// What an ICMP error says about another flow.
    #[must_use]
    pub const fn icmp_error(&self) -> Option<&IcmpError> {
        match &self.transport {
            Transport::Icmp(Icmp { message: IcmpMessage::Error(error), .. })
            | Transport::Icmpv6(Icmpv6 { message: Icmpv6Message::Error(error), .. }) => Some(error),
            _ => None,
        }
    }

    /// Bytes of the transport header and its payload, as the pseudo header counts them.
    #[must_use]
    pub fn transport_len(&self) -> usize {
        self.payload_offset.saturating_sub(self.transport_offset).saturating_add(self.payload_len)
    }

    /// Where the payload ends.
    #[must_use]
    pub fn payload_end(&self) -> usize {
        self.payload_offset.saturating_add(self.payload_len)
    }

    /// Where the packet ends by its own header; what a frame has beyond is padding. A frame may be
    /// cut to this length.
    #[must_use]
    pub fn packet_end(&self) -> usize {
        self.network
            .packet_len()
            .map_or(self.payload_offset, |length| self.network_offset.saturating_add(length))
    }

    /// The payload in the frame these headers were read from; none when the frame ends before it
    /// does.
    #[must_use]
    pub fn payload<'a>(&self, frame: &'a [u8]) -> Option<&'a [u8]> {
        frame.get(self.payload_offset..self.payload_end())
    }

    /// Bytes of a segment's options.
    #[must_use]
    pub fn tcp_options_len(&self) -> usize {
        self.payload_offset
            .saturating_sub(self.transport_offset)
            .saturating_sub(tcp::MIN_HEADER_LEN)
    }

    /// The option bytes of a segment in the frame these headers were read from; empty for anything
    /// else.
    #[must_use]
    pub fn tcp_option_bytes<'a>(&self, frame: &'a [u8]) -> &'a [u8] {
        let start = self.transport_offset.saturating_add(tcp::MIN_HEADER_LEN);
        self.tcp().and_then(|_| frame.get(start..self.payload_offset)).unwrap_or_default()
    }

    /// The options of a segment in the frame these headers were read from; empty for anything else.
    #[must_use]
    pub fn tcp_options<'a>(&self, frame: &'a [u8]) -> tcp::Options<'a> {
        tcp::options(self.tcp_option_bytes(frame))
    }
}

/// What follows the network header, as far as the packet reaches.
struct Reach<'a> {
    /// Where it starts in the frame.
    offset: usize,
    /// Its length by the network header.
    length: usize,
    /// Its bytes, as far as they are in the first buffer.
    bytes: &'a [u8],
}

impl<'a> Reach<'a> {
    /// From `header_len` to `packet_len` of `packet`.
    fn of(packet: &'a [u8], header_len: usize, packet_len: usize) -> Self {
        let visible = packet.get(..packet_len).unwrap_or(packet);
        Self {
            offset: ethernet::HEADER_LEN.saturating_add(header_len),
            length: packet_len.saturating_sub(header_len),
            bytes: visible.get(header_len..).unwrap_or_default(),
        }
    }

    fn parse_transport(
        &self,
        ethernet: Ethernet,
        network: Network,
        protocol: Protocol,
    ) -> Result<Headers, ParseError> {
        let (transport, header_len) = match (protocol, network) {
            (Protocol::TCP, _) => {
                let tcp = Tcp::parse(self.bytes, self.length)?;
                (Transport::Tcp(tcp), usize::from(tcp.header_len))
            }
            (Protocol::UDP, _) => {
                let udp = Udp::parse(self.bytes, self.length)?;
                let reach = Reach { length: usize::from(udp.length), ..*self };
                return Ok(reach.assemble(ethernet, network, Transport::Udp(udp), udp::HEADER_LEN));
            }
            (Protocol::SCTP, _) => (Transport::Sctp(Sctp::parse(self.bytes)?), sctp::HEADER_LEN),
            (Protocol::ICMP, Network::Ipv4(_)) => {
                (Transport::Icmp(Icmp::parse(self.bytes, self.offset)?), icmp::HEADER_LEN)
            }
            (Protocol::ICMPV6, Network::Ipv6(ipv6)) => (
                Transport::Icmpv6(Icmpv6::parse(self.bytes, self.offset, &ipv6)?),
                icmp::HEADER_LEN,
            ),
            (Protocol::ICMP | Protocol::ICMPV6, _) => return Err(ParseError::IcmpWrongFamily),
            (protocol, _) => (Transport::Other { protocol }, 0),
        };
        Ok(self.assemble(ethernet, network, transport, header_len))
    }

    fn assemble(
        &self,
        ethernet: Ethernet,
        network: Network,
        transport: Transport,
        header_len: usize,
    ) -> Headers {
        let (payload_offset, end) =
            (self.offset.saturating_add(header_len), self.offset.saturating_add(self.length));
        Headers::assemble(ethernet, network, transport, [self.offset, payload_offset, end])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        tcp::{SeqNumber, TcpFlags, TcpOption},
        testing::{
            CLIENT, CLIENT_MAC, CLIENT6, SERVER, SERVER_MAC, SERVER6, built, envelope, frames,
            icmp_error_frame, parsed, segment, tcp_frame, udp_frame,
        },
    };

    #[test]
    fn a_tcp_segment_is_walked_to_its_payload() {
        for (is_ipv6, source, destination, transport_offset) in
            [(false, CLIENT, SERVER, 34), (true, CLIENT6, SERVER6, 54)]
        {
            let frame = tcp_frame(is_ipv6, TcpFlags::PSH.with(TcpFlags::ACK), b"GET");
            let headers = parsed(&frame);
            assert_eq!(
                (headers.source(), headers.destination()),
                (Some(source), Some(destination))
            );
            assert_eq!(headers.ethernet.source, CLIENT_MAC);
            assert_eq!(headers.ethernet.destination, SERVER_MAC);
            assert_eq!(headers.hop_limit(), Some(64));
            assert_eq!((headers.network_offset, headers.transport_offset), (14, transport_offset));
            assert_eq!((headers.payload_offset, headers.payload_len), (transport_offset + 20, 3));
            assert_eq!((headers.transport_len(), headers.packet_end()), (23, frame.len()));
            assert_eq!(headers.payload(&frame), Some(&b"GET"[..]));
            let tcp = headers.tcp().unwrap();
            assert_eq!((tcp.seq.value(), tcp.ack.value()), (1000, 2000));
            let tuple = headers.flow_tuple().unwrap();
            assert_eq!(
                (tuple.protocol, tuple.src_port, tuple.dst_port),
                (Protocol::TCP, 40000, 80)
            );
        }
    }

    #[test]
    fn padding_is_never_payload() {
        let mut frame = tcp_frame(false, TcpFlags::ACK, b"");
        let end = frame.len();
        frame.extend(*b"GET / ");
        let headers = parsed(&frame);
        assert_eq!(headers.payload(&frame), Some(&b""[..]));
        assert_eq!(headers.packet_end(), end);
    }

    #[test]
    fn bytes_behind_a_udp_length_are_no_payload() {
        let mut frame = udp_frame(false, b"hello");
        frame[14 + 20 + 5] = 8 + 2;
        let headers = parsed(&frame);
        assert_eq!(headers.payload(&frame), Some(&b"he"[..]));
        assert_eq!(headers.packet_end(), frame.len());
    }

    #[test]
    fn options_are_read_from_the_frame_and_not_from_the_payload() {
        let mut with_options = segment(false, TcpFlags::SYN, &[2, 4, 0, 1]);
        with_options.options = &[2, 4, 5, 180];
        let frame = built(|out| with_options.emit(out));
        let headers = parsed(&frame);
        assert_eq!(headers.tcp_options(&frame).collect::<Vec<_>>(), [Ok(TcpOption::Mss(1460))]);
        let udp = udp_frame(false, &[2, 4, 5, 180]);
        assert_eq!(parsed(&udp).tcp_options(&udp).count(), 0);
    }

    #[test]
    fn other_ethertypes_are_refused() {
        let mut frame = tcp_frame(false, TcpFlags::ACK, b"");
        frame[12..14].copy_from_slice(&[0x88, 0x64]);
        assert_eq!(Headers::parse(&frame), Err(ParseError::UnsupportedL3Protocol));
    }

    #[test]
    fn the_ethertype_decides_the_version() {
        let mut frame = tcp_frame(false, TcpFlags::ACK, b"");
        frame[12..14].copy_from_slice(&[0x86, 0xdd]);
        assert_eq!(Headers::parse(&frame), Err(ParseError::Ipv6Version));
        let mut frame = tcp_frame(true, TcpFlags::ACK, b"");
        frame[12..14].copy_from_slice(&[0x08, 0x00]);
        assert_eq!(Headers::parse(&frame), Err(ParseError::Ipv4Version));
    }

    fn sealed(mut frame: Vec<u8>) -> Vec<u8> {
        frame[24..26].fill(0);
        let checksum = crate::checksum::Sum::new().add_bytes(&frame[14..34]).checksum();
        frame[24..26].copy_from_slice(&checksum.to_be_bytes());
        frame
    }

    #[test]
    fn a_fragment_is_not_read_as_transport() {
        let mut frame = tcp_frame(false, TcpFlags::ACK, &[0; 44]);
        frame[20..22].copy_from_slice(&[0x20, 3]);
        let headers = parsed(&sealed(frame.clone()));
        let Transport::Fragment(fragment) = headers.transport else { panic!("{headers:?}") };
        assert_eq!((fragment.offset, fragment.more, fragment.protocol), (24, true, Protocol::TCP));
        assert_eq!((headers.payload_offset, headers.payload_len), (34, 64));
        assert_eq!(headers.flow_tuple(), None);
        frame[20..22].copy_from_slice(&[0x20, 1]);
        assert_eq!(Headers::parse(&sealed(frame)), Err(ParseError::FragmentTiny));
    }

    #[test]
    fn other_protocols_are_named_by_number() {
        for number in [0, 4, 41, 47, 50, 51, 255] {
            let mut frame = tcp_frame(false, TcpFlags::ACK, b"");
            frame[23] = number;
            let headers = parsed(&sealed(frame));
            assert_eq!(headers.transport, Transport::Other { protocol: Protocol::new(number) });
            assert_eq!(headers.flow_tuple().unwrap().protocol, Protocol::new(number));
        }
    }

    #[test]
    fn sctp_has_the_ports_that_policies_speak_of() {
        for is_ipv6 in [false, true] {
            let mut frame = tcp_frame(is_ipv6, TcpFlags::ACK, b"");
            frame[if is_ipv6 { 20 } else { 23 }] = 132;
            let before = parsed(&tcp_frame(is_ipv6, TcpFlags::ACK, b"")).flow_tuple().unwrap();
            let frame = if is_ipv6 { frame } else { sealed(frame) };
            let tuple = parsed(&frame).flow_tuple().unwrap();
            assert_eq!(tuple, FlowTuple { protocol: Protocol::SCTP, ..before });
        }
    }

    #[test]
    fn icmp_of_the_other_version_is_refused() {
        let mut frame = tcp_frame(false, TcpFlags::ACK, b"");
        frame[23] = 58;
        assert_eq!(Headers::parse(&sealed(frame)), Err(ParseError::IcmpWrongFamily));
        let mut frame = tcp_frame(true, TcpFlags::ACK, b"");
        frame[20] = 1;
        assert_eq!(Headers::parse(&frame), Err(ParseError::IcmpWrongFamily));
    }

    #[test]
    fn an_echo_s_identifier_is_the_requester_s_port() {
        for is_ipv6 in [false, true] {
            let request =
                built(|out| crate::emit::echo_request(envelope(is_ipv6), 77, 1, b"ping", out));
            let headers = parsed(&request);
            let tuple = headers.flow_tuple().unwrap();
            assert_eq!((tuple.src_port, tuple.dst_port), (77, 0));
            let reply = built(|out| crate::answer::echo_reply(&request, &headers, out));
            assert_eq!(parsed(&reply).flow_tuple(), Some(tuple.reversed()));
        }
    }

    #[test]
    fn an_icmp_error_names_the_flow_it_is_about() {
        for (is_ipv6, icmp_type, code) in [(false, 3, 4), (true, 2, 0)] {
            let quoted = tcp_frame(is_ipv6, TcpFlags::ACK, b"");
            let frame = icmp_error_frame(is_ipv6, icmp_type, code, [0, 0, 5, 0x14], &quoted[14..]);
            let headers = parsed(&frame);
            let error = headers.icmp_error().unwrap();
            assert_eq!(error.cause, icmp::ErrorCause::TooBig { mtu: 1300 });
            assert_eq!(Some(error.quote.tuple), parsed(&quoted).flow_tuple());
            assert_eq!(error.quote.tcp_seq, Some(SeqNumber::new(1000)));
            assert_eq!(&frame[error.quote.network_offset..], &quoted[14..]);
            assert_eq!(
                &frame[error.quote.transport_offset..],
                &quoted[parsed(&quoted).transport_offset..]
            );
            assert_eq!(headers.flow_tuple(), None, "an error is no flow of its own");
        }
    }

    #[test]
    fn an_error_that_names_no_flow_is_refused() {
        let quoted = tcp_frame(false, TcpFlags::ACK, b"");
        let refused = |quote: &[u8]| {
            Headers::parse(&icmp_error_frame(false, 11, 0, [0; 4], quote)).unwrap_err()
        };
        assert_eq!(refused(&quoted[14..41]), ParseError::IcmpQuoteTruncated);
        assert_eq!(refused(&quoted[14..20]), ParseError::IcmpQuoteTruncated);
        let mut later_fragment = quoted[14..].to_vec();
        later_fragment[7] = 2;
        assert_eq!(refused(&later_fragment), ParseError::IcmpQuoteUnusable);
        let about_an_error = icmp_error_frame(false, 11, 0, [0; 4], &quoted[14..]);
        assert_eq!(refused(&about_an_error[14..]), ParseError::IcmpQuoteUnusable);
        let of_the_other_version = tcp_frame(true, TcpFlags::ACK, b"");
        assert_eq!(refused(&of_the_other_version[14..]), ParseError::IcmpQuoteUnusable);
    }

    #[test]
    fn a_quoted_ipv6_error_is_refused_too() {
        let quoted = tcp_frame(true, TcpFlags::ACK, b"");
        let refused = |quote: &[u8]| {
            Headers::parse(&icmp_error_frame(true, 3, 0, [0; 4], quote)).unwrap_err()
        };
        assert_eq!(refused(&quoted[14..61]), ParseError::IcmpQuoteTruncated);
        assert_eq!(refused(&quoted[14..53]), ParseError::IcmpQuoteTruncated);
        let about_an_error = icmp_error_frame(true, 3, 0, [0; 4], &quoted[14..]);
        assert_eq!(refused(&about_an_error[14..]), ParseError::IcmpQuoteUnusable);
    }

    #[test]
    fn a_quoted_first_fragment_names_its_flow_and_a_later_one_does_not() {
        let whole = tcp_frame(true, TcpFlags::ACK, &[0; 60]);
        let error_about = |place: u8| {
            let mut quote =
                [&whole[14..54], &[6, 0, 0, place, 0, 0, 0, 7], &whole[54..126]].concat();
            (quote[5], quote[6]) = (80, 44);
            Headers::parse(&icmp_error_frame(true, 3, 0, [0; 4], &quote))
        };
        let headers = error_about(1).unwrap();
        assert_eq!(Some(headers.icmp_error().unwrap().quote.tuple), parsed(&whole).flow_tuple());
        assert_eq!(error_about(17), Err(ParseError::IcmpQuoteUnusable));
    }

    #[test]
    fn a_first_buffer_must_hold_the_headers_but_not_the_payload() {
        let mut with_options = segment(false, TcpFlags::ACK, &[0; 5000]);
        with_options.options = &[1; 12];
        let frame = built(|out| with_options.emit(out));
        let whole = parsed(&frame);
        assert_eq!(Headers::parse_first(&frame[..66], frame.len()), Ok(whole));
        assert_eq!(Headers::parse_first(&frame[..65], frame.len()), Err(ParseError::TcpDataOffset));
        assert_eq!(Headers::parse_first(&frame[..66], 66), Err(ParseError::Ipv4TotalLength));
        assert_eq!(whole.payload(&frame[..66]), None);
    }

    fn assert_offsets_inside(frame: &[u8], headers: &Headers) {
        assert_eq!(headers.network_offset, 14);
        assert!(headers.network_offset <= headers.transport_offset);
        assert!(headers.transport_offset <= headers.payload_offset);
        assert!(headers.payload_end() <= headers.packet_end());
        assert!(headers.packet_end() <= frame.len());
        assert!(headers.payload(frame).is_some());
        for option in headers.tcp_options(frame) {
            let _ = option;
        }
        if let Some(error) = headers.icmp_error() {
            assert!(error.quote.network_offset < error.quote.transport_offset);
            assert!(error.quote.transport_offset + 8 <= headers.payload_end());
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            ethertype in prop::sample::select(vec![[8, 0], [8, 6], [0x86, 0xdd]]),
        ) {
            if let Ok(headers) = Headers::parse(&bytes) {
                assert_offsets_inside(&bytes, &headers);
            }
            let mut bytes = bytes;
            if bytes.len() >= 14 {
                bytes[6] = 2;
                bytes[12..14].copy_from_slice(&ethertype);
            }
            if let Ok(headers) = Headers::parse(&bytes) {
                assert_offsets_inside(&bytes, &headers);
            }
        }

        #[test]
        fn mutated_frames_are_read_or_refused(
            mut frame in frames(),
            edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
            cut: prop::sample::Index,
            is_resealed: bool,
        ) {
            for (place, value) in edits {
                let place = place.index(frame.len());
                frame[place] = value;
            }
            if is_resealed && frame[12] == 8 {
                frame = sealed(frame);
            }
            for frame in [&frame[..], &frame[..cut.index(frame.len())]] {
                if let Ok(headers) = Headers::parse(frame) {
                    assert_offsets_inside(frame, &headers);
                }
            }
        }

        #[test]
        fn frames_cut_short_are_refused(frame in frames(), cut: prop::sample::Index) {
            prop_assert!(Headers::parse(&frame[..cut.index(frame.len())]).is_err());
        }
    }
}
