//! The client's segments: what passes in place, what is held, cut, copied or refused.
//!
//! One segment arrives; at most one frame goes on, with one run of its payload. Whatever cannot be part of that run is copied
//! first and leaves in segments of ours.

use parser::tcp::TcpFlags;

use super::{
    Disposition, Judge, Segment, Side, Sink, StreamDrop,
    flow::NEVER,
    options::{OptionBytes, Options},
    release::{Answer, Passed},
    stream::{Around, Phase, Stream},
};

impl Stream {
    pub(super) fn take_from_client<J: Judge, S: Sink>(
        &mut self,
        segment: &Segment<'_>,
        options: Options,
        around: &mut Around<'_, J, S>,
    ) -> Result<Disposition, StreamDrop> {
        let has_fin = segment.flags.contains(TcpFlags::FIN);
        let start = self.up.position(segment.seq, self.up.told).ok_or(StreamDrop::OutOfWindow)?;
        let end = start.saturating_add(segment.payload.len() as u64);
        let after = end.saturating_add(u64::from(has_fin));
        let occupies = after > start;
        // RFC 9293 §3.10.7.4: nothing beyond the window the server opened moves anything.
        // Who has probed a shut window counts the probe's byte, and who was told a wider one has used it: acknowledgements from
        // there are good all the same.
        let edge = self.client_edge().max(self.known());
        if start > edge.max(self.up.told_edge).saturating_add(u64::from(!occupies)) {
            return Err(StreamDrop::OutOfWindow);
        }
        if let Some(timestamps) = options.timestamps.filter(|_| self.timestamps) {
            if occupies && after > self.known() && self.client.is_stale(timestamps) {
                return Err(StreamDrop::StaleTimestamp);
            }
            self.client.note(timestamps, start <= self.known());
        }
        let past_fin = after > start && (end > self.up.fin || (has_fin && end != self.up.fin));
        // A first FIN stands behind everything that its sender has said.
        let early_fin = has_fin && self.phase == Phase::Open && end < self.heard_to();
        if self.up.fin != NEVER && past_fin || self.up.fin == NEVER && early_fin {
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
                self.up.splice.forward(start.min(self.released()).min(edge))
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
        if has_fin && received == end && in_order && self.phase == Phase::Closing {
            // Our own close has just begun: the FIN ends there too.
            self.throw_away(after);
            self.client_done = true;
        } else if has_fin && received == end && in_order && passed.refused.is_none() {
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
            let mut flags = segment.flags.without(TcpFlags::URG);
            if !passes_fin {
                flags = flags.without(TcpFlags::FIN);
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
        self.serve(around);
        match passed.answer {
            Answer::None => {}
            Answer::Acknowledge => self.acknowledge_to_client(around.sink),
            Answer::Report(left, right) => {
                let mut draft = self.segment_to(Side::Client, self.down_next(), TcpFlags::ACK);
                if self.sack {
                    draft
                        .options
                        .push_sack(self.up.number(left).value(), self.up.number(right).value());
                }
                draft.send(&[], self, around.sink);
            }
        }
        if forwarded {
            return Ok(Disposition::Forwarded);
        }
        passed.refused.map_or(Ok(Disposition::Absorbed), Err)
    }

    /// The end of everything that came from the client: passed, held or early.
    fn heard_to(&self) -> u64 {
        let held_end = self.frontier.saturating_add(self.held as u64);
        let taken = if self.held > 0 { held_end.max(self.up.high) } else { self.up.high };
        taken.max(self.client_holes.end())
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
                let more = !self.outbox.is_empty();
                self.timers().outbox.restart(more, around.now, around.limits);
            }
            self.down.splice.settle(position);
            if let Some(timers) = &mut self.timers {
                timers.outbox.duplicates = 0;
            }
        } else if position == self.down.una
            && !self.outbox.is_empty()
            && self.timers().outbox.is_third_duplicate()
        {
            self.resend_outbox(around.sink);
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
        let flags = segment.flags.without(TcpFlags::URG).without(TcpFlags::FIN);
        let number = self.up.number(seq);
        let mut buffer = OptionBytes::new();
        let edit = self.header(segment, number, flags, acknowledged, options, &mut buffer);
        around.sink.forward(0..0, edit);
        true
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
            if after > self.up.high {
                self.throw_away(after);
            }
            self.up.told = self.up.told.max(after);
            if segment.flags.contains(TcpFlags::FIN) {
                // Our acknowledgement may be lost: stay for the repeated FIN.
                self.client_done = true;
                self.timers().closing_due = around.now.after(around.limits.linger_time);
            }
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
