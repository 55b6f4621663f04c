//! Many name patterns asked at once, and what the names of an address stand for.
//!
//! Arrives: the patterns of all rules, a name out of a DNS message. Leaves: those that match. Only the patterns that end as
//! the name does are looked at: the number of rules does not count, only how many share an ending. Nothing here allocates
//! once an index is made.

use hashbrown::HashMap;

use crate::identity::Identity;
use crate::rule::name::{NamePattern, is_name};

/// Most patterns of one pod's `toFQDNs` that an address may meet at once; further ones do not count for it.
const MOST_NAMES: usize = 8;

/// What an address is called: the identities of the `toFQDNs` patterns that its names meet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// Filled from the front; the rest is zero, which no pattern has.
    identities: [u32; MOST_NAMES],
}

impl Names {
    /// Of an address that no name is known for.
    pub const NONE: Self = Self { identities: [0; MOST_NAMES] };

    /// Adds a pattern's identity; one too many is left out.
    pub fn add(&mut self, identity: Identity) {
        if !identity.is_name() {
            return;
        }
        for place in &mut self.identities {
            if *place == identity.number() {
                return;
            }
            if *place == 0 {
                *place = identity.number();
                return;
            }
        }
    }

    /// Adds all of another's.
    pub fn extend(&mut self, other: &Self) {
        other.iter().for_each(|identity| self.add(identity));
    }

    /// The identities.
    #[inline]
    pub fn iter(&self) -> impl Iterator<Item = Identity> + '_ {
        self.identities
            .iter()
            .take_while(|number| **number != 0)
            .map(|number| Identity::from_number(*number))
    }

    /// Whether no name is known.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.identities.first().is_none_or(|first| *first == 0)
    }
}

/// Patterns, found by how they end.
#[derive(Debug, Default)]
pub(crate) struct NameIndex {
    patterns: Vec<NamePattern>,
    by_suffix: HashMap<Box<str>, Vec<u32>>,
}

impl NameIndex {
    pub(crate) fn new(patterns: Vec<NamePattern>) -> Self {
        let mut by_suffix: HashMap<Box<str>, Vec<u32>> = HashMap::new();
        for (pattern, place) in patterns.iter().zip(0_u32..) {
            by_suffix.entry(pattern.suffix().into()).or_default().push(place);
        }
        Self { patterns, by_suffix }
    }

    /// The pattern of that place.
    pub(crate) fn pattern(&self, place: u32) -> Option<&NamePattern> {
        self.patterns.get(usize::try_from(place).ok()?)
    }

    /// The patterns, by their places.
    pub(crate) fn patterns(&self) -> &[NamePattern] {
        &self.patterns
    }

    /// Calls `each` with the place of every pattern that `name` meets, in no order.
    pub(crate) fn find(&self, name: &str, each: &mut dyn FnMut(u32)) {
        if self.patterns.is_empty() || !is_name(name) {
            return;
        }
        let mut ending = Some(name);
        while let Some(suffix) = ending {
            for place in self.by_suffix.get(suffix).into_iter().flatten() {
                if self.pattern(*place).is_some_and(|pattern| pattern.matches(name)) {
                    each(*place);
                }
            }
            ending = suffix.split_once('.').map(|(_, rest)| rest);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_index_finds_what_each_pattern_matches(
            patterns in prop::collection::vec("(\\*\\*\\.)?[ab*]{1,3}(\\.[ab*]{1,2}){0,3}", 0..12),
            name in "[ab]{1,2}(\\.[ab]{1,2}){0,3}\\.|\\.",
        ) {
            let read: Vec<NamePattern> =
                patterns.iter().map(|text| NamePattern::pattern(text).unwrap()).collect();
            let index = NameIndex::new(read.clone());
            let mut found = Vec::new();
            index.find(&name, &mut |place| found.push(place));
            found.sort_unstable();
            let wanted: Vec<u32> =
                (0_u32..).zip(&read).filter(|(_, one)| one.matches(&name)).map(|(at, _)| at).collect();
            prop_assert_eq!(found, wanted);
        }
    }

    #[test]
    fn a_pattern_too_many_is_left_out_and_the_same_counts_once() {
        let mut names = Names::NONE;
        let number = |n: u32| Identity::from_number((3 << 24) + n);
        for n in [1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10] {
            names.add(number(n));
        }
        names.add(Identity::WORLD);
        assert_eq!(names.iter().collect::<Vec<_>>(), (1..=8).map(number).collect::<Vec<_>>());
    }
}
