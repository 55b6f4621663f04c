//! Follows the server's byte stream, to know where each response ends and which request it answers.
//!
//! Responses are never held: bytes pass as they come, and are read here in stream order from the first copy. When they
//! cannot be paired with requests, only the consequence counts: no further request passes.

use parser::http::{Body, HeadScanner, Progress, ResponseFraming, ResponseHead, read_response_on};

use super::{Judge, Limits, flow::NEVER, outstanding::Outstanding};

/// What the next byte of the server belongs to.
#[derive(Clone, Debug)]
enum Expect {
    /// A response's head.
    Head,
    /// The content that ends at the frontier.
    Content,
    /// Chunks and trailers.
    Chunked(Box<Body>),
    /// Anything: another protocol, content until close, or what cannot be read.
    Anything,
}

/// What the client's side must know.
#[derive(Debug, Default)]
pub(super) struct News {
    /// 101 was said: both directions are another protocol's from here.
    pub(super) switched: bool,
    /// An upgrade request was answered otherwise.
    pub(super) stays: bool,
    /// The server closes after this response; no request may follow.
    pub(super) last: bool,
    /// The bytes answer nothing or cannot be read: the pairing is over.
    pub(super) unpaired: bool,
}

/// The reader of one connection's responses.
#[derive(Clone, Debug)]
pub(super) struct Responses {
    expect: Expect,
    /// Server's position up to which the framing is known.
    pub(super) frontier: u64,
    /// The beginning of an incomplete head, from the frontier on. INVARIANT: has bytes.
    partial: Option<Box<Partial>>,
    /// The response being read is the last.
    last: bool,
}

/// A head of which the end has not come.
#[derive(Clone, Debug)]
struct Partial {
    bytes: Vec<u8>,
    /// Has seen these bytes.
    scanner: HeadScanner,
}

impl Default for Partial {
    fn default() -> Self {
        Self { bytes: Vec::new(), scanner: HeadScanner::response() }
    }
}

impl Responses {
    pub(super) fn new() -> Self {
        Self { expect: Expect::Head, frontier: 1, partial: None, last: false }
    }

    /// The next position to be read.
    pub(super) fn next(&self) -> u64 {
        let partial = self.partial.as_ref().map_or(0, |partial| partial.bytes.len());
        self.frontier.saturating_add(partial as u64)
    }

    /// Whether the last response is complete and nothing of another one was seen.
    pub(super) fn between_messages(&self) -> bool {
        matches!(self.expect, Expect::Head) && self.partial.is_none()
    }

    /// Bytes of heap in use.
    pub(super) fn heap_bytes(&self) -> usize {
        let body = if let Expect::Chunked(_) = self.expect { size_of::<Body>() } else { 0 };
        let partial = self.partial.as_ref();
        body + partial.map_or(0, |partial| size_of::<Partial>() + partial.bytes.capacity())
    }

    /// Reads no more: whatever comes passes.
    pub(super) fn stop(&mut self) {
        self.expect = Expect::Anything;
        self.frontier = NEVER;
        self.partial = None;
    }

    /// Reads `bytes`, which stand at [`Responses::next`]; `seen` is the end of everything the server has sent.
    pub(super) fn read<J: Judge>(
        &mut self,
        bytes: &[u8],
        seen: u64,
        outstanding: &mut Outstanding,
        limits: &Limits,
        judge: &mut J,
        news: &mut News,
    ) {
        let before = self.partial.as_mut().map(|partial| core::mem::take(&mut partial.bytes));
        let rest = match before {
            None => {
                let used = self.walk(bytes, seen, outstanding, limits, judge, news);
                bytes.get(used..).unwrap_or_default().to_vec()
            }
            Some(mut all) => {
                all.extend_from_slice(bytes);
                let used = self.walk(&all, seen, outstanding, limits, judge, news);
                all.drain(..used);
                all
            }
        };
        if self.frontier != NEVER && !rest.is_empty() {
            self.partial.get_or_insert_default().bytes = rest;
        }
    }

    /// The server has sent everything up to `seen`: content that ends there is complete.
    pub(super) fn seen(&mut self, seen: u64, outstanding: &mut Outstanding, news: &mut News) {
        if matches!(self.expect, Expect::Content) && seen >= self.frontier {
            self.complete(outstanding, news);
        }
    }

    /// Reads as much as is complete; returns how many bytes that was.
    fn walk<J: Judge>(
        &mut self,
        bytes: &[u8],
        seen: u64,
        outstanding: &mut Outstanding,
        limits: &Limits,
        judge: &mut J,
        news: &mut News,
    ) -> usize {
        let mut used = 0;
        while let Some(rest) = bytes.get(used..).filter(|rest| !rest.is_empty()) {
            let before = self.frontier;
            match &mut self.expect {
                Expect::Head => {
                    if !self.head(rest, outstanding, limits, judge, news) {
                        break;
                    }
                }
                Expect::Content => {}
                Expect::Chunked(body) => match body.advance(rest) {
                    Ok(step) => {
                        let ahead = body.opaque_remaining();
                        body.skip(ahead);
                        self.frontier =
                            before.saturating_add(step.consumed as u64).saturating_add(ahead);
                        if step.finished {
                            self.complete(outstanding, news);
                        }
                    }
                    Err(_) => self.lose(news),
                },
                Expect::Anything => return bytes.len(),
            }
            if matches!(self.expect, Expect::Content) {
                if seen < self.frontier {
                    return bytes.len();
                }
                self.complete(outstanding, news);
            }
            let moved = usize::try_from(self.frontier.saturating_sub(before)).unwrap_or(usize::MAX);
            used = used.saturating_add(moved).min(bytes.len());
        }
        used
    }

    /// Reads a head; false if it is incomplete.
    fn head<J: Judge>(
        &mut self,
        bytes: &[u8],
        outstanding: &mut Outstanding,
        limits: &Limits,
        judge: &mut J,
        news: &mut News,
    ) -> bool {
        let Some(to) = outstanding.first() else {
            self.lose(news);
            return true;
        };
        let mut at_first_byte = HeadScanner::response();
        let scanner = self.partial.as_deref_mut().map(|partial| &mut partial.scanner);
        let scanner = scanner.unwrap_or(&mut at_first_byte);
        match read_response_on(scanner, bytes, to, &limits.responses) {
            Ok(Progress::Incomplete) => {
                self.partial.get_or_insert_with(|| {
                    Box::new(Partial { bytes: Vec::new(), scanner: at_first_byte })
                });
                false
            }
            Ok(Progress::Complete(head)) => {
                judge.answered(&head);
                self.take(&head, outstanding, limits, news);
                true
            }
            Err(_) => {
                self.lose(news);
                true
            }
        }
    }

    fn take(
        &mut self,
        head: &ResponseHead<'_>,
        outstanding: &mut Outstanding,
        limits: &Limits,
        news: &mut News,
    ) {
        self.partial = None;
        self.frontier = self.frontier.saturating_add(head.head_len as u64);
        if head.ambiguous.is_some() {
            return self.lose(news);
        }
        if head.interim {
            return;
        }
        if head.switching {
            outstanding.pop();
            news.switched = true;
            return self.stop();
        }
        self.last = self.last || !head.persistent;
        news.last = news.last || self.last;
        match head.framing {
            ResponseFraming::None => self.complete(outstanding, news),
            ResponseFraming::Length(length) => {
                self.frontier = self.frontier.saturating_add(length);
                self.expect = Expect::Content;
            }
            ResponseFraming::Chunked => {
                self.expect =
                    Expect::Chunked(Box::new(Body::of_response(head.framing, &limits.responses)));
            }
            ResponseFraming::UntilClose => {
                news.last = true;
                self.stop();
            }
        }
    }

    /// The final response to the oldest request is complete.
    fn complete(&mut self, outstanding: &mut Outstanding, news: &mut News) {
        news.stays = news.stays || outstanding.first() == Some(parser::http::ResponseTo::WebSocket);
        outstanding.pop();
        self.expect = Expect::Head;
        if self.last {
            self.stop();
        }
    }

    /// The pairing of responses and requests is lost.
    fn lose(&mut self, news: &mut News) {
        news.unpaired = true;
        self.stop();
    }
}
