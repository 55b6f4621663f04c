//! Policies change under running connections: what stays, what goes, and what a bad file cannot do.

use std::fs::{self, File};
use std::process::Child;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tests::client::curl;
use tests::daemon::Daemon;
use tests::lab::Lab;
use tests::program;
use tests::star_wars::{self, Policy};

use crate::Case;
use crate::story::{own_manifests, star_wars_lab};

/// How long the next answer on a connection may take to be seen.
const SOON: Duration = Duration::from_secs(5);

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("reload::an_allowed_connection_survives_every_change", survives),
        Case::new("reload::an_inspected_connection_survives_every_change", judged_survives),
        Case::new(
            "reload::a_connection_that_cannot_be_followed_is_reset_by_an_l7_policy",
            unfollowed_is_reset,
        ),
        Case::new("reload::a_revoked_connection_falls_silent", revoked),
        Case::new("reload::a_bad_snapshot_keeps_the_old_policy", bad_snapshot),
        Case::new("reload::a_compiled_snapshot_is_enforced_and_a_damaged_one_is_not", compiled),
    ]
}

/// A running `steady`, writing its answers into a file.
pub(crate) struct Steady {
    child: Child,
    log: std::path::PathBuf,
}

impl Steady {
    pub(crate) fn start(lab: &Lab, pod: &str, server: &str) -> Result<Self> {
        Self::start_with(lab, pod, server, &[])
    }

    fn start_with(lab: &Lab, pod: &str, server: &str, more: &[&str]) -> Result<Self> {
        let log = lab.state().join(format!("logs/steady-{pod}.log"));
        let steady = program::ours("steady")?.display().to_string();
        let child = lab
            .command(pod, &steady)
            .args([server, "--patience", "3"])
            .args(more)
            .stdout(File::create(&log)?)
            .spawn()
            .context("start steady")?;
        let steady = Self { child, log };
        steady.expect_answers()?;
        Ok(steady)
    }

    fn lines(&self) -> Result<Vec<String>> {
        Ok(fs::read_to_string(&self.log)?.lines().map(str::to_owned).collect())
    }

    /// Waits for three more answers, all of them 200, over the connection it began with.
    pub(crate) fn expect_answers(&self) -> Result<()> {
        let before = self.lines()?.len();
        program::wait_for("three more answers", SOON, || {
            let lines = self.lines()?;
            if let Some(wrong) = lines.iter().find(|line| *line != "200") {
                bail!("after {before} answers: {wrong}");
            }
            Ok((lines.len() >= before + 3).then_some(()))
        })
    }

    /// Waits until it says that its connection is dead, and returns its words.
    pub(crate) fn expect_broken(&self) -> Result<String> {
        program::wait_for("the connection's end", SOON + SOON, || {
            Ok(self.lines()?.into_iter().find(|line| line.starts_with("broken")))
        })
    }
}

impl Drop for Steady {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Opened without any rule and followed since, it is judged when an HTTP rule comes, and never lost.
fn survives() -> Result<()> {
    let manifests = own_manifests();
    let (lab, daemon) = star_wars_lab(&manifests, 1)?;
    let steady = Steady::start(&lab, "tiefighter", "10.96.77.1:80")?;
    for policy in [Policy::L4, Policy::L7, Policy::None, Policy::L7, Policy::L4, Policy::L7] {
        star_wars::set_policy(&lab, &daemon, &manifests, policy)?;
        steady.expect_answers().with_context(|| format!("under {policy:?}"))?;
    }
    drop(steady);
    daemon.stop()?;
    lab.down()
}

/// A connection that began under an L7 policy has been read from its first byte, so it lives on under any policy.
fn judged_survives() -> Result<()> {
    let manifests = own_manifests();
    let (lab, daemon) = star_wars_lab(&manifests, 1)?;
    star_wars::set_policy(&lab, &daemon, &manifests, Policy::L7)?;
    let steady = Steady::start(&lab, "tiefighter", "10.96.77.1:80")?;
    for policy in [Policy::L4, Policy::L7, Policy::None, Policy::L7] {
        star_wars::set_policy(&lab, &daemon, &manifests, policy)?;
        steady.expect_answers().with_context(|| format!("under {policy:?}"))?;
    }
    drop(steady);
    daemon.stop()?;
    lab.down()
}

/// Half a head that has passed unjudged cannot be called back, so such a connection ends at once, visibly, and a new one is judged.
fn unfollowed_is_reset() -> Result<()> {
    let manifests = own_manifests();
    let (lab, daemon) = star_wars_lab(&manifests, 1)?;
    let steady = Steady::start_with(&lab, "tiefighter", "10.96.77.1:80", &["--halves"])?;
    star_wars::set_policy(&lab, &daemon, &manifests, Policy::L7)?;
    let last = steady.expect_broken()?;
    ensure!(last.contains("reset"), "it ended, but not by a reset: {last}");
    drop(steady);
    let again = Steady::start(&lab, "tiefighter", "10.96.77.1:80")?;
    again.expect_answers()?;
    drop(again);
    daemon.stop()?;
    lab.down()
}

fn revoked() -> Result<()> {
    let manifests = own_manifests();
    let (lab, daemon) = star_wars_lab(&manifests, 1)?;
    let rebel = Steady::start(&lab, "xwing", "10.96.77.1:80")?;
    let denied = daemon.drops("policy-denied")?;
    star_wars::set_policy(&lab, &daemon, &manifests, Policy::L4)?;
    rebel.expect_broken()?;
    ensure!(daemon.drops("policy-denied")? > denied, "it fell silent, but not by the policy");
    drop(rebel);
    daemon.stop()?;
    lab.down()
}

/// A policy with a field that nobody knows must be refused, and the one before stays in force.
fn bad_snapshot() -> Result<()> {
    let manifests = own_manifests();
    let (lab, daemon) = star_wars_lab(&manifests, 1)?;
    star_wars::set_policy(&lab, &daemon, &manifests, Policy::L7)?;
    let epoch = daemon.epoch()?;
    let good = fs::read_to_string(manifests.join("sw_l3_l4_l7_policy.yaml"))?;
    let mut told = String::new();
    for (bad, reason) in [
        (good.replace("fromEndpoints", "fromEndpoint"), "fromEndpoint"),
        (good.replace("spec:", "spec: ["), ""),
    ] {
        lab.put("policy.yaml", &bad)?;
        told = program::wait_for("another refusal in the status", SOON, || {
            let refused = daemon.status()?.policy.refused.join("\n");
            Ok((!refused.is_empty() && refused != told).then_some(refused))
        })
        .with_context(|| daemon.log_text())?;
        ensure!(
            told.contains("policy.yaml") && told.contains(reason),
            "the refusal names neither file nor field: {told}"
        );
        ensure!(daemon.epoch()? == epoch, "a bad snapshot came into force");
        expect_denied(&lab)?;
    }
    daemon.reload(|| lab.put("policy.yaml", &good))?;
    expect_denied(&lab)?;
    daemon.stop()?;
    lab.down()
}

/// `policy compile` makes what a daemon loads; one that is damaged on its way is refused, and the one before stays.
fn compiled() -> Result<()> {
    let manifests = own_manifests();
    let (lab, daemon) = star_wars_lab(&manifests, 1)?;
    daemon.stop()?;
    let file = lab.state().join("policy.blastdoor");
    let compile = || {
        let mut command = std::process::Command::new(lab.blastdoor());
        command.args(["policy", "compile"]).arg(lab.state().join("snapshot"));
        program::run_well(command.arg("-o").arg(&file)).map(drop)
    };
    compile()?;
    let config = fs::read_to_string(lab.state().join("config.toml"))?;
    let own = config.lines().map(|line| match line.starts_with("snapshot") {
        true => format!("snapshot = {:?}", file.display().to_string()),
        false => line.to_owned(),
    });
    let place = lab.state().join("compiled.toml");
    fs::write(&place, own.collect::<Vec<_>>().join("\n"))?;
    let daemon = Daemon::start_with(&lab, &place)?;
    let reply = curl(&lab, "xwing", 3, &["-XPOST", "10.96.77.1/v1/request-landing"])?;
    ensure!(reply.status() == Some(200), "without a policy everyone lands: {reply:?}");

    lab.put("policy.yaml", &fs::read_to_string(manifests.join("sw_l3_l4_l7_policy.yaml"))?)?;
    daemon.reload(compile)?;
    expect_denied(&lab)?;
    let epoch = daemon.epoch()?;
    let good = fs::read(&file)?;
    for (damage, said) in [
        (good.get(..good.len() / 2).unwrap_or_default().to_vec(), "truncated"),
        (good.iter().rev().copied().collect(), "not a compiled snapshot"),
        ([good.clone(), vec![0]].concat(), "bytes long and not"),
    ] {
        let beside = lab.state().join("damaged");
        fs::write(&beside, damage)?;
        fs::rename(&beside, &file)?;
        program::wait_for("the refusal in the status", SOON, || {
            let refused = daemon.status()?.policy.refused.join("\n");
            Ok((refused.contains("policy.blastdoor") && refused.contains(said)).then_some(()))
        })
        .with_context(|| format!("{said}: {}", daemon.log_text()))?;
        ensure!(daemon.epoch()? == epoch, "a damaged snapshot came into force");
        expect_denied(&lab)?;
    }
    daemon.stop()?;
    lab.down()
}

fn expect_denied(lab: &Lab) -> Result<()> {
    let url = "deathstar.default.svc.cluster.local/v1/exhaust-port";
    let reply = curl(lab, "tiefighter", 3, &["-XPUT", url])?;
    ensure!(reply.status() == Some(403), "the old policy is not in force: {reply:?}");
    Ok(())
}
