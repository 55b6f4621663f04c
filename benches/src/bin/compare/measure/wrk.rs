//! wrk: closed loop, as many requests as come through.

use ::tests::program;
use anyhow::{Context, Result, ensure};

use crate::stage::Stage;
use crate::wire;

/// What wrk shall do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load<'a> {
    /// Whom it asks.
    pub(crate) address: &'a str,
    /// What for.
    pub(crate) path: &'a str,
    /// Over how many connections.
    pub(crate) connections: u32,
    /// For how long.
    pub(crate) seconds: u64,
    /// Whether each connection carries one request only.
    pub(crate) close: bool,
}

/// What it said.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Wrk {
    /// Answers.
    pub(crate) requests: f64,
    /// Answers per second.
    pub(crate) rate: f64,
    /// Microseconds.
    pub(crate) p50: f64,
    /// Microseconds.
    pub(crate) p99: f64,
    /// Answers with a status other than 2xx and 3xx.
    refused: f64,
}

impl Wrk {
    /// Every answer was good.
    pub(crate) fn all_allowed(self) -> Result<Self> {
        ensure!(self.refused == 0.0, "{} of {} answers were not 200", self.refused, self.requests);
        Ok(self)
    }

    /// Every answer was a refusal.
    pub(crate) fn all_denied(self) -> Result<Self> {
        let allowed = self.requests - self.refused;
        ensure!(allowed == 0.0, "{allowed} of {} denied requests were answered", self.requests);
        Ok(self)
    }
}

/// Runs wrk in the pod `client`.
pub(crate) fn run(stage: &Stage, load: &Load<'_>) -> Result<Wrk> {
    run_in(&wire::pod("client"), stage, load)
}

/// Runs wrk in a namespace.
pub(crate) fn run_in(namespace: &str, stage: &Stage, load: &Load<'_>) -> Result<Wrk> {
    let mut command = wire::command(namespace, stage.cores.ends, "wrk");
    command.args(["-t1", "--latency"]);
    command.arg(format!("-c{}", load.connections)).arg(format!("-d{}", load.seconds));
    if load.close {
        command.args(["-H", "Connection: close"]);
    }
    let text = program::run_well(command.arg(format!("http://{}{}", load.address, load.path)))?;
    ensure!(!text.contains("Socket errors"), "wrk: {text}");
    let wrk = parse(&text).with_context(|| format!("wrk said: {text}"))?;
    ensure!(wrk.requests > 0.0, "wrk got no answer: {text}");
    Ok(wrk)
}

fn parse(text: &str) -> Option<Wrk> {
    let after = |name: &str| {
        let line = text.lines().map(str::trim).find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()
    };
    let line = text.lines().find(|line| line.contains(" requests in "))?;
    Some(Wrk {
        requests: line.split_whitespace().next()?.parse().ok()?,
        rate: after("Requests/sec:")?.parse().ok()?,
        p50: microseconds(after("50%")?)?,
        p99: microseconds(after("99%")?)?,
        refused: after("Non-2xx or 3xx responses:")
            .map_or(Some(0.0), |count| count.parse().ok())?,
    })
}

/// wrk's times: `12.00us`, `1.50ms`, `1.00s`.
fn microseconds(text: &str) -> Option<f64> {
    for (unit, scale) in [("us", 1.0), ("ms", 1e3), ("s", 1e6)] {
        if let Some(number) = text.strip_suffix(unit) {
            return Some(number.parse::<f64>().ok()? * scale);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "\
Running 1s test @ http://10.77.0.2/private
  1 threads and 40 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   600.00us  100.00us   2.00ms   80.00%
    Req/Sec    50.00k     1.00k   52.00k    70.00%
  Latency Distribution
     50%  123.00us
     75%  700.00us
     90%    1.00ms
     99%    2.50ms
  1000 requests in 1.00s, 1.00MB read
  Non-2xx or 3xx responses: 999
Requests/sec:   1000.50
Transfer/sec:      1.00MB
";

    #[test]
    fn what_wrk_says_is_read_with_its_units() {
        let wrk = parse(SAID).unwrap();
        assert_eq!((wrk.requests, wrk.rate, wrk.p50, wrk.p99), (1000.0, 1000.5, 123.0, 2500.0));
        assert_eq!(microseconds("1.50s"), Some(1.5e6));
        assert_eq!(microseconds("fast"), None);
    }

    #[test]
    fn one_wrong_answer_spoils_a_run() {
        let wrk = parse(SAID).unwrap();
        assert!(wrk.all_denied().is_err(), "one was let through");
        assert!(wrk.all_allowed().is_err());
    }
}
