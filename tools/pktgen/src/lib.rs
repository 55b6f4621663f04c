//! A packet generator on AF_XDP: numbers and addresses arrive, UDP datagrams leave through an interface's transmit ring, and a
//! [`report::Report`] says how many the kernel took and gave back.
//!
//! ```text
//!   pace ──how many now──> send ──packet──> [tx ring] kernel [completion ring] ──> report
//! ```
//!
//! Sending needs no XDP program, so that nothing else on the interface changes.
#![forbid(unsafe_code)]

pub mod mac;
pub mod pace;
pub mod packet;
pub mod report;
pub mod send;
