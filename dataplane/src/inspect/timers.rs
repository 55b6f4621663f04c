//! Time: retransmissions of what is ours, limits on waiting, and the moment of the next of them.

use super::{
    Judge, Limits, Sink, StreamDrop, Tick,
    reply::Reply,
    stream::{Around, NO_TICK, Phase, Stream},
};

use parser::http::HttpRefusal;

/// A retransmission clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    due: Tick,
    tries: u8,
    pub(super) duplicates: u8,
}

impl Clock {
    const STOPPED: Self = Self { due: NO_TICK, tries: 0, duplicates: 0 };

    /// Runs from now on, if it does not run already.
    pub(super) fn start(&mut self, now: Tick, limits: &Limits) {
        if self.due == NO_TICK {
            self.due = now.after(limits.retransmit_time);
        }
    }

    /// There was progress: counts from the beginning, and goes on if `more` remains.
    pub(super) fn restart(&mut self, more: bool, now: Tick, limits: &Limits) {
        *self = Self::STOPPED;
        if more {
            self.start(now, limits);
        }
    }

    /// Notes one more acknowledgement without news; whether it is the third.
    pub(super) fn is_third_duplicate(&mut self) -> bool {
        self.duplicates = self.duplicates.saturating_add(1);
        self.duplicates == 3
    }

    /// After a try: twice as long.
    pub(super) fn back_off(&mut self, now: Tick, limits: &Limits) {
        self.tries = self.tries.saturating_add(1);
        self.due = now.after(limits.retransmit_time.saturating_mul(1 << self.tries.min(6)));
    }
}

/// Why held bytes wait, as far as timers care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waiting {
    No,
    /// For the rest of a head.
    Head,
    /// For the server.
    Server,
}

/// What runs while something is owed or awaited.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timers {
    /// Of our bytes for the client.
    pub(super) outbox: Clock,
    /// Of our bytes for the server.
    pub(super) kept: Clock,
    waiting: Waiting,
    /// The frontier then.
    waiting_since: u64,
    waiting_due: Tick,
    /// In [`Phase::Closing`]: how long the ends may take to follow.
    pub(super) closing_due: Tick,
}

impl Default for Timers {
    fn default() -> Self {
        Self {
            outbox: Clock::STOPPED,
            kept: Clock::STOPPED,
            waiting: Waiting::No,
            waiting_since: 0,
            waiting_due: NO_TICK,
            closing_due: NO_TICK,
        }
    }
}

impl Timers {
    /// When the first of them is due, but for the closing.
    fn due(&self) -> Tick {
        self.outbox.due.min(self.kept.due).min(self.waiting_due)
    }

    /// Whether none runs.
    pub(super) fn are_stopped(&self) -> bool {
        self.due() == NO_TICK && self.closing_due == NO_TICK
    }
}

impl Stream {
    /// The timers, to start one.
    pub(super) fn timers(&mut self) -> &mut Timers {
        self.timers.get_or_insert_default()
    }

    fn closing_due(&self) -> Tick {
        self.timers.as_ref().map_or(NO_TICK, |timers| timers.closing_due)
    }

    /// Whether nothing is due but the end of an idle connection.
    #[must_use]
    pub fn is_at_ease(&self) -> bool {
        self.phase == Phase::Open && self.timers.is_none()
    }

    /// When [`Stream::tick`] must be called next; `None` when nothing waits.
    #[must_use]
    pub fn deadline(&self, limits: &Limits) -> Option<Tick> {
        let of_phase = match self.phase {
            Phase::Closed => return None,
            Phase::Opening => self.last_seen.after(limits.handshake_time),
            Phase::Open => self.last_seen.after(limits.idle_time),
            Phase::Closing => self.closing_due(),
        };
        Some(self.timers.as_ref().map_or(of_phase, |timers| of_phase.min(timers.due())))
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
        if self.phase == Phase::Closing && now >= self.closing_due() && self.is_finished() {
            self.close();
            return None;
        }
        if self.phase == Phase::Closing && now >= self.closing_due() && !self.outbox.is_empty() {
            // The answer is still on its way; how often it is repeated is what bounds this.
            self.timers().closing_due = now.after(limits.linger_time);
        }
        let ended = match self.phase {
            Phase::Closed => return None,
            Phase::Opening => (now >= self.last_seen.after(limits.handshake_time))
                .then_some(StreamDrop::HandshakeTimeout),
            Phase::Open => {
                (now >= self.last_seen.after(limits.idle_time)).then_some(StreamDrop::IdleTimeout)
            }
            Phase::Closing => (now >= self.closing_due()).then_some(StreamDrop::LingerTimeout),
        };
        if let Some(reason) = ended.or_else(|| self.retransmit(&mut around)) {
            self.reset(around.sink);
            return Some(reason);
        }
        let timers = self.timers.as_mut().filter(|timers| now >= timers.waiting_due)?;
        timers.waiting_due = NO_TICK;
        match timers.waiting {
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
        let Timers { outbox, kept, .. } = *self.timers.as_deref()?;
        if around.now >= outbox.due {
            if self.outbox.is_empty() {
                self.timers().outbox.restart(false, around.now, around.limits);
            } else if outbox.tries >= around.limits.retransmits {
                return Some(StreamDrop::RetransmitLimit);
            } else if self.resend_outbox(around.sink) {
                self.timers().outbox.back_off(around.now, around.limits);
            } else {
                // The client misses bytes of the server first, which the server retransmits.
                self.timers().outbox.restart(true, around.now, around.limits);
            }
        }
        if around.now >= kept.due {
            if !self.owes_server() {
                self.timers().kept.restart(false, around.now, around.limits);
            } else if kept.tries >= around.limits.retransmits {
                return Some(StreamDrop::RetransmitLimit);
            } else if self.resend_kept(around.sink) {
                self.timers().kept.back_off(around.now, around.limits);
            } else {
                // The server misses bytes that the client still has, and will send.
                self.timers().kept.restart(true, around.now, around.limits);
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
        if waiting == Waiting::No && self.timers.is_none() {
            return;
        }
        let frontier = self.frontier;
        let timers = self.timers();
        if waiting == timers.waiting && timers.waiting_since == frontier {
            return;
        }
        timers.waiting = waiting;
        timers.waiting_since = frontier;
        timers.waiting_due = match waiting {
            Waiting::No => NO_TICK,
            Waiting::Head => now.after(limits.head_time),
            Waiting::Server => now.after(limits.held_time),
        };
    }
}
