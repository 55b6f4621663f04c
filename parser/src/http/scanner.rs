//! The shape of a head, byte by byte: grammar of lines, line ends and limits (RFC 9112 §2-5).
//!
//! The next bytes of a stream arrive; the head's length or the first wrong byte's refusal leaves. No byte is looked at
//! twice, so a head in one-byte segments costs no more than a whole one.
//!
//! INVARIANT: the state depends only on the bytes so far, not on how they were cut; a refusal is final.

use super::{
    HttpRefusal, Limits, Progress,
    line::{after_graphic, after_run, is_name_byte},
};

/// A longer method than any registered one (`UPDATEREDIRECTREF` has 17).
pub(super) const MAX_METHOD: usize = 32;

/// Finds the end of a head across segments, and refuses what cannot be one as soon as that is certain.
///
/// Give it every byte of the head once, in order. When it says `Complete(n)`, the first `n` bytes of the stream are the
/// head, to be read by [`read_request`](super::read_request) or [`read_response`](super::read_response). Where the bytes of
/// a head are kept, [`read_request_on`](super::read_request_on) and [`read_response_on`](super::read_response_on) do both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadScanner {
    state: State,
    /// Bytes of the head so far. INVARIANT: never above `Limits::head_bytes`.
    scanned: usize,
    /// Bytes of the current line so far. INVARIANT: never above `Limits::line_bytes`.
    line: usize,
    fields: usize,
    /// The last eight bytes of the method, to know CONNECT and the HTTP/2 preface.
    method: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    ExpectRequest,
    ExpectEmptyLineLf,
    ExpectRequestAfterEmptyLine,
    Method,
    ExpectTarget,
    Target,
    /// So many bytes of `HTTP/1.` were there.
    RequestVersion(u8),
    RequestMinor,
    ExpectRequestLineCr,
    ResponseVersion(u8),
    ResponseMinor,
    ExpectStatusSpace,
    /// So many of three digits were there.
    Status(u8),
    ExpectReason,
    Reason,
    ExpectLineLf,
    ExpectField,
    FieldName,
    FieldValue,
    ExpectEndLf,
    Done,
    Refused(HttpRefusal),
}

const CONNECT: u64 = u64::from_be_bytes(*b"\0CONNECT");
const PRI: u64 = u64::from_be_bytes(*b"\0\0\0\0\0PRI");
const VERSION: &[u8; 7] = b"HTTP/1.";

impl HeadScanner {
    /// At the first byte of a request.
    #[must_use]
    pub const fn request() -> Self {
        Self { state: State::ExpectRequest, scanned: 0, line: 0, fields: 0, method: 0 }
    }

    /// At the first byte of a response.
    #[must_use]
    pub const fn response() -> Self {
        Self { state: State::ResponseVersion(0), scanned: 0, line: 0, fields: 0, method: 0 }
    }

    /// How many bytes of the head were seen so far.
    #[must_use]
    pub const fn scanned(&self) -> usize {
        self.scanned
    }

    /// Takes the next bytes of the stream; `Complete` gives the length of the head from its first byte.
    ///
    /// Bytes after the head are not looked at.
    ///
    /// # Errors
    /// The rule that the first wrong byte breaks, now and at every later call.
    pub fn advance(
        &mut self,
        bytes: &[u8],
        limits: &Limits,
    ) -> Result<Progress<usize>, HttpRefusal> {
        match self.state {
            State::Done => return Ok(Progress::Complete(self.scanned)),
            State::Refused(refusal) => return Err(refusal),
            _ => {}
        }
        let mut rest = bytes;
        while let Some((byte, after)) = rest.split_first() {
            match self.step(*byte, limits) {
                Ok(State::Done) => {
                    self.state = State::Done;
                    return Ok(Progress::Complete(self.scanned));
                }
                Ok(next) => self.state = next,
                Err(refusal) => {
                    self.state = State::Refused(refusal);
                    return Err(refusal);
                }
            }
            rest = self.skip(after, limits);
        }
        Ok(Progress::Incomplete)
    }

    /// Passes over the bytes that leave everything as it is but the counts; the rest is left.
    fn skip<'a>(&mut self, bytes: &'a [u8], limits: &Limits) -> &'a [u8] {
        let after = match self.state {
            State::Target => after_run(bytes, |byte| byte.is_ascii_graphic()),
            State::FieldName => after_run(bytes, is_name_byte),
            State::FieldValue => after_graphic(bytes),
            _ => return bytes,
        };
        // The byte that reaches a limit is for `step`.
        let head_room = limits.head_bytes.saturating_sub(self.scanned).saturating_sub(1);
        let line_room = limits.line_bytes.saturating_sub(self.line).saturating_sub(1);
        let run = bytes.len().saturating_sub(after.len()).min(head_room).min(line_room);
        self.scanned = self.scanned.saturating_add(run);
        self.line = self.line.saturating_add(run);
        bytes.get(run..).unwrap_or_default()
    }

    /// Goes on with `bytes`, of which it has seen the beginning, when the short cut did not come to a head: what is wrong in
    /// shape, or else `refusal`.
    #[cold]
    pub(super) fn explain<T>(
        &mut self,
        bytes: &[u8],
        limits: &Limits,
        refusal: HttpRefusal,
    ) -> Result<Progress<T>, HttpRefusal> {
        match self.advance_to_end(bytes, limits)? {
            Progress::Incomplete => Ok(Progress::Incomplete),
            Progress::Complete(_) => Err(refusal),
        }
    }

    /// [`HeadScanner::advance`] by those of `bytes`, the stream from the head's first byte on, that it has not seen.
    pub(super) fn advance_to_end(
        &mut self,
        bytes: &[u8],
        limits: &Limits,
    ) -> Result<Progress<usize>, HttpRefusal> {
        self.advance(bytes.get(self.scanned..).unwrap_or_default(), limits)
    }

    /// One byte: the limits count it, the grammar judges it.
    fn step(&mut self, byte: u8, limits: &Limits) -> Result<State, HttpRefusal> {
        self.scanned = self.scanned.saturating_add(1);
        self.line = self.line.saturating_add(1);
        let next = self.judge(byte, limits)?;
        if next == State::Done {
            return Ok(next);
        }
        if self.scanned >= limits.head_bytes {
            return Err(HttpRefusal::HeadTooLong);
        }
        if byte == b'\n' {
            self.line = 0;
        } else if self.line >= limits.line_bytes {
            return Err(self.line_too_long());
        }
        Ok(next)
    }

    fn judge(&mut self, byte: u8, limits: &Limits) -> Result<State, HttpRefusal> {
        use HttpRefusal as R;
        match self.state {
            // RFC 9112 §2.2: one empty line before the request is forgiven, as old clients send it after a body.
            State::ExpectRequest if byte == b'\r' => Ok(State::ExpectEmptyLineLf),
            State::ExpectEmptyLineLf => expect_lf(byte, State::ExpectRequestAfterEmptyLine),
            State::ExpectRequestAfterEmptyLine if byte == b'\r' => Err(R::EmptyLines),
            State::ExpectRequest | State::ExpectRequestAfterEmptyLine => {
                self.method = u64::from(byte);
                match byte {
                    b'A'..=b'Z' => Ok(State::Method),
                    b'\n' => Err(R::BareLf),
                    0x16 => Err(R::TlsHello),
                    b' ' | b'\t' => Err(R::RequestLineSpacing),
                    _ if is_tchar(byte) => Err(R::MethodByte),
                    _ => Err(R::NotHttp),
                }
            }
            State::Method => self.method_byte(byte),
            State::ExpectTarget => match byte {
                b'/' | b'*' | b'h' => Ok(State::Target),
                b' ' | b'\t' => Err(R::RequestLineSpacing),
                b'\r' => Err(R::VersionMissing),
                b'\n' => Err(R::BareLf),
                0x21..=0x7e => Err(R::TargetForm),
                _ => Err(R::TargetByte),
            },
            State::Target => match byte {
                0x21..=0x7e => Ok(State::Target),
                b' ' => Ok(State::RequestVersion(0)),
                b'\t' => Err(R::RequestLineSpacing),
                b'\r' => Err(R::VersionMissing),
                b'\n' => Err(R::BareLf),
                _ => Err(R::TargetByte),
            },
            State::RequestVersion(seen) => match version_byte(seen, byte) {
                Some(true) => Ok(State::RequestMinor),
                Some(false) => Ok(State::RequestVersion(seen.saturating_add(1))),
                None => Err(self.request_version_refusal(seen, byte)),
            },
            State::RequestMinor => match byte {
                b'0' | b'1' => Ok(State::ExpectRequestLineCr),
                b'2'..=b'9' => Err(R::VersionUnsupported),
                _ => Err(R::VersionMalformed),
            },
            State::ExpectRequestLineCr => match byte {
                b'\r' => Ok(State::ExpectLineLf),
                b'\n' => Err(R::BareLf),
                b' ' | b'\t' => Err(R::RequestLineSpacing),
                _ => Err(R::VersionMalformed),
            },
            State::ResponseVersion(seen) => match version_byte(seen, byte) {
                Some(true) => Ok(State::ResponseMinor),
                Some(false) => Ok(State::ResponseVersion(seen.saturating_add(1))),
                None => Err(R::StatusLineMalformed),
            },
            State::ResponseMinor => match byte {
                b'0' | b'1' => Ok(State::ExpectStatusSpace),
                _ => Err(R::StatusLineMalformed),
            },
            State::ExpectStatusSpace if byte == b' ' => Ok(State::Status(0)),
            State::Status(seen) if byte.is_ascii_digit() => match seen {
                0 | 1 => Ok(State::Status(seen.saturating_add(1))),
                _ => Ok(State::ExpectReason),
            },
            State::ExpectStatusSpace | State::Status(_) => Err(R::StatusLineMalformed),
            State::ExpectReason => match byte {
                b' ' => Ok(State::Reason),
                b'\r' => Ok(State::ExpectLineLf),
                b'\n' => Err(R::BareLf),
                _ => Err(R::StatusLineMalformed),
            },
            State::Reason => match byte {
                b'\r' => Ok(State::ExpectLineLf),
                b'\n' => Err(R::BareLf),
                _ if is_value_byte(byte) => Ok(State::Reason),
                _ => Err(R::StatusLineMalformed),
            },
            State::ExpectLineLf => expect_lf(byte, State::ExpectField),
            State::ExpectField => self.field_begins(byte, limits),
            State::FieldName => match byte {
                b':' => Ok(State::FieldValue),
                b' ' | b'\t' => Err(R::SpaceBeforeColon),
                b'\r' => Err(R::FieldColonMissing),
                b'\n' => Err(R::BareLf),
                _ if is_tchar(byte) => Ok(State::FieldName),
                _ => Err(R::FieldNameByte),
            },
            State::FieldValue => match byte {
                b'\r' => Ok(State::ExpectLineLf),
                b'\n' => Err(R::BareLf),
                _ if is_value_byte(byte) => Ok(State::FieldValue),
                _ => Err(R::FieldValueByte),
            },
            State::ExpectEndLf => expect_lf(byte, State::Done),
            State::Done => Ok(State::Done),
            State::Refused(refusal) => Err(refusal),
        }
    }

    fn method_byte(&mut self, byte: u8) -> Result<State, HttpRefusal> {
        use HttpRefusal as R;
        match byte {
            b' ' if self.method == CONNECT => Err(R::ConnectMethod),
            b' ' => Ok(State::ExpectTarget),
            b'\t' => Err(R::RequestLineSpacing),
            b'\n' => Err(R::BareLf),
            _ if !is_method_byte(byte) => Err(R::MethodByte),
            // The empty line before the request does not count: lines are counted one by one.
            _ if self.line > MAX_METHOD => Err(R::MethodTooLong),
            _ => {
                self.method = (self.method << 8) | u64::from(byte);
                Ok(State::Method)
            }
        }
    }

    fn request_version_refusal(&self, seen: u8, byte: u8) -> HttpRefusal {
        match (seen, byte) {
            (0, b' ' | b'\t') => HttpRefusal::RequestLineSpacing,
            (5, b'2') if self.method == PRI => HttpRefusal::Http2Preface,
            (5, b'0'..=b'9') => HttpRefusal::VersionUnsupported,
            _ => HttpRefusal::VersionMalformed,
        }
    }

    fn field_begins(&mut self, byte: u8, limits: &Limits) -> Result<State, HttpRefusal> {
        use HttpRefusal as R;
        match byte {
            b'\r' => return Ok(State::ExpectEndLf),
            b'\n' => return Err(R::BareLf),
            b' ' | b'\t' if self.fields == 0 => return Err(R::SpaceBeforeFields),
            b' ' | b'\t' => return Err(R::ObsFold),
            b':' => return Err(R::FieldNameEmpty),
            _ if !is_tchar(byte) => return Err(R::FieldNameByte),
            _ => {}
        }
        self.fields = self.fields.saturating_add(1);
        if self.fields > limits.fields {
            return Err(R::TooManyFields);
        }
        Ok(State::FieldName)
    }

    fn line_too_long(&self) -> HttpRefusal {
        match self.state {
            State::Method
            | State::ExpectRequest
            | State::ExpectRequestAfterEmptyLine
            | State::ExpectTarget
            | State::Target
            | State::RequestVersion(_)
            | State::RequestMinor
            | State::ExpectRequestLineCr => HttpRefusal::RequestLineTooLong,
            _ => HttpRefusal::FieldLineTooLong,
        }
    }
}

fn expect_lf(byte: u8, next: State) -> Result<State, HttpRefusal> {
    if byte == b'\n' { Ok(next) } else { Err(HttpRefusal::BareCr) }
}

/// Whether `byte` continues `HTTP/1.` after `seen` bytes of it; `Some(true)` when it ends it.
fn version_byte(seen: u8, byte: u8) -> Option<bool> {
    let expected = VERSION.get(usize::from(seen))?;
    (*expected == byte).then_some(usize::from(seen).saturating_add(1) == VERSION.len())
}

/// Bytes of a method.
///
/// DEVIATION: RFC 9110 §9.1 allows any token. All registered methods are upper case; other spellings exist only where
/// readers differ in case or stop at odd bytes.
pub(super) const fn is_method_byte(byte: u8) -> bool {
    matches!(byte, b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_')
}

/// RFC 9110 §5.6.2 tchar.
pub(super) const fn is_tchar(byte: u8) -> bool {
    matches!(byte,
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9'
        | b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~')
}

/// RFC 9110 §5.5 field-vchar, SP and HT; obs-text passes here and is refused where a field frames.
pub(super) const fn is_value_byte(byte: u8) -> bool {
    matches!(byte, b'\t' | 0x20..=0x7e | 0x80..=0xff)
}

#[cfg(test)]
mod tests {
    use super::{HeadScanner, HttpRefusal as R, Limits, Progress};

    /// The refusal, and after how many bytes it was certain.
    fn refused(scanner: HeadScanner, bytes: &[u8], limits: &Limits) -> Option<(R, usize)> {
        let mut scanner = scanner;
        for (index, byte) in bytes.iter().enumerate() {
            if let Err(refusal) = scanner.advance(&[*byte], limits) {
                assert_eq!(scanner.advance(b"GET", limits), Err(refusal), "a refusal is final");
                return Some((refusal, index + 1));
            }
        }
        None
    }

    #[test]
    fn what_is_not_http_is_refused_at_the_first_certain_byte() {
        for (bytes, refusal, certain) in [
            (&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc"[..], R::TlsHello, 1),
            (b"\x80\x2e\x01", R::NotHttp, 1),
            (b"\0", R::NotHttp, 1),
            (b"(GET", R::NotHttp, 1),
            (b"\xef\xbb\xbfGET / HTTP/1.1", R::NotHttp, 1),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", R::Http2Preface, 12),
            (b"SSH-2.0-OpenSSH_9.6\r\n", R::MethodByte, 6),
            (b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n", R::TargetForm, 7),
            (b"\r\n\r\n\0\r\nQUIT\n", R::EmptyLines, 3),
            (b"EHLO example.org\r\n", R::TargetForm, 6),
            (b"HELP\r\n", R::MethodByte, 5),
            (b"*1\r\n$4\r\nPING\r\n", R::MethodByte, 1),
            (b"get / HTTP/1.1", R::MethodByte, 1),
            (b"\nGET / HTTP/1.1", R::BareLf, 1),
            (b" GET / HTTP/1.1", R::RequestLineSpacing, 1),
            (b"\rGET / HTTP/1.1", R::BareCr, 2),
            (b"CONNECT a:443 HTTP/1.1", R::ConnectMethod, 8),
            (b"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA / HTTP/1.1", R::MethodTooLong, 33),
        ] {
            let found = refused(HeadScanner::request(), bytes, &Limits::default());
            assert_eq!(found, Some((refusal, certain)), "{:?}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn every_wrong_byte_of_a_request_line_is_refused_where_it_stands() {
        for (bytes, refusal) in [
            (&b"GET\t"[..], R::RequestLineSpacing),
            (b"GET  ", R::RequestLineSpacing),
            (b"GET \t", R::RequestLineSpacing),
            (b"GET /\t", R::RequestLineSpacing),
            (b"GET /  ", R::RequestLineSpacing),
            (b"GET / HTTP/1.1 ", R::RequestLineSpacing),
            (b"GET / HTTP/1.1\t", R::RequestLineSpacing),
            (b"G=", R::MethodByte),
            (b"G\"", R::MethodByte),
            (b"GET\0", R::MethodByte),
            (b"GET\r", R::MethodByte),
            (b"GET\n", R::BareLf),
            (b"GET \r", R::VersionMissing),
            (b"GET /\r", R::VersionMissing),
            (b"GET /\n", R::BareLf),
            (b"GET \n", R::BareLf),
            (b"GET \0", R::TargetByte),
            (b"GET /\x0b", R::TargetByte),
            (b"GET /\x7f", R::TargetByte),
            (b"GET /\x80", R::TargetByte),
            (b"GET a", R::TargetForm),
            (b"GET ?", R::TargetForm),
            (b"GET / h", R::VersionMalformed),
            (b"GET / HTTP/1,", R::VersionMalformed),
            (b"GET / HTTP ", R::VersionMalformed),
            (b"GET / HTTP/x", R::VersionMalformed),
            (b"GET / HTTP/1.x", R::VersionMalformed),
            (b"GET / HTTP/1.10", R::VersionMalformed),
            (b"GET / HTTP/1.1;", R::VersionMalformed),
            (b"GET / HTTP/0", R::VersionUnsupported),
            (b"GET / HTTP/2", R::VersionUnsupported),
            (b"GET / HTTP/1.2", R::VersionUnsupported),
            (b"GET / HTTP/1.1\n", R::BareLf),
            (b"GET / HTTP/1.1\rX", R::BareCr),
        ] {
            let found = refused(HeadScanner::request(), bytes, &Limits::default());
            assert_eq!(found, Some((refusal, bytes.len())), "{:?}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn every_wrong_byte_of_a_field_is_refused_where_it_stands() {
        for (lines, refusal) in [
            (&b" "[..], R::SpaceBeforeFields),
            (b"\t", R::SpaceBeforeFields),
            (b"\n", R::BareLf),
            (b"\r\r", R::BareCr),
            (b":", R::FieldNameEmpty),
            (b"\0", R::FieldNameByte),
            (b"\x80", R::FieldNameByte),
            (b"(", R::FieldNameByte),
            (b"A ", R::SpaceBeforeColon),
            (b"A\t", R::SpaceBeforeColon),
            (b"A\r", R::FieldColonMissing),
            (b"A\n", R::BareLf),
            (b"A\x85", R::FieldNameByte),
            (b"A@", R::FieldNameByte),
            (b"A:b\n", R::BareLf),
            (b"A:b\rc", R::BareCr),
            (b"A:b\r\r", R::BareCr),
            (b"A:\0", R::FieldValueByte),
            (b"A:b\x0b", R::FieldValueByte),
            (b"A:b\x0c", R::FieldValueByte),
            (b"A:b\x7f", R::FieldValueByte),
            (b"A:b\x1b", R::FieldValueByte),
            (b"A:b\r\n ", R::ObsFold),
            (b"A:b\r\n\t", R::ObsFold),
            (b"A:b\r\n\n", R::BareLf),
            (b"A:b\r\n\rX", R::BareCr),
        ] {
            let mut bytes = b"GET / HTTP/1.1\r\n".to_vec();
            bytes.extend_from_slice(lines);
            let found = refused(HeadScanner::request(), &bytes, &Limits::default());
            assert_eq!(found, Some((refusal, bytes.len())), "{:?}", String::from_utf8_lossy(lines));
        }
    }

    #[test]
    fn limits_hold_to_the_byte() {
        let head = b"\r\nGET /abc HTTP/1.1\r\nHost: a\r\nB: cd\r\n\r\n";
        let line = b"GET /abc HTTP/1.1\r\n".len();
        let scan = |limits: &Limits| HeadScanner::request().advance(head, limits);
        let good =
            Limits { head_bytes: head.len(), fields: 2, line_bytes: line, ..Limits::default() };
        assert_eq!(scan(&good), Ok(Progress::Complete(head.len())));
        let head_short = Limits { head_bytes: head.len() - 1, ..good };
        assert_eq!(scan(&head_short), Err(R::HeadTooLong));
        assert_eq!(scan(&Limits { fields: 1, ..good }), Err(R::TooManyFields));
        assert_eq!(scan(&Limits { line_bytes: line - 1, ..good }), Err(R::RequestLineTooLong));
        let field = b"GET / HTTP/1.1\r\nHost: aaaaaaaaaaa\r\n\r\n";
        let short = Limits { line_bytes: 17, ..good };
        assert_eq!(HeadScanner::request().advance(field, &short), Err(R::FieldLineTooLong));
        // The byte that reaches the limit decides, however the value is passed over.
        let control = b"GET / HTTP/1.1\r\nHost: aaaaaaaaaaaaaaaaaaaaaaaa\0";
        assert_eq!(HeadScanner::request().advance(control, &short), Err(R::FieldLineTooLong));
        let short = Limits { head_bytes: 30, ..Limits::default() };
        assert_eq!(HeadScanner::request().advance(control, &short), Err(R::HeadTooLong));
    }

    #[test]
    fn status_lines_have_three_digits_and_perhaps_a_reason() {
        for good in [
            &b"HTTP/1.1 200 OK\r\n\r\n"[..],
            b"HTTP/1.0 404 \r\n\r\n",
            b"HTTP/1.1 204\r\n\r\n",
            b"HTTP/1.1 200 \xc3\xa4\r\n\r\n",
        ] {
            let scanned = HeadScanner::response().advance(good, &Limits::default());
            assert_eq!(scanned, Ok(Progress::Complete(good.len())));
        }
        for (bytes, refusal) in [
            (&b"\r"[..], R::StatusLineMalformed),
            (b"I", R::StatusLineMalformed),
            (b"HTTP/2", R::StatusLineMalformed),
            (b"HTTP/1.2", R::StatusLineMalformed),
            (b"HTTP/1.1\t", R::StatusLineMalformed),
            (b"HTTP/1.1  ", R::StatusLineMalformed),
            (b"HTTP/1.1 20 ", R::StatusLineMalformed),
            (b"HTTP/1.1 2000", R::StatusLineMalformed),
            (b"HTTP/1.1 200\t", R::StatusLineMalformed),
            (b"HTTP/1.1 200\n", R::BareLf),
            (b"HTTP/1.1 200 O\n", R::BareLf),
            (b"HTTP/1.1 200 O\0", R::StatusLineMalformed),
            (b"HTTP/1.1 200 O\rK", R::BareCr),
        ] {
            let found = refused(HeadScanner::response(), bytes, &Limits::default());
            assert_eq!(found, Some((refusal, bytes.len())), "{:?}", String::from_utf8_lossy(bytes));
        }
    }
}
