//! Why a packet died. The enum is the counter table and what the command line prints; Cilium's names and numbers where they
//! exist (`cilium-semantics.md` §4.2), numbers from 220 on are ours.

use parser::{ParseError, RewriteError};

use crate::inspect::StreamDrop;

macro_rules! drop_reasons {
    ($($(#[$doc:meta])* $variant:ident = $number:literal, $key:literal, $name:literal, $text:literal;)*) => {
        /// Why a packet died.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum DropReason {
            $($(#[$doc])* $variant,)*
        }

        impl DropReason {
            /// Every reason, in the order of the counters.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The number in Cilium's event, or ours from 220 on.
            pub fn number(self) -> u8 {
                match self { $(Self::$variant => $number,)* }
            }

            /// The key in JSON output: kebab case.
            pub fn key(self) -> &'static str {
                match self { $(Self::$variant => $key,)* }
            }

            /// The name in flow events (Hubble's `drop_reason_desc`).
            pub fn flow_name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The words shown to people (`reason` label of `cilium_drop_count_total`).
            pub fn text(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }
    };
}

drop_reasons! {
    /// The source address is not the pod's own.
    InvalidSourceIp = 132, "invalid-source-ip", "INVALID_SOURCE_IP", "Invalid source ip";
    /// No rule allows it (default deny).
    PolicyDenied = 133, "policy-denied", "POLICY_DENIED", "Policy denied";
    /// A header contradicts itself or the frame.
    InvalidPacket = 134, "invalid-packet", "INVALID_PACKET_DROPPED", "Invalid packet";
    /// A transport header is cut short or invalid.
    InvalidTransportHeader = 135, "invalid-transport-header", "CT_TRUNCATED_OR_INVALID_HEADER", "CT: Truncated or invalid header";
    /// Larger than the next link's MTU; the sender was told if it asked not to fragment.
    TooBig = 136, "too-big", "CT_MISSING_TCP_ACK_FLAG", "Fragmentation needed";
    /// Neither IPv4, IPv6 nor ARP.
    UnsupportedL3Protocol = 139, "unsupported-l3-protocol", "UNSUPPORTED_L3_PROTOCOL", "Unsupported L3 protocol";
    /// A transport protocol that no policy can speak of.
    UnknownL4Protocol = 142, "unknown-l4-protocol", "UNKNOWN_L4_PROTOCOL", "Unknown L4 protocol";
    /// There is no way to the destination.
    NoRoute = 150, "no-route", "UNKNOWN_L3_TARGET_ADDRESS", "Unknown L3 target address";
    /// The TCP or UDP checksum is wrong.
    BadChecksum = 154, "bad-checksum", "ERROR_WHILE_CORRECTING_L4_CHECKSUM", "Error while correcting L4 checksum";
    /// The connection table is full, of connections that are in use.
    ConnectionTableFull = 155, "connection-table-full", "CT_MAP_INSERTION_FAILED", "CT: Map insertion failed";
    /// An IPv6 extension header that could hide what follows.
    InvalidIpv6Extension = 156, "invalid-ipv6-extension", "INVALID_IPV6_EXTENSION_HEADER", "Invalid IPv6 extension header";
    /// A fragment that overlaps another, or whose packet is none that may come in fragments.
    Fragment = 157, "fragment", "IP_FRAGMENTATION_NOT_SUPPORTED", "IP fragmentation not supported";
    /// The service has no ready endpoint.
    ServiceBackendNotFound = 158, "service-backend-not-found", "SERVICE_BACKEND_NOT_FOUND", "Service backend not found";
    /// A packet in the middle of a connection whose state is needed and not known.
    MidStream = 163, "mid-stream", "UNKNOWN_CONNECTION_TRACKING_STATE", "Unknown connection tracking state";
    /// Not plain Ethernet II.
    UnsupportedL2Protocol = 166, "unsupported-l2-protocol", "UNSUPPORTED_L2_PROTOCOL", "Unsupported L2 protocol";
    /// An ICMPv6 message that a pod may not send.
    ForbiddenIcmpv6 = 176, "forbidden-icmpv6", "FORBIDDEN_ICMPV6_MESSAGE", "Forbidden ICMPv6 message";
    /// A deny rule matched.
    PolicyDeny = 181, "policy-deny", "POLICY_DENY", "Policy denied by denylist";
    /// A VLAN tag.
    VlanFiltered = 182, "vlan-filtered", "VLAN_FILTERED", "VLAN filtered";
    /// The TTL or hop limit ran out; the sender was told.
    TtlExceeded = 196, "ttl-exceeded", "TTL_EXCEEDED", "TTL exceeded";
    /// No policy is loaded, or the port's pod is not in the snapshot.
    EndpointNotReady = 203, "endpoint-not-ready", "DROP_EP_NOT_READY", "Endpoint policy program not available";
    /// The frame's hardware addresses are not the port's.
    InvalidMac = 220, "invalid-mac", "INVALID_MAC", "Invalid hardware address";
    /// A multicast or broadcast packet.
    Multicast = 221, "multicast", "MULTICAST_UNSUPPORTED", "Multicast not forwarded";
    /// The pod has not told its hardware address yet and enough packets wait for it.
    NeighbourUnresolved = 222, "neighbour-unresolved", "NEIGHBOUR_UNRESOLVED", "Neighbour unresolved";
    /// A packet of more chunks than the longest one has.
    FrameTooLong = 223, "frame-too-long", "FRAME_TOO_LONG", "Packet of too many chunks";
    /// The destination's tx ring is full.
    TxRingFull = 224, "tx-ring-full", "TX_RING_FULL", "Tx ring full";
    /// Another worker's inbox is full.
    HandoffFull = 225, "handoff-full", "HANDOFF_FULL", "Hand-off queue full";
    /// No free frame for a packet that we build.
    PoolEmpty = 226, "pool-empty", "POOL_EMPTY", "No free frame";
    /// The port went away while the packet was on its way.
    PortGone = 227, "port-gone", "PORT_GONE", "Port gone";
    /// An ICMP error about a connection that does not exist.
    UnrelatedIcmpError = 228, "unrelated-icmp-error", "UNRELATED_ICMP_ERROR", "ICMP error without a connection";
    /// A chunk of the packet was not one that the kernel had from us.
    FrameBroken = 229, "frame-broken", "FRAME_BROKEN", "Packet with a foreign chunk";
    /// The endpoint has as many connections as it may have.
    EndpointBudget = 237, "endpoint-budget", "ENDPOINT_BUDGET_SPENT", "Endpoint budget spent";
    /// A DNS query for a name that no rule allows; the asker was told.
    DnsNameRefused = 240, "dns-name-refused", "DNS_NAME_REFUSED", "DNS name not allowed";
    /// Not a DNS message that has one reading.
    DnsMalformed = 241, "dns-malformed", "DNS_MALFORMED", "DNS message not readable";
    /// A DNS answer that no query waits for.
    DnsUnsolicited = 242, "dns-unsolicited", "DNS_UNSOLICITED", "DNS answer to no query";
    /// DNS over TCP where a rule names names; the asker was told.
    DnsOverTcp = 243, "dns-over-tcp", "DNS_OVER_TCP", "DNS over TCP not inspected";
    /// A segment that the receiver would not accept either, on an inspected connection.
    StreamInvalid = 230, "stream-invalid", "STREAM_INVALID_SEGMENT", "Segment not acceptable in stream";
    /// A retransmission with other bytes than the first time.
    StreamConflict = 231, "stream-conflict", "STREAM_CONFLICTING_BYTES", "Retransmission with other bytes";
    /// A budget of an inspected connection is spent.
    StreamBudget = 232, "stream-budget", "STREAM_BUDGET_SPENT", "Stream budget spent";
    /// The inspected connection is closing or closed; nothing passes any more.
    StreamClosed = 233, "stream-closed", "STREAM_CLOSED", "Inspected connection closed";
    /// An ambiguous response ended the pairing of requests and responses.
    StreamAmbiguous = 234, "stream-ambiguous", "STREAM_AMBIGUOUS_RESPONSE", "Ambiguous response";
    /// No more fragments may wait, of this source, from this link, or at all.
    FragmentBudget = 235, "fragment-budget", "FRAGMENT_BUDGET_SPENT", "Fragment budget spent";
    /// The other fragments of its packet did not come in time.
    FragmentExpired = 236, "fragment-expired", "FRAGMENT_EXPIRED", "Fragment waited too long";
}

impl std::fmt::Display for DropReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.text())
    }
}

impl From<ParseError> for DropReason {
    fn from(error: ParseError) -> Self {
        match error {
            ParseError::EthernetTruncated
            | ParseError::EthernetGroupSource
            | ParseError::ArpTruncated
            | ParseError::ArpUnsupported
            | ParseError::ArpGroupSender
            | ParseError::Ipv4Truncated
            | ParseError::Ipv4Version
            | ParseError::Ipv4HeaderLength
            | ParseError::Ipv4TotalLength
            | ParseError::Ipv4Checksum
            | ParseError::Ipv4OptionMalformed
            | ParseError::Ipv4SourceRoute
            | ParseError::Ipv6Truncated
            | ParseError::Ipv6Version
            | ParseError::Ipv6PayloadLength
            | ParseError::Ipv6MappedAddress => Self::InvalidPacket,
            ParseError::EthernetVlan => Self::VlanFiltered,
            ParseError::EthernetLlc => Self::UnsupportedL2Protocol,
            ParseError::UnsupportedL3Protocol => Self::UnsupportedL3Protocol,
            ParseError::Ipv6Jumbogram
            | ParseError::Ipv6ExtensionOrder
            | ParseError::Ipv6ExtensionTruncated
            | ParseError::Ipv6OptionMalformed
            | ParseError::Ipv6RoutingHeader
            | ParseError::Ipv6HomeAddress => Self::InvalidIpv6Extension,
            ParseError::FragmentLength
            | ParseError::FragmentBeyondMaximum
            | ParseError::FragmentTiny => Self::Fragment,
            ParseError::TcpTruncated
            | ParseError::TcpDataOffset
            | ParseError::TcpSynFin
            | ParseError::TcpSynRst
            | ParseError::TcpNoFlags
            | ParseError::TcpAckMissing
            | ParseError::TcpPortZero
            | ParseError::TcpOptionMalformed
            | ParseError::UdpTruncated
            | ParseError::UdpLength
            | ParseError::UdpPortZero
            | ParseError::SctpTruncated
            | ParseError::SctpPortZero
            | ParseError::IcmpTruncated
            | ParseError::IcmpWrongFamily => Self::InvalidTransportHeader,
            ParseError::IcmpQuoteTruncated | ParseError::IcmpQuoteUnusable => {
                Self::UnrelatedIcmpError
            }
            ParseError::NdpHopLimit | ParseError::NdpMalformed => Self::ForbiddenIcmpv6,
        }
    }
}

impl From<RewriteError> for DropReason {
    fn from(error: RewriteError) -> Self {
        match error {
            RewriteError::HopLimitExceeded => Self::TtlExceeded,
            _ => Self::InvalidPacket,
        }
    }
}

impl From<StreamDrop> for DropReason {
    fn from(reason: StreamDrop) -> Self {
        match reason {
            StreamDrop::NotOpening => Self::MidStream,
            StreamDrop::BadFlags
            | StreamDrop::NoAck
            | StreamDrop::UnexpectedSyn
            | StreamDrop::BadHandshake
            | StreamDrop::BadOptions
            | StreamDrop::BadAck
            | StreamDrop::OutOfWindow
            | StreamDrop::InexactReset
            | StreamDrop::StaleTimestamp
            | StreamDrop::AfterFin => Self::StreamInvalid,
            StreamDrop::ConflictingOverlap => Self::StreamConflict,
            StreamDrop::HoleBudget
            | StreamDrop::HeldBudget
            | StreamDrop::HeadTimeout
            | StreamDrop::HeldTimeout
            | StreamDrop::RetransmitLimit => Self::StreamBudget,
            StreamDrop::Closed
            | StreamDrop::AfterClose
            | StreamDrop::IdleTimeout
            | StreamDrop::HandshakeTimeout
            | StreamDrop::LingerTimeout => Self::StreamClosed,
            StreamDrop::Unpaired => Self::StreamAmbiguous,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_numbers_are_unique() {
        for (position, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, position);
            for other in &DropReason::ALL[..position] {
                assert_ne!(reason.key(), other.key());
                assert_ne!(reason.number(), other.number());
            }
        }
    }

    #[test]
    fn keys_are_the_kebab_case_of_the_variant() {
        for reason in DropReason::ALL {
            let mut kebab = String::new();
            for letter in format!("{reason:?}").chars() {
                if letter.is_uppercase() && !kebab.is_empty() {
                    kebab.push('-');
                }
                kebab.extend(letter.to_lowercase());
            }
            assert_eq!(reason.key(), kebab);
        }
    }
}
