//! The model network: two endpoints, the engine between them, four links that lose, delay, reorder and repeat.

use std::collections::BTreeMap;

use dataplane::inspect::{Judge, Limits, Ruling, Side, Stream, StreamDrop, Tick};
use parser::http::RequestHead;

use crate::{
    endpoint::{Endpoint, State},
    packet::{Packet, Wire},
    random::Random,
};

/// Denies what lies under `/deny`, and counts.
#[derive(Debug, Default)]
pub(crate) struct ByPath {
    pub(crate) judged: Vec<String>,
    pub(crate) refused: usize,
}

impl Judge for ByPath {
    fn judge(&mut self, head: &RequestHead<'_>) -> Ruling {
        self.judged.push(head.path_and_query.to_owned());
        if head.path_and_query.starts_with("/deny") { Ruling::Deny } else { Ruling::Allow }
    }

    fn refused(&mut self, _: parser::http::HttpRefusal) {
        self.refused += 1;
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Weather {
    /// Per mille.
    pub(crate) loss: u32,
    pub(crate) duplication: u32,
    pub(crate) reorder: u32,
    pub(crate) delay: u64,
}

#[derive(Clone, Debug)]
enum Event {
    /// Arrives at the engine.
    AtEngine(Side, Packet),
    /// Arrives at an endpoint.
    AtEnd(Side, Packet),
}

pub(crate) struct Network {
    pub(crate) now: u64,
    pub(crate) client: Endpoint,
    pub(crate) server: Endpoint,
    pub(crate) stream: Option<Stream>,
    pub(crate) limits: Limits,
    pub(crate) judge: ByPath,
    pub(crate) weather: Weather,
    pub(crate) random: Random,
    events: BTreeMap<(u64, u64), Event>,
    serial: u64,
    pub(crate) drops: BTreeMap<StreamDrop, usize>,
    pub(crate) log: Vec<String>,
    pub(crate) logging: bool,
    pub(crate) unchanged: usize,
}

impl Network {
    pub(crate) fn new(
        client: Endpoint,
        server: Endpoint,
        limits: Limits,
        weather: Weather,
        random: Random,
    ) -> Self {
        Self {
            now: 1,
            client,
            server,
            stream: None,
            limits,
            judge: ByPath::default(),
            weather,
            random,
            events: BTreeMap::new(),
            serial: 0,
            drops: BTreeMap::new(),
            log: Vec::new(),
            logging: false,
            unchanged: 0,
        }
    }

    fn end(&mut self, side: Side) -> &mut Endpoint {
        match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        }
    }

    fn note(&mut self, text: impl FnOnce() -> String) {
        if self.logging {
            let line = format!("{:6} {}", self.now, text());
            self.log.push(line);
        }
    }

    fn travel(&mut self, event: Event) {
        if self.random.per_mille(self.weather.loss) {
            self.note(|| format!("lost {event:?}").chars().take(150).collect());
            return;
        }
        let copies = if self.random.per_mille(self.weather.duplication) { 2 } else { 1 };
        for _ in 0..copies {
            let mut delay = self.weather.delay;
            if self.random.per_mille(self.weather.reorder) {
                delay += 1 + self.random.below(15);
            }
            self.serial += 1;
            self.events.insert((self.now + delay, self.serial), event.clone());
        }
    }

    /// Puts what the endpoints want to send on their links.
    pub(crate) fn collect(&mut self) {
        for side in [Side::Client, Side::Server] {
            for packet in std::mem::take(&mut self.end(side).out) {
                self.travel(Event::AtEngine(side, packet));
            }
        }
    }

    pub(crate) fn engine(&mut self, from: Side, packet: &Packet) {
        let mut wire = Wire::at(from, packet);
        let segment = packet.segment(from);
        let now = Tick(self.now);
        // Resting may happen at any time and must change nothing.
        if let Some(stream) = self.stream.as_mut().filter(|_| self.now.is_multiple_of(3)) {
            stream.rest();
        }
        let outcome = match &mut self.stream {
            None => match Stream::open(&segment, now, &mut wire) {
                Ok(stream) => {
                    self.stream = Some(stream);
                    "opened".to_owned()
                }
                Err(reason) => format!("{reason:?}"),
            },
            Some(stream) => {
                let outcome =
                    stream.segment(&segment, now, &self.limits, &mut self.judge, &mut wire);
                if let dataplane::inspect::Disposition::Dropped(reason) = outcome {
                    *self.drops.entry(reason).or_default() += 1;
                }
                let forwarded = outcome == dataplane::inspect::Disposition::Forwarded;
                assert_eq!(forwarded, wire.forwards == 1, "{outcome:?} must agree with the sink");
                format!("{outcome:?}")
            }
        };
        self.unchanged += wire.unchanged;
        self.note(|| format!("{from:?} {} -> {outcome}", show(packet)));
        self.release(wire);
    }

    fn release(&mut self, wire: Wire) {
        for (to, packet) in wire.sent {
            self.note(|| format!("    => {to:?} {}", show(&packet)));
            self.travel(Event::AtEnd(to, packet));
        }
    }

    /// The next moment at which anything happens.
    fn next_time(&self) -> Option<u64> {
        let engine = self
            .stream
            .as_ref()
            .and_then(|stream| stream.deadline(&self.limits))
            .map(|tick| tick.0);
        [
            self.events.first_key_value().map(|((at, _), _)| *at),
            self.client.deadline(),
            self.server.deadline(),
            engine,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Does everything of the next moment; false when nothing is left.
    pub(crate) fn step(&mut self) -> bool {
        let Some(at) = self.next_time() else { return false };
        self.now = self.now.max(at);
        while let Some(entry) = self.events.first_entry().filter(|entry| entry.key().0 <= self.now)
        {
            match entry.remove() {
                Event::AtEngine(from, packet) => self.engine(from, &packet),
                Event::AtEnd(to, packet) => {
                    let now = self.now;
                    self.note(|| format!("        {to:?} has {}", show(&packet)));
                    self.end(to).receive(now, &packet);
                    self.collect();
                }
            }
        }
        for side in [Side::Client, Side::Server] {
            let now = self.now;
            if self.end(side).deadline().is_some_and(|due| due <= now) {
                self.end(side).tick(now);
            }
        }
        let now = Tick(self.now);
        if let Some(stream) = &mut self.stream
            && stream.deadline(&self.limits).is_some_and(|due| due <= now)
        {
            let mut wire = Wire::default();
            let ended = stream.tick(now, &self.limits, &mut self.judge, &mut wire);
            if let Some(reason) = ended {
                *self.drops.entry(reason).or_default() += 1;
            }
            self.note(|| format!("tick {ended:?}"));
            self.release(wire);
        }
        self.collect();
        true
    }

    pub(crate) fn is_quiet(&self) -> bool {
        let done = |end: &Endpoint| end.is_done() || end.state == State::Reset;
        done(&self.client) && done(&self.server) && self.events.is_empty()
    }
}

pub(crate) fn show(packet: &Packet) -> String {
    let text: String = String::from_utf8_lossy(&packet.payload).chars().take(24).collect();
    format!(
        "{:?} seq {} ack {} win {} opt {} len {} {:?}",
        packet.flags,
        packet.seq,
        packet.ack,
        packet.window,
        packet.options.len(),
        packet.payload.len(),
        text
    )
}
