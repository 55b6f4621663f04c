//! What the demo and the namespace tests stand on: a lab, a daemon in it, and real clients in its pods.
//!
//! Everything goes through the command line, as a user's hands would: `blastdoor lab up`, `blastdoor run`,
//! `blastdoor status`. Invariant: what a value of this crate started, its end stops.

pub mod cases;
pub mod client;
pub mod daemon;
pub mod lab;
pub mod losses;
pub mod probe;
pub mod program;
pub mod sctp;
pub mod star_wars;
pub mod status;
pub mod verdict;
