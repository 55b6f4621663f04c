//! The free frames of one worker, and the reserve that workers share.
//!
//! Frames arrive from completion rings, drops and absorbed segments; they leave to fill rings and to packets that we build. A
//! worker that sends what another received would collect all frames: above [`KEEP`] it gives a part to the reserve, below
//! what it needs it takes from there.

use std::sync::Arc;

use crossbeam::queue::ArrayQueue;

use super::frame::{CAPACITY, Frame};

/// Free frames that a worker keeps for itself before it shares.
pub const KEEP: usize = 4096;

/// Free frames; taking and giving never allocate after the start.
#[derive(Debug)]
pub struct Pool {
    free: Vec<Frame>,
    reserve: Arc<ArrayQueue<Frame>>,
}

/// The reserve that the pools of all workers share, holding all frames at first.
pub fn reserve(frames: Vec<Frame>) -> Arc<ArrayQueue<Frame>> {
    let reserve = ArrayQueue::new(frames.len().max(1));
    for frame in frames {
        // The queue has room for every frame there is, so nothing comes back.
        if let Err(frame) = reserve.push(frame) {
            frame.into_index();
        }
    }
    Arc::new(reserve)
}

impl Pool {
    /// An empty pool over the shared reserve.
    pub fn new(reserve: Arc<ArrayQueue<Frame>>) -> Self {
        Self { free: Vec::with_capacity(2 * KEEP), reserve }
    }

    /// A free frame of length 0, or none if all are in use.
    pub fn take(&mut self) -> Option<Frame> {
        self.free.pop().or_else(|| self.reserve.pop())
    }

    /// A packet of these bytes, in as many chunks as it needs, or none if there are not enough.
    pub fn packet(&mut self, bytes: &[u8]) -> Option<Frame> {
        let mut packet: Option<Frame> = None;
        // From its end, because a chunk is linked to those behind it at once.
        for part in bytes.chunks(CAPACITY).rev() {
            let Some(mut frame) = self.take() else {
                if let Some(packet) = packet {
                    self.give(packet);
                }
                return None;
            };
            frame.set_len(part.len());
            frame.bytes_mut().copy_from_slice(part);
            if let Some(rest) = packet {
                frame.append(rest);
            }
            packet = Some(frame);
        }
        packet
    }

    /// Ends the life of a packet: its chunks are free again.
    pub fn give(&mut self, frame: Frame) {
        let mut next = Some(frame);
        while let Some(mut frame) = next {
            next = frame.unlink();
            frame.set_len(0);
            if self.free.len() < KEEP {
                self.free.push(frame);
            } else if let Err(frame) = self.reserve.push(frame) {
                self.free.push(frame);
            }
        }
    }

    /// Whether a quarter of all frames is free, here or in the reserve: of the half that is not for receiving into, the other
    /// workers may have some.
    pub fn is_plentiful(&self) -> bool {
        self.free.len() + self.reserve.len() >= self.reserve.capacity() / 4
    }

    /// Free frames here, without the reserve.
    pub fn free(&self) -> usize {
        self.free.len()
    }

    /// Gives everything to the reserve, when the worker ends.
    pub fn retire(&mut self) {
        for frame in self.free.drain(..) {
            if let Err(frame) = self.reserve.push(frame) {
                frame.into_index();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::umem::frame::Region;

    #[test]
    fn a_quarter_of_the_frames_is_plenty() {
        let (_, frames) = Region::plain(8);
        let mut pool = Pool::new(reserve(frames));
        let taken: Vec<_> = std::iter::from_fn(|| pool.take()).take(6).collect();
        assert!(pool.is_plentiful());
        let last = pool.take().unwrap();
        assert!(!pool.is_plentiful());
        taken.into_iter().chain([last]).for_each(|frame| pool.give(frame));
        assert!(pool.is_plentiful());
        while let Some(frame) = pool.take() {
            frame.into_index();
        }
    }

    #[test]
    fn a_packet_takes_the_chunks_it_needs_or_none() {
        let (_, frames) = Region::plain(3);
        let mut pool = Pool::new(reserve(frames));
        let bytes: Vec<u8> = (0..2 * CAPACITY + 5).map(|at| at.to_le_bytes()[0]).collect();
        let packet = pool.packet(&bytes).unwrap();
        let parts: Vec<_> = std::iter::once(packet.bytes()).chain(packet.rest()).collect();
        assert_eq!((packet.chunks(), parts.concat()), (3, bytes.clone()));
        assert!(pool.packet(&bytes[..1]).is_none());
        pool.give(packet);
        assert_eq!(pool.free(), 3);
        assert!(pool.packet(&vec![0; 4 * CAPACITY]).is_none());
        assert_eq!(pool.free(), 3, "what was taken for it is back");
        while let Some(frame) = pool.take() {
            frame.into_index();
        }
    }

    #[test]
    fn what_one_worker_collects_another_can_take() {
        let (_, frames) = Region::plain(u32::try_from(KEEP).unwrap() + 10);
        let total = frames.len();
        let reserve = reserve(Vec::new());
        assert_eq!(reserve.capacity(), 1);
        let reserve = super::reserve(frames);
        let mut sender = Pool::new(Arc::clone(&reserve));
        let all: Vec<_> = std::iter::from_fn(|| sender.take()).collect();
        assert_eq!(all.len(), total);
        all.into_iter().for_each(|frame| sender.give(frame));
        assert_eq!(sender.free(), KEEP);
        let mut receiver = Pool::new(Arc::clone(&reserve));
        let taken: Vec<_> = std::iter::from_fn(|| receiver.take()).collect();
        assert_eq!(taken.len(), 10);
        taken.into_iter().for_each(|frame| receiver.give(frame));
        sender.retire();
        receiver.retire();
        assert_eq!(reserve.len(), total);
        while let Some(frame) = reserve.pop() {
            frame.into_index();
        }
    }
}
