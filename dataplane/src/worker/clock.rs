//! Time on the packet path: read once for each turn, carried as a number.

use std::time::{Duration, Instant};

pub use crate::inspect::Tick;

/// Counts from when it was made.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

/// A reading of the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(Duration);

impl Clock {
    /// A clock that starts now. All workers copy the same one, so their readings compare.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that reads time for the packet path"
    )]
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// The time now.
    pub fn read(&self) -> Moment {
        Moment(self.start.elapsed())
    }
}

impl Moment {
    /// The same in the milliseconds of timers and timeouts.
    pub fn tick(self) -> Tick {
        Tick(u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX))
    }

    /// Time since an earlier reading.
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

/// Time from `earlier` to `later`, zero if they are the other way round.
pub fn between(earlier: Tick, later: Tick) -> Duration {
    Duration::from_millis(later.0.saturating_sub(earlier.0))
}
