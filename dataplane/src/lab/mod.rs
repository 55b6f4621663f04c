//! A small cluster on one machine: Kubernetes YAML arrives, network namespaces with running pods leave.
//!
//! ```text
//!            bd-lab-node (the daemon's namespace)              one namespace per pod
//!   bd-host ── daemon ── bd1 ═══════ veth ═══════ eth0  bd-lab-default-tiefighter   10.77.0.2
//!                     └─ bd2 ═══════ veth ═══════ eth0  bd-lab-default-xwing        10.77.0.3
//! ```
//!
//! The journey: [`manifest`] reads the files, [`plan`] gives names and addresses (pure), [`network`] makes the
//! namespaces and veths, [`snapshot`] writes what the daemon reads, [`kubelet`] keeps the containers running, and
//! [`commands`] puts them together as `up`, `exec`, `down`, `pods` and `wait`.
//!
//! Invariants: everything a lab makes lies in namespaces called `bd-<name>-*` and in `/run/blastdoor/<name>`, so a
//! lab never touches the machine's own network stack, and what an earlier run left can always be recognised and
//! removed. Nothing here is on the packet path.

pub mod commands;
mod error;
mod hosts;
pub mod kubelet;
pub mod manifest;
mod namespace;
pub mod network;
pub mod plan;
mod process;
mod readiness;
pub mod snapshot;
mod state;

pub use self::error::LabError;
pub use self::readiness::PodStatus;
pub use self::state::{LabName, StateDirectory};
