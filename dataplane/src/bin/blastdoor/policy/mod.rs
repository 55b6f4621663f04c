//! `blastdoor policy`: what the policies in files say, without a daemon, and what the running daemon has in force.
//!
//! Paths and questions arrive; findings, an explanation or a list of changes leave on standard output, for people or as one
//! line of JSON, and an exit code for CI. Each command has its file. Invariant: what these commands read goes through the same
//! loader, compiler and oracle as the daemon's policy, so they refuse what it refuses.

use std::{io, path::PathBuf, process::ExitCode};

use anyhow::{Context, Result};
use clap::{Subcommand, ValueEnum};
use dataplane::control::socket::Request;
use policy_table::{Enforcement, Settings};
use serde::Serialize;

use super::{Format, Running, ask, print};

mod check;
mod compile;
mod diff;
mod explain;
mod load;
mod remark;

/// Something was found: a finding, a denial, a difference.
const FOUND: u8 = 1;
/// The arguments are wrong.
const WRONG: u8 = 2;

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Validate policies, and point out what is valid and probably not meant
    ///
    /// All paths together are one snapshot. Each line is `file:line: severity: object: message`; a severity is `refused`
    /// (cannot be enforced as written), `error` (a part of a rule cannot work and allows nothing), `warning` (probably not
    /// what was meant) or `info`. A count goes to standard error.
    ///
    /// Exit codes: 0 clean, or nothing above info; 1 warnings or errors; 2 wrong arguments; 3 refused.
    Check {
        /// Files, and directories whose *.yaml, *.yml and *.json are read (not their subdirectories)
        #[arg(required = true)]
        paths: Vec<PathBuf>,
        /// Format of the output
        #[arg(short, long, value_enum, default_value_t = Format::Text)]
        output: Format,
    },
    /// Compile policies and the cluster they are about into one file, which a daemon loads at once
    ///
    /// All paths together are one snapshot, as for `check`. The file holds the table and the files it was made of, so
    /// `check`, `explain` and `diff` read it too; `snapshot = "FILE"` in the daemon's configuration enforces it. It is
    /// written beside itself first, so a daemon that watches it never sees half of it.
    ///
    /// Exit codes: 0 written; 1 it could not be; 2 wrong arguments; 3 refused.
    Compile {
        /// Files, and directories whose *.yaml, *.yml and *.json are read (not their subdirectories)
        #[arg(required = true)]
        paths: Vec<PathBuf>,
        /// The file to write
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
        /// Which endpoints are under policy; a daemon that is configured otherwise compiles the files in it again
        #[arg(long, value_enum, default_value_t = Mode::Default)]
        enforcement: Mode,
    },
    /// Say what becomes of a flow or a request, which rule decides, and what would let it pass
    ///
    /// Asks files (--snapshot) or the running daemon (--socket).
    ///
    /// Exit codes: 0 allowed; 1 denied; 2 wrong arguments, or there is no such pod; 3 the snapshot is refused; 5 no daemon
    /// answers.
    Explain(explain::ExplainArgs),
    /// Show the rules in force and what each did: connections and requests let through, packets denied
    ///
    /// A rule with nothing but zeros is dead, or another one decides before it. A hit is counted for the one rule that
    /// `observe` names. Connections count when they open, and again when a new policy is taken up while they live. Counters
    /// begin with the daemon and belong to a rule's reference: kind, name, field, file and line.
    ///
    /// Exit codes: 0 shown; 1 no policy is in force; 2 wrong arguments; 5 no daemon answers.
    Get {
        #[command(flatten)]
        daemon: Running,
        /// Format of the output
        #[arg(short, long, value_enum, default_value_t = Format::Text)]
        output: Format,
    },
    /// Show the selectors of peers in the rules in force, who uses them, and the identities they select
    ///
    /// Exit codes: 0 shown; 1 no policy is in force; 2 wrong arguments; 5 no daemon answers.
    Selectors {
        #[command(flatten)]
        daemon: Running,
        /// Format of the output
        #[arg(short, long, value_enum, default_value_t = Format::Text)]
        output: Format,
    },
    /// Say which flows and requests two snapshots treat differently
    ///
    /// Pods are compared that both snapshots have. Exit codes: 0 no difference; 1 differences; 2 wrong arguments; 3 one of
    /// the two is refused.
    Diff {
        /// The snapshot before: a directory or a file
        old: PathBuf,
        /// The snapshot after
        new: PathBuf,
        /// Which endpoints are under policy
        #[arg(long, value_enum, default_value_t = Mode::Default)]
        enforcement: Mode,
        /// Format of the output
        #[arg(short, long, value_enum, default_value_t = Format::Text)]
        output: Format,
    },
}

/// Cilium's policy enforcement modes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// Those that a rule selects
    Default,
    /// All
    Always,
    /// None
    Never,
}

impl Mode {
    fn settings(self) -> Settings {
        let enforcement = match self {
            Self::Default => Enforcement::Default,
            Self::Always => Enforcement::Always,
            Self::Never => Enforcement::Never,
        };
        Settings { enforcement, ..Settings::default() }
    }
}

/// Runs one of the commands.
pub(crate) fn run(command: PolicyCommand) -> Result<ExitCode> {
    match command {
        PolicyCommand::Check { paths, output } => check::check(&paths, output),
        PolicyCommand::Compile { paths, output, enforcement } => {
            compile::compile(&paths, &output, enforcement)
        }
        PolicyCommand::Explain(args) => explain::tell(&args),
        PolicyCommand::Get { daemon, output } => ask(&daemon, &Request::Rules, output),
        PolicyCommand::Selectors { daemon, output } => ask(&daemon, &Request::Selectors, output),
        PolicyCommand::Diff { old, new, enforcement, output } => {
            diff::compare(&old, &new, enforcement, output)
        }
    }
}

/// Prints a line; a reader that went away (`| head`) has had enough.
fn say(line: &str) -> Result<()> {
    match print(line) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to standard output")
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

fn say_json(value: &impl Serialize) -> Result<()> {
    say(&serde_json::to_string(value)?)
}
