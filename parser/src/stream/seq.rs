//! Sequence numbers modulo 2^32 (RFC 9293 §3.4), and their distance from a connection's first one.

/// A 32-bit sequence or acknowledgement number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SeqNumber(pub u32);

impl SeqNumber {
    /// The number `distance` after this one.
    #[must_use]
    pub const fn wrapping_add(self, distance: u32) -> Self {
        Self(self.0.wrapping_add(distance))
    }
}
