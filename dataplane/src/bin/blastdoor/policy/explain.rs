//! `blastdoor policy explain`: what becomes of a flow or a request, and why.
//!
//! A question arrives; an explanation leaves, for people or as one line of JSON. Files and the running daemon are asked the same
//! way (`control/question.rs`).

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Result;
use clap::{Args, ValueEnum};
use dataplane::control::{
    question::{self, Asked, Told},
    socket::{self, Answer, Request},
};
use policy_table::{Identities, Protocol, Table};

use super::{
    super::{DEFAULT_SOCKET, Format, UNREACHABLE, fail},
    FOUND, Mode, WRONG,
    load::{load, refused},
    say, say_json,
};

/// Whose policy.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct FromWhere {
    /// Directory or file with the cluster and its policies; may be given more than once
    #[arg(long, value_name = "DIR")]
    snapshot: Vec<PathBuf>,
    /// The running daemon's control socket: the policy that it has in force
    #[arg(long, num_args = 0..=1, default_missing_value = DEFAULT_SOCKET)]
    socket: Option<PathBuf>,
}

/// A question.
#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    #[command(flatten)]
    from_where: FromWhere,
    /// Who asks: `namespace/pod`, `namespace/workload` when its pods are alike, or an address
    #[arg(long)]
    from: String,
    /// Who is asked: as --from, or `namespace/service`, whose port is translated to its pods'
    #[arg(long)]
    to: String,
    /// The destination port; for ICMP the message type
    #[arg(long)]
    port: u16,
    /// The protocol
    #[arg(long, value_enum, ignore_case = true, default_value_t = Transport::Tcp)]
    protocol: Transport,
    /// The method of the request; GET if only other parts of a request are given
    #[arg(long)]
    method: Option<String>,
    /// The path and query of the request, normalised, as the server will see it; `/` if only other parts are given
    #[arg(long)]
    path: Option<String>,
    /// The host of the request, with its port if the request gives one
    #[arg(long)]
    host: Option<String>,
    /// A header field of the request, `Name: value`; may be given more than once
    #[arg(long = "header", value_name = "FIELD", value_parser = header)]
    headers: Vec<(String, String)>,
    /// Which endpoints are under policy; the running daemon knows that itself
    #[arg(long, value_enum, default_value_t = Mode::Default, conflicts_with = "socket")]
    enforcement: Mode,
    /// Format of the output
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    output: Format,
}

/// What carries the flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Transport {
    /// TCP
    Tcp,
    /// UDP
    Udp,
    /// SCTP
    Sctp,
    /// ICMP for IPv4
    Icmp,
    /// ICMP for IPv6
    Icmpv6,
}

impl ExplainArgs {
    fn asked(&self) -> Asked {
        Asked {
            from: self.from.clone(),
            to: self.to.clone(),
            port: self.port,
            protocol: self.protocol.protocol().0,
            method: self.method.clone(),
            path: self.path.clone(),
            host: self.host.clone(),
            headers: self.headers.clone(),
        }
    }
}

impl Transport {
    fn protocol(self) -> Protocol {
        match self {
            Self::Tcp => Protocol::TCP,
            Self::Udp => Protocol::UDP,
            Self::Sctp => Protocol::SCTP,
            Self::Icmp => Protocol::ICMP,
            Self::Icmpv6 => Protocol::ICMPV6,
        }
    }
}

/// Runs the command.
pub(super) fn tell(args: &ExplainArgs) -> Result<ExitCode> {
    let asked = args.asked();
    if let Some(socket) = &args.from_where.socket {
        return ask_daemon(socket, asked, args.output);
    }
    let snapshot = match load(&args.from_where.snapshot) {
        Ok(loaded) => loaded.snapshot,
        Err(refusals) => return Ok(refused(&refusals)),
    };
    let settings = args.enforcement.settings();
    let table = Table::compile(&snapshot, &settings, &mut Identities::default(), 0);
    match question::answer(&snapshot, &settings, &table, |_pods| Vec::new(), &asked) {
        Ok((told, text)) => say_told(&told, &text, args.output),
        Err(wrong) => Ok(fail(&wrong, WRONG)),
    }
}

fn ask_daemon(socket: &Path, asked: Asked, output: Format) -> Result<ExitCode> {
    let mut outcome = Ok(ExitCode::SUCCESS);
    let reached = socket::ask(socket, &Request::Explain(asked), |answer| {
        outcome = match answer {
            Answer::Explained { told, text } => say_told(&told, &text, output),
            Answer::Wrong { reason } => Ok(fail(&reason, WRONG)),
            Answer::Refused { reason } => Ok(fail(&reason, FOUND)),
            other => Ok(fail(&format!("the daemon gave another answer: {other:?}"), FOUND)),
        };
        false
    });
    match reached {
        Ok(()) => outcome,
        Err(error) => Ok(fail(&error, UNREACHABLE)),
    }
}

fn say_told(told: &Told, text: &str, output: Format) -> Result<ExitCode> {
    match output {
        Format::Json => say_json(told)?,
        Format::Text => say(text.trim_end())?,
    }
    Ok(if told.passes() { ExitCode::SUCCESS } else { ExitCode::from(FOUND) })
}

fn header(text: &str) -> Result<(String, String), String> {
    match text.split_once(':') {
        Some((name, value)) if !name.trim().is_empty() => {
            Ok((name.trim().to_owned(), value.trim().to_owned()))
        }
        Some(_) | None => Err("must be `Name: value`".to_owned()),
    }
}
