//! TCP. Read RFC 9293 first.
//!
//! A segment arrives, its fixed header leaves, checked so far that no stack reads another one.
//! Options are read when asked for ([`options()`]); what the numbers mean for a connection is not
//! decided here.

mod flags;
mod options;
mod seq;

pub use flags::TcpFlags;
pub(crate) use options::next_option;
pub use options::{Options, SackBlock, SackBlocks, TcpOption, Timestamps, options};
pub use seq::SeqNumber;

use crate::{ParseError, bytes, network::L4Port};

/// Bytes of a header without options.
pub const MIN_HEADER_LEN: usize = 20;

/// A TCP header without its options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tcp {
    /// The sender's port, never 0.
    pub src_port: L4Port,
    /// The receiver's port, never 0.
    pub dst_port: L4Port,
    /// The number of the first payload byte, or of the SYN.
    pub seq: SeqNumber,
    /// The next number expected from the receiver; meaningless without ACK.
    pub ack: SeqNumber,
    /// The control bits; illegal combinations were refused.
    pub flags: TcpFlags,
    /// The receive window, not scaled.
    pub window: u16,
    /// The checksum as sent, which is only the pseudo header's sum when the sender left the rest to
    /// its hardware.
    pub checksum: u16,
    /// The urgent pointer; meaningless without URG.
    pub urgent: u16,
    /// Bytes of the header, options included: 20 to 60. INVARIANT: inside the segment.
    pub header_len: u8,
}

impl Tcp {
    /// Reads the header at the start of `segment`, of which `available` bytes are in the packet.
    /// The whole header must lie in `segment`.
    ///
    /// # Errors
    /// The header is cut short or overlong, names port 0, or has flags no connection has.
    pub fn parse(segment: &[u8], available: usize) -> Result<Self, ParseError> {
        let fixed: [u8; MIN_HEADER_LEN] =
            bytes::array(segment, 0).ok_or(ParseError::TcpTruncated)?;
        let tcp = Self::read(&fixed);
        let in_reach = MIN_HEADER_LEN..=available.min(segment.len());
        if !in_reach.contains(&usize::from(tcp.header_len)) {
            return Err(ParseError::TcpDataOffset);
        }
        if tcp.src_port == 0 || tcp.dst_port == 0 {
            return Err(ParseError::TcpPortZero);
        }
        tcp.flags.check()?;
        Ok(tcp)
    }

    /// What a header says, be it allowed or not.
    #[inline]
    pub(crate) const fn read(header: &[u8; MIN_HEADER_LEN]) -> Self {
        let [s0, s1, d0, d1, n0, n1, n2, n3, a0, a1, a2, a3, offset, bits, w0, w1, c0, c1, u0, u1] =
            *header;
        Self {
            src_port: u16::from_be_bytes([s0, s1]),
            dst_port: u16::from_be_bytes([d0, d1]),
            seq: SeqNumber::new(u32::from_be_bytes([n0, n1, n2, n3])),
            ack: SeqNumber::new(u32::from_be_bytes([a0, a1, a2, a3])),
            flags: TcpFlags::new(bits),
            window: u16::from_be_bytes([w0, w1]),
            checksum: u16::from_be_bytes([c0, c1]),
            urgent: u16::from_be_bytes([u0, u1]),
            header_len: (offset >> 4) << 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEGMENT: [u8; 24] = [
        0, 80, 0x9c, 0x40, 0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x18, 1, 0, 0xab, 0xcd, 0, 3, b'G', b'E',
        b'T', b' ',
    ];

    fn edited(offset: usize, value: u8) -> Result<Tcp, ParseError> {
        let mut segment = SEGMENT;
        segment[offset] = value;
        Tcp::parse(&segment, segment.len())
    }

    #[test]
    fn a_header_is_read() {
        let tcp = Tcp::parse(&SEGMENT, SEGMENT.len()).unwrap();
        assert_eq!((tcp.src_port, tcp.dst_port), (80, 40000));
        assert_eq!((tcp.seq.value(), tcp.ack.value()), (1, 2));
        assert_eq!(tcp.flags, TcpFlags::PSH.with(TcpFlags::ACK));
        assert_eq!((tcp.window, tcp.checksum, tcp.urgent, tcp.header_len), (256, 0xabcd, 3, 20));
    }

    #[test]
    fn the_data_offset_must_lie_between_minimum_and_segment() {
        assert_eq!(edited(12, 0x40), Err(ParseError::TcpDataOffset));
        assert_eq!(edited(12, 0x00), Err(ParseError::TcpDataOffset));
        assert_eq!(edited(12, 0x70), Err(ParseError::TcpDataOffset));
        assert_eq!(edited(12, 0x60).unwrap().header_len, 24);
        assert_eq!(
            Tcp::parse(&SEGMENT, 19),
            Err(ParseError::TcpDataOffset),
            "padding is no segment"
        );
        assert_eq!(Tcp::parse(&SEGMENT[..19], 19), Err(ParseError::TcpTruncated));
    }

    #[test]
    fn port_zero_is_refused_on_both_sides() {
        let mut segment = SEGMENT;
        segment[1] = 0;
        assert_eq!(Tcp::parse(&segment, 24), Err(ParseError::TcpPortZero));
        segment = SEGMENT;
        segment[2..4].fill(0);
        assert_eq!(Tcp::parse(&segment, 24), Err(ParseError::TcpPortZero));
    }

    #[test]
    fn flags_no_connection_has_are_refused() {
        assert_eq!(edited(13, 0x03), Err(ParseError::TcpSynFin));
        assert_eq!(edited(13, 0x06), Err(ParseError::TcpSynRst));
        assert_eq!(edited(13, 0x00), Err(ParseError::TcpNoFlags));
        assert_eq!(edited(13, 0x29), Err(ParseError::TcpAckMissing));
    }
}
