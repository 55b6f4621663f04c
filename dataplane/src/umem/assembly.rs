//! Chunks that the kernel gives one by one become packets.
//!
//! A packet that is longer than a chunk arrives as several descriptors, all but the last marked as continued (`XDP_PKT_CONTD`,
//! include/uapi/linux/if_xdp.h), in order and without another's between them. What leaves is one frame for each packet. A packet
//! with too many chunks, or with a descriptor that names none of ours, is refused as a whole: every chunk of it goes back to the
//! pool, and it is counted once.

use super::{
    frame::{Frame, MAX_CHUNKS},
    pool::Pool,
};

/// Packets that could not be taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    /// They had more chunks than a packet can have.
    pub too_long: u32,
    /// A chunk of them was not one that we had lent.
    pub broken: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    TooLong,
    Broken,
}

/// A packet that has not come to its end yet, if there is one.
#[derive(Debug)]
pub struct Assembly {
    /// INVARIANT: at most [`MAX_CHUNKS`], so pushing never allocates.
    chunks: Vec<Frame>,
    /// What is wrong with the packet.
    fault: Option<Fault>,
    /// The last descriptor was marked as continued.
    open: bool,
}

impl Default for Assembly {
    fn default() -> Self {
        Self { chunks: Vec::with_capacity(MAX_CHUNKS), fault: None, open: false }
    }
}

impl Assembly {
    /// Takes the next chunk, or none if the descriptor named none of ours; the packet if this was its last chunk and it is whole.
    #[inline]
    pub fn push(
        &mut self,
        chunk: Option<Frame>,
        continued: bool,
        pool: &mut Pool,
        refused: &mut Refused,
    ) -> Option<Frame> {
        match chunk {
            Some(packet) if !self.open && !continued => Some(packet),
            chunk => self.push_part(chunk, continued, pool, refused),
        }
    }

    /// Takes a chunk that is no whole packet.
    fn push_part(
        &mut self,
        chunk: Option<Frame>,
        continued: bool,
        pool: &mut Pool,
        refused: &mut Refused,
    ) -> Option<Frame> {
        self.open = continued;
        match chunk {
            Some(frame) if self.fault.is_none() && self.chunks.len() < MAX_CHUNKS => {
                self.chunks.push(frame);
            }
            Some(frame) => {
                self.fault.get_or_insert(Fault::TooLong);
                pool.give(frame);
            }
            None => {
                self.fault.get_or_insert(Fault::Broken);
            }
        }
        if continued {
            return None;
        }
        match self.fault.take() {
            Some(fault) => {
                self.chunks.drain(..).for_each(|frame| pool.give(frame));
                match fault {
                    Fault::TooLong => refused.too_long += 1,
                    Fault::Broken => refused.broken += 1,
                }
                None
            }
            None => {
                let mut packet = self.chunks.pop()?;
                while let Some(mut before) = self.chunks.pop() {
                    before.append(packet);
                    packet = before;
                }
                Some(packet)
            }
        }
    }

    /// Whether a packet's end is still to come.
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Chunks that wait for their packet's end.
    pub fn len(&self) -> usize {
        self.chunks.len()
    }

    /// Whether no chunk waits.
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// The chunks that wait, when the packet's end will never come.
    pub fn give_up(self) -> Vec<Frame> {
        self.chunks
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::umem::{Region, pool};

    struct Bench {
        pool: Pool,
        assembly: Assembly,
        refused: Refused,
    }

    impl Bench {
        fn new() -> Self {
            let (_, frames) = Region::plain(32);
            let mut pool = Pool::new(pool::reserve(frames));
            let all: Vec<_> = std::iter::from_fn(|| pool.take()).collect();
            all.into_iter().for_each(|frame| pool.give(frame));
            Self { pool, assembly: Assembly::default(), refused: Refused::default() }
        }

        fn push(&mut self, fill: u8, continued: bool) -> Option<Frame> {
            let mut frame = self.pool.take().unwrap();
            frame.set_len(1);
            frame.bytes_mut()[0] = fill;
            self.assembly.push(Some(frame), continued, &mut self.pool, &mut self.refused)
        }

        fn end(mut self, packets: Vec<Frame>, refused: Refused) {
            packets.into_iter().for_each(|packet| self.pool.give(packet));
            self.assembly.give_up().into_iter().for_each(|frame| self.pool.give(frame));
            assert_eq!(self.pool.free(), 32, "every chunk is back");
            assert_eq!(self.refused, refused);
            while let Some(frame) = self.pool.take() {
                frame.into_index();
            }
        }
    }

    fn parts(packet: &Frame) -> Vec<&[u8]> {
        std::iter::once(packet.bytes()).chain(packet.rest()).collect()
    }

    #[test]
    fn chunks_become_packets_in_their_order() {
        let mut bench = Bench::new();
        let single = bench.push(1, false).unwrap();
        assert!(bench.push(2, true).is_none() && bench.push(3, true).is_none());
        assert_eq!((bench.assembly.len(), bench.assembly.is_open()), (2, true));
        let chain = bench.push(4, false).unwrap();
        assert_eq!((parts(&single), parts(&chain)), (vec![&[1][..]], vec![&[2][..], &[3], &[4]]));
        assert!(!bench.assembly.is_open());
        bench.end(vec![single, chain], Refused::default());
    }

    #[test]
    fn the_longest_packet_passes_and_a_longer_one_is_refused_once() {
        let mut bench = Bench::new();
        let last = u8::try_from(MAX_CHUNKS).unwrap() - 1;
        assert!((0..last).all(|fill| bench.push(fill, true).is_none()));
        let longest = bench.push(last, false).unwrap();
        assert_eq!(longest.chunks(), MAX_CHUNKS);
        bench.pool.give(longest);
        assert!((0..=last + 3).all(|fill| bench.push(fill, true).is_none()));
        assert!(bench.push(9, false).is_none());
        let next = bench.push(7, false).unwrap();
        bench.end(vec![next], Refused { too_long: 1, broken: 0 });
    }

    #[test]
    fn a_packet_with_a_foreign_chunk_is_refused_wherever_it_stands() {
        for at in 0..3 {
            let mut bench = Bench::new();
            for position in 0..3 {
                let continued = position < 2;
                let packet = if position == at {
                    let Bench { pool, assembly, refused } = &mut bench;
                    assembly.push(None, continued, pool, refused)
                } else {
                    bench.push(1, continued)
                };
                assert!(packet.is_none());
            }
            let next = bench.push(7, false).unwrap();
            assert_eq!(next.len(), 1);
            bench.end(vec![next], Refused { too_long: 0, broken: 1 });
        }
    }

    #[test]
    fn a_packet_that_never_ends_gives_its_chunks_back() {
        let mut bench = Bench::new();
        assert!(bench.push(1, true).is_none() && bench.push(2, true).is_none());
        bench.end(Vec::new(), Refused::default());
    }
}
