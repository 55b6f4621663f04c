//! When a worker sleeps: it spins for a short while without work, then waits in poll for a received frame, a parcel of another
//! worker, a command, or the next deadline. An idle core is not burnt; a busy one never enters the kernel to wait.

use std::{io, os::fd::RawFd, sync::Arc, time::Duration};

use mio::{Events, Interest, Poll, Token, unix::SourceFd};

use super::{
    clock::{Moment, Tick, between},
    handoff::Inbox,
};

const BELL: Token = Token(0);
const SOCKET: Token = Token(1);

/// The longest sleep: expiry of connections is looked at this often even without traffic.
const LONGEST_SLEEP: Duration = Duration::from_millis(500);

/// What ended a rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woken {
    /// There was none: the worker spins.
    Awake,
    /// Something came.
    ByWork,
    /// Nothing came.
    ByTime,
}

/// A worker's rest.
#[derive(Debug)]
pub struct Rest {
    poll: Poll,
    events: Events,
    inbox: Arc<Inbox>,
    spin: Duration,
    idle_since: Option<Moment>,
}

impl Rest {
    /// A rest that spins for `spin` before it sleeps.
    pub fn new(spin: Duration) -> io::Result<Self> {
        let poll = Poll::new()?;
        let inbox = Inbox::new(mio::Waker::new(poll.registry(), BELL)?);
        Ok(Self { poll, events: Events::with_capacity(64), inbox, spin, idle_since: None })
    }

    /// What other threads use to reach this worker.
    pub fn inbox(&self) -> Arc<Inbox> {
        Arc::clone(&self.inbox)
    }

    /// Wakes on frames received by this socket from now on.
    pub fn watch(&self, socket: RawFd) -> io::Result<()> {
        self.poll.registry().register(&mut SourceFd(&socket), SOCKET, Interest::READABLE)
    }

    /// Stops watching; needed before the socket is closed.
    pub fn unwatch(&self, socket: RawFd) -> io::Result<()> {
        self.poll.registry().deregister(&mut SourceFd(&socket))
    }

    /// The turn had work: stay awake.
    pub fn busy(&mut self) {
        self.idle_since = None;
    }

    /// The turn had no work: spins on or sleeps, until `deadline` at the latest. `has_work` is asked once more after the
    /// worker has said that it is going to sleep, so that nothing that came in between is missed.
    pub fn idle(
        &mut self,
        now: Moment,
        deadline: Option<Tick>,
        has_work: impl FnOnce() -> bool,
    ) -> Woken {
        let since = *self.idle_since.get_or_insert(now);
        if now.since(since) < self.spin {
            std::hint::spin_loop();
            return Woken::Awake;
        }
        let mut woken = Woken::ByWork;
        self.inbox.falling_asleep();
        if self.inbox.is_empty() && !has_work() {
            let timeout = deadline
                .map_or(LONGEST_SLEEP, |deadline| between(now.tick(), deadline).min(LONGEST_SLEEP));
            // An interrupted poll is a short sleep; any other failure degrades to spinning, never to a stop.
            let slept = self.poll.poll(&mut self.events, Some(timeout));
            if slept.is_ok() && self.events.is_empty() {
                woken = Woken::ByTime;
            }
        }
        self.inbox.awake();
        self.idle_since = None;
        woken
    }
}
