//! The server's segments: they pass as they come; what they say is read on the way, and our answers are put between them.

use parser::tcp::TcpFlags;

use super::{
    Disposition, Judge, Segment, Side, Sink, StreamDrop,
    flow::NEVER,
    holes::Unstored,
    options::{OptionBytes, Options},
    outbox::Portion,
    responses::News,
    stream::{Around, Phase, Stream, answer_with_reset, part},
};

impl Stream {
    pub(super) fn take_from_server<J: Judge, S: Sink>(
        &mut self,
        segment: &Segment<'_>,
        options: Options,
        around: &mut Around<'_, J, S>,
    ) -> Result<Disposition, StreamDrop> {
        if self.server_reset {
            // It has not heard yet that we left: repeat it, with the number that it expects.
            answer_with_reset(segment, around.sink);
            return Err(StreamDrop::AfterClose);
        }
        let has_fin = segment.flags.contains(TcpFlags::FIN);
        let start = self
            .down
            .position(segment.seq, self.down.told.max(1))
            .ok_or(StreamDrop::OutOfWindow)?;
        let end = start.saturating_add(segment.payload.len() as u64);
        let after = end.saturating_add(u64::from(has_fin));
        if start > self.down.sender_edge().max(self.down.high) {
            return Err(StreamDrop::OutOfWindow);
        }
        if let Some(timestamps) = options.timestamps.filter(|_| self.timestamps) {
            self.server.note(timestamps, start <= self.down.told);
        }
        let past_fin = after > start && (end > self.down.fin || (has_fin && end != self.down.fin));
        if self.down.fin != NEVER && past_fin {
            return Err(StreamDrop::AfterFin);
        }
        let acknowledged = self.acknowledgement(segment)?;
        let advances = self.server_acknowledges(acknowledged, after == start, around);
        let repeats = after == start && !advances;
        if self.phase == Phase::Closing && after > self.server_end_here() && after > start {
            return Err(StreamDrop::AfterClose);
        }
        // While we close, the server is not told what the client has: the client's own word counts too.
        let has = self.down.told.max(self.down.splice.backward(self.down.una));
        let known = after > start && after <= has;
        if known && !self.down.splice.is_identity() {
            let probe = !has_fin && segment.payload.len() <= 1 && after == self.down.told;
            if !probe {
                let draft = self.segment_to(Side::Server, self.up.sent(), TcpFlags::ACK);
                draft.send(&[], self, around.sink);
                self.serve(around);
                return Ok(Disposition::Absorbed);
            }
        }

        let spliced = !self.down.splice.is_identity();
        // What the client has is cut off: where answers of ours stood among it is forgotten, so it has no place any more.
        let from = if spliced && after > start { start.max(has) } else { start };
        let to = end.min(self.down.splice.run_end(from)).max(from.min(end));
        // A FIN belongs right behind its data; where an answer of ours stands between them, it comes alone.
        let whole = to == end && self.down.splice.run_end(from) > end;
        let mut news = News::default();
        if !segment.payload.is_empty() && self.phase == Phase::Open {
            self.read_responses(segment.payload, start, to, &mut news, around)?;
        }
        // While an answer waits for its place, a FIN must not overtake it: the server repeats the FIN.
        let waits = self.pending.is_some() && (self.answer_has_place(to) || !self.read_through(to));
        let passes_fin = has_fin && whole && !waits;
        if passes_fin {
            self.down.fin = end;
        }
        let mut flags = segment.flags.without(TcpFlags::URG);
        if !passes_fin {
            flags = flags.without(TcpFlags::FIN);
        }
        // An old number asks for life; it stays one before the next, whatever lies between in our counting.
        let probe = spliced && start < self.down.told && (known || after == start);
        let (keep, position) = if probe {
            (0..0, self.down.splice.forward(self.down.told).saturating_sub(1))
        } else if after == start {
            (0..0, self.down.splice.forward(from).min(self.down_next()))
        } else {
            (part(start, segment.payload.len(), from, to), self.down.splice.forward(from))
        };
        let seq = self.down.number(position);
        let edge = self.up.splice.backward(acknowledged.1);
        // What speaks only of bytes that we own says nothing to the client.
        let useless = repeats
            && edge <= self.up.told_edge
            && acknowledged.0 == self.up.una
            && self.owes_next();
        if !useless {
            let mut buffer = OptionBytes::new();
            let edit = self.header(segment, seq, flags, acknowledged, options, &mut buffer);
            around.sink.forward(keep, edit);
        }
        self.down.high = self.down.high.max(to.saturating_add(u64::from(passes_fin)));
        self.hear(&news, around);
        if self.phase == Phase::Closed {
            return Ok(Disposition::Forwarded);
        }
        if passes_fin && self.pending.is_some() {
            // The server is gone before it has answered what came earlier; our answer has no place any more.
            self.pending = None;
            self.requests.end();
        }
        self.serve(around);
        Ok(if useless { Disposition::Absorbed } else { Disposition::Forwarded })
    }

    /// Server's position of the end that the closing left it.
    fn server_end_here(&self) -> u64 {
        self.down.splice.backward(self.server_end)
    }

    /// Whether the next byte that the server misses was acknowledged to the client, so that only we can send it.
    pub(super) fn owes_next(&self) -> bool {
        let una = self.up.splice.backward(self.up.una);
        una < self.up.told.min(self.frontier)
    }

    /// Whether released bytes of our keeping are not acknowledged by the server.
    pub(super) fn owes_server(&self) -> bool {
        let una = self.up.splice.backward(self.up.una);
        self.owes_next()
            || self.kept.owned_from(una, 1).is_some_and(|(start, _)| start < self.frontier)
    }

    /// What the server has of the client's bytes. Returns whether that is news.
    fn server_acknowledges<J: Judge, S: Sink>(
        &mut self,
        (position, edge): (u64, u64),
        bare: bool,
        around: &mut Around<'_, J, S>,
    ) -> bool {
        self.up.edge = self.up.edge.max(edge);
        if position > self.up.una {
            self.up.una = position;
            let sender = self.up.splice.backward(position);
            self.kept.free_to(sender);
            self.kept.shrink();
            self.up.splice.settle(position);
            if self.timers.is_some() {
                let more = self.owes_server();
                self.timers().kept.restart(more, around.now, around.limits);
            }
            return true;
        }
        if bare
            && position == self.up.una
            && self.owes_next()
            && self.timers().kept.is_third_duplicate()
        {
            self.resend_kept(around.sink);
        }
        false
    }

    /// Reads the payload that stands at `start` up to `to`, in stream order.
    fn read_responses<J: Judge, S: Sink>(
        &mut self,
        payload: &[u8],
        start: u64,
        to: u64,
        news: &mut News,
        around: &mut Around<'_, J, S>,
    ) -> Result<(), StreamDrop> {
        let seen = self.down.high.max(to);
        let next = self.responses.next();
        if start > next {
            let bytes = payload.get(part(start, payload.len(), start, to)).unwrap_or_default();
            let limits = around.limits;
            self.server_holes.store(start, bytes, limits.holes, limits.hole_parts).map_err(
                |unstored| match unstored {
                    Unstored::Full => StreamDrop::HoleBudget,
                    Unstored::Conflict => StreamDrop::ConflictingOverlap,
                },
            )?;
        } else if to > next {
            let bytes = payload.get(part(start, payload.len(), next, to)).unwrap_or_default();
            self.responses.read(
                bytes,
                seen,
                &mut self.outstanding,
                around.limits,
                around.judge,
                news,
            );
            while let Some(bytes) = self.server_holes.take(self.responses.next()) {
                self.responses.read(
                    &bytes,
                    seen,
                    &mut self.outstanding,
                    around.limits,
                    around.judge,
                    news,
                );
            }
        }
        self.responses.seen(seen, &mut self.outstanding, news);
        Ok(())
    }

    /// Whether everything up to `position` has been read as responses.
    fn read_through(&self, position: u64) -> bool {
        self.server_holes.is_empty() && self.responses.next() >= position
    }

    /// What the responses mean for the requests.
    fn hear<J: Judge, S: Sink>(&mut self, news: &News, around: &mut Around<'_, J, S>) {
        if news.switched {
            self.requests.tunnel();
        }
        if news.stays {
            self.requests.upgrade_refused();
        }
        if news.last {
            self.requests.end();
            self.pending = None;
        }
        if news.unpaired {
            self.unpaired = true;
            if self.held > 0 || self.pending.is_some() {
                self.reset(around.sink);
            }
        }
    }

    /// Whether an answer of ours would stand right after `end`, the end of what the server has sent.
    fn answer_has_place(&self, end: u64) -> bool {
        // A server that is to be reset must have everything that was released to it.
        let served = !self.pending.is_some_and(|reply| reply.close)
            || (self.first_unsent().is_none() && self.up.una >= self.up.sent());
        served
            && self.outstanding.is_empty()
            && self.responses.between_messages()
            && self.responses.frontier == end
            && self.down.fin == NEVER
    }

    /// Puts the waiting answer into the server's direction, if everything before it is there.
    pub(super) fn place_answer<J: Judge, S: Sink>(&mut self, around: &mut Around<'_, J, S>) {
        let Some(reply) = self.pending else { return };
        if self.phase != Phase::Open || self.unpaired || !self.answer_has_place(self.down.high) {
            return;
        }
        self.pending = None;
        let mut bytes = Vec::with_capacity(128);
        reply.write(&mut bytes);
        let before = self.down.sent();
        let at = self.down.splice.insert(self.down.high, bytes.len() as u64);
        let end = at.saturating_add(bytes.len() as u64);
        self.outbox.push(at, bytes);
        if reply.close {
            self.outbox.push_fin(end);
            self.phase = Phase::Closing;
            // The last byte of the server's own: behind it stand only answers of ours.
            self.server_end = before;
            self.timers().closing_due = around.now.after(around.limits.linger_time);
            self.throw_away(self.frontier.saturating_add(self.held as u64));
            self.client_holes.clear();
            self.server_holes.clear();
            self.open_wide();
        }
        self.flush_outbox(around);
        self.advance_closing(around);
    }

    /// Sends what the client's window allows of our own bytes.
    pub(super) fn flush_outbox<J: Judge, S: Sink>(&mut self, around: &mut Around<'_, J, S>) {
        if self.outbox.is_empty() {
            return;
        }
        let room = self.room();
        let mut outbox = core::mem::take(&mut self.outbox);
        let edge = self.down.edge;
        while let Some(portion) = outbox.next(edge, room) {
            self.send_portion(portion, around.sink);
        }
        self.outbox = outbox;
        self.timers().outbox.start(around.now, around.limits);
    }

    /// Sends again what the client misses of our own bytes; false if it misses something else.
    pub(super) fn resend_outbox<S: Sink>(&mut self, sink: &mut S) -> bool {
        let room = self.room();
        let outbox = core::mem::take(&mut self.outbox);
        let portion = outbox.again(self.down.una, self.down.edge, room);
        let found = portion.is_some();
        if let Some(portion) = portion {
            self.send_portion(portion, sink);
        }
        self.outbox = outbox;
        found
    }

    fn send_portion<S: Sink>(&mut self, portion: Portion<'_>, sink: &mut S) {
        let mut flags = TcpFlags::ACK;
        if !portion.bytes.is_empty() {
            flags = flags.with(TcpFlags::PSH);
        }
        if portion.fin {
            flags = flags.with(TcpFlags::FIN);
        }
        let draft = self.segment_to(Side::Client, portion.start, flags);
        draft.send(portion.bytes, self, sink);
    }

    /// Brings both ends to follow our close.
    pub(super) fn advance_closing<J: Judge, S: Sink>(&mut self, around: &mut Around<'_, J, S>) {
        if self.phase != Phase::Closing {
            return;
        }
        if !self.server_reset && self.down.una >= self.server_end {
            self.send_reset(Side::Server, around.sink);
            self.server_reset = true;
        }
    }
}
