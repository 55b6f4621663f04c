//! The control thread: it makes everything that workers use and tells them of it; it never touches a packet.
//!
//! ```text
//!   snapshot directory ─ watch ─┐                         ┌─ commands ─> workers
//!   control socket ─────────────┼─> Daemon: ports, table, ─┤
//!   netlink: links gone ────────┤           world           └─ flow events <─ workers
//!   SIGTERM ────────────────────┘
//! ```

pub mod attach;
pub mod daemon;
pub mod journal;
pub mod listing;
pub mod netlink;
pub mod policy;
pub mod preflight;
pub mod question;
pub mod socket;
pub mod status;
pub mod watch;

pub use daemon::{Daemon, RunError};
