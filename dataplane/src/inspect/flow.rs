//! The numbers of one direction: who has sent, acknowledged and allowed how much, in both ends' counting.
//!
//! Positions are 64-bit distances from the direction's initial sequence number (the SYN stands at 0, the first byte at 1), so
//! that nothing but [`Flow::position`] knows about wrap.
//!
//! INVARIANT: `splice.backward(una) <= told <= splice.skip_cut(..)` of what the sender has sent; `una` and `edge` never
//! go back.

use parser::tcp::SeqNumber;

use super::{Splice, options::Timestamps};

/// "No position": above every real one.
pub(super) const NEVER: u64 = u64::MAX;

/// One direction's numbers.
#[derive(Clone, Debug)]
pub(super) struct Flow {
    /// The sender's initial sequence number; injected and cut bytes are counted by the splice, never in here.
    pub(super) isn: u32,
    /// From the sender's positions to the receiver's.
    pub(super) splice: Splice,
    /// Sender's: end of what was sent on to the receiver, or cut.
    pub(super) high: u64,
    /// Receiver's: what it has acknowledged.
    pub(super) una: u64,
    /// Receiver's: the furthest right edge of its window.
    pub(super) edge: u64,
    /// Sender's: what the sender was told is acknowledged.
    pub(super) told: u64,
    /// Sender's: the right edge that the sender was told last.
    pub(super) told_edge: u64,
    /// Sender's: position of its FIN, or [`NEVER`].
    pub(super) fin: u64,
}

impl Flow {
    /// A direction of which only the SYN is known.
    pub(super) fn new(isn: SeqNumber) -> Self {
        Self {
            isn: isn.value(),
            splice: Splice::default(),
            high: 1,
            una: 0,
            edge: 1,
            told: 0,
            told_edge: 0,
            fin: NEVER,
        }
    }

    /// The position that `number` names, nearest to `near`; `None` before the beginning.
    pub(super) fn position(&self, number: SeqNumber, near: u64) -> Option<u64> {
        let distance = number.value().wrapping_sub(self.number(near).value()).cast_signed();
        near.checked_add_signed(i64::from(distance))
    }

    /// The number on the wire for a position.
    pub(super) fn number(&self, position: u64) -> SeqNumber {
        let low = u32::try_from(position & u64::from(u32::MAX)).unwrap_or_default();
        SeqNumber::new(self.isn.wrapping_add(low))
    }

    /// The receiver's position of everything sent so far.
    pub(super) fn sent(&self) -> u64 {
        self.splice.forward(self.high)
    }

    /// The right edge in the sender's counting.
    pub(super) fn sender_edge(&self) -> u64 {
        self.splice.backward(self.edge)
    }

    /// Whether the receiver has acknowledged the sender's FIN.
    pub(super) fn finished(&self) -> bool {
        self.fin != NEVER && self.una > self.splice.forward(self.fin)
    }

    /// A SACK block that the receiver reported, in the sender's counting; `None` when nothing of it remains or it lies before
    /// the edits that are still known.
    pub(super) fn sack_block(&self, left: u32, right: u32) -> Option<(u32, u32)> {
        let left = self.position(SeqNumber::new(left), self.una)?;
        let right = self.position(SeqNumber::new(right), self.una)?;
        if left >= right || right > self.sent() || (left < self.una && !self.splice.is_identity()) {
            return None;
        }
        let (left, right) = (self.splice.backward(left), self.splice.backward(right));
        (left < right).then(|| (self.number(left).value(), self.number(right).value()))
    }
}

/// What one end said in its SYN, and the clock it shows in its timestamps.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct End {
    /// The shift of its window fields; 0 unless both ends offered scaling.
    pub(super) shift: u8,
    /// Its last timestamp, for what we send in its name.
    pub(super) clock: u32,
    /// Its timestamp by the rule of RFC 7323 §4.3, which stale segments are measured by.
    pub(super) recent: u32,
}

impl End {
    /// Whether `timestamps` are older than what the peer remembers, by Linux's rule: one tick back is still good.
    pub(super) fn is_stale(&self, timestamps: Timestamps) -> bool {
        self.recent != 0 && self.recent.wrapping_sub(timestamps.value).cast_signed() > 1
    }

    /// Takes note of a segment's timestamps; `in_order` is whether it starts at or before what was acknowledged.
    pub(super) fn note(&mut self, timestamps: Timestamps, in_order: bool) {
        if self.clock == 0 || timestamps.value.wrapping_sub(self.clock).cast_signed() > 0 {
            self.clock = timestamps.value;
        }
        if in_order
            && (self.recent == 0 || timestamps.value.wrapping_sub(self.recent).cast_signed() > 0)
        {
            self.recent = timestamps.value;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_survive_the_wrap() {
        let flow = Flow::new(SeqNumber::new(u32::MAX - 5));
        assert_eq!(flow.position(SeqNumber::new(u32::MAX - 5), 0), Some(0));
        assert_eq!(flow.position(SeqNumber::new(4), 1), Some(10));
        assert_eq!(flow.position(SeqNumber::new(u32::MAX - 6), 1), None);
        assert_eq!(flow.number(10), SeqNumber::new(4));
        let far = 5 << 32;
        assert_eq!(flow.position(flow.number(far + 77), far), Some(far + 77));
        assert_eq!(flow.position(flow.number(far - 77), far), Some(far - 77));
    }

    #[test]
    fn one_tick_back_is_not_stale_and_two_are() {
        let mut end = End::default();
        end.note(Timestamps { value: 1, echo: 0 }, true);
        assert!(!end.is_stale(Timestamps { value: 0, echo: 0 }));
        assert!(end.is_stale(Timestamps { value: u32::MAX, echo: 0 }));
        end.note(Timestamps { value: 9, echo: 0 }, false);
        assert_eq!((end.clock, end.recent), (9, 1));
    }
}
