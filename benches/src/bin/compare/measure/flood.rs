//! A client with a steady rate of allowed requests, alone and beside another one that sends denied requests as fast as it can.
//!
//! The flood's client gives way on the core they share (nice 19): what it does to the steady client is then what the middle lets it do.

use std::fs;
use std::process::Command;

use ::tests::program;
use anyhow::{Context, Result, ensure};

use crate::backend::{PRIVATE, PUBLIC};
use crate::peer::Peer;
use crate::process::Process;
use crate::stage::Stage;
use crate::wire;

/// Connections of the steady client, each with this many requests per second.
const STEADY: (u32, u32) = (8, 125);

/// p99 in microseconds, without and with the flood.
pub(crate) fn p99(stage: &Stage, peer: &dyn Peer, seconds: u64) -> Result<(f64, f64)> {
    let calm = steady(stage, peer, seconds)?;
    // Behind blastdoor the other client is another pod; for a proxy a client is a connection.
    let from = if peer.interface() == "eth0" { "other" } else { "client" };
    let url = format!("http://{}{PRIVATE}", peer.address());
    let mut wrk = wire::command(&wire::pod(from), stage.cores.ends, "nice");
    wrk.args(["-n", "19", "wrk", "-t1", "-c40", "-d60", &url]);
    let flood = Process::start("flood", stage.directory(), &mut wrk)?;
    let flooded = steady(stage, peer, seconds);
    drop(flood);
    Ok((calm, flooded?))
}

fn steady(stage: &Stage, peer: &dyn Peer, seconds: u64) -> Result<f64> {
    let log = stage.directory().join("h2load.tsv");
    let mut command: Command = wire::command(&wire::pod("client"), stage.cores.ends, "h2load");
    let (clients, rate) = STEADY;
    command.args(["--h1", "-t1", "-c", &clients.to_string(), "--rps", &rate.to_string()]);
    command.args(["-D", &seconds.to_string(), "--log-file"]).arg(&log);
    program::run_well(command.arg(format!("http://{}{PUBLIC}", peer.address())))?;
    let text = fs::read_to_string(&log).with_context(|| format!("read {}", log.display()))?;
    fs::remove_file(&log)?;
    percentile_99(&text)
}

/// Of a log with lines of start, status and microseconds.
fn percentile_99(log: &str) -> Result<f64> {
    let mut times = Vec::new();
    for line in log.lines() {
        let mut fields = line.split('\t').skip(1);
        let status = fields.next().unwrap_or_default();
        ensure!(status == "200", "an allowed request got status {status}");
        times.push(
            fields.next().and_then(|field| field.parse::<f64>().ok()).context("h2load's log")?,
        );
    }
    times.sort_by(f64::total_cmp);
    let place = times.len().saturating_mul(99) / 100;
    times.get(place).copied().context("h2load's log is empty")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_percentile_is_of_good_answers_only() {
        let line = |status: &str, time: usize| format!("1\t{status}\t{time}\n");
        let log: String = (1..=100).map(|time| line("200", time)).collect();
        assert_eq!(percentile_99(&log).unwrap(), 100.0);
        assert!(percentile_99(&(log + &line("403", 1))).is_err());
        assert!(percentile_99("").is_err());
    }
}
