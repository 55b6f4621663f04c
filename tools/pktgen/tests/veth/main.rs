//! pktgen on a real veth pair: its counts against the kernel's and against a capture by tcpdump. Needs root; without, each test
//! prints SKIPPED.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of a test, which fails by panicking and says aloud that it was skipped"
)]

mod connections;
mod doctored;
mod pair;
mod search;
mod traffic;
