//! The commands: arguments arrive, a report goes to standard output.

mod connections;
mod page;
mod search;
mod traffic;

use std::{
    fmt,
    io::{self, Write},
    sync::{Arc, atomic::AtomicBool},
};

use clap::{Parser, Subcommand, ValueEnum};
use pktgen::{clock::SECOND, link::LinkError, run::RunError, send::SendError};
use serde::Serialize;
use signal_hook::consts::{SIGINT, SIGTERM};

/// Something failed.
const FAILED: u8 = 1;
/// The arguments are wrong.
const WRONG: u8 = 2;
/// A privilege or kernel feature is missing.
const MISSING: u8 = 4;

/// Generate and receive packets through AF_XDP.
///
/// Interfaces are written as veth0, or namespace/veth0 for one in a named network namespace (`ip netns`). SIGINT ends a run and
/// still reports.
///
/// Exit codes: 0 done, 1 failed, 2 wrong arguments, 4 privilege or kernel feature missing.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Send numbered packets; with --receive-on also receive and compare them
    Send(Box<traffic::SendArgs>),
    /// Receive what another pktgen sends, until a limit or SIGINT
    Receive(traffic::ReceiveArgs),
    /// Find the highest rates without loss (NDR, RFC 2544's throughput) or with a tolerated one (PDR)
    Search(Box<search::SearchArgs>),
    /// Open TCP connections and send HTTP/1.1 requests; with --serve-on also answer them
    Connect(Box<connections::ConnectArgs>),
    /// Answer every HTTP/1.1 request, on every port, until a limit or SIGINT
    Serve(connections::ServeArgs),
    /// Make one HTML page with plots of the JSON that the other commands printed
    Report(page::ReportArgs),
}

/// How a report is printed.
#[derive(Debug, clap::Args)]
struct OutputArgs {
    /// Format of the output
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    output: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Text,
    /// For programs
    Json,
}

/// Why the program ends, and with which code.
#[derive(Debug)]
pub(crate) struct Failure {
    /// What to say.
    pub(crate) reason: String,
    /// The exit code.
    pub(crate) code: u8,
}

impl Failure {
    fn failed(error: impl fmt::Display) -> Self {
        Self { reason: error.to_string(), code: FAILED }
    }

    fn wrong(error: impl fmt::Display) -> Self {
        Self { reason: error.to_string(), code: WRONG }
    }
}

impl From<LinkError> for Failure {
    fn from(error: LinkError) -> Self {
        let code = if error.is_missing() { MISSING } else { FAILED };
        Self { reason: error.to_string(), code }
    }
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Link(error) | RunError::Send(SendError::Link(error)) => error.into(),
            RunError::Send(error) => Self::failed(error),
            RunError::Wait(_) => Self::failed(error),
        }
    }
}

/// Does what the command line asks for.
pub(crate) fn run() -> Result<(), Failure> {
    match Cli::parse().command {
        Command::Send(args) => traffic::send(&args),
        Command::Receive(args) => traffic::receive(&args),
        Command::Connect(args) => connections::connect(&args),
        Command::Serve(args) => connections::serve(&args),
        Command::Search(args) => search::search(&args),
        Command::Report(args) => page::report(&args),
    }
}

/// Set by SIGINT and SIGTERM: what runs should end and report.
fn stop_on_signal() -> Result<Arc<AtomicBool>, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop)).map_err(Failure::failed)?;
    }
    Ok(stop)
}

/// Reads seconds with a fraction as nanoseconds.
fn nanos(text: &str) -> Result<u64, String> {
    let refused = || format!("`{text}`: write seconds, as in 10 or 0.5");
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let part = format!("{part:0<9}");
    let is_digits = |digits: &str| digits.bytes().all(|digit| digit.is_ascii_digit());
    if whole.is_empty() || part.len() > 9 || !is_digits(whole) || !is_digits(&part) {
        return Err(refused());
    }
    let whole: u64 = whole.parse().map_err(|_beyond| refused())?;
    let part: u64 = part.parse().map_err(|_beyond| refused())?;
    whole.checked_mul(SECOND).and_then(|nanos| nanos.checked_add(part)).ok_or_else(refused)
}

impl OutputArgs {
    /// Prints a report.
    fn print(&self, report: &(impl fmt::Display + Serialize)) -> Result<(), Failure> {
        let text = match self.output {
            Format::Text => report.to_string(),
            Format::Json => serde_json::to_string(report).map_err(Failure::failed)? + "\n",
        };
        io::stdout()
            .lock()
            .write_all(text.as_bytes())
            .map_err(|error| Failure::failed(format!("cannot print the report: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn seconds_may_have_a_fraction() {
        assert_eq!(nanos("10"), Ok(10 * SECOND));
        assert_eq!(nanos("0.25"), Ok(SECOND / 4));
        assert_eq!(nanos("0.000000001"), Ok(1));
        for wrong in ["", ".5", "-1", "1e3", "0.0000000001", "99999999999999"] {
            assert!(nanos(wrong).is_err(), "{wrong}");
        }
    }
}
