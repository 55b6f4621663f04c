//! Ethernet to L4 in one walk.
//!
//! ```text
//! frame   | Ethernet | IPv4 + options, or IPv6 + extension headers | TCP + options, UDP, ICMP | payload | padding |
//!         0          14 = network_offset                           transport_offset           payload_offset
//! ```
//!
//! A frame arrives and is not touched; a small value with what the headers say, and where they start, leaves. The frame's
//! bytes stay with their owner. INVARIANT: `network_offset <= transport_offset <= payload_offset`, and the payload ends where
//! the IP header says the packet ends, inside the frame: Ethernet's padding is never payload.

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

    /// Reads the headers of a frame of `frame_len` bytes that is spread over several buffers, of which `first` is the first.
    /// All headers, options included, must lie in it.
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

    fn parse_ipv4(ethernet: Ethernet, packet: &[u8], available: usize) -> Result<Self, ParseError> {
        let ipv4 = Ipv4::parse(packet, available)?;
        let reach = Reach::of(packet, usize::from(ipv4.header_len), usize::from(ipv4.total_len));
        let network = Network::Ipv4(ipv4);
        if let Some(fragment) = ipv4.fragment() {
            fragment.check(reach.length)?;
            return Ok(reach.assemble(ethernet, network, Transport::Fragment(fragment), 0));
        }
        match ipv4.protocol {
            Protocol::ICMP => {
                let icmp = Icmp::parse(reach.bytes, reach.offset)?;
                Ok(reach.assemble(ethernet, network, Transport::Icmp(icmp), icmp::HEADER_LEN))
            }
            Protocol::ICMPV6 => Err(ParseError::IcmpWrongFamily),
            protocol => reach.parse_transport(ethernet, network, protocol),
        }
    }

    fn parse_ipv6(ethernet: Ethernet, packet: &[u8], available: usize) -> Result<Self, ParseError> {
        let ipv6 = Ipv6::parse(packet, available)?;
        let reach = Reach::of(packet, usize::from(ipv6.chain_len), ipv6.packet_len());
        let network = Network::Ipv6(ipv6);
        if let Some(fragment) = ipv6.fragment {
            return Ok(reach.assemble(ethernet, network, Transport::Fragment(fragment), 0));
        }
        match ipv6.protocol {
            Protocol::ICMPV6 => {
                let icmpv6 = Icmpv6::parse(reach.bytes, reach.offset, &ipv6)?;
                Ok(reach.assemble(ethernet, network, Transport::Icmpv6(icmpv6), icmp::HEADER_LEN))
            }
            Protocol::ICMP => Err(ParseError::IcmpWrongFamily),
            protocol => reach.parse_transport(ethernet, network, protocol),
        }
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

    /// The flow the packet belongs to. Fragments, ARP, ICMP errors (see [`Headers::icmp_error`]) and neighbour discovery
    /// belong to none; other protocols without ports have port 0 on both sides.
    #[must_use]
    pub fn flow_tuple(&self) -> Option<FlowTuple> {
        let (protocol, src_port, dst_port) = match self.transport {
            Transport::Tcp(tcp) => (Protocol::TCP, tcp.src_port, tcp.dst_port),
            Transport::Udp(udp) => (Protocol::UDP, udp.src_port, udp.dst_port),
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

    /// Where the packet ends by its own header; what a frame has beyond is padding. A frame may be cut to this length.
    #[must_use]
    pub fn packet_end(&self) -> usize {
        self.network
            .packet_len()
            .map_or(self.payload_offset, |length| self.network_offset.saturating_add(length))
    }

    /// The payload in the frame these headers were read from; none when the frame ends before it does.
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

    /// The option bytes of a segment in the frame these headers were read from; empty for anything else.
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
        match protocol {
            Protocol::TCP => {
                let tcp = Tcp::parse(self.bytes, self.length)?;
                Ok(self.assemble(
                    ethernet,
                    network,
                    Transport::Tcp(tcp),
                    usize::from(tcp.header_len),
                ))
            }
            Protocol::UDP => {
                let udp = Udp::parse(self.bytes, self.length)?;
                let reach = Reach { length: usize::from(udp.length), ..*self };
                Ok(reach.assemble(ethernet, network, Transport::Udp(udp), udp::HEADER_LEN))
            }
            protocol => Ok(self.assemble(ethernet, network, Transport::Other { protocol }, 0)),
        }
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
