//! Maps positions of one direction from what its sender counts to what its receiver counts.
//!
//! Positions are unwrapped: 64-bit distances from the initial sequence number, so 2^32 needs no care here. What was taken
//! out of the direction (a denied request) or put into it (a 403) is an [`Edit`]; edits the receiver has acknowledged
//! are folded into one shift.
//!
//! INVARIANT: for every position the receiver can still ask for, `backward(forward(p)) >= p`, and equality holds unless
//! `p` lies inside a cut, whose end it then is. `edits` are ordered by `at` and do not touch.

/// One change of the stream, at the sender's position `at`: `cut` bytes vanish, or `insert` bytes appear before `at`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Edit {
    at: u64,
    cut: u64,
    insert: u64,
}

/// The piecewise offset map of one direction.
#[derive(Clone, Debug, Default)]
pub(super) struct Splice {
    /// Receiver's position minus sender's, modulo 2^64, for everything before the first edit.
    shift: u64,
    /// Most connections have none at most times. INVARIANT: not empty.
    edits: Option<Box<Edits>>,
}

#[derive(Clone, Debug, Default)]
struct Edits(Vec<Edit>);

impl Splice {
    /// Whether both sides count alike everywhere: nothing was ever cut or inserted.
    pub(super) fn is_identity(&self) -> bool {
        self.shift == 0 && self.edits.is_none()
    }

    fn edits(&self) -> &[Edit] {
        self.edits.as_ref().map_or(&[], |edits| &edits.0)
    }

    fn edits_mut(&mut self) -> &mut Vec<Edit> {
        &mut self.edits.get_or_insert_default().0
    }

    /// Removes `len` bytes at the sender's position `at`, which no earlier edit lies beyond.
    pub(super) fn cut(&mut self, at: u64, len: u64) {
        if len == 0 {
            return;
        }
        let edits = self.edits_mut();
        if let Some(last) = edits.last_mut()
            && last.insert == 0
            && last.at.wrapping_add(last.cut) == at
        {
            last.cut = last.cut.wrapping_add(len);
            return;
        }
        edits.push(Edit { at, cut: len, insert: 0 });
    }

    /// Puts `len` bytes before the sender's position `at`, which no earlier edit lies beyond. Returns the receiver's
    /// position of the first inserted byte.
    pub(super) fn insert(&mut self, at: u64, len: u64) -> u64 {
        let start = self.forward(at);
        if len == 0 {
            return start;
        }
        let edits = self.edits_mut();
        if let Some(last) = edits.last_mut()
            && last.cut == 0
            && last.at == at
        {
            last.insert = last.insert.wrapping_add(len);
        } else {
            edits.push(Edit { at, cut: 0, insert: len });
        }
        start
    }

    /// Where the receiver sees the sender's position `p`. Inside a cut: where the cut was. At an insertion: after it.
    pub(super) fn forward(&self, p: u64) -> u64 {
        let mut shift = self.shift;
        for edit in self.edits() {
            if p < edit.at {
                break;
            }
            if p.wrapping_sub(edit.at) < edit.cut {
                return edit.at.wrapping_add(shift);
            }
            shift = shift.wrapping_add(edit.insert).wrapping_sub(edit.cut);
        }
        p.wrapping_add(shift)
    }

    /// The largest sender's position that the receiver's position `r` stands for: acknowledging up to a cut acknowledges
    /// the cut, acknowledging part of an insertion acknowledges what came before it.
    pub(super) fn backward(&self, r: u64) -> u64 {
        let mut shift = self.shift;
        for edit in self.edits() {
            let start = edit.at.wrapping_add(shift);
            if r < start {
                break;
            }
            if r.wrapping_sub(start) < edit.insert {
                return edit.at;
            }
            shift = shift.wrapping_add(edit.insert).wrapping_sub(edit.cut);
        }
        r.wrapping_sub(shift)
    }

    /// If `p` lies in a cut, the cut's end; else `p`.
    pub(super) fn skip_cut(&self, p: u64) -> u64 {
        for edit in self.edits() {
            if p >= edit.at && p.wrapping_sub(edit.at) < edit.cut {
                return edit.at.wrapping_add(edit.cut);
            }
        }
        p
    }

    /// The first position after `p` at which the map is not a plain shift; bytes `p..` up to it travel together.
    pub(super) fn run_end(&self, p: u64) -> u64 {
        self.edits().iter().map(|edit| edit.at).find(|&at| at > p).unwrap_or(u64::MAX)
    }

    /// Forgets edits that end at or before the receiver's acknowledgement `una`.
    pub(super) fn settle(&mut self, una: u64) {
        let Some(edits) = &mut self.edits else { return };
        let mut settled = 0;
        for edit in &edits.0 {
            let end = edit.at.wrapping_add(self.shift).wrapping_add(edit.insert);
            if una < end {
                break;
            }
            self.shift = self.shift.wrapping_add(edit.insert).wrapping_sub(edit.cut);
            settled += 1;
        }
        if settled == edits.0.len() {
            self.edits = None;
        } else {
            edits.0.drain(..settled);
        }
    }

    /// Bytes of heap in use.
    pub(super) fn heap_bytes(&self) -> usize {
        self.edits
            .as_ref()
            .map_or(0, |edits| size_of::<Edits>() + edits.0.capacity() * size_of::<Edit>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::fuzz_splice;
    use proptest::prelude::*;

    #[test]
    fn the_fuzz_corpus_agrees_with_a_list_of_bytes() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/corpus/splice");
        let mut files = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            fuzz_splice::check(&std::fs::read(entry.unwrap().path()).unwrap());
            files += 1;
        }
        assert!(files > 20, "the corpus is there: {files}");
    }

    #[test]
    fn a_cut_maps_its_bytes_to_one_place_and_acknowledges_them_together() {
        let mut splice = Splice::default();
        splice.cut(100, 40);
        assert_eq!(
            [99, 100, 120, 139, 140, 150].map(|p| splice.forward(p)),
            [99, 100, 100, 100, 100, 110]
        );
        assert_eq!([99, 100, 101].map(|r| splice.backward(r)), [99, 140, 141]);
        assert_eq!(splice.skip_cut(100), 140);
        assert_eq!(splice.skip_cut(140), 140);
    }

    #[test]
    fn an_insertion_is_acknowledged_only_when_whole() {
        let mut splice = Splice::default();
        assert_eq!(splice.insert(100, 40), 100);
        assert_eq!(splice.insert(100, 5), 140);
        assert_eq!([99, 100, 101].map(|p| splice.forward(p)), [99, 145, 146]);
        assert_eq!(
            [99, 100, 101, 144, 145, 146].map(|r| splice.backward(r)),
            [99, 100, 100, 100, 100, 101]
        );
    }

    #[test]
    fn settled_edits_become_a_shift() {
        let mut splice = Splice::default();
        splice.insert(100, 40);
        splice.cut(200, 10);
        splice.settle(139);
        assert_eq!(splice.edits().len(), 2);
        splice.settle(140);
        assert_eq!((splice.edits().len(), splice.shift), (1, 40));
        splice.settle(240);
        assert_eq!((splice.edits().len(), splice.shift), (0, 30));
        assert!(!splice.is_identity());
    }

    /// The slow and obvious map: the receiver's stream as a list of what each of its bytes is.
    fn model(edits: &[(bool, u64, u64)], total: u64) -> Vec<Option<u64>> {
        let mut stream: Vec<Option<u64>> = Vec::new();
        let mut position = 0;
        for &(is_cut, gap, len) in edits {
            stream.extend((position..position + gap).map(Some));
            position += gap;
            if is_cut {
                position += len;
            } else {
                stream.extend((0..len).map(|_| None));
            }
        }
        stream.extend((position..position + total).map(Some));
        stream
    }

    proptest! {
        #[test]
        fn agrees_with_a_list_of_bytes(
            edits in proptest::collection::vec((any::<bool>(), 1u64..20, 1u64..10), 0..6),
            settle_at in 0u64..120,
        ) {
            let stream = model(&edits, 30);
            let mut splice = Splice::default();
            let mut position = 0;
            for &(is_cut, gap, len) in &edits {
                position += gap;
                if is_cut {
                    splice.cut(position, len);
                    position += len;
                } else {
                    splice.insert(position, len);
                }
            }
            splice.settle(settle_at);
            for (index, origin) in stream.iter().enumerate() {
                let r = index as u64;
                if r < settle_at {
                    continue;
                }
                if let Some(p) = origin {
                    prop_assert_eq!(splice.forward(*p), r);
                }
                // Largest preimage: the next original byte at or after r is the first not yet acknowledged, unless r is
                // inside an insertion, when the answer is where that insertion stands.
                let next = stream.iter().skip(index).flatten().next().copied().unwrap();
                prop_assert_eq!(splice.backward(r), next);
            }
        }
    }
}
