//! Frames that change hands between workers: bounded queues of owned frames, and a bell for a worker that sleeps.
//!
//! A worker hands a frame on when another one owns its connection, or when only another one has a socket to send it. A full
//! queue is a named drop, never a wait.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use crossbeam::queue::ArrayQueue;

use super::PortId;
use crate::{connection::grant::Grant, umem::Frame};

/// Frames that one worker may have waiting for it.
const DEPTH: usize = 4096;

/// A frame on its way to another worker, or what spares others the way.
#[derive(Debug)]
pub enum Parcel {
    /// Judge it: you may have its connection. `settled` means that the sender has it from you: you have none, so it opens one.
    Judge {
        /// The packet as received, unedited.
        frame: Frame,
        /// The port it came in on.
        port: PortId,
        /// Whether the packet's other possible owner has been asked already.
        settled: bool,
    },
    /// Send it: it is judged and edited.
    Transmit {
        /// The packet, ready but for the sending.
        frame: Frame,
        /// The port it leaves on.
        port: PortId,
    },
    /// Do yourself what would be done with the next ones like it.
    Grant(Box<Grant>),
}

impl Parcel {
    /// The frame in it.
    pub fn into_frame(self) -> Option<Frame> {
        match self {
            Self::Judge { frame, .. } | Self::Transmit { frame, .. } => Some(frame),
            Self::Grant(_) => None,
        }
    }

    fn chunks(&self) -> usize {
        match self {
            Self::Judge { frame, .. } | Self::Transmit { frame, .. } => frame.chunks(),
            Self::Grant(_) => 0,
        }
    }
}

/// What other threads know of a worker.
#[derive(Debug)]
pub struct Inbox {
    parcels: ArrayQueue<Parcel>,
    /// The frames of the parcels in it: a packet may have several.
    held: AtomicUsize,
    asleep: AtomicBool,
    waker: mio::Waker,
}

impl Inbox {
    /// The inbox of the worker whose poll `waker` wakes.
    pub fn new(waker: mio::Waker) -> Arc<Self> {
        Arc::new(Self {
            parcels: ArrayQueue::new(DEPTH),
            held: AtomicUsize::new(0),
            asleep: AtomicBool::new(false),
            waker,
        })
    }

    /// Puts a frame in, or gives it back if the queue is full. Call [`Inbox::ring`] after a batch.
    pub fn push(&self, parcel: Parcel) -> Result<(), Parcel> {
        let chunks = parcel.chunks();
        // Before the push: whoever takes the parcel out at once finds it counted.
        self.held.fetch_add(chunks, Ordering::Relaxed);
        self.parcels.push(parcel).inspect_err(|_full| {
            self.held.fetch_sub(chunks, Ordering::Relaxed);
        })
    }

    /// Takes the next frame.
    pub fn pop(&self) -> Option<Parcel> {
        let parcel = self.parcels.pop()?;
        self.held.fetch_sub(parcel.chunks(), Ordering::Relaxed);
        Some(parcel)
    }

    /// The frames of the parcels that wait.
    pub fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// How many parcels wait.
    pub fn len(&self) -> usize {
        self.parcels.len()
    }

    /// Whether no parcel waits.
    pub fn is_empty(&self) -> bool {
        self.parcels.is_empty()
    }

    /// Wakes the worker if it sleeps. A failed wake-up delays it until its poll times out.
    pub fn ring(&self) {
        if self.asleep.swap(false, Ordering::SeqCst) {
            let _delayed = self.waker.wake();
        }
    }

    /// The worker says that it is about to sleep; it must look into the inbox once more after this.
    pub(super) fn falling_asleep(&self) {
        self.asleep.store(true, Ordering::SeqCst);
    }

    /// The worker says that it is awake.
    pub(super) fn awake(&self) {
        self.asleep.store(false, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::umem::{CAPACITY, Pool, Region};

    #[test]
    fn every_chunk_of_a_parcel_is_counted_until_it_is_taken() {
        let poll = mio::Poll::new().unwrap();
        let inbox = Inbox::new(mio::Waker::new(poll.registry(), mio::Token(0)).unwrap());
        let (_, frames) = Region::plain(8);
        let reserve = Arc::new(ArrayQueue::new(8));
        frames.into_iter().for_each(|frame| reserve.push(frame).unwrap());
        let mut pool = Pool::new(reserve);
        for length in [10, 2 * CAPACITY + 1] {
            let frame = pool.packet(&vec![0; length]).unwrap();
            inbox.push(Parcel::Transmit { frame, port: PortId(0) }).unwrap();
        }
        assert_eq!(inbox.held(), 4);
        while let Some(Parcel::Transmit { frame, .. } | Parcel::Judge { frame, .. }) = inbox.pop() {
            pool.give(frame);
        }
        assert_eq!(inbox.held(), 0);
    }
}
