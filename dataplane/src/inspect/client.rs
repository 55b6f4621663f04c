//! The client's segments: what passes in place, what is held, cut, copied or refused.
//!
//! One segment arrives; at most one frame goes on, with one run of its payload. Whatever cannot be part of that run is copied
//! first and leaves in segments of ours.

use core::ops::Range;

use super::{
    Disposition, Flags, Judge, Limits, Segment, Side, Sink, StreamDrop,
    flow::NEVER,
    holes::Unstored,
    options::{OptionBytes, Options},
    outstanding::Outstanding,
    reply::Reply,
    requests::Step,
    stream::{Around, Phase, Stream, part},
};

/// What became of a payload.
#[derive(Clone, Debug, Default)]
struct Passed {
    /// The run of the payload that goes on in place.
    keep: Range<usize>,
    /// The client must be answered at once: it sent something known or too early.
    answer: Answer,
    /// Nothing more may be read in place: what follows was copied.
    refused: Option<StreamDrop>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Answer {
    #[default]
    None,
    /// An acknowledgement of what we have.
    Acknowledge,
    /// A duplicate acknowledgement that reports this range, so that fast retransmit works.
    Report(u64, u64),
}

impl Stream {
    pub(super) fn from_client<J: Judge, S: Sink>(
        &mut self,
        segment: &Segment<'_>,
        options: Options,
        around: &mut Around<'_, J, S>,
    ) -> Result<Disposition, StreamDrop> {
        let has_fin = segment.flags.has(Flags::FIN);
        let start = self.up.position(segment.seq, self.up.told).ok_or(StreamDrop::OutOfWindow)?;
        let end = start.saturating_add(segment.payload.len() as u64);
        let after = end.saturating_add(u64::from(has_fin));
        let occupies = after > start;
        // RFC 9293 §3.10.7.4: nothing beyond the window the server opened moves anything.
        if start > self.client_edge().max(self.known()) {
            return Err(StreamDrop::OutOfWindow);
        }
        if let Some(timestamps) = options.timestamps.filter(|_| self.timestamps) {
            if occupies && after > self.known() && self.client.is_stale(timestamps) {
                return Err(StreamDrop::StaleTimestamp);
            }
            self.client.note(timestamps, start <= self.known());
        }
        let past_fin = after > start && (end > self.up.fin || (has_fin && end != self.up.fin));
        if self.up.fin != NEVER && past_fin {
            return Err(StreamDrop::AfterFin);
        }
        if !segment.payload.is_empty()
            && (self.kept.conflicts(start, segment.payload)
                || self.client_holes.conflicts(start, segment.payload))
        {
            return Err(StreamDrop::ConflictingOverlap);
        }
        let acknowledged = self.acknowledgement(segment)?;
        let was_injected = self.outbox.touches(acknowledged.0);
        self.client_acknowledges(acknowledged, around);

        if self.phase == Phase::Closing {
            return self.while_closing(segment, options, acknowledged, (start, after), around);
        }
        if self.unpaired && after > self.frontier.max(self.known()) && !segment.payload.is_empty() {
            self.reset(around.sink);
            return Err(StreamDrop::Unpaired);
        }
        if !occupies {
            let seq = if start < self.known() && !self.up.splice.is_identity() {
                // A keep-alive probe stays one.
                self.up.splice.forward(self.known()).saturating_sub(1)
            } else {
                self.up.splice.forward(start.min(self.released()))
            };
            let forwarded =
                self.pass_bare(segment, options, acknowledged, seq, !was_injected, around);
            self.serve(around);
            return Ok(if forwarded { Disposition::Forwarded } else { Disposition::Absorbed });
        }
        if after <= self.known() {
            // Known already. A probe for life must reach the server, without the byte it may carry (evasion row T12).
            let probe = !has_fin && segment.payload.len() <= 1 && after == self.known();
            if probe {
                let seq = self.up.splice.forward(self.known()).saturating_sub(1);
                self.pass_bare(segment, options, acknowledged, seq, true, around);
                if self.up.told > self.up.splice.backward(self.up.una) {
                    self.acknowledge_to_client(around.sink);
                }
                self.serve(around);
                return Ok(Disposition::Forwarded);
            }
            let seq = self.up.splice.forward(self.known());
            let forwarded = self.pass_bare(segment, options, acknowledged, seq, false, around);
            self.acknowledge_to_client(around.sink);
            self.serve(around);
            return Ok(if forwarded { Disposition::Forwarded } else { Disposition::Absorbed });
        }

        let received = end.min(self.client_edge().max(self.known()));
        let passed = if segment.payload.is_empty() {
            Passed::default()
        } else {
            self.take_payload(segment.payload, start, received, around)
        };
        // A FIN counts once everything before it is here.
        let in_order = end <= self.frontier.saturating_add(self.held as u64);
        if has_fin && received == end && in_order && passed.refused.is_none() {
            self.up.fin = end;
        }
        let passes_fin = has_fin && self.up.fin == end && self.fin_may_pass() && {
            passed.keep.end == segment.payload.len() || passed.keep.is_empty()
        };
        let forwarded = if passed.keep.is_empty() && !passes_fin {
            let first = start.max(self.known());
            // A window probe must make the server say where its window is, without the byte beyond it; an old number does.
            let probe = received <= first && !segment.payload.is_empty();
            let seq = if probe {
                self.up.splice.forward(self.known()).saturating_sub(1)
            } else {
                self.up.splice.forward(first.min(self.released()))
            };
            self.pass_bare(segment, options, acknowledged, seq, probe, around)
        } else {
            let first = if passed.keep.is_empty() {
                end
            } else {
                start.saturating_add(passed.keep.start as u64)
            };
            let mut flags = segment.flags.without(Flags::URG);
            if !passes_fin {
                flags = flags.without(Flags::FIN);
            }
            let seq = self.up.number(self.up.splice.forward(first));
            let mut buffer = OptionBytes::new();
            let edit = self.header(segment, seq, flags, acknowledged, options, &mut buffer);
            around.sink.forward(passed.keep.clone(), edit);
            let last = first
                .saturating_add(passed.keep.len() as u64)
                .saturating_add(u64::from(passes_fin));
            self.up.high = self.up.high.max(last);
            self.fin_sent |= passes_fin;
            true
        };
        self.drain_client_holes(received, around);
        self.serve(around);
        match passed.answer {
            Answer::None => {}
            Answer::Acknowledge => self.acknowledge_to_client(around.sink),
            Answer::Report(left, right) => {
                let mut draft = self.segment_to(Side::Client, self.down_next(), Flags::ACK);
                if self.sack {
                    draft.options.push_sack(self.up.number(left).0, self.up.number(right).0);
                }
                draft.send(&[], self, around.sink);
            }
        }
        match passed.refused {
            Some(reason) if !forwarded => Err(reason),
            _ if forwarded => Ok(Disposition::Forwarded),
            _ => Ok(Disposition::Absorbed),
        }
    }

    /// What the client has of our own bytes, and of the server's.
    fn client_acknowledges<J: Judge, S: Sink>(
        &mut self,
        (position, edge): (u64, u64),
        around: &mut Around<'_, J, S>,
    ) {
        self.down.edge = self.down.edge.max(edge);
        if position > self.down.una {
            self.down.una = position;
            if self.outbox.acknowledge(position) {
                self.outbox_clock.restart(!self.outbox.is_empty(), around.now, around.limits);
            }
            self.down.splice.settle(position);
            self.outbox_clock.duplicates = 0;
        } else if position == self.down.una && !self.outbox.is_empty() {
            self.outbox_clock.duplicates = self.outbox_clock.duplicates.saturating_add(1);
            if self.outbox_clock.duplicates == 3 {
                self.resend_outbox(around.sink);
            }
        }
        self.flush_outbox(around);
    }

    /// Sends the header alone when it says something new to the server, or when it must pass anyway. Returns whether it did.
    fn pass_bare<J: Judge, S: Sink>(
        &mut self,
        segment: &Segment<'_>,
        options: Options,
        acknowledged: (u64, u64),
        seq: u64,
        must: bool,
        around: &mut Around<'_, J, S>,
    ) -> bool {
        let ack = self.down.splice.backward(acknowledged.0.max(self.down.una));
        let edge = self.down.splice.backward(acknowledged.1);
        if !must && ack <= self.down.told && edge <= self.down.told_edge {
            return false;
        }
        let flags = segment.flags.without(Flags::URG).without(Flags::FIN);
        let number = self.up.number(seq);
        let mut buffer = OptionBytes::new();
        let edit = self.header(segment, number, flags, acknowledged, options, &mut buffer);
        around.sink.forward(0..0, edit);
        true
    }

    /// Takes the payload that stands at `start`, up to `received`.
    fn take_payload<J: Judge, S: Sink>(
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
    fn known(&self) -> u64 {
        self.up.told.max(self.up.splice.backward(self.up.una))
    }

    /// The client's position up to which the server may be spoken to: held bytes are not there yet, a FIN that was sent is.
    fn released(&self) -> u64 {
        self.frontier.max(self.up.high)
    }

    /// Cuts everything from the frontier to `end` out of the stream.
    pub(super) fn throw_away(&mut self, end: u64) {
        let len = end.saturating_sub(self.frontier);
        self.up.splice.cut(self.frontier, len);
        self.frontier = self.frontier.max(end);
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

    /// Reads on in what is held, as far as it goes, and sends what was released.
    pub(super) fn serve<J: Judge, S: Sink>(&mut self, around: &mut Around<'_, J, S>) {
        self.place_answer(around);
        while self.held > 0 && self.phase == Phase::Open {
            if self.requests.is_over() {
                let end = self.frontier.saturating_add(self.held as u64);
                self.kept.remove(self.frontier, end);
                self.held = 0;
                self.throw_away(end);
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
                    let cut = cut.min(self.held);
                    let end = self.frontier.saturating_add(cut as u64);
                    self.kept.remove(self.frontier, end);
                    self.held = self.held.saturating_sub(cut);
                    self.throw_away(end);
                    self.answer(reply, around);
                }
                Step::Discard(len) => {
                    let end = self.frontier.saturating_add(len as u64);
                    self.kept.remove(self.frontier, end);
                    self.held = self.held.saturating_sub(len);
                    self.throw_away(end);
                }
                Step::Broken(refusal) => {
                    self.broken(Reply::refused(refusal), around);
                    break;
                }
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
        if self.phase == Phase::Open
            && self.up.fin != NEVER
            && !self.fin_sent
            && self.fin_may_pass()
        {
            let draft = self.segment_to(
                Side::Server,
                self.up.splice.forward(self.up.fin),
                Flags::FIN.with(Flags::ACK),
            );
            draft.send(&[], self, around.sink);
            self.up.high = self.up.high.max(self.up.fin.saturating_add(1));
            self.fin_sent = true;
        }
        if self.phase != Phase::Closed && self.client_may_be_told() > self.up.told {
            self.acknowledge_to_client(around.sink);
        }
        if self.owes_server() {
            self.kept_clock.start(around.now, around.limits);
        }
        self.watch(around.now, around.limits);
    }

    /// Whether held bytes wait for more bytes of the client, not for the server.
    pub(super) fn waits_for_client(&self, limits: &Limits) -> bool {
        self.gate_open(limits) && self.requests.in_head()
    }

    /// Whether everything before the client's FIN has been decided and answered.
    fn fin_may_pass(&self) -> bool {
        self.held == 0
            && self.up.fin <= self.frontier
            && self.pending.is_none()
            && self.first_unsent().is_none()
    }

    /// Early bytes whose time has come. `received` is the end of the segment that closed the hole.
    fn drain_client_holes<J: Judge, S: Sink>(
        &mut self,
        received: u64,
        around: &mut Around<'_, J, S>,
    ) {
        let mut known = received;
        loop {
            if self.phase != Phase::Open {
                self.client_holes.clear();
                return;
            }
            let held_end = self.frontier.saturating_add(self.held as u64);
            let Some((start, bytes)) = self.client_holes.take_before(held_end) else { return };
            let end = start.saturating_add(bytes.len() as u64);
            let from = start.max(known);
            known = known.max(end);
            // What the framing has decided meanwhile goes out at once; it was reported as received.
            let decided = end.min(self.frontier);
            if from < decided {
                let range = part(start, bytes.len(), from, decided);
                self.kept.append(from, bytes.get(range).unwrap_or_default(), true);
                self.owned_to = self.owned_to.max(decided);
                self.flush_kept(around);
            }
            let undecided = from.max(held_end);
            if undecided < end {
                let range = part(start, bytes.len(), undecided, end);
                self.hold(bytes.get(range).unwrap_or_default());
                self.serve(around);
            }
        }
    }

    /// The first released byte of our keeping that waits for the server's window: what follows must queue behind it.
    fn first_unsent(&self) -> Option<u64> {
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
        let draft = self.segment_to(Side::Server, position, Flags::ACK.with(Flags::PSH));
        draft.send(bytes, self, sink);
        let end = start.saturating_add(bytes.len() as u64);
        self.unsent = self.unsent.max(end);
        self.up.high = self.up.high.max(end);
    }

    /// Tells the client what we have.
    pub(super) fn acknowledge_to_client<S: Sink>(&mut self, sink: &mut S) {
        let draft = self.segment_to(Side::Client, self.down_next(), Flags::ACK);
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

    /// The client's segments after our own close: thrown away and acknowledged, so that the answer is not lost to a reset.
    fn while_closing<J: Judge, S: Sink>(
        &mut self,
        segment: &Segment<'_>,
        options: Options,
        acknowledged: (u64, u64),
        (start, after): (u64, u64),
        around: &mut Around<'_, J, S>,
    ) -> Result<Disposition, StreamDrop> {
        self.advance_closing(around);
        if self.phase == Phase::Closed {
            return Ok(Disposition::Absorbed);
        }
        let occupies = after > start;
        if occupies {
            self.throw_away(after);
            self.up.told = self.up.told.max(after);
            self.client_done |= segment.flags.has(Flags::FIN);
            self.open_wide();
            self.acknowledge_to_client(around.sink);
            self.advance_closing(around);
        }
        let live = !self.server_reset && self.phase == Phase::Closing;
        let seq = self.up.sent();
        let forwarded = live
            && !occupies
            && !self.outbox.touches(acknowledged.0)
            && self.pass_bare(segment, options, acknowledged, seq, true, around);
        if occupies && !segment.payload.is_empty() {
            return Err(StreamDrop::AfterClose);
        }
        Ok(if forwarded { Disposition::Forwarded } else { Disposition::Absorbed })
    }

    /// What is thrown away needs no window of the server's.
    pub(super) fn open_wide(&mut self) {
        let room = u64::from(u16::MAX) << self.server.shift;
        self.up.edge = self.up.edge.max(self.up.sent().saturating_add(room));
    }
}
