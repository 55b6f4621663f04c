//! Fragments of IPv4 and IPv6 packets. Read RFC 791 §3.2, RFC 8200 §4.5 and RFC 1858 first.

use crate::{ParseError, network::Protocol};

/// The place of a fragment in its packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// What the fragments of one packet share; 16 bits in IPv4.
    pub identification: u32,
    /// Where this fragment's bytes go, in bytes from the start of the fragmentable part; a multiple of 8.
    pub offset: u16,
    /// Whether fragments follow.
    pub more: bool,
    /// What the fragmentable part starts with: the transport protocol, or in IPv6 also a further extension header.
    pub protocol: Protocol,
    /// In IPv6, where in the frame the byte lies that announces the fragment header; reassembly overwrites it. 0 in IPv4.
    pub announced_at: usize,
}

impl Fragment {
    /// Refuses what no honest sender emits: wrong lengths, an end beyond any packet, or a split inside the TCP header.
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
