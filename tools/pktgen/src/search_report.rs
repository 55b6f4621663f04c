//! What searches found: results and their trials arrive, text for people or JSON for programs leaves (README.md describes its
//! fields).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    report::{Limitation, micros, scaled, write_limits},
    search::{Bound, Spread, Trial},
};

/// The outcome of searches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Searches {
    /// `search`.
    pub kind: String,
    /// The interface sent on.
    pub interface: String,
    /// The interface received on.
    pub receive_on: String,
    /// Seconds of one trial.
    pub seconds: f64,
    /// Part of a rate to which it was searched.
    pub precision: f64,
    /// Trials at one rate, of which most had to pass.
    pub trials_per_rate: u32,
    /// One for each frame size and goal.
    pub results: Vec<ResultOfSize>,
    /// What the searches could not do.
    pub limits: Vec<Limitation>,
}

/// What was found for one frame size and goal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ResultOfSize {
    /// Bytes of a frame, Ethernet header included; none for the mix's own sizes.
    pub size: Option<usize>,
    /// `ndr` or `pdr`.
    pub goal: String,
    /// The loss tolerated, as a part of the packets sent.
    pub tolerated: f64,
    /// Packets per second.
    pub pps: Spread,
    /// What bounded each search.
    pub bounds: Vec<Bound>,
    /// Every trial of every search.
    pub trials: Vec<Trial>,
}

impl ResultOfSize {
    /// The last trial at the highest rate found, for its delays.
    pub fn at_best(&self) -> Option<&Trial> {
        self.trials.iter().rev().find(|trial| trial.rate == self.pps.max)
    }
}

impl Searches {
    /// Notes what keeps the results from being the network's.
    pub fn note_limits(&mut self) {
        for result in &self.results {
            let name = name(result);
            let count = |bound| result.bounds.iter().filter(|&&other| other == bound).count();
            let searches = result.bounds.len();
            for (bound, what, reason) in [
                (Bound::Generator, "rate", "ended where pktgen could not send more"),
                (Bound::Highest, "highest", "ended at the highest rate tried"),
                (Bound::Nothing, "nothing", "found no rate that passes"),
            ] {
                let count = count(bound);
                if count > 0 {
                    let text = format!("{name}: {count} of {searches} searches {reason}");
                    self.limits.push(Limitation::new(what, text));
                }
            }
            let own = result.trials.iter().filter(|trial| trial.own_losses > 0).count();
            if own > 0 {
                let text = format!(
                    "{name}: in {own} of {} trials the receiver itself lost packets: those rates may be its own limit",
                    result.trials.len()
                );
                self.limits.push(Limitation::new("receiver", text));
            }
        }
    }
}

/// What a result is of.
pub fn name(result: &ResultOfSize) -> String {
    let goal = result.goal.to_uppercase();
    result.size.map_or_else(|| format!("{goal}, mix"), |size| format!("{goal}, {size} bytes"))
}

impl fmt::Display for Searches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "from {} to {}: trials of {} s, {} at each rate, to {} %",
            self.interface,
            self.receive_on,
            self.seconds,
            self.trials_per_rate,
            self.precision * 100.0
        )?;
        for result in &self.results {
            let Spread { mean, min, max, confidence, rates } = &result.pps;
            write!(
                f,
                "{}: {}packets/s, {min} to {max} in {} searches",
                name(result),
                scaled(*mean),
                rates.len()
            )?;
            if let Some(confidence) = confidence {
                write!(f, ", mean within {confidence:.0} (95 %)")?;
            }
            if let Some(trial) = result.at_best() {
                let (p50, p99) = (micros(trial.p50), micros(trial.p99));
                write!(f, "; delay there p50 {p50} p99 {p99}")?;
            }
            writeln!(f)?;
        }
        write_limits(f, &self.limits)
    }
}
