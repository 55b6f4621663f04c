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
