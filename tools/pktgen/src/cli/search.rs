//! `search`.

use std::sync::atomic::{AtomicBool, Ordering};

use pktgen::{
    clock,
    link::{Link, Place},
    measure::Meter,
    mix::Mix,
    pace::{Limit, Pacer},
    rate::{Rate, Unit},
    receive::{Addresses, Receiver},
    report::{self, Latency},
    run,
    search::{self, Goal, Spread, Trial},
    search_report::{ResultOfSize, Searches},
    send::{Mixer, Sender, Source},
};

use super::{
    Failure, OutputArgs, nanos, stop_on_signal,
    traffic::{TrafficArgs, run_number},
};

/// RFC 2544 §9.1, without the wire's checksum.
const RFC2544: [usize; 7] = [60, 124, 252, 508, 1020, 1276, 1514];

#[derive(Debug, clap::Args)]
pub(super) struct SearchArgs {
    /// The interface to send on
    #[arg(long)]
    interface: Place,
    /// The interface to receive on: every frame of it is taken while this runs
    #[arg(long)]
    receive_on: Place,
    #[command(flatten)]
    traffic: TrafficArgs,
    /// Frame sizes to search for one after another, as 60,1514, or `rfc2544` [default: the mix's own]
    #[arg(long, value_parser = sizes)]
    sizes: Option<Sizes>,
    /// Percent of packets that PDR tolerates to be lost; NDR alone without
    #[arg(long, value_parser = percent)]
    pdr: Option<f64>,
    /// Percent of packets that NDR tolerates to be lost
    #[arg(long, default_value = "0", value_parser = percent)]
    ndr: f64,
    /// The highest rate to try, in packets per second [default: what can be sent at most, found by a trial]
    #[arg(long, value_parser = packets)]
    highest: Option<u64>,
    /// Seconds of one trial
    #[arg(long, default_value = "2", value_parser = nanos)]
    seconds: u64,
    /// Percent of a rate to which to search
    #[arg(long, default_value = "1", value_parser = percent)]
    precision: f64,
    /// Trials at each rate; most of them must pass
    #[arg(long, default_value_t = 3)]
    trials: u32,
    /// Times that the whole search is made
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    repeats: u32,
    #[command(flatten)]
    output: OutputArgs,
}

/// Frame sizes.
#[derive(Clone, Debug)]
struct Sizes(Vec<usize>);

fn sizes(text: &str) -> Result<Sizes, String> {
    if text == "rfc2544" {
        return Ok(Sizes(RFC2544.to_vec()));
    }
    text.split(',')
        .map(|size| size.trim().parse().map_err(|_no_number| format!("`{size}` is no size")))
        .collect::<Result<_, _>>()
        .map(Sizes)
}

/// Reads percent as a part.
fn percent(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|percent| (0.0..=100.0).contains(percent))
        .map(|percent: f64| percent / 100.0)
        .ok_or_else(|| "write percent, as in 0.5".to_owned())
}

fn packets(text: &str) -> Result<u64, String> {
    match text.parse() {
        Ok(Rate::Line { from, to, unit: Unit::Packets }) if from == to => Ok(to),
        Ok(_) => Err("write packets per second, as in 50k".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// The two links and how long a trial takes.
struct Bench<'a> {
    sending: Link,
    receiving: Link,
    time: u64,
    stop: &'a AtomicBool,
}

impl Bench<'_> {
    /// One trial of `mix` at `rate`; `rate` 0 is as fast as possible.
    fn trial(&mut self, mix: &Mix, rate: u64) -> Result<Trial, Failure> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(Failure::failed("stopped before a result was found"));
        }
        let limit = Limit { count: None, time: Some(self.time) };
        let asked = if rate == 0 { Rate::Max } else { Rate::constant(rate, Unit::Packets) };
        let pacer = Pacer::new(asked, mix.burst.unwrap_or(1), limit);
        let run = run_number(clock::now());
        let meter = Meter::new(Some(run), mix.streams.len());
        let mut receiver = Receiver::new(&mut self.receiving, meter, Addresses::of(mix))?;
        let source = Source::Mix(Mixer::new(mix));
        let mut sender = Sender::new(&mut self.sending, source, pacer, run, clock::now());
        let course =
            run::exchange(&mut sender, Some(&mut receiver), limit, self.stop, &mut |_| {})?;
        let lost = sender.handed.saturating_sub(receiver.meter.unique());
        let delays = Latency::of(&receiver.meter.delays());
        Ok(Trial {
            rate: if rate == 0 { per_second(sender.handed, course.duration) } else { rate },
            reached: sender.pacer.reached(course.duration).unwrap_or(1.0),
            sent: sender.handed,
            lost,
            loss: report::share(lost, sender.handed),
            own_losses: receiver.own_losses()?.total(),
            p50: delays.p50,
            p99: delays.p99,
            p99_99: delays.p99_99,
        })
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rate of packets, not negative and below 2^53"
)]
fn per_second(count: u64, nanos: u64) -> u64 {
    report::per_second(count, nanos) as u64
}

pub(super) fn search(args: &SearchArgs) -> Result<(), Failure> {
    let stop = stop_on_signal()?;
    let receiving = Link::open(&args.receive_on, 0, true)?;
    let sending = Link::open(&args.interface, 0, false)?;
    let mix = args.traffic.mix(&sending)?;
    let mut limits = Vec::new();
    for link in [&sending, &receiving] {
        report::copy_limit(link, &mut limits);
        report::generic_limit(link, &mut limits);
    }
    let mut bench = Bench { sending, receiving, time: args.seconds, stop: &stop };
    let mixes: Vec<(Option<usize>, Mix)> = match &args.sizes {
        None => vec![(None, mix)],
        Some(Sizes(sizes)) => sizes
            .iter()
            .map(|&size| mix.with_size(size).map(|mix| (Some(size), mix)))
            .collect::<Result<_, _>>()
            .map_err(Failure::wrong)?,
    };
    let goals = std::iter::once(("ndr", args.ndr)).chain(args.pdr.map(|loss| ("pdr", loss)));
    let goals: Vec<(&str, f64)> = goals.collect();
    let mut results = Vec::new();
    for (size, mix) in &mixes {
        let highest = match args.highest {
            Some(highest) => highest,
            None => bench.trial(mix, 0)?.rate,
        };
        // What passes without loss passes where some is tolerated.
        let mut passing = vec![0; args.repeats as usize];
        for &(name, tolerated) in &goals {
            let goal = Goal { loss: tolerated, precision: args.precision, trials: args.trials };
            let mut result = ResultOfSize {
                size: *size,
                goal: name.to_owned(),
                tolerated,
                pps: Spread::default(),
                bounds: Vec::new(),
                trials: Vec::new(),
            };
            let mut rates = Vec::new();
            for passing in &mut passing {
                let found =
                    search::search(&goal, *passing, highest, |rate| bench.trial(mix, rate))?;
                *passing = found.rate;
                rates.push(found.rate);
                result.bounds.push(found.bound);
                result.trials.extend(found.trials);
            }
            result.pps = Spread::of(&rates);
            results.push(result);
        }
    }
    let mut report = Searches {
        kind: "search".to_owned(),
        interface: args.interface.to_string(),
        receive_on: args.receive_on.to_string(),
        seconds: clock::seconds(args.seconds),
        precision: args.precision,
        trials_per_rate: args.trials,
        results,
        limits,
    };
    report.note_limits();
    args.output.print(&report)
}
