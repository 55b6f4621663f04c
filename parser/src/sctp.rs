//! SCTP's common header. Read RFC 9260 §3.1 first.
//!
//! A packet arrives, its ports leave: policy speaks of them. Chunks are not looked at, and the checksum (CRC32c, without the
//! addresses) is the receiver's to verify: nothing here changes a byte that it covers.

use crate::{ParseError, bytes, network::L4Port};

/// Bytes of the common header: ports, verification tag, checksum.
pub const HEADER_LEN: usize = 12;

/// An SCTP common header, as much of it as is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sctp {
    /// The sender's port, never 0.
    pub src_port: L4Port,
    /// The receiver's port, never 0.
    pub dst_port: L4Port,
}

impl Sctp {
    /// Reads the header at the start of `packet`.
    ///
    /// # Errors
    /// The header is cut short, or names port 0.
    pub fn parse(packet: &[u8]) -> Result<Self, ParseError> {
        let header: [u8; HEADER_LEN] = bytes::array(packet, 0).ok_or(ParseError::SctpTruncated)?;
        let [s0, s1, d0, d1, ..] = header;
        let (src_port, dst_port) = (u16::from_be_bytes([s0, s1]), u16::from_be_bytes([d0, d1]));
        if src_port == 0 || dst_port == 0 {
            return Err(ParseError::SctpPortZero);
        }
        Ok(Self { src_port, dst_port })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACKET: [u8; 12] = [0x9c, 0x40, 0, 80, 1, 2, 3, 4, 5, 6, 7, 8];

    #[test]
    fn ports_are_read() {
        assert_eq!(Sctp::parse(&PACKET), Ok(Sctp { src_port: 40000, dst_port: 80 }));
    }

    #[test]
    fn a_header_cut_short_or_with_port_zero_is_refused() {
        assert_eq!(Sctp::parse(&PACKET[..11]), Err(ParseError::SctpTruncated));
        for side in [0, 2] {
            let mut packet = PACKET;
            packet[side..side + 2].fill(0);
            assert_eq!(Sctp::parse(&packet), Err(ParseError::SctpPortZero));
        }
    }
}
