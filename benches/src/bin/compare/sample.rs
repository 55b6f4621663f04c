//! Samples: what each round measured, and what they say together. A ratio is taken within a round, so that a machine that is slow for
//! a while is slow for both.

use std::collections::BTreeMap;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Figure {
    /// UDP datagrams of 60 bytes that arrived, per second.
    Datagrams,
    /// Requests per second, 40 connections that stay open.
    Requests,
    /// Microseconds of busy cores per request in that run.
    CoreTime,
    /// p99 in microseconds in that run.
    P99,
    /// p50 in microseconds, one connection.
    P50,
    /// Requests per second, each on a new connection.
    Connections,
    /// MB/s of answers of 64 KiB.
    Bulk,
    /// Gbit/s of one iperf3 stream at MTU 1500.
    Stream1500,
    /// Gbit/s of one iperf3 stream at the default MTU.
    Stream,
    /// Denied requests per second, 40 connections that stay open.
    Denied,
    /// p99 in microseconds of a client with a steady rate of requests.
    CalmP99,
    /// The same while another client sends denied requests as fast as it can.
    FloodedP99,
}

impl Figure {
    /// In words, with the unit.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Datagrams => "UDP 60 B, datagrams/s",
            Self::Requests => "requests/s, c=40",
            Self::CoreTime => "busy-core µs/request, c=40",
            Self::P99 => "p99 µs, c=40",
            Self::P50 => "p50 µs, c=1",
            Self::Connections => "one connection per request, requests/s",
            Self::Bulk => "64 KiB answers, MB/s",
            Self::Stream1500 => "iperf3, MTU 1500, Gbit/s",
            Self::Stream => "iperf3, default MTU, Gbit/s",
            Self::Denied => "denied requests/s, c=40",
            Self::CalmP99 => "p99 µs at a steady rate",
            Self::FloodedP99 => "the same under a flood of denied requests",
        }
    }

    /// All, in the order of the report.
    pub(crate) const ALL: [Self; 12] = [
        Self::Datagrams,
        Self::Requests,
        Self::CoreTime,
        Self::P99,
        Self::P50,
        Self::Connections,
        Self::Bulk,
        Self::Stream1500,
        Self::Stream,
        Self::Denied,
        Self::CalmP99,
        Self::FloodedP99,
    ];
}

/// Median, smallest and largest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    /// The median; with an even number of values the lower one of the middle.
    pub(crate) median: f64,
    /// The smallest.
    pub(crate) min: f64,
    /// The largest.
    pub(crate) max: f64,
}

impl Spread {
    /// Of these values; none of none.
    pub(crate) fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let median = *values.get(values.len().checked_sub(1)? / 2)?;
        Some(Self { median, min: *values.first()?, max: *values.last()? })
    }
}

/// Everything that was measured, by round.
#[derive(Debug, Default)]
pub(crate) struct Samples {
    values: BTreeMap<(&'static str, Figure), BTreeMap<usize, f64>>,
    /// What went wrong, in words.
    pub(crate) failures: Vec<String>,
}

impl Samples {
    /// Keeps a value of a round.
    pub(crate) fn keep(&mut self, mode: &'static str, figure: Figure, round: usize, value: f64) {
        self.values.entry((mode, figure)).or_default().insert(round, value);
    }

    /// A mode's values of a figure.
    pub(crate) fn spread(&self, mode: &'static str, figure: Figure) -> Option<Spread> {
        Spread::of(self.values.get(&(mode, figure))?.values().copied().collect())
    }

    /// How many times the value of `other` that of `one` is, round by round.
    pub(crate) fn ratio(
        &self,
        one: (&'static str, Figure),
        other: (&'static str, Figure),
    ) -> Option<Spread> {
        let (one, other) = (self.values.get(&one)?, self.values.get(&other)?);
        let in_both = one.iter().filter_map(|(round, value)| Some(value / other.get(round)?));
        Spread::of(in_both.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_taken_within_a_round() {
        let mut samples = Samples::default();
        for (round, (one, other)) in
            [(10.0, 5.0), (1.0, 1.0), (100.0, 25.0)].into_iter().enumerate()
        {
            samples.keep("one", Figure::Requests, round, one);
            samples.keep("other", Figure::Requests, round, other);
        }
        samples.keep("one", Figure::Requests, 3, 7.0);
        let ratio = samples.ratio(("one", Figure::Requests), ("other", Figure::Requests)).unwrap();
        assert_eq!(ratio, Spread { median: 2.0, min: 1.0, max: 4.0 });
        assert_eq!(samples.spread("none", Figure::P50), None);
    }
}
