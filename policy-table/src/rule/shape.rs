//! What texts a pattern can match: its automaton walked rather than run.
//!
//! Arrives: a [`Pattern`]. Leaves: answers about every text at once, for lints and for samples. Bounded: a pattern whose
//! automaton would be large is not looked into.

use std::collections::{HashSet, VecDeque};

use regex_automata::dfa::{Automaton, dense};
use regex_automata::util::primitives::StateID;
use regex_automata::util::{start, syntax};
use regex_automata::{Anchored, MatchKind};

use super::pattern::Pattern;

/// Most bytes an automaton may take to answer a lint; a larger pattern is not looked into.
const AUTOMATON_BYTES: usize = 1 << 20;

/// What texts a pattern can match, as an automaton that is walked rather than run.
pub(crate) struct Shape {
    automaton: dense::DFA<Vec<u32>>,
    start: StateID,
}

impl Shape {
    /// `None` for a bad pattern and for one too large to look into.
    pub(crate) fn of(pattern: &Pattern) -> Option<Self> {
        let config = dense::Config::new()
            .match_kind(MatchKind::All)
            .start_kind(regex_automata::dfa::StartKind::Anchored)
            .dfa_size_limit(Some(AUTOMATON_BYTES))
            .determinize_size_limit(Some(AUTOMATON_BYTES));
        let automaton = dense::Builder::new()
            .configure(config)
            .syntax(syntax::Config::new().utf8(false))
            .build(&pattern.anchored()?)
            .ok()?;
        let start = automaton.start_state(&start::Config::new().anchored(Anchored::Yes)).ok()?;
        Some(Self { automaton, start })
    }

    /// Whether a match can begin with this byte.
    pub(crate) fn begins_with(&self, byte: u8) -> bool {
        self.is_alive(self.automaton.next_state(self.start, byte))
    }

    /// Whether a match can hold this byte anywhere.
    pub(crate) fn can_hold(&self, byte: u8) -> bool {
        let mut seen = HashSet::from([self.start]);
        let mut next = vec![self.start];
        while let Some(state) = next.pop() {
            if self.is_alive(self.automaton.next_state(state, byte)) {
                return true;
            }
            for other in 0..=u8::MAX {
                let then = self.automaton.next_state(state, other);
                if !self.automaton.is_dead_state(then) && seen.insert(then) {
                    next.push(then);
                }
            }
        }
        false
    }

    /// A shortest text that matches, of printable ASCII, beginning with `first` if any such text does.
    pub(crate) fn sample(&self, first: Option<u8>) -> Option<String> {
        let after = |byte| self.automaton.next_state(self.start, byte);
        if let Some(byte) = first.filter(|byte| self.is_alive(after(*byte))) {
            return self.shortest(after(byte), vec![byte]);
        }
        self.shortest(self.start, Vec::new())
    }

    fn shortest(&self, from: StateID, text: Vec<u8>) -> Option<String> {
        let letters = (b'a'..=b'z').chain(b'A'..=b'Z').chain(b'0'..=b'9');
        let bytes: Vec<u8> =
            letters.chain((b'!'..=b'~').filter(|byte| !byte.is_ascii_alphanumeric())).collect();
        let mut seen = HashSet::from([from]);
        let mut next = VecDeque::from([(from, text)]);
        while let Some((state, text)) = next.pop_front() {
            if self.automaton.is_match_state(self.automaton.next_eoi_state(state)) {
                return String::from_utf8(text).ok();
            }
            for byte in &bytes {
                let then = self.automaton.next_state(state, *byte);
                if self.is_alive(then) && seen.insert(then) {
                    let mut longer = text.clone();
                    longer.push(*byte);
                    next.push_back((then, longer));
                }
            }
        }
        None
    }

    /// Whether a match may still be reached. A yes can be wrong where the automaton keeps a state that leads nowhere: a
    /// lint is then silent.
    fn is_alive(&self, state: StateID) -> bool {
        !self.automaton.is_dead_state(state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_a_shortest_match() {
        let sample =
            |text: &str| Shape::of(&Pattern::new(text)).and_then(|shape| shape.sample(Some(b'/')));
        for (pattern, expected) in [
            ("/v1/[0-9]+", Some("/v1/0")),
            (".*public$", Some("/public")),
            ("GET|POST", Some("GET")),
            ("", Some("")),
            ("[^a-z]x", Some("/x")),
            ("\\x01", None),
        ] {
            assert_eq!(sample(pattern).as_deref(), expected, "{pattern}");
        }
    }
}
