//! What an operator may set: how much is read, and which single rules are widened.
//!
//! INVARIANT: `Default` is the strict end of every setting; a widening never touches framing.

/// How much of one message is read before it is refused. All in bytes unless named otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// A head from its first byte through its empty line. Longer is 431.
    pub head_bytes: usize,
    /// Number of fields. More is 431.
    pub fields: usize,
    /// One line with its CRLF. A longer request line is 414, another line 431.
    pub line_bytes: usize,
    /// A chunk-size line with its CRLF.
    pub chunk_line_bytes: usize,
    /// The trailer section with its empty line.
    pub trailer_bytes: usize,
}

impl Limits {
    /// For requests: 16 KiB heads (below the initial window of RFC 6928 with jumbo frames, evasion row T20).
    pub const REQUESTS: Self = Self {
        head_bytes: 16_384,
        fields: 100,
        line_bytes: 8_192,
        chunk_line_bytes: 18,
        trailer_bytes: 4_096,
    };

    /// For responses: servers say more than clients (policies in fields, many cookies).
    pub const RESPONSES: Self =
        Self { head_bytes: 65_536, fields: 128, line_bytes: 32_768, ..Self::REQUESTS };
}

impl Default for Limits {
    fn default() -> Self {
        Self::REQUESTS
    }
}

/// Single rules of requests that a daemon may widen; all are denied by default.
///
/// Never to be widened: framing, line ends, dot segments (plain or escaped), backslashes, fragments, invalid escapes,
/// escaped controls in the path, overlong UTF-8.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Strictness {
    /// Allow `//` in the path. Policy sees it raw; a server that merges slashes sees another path.
    pub allow_empty_segments: bool,
    /// Allow `;` in the path. Policy sees parameters; a server that strips them does not. `..;` stays refused.
    pub allow_semicolons: bool,
    /// Allow `%2F` in the path.
    pub allow_escaped_slashes: bool,
    /// Allow `%25` in the path.
    pub allow_escaped_percent: bool,
    /// Allow `%3F`, `%23` and `%3B` in the path.
    pub allow_escaped_delimiters: bool,
    /// Allow escapes of unreserved bytes in the path, `%2E` included unless it makes a dot segment.
    pub allow_escaped_unreserved: bool,
    /// Allow escaped bytes in the path that are not UTF-8 (overlong forms stay refused).
    pub allow_escaped_not_utf8: bool,
    /// Allow `{ } | ^` and the backtick raw in the query, as some browsers send them.
    pub allow_raw_query_bytes: bool,
    /// Allow escaped controls but NUL in the query, as forms with line breaks send them.
    pub allow_escaped_query_controls: bool,
    /// Allow fields that override method or target.
    pub allow_override_fields: bool,
    /// Allow any Connection option but those that name framing fields.
    pub allow_connection_options: bool,
    /// Treat `Upgrade: h2c` as not said, as RFC 9113 §3.1 does; a 101 to it must then be refused.
    pub ignore_h2c_upgrade: bool,
}

impl Strictness {
    /// Nothing widened.
    pub const STRICT: Self = Self {
        allow_empty_segments: false,
        allow_semicolons: false,
        allow_escaped_slashes: false,
        allow_escaped_percent: false,
        allow_escaped_delimiters: false,
        allow_escaped_unreserved: false,
        allow_escaped_not_utf8: false,
        allow_raw_query_bytes: false,
        allow_escaped_query_controls: false,
        allow_override_fields: false,
        allow_connection_options: false,
        ignore_h2c_upgrade: false,
    };
}
