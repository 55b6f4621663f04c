//! What arrived: tagged packets one by one arrive, counts of loss, reordering and duplicates and a distribution of delays leave.
//!
//! A packet is *reordered* when one with a higher number came before it (RFC 4737 §3.3), a *duplicate* when its number came
//! before. To tell the two apart the last [`WINDOW`] numbers are remembered; a packet older than that counts as *stale*,
//! because nobody knows any more which of both it is.

use hdrhistogram::Histogram;

use crate::tag::Tag;

/// Numbers remembered of each stream.
pub const WINDOW: u64 = 1 << 16;

const WORDS: usize = 1 << 10;

/// The longest delay told apart; longer ones count as this.
const LONGEST: u64 = 100_000_000_000;

/// What is known of one stream.
#[derive(Clone, Debug)]
pub struct Track {
    /// Different packets received.
    pub unique: u64,
    /// Bytes of all packets received.
    pub bytes: u64,
    /// Packets whose number came before.
    pub duplicates: u64,
    /// Packets that came after one with a higher number.
    pub reordered: u64,
    /// Packets too old to tell whether they came before.
    pub stale: u64,
    /// The most numbers by which a packet was late.
    pub extent: u64,
    /// The highest number seen.
    highest: Option<u64>,
    /// Bit `n % WINDOW` says whether number `n` came, for the last WINDOW numbers up to `highest`.
    seen: Box<[u64; WORDS]>,
    /// Nanoseconds from building to receiving.
    pub delays: Histogram<u64>,
}

/// How a packet stands to those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Higher than all before.
    New,
    /// Late, and missed until now.
    Reordered,
    /// It came before.
    Duplicate,
    /// Too old to tell.
    Stale,
}

impl Track {
    fn new() -> Self {
        let delays = histogram();
        let seen = Box::new([0; WORDS]);
        Self {
            unique: 0,
            bytes: 0,
            duplicates: 0,
            reordered: 0,
            stale: 0,
            extent: 0,
            highest: None,
            seen,
            delays,
        }
    }

    /// Notes a packet of this number.
    pub fn note(&mut self, sequence: u64) -> Order {
        let Some(highest) = self.highest else {
            self.highest = Some(sequence);
            self.mark(sequence);
            self.unique += 1;
            return Order::New;
        };
        if sequence > highest {
            if sequence - highest >= WINDOW {
                self.seen.fill(0);
            } else {
                (highest + 1..=sequence).for_each(|passed| self.clear(passed));
            }
            self.highest = Some(sequence);
            self.mark(sequence);
            self.unique += 1;
            return Order::New;
        }
        let age = highest - sequence;
        if age >= WINDOW {
            self.stale += 1;
            return Order::Stale;
        }
        if self.mark(sequence) {
            self.duplicates += 1;
            return Order::Duplicate;
        }
        self.extent = self.extent.max(age);
        self.reordered += 1;
        self.unique += 1;
        Order::Reordered
    }

    /// Different numbers that are known to be missing: of all up to the highest, or of `sent` if that is known.
    pub fn lost(&self, sent: Option<u64>) -> u64 {
        let numbers = sent.unwrap_or_else(|| self.highest.map_or(0, |highest| highest + 1));
        // A stale packet was one of the missing ones or a duplicate; taking it for the former never reports too little loss
        // beyond what is named as stale.
        numbers.saturating_sub(self.unique)
    }

    fn mark(&mut self, sequence: u64) -> bool {
        let (word, bit) = place(sequence);
        let Some(word) = self.seen.get_mut(word) else { return false };
        let was = *word & bit != 0;
        *word |= bit;
        was
    }

    fn clear(&mut self, sequence: u64) {
        let (word, bit) = place(sequence);
        if let Some(word) = self.seen.get_mut(word) {
            *word &= !bit;
        }
    }
}

fn place(sequence: u64) -> (usize, u64) {
    let position = sequence % WINDOW;
    (usize::try_from(position / 64).unwrap_or(0), 1 << (position % 64))
}

/// Everything a receiver counts.
#[derive(Clone, Debug)]
pub struct Meter {
    /// The run whose packets count; none takes the run of the first tagged packet.
    run: Option<u16>,
    /// By position in the mix.
    pub tracks: Vec<Track>,
    /// Packets with a tag of this run, right or not.
    pub received: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Packets with a tag of this run whose checksum is wrong.
    pub damaged: u64,
    /// Packets without a tag of this run.
    pub foreign: u64,
    /// Bytes of them.
    pub foreign_bytes: u64,
}

impl Meter {
    /// Counts packets of `run`, or of the first run that shows up, in `streams` streams or as many as show up.
    pub fn new(run: Option<u16>, streams: usize) -> Self {
        let tracks = std::iter::repeat_with(Track::new).take(streams).collect();
        Self { run, tracks, received: 0, bytes: 0, damaged: 0, foreign: 0, foreign_bytes: 0 }
    }

    /// Counts a packet of `bytes` bytes with this tag at `now`. `is_intact` says whether its checksum is right: a damaged one
    /// is no arrival, since its tag may be what was damaged.
    pub fn count(&mut self, tag: Option<Tag>, is_intact: bool, bytes: usize, now: u64) {
        let run = self.run;
        let Some(tag) = tag.filter(|tag| run.is_none_or(|run| run == tag.run)) else {
            self.foreign += 1;
            self.foreign_bytes += bytes as u64;
            return;
        };
        self.received += 1;
        self.bytes += bytes as u64;
        if !is_intact {
            self.damaged += 1;
            return;
        }
        self.run = Some(tag.run);
        let position = usize::from(tag.stream);
        if position >= crate::mix::MAX_STREAMS {
            self.damaged += 1;
            return;
        }
        while self.tracks.len() <= position {
            self.tracks.push(Track::new());
        }
        let Some(track) = self.tracks.get_mut(position) else { return };
        track.bytes += bytes as u64;
        match track.note(tag.sequence) {
            // The second copy of a packet says nothing about how long packets take.
            Order::Duplicate | Order::Stale => {}
            Order::New | Order::Reordered => {
                track.delays.saturating_record(tag.age(now).clamp(1, LONGEST));
            }
        }
    }

    /// Different packets received.
    pub fn unique(&self) -> u64 {
        self.tracks.iter().map(|track| track.unique).sum()
    }

    /// The delays of all streams.
    pub fn delays(&self) -> Histogram<u64> {
        let mut all = histogram();
        for track in &self.tracks {
            // Both have the same bounds, so that everything fits.
            let _added = all.add(&track.delays);
        }
        all
    }
}

/// An empty distribution, to three digits: fewer would be too coarse for a p99.99 of some microseconds.
#[expect(clippy::expect_used, reason = "bounds that the crate accepts, as every test here shows")]
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST, 3).expect("1 to 10^11 with three digits")
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn track(numbers: &[u64]) -> Track {
        let mut track = Track::new();
        for &number in numbers {
            track.note(number);
        }
        track
    }

    #[test]
    fn loss_reordering_and_duplicates_are_told_apart() {
        let track = track(&[0, 1, 4, 3, 4, 4, 8]);
        assert_eq!(track.unique, 5);
        assert_eq!(track.lost(None), 4, "2, 5, 6 and 7");
        assert_eq!(track.lost(Some(20)), 15);
        assert_eq!((track.reordered, track.extent), (1, 1));
        assert_eq!((track.duplicates, track.stale), (2, 0));
    }

    #[test]
    fn a_packet_older_than_the_window_is_neither() {
        let track = track(&[0, WINDOW + 5, 0, 6]);
        assert_eq!((track.stale, track.duplicates, track.reordered), (1, 0, 1));
        let far = self::track(&[3, 10 * WINDOW, 10 * WINDOW - 1, 10 * WINDOW - WINDOW + 1]);
        assert_eq!((far.reordered, far.duplicates, far.unique), (2, 0, 4));
    }

    #[test]
    fn a_gap_as_long_as_the_window_leaves_nothing_remembered() {
        for gap in [WINDOW - 1, WINDOW, WINDOW + 1, 10 * WINDOW] {
            let before: Vec<u64> = (0..100).collect();
            let mut track = track(&before);
            track.note(99 + gap);
            // Every number that the window still reaches and that did not come yet.
            for number in (100 + gap).saturating_sub(WINDOW).max(100)..99 + gap {
                assert_eq!(track.note(number), Order::Reordered, "{number} after a gap of {gap}");
            }
        }
    }

    #[test]
    fn only_packets_of_the_run_count() {
        let mut meter = Meter::new(Some(7), 2);
        let tag = |run, sequence| Some(Tag { run, stream: 1, sequence, sent_at: 1000 });
        meter.count(tag(7, 0), true, 60, 3000);
        meter.count(tag(6, 1), true, 60, 3000);
        meter.count(None, true, 60, 3000);
        meter.count(tag(7, 1), false, 60, 3000);
        assert_eq!((meter.received, meter.foreign, meter.damaged), (2, 2, 1));
        assert_eq!((meter.unique(), meter.tracks[1].lost(Some(2))), (1, 1));
        assert_eq!(meter.delays().max(), meter.delays().highest_equivalent(2000));
        assert_eq!(meter.bytes, 120);
    }

    #[test]
    fn without_a_run_the_first_one_counts() {
        let mut meter = Meter::new(None, 0);
        for run in [9, 9, 8] {
            meter.count(
                Some(Tag { run, stream: 0, sequence: u64::from(run), sent_at: 0 }),
                true,
                60,
                9,
            );
        }
        assert_eq!((meter.received, meter.foreign), (2, 1));
    }

    proptest! {
        /// The oracle remembers everything.
        #[test]
        fn counts_agree_with_those_of_who_remembers_all(
            numbers in prop::collection::vec(0..500_u64, 1..400),
        ) {
            let track = track(&numbers);
            let (mut seen, mut duplicates, mut reordered) = (HashSet::new(), 0, 0);
            for &number in &numbers {
                let late = seen.iter().any(|&other| other > number);
                if !seen.insert(number) {
                    duplicates += 1;
                } else if late {
                    reordered += 1;
                }
            }
            let highest = numbers.iter().max().copied().unwrap_or(0);
            prop_assert_eq!(track.unique, seen.len() as u64);
            prop_assert_eq!((track.duplicates, track.reordered, track.stale), (duplicates, reordered, 0));
            prop_assert_eq!(track.lost(None), highest + 1 - seen.len() as u64);
        }
    }
}
