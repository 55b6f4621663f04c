//! The targets: what blastdoor promises beside its peers, row by row, and whether a run keeps it.

use crate::in_memory::InMemory;
use crate::peer::blastdoor::{BARE, L4, L7};
use crate::peer::testpmd::NAME as TESTPMD;
use crate::ports::Many;
use crate::sample::{Figure, Samples, Spread};

/// What a value is held against.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bound {
    /// Not less.
    AtLeast(f64),
    /// Not more.
    AtMost(f64),
}

impl Bound {
    fn holds(self, value: f64) -> bool {
        match self {
            Self::AtLeast(least) => value >= least,
            Self::AtMost(most) => value <= most,
        }
    }
}

/// One promise.
#[derive(Debug)]
pub(crate) struct Check {
    /// The row of the table of targets.
    pub(crate) row: u8,
    /// What is measured.
    pub(crate) what: &'static str,
    /// The promise, in words.
    pub(crate) target: String,
    /// What came out.
    pub(crate) value: Option<Spread>,
    /// What blastdoor without any policy reached against the same peer: the limit of this way of carrying packets.
    pub(crate) bare: Option<Spread>,
    /// What testpmd reached against the same peer: it judges nothing and never sleeps.
    pub(crate) testpmd: Option<Spread>,
    bound: Bound,
}

impl Check {
    /// Whether the median keeps the promise; none if it was not measured.
    pub(crate) fn is_met(&self) -> Option<bool> {
        Some(self.bound.holds(self.value?.median))
    }

    /// Whether blastdoor misses it without any policy as well, so that policy is not what it costs.
    pub(crate) fn bare_misses(&self) -> bool {
        self.bare.is_some_and(|bare| !self.bound.holds(bare.median))
    }

    /// Whether testpmd misses it as well, so that AF_XDP on this machine is what it costs.
    pub(crate) fn testpmd_misses(&self) -> bool {
        self.testpmd.is_some_and(|testpmd| !self.bound.holds(testpmd.median))
    }
}

/// Collects checks of one row.
struct Row<'a> {
    row: u8,
    what: &'static str,
    samples: &'a Samples,
    checks: &'a mut Vec<Check>,
}

impl Row<'_> {
    /// `mode`'s figure is so many times that of `other`.
    fn times(self, mode: &'static str, figure: Figure, bound: Bound, other: &'static str) -> Self {
        let against = |who: &'static str| self.samples.ratio((who, figure), (other, figure));
        let limit = |who| against(who).filter(|_| other != BARE && other != who);
        let (value, bare, testpmd) = (against(mode), limit(BARE), limit(TESTPMD));
        let (sign, factor) = sign(bound);
        let target = format!("{sign} {factor} × {other}");
        let (row, what) = (self.row, self.what);
        self.checks.push(Check { row, what, target, value, bare, testpmd, bound });
        self
    }

    /// A value of its own.
    fn value(self, words: &str, value: Option<Spread>, bound: Bound) -> Self {
        let (sign, limit) = sign(bound);
        let target = format!("{sign} {limit}{words}");
        let (row, what) = (self.row, self.what);
        self.checks.push(Check { row, what, target, value, bare: None, testpmd: None, bound });
        self
    }
}

fn sign(bound: Bound) -> (char, f64) {
    match bound {
        Bound::AtLeast(limit) => ('≥', limit),
        Bound::AtMost(limit) => ('≤', limit),
    }
}

/// Every promise, with what came out.
pub(crate) fn checks(
    samples: &Samples,
    memory: Option<&InMemory>,
    many: Option<&Many>,
) -> Vec<Check> {
    use Bound::{AtLeast, AtMost};
    let mut checks = Vec::new();
    let mut row = |row, what, fill: &dyn Fn(Row<'_>)| {
        fill(Row { row, what, samples, checks: &mut checks });
    };
    row(1, "UDP 60 B forwarding, L4 policy and connection table, one worker", &|row| {
        row.times(L4, Figure::Datagrams, AtLeast(1.1), TESTPMD);
    });
    row(2, "the same against bare", &|row| {
        row.times(L4, Figure::Datagrams, AtLeast(0.95), BARE);
    });
    row(3, "wrk c=40 keep-alive, L7: requests/s", &|row| {
        row.times(L7, Figure::Requests, AtLeast(0.95), BARE)
            .times(L7, Figure::Requests, AtLeast(1.2), "HAProxy")
            .times(L7, Figure::Requests, AtLeast(1.1), "nginx")
            .times(L7, Figure::Requests, AtLeast(3.2), "Envoy");
    });
    row(4, "the same: busy-core time per request", &|row| {
        row.times(L7, Figure::CoreTime, AtMost(0.75), "HAProxy").times(
            L7,
            Figure::CoreTime,
            AtMost(0.36),
            "Envoy",
        );
    });
    row(5, "wrk c=1, L7: p50 latency", &|row| {
        row.times(L7, Figure::P50, AtMost(1.1), BARE)
            .times(L7, Figure::P50, AtMost(0.25), "HAProxy")
            .times(L7, Figure::P50, AtMost(0.15), "Envoy");
    });
    row(6, "wrk c=40, L7: p99", &|row| {
        row.times(L7, Figure::P99, AtMost(0.65), "HAProxy").times(
            L7,
            Figure::P99,
            AtMost(0.25),
            "Envoy",
        );
    });
    row(7, "one connection per request, L7", &|row| {
        row.times(L7, Figure::Connections, AtLeast(0.95), BARE)
            .times(L7, Figure::Connections, AtLeast(1.05), "HAProxy")
            .times(L7, Figure::Connections, AtLeast(1.9), "Envoy");
    });
    row(8, "64 KiB bodies at the default pod MTU, L7: MB/s", &|row| {
        row.times(L7, Figure::Bulk, AtLeast(1.0), "HAProxy").times(
            L7,
            Figure::Bulk,
            AtLeast(1.3),
            "Envoy",
        );
    });
    row(9, "iperf3, one stream, MTU 1500", &|row| {
        row.times(L4, Figure::Stream1500, AtLeast(1.0), TESTPMD);
    });
    row(9, "iperf3, one stream, default MTU", &|row| {
        row.times(L4, Figure::Stream, AtLeast(0.5), "kernel bridge");
    });
    row(10, "denied requests/s, keep-alive, c=40", &|row| {
        row.times(L7, Figure::Denied, AtLeast(0.9), "HAProxy").times(
            L7,
            Figure::Denied,
            AtLeast(2.4),
            "Envoy",
        );
    });
    row(10, "p99 of another client's allowed requests under a flood of denied ones", &|row| {
        let value = samples.ratio((L7, Figure::FloodedP99), (L7, Figure::CalmP99));
        row.value(" × its p99 without the flood", value, AtMost(2.0));
    });
    row(11, "in memory, fake port: established L4 packet", &|row| {
        row.value(" ns of one core", memory.map(|memory| memory.packet), AtMost(60.0));
    });
    row(11, "in memory, fake port: L7 request (4 packets, 500 B head)", &|row| {
        row.value(" ns of one core", memory.map(|memory| memory.request), AtMost(600.0));
    });
    row(11, "allocations in all these turns", &|row| {
        row.value("", memory.map(|memory| memory.allocations), AtMost(0.0));
    });
    row(12, "memory of an idle L7 connection", &|row| {
        row.value(" B", memory.map(|memory| memory.inspected), AtMost(512.0));
    });
    row(12, "memory of an L4 connection", &|row| {
        row.value(" B", memory.map(|memory| memory.judged), AtMost(128.0));
    });
    row(12, "connections of one worker, each carrying a packet", &|row| {
        row.value("", memory.map(|memory| memory.stable), AtLeast(1e6));
    });
    row(13, "idle daemon with 10 ports", &|row| {
        row.value(" % of a core", many.map(|many| many.idle), AtMost(1.0));
    });
    row(14, "100 ports: requests/s, c=40", &|row| {
        row.value(" × those with 4 ports", many.and_then(|many| many.throughput), AtLeast(0.9));
    });
    row(14, "100 ports: ready", &|row| {
        row.value(" s", many.map(|many| many.ready), AtMost(3.0));
    });
    row(15, "2 workers against 1, in memory (fake ports)", &|row| {
        row.value(" ×", memory.map(|memory| memory.two_workers), AtLeast(1.9));
    });
    checks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_held_against_its_bound_and_a_gap_is_neither() {
        let mut samples = Samples::default();
        samples.keep(L4, Figure::Datagrams, 0, 110.0);
        samples.keep(TESTPMD, Figure::Datagrams, 0, 100.0);
        samples.keep(L7, Figure::CoreTime, 0, 80.0);
        samples.keep("HAProxy", Figure::CoreTime, 0, 100.0);
        let checks = checks(&samples, None, None);
        let met = |row, target: &str| {
            checks.iter().find(|check| check.row == row && check.target == target).unwrap().is_met()
        };
        assert_eq!(met(1, "≥ 1.1 × testpmd"), Some(true));
        assert_eq!(met(4, "≤ 0.75 × HAProxy"), Some(false));
        assert_eq!(met(4, "≤ 0.36 × Envoy"), None);
        samples.keep(BARE, Figure::CoreTime, 0, 76.0);
        let checks = super::checks(&samples, None, None);
        let missed = checks.iter().find(|check| check.is_met() == Some(false)).unwrap();
        assert!(missed.bare_misses(), "bare needs 0.76 of what HAProxy does");
        assert!(!missed.testpmd_misses(), "testpmd was not measured");
        samples.keep(TESTPMD, Figure::CoreTime, 0, 76.0);
        assert!(super::checks(&samples, None, None).iter().any(Check::testpmd_misses));
        assert!((1..=15).all(|row| checks.iter().any(|check| check.row == row)));
    }
}
