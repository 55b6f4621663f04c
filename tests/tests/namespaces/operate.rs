//! What an operator does to a running daemon: watch verdicts, add and remove ports, lose an interface, open the door.

use anyhow::{Context, Result, ensure};
use tests::client::{Reply, curl};
use tests::daemon::Daemon;
use tests::lab::Lab;
use tests::program::{self, Answer};
use tests::star_wars::{self, Policy};

use std::process::Command;
use std::time::Duration;

use crate::Case;
use crate::story::{expect_balance, own_manifests, star_wars_lab};

pub(crate) const LANDING: &str = "deathstar.default.svc.cluster.local/v1/request-landing";
pub(crate) const EXHAUST: &str = "deathstar.default.svc.cluster.local/v1/exhaust-port";

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("operate::observe_tells_who_was_denied_what", observe),
        Case::new("operate::a_port_comes_and_goes_while_the_daemon_runs", port),
        Case::new("operate::an_interface_that_vanishes_takes_only_itself", vanished),
        Case::new("operate::release_opens_the_door", release),
        Case::new("operate::a_missing_capability_is_named", capability)
            .with(&[("setpriv", "util-linux")]),
    ]
}

/// Runs a subcommand that talks to the daemon.
pub(crate) fn ask(lab: &Lab, arguments: &[&str]) -> Result<String> {
    let mut command = Command::new(lab.blastdoor());
    command.args(arguments).arg("--socket").arg(lab.state().join("blastdoor.sock"));
    program::run_well(&mut command)
}

/// Waits for a line of `observe` that has all the `parts`.
pub(crate) fn expect_line(lab: &Lab, output: &str, parts: &[&str]) -> Result<String> {
    let mut seen = String::new();
    program::wait_for(&format!("{parts:?} in observe"), Duration::from_secs(3), || {
        seen = ask(lab, &["observe", "--last", "200", "-o", output])?;
        let mut lines = seen.lines();
        Ok(lines.find(|line| parts.iter().all(|part| line.contains(part))).map(str::to_owned))
    })
    .with_context(|| seen.clone())
}

fn observe() -> Result<()> {
    let manifests = own_manifests();
    let (lab, daemon) = star_wars_lab(&manifests, 1)?;
    star_wars::set_policy(&lab, &daemon, &manifests, Policy::L7)?;
    curl(&lab, "xwing", 1, &["-XPOST", LANDING])?;
    curl(&lab, "tiefighter", 3, &["-XPUT", EXHAUST])?;
    expect_line(
        &lab,
        "text",
        &[
            "default/xwing:",
            " -> default/deathstar-",
            ":80 (ID:",
            "policy-verdict:none",
            "DENIED (TCP Flags: SYN)",
        ],
    )?;
    expect_line(
        &lab,
        "text",
        &[
            "default/tiefighter:",
            "http-request DROPPED BY CiliumNetworkPolicy default/rule1 spec.ingress[0] (",
            &format!("(HTTP/1.1 PUT http://{EXHAUST}; no HTTP rule matches)"),
        ],
    )?;
    let line = expect_line(&lab, "json", &["xwing", "POLICY_DENIED"])?;
    let event: serde_json::Value = serde_json::from_str(&line)?;
    for (field, expected) in [
        ("/flow/verdict", "DROPPED"),
        ("/flow/drop_reason_desc", "POLICY_DENIED"),
        ("/flow/source/pod_name", "xwing"),
        ("/flow/source/namespace", "default"),
        ("/flow/traffic_direction", "INGRESS"),
    ] {
        let found = event.pointer(field).and_then(serde_json::Value::as_str);
        ensure!(found == Some(expected), "{field} is {found:?} in {line}");
    }
    let port = event.pointer("/flow/l4/TCP/destination_port");
    ensure!(port.is_some_and(|port| port == 80), "no destination port in {line}");
    daemon.stop()?;
    lab.down()
}

/// The interface of a pod, from the daemon's own status.
fn interface_of(daemon: &Daemon, pod: &str) -> Result<String> {
    let ports = daemon.status()?.ports;
    let port = ports.into_iter().find(|port| port.pod.as_deref() == Some(pod));
    port.map(|port| port.name).with_context(|| format!("{pod} has no port"))
}

fn port() -> Result<()> {
    let (lab, daemon) = star_wars_lab(&own_manifests(), 1)?;
    let landing = |seconds| curl(&lab, "xwing", seconds, &["-XPOST", LANDING]);
    ensure!(landing(3)?.says("Ship landed"), "no traffic to begin with");
    let interface = interface_of(&daemon, "default/xwing")?;
    ask(&lab, &["port", "remove", &interface])?;
    ensure!(interface_of(&daemon, "default/xwing").is_err(), "the port is still there");
    let cut = landing(1)?;
    ensure!(cut == Reply::Silence, "a pod without a port got through: {cut:?}");
    ask(&lab, &["port", "add", &interface, "default/xwing"])?;
    program::wait_for("traffic through the added port", Duration::from_secs(5), || {
        Ok(landing(1)?.says("Ship landed").then_some(()))
    })?;
    expect_balance(&daemon)?;
    daemon.stop()?;
    lab.down()
}

fn vanished() -> Result<()> {
    let (lab, daemon) = star_wars_lab(&own_manifests(), 1)?;
    let landing = |pod| curl(&lab, pod, 3, &["-XPOST", LANDING]);
    ensure!(landing("xwing")?.says("Ship landed"), "no traffic to begin with");
    let interface = interface_of(&daemon, "default/xwing")?;
    let deleted = lab.shell("node", &format!("ip link del {interface}"))?;
    ensure!(deleted.succeeded(), "{deleted}");
    program::wait_for("the port to be gone or down", Duration::from_secs(5), || {
        let ports = daemon.status()?.ports;
        Ok(ports.iter().all(|port| port.name != interface || !port.up).then_some(()))
    })?;
    ensure!(landing("tiefighter")?.says("Ship landed"), "the others lost their traffic, too");
    expect_balance(&daemon)?;
    daemon.stop()?;
    lab.down()
}

fn release() -> Result<()> {
    let (lab, daemon) = star_wars_lab(&own_manifests(), 1)?;
    let programs = || -> Result<usize> {
        Ok(lab.shell("node", "ip -o link")?.stdout.matches("prog/xdp").count())
    };
    ensure!(programs()? > 0, "the search for programs finds none even now");
    daemon.stop()?;
    ensure!(programs()? > 0, "the door is open without having been opened");
    let blastdoor = lab.blastdoor().display().to_string();
    let config = lab.state().join("config.toml");
    let released =
        program::run(lab.command("node", &blastdoor).args(["release", "--config"]).arg(config))?;
    ensure!(released.succeeded(), "{released}");
    ensure!(programs()? == 0, "a program stayed: {}", lab.shell("node", "ip -o link")?);
    lab.down()
}

/// Root without capabilities, as in a container that was not given them.
fn capability() -> Result<()> {
    let lab =
        Lab::up("test", &tests::lab::Shape::default(), &[star_wars::app_file(&own_manifests())?])?;
    let config = lab.state().join("config.toml");
    let without = |capability: &str| -> Result<Answer> {
        let mut command = lab.command("node", "setpriv");
        command
            .arg(format!("--bounding-set=-{capability}"))
            .arg(format!("--inh-caps=-{capability}"));
        program::run(command.arg(lab.blastdoor()).args(["run", "--config"]).arg(&config))
    };
    for capability in ["net_admin", "net_raw", "ipc_lock", "bpf"] {
        let answer = without(capability)?;
        let name = format!("CAP_{}", capability.to_uppercase());
        ensure!(
            answer.code == Some(4) && answer.stderr.contains(&name),
            "without {capability}: {answer}"
        );
    }
    lab.down()
}
