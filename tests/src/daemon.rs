//! A daemon running in a lab's node, and what its control socket says.

use std::fs::{self, OpenOptions};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::lab::Lab;
use crate::program;
use crate::status::Status;

/// How long a daemon may take until its ports are up.
const START: Duration = Duration::from_secs(20);
/// How long a changed snapshot may take until it is in force.
const RELOAD: Duration = Duration::from_secs(10);
/// How long a daemon may take to leave after SIGTERM.
const LEAVE: Duration = Duration::from_secs(5);

/// A running daemon, ended with its owner.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    blastdoor: PathBuf,
    socket: PathBuf,
    log: PathBuf,
}

impl Daemon {
    /// Starts `blastdoor run` on the lab's node and waits until every port is up.
    ///
    /// # Errors
    /// What the daemon wrote, when it ends or does not come up.
    pub fn start(lab: &Lab) -> Result<Self> {
        Self::start_with(lab, &lab.state().join("config.toml"))
    }

    /// Starts with another configuration file.
    ///
    /// # Errors
    /// As [`Daemon::start`].
    pub fn start_with(lab: &Lab, config: &std::path::Path) -> Result<Self> {
        let log = lab.state().join("logs/daemon.log");
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log)
            .with_context(|| format!("open {}", log.display()))?;
        let program = lab.blastdoor().display().to_string();
        let child = lab
            .command("node", &program)
            .arg("run")
            .arg("--config")
            .arg(config)
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .context("start the daemon")?;
        let mut daemon = Self {
            child,
            blastdoor: lab.blastdoor().to_path_buf(),
            socket: lab.state().join("blastdoor.sock"),
            log,
        };
        let pods = lab.pods()?.len();
        program::wait_for("every port up", START, || daemon.look_for_ports(pods))
            .map_err(|error| error.context(format!("the daemon's log: {}", daemon.log_text())))?;
        Ok(daemon)
    }

    fn look_for_ports(&mut self, pods: usize) -> Result<Option<()>> {
        if let Some(status) = self.child.try_wait()? {
            bail!("the daemon ended with {status}");
        }
        // Until the socket is there, asking fails, and that is no error yet.
        let Ok(status) = self.status() else { return Ok(None) };
        if status.policy.epoch == 0 && !status.policy.refused.is_empty() {
            bail!("the first snapshot was refused");
        }
        let up = status.ports.iter().filter(|port| port.up).count();
        Ok((up == status.ports.len() && up >= pods).then_some(()))
    }

    /// `blastdoor status -o json`.
    ///
    /// # Errors
    /// When the daemon does not answer.
    pub fn status(&self) -> Result<Status> {
        let mut command = Command::new(&self.blastdoor);
        command.args(["status", "-o", "json", "--socket"]).arg(&self.socket);
        let text = program::run_well(command.stdin(Stdio::null()))?;
        serde_json::from_str(&text).context("status -o json")
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The generation of the policy in force.
    ///
    /// # Errors
    /// When the daemon does not answer.
    pub fn epoch(&self) -> Result<u64> {
        Ok(self.status()?.policy.epoch)
    }

    /// Does `change`, then waits until a later policy than before it is in force.
    ///
    /// # Errors
    /// The change's, or that no new epoch came.
    pub fn reload(&self, change: impl FnOnce() -> Result<()>) -> Result<u64> {
        let before = self.epoch()?;
        change()?;
        program::wait_for("a new policy epoch", RELOAD, || {
            Ok(Some(self.epoch()?).filter(|epoch| *epoch > before))
        })
        .with_context(|| format!("the daemon's log: {}", self.log_text()))
    }

    /// How many packets were dropped for a reason, by its name in `status`.
    ///
    /// # Errors
    /// When the daemon does not answer.
    pub fn drops(&self, reason: &str) -> Result<u64> {
        Ok(self.status()?.drops(reason))
    }

    /// What the daemon wrote so far.
    #[must_use]
    pub fn log_text(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Ends it at once, as a crash would.
    ///
    /// # Errors
    /// When it cannot be signalled.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill().context("kill the daemon")?;
        self.child.wait().context("wait for the daemon")?;
        Ok(())
    }

    /// Asks it to leave and expects exit code 0.
    ///
    /// # Errors
    /// When it does not leave, or not with 0.
    pub fn stop(mut self) -> Result<()> {
        let status = self.leave()?;
        if status.success() {
            Ok(())
        } else {
            bail!("the daemon ended with {status}: {}", self.log_text())
        }
    }

    fn leave(&mut self) -> Result<std::process::ExitStatus> {
        let pid = self.child.id().to_string();
        program::run_well(Command::new("kill").args(["-TERM", &pid]))?;
        program::wait_for("the daemon's end after SIGTERM", LEAVE, || Ok(self.child.try_wait()?))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // `kill` and `stop` have waited for it; otherwise a failure is on its way that matters more than this one.
        if matches!(self.child.try_wait(), Ok(None)) && self.leave().is_err() {
            self.child.kill().ok();
            self.child.wait().ok();
        }
    }
}
