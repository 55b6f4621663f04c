//! The members of a set, in the form that a look-up reads in as few places as it can.
//!
//! Arrives: a bitmap of identities. Leaves: whether one of them is in it. A handful lies where the set itself does; numbers
//! that lie close together (those of pods under one label that came together, or all there are) are bits in one run; those
//! that are wide apart lie in lines by their hash, so that one line says it; only what is too many for that is asked of the
//! bitmap, by its binary search. Invariant: every form says what the bitmap says.

use std::sync::Arc;

use roaring::RoaringBitmap;

/// Members that lie in the set itself.
const FEW: usize = 4;

/// A run may have so many bits for each member: four bytes each, twice what the bitmap has.
const BITS_A_MEMBER: u64 = 32;

/// Most members that lie in lines: they take up to 32 bytes each there, and the bitmap two.
const MOST_IN_LINES: u64 = 4096;

/// Members that one line has places for.
const LINE: usize = 16;

/// The members of a set. So aligned, one is never in two lines of memory.
#[derive(Clone, Debug, Default)]
#[repr(align(32))]
pub(crate) struct Members {
    all: Arc<RoaringBitmap>,
    form: Form,
}

#[derive(Clone, Debug, Default)]
enum Form {
    /// None.
    #[default]
    Nobody,
    /// These, the last one repeated.
    Few([u32; FEW]),
    /// Bits from a first number on.
    Run { first: u32, words: Arc<[u64]> },
    /// In the line of its hash.
    Lines(Arc<[Line]>),
    /// What the bitmap says.
    Thin,
}

/// Members that have a hash in common, and in what is left some other member: it is asked for in its own line only.
#[derive(Clone, Debug)]
#[repr(align(64))]
struct Line([u32; LINE]);

/// The line of a number, of so many. The multiplier is 2 to the 32nd by the golden ratio: neighbours come far apart.
#[inline]
fn line_of(number: u32, lines: usize) -> usize {
    let mixed = u64::from(number.wrapping_mul(0x9e37_79b1));
    let lines = u64::try_from(lines).unwrap_or(0);
    usize::try_from(mixed.wrapping_mul(lines) >> 32).unwrap_or(0)
}

/// Whether a number is among some, all of which are looked at: faster than stopping at the first.
#[inline]
fn is_among<const N: usize>(number: u32, all: &[u32; N]) -> bool {
    all.iter().fold(false, |found, one| found | (*one == number))
}

impl Members {
    /// The members of a bitmap.
    pub(crate) fn new(all: Arc<RoaringBitmap>) -> Self {
        let form = Form::of(&all);
        Self { all, form }
    }

    /// All of them.
    pub(crate) fn bitmap(&self) -> &Arc<RoaringBitmap> {
        &self.all
    }

    /// Changes them.
    pub(crate) fn change(&mut self, change: impl FnOnce(&mut RoaringBitmap)) {
        change(Arc::make_mut(&mut self.all));
        self.form = Form::of(&self.all);
    }

    /// Whether a number is one of them.
    #[inline]
    pub(crate) fn contains(&self, number: u32) -> bool {
        match &self.form {
            Form::Nobody => false,
            Form::Few(few) => is_among(number, few),
            Form::Run { first, words } => {
                let bit = number.wrapping_sub(*first);
                let word = usize::try_from(bit >> 6).ok().and_then(|word| words.get(word));
                word.is_some_and(|word| word >> (bit & 63) & 1 != 0)
            }
            Form::Lines(lines) => {
                let line = lines.get(line_of(number, lines.len()));
                line.is_some_and(|line| is_among(number, &line.0))
            }
            Form::Thin => self.all.contains(number),
        }
    }
}

impl Form {
    fn of(all: &RoaringBitmap) -> Self {
        let (Some(first), Some(last)) = (all.min(), all.max()) else { return Self::Nobody };
        let (count, span) = (all.len(), u64::from(last.saturating_sub(first)).saturating_add(1));
        if usize::try_from(count).is_ok_and(|count| count <= FEW) {
            let mut few = [last; FEW];
            few.iter_mut().zip(all).for_each(|(place, number)| *place = number);
            return Self::Few(few);
        }
        if span > count.saturating_mul(BITS_A_MEMBER) {
            return lines(all, first, count).map_or(Self::Thin, Self::Lines);
        }
        let mut words = vec![0_u64; usize::try_from(span.div_ceil(64)).unwrap_or(0)];
        for number in all {
            let bit = number.saturating_sub(first);
            if let Some(word) = usize::try_from(bit >> 6).ok().and_then(|at| words.get_mut(at)) {
                *word |= 1 << (bit & 63);
            }
        }
        Self::Run { first, words: words.into() }
    }
}

/// Some members in lines, if they are not too many and none of the lines overflows.
fn lines(all: &RoaringBitmap, first: u32, count: u64) -> Option<Arc<[Line]>> {
    let half_full = usize::try_from(count).ok()?.div_ceil(LINE / 2);
    (count <= MOST_IN_LINES).then_some(())?;
    [1, 2, 4].into_iter().find_map(|room| {
        let mut lines = vec![Line([first; LINE]); half_full.saturating_mul(room)];
        let mut filled = vec![0_usize; lines.len()];
        for number in all {
            let line = line_of(number, lines.len());
            let (places, filled) = (&mut lines.get_mut(line)?.0, filled.get_mut(line)?);
            *places.get_mut(*filled)? = number;
            *filled = filled.saturating_add(1);
        }
        Some(lines.into())
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn agree(numbers: &[u32]) {
        let all: RoaringBitmap = numbers.iter().copied().collect();
        let members = Members::new(Arc::new(all.clone()));
        let near = numbers.iter().flat_map(|number| {
            [-64, -1, 0, 1, 63, 64].map(|step| number.wrapping_add_signed(step))
        });
        for number in near.chain([0, 1, u32::MAX]) {
            assert_eq!(members.contains(number), all.contains(number), "{number} in {numbers:?}");
        }
    }

    #[test]
    fn each_form_says_what_the_bitmap_says() {
        let form = |numbers: &[u32]| {
            agree(numbers);
            Members::new(Arc::new(numbers.iter().copied().collect())).form
        };
        assert!(matches!(form(&[]), Form::Nobody));
        assert!(matches!(form(&[7, 1 << 24]), Form::Few(_)));
        assert!(matches!(form(&[256, 257, 258, 300, 301]), Form::Run { .. }));
        assert!(matches!(form(&[1, 256, 1000, 70_000, 1 << 24]), Form::Lines(_)));
        // As in a cluster of 64 000 pods, of which every thousandth has the label; and every twentieth.
        let every = |step: usize| (256..64_256).step_by(step).collect::<Vec<u32>>();
        assert!(matches!(form(&every(1000)), Form::Lines(_)));
        assert!(matches!(form(&every(40)), Form::Lines(_)));
        assert!(matches!(form(&every(30)), Form::Run { .. }));
        let far = |count: u32| (0..count).map(|number| number * 100).collect::<Vec<u32>>();
        assert!(matches!(form(&far(4096)), Form::Lines(_)));
        assert!(matches!(form(&far(4097)), Form::Thin));
    }

    #[test]
    fn a_change_is_seen() {
        let mut members = Members::default();
        for number in 300..400 {
            members.change(|all| {
                all.insert(number);
            });
            assert!(members.contains(number) && !members.contains(number + 1));
        }
        members.change(|all| {
            all.remove(350);
        });
        assert!(!members.contains(350) && members.contains(351));
    }

    proptest! {
        #[test]
        fn any_members_are_those_of_the_bitmap(
            close in prop::collection::vec(256_u32..1200, 0..200),
            far in prop::collection::vec(any::<u32>(), 0..4),
            thin in prop::collection::vec(any::<u32>(), 5..600),
            // Of one line at first: it overflows.
            one_hash in prop::collection::vec(0_u32..1 << 20, 5..40),
        ) {
            // The inverse of the multiplier.
            let one_hash = one_hash.iter().map(|mixed| mixed.wrapping_mul(0x0e8b_2f51));
            agree(&one_hash.collect::<Vec<_>>());
            agree(&thin);
            agree(&close);
            agree(&far);
            agree(&[close, far].concat());
        }
    }
}
