//! The budgets of one connection, and the time they are measured in. Every limit is a setting with a documented default.

/// A moment: milliseconds since any fixed start. The engine has no clock; the caller passes the batch's time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tick(pub u64);

impl Tick {
    /// The moment `milliseconds` later.
    #[must_use]
    pub fn after(self, milliseconds: u32) -> Self {
        Self(self.0.saturating_add(u64::from(milliseconds)))
    }
}

/// What one connection may use. Durations are milliseconds, sizes bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Sizes of requests: heads, fields, chunk lines, trailers.
    pub requests: parser::http::Limits,
    /// Sizes of responses.
    pub responses: parser::http::Limits,
    /// Rules of the grammar that are widened. Default: none.
    pub strictness: parser::http::Strictness,
    /// Held, owned and pinned client bytes together. Default 128 KiB: the largest frame besides what earlier ones left.
    pub kept: usize,
    /// Separate pieces of kept bytes. Default 1024.
    pub kept_spans: usize,
    /// Early bytes per direction. Default 64 KiB.
    pub holes: usize,
    /// Separate pieces of early bytes per direction. Default 32.
    pub hole_parts: usize,
    /// Requests passed to the server and not yet answered; further ones are held. Default and maximum 16. With 1, a request is
    /// held until the response before it is complete, so that no server can mistake one request's body for the next's head.
    pub outstanding: u8,
    /// Our answers waiting for the client's acknowledgement; further requests are held. Default 16 KiB.
    pub replies: usize,
    /// Content of a denied request that is read and thrown away so that the connection can go on; with more, it is closed
    /// after the 403. Default 64 KiB.
    pub denied_body: u64,
    /// From a head's first byte to its last. Default 10 s.
    pub head_time: u32,
    /// Held bytes waiting for the server's earlier responses. Default 300 s, Envoy's stream idle time.
    pub held_time: u32,
    /// Nothing at all happening. Default 8 000 s, as Cilium's connection tracking.
    pub idle_time: u32,
    /// From the SYN to the SYN-ACK. Default 75 s, more than Linux's clients wait in the first five tries.
    pub handshake_time: u32,
    /// After our own close, how long the client may take to close its half. Default 15 s: a lost FIN is repeated
    /// within that.
    pub linger_time: u32,
    /// First retransmission time of bytes we own, doubled each time. Default 200 ms, Linux's minimum.
    pub retransmit_time: u32,
    /// Retransmissions without progress before both sides are reset. Default 8 (about 50 s).
    pub retransmits: u8,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            requests: parser::http::Limits::REQUESTS,
            responses: parser::http::Limits::RESPONSES,
            strictness: parser::http::Strictness::STRICT,
            kept: 128 * 1024,
            kept_spans: 1024,
            holes: 64 * 1024,
            hole_parts: 32,
            outstanding: 16,
            replies: 16 * 1024,
            denied_body: 64 * 1024,
            head_time: 10_000,
            held_time: 300_000,
            idle_time: 8_000_000,
            handshake_time: 75_000,
            linger_time: 15_000,
            retransmit_time: 200,
            retransmits: 8,
        }
    }
}
