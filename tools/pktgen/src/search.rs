//! The highest rate at which a network loses no more than is tolerated: a trial at any rate arrives as a function, rates leave.
//!
//! RFC 2544 §26.1 asks for the throughput, the highest rate without loss, found by trials at lower and higher rates; NDR (no drop
//! rate) is the same, PDR tolerates a part. A machine that is shared loses a packet now and then for reasons of its own, so that a
//! rate passes when most of its trials do, and the whole search is repeated: how far the results lie apart says how much they are
//! worth.

use serde::{Deserialize, Serialize};

/// What is looked for and how hard.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Goal {
    /// The loss that is tolerated, as a part of the packets sent.
    pub loss: f64,
    /// When the rates that passed and failed differ by no more than this part, the search is over.
    pub precision: f64,
    /// Trials at one rate; most of them must pass.
    pub trials: u32,
}

/// How one trial went.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// Packets per second asked for.
    pub rate: u64,
    /// What part of them was sent.
    pub reached: f64,
    /// Packets sent.
    pub sent: u64,
    /// Packets that did not arrive.
    pub lost: u64,
    /// Lost of those sent.
    pub loss: f64,
    /// Packets that the receiver itself lost.
    pub own_losses: u64,
    /// Nanoseconds that half of the packets took at most.
    pub p50: u64,
    /// Nanoseconds that 99 % took at most.
    pub p99: u64,
    /// Nanoseconds that 99.99 % took at most.
    pub p99_99: u64,
}

/// What ended a search at its upper end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bound {
    /// A higher rate lost too much.
    Network,
    /// A higher rate could not be sent: the network may carry more.
    Generator,
    /// The highest rate that was allowed passed: the network may carry more.
    Highest,
    /// Not even the lowest rate passed.
    Nothing,
}

/// What one search found.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// The highest rate that passed; 0 if none did.
    pub rate: u64,
    /// Why it is not higher.
    pub bound: Bound,
    /// Every trial, in its order.
    pub trials: Vec<Trial>,
}

/// A sender that reached this part of its rate reached it.
const REACHED: f64 = crate::report::REACHED;

/// Looks for the highest rate up to `highest` that passes, by halving. `passing` is a rate known to pass, or 0. `run` makes a trial
/// at a rate.
///
/// # Errors
/// That of the first trial that fails to run.
pub fn search<E>(
    goal: &Goal,
    passing: u64,
    highest: u64,
    mut run: impl FnMut(u64) -> Result<Trial, E>,
) -> Result<Found, E> {
    let mut trials = Vec::new();
    let highest = highest.max(passing).max(1);
    let (mut passed, mut failed) = (passing, None);
    let mut rate = highest;
    loop {
        match judge(goal, rate, &mut trials, &mut run)? {
            None => passed = rate,
            Some(bound) => failed = Some((rate, bound)),
        }
        let Some((limit, bound)) = failed else {
            return Ok(Found { rate: passed, bound: Bound::Highest, trials });
        };
        let step = precision_step(limit, goal.precision);
        if limit - passed <= step {
            let bound = if passed == 0 { Bound::Nothing } else { bound };
            return Ok(Found { rate: passed, bound, trials });
        }
        rate = passed + (limit - passed) / 2;
    }
}

/// The smallest difference of rates that matters.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "a part of a rate, between 1 and the rate"
)]
fn precision_step(rate: u64, precision: f64) -> u64 {
    ((rate as f64 * precision.clamp(0.0, 1.0)) as u64).max(1)
}

/// Whether most trials at `rate` pass; if not, why.
fn judge<E>(
    goal: &Goal,
    rate: u64,
    trials: &mut Vec<Trial>,
    run: &mut impl FnMut(u64) -> Result<Trial, E>,
) -> Result<Option<Bound>, E> {
    let most = goal.trials.max(1) / 2 + 1;
    let (mut passed, mut failed) = (0, 0);
    loop {
        let trial = run(rate)?;
        let (is_lossy, is_slow) = (trial.loss > goal.loss, trial.reached < REACHED);
        trials.push(trial);
        if is_lossy || is_slow {
            failed += 1;
        } else {
            passed += 1;
        }
        if passed >= most {
            return Ok(None);
        }
        if failed >= most {
            return Ok(Some(if is_lossy { Bound::Network } else { Bound::Generator }));
        }
    }
}

/// What several searches found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// What each found.
    pub rates: Vec<u64>,
    /// Their mean.
    pub mean: f64,
    /// The least.
    pub min: u64,
    /// The largest.
    pub max: u64,
    /// The mean lies within this of the true value with 95 % confidence (Student's t), if there were at least two searches.
    pub confidence: Option<f64>,
}

/// Student's t for 95 % confidence on both sides, by degrees of freedom from 1 on.
const STUDENT: [f64; 10] = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228];

impl Spread {
    /// The spread of these results.
    #[expect(clippy::cast_precision_loss, reason = "rates, below 2^53")]
    pub fn of(rates: &[u64]) -> Self {
        let count = rates.len() as f64;
        let mean = rates.iter().map(|&rate| rate as f64).sum::<f64>() / count.max(1.0);
        let squares: f64 = rates.iter().map(|&rate| (rate as f64 - mean).powi(2)).sum();
        let confidence = rates.len().checked_sub(2).map(|index| {
            let student = STUDENT.get(index).copied().unwrap_or(2.0);
            student * (squares / (count - 1.0)).sqrt() / count.sqrt()
        });
        Self {
            rates: rates.to_vec(),
            mean,
            min: rates.iter().copied().min().unwrap_or(0),
            max: rates.iter().copied().max().unwrap_or(0),
            confidence,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::*;

    const GOAL: Goal = Goal { loss: 0.0, precision: 0.01, trials: 3 };

    #[expect(clippy::cast_precision_loss, reason = "small numbers of a test")]
    fn trial(rate: u64, capacity: u64, sendable: u64) -> Trial {
        let sent = rate.min(sendable);
        let lost = sent.saturating_sub(capacity);
        Trial {
            rate,
            reached: sent as f64 / rate as f64,
            sent,
            lost,
            loss: lost as f64 / sent as f64,
            own_losses: 0,
            p50: 0,
            p99: 0,
            p99_99: 0,
        }
    }

    fn find(goal: &Goal, highest: u64, capacity: u64, sendable: u64) -> Found {
        search::<Infallible>(goal, 0, highest, |rate| Ok(trial(rate, capacity, sendable))).unwrap()
    }

    #[test]
    fn what_bounds_a_rate_is_told() {
        let bound = |highest, capacity, sendable| find(&GOAL, highest, capacity, sendable).bound;
        assert_eq!(bound(1000, 400, 5000), Bound::Network);
        assert_eq!(bound(1000, 2000, 5000), Bound::Highest);
        assert_eq!(bound(10_000, 9000, 5000), Bound::Generator);
        assert_eq!(bound(1000, 0, 5000), Bound::Nothing);
        assert_eq!(find(&GOAL, 1000, 2000, 5000).rate, 1000);
    }

    #[test]
    fn a_single_unlucky_trial_does_not_fail_a_rate() {
        let mut number = 0;
        let found = search::<Infallible>(&GOAL, 0, 1000, |rate| {
            number += 1;
            // Every third trial loses a packet that the network did not.
            Ok(trial(rate, if number % 3 == 1 { rate - 1 } else { 800 }, 5000))
        })
        .unwrap();
        assert!((792..=800).contains(&found.rate), "{}", found.rate);
    }

    #[test]
    fn what_is_known_to_pass_is_not_fallen_below() {
        let run = |rate| Ok::<_, Infallible>(trial(rate, 400, 5000));
        let found = search(&GOAL, 390, 1000, run).unwrap();
        assert!((396..=400).contains(&found.rate), "{}", found.rate);
        assert_eq!(search(&GOAL, 700, 1000, run).unwrap().rate, 700);
    }

    #[test]
    fn an_error_ends_the_search() {
        assert_eq!(search(&GOAL, 0, 1000, |_| Err("gone")).unwrap_err(), "gone");
    }

    #[test]
    fn confidence_is_students() {
        let spread = Spread::of(&[10, 12, 14]);
        assert_eq!((spread.mean.to_bits(), spread.min, spread.max), (12.0_f64.to_bits(), 10, 14));
        // 4.303 · 2 / √3
        assert!((spread.confidence.unwrap() - 4.969).abs() < 0.001, "{spread:?}");
        assert_eq!(Spread::of(&[5]).confidence, None);
        assert_eq!(Spread::of(&[]), Spread::default());
    }

    proptest! {
        #[test]
        fn the_rate_found_is_right_below_what_the_network_carries(
            capacity in 1000..2_000_000_u64, tolerated in 0..20_u32,
        ) {
            let goal = Goal { loss: f64::from(tolerated) / 1000.0, precision: 0.01, trials: 1 };
            let found = find(&goal, 2_000_000, capacity, u64::MAX);
            #[expect(clippy::cast_precision_loss, reason = "small numbers of a test")]
            let (rate, most) = (found.rate as f64, capacity as f64 / (1.0 - goal.loss));
            prop_assert!(rate <= most + 1.0, "{rate} of {most}");
            prop_assert!(rate >= most * 0.989 - 1.0 || found.rate == 2_000_000, "{rate} of {most}");
            prop_assert!(found.trials.len() <= 20, "{}", found.trials.len());
        }
    }
}
