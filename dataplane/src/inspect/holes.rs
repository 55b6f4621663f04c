//! Bytes that came too early: copied until what is missing before them arrives.
//!
//! Nothing in here has been parsed, judged or sent. Two copies of a byte that disagree are never resolved: the later
//! segment is refused whole.
//!
//! INVARIANT: parts are ordered by position, do not overlap and do not touch; `bytes` is the sum of their lengths.

/// The early bytes of one direction.
#[derive(Clone, Debug, Default)]
pub(super) struct Holes {
    /// Most connections have none at most times. INVARIANT: its parts are not empty.
    early: Option<Box<Early>>,
}

#[derive(Clone, Debug, Default)]
struct Early {
    parts: Vec<Part>,
    bytes: usize,
}

#[derive(Clone, Debug)]
struct Part {
    start: u64,
    bytes: Vec<u8>,
}

impl Part {
    fn end(&self) -> u64 {
        self.start.saturating_add(self.bytes.len() as u64)
    }
}

/// Why early bytes were not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unstored {
    /// The budget of bytes or parts is spent.
    Full,
    /// A byte differs from the copy in store.
    Conflict,
}

impl Holes {
    /// Bytes of heap in use.
    pub(super) fn heap_bytes(&self) -> usize {
        self.early.as_ref().map_or(0, |early| {
            size_of::<Early>()
                + early.parts.capacity() * size_of::<Part>()
                + early.parts.iter().map(|part| part.bytes.capacity()).sum::<usize>()
        })
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.early.is_none()
    }

    fn parts(&self) -> &[Part] {
        self.early.as_ref().map_or(&[], |early| &early.parts)
    }

    /// The position behind the last early byte; 0 when there is none.
    pub(super) fn end(&self) -> u64 {
        self.parts().last().map_or(0, Part::end)
    }

    /// Whether `bytes` at `start` disagree with any stored byte.
    pub(super) fn conflicts(&self, start: u64, bytes: &[u8]) -> bool {
        let end = start.saturating_add(bytes.len() as u64);
        self.parts().iter().any(|part| {
            let from = part.start.max(start);
            let to = part.end().min(end);
            from < to && slice(&part.bytes, part.start, from, to) != slice(bytes, start, from, to)
        })
    }

    /// Stores what of `bytes` is new. At most `max_bytes` in at most `max_parts` pieces are kept.
    ///
    /// # Errors
    /// [`Unstored::Conflict`] when a byte differs from the stored one, [`Unstored::Full`] when a budget would be exceeded;
    /// nothing is stored then.
    pub(super) fn store(
        &mut self,
        start: u64,
        bytes: &[u8],
        max_bytes: usize,
        max_parts: usize,
    ) -> Result<(), Unstored> {
        if self.conflicts(start, bytes) {
            return Err(Unstored::Conflict);
        }
        let end = start.saturating_add(bytes.len() as u64);
        let early = self.early.get_or_insert_default();
        // Every part that overlaps or touches the new bytes melts into one.
        let first = early.parts.partition_point(|part| part.end() < start);
        let last = early.parts.partition_point(|part| part.start <= end);
        let touched = early.parts.get(first..last).unwrap_or_default();
        let from = touched.first().map_or(start, |part| part.start.min(start));
        let to = touched.last().map_or(end, |part| part.end().max(end));
        let already: usize = touched.iter().map(|part| part.bytes.len()).sum();
        let merged_len = usize::try_from(to - from).unwrap_or(usize::MAX);
        let count = early.parts.len() - touched.len() + 1;
        if early.bytes.saturating_sub(already).saturating_add(merged_len) > max_bytes
            || count > max_parts
        {
            self.forget_if_empty();
            return Err(Unstored::Full);
        }
        let mut merged = Vec::with_capacity(merged_len);
        let mut position = from;
        for part in touched {
            merged.extend_from_slice(slice(bytes, start, position, part.start));
            merged.extend_from_slice(&part.bytes);
            position = part.end();
        }
        merged.extend_from_slice(slice(bytes, start, position, end));
        early.bytes = early.bytes - already + merged.len();
        early.parts.splice(first..last, [Part { start: from, bytes: merged }]);
        Ok(())
    }

    /// Takes out the bytes that continue the stream at `next`, if there are any; what lies before `next` is forgotten.
    pub(super) fn take(&mut self, next: u64) -> Option<Vec<u8>> {
        while let Some((start, mut bytes)) = self.take_before(next) {
            if start.saturating_add(bytes.len() as u64) > next {
                let old = usize::try_from(next - start).unwrap_or(usize::MAX);
                bytes.drain(..old.min(bytes.len()));
                return Some(bytes);
            }
        }
        None
    }

    /// Takes out the first piece, if it begins at or before `limit`.
    pub(super) fn take_before(&mut self, limit: u64) -> Option<(u64, Vec<u8>)> {
        let early = self.early.as_mut()?;
        early.parts.first().filter(|part| part.start <= limit)?;
        let part = early.parts.remove(0);
        early.bytes -= part.bytes.len();
        self.forget_if_empty();
        Some((part.start, part.bytes))
    }

    /// Forgets what lies before `position`.
    pub(super) fn forget_to(&mut self, position: u64) {
        let Some(early) = &mut self.early else { return };
        while let Some(part) = early.parts.first_mut().filter(|part| part.start < position) {
            let gone = usize::try_from(position - part.start).unwrap_or(usize::MAX);
            if gone >= part.bytes.len() {
                early.bytes -= part.bytes.len();
                early.parts.remove(0);
            } else {
                part.bytes.drain(..gone);
                part.start = position;
                early.bytes -= gone;
            }
        }
        self.forget_if_empty();
    }

    fn forget_if_empty(&mut self) {
        if self.early.as_ref().is_some_and(|early| early.parts.is_empty()) {
            self.early = None;
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// The ranges stored, lowest first: what a SACK option may report.
    pub(super) fn ranges(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.parts().iter().map(|part| (part.start, part.end()))
    }
}

/// The part `from..to` of `bytes`, which start at `start`; empty when there is none.
fn slice(bytes: &[u8], start: u64, from: u64, to: u64) -> &[u8] {
    let from = usize::try_from(from.saturating_sub(start)).unwrap_or(usize::MAX);
    let to = usize::try_from(to.saturating_sub(start)).unwrap_or(usize::MAX).min(bytes.len());
    bytes.get(from..to).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bytes_in(holes: &Holes) -> usize {
        holes.early.as_ref().map_or(0, |early| early.bytes)
    }

    #[test]
    fn a_conflicting_copy_is_refused_whole() {
        let mut holes = Holes::default();
        assert_eq!(holes.store(10, b"abc", 100, 4), Ok(()));
        assert_eq!(holes.store(8, b"xxabX", 100, 4), Err(Unstored::Conflict));
        assert_eq!(holes.store(12, b"cd", 100, 4), Ok(()));
        assert_eq!(holes.take(9), None);
        assert_eq!(holes.take(10).as_deref(), Some(&b"abcd"[..]));
        assert!(holes.is_empty());
    }

    #[test]
    fn budgets_hold() {
        let mut holes = Holes::default();
        assert_eq!(holes.store(10, b"abc", 5, 2), Ok(()));
        assert_eq!(holes.store(20, b"abc", 5, 2), Err(Unstored::Full));
        assert_eq!(holes.store(20, b"ab", 5, 2), Ok(()));
        assert_eq!(holes.store(30, b"", 5, 2), Err(Unstored::Full));
        assert_eq!(holes.store(10, b"abc", 5, 2), Ok(()));
        assert_eq!(bytes_in(&holes), 5);
    }

    proptest! {
        #[test]
        fn any_order_of_pieces_gives_the_stream_back(pieces in proptest::collection::vec((0usize..60, 1usize..20), 1..12)) {
            let stream: Vec<u8> = (0..80u8).collect();
            let mut holes = Holes::default();
            let mut have = [false; 80];
            for (start, len) in pieces {
                prop_assert_eq!(holes.store(start as u64, &stream[start..start + len], 1000, 100), Ok(()));
                have[start..start + len].fill(true);
            }
            prop_assert_eq!(bytes_in(&holes), have.iter().filter(|&&have| have).count());
            let mut next = 0;
            while next < 80 {
                match holes.take(next as u64) {
                    Some(bytes) => {
                        prop_assert_eq!(&bytes[..], &stream[next..next + bytes.len()]);
                        prop_assert!(have[next..next + bytes.len()].iter().all(|&have| have));
                        next += bytes.len();
                    }
                    None => {
                        prop_assert!(!have[next]);
                        next += 1;
                    }
                }
            }
            prop_assert_eq!(bytes_in(&holes), 0);
        }
    }
}
