//! How many packets are due: a rate's shape and the time elapsed arrive, what to do next leaves.
//!
//! A pure function of time. What is due is counted from the start, never from the last packet, so that rounding does not add
//! up; a sender that fell behind catches up in full batches. All time is in nanoseconds since the start.

use std::sync::Arc;

use crate::{
    clock::SECOND,
    rate::{Rate, Unit},
};

/// Packets sent with one wake-up of the kernel, at most.
pub const BATCH: usize = 64;

/// The longest wait that is told at once: a sender asks again after it.
const LONGEST_WAIT: u64 = SECOND;

/// The course of a rate over time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shape {
    /// As fast as the kernel takes them.
    Max,
    /// Units per second, from `from` at the start to `to` after `over` and from then on; the same for a constant rate.
    Line {
        /// Units per second at the start.
        from: u64,
        /// Units per second at the end.
        to: u64,
        /// Nanoseconds from start to end, at least 1.
        over: u64,
    },
    /// When each packet was captured: its offset from the first one, never decreasing, and how long one pass takes.
    Recorded {
        /// INVARIANT: not empty, sorted.
        offsets: Arc<[u64]>,
        /// Nanoseconds from a packet to its next coming.
        pass: u64,
    },
}

/// When to stop; whichever comes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limit {
    /// After this many packets.
    pub count: Option<u64>,
    /// After this many nanoseconds.
    pub time: Option<u64>,
}

/// What a sender should do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// At least one packet is due: send while [`Pacer::is_due`], at most [`BATCH`].
    Send,
    /// Nothing is due for this many nanoseconds.
    Wait(u64),
    /// The stream is over.
    Stop,
}

/// The pace of a run and how far it is.
#[derive(Clone, Debug)]
pub struct Pacer {
    shape: Shape,
    unit: Unit,
    /// Packets that go back to back.
    burst: u64,
    limit: Limit,
    packets: u64,
    units: u64,
    /// Units that were due when the current burst began: all of its packets are due with the first.
    burst_units: u64,
    /// Units due at the last step.
    due: u64,
}

impl Pacer {
    /// A pace at `rate`, in bursts of `burst` packets. A ramp lasts as long as the time limit.
    pub fn new(rate: Rate, burst: u64, limit: Limit) -> Self {
        let over = limit.time.unwrap_or(1).max(1);
        let (shape, unit) = match rate {
            Rate::Max => (Shape::Max, Unit::Packets),
            Rate::Line { from, to, unit } => (Shape::Line { from, to, over }, unit),
        };
        Self::of(shape, unit, burst, limit)
    }

    /// The pace of a recording.
    pub fn recorded(offsets: Arc<[u64]>, pass: u64, limit: Limit) -> Self {
        Self::of(Shape::Recorded { offsets, pass: pass.max(1) }, Unit::Packets, 1, limit)
    }

    fn of(shape: Shape, unit: Unit, burst: u64, limit: Limit) -> Self {
        let burst = burst.max(1);
        Self { shape, unit, burst, limit, packets: 0, units: 0, burst_units: 0, due: 0 }
    }

    /// What to do at `elapsed`.
    pub fn step(&mut self, elapsed: u64) -> Step {
        let is_over = self.limit.count.is_some_and(|count| self.packets >= count)
            || self.limit.time.is_some_and(|time| elapsed >= time);
        if is_over {
            return Step::Stop;
        }
        self.due = self.shape.due(elapsed);
        if self.burst_units <= self.due {
            return Step::Send;
        }
        let wait = self.shape.due_at(self.burst_units, elapsed).saturating_sub(elapsed).max(1);
        Step::Wait(self.limit.time.map_or(wait, |time| wait.min(time.saturating_sub(elapsed))))
    }

    /// Whether one more packet may go since the last step.
    pub fn is_due(&self) -> bool {
        self.burst_units <= self.due && self.limit.count.is_none_or(|count| self.packets < count)
    }

    /// A packet of `bits` was sent.
    pub fn sent(&mut self, bits: u64) {
        self.packets = self.packets.saturating_add(1);
        self.units = self.units.saturating_add(match self.unit {
            Unit::Packets => 1,
            Unit::Bits => bits,
        });
        if self.packets.is_multiple_of(self.burst) {
            self.burst_units = self.units;
        }
    }

    /// Packets sent.
    pub fn packets(&self) -> u64 {
        self.packets
    }

    /// What part of what was asked for until `elapsed` was sent; none when as much as possible was asked for. Packets due at
    /// that very moment, and the rest of a burst that is being sent, are not missing.
    #[expect(clippy::cast_precision_loss, reason = "a share, for people")]
    pub fn reached(&self, elapsed: u64) -> Option<f64> {
        if self.shape == Shape::Max {
            return None;
        }
        let elapsed = self.limit.time.map_or(elapsed, |time| elapsed.min(time));
        let due = self.shape.due(elapsed);
        let asked = match self.unit {
            Unit::Packets => self.limit.count.map_or(due, |count| due.min(count)),
            Unit::Bits => due,
        };
        Some(if self.units >= asked { 1.0 } else { self.units as f64 / asked as f64 })
    }
}

impl Shape {
    /// Units after which the next packet is still due at `elapsed`.
    fn due(&self, elapsed: u64) -> u64 {
        match self {
            Self::Max => u64::MAX,
            Self::Line { from, to, over } => line(*from, *to, *over, elapsed),
            Self::Recorded { offsets, pass } => {
                let passes = elapsed / pass;
                let within = elapsed % pass;
                let ready = offsets.partition_point(|&offset| offset <= within);
                let of_passes = passes.saturating_mul(offsets.len() as u64);
                of_passes.saturating_add(ready as u64).saturating_sub(1)
            }
        }
    }

    /// When `units` are due, not before `elapsed`, or a moment before that at which to ask again.
    fn due_at(&self, units: u64, elapsed: u64) -> u64 {
        if let Self::Line { from, to, .. } = self
            && from == to
        {
            let nanos = (u128::from(units) * u128::from(SECOND)).div_ceil(u128::from(*from).max(1));
            return u64::try_from(nanos).unwrap_or(u64::MAX);
        }
        // Not before `elapsed`, and found by halving: what is due never shrinks.
        let (mut early, mut late) = (elapsed, elapsed.saturating_add(LONGEST_WAIT));
        if self.due(late) < units {
            return late;
        }
        while late - early > 1 {
            let middle = early + (late - early) / 2;
            if self.due(middle) < units {
                early = middle;
            } else {
                late = middle;
            }
        }
        late
    }
}

/// The integral of a rate that goes in a line from `from` to `to` and stays there.
fn line(from: u64, to: u64, over: u64, elapsed: u64) -> u64 {
    let second = u128::from(SECOND);
    let (from, to, over) = (u128::from(from), u128::from(to), u128::from(over));
    let elapsed = u128::from(elapsed);
    if from == to {
        return u64::try_from(elapsed.saturating_mul(from) / second).unwrap_or(u64::MAX);
    }
    let inside = elapsed.min(over);
    let beyond = elapsed.saturating_sub(over);
    // from·t + (to − from)·t²/2T, both terms positive: (2T − t)·from·t/2T + to·t²/2T.
    let falling = from.saturating_mul(inside).saturating_mul(2 * over - inside) / (2 * over);
    let rising = to.saturating_mul(inside).saturating_mul(inside) / (2 * over);
    let units = (falling + rising).saturating_add(to.saturating_mul(beyond)) / second;
    u64::try_from(units).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packets(from: u64, to: u64) -> Rate {
        Rate::Line { from, to, unit: Unit::Packets }
    }

    fn count(count: u64) -> Limit {
        Limit { count: Some(count), time: None }
    }

    fn time(time: u64) -> Limit {
        Limit { count: None, time: Some(time) }
    }

    /// Sends at a fake clock that goes exactly as told, and returns when each packet went.
    fn run(pacer: &mut Pacer, bits: u64) -> Vec<u64> {
        let (mut now, mut sent) = (0, Vec::new());
        loop {
            match pacer.step(now) {
                Step::Send => {
                    for _ in 0..BATCH {
                        if pacer.is_due() {
                            sent.push(now);
                            pacer.sent(bits);
                        }
                    }
                }
                Step::Wait(wait) => {
                    assert!(wait > 0, "no progress");
                    now += wait;
                }
                Step::Stop => return sent,
            }
        }
    }

    #[test]
    fn without_a_rate_all_go_at_once_until_the_count() {
        let mut pacer = Pacer::new(Rate::Max, 1, count(100));
        assert_eq!(run(&mut pacer, 480), vec![0; 100]);
        assert_eq!(pacer.reached(SECOND), None);
    }

    #[test]
    fn each_packet_goes_exactly_when_due() {
        for rate in [1, 3, 7, 999, 1_000_000, 333_333_333] {
            let sent = run(&mut Pacer::new(packets(rate, rate), 1, count(1000)), 480);
            let due: Vec<u64> =
                (0..1000_u64).map(|number| (number * SECOND).div_ceil(rate)).collect();
            assert_eq!(sent, due, "{rate}/s");
        }
    }

    #[test]
    fn bits_are_paced_by_their_number() {
        let rate = Rate::Line { from: 8_000_000, to: 8_000_000, unit: Unit::Bits };
        let sent = run(&mut Pacer::new(rate, 1, time(SECOND)), 8 * 1000);
        assert_eq!(sent.len(), 1000);
        assert_eq!((sent[1], sent[999]), (1_000_000, 999_000_000));
    }

    #[test]
    fn a_burst_goes_back_to_back_and_the_mean_stays() {
        let sent = run(&mut Pacer::new(packets(1000, 1000), 10, time(SECOND)), 480);
        assert_eq!(sent.len(), 1000);
        for (number, &at) in sent.iter().enumerate() {
            assert_eq!(at, (number as u64 / 10) * 10_000_000);
        }
    }

    #[test]
    fn a_ramp_sends_the_area_under_its_line() {
        for (from, to) in [(1000, 3000), (3000, 1000), (0, 4000)] {
            let sent = run(&mut Pacer::new(packets(from, to), 1, time(10 * SECOND)), 480);
            let expected = (from + to) / 2 * 10;
            assert!((sent.len() as u64).abs_diff(expected) <= 1, "{from}..{to}: {}", sent.len());
            let first_half = sent.iter().filter(|&&at| at < 5 * SECOND).count() as u64;
            let expected = (from + (from + to) / 2) / 2 * 5;
            assert!(first_half.abs_diff(expected) <= 1, "{from}..{to}: {first_half}");
        }
    }

    #[test]
    fn a_recording_is_played_with_its_pauses_again_and_again() {
        let mut pacer = Pacer::recorded(Arc::from([0, 5, 5, 100]), 200, count(8));
        assert_eq!(run(&mut pacer, 480), [0, 5, 5, 100, 200, 205, 205, 300]);
    }

    #[test]
    fn time_ends_a_stream_and_no_wait_goes_past_it() {
        let mut pacer = Pacer::new(packets(1, 1), 1, time(SECOND * 3 / 2));
        assert_eq!(pacer.step(0), Step::Send);
        pacer.sent(480);
        assert_eq!(pacer.step(100_000_000), Step::Wait(900_000_000));
        assert_eq!(pacer.step(SECOND), Step::Send);
        pacer.sent(480);
        assert_eq!(pacer.step(SECOND), Step::Wait(500_000_000));
        assert_eq!(pacer.step(SECOND * 3 / 2), Step::Stop);
    }

    #[test]
    fn who_fell_behind_catches_up_and_who_did_not_is_told() {
        let mut pacer = Pacer::new(packets(1000, 1000), 1, time(2 * SECOND));
        assert_eq!(pacer.step(SECOND), Step::Send);
        let mut caught_up = 0;
        while pacer.is_due() {
            pacer.sent(480);
            caught_up += 1;
        }
        assert_eq!(caught_up, 1001);
        assert_eq!(pacer.reached(SECOND), Some(1.0));
        assert_eq!(pacer.reached(5 * SECOND), Some(1001.0 / 2000.0), "time over the limit");
    }

    #[test]
    fn the_largest_numbers_do_not_overflow() {
        let mut pacer = Pacer::new(packets(u64::MAX, u64::MAX), 1, count(u64::MAX));
        assert_eq!(pacer.step(u64::MAX), Step::Send);
        let mut ramp = Pacer::new(packets(u64::MAX, 1), u64::MAX, time(u64::MAX));
        assert_eq!(ramp.step(u64::MAX - 1), Step::Send);
    }

    proptest! {
        #[test]
        fn a_clock_that_jumps_sends_no_packet_early_and_none_too_many(
            rate in 1..100_000_000_u64, burst in 1..40_u64, jumps in prop::collection::vec(1..50_000_000_u64, 1..200),
        ) {
            let mut pacer = Pacer::new(packets(rate, rate), burst, Limit::default());
            let mut now = 0;
            for jump in jumps {
                if pacer.step(now) == Step::Send {
                    for _ in 0..BATCH {
                        if pacer.is_due() {
                            let first_of_burst = pacer.packets() / burst * burst;
                            let due = u128::from(first_of_burst) * u128::from(SECOND) / u128::from(rate);
                            prop_assert!(u128::from(now) >= due);
                            pacer.sent(480);
                        }
                    }
                }
                now += jump;
            }
            let most = u128::from(now) * u128::from(rate) / u128::from(SECOND) + u128::from(burst);
            prop_assert!(u128::from(pacer.packets()) <= most);
        }
    }
}
