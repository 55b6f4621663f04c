//! Rounds: every measurement of every peer, one after another, again and again, so that what changes on the machine meanwhile changes
//! for all. Each round begins with another peer.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, bail};

use crate::measure::Measure;
use crate::peer::Peer;
use crate::sample::Samples;
use crate::stage::Stage;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    /// Rounds.
    pub(crate) rounds: usize,
    /// Seconds of the longest runs.
    pub(crate) seconds: u64,
}

/// Plays all rounds.
///
/// # Errors
/// When interrupted. A measurement that fails is noted among the samples and leaves a gap.
pub(crate) fn play(
    stage: &Stage,
    peers: &[Box<dyn Peer>],
    effort: Effort,
    measures: &[Measure],
    interrupted: &AtomicBool,
    samples: &mut Samples,
) -> Result<()> {
    for round in 0..effort.rounds {
        for measure in measures {
            let turned = peers.iter().cycle().skip(round % peers.len().max(1)).take(peers.len());
            for peer in turned.filter(|peer| measure.suits(peer.as_ref())) {
                if interrupted.load(Ordering::Relaxed) {
                    bail!("interrupted");
                }
                let taken =
                    peer.enter().and_then(|()| measure.take(stage, peer.as_ref(), effort.seconds));
                peer.leave()?;
                let head = format!("round {}, {}, {measure:?}", round + 1, peer.name());
                match taken {
                    Ok(figures) => {
                        for (figure, value) in figures {
                            writeln!(std::io::stdout(), "{head}: {value:.1} ({})", figure.words())?;
                            samples.keep(peer.name(), figure, round, value);
                        }
                    }
                    Err(error) => {
                        writeln!(std::io::stdout(), "{head}: FAILED: {error:#}")?;
                        samples.failures.push(format!("{head}: {error:#}"));
                    }
                }
            }
        }
    }
    Ok(())
}
