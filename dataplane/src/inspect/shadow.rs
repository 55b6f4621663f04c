//! A stream that only watches a connection which no HTTP rule decides yet, so that one which comes later finds its framing known.
//!
//! Every segment that is sent on as it came is shown to the engine first. As long as the engine would have sent on exactly that
//! and nothing else, its state is what it had been if it had decided all along, and the connection can be inspected from any
//! moment on. The first time it would have done otherwise (hold half a head, refuse, cut, answer, translate), the shadow is gone:
//! what the server has then is not what the engine knows, and nobody guesses.
//!
//! INVARIANT: every segment of the connection since its SYN was shown and sent on unchanged, or not sent on at all.

use core::ops::Range;

use parser::http::RequestHead;

use super::{
    Disposition, Edit, Judge, Limits, NewSegment, Phase, Ruling, Segment, Side, Sink, Stream, Tick,
};

/// The watching stream of one connection.
#[derive(Debug)]
pub struct Shadow(Box<Stream>);

impl Shadow {
    /// Begins with a client's SYN; none if the engine would not send it on as it is.
    #[must_use]
    pub fn open(syn: &Segment<'_>, now: Tick) -> Option<Self> {
        let mut wishes = Wishes::of(syn);
        let stream = Stream::open(syn, now, &mut wishes).ok()?;
        wishes.are_fulfilled().then(|| Self(Box::new(stream)))
    }

    /// Looks at a segment that is about to be sent on as it is. False if the engine would have done otherwise: then this shadow
    /// is worth nothing.
    #[must_use]
    pub fn watch<J: Judge>(
        &mut self,
        segment: &Segment<'_>,
        now: Tick,
        limits: &Limits,
        judge: &mut J,
    ) -> bool {
        let mut wishes = Wishes::of(segment);
        let disposition = self.0.segment(segment, now, limits, judge, &mut wishes);
        disposition == Disposition::Forwarded
            && wishes.are_fulfilled()
            && self.0.phase() != Phase::Closed
            && self.0.is_readable()
    }

    /// The engine's state.
    pub(crate) fn stream(&self) -> &Stream {
        &self.0
    }

    /// The same, to be shown a segment that is sent on as it is.
    pub(crate) fn stream_mut(&mut self) -> &mut Stream {
        &mut self.0
    }

    /// Heap in use beyond the state itself, for the caller's budgets; bytes.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.0.held_bytes()
    }

    /// Nothing has happened for a while, see [`Stream::rest`].
    pub fn rest(&mut self) {
        self.0.rest();
    }

    /// The stream, to decide from now on. Requests that the server has are its own; one that opened a tunnel cannot be judged any
    /// more, so there is none.
    #[must_use]
    pub fn into_stream(self) -> Option<Box<Stream>> {
        (!self.0.is_tunnel()).then_some(self.0)
    }
}

/// Allows every request: no rule decides.
#[derive(Debug)]
pub struct Everybody;

impl Judge for Everybody {
    fn judge(&mut self, _head: &RequestHead<'_>) -> Ruling {
        Ruling::Allow
    }
}

/// Whether all that the engine wants is what is done anyway.
struct Wishes {
    payload: usize,
    forwarded: bool,
    other: bool,
}

impl Wishes {
    fn of(segment: &Segment<'_>) -> Self {
        Self { payload: segment.payload.len(), forwarded: false, other: false }
    }

    fn are_fulfilled(&self) -> bool {
        self.forwarded && !self.other
    }
}

impl Sink for Wishes {
    fn forward(&mut self, keep: Range<usize>, edit: Edit<'_>) {
        self.forwarded = true;
        // An empty range of an empty payload is all of it, wherever it stands.
        let whole = keep == (0..self.payload) || (self.payload == 0 && keep.is_empty());
        self.other |= !whole || edit != Edit::Unchanged;
    }

    fn inject(&mut self, _to: Side, _segment: NewSegment<'_>) {
        self.other = true;
    }
}
