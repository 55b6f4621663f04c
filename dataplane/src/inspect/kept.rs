//! Client bytes that must not change or must not get lost: copied once, kept until the server acknowledges them.
//!
//! Three uses share one store. *Held* bytes wait for their request to be judged. *Owned* bytes were held, were
//! acknowledged to the client by us, and are ours to retransmit. *Pinned* bytes (heads, chunk lines, trailers) passed in
//! the client's own segment; the copy proves that a retransmission says the same.
//!
//! INVARIANT: spans are ordered, do not overlap, and their bytes lie in `bytes` in the same order. A denied request's
//! bytes are removed before anything after them is released, so nothing in here is ever forbidden to the server.

use std::collections::VecDeque;

use crate::prefetch::prefetch;

#[derive(Clone, Copy, Debug)]
struct Span {
    /// Client position of the first byte.
    start: u64,
    len: usize,
    /// Index of the first byte counted over the life of the store.
    at: usize,
    owned: bool,
}

impl Span {
    fn end(self) -> u64 {
        self.start.saturating_add(self.len as u64)
    }
}

/// One connection's kept client bytes.
#[derive(Clone, Debug, Default)]
pub(super) struct Kept {
    /// An idle connection has none.
    store: Option<Box<Store>>,
}

#[derive(Clone, Debug, Default)]
struct Store {
    bytes: Vec<u8>,
    /// Count of bytes ever dropped from the front of `bytes`.
    dropped: usize,
    spans: VecDeque<Span>,
}

impl Kept {
    /// Bytes stored now.
    pub(super) fn len(&self) -> usize {
        self.store.as_ref().map_or(0, |store| store.bytes.len())
    }

    /// The position after everything stored; 0 when nothing is.
    pub(super) fn end(&self) -> u64 {
        self.store.as_ref().map_or(0, |store| store.end())
    }

    /// Bytes of heap in use.
    pub(super) fn heap_bytes(&self) -> usize {
        self.store.as_ref().map_or(0, |store| store.heap_bytes())
    }

    /// Spans stored now.
    pub(super) fn spans(&self) -> usize {
        self.store.as_ref().map_or(0, |store| store.spans.len())
    }

    /// Whether everything stored passed in the client's own segments.
    pub(super) fn is_pinned(&self) -> bool {
        self.store.as_ref().is_none_or(|store| store.spans.iter().all(|span| !span.owned))
    }

    /// Asks for the memory that so many bytes will be appended to, as far as there is some.
    pub(super) fn prefetch(&self, bytes: usize) {
        if let Some(Store { bytes: kept, .. }) = self.store.as_deref() {
            let room = kept.capacity().saturating_sub(kept.len());
            prefetch(kept.as_ptr().wrapping_add(kept.len()), bytes.min(room));
        }
    }

    /// Appends bytes whose position is at or after everything stored.
    pub(super) fn append(&mut self, start: u64, bytes: &[u8], owned: bool) {
        if !bytes.is_empty() {
            self.store.get_or_insert_default().append(start, bytes, owned);
        }
    }

    /// The stored bytes from `start` on, as far as they are contiguous, at most `limit`.
    pub(super) fn from(&self, start: u64, limit: usize) -> &[u8] {
        self.store.as_ref().map_or(&[], |store| store.from(start, limit))
    }

    /// The first bytes at or after `position` that are ours to send, at most `limit` of them, with their position.
    pub(super) fn owned_from(&self, position: u64, limit: usize) -> Option<(u64, &[u8])> {
        self.store.as_ref()?.owned_from(position, limit)
    }

    /// Whether `bytes` at `start` disagree with any stored byte.
    pub(super) fn conflicts(&self, start: u64, bytes: &[u8]) -> bool {
        self.store.as_ref().is_some_and(|store| store.conflicts(start, bytes))
    }

    /// Forgets the bytes before `position`.
    pub(super) fn free_to(&mut self, position: u64) {
        if let Some(store) = &mut self.store {
            store.free_to(position);
        }
    }

    /// Takes the bytes `from..to` out, wherever they are stored.
    pub(super) fn remove(&mut self, from: u64, to: u64) {
        if let Some(store) = &mut self.store {
            store.remove(from, to);
        }
    }

    /// Gives the memory back when nothing is stored, unless it is as little as the next request will need. Whether it did.
    pub(super) fn shrink(&mut self) -> bool {
        self.heap_bytes() > 2048 && self.rest()
    }

    /// Gives the memory back when nothing is stored. Whether it did.
    pub(super) fn rest(&mut self) -> bool {
        self.store.take_if(|store| store.spans.is_empty()).is_some()
    }
}

impl Store {
    fn end(&self) -> u64 {
        self.spans.back().map_or(0, |span| span.end())
    }

    fn heap_bytes(&self) -> usize {
        size_of::<Self>() + self.bytes.capacity() + self.spans.capacity() * size_of::<Span>()
    }

    fn append(&mut self, start: u64, bytes: &[u8], owned: bool) {
        let at = self.dropped + self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        if let Some(last) = self.spans.back_mut()
            && last.end() == start
            && last.owned == owned
            && last.at + last.len == at
        {
            last.len += bytes.len();
            return;
        }
        self.spans.push_back(Span { start, len: bytes.len(), at, owned });
    }

    fn from(&self, start: u64, limit: usize) -> &[u8] {
        let mut found: Option<(usize, usize)> = None;
        for span in &self.spans {
            match &mut found {
                None if span.end() > start && span.start <= start => {
                    let skip = usize::try_from(start - span.start).unwrap_or(usize::MAX);
                    found = Some((span.at - self.dropped + skip, span.len.saturating_sub(skip)));
                }
                None if span.start > start => break,
                None => {}
                Some((at, len)) => {
                    let contiguous = *at + *len == span.at - self.dropped;
                    if !contiguous
                        || start.saturating_add(*len as u64) != span.start
                        || *len >= limit
                    {
                        break;
                    }
                    *len += span.len;
                }
            }
        }
        let Some((at, len)) = found else { return &[] };
        self.bytes.get(at..at + len.min(limit)).unwrap_or_default()
    }

    fn owned_from(&self, position: u64, limit: usize) -> Option<(u64, &[u8])> {
        let span = self.spans.iter().find(|span| span.owned && span.end() > position)?;
        let start = span.start.max(position);
        Some((start, self.from(start, limit)))
    }

    fn conflicts(&self, start: u64, bytes: &[u8]) -> bool {
        let end = start.saturating_add(bytes.len() as u64);
        self.spans.iter().any(|span| {
            let from = span.start.max(start);
            let to = span.end().min(end);
            if from >= to {
                return false;
            }
            let len = usize::try_from(to - from).unwrap_or(usize::MAX);
            let mine =
                usize::try_from(from - span.start).unwrap_or(usize::MAX) + (span.at - self.dropped);
            let theirs = usize::try_from(from - start).unwrap_or(usize::MAX);
            self.bytes.get(mine..mine + len) != bytes.get(theirs..theirs + len)
        })
    }

    fn free_to(&mut self, position: u64) {
        let Some(first) = self.spans.front() else { return };
        if first.start >= position {
            return;
        }
        while let Some(span) = self.spans.front_mut() {
            if span.end() <= position {
                self.spans.pop_front();
                continue;
            }
            if span.start < position {
                let gone =
                    usize::try_from(position - span.start).unwrap_or(usize::MAX).min(span.len);
                span.start = position;
                span.len -= gone;
                span.at += gone;
            }
            break;
        }
        match self.spans.front() {
            None => {
                self.dropped += self.bytes.len();
                self.bytes.clear();
            }
            Some(span) => {
                let unused = span.at - self.dropped;
                // Move the rest to the front only when that frees at least as much as it moves.
                if unused * 2 >= self.bytes.len() {
                    self.bytes.drain(..unused);
                    self.dropped += unused;
                }
            }
        }
    }

    fn remove(&mut self, from: u64, to: u64) {
        let mut index = 0;
        while let Some(&span) = self.spans.get(index) {
            let cut_from = span.start.max(from);
            let cut_to = span.end().min(to);
            if cut_from >= cut_to {
                index += 1;
                continue;
            }
            let before = usize::try_from(cut_from - span.start).unwrap_or(usize::MAX);
            let through = usize::try_from(cut_to - span.start).unwrap_or(usize::MAX);
            let head = Span { len: before, ..span };
            let tail = Span {
                start: cut_to,
                len: span.len - through,
                at: span.at + through,
                owned: span.owned,
            };
            // Denied bytes are wiped, so that no later mistake in an index can let them out.
            let first = span.at - self.dropped + before;
            if let Some(bytes) = self.bytes.get_mut(first..first + (through - before)) {
                bytes.fill(0);
            }
            self.spans.remove(index);
            if tail.len > 0 {
                self.spans.insert(index, tail);
            }
            if head.len > 0 {
                self.spans.insert(index, head);
                index += 1;
            }
        }
        if self.spans.is_empty() {
            self.dropped += self.bytes.len();
            self.bytes.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contiguous_spans_are_read_as_one() {
        let mut kept = Kept::default();
        kept.append(10, b"GET / ", false);
        kept.append(16, b"HTTP/1.1", true);
        kept.append(30, b"x", true);
        assert_eq!(kept.from(10, 100), b"GET / HTTP/1.1");
        assert_eq!(kept.from(14, 5), b"/ HTT");
        assert_eq!(kept.from(24, 5), b"");
        assert_eq!(kept.from(30, 5), b"x");
    }

    #[test]
    fn a_different_byte_conflicts_and_an_equal_one_does_not() {
        let mut kept = Kept::default();
        kept.append(10, b"abcdef", false);
        assert!(!kept.conflicts(8, b"??abc"));
        assert!(kept.conflicts(8, b"??aXc"));
        assert!(kept.conflicts(15, b"g"));
        assert!(!kept.conflicts(16, b"g"));
        kept.free_to(12);
        assert!(!kept.conflicts(10, b"XX"));
        assert!(kept.conflicts(10, b"XXX"));
    }

    #[test]
    fn removed_bytes_are_gone_and_their_neighbours_stay() {
        let mut kept = Kept::default();
        kept.append(0, b"allowdenyallow", true);
        kept.remove(5, 9);
        assert_eq!(kept.from(0, 100), b"allow");
        assert_eq!(kept.from(5, 100), b"");
        assert_eq!(kept.from(9, 100), b"allow");
        assert!(!kept.store.as_ref().unwrap().bytes.windows(4).any(|window| window == b"deny"));
        kept.free_to(9);
        kept.append(14, b"!", true);
        assert_eq!(kept.from(9, 100), b"allow!");
        kept.free_to(15);
        assert_eq!(kept.len(), 0);
        kept.append(15, &[0; 4096], true);
        kept.free_to(15 + 4096);
        kept.shrink();
        assert_eq!(kept.heap_bytes(), 0);
    }
}
