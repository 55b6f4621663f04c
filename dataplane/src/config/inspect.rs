//! `[inspect]`: how inspected connections are read, and which single rules of the grammar are widened. Every field has the strict
//! value as its default.

use parser::http::{Limits as MessageLimits, Strictness};
use serde::Deserialize;

use crate::inspect::Limits;

/// A rule of the grammar that may be widened for all requests that this daemon inspects. Framing, line ends, dot segments,
/// backslashes, fragments, bad escapes and overlong UTF-8 cannot be.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Widening {
    /// `//` in the path.
    EmptySegments,
    /// `;` in the path; `..;` stays refused.
    Semicolons,
    /// `%2F` in the path.
    EscapedSlashes,
    /// `%25` in the path.
    EscapedPercent,
    /// `%3F`, `%23` and `%3B` in the path.
    EscapedDelimiters,
    /// Escapes of unreserved bytes in the path, unless they make a dot segment.
    EscapedUnreserved,
    /// Escaped bytes in the path that are not UTF-8.
    EscapedNotUtf8,
    /// `{ } | ^` and the backtick raw in the query.
    RawQueryBytes,
    /// Escaped controls but NUL in the query.
    EscapedQueryControls,
    /// Fields that override method or target, as `X-HTTP-Method-Override`.
    OverrideFields,
    /// Connection options that name end-to-end fields.
    ConnectionOptions,
    /// `Upgrade: h2c`, treated as not said.
    H2cUpgrade,
}

impl Widening {
    fn open(self, strictness: &mut Strictness) {
        let rule = match self {
            Self::EmptySegments => &mut strictness.allow_empty_segments,
            Self::Semicolons => &mut strictness.allow_semicolons,
            Self::EscapedSlashes => &mut strictness.allow_escaped_slashes,
            Self::EscapedPercent => &mut strictness.allow_escaped_percent,
            Self::EscapedDelimiters => &mut strictness.allow_escaped_delimiters,
            Self::EscapedUnreserved => &mut strictness.allow_escaped_unreserved,
            Self::EscapedNotUtf8 => &mut strictness.allow_escaped_not_utf8,
            Self::RawQueryBytes => &mut strictness.allow_raw_query_bytes,
            Self::EscapedQueryControls => &mut strictness.allow_escaped_query_controls,
            Self::OverrideFields => &mut strictness.allow_override_fields,
            Self::ConnectionOptions => &mut strictness.allow_connection_options,
            Self::H2cUpgrade => &mut strictness.ignore_h2c_upgrade,
        };
        *rule = true;
    }
}

/// Sizes of one kind of message; a field that is left out has its default.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct Sizes {
    /// A head, its empty line included. Requests 16 384, responses 65 536.
    pub head_bytes: Option<usize>,
    /// Fields of a head. Requests 100, responses 128.
    pub fields: Option<usize>,
    /// A line with its CRLF. Requests 8 192, responses 32 768.
    pub line_bytes: Option<usize>,
    /// A chunk-size line with its CRLF: 18.
    pub chunk_line_bytes: Option<usize>,
    /// The trailer section with its empty line: 4 096.
    pub trailer_bytes: Option<usize>,
}

impl Sizes {
    fn over(self, default: MessageLimits) -> MessageLimits {
        MessageLimits {
            head_bytes: self.head_bytes.unwrap_or(default.head_bytes),
            fields: self.fields.unwrap_or(default.fields),
            line_bytes: self.line_bytes.unwrap_or(default.line_bytes),
            chunk_line_bytes: self.chunk_line_bytes.unwrap_or(default.chunk_line_bytes),
            trailer_bytes: self.trailer_bytes.unwrap_or(default.trailer_bytes),
        }
    }
}

/// How inspected connections are read. Times in milliseconds.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct Inspect {
    /// Rules of the grammar that are widened.
    pub allow: Vec<Widening>,
    /// Requests that a connection's server may have unanswered. With 1, a request is held until the response before it is
    /// complete, so that a server that ignores framing fields cannot take one request's content for the next request.
    pub in_flight: u8,
    /// Sizes of requests.
    pub requests: Sizes,
    /// Sizes of responses.
    pub responses: Sizes,
    /// Client bytes that one connection may hold: incomplete heads, and what the server has not acknowledged.
    pub kept_bytes: usize,
    /// In how many pieces.
    pub kept_pieces: usize,
    /// Early bytes that one connection may hold in each direction.
    pub early_bytes: usize,
    /// In how many pieces.
    pub early_pieces: usize,
    /// Answers of ours that wait for the client's acknowledgement.
    pub reply_bytes: usize,
    /// Content of a denied request that is read and thrown away so that the connection can go on.
    pub denied_body_bytes: u64,
    /// From a head's first byte to its last.
    pub head_ms: u32,
    /// Held bytes waiting for the server's earlier responses.
    pub held_ms: u32,
    /// Nothing at all happening.
    pub idle_ms: u32,
    /// From the SYN to the SYN-ACK.
    pub handshake_ms: u32,
    /// After our own close, until the client has closed its half.
    pub linger_ms: u32,
    /// The first retransmission of bytes that are ours; each later one waits twice as long.
    pub retransmit_ms: u32,
    /// Retransmissions without progress before both sides are reset.
    pub retransmits: u8,
}

impl Default for Inspect {
    fn default() -> Self {
        let limits = Limits::default();
        Self {
            allow: Vec::new(),
            in_flight: limits.outstanding,
            requests: Sizes::default(),
            responses: Sizes::default(),
            kept_bytes: limits.kept,
            kept_pieces: limits.kept_spans,
            early_bytes: limits.holes,
            early_pieces: limits.hole_parts,
            reply_bytes: limits.replies,
            denied_body_bytes: limits.denied_body,
            head_ms: limits.head_time,
            held_ms: limits.held_time,
            idle_ms: limits.idle_time,
            handshake_ms: limits.handshake_time,
            linger_ms: limits.linger_time,
            retransmit_ms: limits.retransmit_time,
            retransmits: limits.retransmits,
        }
    }
}

impl Inspect {
    /// The same as the engine knows it.
    pub fn limits(&self) -> Limits {
        let mut strictness = Strictness::STRICT;
        for widening in &self.allow {
            widening.open(&mut strictness);
        }
        Limits {
            requests: self.requests.over(MessageLimits::REQUESTS),
            responses: self.responses.over(MessageLimits::RESPONSES),
            strictness,
            kept: self.kept_bytes,
            kept_spans: self.kept_pieces,
            holes: self.early_bytes,
            hole_parts: self.early_pieces,
            outstanding: self.in_flight,
            replies: self.reply_bytes,
            denied_body: self.denied_body_bytes,
            head_time: self.head_ms,
            held_time: self.held_ms,
            idle_time: self.idle_ms,
            handshake_time: self.handshake_ms,
            linger_time: self.linger_ms,
            retransmit_time: self.retransmit_ms,
            retransmits: self.retransmits,
        }
    }

    /// The first field that cannot work, and why.
    pub(super) fn check(&self) -> Result<(), (String, String)> {
        let limits = self.limits();
        let refuse = |field: &str, reason| Err((format!("inspect.{field}"), reason));
        let wide = |bytes: usize| bytes as u64;
        for (kind, sizes) in [("requests", limits.requests), ("responses", limits.responses)] {
            for (field, value, least, most) in [
                ("head_bytes", sizes.head_bytes, 512, 1 << 18),
                ("fields", sizes.fields, 1, 1024),
                ("line_bytes", sizes.line_bytes, 64, sizes.head_bytes),
                ("chunk_line_bytes", sizes.chunk_line_bytes, 3, 18),
                ("trailer_bytes", sizes.trailer_bytes, 2, 1 << 16),
            ] {
                if !(least..=most).contains(&value) {
                    let reason = format!("{value} is not between {least} and {most}");
                    return refuse(&format!("{kind}.{field}"), reason);
                }
            }
        }
        // A head that waits, besides one that the server has not acknowledged.
        let two_heads = wide(limits.requests.head_bytes) * 2;
        const MONTH: u64 = 30 * 24 * 3600 * 1000;
        for (field, value, least, most) in [
            ("in_flight", u64::from(self.in_flight), 1, 16),
            ("kept_bytes", wide(self.kept_bytes), two_heads, 1 << 24),
            ("kept_pieces", wide(self.kept_pieces), 16, 1 << 16),
            ("early_bytes", wide(self.early_bytes), 0, 1 << 24),
            ("early_pieces", wide(self.early_pieces), 0, 1024),
            ("reply_bytes", wide(self.reply_bytes), 1024, 1 << 20),
            ("denied_body_bytes", self.denied_body_bytes, 0, 1 << 30),
            ("head_ms", u64::from(self.head_ms), 100, MONTH),
            ("held_ms", u64::from(self.held_ms), 100, MONTH),
            ("idle_ms", u64::from(self.idle_ms), 1000, MONTH),
            ("handshake_ms", u64::from(self.handshake_ms), 1000, MONTH),
            ("linger_ms", u64::from(self.linger_ms), 100, MONTH),
            ("retransmit_ms", u64::from(self.retransmit_ms), 10, 60_000),
            ("retransmits", u64::from(self.retransmits), 1, 30),
        ] {
            if !(least..=most).contains(&value) {
                return refuse(field, format!("{value} is not between {least} and {most}"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_said_is_the_engines_default() {
        assert_eq!(Inspect::default().limits(), Limits::default());
        assert_eq!(Inspect::default().check(), Ok(()));
    }

    #[test]
    fn each_widening_opens_one_rule_of_its_own() {
        let all = "['empty-segments', 'semicolons', 'escaped-slashes', 'escaped-percent', 'escaped-delimiters', \
                   'escaped-unreserved', 'escaped-not-utf8', 'raw-query-bytes', 'escaped-query-controls', \
                   'override-fields', 'connection-options', 'h2c-upgrade']";
        let all: Inspect = toml::from_str(&format!("allow = {all}")).unwrap();
        let mut seen = vec![Strictness::STRICT];
        for widening in &all.allow {
            let one = Inspect { allow: vec![*widening], ..Inspect::default() };
            let strictness = one.limits().strictness;
            assert!(!seen.contains(&strictness), "{widening:?}");
            seen.push(strictness);
        }
        assert_eq!(seen.len(), 13);
    }
}
