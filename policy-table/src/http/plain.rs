//! Plain rules: those whose patterns are texts, alternatives of texts, and runs of bytes of one class.
//!
//! Arrives: the patterns of an HTTP rule. Leaves: the ways in which a request can meet it, each a row of [`Step`]s, or `None`
//! where they cannot be said so; nearly all that people write can. Invariants: a request meets the rule just if it goes one
//! of the ways, and it goes a way just if each step takes all that it can: no step could take less and the way still be gone.
//! A request is text, so bytes above ASCII come in whole characters, and a run takes all of them or none.

use regex_syntax::hir::{Class, Hir, HirKind, Look, Repetition};

use crate::rule::HttpRule;

/// Most ways of one rule: alternatives multiply.
const MOST_WAYS: usize = 64;

/// Most steps of all ways of one rule.
const MOST_STEPS: usize = 1 << 14;

/// Most runs that the rules of one port tell apart.
const MOST_RUNS: usize = 64;

/// A step through a request: its method, path and host, each with its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    /// A field ends.
    End,
    /// This byte; never NUL.
    Byte(u8),
    /// The run of this number among [`Runs`].
    Run(u8),
}

/// One way to meet a rule.
pub(super) type Way = Vec<Step>;

/// Bytes of one class, as many as there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) bytes: Bytes,
    /// Fewer do not do.
    pub(super) least: u16,
    /// More are not taken; `u16::MAX` if all are.
    pub(super) most: u16,
}

impl Run {
    /// Any bytes.
    const ANYTHING: Self =
        Self { bytes: Bytes { ascii: !1, others: true }, least: 0, most: u16::MAX };

    /// Bytes that occur so often; `None` if that cannot be said in bytes.
    fn new(bytes: Bytes, least: u32, most: Option<u32>) -> Option<Self> {
        // Characters are counted, and those above ASCII are of several bytes.
        if bytes.others && (least > 1 || most.is_some()) {
            return None;
        }
        let most = match most {
            Some(most) => u16::try_from(most).ok().filter(|most| *most < u16::MAX)?,
            None => u16::MAX,
        };
        Some(Self { bytes, least: u16::try_from(least).ok()?, most })
    }
}

/// The runs that the ways of a port's rules refer to.
#[derive(Debug, Default)]
pub(super) struct Runs(Vec<Run>);

impl Runs {
    pub(super) fn get(&self, number: u8) -> Option<&Run> {
        self.0.get(usize::from(number))
    }

    /// The number of a run; `None` if there are too many.
    fn number(&mut self, run: Run) -> Option<u8> {
        let known = self.0.iter().position(|known| *known == run);
        let place = known.unwrap_or(self.0.len());
        if known.is_none() {
            if place >= MOST_RUNS {
                return None;
            }
            self.0.push(run);
        }
        u8::try_from(place).ok()
    }
}

/// A set of bytes: of ASCII without NUL, and all others or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bytes {
    pub(super) ascii: u128,
    pub(super) others: bool,
}

impl Bytes {
    /// The bytes of a class; `None` if it tells characters apart that are not ASCII.
    fn of(class: &Class) -> Option<Self> {
        let ranges: Vec<(u32, u32)> = match class {
            Class::Unicode(class) => {
                class.iter().map(|range| (range.start().into(), range.end().into())).collect()
            }
            Class::Bytes(class) => {
                class.iter().map(|range| (range.start().into(), range.end().into())).collect()
            }
        };
        let last = match class {
            Class::Unicode(_) => u32::from(char::MAX),
            Class::Bytes(_) => u32::from(u8::MAX),
        };
        let mut all = Self { ascii: 0, others: false };
        for (start, end) in ranges {
            (start..=end.min(0x7f)).for_each(|byte| all.ascii |= 1 << byte);
            if end > 0x7f {
                if start > 0x80 || end != last {
                    return None;
                }
                all.others = true;
            }
        }
        // No field holds it.
        all.ascii &= !1;
        Some(all)
    }

    fn one(byte: u8) -> Option<Self> {
        (byte < 0x80).then(|| Self { ascii: (1 << byte) & !1, others: false })
    }

    pub(super) fn has(self, byte: u8) -> bool {
        if byte < 0x80 { self.ascii >> byte & 1 != 0 } else { self.others }
    }

    fn meets(self, other: Self) -> bool {
        self.ascii & other.ascii != 0 || self.others && other.others
    }

    fn is_empty(self) -> bool {
        self.ascii == 0 && !self.others
    }
}

/// The ways in which a request can meet a rule; `None` if it is not plain, or bad.
pub(super) fn ways(rule: &HttpRule, runs: &mut Runs) -> Option<Vec<Way>> {
    let mut all = vec![Way::new()];
    for field in [&rule.method, &rule.path, &rule.host] {
        let own = match field {
            Some(pattern) => of(pattern.hir()?, (true, true), runs)?,
            None => vec![vec![Step::Run(runs.number(Run::ANYTHING)?)]],
        };
        go_on(&mut all, &own)?;
        all.iter_mut().for_each(|way| way.push(Step::End));
    }
    all.iter().all(|way| is_greedy(way, runs)).then_some(all)
}

/// The ways of a part of a field, which stands at the field's edges or not.
fn of(hir: &Hir, (first, last): (bool, bool), runs: &mut Runs) -> Option<Vec<Way>> {
    match hir.kind() {
        HirKind::Empty => Some(vec![Way::new()]),
        HirKind::Look(Look::StartLF) if first => Some(vec![Way::new()]),
        HirKind::Look(Look::EndLF) if last => Some(vec![Way::new()]),
        HirKind::Look(_) => None,
        // What no field holds matches nothing.
        HirKind::Literal(text) if text.0.contains(&0) => Some(Vec::new()),
        HirKind::Literal(text) => {
            let text = std::str::from_utf8(&text.0).ok()?;
            Some(vec![text.bytes().map(Step::Byte).collect()])
        }
        HirKind::Class(class) => run(Bytes::of(class)?, 1, Some(1), runs),
        HirKind::Repetition(repetition) => repeated(repetition, (first, last), runs),
        HirKind::Capture(capture) => of(&capture.sub, (first, last), runs),
        HirKind::Concat(parts) => {
            let begin = parts.iter().take_while(|part| is_look(part)).count();
            let end = parts
                .len()
                .saturating_sub(parts.iter().rev().take_while(|part| is_look(part)).count());
            let mut all = vec![Way::new()];
            for (part, place) in parts.iter().zip(1..) {
                let edges = (first && place <= begin.saturating_add(1), last && place >= end);
                go_on(&mut all, &of(part, edges, runs)?)?;
            }
            Some(all)
        }
        HirKind::Alternation(parts) => {
            let mut all = Vec::new();
            for part in parts {
                all.extend(of(part, (first, last), runs)?);
            }
            (all.len() <= MOST_WAYS).then_some(all)
        }
    }
}

fn is_look(hir: &Hir) -> bool {
    matches!(hir.kind(), HirKind::Look(_))
}

fn repeated(repetition: &Repetition, edges: (bool, bool), runs: &mut Runs) -> Option<Vec<Way>> {
    let (least, most) = (repetition.min, repetition.max);
    if (least, most) == (0, Some(1)) {
        let mut all = of(&repetition.sub, edges, runs)?;
        all.push(Way::new());
        return Some(all);
    }
    let bytes = match repetition.sub.kind() {
        HirKind::Class(class) => Bytes::of(class)?,
        HirKind::Literal(text) => match *text.0 {
            [byte] => Bytes::one(byte)?,
            _ => return None,
        },
        _ => return None,
    };
    run(bytes, least, most, runs)
}

fn run(bytes: Bytes, least: u32, most: Option<u32>, runs: &mut Runs) -> Option<Vec<Way>> {
    if bytes.is_empty() {
        return Some(if least == 0 { vec![Way::new()] } else { Vec::new() });
    }
    Some(vec![vec![Step::Run(runs.number(Run::new(bytes, least, most)?)?)]])
}

/// The steps of some ways.
pub(super) fn steps(ways: &[Way]) -> usize {
    ways.iter().map(Vec::len).sum()
}

/// Lets each of some ways go on by each of others; `None` if that is much.
fn go_on(ways: &mut Vec<Way>, then: &[Way]) -> Option<()> {
    let all = steps(ways).saturating_mul(then.len());
    let all = all.saturating_add(steps(then).saturating_mul(ways.len()));
    if ways.len().saturating_mul(then.len()) > MOST_WAYS || all > MOST_STEPS {
        return None;
    }
    if let [then] = then {
        // In place: a pattern may have thousands of parts.
        ways.iter_mut().for_each(|way| way.extend(then));
    } else {
        let each = |way: &Way| -> Vec<Way> {
            then.iter().map(|then| [way.as_slice(), then].concat()).collect()
        };
        *ways = ways.iter().flat_map(each).collect();
    }
    Some(())
}

/// Whether no run could leave to what follows it a byte that it can take.
fn is_greedy(way: &[Step], runs: &Runs) -> bool {
    let run_at = |step: &Step| match step {
        Step::Run(number) => runs.get(*number),
        Step::End | Step::Byte(_) => None,
    };
    way.iter().enumerate().all(|(place, step)| {
        let Some(run) = run_at(step).filter(|run| run.least != run.most) else { return true };
        for then in way.iter().skip(place.saturating_add(1)) {
            match then {
                Step::End => return true,
                Step::Byte(byte) => return !run.bytes.has(*byte),
                Step::Run(_) => match run_at(then) {
                    Some(then) if !run.bytes.meets(then.bytes) && then.least > 0 => return true,
                    Some(then) if !run.bytes.meets(then.bytes) => {}
                    _ => return false,
                },
            }
        }
        false
    })
}
