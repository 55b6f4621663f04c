//! A frame is one chunk of the UMEM with one owner, and the chunks behind it if its packet is longer than a chunk.
//!
//! What arrives: a chunk's index and a length, from a ring or from the pool. What leaves: the same index, into a ring or back to
//! the pool, by `Frame::into_index`, the only end of a frame's life. A frame that is dropped instead is lost to the ledger;
//! [`leaked`] counts those, and tests assert that there are none.
//!
//! ```text
//!   | link | headroom |     packet     |      A chunk's first bytes belong to whoever owns the chunk. Between receiving and
//!   0      16         256           4096      sending that is us, and they say which chunk goes on with the packet (ADR 4).
//! ```
#![expect(unsafe_code, reason = "a frame is a view of memory that is shared with the kernel")]

use std::{
    marker::PhantomData,
    mem::ManuallyDrop,
    ptr::NonNull,
    sync::atomic::{AtomicU16, AtomicU64, Ordering},
};

use crate::prefetch::prefetch;

/// Bytes of a chunk. Aligned chunks of one page: smaller ones break multi-buffer packets on veth (`af-xdp-facts.md`).
pub const FRAME_SIZE: usize = 4096;

/// Bytes that the kernel keeps in front of the packet for XDP programs (`XDP_PACKET_HEADROOM`, include/uapi/linux/bpf.h).
pub const HEADROOM: usize = 256;

/// Bytes of a packet that lie in one chunk at most.
pub const CAPACITY: usize = FRAME_SIZE - HEADROOM;

/// Chunks of one packet at most: what the kernel sends as one packet (`MAX_SKB_FRAGS` is 17, and the first is not a fragment), and
/// more than the longest IP packet needs.
pub const MAX_CHUNKS: usize = 18;
const _: () = assert!(MAX_CHUNKS * CAPACITY >= 65_535 + 14);

static LEAKED: AtomicU64 = AtomicU64::new(0);

/// Frames that were dropped by accident since the process started.
pub fn leaked() -> u64 {
    LEAKED.load(Ordering::Relaxed)
}

/// Which ring set holds a chunk while the kernel has it; [`RingId::NONE`] while userspace has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingId(pub u16);

impl RingId {
    /// Userspace owns the chunk.
    pub const NONE: Self = Self(0);
}

/// The memory that all frames lie in. It lives as long as the process: frames travel between threads without a lifetime.
#[derive(Debug)]
pub struct Region {
    /// INVARIANT: points to `owners.len() * FRAME_SIZE` bytes that are never unmapped, aligned for a [`Frame`].
    start: NonNull<u8>,
    /// Who has each chunk, so that a port that dies gives its chunks back.
    owners: Box<[AtomicU16]>,
}

// SAFETY: the region itself hands out nothing but disjoint chunks, each to the one owner of its index.
unsafe impl Send for Region {}
// SAFETY: as above; the owner table is atomic.
unsafe impl Sync for Region {}

impl Region {
    /// Describes memory at `start` as a region of `frames` chunks.
    ///
    /// # Safety
    ///
    /// `start` must be aligned to 8 and point to `frames * FRAME_SIZE` writable bytes that stay mapped until the process ends and
    /// that nothing else in userspace touches.
    pub(crate) unsafe fn new(start: NonNull<u8>, frames: u32) -> Self {
        let owners = (0..frames).map(|_| AtomicU16::new(RingId::NONE.0)).collect();
        Self { start, owners }
    }

    /// A region over plain memory, for tests and benchmarks without privileges, and all its frames.
    pub fn plain(frames: u32) -> (&'static Self, Vec<Frame>) {
        let memory = vec![0u64; frames as usize * FRAME_SIZE / size_of::<u64>()].leak();
        let start = NonNull::from(memory).cast();
        // SAFETY: the leaked vector has exactly this size and alignment, and nothing else refers to it.
        let region: &'static Self = Box::leak(Box::new(unsafe { Self::new(start, frames) }));
        (region, region.all_frames())
    }

    /// Every chunk of a fresh region as a frame. Called once, by whoever makes the region.
    pub(crate) fn all_frames(&self) -> Vec<Frame> {
        (0..self.frames()).filter_map(|index| self.take_back(index, 0, RingId::NONE)).collect()
    }

    /// Chunks in the region.
    pub fn frames(&self) -> u32 {
        u32::try_from(self.owners.len()).unwrap_or(u32::MAX)
    }

    /// The frame of a chunk that `ring` held and the kernel gave back. None if the index or the length lies outside, or if the
    /// chunk was not that ring's: then somebody else owns it.
    pub(crate) fn take_back(&self, index: u32, len: usize, ring: RingId) -> Option<Frame> {
        let owner = self.owners.get(index as usize)?;
        if len > CAPACITY || owner.load(Ordering::Relaxed) != ring.0 {
            return None;
        }
        owner.store(RingId::NONE.0, Ordering::Relaxed);
        // SAFETY: `index < frames`, so the chunk lies inside the region (`Region::start`).
        let data = unsafe { self.start.add(index as usize * FRAME_SIZE + HEADROOM) };
        Some(Frame { data, packed: Packed::new(index, u16::try_from(len).ok()?, 0) })
    }

    /// Notes that the kernel has this chunk now, through the rings `ring`.
    pub(crate) fn lend(&self, index: u32, ring: RingId) {
        if let Some(owner) = self.owners.get(index as usize) {
            owner.store(ring.0, Ordering::Relaxed);
        }
    }

    /// The frames that dead rings still held. The sockets of `ring` must be closed.
    pub(crate) fn reclaim(&self, ring: RingId) -> Vec<Frame> {
        (0..self.frames()).filter_map(|index| self.take_back(index, 0, ring)).collect()
    }
}

/// One chunk, owned, with those that go on with its packet: no `Clone`, no `Copy`. The packet always starts at the chunk's headroom.
#[derive(Debug)]
#[must_use = "a frame must be sent, held or recycled"]
pub struct Frame {
    /// INVARIANT: points to `CAPACITY` bytes of a [`Region`] that only this frame's owner touches, `HEADROOM` bytes behind the
    /// chunk's start, which is aligned for a `Frame`.
    data: NonNull<u8>,
    /// INVARIANT: `len <= CAPACITY`; if there are chunks behind this one, the first of them, as a `Frame`, lies at this chunk's start.
    packed: Packed,
}

/// A chunk's index, the bytes of a packet in it, and the chunks behind it, as one number: two numbers travel in registers, and what
/// was written in parts a processor does not read as a whole for a while.
#[derive(Clone, Copy, Debug)]
struct Packed(u64);

impl Packed {
    const fn new(index: u32, len: u16, behind: u16) -> Self {
        Self((index as u64) << 32 | (len as u64) << 16 | behind as u64)
    }

    const fn index(self) -> u32 {
        (self.0 >> 32) as u32
    }

    #[expect(clippy::cast_possible_truncation, reason = "these bits are all of it")]
    const fn len(self) -> u16 {
        (self.0 >> 16) as u16
    }

    #[expect(clippy::cast_possible_truncation, reason = "these bits are all of it")]
    const fn behind(self) -> u16 {
        self.0 as u16
    }
}

// SAFETY: a frame is the only handle to its bytes, those behind it included; moving it to another thread moves them with it.
unsafe impl Send for Frame {}

impl Frame {
    /// The packet, or of a longer one the part that lies in the first chunk.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: `Frame::data` and `Frame::packed` keep these bytes valid and ours.
        unsafe { std::slice::from_raw_parts(self.data.as_ptr(), self.first_len()) }
    }

    /// Asks for the memory that the packet's headers lie in.
    pub fn prefetch(&self) {
        prefetch(self.data.as_ptr(), 128);
    }

    /// The same bytes, to be edited in place.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`, and `&mut self` excludes every other view.
        unsafe { std::slice::from_raw_parts_mut(self.data.as_ptr(), self.first_len()) }
    }

    /// What lies in the first chunk, to be edited, and the rest of the packet.
    pub fn parts_mut(&mut self) -> (&mut [u8], Parts<'_>) {
        let rest = self.rest();
        // SAFETY: as in `bytes_mut`; the other parts lie in other chunks.
        let first = unsafe { std::slice::from_raw_parts_mut(self.data.as_ptr(), self.first_len()) };
        (first, rest)
    }

    /// What lies in the chunks behind the first, in order.
    pub fn rest(&self) -> Parts<'_> {
        Parts { next: self.next(), chunks: PhantomData }
    }

    /// The whole room of the first chunk, for building a packet; follow with [`Frame::set_len`].
    pub fn room_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes_mut`; `Frame::data` vouches for `CAPACITY` bytes. They were zeroed when mapped.
        unsafe { std::slice::from_raw_parts_mut(self.data.as_ptr(), CAPACITY) }
    }

    /// Bytes of the whole packet.
    pub fn len(&self) -> usize {
        self.first_len() + self.rest().map(<[u8]>::len).sum::<usize>()
    }

    /// Whether there is no packet in the frame.
    pub fn is_empty(&self) -> bool {
        self.packed.len() == 0 && self.packed.behind() == 0
    }

    /// Whether the packet goes on in other chunks.
    pub fn is_chain(&self) -> bool {
        self.packed.behind() > 0
    }

    /// Chunks of the packet.
    pub fn chunks(&self) -> usize {
        usize::from(self.packed.behind()) + 1
    }

    /// Sets how many bytes of the packet lie in the first chunk, at most [`CAPACITY`].
    pub fn set_len(&mut self, len: usize) {
        let len = u16::try_from(len.min(CAPACITY)).unwrap_or(0);
        self.packed = Packed::new(self.packed.index(), len, self.packed.behind());
    }

    /// Lets the packet go on in `rest`, behind what it has already.
    pub(crate) fn append(&mut self, mut rest: Self) {
        if let Some(mut next) = self.unlink() {
            next.append(rest);
            rest = next;
        }
        self.set_behind(rest.packed.behind().saturating_add(1));
        // SAFETY: the chunk's start is ours and aligned (`Frame::data`), and holds no frame now, as `unlink` took it out.
        unsafe { self.link().write(rest) };
    }

    /// Takes the rest of the packet off, if it goes on in other chunks.
    pub(crate) fn unlink(&mut self) -> Option<Self> {
        let next = self.next()?;
        self.set_behind(0);
        Some(ManuallyDrop::into_inner(next))
    }

    /// A second handle to the chunk behind this one, not to be dropped while the chain holds it.
    fn next(&self) -> Option<ManuallyDrop<Self>> {
        // SAFETY: `Frame::packed` says that a frame lies there.
        self.is_chain().then(|| ManuallyDrop::new(unsafe { self.link().read() }))
    }

    /// Bytes of the packet in the first chunk.
    fn first_len(&self) -> usize {
        usize::from(self.packed.len())
    }

    fn set_behind(&mut self, behind: u16) {
        self.packed = Packed::new(self.packed.index(), self.packed.len(), behind);
    }

    /// Where the frame behind this one is kept.
    fn link(&self) -> NonNull<Self> {
        // SAFETY: `Frame::data` lies `HEADROOM` bytes behind its chunk's start, in the same region.
        unsafe { self.data.sub(HEADROOM) }.cast()
    }

    /// Ends the frame's life in userspace: its chunk goes into a ring. What is behind it must be unlinked before.
    pub(crate) fn into_index(self) -> u32 {
        if self.is_chain() {
            LEAKED.fetch_add(u64::from(self.packed.behind()), Ordering::Relaxed);
        }
        ManuallyDrop::new(self).packed.index()
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        LEAKED.fetch_add(self.chunks() as u64, Ordering::Relaxed);
    }
}

/// The parts of a packet that lie in the chunks behind its first.
#[derive(Debug)]
pub struct Parts<'a> {
    next: Option<ManuallyDrop<Frame>>,
    chunks: PhantomData<&'a Frame>,
}

impl<'a> Iterator for Parts<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let frame = self.next.take()?;
        self.next = frame.next();
        // SAFETY: as in `Frame::bytes`; the chain that holds the chunk is borrowed for `'a`.
        Some(unsafe { std::slice::from_raw_parts(frame.data.as_ptr(), frame.first_len()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_a_region_are_disjoint_and_complete() {
        let (region, mut frames) = Region::plain(8);
        for (number, frame) in frames.iter_mut().enumerate() {
            frame.set_len(CAPACITY);
            frame.bytes_mut().fill(u8::try_from(number).unwrap());
        }
        for (number, frame) in frames.iter().enumerate() {
            assert!(frame.bytes().iter().all(|&byte| usize::from(byte) == number));
        }
        assert_eq!(
            frames.into_iter().map(Frame::into_index).collect::<Vec<_>>(),
            (0..8).collect::<Vec<_>>()
        );
        assert_eq!(region.frames(), 8);
    }

    #[test]
    fn an_index_or_a_length_outside_is_refused() {
        let (region, frames) = Region::plain(2);
        frames.into_iter().for_each(|frame| {
            frame.into_index();
        });
        assert!(region.take_back(2, 0, RingId::NONE).is_none());
        assert!(region.take_back(0, CAPACITY + 1, RingId::NONE).is_none());
    }

    #[test]
    fn a_chunk_comes_back_only_from_the_ring_that_has_it() {
        let (region, frames) = Region::plain(1);
        for frame in frames {
            region.lend(frame.into_index(), RingId(3));
        }
        assert!(region.take_back(0, 0, RingId(4)).is_none());
        let frame = region.take_back(0, 0, RingId(3)).unwrap();
        assert!(region.take_back(0, 0, RingId(3)).is_none(), "doubled");
        frame.into_index();
    }

    #[test]
    fn a_chain_keeps_the_order_of_its_parts_and_gives_every_chunk_back() {
        let (_, frames) = Region::plain(4);
        let mut frames =
            frames.into_iter().zip(["one", "two", "three"]).map(|(mut frame, text)| {
                frame.room_mut()[..text.len()].copy_from_slice(text.as_bytes());
                frame.set_len(text.len());
                frame
            });
        let (mut packet, second, third) =
            (frames.next().unwrap(), frames.next().unwrap(), frames.next().unwrap());
        packet.append(second);
        packet.append(third);
        assert_eq!((packet.chunks(), packet.len(), packet.bytes()), (3, 11, &b"one"[..]));
        let (first, rest) = packet.parts_mut();
        first[0] = b'O';
        assert_eq!(rest.collect::<Vec<_>>(), [&b"two"[..], b"three"]);
        let mut rest = packet.unlink().unwrap();
        assert!(!packet.is_chain() && packet.unlink().is_none());
        assert_eq!((packet.len(), rest.len(), rest.chunks()), (3, 8, 2));
        let last = rest.unlink().unwrap();
        assert_eq!([packet, rest, last].map(Frame::into_index), [0, 1, 2]);
    }

    #[test]
    fn dead_rings_give_their_frames_back() {
        let (region, frames) = Region::plain(4);
        for frame in frames {
            let index = frame.into_index();
            region.lend(index, if index % 2 == 0 { RingId(7) } else { RingId(8) });
        }
        let back = region.reclaim(RingId(7));
        assert_eq!(back.into_iter().map(Frame::into_index).collect::<Vec<_>>(), [0, 2]);
        assert_eq!(region.reclaim(RingId(9)).len(), 0);
    }
}
