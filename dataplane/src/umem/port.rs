//! What a worker needs of an interface: frames in, frames out, chunks back. [`super::kernel::Sockets`] is the real one;
//! [`FakePort`] is plain memory, so that tests, fuzzers and benchmarks drive the same worker without privileges.

use std::collections::VecDeque;

use super::{
    assembly::{Assembly, Refused},
    frame::Frame,
    pool::Pool,
};

/// The interface is gone or down for good: no frame will ever come or go again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortGone;

/// Where the chunks of one worker's sockets on one port are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortFrames {
    /// In the fill ring or being filled.
    pub fill: usize,
    /// Received, not yet taken.
    pub rx: usize,
    /// In the tx ring or queued for it.
    pub tx: usize,
    /// Sent, not yet recycled.
    pub completion: usize,
}

/// One worker's sockets on one interface.
pub trait Port {
    /// Moves the received packets of about `budget` chunks to the end of `batch`. Returns how many could not be taken; their chunks
    /// went back to the pool.
    fn receive(&mut self, batch: &mut Vec<Frame>, budget: usize, pool: &mut Pool) -> Refused;

    /// Queues a packet for sending, or gives it back if the ring is full.
    fn send(&mut self, frame: Frame) -> Result<(), Frame>;

    /// Hands all queued packets to the kernel with one wake-up.
    fn flush(&mut self) -> Result<(), PortGone>;

    /// Takes the chunks of sent packets back and keeps the fill ring full.
    fn recycle(&mut self, pool: &mut Pool);

    /// Where the chunks are now.
    fn frames(&mut self) -> PortFrames;

    /// Packets that reached the interface and that the kernel could not give to these sockets, since they were made.
    fn missed(&self) -> u64;
}

/// A port over plain memory: what is pushed to `wire_in` is received, what is sent appears in `wire_out`. A packet of several chunks
/// is taken apart and put together again as the kernel's are.
#[derive(Debug, Default)]
pub struct FakePort {
    /// Packets that wait to be received.
    pub wire_in: VecDeque<Frame>,
    assembly: Assembly,
    /// Packets that were sent, in order.
    pub wire_out: VecDeque<Frame>,
}

impl Port for FakePort {
    fn receive(&mut self, batch: &mut Vec<Frame>, budget: usize, pool: &mut Pool) -> Refused {
        let mut refused = Refused::default();
        let count = budget.min(self.wire_in.len());
        for packet in self.wire_in.drain(..count) {
            let mut next = Some(packet);
            while let Some(mut chunk) = next {
                next = chunk.unlink();
                let whole = self.assembly.push(Some(chunk), next.is_some(), pool, &mut refused);
                if let Some(packet) = whole {
                    batch.push(packet);
                }
            }
        }
        refused
    }

    fn send(&mut self, frame: Frame) -> Result<(), Frame> {
        self.wire_out.push_back(frame);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), PortGone> {
        Ok(())
    }

    fn recycle(&mut self, _pool: &mut Pool) {}

    fn frames(&mut self) -> PortFrames {
        let chunks = |packets: &VecDeque<Frame>| packets.iter().map(Frame::chunks).sum();
        PortFrames {
            rx: chunks(&self.wire_in),
            tx: chunks(&self.wire_out),
            ..PortFrames::default()
        }
    }

    fn missed(&self) -> u64 {
        0
    }
}
