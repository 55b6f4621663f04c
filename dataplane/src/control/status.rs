//! What the daemon tells about itself: the shape of `blastdoor status -o json`, and its text.

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
};

use serde::{Deserialize, Serialize};

/// The whole answer.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Status {
    /// The version of the daemon.
    pub version: String,
    /// The policy in force.
    pub policy: PolicyStatus,
    /// The ports.
    pub ports: Vec<PortStatus>,
    /// The workers.
    pub workers: Vec<WorkerStatus>,
    /// The endpoints of the snapshot.
    pub endpoints: Vec<EndpointStatus>,
    /// Packets of all workers, by exit.
    pub packets: PacketStatus,
    /// HTTP requests of all workers.
    pub requests: RequestStatus,
    /// Dropped packets of all workers, by the reason's key; reasons that never occurred are left out.
    pub drops: BTreeMap<String, u64>,
    /// Where the frames are.
    pub frames: FrameStatus,
}

/// The policy in force.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct PolicyStatus {
    /// Counts the snapshots taken up; 0 until the first good one.
    pub epoch: u64,
    /// `default`, `always` or `never`.
    pub enforcement: String,
    /// Policies in the snapshot.
    pub policies: usize,
    /// Services in the snapshot.
    pub services: usize,
    /// Why the newest snapshot was refused; empty if it is in force.
    pub refused: Vec<String>,
    /// What the snapshot's reader wants to be known.
    pub notices: Vec<String>,
}

/// A port.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct PortStatus {
    /// The interface.
    pub name: String,
    /// `pod`, `host` or `uplink`.
    pub kind: String,
    /// The pod, for a pod's port.
    pub pod: Option<String>,
    /// Whether frames can pass: the interface is there and the pod is in the snapshot.
    pub up: bool,
    /// `native` or `generic` XDP.
    pub mode: String,
    /// `zero-copy` or `copy`.
    pub copy: String,
    /// The worker that receives from it.
    pub worker: u16,
    /// Workers with a socket to send on it.
    pub tx_queues: u32,
    /// Our hardware address on it.
    pub mac: String,
    /// The other end's, once it is known.
    pub neighbour: Option<String>,
    /// Largest IP packet, in bytes.
    pub mtu: usize,
    /// Packets received.
    pub received: u64,
    /// Packets sent.
    pub sent: u64,
    /// Packets that the kernel could not give to us: our ring was full, or had no free frame (`xdp_statistics`).
    pub missed: u64,
}

/// A worker.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct WorkerStatus {
    /// Its number.
    pub worker: u16,
    /// Its core.
    pub core: usize,
    /// Whether it could be pinned there.
    pub pinned: bool,
    /// Connections in its table.
    pub connections: usize,
    /// Connections with an inspected stream.
    pub streams: usize,
    /// Connections that made room for others.
    pub evicted: u64,
    /// Bytes that inspected streams hold.
    pub held_bytes: usize,
    /// Inspected connections that were reset because too many bytes were held.
    pub streams_shed: u64,
    /// Packets it took.
    pub received: u64,
}

/// An endpoint.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct EndpointStatus {
    /// `namespace/name`.
    pub pod: String,
    /// Its identity.
    pub identity: u32,
    /// Whether ingress policy is enforced.
    pub ingress_enforced: bool,
    /// Whether nothing is denied nevertheless, because those policies are only tried (audit mode).
    pub ingress_audited: bool,
    /// Whether egress policy is enforced.
    pub egress_enforced: bool,
    /// The same for egress.
    pub egress_audited: bool,
    /// Its labels, as `source:key=value`.
    pub labels: Vec<String>,
    /// Its addresses.
    pub addresses: Vec<String>,
    /// The interface it is attached to here, if it is.
    pub port: Option<String>,
}

/// Packets by exit.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct PacketStatus {
    /// Taken from ports, and from other workers to be judged.
    pub received: u64,
    /// Put into a tx ring: forwarded, or built by us.
    pub sent: u64,
    /// For us: answered or taken note of.
    pub answered: u64,
    /// Taken in by an inspected connection.
    pub absorbed: u64,
    /// Handed to the worker that owns the connection.
    pub handed_on: u64,
    /// Dropped.
    pub dropped: u64,
    /// Waiting for a neighbour's hardware address.
    pub waiting: u64,
    /// Built by us.
    pub built: u64,
    /// Connections and DNS queries that a tried policy would have denied.
    #[serde(default)]
    pub audited: u64,
    /// Flow events lost because nobody took them out in time.
    pub events_lost: u64,
}

/// HTTP requests by verdict.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct RequestStatus {
    /// Allowed.
    pub allowed: u64,
    /// Answered 403 by policy.
    pub denied: u64,
    /// Answered 4xx because of their form.
    pub refused: u64,
    /// Of the allowed ones, those that a tried policy would have denied.
    #[serde(default)]
    pub audited: u64,
}

/// The ledger.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct FrameStatus {
    /// Frames of the UMEM.
    pub total: usize,
    /// Free.
    pub free: usize,
    /// In fill rings.
    pub fill: usize,
    /// In rx rings.
    pub rx: usize,
    /// Held by workers: on the way to another worker or waiting for a neighbour.
    pub held: usize,
    /// In tx rings.
    pub tx: usize,
    /// In completion rings.
    pub completion: usize,
    /// Dropped by accident: always 0.
    pub leaked: u64,
    /// Whether the sum is the total. While packets flow it may be off for a moment.
    pub balanced: bool,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let policy = &self.policy;
        writeln!(
            f,
            "Policy:     epoch {}, enforcement {}, {} policies, {} services",
            policy.epoch, policy.enforcement, policy.policies, policy.services
        )?;
        for reason in &policy.refused {
            writeln!(f, "  refused:  {reason}")?;
        }
        for notice in &policy.notices {
            writeln!(f, "  notice:   {notice}")?;
        }
        let packets = &self.packets;
        writeln!(
            f,
            "Packets:    {} received + {} built = {} sent + {} answered + {} absorbed + {} handed on + {} dropped + {} waiting",
            packets.received,
            packets.built,
            packets.sent,
            packets.answered,
            packets.absorbed,
            packets.handed_on,
            packets.dropped,
            packets.waiting
        )?;
        writeln!(
            f,
            "Requests:   {} allowed, {} denied, {} refused",
            self.requests.allowed, self.requests.denied, self.requests.refused
        )?;
        let frames = &self.frames;
        writeln!(
            f,
            "Frames:     {} = {} free + {} fill + {} rx + {} held + {} tx + {} completion ({})",
            frames.total,
            frames.free,
            frames.fill,
            frames.rx,
            frames.held,
            frames.tx,
            frames.completion,
            if frames.balanced { "balanced" } else { "in motion" }
        )?;
        writeln!(f)?;
        let mut rows = vec![
            [
                "WORKER",
                "CORE",
                "CONNECTIONS",
                "STREAMS",
                "HELD BYTES",
                "SHED",
                "EVICTED",
                "RECEIVED",
            ]
            .map(String::from),
        ];
        rows.extend(self.workers.iter().map(|worker| {
            let core = if worker.pinned {
                worker.core.to_string()
            } else {
                format!("{} (unpinned)", worker.core)
            };
            [
                worker.worker.to_string(),
                core,
                worker.connections.to_string(),
                worker.streams.to_string(),
                worker.held_bytes.to_string(),
                worker.streams_shed.to_string(),
                worker.evicted.to_string(),
                worker.received.to_string(),
            ]
        }));
        table(f, &rows)?;
        let mut rows = vec![
            [
                "PORT",
                "KIND",
                "POD",
                "STATE",
                "XDP",
                "COPY",
                "WORKER",
                "TX QUEUES",
                "MTU",
                "NEIGHBOUR",
                "RECEIVED",
                "SENT",
                "MISSED",
            ]
            .map(String::from),
        ];
        rows.extend(self.ports.iter().map(|port| {
            [
                port.name.clone(),
                port.kind.clone(),
                port.pod.clone().unwrap_or_else(|| "-".into()),
                if port.up { "up" } else { "not ready" }.to_owned(),
                port.mode.clone(),
                port.copy.clone(),
                port.worker.to_string(),
                port.tx_queues.to_string(),
                port.mtu.to_string(),
                port.neighbour.clone().unwrap_or_else(|| "-".into()),
                port.received.to_string(),
                port.sent.to_string(),
                port.missed.to_string(),
            ]
        }));
        table(f, &rows)?;
        let mut rows = vec![
            ["ENDPOINT", "INGRESS", "EGRESS", "IDENTITY", "PORT", "ADDRESSES", "LABELS"]
                .map(String::from),
        ];
        rows.extend(self.endpoints.iter().map(|endpoint| {
            [
                endpoint.pod.clone(),
                enforcement(endpoint.ingress_enforced, endpoint.ingress_audited).to_owned(),
                enforcement(endpoint.egress_enforced, endpoint.egress_audited).to_owned(),
                endpoint.identity.to_string(),
                endpoint.port.clone().unwrap_or_else(|| "-".into()),
                endpoint.addresses.join(","),
                endpoint.labels.join(","),
            ]
        }));
        table(f, &rows)?;
        let mut rows = vec![["DROP REASON", "PACKETS"].map(String::from)];
        rows.extend(
            self.drops.iter().map(|(reason, packets)| [reason.clone(), packets.to_string()]),
        );
        table(f, &rows)
    }
}

/// Writes rows with their columns aligned, and an empty line after them.
pub(super) fn table<const COLUMNS: usize>(
    f: &mut fmt::Formatter<'_>,
    rows: &[[String; COLUMNS]],
) -> fmt::Result {
    let mut widths = [0; COLUMNS];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.len().max(*width);
        }
    }
    for row in rows {
        let mut line = String::new();
        for (width, cell) in widths.iter().zip(row) {
            write!(line, "{cell:width$}  ")?;
        }
        writeln!(f, "{}", line.trim_end())?;
    }
    writeln!(f)
}

/// How a direction is enforced, in the words that users of Cilium know.
pub(super) fn enforcement(enforced: bool, audited: bool) -> &'static str {
    match (enforced, audited) {
        (false, _) => "Disabled",
        (true, false) => "Enabled",
        (true, true) => "Audit",
    }
}
