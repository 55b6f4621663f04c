//! The command line. Exit codes, as `blastdoor`'s: 0 done; 1 failed, and standard error says on what; 2 the arguments are wrong;
//! 4 a privilege or kernel feature is missing.
#![forbid(unsafe_code)]

use std::{
    io::{self, Write},
    net::IpAddr,
    num::NonZeroU64,
    process::ExitCode,
    time::Duration,
};

use clap::{ArgGroup, Parser, Subcommand, ValueEnum};
use parser::{emit::Envelope, ethernet::MacAddress};
use pktgen::{
    mac,
    pace::{Limit, Pace},
    packet::Stream,
    report::Report,
    send,
};

/// The arguments are wrong.
const WRONG: u8 = 2;
/// A privilege or kernel feature is missing.
const MISSING: u8 = 4;

/// Send packets through AF_XDP.
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
    /// Send UDP datagrams with a sequence number as payload
    Send(SendArgs),
}

#[derive(Debug, clap::Args)]
#[command(group(ArgGroup::new("limit").required(true).args(["count", "seconds"])))]
struct SendArgs {
    /// The interface to send on
    #[arg(long)]
    interface: String,
    /// Its queue
    #[arg(long, default_value_t = 0)]
    queue: u32,
    /// The sending station
    #[arg(long, value_parser = mac::parse)]
    source_mac: MacAddress,
    /// The receiving station
    #[arg(long, value_parser = mac::parse)]
    destination_mac: MacAddress,
    /// The sender's address, IPv4 or IPv6
    #[arg(long)]
    source: IpAddr,
    /// The receiver's address, of the same version
    #[arg(long)]
    destination: IpAddr,
    /// The sender's port
    #[arg(long, default_value_t = 40_000)]
    src_port: u16,
    /// The receiver's port; 9 is discard
    #[arg(long, default_value_t = 9)]
    dst_port: u16,
    /// Bytes of a frame, Ethernet header included
    #[arg(long, default_value_t = 128)]
    size: usize,
    /// Stop after this many packets
    #[arg(long)]
    count: Option<u64>,
    /// Stop after this many seconds
    #[arg(long)]
    seconds: Option<u64>,
    /// Packets per second; as fast as possible without
    #[arg(long)]
    rate: Option<NonZeroU64>,
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

fn main() -> ExitCode {
    let Command::Send(args) = Cli::parse().command;
    let limit = match (args.count, args.seconds) {
        (Some(count), _) => Limit::Count(count),
        (None, seconds) => Limit::Time(Duration::from_secs(seconds.unwrap_or(0))),
    };
    let envelope = Envelope {
        source_mac: args.source_mac,
        destination_mac: args.destination_mac,
        source: args.source,
        destination: args.destination,
        hop_limit: 64,
        traffic_class: 0,
    };
    let mut stream = match Stream::new(envelope, args.src_port, args.dst_port, args.size) {
        Ok(stream) => stream,
        Err(error) => return fail(&error, WRONG),
    };
    let pace = Pace { rate: args.rate, limit };
    match send::send(&args.interface, args.queue, &mut stream, &pace) {
        Ok(report) => match print(&report, args.output) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&format!("cannot print the report: {error}"), 1),
        },
        Err(error) if error.is_missing() => fail(&error, MISSING),
        Err(error) => fail(&error, 1),
    }
}

fn print(report: &Report, output: Format) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match output {
        Format::Text => writeln!(out, "{report}"),
        Format::Json => {
            writeln!(out, "{}", serde_json::to_string(report).map_err(io::Error::other)?)
        }
    }
}

fn fail(reason: &dyn std::fmt::Display, code: u8) -> ExitCode {
    // Nobody is left to tell when standard error is closed.
    let _unheard = writeln!(io::stderr(), "pktgen: {reason}");
    ExitCode::from(code)
}
