//! A lab comes, is entered, and goes without a trace, whatever happened to it in between.

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tests::client::Reply;
use tests::daemon::Daemon;
use tests::lab::{Lab, Shape};
use tests::program;
use tests::star_wars;

use crate::Case;
use crate::story::own_manifests;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("lifecycle::a_lab_leaves_no_trace", no_trace),
        Case::new("lifecycle::a_pod_sees_its_network_and_its_names", pod_view),
        Case::new("lifecycle::a_dead_container_is_started_again", restart),
        Case::new("lifecycle::leftovers_of_a_killed_run_are_replaced", leftovers),
        Case::new("lifecycle::a_mistake_is_named_and_nothing_is_left", mistakes),
        Case::new("lifecycle::a_daemon_that_leaves_on_sigterm_leaves_the_door_closed", sigterm),
    ]
}

fn up(name: &str) -> Result<Lab> {
    Lab::up(name, &Shape::default(), &[star_wars::app_file(&own_manifests())?])
}

/// Everything on this machine that could belong to the lab `name`.
fn traces(name: &str) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for (directory, prefix) in
        [("/run/netns", format!("bd-{name}-")), ("/run/blastdoor", name.to_owned())]
    {
        let Ok(entries) = fs::read_dir(directory) else { continue };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        found.extend(names.filter(|entry| entry.starts_with(&prefix) && !entry.ends_with(".lock")));
    }
    let mounts = fs::read_to_string("/proc/mounts")?;
    let state = format!("/run/blastdoor/{name}/");
    found.extend(mounts.lines().filter(|line| line.contains(&state)).map(str::to_owned));
    let processes = program::run(Command::new("ps").args(["-eo", "pid,stat,args"]))?.stdout;
    let ours = format!("--name {name}");
    found.extend(
        processes
            .lines()
            .filter(|line| line.contains(&ours) || line.contains(&state))
            .map(str::to_owned),
    );
    Ok(found)
}

fn no_trace() -> Result<()> {
    let links = || program::run_well(Command::new("ip").args(["-o", "link"]));
    let before = links()?;
    let lab = up("trace")?;
    ensure!(!traces("trace")?.is_empty(), "the search for traces finds nothing even now");
    ensure!(links()? == before, "the machine's own links changed");
    lab.down()?;
    let left = traces("trace")?;
    ensure!(left.is_empty(), "left behind: {left:?}");
    Ok(())
}

fn pod_view() -> Result<()> {
    let lab = up("test")?;
    let view = lab.shell(
        "tiefighter",
        "ip -o addr show dev eth0; ip route; ip -6 route; ethtool -k eth0; \
         getent ahostsv4 deathstar.default.svc.cluster.local; echo name=$POD_NAME",
    )?;
    let status = lab.pod("default/tiefighter")?;
    for expected in [
        format!("{}/32", status.ipv4),
        format!("{}/128", status.ipv6),
        "default via 10.77.0.1 dev eth0 onlink".to_owned(),
        "default via fd77::1 dev eth0".to_owned(),
        "tx-checksumming: off".to_owned(),
        "10.96.77.1".to_owned(),
        "name=tiefighter".to_owned(),
    ] {
        ensure!(view.stdout.contains(&expected), "no `{expected}` in: {view}");
    }
    ensure!(lab.shell("tiefighter", "exit 7")?.code == Some(7), "an exit code was lost");
    let hosts = fs::read_to_string("/etc/hosts")?;
    ensure!(!hosts.contains("deathstar"), "a pod's hosts file shows outside: {hosts}");
    lab.down()
}

fn restart() -> Result<()> {
    let lab = up("test")?;
    let pods = lab.pods()?;
    let station = pods.iter().find(|status| status.pod.contains("deathstar"));
    let station = station.context("no deathstar among the pods")?;
    let name = station.pod.trim_start_matches("default/");
    let url = format!("http://{}/v1/exhaust-port", station.ipv4);
    let reply = tests::client::curl(&lab, name, 3, &["-XPUT", &url])?;
    ensure!(reply.status() == Some(503), "{reply:?}");
    lab.wait(&station.pod, 1)?;
    lab.down()
}

fn leftovers() -> Result<()> {
    let lab = up("left")?;
    let daemon = Daemon::start(&lab)?;
    let kubelet = fs::read_to_string(lab.state().join("kubelet.json"))?;
    let kubelet: serde_json::Value = serde_json::from_str(&kubelet)?;
    let pid = kubelet.get("pid").context("no pid in kubelet.json")?.to_string();
    program::run_well(Command::new("kill").args(["-9", &pid]))?;
    daemon.kill()?;
    ensure!(!traces("left")?.is_empty(), "a killed run leaves nothing, so this shows nothing");
    let again = up("left")?;
    let daemon = Daemon::start(&again)?;
    daemon.stop()?;
    again.down()?;
    // The first lab is gone with the second: same name, same things.
    drop(lab);
    let left = traces("left")?;
    ensure!(left.is_empty(), "left behind: {left:?}");
    Ok(())
}

fn mistakes() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("job.yaml");
    fs::write(&file, "kind: Job\nmetadata: {name: j}\n")?;
    let app = star_wars::app_file(&own_manifests())?;
    let blastdoor = program::ours("blastdoor")?;
    for (arguments, file, expected) in [
        (&["--name", "mistake"][..], &file, "job.yaml: kind Job"),
        (&["--name", "a-b"][..], &app, "cannot name a lab"),
        (&["--name", "mistake", "--workers", "9999"][..], &app, "9999 workers need as many cores"),
        (&["--name", "mistake"][..], &"no-such-file".into(), "cannot read no-such-file"),
    ] {
        let mut command = Command::new(&blastdoor);
        let answer = program::run(command.args(["lab", "up"]).args(arguments).arg(file))?;
        ensure!(
            !answer.succeeded() && answer.stderr.contains(expected),
            "{command:?}: expected `{expected}`, got {answer}"
        );
    }
    ensure!(traces("mistake")?.is_empty(), "left behind: {:?}", traces("mistake")?);
    Ok(())
}

/// Whoever stops it on purpose (an upgrade) gets what a crash gets: pods are cut until the next one takes over.
fn sigterm() -> Result<()> {
    let lab = up("test")?;
    let daemon = Daemon::start(&lab)?;
    daemon.stop()?;
    let socket = lab.state().join("blastdoor.sock");
    ensure!(!socket.exists(), "the control socket stayed behind");
    let landing = || {
        let url = "deathstar.default.svc.cluster.local/v1/request-landing";
        tests::client::curl(&lab, "tiefighter", 1, &["-XPOST", url])
    };
    let cut = landing()?;
    ensure!(cut == Reply::Silence, "a pod got through without a daemon: {cut:?}");
    let daemon = Daemon::start(&lab)?;
    // The pod's kernel asked in vain for the gateway's address, and may have to fail before it asks again.
    program::wait_for("traffic through the successor", Duration::from_secs(5), || {
        Ok(landing()?.says("Ship landed").then_some(()))
    })?;
    daemon.stop()?;
    lab.down()
}
