//! Bytes that we put into the server's direction, until the client has acknowledged them.
//!
//! We are their sender: they go out as the client's window allows, again when they seem lost, and are forgotten when
//! acknowledged. Positions are the client's view of the direction.
//!
//! INVARIANT: pieces are ordered and do not overlap; everything before `acknowledged` is gone.

use std::collections::VecDeque;

#[derive(Clone, Debug)]
struct Piece {
    start: u64,
    bytes: Vec<u8>,
}

impl Piece {
    fn end(&self) -> u64 {
        self.start.saturating_add(self.bytes.len() as u64)
    }
}

/// The injected bytes of one connection, and perhaps our FIN after them.
#[derive(Clone, Debug, Default)]
pub(super) struct Outbox {
    /// INVARIANT: there is one while something is injected, or our FIN is.
    store: Option<Box<Store>>,
}

#[derive(Clone, Debug, Default)]
struct Store {
    pieces: VecDeque<Piece>,
    /// Position of our FIN.
    fin: Option<u64>,
    /// The FIN was acknowledged.
    fin_acknowledged: bool,
    /// Next position to send for the first time.
    sent: u64,
}

/// One segment's worth of injected bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Portion<'a> {
    pub(super) start: u64,
    pub(super) bytes: &'a [u8],
    pub(super) fin: bool,
}

impl Outbox {
    /// Bytes that wait to be acknowledged.
    pub(super) fn len(&self) -> usize {
        self.store.as_ref().map_or(0, |store| store.len())
    }

    /// Bytes of heap in use.
    pub(super) fn heap_bytes(&self) -> usize {
        self.store.as_ref().map_or(0, |store| store.heap_bytes())
    }

    /// Whether nothing waits to be acknowledged.
    pub(super) fn is_empty(&self) -> bool {
        self.store.as_ref().is_none_or(|store| store.is_empty())
    }

    /// Adds bytes at `start`, which lies at or after everything added so far.
    pub(super) fn push(&mut self, start: u64, bytes: Vec<u8>) {
        self.store.get_or_insert_default().push(start, bytes);
    }

    /// Ends the direction at `position`.
    pub(super) fn push_fin(&mut self, position: u64) {
        self.store.get_or_insert_default().push_fin(position);
    }

    /// The first position that was never sent.
    pub(super) fn unsent(&self) -> Option<u64> {
        self.store.as_ref()?.unsent()
    }

    /// Where our FIN stands.
    pub(super) fn fin(&self) -> Option<u64> {
        self.store.as_ref()?.fin
    }

    /// Whether an acknowledgement of `position` speaks of injected bytes only: of their beginning, middle or end.
    pub(super) fn touches(&self, position: u64) -> bool {
        self.store.as_ref().is_some_and(|store| store.touches(position))
    }

    /// The client has everything before `position`. Returns whether that is news about injected bytes.
    pub(super) fn acknowledge(&mut self, position: u64) -> bool {
        let Some(store) = &mut self.store else { return false };
        let news = store.acknowledge(position);
        if store.pieces.is_empty() && store.fin.is_none() {
            self.store = None;
        }
        news
    }

    /// What may be sent for the first time below the client's window edge `edge`, at most `mss` bytes of it; it counts as sent.
    pub(super) fn next(&mut self, edge: u64, mss: usize) -> Option<Portion<'_>> {
        self.store.as_mut()?.next(edge, mss)
    }

    /// What the client misses at `una`, at most `mss` bytes of it and below its window edge; one byte if the window is shut, to
    /// make the client say when it opens (RFC 9293 §3.8.6.1). `None` if the byte at `una` is not ours or was never sent.
    pub(super) fn again(&self, una: u64, edge: u64, mss: usize) -> Option<Portion<'_>> {
        self.store.as_ref()?.again(una, edge, mss)
    }
}

impl Store {
    fn len(&self) -> usize {
        self.pieces.iter().map(|piece| piece.bytes.len()).sum()
    }

    fn heap_bytes(&self) -> usize {
        size_of::<Self>()
            + self.pieces.capacity() * size_of::<Piece>()
            + self.pieces.iter().map(|piece| piece.bytes.capacity()).sum::<usize>()
    }

    fn is_empty(&self) -> bool {
        self.pieces.is_empty() && (self.fin.is_none() || self.fin_acknowledged)
    }

    fn push(&mut self, start: u64, bytes: Vec<u8>) {
        match self.pieces.back_mut() {
            Some(last) if last.end() == start => last.bytes.extend_from_slice(&bytes),
            _ => {
                if self.pieces.is_empty() {
                    self.sent = start;
                }
                self.pieces.push_back(Piece { start, bytes });
            }
        }
    }

    fn push_fin(&mut self, position: u64) {
        self.sent = self.sent.max(if self.pieces.is_empty() { position } else { 0 });
        self.fin = Some(position);
    }

    fn unsent(&self) -> Option<u64> {
        let piece = self.pieces.iter().find(|piece| piece.end() > self.sent);
        let fin = self.fin.filter(|&fin| fin >= self.sent && !self.fin_acknowledged);
        piece.map(|piece| piece.start.max(self.sent)).or(fin)
    }

    fn touches(&self, position: u64) -> bool {
        self.pieces.iter().any(|piece| piece.start <= position && position <= piece.end())
            || (!self.fin_acknowledged
                && self.fin.is_some_and(|fin| fin <= position && position <= fin + 1))
    }

    fn acknowledge(&mut self, position: u64) -> bool {
        let mut news = false;
        while let Some(piece) = self.pieces.front_mut() {
            if piece.end() <= position {
                self.pieces.pop_front();
                news = true;
                continue;
            }
            if piece.start < position {
                let gone = usize::try_from(position - piece.start).unwrap_or(usize::MAX);
                piece.bytes.drain(..gone.min(piece.bytes.len()));
                piece.start = position;
                news = true;
            }
            break;
        }
        if self.pieces.is_empty() {
            self.pieces = VecDeque::new();
        }
        if !self.fin_acknowledged && self.fin.is_some_and(|fin| position > fin) {
            self.fin_acknowledged = true;
            news = true;
        }
        self.sent = self.sent.max(position);
        news
    }

    fn next(&mut self, edge: u64, mss: usize) -> Option<Portion<'_>> {
        let sent = self.sent;
        let fin = self.fin.filter(|_| !self.fin_acknowledged);
        let last_end = self.pieces.back().map_or(0, Piece::end);
        let piece = self.pieces.iter().find(|piece| piece.end() > sent);
        let Some(piece) = piece else {
            let fin = fin.filter(|&fin| fin >= sent && fin >= last_end)?;
            self.sent = fin.saturating_add(1);
            return Some(Portion { start: fin, bytes: &[], fin: true });
        };
        let start = piece.start.max(sent);
        let skip = usize::try_from(start - piece.start).unwrap_or(usize::MAX);
        let room = usize::try_from(edge.saturating_sub(start)).unwrap_or(usize::MAX).min(mss);
        let rest = piece.bytes.get(skip..).unwrap_or_default();
        let bytes = rest.get(..room.min(rest.len())).unwrap_or_default();
        if bytes.is_empty() {
            return None;
        }
        let end = start.saturating_add(bytes.len() as u64);
        let with_fin = fin == Some(end);
        self.sent = end.saturating_add(u64::from(with_fin));
        Some(Portion { start, bytes, fin: with_fin })
    }

    fn again(&self, una: u64, edge: u64, mss: usize) -> Option<Portion<'_>> {
        let fin = self.fin.filter(|_| !self.fin_acknowledged);
        let Some(piece) = self.pieces.iter().find(|piece| piece.start <= una && una < piece.end())
        else {
            return (fin == Some(una)).then_some(Portion { start: una, bytes: &[], fin: true });
        };
        let skip = usize::try_from(una - piece.start).unwrap_or(usize::MAX);
        let room =
            usize::try_from(edge.saturating_sub(una)).unwrap_or(usize::MAX).clamp(1, mss.max(1));
        let rest = piece.bytes.get(skip..).unwrap_or_default();
        let bytes = rest.get(..room.min(rest.len())).unwrap_or_default();
        let end = una.saturating_add(bytes.len() as u64);
        Some(Portion { start: una, bytes, fin: fin == Some(end) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_and_the_mss_bound_what_is_sent() {
        let mut outbox = Outbox::default();
        outbox.push(100, b"abcdef".to_vec());
        outbox.push(106, b"gh".to_vec());
        outbox.push_fin(108);
        assert_eq!(outbox.next(100, 4), None, "shut window");
        assert_eq!(outbox.next(103, 4), Some(Portion { start: 100, bytes: b"abc", fin: false }));
        assert_eq!(outbox.next(200, 4), Some(Portion { start: 103, bytes: b"defg", fin: false }));
        assert_eq!(outbox.next(200, 4), Some(Portion { start: 107, bytes: b"h", fin: true }));
        assert_eq!(outbox.next(200, 4), None);
        assert_eq!(
            outbox.again(100, 100, 4),
            Some(Portion { start: 100, bytes: b"a", fin: false })
        );
        assert!(outbox.acknowledge(102));
        assert_eq!(
            outbox.again(102, 200, 10),
            Some(Portion { start: 102, bytes: b"cdefgh", fin: true })
        );
        assert!(outbox.acknowledge(108));
        assert_eq!(outbox.again(108, 200, 10), Some(Portion { start: 108, bytes: b"", fin: true }));
        assert!(!outbox.is_empty());
        assert!(outbox.acknowledge(109));
        assert!(outbox.is_empty() && !outbox.acknowledge(109));
    }

    #[test]
    fn pieces_apart_are_found_by_position() {
        let mut outbox = Outbox::default();
        outbox.push(10, b"ab".to_vec());
        outbox.push(50, b"cd".to_vec());
        assert_eq!(outbox.next(500, 10).map(|portion| portion.start), Some(10));
        assert_eq!(outbox.next(500, 10).map(|portion| portion.start), Some(50));
        assert!(outbox.touches(12) && !outbox.touches(30) && outbox.touches(50));
        assert!(outbox.acknowledge(20));
        assert_eq!(outbox.again(30, 500, 10), None);
        assert_eq!(outbox.len(), 2);
    }
}
