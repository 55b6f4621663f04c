//! UDP. Read RFC 768 first.
//!
//! A datagram arrives, ports and length leave. The length is UDP's own: what an IP packet carries
//! beyond it is no payload.

use crate::{ParseError, bytes, network::L4Port};

/// Bytes of the header.
pub const HEADER_LEN: usize = 8;

/// A UDP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Udp {
    /// The sender's port; 0 when it expects no answer.
    pub src_port: L4Port,
    /// The receiver's port, never 0.
    pub dst_port: L4Port,
    /// Bytes of header and payload. INVARIANT: at least 8, and inside the packet.
    pub length: u16,
    /// The checksum as sent; 0 means "none", which IPv6 forbids.
    pub checksum: u16,
}

impl Udp {
    /// Reads the header at the start of `datagram`, of which `available` bytes are in the packet.
    ///
    /// # Errors
    /// The header is cut short, its length contradicts the packet, or it is for port 0.
    pub fn parse(datagram: &[u8], available: usize) -> Result<Self, ParseError> {
        let header: [u8; HEADER_LEN] = bytes::array(datagram, 0).ok_or(ParseError::UdpTruncated)?;
        let [s0, s1, d0, d1, l0, l1, c0, c1] = header;
        let dst_port = u16::from_be_bytes([d0, d1]);
        if dst_port == 0 {
            return Err(ParseError::UdpPortZero);
        }
        let length = u16::from_be_bytes([l0, l1]);
        if !(HEADER_LEN..=available).contains(&usize::from(length)) {
            return Err(ParseError::UdpLength);
        }
        Ok(Self {
            src_port: u16::from_be_bytes([s0, s1]),
            dst_port,
            length,
            checksum: u16::from_be_bytes([c0, c1]),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATAGRAM: [u8; 10] = [0, 53, 0x80, 0, 0, 10, 1, 2, 0xaa, 0xbb];

    #[test]
    fn a_header_is_read() {
        let udp = Udp::parse(&DATAGRAM, 10).unwrap();
        assert_eq!(udp, Udp { src_port: 53, dst_port: 0x8000, length: 10, checksum: 0x0102 });
    }

    #[test]
    fn length_must_lie_between_header_and_packet() {
        for (length, available) in [(7, 10), (0, 10), (11, 10), (10, 9)] {
            let mut datagram = DATAGRAM;
            datagram[5] = length;
            assert_eq!(
                Udp::parse(&datagram, available),
                Err(ParseError::UdpLength),
                "{length} of {available}"
            );
        }
        assert_eq!(Udp::parse(&DATAGRAM[..7], 10), Err(ParseError::UdpTruncated));
    }

    #[test]
    fn port_zero_is_no_destination() {
        let mut datagram = DATAGRAM;
        datagram[2..4].fill(0);
        assert_eq!(Udp::parse(&datagram, 10), Err(ParseError::UdpPortZero));
    }
}
