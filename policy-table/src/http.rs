//! The HTTP rules of a port: one automaton over all of them, run once a request.
//!
//! Arrives: the distinct HTTP rules of a port. Leaves: which of them a request meets. Method, path and host are matched in
//! one pass as `method NUL path NUL host NUL`: each rule is one pattern of that shape, so that a pattern of the automaton
//! *is* a rule and the request's peer only masks the result. No field of a request holds a NUL (one that does matches
//! nothing), so no pattern can reach across the fields. The last NUL keeps the states within a field ordinary: none of them
//! is a match.
//!
//! The automaton is a DFA built while it is used (`regex_automata::hybrid`), in memory that the caller owns
//! ([`HttpScratch`], one a worker): no lock, no allocation once the states of the traffic are known, a fixed bound, and a
//! full cache is dropped and rebuilt, which costs time linear in the request and never changes an answer.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use hashbrown::HashMap;
use regex_automata::hybrid::LazyStateID;
use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::nfa::thompson::{self, NFA, WhichCaptures};
use regex_automata::util::look::LookMatcher;
use regex_automata::util::start;
use regex_automata::{Anchored, MatchKind};
use regex_syntax::hir::{Class, ClassBytes, ClassBytesRange, Hir, Repetition};

use crate::rule::pattern::Pattern;
use crate::rule::{HeaderRule, HttpRule};
use crate::verdict::HttpRequest;

/// Most bytes of states one automaton keeps per caller.
const CACHE_BYTES: usize = 4 << 20;

/// All HTTP rules of a port.
#[derive(Debug)]
pub(crate) struct HttpRules {
    /// Its own among all there ever are: the name of the automaton's cache in an [`HttpScratch`].
    number: u64,
    rules: Arc<[HttpRule]>,
    /// Built at its first use, or before it by [`HttpRules::warm`].
    automaton: OnceLock<Automaton>,
}

/// The automaton of some rules.
#[derive(Debug)]
struct Automaton {
    /// For each pattern of the automaton, its rule, and whether the rule asks for header fields: the others need not be
    /// looked at. Rules with a bad pattern have none.
    pattern_rule: Vec<(u32, bool)>,
    /// `None` if it could not be built: then nothing matches.
    dfa: Option<DFA>,
}

impl Automaton {
    fn of(rules: &[HttpRule]) -> Self {
        let mut pattern_rule = Vec::new();
        let mut patterns = Vec::new();
        for (rule, place) in rules.iter().zip(0_u32..) {
            if let Some(hir) = shape(rule) {
                patterns.push(hir);
                pattern_rule.push((place, !rule.headers.is_empty() || !rule.logged.is_empty()));
            }
        }
        let dfa = nfa(&patterns).and_then(|nfa| {
            let config = DFA::config()
                .match_kind(MatchKind::All)
                .cache_capacity(CACHE_BYTES)
                .skip_cache_capacity_check(true);
            DFA::builder().configure(config).build_from_nfa(nfa).ok()
        });
        Self { pattern_rule, dfa }
    }
}

impl HttpRules {
    pub(crate) fn new(rules: Arc<[HttpRule]>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self { number, rules, automaton: OnceLock::new() }
    }

    /// Builds the automaton, so that nobody waits for it on the packet path.
    pub(crate) fn warm(&self) {
        self.automaton.get_or_init(|| Automaton::of(&self.rules));
    }

    /// The rules, in order.
    pub(crate) fn rules(&self) -> &[HttpRule] {
        &self.rules
    }

    pub(crate) fn rule(&self, place: u32) -> Option<&HttpRule> {
        self.rules.get(usize::try_from(place).ok()?)
    }

    /// Calls `met` with the place of each rule the request meets and the header fields whose mismatch it only reports, in no
    /// order, until it returns true.
    pub(crate) fn find(
        &self,
        scratch: &mut HttpScratch,
        request: &HttpRequest<'_>,
        met: &mut dyn FnMut(u32, &[HeaderRule]) -> bool,
    ) {
        let automaton = self.automaton.get_or_init(|| Automaton::of(&self.rules));
        let Some(dfa) = &automaton.dfa else { return };
        let cache = scratch.cache(self.number, dfa);
        let Some(state) = end(dfa, cache, request) else { return };
        if !state.is_match() {
            return;
        }
        for index in 0..dfa.match_len(cache, state) {
            let pattern = dfa.match_pattern(cache, state, index);
            let meets = match automaton.pattern_rule.get(pattern.as_usize()).copied() {
                None => false,
                Some((place, false)) => met(place, &[]),
                Some((place, true)) => self.rule(place).is_some_and(|rule| {
                    rule.headers.iter().all(|header| holds(header, request))
                        && met(place, &rule.logged)
                }),
            };
            if meets {
                return;
            }
        }
    }
}

/// The state after all fields; `None` if nothing can match.
#[inline]
fn end(dfa: &DFA, cache: &mut Cache, request: &HttpRequest<'_>) -> Option<LazyStateID> {
    let start = start::Config::new().anchored(Anchored::Yes);
    let mut state = dfa.start_state(cache, &start).ok()?;
    for field in [request.method, request.path, request.host] {
        state = through(dfa, cache, state, field.as_bytes())?;
        state = step(dfa, cache, state, 0)?;
    }
    dfa.next_eoi_state(cache, state).ok()
}

/// The state after the bytes of a field; `None` if nothing can match any more, as after a NUL among them.
#[inline]
fn through(
    dfa: &DFA,
    cache: &mut Cache,
    mut state: LazyStateID,
    field: &[u8],
) -> Option<LazyStateID> {
    let mut rest = field.iter();
    loop {
        let byte;
        (state, byte) = known(dfa, cache, state, &mut rest);
        state = match byte {
            None => return Some(state),
            Some(0) => return None,
            Some(byte) => step(dfa, cache, state, byte)?,
        };
    }
}

/// Follows the states that are known and ordinary, each by one table read, up to a NUL; the byte that they do not lead over.
#[inline(always)]
fn known(
    dfa: &DFA,
    cache: &Cache,
    mut state: LazyStateID,
    bytes: &mut std::slice::Iter<'_, u8>,
) -> (LazyStateID, Option<u8>) {
    if state.is_tagged() {
        return (state, bytes.next().copied());
    }
    loop {
        // Where a byte leads back to the same state (`.*`), the processor need not wait for one read to begin the next.
        let next = loop {
            let Some(byte) = bytes.next() else { return (state, None) };
            let next = dfa.next_state_untagged(cache, state, *byte);
            if next.is_tagged() || *byte == 0 {
                return (state, Some(*byte));
            }
            if next != state {
                break next;
            }
        };
        state = next;
    }
}

/// The state after one more byte, whether it was known or not; `None` if nothing can match any more.
fn step(dfa: &DFA, cache: &mut Cache, state: LazyStateID, byte: u8) -> Option<LazyStateID> {
    let next = dfa.next_state(cache, state, byte).ok()?;
    (!next.is_dead() && !next.is_quit()).then_some(next)
}

/// What one caller needs to judge requests without a lock. Keep one a worker; it serves every table in turn.
#[derive(Debug, Default)]
pub struct HttpScratch {
    epoch: Option<u64>,
    /// By the number of the automaton: its states, and whether they served in this epoch.
    caches: HashMap<u64, (Cache, bool)>,
}

impl HttpScratch {
    /// Keeps the states of automata that served in the epoch before: the next table shares those that did not change.
    pub(crate) fn for_epoch(&mut self, epoch: u64) {
        if self.epoch != Some(epoch) {
            self.caches.retain(|_, (_, served)| std::mem::take(served));
            self.epoch = Some(epoch);
        }
    }

    fn cache(&mut self, number: u64, dfa: &DFA) -> &mut Cache {
        let (cache, served) =
            self.caches.entry(number).or_insert_with(|| (dfa.create_cache(), false));
        *served = true;
        cache
    }
}

/// The one pattern of a rule, or `None` if one of its patterns is bad.
fn shape(rule: &HttpRule) -> Option<Hir> {
    let field = |pattern: &Option<Pattern>| match pattern {
        Some(pattern) => pattern.hir().cloned(),
        None => Some(anything()),
    };
    let separator = Hir::literal([0_u8]);
    Some(Hir::concat(vec![
        field(&rule.method)?,
        separator.clone(),
        field(&rule.path)?,
        separator.clone(),
        field(&rule.host)?,
        separator,
    ]))
}

/// Any bytes of one field.
fn anything() -> Hir {
    let byte = Hir::class(Class::Bytes(ClassBytes::new([ClassBytesRange::new(1, 255)])));
    Hir::repetition(Repetition { min: 0, max: None, greedy: true, sub: Box::new(byte) })
}

/// The automaton of patterns in which a field is a line that ends with NUL.
pub(crate) fn nfa(patterns: &[Hir]) -> Option<NFA> {
    let mut looks = LookMatcher::new();
    looks.set_line_terminator(0);
    let config =
        thompson::Config::new().utf8(false).which_captures(WhichCaptures::None).look_matcher(looks);
    thompson::Compiler::new().configure(config).build_many_from_hir(patterns).ok()
}

/// Whether a header field is as asked: there, and of this value when all fields of the name are joined by `,`.
pub(crate) fn holds(wanted: &HeaderRule, request: &HttpRequest<'_>) -> bool {
    let mut seen = false;
    // What of the wanted value is not matched yet; `None` once something differed.
    let mut rest = wanted.value.as_deref().map(str::as_bytes);
    (request.headers)(&mut |name, value| {
        if !name.eq_ignore_ascii_case(&wanted.name) {
            return;
        }
        if seen {
            rest = rest.and_then(|rest| rest.strip_prefix(b","));
        }
        rest = rest.and_then(|rest| rest.strip_prefix(value));
        seen = true;
    });
    seen && (wanted.value.is_none() || rest == Some(b""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Option<Pattern> {
        (!text.is_empty()).then(|| Pattern::new(text))
    }

    fn meets(method: &str, path: &str, host: &str, request: (&str, &str, &str)) -> bool {
        let rule = HttpRule {
            method: pattern(method),
            path: pattern(path),
            host: pattern(host),
            ..HttpRule::default()
        };
        let rules = HttpRules::new(vec![rule].into());
        let mut found = false;
        let request =
            HttpRequest { method: request.0, path: request.1, host: request.2, headers: &|_| {} };
        rules.find(&mut HttpScratch::default(), &request, &mut |_, _| {
            found = true;
            true
        });
        found
    }

    fn path(pattern: &str, path: &str) -> bool {
        meets("", pattern, "", ("GET", path, "h"))
    }

    #[test]
    fn a_path_must_match_whole_query_included() {
        assert!(path("/public", "/public"));
        assert!(
            !path("/public", "/public/")
                && !path("/public", "/publicx")
                && !path("/public", "/public?x=1")
        );
        assert!(path("/public(\\?.*)?", "/public?x=1"));
        assert!(!path("public", "/public"));
        assert!(
            path(".*public$", "/maybe/public")
                && path("^/public$", "/public")
                && path("\\A/public\\z", "/public")
        );
        assert!(!path("/a|/b", "/ab") && path("/a|/b", "/b"));
    }

    #[test]
    fn fields_do_not_run_into_each_other() {
        assert!(!meets("GET", ".*", "b", ("GET", "/a", "ab")));
        assert!(!meets(".*", "/x", "", ("GET", "/y\0/x", "h")), "a field with NUL matches nothing");
        assert!(!meets("", "/[^b]*", "", ("GET", "/a\0\0b", "h")));
        assert!(meets("GET|POST", "/x", "h(:80)?", ("POST", "/x", "h:80")));
        assert!(!meets("^$", "", "", ("GET", "/", "")) && meets("", "", "^$", ("GET", "/", "")));
        assert!(meets("", "", "", ("X", "y", "")), "a rule without fields is met by every request");
    }

    #[test]
    fn case_counts_unless_the_pattern_says_otherwise() {
        assert!(
            !meets("get", "", "", ("GET", "/", "h")) && meets("(?i)get", "", "", ("GET", "/", "h"))
        );
        assert!(!meets("(?i)get", "/X", "", ("GET", "/x", "h")), "a flag ends with its field");
    }

    #[test]
    fn classes_are_ascii_as_in_re2() {
        assert!(path("/\\d+", "/12") && !path("/\\d+", "/\u{0661}"));
        assert!(path("/.", "/\u{00e9}") && path("/[[:alpha:]]", "/z"));
        assert!(path("/[a&&b]+", "/a&b") && path("/[[x]+", "/[x"));
        assert!(path("/\\Qa.b\\E", "/a.b") && !path("/\\Qa.b\\E", "/axb"));
        assert!(
            path("/a{,3}", "/a{,3}")
                && path("/\\<", "/<")
                && path("/[\\w.]+", "/a_Z.9")
                && path("/[^\\d]", "/x")
        );
        assert!(
            path("/\\W", "/-")
                && !path("/\\W", "/a")
                && path("/[\\D5]", "/5")
                && !path("/[\\D5]", "/6")
        );
    }

    #[test]
    fn a_bad_pattern_disables_its_rule_and_no_other() {
        let bad = HttpRule { path: pattern("("), ..HttpRule::default() };
        let good = HttpRule { path: pattern("/ok"), ..HttpRule::default() };
        let rules = HttpRules::new(vec![bad, good].into());
        let mut met = Vec::new();
        for path in ["(", "/ok", "/"] {
            let request = HttpRequest { method: "GET", path, host: "", headers: &|_| {} };
            rules.find(&mut HttpScratch::default(), &request, &mut |place, _| {
                met.push(place);
                false
            });
        }
        assert_eq!(met, [1]);
    }

    #[test]
    fn all_rules_a_request_meets_are_found_whatever_their_order() {
        let rule = |text: &&str| HttpRule { path: pattern(text), ..HttpRule::default() };
        let rules = HttpRules::new(["/a.*", "/ab", "/.*", "/b"].iter().map(rule).collect());
        let mut met = Vec::new();
        let request = HttpRequest { method: "GET", path: "/ab", host: "", headers: &|_| {} };
        rules.find(&mut HttpScratch::default(), &request, &mut |place, _| {
            met.push(place);
            false
        });
        met.sort_unstable();
        assert_eq!(met, [0, 1, 2]);
    }

    #[test]
    fn header_fields_of_one_name_are_joined_before_they_are_compared() {
        let fields: [(&str, &[u8]); 3] = [("x-a", b"1"), ("Other", b"z"), ("X-A", b"2")];
        let headers = |each: &mut dyn FnMut(&str, &[u8])| {
            fields.iter().for_each(|(name, value)| each(name, value))
        };
        let request = HttpRequest { method: "GET", path: "/", host: "", headers: &headers };
        let rule = |name: &str, value: Option<&str>| HeaderRule {
            name: name.into(),
            value: value.map(Into::into),
        };
        assert!(holds(&rule("X-a", Some("1,2")), &request) && holds(&rule("x-A", None), &request));
        for value in ["1", "2", "1,", "1,2,", "2,1", ""] {
            assert!(!holds(&rule("X-A", Some(value)), &request), "{value:?}");
        }
        assert!(!holds(&rule("gone", None), &request) && !holds(&rule("X-A:", None), &request));
    }
}
