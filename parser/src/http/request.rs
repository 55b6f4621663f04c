//! Requests: the bytes of a head become a view of what is asked (RFC 9112 §3-6, RFC 9110 §7-10).
//!
//! A head from its first byte arrives, perhaps with more bytes after it; a borrowed view with the framing of what
//! follows leaves. Nothing is copied.
//!
//! INVARIANT: the reason of a refusal depends on the bytes alone: where the short cut hesitates or a rule of meaning is
//! broken, [`HeadScanner`] is asked first whether the shape was good.

use super::{
    BodyFraming, Field, Fields, HeadScanner, HttpRefusal, Limits, Progress, ResponseTo, Strictness,
    Version,
    fields::{Said, may_matter},
    line::{field_line, request_line},
    target,
};

/// The protocol a request asks to change to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upgrade {
    /// RFC 6455.
    WebSocket,
}

/// A request that broke no rule, borrowed from its bytes.
#[derive(Clone, Debug)]
pub struct RequestHead<'a> {
    /// As sent: upper-case letters, digits, `-`, `_`.
    pub method: &'a str,
    /// As sent, in whichever form.
    pub target: &'a str,
    /// What policy matches: the path and, after the first `?`, the query. `*` for `OPTIONS *`.
    pub path_and_query: &'a str,
    /// The one Host, as sent: name or address and perhaps a port. Equals an absolute-form's authority.
    pub host: &'a str,
    /// 1.0 or 1.1.
    pub version: Version,
    /// Bytes of the head with its empty line, and with the empty line before it if there was one.
    pub head_len: usize,
    /// Where the content after the head ends.
    pub framing: BodyFraming,
    /// Whether another request may follow on the connection (RFC 9112 §9.3).
    ///
    /// In HTTP/1.0 only after `Connection: keep-alive`. If false, later bytes must not reach the server.
    pub persistent: bool,
    /// Whether the client may wait for 100 before it sends the content.
    pub expects_continue: bool,
    /// The protocol asked for. Bytes after the head must wait for the answer (RFC 9931).
    pub upgrade: Option<Upgrade>,
    fields: Fields<'a>,
}

impl<'a> RequestHead<'a> {
    /// The fields in order, as sent.
    #[must_use]
    pub fn fields(&self) -> Fields<'a> {
        self.fields.clone()
    }

    /// The values of all fields called `name` in any case, in order.
    pub fn values<'n>(&self, name: &'n str) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
        self.fields()
            .filter(move |field| field.name.eq_ignore_ascii_case(name.as_bytes()))
            .map(|Field { value, .. }| value)
    }

    /// How to read the final response to this request, and those before it.
    #[must_use]
    pub fn answered_as(&self) -> ResponseTo {
        match (self.upgrade, self.method) {
            (Some(Upgrade::WebSocket), _) => ResponseTo::WebSocket,
            (None, "HEAD") => ResponseTo::Head,
            (None, _) => ResponseTo::Other,
        }
    }
}

/// Reads a request at the beginning of `bytes` under the strict rules.
///
/// # Errors
/// The first rule broken: of shape in stream order, then of meaning in field order, then of the whole.
pub fn read_request<'a>(
    bytes: &'a [u8],
    limits: &Limits,
) -> Result<Progress<RequestHead<'a>>, HttpRefusal> {
    read_request_on(&mut HeadScanner::request(), bytes, limits, &Strictness::STRICT)
}

/// Reads a request at the beginning of `bytes`, with single rules widened; the next call for the same request has more bytes
/// and the same `scanner`, which was [`HeadScanner::request`] at the first.
///
/// A head that comes whole is not scanned. One that does not is read when the scanner has seen its end, and no byte is scanned
/// twice.
///
/// # Errors
/// As [`read_request`].
pub fn read_request_on<'a>(
    scanner: &mut HeadScanner,
    bytes: &'a [u8],
    limits: &Limits,
    strictness: &Strictness,
) -> Result<Progress<RequestHead<'a>>, HttpRefusal> {
    if scanner.scanned() > 0 && scanner.advance_to_end(bytes, limits)? == Progress::Incomplete {
        return Ok(Progress::Incomplete);
    }
    match read_whole(bytes, limits, strictness) {
        Some(Ok(head)) => Ok(Progress::Complete(head)),
        Some(Err(refusal)) => scanner.explain(bytes, limits, refusal),
        None => scanner.explain(bytes, limits, HttpRefusal::ReadersDisagree),
    }
}

/// The short cut for a whole head: the head, or the first rule of meaning it breaks; `None` where its shape is not plainly
/// good.
fn read_whole<'a>(
    bytes: &'a [u8],
    limits: &Limits,
    strictness: &Strictness,
) -> Option<Result<RequestHead<'a>, HttpRefusal>> {
    let after_empty_line = bytes.strip_prefix(b"\r\n").unwrap_or(bytes);
    let (method, target, version, lines) = request_line(after_empty_line)?;
    if after_empty_line.len().checked_sub(lines.len())? > limits.line_bytes {
        return None;
    }
    let mut said = Said::default();
    let mut refusal = None;
    let mut rest = lines;
    let mut count = 0_usize;
    let after_head = loop {
        if let Some(after_head) = rest.strip_prefix(b"\r\n") {
            break after_head;
        }
        let (line, after_line) = field_line(rest)?;
        count = count.saturating_add(1);
        if line.len() > limits.line_bytes {
            return None;
        }
        if refusal.is_none() && may_matter(line.name()) {
            refusal = said.take_of_request(&line, strictness).err();
        }
        rest = after_line;
    };
    let head_len = bytes.len().checked_sub(after_head.len())?;
    if head_len > limits.head_bytes || count > limits.fields {
        return None;
    }
    Some(match refusal {
        Some(refusal) => Err(refusal),
        None => {
            let fields = Fields::new(lines.get(..lines.len().checked_sub(rest.len())?)?);
            judge(method, target, version, head_len, &said, strictness, fields)
        }
    })
}

/// What the parts say together.
// Its ten arguments need not go through memory.
#[inline(always)]
fn judge<'a>(
    method: &'a str,
    target: &'a str,
    version: Version,
    head_len: usize,
    said: &Said<'a>,
    strictness: &Strictness,
    fields: Fields<'a>,
) -> Result<RequestHead<'a>, HttpRefusal> {
    // DEVIATION: RFC 9112 §3.2 lets HTTP/1.0 go without Host; then servers choose one, and policy cannot.
    let host = said.host.ok_or(HttpRefusal::HostMissing)?;
    let path_and_query = target::path_and_query(target, method, host, strictness)?;
    if version == Version::Http10 {
        // RFC 9112 §6.1, RFC 9110 §10.1.1 and §7.8: each is ignored by some 1.0 readers.
        if said.chunked {
            return Err(HttpRefusal::EncodingInHttp10);
        }
        if said.expects_continue {
            return Err(HttpRefusal::ExpectUnsupported);
        }
    }
    let framing = request_framing(said)?;
    if method == "TRACE" && (said.length.is_some() || said.chunked) {
        return Err(HttpRefusal::TraceContent);
    }
    let upgrade = match said.upgrade {
        Some(protocol) => judge_upgrade(protocol, method, version, framing, said, strictness)?,
        None => None,
    };
    Ok(RequestHead {
        method,
        target,
        path_and_query,
        host,
        version,
        head_len,
        framing,
        persistent: said.persists(version),
        expects_continue: said.expects_continue,
        upgrade,
        fields,
    })
}

/// RFC 9112 §6.3. DEVIATION: Content-Length with Transfer-Encoding is refused, not resolved.
fn request_framing(said: &Said<'_>) -> Result<BodyFraming, HttpRefusal> {
    match (said.length, said.chunked) {
        (Some(_), true) => Err(HttpRefusal::LengthAndEncoding),
        (None, true) => Ok(BodyFraming::Chunked),
        (None | Some(0), false) => Ok(BodyFraming::None),
        (Some(length), false) => Ok(BodyFraming::Length(length)),
    }
}

/// RFC 9110 §7.8, RFC 6455 §4.1.
fn judge_upgrade(
    protocol: &[u8],
    method: &str,
    version: Version,
    framing: BodyFraming,
    said: &Said<'_>,
    strictness: &Strictness,
) -> Result<Option<Upgrade>, HttpRefusal> {
    if strictness.ignore_h2c_upgrade && protocol.eq_ignore_ascii_case(b"h2c") {
        return Ok(None);
    }
    if !protocol.eq_ignore_ascii_case(b"websocket") {
        return Err(HttpRefusal::UpgradeUnsupported);
    }
    if !said.connection.upgrade {
        return Err(HttpRefusal::UpgradeWithoutConnection);
    }
    if method != "GET" || version != Version::Http11 || framing != BodyFraming::None {
        return Err(HttpRefusal::UpgradeInvalid);
    }
    Ok(Some(Upgrade::WebSocket))
}

#[cfg(test)]
mod tests {
    use super::{
        BodyFraming, HeadScanner, HttpRefusal as R, Limits, Progress, RequestHead, ResponseTo,
        Strictness, Upgrade, Version, read_request, read_request_on,
    };

    fn request(bytes: &str) -> Result<RequestHead<'_>, R> {
        match read_request(bytes.as_bytes(), &Limits::default())? {
            Progress::Complete(head) => Ok(head),
            Progress::Incomplete => panic!("incomplete: {bytes:?}"),
        }
    }

    fn refusal(bytes: &str) -> R {
        request(bytes).expect_err(bytes)
    }

    #[test]
    fn a_request_is_seen_as_sent() {
        let bytes = "POST http://h:80/a?b=c HTTP/1.1\r\nHost: h:80\r\nX: 1\r\nx:\t2 \r\n\
                     Content-Length: 3\r\nExpect: 100-continue\r\n\r\nabcGET";
        let head = request(bytes).unwrap();
        assert_eq!(head.method, "POST");
        assert_eq!(head.target, "http://h:80/a?b=c");
        assert_eq!(head.path_and_query, "/a?b=c");
        assert_eq!(head.host, "h:80");
        assert_eq!(head.version, Version::Http11);
        assert_eq!(head.head_len, bytes.len() - 6);
        assert_eq!(head.framing, BodyFraming::Length(3));
        assert!(head.persistent && head.expects_continue);
        assert_eq!(head.upgrade, None);
        assert_eq!(head.answered_as(), ResponseTo::Other);
        assert_eq!(head.fields().count(), 5);
        assert_eq!(head.values("X").collect::<Vec<_>>(), [b"1", b"2"]);
    }

    #[test]
    fn one_empty_line_before_a_request_belongs_to_its_head() {
        let bytes = "\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n";
        assert_eq!(request(bytes).unwrap().head_len, bytes.len());
        assert_eq!(refusal("\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n"), R::EmptyLines);
        assert_eq!(refusal("\nGET / HTTP/1.1\r\nHost: h\r\n\r\n"), R::BareLf);
    }

    #[test]
    fn bare_line_feeds_which_the_tokeniser_accepts_are_refused() {
        for bytes in [
            "GET / HTTP/1.1\nHost: h\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: h\n\r\n",
            "GET / HTTP/1.1\r\nHost: h\r\n\n",
            "GET / HTTP/1.1\r\nHost: h\r\nA:\n\r\n",
            "GET / HTTP/1.1\r\nHost: h\r\nA: b \n\r\n",
            "\r\n\nGET / HTTP/1.1\r\nHost: h\r\n\r\n",
        ] {
            assert_eq!(refusal(bytes), R::BareLf, "{bytes:?}");
        }
    }

    #[test]
    fn shape_is_judged_before_meaning() {
        assert_eq!(refusal("GET /.. HTTP/1.1\r\nHost: h\r\nA\r\n\r\n"), R::FieldColonMissing);
        assert_eq!(refusal("GET / HTTP/1.1\r\nHost: ,\r\nA: b\n\r\n"), R::BareLf);
    }

    #[test]
    fn framing_follows_the_fields() {
        let framed = |fields: &str| {
            let bytes = format!("POST / HTTP/1.1\r\nHost: h\r\n{fields}\r\n");
            request(&bytes).map(|head| head.framing)
        };
        assert_eq!(framed(""), Ok(BodyFraming::None));
        assert_eq!(framed("Content-Length: 0\r\n"), Ok(BodyFraming::None));
        assert_eq!(framed("content-length:7\r\n"), Ok(BodyFraming::Length(7)));
        assert_eq!(framed("Transfer-Encoding: chunked\r\n"), Ok(BodyFraming::Chunked));
        for fields in [
            "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n",
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        ] {
            assert_eq!(framed(fields), Err(R::LengthAndEncoding));
        }
        for fields in [
            "Content-Length:\t5\r\n",
            "Content-Length:  5\r\n",
            "Content-Length: 5 \r\n",
            "Transfer-Encoding: chunked\t\r\n",
            "Transfer-Encoding:\tchunked\r\n",
        ] {
            assert_eq!(framed(fields), Err(R::FramingSpace), "{fields:?}");
        }
        assert_eq!(framed("Content-Length:\r\n"), Err(R::LengthInvalid));
        assert_eq!(framed("Content-Length: \r\n"), Err(R::LengthInvalid));
        assert_eq!(framed("Content-Length : 5\r\n"), Err(R::SpaceBeforeColon));
    }

    #[test]
    fn http_1_0_is_allowed_without_what_it_cannot_say() {
        let head = request("GET / HTTP/1.0\r\nHost: h\r\n\r\n").unwrap();
        assert_eq!((head.version, head.persistent), (Version::Http10, false));
        let kept = "GET / HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\n\r\n";
        assert!(request(kept).unwrap().persistent);
        let both = "GET / HTTP/1.0\r\nHost: h\r\nConnection: keep-alive, close\r\n\r\n";
        assert!(!request(both).unwrap().persistent);
        let with = |field: &str| refusal(&format!("GET / HTTP/1.0\r\nHost: h\r\n{field}\r\n\r\n"));
        assert_eq!(with("Transfer-Encoding: chunked"), R::EncodingInHttp10);
        assert_eq!(with("Expect: 100-continue"), R::ExpectUnsupported);
        assert_eq!(with("Connection: upgrade\r\nUpgrade: websocket"), R::UpgradeInvalid);
        assert_eq!(refusal("GET / HTTP/1.0\r\n\r\n"), R::HostMissing);
    }

    #[test]
    fn close_ends_persistence() {
        let kept = |value: &str| {
            let bytes = format!("GET / HTTP/1.1\r\nHost: h\r\nConnection: {value}\r\n\r\n");
            request(&bytes).unwrap().persistent
        };
        assert!(kept("keep-alive"));
        assert!(!kept("Close"));
        assert!(!kept("keep-alive, close"));
    }

    #[test]
    fn only_a_proper_websocket_upgrade_passes() {
        let upgrade = |method: &str, fields: &str| {
            let bytes = format!("{method} /ws HTTP/1.1\r\nHost: h\r\n{fields}\r\n");
            request(&bytes).map(|head| head.upgrade)
        };
        let connection = "Connection: keep-alive, Upgrade\r\n";
        let asked = |protocol: &str| format!("{connection}Upgrade: {protocol}\r\n");
        assert_eq!(upgrade("GET", &asked("websocket")), Ok(Some(Upgrade::WebSocket)));
        assert_eq!(upgrade("GET", &asked("WebSocket")), Ok(Some(Upgrade::WebSocket)));
        assert_eq!(upgrade("GET", connection), Ok(None));
        assert_eq!(upgrade("POST", &asked("websocket")), Err(R::UpgradeInvalid));
        let content = format!("{}Content-Length: 1\r\n", asked("websocket"));
        assert_eq!(upgrade("GET", &content), Err(R::UpgradeInvalid));
        let alone = "Upgrade: websocket\r\n";
        assert_eq!(upgrade("GET", alone), Err(R::UpgradeWithoutConnection));
        for protocol in ["h2c", "websocket, h2c", "TLS/1.0", "", "websocket/13"] {
            assert_eq!(upgrade("GET", &asked(protocol)), Err(R::UpgradeUnsupported), "{protocol}");
        }
    }

    #[test]
    fn h2c_may_be_ignored_by_setting() {
        let bytes = b"GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\n\
                      Upgrade: h2c\r\nHTTP2-Settings: AAEAAEAA\r\n\r\n";
        let open = Strictness { ignore_h2c_upgrade: true, ..Strictness::STRICT };
        let strict = read_request(bytes, &Limits::default());
        assert_eq!(strict.err(), Some(R::UpgradeUnsupported));
        let Ok(Progress::Complete(head)) =
            read_request_on(&mut HeadScanner::request(), bytes, &Limits::default(), &open)
        else {
            panic!("refused")
        };
        assert_eq!((head.upgrade, head.answered_as()), (None, ResponseTo::Other));
    }

    #[test]
    fn trace_carries_no_content() {
        assert!(request("TRACE / HTTP/1.1\r\nHost: h\r\n\r\n").is_ok());
        for field in ["Content-Length: 0", "Content-Length: 5", "Transfer-Encoding: chunked"] {
            let bytes = format!("TRACE / HTTP/1.1\r\nHost: h\r\n{field}\r\n\r\n");
            assert_eq!(refusal(&bytes), R::TraceContent);
        }
    }

    #[test]
    fn an_absolute_target_equals_its_host() {
        assert!(request("GET http://h/ HTTP/1.1\r\nHost: h\r\n\r\n").is_ok());
        assert_eq!(refusal("GET http://i/ HTTP/1.1\r\nHost: h\r\n\r\n"), R::TargetAuthority);
        assert_eq!(refusal("GET http://h/ HTTP/1.1\r\n\r\n"), R::HostMissing);
    }

    #[test]
    fn limits_hold_in_the_short_cut_as_in_the_scanner() {
        let bytes = b"GET /aaaaaaaaa HTTP/1.1\r\nHost: h\r\nA: b\r\n\r\n";
        let line = b"GET /aaaaaaaaa HTTP/1.1\r\n".len();
        let good =
            Limits { head_bytes: bytes.len(), fields: 2, line_bytes: line, ..Limits::default() };
        let read = |limits: &Limits| read_request(bytes, limits).map(|_| ()).err();
        assert_eq!(read(&good), None);
        assert_eq!(read(&Limits { head_bytes: bytes.len() - 1, ..good }), Some(R::HeadTooLong));
        assert_eq!(read(&Limits { fields: 1, ..good }), Some(R::TooManyFields));
        assert_eq!(read(&Limits { line_bytes: line - 1, ..good }), Some(R::RequestLineTooLong));
    }
}
