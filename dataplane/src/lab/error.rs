//! Why a lab could not be made, entered or removed: the operation, its object, and what to do next.
//! The system's own words are the error's source, so print the whole chain.

use std::io;
use std::path::{Path, PathBuf};

/// What went wrong in the lab.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// Namespaces and veths need privileges.
    #[error("a lab makes network namespaces and needs root: run it again with sudo")]
    NotRoot,
    /// The name does not fit into namespace names.
    #[error("`{0}` cannot name a lab: use 1 to 12 of the characters a-z and 0-9")]
    BadName(String),
    /// A file of the lab or of the caller could not be used.
    #[error("cannot {operation} {path}")]
    File {
        /// What was attempted, as a verb.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A manifest is not understood.
    #[error("{path}: {problem}")]
    Manifest {
        /// The file as the caller named it.
        path: PathBuf,
        /// The object and its field, and what would be accepted.
        problem: String,
    },
    /// More pods, services or workers than the lab's ranges have room for.
    #[error("{0}")]
    Capacity(String),
    /// A program the lab calls is missing.
    #[error("`{program}` is not installed: run `apt-get install {package}`, or `make setup`")]
    MissingProgram {
        /// The program's name.
        program: &'static str,
        /// The Debian package that has it.
        package: &'static str,
    },
    /// A program the lab called reported an error.
    #[error("`{command}` failed: {problem}")]
    Command {
        /// The command line.
        command: String,
        /// Its status and what it wrote to standard error.
        problem: String,
    },
    /// The kernel refused a call.
    #[error("cannot {operation}")]
    Kernel {
        /// What was attempted, on which object.
        operation: String,
        /// The system's answer.
        source: nix::Error,
    },
    /// No lab of that name is up.
    #[error("there is no lab `{0}`: make it with `blastdoor lab up --name {0} FILE...`")]
    NoLab(String),
    /// The lab has no such pod.
    #[error("there is no pod `{pod}` in the lab; there are: {known}")]
    NoPod {
        /// The name that was asked for.
        pod: String,
        /// The names that would have been understood.
        known: String,
    },
    /// Containers did not come to listen in time.
    #[error("not listening after {seconds} s: {pods}; the containers' logs are in {logs}")]
    NotReady {
        /// How long was waited.
        seconds: u64,
        /// The pods that are not ready, comma separated.
        pods: String,
        /// Where to look next.
        logs: PathBuf,
    },
    /// The lab's own record does not read.
    #[error("{path} is damaged: remove the lab with `blastdoor lab down`")]
    Record {
        /// The record.
        path: PathBuf,
        /// Where reading stopped.
        source: serde_json::Error,
    },
}

impl LabError {
    /// Maps an I/O error to the operation and file it belongs to.
    pub(crate) fn file(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::File { operation, path, source }
    }

    /// Maps an errno to the operation it belongs to.
    pub(crate) fn kernel(operation: impl Into<String>) -> impl FnOnce(nix::Error) -> Self {
        let operation = operation.into();
        move |source| Self::Kernel { operation, source }
    }
}
