//! The command line. Exit codes: 0 done; 1 failed, and standard error says on what and what to do; 2 the arguments are wrong;
//! 3 the configuration or a policy is refused; 4 a privilege, kernel feature or package is missing; 5 no daemon answers. The
//! `policy` commands also say 1 when they found something: a finding, a denial, a difference.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Parser, Subcommand, ValueEnum};
use dataplane::{
    config::{Config, PodPort},
    control::{
        Daemon, RunError,
        socket::{self, Answer, Request},
    },
};

mod lab;
mod policy;

/// The configuration or a policy is refused.
const REFUSED: u8 = 3;
/// A privilege, kernel feature or package is missing.
const MISSING: u8 = 4;
/// No daemon answers.
const UNREACHABLE: u8 = 5;

/// Where a daemon listens unless its configuration names another state directory.
const DEFAULT_SOCKET: &str = "/run/blastdoor/blastdoor.sock";

/// A userspace dataplane that enforces Kubernetes and Cilium network policies without a proxy.
///
/// Exit codes: 0 done, 1 failed (`policy`: something was found), 2 wrong arguments, 3 configuration or policy refused,
/// 4 privilege, kernel feature or package missing, 5 no daemon answers.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon until SIGTERM
    Run {
        /// The configuration, in TOML
        #[arg(long, default_value = "/etc/blastdoor/config.toml")]
        config: PathBuf,
    },
    /// Show ports, workers, endpoints, drops and frames of the running daemon
    Status {
        #[command(flatten)]
        daemon: Running,
        /// Format of the output
        #[arg(short, long, value_enum, default_value_t = Format::Text)]
        output: Format,
    },
    /// Print verdicts as they are given, in the shape of `hubble observe`
    Observe {
        #[command(flatten)]
        daemon: Running,
        /// How many of the past
        #[arg(long, default_value_t = 20)]
        last: usize,
        /// Go on with new ones; requests that are allowed are told only while somebody follows
        #[arg(short, long)]
        follow: bool,
        /// Format of the output
        #[arg(short, long, value_enum, default_value_t = Format::Text)]
        output: Format,
    },
    /// Add and remove pods' interfaces while the daemon runs
    Port {
        #[command(subcommand)]
        action: PortAction,
    },
    /// Open the door again: take our XDP programs off all interfaces that a daemon left closed
    Release {
        /// The configuration, in TOML
        #[arg(long, default_value = "/etc/blastdoor/config.toml")]
        config: PathBuf,
    },
    /// A small cluster in network namespaces, from Kubernetes YAML
    Lab(lab::LabArgs),
    /// The endpoints of the running daemon
    Endpoint {
        #[command(subcommand)]
        action: ListAction,
    },
    /// The identities of the running daemon
    Identity {
        #[command(subcommand)]
        action: ListAction,
    },
    /// What the policies in files say (check, explain, diff) and what the running daemon has in force (explain, get, selectors)
    #[command(subcommand)]
    Policy(policy::PolicyCommand),
}

#[derive(Debug, Subcommand)]
enum PortAction {
    /// Take over an interface
    Add {
        #[command(flatten)]
        daemon: Running,
        /// The node's end of the pod's veth
        interface: String,
        /// The pod, as `namespace/name`
        pod: String,
    },
    /// Give an interface back to the kernel
    Remove {
        #[command(flatten)]
        daemon: Running,
        /// The interface
        interface: String,
    },
}

#[derive(Debug, Subcommand)]
enum ListAction {
    /// List all of them
    ///
    /// Exit codes: 0 listed; 1 no policy is in force; 2 wrong arguments; 5 no daemon answers.
    List {
        #[command(flatten)]
        daemon: Running,
        /// Format of the output
        #[arg(short, long, value_enum, default_value_t = Format::Text)]
        output: Format,
    },
}

/// Which daemon.
#[derive(Debug, clap::Args)]
struct Running {
    /// The daemon's control socket
    #[arg(long, default_value = DEFAULT_SOCKET)]
    socket: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Text,
    /// For programs
    Json,
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Run { config } => return run(&config),
        Command::Status { daemon, output } => ask(&daemon, &Request::Status, output),
        Command::Observe { daemon, last, follow, output } => {
            let json = output == Format::Json;
            ask(&daemon, &Request::Observe { last, follow, json }, output)
        }
        Command::Port { action: PortAction::Add { daemon, interface, pod } } => {
            ask(&daemon, &Request::AddPort(PodPort { interface, pod }), Format::Text)
        }
        Command::Port { action: PortAction::Remove { daemon, interface } } => {
            ask(&daemon, &Request::RemovePort { interface }, Format::Text)
        }
        Command::Endpoint { action: ListAction::List { daemon, output } } => {
            ask(&daemon, &Request::Endpoints, output)
        }
        Command::Identity { action: ListAction::List { daemon, output } } => {
            ask(&daemon, &Request::Identities, output)
        }
        Command::Release { config } => return release(&config),
        Command::Lab(args) => lab::run(args),
        Command::Policy(command) => policy::run(command),
    };
    outcome.unwrap_or_else(|error| fail(&format!("{error:#}"), 1))
}

fn run(path: &Path) -> ExitCode {
    let config = match Config::load(path) {
        Ok(config) => config,
        Err(error) => return fail(&error, REFUSED),
    };
    match Daemon::start(config).and_then(Daemon::run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error @ RunError::Missing(_)) => fail(&error, MISSING),
        Err(error) => fail(&error, 1),
    }
}

fn release(path: &Path) -> ExitCode {
    let config = match Config::load(path) {
        Ok(config) => config,
        Err(error) => return fail(&error, REFUSED),
    };
    match xdp_redirect::release_all(&config.pins()) {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => fail(
            &format!(
                "cannot release the interfaces pinned in {}: {error}",
                config.pins().display()
            ),
            1,
        ),
    }
}

/// Asks the daemon and prints what it answers.
fn ask(daemon: &Running, request: &Request, output: Format) -> anyhow::Result<ExitCode> {
    let mut code = ExitCode::SUCCESS;
    let outcome = socket::ask(&daemon.socket, request, |answer| {
        let printed = match answer {
            Answer::Status(status) => show(&status, output),
            Answer::Endpoints { list } => show(&list, output),
            Answer::Identities { list } => show(&list, output),
            Answer::Rules(rules) => show(&rules, output),
            Answer::Selectors { list } => show(&list, output),
            Answer::Explained { text, .. } => print(&text),
            Answer::Flow { line } => print(&line),
            Answer::Done => Ok(()),
            Answer::Refused { reason } | Answer::Wrong { reason } => {
                code = fail(&reason, 1);
                Ok(())
            }
        };
        // A reader that went away (`| head`) has had enough.
        printed.is_ok() && matches!(request, Request::Observe { .. })
    });
    match outcome {
        Ok(()) => Ok(code),
        Err(error) => Ok(fail(&error, UNREACHABLE)),
    }
}

/// Prints a whole answer: its text, or one line of JSON.
fn show<T: std::fmt::Display + serde::Serialize>(answer: &T, output: Format) -> io::Result<()> {
    match output {
        Format::Json => print(&serde_json::to_string(answer).map_err(io::Error::other)?),
        Format::Text => print(answer.to_string().trim_end()),
    }
}

fn print(line: &str) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{line}")
}

fn fail(reason: &dyn std::fmt::Display, code: u8) -> ExitCode {
    // Nobody is left to tell when standard error is closed.
    let _unheard = writeln!(io::stderr(), "blastdoor: {reason}");
    ExitCode::from(code)
}
