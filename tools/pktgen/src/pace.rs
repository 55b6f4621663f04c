//! How many packets are due: the number sent and the time elapsed arrive, what to do next leaves.
//!
//! A pure function of time. Packet `n` is due `n / rate` seconds after the start, so that rounding never adds up; a sender that
//! fell behind catches up in full batches.

use std::{num::NonZeroU64, time::Duration};

/// Packets sent with one wake-up of the kernel, at most.
pub const BATCH: u64 = 64;

const NANOS: u128 = 1_000_000_000;

/// When the stream ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// After this many packets.
    Count(u64),
    /// After this time.
    Time(Duration),
}

/// The pace of a stream.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Packets per second; none is as fast as the kernel takes them.
    pub rate: Option<NonZeroU64>,
    /// When to stop.
    pub limit: Limit,
}

/// What a sender should do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Send this many packets, at least one and at most [`BATCH`].
    Send(u64),
    /// Nothing is due for this long.
    Wait(Duration),
    /// The stream is over.
    Stop,
}

impl Pace {
    /// What to do when `sent` packets were sent in the time `elapsed`.
    pub fn step(&self, sent: u64, elapsed: Duration) -> Step {
        let left = match self.limit {
            Limit::Count(count) => count.saturating_sub(sent),
            Limit::Time(time) if elapsed >= time => 0,
            Limit::Time(_) => u64::MAX,
        };
        if left == 0 {
            return Step::Stop;
        }
        let Some(rate) = self.rate else { return Step::Send(left.min(BATCH)) };
        match due(rate, elapsed).saturating_sub(sent) {
            0 => {
                let wait = due_at(rate, sent).saturating_sub(elapsed);
                Step::Wait(match self.limit {
                    Limit::Time(time) => wait.min(time.saturating_sub(elapsed)),
                    Limit::Count(_) => wait,
                })
            }
            ready => Step::Send(ready.min(left).min(BATCH)),
        }
    }
}

/// Packets due after `elapsed`; the first one is due at once.
fn due(rate: NonZeroU64, elapsed: Duration) -> u64 {
    let due = elapsed.as_nanos().saturating_mul(u128::from(rate.get())) / NANOS;
    u64::try_from(due).unwrap_or(u64::MAX).saturating_add(1)
}

/// When packet `number`, counted from 0, is due, rounded up to where [`due`] counts it.
fn due_at(rate: NonZeroU64, number: u64) -> Duration {
    let nanos = (u128::from(number) * NANOS).div_ceil(u128::from(rate.get()));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(rate: u64, limit: Limit) -> Pace {
        Pace { rate: NonZeroU64::new(rate), limit }
    }

    #[test]
    fn without_a_rate_full_batches_go_until_the_count() {
        let pace = pace(0, Limit::Count(100));
        assert_eq!(pace.step(0, Duration::ZERO), Step::Send(BATCH));
        assert_eq!(pace.step(64, Duration::ZERO), Step::Send(36));
        assert_eq!(pace.step(100, Duration::ZERO), Step::Stop);
    }

    #[test]
    fn time_ends_a_stream_and_no_wait_goes_past_it() {
        let pace = pace(1, Limit::Time(Duration::from_millis(1500)));
        assert_eq!(pace.step(0, Duration::ZERO), Step::Send(1));
        assert_eq!(
            pace.step(1, Duration::from_millis(100)),
            Step::Wait(Duration::from_millis(900))
        );
        assert_eq!(
            pace.step(2, Duration::from_millis(1000)),
            Step::Wait(Duration::from_millis(500))
        );
        assert_eq!(pace.step(2, Duration::from_millis(1500)), Step::Stop);
    }

    #[test]
    fn waiting_as_told_sends_each_packet_exactly_when_due() {
        for rate in [1, 3, 7, 999, 1_000_000, 333_333_333] {
            let pace = pace(rate, Limit::Count(1000));
            let (mut now, mut sent) = (Duration::ZERO, 0);
            loop {
                match pace.step(sent, now) {
                    Step::Send(count) => sent += count,
                    Step::Wait(wait) => {
                        assert!(!wait.is_zero(), "{rate}/s: no progress");
                        now += wait;
                    }
                    Step::Stop => break,
                }
            }
            let last = Duration::from_nanos(999_000_000_000_u64.div_ceil(rate));
            assert_eq!((sent, now), (1000, last), "{rate}/s");
        }
    }

    #[test]
    fn a_sender_that_fell_behind_catches_up() {
        let pace = pace(1000, Limit::Count(10_000));
        assert_eq!(pace.step(10, Duration::from_secs(1)), Step::Send(BATCH));
        assert_eq!(pace.step(1000, Duration::from_secs(1)), Step::Send(1));
    }

    #[test]
    fn the_largest_numbers_do_not_overflow() {
        let pace = pace(u64::MAX, Limit::Count(u64::MAX));
        assert_eq!(pace.step(0, Duration::MAX), Step::Send(BATCH));
        let slow = self::pace(1, Limit::Count(u64::MAX));
        assert!(matches!(slow.step(u64::MAX - 1, Duration::ZERO), Step::Wait(_)));
    }
}
