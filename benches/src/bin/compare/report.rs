//! The report: `docs/benchmarks.md` and its plots, written by the run that measured.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::in_memory::InMemory;
use crate::micro::Micro;
use crate::peer::{Peer, blastdoor};
use crate::plot::{self, Bar, Curve, short};
use crate::ports::Many;
use crate::round::Effort;
use crate::sample::{Figure, Samples, Spread};
use crate::target::{self, Check};
use crate::{machine, reason};

/// Everything that a report shows.
pub(crate) struct Report<'a> {
    /// Rounds and their lengths.
    pub(crate) effort: Effort,
    /// Who took part.
    pub(crate) peers: &'a [Box<dyn Peer>],
    /// Who could not be had, and why.
    pub(crate) absent: &'a [String],
    /// What the rounds measured.
    pub(crate) samples: &'a Samples,
    /// What plain memory measured.
    pub(crate) memory: Option<InMemory>,
    /// What many ports measured.
    pub(crate) many: Option<Many>,
    /// Criterion's results.
    pub(crate) micro: &'a [Micro],
    /// How busy the machine was before the run.
    pub(crate) load: String,
    /// The pods' MTU behind blastdoor.
    pub(crate) mtu: u64,
}

impl Report<'_> {
    /// Writes `benchmarks.md` and `benchmarks/*.svg` into a directory.
    pub(crate) fn write(&self, directory: &Path) -> Result<()> {
        let pictures = directory.join("benchmarks");
        fs::create_dir_all(&pictures).with_context(|| format!("create {}", pictures.display()))?;
        let text = self.text(&pictures)?;
        let path = directory.join("benchmarks.md");
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))
    }

    /// The promises and what came of them.
    pub(crate) fn checks(&self) -> Vec<Check> {
        target::checks(self.samples, self.memory.as_ref(), self.many.as_ref())
    }

    fn text(&self, pictures: &Path) -> Result<String> {
        let mut text = self.head();
        text.push_str(&self.targets());
        text.push_str(&self.table());
        text.push_str(&self.pictures(pictures)?);
        text.push_str(&self.in_memory(pictures)?);
        text.push_str(&self.cast());
        text.push_str(&self.failures());
        Ok(text)
    }

    fn head(&self) -> String {
        let Effort { rounds, seconds } = self.effort;
        let busy = if self.load.parse().is_ok_and(|load: f64| load > 0.5) {
            "**Others used the machine during this run: absolute figures mean nothing, ratios are rough.**\n\n"
        } else {
            ""
        };
        format!(
            "# Benchmarks

{busy}Written by `make bench`; do not edit. Medians of {rounds} interleaved rounds, smallest and largest in brackets; the longest runs took
{seconds} s each. Ratios are taken within a round, then their median. Repeat it on your machine: absolute figures do not travel.

- Machine: {}.
- Load before the run (processes that wanted to run, last minute): {}.
- Commit: {}. Both ends: {}.
- Client and server on one core, what is between them on the other; the same nginx and the same wrk for all. The kernel bridge has no
  second core: it works on the core that sends.
- Pods behind blastdoor have its default MTU, {} bytes; all other wires the kernel's default of 1500 with its segmentation offload,
  testpmd's without, as AF_XDP has none.
- The peers' configuration has the two rules that the traffic meets, blastdoor's has {} ({} of them never match).
- Every run checks its answers: all 200 where allowed, all 403 where denied, and no request that nobody allows in the server's log.

",
            machine::describe(),
            self.load,
            machine::commit(),
            machine::ends(),
            self.mtu,
            blastdoor::RULES,
            blastdoor::RULES - 2,
        )
    }

    fn targets(&self) -> String {
        let mut text = String::from(
            "## Targets

\"Bare\" is what blastdoor without any policy reached against the same peer: the limit of carrying packets this way. \"testpmd\" is
what DPDK's forwarder reached, which judges nothing and never sleeps: the limit of AF_XDP's copy mode here.

| # | measure | target | measured | bare | testpmd | |
|---|---|---|---|---|---|---|
",
        );
        let checks = self.checks();
        for check in &checks {
            let (value, met) = match (check.value, check.is_met()) {
                (Some(spread), Some(met)) => (show(spread), if met { "met" } else { "**missed**" }),
                _ => ("–".to_owned(), "not measured"),
            };
            let limit = |spread: Option<Spread>| spread.map_or_else(String::new, show);
            let (bare, testpmd) = (limit(check.bare), limit(check.testpmd));
            let Check { row, what, target, .. } = check;
            // Writing into a String cannot fail.
            writeln!(text, "| {row} | {what} | {target} | {value} | {bare} | {testpmd} | {met} |")
                .ok();
        }
        let missed: Vec<&Check> =
            checks.iter().filter(|check| check.is_met() == Some(false)).collect();
        let mut rows: Vec<u8> = missed.iter().map(|check| check.row).collect();
        rows.dedup();
        if !rows.is_empty() {
            text.push_str("\nWhy some are missed, as far as it was found out:\n\n");
        }
        for row in rows {
            let of_row = || missed.iter().filter(|check| check.row == row);
            let reason = reason::of(row).unwrap_or_else(|| {
                if of_row().all(|check| check.testpmd_misses()) {
                    "testpmd, which judges nothing and never sleeps, misses it as well: the kernel's way to and from AF_XDP decides here."
                } else if of_row().all(|check| check.bare_misses()) {
                    "bare misses it as well: the way of the packets decides here, not the policy."
                } else {
                    "not found out yet."
                }
            });
            writeln!(text, "- {row}: {reason}").ok();
        }
        text.push('\n');
        text
    }

    /// All figures of all peers.
    fn table(&self) -> String {
        let mut text = String::from("## All figures\n\n| |");
        for peer in self.peers {
            write!(text, " {} |", peer.name()).ok();
        }
        text.push_str("\n|---|");
        text.push_str(&"---|".repeat(self.peers.len()));
        text.push('\n');
        for figure in Figure::ALL {
            write!(text, "| {} |", figure.words()).ok();
            for peer in self.peers {
                let spread = self.samples.spread(peer.name(), figure);
                write!(text, " {} |", spread.map_or_else(|| "–".to_owned(), show)).ok();
            }
            text.push('\n');
        }
        text.push('\n');
        text
    }

    fn pictures(&self, directory: &Path) -> Result<String> {
        let mut text = String::new();
        for figure in Figure::ALL {
            let bars: Vec<Bar> = self
                .peers
                .iter()
                .filter_map(|peer| {
                    let name = peer.name();
                    let spread = self.samples.spread(name, figure)?;
                    Some(Bar { name, spread, ours: peer.interface() == "eth0" })
                })
                .collect();
            if bars.is_empty() {
                continue;
            }
            let file = format!("{}.svg", format!("{figure:?}").to_lowercase());
            plot::bars(&directory.join(&file), figure.words(), &bars)?;
            writeln!(text, "![{}](benchmarks/{file})", figure.words()).ok();
        }
        text.push('\n');
        Ok(text)
    }

    fn in_memory(&self, directory: &Path) -> Result<String> {
        let mut text = String::from("## In memory\n\n");
        if self.micro.is_empty() {
            text.push_str("`cargo bench` has not been run.\n\n");
            return Ok(text);
        }
        let mut drawn = Vec::new();
        for (group, unit) in
            [("connection lookup", "connections"), ("verdict", "rules"), ("snapshot", "rules")]
        {
            let curves = self.curves(group);
            if curves.is_empty() {
                continue;
            }
            let file = format!("{}.svg", group.replace(' ', "-"));
            let title = format!("{group}: nanoseconds over {unit}");
            plot::curves(&directory.join(&file), &title, "ns", &curves)?;
            drawn.push(format!("![{title}](benchmarks/{file})\n"));
        }
        text.push_str(
            "Criterion, median nanoseconds of one iteration (`cargo bench -p benches`):\n\n",
        );
        text.push_str("| benchmark | ns |\n|---|---|\n");
        for Micro { name, nanoseconds } in self.micro {
            writeln!(text, "| {name} | {} |", short(*nanoseconds)).ok();
        }
        text.push('\n');
        text.extend(drawn);
        text.push('\n');
        Ok(text)
    }

    /// The curves of a group whose names end in a size.
    fn curves(&self, group: &str) -> Vec<Curve> {
        let mut curves: Vec<Curve> = Vec::new();
        for Micro { name, nanoseconds } in self.micro {
            let Some(rest) = name.strip_prefix(group) else { continue };
            let Some((curve, size)) = rest.trim_start_matches('/').rsplit_once('/') else {
                continue;
            };
            let Ok(size) = size.parse::<f64>() else { continue };
            match curves.iter_mut().find(|(known, _)| known == curve) {
                Some((_, points)) => points.push((size, *nanoseconds)),
                None => curves.push((curve.to_owned(), vec![(size, *nanoseconds)])),
            }
        }
        curves
    }

    fn cast(&self) -> String {
        let mut text = String::from("## Who took part\n\n");
        for peer in self.peers {
            writeln!(text, "- {}: {}", peer.name(), peer.description()).ok();
        }
        for absent in self.absent {
            writeln!(text, "- **could not be had**: {absent}").ok();
        }
        text.push_str(
            "
Configurations are in `benches/src/bin/compare/peer/`, one file each. The commands, in their namespaces:

| what | command |
|---|---|
| c=40, c=1 | `wrk -t1 -c40 -dN --latency http://SERVER/public` |
| one connection per request | the same with `-H 'Connection: close'` |
| 64 KiB | `wrk … /api/v1/items/65536` |
| denied | `wrk … /private` |
| steady rate | `h2load --h1 -t1 -c8 --rps 125 -DN --log-file F http://SERVER/public`; the flood: `nice -n 19 wrk -c40 … /private` |
| one stream | `iperf3 -c SERVER -t N` |
| UDP | `pktgen send --size 60 …`, counted by nftables in the server's namespace |

All of it again: `make bench`; quickly: `make bench BENCH=quick`; only criterion: `cargo bench -p benches`.
",
        );
        text
    }

    fn failures(&self) -> String {
        if self.samples.failures.is_empty() {
            return String::new();
        }
        let mut text = String::from("\n## Failed\n\n");
        for failure in &self.samples.failures {
            writeln!(text, "- {}", failure.replace('\n', " ")).ok();
        }
        text
    }
}

/// A median with its extremes, where there are any.
fn show(spread: Spread) -> String {
    let Spread { median, min, max } = spread;
    if min == max {
        short(median)
    } else {
        format!("{} ({}–{})", short(median), short(min), short(max))
    }
}
