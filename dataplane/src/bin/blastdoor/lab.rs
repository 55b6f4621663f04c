//! `blastdoor lab`: arguments arrive, a lab is made, entered, shown or removed.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand, ValueEnum};
use dataplane::lab::commands::{self, Wanted};
use dataplane::lab::plan::DEFAULT_MTU;
use dataplane::lab::{LabError, LabName, PodStatus, kubelet};

/// A small cluster in network namespaces, from Kubernetes YAML.
#[derive(Debug, Args)]
pub(crate) struct LabArgs {
    #[command(subcommand)]
    command: LabCommand,
}

#[derive(Debug, Subcommand)]
enum LabCommand {
    /// Make a lab: a namespace, addresses and a veth per pod, servers running, service names resolving
    Up {
        #[command(flatten)]
        lab: Lab,
        /// MTU between pods, in bytes; what leaves the node keeps to 1500
        #[arg(long, default_value_t = DEFAULT_MTU, value_parser = clap::value_parser!(u32).range(1280..=65535))]
        mtu: u32,
        /// Workers of the daemon, each pinned to a core of its own (the last ones)
        #[arg(long, default_value_t = 1)]
        workers: usize,
        /// Kubernetes YAML: Pods, Deployments, Services, Namespaces; other kinds go to the snapshot as they are
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Run a command in a pod, or on the node
    Exec {
        #[command(flatten)]
        lab: Lab,
        /// A pod's name, `namespace/name`, or `node`
        pod: String,
        /// The command and its arguments
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
    /// Remove a lab with everything in it
    Down {
        #[command(flatten)]
        lab: Lab,
    },
    /// Show the pods of a lab
    Pods {
        #[command(flatten)]
        lab: Lab,
        /// Format of the output
        #[arg(short, long, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// Wait until a pod (or every pod) listens
    Wait {
        #[command(flatten)]
        lab: Lab,
        /// A pod's name or `namespace/name`; every pod when absent
        pod: Option<String>,
        /// Only once it has been started again this often
        #[arg(long, default_value_t = 0)]
        restarts: u32,
        /// Seconds to wait at most
        #[arg(long, default_value_t = 15)]
        timeout: u64,
    },
    /// Supervise the containers of a lab (started by `lab up`)
    #[command(hide = true)]
    Kubelet {
        #[command(flatten)]
        lab: Lab,
    },
}

#[derive(Debug, Args)]
struct Lab {
    /// The lab's name
    #[arg(long, default_value = "lab")]
    name: LabName,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Output {
    Table,
    Json,
}

/// Runs the subcommand. `exec` ends with the command's own exit code, or 127 when it could not be run.
pub(crate) fn run(args: LabArgs) -> Result<ExitCode> {
    match args.command {
        LabCommand::Up { lab, mtu, workers, files } => {
            up(&lab.name, &Wanted { files, mtu, workers })?;
        }
        LabCommand::Exec { lab, pod, command } => {
            let error = commands::exec(&lab.name, &pod, &command);
            let not_run = matches!(error, LabError::File { operation: "run", .. });
            writeln!(std::io::stderr(), "blastdoor: {:#}", anyhow::Error::new(error))?;
            return Ok(if not_run { ExitCode::from(127) } else { ExitCode::FAILURE });
        }
        LabCommand::Down { lab } => {
            let there = commands::down(&lab.name)?;
            let text = if there { "is gone" } else { "was not there" };
            writeln!(std::io::stdout(), "lab {} {text}", lab.name)?;
        }
        LabCommand::Pods { lab, output } => show(&commands::pods(&lab.name)?, output)?,
        LabCommand::Wait { lab, pod, restarts, timeout } => {
            commands::wait(&lab.name, pod.as_deref(), restarts, timeout)?;
        }
        LabCommand::Kubelet { lab } => kubelet::run(&lab.name)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn up(name: &LabName, wanted: &Wanted) -> Result<()> {
    let lab = commands::up(name, wanted)?;
    if lab.replaced {
        writeln!(std::io::stdout(), "(removed what an earlier lab `{name}` had left)\n")?;
    }
    show(&lab.pods, Output::Table)?;
    let mut out = std::io::stdout().lock();
    for (service, addresses) in &lab.services {
        writeln!(out, "service {service}  {addresses}")?;
    }
    let option = if name.as_str() == "lab" { String::new() } else { format!(" --name {name}") };
    writeln!(out, "\nNext:")?;
    writeln!(
        out,
        "  blastdoor lab exec{option} node -- blastdoor run --config {}",
        lab.state.config().display()
    )?;
    writeln!(out, "  blastdoor lab exec{option} POD -- curl -s http://SERVICE/")?;
    writeln!(out, "  blastdoor lab down{option}")?;
    Ok(())
}

fn show(pods: &[PodStatus], output: Output) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match output {
        Output::Json => writeln!(out, "{}", serde_json::to_string_pretty(pods)?)?,
        Output::Table => {
            let width = pods.iter().map(|pod| pod.pod.len()).max().unwrap_or(0).max(3);
            writeln!(
                out,
                "{:width$}  {:5}  {:8}  {:12}  {:8}  RUNS",
                "POD", "READY", "RESTARTS", "IPV4", "IPV6"
            )?;
            for pod in pods {
                let ready = if pod.ready { "yes" } else { "no" };
                let (ipv4, ipv6) = (pod.ipv4.to_string(), pod.ipv6.to_string());
                writeln!(
                    out,
                    "{:width$}  {ready:5}  {:<8}  {ipv4:12}  {ipv6:8}  {}",
                    pod.pod, pod.restarts, pod.runs
                )?;
            }
        }
    }
    Ok(())
}
