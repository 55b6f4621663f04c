//! Heads: the bytes of one become a view of what is asked or answered (RFC 9112 §3-6).
//!
//! A head from its first byte arrives, perhaps with more bytes after it; a borrowed view with the framing of what
//! follows leaves. httparse tokenises into an array on the stack, then every byte must be accounted for, then the strict
//! rules speak. Nothing is copied.
//!
//! INVARIANT: a head is accepted only if the tokeniser, the walk over its bytes and the rules all accept it. Where the
//! tokeniser or the walk hesitates, [`HeadScanner`] gives the reason, so that the reason depends on the bytes alone.

use core::mem::MaybeUninit;

use super::{
    BodyFraming, Field, Fields, HeadScanner, HttpRefusal, Limits, MAX_FIELDS, Progress,
    ResponseFraming, Strictness,
    fields::Said,
    scanner::{MAX_METHOD, is_method_byte, is_value_byte},
    target,
};

/// The protocol version of a message; all others are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    Http11,
}

/// The protocol a request asks to change to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upgrade {
    /// RFC 6455.
    WebSocket,
}

/// What a response answers, as far as its framing depends on it (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseTo {
    /// HEAD: no content, whatever the fields say.
    Head,
    /// CONNECT: success begins a tunnel.
    Connect,
    /// A request whose [`RequestHead::upgrade`] was [`Upgrade::WebSocket`]: 101 is in order.
    WebSocket,
    /// Any other.
    Other,
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

/// A response, borrowed from its bytes.
#[derive(Clone, Debug)]
pub struct ResponseHead<'a> {
    /// 100-599.
    pub status: u16,
    /// 1.0 or 1.1.
    pub version: Version,
    /// Bytes of the head with its empty line.
    pub head_len: usize,
    /// Where the content after the head ends.
    pub framing: ResponseFraming,
    /// Whether another response may follow on the connection; if not, no further request may pass.
    pub persistent: bool,
    /// Whether this is 1xx but not 101: the final response is still to come.
    pub interim: bool,
    /// Whether this is a 101 in order: the bytes after it, in both directions, are another protocol's.
    pub switching: bool,
    /// Why the framing cannot be trusted; then [`framing`](Self::framing) is `UntilClose`.
    pub ambiguous: Option<HttpRefusal>,
    fields: Fields<'a>,
}

impl<'a> ResponseHead<'a> {
    /// The fields in order, as sent.
    #[must_use]
    pub fn fields(&self) -> Fields<'a> {
        self.fields.clone()
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
    read_request_as(bytes, limits, &Strictness::STRICT)
}

/// Reads a request at the beginning of `bytes`, with single rules widened.
///
/// `Incomplete` costs a look at all of `bytes`; across many segments use a [`HeadScanner`] and read when it is done.
///
/// # Errors
/// As [`read_request`].
pub fn read_request_as<'a>(
    bytes: &'a [u8],
    limits: &Limits,
    strictness: &Strictness,
) -> Result<Progress<RequestHead<'a>>, HttpRefusal> {
    match tokenise_request(bytes, limits, strictness) {
        Some(Ok(head)) => Ok(Progress::Complete(head)),
        Some(Err(refusal)) => explain(HeadScanner::request(), bytes, limits, refusal),
        None => explain(HeadScanner::request(), bytes, limits, HttpRefusal::TokenisersDisagree),
    }
}

/// Reads a response at the beginning of `bytes`.
///
/// A refused response ends the pairing of requests and responses: its bytes may pass, no further request may.
///
/// # Errors
/// The first rule of shape broken, in stream order. What is well formed but ambiguous is
/// [`ResponseHead::ambiguous`] instead.
pub fn read_response<'a>(
    bytes: &'a [u8],
    to: ResponseTo,
    limits: &Limits,
) -> Result<Progress<ResponseHead<'a>>, HttpRefusal> {
    match tokenise_response(bytes, to, limits) {
        Some(Ok(head)) => Ok(Progress::Complete(head)),
        Some(Err(refusal)) => explain(HeadScanner::response(), bytes, limits, refusal),
        None => explain(HeadScanner::response(), bytes, limits, HttpRefusal::TokenisersDisagree),
    }
}

/// Why the short cut did not come to a head: what is wrong in shape, or else `refusal`.
#[cold]
fn explain<T>(
    mut scanner: HeadScanner,
    bytes: &[u8],
    limits: &Limits,
    refusal: HttpRefusal,
) -> Result<Progress<T>, HttpRefusal> {
    match scanner.advance(bytes, limits)? {
        Progress::Incomplete => Ok(Progress::Incomplete),
        Progress::Complete(_) => Err(refusal),
    }
}

/// The short cut for a whole request head: the head, or the first rule of meaning it breaks; `None` where its shape is
/// not plainly good.
fn tokenise_request<'a>(
    bytes: &'a [u8],
    limits: &Limits,
    strictness: &Strictness,
) -> Option<Result<RequestHead<'a>, HttpRefusal>> {
    let mut array = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut request = httparse::Request::new(&mut []);
    let parsed =
        request.parse_with_uninit_headers(bytes, array.get_mut(..limits.fields.min(MAX_FIELDS))?);
    let Ok(httparse::Status::Complete(head_len)) = parsed else { return None };
    let (method, target) = (request.method?, request.path?);

    let head = bytes.get(..head_len).filter(|head| head.len() <= limits.head_bytes)?;
    let line_and_fields = head.strip_prefix(b"\r\n").unwrap_or(head);
    let (version, lines) = request_line(line_and_fields, method, target, limits)?;
    let mut said = Said::default();
    let mut refusal = None;
    walk_fields(lines, request.headers, limits, |field, one_space| {
        if refusal.is_none() {
            let taken = said.take_of_request(field.name, field.value, one_space, strictness);
            refusal = taken.err();
        }
    })?;
    Some(match refusal {
        Some(refusal) => Err(refusal),
        None => {
            let fields = Fields::new(lines);
            judge_request(method, target, version, head_len, &said, strictness, fields)
        }
    })
}

/// Accounts for every byte of the request line (RFC 9112 §3); the bytes after it are left. The target's bytes are
/// judged with its meaning.
fn request_line<'a>(
    bytes: &'a [u8],
    method: &str,
    target: &str,
    limits: &Limits,
) -> Option<(Version, &'a [u8])> {
    let after_method = after(bytes, method.as_bytes())?.strip_prefix(b" ")?;
    let (version, lines) = match after(after_method, target.as_bytes())?.split_first_chunk()? {
        (b" HTTP/1.1\r\n", lines) => (Version::Http11, lines),
        (b" HTTP/1.0\r\n", lines) => (Version::Http10, lines),
        _ => return None,
    };
    let line_len = bytes.len().checked_sub(lines.len())?;
    let good = line_len <= limits.line_bytes
        && method.len() <= MAX_METHOD
        && method.starts_with(|first: char| first.is_ascii_uppercase())
        && method.bytes().all(is_method_byte)
        && method != "CONNECT";
    good.then_some((version, lines))
}

/// `bytes` without `part`, if `part` is the very beginning of `bytes`: the same memory, not equal bytes.
fn after<'a>(bytes: &'a [u8], part: &[u8]) -> Option<&'a [u8]> {
    let (beginning, rest) = bytes.split_at_checked(part.len())?;
    core::ptr::eq(beginning, part).then_some(rest)
}

/// Accounts for every byte of the field lines and the empty line; tells each field, with whether at most one SP (and
/// nothing else) stood around its value.
fn walk_fields<'a>(
    mut lines: &'a [u8],
    headers: &[httparse::Header<'a>],
    limits: &Limits,
    mut tell: impl FnMut(Field<'a>, bool),
) -> Option<()> {
    for header in headers {
        let name = header.name.as_bytes();
        let before = after(lines, name)?.strip_prefix(b":")?;
        let value = skip_space(before);
        let (end, one_space) = if header.value.is_empty() {
            (value, true)
        } else {
            let trailing = after(value, header.value)?;
            let end = skip_space(trailing);
            let leading = before.len().saturating_sub(value.len());
            let one_space = end.len() == trailing.len()
                && (leading == 0 || (leading == 1 && before.first() == Some(&b' ')));
            (end, one_space)
        };
        let rest = end.strip_prefix(b"\r\n")?;
        if lines.len().checked_sub(rest.len())? > limits.line_bytes {
            return None;
        }
        lines = rest;
        tell(Field { name, value: header.value }, one_space);
    }
    (lines == b"\r\n").then_some(())
}

fn skip_space(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = bytes {
        bytes = rest;
    }
    bytes
}

/// What the parts say together.
fn judge_request<'a>(
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
        persistent: persists(version, said),
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

/// RFC 9112 §9.3; `close` wins over `keep-alive`.
fn persists(version: Version, said: &Said<'_>) -> bool {
    match version {
        Version::Http11 => !said.connection.close,
        Version::Http10 => said.connection.keep_alive && !said.connection.close,
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

/// The short cut for a whole response head of good shape; `None` if it is not that.
fn tokenise_response<'a>(
    bytes: &'a [u8],
    to: ResponseTo,
    limits: &Limits,
) -> Option<Result<ResponseHead<'a>, HttpRefusal>> {
    let mut array = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut response = httparse::Response::new(&mut []);
    let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(
        &mut response,
        bytes,
        array.get_mut(..limits.fields.min(MAX_FIELDS))?,
    );
    let Ok(httparse::Status::Complete(head_len)) = parsed else { return None };
    let status = response.code?;

    let head = bytes.get(..head_len).filter(|head| head.len() <= limits.head_bytes)?;
    let (version, lines) = status_line(head, limits)?;
    let mut said = Said::default();
    let mut ambiguous = None;
    walk_fields(lines, response.headers, limits, |field, one_space| {
        let taken = said.take_of_response(field.name, field.value, one_space);
        ambiguous = ambiguous.or(taken.err());
    })?;
    if !(100..=599).contains(&status) {
        return Some(Err(HttpRefusal::StatusUnknown));
    }
    Some(Ok(judge_response(status, to, version, head_len, &said, ambiguous, Fields::new(lines))))
}

/// Accounts for every byte of the status line (RFC 9112 §4); the bytes after it are left.
fn status_line<'a>(bytes: &'a [u8], limits: &Limits) -> Option<(Version, &'a [u8])> {
    let (version, rest) = match bytes.split_first_chunk()? {
        (b"HTTP/1.1 ", rest) => (Version::Http11, rest),
        (b"HTTP/1.0 ", rest) => (Version::Http10, rest),
        _ => return None,
    };
    let (digits, rest) = rest.split_first_chunk::<3>()?;
    let end = rest.iter().position(|byte| *byte == b'\r')?;
    let (reason, rest) = rest.split_at_checked(end)?;
    let lines = rest.strip_prefix(b"\r\n")?;
    let good = bytes.len().checked_sub(lines.len())? <= limits.line_bytes
        && digits.iter().all(u8::is_ascii_digit)
        && matches!(reason, [] | [b' ', ..])
        && reason.iter().copied().all(is_value_byte);
    good.then_some((version, lines))
}

/// RFC 9112 §6.3, conservatively: what is ambiguous is read until close and ends the pairing.
fn judge_response<'a>(
    status: u16,
    to: ResponseTo,
    version: Version,
    head_len: usize,
    said: &Said<'a>,
    ambiguous: Option<HttpRefusal>,
    fields: Fields<'a>,
) -> ResponseHead<'a> {
    let (framing, ambiguous) = match ambiguous {
        Some(refusal) => (ResponseFraming::UntilClose, Some(refusal)),
        None => match response_framing(status, to, version, said) {
            Ok(framing) => (framing, None),
            Err(refusal) => (ResponseFraming::UntilClose, Some(refusal)),
        },
    };
    let trusted = ambiguous.is_none();
    ResponseHead {
        status,
        version,
        head_len,
        framing,
        persistent: framing != ResponseFraming::UntilClose && persists(version, said),
        interim: trusted && matches!(status, 100 | 102..=199),
        switching: trusted && status == 101,
        ambiguous,
        fields,
    }
}

fn response_framing(
    status: u16,
    to: ResponseTo,
    version: Version,
    said: &Said<'_>,
) -> Result<ResponseFraming, HttpRefusal> {
    if said.chunked && said.length.is_some() {
        return Err(HttpRefusal::LengthAndEncoding);
    }
    if said.chunked && version == Version::Http10 {
        return Err(HttpRefusal::EncodingInHttp10);
    }
    let announced = said.chunked || said.length.is_some_and(|length| length > 0);
    match status {
        // RFC 9110 §15.2, §15.3.5: a server that announces content here may also send it.
        100..=199 | 204 if announced => Err(HttpRefusal::ContentForbidden),
        101 => {
            let websocket = said.upgrade.is_some_and(|it| it.eq_ignore_ascii_case(b"websocket"));
            let asked = to == ResponseTo::WebSocket && version == Version::Http11;
            if asked && websocket && said.connection.upgrade {
                Ok(ResponseFraming::None)
            } else {
                Err(HttpRefusal::SwitchUnasked)
            }
        }
        100..=199 | 204 | 304 => Ok(ResponseFraming::None),
        200..=299 if to == ResponseTo::Connect => Ok(ResponseFraming::UntilClose),
        _ if to == ResponseTo::Head => Ok(ResponseFraming::None),
        _ if said.chunked => Ok(ResponseFraming::Chunked),
        _ => match said.length {
            Some(0) => Ok(ResponseFraming::None),
            Some(length) => Ok(ResponseFraming::Length(length)),
            None => Ok(ResponseFraming::UntilClose),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::{
        BodyFraming, HttpRefusal as R, Limits, Progress, RequestHead, ResponseFraming,
        ResponseHead, ResponseTo, Strictness, Upgrade, Version, read_request, read_request_as,
        read_response,
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

    fn response(bytes: &str, to: ResponseTo) -> Result<ResponseHead<'_>, R> {
        match read_response(bytes.as_bytes(), to, &Limits::default())? {
            Progress::Complete(head) => Ok(head),
            Progress::Incomplete => panic!("incomplete: {bytes:?}"),
        }
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
        let Ok(Progress::Complete(head)) = read_request_as(bytes, &Limits::default(), &open) else {
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
        let many = format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", "A: b\r\n".repeat(200));
        let wide = Limits { fields: usize::MAX, ..Limits::default() };
        assert_eq!(read_request(many.as_bytes(), &wide).err(), Some(R::TooManyFields));
    }

    #[test]
    fn responses_are_framed_by_status_request_and_fields() {
        use ResponseFraming as F;
        let framed = |to, rest: &str| {
            let bytes = format!("HTTP/1.1 {rest}\r\n\r\n");
            let head = response(&bytes, to).unwrap();
            (head.framing, head.persistent, head.interim)
        };
        let other = ResponseTo::Other;
        assert_eq!(framed(other, "200 OK\r\nContent-Length: 5"), (F::Length(5), true, false));
        assert_eq!(framed(other, "200 OK\r\nContent-Length: 0"), (F::None, true, false));
        assert_eq!(framed(other, "200\r\nTransfer-Encoding: chunked"), (F::Chunked, true, false));
        assert_eq!(framed(other, "200 OK"), (F::UntilClose, false, false));
        assert_eq!(
            framed(other, "200 OK\r\nConnection: close\r\nContent-Length: 5"),
            (F::Length(5), false, false)
        );
        assert_eq!(framed(ResponseTo::Head, "200 OK\r\nContent-Length: 5"), (F::None, true, false));
        assert_eq!(framed(ResponseTo::Head, "200 OK"), (F::None, true, false));
        assert_eq!(
            framed(ResponseTo::Head, "200 OK\r\nTransfer-Encoding: chunked"),
            (F::None, true, false)
        );
        assert_eq!(framed(other, "304 Not Modified\r\nContent-Length: 5"), (F::None, true, false));
        assert_eq!(framed(other, "204 No Content"), (F::None, true, false));
        assert_eq!(framed(other, "100 Continue"), (F::None, true, true));
        assert_eq!(framed(other, "103 Early Hints\r\nLink: </a>"), (F::None, true, true));
        assert_eq!(framed(ResponseTo::Connect, "200 OK"), (F::UntilClose, false, false));
        assert_eq!(
            framed(ResponseTo::Connect, "400 No\r\nContent-Length: 1"),
            (F::Length(1), true, false)
        );
    }

    #[test]
    fn ambiguous_responses_are_read_until_close() {
        for (rest, refusal) in [
            ("200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked", R::LengthAndEncoding),
            ("200 OK\r\nContent-Length: 5\r\nContent-Length: 5", R::LengthRepeated),
            ("200 OK\r\nContent-Length: 5, 5", R::LengthInvalid),
            ("200 OK\r\nContent-Length: +5", R::LengthInvalid),
            ("200 OK\r\nTransfer-Encoding: gzip, chunked", R::EncodingUnsupported),
            ("200 OK\r\nTransfer-Encoding: identity\r\nContent-Length: 5", R::EncodingUnsupported),
            ("200 OK\r\nContent_Length: 5", R::LookAlikeName),
            ("200 OK\r\nConnection: ;", R::ConnectionInvalid),
            ("204 No Content\r\nContent-Length: 5", R::ContentForbidden),
            ("204 No Content\r\nTransfer-Encoding: chunked", R::ContentForbidden),
            ("100 Continue\r\nContent-Length: 5", R::ContentForbidden),
            ("101 Switching\r\nConnection: upgrade\r\nUpgrade: websocket", R::SwitchUnasked),
        ] {
            let bytes = format!("HTTP/1.1 {rest}\r\n\r\n");
            let head = response(&bytes, ResponseTo::Other).unwrap();
            assert_eq!(head.ambiguous, Some(refusal), "{rest}");
            assert_eq!(head.framing, ResponseFraming::UntilClose);
            assert!(!head.persistent && !head.interim && !head.switching);
        }
        let old = "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        let head = response(old, ResponseTo::Other).unwrap();
        assert_eq!(head.ambiguous, Some(R::EncodingInHttp10));
    }

    #[test]
    fn http_1_0_responses_persist_only_when_they_say_so() {
        let kept = "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\n";
        assert!(response(kept, ResponseTo::Other).unwrap().persistent);
        let silent = "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n";
        assert!(!response(silent, ResponseTo::Other).unwrap().persistent);
    }

    #[test]
    fn a_switch_must_be_the_one_asked_for() {
        let read = |fields: &str, to| {
            let bytes = format!("HTTP/1.1 101 Switching Protocols\r\n{fields}\r\n");
            let head = response(&bytes, to).unwrap();
            (head.switching, head.ambiguous)
        };
        let good = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
        assert_eq!(read(good, ResponseTo::WebSocket), (true, None));
        for (fields, to) in [
            (good, ResponseTo::Other),
            (good, ResponseTo::Head),
            ("Upgrade: websocket\r\n", ResponseTo::WebSocket),
            ("Connection: Upgrade\r\n", ResponseTo::WebSocket),
            ("Connection: Upgrade\r\nUpgrade: h2c\r\n", ResponseTo::WebSocket),
            (
                "Connection: Upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c\r\n",
                ResponseTo::WebSocket,
            ),
        ] {
            assert_eq!(read(fields, to), (false, Some(R::SwitchUnasked)), "{fields}");
        }
    }

    #[test]
    fn unreadable_responses_are_refused() {
        for (bytes, refusal) in [
            ("HTTP/1.1 099 X\r\n\r\n", R::StatusUnknown),
            ("HTTP/1.1 600 X\r\n\r\n", R::StatusUnknown),
            ("HTTP/2 200\r\n\r\n", R::StatusLineMalformed),
            ("ICY 200 OK\r\n\r\n", R::StatusLineMalformed),
            ("\r\nHTTP/1.1 200 OK\r\n\r\n", R::StatusLineMalformed),
            ("HTTP/1.1 200 OK\nA: b\r\n\r\n", R::BareLf),
            ("HTTP/1.1 200 OK\r\nA: b\n\r\n", R::BareLf),
            ("HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n", R::ObsFold),
            ("HTTP/1.1 200 OK\r\nA : b\r\n\r\n", R::SpaceBeforeColon),
        ] {
            assert_eq!(response(bytes, ResponseTo::Other).err(), Some(refusal), "{bytes:?}");
        }
    }
}
