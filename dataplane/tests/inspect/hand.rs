//! A connection driven by hand, segment by segment: what an attacker does who writes raw packets.

use dataplane::inspect::{Disposition, Limits, Side, Stream, StreamDrop, Tick};
use parser::tcp::TcpFlags;

use crate::{
    network::ByPath,
    packet::{Packet, Wire},
};

pub(crate) const ALLOWED: &[u8] = b"GET /allow HTTP/1.1\r\nHost: a\r\n\r\n";
pub(crate) const DENIED: &[u8] = b"GET /deny HTTP/1.1\r\nHost: a\r\n\r\n";
pub(crate) const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi";

/// The client's and the server's initial sequence numbers; data begins one after.
pub(crate) const CLIENT: u32 = u32::MAX - 20;
pub(crate) const SERVER: u32 = 5_000;

pub(crate) struct Hand {
    pub(crate) stream: Stream,
    pub(crate) limits: Limits,
    pub(crate) judge: ByPath,
    pub(crate) now: u64,
    /// Every payload byte that was ever sent to the server, by offset from the client's first.
    pub(crate) at_server: Vec<Option<u8>>,
    /// A byte at the server got a second value.
    pub(crate) rewritten: bool,
    pub(crate) last: Vec<(Side, Packet)>,
    pub(crate) server_window: u16,
}

impl Hand {
    /// After a plain handshake.
    pub(crate) fn open() -> Self {
        Self::open_with(&[])
    }

    /// After a handshake in which both sides sent `options`.
    pub(crate) fn open_with(options: &[u8]) -> Self {
        Self::handshake(options, 60_000)
    }

    /// After a handshake in which the client opened only so small a window.
    pub(crate) fn open_with_window(window: u16) -> Self {
        Self::handshake(&[], window)
    }

    fn handshake(options: &[u8], window: u16) -> Self {
        let syn = Packet {
            seq: CLIENT,
            flags: TcpFlags::SYN,
            window,
            options: options.to_vec(),
            ..Packet::default()
        };
        let mut wire = Wire::at(Side::Client, &syn);
        let stream = Stream::open(&syn.segment(Side::Client), Tick(1), &mut wire).unwrap();
        let mut hand = Self {
            stream,
            limits: Limits::default(),
            judge: ByPath::default(),
            now: 1,
            at_server: Vec::new(),
            rewritten: false,
            last: wire.sent,
            server_window: 60_000,
        };
        let syn_ack = Packet {
            seq: SERVER,
            ack: CLIENT.wrapping_add(1),
            flags: TcpFlags::SYN.with(TcpFlags::ACK),
            window: 60_000,
            options: options.to_vec(),
            ..Packet::default()
        };
        assert_eq!(hand.pass(Side::Server, &syn_ack), Disposition::Forwarded);
        assert_eq!(
            hand.client_with(0, b"", |packet| packet.window = window),
            Disposition::Forwarded
        );
        hand
    }

    pub(crate) fn pass(&mut self, from: Side, packet: &Packet) -> Disposition {
        self.now += 1;
        let mut wire = Wire::at(from, packet);
        let outcome = self.stream.segment(
            &packet.segment(from),
            Tick(self.now),
            &self.limits,
            &mut self.judge,
            &mut wire,
        );
        self.keep(wire);
        outcome
    }

    pub(crate) fn tick(&mut self, after: u64) -> Option<StreamDrop> {
        self.now += after;
        let mut wire = Wire::default();
        let ended = self.stream.tick(Tick(self.now), &self.limits, &mut self.judge, &mut wire);
        self.keep(wire);
        ended
    }

    fn keep(&mut self, wire: Wire) {
        for (to, packet) in &wire.sent {
            if *to == Side::Server {
                let offset = packet.seq.wrapping_sub(CLIENT.wrapping_add(1)) as usize;
                for (i, byte) in packet.payload.iter().enumerate() {
                    if self.at_server.len() <= offset + i {
                        self.at_server.resize(offset + i + 1, None);
                    }
                    let place = &mut self.at_server[offset + i];
                    self.rewritten |= place.is_some_and(|old| old != *byte);
                    *place = Some(*byte);
                }
            }
        }
        self.last = wire.sent;
    }

    /// A segment of the client at `offset` from its first data byte; it acknowledges what the server has sent.
    pub(crate) fn client(&mut self, offset: u32, payload: &[u8]) -> Disposition {
        self.client_with(offset, payload, |_| {})
    }

    pub(crate) fn client_with(
        &mut self,
        offset: u32,
        payload: &[u8],
        change: impl FnOnce(&mut Packet),
    ) -> Disposition {
        let mut packet = Packet {
            seq: CLIENT.wrapping_add(1).wrapping_add(offset),
            ack: SERVER + 1,
            flags: TcpFlags::ACK,
            window: 60_000,
            payload: payload.to_vec(),
            ..Packet::default()
        };
        change(&mut packet);
        self.pass(Side::Client, &packet)
    }

    /// A segment of the server at `offset` from its first data byte, acknowledging `acked` bytes as it counts.
    pub(crate) fn server(&mut self, offset: u32, acked: u32, payload: &[u8]) -> Disposition {
        let packet = Packet {
            seq: SERVER + 1 + offset,
            ack: CLIENT.wrapping_add(1).wrapping_add(acked),
            flags: TcpFlags::ACK,
            window: self.server_window,
            payload: payload.to_vec(),
            ..Packet::default()
        };
        self.pass(Side::Server, &packet)
    }

    /// What the server has received, if it has no holes; holes read as `?`.
    pub(crate) fn received(&self) -> String {
        self.at_server.iter().map(|byte| byte.map_or('?', char::from)).collect()
    }

    /// The payloads of what was sent to `side` in the last step.
    pub(crate) fn said_to(&self, side: Side) -> String {
        self.last
            .iter()
            .filter(|(to, _)| *to == side)
            .map(|(_, packet)| String::from_utf8_lossy(&packet.payload).into_owned())
            .collect()
    }

    pub(crate) fn was_reset(&self, side: Side) -> bool {
        self.last.iter().any(|(to, packet)| *to == side && packet.flags.is_rst())
    }
}

pub(crate) fn dropped(reason: StreamDrop) -> Disposition {
    Disposition::Dropped(reason)
}
