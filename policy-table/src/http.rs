//! The HTTP rules of a port: which of them a request meets.
//!
//! Arrives: the distinct HTTP rules of a port. Leaves: the places of those that a request meets; its peer only masks the
//! result. Two engines of one meaning share the rules (ADR 10):
//!
//! - *Plain* rules, nearly all that people write, are a program ([`program`]) that compares text as text. It is small, lies
//!   together, and is the same for all workers.
//! - The others are an automaton. Method, path and host are matched in one pass as `method NUL path NUL host NUL`: each rule
//!   is one pattern of that shape, so that a pattern of the automaton *is* a rule. The last NUL keeps the states within a
//!   field ordinary: none of them is a match. It is a DFA built while it is used (`regex_automata::hybrid`), in memory that
//!   the caller owns ([`HttpScratch`], one a worker): no lock, no allocation once the states of the traffic are known, a
//!   fixed bound, and a full cache is dropped and rebuilt, which costs time linear in the request and never changes an answer.
//!
//! No field of a request holds a NUL (one that does matches nothing), so no pattern can reach across the fields.

mod plain;
mod program;

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

use self::plain::Runs;
use self::program::{Met, Program};
use crate::rule::pattern::Pattern;
use crate::rule::{HeaderRule, HttpRule};
use crate::verdict::HttpRequest;

/// Most bytes of states one automaton keeps per caller.
const CACHE_BYTES: usize = 4 << 20;

/// Most steps of plain rules: what their program takes to build, and its size, follow them.
const PLAIN_STEPS: usize = 1 << 20;

/// All HTTP rules of a port.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct HttpRules {
    rules: Arc<[HttpRule]>,
    /// Built at its first use, or before it by [`HttpRules::warm`].
    matcher: OnceLock<Matcher>,
}

/// What finds the rules that a request meets. Rules with a bad pattern are in none of both.
#[derive(Debug)]
struct Matcher {
    /// That of the plain rules.
    program: Program,
    /// That of the others, if there are any.
    automaton: Option<Box<Automaton>>,
}

impl Matcher {
    fn of(rules: &[HttpRule]) -> Self {
        let asks = |rule: &HttpRule| !rule.headers.is_empty() || !rule.logged.is_empty();
        let places = rules.iter().zip(0..);
        let all: Vec<(&HttpRule, Met)> =
            places.map(|(rule, place)| (rule, Met { place, asks: asks(rule) })).collect();
        let mut runs = Runs::default();
        let (mut ways, mut others, mut left) = (Vec::new(), Vec::new(), PLAIN_STEPS);
        for (rule, met) in &all {
            match plain::ways(rule, &mut runs).filter(|own| plain::steps(own) <= left) {
                Some(own) => {
                    left = left.saturating_sub(plain::steps(&own));
                    ways.extend(own.into_iter().map(|way| (way, *met)));
                }
                None => others.push((*rule, *met)),
            }
        }
        let program = Program::of(ways, &runs).unwrap_or_else(|| {
            others = all;
            Program::default()
        });
        let automaton = (!others.is_empty()).then(|| Box::new(Automaton::of(&others)));
        Self { program, automaton }
    }
}

/// The automaton of some rules.
#[derive(Debug)]
struct Automaton {
    /// Its own among all there ever are: the name of its states in an [`HttpScratch`].
    number: u64,
    /// The rule of each of its patterns. Rules with a bad pattern have none.
    met: Vec<Met>,
    /// `None` if it could not be built: then nothing matches.
    dfa: Option<DFA>,
}

impl Automaton {
    fn of(rules: &[(&HttpRule, Met)]) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let (patterns, met): (Vec<Hir>, Vec<Met>) =
            rules.iter().filter_map(|(rule, met)| Some((shape(rule)?, *met))).unzip();
        let dfa = nfa(&patterns).and_then(|nfa| {
            let config = DFA::config()
                .match_kind(MatchKind::All)
                .cache_capacity(CACHE_BYTES)
                .skip_cache_capacity_check(true);
            DFA::builder().configure(config).build_from_nfa(nfa).ok()
        });
        Self { number, met, dfa }
    }

    /// Calls `met` with each rule that a request meets, in no order.
    fn find(&self, scratch: &mut HttpScratch, request: &HttpRequest<'_>, met: &mut dyn FnMut(Met)) {
        let Some(dfa) = &self.dfa else { return };
        let cache = scratch.cache(self.number, dfa);
        let Some(state) = end(dfa, cache, request).filter(LazyStateID::is_match) else { return };
        for index in 0..dfa.match_len(cache, state) {
            let pattern = dfa.match_pattern(cache, state, index);
            self.met.get(pattern.as_usize()).copied().into_iter().for_each(&mut *met);
        }
    }
}

impl HttpRules {
    pub(crate) fn new(rules: Arc<[HttpRule]>) -> Self {
        Self { rules, matcher: OnceLock::new() }
    }

    /// Builds what finds rules, so that nobody waits for it on the packet path.
    pub(crate) fn warm(&self) {
        self.matcher.get_or_init(|| Matcher::of(&self.rules));
    }

    /// The rules, in order.
    pub(crate) fn rules(&self) -> &[HttpRule] {
        &self.rules
    }

    pub(crate) fn rule(&self, place: u32) -> Option<&HttpRule> {
        self.rules.get(usize::try_from(place).ok()?)
    }

    /// Calls `meets` with the place of each rule the request meets and the header fields whose mismatch it only reports, in
    /// no order, and more than once for a rule that the request meets in several ways.
    pub(crate) fn find(
        &self,
        scratch: &mut HttpScratch,
        request: &HttpRequest<'_>,
        meets: &mut dyn FnMut(u32, &[HeaderRule]),
    ) {
        let matcher = self.matcher.get_or_init(|| Matcher::of(&self.rules));
        let mut met = |Met { place, asks }| {
            if !asks {
                return meets(place, &[]);
            }
            if let Some(rule) = self.rule(place)
                && rule.headers.iter().all(|header| holds(header, request))
            {
                meets(place, &rule.logged);
            }
        };
        matcher.program.find([request.method, request.path, request.host], &mut met);
        if let Some(automaton) = &matcher.automaton {
            automaton.find(scratch, request, &mut met);
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
mod tests;
