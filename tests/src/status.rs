//! The command line's JSON, as far as the tests look at it: a field that is missing here is a broken promise to users.

use std::collections::BTreeMap;

use serde::Deserialize;

/// `blastdoor status -o json`.
#[derive(Debug, Clone, Deserialize)]
pub struct Status {
    /// The policy in force.
    pub policy: Policy,
    /// The interfaces it owns.
    pub ports: Vec<Port>,
    /// Packets dropped, by reason; a reason that never occurred may be absent.
    pub drops: BTreeMap<String, u64>,
    /// The frame ledger.
    pub frames: Frames,
}

/// The policy in force.
#[derive(Debug, Clone, Deserialize)]
pub struct Policy {
    /// Its generation.
    pub epoch: u64,
    /// Why the newest snapshot was refused; empty while it is in force.
    pub refused: Vec<String>,
}

/// One interface.
#[derive(Debug, Clone, Deserialize)]
pub struct Port {
    /// The interface's name.
    pub name: String,
    /// The pod behind it, `namespace/name`.
    pub pod: Option<String>,
    /// How AF_XDP runs on it.
    pub mode: String,
    /// Whether it carries frames.
    pub up: bool,
    /// Packets received.
    pub received: u64,
    /// Packets that the kernel could not give to the daemon.
    pub missed: u64,
}

/// Where the frames are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Frames {
    /// All there are.
    pub total: u64,
    /// In nobody's hands.
    pub free: u64,
    /// Held back until a judgement.
    pub held: u64,
    /// Whether every frame is in exactly one place.
    pub balanced: bool,
}

impl Status {
    /// How many packets were dropped for a reason.
    #[must_use]
    pub fn drops(&self, reason: &str) -> u64 {
        self.drops.get(reason).copied().unwrap_or(0)
    }
}

/// One pod of `blastdoor lab pods -o json`.
#[derive(Debug, Clone, Deserialize)]
pub struct PodStatus {
    /// `namespace/name`.
    pub pod: String,
    /// Whether it listens.
    pub ready: bool,
    /// How often its containers were started again.
    pub restarts: u64,
    /// IPv4 address.
    pub ipv4: String,
    /// IPv6 address.
    pub ipv6: String,
}
