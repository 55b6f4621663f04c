//! The line that shows how a run goes, on standard error while that is a terminal.

use std::io::{self, IsTerminal, Write};

use crate::{
    load::LoadSample,
    report::{scaled, share},
    run::Sample,
};

/// Shows samples, at most one a second.
#[derive(Debug)]
pub struct Progress {
    is_terminal: bool,
    receives: bool,
    shown: Sample,
}

impl Progress {
    /// Progress of a run that receives or does not.
    pub fn new(receives: bool) -> Self {
        let shown = Sample { at: 0.0, handed: 0, received: 0 };
        Self { is_terminal: io::stderr().is_terminal(), receives, shown }
    }

    /// Shows a sample if it is time.
    pub fn show(&mut self, sample: &Sample) {
        if !self.is_terminal || sample.at - self.shown.at < 1.0 {
            return;
        }
        let line = line(&self.shown, sample, self.receives);
        self.shown = *sample;
        // Who closed standard error does not want to see it.
        let _unseen = write!(io::stderr(), "\r\x1b[K{line}");
    }

    /// Ends the line.
    pub fn end(&self) {
        if self.is_terminal {
            let _unseen = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

/// Shows how a load of connections goes, at most once a second.
#[derive(Debug)]
pub struct LoadProgress {
    is_terminal: bool,
    shown: LoadSample,
}

impl Default for LoadProgress {
    fn default() -> Self {
        let shown = LoadSample { at: 0.0, connected: 0, responses: 0, open: 0 };
        Self { is_terminal: io::stderr().is_terminal(), shown }
    }
}

impl LoadProgress {
    /// Shows a sample if it is time.
    pub fn show(&mut self, sample: &LoadSample) {
        if !self.is_terminal || sample.at - self.shown.at < 1.0 {
            return;
        }
        let line = load_line(&self.shown, sample);
        self.shown = *sample;
        let _unseen = write!(io::stderr(), "\r\x1b[K{line}");
    }

    /// Ends the line.
    pub fn end(&self) {
        if self.is_terminal {
            let _unseen = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn load_line(before: &LoadSample, now: &LoadSample) -> String {
    let rate = |count: u64| scaled(count as f64 / (now.at - before.at));
    format!(
        "{:.0} s  {}connections/s  {}responses/s  {} open",
        now.at,
        rate(now.connected - before.connected),
        rate(now.responses - before.responses),
        now.open
    )
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn line(before: &Sample, now: &Sample, receives: bool) -> String {
    let rate = |count: u64| scaled(count as f64 / (now.at - before.at));
    let mut line = format!("{:.0} s  {}packets/s sent", now.at, rate(now.handed - before.handed));
    if receives {
        let missing = now.handed.saturating_sub(now.received);
        line += &format!(
            "  {}packets/s received  {missing} on the way or lost ({:.3} %)",
            rate(now.received - before.received),
            share(missing, now.handed) * 100.0
        );
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_those_since_the_line_before() {
        let before = Sample { at: 1.0, handed: 1000, received: 1000 };
        let now = Sample { at: 3.0, handed: 5000, received: 4000 };
        assert_eq!(
            line(&before, &now, true),
            "3 s  2.00 kpackets/s sent  1.50 kpackets/s received  1000 on the way or lost (20.000 %)"
        );
        assert_eq!(line(&before, &now, false), "3 s  2.00 kpackets/s sent");
        let before = LoadSample { at: 1.0, connected: 0, responses: 50, open: 0 };
        let now = LoadSample { at: 3.0, connected: 4000, responses: 150, open: 7 };
        assert_eq!(load_line(&before, &now), "3 s  2.00 kconnections/s  50.00 responses/s  7 open");
    }
}
