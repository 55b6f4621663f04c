//! A model TCP endpoint: small, slow, and strict about what it is told, so that a wrong number fails the test.
//!
//! It follows RFC 9293 where the engine can be wrong: acceptability, acknowledgement validity, windows, retransmission, fast
//! retransmit, SACK, PAWS, FIN, RST (RFC 5961). Congestion control is a fixed window.

use std::collections::BTreeMap;

use dataplane::inspect::Side;
use parser::tcp::TcpFlags;

use crate::packet::Packet;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Closed,
    Listen,
    SynSent,
    SynReceived,
    Established,
    Reset,
}

#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) isn: u32,
    pub(crate) mss: u16,
    pub(crate) timestamps: Option<u32>,
    pub(crate) sack: bool,
    pub(crate) shift: Option<u8>,
    pub(crate) receive_buffer: usize,
    /// Bytes the application takes per millisecond; the window closes when it is slow.
    pub(crate) reads_per_ms: usize,
    pub(crate) send_window: usize,
    pub(crate) delayed_ack: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    pub(crate) side: Side,
    pub(crate) state: State,
    pub(crate) settings: Settings,
    // Sending; offsets count from the ISN.
    pub(crate) stream: Vec<u8>,
    pub(crate) fin_queued: bool,
    una: u64,
    next: u64,
    max_sent: u64,
    peer_edge: u64,
    peer_shift: u8,
    peer_mss: usize,
    sacked: BTreeMap<u64, u64>,
    duplicates: u32,
    recover: u64,
    rto: u64,
    rto_due: Option<u64>,
    // Receiving.
    peer_isn: u32,
    rcv_next: u64,
    advertised: u64,
    early: BTreeMap<u64, Vec<u8>>,
    fin_at: Option<u64>,
    pub(crate) received: Vec<u8>,
    pub(crate) peer_finished: bool,
    read: usize,
    ack_due: Option<u64>,
    timestamps: bool,
    sack: bool,
    shift: u8,
    recent: u32,
    /// Numbers that no correct network can produce.
    pub(crate) complaints: Vec<String>,
    pub(crate) out: Vec<Packet>,
    pub(crate) last_read: u64,
    pub(crate) retransmissions: u64,
}

const FIN: TcpFlags = TcpFlags::FIN;

impl Endpoint {
    pub(crate) fn new(side: Side, settings: Settings) -> Self {
        Self {
            side,
            state: if side == Side::Client { State::Closed } else { State::Listen },
            timestamps: settings.timestamps.is_some(),
            sack: settings.sack,
            shift: settings.shift.unwrap_or(0),
            settings,
            stream: Vec::new(),
            fin_queued: false,
            una: 0,
            next: 0,
            max_sent: 0,
            peer_edge: 0,
            peer_shift: 0,
            peer_mss: 536,
            sacked: BTreeMap::new(),
            duplicates: 0,
            recover: 0,
            rto: 250,
            rto_due: None,
            peer_isn: 0,
            rcv_next: 0,
            advertised: 0,
            early: BTreeMap::new(),
            fin_at: None,
            received: Vec::new(),
            peer_finished: false,
            read: 0,
            ack_due: None,
            recent: 0,
            complaints: Vec::new(),
            out: Vec::new(),
            last_read: 0,
            retransmissions: 0,
        }
    }

    fn seq(&self, offset: u64) -> u32 {
        self.settings.isn.wrapping_add(offset as u32)
    }

    fn peer_offset(&self, seq: u32) -> i64 {
        let near = self.peer_isn.wrapping_add(self.rcv_next as u32);
        self.rcv_next as i64 + i64::from(seq.wrapping_sub(near) as i32)
    }

    fn own_offset(&self, ack: u32) -> i64 {
        self.una as i64 + i64::from(ack.wrapping_sub(self.seq(self.una)) as i32)
    }

    fn window(&self) -> usize {
        let waiting = self.received.len() - self.read;
        self.settings.receive_buffer.saturating_sub(waiting)
    }

    fn clock(&self, now: u64) -> u32 {
        self.settings.timestamps.unwrap_or(0).wrapping_add(now as u32)
    }

    fn options(&self, now: u64, syn: bool) -> Vec<u8> {
        let mut options = Vec::new();
        if syn {
            options.extend([2, 4]);
            options.extend(self.settings.mss.to_be_bytes());
            if self.sack {
                options.extend([1, 1, 4, 2]);
            }
            if let Some(shift) = self.settings.shift {
                options.extend([1, 3, 3, shift]);
            }
        }
        if self.timestamps {
            options.extend([1, 1, 8, 10]);
            options.extend(self.clock(now).to_be_bytes());
            options.extend(self.recent.to_be_bytes());
        }
        if !syn && self.sack && !self.early.is_empty() {
            let mut blocks: Vec<(u64, u64)> = Vec::new();
            for (&start, bytes) in &self.early {
                let end = start + bytes.len() as u64;
                match blocks.last_mut() {
                    Some(last) if last.1 >= start => last.1 = last.1.max(end),
                    _ => blocks.push((start, end)),
                }
            }
            blocks.truncate(3);
            options.extend([1, 1, 5, (2 + 8 * blocks.len()) as u8]);
            for (left, right) in blocks {
                options.extend(self.peer_isn.wrapping_add(left as u32).to_be_bytes());
                options.extend(self.peer_isn.wrapping_add(right as u32).to_be_bytes());
            }
        }
        options
    }

    fn emit(&mut self, now: u64, offset: u64, flags: TcpFlags, payload: Vec<u8>) {
        let syn = flags.contains(TcpFlags::SYN);
        let shift = if syn { 0 } else { self.shift };
        let field = (self.window() >> shift).min(65535);
        let edge = self.rcv_next + ((field as u64) << shift);
        // A window never shrinks: advertise the old edge if the new one lies before it.
        let edge = edge.max(self.advertised);
        let field = ((edge - self.rcv_next) >> shift).min(65535) as u16;
        self.advertised = self.advertised.max(self.rcv_next + (u64::from(field) << shift));
        let has_ack = flags.contains(TcpFlags::ACK);
        self.out.push(Packet {
            seq: self.seq(offset),
            ack: if has_ack { self.peer_isn.wrapping_add(self.rcv_next as u32) } else { 0 },
            flags,
            window: field,
            urgent: 0,
            options: self.options(now, syn),
            payload,
        });
        if has_ack {
            self.ack_due = None;
        }
    }

    pub(crate) fn connect(&mut self, now: u64) {
        self.state = State::SynSent;
        self.emit(now, 0, TcpFlags::SYN, Vec::new());
        self.next = 1;
        self.max_sent = 1;
        self.rto_due = Some(now + self.rto);
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.stream.extend_from_slice(bytes);
    }

    fn end_of_stream(&self) -> u64 {
        1 + self.stream.len() as u64
    }

    fn total(&self) -> u64 {
        self.end_of_stream() + u64::from(self.fin_queued)
    }

    pub(crate) fn all_acknowledged(&self) -> bool {
        self.una == self.total()
    }

    pub(crate) fn is_done(&self) -> bool {
        self.state == State::Reset
            || (self.peer_finished && self.fin_queued && self.all_acknowledged())
    }

    /// Sends what the windows allow.
    pub(crate) fn push(&mut self, now: u64) {
        if self.state != State::Established {
            return;
        }
        let limit = self.peer_edge.min(self.una + self.settings.send_window as u64);
        while self.next < self.total() {
            if self.next < self.end_of_stream() && self.next >= limit {
                break;
            }
            // Below what was ever sent: skip what the peer has reported.
            if let Some((_, &end)) = self.sacked.range(..=self.next).next_back()
                && end > self.next
            {
                self.next = end;
                continue;
            }
            let mut to = self.end_of_stream().min(limit).min(self.next + self.room() as u64);
            if let Some((&start, _)) = self.sacked.range(self.next..).next() {
                to = to.min(start);
            }
            self.send_range(now, self.next, to);
        }
        if self.next > self.una && self.rto_due.is_none() {
            self.rto_due = Some(now + self.rto);
        }
        // A shut window with bytes waiting: probe by the same timer.
        if self.next == self.una && self.next < self.total() && self.rto_due.is_none() {
            self.rto_due = Some(now + self.rto);
        }
    }

    fn room(&self) -> usize {
        self.peer_mss.min(usize::from(self.settings.mss)) - if self.timestamps { 12 } else { 0 }
    }

    /// Where a retransmitted segment that begins at the first unacknowledged byte ends.
    fn repair_end(&self) -> u64 {
        let room = (self.una + self.room() as u64).min(self.peer_edge.max(self.una + 1));
        room.min(self.end_of_stream())
    }

    fn send_range(&mut self, now: u64, from: u64, to: u64) {
        let mut flags = TcpFlags::ACK;
        let to = to.max(from);
        let payload = if from < self.end_of_stream() {
            self.stream[(from - 1) as usize..(to.min(self.end_of_stream()) - 1) as usize].to_vec()
        } else {
            Vec::new()
        };
        let mut end = from + payload.len() as u64;
        if end == self.end_of_stream() && self.fin_queued {
            flags = flags.with(FIN);
            end += 1;
        }
        if from < self.max_sent {
            self.retransmissions += 1;
        }
        self.emit(now, from, flags, payload);
        self.next = self.next.max(end);
        self.max_sent = self.max_sent.max(end);
    }

    pub(crate) fn deadline(&self) -> Option<u64> {
        let slow = (self.read < self.received.len()).then_some(self.last_read + 1);
        [self.rto_due, self.ack_due, slow].into_iter().flatten().min()
    }

    pub(crate) fn tick(&mut self, now: u64) {
        if self.state == State::Reset {
            self.rto_due = None;
            self.ack_due = None;
            self.read = self.received.len();
            return;
        }
        if self.read < self.received.len() && now > self.last_read {
            let before = self.window();
            let take = self.settings.reads_per_ms * (now - self.last_read) as usize;
            self.read = (self.read + take).min(self.received.len());
            self.last_read = now;
            // Silly window avoidance: an update when the window opened by two segments or half the buffer.
            let opened = self.window();
            let step = (2 * usize::from(self.settings.mss)).min(self.settings.receive_buffer / 2);
            if before < step && opened >= step && self.state == State::Established {
                self.emit(now, self.next, TcpFlags::ACK, Vec::new());
            }
        }
        if self.ack_due.is_some_and(|due| due <= now) {
            self.ack_due = None;
            self.emit(now, self.next, TcpFlags::ACK, Vec::new());
        }
        if self.rto_due.is_some_and(|due| due <= now) {
            self.rto = (self.rto * 2).min(4000);
            self.rto_due = Some(now + self.rto);
            self.sacked.clear();
            self.duplicates = 0;
            match self.state {
                State::SynSent => self.emit(now, 0, TcpFlags::SYN, Vec::new()),
                State::SynReceived => {
                    self.emit(now, 0, TcpFlags::SYN.with(TcpFlags::ACK), Vec::new())
                }
                State::Established if self.una < self.total() => {
                    let room =
                        (self.peer_edge.saturating_sub(self.una)).clamp(1, self.room() as u64);
                    self.recover = self.next;
                    self.send_range(now, self.una, (self.una + room).min(self.end_of_stream()));
                    // Go back: everything not reported is sent again as the window allows.
                    if self.peer_edge > self.una {
                        self.next = (self.una + room).min(self.next.max(self.una + 1));
                    }
                }
                _ => self.rto_due = None,
            }
        }
        self.push(now);
    }

    pub(crate) fn receive(&mut self, now: u64, packet: &Packet) {
        let flags = packet.flags;
        match self.state {
            State::Reset | State::Closed => {
                if !flags.contains(TcpFlags::RST) && flags.contains(TcpFlags::ACK) {
                    self.out.push(Packet {
                        seq: packet.ack,
                        flags: TcpFlags::RST,
                        ..Packet::default()
                    });
                }
                return;
            }
            State::Listen => {
                if flags.contains(TcpFlags::SYN) && !flags.contains(TcpFlags::ACK) {
                    if !packet.payload.is_empty() {
                        self.complaints.push("SYN with payload".into());
                    }
                    self.peer_isn = packet.seq;
                    self.rcv_next = 1;
                    self.handshake_options(packet);
                    self.peer_edge = 1 + u64::from(packet.window);
                    self.state = State::SynReceived;
                    self.emit(now, 0, TcpFlags::SYN.with(TcpFlags::ACK), Vec::new());
                    self.next = 1;
                    self.max_sent = 1;
                    self.rto_due = Some(now + self.rto);
                }
                return;
            }
            State::SynSent => {
                if flags.contains(TcpFlags::SYN) && flags.contains(TcpFlags::ACK) {
                    if packet.ack != self.seq(1) {
                        self.complaints.push("SYN-ACK of another SYN".into());
                        return;
                    }
                    self.peer_isn = packet.seq;
                    self.rcv_next = 1;
                    self.una = 1;
                    self.handshake_options(packet);
                    self.peer_edge = 1 + u64::from(packet.window);
                    self.state = State::Established;
                    self.rto = 250;
                    self.rto_due = None;
                    self.emit(now, 1, TcpFlags::ACK, Vec::new());
                    self.push(now);
                } else if flags.contains(TcpFlags::RST)
                    && flags.contains(TcpFlags::ACK)
                    && packet.ack == self.seq(1)
                {
                    self.state = State::Reset;
                }
                return;
            }
            State::SynReceived | State::Established => {}
        }
        let start = self.peer_offset(packet.seq);
        let length = packet.payload.len() as i64
            + i64::from(flags.contains(FIN))
            + i64::from(flags.contains(TcpFlags::SYN));
        let edge = self.advertised as i64;
        if flags.contains(TcpFlags::RST) {
            if start == self.rcv_next as i64 {
                self.state = State::Reset;
                self.rto_due = None;
                self.ack_due = None;
            } else if start > self.rcv_next as i64 && start <= edge {
                self.emit(now, self.next, TcpFlags::ACK, Vec::new());
            }
            return;
        }
        if flags.contains(TcpFlags::SYN) {
            if self.state == State::SynReceived {
                self.emit(now, 0, TcpFlags::SYN.with(TcpFlags::ACK), Vec::new());
            } else {
                self.emit(now, self.next, TcpFlags::ACK, Vec::new());
            }
            return;
        }
        let stamp = stamp(&packet.options);
        if let Some((value, echo)) = stamp.filter(|_| self.timestamps) {
            if length > 0 && (self.recent.wrapping_sub(value) as i32) > 1 {
                self.emit(now, self.next, TcpFlags::ACK, Vec::new());
                return;
            }
            let (base, age) = (self.settings.timestamps.unwrap_or(0), now as u32);
            if flags.contains(TcpFlags::ACK) && (echo.wrapping_sub(base) as i32) > age as i32 {
                self.complaints.push(format!("echo of a timestamp never sent: {echo}"));
            }
            if start <= self.rcv_next as i64 && (value.wrapping_sub(self.recent) as i32) > 0 {
                self.recent = value;
            }
        }
        if start + length < self.rcv_next as i64 || start > edge.max(self.rcv_next as i64) {
            // Old, or beyond the window.
            self.emit(now, self.next, TcpFlags::ACK, Vec::new());
            return;
        }
        if !flags.contains(TcpFlags::ACK) {
            self.complaints.push("segment without ACK".into());
            return;
        }
        let acked = self.own_offset(packet.ack);
        if acked > self.max_sent as i64 {
            self.complaints.push(format!("acknowledges {acked}, sent only {}", self.max_sent));
            self.emit(now, self.next, TcpFlags::ACK, Vec::new());
            return;
        }
        if self.state == State::SynReceived && acked >= 1 {
            self.state = State::Established;
            self.rto_due = None;
            self.rto = 250;
            self.una = 1;
        }
        for (left, right) in sack_blocks(&packet.options) {
            let (left, right) = (self.own_offset(left), self.own_offset(right));
            if right <= left || right > self.max_sent as i64 {
                self.complaints.push(format!("SACK {left}..{right}, sent only {}", self.max_sent));
            } else if left >= self.una as i64 {
                let (mut left, mut right) = (left as u64, right as u64);
                while let Some((&l, &r)) =
                    self.sacked.range(..=right).next_back().filter(|(_, r)| **r >= left)
                {
                    self.sacked.remove(&l);
                    left = left.min(l);
                    right = right.max(r);
                }
                self.sacked.insert(left, right);
            }
        }
        let old_edge = self.peer_edge;
        if acked >= self.una as i64 {
            let edge = acked as u64 + (u64::from(packet.window) << self.peer_shift);
            self.peer_edge = self.peer_edge.max(edge);
        }
        if acked > self.una as i64 {
            self.una = acked as u64;
            self.next = self.next.max(self.una);
            self.sacked.retain(|_, right| *right > acked as u64);
            self.duplicates = 0;
            self.rto = 250;
            self.rto_due = (self.una < self.max_sent).then_some(now + self.rto);
            if self.una < self.recover && self.next >= self.recover {
                // Partial acknowledgement: the next hole is lost too.
                let to = self.repair_end();
                self.send_range(now, self.una, to);
            }
        } else if acked == self.una as i64
            && packet.payload.is_empty()
            && !flags.contains(FIN)
            && self.una < self.next
            && self.peer_edge == old_edge
        {
            self.duplicates += 1;
            if self.duplicates == 3 && self.recover <= self.una {
                self.recover = self.next;
                let mut to = self.repair_end();
                if let Some((&start, _)) = self.sacked.range(self.una..).next() {
                    to = to.min(start);
                }
                self.send_range(now, self.una, to);
            }
        }
        let usable = (edge - start).max(0) as usize;
        let payload = &packet.payload[..packet.payload.len().min(usable)];
        if flags.contains(FIN) && payload.len() == packet.payload.len() {
            let at = (start + payload.len() as i64) as u64;
            if self.fin_at.is_some_and(|fin| fin != at) {
                self.complaints.push("a second FIN at another place".into());
            }
            self.fin_at = Some(at);
        }
        let mut out_of_order = false;
        if !payload.is_empty() {
            if start > self.rcv_next as i64 {
                out_of_order = true;
                self.early.entry(start as u64).or_insert_with(|| payload.to_vec());
            } else {
                let skip = (self.rcv_next as i64 - start) as usize;
                if skip < payload.len() {
                    self.take(&payload[skip..]);
                } else {
                    out_of_order = true;
                }
                while let Some((&at, _)) =
                    self.early.first_key_value().filter(|(at, _)| **at <= self.rcv_next)
                {
                    let bytes = self.early.remove(&at).unwrap();
                    let skip = (self.rcv_next - at) as usize;
                    if skip < bytes.len() {
                        self.take(&bytes[skip..]);
                    }
                }
            }
        }
        if self.fin_at == Some(self.rcv_next) && !self.peer_finished {
            self.peer_finished = true;
            self.rcv_next += 1;
        }
        if length > 0 || start < self.rcv_next as i64 {
            let now_please = out_of_order
                || flags.contains(FIN)
                || !self.settings.delayed_ack
                || !self.early.is_empty()
                || self.ack_due.is_some()
                || length == 0;
            if now_please {
                self.emit(now, self.next, TcpFlags::ACK, Vec::new());
            } else {
                self.ack_due = Some(now + 40);
            }
        }
        self.push(now);
    }

    fn take(&mut self, bytes: &[u8]) {
        self.received.extend_from_slice(bytes);
        self.rcv_next += bytes.len() as u64;
    }

    fn handshake_options(&mut self, packet: &Packet) {
        let mut timestamps = false;
        let mut sack = false;
        let mut shift = None;
        let mut rest = &packet.options[..];
        while let [kind, tail @ ..] = rest {
            match kind {
                0 => break,
                1 => {
                    rest = tail;
                    continue;
                }
                2 => self.peer_mss = usize::from(u16::from_be_bytes([rest[2], rest[3]])),
                3 => shift = Some(rest[2]),
                4 => sack = true,
                8 => {
                    timestamps = true;
                    self.recent = u32::from_be_bytes([rest[2], rest[3], rest[4], rest[5]]);
                }
                other => self.complaints.push(format!("option {other} on a SYN")),
            }
            rest = &rest[usize::from(rest[1])..];
        }
        self.timestamps &= timestamps;
        self.sack &= sack;
        match (shift, self.settings.shift) {
            (Some(shift), Some(_)) => self.peer_shift = shift,
            _ => {
                self.shift = 0;
                self.settings.shift = None;
            }
        }
    }
}

fn stamp(options: &[u8]) -> Option<(u32, u32)> {
    let at = find(options, 8)?;
    let word = |i: usize| u32::from_be_bytes(options[i..i + 4].try_into().unwrap());
    Some((word(at + 2), word(at + 6)))
}

fn sack_blocks(options: &[u8]) -> Vec<(u32, u32)> {
    let Some(at) = find(options, 5) else { return Vec::new() };
    let len = usize::from(options[at + 1]);
    let word = |bytes: &[u8]| u32::from_be_bytes(bytes.try_into().unwrap());
    options[at + 2..at + len]
        .chunks(8)
        .map(|block| (word(&block[..4]), word(&block[4..])))
        .collect()
}

fn find(options: &[u8], wanted: u8) -> Option<usize> {
    let mut at = 0;
    while at < options.len() {
        match options[at] {
            0 => return None,
            1 => at += 1,
            kind if kind == wanted => return Some(at),
            _ => at += usize::from(options[at + 1]),
        }
    }
    None
}
