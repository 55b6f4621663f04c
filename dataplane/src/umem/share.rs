//! How many chunks a port keeps ready to receive into.
//!
//! A port that receives joins and has its share until it leaves. All shares together are at most half of the chunks, so that
//! packets in flight, and those that we build, have the other half however many ports there are.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// Chunks of a share at most, as many as bring anything.
pub const LARGEST: usize = 1024;

/// Chunks of a share at least: below, a port could not receive a burst, or three of the longest packets.
pub const SMALLEST: usize = 64;

/// What all receiving ports of a region share.
#[derive(Debug)]
pub struct Shares {
    chunks: usize,
    ports: AtomicUsize,
}

impl Shares {
    /// Shares of a region with so many chunks.
    pub fn new(chunks: usize) -> Arc<Self> {
        Arc::new(Self { chunks, ports: AtomicUsize::new(0) })
    }

    /// Another port receives; everybody's share may shrink.
    pub fn join(self: &Arc<Self>) -> Share {
        self.ports.fetch_add(1, Ordering::Relaxed);
        Share(Arc::clone(self))
    }
}

/// One port's share; it ends with its owner.
#[derive(Debug)]
pub struct Share(Arc<Shares>);

impl Share {
    /// Chunks that the port may keep ready now.
    pub fn chunks(&self) -> usize {
        let ports = self.0.ports.load(Ordering::Relaxed).max(1);
        (self.0.chunks / 2 / ports).clamp(SMALLEST, LARGEST)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.0.ports.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_ports_leave_half_of_the_chunks_to_packets_in_flight() {
        let shares = Shares::new(32_768);
        let first = shares.join();
        assert_eq!(first.chunks(), LARGEST);
        let others: Vec<_> = (1..100).map(|_| shares.join()).collect();
        let sum: usize = others.iter().chain([&first]).map(Share::chunks).sum();
        assert!(sum <= 16_384 && first.chunks() == 163, "{sum}");
        drop(others);
        assert_eq!(first.chunks(), LARGEST, "who leaves gives its share back");
    }

    #[test]
    fn a_share_is_never_too_small_to_receive_with() {
        let shares = Shares::new(256);
        let ports: Vec<_> = (0..8).map(|_| shares.join()).collect();
        assert!(ports.iter().all(|share| share.chunks() == SMALLEST));
    }
}
