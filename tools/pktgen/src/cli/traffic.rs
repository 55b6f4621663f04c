//! `send` and `receive`.

use std::{path::PathBuf, sync::Arc};

use clap::ArgGroup;
use pktgen::{
    clock,
    link::{Link, Place},
    measure::Meter,
    mix::{Mix, StreamArgs},
    pace::{Limit, Pacer},
    progress::Progress,
    rate::Rate,
    receive::{Addresses, Receiver},
    replay::Recording,
    report::{Limitation, Traffic},
    run,
    send::{Mixer, Sender, Source},
    values,
};

use super::{Failure, OutputArgs, nanos, stop_on_signal};

/// What to send.
#[derive(Debug, clap::Args)]
pub(super) struct TrafficArgs {
    /// Streams from a TOML file, instead of one from the arguments below
    #[arg(long)]
    mix: Option<PathBuf>,
    #[command(flatten)]
    stream: StreamArgs,
    /// Where random fields start from; the same seed sends the same packets [default: the mix's, or 0]
    #[arg(long)]
    seed: Option<u64>,
}

#[derive(Debug, clap::Args)]
#[command(group(ArgGroup::new("limit").required(true).multiple(true).args(["count", "seconds"])))]
pub(super) struct SendArgs {
    /// The interface to send on
    #[arg(long)]
    interface: Place,
    /// Its queue
    #[arg(long, default_value_t = 0)]
    queue: u32,
    /// The interface to receive on: every frame of it is taken while this runs
    #[arg(long)]
    receive_on: Option<Place>,
    #[command(flatten)]
    traffic: TrafficArgs,
    /// Frames of a pcap or pcapng file, as they were captured, again and again
    #[arg(long, conflicts_with = "mix")]
    replay: Option<PathBuf>,
    /// Stop after this many packets
    #[arg(long)]
    count: Option<u64>,
    /// Stop after this many seconds
    #[arg(long, value_parser = nanos)]
    seconds: Option<u64>,
    /// Packets per second (50000, 50k, 1.5M), bits per second (100Mbit, 2Gbit), a ramp (10k..100k), `max`, or for --replay
    /// `recorded` [default: the mix's; recorded for --replay; else max]
    #[arg(long)]
    rate: Option<String>,
    /// Packets sent back to back at this rate [default: the mix's, or 1]
    #[arg(long)]
    burst: Option<u64>,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, clap::Args)]
pub(super) struct ReceiveArgs {
    /// The interface to receive on: every frame of it is taken while this runs
    #[arg(long)]
    interface: Place,
    /// Its queue
    #[arg(long, default_value_t = 0)]
    queue: u32,
    /// Stop after this many different packets
    #[arg(long)]
    count: Option<u64>,
    /// Stop after this many seconds
    #[arg(long, value_parser = nanos)]
    seconds: Option<u64>,
    #[command(flatten)]
    output: OutputArgs,
}

impl TrafficArgs {
    /// Reads the streams; `link` is where they will be sent.
    pub(super) fn mix(&self, link: &Link) -> Result<Mix, Failure> {
        let own_mac = link.mac.to_string();
        let Some(path) = &self.mix else {
            return self.stream.to_mix(self.seed.unwrap_or(0), &own_mac).map_err(Failure::wrong);
        };
        if !self.stream.is_empty() {
            return Err(Failure::wrong("--mix says what is sent: leave the stream's fields out"));
        }
        let mut mix = Mix::read(path, &own_mac).map_err(Failure::wrong)?;
        mix.seed = self.seed.unwrap_or(mix.seed);
        Ok(mix)
    }
}

/// A number that packets of this run and of no other carry.
pub(super) fn run_number(now: u64) -> u16 {
    let [first, second, ..] = values::mix(now ^ u64::from(std::process::id())).to_be_bytes();
    u16::from_be_bytes([first, second])
}

/// Everything about what is sent.
struct Cargo {
    source: Source,
    pacer: Pacer,
    rate: String,
    names: Vec<String>,
    addresses: Addresses,
    left_out: usize,
}

fn cargo(args: &SendArgs, link: &Link, limit: Limit) -> Result<Cargo, Failure> {
    let rate = |text: &str| text.parse::<Rate>().map_err(Failure::wrong);
    if let Some(path) = &args.replay {
        if !args.traffic.stream.is_empty() {
            return Err(Failure::wrong(
                "--replay says what is sent: leave the stream's fields out",
            ));
        }
        let recording = Recording::read(path).map_err(Failure::wrong)?;
        let text = args.rate.clone().unwrap_or_else(|| "recorded".to_owned());
        let pacer = if text == "recorded" {
            Pacer::recorded(Arc::clone(&recording.offsets), recording.pass(), limit)
        } else {
            Pacer::new(rate(&text)?, args.burst.unwrap_or(1), limit)
        };
        return Ok(Cargo {
            pacer,
            rate: text,
            names: vec![path.display().to_string()],
            addresses: Addresses::default(),
            left_out: recording.left_out,
            source: Source::Recording(recording),
        });
    }
    let mix = args.traffic.mix(link)?;
    let rate = match &args.rate {
        Some(text) => rate(text)?,
        None => mix.rate.unwrap_or(Rate::Max),
    };
    let is_ramp = matches!(rate, Rate::Line { from, to, .. } if from != to);
    if is_ramp && limit.time.is_none() {
        return Err(Failure::wrong("a ramp needs --seconds: it lasts as long as the run"));
    }
    let mixer = Mixer::new(&mix);
    Ok(Cargo {
        pacer: Pacer::new(rate, args.burst.or(mix.burst).unwrap_or(1), limit),
        rate: rate.to_string(),
        names: mixer.names(),
        addresses: Addresses::of(&mix),
        left_out: 0,
        source: Source::Mix(mixer),
    })
}

pub(super) fn send(args: &SendArgs) -> Result<(), Failure> {
    let stop = stop_on_signal()?;
    let limit = Limit { count: args.count, time: args.seconds };
    let mut receiving = match &args.receive_on {
        Some(place) => Some(Link::open(place, args.queue, true)?),
        None => None,
    };
    let mut link = Link::open(&args.interface, args.queue, false)?;
    let cargo = cargo(args, &link, limit)?;
    let run = run_number(clock::now());
    let mut receiver = match &mut receiving {
        Some(link) => {
            let meter = Meter::new(Some(run), cargo.names.len());
            Some(Receiver::new(link, meter, cargo.addresses)?)
        }
        None => None,
    };
    let mut sender = Sender::new(&mut link, cargo.source, cargo.pacer, run, clock::now());
    let mut progress = Progress::new(receiver.is_some());
    let course = run::exchange(&mut sender, receiver.as_mut(), limit, &stop, &mut |sample| {
        progress.show(sample);
    });
    progress.end();
    let mut report =
        Traffic::new(&course?, &cargo.rate, &cargo.names, Some(&sender), receiver.as_ref())?;
    if cargo.left_out > 0 {
        let text = format!(
            "{} packets of the recording were not sent: they were captured in part, or no frame of the memory holds them",
            cargo.left_out
        );
        report.limits.push(Limitation::new("left-out", text));
    }
    args.output.print(&report)
}

pub(super) fn receive(args: &ReceiveArgs) -> Result<(), Failure> {
    let stop = stop_on_signal()?;
    let limit = Limit { count: args.count, time: args.seconds };
    let mut link = Link::open(&args.interface, args.queue, true)?;
    let mut receiver = Receiver::new(&mut link, Meter::new(None, 0), Addresses::default())?;
    let mut progress = Progress::new(true);
    let course = run::listen(&mut receiver, limit, &stop, &mut |sample| progress.show(sample));
    progress.end();
    args.output.print(&Traffic::new(&course?, "", &[], None, Some(&receiver))?)
}
