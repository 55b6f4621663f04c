//! What was done: counts arrive, text for people or JSON for programs leaves. The JSON's fields are described in README.md and
//! keep their names.
//!
//! A report also names what the run could not do, so that no figure is taken for more than it is.

use std::fmt;

use dataplane::umem::kernel::CopyMode;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use xdp_redirect::Mode;

use crate::{
    clock,
    link::{Link, LinkError, OwnLosses},
    receive::Receiver,
    run::{Course, Sample},
    send::Sender,
};

/// A rate that was reached to this share was reached.
pub const REACHED: f64 = 0.99;

/// What a run could not do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limitation {
    /// Its kind, a word for programs.
    pub what: String,
    /// What happened, for people.
    pub text: String,
}

impl Limitation {
    /// A limitation.
    pub fn new(what: &str, text: String) -> Self {
        Self { what: what.to_owned(), text }
    }
}

/// The outcome of a run of generated or replayed packets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Traffic {
    /// `traffic`.
    pub kind: String,
    /// What was sent, if this process sent.
    pub tx: Option<Tx>,
    /// What was received, if this process received.
    pub rx: Option<Rx>,
    /// Stream by stream.
    pub streams: Vec<StreamReport>,
    /// How the counts grew.
    pub series: Vec<Sample>,
    /// What the run could not do.
    pub limits: Vec<Limitation>,
}

/// The sender's side.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tx {
    /// The interface.
    pub interface: String,
    /// `copy` or `zero-copy`, as the kernel answered.
    pub mode: String,
    /// The rate asked for, as written.
    pub rate: String,
    /// What part of the rate was reached; none for `max` and for a recording's own timing at most 1.
    pub reached: Option<f64>,
    /// Packets put into the transmit ring.
    pub handed: u64,
    /// Packets whose chunks the kernel gave back. It is done with them; it does not say that a receiver has them.
    pub completed: u64,
    /// Bytes of the packets handed over, Ethernet header included.
    pub bytes: u64,
    /// From the start to the last completion.
    pub seconds: f64,
    /// Completed packets per second, 0 if no time passed.
    pub pps: f64,
    /// Bits of completed packets per second.
    pub bps: f64,
}

/// The receiver's side.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rx {
    /// The interface.
    pub interface: String,
    /// `copy` or `zero-copy`.
    pub mode: String,
    /// `native` or `generic`: how the XDP program ran.
    pub xdp: String,
    /// Packets of this run, with their second copies.
    pub received: u64,
    /// Different ones.
    pub unique: u64,
    /// Bytes of packets of this run.
    pub bytes: u64,
    /// Packets that did not arrive. Without a sender in the same process: numbers missing below the highest that came.
    pub lost: u64,
    /// Lost of those sent, 0 to 1.
    pub loss: f64,
    /// Packets that came after one with a higher number of their stream.
    pub reordered: u64,
    /// Second copies.
    pub duplicates: u64,
    /// Packets so late that nobody knows whether they are copies.
    pub stale: u64,
    /// Packets with a wrong checksum.
    pub damaged: u64,
    /// Other packets.
    pub foreign: u64,
    /// Packets per second between the first and the last arrival.
    pub pps: f64,
    /// Bits per second, likewise.
    pub bps: f64,
    /// Nanoseconds from building to receiving.
    pub latency: Latency,
    /// Packets lost at the receiver itself, which count as lost too.
    pub own_losses: OwnLosses,
}

/// A distribution of nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Values.
    pub count: u64,
    /// The least.
    pub min: u64,
    /// The mean.
    pub mean: f64,
    /// Half are at most this.
    pub p50: u64,
    /// 90 % are at most this.
    pub p90: u64,
    /// 99 %.
    pub p99: u64,
    /// 99.9 %.
    pub p99_9: u64,
    /// 99.99 %.
    pub p99_99: u64,
    /// The largest.
    pub max: u64,
    /// Share and value, for a plot: ever closer to 1.
    pub quantiles: Vec<(f64, u64)>,
}

/// One stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StreamReport {
    /// Its name.
    pub name: String,
    /// Packets sent, if this process sent.
    pub sent: Option<u64>,
    /// Different packets received.
    pub received: u64,
    /// Packets that did not arrive.
    pub lost: u64,
    /// Packets that came after one with a higher number.
    pub reordered: u64,
    /// By how many numbers at most.
    pub extent: u64,
    /// Second copies.
    pub duplicates: u64,
    /// From building to receiving.
    pub latency: Latency,
}

impl Latency {
    /// Reads a histogram.
    pub fn of(histogram: &Histogram<u64>) -> Self {
        if histogram.is_empty() {
            return Self::default();
        }
        // Eight steps to each further nine, as far as there are values to tell them apart.
        let steps = histogram.len().ilog10() * 8;
        let quantiles = (0..=steps)
            .map(|step| 1.0 - 10_f64.powf(-f64::from(step) / 8.0))
            .map(|share| (share, histogram.value_at_quantile(share)))
            .collect();
        Self {
            count: histogram.len(),
            min: histogram.min(),
            mean: histogram.mean(),
            p50: histogram.value_at_quantile(0.5),
            p90: histogram.value_at_quantile(0.9),
            p99: histogram.value_at_quantile(0.99),
            p99_9: histogram.value_at_quantile(0.999),
            p99_99: histogram.value_at_quantile(0.9999),
            max: histogram.max(),
            quantiles,
        }
    }
}

/// `count` each second, 0 if no time passed.
#[expect(clippy::cast_precision_loss, reason = "a rate for people; counts below 2^53 are exact")]
pub fn per_second(count: u64, nanos: u64) -> f64 {
    if nanos == 0 { 0.0 } else { count as f64 / clock::seconds(nanos) }
}

/// `part` of `whole`, 0 of nothing.
#[expect(clippy::cast_precision_loss, reason = "a share for people")]
pub fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

impl Traffic {
    /// Puts together what a run of sender, receiver or both counted. `rate` is the rate asked for, `names` are the streams'.
    ///
    /// # Errors
    /// The receiver's counters cannot be read.
    pub fn new(
        course: &Course,
        rate: &str,
        names: &[String],
        sender: Option<&Sender<'_>>,
        receiver: Option<&Receiver<'_>>,
    ) -> Result<Self, LinkError> {
        let mut limits = Vec::new();
        let tx = sender.map(|sender| Tx::new(course, rate, sender, &mut limits));
        let is_tagged = sender.is_none_or(Sender::is_tagged);
        let streams = stream_reports(names, sender, receiver);
        let rx = match receiver {
            Some(receiver) => Some(Rx::new(receiver, &streams, sender, &mut limits)?),
            None => None,
        };
        if course.was_stopped && sender.is_some() {
            let text = "the run was stopped before its end".to_owned();
            limits.push(Limitation::new("stopped", text));
        }
        if !is_tagged && rx.is_some() {
            let text = "a recording's packets carry no tags: only their number is known, neither order nor delay, and any other packet counts too";
            limits.push(Limitation::new("untagged", text.to_owned()));
        }
        let series = course.series.clone();
        Ok(Self { kind: "traffic".to_owned(), tx, rx, streams, series, limits })
    }
}

impl Tx {
    fn new(course: &Course, rate: &str, sender: &Sender<'_>, limits: &mut Vec<Limitation>) -> Self {
        let link = sender.link();
        copy_limit(link, limits);
        let reached = sender.pacer.reached(course.duration);
        if let Some(reached) = reached.filter(|&reached| reached < REACHED) {
            let percent = reached * 100.0;
            let text = format!("the rate was not reached: {percent:.1} % of {rate} were sent");
            limits.push(Limitation::new("rate", text));
        }
        Self {
            interface: link.place.to_string(),
            mode: link.copy.as_str().to_owned(),
            rate: rate.to_owned(),
            reached,
            handed: sender.handed,
            completed: sender.completed,
            bytes: sender.bytes,
            seconds: clock::seconds(course.duration),
            pps: per_second(sender.completed, course.duration),
            bps: per_second(sender.bytes.saturating_mul(8), course.duration),
        }
    }
}

impl Rx {
    fn new(
        receiver: &Receiver<'_>,
        streams: &[StreamReport],
        sender: Option<&Sender<'_>>,
        limits: &mut Vec<Limitation>,
    ) -> Result<Self, LinkError> {
        let (link, meter) = (receiver.link(), &receiver.meter);
        copy_limit(link, limits);
        generic_limit(link, limits);
        let own = receiver.own_losses()?;
        own_limit(link, own, limits);
        let is_tagged = sender.is_none_or(Sender::is_tagged);
        let (received, bytes, unique) = if is_tagged {
            (meter.received, meter.bytes, meter.unique())
        } else {
            let all = meter.received + meter.foreign;
            (all, meter.bytes + meter.foreign_bytes, all)
        };
        let lost = if is_tagged {
            streams.iter().map(|stream| stream.lost).sum()
        } else {
            sender.map_or(0, |sender| sender.handed.saturating_sub(unique))
        };
        let sent = sender.map_or(unique + lost, |sender| sender.handed);
        let arrivals = if is_tagged { receiver.arrivals } else { receiver.any_arrivals };
        let between = arrivals.map_or(0, |(first, last)| last - first);
        let latency = Latency::of(&meter.delays());
        Ok(Self {
            interface: link.place.to_string(),
            mode: link.copy.as_str().to_owned(),
            xdp: link.xdp.map_or("none", Mode::as_str).to_owned(),
            received,
            unique,
            bytes,
            lost,
            loss: share(lost, sent),
            reordered: streams.iter().map(|stream| stream.reordered).sum(),
            duplicates: streams.iter().map(|stream| stream.duplicates).sum(),
            stale: meter.tracks.iter().map(|track| track.stale).sum(),
            damaged: meter.damaged,
            foreign: if is_tagged { meter.foreign } else { 0 },
            pps: per_second(received, between),
            bps: per_second(bytes.saturating_mul(8), between),
            latency,
            own_losses: own,
        })
    }
}

/// Notes that the kernel copies.
pub fn copy_limit(link: &Link, limits: &mut Vec<Limitation>) {
    if link.copy == CopyMode::Copy {
        let text =
            format!("{}: the driver has no zero-copy, the kernel copies each packet", link.place);
        limits.push(Limitation::new("copy-mode", text));
    }
}

/// Notes that the program runs in generic mode.
pub fn generic_limit(link: &Link, limits: &mut Vec<Limitation>) {
    if link.xdp == Some(Mode::Generic) {
        let text = format!(
            "{}: the driver has no XDP, the program ran in generic mode: slower than the interface is",
            link.place
        );
        limits.push(Limitation::new("generic-mode", text));
    }
}

/// Notes packets that the receiver itself lost.
pub fn own_limit(link: &Link, own: OwnLosses, limits: &mut Vec<Limitation>) {
    if own.total() > 0 {
        let text = format!(
            "{}: the receiver itself lost {} packets ({} for want of room or frames, {} dropped by the interface, {} too large for a frame): those losses may not be the network's",
            link.place,
            own.total(),
            own.socket,
            own.interface,
            own.oversized
        );
        limits.push(Limitation::new("receiver", text));
    }
}

fn stream_reports(
    names: &[String],
    sender: Option<&Sender<'_>>,
    receiver: Option<&Receiver<'_>>,
) -> Vec<StreamReport> {
    let known = receiver.map_or(0, |receiver| receiver.meter.tracks.len());
    let count = sender.map_or(known, |sender| sender.streams.len().max(known));
    let report = |position: usize| {
        let sent = sender.and_then(|sender| sender.streams.get(position)).map(|sent| sent.packets);
        let track = receiver.and_then(|receiver| receiver.meter.tracks.get(position));
        let count = |count: fn(&crate::measure::Track) -> u64| track.map_or(0, count);
        StreamReport {
            name: names.get(position).cloned().unwrap_or_else(|| position.to_string()),
            sent,
            received: count(|track| track.unique),
            lost: track.map_or(0, |track| track.lost(sent)),
            reordered: count(|track| track.reordered),
            extent: count(|track| track.extent),
            duplicates: count(|track| track.duplicates),
            latency: track.map(|track| Latency::of(&track.delays)).unwrap_or_default(),
        }
    };
    (0..count).map(report).collect()
}

impl fmt::Display for Traffic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(tx) = &self.tx {
            writeln!(
                f,
                "sent      {} ({}): {} packets handed to the kernel, {} completed in {:.3} s: {:.0} packets/s, {}bit/s",
                tx.interface,
                tx.mode,
                tx.handed,
                tx.completed,
                tx.seconds,
                tx.pps,
                scaled(tx.bps)
            )?;
        }
        if let Some(rx) = &self.rx {
            writeln!(
                f,
                "received  {} ({}, {} XDP): {} packets, {:.0} packets/s, {}bit/s",
                rx.interface,
                rx.mode,
                rx.xdp,
                rx.received,
                rx.pps,
                scaled(rx.bps)
            )?;
            writeln!(
                f,
                "          lost {} ({:.4} %), reordered {}, duplicates {}, damaged {}, other packets {}",
                rx.lost,
                rx.loss * 100.0,
                rx.reordered,
                rx.duplicates,
                rx.damaged,
                rx.foreign
            )?;
            if rx.latency.count > 0 {
                writeln!(f, "latency   {}", rx.latency)?;
            }
        }
        if self.streams.len() > 1 {
            for stream in &self.streams {
                let sent = stream.sent.map_or_else(|| "?".to_owned(), |sent| sent.to_string());
                writeln!(
                    f,
                    "stream    {}: sent {sent}, received {}, lost {}, reordered {}, duplicates {}, p99 {}",
                    stream.name,
                    stream.received,
                    stream.lost,
                    stream.reordered,
                    stream.duplicates,
                    micros(stream.latency.p99)
                )?;
            }
        }
        write_limits(f, &self.limits)
    }
}

/// Writes what a run could not do, a line each.
///
/// # Errors
/// The formatter's own.
pub fn write_limits(f: &mut fmt::Formatter<'_>, limits: &[Limitation]) -> fmt::Result {
    limits.iter().try_for_each(|limit| writeln!(f, "note      {}", limit.text))
}

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "min {} p50 {} p90 {} p99 {} p99.9 {} p99.99 {} max {}",
            micros(self.min),
            micros(self.p50),
            micros(self.p90),
            micros(self.p99),
            micros(self.p99_9),
            micros(self.p99_99),
            micros(self.max)
        )
    }
}

/// Nanoseconds as microseconds.
pub fn micros(nanos: u64) -> String {
    format!("{}.{} us", nanos / 1000, nanos % 1000 / 100)
}

/// A number with three digits and its prefix.
pub fn scaled(number: f64) -> String {
    let (number, prefix) = match number {
        big if big >= 1e9 => (big / 1e9, "G"),
        big if big >= 1e6 => (big / 1e6, "M"),
        big if big >= 1e3 => (big / 1e3, "k"),
        small => (small, ""),
    };
    format!("{number:.2} {prefix}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_divided_by_nothing_is_nothing() {
        assert_eq!(per_second(5, 0).to_bits(), 0);
        assert_eq!(share(0, 0).to_bits(), 0);
        assert_eq!(Latency::of(&crate::measure::histogram()), Latency::default());
    }

    #[test]
    fn percentiles_are_those_of_the_values() {
        let mut histogram = crate::measure::histogram();
        (1..=10_000_u64).for_each(|value| histogram.saturating_record(value * 100));
        let latency = Latency::of(&histogram);
        let near = |value: u64, expected: u64| value.abs_diff(expected) * 1000 <= expected;
        assert!(near(latency.p50, 500_000), "{latency:?}");
        assert!(near(latency.p99, 990_000), "{latency:?}");
        assert!(near(latency.p99_99, 999_900), "{latency:?}");
        assert_eq!(latency.count, 10_000);
        assert!(latency.quantiles.is_sorted());
        let (share, value) = latency.quantiles[latency.quantiles.len() - 1];
        assert!((share - 0.9999).abs() < 1e-9 && value == latency.p99_99, "{share} {value}");
    }

    #[test]
    fn numbers_are_for_people() {
        assert_eq!(micros(12_345), "12.3 us");
        assert_eq!(scaled(1_234_000.0), "1.23 M");
        assert_eq!(scaled(12.0), "12.00 ");
    }
}
