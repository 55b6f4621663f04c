//! The client's bytes between arrival and release: read in place where they lie, or held, cut out, and sent on by us.
//!
//! INVARIANT: only bytes below the frontier and outside every cut leave; held bytes begin at the frontier and are contiguous;
//! whatever is cut is removed from every copy at once.

use core::ops::Range;

use parser::tcp::TcpFlags;

use super::{
    Judge, Limits, Side, Sink, StreamDrop,
    flow::NEVER,
    holes::Unstored,
    outstanding::Outstanding,
    reply::Reply,
    requests::Step,
    stream::{Around, Phase, Stream, part},
};

/// What became of a payload.
#[derive(Clone, Debug, Default)]
pub(super) struct Passed {
    /// The run of the payload that goes on in place.
    pub(super) keep: Range<usize>,
    /// The client must be answered at once: it sent something known or too early.
    pub(super) answer: Answer,
    /// Nothing more may be read in place: what follows was copied.
    pub(super) refused: Option<StreamDrop>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Answer {
    #[default]
    None,
    /// An acknowledgement of what we have.
    Acknowledge,
    /// A duplicate acknowledgement that reports this range, so that fast retransmit works.
    Report(u64, u64),
}

impl Stream {
    /// Takes the payload that stands at `start`, up to `received`.
    pub(super) fn take_payload<J: Judge, S: Sink>(
        &mut self,
        payload: &[u8],
        start: u64,
        received: u64,
        around: &mut Around<'_, J, S>,
    ) -> Passed {
        let mut passed = Passed::default();
        let len = payload.len();
        // Below the frontier everything is decided: what is in no cut passes, as far as it is one run.
        let from = self.up.splice.skip_cut(start.max(self.known()));
        let decided = received.min(self.frontier);
        let queue = self.first_unsent().unwrap_or(NEVER);
        let run = decided
            .min(self.up.splice.run_end(from))
            .min(self.up.sender_edge())
            .min(queue)
            .max(from);
        if from < run {
            passed.keep = part(start, len, from, run);
        }
        if received <= self.frontier.max(start) {
            if passed.keep.is_empty() && start < received {
                passed.answer = Answer::Acknowledge;
            }
            return passed;
        }
        let one_run = (run == decided || from >= decided) && queue == NEVER;

        let held_end = self.frontier.saturating_add(self.held as u64);
        let undecided = from.max(self.frontier);
        if self.requests.is_over() {
            if undecided == self.frontier {
                self.throw_away(received);
                passed.answer = Answer::Acknowledge;
                passed.refused = Some(StreamDrop::AfterClose);
            }
            return passed;
        }
        if undecided > held_end {
            let bytes = payload.get(part(start, len, undecided, received)).unwrap_or_default();
            let limits = around.limits;
            match self.client_holes.store(undecided, bytes, limits.holes, limits.hole_parts) {
                Ok(()) => {
                    let range = self
                        .client_holes
                        .ranges()
                        .find(|&(left, right)| left <= undecided && undecided < right);
                    let (left, right) = range.unwrap_or((undecided, received));
                    passed.answer = Answer::Report(left, right);
                }
                Err(Unstored::Full) => passed.refused = Some(StreamDrop::HoleBudget),
                Err(Unstored::Conflict) => passed.refused = Some(StreamDrop::ConflictingOverlap),
            }
            return passed;
        }
        if received <= held_end {
            passed.answer = Answer::Acknowledge;
            return passed;
        }
        let fresh = part(start, len, held_end, received);
        let spent = self.kept.len().saturating_add(fresh.len()) > around.limits.kept
            || self.kept.spans() >= around.limits.kept_spans;
        if spent {
            passed.refused = Some(StreamDrop::HeldBudget);
            return passed;
        }
        if self.held == 0 && one_run {
            self.read_in_place(payload, fresh, &mut passed, around);
        } else {
            self.hold(payload.get(fresh).unwrap_or_default());
        }
        passed
    }

    /// Reads requests from the arriving segment itself; `fresh` begins at the frontier.
    fn read_in_place<J: Judge, S: Sink>(
        &mut self,
        payload: &[u8],
        fresh: Range<usize>,
        passed: &mut Passed,
        around: &mut Around<'_, J, S>,
    ) {
        let mut at = fresh.start;
        // Most of it is a head, of which a copy will be kept. While it is read and judged, the memory for that comes.
        self.kept.prefetch(fresh.len());
        while let Some(rest) = payload.get(at..fresh.end).filter(|rest| !rest.is_empty()) {
            let gate = self.gate_open(around.limits);
            let step =
                self.requests.step(rest, gate, &mut self.outstanding, around.limits, around.judge);
            match step {
                Step::Pass { framing, data } => {
                    let head = rest.get(..framing).unwrap_or_default();
                    self.kept.append(self.frontier, head, false);
                    let whole = (framing as u64).saturating_add(data);
                    self.frontier = self.frontier.saturating_add(whole);
                    let next = at
                        .saturating_add(usize::try_from(whole).unwrap_or(usize::MAX))
                        .min(fresh.end);
                    if passed.keep.is_empty() {
                        passed.keep = at..next;
                    } else {
                        passed.keep.end = next;
                    }
                    at = next;
                }
                Step::Answer { cut, reply } => {
                    let cut_end = self.frontier.saturating_add(cut as u64);
                    self.throw_away(cut_end);
                    at = at.saturating_add(cut);
                    passed.answer = Answer::Acknowledge;
                    self.answer(reply, around);
                    if self.requests.is_over() {
                        self.throw_away(
                            self.frontier.saturating_add((fresh.end.saturating_sub(at)) as u64),
                        );
                        return;
                    }
                    if !passed.keep.is_empty() {
                        // One frame carries one run: the rest goes in segments of ours.
                        self.hold(payload.get(at..fresh.end).unwrap_or_default());
                        return;
                    }
                }
                Step::Discard(len) => {
                    self.throw_away(self.frontier.saturating_add(len as u64));
                    at = at.saturating_add(len);
                    passed.answer = Answer::Acknowledge;
                }
                Step::Broken(refusal) => {
                    self.broken(Reply::refused(refusal), around);
                    return;
                }
                Step::Wait => {
                    if self.requests.is_over() {
                        self.throw_away(self.frontier.saturating_add(rest.len() as u64));
                        passed.refused = Some(StreamDrop::AfterClose);
                    } else {
                        self.hold(rest);
                    }
                    passed.answer = Answer::Acknowledge;
                    return;
                }
            }
        }
    }

    /// Copies bytes that follow what is held.
    fn hold(&mut self, bytes: &[u8]) {
        let at = self.frontier.saturating_add(self.held as u64);
        self.kept.append(at, bytes, true);
        self.held = self.held.saturating_add(bytes.len());
        self.owned_to = self.owned_to.max(at.saturating_add(bytes.len() as u64));
    }

    /// The client's position before which nothing of it is of use any more.
    pub(super) fn known(&self) -> u64 {
        self.up.told.max(self.up.splice.backward(self.up.una))
    }

    /// The client's position up to which the server may be spoken to: held bytes are not there yet, a FIN that was sent is.
    pub(super) fn released(&self) -> u64 {
        self.frontier.max(self.up.high)
    }

    /// Cuts everything from the frontier to `end` out of the stream, and out of what is held.
    pub(super) fn throw_away(&mut self, end: u64) {
        let len = end.saturating_sub(self.frontier);
        if self.held > 0 {
            self.kept.remove(self.frontier, end);
            self.held = self.held.saturating_sub(usize::try_from(len).unwrap_or(usize::MAX));
        }
        self.up.splice.cut(self.frontier, len);
        self.frontier = self.frontier.max(end);
        // Early copies of what is cut out must not be taken for bytes that the framing has released.
        self.client_holes.forget_to(end);
        self.up.high = self.up.high.max(self.frontier);
        self.owned_to = self.owned_to.max(self.frontier);
        self.up.splice.settle(self.up.una);
    }

    /// Whether the next head may be judged now.
    fn gate_open(&self, limits: &Limits) -> bool {
        self.phase == Phase::Open
            && self.pending.is_none()
            && !self.unpaired
            && self.outstanding.len() < limits.outstanding.clamp(1, Outstanding::MAX)
            && self.outbox.len() < limits.replies
    }

    /// Whether nothing is to be read, sent, told or awaited: what [`Stream::serve`] would find out step by step.
    fn is_calm(&self) -> bool {
        self.held == 0
            && self.pending.is_none()
            && self.timers.is_none()
            && self.client_holes.is_empty()
            && (self.up.fin == NEVER || self.fin_sent)
            && self.up.splice.backward(self.up.una) == self.up.told
            && self.owned_to <= self.up.told
            && self.kept.is_pinned()
    }

    /// Reads on in what is held, as far as it goes, and sends what was released.
    pub(super) fn serve<J: Judge, S: Sink>(&mut self, around: &mut Around<'_, J, S>) {
        if self.is_calm() {
            return;
        }
        self.place_answer(around);
        loop {
            self.read_held(around);
            if !self.take_early() {
                break;
            }
        }
        self.flush_kept(around);
        if self.phase == Phase::Open
            && self.up.fin != NEVER
            && !self.fin_sent
            && self.fin_may_pass()
        {
            let draft = self.segment_to(
                Side::Server,
                self.up.splice.forward(self.up.fin),
                TcpFlags::FIN.with(TcpFlags::ACK),
            );
            draft.send(&[], self, around.sink);
            self.up.high = self.up.high.max(self.up.fin.saturating_add(1));
            self.fin_sent = true;
        }
        if self.phase != Phase::Closed && self.client_may_be_told() > self.up.told {
            self.acknowledge_to_client(around.sink);
        }
        if self.owes_server() {
            self.timers().kept.start(around.now, around.limits);
        }
        self.watch(around.now, around.limits);
        self.timers.take_if(|timers| timers.are_stopped());
    }

    /// Reads requests out of what is held.
    fn read_held<J: Judge, S: Sink>(&mut self, around: &mut Around<'_, J, S>) {
        while self.held > 0 && self.phase == Phase::Open {
            if self.requests.is_over() {
                self.throw_away(self.frontier.saturating_add(self.held as u64));
                break;
            }
            let gate = self.gate_open(around.limits);
            let bytes = self.kept.from(self.frontier, self.held);
            let step =
                self.requests.step(bytes, gate, &mut self.outstanding, around.limits, around.judge);
            match step {
                Step::Pass { framing, data } => {
                    let whole = (framing as u64).saturating_add(data);
                    let here = usize::try_from(whole).unwrap_or(usize::MAX).min(self.held);
                    self.frontier = self.frontier.saturating_add(whole);
                    self.held = self.held.saturating_sub(here);
                    self.flush_kept(around);
                }
                Step::Answer { cut, reply } => {
                    self.throw_away(self.frontier.saturating_add(cut.min(self.held) as u64));
                    self.answer(reply, around);
                }
                Step::Discard(len) => {
                    self.throw_away(self.frontier.saturating_add(len as u64));
                }
                // What is held goes next: nothing may follow.
                Step::Broken(refusal) => self.broken(Reply::refused(refusal), around),
                Step::Wait => {
                    if self.up.fin == self.frontier.saturating_add(self.held as u64)
                        && gate
                        && self.requests.in_head()
                    {
                        // The head can never become complete.
                        self.requests.end();
                        self.answer(Reply::bad_request(), around);
                        continue;
                    }
                    break;
                }
            }
        }
    }

    /// Whether held bytes wait for more bytes of the client, not for the server.
    pub(super) fn waits_for_client(&self, limits: &Limits) -> bool {
        self.gate_open(limits) && self.requests.in_head()
    }

    /// Whether everything before the client's FIN has been decided and answered.
    pub(super) fn fin_may_pass(&self) -> bool {
        self.held == 0
            && self.up.fin <= self.frontier
            && self.pending.is_none()
            && self.first_unsent().is_none()
    }

    /// Takes in early bytes whose time has come; false when there are none.
    fn take_early(&mut self) -> bool {
        if self.phase != Phase::Open {
            self.client_holes.clear();
            return false;
        }
        let held_end = self.frontier.saturating_add(self.held as u64);
        let Some((start, bytes)) = self.client_holes.take_before(held_end) else { return false };
        let end = start.saturating_add(bytes.len() as u64);
        let from = start.max(self.kept.end());
        // What the framing has decided meanwhile goes out as it is; it was reported to the client as received.
        let decided = end.min(self.frontier);
        if from < decided {
            let range = part(start, bytes.len(), from, decided);
            self.kept.append(from, bytes.get(range).unwrap_or_default(), true);
            self.owned_to = self.owned_to.max(decided);
        }
        let undecided = from.max(held_end);
        if undecided < end {
            let range = part(start, bytes.len(), undecided, end);
            self.hold(bytes.get(range).unwrap_or_default());
        }
        true
    }

    /// The first released byte of our keeping that waits for the server's window: what follows must queue behind it.
    pub(super) fn first_unsent(&self) -> Option<u64> {
        self.kept
            .owned_from(self.unsent, 1)
            .map(|(start, _)| start)
            .filter(|&start| start < self.frontier)
    }

    /// Sends released bytes of our keeping, as far as the server's window allows.
    pub(super) fn flush_kept<J: Judge, S: Sink>(&mut self, around: &mut Around<'_, J, S>) {
        let kept = core::mem::take(&mut self.kept);
        while let Some((start, bytes)) = kept.owned_from(self.unsent, self.room()) {
            let position = self.up.splice.forward(start);
            let room =
                self.up.edge.saturating_sub(position).min(self.frontier.saturating_sub(start));
            let room = usize::try_from(room).unwrap_or(usize::MAX);
            let bytes = bytes.get(..room.min(bytes.len())).unwrap_or_default();
            if bytes.is_empty() {
                break;
            }
            self.send_to_server(start, bytes, around.sink);
        }
        self.kept = kept;
    }

    /// Sends again what the server misses of the bytes that we acknowledged, or one byte to hear of its window; false if it
    /// misses something else.
    pub(super) fn resend_kept<S: Sink>(&mut self, sink: &mut S) -> bool {
        let una = self.up.splice.backward(self.up.una);
        let kept = core::mem::take(&mut self.kept);
        let bytes = kept.from(una, self.room());
        let released = usize::try_from(self.frontier.saturating_sub(una)).unwrap_or(usize::MAX);
        let window =
            usize::try_from(self.up.edge.saturating_sub(self.up.una)).unwrap_or(usize::MAX).max(1);
        let bytes = bytes.get(..bytes.len().min(released).min(window)).unwrap_or_default();
        if !bytes.is_empty() {
            self.send_to_server(una, bytes, sink);
        }
        let found = !bytes.is_empty();
        self.kept = kept;
        found
    }

    fn send_to_server<S: Sink>(&mut self, start: u64, bytes: &[u8], sink: &mut S) {
        let position = self.up.splice.forward(start);
        let draft = self.segment_to(Side::Server, position, TcpFlags::ACK.with(TcpFlags::PSH));
        draft.send(bytes, self, sink);
        let end = start.saturating_add(bytes.len() as u64);
        self.unsent = self.unsent.max(end);
        self.up.high = self.up.high.max(end);
    }

    /// Tells the client what we have.
    pub(super) fn acknowledge_to_client<S: Sink>(&mut self, sink: &mut S) {
        let draft = self.segment_to(Side::Client, self.down_next(), TcpFlags::ACK);
        draft.send(&[], self, sink);
    }

    /// Keeps an answer for its place among the responses, which may be now.
    fn answer<J: Judge, S: Sink>(&mut self, reply: Reply, around: &mut Around<'_, J, S>) {
        self.pending = Some(reply);
        self.place_answer(around);
    }

    /// The server has the beginning of a request that is wrong in the middle. If nothing of its response was seen and it is the
    /// only one, our answer takes its place; else both sides are reset.
    fn broken<J: Judge, S: Sink>(&mut self, reply: Reply, around: &mut Around<'_, J, S>) {
        self.requests.end();
        if self.outstanding.len() == 1
            && self.responses.between_messages()
            && self.down.high == self.responses.frontier
        {
            self.outstanding.pop();
            self.answer(reply, around);
        } else {
            self.reset(around.sink);
        }
    }

    /// A timer ended the wait for a head, or for the rest of a broken one.
    pub(super) fn time_out<J: Judge, S: Sink>(
        &mut self,
        reply: Reply,
        around: &mut Around<'_, J, S>,
    ) {
        self.requests.end();
        self.answer(reply, around);
        self.serve(around);
    }
}
