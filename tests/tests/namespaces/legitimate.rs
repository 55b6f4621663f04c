//! Honest traffic through the L7 path: real TCP and real clients, byte for byte, and no false reset, in good and bad weather.
//!
//! `legitimate/clients.py` holds many conversations at a time (keep-alive, pipelines with a denied request among them, chunks,
//! `Expect`, HEAD, half-close, WebSocket) with `legitimate/echo.js`. `BLASTDOOR_LEGITIMATE_CONNECTIONS` (300 unless given) says
//! how many; a fifth of them again while each pod loses one packet in a hundred, by nftables, as not every kernel has netem.

use std::env;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use tests::daemon::Daemon;
use tests::lab::{Lab, Shape};
use tests::program;

use crate::Case;
use crate::story::expect_balance;

const NEEDS: &[crate::Program] =
    &[("node", "nodejs"), ("python3", "python3"), ("nft", "nftables"), ("wrk", "wrk")];
const LOSS: &str = "nft 'add table inet loss; \
                    add chain inet loss input { type filter hook input priority 0; }; \
                    add rule inet loss input numgen random mod 100 == 0 counter drop'";

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("legitimate::every_byte_arrives_and_nothing_is_reset", every_byte).with(NEEDS),
        Case::new("legitimate::curl_and_wrk_are_served", curl_and_wrk).with(NEEDS),
    ]
}

/// What `clients.py` reports.
#[derive(Debug, Deserialize)]
struct Conversations {
    connections: u64,
    requests: u64,
    wrong: Vec<String>,
    wrongs: u64,
}

fn scripts() -> PathBuf {
    program::project_root().join("tests/tests/namespaces/legitimate")
}

fn up() -> Result<(Lab, Daemon)> {
    let directory = tempfile::tempdir()?;
    let here = scripts().display().to_string();
    let text = fs::read_to_string(scripts().join("cluster.yaml"))?.replace("HERE", &here);
    let file = directory.path().join("cluster.yaml");
    fs::write(&file, text)?;
    let lab = Lab::up("test", &Shape::default(), &[file])?;
    let daemon = Daemon::start(&lab)?;
    lab.wait("default/server", 0)?;
    Ok((lab, daemon))
}

fn every_byte() -> Result<()> {
    let (lab, daemon) = up()?;
    let asked = env::var("BLASTDOOR_LEGITIMATE_CONNECTIONS").ok();
    let connections: u64 = asked.map_or(Ok(300), |text| text.parse())?;
    converse(&lab, connections, 1)?;
    for pod in ["client", "server"] {
        let answer = lab.shell(pod, LOSS)?;
        ensure!(answer.succeeded(), "loss in {pod}: {answer}");
    }
    converse(&lab, connections.div_ceil(5), 2)?;
    for pod in ["client", "server"] {
        let rules = lab.shell(pod, "nft list ruleset")?.stdout;
        ensure!(!rules.contains("packets 0 "), "nothing was lost in {pod}: {rules}");
    }
    for reason in ["stream-conflict", "stream-budget", "stream-ambiguous", "bad-checksum"] {
        let drops = daemon.drops(reason)?;
        ensure!(drops == 0, "{drops} segments of honest ends were dropped as {reason}");
    }
    expect_balance(&daemon)?;
    daemon.stop()?;
    lab.down()
}

fn converse(lab: &Lab, connections: u64, seed: u64) -> Result<()> {
    let mut command = lab.command("client", "python3");
    command.arg(scripts().join("clients.py")).arg(lab.pod("default/server")?.ipv4);
    command.args([connections.to_string(), seed.to_string()]);
    let text = program::run_well(&mut command)?;
    let done: Conversations =
        serde_json::from_str(&text).with_context(|| format!("what clients.py reports: {text}"))?;
    ensure!(done.wrongs == 0, "{} of {} went wrong: {:#?}", done.wrongs, connections, done.wrong);
    ensure!(done.connections == connections && done.requests > connections, "{done:?}");
    Ok(())
}

/// Large bodies both ways by curl, with and without `Expect`, and wrk's keep-alive connections.
fn curl_and_wrk() -> Result<()> {
    let (lab, daemon) = up()?;
    let server = lab.pod("default/server")?.ipv4;
    let url = format!("http://{server}/allow");
    for line in [
        format!(
            "head -c 20000000 /dev/urandom > $F; test \"$(curl -sS -m 60 --data-binary @$F {url}/x)\" = \"POST 20000000 $(sha256sum < $F | cut -d' ' -f1)\""
        ),
        format!(
            "head -c 9000000 /dev/urandom > $F; test \"$(curl -sS -m 60 -T - -H Expect: {url}/x < $F)\" = \"PUT 9000000 $(sha256sum < $F | cut -d' ' -f1)\""
        ),
        format!("curl -sS -m 60 {url}/bytes/30000000 > $F; test $(stat -c %s $F) = 30000000"),
        format!("curl -sS -m 60 {url}/chunks/9000000 > $F; test $(stat -c %s $F) = 9000000"),
        format!(
            "test $(curl -sS -m 20 -o $F -o $F -o $F -w '%{{http_code}} ' -I {url}/x {url}/x {url}/x | wc -w) = 3"
        ),
        format!(
            "wrk -t 1 -c 20 -d 1s {url}/bytes/100 > $F; grep -q 'requests in' $F && ! grep -qE 'Non-2xx|Socket errors' $F"
        ),
    ] {
        let answer = lab.shell("client", &format!("F=$(mktemp); trap 'rm -f $F' EXIT; {line}"))?;
        ensure!(answer.succeeded(), "{line}: {answer}");
    }
    expect_balance(&daemon)?;
    daemon.stop()?;
    lab.down()
}
