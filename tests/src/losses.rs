//! Packets that were lost on the way, by who lost them: the machine's own counters, and the daemon's.
//!
//! UDP loses datagrams when a machine is busy, anywhere between two sockets. A test that allows for that must not allow for a
//! dataplane that loses them: every loss has a counter, and ours are no part of the allowance.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

use crate::daemon::Daemon;
use crate::lab::Lab;

/// What pods send unasked to learn of their link, and we drop: no loss of anybody's.
const CHATTER: [&str; 2] = ["forbidden-icmpv6", "multicast"];

/// What was lost in a lab.
#[derive(Debug, Clone)]
pub struct Losses {
    /// Lost by the kernel: at an interface, before an AF_XDP socket that had no room, or before a pod's socket that had none.
    pub kernel: u64,
    /// Dropped by the daemon, by reason.
    pub daemon: BTreeMap<String, u64>,
}

impl Losses {
    /// What was lost since the lab is up.
    ///
    /// # Errors
    /// When a counter cannot be read: a test must not pass without it.
    pub fn of(lab: &Lab, daemon: &Daemon) -> Result<Self> {
        let status = daemon.status()?;
        let mut kernel: u64 = status.ports.iter().map(|port| port.missed).sum();
        let pods = lab.pods()?;
        for pod in pods.iter().map(|pod| pod.pod.as_str()).chain(["node"]) {
            let text = lab.shell(pod, "cat /proc/net/dev")?.stdout;
            kernel += dropped(&text).with_context(|| format!("{pod}: /proc/net/dev: {text}"))?;
            let snmp = lab.shell(pod, "cat /proc/net/snmp")?.stdout;
            for name in ["RcvbufErrors", "SndbufErrors"] {
                let lost = counter(&snmp, "Udp", name);
                kernel += lost.with_context(|| format!("{pod}: no Udp {name}: {snmp}"))?;
            }
        }
        let mut daemon = status.drops;
        daemon.retain(|reason, _| !CHATTER.contains(&reason.as_str()));
        Ok(Self { kernel, daemon })
    }

    /// What was lost since `earlier`.
    #[must_use]
    pub fn since(mut self, earlier: &Self) -> Self {
        self.kernel -= earlier.kernel;
        for (reason, packets) in &earlier.daemon {
            if let Some(now) = self.daemon.get_mut(reason) {
                *now -= packets;
            }
        }
        self.daemon.retain(|_, packets| *packets > 0);
        self
    }
}

/// A counter of /proc/net/snmp: a line of names and a line of values for each protocol.
#[must_use]
pub fn counter(snmp: &str, protocol: &str, name: &str) -> Option<u64> {
    let prefix = format!("{protocol}: ");
    let mut lines = snmp.lines().filter_map(|line| line.strip_prefix(&prefix));
    let (names, values) = (lines.next()?, lines.next()?);
    let at = names.split(' ').position(|found| found == name)?;
    values.split(' ').nth(at)?.parse().ok()
}

/// Received and sent packets that the interfaces of /proc/net/dev dropped.
fn dropped(text: &str) -> Option<u64> {
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    lines
        .map(|(_, counts)| {
            let counts: Vec<&str> = counts.split_whitespace().collect();
            Some(counts.get(3)?.parse::<u64>().ok()? + counts.get(11)?.parse::<u64>().ok()?)
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_of_both_directions_and_all_interfaces_are_summed() {
        let text = "\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:     100       2    0    0    0     0          0         0      100       2    0    0    0     0       0          0
  eth0: 1296        16    0    3    0     0          0         0     1296      16    0    4    0     0       0          0
";
        assert_eq!(dropped(text), Some(7));
        assert_eq!(dropped("eth0: 1 2"), None);
    }
}
