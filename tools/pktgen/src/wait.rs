//! Waiting for packets: spins for a short while after there was work, then sleeps until a socket has packets or time is up.

use std::{io, os::fd::RawFd, time::Duration};

use mio::{Events, Interest, Poll, Token, unix::SourceFd};

/// Nanoseconds without work that are spent spinning.
const SPIN: u64 = 50_000;

/// The longest sleep: somebody looks at signals and samples after it.
const LONGEST: u64 = 100_000_000;

/// Waits for packets on some sockets.
#[derive(Debug)]
pub struct Waiter {
    poll: Poll,
    events: Events,
    busy_at: u64,
}

impl Waiter {
    /// Waits on these sockets.
    ///
    /// # Errors
    /// The kernel has no more descriptors for it.
    pub fn new(sockets: impl IntoIterator<Item = RawFd>) -> io::Result<Self> {
        let poll = Poll::new()?;
        for (number, socket) in sockets.into_iter().enumerate() {
            poll.registry().register(&mut SourceFd(&socket), Token(number), Interest::READABLE)?;
        }
        Ok(Self { poll, events: Events::with_capacity(4), busy_at: 0 })
    }

    /// There was work at `now`, or there was none and there will be none for `nanos` but for packets that come.
    pub fn rest(&mut self, now: u64, did_work: bool, nanos: u64) {
        if did_work {
            self.busy_at = now;
        } else if now.saturating_sub(self.busy_at) < SPIN || nanos < SPIN {
            std::hint::spin_loop();
        } else {
            let time = Duration::from_nanos(nanos.min(LONGEST));
            // A signal ends the sleep early, and the caller looks at what it wanted.
            let _woken = self.poll.poll(&mut self.events, Some(time));
        }
    }
}
