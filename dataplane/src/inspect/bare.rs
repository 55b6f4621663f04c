//! What nearly every second segment is: an acknowledgement without payload, in order, where nothing waits.
//!
//! It moves numbers and nothing else, so what the long way does for it after many questions is done here at once. INVARIANT: the
//! state afterwards and what is sent are exactly those of the long way, or nothing was changed
//! (`the_short_way_is_the_long_way`).

use parser::tcp::TcpFlags;

use super::{
    Segment, Side, Tick,
    flow::NEVER,
    options,
    stream::{Phase, Stream},
};

/// Flags that are about more than acknowledgement.
const OTHER: TcpFlags = TcpFlags::SYN.with(TcpFlags::FIN).with(TcpFlags::RST).with(TcpFlags::URG);

/// A segment was taken that goes on as it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    /// [`Stream::held_bytes`] is less than before; else it is the same.
    pub(crate) freed: bool,
    /// The caller will wake the stream some time, which is often enough, as nothing waits.
    pub(crate) is_watched: bool,
}

impl Stream {
    /// Takes a segment that goes on as it came; none if it needs the long way, and then nothing has changed.
    #[inline(always)]
    pub(crate) fn take_bare(&mut self, segment: &Segment<'_>, now: Tick) -> Option<Taken> {
        let is_bare = segment.payload.is_empty()
            && segment.urgent == 0
            && segment.flags.contains(TcpFlags::ACK)
            && segment.flags.without(OTHER) == segment.flags;
        if !is_bare || !self.is_plain() {
            return None;
        }
        let options =
            options::read(segment.options, false).ok().filter(|options| !options.has_foreign)?;
        let (flow, back) = match segment.from {
            Side::Client => (&self.up, &self.down),
            Side::Server => (&self.down, &self.up),
        };
        // In order: behind everything that its sender has sent, and within the window.
        let known = flow.told.max(flow.una);
        let start = flow.position(segment.seq, flow.told.max(1));
        if start != Some(flow.high) || flow.high < known || flow.high > flow.edge.max(known) {
            return None;
        }
        // No step back, and not more than was sent; what the other end was told is what it hears again.
        let position = back.position(segment.ack, back.una).filter(|&position| {
            (back.una..=back.high).contains(&position) && back.told <= position
        })?;
        if segment.from == Side::Server && self.owned_to > position {
            return None;
        }
        let in_order = match segment.from {
            Side::Client => flow.high <= known,
            Side::Server => flow.high <= flow.told,
        };
        let has_timestamps = self.timestamps;
        let end = self.end(segment.from);
        if let Some(timestamps) = options.timestamps.filter(|_| has_timestamps) {
            end.note(timestamps, in_order);
        }
        let edge = position.saturating_add(u64::from(segment.window) << end.shift);
        let back = match segment.from {
            Side::Client => &mut self.down,
            Side::Server => &mut self.up,
        };
        let is_news = position > back.una;
        back.una = position;
        back.told = position;
        back.edge = back.edge.max(edge);
        back.told_edge = back.told_edge.max(edge);
        let freed = segment.from == Side::Server && is_news && {
            self.kept.free_to(position);
            self.kept.shrink()
        };
        self.last_seen = now;
        Some(Taken { freed, is_watched: self.wake != super::NO_TICK })
    }

    /// Whether nothing was cut or inserted, nothing waits, and nothing of ours is on its way.
    fn is_plain(&self) -> bool {
        self.phase == Phase::Open
            && self.held == 0
            && self.pending.is_none()
            && self.outbox.heap_bytes() == 0
            && self.client_holes.is_empty()
            && self.up.splice.is_identity()
            && self.down.splice.is_identity()
            && self.up.fin == NEVER
            && self.down.fin == NEVER
            && self.timers.is_none()
            && self.owned_to <= self.up.una
            && self.up.una <= self.up.told
            // All that is ours to send lies below `owned_to`, so the server has it.
            && !self.owes_next()
    }
}

#[cfg(test)]
mod tests {
    use core::ops::Range;

    use parser::{http::RequestHead, tcp::SeqNumber};
    use proptest::prelude::*;

    use super::*;
    use crate::inspect::{Disposition, Edit, Judge, Limits, NewSegment, Ruling, Sink};

    /// Allows `GET`.
    struct Gets;

    impl Judge for Gets {
        fn judge(&mut self, head: &RequestHead<'_>) -> Ruling {
            if head.method == "GET" { Ruling::Allow } else { Ruling::Deny }
        }
    }

    /// What was sent, in words.
    #[derive(Default)]
    struct Log(Vec<String>);

    impl Sink for Log {
        fn forward(&mut self, keep: Range<usize>, edit: Edit<'_>) {
            self.0.push(format!("forward {keep:?} {edit:?}"));
        }

        fn inject(&mut self, to: Side, segment: NewSegment<'_>) {
            self.0.push(format!("inject {to:?} {segment:?}"));
        }
    }

    /// One segment, relative to what is due.
    #[derive(Clone, Debug)]
    struct Step {
        from_client: bool,
        payload: usize,
        ahead: i32,
        behind: i32,
        flags: TcpFlags,
        window: u16,
        urgent: u16,
        options: usize,
    }

    /// A head of which nobody keeps the memory.
    const LONG: &[u8] = &{
        let mut text = [b'x'; 3000];
        let (begin, rest) = text.split_first_chunk_mut().unwrap();
        *begin = *b"GET / HTTP/1.1\r\nHost: a\r\nCookie: ";
        *rest.last_chunk_mut().unwrap() = *b"\r\n\r\n";
        text
    };

    const TEXTS: [(&[u8], &[u8]); 6] = [
        (b"", b""),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
        (b"PUT / HTTP/1.1\r\nHost: a\r\n\r\n", b"HTTP/1.1 204 No Content\r\n\r\n"),
        (b"GET / HTTP/1.1\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (LONG, b"HTTP/1.1 204 No Content\r\n\r\n"),
        (b"Host: a\r\n\r\n", b""),
    ];

    const OPTIONS: [&[u8]; 4] = [
        &[],
        &[1, 1, 8, 10, 0, 0, 0, 9, 0, 0, 0, 7],
        &[1, 1, 5, 10, 0, 0, 0, 9, 0, 0, 0, 10],
        &[19, 4, 0, 0],
    ];

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let flags = prop_oneof![
            12 => Just(TcpFlags::ACK),
            2 => Just(TcpFlags::ACK.with(TcpFlags::PSH)),
            1 => Just(TcpFlags::ACK.with(TcpFlags::FIN)),
            1 => Just(TcpFlags::ACK.with(TcpFlags::URG)),
            1 => Just(TcpFlags::ACK.with(TcpFlags::ECE)),
        ];
        let near = || prop_oneof![12 => Just(0), 1 => -3_i32..3];
        let payload = prop_oneof![6 => Just(0_usize), 3 => Just(1), 1 => 1..TEXTS.len()];
        let options = prop_oneof![6 => Just(1_usize), 1 => 0..OPTIONS.len()];
        let urgent = prop_oneof![12 => Just(0_u16), 1 => 1..9_u16];
        let step = (any::<bool>(), payload, near(), near(), flags, (0..2000_u16, urgent), options);
        let step = step.prop_map(
            |(from_client, payload, ahead, behind, flags, (window, urgent), options)| Step {
                from_client,
                payload,
                ahead,
                behind,
                flags,
                window,
                urgent,
                options,
            },
        );
        proptest::collection::vec(step, 1..40)
    }

    fn handshake(now: Tick, log: &mut Log) -> Stream {
        let options = [8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 1];
        let syn = Segment {
            from: Side::Client,
            seq: SeqNumber::new(u32::MAX),
            ack: SeqNumber::new(0),
            flags: TcpFlags::SYN,
            window: 1000,
            urgent: 0,
            options: &options,
            payload: &[],
        };
        let mut stream = Stream::open(&syn, now, log).unwrap();
        let accepted = Segment {
            from: Side::Server,
            seq: SeqNumber::new(500),
            ack: SeqNumber::new(0),
            flags: TcpFlags::SYN.with(TcpFlags::ACK),
            ..syn
        };
        stream.segment(&accepted, now, &Limits::default(), &mut Gets, log);
        stream
    }

    fn at(position: u32, by: i32) -> SeqNumber {
        SeqNumber::new(position.wrapping_add_signed(by))
    }

    /// Plays the steps; how many segments of each side went the short way.
    fn play(steps: &[Step]) -> [usize; 2] {
        let (limits, mut log) = (Limits::default(), Log::default());
        let mut stream = handshake(Tick(0), &mut log);
        // What each end sends next.
        let (mut up, mut down) = (0_u32, 501_u32);
        let mut short = [0, 0];
        for (number, step) in (1..).zip(steps) {
            let now = Tick(number);
            let text = TEXTS[step.payload];
            let (seq, ack, payload) =
                if step.from_client { (up, down, text.0) } else { (down, up, text.1) };
            let segment = Segment {
                from: if step.from_client { Side::Client } else { Side::Server },
                seq: at(seq, step.ahead),
                ack: at(ack, step.behind),
                flags: step.flags,
                window: step.window,
                urgent: step.urgent,
                options: OPTIONS[step.options],
                payload,
            };
            let mut quick = stream.clone();
            let (before, held) = (format!("{stream:?}"), quick.held_bytes());
            let owes = stream.owes_server();
            let taken = quick.take_bare(&segment, now);
            let mut log = Log::default();
            let outcome = stream.go_the_long_way(&segment, now, &limits, &mut Gets, &mut log);
            if let Some(Taken { freed, .. }) = taken {
                assert_eq!(freed, quick.held_bytes() < held);
                assert!(freed || quick.held_bytes() == held);
                assert!(!owes, "what is ours to send is the long way's: {segment:?}");
                assert_eq!(format!("{quick:?}"), format!("{stream:?}"), "{segment:?}");
                assert_eq!(outcome, Disposition::Forwarded);
                assert_eq!(log.0, ["forward 0..0 Unchanged"], "{segment:?}");
                short[usize::from(!step.from_client)] += 1;
            } else {
                assert_eq!(format!("{quick:?}"), before, "left as it was");
            }
            if step.ahead == 0 {
                let sent = if step.from_client { &mut up } else { &mut down };
                let length = u32::try_from(payload.len()).unwrap();
                *sent = sent.wrapping_add(length + u32::from(step.flags.is_fin()));
            }
        }
        short
    }

    proptest! {
        #[test]
        fn the_short_way_is_the_long_way(steps in steps()) {
            play(&steps);
        }
    }

    fn step(from_client: bool, payload: usize) -> Step {
        Step {
            from_client,
            payload,
            ahead: 0,
            behind: 0,
            flags: TcpFlags::ACK,
            window: 9000,
            urgent: 0,
            options: 1,
        }
    }

    #[test]
    fn memory_that_is_given_back_with_an_acknowledgement_is_told() {
        let talk = [step(true, 0), step(false, 0), step(true, 4), step(false, 0)];
        assert_eq!(play(&talk), [1, 2]);
    }

    #[test]
    fn an_acknowledgement_of_what_was_held_goes_the_long_way() {
        let held = [step(true, 0), step(true, 3), step(true, 5)];
        let begun = [step(false, 0), step(false, 1), step(true, 0)];
        assert_eq!(play(&[&held[..], &begun].concat()), [2, 0]);
    }

    #[test]
    fn most_acknowledgements_of_a_talk_go_the_short_way() {
        let request = [step(true, 1), step(false, 0), step(false, 1), step(true, 0)];
        let mut talk = vec![step(true, 0)];
        (0..10).for_each(|_| talk.extend(request.clone()));
        // The client's first ends the handshake.
        assert_eq!(play(&talk), [11, 10]);
    }
}
