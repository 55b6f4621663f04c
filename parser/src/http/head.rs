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
        Some(outcome) => outcome.map(Progress::Complete),
        None => explain(HeadScanner::request(), bytes, limits),
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
        Some(outcome) => outcome.map(Progress::Complete),
        None => explain(HeadScanner::response(), bytes, limits),
    }
}

/// Why the short cut did not come to a head.
fn explain<T>(
    mut scanner: HeadScanner,
    bytes: &[u8],
    limits: &Limits,
) -> Result<Progress<T>, HttpRefusal> {
    match scanner.advance(bytes, limits)? {
        Progress::Incomplete => Ok(Progress::Incomplete),
        Progress::Complete(_) => Err(HttpRefusal::TokenisersDisagree),
    }
}

/// The short cut for a whole request head of good shape; `None` if it is not that.
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
    let mut first_refusal = Ok(());
    walk_fields(lines, request.headers, limits, |field, one_space| {
        if first_refusal.is_ok() {
            first_refusal = said.take_of_request(field.name, field.value, one_space, strictness);
        }
    })?;
    // Only now is the shape of the whole head known to be good, and meaning may speak.
    Some(first_refusal.and_then(|()| {
        let fields = Fields::new(lines);
        judge_request(method, target, version, head_len, &said, strictness, fields)
    }))
}

/// Accounts for every byte of the request line (RFC 9112 §3); the bytes after it are left.
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
        && method != "CONNECT"
        && target.starts_with(['/', '*', 'h'])
        && target.bytes().all(|byte| byte.is_ascii_graphic());
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
            let one_space = end.len() == trailing.len()
                && (value.len() == before.len() || before.strip_prefix(b" ") == Some(value));
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
