//! Plain rules as one program: a few hundred bytes that lie together, whose walk finds every rule a request meets.
//!
//! Arrives: the ways of a port's plain rules. Leaves: a tree of them in which steps that ways share are taken once, written
//! in the order in which it is walked:
//!
//! ```text
//! TEXT length bytes                  these bytes come next
//! END                                the field ends here; the next one begins
//! FREE least stop                    all bytes but NUL and this one, as many as come
//! CLASS least most ascii others      bytes of this class, as many as come, up to the most
//! BRANCH count keys[8n] places       the next byte leads to its place; NUL is the field's end
//! FORK place                         go on there too
//! MET count rules                    these rules are met
//! ```
//! The text of a rule is compared as text: what one request reads is a few neighbouring lines of memory, whatever the number
//! of rules. Invariants: NUL is in no text and no class, so no way leads across the fields, and a field with NUL meets
//! nothing; a request follows at most [`MOST_AT_ONCE`] branches at once, each through its bytes once. A program that were not
//! as written here would meet fewer rules, not more.

use std::ops::Range;

use super::plain::{Bytes, Run, Runs, Step, Way};

/// Most places at which a request can be at once.
const MOST_AT_ONCE: u32 = 64;

const TEXT: u8 = 0;
const END: u8 = 1;
const FREE: u8 = 2;
const CLASS: u8 = 3;
const BRANCH: u8 = 4;
const FORK: u8 = 5;
const MET: u8 = 6;

/// Bytes that are looked at together.
const EIGHT: usize = 8;

/// Bytes of a place.
const PLACE: usize = 4;

/// A rule that a program finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Met {
    /// The place of the rule.
    pub(super) place: u32,
    /// Whether it asks for header fields as well.
    pub(super) asks: bool,
}

/// The program of some rules.
#[derive(Debug, Default)]
pub(super) struct Program(Box<[u8]>);

impl Program {
    /// The program of some ways; `None` if a request could be at many places at once.
    pub(super) fn of(mut ways: Vec<(Way, Met)>, runs: &Runs) -> Option<Self> {
        ways.sort_unstable();
        ways.dedup();
        let mut writer = Writer { ways: &ways, runs, code: Vec::new(), nodes: Vec::new() };
        writer.write()?;
        (writer.at_once() <= MOST_AT_ONCE).then(|| Self(writer.code.into()))
    }

    /// Calls `met` with each rule that a request of these fields meets, in no order; more than once if in several ways.
    #[inline]
    pub(super) fn find(&self, fields: [&str; 3], met: &mut dyn FnMut(Met)) {
        let [method, path, host] = fields.map(str::as_bytes);
        self.walk(0, method, &[path, host], met);
    }

    /// Goes on from a place with what is left of a field and the fields after it, until something else comes than written.
    fn walk<'a>(
        &self,
        place: usize,
        mut rest: &'a [u8],
        mut fields: &[&'a [u8]],
        met: &mut dyn FnMut(Met),
    ) -> Option<()> {
        let mut code = self.0.get(place..)?;
        loop {
            match byte(&mut code)? {
                TEXT => {
                    let length = byte(&mut code)?.into();
                    rest = behind(rest, code, length)?;
                    code = code.get(length..)?;
                }
                END if !rest.is_empty() => return None,
                END => {
                    (rest, fields) = fields.split_first().map_or((rest, fields), |(n, f)| (*n, f))
                }
                FREE => {
                    let least = byte(&mut code)?.into();
                    let length = free(rest, byte(&mut code)?);
                    rest = rest.get(length..).filter(|_| length >= least)?;
                }
                CLASS => {
                    let least = usize::from(u16::from_le_bytes(array(&mut code)?));
                    let most = usize::from(u16::from_le_bytes(array(&mut code)?));
                    let ascii = u128::from_le_bytes(array(&mut code)?);
                    let class = Bytes { ascii, others: byte(&mut code)? != 0 };
                    let most = if most == usize::from(u16::MAX) { usize::MAX } else { most };
                    let taken = rest.iter().take(most).take_while(|byte| class.has(**byte));
                    let length = taken.count();
                    rest = rest.get(length..).filter(|_| length >= least)?;
                }
                BRANCH => {
                    let count = usize::from(byte(&mut code)?).checked_add(1)?;
                    let keys = bytes(&mut code, count.next_multiple_of(EIGHT))?;
                    let (key, after) = match rest.split_first() {
                        None => (0, rest),
                        // What is no end must not be taken for one.
                        Some((0, _)) => return None,
                        Some((next, after)) => (*next, after),
                    };
                    let mut places = code.get(position(keys, key)?.checked_mul(PLACE)?..)?;
                    (code, rest) = (self.0.get(number(&mut places)?..)?, after);
                }
                FORK => {
                    let other = number(&mut code)?;
                    self.walk(other, rest, fields, met);
                }
                _ => {
                    for _ in 0..number(&mut code)? {
                        let rule = u32::from_le_bytes(array(&mut code)?);
                        met(Met { place: rule >> 1, asks: rule & 1 != 0 });
                    }
                    return Some(());
                }
            }
        }
    }
}

fn bytes<'c>(code: &mut &'c [u8], length: usize) -> Option<&'c [u8]> {
    let (taken, after) = code.split_at_checked(length)?;
    *code = after;
    Some(taken)
}

fn array<const N: usize>(code: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, after) = code.split_first_chunk()?;
    *code = after;
    Some(*taken)
}

fn byte(code: &mut &[u8]) -> Option<u8> {
    array(code).map(u8::from_le_bytes)
}

/// A place, or a count.
fn number(code: &mut &[u8]) -> Option<usize> {
    usize::try_from(u32::from_le_bytes(array(code)?)).ok()
}

/// Where the first of eight bytes is that is one of these, if one is.
#[inline(always)]
fn first<const N: usize>(all: [u8; EIGHT], these: [u8; N]) -> Option<usize> {
    const ONES: u64 = u64::from_ne_bytes([1; EIGHT]);
    let word = u64::from_le_bytes(all);
    let marks = these.into_iter().fold(0, |marks, byte| {
        // Where it is, there is 0 now, and the lowest 0 has its highest bit set by a borrow; no bit below it is set.
        let differs = word ^ ONES.wrapping_mul(byte.into());
        marks | differs.wrapping_sub(ONES) & !differs & (ONES << 7)
    });
    (marks != 0).then(|| usize::try_from(marks.trailing_zeros() / u8::BITS).unwrap_or(EIGHT))
}

/// The place of a key.
#[inline]
fn position(keys: &[u8], key: u8) -> Option<usize> {
    let (eights, _) = keys.as_chunks();
    let mut found = eights.iter().zip((0..).step_by(EIGHT));
    found.find_map(|(eight, place)| first(*eight, [key]).map(|at| at.saturating_add(place)))
}

/// Less than eight bytes, and NULs behind them.
#[inline(always)]
fn filled(text: &[u8]) -> [u8; EIGHT] {
    let mut all = 0_u64;
    if let (Some(first), Some(last)) = (text.first_chunk(), text.last_chunk()) {
        // The two overlap, and agree where they do.
        let ends = (text.len().saturating_sub(4) & 7) * 8;
        all = u64::from(u32::from_le_bytes(*first)) | u64::from(u32::from_le_bytes(*last)) << ends;
    } else {
        for byte in text.iter().rev() {
            all = all << 8 | u64::from(*byte);
        }
    }
    all.to_le_bytes()
}

/// What is behind so many bytes of a text, if they are those of the program, which goes on after them for eight at least.
///
/// Most texts are short: a call to compare them would take longer than this.
#[inline]
fn behind<'t>(mut text: &'t [u8], mut code: &[u8], mut length: usize) -> Option<&'t [u8]> {
    while length > 0 {
        let (wanted, own) = (code.first_chunk()?, text.first_chunk());
        let own = own.map_or_else(|| filled(text), |own| *own);
        let count = length.min(EIGHT);
        // Those in front are the low ones.
        let differs = u64::from_le_bytes(own) ^ u64::from_le_bytes(*wanted);
        if differs.trailing_zeros() < u32::try_from(count).ok()?.checked_mul(u8::BITS)? {
            return None;
        }
        (text, code) = (text.get(count..)?, code.get(count..)?);
        length = length.saturating_sub(count);
    }
    Some(text)
}

/// How many bytes there are before NUL or another one.
#[inline]
fn free(text: &[u8], stop: u8) -> usize {
    let (eights, last) = text.as_chunks();
    for (eight, place) in eights.iter().zip((0..).step_by(EIGHT)) {
        if let Some(at) = first(*eight, [0, stop]) {
            return at.saturating_add(place);
        }
    }
    let ends = first(filled(last), [0, stop]).unwrap_or(last.len());
    text.len().saturating_sub(last.len()).saturating_add(ends)
}

/// Ways that begin alike, to be written from a depth on.
struct Part {
    ways: Range<usize>,
    depth: usize,
    /// Where its place is to be put, if it is not where the program comes to anyway.
    asked_at: Option<usize>,
    /// The node that it comes from.
    parent: Option<usize>,
}

/// The ways of a part, their depth, and where its place is to be put.
type Unwritten = (Range<usize>, usize, Option<usize>);

/// Where ways part, or end.
struct Node {
    parent: Option<usize>,
    /// Whether a request goes on in all of its parts, or in one.
    forks: bool,
    /// At how many places a request can be at once from here on.
    at_once: u32,
}

/// What writes a program.
struct Writer<'w> {
    /// In order, so that those that begin alike are together.
    ways: &'w [(Way, Met)],
    runs: &'w Runs,
    code: Vec<u8>,
    nodes: Vec<Node>,
}

impl<'w> Writer<'w> {
    fn write(&mut self) -> Option<()> {
        let all = Part { ways: 0..self.ways.len(), depth: 0, asked_at: None, parent: None };
        let mut parts = vec![all];
        while let Some(part) = parts.pop() {
            if let Some(at) = part.asked_at {
                let here = u32::try_from(self.code.len()).ok()?.to_le_bytes();
                *self.code.get_mut(at..)?.first_chunk_mut()? = here;
            }
            let ways = self.ways.get(part.ways.clone())?;
            let depth = self.shared(ways, part.depth)?;
            let next = |(way, _): &(Way, Met)| way.get(depth).copied();
            let mut groups: Vec<(Step, Range<usize>)> = Vec::new();
            let mut start = part.ways.start;
            for group in ways.chunk_by(|one, two| next(one) == next(two)) {
                let end = start.saturating_add(group.len());
                groups.extend(group.first().and_then(next).map(|step| (step, start..end)));
                start = end;
            }
            let node = Some(self.nodes.len());
            let forks = groups.iter().any(|(step, _)| matches!(step, Step::Run(_)));
            self.nodes.push(Node { parent: part.parent, forks, at_once: 0 });
            let part = |(ways, depth, asked_at)| Part { ways, depth, asked_at, parent: node };
            let own = if groups.is_empty() {
                self.met(ways)?;
                Vec::new()
            } else if forks {
                self.fork(groups, depth)
            } else {
                self.branch(groups, depth)?
            };
            // The first of them is written next.
            parts.extend(own.into_iter().rev().map(part));
        }
        Some(())
    }

    /// Writes the steps that all ways share from a depth on; the depth after them.
    fn shared(&mut self, ways: &[(Way, Met)], mut depth: usize) -> Option<usize> {
        let (Some((first, _)), Some((last, _))) = (ways.first(), ways.last()) else {
            return Some(depth);
        };
        let mut text = Vec::new();
        // They are in order: what the first and the last share, all do.
        while let Some(step) = first.get(depth).filter(|step| last.get(depth) == Some(step)) {
            depth = depth.saturating_add(1);
            if let Step::Byte(byte) = step {
                text.push(*byte);
                continue;
            }
            self.text(&std::mem::take(&mut text));
            match step {
                Step::Run(number) => self.run(*self.runs.get(*number)?),
                Step::End | Step::Byte(_) => self.code.push(END),
            }
        }
        self.text(&text);
        Some(depth)
    }

    fn text(&mut self, text: &[u8]) {
        for text in text.chunks(u8::MAX.into()) {
            self.code.extend([TEXT, u8::try_from(text.len()).unwrap_or(u8::MAX)]);
            self.code.extend(text);
        }
    }

    fn run(&mut self, run: Run) {
        let Run { bytes, least, most } = run;
        let mut lacks = (1..0x80).filter(|byte| !bytes.has(*byte));
        let (stop, more) = (lacks.next().unwrap_or(0), lacks.next());
        if bytes.others
            && more.is_none()
            && let Ok(least) = u8::try_from(least)
        {
            self.code.extend([FREE, least, stop]);
        } else {
            self.code.push(CLASS);
            self.code.extend(least.to_le_bytes());
            self.code.extend(most.to_le_bytes());
            self.code.extend(bytes.ascii.to_le_bytes());
            self.code.push(bytes.others.into());
        }
    }

    fn met(&mut self, ways: &[(Way, Met)]) -> Option<()> {
        self.code.push(MET);
        self.code.extend(u32::try_from(ways.len()).ok()?.to_le_bytes());
        for (_, met) in ways {
            let rule = met.place.checked_mul(2)? | u32::from(met.asks);
            self.code.extend(rule.to_le_bytes());
        }
        Some(())
    }

    /// Room for a place; where it is.
    fn asked(&mut self) -> Option<usize> {
        let at = self.code.len();
        self.code.extend([0; PLACE]);
        Some(at)
    }

    /// Parts that begin with different runs, or with a text or a field's end: a request can go on in all of them.
    fn fork(&mut self, groups: Vec<(Step, Range<usize>)>, depth: usize) -> Vec<Unwritten> {
        let mut parts: Vec<Unwritten> = Vec::new();
        let mut texts: Option<Range<usize>> = None;
        for (step, ways) in groups {
            match (step, &mut texts) {
                (Step::Run(_), _) => parts.push((ways, depth, None)),
                (_, Some(texts)) => texts.end = ways.end,
                (_, None) => texts = Some(ways),
            }
        }
        parts.extend(texts.map(|ways| (ways, depth, None)));
        for (_, _, asked_at) in parts.iter_mut().skip(1) {
            self.code.push(FORK);
            *asked_at = self.asked();
        }
        parts
    }

    /// Parts that begin with different bytes, or with a field's end: a request can go on in one of them.
    fn branch(
        &mut self,
        groups: Vec<(Step, Range<usize>)>,
        depth: usize,
    ) -> Option<Vec<Unwritten>> {
        self.code.extend([BRANCH, u8::try_from(groups.len().checked_sub(1)?).ok()?]);
        let key = |(step, _): &(Step, Range<usize>)| match step {
            Step::Byte(byte) => *byte,
            Step::End | Step::Run(_) => 0,
        };
        self.code.extend(groups.iter().map(key));
        // Of equal keys the first counts.
        let more = groups.len().next_multiple_of(EIGHT).saturating_sub(groups.len());
        self.code.extend(std::iter::repeat_n(groups.last().map_or(0, key), more));
        let part = |(step, ways): (Step, Range<usize>)| {
            let behind = usize::from(matches!(step, Step::Byte(_)));
            (ways, depth.saturating_add(behind), self.asked())
        };
        Some(groups.into_iter().map(part).collect())
    }

    /// At how many places a request can be at once.
    fn at_once(&mut self) -> u32 {
        while let Some(node) = self.nodes.pop() {
            let own = node.at_once.max(1);
            let Some(parent) = node.parent else { return own };
            if let Some(parent) = self.nodes.get_mut(parent) {
                parent.at_once = if parent.forks {
                    parent.at_once.saturating_add(own)
                } else {
                    parent.at_once.max(own)
                };
            }
        }
        0
    }
}
