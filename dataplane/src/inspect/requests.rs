//! Reads requests out of the client's byte stream and has them judged.
//!
//! Bytes in stream order arrive; what may pass, what is cut out and what must wait leaves. TCP is none of its concern.
//!
//! INVARIANT: a request's first byte is released only after its head is complete, well formed and allowed; the judge is
//! asked exactly once per complete head.

use parser::http::{
    Body, BodyFraming, HeadScanner, HttpRefusal, Progress, RequestHead, ResponseHead, ResponseTo,
    Upgrade, read_request_on,
};

use super::{Limits, outstanding::Outstanding, reply::Reply};

/// What policy says to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ruling {
    /// It goes to the server.
    Allow,
    /// It is answered 403 in the server's place.
    Deny,
}

/// Decides about requests, with the policy of the current epoch, and hears what happened to the others.
pub trait Judge {
    /// Decides about one request; called once for each, in the order in which the client sent them.
    fn judge(&mut self, head: &RequestHead<'_>) -> Ruling;

    /// The client's bytes were no acceptable HTTP/1 and are answered with the refusal's status.
    fn refused(&mut self, refusal: HttpRefusal) {
        let _ = refusal;
    }

    /// The server answered the oldest unanswered request; interim responses come here too.
    fn answered(&mut self, head: &ResponseHead<'_>) {
        let _ = head;
    }
}

/// What the next byte of the client belongs to.
#[derive(Clone, Debug)]
enum Expect {
    /// A request's head.
    Head,
    /// Chunks and trailers of an allowed request.
    Chunked(Box<Body>),
    /// Whatever follows an upgrade request, once the server has answered it.
    UpgradeAnswer,
    /// Another protocol, after 101.
    Tunnel,
    /// So many bytes of a denied request's content, which are thrown away.
    Discard(u64),
    /// Nothing: bytes are thrown away, because no request may follow.
    Nothing,
}

/// What is to be done with the next bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// They must wait: for more of them or for the server.
    Wait,
    /// `framing` bytes pass and are pinned; the `data` bytes after them pass as they come.
    Pass { framing: usize, data: u64 },
    /// So many bytes never reach the server; the client is answered.
    Answer { cut: usize, reply: Reply },
    /// So many bytes never reach the server; they belong to what was answered.
    Discard(usize),
    /// What began to reach the server is wrong in the middle: the request can be neither finished nor taken back.
    Broken(HttpRefusal),
}

/// The reader of one connection's requests.
#[derive(Clone, Debug)]
pub(super) struct Requests {
    expect: Expect,
    /// How far a head was seen that came in pieces.
    scanner: Option<Box<HeadScanner>>,
    /// No request may follow the current one.
    last: bool,
}

impl Requests {
    pub(super) fn new() -> Self {
        Self { expect: Expect::Head, scanner: None, last: false }
    }

    /// Bytes of heap in use.
    pub(super) fn heap_bytes(&self) -> usize {
        let body = if self.in_body() { size_of::<Body>() } else { 0 };
        body + self.scanner.as_ref().map_or(0, |_| size_of::<HeadScanner>())
    }

    /// Whether every further byte is thrown away.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.expect, Expect::Nothing)
    }

    /// Whether the next byte begins a head, or is somewhere in it.
    pub(super) fn in_head(&self) -> bool {
        matches!(self.expect, Expect::Head)
    }

    /// Whether the server has received the beginning of a request and not yet all of its chunks.
    pub(super) fn in_body(&self) -> bool {
        matches!(self.expect, Expect::Chunked(_))
    }

    /// Whether the client speaks another protocol now, or may do so when the server agrees.
    pub(super) fn is_tunnel(&self) -> bool {
        matches!(self.expect, Expect::Tunnel | Expect::UpgradeAnswer)
    }

    /// The server switches protocols: everything passes.
    pub(super) fn tunnel(&mut self) {
        self.expect = Expect::Tunnel;
    }

    /// The server answered an upgrade request and stays with HTTP.
    pub(super) fn upgrade_refused(&mut self) {
        if matches!(self.expect, Expect::UpgradeAnswer) {
            self.expect = self.next();
        }
    }

    /// No request may follow any more; a body that is under way goes on.
    pub(super) fn end(&mut self) {
        self.last = true;
        self.scanner = None;
        if !self.in_body() {
            self.expect = Expect::Nothing;
        }
    }

    fn next(&self) -> Expect {
        if self.last { Expect::Nothing } else { Expect::Head }
    }

    /// Reads on at `bytes`, which begin with the first byte not passed or cut so far. A head is looked at only when
    /// `gate_open`.
    pub(super) fn step<J: Judge>(
        &mut self,
        bytes: &[u8],
        gate_open: bool,
        outstanding: &mut Outstanding,
        limits: &Limits,
        judge: &mut J,
    ) -> Step {
        match &mut self.expect {
            Expect::Head if gate_open => self.head(bytes, outstanding, limits, judge),
            Expect::Head | Expect::UpgradeAnswer => Step::Wait,
            Expect::Chunked(body) => {
                let step = chunks(body, bytes);
                if body.is_finished() {
                    self.expect = self.next();
                }
                if let Step::Broken(refusal) = step {
                    judge.refused(refusal);
                    self.expect = Expect::Nothing;
                }
                step
            }
            Expect::Discard(rest) => {
                let here = bytes.len().min(usize::try_from(*rest).unwrap_or(usize::MAX));
                *rest = rest.saturating_sub(here as u64);
                if *rest == 0 {
                    self.expect = self.next();
                }
                Step::Discard(here)
            }
            Expect::Tunnel => Step::Pass { framing: 0, data: u64::MAX },
            Expect::Nothing => Step::Wait,
        }
    }

    fn head<J: Judge>(
        &mut self,
        bytes: &[u8],
        outstanding: &mut Outstanding,
        limits: &Limits,
        judge: &mut J,
    ) -> Step {
        let mut at_first_byte = HeadScanner::request();
        let scanner = self.scanner.as_deref_mut().unwrap_or(&mut at_first_byte);
        match read_request_on(scanner, bytes, &limits.requests, &limits.strictness) {
            Ok(Progress::Incomplete) => {
                self.scanner.get_or_insert_with(|| Box::new(at_first_byte));
                Step::Wait
            }
            Ok(Progress::Complete(head)) => {
                self.scanner = None;
                match judge.judge(&head) {
                    Ruling::Allow => self.allow(&head, outstanding, limits),
                    Ruling::Deny => self.deny(&head, bytes, limits),
                }
            }
            Err(refusal) => self.refuse(refusal, judge),
        }
    }

    fn allow(
        &mut self,
        head: &RequestHead<'_>,
        outstanding: &mut Outstanding,
        limits: &Limits,
    ) -> Step {
        outstanding.push(head.answered_as());
        self.last = self.last || !head.persistent;
        let mut data = 0;
        self.expect = match (head.upgrade, head.framing) {
            (Some(Upgrade::WebSocket), _) => Expect::UpgradeAnswer,
            (None, BodyFraming::Chunked) => {
                Expect::Chunked(Box::new(Body::of_request(head.framing, &limits.requests)))
            }
            (None, BodyFraming::Length(length)) => {
                data = length;
                self.next()
            }
            (None, BodyFraming::None) => self.next(),
        };
        Step::Pass { framing: head.head_len, data }
    }

    /// Cuts the request out, content included. Whether the connection goes on is a matter of the head alone, never of what
    /// happened to arrive with it: content that is long, chunked or waits for 100 may never come or may be worth a close.
    fn deny(&mut self, head: &RequestHead<'_>, bytes: &[u8], limits: &Limits) -> Step {
        let content = match head.framing {
            BodyFraming::None => Some(0),
            BodyFraming::Length(length) => Some(length)
                .filter(|&length| length <= limits.denied_body && !head.expects_continue),
            BodyFraming::Chunked => None,
        };
        self.last = self.last || !head.persistent || content.is_none();
        let close = self.last;
        let after_head = bytes.len().saturating_sub(head.head_len);
        let here = after_head.min(usize::try_from(content.unwrap_or(0)).unwrap_or(usize::MAX));
        let rest = content.unwrap_or(0).saturating_sub(here as u64);
        self.expect = if rest > 0 && !close { Expect::Discard(rest) } else { self.next() };
        let cut = head.head_len.saturating_add(here);
        Step::Answer { cut, reply: Reply::denied(head.answered_as() == ResponseTo::Head, close) }
    }

    fn refuse<J: Judge>(&mut self, refusal: HttpRefusal, judge: &mut J) -> Step {
        judge.refused(refusal);
        self.end();
        Step::Answer { cut: 0, reply: Reply::refused(refusal) }
    }
}

/// Passes one piece of a chunked body: chunk line or trailer bytes to be pinned, then the data that a chunk line announced.
fn chunks(body: &mut Body, bytes: &[u8]) -> Step {
    let mut framing = 0;
    for byte in bytes.chunks(1) {
        if body.is_finished() || body.opaque_remaining() > 0 {
            break;
        }
        if let Err(refusal) = body.advance(byte) {
            return Step::Broken(refusal);
        }
        framing += 1;
    }
    let data = body.opaque_remaining();
    body.skip(data);
    Step::Pass { framing, data }
}
