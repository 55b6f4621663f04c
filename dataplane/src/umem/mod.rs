//! The memory shared with the kernel: one UMEM for all ports, frames with an owner, and the sockets' rings.
//!
//! ```text
//!   pool ──fill──> [fill ring] kernel [rx ring] ──receive──> Frame ──send──> [tx ring] kernel [completion ring] ──recycle──> pool
//! ```
//!
//! The ledger: free + fill + rx + held + tx + completion = total, at any moment when no worker is in the middle of a turn.

pub mod assembly;
pub mod frame;
pub mod kernel;
pub mod pool;
pub mod port;
pub mod share;

pub use assembly::Refused;
pub use frame::{CAPACITY, Frame, MAX_CHUNKS, Region};
pub use pool::Pool;
pub use port::{Port, PortFrames, PortGone};
