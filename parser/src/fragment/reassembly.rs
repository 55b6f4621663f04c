//! Fragments wait here until their packet is whole. Read RFC 5722, RFC 8200 §4.5 and RFC 1858
//! first.
//!
//! What arrives is a fragment's place and an item that stands for it, usually the frame that holds
//! it; nothing is copied. What leaves is all items of a whole packet in their order, or all items
//! of one that must die, with the reason. So the transport header is judged once, with every byte
//! of its packet at hand, and then the fragments travel on as they came.
//!
//! One byte that two fragments claim condemns the packet, equal or not, and whatever of it comes
//! later (RFC 5722 §4): there is no policy about who wins, hence none to guess wrong. INVARIANT:
//! pieces of a packet never overlap and lie before its end.
//!
//! All memory is taken when the structure is made. Packets, pieces, age and what one source may
//! hold are bounded, and a spent bound refuses the newcomer: a flood of fragments costs the flooder
//! its fragments.

use std::{net::IpAddr, vec};

use super::Fragment;
use crate::{
    headers::{Headers, Transport},
    network::Protocol,
};

/// What fragments of one packet have in common (RFC 791 §3.2, RFC 8200 §4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FragmentKey {
    source: IpAddr,
    destination: IpAddr,
    protocol: Protocol,
    identification: u32,
    link: u16,
}

impl FragmentKey {
    /// The key and the place of a fragment that came in on `link`; none for whole packets. What came
    /// in on two links never makes one packet.
    #[must_use]
    pub fn of(headers: &Headers, link: u16) -> Option<(Self, Fragment)> {
        let Transport::Fragment(fragment) = headers.transport else { return None };
        let key = Self {
            source: headers.source()?,
            destination: headers.destination()?,
            protocol: fragment.protocol,
            identification: fragment.identification,
            link,
        };
        Some((key, fragment))
    }
}

/// How much may wait, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Packets that wait at a time, condemned ones included.
    pub packets: usize,
    /// Packets of one source address among them.
    pub packets_per_source: usize,
    /// Packets from one link among them.
    pub packets_per_link: usize,
    /// Fragments of one packet.
    pub pieces_per_packet: usize,
    /// Buffers that waiting fragments lie in.
    pub buffers: usize,
    /// Those of fragments from one link among them.
    pub buffers_per_link: usize,
    /// How long a packet may wait for its last fragment, in ticks.
    pub age: u64,
}

/// Why fragments die.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// Two fragments claim a byte, the packet was condemned for it before, or they disagree on
    /// where it ends.
    Overlap,
    /// The packet comes in more pieces than allowed.
    TooManyPieces,
    /// Nothing more may wait, of this source, from this link, or at all.
    Full,
    /// The last fragment did not come in time.
    Expired,
}

/// What becomes of a fragment.
#[derive(Debug)]
pub enum Arrival<'a, T> {
    /// It waits for the others.
    Wait,
    /// It was the last: all items, by their place. `length` counts the bytes after the IP header,
    /// or after IPv6's fragment header.
    Whole {
        /// The items, first fragment first.
        items: Items<'a, T>,
        /// Bytes of the fragmentable part.
        length: u16,
    },
    /// It dies, and with it what has come of its packet so far.
    Refuse {
        /// The items, the new one among them.
        items: Items<'a, T>,
        /// Why.
        reason: Refusal,
    },
}

/// The items of one packet, leaving; those not taken are dropped.
#[derive(Debug)]
pub struct Items<'a, T> {
    newcomer: Option<T>,
    pieces: Option<vec::Drain<'a, Piece<T>>>,
}

impl<T> Iterator for Items<'_, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        let piece = self.pieces.as_mut().and_then(Iterator::next);
        piece.map(|piece| piece.item).or_else(|| self.newcomer.take())
    }
}

#[derive(Debug)]
struct Piece<T> {
    start: u32,
    end: u32,
    buffers: usize,
    item: T,
}

/// A packet of which some fragments are missing.
#[derive(Debug)]
struct Slot<T> {
    /// None while the slot is free.
    key: Option<FragmentKey>,
    /// When the first fragment came.
    since: u64,
    /// The end of the packet, once its last fragment has come.
    end: Option<u32>,
    /// No fragment of this packet is taken any more.
    is_condemned: bool,
    /// INVARIANT: sorted by `start`, without overlap, none ends after `end`.
    pieces: Vec<Piece<T>>,
}

/// The packets that wait for fragments.
#[derive(Debug)]
pub struct Reassembler<T> {
    limits: Limits,
    slots: Vec<Slot<T>>,
    /// INVARIANT: the number of all slots' pieces.
    waiting: usize,
    /// INVARIANT: the slots that are not free.
    open: usize,
}

impl<T> Reassembler<T> {
    /// Takes the memory for everything that may wait.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let slot = || Slot {
            key: None,
            since: 0,
            end: None,
            is_condemned: false,
            pieces: Vec::with_capacity(limits.pieces_per_packet),
        };
        Self { limits, slots: (0..limits.packets).map(|_| slot()).collect(), waiting: 0, open: 0 }
    }

    /// Whether nothing waits and nothing is condemned: time changes nothing.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.open == 0
    }

    /// Fragments that wait.
    #[must_use]
    pub const fn waiting(&self) -> usize {
        self.waiting
    }

    /// The buffers of the fragments that wait.
    #[must_use]
    pub fn buffers(&self) -> usize {
        self.slots.iter().map(Slot::buffers).fold(0, usize::saturating_add)
    }

    /// Takes in a fragment of `length` bytes in so many buffers, which `item` stands for.
    pub fn insert(
        &mut self,
        key: FragmentKey,
        fragment: Fragment,
        length: usize,
        buffers: usize,
        item: T,
        now: u64,
    ) -> Arrival<'_, T> {
        let refused = |item, reason| Arrival::Refuse {
            items: Items { newcomer: Some(item), pieces: None },
            reason,
        };
        let Some(index) = self.find(&key).or_else(|| self.open(key, now)) else {
            return refused(item, Refusal::Full);
        };
        let used = |of: &mut dyn Iterator<Item = &Slot<T>>| {
            of.map(Slot::buffers).fold(buffers, usize::saturating_add)
        };
        let is_full = used(&mut self.slots.iter()) > self.limits.buffers
            || used(&mut self.of_link(key.link)) > self.limits.buffers_per_link;
        let Some(slot) = self.slots.get_mut(index) else {
            return refused(item, Refusal::Full);
        };
        let refusal = match slot.place(fragment, length) {
            Err(overlap) => Err(overlap),
            Ok(_) if slot.pieces.len() >= self.limits.pieces_per_packet => {
                Err(Refusal::TooManyPieces)
            }
            Ok(_) if is_full => Err(Refusal::Full),
            Ok(place) => Ok(place),
        };
        match refusal {
            Err(reason) => {
                slot.is_condemned = true;
                self.waiting = self.waiting.saturating_sub(slot.pieces.len());
                let items = Items { newcomer: Some(item), pieces: Some(slot.pieces.drain(..)) };
                Arrival::Refuse { items, reason }
            }
            Ok(Place { index, start, end }) => {
                slot.pieces.insert(index, Piece { start, end, buffers, item });
                self.waiting = self.waiting.saturating_add(1);
                if !fragment.more {
                    slot.end = Some(end);
                }
                let Some(length) = slot.whole() else { return Arrival::Wait };
                slot.key = None;
                self.open = self.open.saturating_sub(1);
                self.waiting = self.waiting.saturating_sub(slot.pieces.len());
                let items = Items { newcomer: None, pieces: Some(slot.pieces.drain(..)) };
                Arrival::Whole { items, length }
            }
        }
    }

    /// Gives up packets that have waited too long, and hands their items to `expired`. Condemned
    /// ones are forgotten as late.
    pub fn expire(&mut self, now: u64, mut expired: impl FnMut(T)) {
        for slot in self.slots.iter_mut().filter(|slot| slot.key.is_some()) {
            if now.saturating_sub(slot.since) >= self.limits.age {
                slot.key = None;
                self.open = self.open.saturating_sub(1);
                self.waiting = self.waiting.saturating_sub(slot.pieces.len());
                slot.pieces.drain(..).for_each(|piece| expired(piece.item));
            }
        }
    }

    fn find(&self, key: &FragmentKey) -> Option<usize> {
        self.slots.iter().position(|slot| slot.key.as_ref() == Some(key))
    }

    fn of_link(&self, link: u16) -> impl Iterator<Item = &Slot<T>> {
        self.slots.iter().filter(move |slot| slot.key.is_some_and(|key| key.link == link))
    }

    /// A free slot for a packet of which nothing has come yet, unless its source or its link has
    /// too many already.
    fn open(&mut self, key: FragmentKey, now: u64) -> Option<usize> {
        let is_of_source =
            |slot: &&Slot<T>| slot.key.is_some_and(|other| other.source == key.source);
        if self.slots.iter().filter(is_of_source).count() >= self.limits.packets_per_source
            || self.of_link(key.link).count() >= self.limits.packets_per_link
        {
            return None;
        }
        let index = self.slots.iter().position(|slot| slot.key.is_none())?;
        self.open = self.open.saturating_add(1);
        let slot = self.slots.get_mut(index)?;
        (slot.key, slot.since, slot.end, slot.is_condemned) = (Some(key), now, None, false);
        Some(index)
    }
}

/// Where a fragment belongs among the pieces of its packet.
struct Place {
    index: usize,
    start: u32,
    end: u32,
}

impl<T> Slot<T> {
    fn buffers(&self) -> usize {
        self.pieces.iter().fold(0, |sum: usize, piece| sum.saturating_add(piece.buffers))
    }

    /// Finds the place of a fragment that overlaps nothing and agrees with the packet's end.
    fn place(&self, fragment: Fragment, length: usize) -> Result<Place, Refusal> {
        let start = u32::from(fragment.offset);
        let length = u16::try_from(length).map_err(|_beyond| Refusal::Overlap)?;
        let end = start.saturating_add(u32::from(length));
        let index = self.pieces.partition_point(|piece| piece.start < start);
        let before = index.checked_sub(1).and_then(|before| self.pieces.get(before));
        let overlaps = before.is_some_and(|piece| piece.end > start)
            || self.pieces.get(index).is_some_and(|piece| piece.start < end);
        let furthest = self.pieces.last().map_or(0, |piece| piece.end);
        let disagrees = match self.end {
            Some(known) => !fragment.more || end > known,
            None => !fragment.more && end < furthest,
        };
        // An empty piece would overlap nothing and could come for ever; a whole packet is not for
        // us.
        let is_no_piece = length == 0 || end > u32::from(u16::MAX);
        if self.is_condemned || overlaps || disagrees || is_no_piece {
            return Err(Refusal::Overlap);
        }
        Ok(Place { index, start, end })
    }

    /// The packet's length, if nothing is missing: pieces do not overlap, so their lengths tell.
    fn whole(&self) -> Option<u16> {
        let end = self.end?;
        let here = self
            .pieces
            .iter()
            .fold(0_u32, |sum, piece| sum.saturating_add(piece.end.saturating_sub(piece.start)));
        (here == end).then(|| u16::try_from(end).ok())?
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: Limits = Limits {
        packets: 4,
        packets_per_source: 3,
        packets_per_link: 4,
        pieces_per_packet: 8,
        buffers: 12,
        buffers_per_link: 12,
        age: 100,
    };

    fn key(source: u8, identification: u32) -> FragmentKey {
        FragmentKey {
            source: IpAddr::from([10, 0, 0, source]),
            destination: IpAddr::from([10, 0, 1, 1]),
            protocol: Protocol::UDP,
            identification,
            link: 0,
        }
    }

    const fn fragment(offset: u16, more: bool) -> Fragment {
        Fragment { identification: 0, offset, more, protocol: Protocol::UDP, announced_at: 0 }
    }

    /// What became of a fragment, by the items' names.
    #[derive(Debug, PartialEq, Eq)]
    enum Became {
        Waiting,
        Whole(Vec<u32>, u16),
        Refused(Vec<u32>, Refusal),
    }

    use Became::{Refused, Waiting, Whole};

    fn insert(
        reassembler: &mut Reassembler<u32>,
        key: FragmentKey,
        (offset, length, more): (u16, usize, bool),
        item: u32,
    ) -> Became {
        let became = match reassembler.insert(key, fragment(offset, more), length, 1, item, 0) {
            Arrival::Wait => Waiting,
            Arrival::Whole { items, length } => Whole(items.collect(), length),
            Arrival::Refuse { items, reason } => Refused(items.collect(), reason),
        };
        let counted = reassembler.slots.iter().map(|slot| slot.pieces.len()).sum::<usize>();
        assert_eq!(reassembler.waiting(), counted);
        let open = reassembler.slots.iter().filter(|slot| slot.key.is_some()).count();
        assert_eq!(reassembler.open, open);
        became
    }

    #[test]
    fn fragments_leave_in_order_when_the_last_gap_closes() {
        let mut reassembler = Reassembler::new(LIMITS);
        assert_eq!(insert(&mut reassembler, key(1, 7), (16, 5, false), 3), Waiting);
        assert_eq!(insert(&mut reassembler, key(1, 7), (0, 8, true), 1), Waiting);
        assert_eq!(insert(&mut reassembler, key(1, 7), (8, 8, true), 2), Whole(vec![1, 2, 3], 21));
        assert_eq!(reassembler.waiting(), 0);
    }

    #[test]
    fn any_shared_byte_condemns_the_packet_and_what_comes_later() {
        let overlapping: [(u16, usize, bool); 7] = [
            (16, 16, true),
            (8, 16, true),
            (24, 16, true),
            (16, 8, true),
            (24, 8, true),
            (8, 40, true),
            (0, 24, true),
        ];
        for overlap in overlapping {
            let mut reassembler = Reassembler::new(LIMITS);
            assert_eq!(insert(&mut reassembler, key(1, 7), (16, 16, true), 1), Waiting);
            assert_eq!(
                insert(&mut reassembler, key(1, 7), overlap, 2),
                Refused(vec![1, 2], Refusal::Overlap),
                "{overlap:?}"
            );
            let honest = [(0, 16, true), (16, 16, true), (32, 8, false)];
            for (item, place) in (3..).zip(honest) {
                assert_eq!(
                    insert(&mut reassembler, key(1, 7), place, item),
                    Refused(vec![item], Refusal::Overlap)
                );
            }
        }
    }

    #[test]
    fn a_packet_has_one_end() {
        for (first, second) in [
            ((16, 8, false), (24, 8, true)),
            ((16, 8, false), (24, 8, false)),
            ((16, 8, false), (8, 16, true)),
            ((16, 8, true), (8, 8, false)),
            ((16, 8, false), (8, 0, false)),
            ((16, 8, true), (65528, 8, true)),
        ] {
            let mut reassembler = Reassembler::new(LIMITS);
            assert_eq!(insert(&mut reassembler, key(1, 7), first, 1), Waiting);
            assert_eq!(
                insert(&mut reassembler, key(1, 7), second, 2),
                Refused(vec![1, 2], Refusal::Overlap)
            );
        }
    }

    #[test]
    fn a_piece_without_bytes_is_no_piece() {
        let mut reassembler = Reassembler::new(LIMITS);
        let refused = Refused(vec![1], Refusal::Overlap);
        assert_eq!(insert(&mut reassembler, key(1, 7), (8, 0, true), 1), refused);
    }

    #[test]
    fn packets_that_differ_in_any_part_of_the_key_are_apart() {
        let mut reassembler = Reassembler::new(LIMITS);
        let other_protocol = FragmentKey { protocol: Protocol::TCP, ..key(1, 7) };
        for (item, key) in (1..).zip([key(1, 7), key(2, 7), key(1, 8), other_protocol]) {
            assert_eq!(insert(&mut reassembler, key, (0, 8, true), item), Waiting);
        }
        assert_eq!(insert(&mut reassembler, key(2, 7), (8, 8, false), 9), Whole(vec![2, 9], 16));
    }

    #[test]
    fn one_source_cannot_take_every_place() {
        let mut reassembler = Reassembler::new(LIMITS);
        for identification in 0..3 {
            assert_eq!(
                insert(&mut reassembler, key(1, identification), (0, 8, true), identification),
                Waiting
            );
        }
        assert_eq!(
            insert(&mut reassembler, key(1, 3), (0, 8, true), 3),
            Refused(vec![3], Refusal::Full)
        );
        assert_eq!(insert(&mut reassembler, key(2, 3), (0, 8, true), 4), Waiting);
        assert_eq!(
            insert(&mut reassembler, key(3, 3), (0, 8, true), 5),
            Refused(vec![5], Refusal::Full)
        );
    }

    #[test]
    fn one_link_cannot_take_every_place() {
        let limits = Limits { packets_per_link: 2, buffers_per_link: 3, ..LIMITS };
        let mut reassembler = Reassembler::new(limits);
        let of_link = |link, source| FragmentKey { link, ..key(source, 7) };
        for source in [1, 2] {
            let became = insert(&mut reassembler, of_link(5, source), (0, 8, true), 1);
            assert_eq!(became, Waiting);
        }
        let full = Refused(vec![2], Refusal::Full);
        assert_eq!(insert(&mut reassembler, of_link(5, 3), (0, 8, true), 2), full, "packets");
        assert_eq!(insert(&mut reassembler, of_link(5, 1), (16, 8, true), 1), Waiting);
        let full = Refused(vec![1, 1, 2], Refusal::Full);
        assert_eq!(insert(&mut reassembler, of_link(5, 1), (32, 8, true), 2), full, "pieces");
        assert_eq!(insert(&mut reassembler, of_link(6, 3), (0, 8, true), 3), Waiting);
        let never_whole = insert(&mut reassembler, of_link(7, 3), (8, 8, false), 4);
        assert_eq!(never_whole, Waiting, "the halves came in on two links");
    }

    #[test]
    fn pieces_are_bounded_per_packet_and_in_all() {
        let mut reassembler = Reassembler::new(LIMITS);
        for piece in 0..8_u16 {
            assert_eq!(
                insert(&mut reassembler, key(1, 7), (piece * 16, 8, true), u32::from(piece)),
                Waiting
            );
        }
        for piece in 0..4_u16 {
            assert_eq!(insert(&mut reassembler, key(2, 7), (piece * 16, 8, true), 10), Waiting);
        }
        assert_eq!(
            insert(&mut reassembler, key(3, 7), (0, 8, true), 11),
            Refused(vec![11], Refusal::Full)
        );
        let all = (0..8).chain([12]).collect();
        assert_eq!(
            insert(&mut reassembler, key(1, 7), (128, 8, false), 12),
            Refused(all, Refusal::TooManyPieces)
        );
    }

    #[test]
    fn a_fragment_in_many_buffers_takes_as_many_places() {
        let mut reassembler = Reassembler::new(LIMITS);
        let mut insert = |source, buffers| {
            let key = key(source, 7);
            matches!(reassembler.insert(key, fragment(0, true), 8, buffers, 0, 0), Arrival::Wait)
        };
        assert!(!insert(1, 13));
        assert!(insert(2, 9));
        assert!(!insert(3, 4));
    }

    #[test]
    fn what_waited_too_long_is_given_up() {
        let mut reassembler = Reassembler::new(LIMITS);
        assert_eq!(insert(&mut reassembler, key(1, 7), (0, 8, true), 1), Waiting);
        let mut expired = Vec::new();
        reassembler.expire(99, |item| expired.push(item));
        assert_eq!(expired, []);
        reassembler.expire(100, |item| expired.push(item));
        assert_eq!((expired, reassembler.waiting()), (vec![1], 0));
        assert_eq!(
            insert(&mut reassembler, key(1, 7), (0, 8, true), 2),
            Waiting,
            "the place is free again"
        );
    }

    #[test]
    fn a_condemned_packet_is_forgotten_after_its_age() {
        let mut reassembler = Reassembler::new(LIMITS);
        assert_eq!(insert(&mut reassembler, key(1, 7), (0, 8, true), 1), Waiting);
        assert_eq!(
            insert(&mut reassembler, key(1, 7), (0, 8, true), 2),
            Refused(vec![1, 2], Refusal::Overlap)
        );
        reassembler.expire(100, |item| panic!("{item} was already given back"));
        assert_eq!(insert(&mut reassembler, key(1, 7), (0, 8, true), 3), Waiting);
    }

    #[test]
    fn no_memory_is_taken_after_the_start() {
        let mut reassembler = Reassembler::new(LIMITS);
        let capacity = |reassembler: &Reassembler<u32>| {
            reassembler.slots.iter().map(|slot| slot.pieces.capacity()).collect::<Vec<_>>()
        };
        let before = capacity(&reassembler);
        for piece in 0..20_u16 {
            insert(&mut reassembler, key(1, u32::from(piece / 9)), (piece * 16, 8, true), 0);
        }
        assert_eq!(capacity(&reassembler), before);
    }

    /// The oracle: a byte map.
    fn claims(pieces: &[(u16, usize, bool)]) -> Option<u16> {
        let mut map = vec![0_u32; 70_000];
        for &(offset, length, _) in pieces {
            map[usize::from(offset)..usize::from(offset) + length]
                .iter_mut()
                .for_each(|claims| *claims += 1);
        }
        let ends = pieces
            .iter()
            .filter(|piece| !piece.2)
            .map(|&(offset, length, _)| usize::from(offset) + length);
        let [end] = ends.collect::<Vec<_>>()[..] else { return None };
        let is_exact = map[..end].iter().all(|&claims| claims == 1)
            && map[end..].iter().all(|&claims| claims == 0);
        is_exact.then(|| u16::try_from(end).unwrap())
    }

    proptest! {
        #[test]
        fn a_packet_is_whole_if_and_only_if_every_byte_was_claimed_once(
            pieces in prop::collection::vec((0..6_u16, 1..4_usize, any::<bool>()), 1..6),
        ) {
            let pieces = pieces.into_iter().map(|(at, units, more)| (at * 8, units * 8, more)).collect::<Vec<_>>();
            let mut reassembler = Reassembler::new(LIMITS);
            let mut outcome = Waiting;
            let mut given_back = 0;
            for (taken, piece) in (1..).zip(&pieces) {
                outcome = insert(&mut reassembler, key(1, 7), *piece, 0);
                given_back += match &outcome {
                    Waiting => 0,
                    Whole(items, _) | Refused(items, _) => items.len(),
                };
                prop_assert_eq!(given_back + reassembler.waiting(), taken);
                if let Whole(_, length) = outcome {
                    prop_assert_eq!(claims(&pieces[..taken]), Some(length));
                    break;
                }
            }
            if !matches!(outcome, Whole(..)) {
                prop_assert_eq!(claims(&pieces), None);
            }
        }

        #[test]
        fn any_order_of_honest_fragments_is_put_right(
            lengths in prop::collection::vec(1..5_u16, 1..8),
            last in 1..9_usize,
            seed: [prop::sample::Index; 8],
        ) {
            let mut pieces = Vec::new();
            let mut offset = 0;
            for length in &lengths {
                pieces.push((offset, usize::from(*length) * 8, true));
                offset += length * 8;
            }
            let total = offset + u16::try_from(last).unwrap();
            pieces.push((offset, last, false));
            let count = pieces.len();
            pieces.truncate(8);
            prop_assume!(count <= 8);
            let mut order = (0..count).collect::<Vec<_>>();
            for (index, other) in seed.iter().enumerate().take(count) {
                order.swap(index, other.index(count));
            }
            let mut reassembler = Reassembler::new(LIMITS);
            for (nth, &piece) in order.iter().enumerate() {
                let became = insert(&mut reassembler, key(1, 7), pieces[piece], u32::try_from(piece).unwrap());
                if nth + 1 < count {
                    prop_assert_eq!(became, Waiting);
                } else {
                    prop_assert_eq!(became, Whole((0..u32::try_from(count).unwrap()).collect(), total));
                }
            }
        }
    }
}
