//! What must hold of a whole worker over plain memory, whatever its pods send and whatever policy comes and goes: no panic; every
//! packet has one exit and every frame is somewhere; what leaves is well-formed, comes from us and goes to the port's own pod; no
//! pod speaks for another; and a server behind an HTTP rule reads only requests that the rule allows, whichever copy of a byte it
//! keeps.
//!
//! The input is a script: which budgets, and then what happens, one step after another. Zeros behind its end.

use std::{
    cell::RefCell,
    collections::{BTreeMap, VecDeque},
    net::IpAddr,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use crossbeam::{channel, queue::ArrayQueue};
use dataplane::{
    budgets::Budgets,
    umem::{Frame, Pool, Port, PortFrames, PortGone, Refused, Region, pool},
    worker::{
        Command, Observers, PortId, Reporting, Settings, Worker, WorkerId, clock::Clock,
        wakeup::Rest,
    },
    world::{Neighbour, PortKind, PortView, World},
};
use parser::{
    ParseError,
    emit::{Datagram, Envelope, IcmpPacket, Segment},
    ethernet::MacAddress,
    headers::{Headers, Transport},
    http::{Body, Limits as HttpLimits, Progress, read_request},
    tcp::{SeqNumber, TcpFlags},
};
use policy_table::{Identities, Settings as TableSettings, Snapshot, Table};

const FRAMES: u32 = 512;
const CLIENT: usize = 0;
const SERVER: usize = 1;
const STRANGER: usize = 2;
const PORTS: usize = 4;
const ADDRESSES: [[&str; 2]; PORTS] = [
    ["10.0.0.1", "fd00::1"],
    ["10.0.0.2", "fd00::2"],
    ["10.0.0.3", "fd00::3"],
    ["192.0.2.1", "2001:db8::1"],
];

const CLUSTER: &str = r#"
apiVersion: v1
kind: Namespace
metadata: {name: default}
---
apiVersion: v1
kind: Pod
metadata: {name: client, namespace: default, labels: {app: client}}
status: {podIPs: [{ip: 10.0.0.1}, {ip: "fd00::1"}]}
---
apiVersion: v1
kind: Pod
metadata: {name: server, namespace: default, labels: {app: server}}
status: {podIPs: [{ip: 10.0.0.2}, {ip: "fd00::2"}]}
---
apiVersion: v1
kind: Pod
metadata: {name: stranger, namespace: default, labels: {app: stranger}}
status: {podIPs: [{ip: 10.0.0.3}, {ip: "fd00::3"}]}
---
apiVersion: v1
kind: Service
metadata: {name: server, namespace: default}
spec: {clusterIP: 10.96.0.1, selector: {app: server}, ports: [{port: 8000, targetPort: 80}, {port: 53, targetPort: 53, protocol: UDP}]}
"#;

const L7: &str = r#"
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: l7, namespace: default}
spec:
  endpointSelector: {matchLabels: {app: server}}
  ingress:
  - fromEndpoints: [{matchLabels: {app: client}}]
    toPorts: [{ports: [{port: "80", protocol: TCP}], rules: {http: [{method: POST, path: "/allow"}]}}]
  - fromEndpoints: [{matchLabels: {app: client}}]
    toPorts: [{ports: [{port: "53", protocol: UDP}]}]
"#;

const L4: &str = r#"
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: l4, namespace: default}
spec:
  endpointSelector: {matchLabels: {app: server}}
  ingress:
  - fromEndpoints: [{matchLabels: {app: client}}]
    toPorts: [{ports: [{port: "80", protocol: TCP}]}]
"#;

/// What clients say, in any order and cut.
const PARTS: [&[u8]; 8] = [
    b"POST /allow HTTP/1.1\r\nHost: a\r\n\r\n",
    b"PUT /deny HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST /allow HTTP/1.1\r\nHost: a\r\nContent-Length: 32\r\n\r\nPUT /deny HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST /allow HTTP/1.1\r\nHost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"POST /deny HTTP/1.1\r\nHost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    b"POST /allow HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    b"POST /allow HTTP/1.1\nHost: a\n\n",
    b"\r\n",
];

const ANSWERS: [&[u8]; 4] = [
    b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi",
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n\r\nuntil close",
];

const FLAGS: [TcpFlags; 8] = [
    TcpFlags::ACK,
    TcpFlags::SYN,
    TcpFlags::SYN.with(TcpFlags::ACK),
    TcpFlags::ACK.with(TcpFlags::FIN),
    TcpFlags::RST,
    TcpFlags::RST.with(TcpFlags::ACK),
    TcpFlags::ACK.with(TcpFlags::PSH),
    TcpFlags::ACK.with(TcpFlags::URG),
];

/// The input, byte by byte; zeros behind its end.
struct Script<'a> {
    rest: &'a [u8],
}

impl<'a> Script<'a> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.rest.split_first() else { return 0 };
        self.rest = rest;
        *first
    }

    fn below(&mut self, limit: usize) -> usize {
        let high = usize::from(self.byte());
        (high << 8 | usize::from(self.byte())) % limit.max(1)
    }

    fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at(len.min(self.rest.len()));
        self.rest = rest;
        taken
    }
}

/// One end of a port that the harness holds the other end of.
#[derive(Clone, Debug, Default)]
struct Wire {
    to_worker: Rc<RefCell<VecDeque<Frame>>>,
    from_worker: Rc<RefCell<VecDeque<Frame>>>,
}

impl Port for Wire {
    fn receive(&mut self, batch: &mut Vec<Frame>, budget: usize, _pool: &mut Pool) -> Refused {
        let mut waiting = self.to_worker.borrow_mut();
        let count = budget.min(waiting.len());
        batch.extend(waiting.drain(..count));
        Refused::default()
    }

    fn send(&mut self, frame: Frame) -> Result<(), Frame> {
        self.from_worker.borrow_mut().push_back(frame);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), PortGone> {
        Ok(())
    }

    fn recycle(&mut self, _pool: &mut Pool) {}

    fn frames(&mut self) -> PortFrames {
        PortFrames::default()
    }

    fn missed(&self) -> u64 {
        0
    }
}

/// What is made once: the memory, and the worlds of each policy.
struct Stage {
    /// Lives as long as the process; kept, so that LeakSanitizer sees that it is meant to.
    _memory: &'static Region,
    reserve: Arc<ArrayQueue<Frame>>,
    worlds: [Arc<World>; 3],
}

impl Stage {
    fn new() -> Self {
        let (memory, frames) = Region::plain(FRAMES);
        let mut identities = Identities::default();
        let mut epoch = 0;
        let worlds = [L7, L4, ""].map(|policy| {
            epoch += 1;
            Arc::new(world(policy, epoch, &mut identities))
        });
        Self { _memory: memory, reserve: pool::reserve(frames), worlds }
    }
}

fn world(policy: &str, epoch: u64, identities: &mut Identities) -> World {
    let files = [("cluster.yaml", CLUSTER), ("policy.yaml", policy)];
    let loaded = Snapshot::parse(&files).expect("the policy is good");
    let settings =
        TableSettings { host_addresses: vec![ip("10.0.0.254")], ..TableSettings::default() };
    let table = Arc::new(Table::compile(&loaded.snapshot, &settings, identities, epoch));
    let views =
        ["client", "server", "stranger", "host"].iter().enumerate().map(|(number, name)| {
            let neighbour = Neighbour::default();
            neighbour.learn(their_mac(number));
            Some(PortView {
                name: (*name).to_owned(),
                kind: if *name == "host" { PortKind::Host } else { PortKind::Pod },
                mac: our_mac(number),
                neighbour: Arc::new(neighbour),
                home: WorkerId(0),
                mtu: 1500,
                endpoint: table.endpoint_named("default", name),
            })
        });
    World::new(
        epoch,
        Some(Arc::clone(&table)),
        views.collect(),
        vec![ip("10.0.0.254"), ip("fd00::fe")],
    )
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn their_mac(port: usize) -> MacAddress {
    MacAddress::new([2, 0, 0, 0, 1, port.to_le_bytes()[0]])
}

fn our_mac(port: usize) -> MacAddress {
    MacAddress::new([2, 0, 0, 0, 2, port.to_le_bytes()[0]])
}

/// What the server of one connection has received. A server may keep the first copy of a byte or the last: content may come twice.
#[derive(Default)]
struct Received {
    /// By position behind the client's SYN: the first copy and the last.
    bytes: BTreeMap<u32, (u8, u8)>,
    /// A policy without the rule was in force, or the server opened the connection: nothing is promised.
    is_open: bool,
}

impl Received {
    fn take(&mut self, position: u32, payload: &[u8]) {
        for (at, &byte) in (position..).zip(payload) {
            self.bytes.entry(at).or_insert((byte, byte)).1 = byte;
        }
    }

    /// However the server reads: every request is one that the rule allows, and nothing is malformed.
    fn check(&self) {
        if self.is_open {
            return;
        }
        let in_order = self.bytes.iter().zip(0..).take_while(|((at, _), next)| *at == next);
        let (first, last): (Vec<u8>, Vec<u8>) = in_order.map(|((_, bytes), _)| *bytes).unzip();
        for bytes in [first, last] {
            let mut rest = bytes.as_slice();
            while !rest.is_empty() {
                match read_request(rest, &HttpLimits::REQUESTS) {
                    Ok(Progress::Complete(head)) => {
                        assert_eq!((head.method, head.path_and_query), ("POST", "/allow"));
                        let framing = head.framing;
                        rest = rest.get(head.head_len..).unwrap_or_default();
                        match Body::from(framing).advance(rest) {
                            Ok(step) if step.finished => {
                                rest = rest.get(step.consumed..).unwrap_or_default();
                            }
                            Ok(_) => break,
                            Err(refusal) => panic!("bad content was let through: {refusal:?}"),
                        }
                    }
                    Ok(Progress::Incomplete) => break,
                    Err(refusal) => panic!("a bad head was let through: {refusal:?}"),
                }
            }
        }
    }
}

/// A run of the script.
struct Run {
    worker: Worker<Wire>,
    rest: Rest,
    wires: [Wire; PORTS],
    pool: Pool,
    events: Arc<ArrayQueue<dataplane::flow::FlowEvent>>,
    worlds: [Arc<World>; 3],
    strict: bool,
    received: BTreeMap<(IpAddr, u16), Received>,
}

thread_local! {
    static STAGE: Stage = Stage::new();
}

/// Plays a script and checks every promise after every step.
pub(crate) fn check(data: &[u8]) {
    STAGE.with(|stage| play(stage, data));
}

fn play(stage: &Stage, data: &[u8]) {
    let mut script = Script { rest: data };
    let tight = Budgets {
        shadows: 3,
        connections: 12,
        connections_per_endpoint: 6,
        stream_bytes: 6000,
        stream_bytes_per_endpoint: 3000,
        icmp_errors_per_second: 3,
        fragments: 64,
        fragment_ms: 100,
    };
    let choice = script.byte();
    let mut settings = Settings::default();
    if choice & 1 == 1 {
        settings.budgets = tight;
    }
    settings.limits.outstanding = if choice & 2 == 2 { 1 } else { 16 };
    let rest = Rest::new(Duration::ZERO).expect("a poll");
    let events = Arc::new(ArrayQueue::new(64));
    let reporting = Reporting {
        events: Arc::clone(&events),
        observers: Arc::new(Observers::default()),
        hits: channel::unbounded().0,
    };
    let pool = Pool::new(Arc::clone(&stage.reserve));
    let worker =
        Worker::new(WorkerId(0), Clock::start(), pool, vec![rest.inbox()], reporting, settings);
    let mut run = Run {
        worker,
        rest,
        wires: Default::default(),
        pool: Pool::new(Arc::clone(&stage.reserve)),
        events,
        worlds: stage.worlds.clone(),
        strict: true,
        received: BTreeMap::new(),
    };
    for (port, wire) in (0..).zip(run.wires.clone()) {
        let command =
            Command::AddPort { port: PortId(port), fd: None, sockets: wire, receives: true };
        run.worker.obey(command, &run.rest);
    }
    run.worker.obey(Command::World(Arc::clone(&stage.worlds[0])), &run.rest);
    let mut steps = 0;
    while !script.rest.is_empty() && steps < 400 {
        run.step(&mut script);
        steps += 1;
    }
    run.end();
    assert_eq!(stage.reserve.len(), FRAMES as usize, "every frame is back");
}

impl Run {
    fn step(&mut self, script: &mut Script<'_>) {
        match script.byte() % 8 {
            0 | 1 => self.client_segment(script),
            2 => self.server_segment(script),
            3 => self.handshake(script),
            4 => self.raw(script),
            5 => self.datagram(script),
            6 => self.icmp(script),
            _ => {
                let choice = script.below(self.worlds.len());
                let world = Arc::clone(&self.worlds[choice]);
                self.strict = choice == 0;
                if !self.strict {
                    self.received.values_mut().for_each(|received| received.is_open = true);
                }
                self.worker.obey(Command::World(world), &self.rest);
                self.turn(STRANGER);
            }
        }
    }

    fn envelope(&self, script: &mut Script<'_>, from: usize, to: usize) -> Envelope {
        let odd = script.byte();
        let family = usize::from(odd & 1);
        let spoofed = if odd & 0xf0 == 0xf0 { STRANGER } else { from };
        Envelope {
            source_mac: their_mac(from),
            destination_mac: our_mac(from),
            source: ip(ADDRESSES[spoofed][family]),
            destination: if odd & 0x0e == 0x0e && family == 0 {
                ip("10.96.0.1")
            } else {
                ip(ADDRESSES[to][family])
            },
            hop_limit: if odd & 0x70 == 0x70 { 1 } else { 64 },
            traffic_class: 0,
        }
    }

    fn client_segment(&mut self, script: &mut Script<'_>) {
        let from = if script.byte() % 16 == 15 { STRANGER } else { CLIENT };
        let envelope = self.envelope(script, from, SERVER);
        let to_service = envelope.destination == ip("10.96.0.1");
        let number = script.byte();
        let mut text: Vec<u8> = Vec::new();
        for shift in 0..3 {
            text.extend(PARTS[usize::from(number >> (2 * shift)) % PARTS.len()]);
        }
        let start = script.below(text.len());
        let len = script.below(text.len() - start + 1);
        let mut payload = text[start..start + len].to_vec();
        if script.byte() % 8 == 7 {
            let at = script.below(payload.len());
            if let Some(byte) = payload.get_mut(at) {
                *byte = script.byte();
            }
        }
        let flags = FLAGS[usize::from(script.byte()) % FLAGS.len()];
        let acknowledged = u32::try_from(script.below(80)).unwrap_or(0);
        let segment = Segment {
            envelope,
            src_port: 40_000 + u16::from(number >> 6),
            dst_port: if to_service { 8000 } else { 80 },
            seq: if flags.contains(TcpFlags::SYN) {
                SeqNumber::new(1000)
            } else {
                SeqNumber::new(1001 + u32::try_from(start).unwrap_or(0))
            },
            ack: SeqNumber::new(5001 + acknowledged),
            flags,
            window: 65_535,
            options: &[],
            payload: &payload,
        };
        let mut out = vec![0; 4096];
        let Ok(length) = segment.emit(&mut out) else { return };
        self.send(script, from, &out[..length]);
    }

    fn server_segment(&mut self, script: &mut Script<'_>) {
        let envelope = self.envelope(script, SERVER, CLIENT);
        let flags = FLAGS[usize::from(script.byte()) % FLAGS.len()];
        let opening = flags.contains(TcpFlags::SYN);
        let position = u32::try_from(script.below(120)).unwrap_or(0);
        let acknowledged = u32::try_from(script.below(300)).unwrap_or(0);
        let payload: &[u8] = match script.byte() % 8 {
            choice @ 0..4 => ANSWERS[usize::from(choice)],
            _ => b"",
        };
        let segment = Segment {
            envelope,
            src_port: 80,
            dst_port: 40_000 + u16::from(script.byte() % 4),
            seq: SeqNumber::new(if opening { 5000 } else { 5001 + position }),
            ack: SeqNumber::new(1001 + if opening { 0 } else { acknowledged }),
            flags,
            window: 65_535,
            options: &[],
            payload,
        };
        let mut out = vec![0; 4096];
        let Ok(length) = segment.emit(&mut out) else { return };
        self.send(script, SERVER, &out[..length]);
    }

    /// An honest one, so that what follows has something to work on.
    fn handshake(&mut self, script: &mut Script<'_>) {
        let odd = script.byte();
        let family = usize::from(odd & 1);
        let (src_port, to_service) = (40_000 + u16::from(odd >> 6), family == 0 && odd & 2 == 2);
        let [client, server] = [CLIENT, SERVER].map(|pod| ip(ADDRESSES[pod][family]));
        let service = if to_service { ip("10.96.0.1") } else { server };
        let steps = [
            (CLIENT, TcpFlags::SYN),
            (SERVER, TcpFlags::SYN.with(TcpFlags::ACK)),
            (CLIENT, TcpFlags::ACK),
        ];
        for (from, flags) in steps {
            let (source, destination) =
                if from == CLIENT { (client, service) } else { (server, client) };
            let opening = flags.contains(TcpFlags::SYN);
            let port = if to_service { 8000 } else { 80 };
            let segment = Segment {
                envelope: Envelope {
                    source_mac: their_mac(from),
                    destination_mac: our_mac(from),
                    source,
                    destination,
                    hop_limit: 64,
                    traffic_class: 0,
                },
                src_port: if from == CLIENT { src_port } else { 80 },
                dst_port: if from == CLIENT { port } else { src_port },
                seq: SeqNumber::new(match (from, opening) {
                    (CLIENT, true) => 1000,
                    (CLIENT, false) => 1001,
                    _ => 5000,
                }),
                ack: SeqNumber::new(if from == CLIENT { 5001 } else { 1001 }),
                flags,
                window: 65_535,
                options: &[],
                payload: b"",
            };
            let mut out = vec![0; 256];
            let Ok(length) = segment.emit(&mut out) else { return };
            self.put(from, &out[..length]);
        }
    }

    /// Any bytes, with the right hardware addresses or any.
    fn raw(&mut self, script: &mut Script<'_>) {
        let odd = script.byte();
        let port = usize::from(odd) % PORTS;
        let len = script.below(1600);
        let mut frame = script.take(len).to_vec();
        if odd & 0x80 == 0
            && let Some(addresses) = frame.first_chunk_mut::<12>()
        {
            addresses[..6].copy_from_slice(&our_mac(port).octets());
            addresses[6..].copy_from_slice(&their_mac(port).octets());
        }
        self.put(port, &frame);
    }

    fn datagram(&mut self, script: &mut Script<'_>) {
        let from = if script.byte() % 4 == 3 { STRANGER } else { CLIENT };
        let envelope = self.envelope(script, from, SERVER);
        let len = script.below(4000);
        let datagram =
            Datagram { envelope, src_port: 4000, dst_port: 53, payload: &vec![b'x'; len] };
        let mut out = vec![0; 4096];
        let Ok(length) = datagram.emit(&mut out) else { return };
        self.send(script, from, &out[..length]);
    }

    fn icmp(&mut self, script: &mut Script<'_>) {
        let from = usize::from(script.byte()) % 3;
        let envelope = self.envelope(script, from, (from + 1) % 3);
        let (icmp_type, code) = (script.byte(), script.byte() % 8);
        let len = script.below(200);
        let body = script.take(len);
        let packet = IcmpPacket { envelope, icmp_type, code, word: [0; 4], body };
        let mut out = vec![0; 4096];
        let Ok(length) = packet.emit(&mut out) else { return };
        self.send(script, from, &out[..length]);
    }

    /// Sends a packet whole or in fragments, some of them missing, doubled or out of order.
    fn send(&mut self, script: &mut Script<'_>, from: usize, frame: &[u8]) {
        let odd = script.byte();
        if odd < 0xc0 {
            return self.put(from, frame);
        }
        let Ok(headers) = Headers::parse(frame) else { return };
        if !matches!(headers.network, parser::network::Network::Ipv4(_)) {
            return self.put(from, frame);
        }
        let size = 8 * (3 + script.below(180));
        let (header, data) = frame.split_at(headers.transport_offset);
        let count = data.len().div_ceil(size);
        let mut pieces: Vec<Vec<u8>> = Vec::new();
        for (index, data) in data.chunks(size).enumerate() {
            let word = (index * size) >> 3 | usize::from(index + 1 < count) << 13;
            let mut piece = header.to_vec();
            let length = u16::try_from(data.len() + header.len() - 14).unwrap_or(u16::MAX);
            piece[16..18].copy_from_slice(&length.to_be_bytes());
            piece[18..20].copy_from_slice(&[0, odd]);
            piece[20..22].copy_from_slice(&u16::try_from(word).unwrap_or(0).to_be_bytes());
            piece[24..26].fill(0);
            let sum = parser::checksum::Sum::new().add_bytes(&piece[14..34]).checksum();
            piece[24..26].copy_from_slice(&sum.to_be_bytes());
            piece.extend(data);
            pieces.push(piece);
        }
        if odd & 1 == 1 {
            pieces.reverse();
        }
        if odd & 2 == 2 {
            let again = pieces[script.below(pieces.len())].clone();
            pieces.push(again);
        }
        if odd & 4 == 4 {
            pieces.pop();
        }
        for piece in pieces {
            self.put(from, &piece);
        }
    }

    fn put(&mut self, port: usize, bytes: &[u8]) {
        let Some(frame) = self.pool.packet(bytes) else { return };
        self.wires[port].to_worker.borrow_mut().push_back(frame);
        self.turn(port);
    }

    fn turn(&mut self, from: usize) {
        self.worker.turn();
        for port in 0..PORTS {
            while let Some(frame) = self.take(port) {
                self.look_at(from, port, &frame);
                self.pool.give(frame);
            }
        }
        while self.events.pop().is_some() {}
        let report = self.worker.report();
        let counters = &report.counters;
        let ended = counters.sent
            + counters.answered
            + counters.absorbed
            + counters.handed_on
            + counters.dropped_in_all();
        let waiting = u64::try_from(report.waiting).unwrap_or(u64::MAX);
        assert_eq!(counters.received + counters.built, ended + waiting, "{counters:?}");
    }

    fn take(&self, port: usize) -> Option<Frame> {
        self.wires[port].from_worker.borrow_mut().pop_front()
    }

    fn look_at(&mut self, from: usize, port: usize, frame: &Frame) {
        let headers = match Headers::parse_first(frame.bytes(), frame.len()) {
            // Our own error about what was no flow's: well-formed, though we would not take one.
            Err(ParseError::IcmpQuoteUnusable) => return,
            other => other.expect("it can be read"),
        };
        assert_eq!(headers.ethernet.source, our_mac(port));
        if headers.flow_tuple().is_none() && headers.icmp_error().is_none() {
            return; // We tell everybody on a link where the gateway is.
        }
        assert_eq!(headers.ethernet.destination, their_mac(port));
        let stranger =
            ADDRESSES[STRANGER].iter().any(|address| headers.source() == Some(ip(address)));
        assert!(!stranger || from == STRANGER, "somebody spoke for the stranger");
        let (Transport::Tcp(tcp), Some(tuple)) = (headers.transport, headers.flow_tuple()) else {
            return;
        };
        if port == CLIENT && tcp.src_port == 80 && tcp.flags.is_opening() {
            // The server is the client of this connection, and what it hears in it are no requests.
            let received = self.received.entry((tuple.destination, tcp.dst_port)).or_default();
            received.is_open = true;
        }
        if port != SERVER || tcp.dst_port != 80 {
            return;
        }
        let is_open = !self.strict;
        let fresh = || Received { is_open, ..Received::default() };
        let received = self.received.entry((tuple.source, tcp.src_port)).or_insert_with(&fresh);
        if tcp.flags.is_opening() {
            *received = fresh();
        }
        let bytes: Vec<u8> =
            std::iter::once(frame.bytes()).chain(frame.rest()).flatten().copied().collect();
        let payload = headers.payload(&bytes).unwrap_or_default();
        let position = tcp.seq.value().wrapping_sub(1001);
        if !payload.is_empty() && position < 1 << 20 {
            received.take(position, payload);
            received.check();
        }
    }

    /// Ends the worker; every frame goes back to the reserve.
    fn end(self) {
        let Self { worker, rest, mut pool, wires, .. } = self;
        for frame in wires.iter().flat_map(|wire| wire.from_worker.take()) {
            pool.give(frame);
        }
        let (sender, orders) = channel::bounded(1);
        let _ = sender.send(Command::Stop);
        worker.run(rest, &orders);
        pool.retire();
    }
}
