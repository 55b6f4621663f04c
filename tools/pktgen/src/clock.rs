//! The time that packets carry and pacing goes by: CLOCK_MONOTONIC in nanoseconds, which every process of the machine shares.
//!
//! It is read in the loops alone; what they call is told the time.

use nix::time::{ClockId, clock_gettime};

/// Nanoseconds of a second.
pub const SECOND: u64 = 1_000_000_000;

/// Nanoseconds now.
pub fn now() -> u64 {
    // Linux has had this clock since 2.6; a machine without it shows no time passing, and every report would say so.
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, |time| {
        let seconds = u64::try_from(time.tv_sec()).unwrap_or(0);
        seconds.wrapping_mul(SECOND).wrapping_add(u64::try_from(time.tv_nsec()).unwrap_or(0))
    })
}

/// Seconds for people.
#[expect(clippy::cast_precision_loss, reason = "for people; exact below 2^53 ns, 104 days")]
pub fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}
