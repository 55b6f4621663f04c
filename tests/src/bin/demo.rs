//! `make demo`: the Star Wars story, told by real curls through a real daemon, ending with the table.
//!
//! Exit codes: 0 when every check passed, 1 when one failed or the lab could not be made, 130 when interrupted.
//! Whatever happens, the lab is removed; after a kill -9 the next run removes it.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, bail};
use clap::Parser;
use signal_hook::consts::{SIGINT, SIGTERM};
use tests::daemon::Daemon;
use tests::lab::{Lab, Shape};
use tests::program;
use tests::star_wars::{self, ACTS, Act, Cell, QUESTIONS, Row};

/// Plays the acts of Cilium's Star Wars demo through blastdoor.
#[derive(Debug, Parser)]
struct Options {
    /// Directory with app.yaml (or http-sw-app.yaml), sw_l3_l4_policy.yaml and sw_l3_l4_l7_policy.yaml
    manifests: Option<PathBuf>,
    /// Workers of the daemon
    #[arg(long, default_value_t = 1)]
    workers: usize,
    /// The lab's name
    #[arg(long, default_value = "demo")]
    name: String,
}

fn main() -> ExitCode {
    let interrupted = Arc::new(AtomicBool::new(false));
    let outcome = [SIGINT, SIGTERM]
        .into_iter()
        .try_for_each(|signal| {
            signal_hook::flag::register(signal, Arc::clone(&interrupted)).map(drop)
        })
        .map_err(anyhow::Error::from)
        .and_then(|()| play(&Options::parse(), &interrupted));
    match outcome {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            // Nobody is left to tell when standard error is closed.
            writeln!(std::io::stderr(), "demo: {error:#}").ok();
            ExitCode::from(if interrupted.load(Ordering::Relaxed) { 130 } else { 1 })
        }
    }
}

/// Plays everything; returns how many checks failed.
fn play(options: &Options, interrupted: &AtomicBool) -> Result<usize> {
    let go_on = || if interrupted.load(Ordering::Relaxed) { bail!("interrupted") } else { Ok(()) };
    let own = program::project_root().join("examples/star-wars");
    let manifests = options.manifests.clone().unwrap_or(own);
    let app = star_wars::app_file(&manifests)?;
    say(&format!("lab up {}", app.display()))?;
    let shape = Shape { workers: options.workers, mtu: None };
    let lab = Lab::up(&options.name, &shape, &[app])?;
    go_on()?;
    say("blastdoor run: taking over the pods' ports")?;
    let daemon = Daemon::start(&lab)?;
    say(&describe(&daemon)?)?;
    let mut acts = Vec::new();
    for act in ACTS {
        go_on()?;
        say(&format!("\nact: {}", act.0))?;
        let played = star_wars::play(&lab, &daemon, &manifests, act)?;
        for (question, cell) in QUESTIONS.iter().zip(&played.row.cells) {
            tell(question, cell)?;
        }
        tell("tiefighter: both replicas behind the service", &played.replicas)?;
        acts.push(played);
    }
    daemon.stop()?;
    lab.down()?;
    let cells: Vec<&Cell> = acts.iter().flat_map(Act::cells).collect();
    let passed = cells.iter().filter(|cell| cell.passed).count();
    let failed = cells.len().saturating_sub(passed);
    let rows: Vec<Row> = acts.iter().map(|act| act.row.clone()).collect();
    say(&format!("\n{}\n{passed} passed, {failed} failed", star_wars::table(&rows)))?;
    Ok(failed)
}

fn say(text: &str) -> Result<()> {
    Ok(writeln!(std::io::stdout(), "{text}")?)
}

fn tell(question: &str, cell: &Cell) -> Result<()> {
    let mark = if cell.passed { "ok  " } else { "FAIL" };
    say(&format!("  {mark} {question}: {}", cell.text))
}

/// The ports in one line: how many, and in which mode.
fn describe(daemon: &Daemon) -> Result<String> {
    let status = daemon.status()?;
    let modes: BTreeSet<&str> = status.ports.iter().map(|port| port.mode.as_str()).collect();
    let modes: Vec<&str> = modes.into_iter().collect();
    Ok(format!("{} ports up, AF_XDP mode {}", status.ports.len(), modes.join(", ")))
}
