//! blastdoor itself, in three modes of one daemon: requests judged, packets judged, nothing judged ("bare").
//!
//! The daemon is that of the lab, with its default configuration; entering a mode puts another policy file into its snapshot.

use std::cell::Cell;
use std::fmt::Write as _;
use std::rc::Rc;

use anyhow::Result;
use tests::daemon::Daemon;
use tests::lab::Lab;

use super::Peer;

/// Rules in the L7 policy.
pub(crate) const RULES: usize = 100;
const FILE: &str = "policy.yaml";

/// What the daemon enforces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Policy {
    /// Identity, port, method and path: [`RULES`] rules.
    Requests,
    /// Identity and port.
    Packets,
    /// Nothing.
    Bare,
}

/// The lab and its running daemon, shared by the three modes.
#[derive(Debug)]
pub(crate) struct Running {
    /// The daemon ends before its lab.
    pub(crate) daemon: Daemon,
    /// The lab.
    pub(crate) lab: Lab,
    in_force: Cell<Policy>,
}

impl Running {
    /// A daemon in a lab without a policy.
    pub(crate) fn new(lab: Lab) -> Result<Self> {
        let daemon = Daemon::start(&lab)?;
        Ok(Self { daemon, lab, in_force: Cell::new(Policy::Bare) })
    }

    /// Puts a policy in force.
    pub(crate) fn enforce(&self, policy: Policy) -> Result<()> {
        if self.in_force.get() == policy {
            return Ok(());
        }
        self.daemon.reload(|| match policy {
            Policy::Requests => self.lab.put(FILE, &document(&requests())),
            Policy::Packets => self.lab.put(FILE, &document("")),
            Policy::Bare => self.lab.take(FILE),
        })?;
        self.in_force.set(policy);
        Ok(())
    }
}

/// One mode.
#[derive(Debug)]
pub(crate) struct Blastdoor {
    policy: Policy,
    running: Rc<Running>,
    address: String,
}

impl Blastdoor {
    /// A mode of a running daemon.
    pub(crate) fn new(policy: Policy, running: &Rc<Running>, address: &str) -> Self {
        Self { policy, running: Rc::clone(running), address: address.to_owned() }
    }
}

/// The L7 mode's name in tables.
pub(crate) const L7: &str = "blastdoor L7";
/// The L4 mode's.
pub(crate) const L4: &str = "blastdoor L4";
/// Without policy.
pub(crate) const BARE: &str = "bare";

impl Peer for Blastdoor {
    fn name(&self) -> &'static str {
        match self.policy {
            Policy::Requests => L7,
            Policy::Packets => L4,
            Policy::Bare => BARE,
        }
    }

    fn description(&self) -> String {
        match self.policy {
            Policy::Requests => format!("identity, port, method and path; {RULES} HTTP rules"),
            Policy::Packets => "identity and port".to_owned(),
            Policy::Bare => "blastdoor without any policy: the limit in this mode".to_owned(),
        }
    }

    fn address(&self) -> &str {
        &self.address
    }

    fn interface(&self) -> &str {
        "eth0"
    }

    fn enforces_requests(&self) -> bool {
        self.policy == Policy::Requests
    }

    fn carries_packets(&self) -> bool {
        true
    }

    fn enter(&self) -> Result<()> {
        self.running.enforce(self.policy)
    }
}

/// The policy; `http` is what follows port 80.
fn document(http: &str) -> String {
    format!(
        "apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {{name: web, namespace: default}}
spec:
  endpointSelector: {{matchLabels: {{app: web}}}}
  ingress:
  - fromEndpoints: [{{matchLabels: {{role: client}}}}]
    toPorts:
    - ports: [{{port: \"5201\", protocol: TCP}}, {{port: \"9\", protocol: UDP}}]
    - ports: [{{port: \"80\", protocol: TCP}}]
{http}"
    )
}

/// The rules: the two that the peers have as well, after many that do not match.
fn requests() -> String {
    let mut text = String::from("      rules:\n        http:\n");
    for rule in 2..RULES {
        // Writing into a String cannot fail.
        writeln!(text, "        - {{method: GET, path: \"/service-{rule}/v[0-9]+/.*\"}}").ok();
    }
    text.push_str("        - {method: GET, path: /public}\n");
    text.push_str("        - {method: \"GET|PUT\", path: \"/api/v1/items/[0-9]+\"}\n");
    text
}
