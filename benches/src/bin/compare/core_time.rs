//! Time that cores were busy, from `/proc/stat`: whole cores, with everything the kernel did on them in interrupts, not single
//! processes. What the hypervisor took away is not ours.

use std::fs;

use anyhow::{Context, Result};

/// Ticks of `/proc/stat` in a second (USER_HZ, 100 on every Linux architecture but alpha).
const TICKS: f64 = 100.0;

/// A reading.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CoreTime {
    busy: u64,
}

impl CoreTime {
    /// The busy time of these cores until now.
    pub(crate) fn now(cores: &[usize]) -> Result<Self> {
        let text = fs::read_to_string("/proc/stat").context("read /proc/stat")?;
        let busy = cores.iter().map(|core| busy(&text, *core).unwrap_or(0)).sum();
        Ok(Self { busy })
    }

    /// Seconds of busy cores since `earlier`.
    pub(crate) fn since(self, earlier: Self) -> f64 {
        seconds(self.busy.saturating_sub(earlier.busy))
    }
}

#[expect(clippy::cast_precision_loss, reason = "ticks of a run of seconds")]
fn seconds(ticks: u64) -> f64 {
    ticks as f64 / TICKS
}

/// user + nice + system + irq + softirq of one core; not idle, iowait, steal, and guest is part of user.
fn busy(text: &str, core: usize) -> Option<u64> {
    let name = format!("cpu{core} ");
    let line = text.lines().find_map(|line| line.strip_prefix(&name))?;
    let fields: Vec<u64> = line.split_whitespace().filter_map(|field| field.parse().ok()).collect();
    let [user, nice, system, _idle, _iowait, irq, softirq, ..] = fields.as_slice() else {
        return None;
    };
    Some(user + nice + system + irq + softirq)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn softirq_is_busy_and_waiting_is_not() {
        let text = "cpu  9 9 9 9\ncpu0 1 2 3 1000 1000 4 5 1000 0 0\ncpu1 7 0 0 0 0 0 0 0 0 0\n";
        assert_eq!(busy(text, 0), Some(15));
        assert_eq!(busy(text, 1), Some(7));
        assert_eq!(busy(text, 2), None);
    }
}
