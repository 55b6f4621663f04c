//! A packet generator and receiver on AF_XDP: a mix of streams or a recording arrives, packets leave through an interface and come
//! back through another, and a report says what became of them.
//!
//! ```text
//!   mix ──> build ─┐                                                              ┌─> measure ──> report ──> text, JSON, page
//!   replay ────────┴─> send ──> [tx ring] ══ network ══ [XDP, rx ring] ──> receive ┘
//!   rate ──> pace ──how many now──┘
//! ```
//!
//! One thread sends and receives by turns. A sender needs no XDP program, so that nothing else on its interface changes.
#![forbid(unsafe_code)]

pub mod build;
pub mod client;
pub mod clock;
pub mod http;
pub mod link;
pub mod load;
pub mod load_report;
pub mod mac;
pub mod measure;
pub mod mix;
pub mod neighbour;
pub mod pace;
pub mod page;
pub mod plot;
pub mod progress;
pub mod rate;
pub mod receive;
pub mod replay;
pub mod report;
pub mod run;
pub mod search;
pub mod search_report;
pub mod send;
pub mod server;
pub mod stack;
pub mod tag;
pub mod tcp;
pub mod values;
pub mod wait;
