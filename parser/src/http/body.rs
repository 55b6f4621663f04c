//! Content: where it ends, followed through any segmentation (RFC 9112 §6-7).
//!
//! The next bytes after a head arrive; how many of them are content (with its chunk lines and trailers), and whether it
//! is finished, leaves. Payload is never looked at.
//!
//! INVARIANT: the state depends only on the bytes so far, not on how they were cut; a refusal is final; `consumed`
//! never reaches beyond the last byte of the content.

use super::{
    BodyFraming, HttpRefusal, Limits, ResponseFraming,
    fields::{MAX_KNOWN_NAME, know},
    scanner::{is_tchar, is_value_byte},
};

/// Follows the content of one message.
#[derive(Clone, Copy, Debug)]
pub struct Body {
    state: State,
    limits: BodyLimits,
    /// Bytes of the chunk line, then of the trailer section so far.
    counted: usize,
    /// The trailer name so far; more than [`MAX_KNOWN_NAME`] bytes are only counted.
    name: [u8; MAX_KNOWN_NAME],
    name_len: usize,
}

/// What [`Body::advance`] did with the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyStep {
    /// So many of the bytes belong to the content.
    pub consumed: usize,
    /// The content is whole; the next byte, if not consumed, begins the next head.
    pub finished: bool,
}

#[derive(Clone, Copy, Debug)]
struct BodyLimits {
    chunk_line: usize,
    trailer: usize,
}

/// 16 digits and CRLF: no setting allows longer chunk lines (RFC 9112 §7.1 asks to guard against overflow).
const MAX_CHUNK_LINE: usize = 18;

/// DEVIATION: RFC 9112 §7.1 sets no bound. Larger chunks have one size for a 64-bit reader and another for a 32-bit one.
const MAX_CHUNK: u64 = i32::MAX as u64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Finished,
    Length(u64),
    UntilClose,
    ExpectSize,
    Size(u64),
    ExpectSizeLf(u64),
    Data(u64),
    ExpectDataCr,
    ExpectDataLf,
    ExpectTrailer,
    TrailerName,
    TrailerValue,
    ExpectTrailerLf,
    ExpectEndLf,
    Refused(HttpRefusal),
}

impl From<BodyFraming> for Body {
    /// Of a request, under the default limits.
    fn from(framing: BodyFraming) -> Self {
        Self::of_request(framing, &Limits::REQUESTS)
    }
}

impl From<ResponseFraming> for Body {
    /// Of a response, under the default limits.
    fn from(framing: ResponseFraming) -> Self {
        Self::of_response(framing, &Limits::RESPONSES)
    }
}

impl Body {
    /// At the first byte after a request's head.
    #[must_use]
    pub fn of_request(framing: BodyFraming, limits: &Limits) -> Self {
        Self::of_response(framing.into(), limits)
    }

    /// At the first byte after a response's head.
    #[must_use]
    pub fn of_response(framing: ResponseFraming, limits: &Limits) -> Self {
        let state = match framing {
            ResponseFraming::None | ResponseFraming::Length(0) => State::Finished,
            ResponseFraming::Length(length) => State::Length(length),
            ResponseFraming::Chunked => State::ExpectSize,
            ResponseFraming::UntilClose => State::UntilClose,
        };
        let limits = BodyLimits {
            chunk_line: limits.chunk_line_bytes.min(MAX_CHUNK_LINE),
            trailer: limits.trailer_bytes,
        };
        Self { state, limits, counted: 0, name: [0; MAX_KNOWN_NAME], name_len: 0 }
    }

    /// Whether the content is whole. Content until close never is.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.state == State::Finished
    }

    /// How many of the next bytes are plain payload, whatever they are; `u64::MAX` until close.
    #[must_use]
    pub const fn opaque_remaining(&self) -> u64 {
        match self.state {
            State::Length(remaining) | State::Data(remaining) => remaining,
            State::UntilClose => u64::MAX,
            _ => 0,
        }
    }

    /// Passes over up to `count` bytes of plain payload without seeing them; returns how many.
    pub fn skip(&mut self, count: u64) -> u64 {
        let skipped = count.min(self.opaque_remaining());
        match &mut self.state {
            State::Length(remaining) => {
                *remaining = remaining.saturating_sub(skipped);
                if *remaining == 0 {
                    self.state = State::Finished;
                }
            }
            State::Data(remaining) => {
                *remaining = remaining.saturating_sub(skipped);
                if *remaining == 0 {
                    self.state = State::ExpectDataCr;
                }
            }
            _ => {}
        }
        skipped
    }

    /// Takes the next bytes of the stream, up to the end of the content.
    ///
    /// # Errors
    /// The rule that the first wrong byte breaks, now and at every later call.
    pub fn advance(&mut self, bytes: &[u8]) -> Result<BodyStep, HttpRefusal> {
        let mut rest = bytes;
        while self.state != State::Finished {
            if let State::Refused(refusal) = self.state {
                return Err(refusal);
            }
            if self.opaque_remaining() > 0 && !rest.is_empty() {
                let offered = u64::try_from(rest.len()).unwrap_or(u64::MAX);
                let skipped = usize::try_from(self.skip(offered)).unwrap_or(usize::MAX);
                rest = rest.get(skipped..).unwrap_or_default();
                continue;
            }
            let Some((byte, after)) = rest.split_first() else { break };
            rest = after;
            self.state = match self.step(*byte) {
                Ok(next) => next,
                Err(refusal) => State::Refused(refusal),
            };
        }
        let consumed = bytes.len().saturating_sub(rest.len());
        Ok(BodyStep { consumed, finished: self.is_finished() })
    }

    /// One byte of a chunk line or trailer.
    fn step(&mut self, byte: u8) -> Result<State, HttpRefusal> {
        use HttpRefusal as R;
        match self.state {
            State::ExpectSize | State::Size(_) | State::ExpectSizeLf(_) => self.chunk_line(byte),
            // RFC 9112 §7.1: exactly CRLF after the data, or sizes and data drift apart.
            State::ExpectDataCr if byte == b'\r' => Ok(State::ExpectDataLf),
            State::ExpectDataLf if byte == b'\n' => Ok(State::ExpectSize),
            State::ExpectDataCr | State::ExpectDataLf => Err(R::ChunkDataEnd),
            State::ExpectTrailer
            | State::TrailerName
            | State::TrailerValue
            | State::ExpectTrailerLf
            | State::ExpectEndLf => self.trailer(byte),
            state @ (State::Finished | State::Length(_) | State::UntilClose | State::Data(_)) => {
                Ok(state)
            }
            State::Refused(refusal) => Err(refusal),
        }
    }

    /// RFC 9112 §7.1 chunk-size. DEVIATION: no extensions; §7.1.1 lets a recipient ignore them, readers differ in
    /// where they end, and no known client sends them.
    fn chunk_line(&mut self, byte: u8) -> Result<State, HttpRefusal> {
        use HttpRefusal as R;
        self.counted = self.counted.saturating_add(1);
        let next = match (self.state, byte) {
            (State::ExpectSizeLf(size), b'\n') => {
                self.counted = 0;
                return Ok(if size == 0 { State::ExpectTrailer } else { State::Data(size) });
            }
            (State::ExpectSizeLf(_), _) => return Err(R::BareCr),
            (_, b'\n') => return Err(R::BareLf),
            (State::Size(size), b'\r') => State::ExpectSizeLf(size),
            (State::Size(_), b';') => return Err(R::ChunkExtension),
            (state, _) => {
                let digit = char::from(byte).to_digit(16).ok_or(R::ChunkSizeInvalid)?;
                let size = if let State::Size(size) = state { size } else { 0 };
                let size = size.saturating_mul(16).saturating_add(u64::from(digit));
                if size > MAX_CHUNK {
                    return Err(R::ChunkSizeTooLarge);
                }
                State::Size(size)
            }
        };
        if self.counted >= self.limits.chunk_line {
            return Err(R::ChunkLineTooLong);
        }
        Ok(next)
    }

    /// RFC 9112 §7.1.2: the grammar of fields, and RFC 9110 §6.5.1: none that would have been needed before.
    fn trailer(&mut self, byte: u8) -> Result<State, HttpRefusal> {
        use HttpRefusal as R;
        self.counted = self.counted.saturating_add(1);
        let next = match (self.state, byte) {
            (State::ExpectEndLf, b'\n') => return Ok(State::Finished),
            (State::ExpectTrailerLf, b'\n') => State::ExpectTrailer,
            (State::ExpectEndLf | State::ExpectTrailerLf, _) => return Err(R::BareCr),
            (_, b'\n') => return Err(R::BareLf),
            (State::ExpectTrailer, b'\r') => State::ExpectEndLf,
            (State::ExpectTrailer, b' ' | b'\t') => return Err(R::ObsFold),
            (State::ExpectTrailer, b':') => return Err(R::FieldNameEmpty),
            (State::TrailerName, b' ' | b'\t') => return Err(R::SpaceBeforeColon),
            (State::TrailerName, b'\r') => return Err(R::FieldColonMissing),
            (State::TrailerName, b':') => {
                self.judge_trailer_name()?;
                State::TrailerValue
            }
            (State::TrailerValue, b'\r') => State::ExpectTrailerLf,
            (State::TrailerValue, _) if is_value_byte(byte) => State::TrailerValue,
            (State::TrailerValue, _) => return Err(R::FieldValueByte),
            (state, _) if is_tchar(byte) => {
                if state == State::ExpectTrailer {
                    self.name_len = 0;
                }
                if let Some(place) = self.name.get_mut(self.name_len) {
                    *place = byte;
                }
                self.name_len = self.name_len.saturating_add(1);
                State::TrailerName
            }
            _ => return Err(R::FieldNameByte),
        };
        if self.counted >= self.limits.trailer {
            return Err(R::TrailerTooLong);
        }
        Ok(next)
    }

    fn judge_trailer_name(&self) -> Result<(), HttpRefusal> {
        match self.name.get(..self.name_len).map(know) {
            None | Some(Ok(None)) => Ok(()),
            Some(Ok(Some(_)) | Err(_)) => Err(HttpRefusal::TrailerForbidden),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Body, BodyFraming, BodyStep, HttpRefusal as R, Limits, ResponseFraming};

    /// What chunked content comes to, the same in one piece and byte by byte.
    fn chunked(bytes: &[u8]) -> Result<BodyStep, R> {
        let whole = Body::from(BodyFraming::Chunked).advance(bytes);
        let mut body = Body::from(BodyFraming::Chunked);
        let mut consumed = 0;
        let mut bytewise = Ok(BodyStep { consumed, finished: false });
        for byte in bytes {
            match body.advance(&[*byte]) {
                Ok(step) => {
                    consumed += step.consumed;
                    bytewise = Ok(BodyStep { consumed, finished: step.finished });
                }
                Err(refusal) => {
                    assert_eq!(body.advance(b"0\r\n\r\n"), Err(refusal), "a refusal is final");
                    bytewise = Err(refusal);
                    break;
                }
            }
        }
        assert_eq!(whole, bytewise, "{:?}", String::from_utf8_lossy(bytes));
        whole
    }

    #[test]
    fn a_body_without_content_is_finished_at_once() {
        for framing in [BodyFraming::None, BodyFraming::Length(0)] {
            let mut body = Body::from(framing);
            assert!(body.is_finished());
            assert_eq!(body.advance(b"GET"), Ok(BodyStep { consumed: 0, finished: true }));
        }
    }

    #[test]
    fn a_length_is_counted_down() {
        let mut body = Body::from(BodyFraming::Length(5));
        assert_eq!(body.opaque_remaining(), 5);
        assert_eq!(body.advance(b"he"), Ok(BodyStep { consumed: 2, finished: false }));
        assert_eq!(body.skip(2), 2);
        assert_eq!(body.opaque_remaining(), 1);
        assert_eq!(body.advance(b"oGET"), Ok(BodyStep { consumed: 1, finished: true }));
        assert_eq!(body.skip(1), 0);
    }

    #[test]
    fn content_until_close_never_finishes() {
        let mut body = Body::from(ResponseFraming::UntilClose);
        assert_eq!(body.advance(b"abc"), Ok(BodyStep { consumed: 3, finished: false }));
        assert_eq!(body.opaque_remaining(), u64::MAX);
        assert_eq!(body.skip(u64::MAX), u64::MAX);
        assert!(!body.is_finished());
    }

    #[test]
    fn chunks_end_with_their_own_last_byte() {
        for (bytes, content) in [
            (&b"0\r\n\r\nGET"[..], 5),
            (b"5\r\nhello\r\n0\r\n\r\n", 15),
            (b"5\r\n0\r\n\r\n\r\n0\r\n\r\n", 15),
            (b"a\r\n0123456789\r\nA\r\n0123456789\r\n00\r\n\r\n", 36),
            (b"0000000000000001\r\nx\r\n0\r\n\r\n", 26),
            (b"1\r\nx\r\n0\r\nX-Checksum: abc\r\nDigest:\r\n\r\nGET", 37),
        ] {
            let expected = BodyStep { consumed: content, finished: true };
            assert_eq!(chunked(bytes), Ok(expected), "{:?}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn payload_of_a_chunk_may_be_skipped() {
        let mut body = Body::from(BodyFraming::Chunked);
        assert_eq!((body.opaque_remaining(), body.skip(9)), (0, 0));
        assert_eq!(body.advance(b"5\r\nh"), Ok(BodyStep { consumed: 4, finished: false }));
        assert_eq!((body.opaque_remaining(), body.skip(9)), (4, 4));
        assert_eq!(body.opaque_remaining(), 0);
        assert_eq!(body.advance(b"\r\n0\r\n\r\n"), Ok(BodyStep { consumed: 7, finished: true }));
    }

    #[test]
    fn every_wrong_byte_of_a_chunk_is_refused() {
        for (bytes, refusal) in [
            (&b"\r\n"[..], R::ChunkSizeInvalid),
            (b" 5\r\n", R::ChunkSizeInvalid),
            (b"5 \r\n", R::ChunkSizeInvalid),
            (b"\t5\r\n", R::ChunkSizeInvalid),
            (b"5\t;a", R::ChunkSizeInvalid),
            (b"+5\r\n", R::ChunkSizeInvalid),
            (b"-5\r\n", R::ChunkSizeInvalid),
            (b"-1\r\n", R::ChunkSizeInvalid),
            (b"0x5\r\n", R::ChunkSizeInvalid),
            (b"1_0\r\n", R::ChunkSizeInvalid),
            (b"1zz\r\n", R::ChunkSizeInvalid),
            (b"5\0\r\n", R::ChunkSizeInvalid),
            (b"\xef\xbc\x95\r\n", R::ChunkSizeInvalid),
            (b";a\r\n", R::ChunkSizeInvalid),
            (b"80000000\r\n", R::ChunkSizeTooLarge),
            (b"100000005\r\n", R::ChunkSizeTooLarge),
            (b"10000000000000005\r\n", R::ChunkSizeTooLarge),
            (b"ffffffffffffffff\r\n", R::ChunkSizeTooLarge),
            (b"00000000000000005\r\n", R::ChunkLineTooLong),
            (b"5;\r\nhello", R::ChunkExtension),
            (b"5;a=b\r\nhello", R::ChunkExtension),
            (b"5;\nhello", R::ChunkExtension),
            (b"5\nhello", R::BareLf),
            (b"\n", R::BareLf),
            (b"5\r\r\nhello", R::BareCr),
            (b"5\rhello", R::BareCr),
            (b"5\r\nhello0\r\n\r\n", R::ChunkDataEnd),
            (b"5\r\nhello!!\r\n", R::ChunkDataEnd),
            (b"5\r\nhello\n0\r\n", R::ChunkDataEnd),
            (b"5\r\nhello\r0\r\n", R::ChunkDataEnd),
            (b"5\r\nhello\r\r\n", R::ChunkDataEnd),
            (b"5\r\nhello\r\n\r\n", R::ChunkSizeInvalid),
            (b"5\r\nhell\r\n0\r\n\r\n", R::ChunkDataEnd),
        ] {
            assert_eq!(chunked(bytes), Err(refusal), "{:?}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn trailers_follow_the_grammar_of_fields() {
        for (lines, refusal) in [
            (&b"\n"[..], R::BareLf),
            (b"\r\r", R::BareCr),
            (b" a: b\r\n", R::ObsFold),
            (b"A: b\r\n c\r\n", R::ObsFold),
            (b": b\r\n", R::FieldNameEmpty),
            (b"A : b\r\n", R::SpaceBeforeColon),
            (b"A\r\n", R::FieldColonMissing),
            (b"A\n", R::BareLf),
            (b"A\0: b\r\n", R::FieldNameByte),
            (b"\x80: b\r\n", R::FieldNameByte),
            (b"A: b\n", R::BareLf),
            (b"A: b\rc", R::BareCr),
            (b"A: \0\r\n", R::FieldValueByte),
            (b"A: \x7f\r\n", R::FieldValueByte),
        ] {
            let bytes = [b"0\r\n", lines].concat();
            assert_eq!(chunked(&bytes), Err(refusal), "{:?}", String::from_utf8_lossy(lines));
        }
    }

    #[test]
    fn trailers_that_frame_route_or_authenticate_are_refused() {
        for name in [
            "Content-Length",
            "transfer-encoding",
            "Transfer_Encoding",
            "HOST",
            "Authorization",
            "Cookie",
            "Set-Cookie",
            "Connection",
            "Expect",
            "Upgrade",
            "TE",
            "Trailer",
            "Range",
            "X-HTTP-Method-Override",
            "X-Original-URL",
            "Cache-Control",
            "Content-Type",
            "Content-Encoding",
            "X-Forwarded-For",
            "proxy-authorization",
            "content.length",
        ] {
            let bytes = format!("1\r\nx\r\n0\r\nA: b\r\n{name}: 1\r\n\r\n");
            assert_eq!(chunked(bytes.as_bytes()), Err(R::TrailerForbidden), "{name}");
        }
        for name in [
            "grpc-status",
            "Server-Timing",
            "Content-Digest",
            "hosts",
            "X-A-Name-Longer-Than-Any-Known",
        ] {
            let bytes = format!("0\r\n{name}: 1\r\n\r\n");
            assert!(chunked(bytes.as_bytes()).unwrap().finished, "{name}");
        }
    }

    #[test]
    fn limits_of_chunks_hold_to_the_byte() {
        let limits = Limits { chunk_line_bytes: 4, trailer_bytes: 8, ..Limits::default() };
        let advance = |bytes: &[u8]| Body::of_request(BodyFraming::Chunked, &limits).advance(bytes);
        assert!(advance(b"00\r\nA: b\r\n\r\n").unwrap().finished);
        assert_eq!(advance(b"000\r\n"), Err(R::ChunkLineTooLong));
        assert_eq!(advance(b"0\r\nA: bc\r\n\r\n"), Err(R::TrailerTooLong));
        let wide = Limits { chunk_line_bytes: usize::MAX, ..limits };
        let zeros = "0".repeat(17);
        let step = Body::of_request(BodyFraming::Chunked, &wide)
            .advance(format!("{zeros}\r\n").as_bytes());
        assert_eq!(step, Err(R::ChunkLineTooLong));
    }

    #[test]
    fn trailer_limit_counts_the_trailers_only() {
        let limits = Limits { trailer_bytes: 2, ..Limits::default() };
        let mut body = Body::of_request(BodyFraming::Chunked, &limits);
        assert!(body.advance(b"5\r\nhello\r\n0\r\n\r\n").unwrap().finished);
    }
}
