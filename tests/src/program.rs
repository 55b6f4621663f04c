//! Programs: where ours lie, and how one is run and its answer kept.

use std::env;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// The pause between two looks at something that is awaited.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A program of this workspace: beside the running one (a binary) or one directory up (a test).
///
/// # Errors
/// When it has not been built.
pub fn ours(name: &str) -> Result<PathBuf> {
    let own = env::current_exe().context("cannot find the running program")?;
    let beside = own.ancestors().skip(1).take(2).map(|directory| directory.join(name));
    beside.into_iter().find(|path| path.is_file()).with_context(|| {
        format!("`{name}` is not beside {}: run `cargo build --workspace --bins`", own.display())
    })
}

/// The project's own files, where the workspace lies now or lay when this was built.
#[must_use]
pub fn project_root() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own).to_path_buf()
}

/// What a program wrote, as text.
#[derive(Debug)]
pub struct Answer {
    /// Exit code; `None` after a signal.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Answer {
    /// Whether it ended with 0.
    #[must_use]
    pub fn succeeded(&self) -> bool {
        self.code == Some(0)
    }
}

impl From<Output> for Answer {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Self {
            code: output.status.code(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code {
            Some(code) => write!(f, "exit code {code}")?,
            None => write!(f, "ended by a signal")?,
        }
        for (name, text) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            if !text.trim().is_empty() {
                write!(f, "\n  {name}: {}", text.trim().replace('\n', "\n          "))?;
            }
        }
        Ok(())
    }
}

/// Runs a command to its end, whatever that is.
///
/// # Errors
/// When it cannot be started.
pub fn run(command: &mut Command) -> Result<Answer> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    Ok(output.into())
}

/// Runs a command that must succeed; returns its standard output.
///
/// # Errors
/// When it does not end with 0, with everything it said.
pub fn run_well(command: &mut Command) -> Result<String> {
    let answer = run(command)?;
    if answer.succeeded() { Ok(answer.stdout) } else { bail!("{command:?}: {answer}") }
}

/// Looks until `look` finds something, at most for `limit`.
///
/// # Errors
/// `what` was not seen in time; or the first error of `look`.
pub fn wait_for<T>(
    what: &str,
    limit: Duration,
    mut look: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let start = now();
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if now().duration_since(start) >= limit {
            bail!("not seen within {} s: {what}", limit.as_secs());
        }
        thread::sleep(LOOK_EVERY);
    }
}

/// The time.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "a test's clock, not a worker's")]
pub fn now() -> Instant {
    Instant::now()
}
