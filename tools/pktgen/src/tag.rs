//! What each generated packet carries at the start of its payload, so that its receiver can tell loss, order and delay.
//!
//! ```text
//!    0      2      4      6                  12                 18
//!    | magic| run  |stream| sequence (48 bit)| sent at (48 bit) |
//! ```
//!
//! All in network order. Eighteen bytes are what a UDP datagram over IPv4 has room for in the smallest Ethernet frame. The run's
//! number keeps late packets of one trial out of the next one's figures. Time is CLOCK_MONOTONIC in nanoseconds, modulo 2^48:
//! the same in all namespaces and processes of a machine, and not comparable between machines.

/// Bytes of a tag.
pub const LEN: usize = 18;

const MAGIC: u16 = 0xb1a5;
const MASK: u64 = (1 << 48) - 1;

/// A tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag {
    /// The run that the packet belongs to.
    pub run: u16,
    /// The stream's position in its mix.
    pub stream: u16,
    /// The packet's number in its stream, modulo 2^48.
    pub sequence: u64,
    /// When it was built, in nanoseconds, modulo 2^48.
    pub sent_at: u64,
}

impl Tag {
    /// The tag as bytes.
    pub fn to_bytes(self) -> [u8; LEN] {
        let [m0, m1] = MAGIC.to_be_bytes();
        let [r0, r1] = self.run.to_be_bytes();
        let [s0, s1] = self.stream.to_be_bytes();
        let [_, _, n0, n1, n2, n3, n4, n5] = self.sequence.to_be_bytes();
        let [_, _, t0, t1, t2, t3, t4, t5] = self.sent_at.to_be_bytes();
        [m0, m1, r0, r1, s0, s1, n0, n1, n2, n3, n4, n5, t0, t1, t2, t3, t4, t5]
    }

    /// The tag at the start of a payload, if there is one.
    pub fn read(payload: &[u8]) -> Option<Self> {
        let [m0, m1, r0, r1, s0, s1, n0, n1, n2, n3, n4, n5, t0, t1, t2, t3, t4, t5] =
            *payload.first_chunk::<LEN>()?;
        (u16::from_be_bytes([m0, m1]) == MAGIC).then(|| Self {
            run: u16::from_be_bytes([r0, r1]),
            stream: u16::from_be_bytes([s0, s1]),
            sequence: u64::from_be_bytes([0, 0, n0, n1, n2, n3, n4, n5]),
            sent_at: u64::from_be_bytes([0, 0, t0, t1, t2, t3, t4, t5]),
        })
    }

    /// Nanoseconds from when it was built to `now`.
    pub fn age(self, now: u64) -> u64 {
        now.wrapping_sub(self.sent_at) & MASK
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_is_read_back(run: u16, stream: u16, sequence in 0..=MASK, sent_at in 0..=MASK) {
            let tag = Tag { run, stream, sequence, sent_at };
            prop_assert_eq!(Tag::read(&tag.to_bytes()), Some(tag));
        }
    }

    #[test]
    fn other_payloads_have_no_tag() {
        assert_eq!(Tag::read(&[0; 64]), None);
        assert_eq!(Tag::read(&[0xb1, 0xa5]), None);
    }

    #[test]
    fn age_survives_the_wrap() {
        let tag = Tag { run: 0, stream: 0, sequence: 0, sent_at: MASK };
        assert_eq!(tag.age(1 << 48), 1);
        assert_eq!(tag.age((1 << 48) + 999), 1000);
    }
}
