//! Reads and writes the bytes of frames, Ethernet to HTTP/1.1, in place.
//!
//! What arrives is a slice that someone else owns; what leaves is a small value, or a named reason
//! why the bytes cannot be read in exactly one way. Nothing here does I/O, reads a clock, allocates
//! or panics.
//!
//! ```text
//! headers     Ethernet -> L4 in one walk       emit      frames from nothing
//! plain       the same for nearly all packets  answer    frames that answer a frame
//! tcp         options, when asked for
//! flow_key    the flow, the connection         rewrite   edits in place, checksums kept right
//! fragment    where parts wait for the whole   checksum  sums, and changes of sums
//! dns         questions, and what answers give
//! stream      bytes in order, once             http      requests and responses in the bytes
//! ```
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

mod bytes;
mod error;

pub mod answer;
pub mod arp;
pub mod checksum;
pub mod dns;
pub mod emit;
pub mod ethernet;
pub mod flow_key;
pub mod fragment;
pub mod headers;
pub mod http;
pub mod icmp;
pub mod icmpv6;
pub mod ipv4;
pub mod ipv6;
pub mod ndp;
pub mod network;
pub mod plain;
pub mod quote;
pub mod rewrite;
pub mod sctp;
pub mod tcp;
pub mod udp;

#[cfg(test)]
mod testing;

pub use error::{EmitError, ParseError, RewriteError};
