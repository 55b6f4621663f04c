//! The command line.

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

fn main() -> anyhow::Result<ExitCode> {
    match Cli::parse().command {
        Command::Lab(args) => lab::run(args),
    }
}
