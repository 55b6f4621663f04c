//! Many ports: what an idle daemon with ten of them costs, how fast one with a hundred is ready, and what they take from its throughput.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tests::client::curl;
use tests::daemon::Daemon;
use tests::program;

use crate::backend::PUBLIC;
use crate::measure::wrk::{self, Load};
use crate::peer::blastdoor::Policy;
use crate::round::Effort;
use crate::sample::Spread;
use crate::stage::{Stage, crowd};

/// How long an idle daemon is watched.
const WATCHED: Duration = Duration::from_secs(5);

/// The figures.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Many {
    /// Percent of a core that an idle daemon with ten ports uses.
    pub(crate) idle: Spread,
    /// Seconds until a daemon with a hundred ports had every one of them up.
    pub(crate) ready: Spread,
    /// Its requests per second against those of a daemon with four ports.
    pub(crate) throughput: Option<Spread>,
}

/// Measures.
pub(crate) fn measure(stage: &Stage, effort: Effort) -> Result<Many> {
    let idle = idle(stage)?;
    let (ready, throughput) = hundred(stage, effort)?;
    Ok(Many { idle, ready, throughput })
}

fn idle(stage: &Stage) -> Result<Spread> {
    let lab = crowd("ten", 10, stage.cores, stage.directory())?;
    let daemon = Daemon::start(&lab)?;
    // Neighbours have been met and the first connections are over.
    std::thread::sleep(Duration::from_secs(1));
    let before = used(daemon.pid())?;
    std::thread::sleep(WATCHED);
    let used = used(daemon.pid())?.saturating_sub(before);
    daemon.stop()?;
    lab.down()?;
    Spread::of(vec![used.as_secs_f64() * 100.0 / WATCHED.as_secs_f64()]).context("no value")
}

/// Until ready, and throughput.
fn hundred(stage: &Stage, effort: Effort) -> Result<(Spread, Option<Spread>)> {
    let lab = crowd("hundred", 100, stage.cores, stage.directory())?;
    let start = program::now();
    let daemon = Daemon::start(&lab)?;
    let ready = start.elapsed().as_secs_f64();
    let web = lab.pod("default/web")?.ipv4;
    let reply = curl(&lab, "client", 2, &[&format!("http://{web}{PUBLIC}")])?;
    ensure!(reply.status() == Some(200), "through the daemon with 100 ports: {reply:?}");
    stage.running.enforce(Policy::Bare)?;
    stage.rehearse(&stage.web, false)?;
    let mut ratios = Vec::new();
    for _ in 0..effort.rounds {
        let load = |address| Load {
            address,
            path: PUBLIC,
            connections: 40,
            seconds: effort.seconds.min(2),
            close: false,
        };
        let few = wrk::run(stage, &load(&stage.web))?.all_allowed()?;
        let many = wrk::run_in("bd-hundred-default-client", stage, &load(&web))?.all_allowed()?;
        ratios.push(many.rate / few.rate);
    }
    daemon.stop()?;
    lab.down()?;
    let ready = Spread::of(vec![ready]).context("no value")?;
    Ok((ready, Spread::of(ratios)))
}

/// Processor time of all threads of a process.
fn used(pid: u32) -> Result<Duration> {
    let tasks = format!("/proc/{pid}/task");
    let mut sum = 0_u64;
    for task in fs::read_dir(&tasks).with_context(|| format!("read {tasks}"))? {
        sum = sum.saturating_add(nanoseconds(&task?.path().join("schedstat"))?);
    }
    Ok(Duration::from_nanos(sum))
}

fn nanoseconds(path: &Path) -> Result<u64> {
    let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    let first = text.split(' ').next().and_then(|number| number.parse().ok());
    first.with_context(|| format!("{}: {text:?}", path.display()))
}
