//! Carries frames: the UMEM and its ports, the workers and their verdicts, connections and services, and the control plane that
//! feeds them. The packet's journey is told in `docs/architecture.md`.
//!
//! ```text
//!   umem/        frames with an owner, ports              control/    snapshot, ports, socket, status
//!   worker/      the loop: judge, carry out               world.rs    what workers read and never change
//!   connection/  both directions of a flow                flow.rs     what observers see; hits.rs: what rules did
//!   inspect/     TCP bytes to judged requests             service.rs  ClusterIP to endpoint
//!   names.rs     what DNS told a pod                        prefetch.rs memory asked for before it is needed
//!   lab/         a small cluster in network namespaces
//! ```

pub mod budgets;
pub mod config;
pub mod connection;
pub mod control;
pub mod counters;
pub mod drop_reason;
pub mod flow;
pub mod hits;
pub mod inspect;
pub mod lab;
pub mod names;
mod prefetch;
pub mod reply;
pub mod service;
pub mod umem;
pub mod worker;
pub mod world;
