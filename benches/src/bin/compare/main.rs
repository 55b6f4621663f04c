//! `make bench`: blastdoor beside what people would pick instead, in one run on one machine.
//!
//! Sets the stage (network namespaces, root), plays interleaved rounds, and writes `docs/benchmarks.md` with its plots. Criterion's
//! figures are taken from the target directory, where `cargo bench` left them.
//!
//! Exit codes: 0 everything was measured, 1 a measurement failed or an answer was wrong, 2 wrong arguments, 130 interrupted.

mod backend;
mod core_time;
mod in_memory;
mod machine;
mod measure;
mod micro;
mod peer;
mod plot;
mod ports;
mod process;
mod reason;
mod report;
mod round;
mod sample;
mod stage;
mod target;
mod wire;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;
use benches::allocation::Counting;
use clap::Parser;
use signal_hook::consts::{SIGINT, SIGTERM};
use tests::program;

use measure::Measure;
use peer::Peer;
use peer::blastdoor::{Blastdoor, Policy};
use report::Report;
use round::Effort;
use sample::Samples;
use stage::{Cores, Stage};

/// Counts what connections hold.
#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Measures blastdoor beside its peers.
#[derive(Debug, Parser)]
struct Options {
    /// Interleaved rounds
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of the longest runs
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// Where the report is written
    #[arg(long, default_value = "docs")]
    report: PathBuf,
    /// Only these measurements (`memory`, `ports`, or a measurement of the rounds, such as `many`), to the terminal instead of a report
    #[arg(long, value_delimiter = ',', value_parser = known)]
    only: Vec<String>,
}

/// What `--only` may name.
fn known(name: &str) -> Result<String, String> {
    let mut names = vec!["memory".to_owned(), "ports".to_owned()];
    names.extend(Measure::ALL.map(Measure::name));
    if names.iter().any(|known| known == name) {
        Ok(name.to_owned())
    } else {
        Err(format!("no such measurement; there are {}", names.join(", ")))
    }
}

impl Options {
    fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == name)
    }
}

fn main() -> ExitCode {
    let interrupted = Arc::new(AtomicBool::new(false));
    let outcome = [SIGINT, SIGTERM]
        .into_iter()
        .try_for_each(|signal| {
            signal_hook::flag::register(signal, Arc::clone(&interrupted)).map(drop)
        })
        .map_err(anyhow::Error::from)
        .and_then(|()| compare(&Options::parse(), &interrupted));
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            // Nobody is left to tell when standard error is closed.
            writeln!(std::io::stderr(), "compare: {error:#}").ok();
            ExitCode::from(if interrupted.load(Ordering::Relaxed) { 130 } else { 1 })
        }
    }
}

/// The peers that could be had, and why the others could not.
struct Cast {
    peers: Vec<Box<dyn Peer>>,
    absent: Vec<String>,
}

impl Cast {
    fn assemble(stage: &Stage) -> Self {
        let mut cast = Self { peers: Vec::new(), absent: Vec::new() };
        for policy in [Policy::Requests, Policy::Packets, Policy::Bare] {
            cast.peers.push(Box::new(Blastdoor::new(policy, &stage.running, &stage.web)));
        }
        cast.invite("HAProxy", peer::haproxy::Haproxy::start(stage));
        cast.invite("Envoy", peer::envoy::Envoy::start(stage));
        cast.invite("nginx", peer::nginx::Nginx::start(stage));
        cast.invite(peer::testpmd::NAME, peer::testpmd::Testpmd::start(stage));
        cast.invite("kernel bridge", peer::bridge::Bridge::plain());
        cast.invite("bridge + nftables", peer::bridge::Bridge::with_rules());
        cast
    }

    fn invite<P: Peer + 'static>(&mut self, name: &str, peer: Result<P>) {
        match peer {
            Ok(peer) => self.peers.push(Box::new(peer)),
            Err(error) => self.absent.push(format!("{name}: {error:#}")),
        }
    }
}

/// Measures and reports; whether nothing failed.
fn compare(options: &Options, interrupted: &AtomicBool) -> Result<bool> {
    let load = machine::load();
    let cores = Cores::of_this_machine()?;
    // While there is nothing to clean up: a worker that drops a packet there ends the program.
    let memory = options.wants("memory").then(|| in_memory::measure(cores, options.rounds));
    let stage = Stage::set(cores)?;
    let mtu = wire::mtu(&wire::pod("client"), "eth0")?;
    let cast = Cast::assemble(&stage);
    for absent in &cast.absent {
        say(&format!("could not be had: {absent}"))?;
    }
    let effort = Effort { rounds: options.rounds, seconds: options.seconds };
    let mut samples = Samples::default();
    let measures: Vec<Measure> =
        Measure::ALL.into_iter().filter(|measure| options.wants(&measure.name())).collect();
    round::play(&stage, &cast.peers, effort, &measures, interrupted, &mut samples)?;
    let many = options.wants("ports").then(|| ports::measure(&stage, effort));
    let many = many.transpose().unwrap_or_else(|error| {
        samples.failures.push(format!("many ports: {error:#}"));
        None
    });
    let micro = micro::results()?;
    let report = Report {
        effort,
        peers: &cast.peers,
        absent: &cast.absent,
        samples: &samples,
        memory: memory.flatten(),
        many,
        micro: &micro,
        load,
        mtu,
    };
    for check in report.checks() {
        let Some(spread) = check.value else { continue };
        say(&format!(
            "{:>2} {}: {:.2} ({:.2} to {:.2}), target {}: {}",
            check.row,
            check.what,
            spread.median,
            spread.min,
            spread.max,
            check.target,
            if check.is_met() == Some(true) { "met" } else { "missed" }
        ))?;
    }
    if options.only.is_empty() {
        report.write(&program::project_root().join(&options.report))?;
        say(&format!("written: {}/benchmarks.md", options.report.display()))?;
    }
    Ok(samples.failures.is_empty())
}

fn say(text: &str) -> Result<()> {
    Ok(writeln!(std::io::stdout(), "{text}")?)
}
