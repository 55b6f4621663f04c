//! Which pods run and listen: read from the supervisor's record and from the kernel's socket tables.

use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::thread;
use std::time::Duration;

use serde::Serialize;

use super::error::LabError;
use super::kubelet::ContainerState;
use super::plan::{Plan, Pod};
use super::state::{StateDirectory, read_json};

/// `LISTEN` in the state column of /proc/net/tcp (include/net/tcp_states.h).
const LISTEN: &str = "0A";
/// How often the socket tables are read while something is awaited.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// One line of `blastdoor lab pods`.
#[derive(Debug, Clone, Serialize)]
pub struct PodStatus {
    /// `namespace/name`.
    pub pod: String,
    /// Every container runs and every expected TCP port listens.
    pub ready: bool,
    /// How often its containers have been started again.
    pub restarts: u32,
    /// IPv4 address.
    pub ipv4: Ipv4Addr,
    /// IPv6 address.
    pub ipv6: Ipv6Addr,
    /// What runs: a program's name, or `-`.
    pub runs: String,
}

/// The present state of every pod.
///
/// # Errors
/// [`LabError::Record`] or [`LabError::File`] when the supervisor's record does not read.
pub(crate) fn statuses(plan: &Plan, state: &StateDirectory) -> Result<Vec<PodStatus>, LabError> {
    let containers: Vec<ContainerState> = read_json(&state.containers())?.unwrap_or_default();
    Ok(plan.pods.iter().map(|pod| status(pod, &containers)).collect())
}

fn status(pod: &Pod, containers: &[ContainerState]) -> PodStatus {
    let name = pod.full_name();
    let own: Vec<&ContainerState> = containers.iter().filter(|c| c.pod == name).collect();
    let alive = own.len() == pod.containers.len()
        && own.iter().all(|container| container.process.is_some_and(|p| p.is_alive()));
    let listening = match own.first().and_then(|container| container.process) {
        Some(process) if !pod.listens.is_empty() => listening_ports(process.pid),
        _ => BTreeSet::new(),
    };
    let runs = pod.containers.iter().filter_map(|c| c.command.last());
    let runs: Vec<&str> =
        runs.map(|command| command.rsplit('/').next().unwrap_or(command)).collect();
    PodStatus {
        ready: alive && pod.listens.is_subset(&listening),
        restarts: own.iter().map(|container| container.restarts).sum(),
        ipv4: pod.ipv4,
        ipv6: pod.ipv6,
        runs: if runs.is_empty() { "-".to_owned() } else { runs.join(", ") },
        pod: name,
    }
}

/// Waits until `done` holds for the pods' states, and returns these.
///
/// # Errors
/// [`LabError::NotReady`] after `seconds`, naming the pods for which it does not hold.
pub(crate) fn wait_until(
    plan: &Plan,
    state: &StateDirectory,
    seconds: u64,
    done: impl Fn(&PodStatus) -> bool,
) -> Result<Vec<PodStatus>, LabError> {
    let mut waited = Duration::ZERO;
    loop {
        let statuses = statuses(plan, state)?;
        let missing: Vec<&str> =
            statuses.iter().filter(|s| !done(s)).map(|s| s.pod.as_str()).collect();
        if missing.is_empty() {
            return Ok(statuses);
        }
        if waited >= Duration::from_secs(seconds) {
            let pods = missing.join(", ");
            return Err(LabError::NotReady { seconds, pods, logs: state.logs() });
        }
        thread::sleep(LOOK_EVERY);
        waited += LOOK_EVERY;
    }
}

/// The TCP ports with a listener in the network namespace of a process.
fn listening_ports(pid: i32) -> BTreeSet<u16> {
    let tables = ["tcp", "tcp6"].map(|table| format!("/proc/{pid}/net/{table}"));
    tables
        .iter()
        .filter_map(|path| fs::read_to_string(path).ok())
        .flat_map(|text| text.lines().filter_map(listening_port).collect::<Vec<_>>())
        .collect()
}

/// The local port of a /proc/net/tcp line that is a listener: `sl local remote st …` with hexadecimal ports.
fn listening_port(line: &str) -> Option<u16> {
    let mut fields = line.split_ascii_whitespace();
    let (_, port) = fields.nth(1)?.rsplit_once(':')?;
    let is_listener = fields.nth(1)? == LISTEN;
    is_listener.then(|| u16::from_str_radix(port, 16).ok())?
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_listener_is_seen_and_a_closed_one_is_not() {
        let listener = TcpListener::bind("[::1]:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(listening_ports(own).contains(&port));
        drop(listener);
        assert!(!listening_ports(own).contains(&port));
    }

    #[test]
    fn an_established_connection_is_no_listener() {
        let line = "0: 0100007F:0050 0100007F:9C40 01 00000000:00000000";
        assert_eq!(listening_port(line), None);
        assert_eq!(listening_port(&line.replace(" 01 ", " 0A ")), Some(80));
    }
}
