//! HTTP/1: where messages begin and end, and what a request asks for. Read RFC 9112, RFC 9110 and RFC 3986 §2-3 first.
//!
//! Bytes of one direction of a connection arrive in any segmentation; views into them and exact framing leave. Nothing
//! is copied, allocated or timed.
//!
//! ```text
//!   client ──▶ HeadScanner ──▶ read_request ──▶ Body ──▶ next head        (split heads go through the scanner;
//!   server ──▶ HeadScanner ──▶ read_response ─▶ Body ──▶ next head         whole ones straight to read_*)
//! ```
//!
//! INVARIANT: the result is a function of the byte stream alone. Whatever prefixes were offered before, the same stream
//! gives the same head or the same refusal; a proper prefix of a head is `Incomplete` unless it is refused already.
//! It holds because there are two stages, and only the second sees a whole head:
//! 1. the *shape* ([`HeadScanner`]): bytes, line ends, limits, in stream order, refused at the first wrong byte;
//! 2. the *meaning* ([`read_request`], [`read_response`]): fields in order, then what they say together.
//!
//! A whole head takes a short cut through the first stage, many bytes at a time; every byte must be accounted for.
//! Where the short cut hesitates, the scanner says why. Both must agree that a head is well formed.
//!
//! What is stricter than the RFCs, and why, is said at each rule with `DEVIATION:`.

mod body;
mod fields;
mod framing;
mod line;
mod refusal;
mod request;
mod response;
mod scanner;
mod settings;
mod target;

pub use self::{
    body::{Body, BodyStep},
    fields::{Field, Fields},
    framing::{BodyFraming, ResponseFraming},
    line::Version,
    refusal::HttpRefusal,
    request::{RequestHead, Upgrade, read_request, read_request_on},
    response::{ResponseHead, ResponseTo, read_response, read_response_on},
    scanner::HeadScanner,
    settings::{Limits, Strictness},
};

/// How far the bytes so far lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress<T> {
    /// More bytes are needed; nothing is wrong yet.
    Incomplete,
    /// The thing is whole.
    Complete(T),
}
