//! Knows policies, never sees a packet.
//!
//! ```text
//! files ─ Snapshot::load ─ Snapshot ─┬─ Table::compile ─ Table ── judge, judge_http     (constant time, on the packet path)
//!                                    └─ oracle                                          (slow, obvious, in the tests)
//! ```
//! Arrives: the Kubernetes and Cilium objects people already have. Leaves: a [`Table`], immutable, shared by `Arc`, that
//! says who may talk to whom and what they may say. Invariants: a policy that cannot be enforced as written is refused
//! with its place, never taken in part; whatever is unknown is denied; nothing here does I/O but [`Snapshot::load`], and
//! nothing on the judging side locks or fails, or allocates once its automata are warm.
#![forbid(unsafe_code)]

mod compile;
pub mod compiled;
mod diff;
mod explain;
mod http;
mod identity;
pub mod label;
mod lint;
mod listing;
mod members;
mod names;
pub mod oracle;
mod prefixes;
pub mod rule;
pub mod selector;
mod shared;
mod side;
pub mod snapshot;
mod table;
mod verdict;

pub use compile::Compiler;
pub use diff::{Change, Fate, diff};
pub use explain::{Audit, Explanation, Miss, Outcome, Side, explain};
pub use http::HttpScratch;
pub use identity::{Identities, Identity};
pub use lint::{Finding, lint};
pub use listing::{Listed, ListedHttp, SelectorUse, rules, selectors};
pub use names::Names;
pub use rule::{Direction, PolicyKind, Protocol, RuleOrigin};
pub use shared::Chunks;
pub use snapshot::{Directory, Loaded, Notice, Refusal, Refusals, Severity, Snapshot, Update};
pub use table::{Endpoint, Enforcement, IdentityRecord, Service, ServicePort, Settings, Table};
pub use verdict::{
    Access, Cause, Denial, DnsAccess, DnsVerdict, EndpointIndex, Flow, Grounds, HeaderFields,
    HttpAccess, HttpRequest, HttpVerdict, MatchType, Peer, RuleId,
};
