//! Many TCP connections on one link: frames arrive through a port and reach the connection that they belong to; what connections
//! have to send leaves. What is said over a connection is its [`Role`]'s business.
//!
//! A connection with something to send waits in `ready` until the ring has room, so that a full ring loses nothing.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    net::IpAddr,
};

use dataplane::umem::{Frame, Pool, Port, PortGone, kernel::RING_SIZE};
use hashbrown::HashMap;
use parser::{
    EmitError, answer, checksum,
    emit::{Envelope, Segment},
    ethernet::MacAddress,
    headers::Headers,
    tcp::{SeqNumber, TcpFlags, TcpOption},
};

use crate::{
    neighbour,
    pace::BATCH,
    tcp::{Arrived, Connection, Departing, End, News, WINDOW},
    values::mix,
};

/// Bytes of Ethernet, IPv6 and TCP headers without options.
const HEADERS: usize = 14 + 40 + 20;

/// Packets taken in and sent in one turn, at most: no more than a peer on the same thread can take in its turn, whatever waits.
const MOST: usize = 4 * BATCH;

/// Both ends of a connection, ours first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flow {
    /// Our address.
    pub local: IpAddr,
    /// Our port.
    pub local_port: u16,
    /// The peer's address.
    pub remote: IpAddr,
    /// The peer's port.
    pub remote_port: u16,
}

/// What is done with connections.
pub trait Role: std::fmt::Debug {
    /// What it remembers of each.
    type Session: std::fmt::Debug;

    /// Whether ARP and neighbour discovery for this address are answered, and its connections are ours.
    fn is_ours(&self, address: IpAddr) -> bool;

    /// The session of a connection that a peer opens; none refuses it.
    fn accept(&mut self, flow: &Flow) -> Option<Self::Session>;

    /// A segment brought news.
    fn hear(
        &mut self,
        session: &mut Self::Session,
        connection: &mut Connection,
        news: &News<'_>,
        now: u64,
    );

    /// A connection has ended.
    fn end(&mut self, session: Self::Session, end: End, retransmissions: u32, now: u64);
}

#[derive(Debug)]
struct Slot<S> {
    connection: Connection,
    session: S,
    flow: Flow,
    peer: MacAddress,
    /// Tells this connection from those that had its place before.
    generation: u32,
    is_ready: bool,
    is_timed: bool,
}

/// The connections of one link.
#[derive(Debug)]
pub struct Stack<R: Role> {
    /// What is done with them.
    pub role: R,
    mac: MacAddress,
    mss: u16,
    seed: u64,
    made: u64,
    slots: Vec<Option<Slot<R::Session>>>,
    free: Vec<u32>,
    by_flow: HashMap<Flow, u32>,
    ready: VecDeque<u32>,
    /// When, which place, which generation: at most one entry for each connection.
    timers: BinaryHeap<Reverse<(u64, u32, u32)>>,
    batch: Vec<Frame>,
}

/// What a turn did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Whether anything came, went or ended.
    pub did_work: bool,
    /// When the next connection wants to send again.
    pub next_timer: Option<u64>,
}

impl<R: Role> Stack<R> {
    /// A stack of an interface with this hardware address and MTU. The seed decides sequence numbers.
    pub fn new(role: R, mac: MacAddress, mtu: u32, seed: u64) -> Self {
        let largest = (mtu as usize + 14).min(dataplane::umem::CAPACITY);
        Self {
            role,
            mac,
            mss: u16::try_from(largest.saturating_sub(HEADERS)).unwrap_or(u16::MAX),
            seed,
            made: 0,
            slots: Vec::new(),
            free: Vec::new(),
            by_flow: HashMap::new(),
            ready: VecDeque::new(),
            timers: BinaryHeap::new(),
            batch: Vec::with_capacity(MOST),
        }
    }

    /// Connections there are.
    pub fn len(&self) -> usize {
        self.by_flow.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.by_flow.is_empty()
    }

    /// Whether there is a connection of this flow.
    pub fn has(&self, flow: &Flow) -> bool {
        self.by_flow.contains_key(flow)
    }

    /// Opens a connection, of which there must be none yet, through the station `peer`.
    pub fn open(&mut self, flow: Flow, peer: MacAddress, session: R::Session) {
        let connection = Connection::connect(self.first());
        self.insert(flow, peer, connection, session);
    }

    /// Resets every connection that is left, and forgets it without telling its role.
    ///
    /// # Errors
    /// The interface is gone.
    pub fn abandon(&mut self, port: &mut impl Port, pool: &mut Pool) -> Result<(), PortGone> {
        for slot in std::mem::take(&mut self.slots).into_iter().flatten() {
            let departing = slot.connection.reset();
            let emit =
                |out: &mut [u8]| emit(&departing, &slot.flow, self.mac, slot.peer, None, out);
            while !send(port, pool, emit) {
                port.flush()?;
                port.recycle(pool);
            }
        }
        self.free.clear();
        self.by_flow.clear();
        self.ready.clear();
        self.timers.clear();
        port.flush()
    }

    /// Takes in what came, tells roles, sends what is to be sent.
    ///
    /// # Errors
    /// The interface is gone.
    pub fn turn(
        &mut self,
        port: &mut impl Port,
        pool: &mut Pool,
        now: u64,
    ) -> Result<Turn, PortGone> {
        let mut batch = std::mem::take(&mut self.batch);
        for _ in 0..MOST / BATCH {
            let before = batch.len();
            // Packets of several chunks are larger than the MSS that we name: their senders are not ours.
            let _refused = port.receive(&mut batch, BATCH, pool);
            if batch.len() - before < BATCH {
                break;
            }
        }
        let mut did_work = !batch.is_empty();
        for mut frame in batch.drain(..) {
            if !frame.is_chain() {
                self.take(frame.bytes_mut(), port, pool, now);
            }
            pool.give(frame);
        }
        self.batch = batch;
        self.expire(now);
        did_work |= self.send_ready(port, pool, now);
        port.flush()?;
        port.recycle(pool);
        Ok(Turn { did_work, next_timer: self.timers.peek().map(|Reverse((at, _, _))| *at) })
    }

    fn first(&mut self) -> SeqNumber {
        self.made = self.made.wrapping_add(1);
        let [n0, n1, n2, n3, ..] = mix(self.seed ^ mix(self.made)).to_be_bytes();
        SeqNumber::new(u32::from_be_bytes([n0, n1, n2, n3]))
    }

    fn insert(
        &mut self,
        flow: Flow,
        peer: MacAddress,
        connection: Connection,
        session: R::Session,
    ) {
        let place = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
        });
        let [.., n4, n5, n6, n7] = self.made.to_be_bytes();
        let generation = u32::from_be_bytes([n4, n5, n6, n7]);
        let slot =
            Slot { connection, session, flow, peer, generation, is_ready: false, is_timed: false };
        if let Some(empty) = self.slots.get_mut(place as usize) {
            *empty = Some(slot);
        }
        self.by_flow.insert(flow, place);
        self.make_ready(place);
    }

    fn make_ready(&mut self, place: u32) {
        if let Some(Some(slot)) = self.slots.get_mut(place as usize)
            && !slot.is_ready
        {
            slot.is_ready = true;
            self.ready.push_back(place);
        }
    }

    /// Takes one frame in.
    fn take(&mut self, frame: &mut [u8], port: &mut impl Port, pool: &mut Pool, now: u64) {
        let headers = match Headers::parse(frame) {
            Ok(headers) => headers,
            Err(_) => return,
        };
        let Some(tcp) = headers.tcp() else {
            let role = &self.role;
            let reply = |out: &mut [u8]| {
                neighbour::answer(frame, self.mac, |address| role.is_ours(address), out)
                    .ok_or(EmitError::NotAnswerable)
            };
            // Who asked and got no answer for want of room asks again.
            let _sent = send(port, pool, reply);
            return;
        };
        let (Some(remote), Some(local)) = (headers.source(), headers.destination()) else { return };
        // The stack of another namespace leaves the sum to hardware that a veth does not have.
        let is_intact = checksum::complete_partial(frame, &headers)
            || checksum::verify_transport(frame, &headers);
        if !self.role.is_ours(local) || !is_intact {
            return;
        }
        let frame = &*frame;
        let flow = Flow { local, local_port: tcp.dst_port, remote, remote_port: tcp.src_port };
        let arrived = Arrived {
            seq: tcp.seq,
            ack: tcp.ack,
            flags: tcp.flags,
            window: tcp.window,
            mss: tcp.flags.is_syn().then(|| mss_of(&headers, frame)).flatten(),
            payload: headers.payload(frame).unwrap_or_default(),
        };
        if let Some(&place) = self.by_flow.get(&flow) {
            if let Some(Some(slot)) = self.slots.get_mut(place as usize) {
                let news = slot.connection.arrive(&arrived, now);
                if news != News::default() {
                    self.role.hear(&mut slot.session, &mut slot.connection, &news, now);
                }
            }
            self.make_ready(place);
        } else if arrived.flags == TcpFlags::SYN
            && let Some(session) = self.role.accept(&flow)
        {
            let connection = Connection::accept(self.first(), &arrived);
            self.insert(flow, headers.ethernet.source, connection, session);
        } else if !arrived.flags.contains(TcpFlags::RST) {
            let _sent = send(port, pool, |out| answer::reset(&headers, out));
        }
    }

    fn expire(&mut self, now: u64) {
        while let Some(&Reverse((at, place, generation))) = self.timers.peek() {
            if at > now {
                return;
            }
            self.timers.pop();
            let Some(Some(slot)) = self.slots.get_mut(place as usize) else { continue };
            if slot.generation != generation {
                continue;
            }
            slot.is_timed = false;
            if slot.connection.deadline().is_some_and(|deadline| deadline <= now) {
                slot.connection.expire();
            }
            self.make_ready(place);
        }
    }

    /// Sends for connections in their order until the ring is full. Returns whether there was anything to do.
    fn send_ready(&mut self, port: &mut impl Port, pool: &mut Pool, now: u64) -> bool {
        let mut did_work = false;
        let chunks = port.frames();
        let mut room = (RING_SIZE as usize).saturating_sub(chunks.tx + chunks.completion).min(MOST);
        while let Some(&place) = self.ready.front() {
            let Some(Some(slot)) = self.slots.get_mut(place as usize) else {
                self.ready.pop_front();
                continue;
            };
            let Slot { connection, flow, peer, .. } = slot;
            loop {
                // Room first: a segment that was taken from its connection must go.
                let Some(mut frame) = (if room > 0 { pool.take() } else { None }) else {
                    return did_work;
                };
                let Some(departing) = connection.depart(now) else {
                    pool.give(frame);
                    break;
                };
                let (mac, mss) = (self.mac, Some(self.mss));
                let len = emit(&departing, flow, mac, *peer, mss, frame.room_mut()).unwrap_or(0);
                frame.set_len(len);
                if let Err(unsent) = port.send(frame) {
                    pool.give(unsent);
                }
                room -= 1;
                did_work = true;
            }
            slot.is_ready = false;
            self.ready.pop_front();
            if let Some(end) = slot.connection.ended() {
                did_work = true;
                self.remove(place, end, now);
            } else if let Some(deadline) = slot.connection.deadline()
                && !slot.is_timed
            {
                slot.is_timed = true;
                self.timers.push(Reverse((deadline, place, slot.generation)));
            }
        }
        did_work
    }

    fn remove(&mut self, place: u32, end: End, now: u64) {
        let Some(slot) = self.slots.get_mut(place as usize).and_then(Option::take) else { return };
        self.by_flow.remove(&slot.flow);
        self.free.push(place);
        self.role.end(slot.session, end, slot.connection.retransmissions, now);
    }
}

fn mss_of(headers: &Headers, frame: &[u8]) -> Option<u16> {
    headers.tcp_options(frame).find_map(|option| match option {
        Ok(TcpOption::Mss(mss)) => Some(mss),
        _ => None,
    })
}

/// Sends what `emit` writes, unless there is no room for it.
fn send(
    port: &mut impl Port,
    pool: &mut Pool,
    emit: impl FnOnce(&mut [u8]) -> Result<usize, EmitError>,
) -> bool {
    let Some(mut frame) = pool.take() else { return false };
    match emit(frame.room_mut()) {
        Ok(len) => frame.set_len(len),
        Err(_nothing_to_send) => {
            pool.give(frame);
            return true;
        }
    }
    match port.send(frame) {
        Ok(()) => true,
        Err(frame) => {
            pool.give(frame);
            false
        }
    }
}

/// Writes a segment; a SYN names our `mss`.
fn emit(
    departing: &Departing,
    flow: &Flow,
    mac: MacAddress,
    peer: MacAddress,
    mss: Option<u16>,
    out: &mut [u8],
) -> Result<usize, EmitError> {
    let [m0, m1] = mss.unwrap_or(0).to_be_bytes();
    // Kind 2, length 4 (RFC 9293 §3.2).
    let option = [2, 4, m0, m1];
    let names_mss = departing.flags.contains(TcpFlags::SYN) && mss.is_some();
    Segment {
        envelope: Envelope {
            source_mac: mac,
            destination_mac: peer,
            source: flow.local,
            destination: flow.remote,
            hop_limit: 64,
            traffic_class: 0,
        },
        src_port: flow.local_port,
        dst_port: flow.remote_port,
        seq: departing.seq,
        ack: departing.ack,
        flags: departing.flags,
        window: WINDOW,
        options: if names_mss { &option } else { &[] },
        payload: departing
            .data
            .as_ref()
            .and_then(|(message, range)| message.get(range.clone()))
            .unwrap_or_default(),
    }
    .emit(out)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crossbeam::queue::ArrayQueue;
    use dataplane::umem::{Region, pool, port::FakePort};

    use super::*;
    use crate::{
        client::{Client, Question, Script, Targets},
        http,
        receive::Addresses,
        server::Server,
        values::Values,
    };

    const FRAMES: u32 = 4000;
    /// 10.0.0.1 and 10.0.0.2.
    const HERE: u128 = 0x0a00_0001;
    const THERE: u128 = 0x0a00_0002;
    const CLIENT: MacAddress = MacAddress::new([2, 0, 0, 0, 0, 1]);
    const SERVER: MacAddress = MacAddress::new([2, 0, 0, 0, 0, 2]);

    /// A client and a server with a wire between them, and time that passes only when nothing else happens.
    struct Wire {
        client: Stack<Client>,
        server: Stack<Server>,
        ports: (FakePort, FakePort),
        pool: Pool,
        reserve: Arc<ArrayQueue<Frame>>,
        now: u64,
        carried: u64,
    }

    impl Wire {
        fn new(requests: u32, body: usize) -> Self {
            let (_, frames) = Region::plain(FRAMES);
            let reserve = pool::reserve(frames);
            let question = Question { request: http::request("GET", "/a", "h"), is_denied: false };
            let script = Script {
                requests: Some(requests),
                allowed: vec![question],
                denied: Vec::new(),
                denied_share: 0,
                holds: false,
                seed: 1,
            };
            let own = |address| Addresses::new(false, Values::fixed(address));
            Self {
                client: Stack::new(Client::new(own(HERE), script), CLIENT, 1500, 1),
                server: Stack::new(Server::new(own(THERE), body), SERVER, 1500, 2),
                ports: (FakePort::default(), FakePort::default()),
                pool: Pool::new(Arc::clone(&reserve)),
                reserve,
                now: 1,
                carried: 0,
            }
        }

        /// Opens `count` connections, at most 20 at once, to `port` of the server, and runs until all have ended. `is_lost` says
        /// of each frame, by its number, whether it is.
        fn run(&mut self, count: u64, is_lost: impl Fn(u64) -> bool) {
            let targets = Targets {
                is_ipv6: false,
                sources: Values::fixed(HERE),
                destinations: Values::fixed(THERE),
                port: 80,
            };
            let mut opened = 0;
            while opened < count || !self.client.is_empty() || !self.server.is_empty() {
                while opened < count && self.client.len() < 20 {
                    let session = self.client.role.session(self.now);
                    self.client.open(targets.flow(opened), SERVER, session);
                    opened += 1;
                }
                let (a, b) = (&mut self.ports.0, &mut self.ports.1);
                let client = self.client.turn(a, &mut self.pool, self.now).unwrap();
                let server = self.server.turn(b, &mut self.pool, self.now).unwrap();
                for (from, to) in
                    [(&mut a.wire_out, &mut b.wire_in), (&mut b.wire_out, &mut a.wire_in)]
                {
                    for frame in from.drain(..) {
                        self.carried += 1;
                        if is_lost(self.carried) {
                            self.pool.give(frame);
                        } else {
                            to.push_back(frame);
                        }
                    }
                }
                if !client.did_work
                    && !server.did_work
                    && a.wire_in.is_empty()
                    && b.wire_in.is_empty()
                {
                    let next = [client.next_timer, server.next_timer].into_iter().flatten().min();
                    self.now = self.now.max(next.expect("nobody has anything to do"));
                }
            }
        }
    }

    impl Drop for Wire {
        fn drop(&mut self) {
            self.pool.retire();
            if !std::thread::panicking() {
                assert_eq!(self.reserve.len(), FRAMES as usize, "the ledger");
            }
        }
    }

    #[test]
    fn every_connection_asks_all_its_questions_and_closes() {
        let mut wire = Wire::new(3, 5000);
        wire.run(300, |_| false);
        let (asked, served) = (&wire.client.role.asked, wire.server.role.served);
        assert_eq!((asked.connected, asked.completed), (300, 300));
        assert_eq!((asked.requests, asked.allowed, asked.wrong), (900, 900, 0));
        assert_eq!((served.accepted, served.requests, served.not_understood), (300, 900, 0));
        assert_eq!((asked.retransmissions, served.retransmissions, wire.now), (0, 0, 1));
        assert_eq!(asked.responses.len(), 900);
    }

    #[test]
    fn without_requests_connections_open_and_close() {
        let mut wire = Wire::new(0, 0);
        wire.run(50, |_| false);
        let asked = &wire.client.role.asked;
        assert_eq!((asked.completed, asked.requests), (50, 0));
        // SYN, SYN-ACK, ACK and FIN (one segment or two), FIN, ACK.
        assert!((5 * 50..=7 * 50).contains(&wire.carried), "{}", wire.carried);
    }

    #[test]
    fn lost_frames_are_sent_again() {
        let mut wire = Wire::new(2, 20_000);
        wire.run(60, |number| number % 11 == 3);
        let asked = &wire.client.role.asked;
        assert_eq!((asked.connected, asked.allowed, asked.wrong), (60, 120, 0));
        assert_eq!(asked.timed_out, 0);
        assert!(asked.retransmissions + wire.server.role.served.retransmissions > 0);
    }

    #[test]
    fn who_serves_nothing_resets() {
        let mut wire = Wire::new(1, 0);
        let flow = Flow {
            local: "10.0.0.1".parse().unwrap(),
            local_port: 9,
            remote: "10.0.0.2".parse().unwrap(),
            remote_port: 80,
        };
        let session = wire.client.role.session(1);
        wire.client.open(flow, SERVER, session);
        let Wire { client, ports: (a, b), pool, .. } = &mut wire;
        client.turn(a, pool, 1).unwrap();
        // The SYN comes back to a client, which accepts nothing.
        let own = Addresses::new(false, Values::fixed(THERE));
        let script = Script {
            requests: Some(0),
            allowed: Vec::new(),
            denied: Vec::new(),
            denied_share: 0,
            holds: false,
            seed: 0,
        };
        let mut other = Stack::new(Client::new(own, script), SERVER, 1500, 3);
        b.wire_in.append(&mut a.wire_out);
        other.turn(b, pool, 1).unwrap();
        a.wire_in.append(&mut b.wire_out);
        client.turn(a, pool, 1).unwrap();
        assert_eq!((client.role.asked.reset, client.len()), (1, 0));
    }
}
