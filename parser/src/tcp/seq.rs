//! A TCP sequence number. Read RFC 9293 §3.4 first.
//!
//! Numbers live on a circle of 2^32: "before" means "less than half the circle behind". Every
//! operation is named and wraps; none of them can panic, and there is no `<`, because a total order
//! on a circle would be a lie.

use std::fmt;

/// A position in one direction of a TCP connection, modulo 2^32.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct SeqNumber(u32);

impl SeqNumber {
    /// The number as it stands on the wire.
    #[must_use]
    pub const fn new(value: u32) -> Self {
        Self(value)
    }

    /// The number for the wire.
    #[must_use]
    pub const fn value(self) -> u32 {
        self.0
    }

    /// `bytes` further on.
    #[must_use]
    pub const fn plus(self, bytes: u32) -> Self {
        Self(self.0.wrapping_add(bytes))
    }

    /// `bytes` further back.
    #[must_use]
    pub const fn minus(self, bytes: u32) -> Self {
        Self(self.0.wrapping_sub(bytes))
    }

    /// Bytes from `earlier` to here; negative when `earlier` is in fact later.
    ///
    /// Two numbers exactly half the circle apart are each "before" the other; such a pair never
    /// lies in one window, since a window is at most 2^30 (RFC 7323 §2.3).
    #[must_use]
    pub const fn distance_from(self, earlier: Self) -> i32 {
        self.0.wrapping_sub(earlier.0).cast_signed()
    }

    /// Whether this number comes strictly before `other`.
    #[must_use]
    pub const fn is_before(self, other: Self) -> bool {
        self.distance_from(other) < 0
    }

    /// Whether this number comes before `other` or equals it.
    #[must_use]
    pub const fn is_at_or_before(self, other: Self) -> bool {
        self.distance_from(other) <= 0
    }

    /// Whether this number comes strictly after `other`.
    #[must_use]
    pub const fn is_after(self, other: Self) -> bool {
        other.is_before(self)
    }

    /// Whether this number comes after `other` or equals it.
    #[must_use]
    pub const fn is_at_or_after(self, other: Self) -> bool {
        other.is_at_or_before(self)
    }

    /// Whether this number lies in the window of `length` bytes that starts at `start`.
    #[must_use]
    pub const fn is_within(self, start: Self, length: u32) -> bool {
        self.0.wrapping_sub(start.0) < length
    }

    /// The earlier of two numbers.
    #[must_use]
    pub const fn earlier_of(self, other: Self) -> Self {
        if other.is_before(self) { other } else { self }
    }

    /// The later of two numbers.
    #[must_use]
    pub const fn later_of(self, other: Self) -> Self {
        if self.is_before(other) { other } else { self }
    }
}

impl fmt::Display for SeqNumber {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, formatter)
    }
}

impl fmt::Debug for SeqNumber {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SeqNumber({})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn order_survives_the_wrap() {
        let last = SeqNumber::new(u32::MAX);
        let next = last.plus(1);
        assert_eq!(next.value(), 0);
        assert!(last.is_before(next));
        assert!(!next.is_before(last));
        assert!(next.is_after(last));
        assert_eq!(next.distance_from(last), 1);
        assert_eq!(last.distance_from(next), -1);
        assert_eq!(next.minus(1), last);
    }

    #[test]
    fn a_number_is_not_before_itself() {
        let here = SeqNumber::new(7);
        assert!(!here.is_before(here));
        assert!(here.is_at_or_before(here));
        assert!(here.is_at_or_after(here));
    }

    #[test]
    fn a_window_across_the_wrap_ends_where_it_says() {
        let start = SeqNumber::new(u32::MAX - 1);
        assert!(start.is_within(start, 1));
        assert!(SeqNumber::new(1).is_within(start, 4));
        assert!(!SeqNumber::new(2).is_within(start, 4));
        assert!(!start.minus(1).is_within(start, 4));
        assert!(!start.is_within(start, 0));
    }

    proptest! {
        #[test]
        fn moving_forward_by_less_than_half_the_circle_is_later(start: u32, step in 1..i32::MAX) {
            let start = SeqNumber::new(start);
            let later = start.plus(step.unsigned_abs());
            prop_assert!(start.is_before(later));
            prop_assert!(later.is_after(start));
            prop_assert_eq!(later.distance_from(start), step);
            prop_assert_eq!(start.earlier_of(later), start);
            prop_assert_eq!(start.later_of(later), later);
        }
    }
}
