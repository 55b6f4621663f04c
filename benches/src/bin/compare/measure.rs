//! What is measured of a peer in its turn. Each measurement checks the answers it got: a run with a wrong one is a failure, not a figure.

pub(crate) mod flood;
pub(crate) mod iperf3;
pub(crate) mod udp;
pub(crate) mod wrk;

use anyhow::{Result, ensure};

use crate::backend::{LARGE, PRIVATE, PUBLIC};
use crate::core_time::CoreTime;
use crate::peer::{Peer, blastdoor, testpmd};
use crate::sample::Figure;
use crate::stage::Stage;

/// A measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Measure {
    /// 40 connections that stay open.
    Many,
    /// One connection.
    One,
    /// A new connection for each request.
    Fresh,
    /// Answers of 64 KiB.
    Bulk,
    /// 40 connections on which nothing is allowed.
    Denied,
    /// A steady client beside a flood of denied requests.
    Flood,
    /// One TCP stream at MTU 1500.
    Stream1500,
    /// One TCP stream at the default MTU.
    Stream,
    /// Small datagrams.
    Datagrams,
}

/// Connections of the runs at full speed.
const MANY: u32 = 40;

impl Measure {
    /// All, in the order of a round.
    pub(crate) const ALL: [Self; 9] = [
        Self::Datagrams,
        Self::Many,
        Self::One,
        Self::Fresh,
        Self::Bulk,
        Self::Denied,
        Self::Flood,
        Self::Stream1500,
        Self::Stream,
    ];

    /// Its name on the command line.
    pub(crate) fn name(self) -> String {
        format!("{self:?}").to_lowercase()
    }

    /// Whether it can be measured of this peer.
    pub(crate) fn suits(self, peer: &dyn Peer) -> bool {
        let name = peer.name();
        match self {
            Self::Many | Self::One | Self::Fresh | Self::Bulk => true,
            Self::Denied | Self::Flood => peer.enforces_requests(),
            Self::Stream1500 => [blastdoor::L4, blastdoor::BARE, testpmd::NAME].contains(&name),
            Self::Stream => {
                peer.carries_packets() && name != blastdoor::L7 && name != testpmd::NAME
            }
            Self::Datagrams => peer.carries_packets() && name != blastdoor::L7,
        }
    }

    /// Measures it.
    ///
    /// # Errors
    /// When a program fails, or an answer was wrong.
    pub(crate) fn take(
        self,
        stage: &Stage,
        peer: &dyn Peer,
        seconds: u64,
    ) -> Result<Vec<(Figure, f64)>> {
        stage.rehearse(peer.address(), peer.enforces_requests())?;
        let before = stage.backend.forbidden()?;
        let figures = self.figures(stage, peer, seconds)?;
        let reached = stage.backend.forbidden()?.saturating_sub(before);
        ensure!(reached == 0, "{reached} requests that nobody allows reached the server");
        Ok(figures)
    }

    fn figures(self, stage: &Stage, peer: &dyn Peer, seconds: u64) -> Result<Vec<(Figure, f64)>> {
        let address = peer.address();
        let run = |path, connections, seconds, close| {
            wrk::run(stage, &wrk::Load { address, path, connections, seconds, close })
        };
        Ok(match self {
            Self::Many => {
                let cores = stage.cores.both();
                let before = CoreTime::now(&cores)?;
                let wrk = run(PUBLIC, MANY, seconds, false)?.all_allowed()?;
                let busy = CoreTime::now(&cores)?.since(before);
                vec![
                    (Figure::Requests, wrk.rate),
                    (Figure::CoreTime, busy * 1e6 / wrk.requests),
                    (Figure::P99, wrk.p99),
                ]
            }
            Self::One => {
                let wrk = run(PUBLIC, 1, seconds.min(2), false)?.all_allowed()?;
                vec![(Figure::P50, wrk.p50)]
            }
            Self::Fresh => {
                let wrk = run(PUBLIC, MANY, seconds.min(2), true)?.all_allowed()?;
                vec![(Figure::Connections, wrk.rate)]
            }
            Self::Bulk => {
                let wrk = run(LARGE, MANY, seconds.min(2), false)?.all_allowed()?;
                vec![(Figure::Bulk, wrk.rate * 65536.0 / 1e6)]
            }
            Self::Denied => {
                let wrk = run(PRIVATE, MANY, seconds.min(2), false)?.all_denied()?;
                vec![(Figure::Denied, wrk.rate)]
            }
            Self::Flood => {
                let (calm, flooded) = flood::p99(stage, peer, seconds)?;
                vec![(Figure::CalmP99, calm), (Figure::FloodedP99, flooded)]
            }
            Self::Stream1500 => {
                vec![(Figure::Stream1500, iperf3::at_1500(stage, peer, seconds.min(2))?)]
            }
            Self::Stream => vec![(Figure::Stream, iperf3::run(stage, address, seconds.min(2))?)],
            Self::Datagrams => {
                vec![(Figure::Datagrams, udp::arrived(stage, peer, seconds.min(2))?)]
            }
        })
    }
}
