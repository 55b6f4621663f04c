//! Why a message is refused: one closed list, one variant per rule.
//!
//! A refusal arrives from the rule that made it and leaves as a status for the answer and a name for counters and
//! logs. INVARIANT: every variant has exactly one status and one name, because both come from the one table below.

/// Declares the refusals, so that rule, status and name cannot drift apart.
macro_rules! refusals {
    ($($(#[$doc:meta])* $variant:ident = $status:literal $name:literal,)*) => {
        /// Why the HTTP grammar refuses a message.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum HttpRefusal {
            $($(#[$doc])* $variant,)*
        }

        impl HttpRefusal {
            /// Every refusal, in the order of declaration; the index equals `refusal as usize`.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The status code of the answer to a refused request.
            #[must_use]
            pub const fn status(self) -> u16 {
                match self {
                    $(Self::$variant => $status,)*
                }
            }

            /// The stable name in counters, flow events and logs.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

refusals! {
    // The bytes are not HTTP/1 at all.
    /// The first byte begins a TLS record (RFC 8446 §5.1, content type 22).
    TlsHello = 400 "tls-on-http-port",
    /// The HTTP/2 connection preface (RFC 9113 §3.4).
    Http2Preface = 505 "http2-preface",
    /// The first byte can begin no method.
    NotHttp = 400 "not-http",

    // Line ends and sizes (RFC 9112 §2.2).
    /// LF without the CR before it.
    BareLf = 400 "bare-lf",
    /// CR without the LF after it.
    BareCr = 400 "bare-cr",
    /// More than one empty line before the request line.
    EmptyLines = 400 "empty-lines-before-request",
    /// The request line is longer than [`Limits::line_bytes`](super::Limits::line_bytes).
    RequestLineTooLong = 414 "request-line-too-long",
    /// A field or status line is longer than [`Limits::line_bytes`](super::Limits::line_bytes).
    FieldLineTooLong = 431 "field-line-too-long",
    /// The head is longer than [`Limits::head_bytes`](super::Limits::head_bytes).
    HeadTooLong = 431 "head-too-long",
    /// More fields than [`Limits::fields`](super::Limits::fields).
    TooManyFields = 431 "too-many-fields",
    /// The scanner finds a head well formed that the short cut does not; no rule says so, refused by law.
    ReadersDisagree = 400 "readers-disagree",
    /// The head did not arrive in time. Said by the stream engine, which owns the clock, never by this crate.
    HeadTimeout = 408 "head-timeout",

    // Request line (RFC 9112 §3).
    /// A byte outside `A-Z 0-9 - _` in the method, or a first byte that is no letter.
    MethodByte = 400 "method-byte",
    /// A method of more than 32 bytes.
    MethodTooLong = 501 "method-too-long",
    /// CONNECT asks for a tunnel (RFC 9110 §9.3.6).
    ConnectMethod = 403 "connect-method",
    /// Anything but exactly one SP between the parts of the request line.
    RequestLineSpacing = 400 "request-line-spacing",
    /// The line ends after the target, as in HTTP/0.9.
    VersionMissing = 400 "version-missing",
    /// Not `HTTP/` DIGIT `.` DIGIT.
    VersionMalformed = 400 "version-malformed",
    /// A version other than 1.0 and 1.1.
    VersionUnsupported = 505 "version-unsupported",

    // Target (RFC 9112 §3.2, RFC 3986).
    /// Neither origin-form, nor absolute-form, nor `OPTIONS *`.
    TargetForm = 400 "target-form",
    /// Absolute-form whose authority is not byte for byte the Host (RFC 9112 §3.2.2).
    TargetAuthority = 400 "target-authority-not-host",
    /// A byte RFC 3986 allows in no path or query.
    TargetByte = 400 "target-byte",
    /// A raw backslash; some servers read it as `/`.
    TargetBackslash = 400 "target-backslash",
    /// A fragment; it belongs to the client (RFC 9110 §7.1).
    TargetFragment = 400 "target-fragment",
    /// A segment `.` or `..`, plain or partly encoded, with or without parameters (RFC 3986 §5.2.4).
    TargetDotSegment = 400 "target-dot-segment",
    /// An empty segment, `//`.
    TargetEmptySegment = 400 "target-empty-segment",
    /// A path parameter, `;`.
    TargetSemicolon = 400 "target-semicolon",
    /// `%` without two hexadecimal digits (RFC 3986 §2.1).
    TargetEscapeInvalid = 400 "target-escape-invalid",
    /// An escape of a control byte: `%00`-`%1F`, `%7F`.
    TargetEscapedControl = 400 "target-escaped-control",
    /// `%2F`, an escaped slash.
    TargetEscapedSlash = 400 "target-escaped-slash",
    /// `%5C`, an escaped backslash.
    TargetEscapedBackslash = 400 "target-escaped-backslash",
    /// `%2E`, an escaped dot.
    TargetEscapedDot = 400 "target-escaped-dot",
    /// `%25`, an escaped percent sign: the beginning of a double encoding.
    TargetEscapedPercent = 400 "target-escaped-percent",
    /// `%3F`, `%23` or `%3B` in the path: a delimiter for whoever decodes before splitting.
    TargetEscapedDelimiter = 400 "target-escaped-delimiter",
    /// An escape of a byte that needs none (RFC 3986 §2.3), so that raw and canonical view differ.
    TargetEscapedUnreserved = 400 "target-escaped-unreserved",
    /// Overlong UTF-8, such as `%C0%AF` (RFC 3629 §3).
    TargetOverlongUtf8 = 400 "target-overlong-utf8",
    /// Escaped bytes that are not UTF-8 (RFC 3629 §4).
    TargetNotUtf8 = 400 "target-not-utf8",

    // Fields (RFC 9112 §5).
    /// White space before the first field (RFC 9112 §2.2).
    SpaceBeforeFields = 400 "space-before-fields",
    /// A line that continues the field before it (RFC 9112 §5.2).
    ObsFold = 400 "obs-fold",
    /// A line that begins with a colon.
    FieldNameEmpty = 400 "field-name-empty",
    /// White space between name and colon (RFC 9112 §5.1).
    SpaceBeforeColon = 400 "space-before-colon",
    /// A line without colon.
    FieldColonMissing = 400 "field-colon-missing",
    /// A byte that is no tchar in a name (RFC 9110 §5.6.2).
    FieldNameByte = 400 "field-name-byte",
    /// A control byte, NUL included, in a value (RFC 9110 §5.5).
    FieldValueByte = 400 "field-value-byte",
    /// A name that some gateways fold into a framing name, such as `Transfer_Encoding`.
    LookAlikeName = 400 "look-alike-name",
    /// A field that overrides method or target, such as `X-HTTP-Method-Override`.
    OverrideField = 403 "override-field",

    // Host (RFC 9112 §3.2).
    /// No Host.
    HostMissing = 400 "host-missing",
    /// More than one Host, equal or not.
    HostRepeated = 400 "host-repeated",
    /// A Host that is not a name or address with an optional port.
    HostInvalid = 400 "host-invalid",

    // Framing (RFC 9112 §6).
    /// Content-Length and Transfer-Encoding together (RFC 9112 §6.3).
    LengthAndEncoding = 400 "length-and-encoding",
    /// More than one Content-Length, equal or not.
    LengthRepeated = 400 "length-repeated",
    /// A Content-Length that is not `0` or 1-18 digits without leading zero.
    LengthInvalid = 400 "length-invalid",
    /// More than one Transfer-Encoding.
    EncodingRepeated = 400 "encoding-repeated",
    /// A Transfer-Encoding that is not exactly `chunked`.
    EncodingUnsupported = 501 "encoding-unsupported",
    /// Transfer-Encoding in HTTP/1.0 (RFC 9112 §6.1).
    EncodingInHttp10 = 400 "encoding-in-http10",
    /// White space other than one SP after the colon of a framing field.
    FramingSpace = 400 "framing-space",
    /// TRACE with content (RFC 9110 §9.3.8).
    TraceContent = 400 "trace-content",

    // Connection, Expect, Upgrade (RFC 9110 §7.6.1, §10.1.1, §7.8).
    /// A Connection value that is no list of tokens.
    ConnectionInvalid = 400 "connection-invalid",
    /// A Connection option that names an end-to-end field.
    ConnectionOption = 400 "connection-option",
    /// An expectation other than exactly one `100-continue` in HTTP/1.1.
    ExpectUnsupported = 417 "expect-unsupported",
    /// An upgrade other than `websocket`, h2c included.
    UpgradeUnsupported = 403 "upgrade-unsupported",
    /// A websocket upgrade that is no GET, has content, or is HTTP/1.0 (RFC 6455 §4.1).
    UpgradeInvalid = 400 "upgrade-invalid",
    /// Upgrade without `Connection: upgrade` (RFC 9110 §7.8).
    UpgradeWithoutConnection = 400 "upgrade-without-connection",

    // Chunks (RFC 9112 §7.1).
    /// A chunk size that is not 1-16 hexadecimal digits and CRLF.
    ChunkSizeInvalid = 400 "chunk-size-invalid",
    /// A chunk of 2 GiB or more: 32-bit readers wrap.
    ChunkSizeTooLarge = 413 "chunk-size-too-large",
    /// A chunk extension (RFC 9112 §7.1.1); nobody needs them and readers disagree about their end.
    ChunkExtension = 400 "chunk-extension",
    /// A chunk line longer than [`Limits::chunk_line_bytes`](super::Limits::chunk_line_bytes).
    ChunkLineTooLong = 400 "chunk-line-too-long",
    /// No CRLF right after the chunk data.
    ChunkDataEnd = 400 "chunk-data-end",
    /// A trailer section longer than [`Limits::trailer_bytes`](super::Limits::trailer_bytes).
    TrailerTooLong = 431 "trailer-too-long",
    /// A trailer field that frames, routes, authenticates or controls (RFC 9110 §6.5.1).
    TrailerForbidden = 400 "trailer-forbidden",

    // Responses (RFC 9112 §4, §6.3).
    /// A status line that is not version SP 3DIGIT [SP reason].
    StatusLineMalformed = 502 "status-line-malformed",
    /// A status below 100 or above 599.
    StatusUnknown = 502 "status-unknown",
    /// Content announced where none can be: 1xx and 204.
    ContentForbidden = 502 "content-forbidden",
    /// A 101 to a request that asked for nothing, or of another protocol.
    SwitchUnasked = 502 "switch-unasked",
}

impl HttpRefusal {
    /// Whether the connection ends with this refusal.
    ///
    /// Always: after any of them nobody can be sure where the next message begins, or the client meant to confuse.
    #[must_use]
    pub const fn closes(self) -> bool {
        true
    }
}

impl core::fmt::Display for HttpRefusal {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::HttpRefusal;

    #[test]
    fn names_are_unique_and_statuses_are_errors() {
        let mut names: Vec<_> = HttpRefusal::ALL.iter().map(|refusal| refusal.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), HttpRefusal::ALL.len());
        for (index, refusal) in HttpRefusal::ALL.iter().enumerate() {
            assert_eq!(*refusal as usize, index);
            assert!((400..=505).contains(&refusal.status()), "{refusal}");
            assert!(refusal.closes());
        }
    }
}
