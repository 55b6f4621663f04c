//! What was done: counts and a duration arrive, text for people or JSON for programs leaves.

use std::{fmt, time::Duration};

use serde::Serialize;

/// The outcome of a stream.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The interface sent on.
    pub interface: String,
    /// `copy` or `zero-copy`, as the kernel answered.
    pub mode: &'static str,
    /// Packets put into the transmit ring.
    pub handed: u64,
    /// Packets whose chunks the kernel gave back. It is done with them; it does not say that a receiver has them.
    pub completed: u64,
    /// From the first packet to the last completion.
    pub seconds: f64,
    /// Completed packets per second, 0 if no time passed.
    pub pps: f64,
}

impl Report {
    /// Derives the rate from counts and duration.
    #[expect(
        clippy::cast_precision_loss,
        reason = "a rate for people; counts below 2^53 are exact"
    )]
    pub fn new(
        interface: &str,
        mode: &'static str,
        handed: u64,
        completed: u64,
        duration: Duration,
    ) -> Self {
        let seconds = duration.as_secs_f64();
        let pps = if duration.is_zero() { 0.0 } else { completed as f64 / seconds };
        Self { interface: interface.to_owned(), mode, handed, completed, seconds, pps }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { interface, mode, handed, completed, seconds, pps } = self;
        write!(
            formatter,
            "{interface} ({mode}): {handed} packets handed to the kernel, {completed} completed in {seconds:.3} s: {pps:.0} packets/s"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_counts_completed_packets() {
        let report = Report::new("veth0", "copy", 1000, 900, Duration::from_secs(3));
        assert_eq!(
            report.to_string(),
            "veth0 (copy): 1000 packets handed to the kernel, 900 completed in 3.000 s: 300 packets/s"
        );
    }

    #[test]
    fn no_time_is_no_rate() {
        assert_eq!(Report::new("veth0", "copy", 0, 0, Duration::ZERO).pps.to_bits(), 0);
    }
}
