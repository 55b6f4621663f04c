//! The command line.

use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod lab;

/// A userspace dataplane that enforces Kubernetes and Cilium network policies without a proxy.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// A small cluster in network namespaces, from Kubernetes YAML
    Lab(lab::LabArgs),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Lab(args) => lab::run(args),
    };
    outcome.unwrap_or_else(|error| {
        // Nobody is left to tell when standard error is closed.
        writeln!(std::io::stderr(), "blastdoor: {error:#}").ok();
        ExitCode::FAILURE
    })
}
