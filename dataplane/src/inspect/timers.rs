//! Time: retransmissions of what is ours, limits on waiting, and the moment of the next of them.

use super::{
    Judge, Limits, Sink, StreamDrop, Tick,
    reply::Reply,
    stream::{Around, NO_TICK, Phase, Stream, Waiting},
};

use parser::http::HttpRefusal;

impl Stream {
    /// When [`Stream::tick`] must be called next; `None` when nothing waits.
    #[must_use]
    pub fn deadline(&self, limits: &Limits) -> Option<Tick> {
        let of_phase = match self.phase {
            Phase::Closed => return None,
            Phase::Opening => self.last_seen.after(limits.handshake_time),
            Phase::Open => self.last_seen.after(limits.idle_time),
            Phase::Closing => self.closing_due,
        };
        Some(of_phase.min(self.outbox_clock.due).min(self.kept_clock.due).min(self.waiting_due))
    }

    /// Does what is due at `now`. Returns the reason if that ended the connection or refused a waiting request.
    pub fn tick<J: Judge, S: Sink>(
        &mut self,
        now: Tick,
        limits: &Limits,
        judge: &mut J,
        sink: &mut S,
    ) -> Option<StreamDrop> {
        let mut around = Around { now, limits, judge, sink };
        if self.phase == Phase::Closing && now >= self.closing_due && self.is_finished() {
            self.close();
            return None;
        }
        if self.phase == Phase::Closing && now >= self.closing_due && !self.outbox.is_empty() {
            // The answer is still on its way; how often it is repeated is what bounds this.
            self.closing_due = now.after(limits.linger_time);
        }
        let ended = match self.phase {
            Phase::Closed => return None,
            Phase::Opening => (now >= self.last_seen.after(limits.handshake_time))
                .then_some(StreamDrop::HandshakeTimeout),
            Phase::Open => {
                (now >= self.last_seen.after(limits.idle_time)).then_some(StreamDrop::IdleTimeout)
            }
            Phase::Closing => (now >= self.closing_due).then_some(StreamDrop::LingerTimeout),
        };
        if let Some(reason) = ended.or_else(|| self.retransmit(&mut around)) {
            self.reset(around.sink);
            return Some(reason);
        }
        if now < self.waiting_due {
            return None;
        }
        self.waiting_due = NO_TICK;
        match self.waiting {
            Waiting::No => None,
            Waiting::Head => {
                around.judge.refused(HttpRefusal::HeadTimeout);
                self.time_out(Reply::refused(HttpRefusal::HeadTimeout), &mut around);
                Some(StreamDrop::HeadTimeout)
            }
            Waiting::Server => {
                self.reset(around.sink);
                Some(StreamDrop::HeldTimeout)
            }
        }
    }

    /// Sends again what was not acknowledged in time.
    fn retransmit<J: Judge, S: Sink>(
        &mut self,
        around: &mut Around<'_, J, S>,
    ) -> Option<StreamDrop> {
        if around.now >= self.outbox_clock.due {
            if self.outbox.is_empty() {
                self.outbox_clock.restart(false, around.now, around.limits);
            } else if self.outbox_clock.tries >= around.limits.retransmits {
                return Some(StreamDrop::RetransmitLimit);
            } else if self.resend_outbox(around.sink) {
                self.outbox_clock.back_off(around.now, around.limits);
            } else {
                // The client misses bytes of the server first, which the server retransmits.
                self.outbox_clock.restart(true, around.now, around.limits);
            }
        }
        if around.now >= self.kept_clock.due {
            if !self.owes_server() {
                self.kept_clock.restart(false, around.now, around.limits);
            } else if self.kept_clock.tries >= around.limits.retransmits {
                return Some(StreamDrop::RetransmitLimit);
            } else if self.resend_kept(around.sink) {
                self.kept_clock.back_off(around.now, around.limits);
            } else {
                // The server misses bytes that the client still has, and will send.
                self.kept_clock.restart(true, around.now, around.limits);
            }
        }
        None
    }

    /// Sets the timer of held bytes anew when what they wait for has changed.
    pub(super) fn watch(&mut self, now: Tick, limits: &Limits) {
        let waiting = if self.phase != Phase::Open {
            Waiting::No
        } else if self.pending.is_some() {
            Waiting::Server
        } else if self.held == 0 {
            Waiting::No
        } else if self.waits_for_client(limits) {
            // Some old clients end a request with one CRLF too many; that begins no head.
            if self.kept.from(self.frontier, 3) == b"\r\n" { Waiting::No } else { Waiting::Head }
        } else {
            Waiting::Server
        };
        if waiting == self.waiting && self.waiting_since == self.frontier {
            return;
        }
        self.waiting = waiting;
        self.waiting_since = self.frontier;
        self.waiting_due = match waiting {
            Waiting::No => NO_TICK,
            Waiting::Head => now.after(limits.head_time),
            Waiting::Server => now.after(limits.held_time),
        };
    }
}
