//! kill -9 of the daemon: the pods are cut at once, the node is not, and the next daemon takes over the same ports.

use std::{
    io::{self, Write},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Result, bail, ensure};
use tests::client::{Reply, curl};
use tests::daemon::Daemon;
use tests::program;
use tests::star_wars::{self, Policy};

use crate::Case;
use crate::story::{expect_balance, own_manifests, star_wars_lab};

const LANDING: &str = "deathstar.default.svc.cluster.local/v1/request-landing";

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("crash::a_killed_daemon_closes_the_door_and_its_successor_opens_it", || door(1)),
        Case::new("crash::the_same_with_two_workers", || door(2)),
    ]
}

fn door(workers: usize) -> Result<()> {
    let manifests = own_manifests();
    let (lab, daemon) = star_wars_lab(&manifests, workers)?;
    star_wars::set_policy(&lab, &daemon, &manifests, Policy::L4)?;
    let landing = |seconds| curl(&lab, "tiefighter", seconds, &["-XPOST", LANDING]);
    ensure!(landing(3)?.says("Ship landed"), "no traffic before the crash");
    let links = || program::run_well(Command::new("ip").args(["-o", "link"]));
    let before = links()?;

    daemon.kill()?;
    let cut = landing(1)?;
    ensure!(cut == Reply::Silence, "a pod got through without a daemon: {cut:?}");
    let direct = lab.shell("xwing", "curl -sS --max-time 1 http://10.77.0.2/v1/")?;
    ensure!(!direct.succeeded(), "a pod got through by address: {direct}");
    let neighbour =
        lab.shell("xwing", "ip neigh flush all; curl -s --max-time 1 10.77.0.1; ip neigh")?;
    ensure!(!neighbour.stdout.contains("REACHABLE"), "somebody answers ARP: {neighbour}");
    // The node's own stack goes on: over its loopback, and the machine's links are as they were.
    let deathstar = program::ours("deathstar")?.display().to_string();
    let mut server = lab
        .command("node", &deathstar)
        .args(["--listen", "127.0.0.1:8080"])
        .stdout(Stdio::null())
        .spawn()?;
    let own = program::wait_for("the node's own traffic", Duration::from_secs(3), || {
        let reply = curl(&lab, "node", 1, &["http://127.0.0.1:8080/v1/"])?;
        Ok((reply.status() == Some(200)).then_some(()))
    });
    server.kill()?;
    server.wait()?;
    own?;
    ensure!(links()? == before, "the machine's own links changed");

    let start = program::now();
    let daemon = Daemon::start(&lab)?;
    let back = landing(3)?;
    let took = program::now().duration_since(start);
    ensure!(back.says("Ship landed"), "no traffic through the successor: {back:?}");
    writeln!(io::stdout(), "crash: from the successor's start to the first answer: {took:?}")?;
    // Its kernel asked in vain for the gateway, and may have to fail (curl 7) before it asks again.
    program::wait_for("the rebel's silence", Duration::from_secs(5), || {
        match curl(&lab, "xwing", 1, &["-XPOST", LANDING])? {
            Reply::Silence => Ok(Some(())),
            Reply::Failure(7, _) => Ok(None),
            other => bail!("the successor forgot the policy: {other:?}"),
        }
    })?;
    expect_balance(&daemon)?;
    daemon.stop()?;
    lab.down()
}
