//! Frames that change hands between workers: bounded queues of owned frames, and a bell for a worker that sleeps.
//!
//! A worker hands a frame on when another one owns its connection, or when only another one has a socket to send it. A full
//! queue is a named drop, never a wait.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use crossbeam::queue::ArrayQueue;

use super::PortId;
use crate::umem::Frame;

/// Frames that one worker may have waiting for it.
const DEPTH: usize = 4096;

/// A frame on its way to another worker.
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
}

/// What other threads know of a worker.
#[derive(Debug)]
pub struct Inbox {
    parcels: ArrayQueue<Parcel>,
    asleep: AtomicBool,
    waker: mio::Waker,
}

impl Inbox {
    /// The inbox of the worker whose poll `waker` wakes.
    pub fn new(waker: mio::Waker) -> Arc<Self> {
        Arc::new(Self { parcels: ArrayQueue::new(DEPTH), asleep: AtomicBool::new(false), waker })
    }

    /// Puts a frame in, or gives it back if the queue is full. Call [`Inbox::ring`] after a batch.
    pub fn push(&self, parcel: Parcel) -> Result<(), Parcel> {
        self.parcels.push(parcel)
    }

    /// Takes the next frame.
    pub fn pop(&self) -> Option<Parcel> {
        self.parcels.pop()
    }

    /// Frames waiting.
    pub fn len(&self) -> usize {
        self.parcels.len()
    }

    /// Whether no frame waits.
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
