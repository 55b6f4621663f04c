//! A process that is ended with its owner: a peer, or a server that a measurement needs.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tests::program;

/// How long a process may take to leave after SIGTERM.
const LEAVE: Duration = Duration::from_secs(5);

/// A running process and where its words go.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts it; what it writes goes to `NAME.log` in `directory`.
    pub(crate) fn start(name: &str, directory: &Path, command: &mut Command) -> Result<Self> {
        let log = directory.join(format!("{name}.log"));
        let file = File::create(&log).with_context(|| format!("create {}", log.display()))?;
        command.stdout(file.try_clone()?).stderr(file);
        let child = command.spawn().with_context(|| format!("start {name}: {command:?}"))?;
        Ok(Self { name: name.to_owned(), child, log })
    }

    /// Waits for something that shows that it works; it must not end before.
    pub(crate) fn wait_until(
        &mut self,
        what: &str,
        mut shows: impl FnMut(&str) -> Result<bool>,
    ) -> Result<()> {
        program::wait_for(what, Duration::from_secs(30), || {
            let log = fs::read_to_string(&self.log).unwrap_or_default();
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended with {status}: {}", self.name, tail(&log));
            }
            Ok(shows(&log)?.then_some(()))
        })
        .with_context(|| tail(&fs::read_to_string(&self.log).unwrap_or_default()).to_owned())
    }

    /// Sends a signal by its name.
    pub(crate) fn signal(&self, signal: &str) -> Result<()> {
        let pid = self.child.id().to_string();
        program::run_well(Command::new("kill").args([&format!("-{signal}"), &pid])).map(drop)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        // A process that was stopped hears SIGTERM only when it goes on.
        let told = self.signal("TERM").and_then(|()| self.signal("CONT"));
        let left = told.and_then(|()| {
            program::wait_for("the end of a process", LEAVE, || Ok(self.child.try_wait()?))
        });
        if left.is_err() {
            self.child.kill().ok();
            self.child.wait().ok();
        }
    }
}

/// The last lines of a log.
fn tail(log: &str) -> &str {
    let start = log.char_indices().rev().nth(800).map_or(0, |(at, _)| at);
    log.get(start..).unwrap_or(log)
}
