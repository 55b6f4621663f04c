//! Responses: the bytes of a head become a view of what is answered and where its content ends (RFC 9112 §4, §6.3).
//!
//! A head from its first byte arrives, perhaps with more bytes after it; a borrowed view leaves. Nothing is copied.
//!
//! INVARIANT: a response whose end two readers could see in two places is never followed by another one.

use super::{
    Fields, HeadScanner, HttpRefusal, Limits, Progress, ResponseFraming, Version,
    fields::{Said, may_matter},
    line::{field_line, status_line},
};

/// What a response answers, as far as its framing depends on it (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseTo {
    /// HEAD: no content, whatever the fields say.
    Head,
    /// CONNECT: success begins a tunnel.
    Connect,
    /// A request whose [`RequestHead::upgrade`](super::RequestHead::upgrade) was [`Upgrade::WebSocket`](super::Upgrade::WebSocket): 101 is in order.
    WebSocket,
    /// Any other.
    Other,
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
    read_response_on(&mut HeadScanner::response(), bytes, to, limits)
}

/// Reads a response at the beginning of `bytes`; the next call for the same response has more bytes and the same `scanner`,
/// which was [`HeadScanner::response`] at the first. Otherwise as [`read_response`].
///
/// # Errors
/// As [`read_response`].
pub fn read_response_on<'a>(
    scanner: &mut HeadScanner,
    bytes: &'a [u8],
    to: ResponseTo,
    limits: &Limits,
) -> Result<Progress<ResponseHead<'a>>, HttpRefusal> {
    if scanner.scanned() > 0 && scanner.advance_to_end(bytes, limits)? == Progress::Incomplete {
        return Ok(Progress::Incomplete);
    }
    match read_whole(bytes, to, limits) {
        Some(Ok(head)) => Ok(Progress::Complete(head)),
        Some(Err(refusal)) => scanner.explain(bytes, limits, refusal),
        None => scanner.explain(bytes, limits, HttpRefusal::ReadersDisagree),
    }
}

/// The short cut for a whole head; `None` where its shape is not plainly good.
fn read_whole<'a>(
    bytes: &'a [u8],
    to: ResponseTo,
    limits: &Limits,
) -> Option<Result<ResponseHead<'a>, HttpRefusal>> {
    let (status, version, lines) = status_line(bytes)?;
    if bytes.len().checked_sub(lines.len())? > limits.line_bytes {
        return None;
    }
    let mut said = Said::default();
    let mut ambiguous = None;
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
        if ambiguous.is_none() && may_matter(line.name()) {
            ambiguous = said.take_of_response(&line).err();
        }
        rest = after_line;
    };
    let head_len = bytes.len().checked_sub(after_head.len())?;
    if head_len > limits.head_bytes || count > limits.fields {
        return None;
    }
    if !(100..=599).contains(&status) {
        return Some(Err(HttpRefusal::StatusUnknown));
    }
    let fields = Fields::new(lines.get(..lines.len().checked_sub(rest.len())?)?);
    Some(Ok(judge(status, to, version, head_len, &said, ambiguous, fields)))
}

/// RFC 9112 §6.3, conservatively: what is ambiguous is read until close and ends the pairing.
fn judge<'a>(
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
        persistent: framing != ResponseFraming::UntilClose && said.persists(version),
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
        HttpRefusal as R, Limits, Progress, ResponseFraming, ResponseHead, ResponseTo,
        read_response,
    };

    fn response(bytes: &str, to: ResponseTo) -> Result<ResponseHead<'_>, R> {
        match read_response(bytes.as_bytes(), to, &Limits::default())? {
            Progress::Complete(head) => Ok(head),
            Progress::Incomplete => panic!("incomplete: {bytes:?}"),
        }
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
