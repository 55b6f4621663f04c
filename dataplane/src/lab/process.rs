//! Processes that a lab started: remembered by pid and start time, so that a reused pid is never taken for ours.

use std::fs;
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

/// How often a process that was asked to end is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// A process and the moment it began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProcessRecord {
    /// Process id.
    pub(crate) pid: i32,
    /// Clock ticks since boot, from `/proc/<pid>/stat`.
    pub(crate) started: u64,
}

impl ProcessRecord {
    /// The record of a process that lives now.
    pub(crate) fn of(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The second field is the program's name in brackets and may hold anything, so count from its end:
        // state is the first field after it, the start time the twentieth (proc(5)).
        let (_, rest) = stat.rsplit_once(')')?;
        let mut fields = rest.split_ascii_whitespace();
        if fields.next()? == "Z" {
            return None;
        }
        let started = fields.nth(18)?.parse().ok()?;
        Some(Self { pid, started })
    }

    /// Whether this very process still runs (a zombie does not).
    pub(crate) fn is_alive(self) -> bool {
        Self::of(self.pid) == Some(self)
    }

    /// Sends a signal if this very process still runs.
    fn signal(self, signal: Signal) -> Result<(), Errno> {
        if self.is_alive() { kill(Pid::from_raw(self.pid), signal) } else { Ok(()) }
    }
}

/// Asks processes to end, and after `grace` makes them. Returns those that are still there after a further second.
pub(crate) fn end(processes: &[ProcessRecord], grace: Duration) -> Vec<ProcessRecord> {
    for process in processes {
        // An error here is a process that went by itself; the count of survivors below is what decides.
        process.signal(Signal::SIGTERM).ok();
    }
    let mut survivors = wait_for_end(processes, grace);
    for process in &survivors {
        process.signal(Signal::SIGKILL).ok();
    }
    survivors = wait_for_end(&survivors, Duration::from_secs(1));
    survivors
}

fn wait_for_end(processes: &[ProcessRecord], limit: Duration) -> Vec<ProcessRecord> {
    let mut waited = Duration::ZERO;
    loop {
        let alive: Vec<_> = processes.iter().copied().filter(|p| p.is_alive()).collect();
        if alive.is_empty() || waited >= limit {
            return alive;
        }
        thread::sleep(LOOK_EVERY);
        waited += LOOK_EVERY;
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_process_is_known_by_pid_and_start() {
        let own = ProcessRecord::of(i32::try_from(std::process::id()).unwrap()).unwrap();
        assert!(own.is_alive());
        assert!(!ProcessRecord { started: own.started + 1, ..own }.is_alive());
    }

    #[test]
    fn a_reused_pid_is_left_alone_and_the_right_one_ends() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let record = ProcessRecord::of(i32::try_from(child.id()).unwrap()).unwrap();
        let stranger = ProcessRecord { started: record.started + 1, ..record };
        assert!(end(&[stranger], Duration::ZERO).is_empty());
        assert!(child.try_wait().unwrap().is_none(), "the wrong process was ended");
        assert!(end(&[record], Duration::from_secs(2)).is_empty());
        assert!(child.wait().unwrap().code().is_none());
    }
}
