//! A lab of `blastdoor lab`, removed with its owner.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::program;
use crate::status::PodStatus;

/// A lab that is up.
#[derive(Debug)]
pub struct Lab {
    name: String,
    blastdoor: PathBuf,
}

/// How a lab shall be made.
#[derive(Debug, Clone)]
pub struct Shape {
    /// The daemon's workers.
    pub workers: usize,
    /// The pods' MTU; the command's default when `None`.
    pub mtu: Option<u32>,
}

impl Default for Shape {
    /// One worker, or as many as `BLASTDOOR_TEST_WORKERS` says, so that every case can be run with two.
    fn default() -> Self {
        let workers =
            std::env::var("BLASTDOOR_TEST_WORKERS").ok().and_then(|workers| workers.parse().ok());
        Self { workers: workers.unwrap_or(1), mtu: None }
    }
}

impl Lab {
    /// Makes a lab from files, in place of what an earlier run left under this name.
    ///
    /// # Errors
    /// What `blastdoor lab up` said.
    pub fn up(name: &str, shape: &Shape, files: &[PathBuf]) -> Result<Self> {
        let blastdoor = program::ours("blastdoor")?;
        let mut command = Command::new(&blastdoor);
        command.args(["lab", "up", "--name", name, "--workers", &shape.workers.to_string()]);
        if let Some(mtu) = shape.mtu {
            command.args(["--mtu", &mtu.to_string()]);
        }
        program::run_well(command.args(files).stdin(Stdio::null()))?;
        Ok(Self { name: name.to_owned(), blastdoor })
    }

    /// The command line's program.
    #[must_use]
    pub fn blastdoor(&self) -> &Path {
        &self.blastdoor
    }

    /// `/run/blastdoor/<name>`.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        Path::new("/run/blastdoor").join(&self.name)
    }

    /// A command inside a pod (or `node`), to be given its arguments.
    #[must_use]
    pub fn command(&self, pod: &str, program: &str) -> Command {
        let mut command = Command::new(&self.blastdoor);
        command.args(["lab", "exec", "--name", &self.name, pod, "--", program]);
        command.stdin(Stdio::null());
        command
    }

    /// Runs a shell line inside a pod (or `node`).
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn shell(&self, pod: &str, line: &str) -> Result<program::Answer> {
        program::run(self.command(pod, "sh").args(["-c", line]))
    }

    /// The pods, as `blastdoor lab pods -o json` shows them.
    ///
    /// # Errors
    /// When the command fails or its output is not an array.
    pub fn pods(&self) -> Result<Vec<PodStatus>> {
        let mut command = Command::new(&self.blastdoor);
        let text =
            program::run_well(command.args(["lab", "pods", "--name", &self.name, "-o", "json"]))?;
        serde_json::from_str(&text).context("lab pods -o json")
    }

    /// One pod of them, by `namespace/name`.
    ///
    /// # Errors
    /// When there is no such pod.
    pub fn pod(&self, pod: &str) -> Result<PodStatus> {
        let found = self.pods()?.into_iter().find(|status| status.pod == pod);
        found.with_context(|| format!("lab pods shows no {pod}"))
    }

    /// Waits until `pod` listens, having been started again `restarts` times.
    ///
    /// # Errors
    /// When it does not in time.
    pub fn wait(&self, pod: &str, restarts: u64) -> Result<()> {
        let mut command = Command::new(&self.blastdoor);
        let restarts = restarts.to_string();
        command.args(["lab", "wait", "--name", &self.name, pod, "--restarts", &restarts]);
        program::run_well(&mut command).map(drop)
    }

    /// Puts a file into the snapshot directory in one step, as the daemon's users should.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn put(&self, file: &str, text: &str) -> Result<()> {
        let temporary = self.state().join("next.yaml");
        let place = self.state().join("snapshot").join(file);
        fs::write(&temporary, text).with_context(|| format!("write {}", temporary.display()))?;
        fs::rename(&temporary, &place).with_context(|| format!("rename to {}", place.display()))
    }

    /// Takes a file out of the snapshot directory.
    ///
    /// # Errors
    /// When it is not there.
    pub fn take(&self, file: &str) -> Result<()> {
        let place = self.state().join("snapshot").join(file);
        fs::remove_file(&place).with_context(|| format!("remove {}", place.display()))
    }

    /// Removes the lab, and says when something of it would not go.
    ///
    /// # Errors
    /// What `blastdoor lab down` said.
    pub fn down(self) -> Result<()> {
        self.remove()
    }

    fn remove(&self) -> Result<()> {
        let mut command = Command::new(&self.blastdoor);
        program::run_well(command.args(["lab", "down", "--name", &self.name])).map(drop)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // After `down` there is nothing left to remove; after a failure, the failure is what gets reported.
        self.remove().ok();
    }
}
