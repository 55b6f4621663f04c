//! Why a frame could not be read. Each reason is one way to make two readers disagree; all of them
//! end in a drop.

use std::fmt;

/// Why a frame was refused while its Ethernet to L4 headers were read.
///
/// Closed and `Copy`: the dataplane maps each variant to a named drop. No variant carries bytes of
/// the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ParseError {
    /// Fewer than 14 bytes: a runt, which no station may answer (IEEE 802.3 §3.2).
    EthernetTruncated,
    /// The source MAC has the group bit set; replies would be multicast (IEEE 802.3 §3.2.3).
    EthernetGroupSource,
    /// An 802.1Q or 802.1ad tag: behind it could hide a packet that the policy never saw.
    EthernetVlan,
    /// A length instead of an `EtherType` (802.2 LLC/SNAP), which can carry IP past a reader that
    /// expects Ethernet II.
    EthernetLlc,
    /// An `EtherType` that is neither IPv4, IPv6 nor ARP: `PPPoE`, MPLS, LLDP and the rest are not
    /// a pod's to send.
    UnsupportedL3Protocol,

    /// An ARP packet cut short (RFC 826).
    ArpTruncated,
    /// ARP for other hardware or protocols than Ethernet and IPv4, or with other lengths (RFC 826).
    ArpUnsupported,
    /// ARP whose sender claims a group of stations as its MAC; replies would be multicast (RFC 1812
    /// §3.3.2).
    ArpGroupSender,

    /// Fewer bytes than an IPv4 header (RFC 791 §3.1).
    Ipv4Truncated,
    /// `EtherType` IPv4, but another version inside: readers that trust one or the other disagree.
    Ipv4Version,
    /// A header length below 20 bytes or beyond the packet: the L4 header would be read at the
    /// wrong place.
    Ipv4HeaderLength,
    /// A total length below the header's or beyond the frame: padding could be taken for payload,
    /// or payload be missing.
    Ipv4TotalLength,
    /// A wrong header checksum: the receiver drops it, so a reader that does not is desynchronised
    /// (Ptacek-Newsham 1998).
    Ipv4Checksum,
    /// An option whose length runs past the header (RFC 791 §3.1).
    Ipv4OptionMalformed,
    /// Loose or strict source routing: the address in the header is not the final one (RFC 7126
    /// §4.3, §4.4).
    Ipv4SourceRoute,

    /// Fewer bytes than an IPv6 header (RFC 8200 §3).
    Ipv6Truncated,
    /// `EtherType` IPv6, but another version inside.
    Ipv6Version,
    /// A payload length beyond the frame.
    Ipv6PayloadLength,
    /// A jumbo payload option: a second, larger length (RFC 2675).
    Ipv6Jumbogram,
    /// An IPv4-mapped address on the wire: one host under two names, so identities get confused
    /// (RFC 4942 §2.2).
    Ipv6MappedAddress,
    /// Hop-by-hop options elsewhere than first, or a header more often than allowed: walking on
    /// would cost time, and readers give up at different places (RFC 8200 §4.1, RFC 9098 §7).
    Ipv6ExtensionOrder,
    /// The header chain does not end inside the packet or its first fragment (RFC 7112 §5).
    Ipv6ExtensionTruncated,
    /// An option inside an extension header runs past it (RFC 8200 §4.2).
    Ipv6OptionMalformed,
    /// Type 0 (RFC 5095), or another type with segments left: the address in the header is not the
    /// final one.
    Ipv6RoutingHeader,
    /// The home address option: the receiver would take another source address (RFC 6275 §6.3).
    Ipv6HomeAddress,

    /// An empty fragment, or one that is not the last and whose length is no multiple of 8 (RFC 791
    /// §3.2, RFC 8200 §4.5).
    FragmentLength,
    /// A fragment that ends beyond 65535 bytes: "ping of death" (RFC 8200 §4.5).
    FragmentBeyondMaximum,
    /// A first fragment without the whole TCP header, or one at offset 8: ports or flags hide in
    /// the next one (RFC 1858 §3, RFC 3128).
    FragmentTiny,

    /// Fewer bytes than a TCP header (RFC 9293 §3.1).
    TcpTruncated,
    /// A data offset below 5 words or beyond the segment (Geneva `TCP:dataofs`).
    TcpDataOffset,
    /// SYN with FIN: old filters saw the one, stacks the other (RFC 9293 §3.10.7.2 knows no such
    /// segment).
    TcpSynFin,
    /// SYN with RST.
    TcpSynRst,
    /// No flag at all: a NULL scan; stacks drop it, naive readers take its bytes.
    TcpNoFlags,
    /// Neither ACK nor SYN nor RST: an XMAS or FIN scan, or data that the receiver will drop (RFC
    /// 9293 §3.10.7.4).
    TcpAckMissing,
    /// Source or destination port 0, which is reserved (RFC 6335 §6) and which policies read as
    /// "every port".
    TcpPortZero,
    /// An option without length, with a wrong length for its kind, or beyond the header (RFC 9293
    /// §3.1).
    TcpOptionMalformed,

    /// Fewer bytes than a UDP header (RFC 768).
    UdpTruncated,
    /// A UDP length below 8 or beyond the packet.
    UdpLength,
    /// Destination port 0, which is reserved (RFC 6335 §6).
    UdpPortZero,
    /// The packet ends inside the SCTP common header.
    SctpTruncated,
    /// An SCTP port is 0 (RFC 9260 §3.1).
    SctpPortZero,

    /// Fewer bytes than the ICMP message needs (RFC 792, RFC 4443).
    IcmpTruncated,
    /// ICMP in IPv6 or ICMPv6 in IPv4: the receiver has no rule for it, so we guess none.
    IcmpWrongFamily,
    /// An ICMP error that quotes too little to find the connection it is about (RFC 792, RFC 4443
    /// §2.4).
    IcmpQuoteTruncated,
    /// An ICMP error that quotes another version, a later fragment or another error: it belongs to
    /// no connection (RFC 1122 §3.2.2, RFC 5927).
    IcmpQuoteUnusable,
    /// Neighbour discovery with a hop limit below 255: it was sent from beyond the link (RFC 4861
    /// §7.1).
    NdpHopLimit,
    /// Neighbour discovery with a zero-length or overlong option, a code, or a group where one host
    /// or station must be (RFC 4861 §7.1).
    NdpMalformed,
}

impl fmt::Display for ParseError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::EthernetTruncated => "frame shorter than an Ethernet header",
            Self::EthernetGroupSource => "multicast source MAC",
            Self::EthernetVlan => "VLAN tag",
            Self::EthernetLlc => "802.2 LLC frame",
            Self::UnsupportedL3Protocol => "EtherType is not IPv4, IPv6 or ARP",
            Self::ArpTruncated => "ARP truncated",
            Self::ArpUnsupported => "ARP is not for IPv4 over Ethernet",
            Self::ArpGroupSender => "ARP from a multicast MAC",
            Self::Ipv4Truncated => "IPv4 header truncated",
            Self::Ipv4Version => "IPv4 version is not 4",
            Self::Ipv4HeaderLength => "IPv4 header length out of range",
            Self::Ipv4TotalLength => "IPv4 total length out of range",
            Self::Ipv4Checksum => "IPv4 header checksum wrong",
            Self::Ipv4OptionMalformed => "IPv4 option malformed",
            Self::Ipv4SourceRoute => "IPv4 source route",
            Self::Ipv6Truncated => "IPv6 header truncated",
            Self::Ipv6Version => "IPv6 version is not 6",
            Self::Ipv6PayloadLength => "IPv6 payload length beyond the frame",
            Self::Ipv6Jumbogram => "IPv6 jumbogram",
            Self::Ipv6MappedAddress => "IPv4-mapped IPv6 address",
            Self::Ipv6ExtensionOrder => "IPv6 extension header repeated or out of order",
            Self::Ipv6ExtensionTruncated => "IPv6 header chain truncated",
            Self::Ipv6OptionMalformed => "IPv6 option malformed",
            Self::Ipv6RoutingHeader => "IPv6 routing header",
            Self::Ipv6HomeAddress => "IPv6 home address option",
            Self::FragmentLength => "fragment length wrong",
            Self::FragmentBeyondMaximum => "fragment ends beyond 65535 bytes",
            Self::FragmentTiny => "fragment hides the transport header",
            Self::TcpTruncated => "TCP header truncated",
            Self::TcpDataOffset => "TCP data offset out of range",
            Self::TcpSynFin => "TCP SYN with FIN",
            Self::TcpSynRst => "TCP SYN with RST",
            Self::TcpNoFlags => "TCP without flags",
            Self::TcpAckMissing => "TCP without ACK, SYN or RST",
            Self::TcpPortZero => "TCP port 0",
            Self::TcpOptionMalformed => "TCP option malformed",
            Self::UdpTruncated => "UDP header truncated",
            Self::UdpLength => "UDP length out of range",
            Self::UdpPortZero => "UDP destination port 0",
            Self::SctpTruncated => "SCTP header truncated",
            Self::SctpPortZero => "SCTP port 0",
            Self::IcmpTruncated => "ICMP message truncated",
            Self::IcmpWrongFamily => "ICMP of the other IP version",
            Self::IcmpQuoteTruncated => "ICMP error quotes too little",
            Self::IcmpQuoteUnusable => "ICMP error quotes what has no connection",
            Self::NdpHopLimit => "neighbour discovery from beyond the link",
            Self::NdpMalformed => "neighbour discovery malformed",
        })
    }
}

impl std::error::Error for ParseError {}

/// Why a frame was not built. The buffer's contents are then unspecified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EmitError {
    /// The frame does not fit the buffer.
    BufferTooSmall,
    /// The packet would exceed 65535 bytes, or its TCP options 40.
    TooLong,
    /// Source and destination are of different IP versions, or the message is of the other one.
    MixedFamilies,
    /// The frame to answer must not be answered: an error about an error, about a later fragment,
    /// to or from a group of hosts (RFC 1122 §3.2.2, RFC 4443 §2.4 e), a reset for a reset (RFC
    /// 9293 §3.10.7.1), or no question at all.
    NotAnswerable,
}

impl fmt::Display for EmitError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::BufferTooSmall => "frame does not fit the buffer",
            Self::TooLong => "packet or options too long",
            Self::MixedFamilies => "IP versions differ",
            Self::NotAnswerable => "frame must not be answered",
        })
    }
}

impl std::error::Error for EmitError {}

/// Why a frame was not rewritten. The frame is then as it was, except for options before a
/// malformed one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RewriteError {
    /// The frame is shorter than its headers say: it is not the one they were read from.
    FrameTooShort,
    /// The new address is of the other IP version.
    MixedFamilies,
    /// The packet has no such field: no port, no quote, no TCP header, or it is a fragment.
    NoSuchField,
    /// The hop limit is used up.
    HopLimitExceeded,
    /// A TCP option has a wrong length, so that the ones behind it cannot be found.
    MalformedOption,
}

impl fmt::Display for RewriteError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::FrameTooShort => "frame shorter than its headers",
            Self::MixedFamilies => "IP versions differ",
            Self::NoSuchField => "packet has no such field",
            Self::HopLimitExceeded => "hop limit exceeded",
            Self::MalformedOption => "TCP option malformed",
        })
    }
}

impl std::error::Error for RewriteError {}
