//! What one worker may use, and what one endpoint may use of it. Every budget that is spent has a name and a counter; none is a
//! pass.

use parser::fragment;
use serde::Deserialize;

/// The budgets of a worker: `[budgets]` in the configuration.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct Budgets {
    /// Connections. Default 524 288, Cilium's for TCP (`--bpf-ct-global-tcp-max`).
    pub connections: usize,
    /// Connections that one pod opened, or that were opened to it from outside. Default 131 072: a quarter.
    pub connections_per_endpoint: usize,
    /// Connections without an HTTP rule that are followed, so that one which comes later judges them (ADR 6); about 1 KiB and a
    /// quarter of a microsecond for each of their packets. Those beyond are reset by such a rule. Default 16 384; 0 follows none.
    pub shadows: usize,
    /// Bytes that inspected streams hold: heads that are not complete, early segments, what a server has not acknowledged. Default
    /// 256 MiB. With more, the stream that holds the most, of some of whoever holds the most, is reset.
    pub stream_bytes: usize,
    /// The same for one endpoint's streams. Default 64 MiB.
    pub stream_bytes_per_endpoint: usize,
    /// ICMP errors that are sent to one port in a second. Default 1000, as Linux (`icmp_msgs_per_sec`).
    pub icmp_errors_per_second: u32,
    /// Frames of fragments that wait for the rest of their packet. Default 1024.
    pub fragments: usize,
    /// How long they wait, in milliseconds. Default 5000.
    pub fragment_ms: u64,
}

impl Default for Budgets {
    fn default() -> Self {
        Self {
            connections: 524_288,
            connections_per_endpoint: 131_072,
            shadows: 16_384,
            stream_bytes: 256 << 20,
            stream_bytes_per_endpoint: 64 << 20,
            icmp_errors_per_second: 1000,
            fragments: 1024,
            fragment_ms: 5000,
        }
    }
}

impl Budgets {
    /// The first field that cannot work, and why.
    pub(crate) fn check(&self) -> Result<(), (&'static str, String)> {
        let within = |field, value: usize, least: usize, most: usize, most_is: &str| {
            if (least..=most).contains(&value) {
                return Ok(());
            }
            Err((field, format!("{value} is not between {least} and {most} ({most_is})")))
        };
        within("budgets.connections", self.connections, 1024, 1 << 24, "2 to the 24th")?;
        within(
            "budgets.connections_per_endpoint",
            self.connections_per_endpoint,
            64,
            self.connections,
            "budgets.connections",
        )?;
        within("budgets.shadows", self.shadows, 0, self.connections, "budgets.connections")?;
        within("budgets.stream_bytes", self.stream_bytes, 1 << 20, 1 << 36, "64 GiB")?;
        within(
            "budgets.stream_bytes_per_endpoint",
            self.stream_bytes_per_endpoint,
            1 << 18,
            self.stream_bytes,
            "budgets.stream_bytes",
        )?;
        within("budgets.fragments", self.fragments, 64, 1 << 20, "2 to the 20th")?;
        let age = usize::try_from(self.fragment_ms).unwrap_or(usize::MAX);
        within("budgets.fragment_ms", age, 100, 60_000, "a minute")
    }

    /// How fragments may wait. One link may have three eighths of everything, so that two cannot keep a third out; one source an
    /// eighth of the packets.
    pub(crate) fn fragment_limits(&self) -> fragment::Limits {
        let packets = self.fragments / 8;
        fragment::Limits {
            packets,
            packets_per_source: packets / 8,
            packets_per_link: packets * 3 / 8,
            // The largest packet there is, over a link with IPv6's smallest MTU, has 54.
            pieces_per_packet: 64,
            buffers: self.fragments,
            buffers_per_link: self.fragments * 3 / 8,
            age: self.fragment_ms,
        }
    }
}
