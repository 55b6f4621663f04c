//! How the end of a message's content is found (RFC 9112 §6.3), as the head says it.
//!
//! Heads decide; [`super::Body`] follows. INVARIANT: a request never reads until close, so the next head is always found.

/// Where a request's content ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyFraming {
    /// There is no content; the next head follows at once.
    None,
    /// Exactly so many bytes, at least one.
    Length(u64),
    /// In chunks, then trailers.
    Chunked,
}

/// Where a response's content ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseFraming {
    /// There is no content; the next head follows at once (or the other protocol, after 101).
    None,
    /// Exactly so many bytes, at least one.
    Length(u64),
    /// In chunks, then trailers.
    Chunked,
    /// All bytes until the server closes. No response can follow, so no request may pass any more.
    UntilClose,
}

impl From<BodyFraming> for ResponseFraming {
    fn from(framing: BodyFraming) -> Self {
        match framing {
            BodyFraming::None => Self::None,
            BodyFraming::Length(length) => Self::Length(length),
            BodyFraming::Chunked => Self::Chunked,
        }
    }
}
