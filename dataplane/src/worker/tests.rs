//! A whole worker over plain memory: packets in, packets out, counters and the ledger, without privileges.

use std::net::IpAddr;

use parser::{
    arp::Arp,
    emit::{Datagram, Envelope, Segment},
    ethernet::MacAddress,
    headers::{Headers, Transport},
    network::Network,
    tcp::{SeqNumber, TcpFlags},
};
use policy_table::{Enforcement, Identities, Settings, Snapshot, Table};

mod adoption;
mod audit;
mod budgets;
mod elsewhere;
mod established;
mod fragment_chains;
mod fragments;
mod names;
mod related;

use super::*;
use crate::{
    counters::RequestCounters,
    drop_reason::DropReason,
    flow::Happening,
    umem::{Region, pool, port::FakePort},
    world::{Neighbour, PortKind, PortView},
};

mod expected;
mod jumbo;

const FRAMES: u32 = 256;
const TIEFIGHTER: PortId = PortId(0);
const DEATHSTAR: PortId = PortId(1);
const XWING: PortId = PortId(2);
const HOST: PortId = PortId(3);

const CLUSTER: &str = r#"
apiVersion: v1
kind: Namespace
metadata: {name: default}
---
apiVersion: v1
kind: Pod
metadata: {name: tiefighter, namespace: default, labels: {org: empire, class: tiefighter}}
status: {podIPs: [{ip: 10.0.0.1}, {ip: "fd00::1"}]}
---
apiVersion: v1
kind: Pod
metadata: {name: deathstar, namespace: default, labels: {org: empire, class: deathstar}}
status: {podIPs: [{ip: 10.0.0.2}, {ip: "fd00::2"}]}
---
apiVersion: v1
kind: Pod
metadata: {name: xwing, namespace: default, labels: {org: alliance, class: xwing}}
status: {podIPs: [{ip: 10.0.0.3}, {ip: "fd00::3"}]}
---
apiVersion: v1
kind: Service
metadata: {name: deathstar, namespace: default}
spec:
  clusterIP: 10.96.0.1
  selector: {class: deathstar}
  ports: [{port: 80, targetPort: 8080}, {port: 81, targetPort: 8081}]
"#;

const L4: &str = include_str!("../../../examples/star-wars/sw_l3_l4_policy.yaml");
const L7: &str = include_str!("../../../examples/star-wars/sw_l3_l4_l7_policy.yaml");

/// A worker with four ports, in a cluster with one policy.
struct Rig {
    worker: Worker<FakePort>,
    epoch: u64,
    identities: Identities,
    neighbours: Vec<Arc<Neighbour>>,
    mtus: [usize; 4],
    homes: [WorkerId; 4],
    host_kind: PortKind,
    audit: bool,
}

impl Rig {
    fn new(policy: &str) -> Self {
        Self::with_settings(policy, super::Settings::default())
    }

    fn with_settings(policy: &str, settings: super::Settings) -> Self {
        Self::member(WorkerId(0), [WorkerId(0); 4], vec![inbox()], policy, settings)
    }

    /// One of several workers, which receives from those of the ports whose home it is.
    fn member(
        id: WorkerId,
        homes: [WorkerId; 4],
        inboxes: Vec<Arc<Inbox>>,
        policy: &str,
        settings: super::Settings,
    ) -> Self {
        let (_, frames) = Region::plain(FRAMES);
        let reporting = Reporting {
            events: Arc::new(ArrayQueue::new(64)),
            observers: Arc::new(Observers::default()),
            hits: crossbeam::channel::unbounded().0,
        };
        let mut pool = Pool::new(pool::reserve(frames));
        let all: Vec<_> = std::iter::from_fn(|| pool.take()).collect();
        all.into_iter().for_each(|frame| pool.give(frame));
        let mut worker = Worker::new(id, Clock::start(), pool, inboxes, reporting, settings);
        for (port, home) in [TIEFIGHTER, DEATHSTAR, XWING, HOST].into_iter().zip(homes) {
            let Worker { ports, pool, .. } = &mut worker;
            ports.add(port, FakePort::default(), home == id, None, pool);
        }
        let neighbours: Vec<_> = (0..4).map(|_| Arc::new(Neighbour::default())).collect();
        for (port, neighbour) in neighbours.iter().enumerate() {
            neighbour.learn(pod_mac(port));
        }
        let (epoch, identities) = (0, Identities::default());
        let mut rig = Self {
            worker,
            epoch,
            identities,
            neighbours,
            mtus: [1500; 4],
            homes,
            host_kind: PortKind::Host,
            audit: false,
        };
        rig.apply(policy);
        rig
    }

    /// Puts a policy in force, as the control thread does.
    fn apply(&mut self, policy: &str) {
        self.epoch += 1;
        let loaded =
            Snapshot::parse(&[("cluster.yaml", CLUSTER), ("policy.yaml", policy)]).unwrap();
        let settings = Settings {
            enforcement: Enforcement::Default,
            host_addresses: vec![ip("10.0.0.254")],
            audit: self.audit,
        };
        let table =
            Arc::new(Table::compile(&loaded.snapshot, &settings, &mut self.identities, self.epoch));
        let views = ["tiefighter", "deathstar", "xwing", "host"].iter().enumerate().map(
            |(number, name)| {
                Some(PortView {
                    name: (*name).to_owned(),
                    kind: if *name == "host" { self.host_kind } else { PortKind::Pod },
                    mac: our_mac(number),
                    neighbour: Arc::clone(&self.neighbours[number]),
                    home: self.homes[number],
                    mtu: self.mtus[number],
                    endpoint: table.endpoint_named("default", name),
                })
            },
        );
        let views = views.collect();
        let gateways = vec![ip("10.0.0.254"), ip("fd00::fe")];
        let world = Arc::new(World::new(self.epoch, Some(table), views, gateways));
        self.worker.take_up(world);
    }

    /// Sends a frame into a port and takes a turn; what came out, by port.
    fn send(&mut self, port: PortId, packet: &[u8]) -> Vec<(PortId, Vec<u8>)> {
        let frame = self.worker.pool.packet(packet).unwrap();
        self.send_frame(port, frame)
    }

    fn send_frame(&mut self, port: PortId, frame: Frame) -> Vec<(PortId, Vec<u8>)> {
        self.worker.ports.sockets(port).unwrap().wire_in.push_back(frame);
        assert_eq!(self.worker.turn(), Progress::Worked);
        let out = self.collect();
        self.check_ledger();
        out
    }

    /// Puts a frame where the next turn finds it.
    fn put_in(&mut self, port: PortId, packet: &[u8]) {
        let frame = self.worker.pool.packet(packet).unwrap();
        self.worker.ports.sockets(port).unwrap().wire_in.push_back(frame);
    }

    /// What was sent, by port.
    fn collect(&mut self) -> Vec<(PortId, Vec<u8>)> {
        let mut out = Vec::new();
        for port in [TIEFIGHTER, DEATHSTAR, XWING, HOST] {
            while let Some(frame) = self.worker.ports.sockets(port).unwrap().wire_out.pop_front() {
                let parts: Vec<_> = std::iter::once(frame.bytes()).chain(frame.rest()).collect();
                out.push((port, parts.concat()));
                self.worker.pool.give(frame);
            }
        }
        out
    }

    /// Every frame is somewhere, and every packet had one exit.
    fn check_ledger(&mut self) {
        let report = self.worker.report();
        let on_ports: usize =
            report.ports.iter().map(|(_, port)| port.frames.rx + port.frames.tx).sum();
        assert_eq!(report.free + report.held + on_ports, FRAMES as usize, "ledger");
        let counters = &report.counters;
        assert_eq!(
            counters.received + counters.built,
            counters.sent
                + counters.answered
                + counters.absorbed
                + counters.handed_on
                + counters.dropped_in_all()
                + report.waiting as u64,
            "{counters:?}"
        );
    }

    fn dropped(&self, reason: DropReason) -> u64 {
        self.worker.counters.dropped(reason)
    }

    fn requests(&self) -> &RequestCounters {
        &self.worker.counters.requests
    }

    /// Opens a connection from the tiefighter to the deathstar: numbers 1001 and 5001 are next.
    fn shake_hands(&mut self) {
        self.open(TIEFIGHTER, tiefighter_syn());
        let mut answer = syn(envelope(DEATHSTAR, "10.0.0.2", "10.0.0.1"), 80, 40000);
        answer.flags = TcpFlags::SYN.with(TcpFlags::ACK);
        answer.seq = SeqNumber::new(5000);
        answer.ack = SeqNumber::new(1001);
        self.open(DEATHSTAR, answer);
    }

    /// A SYN that must arrive, and the answer of the other end.
    fn open(&mut self, client: PortId, tcp: Segment<'_>) -> Vec<u8> {
        let out = self.send(client, &bytes(&tcp));
        assert_eq!(out.len(), 1, "the SYN passes");
        out.into_iter().next().unwrap().1
    }
}

/// The inbox of a worker that nobody wakes.
fn inbox() -> Arc<Inbox> {
    let poll = mio::Poll::new().unwrap();
    Inbox::new(mio::Waker::new(poll.registry(), mio::Token(0)).unwrap())
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn pod_mac(port: usize) -> MacAddress {
    MacAddress::new([2, 0, 0, 0, 1, u8::try_from(port).unwrap()])
}

fn our_mac(port: usize) -> MacAddress {
    MacAddress::new([2, 0, 0, 0, 2, u8::try_from(port).unwrap()])
}

fn envelope(port: PortId, source: &str, destination: &str) -> Envelope {
    Envelope {
        source_mac: pod_mac(usize::from(port.0)),
        destination_mac: our_mac(usize::from(port.0)),
        source: ip(source),
        destination: ip(destination),
        hop_limit: 64,
        traffic_class: 0,
    }
}

fn syn(envelope: Envelope, src_port: u16, dst_port: u16) -> Segment<'static> {
    Segment {
        envelope,
        src_port,
        dst_port,
        seq: SeqNumber::new(1000),
        ack: SeqNumber::new(0),
        flags: TcpFlags::SYN,
        window: 65535,
        options: &[],
        payload: &[],
    }
}

fn bytes(segment: &Segment<'_>) -> Vec<u8> {
    let mut out = vec![0; 2048];
    let length = segment.emit(&mut out).unwrap();
    out.truncate(length);
    out
}

fn headers(packet: &[u8]) -> Headers {
    let headers = Headers::parse(packet).unwrap();
    assert!(parser::checksum::verify_transport(packet, &headers), "checksum");
    headers
}

const FROM_TIEFIGHTER: (&str, &str) = ("10.0.0.1", "10.0.0.2");

fn tiefighter_syn() -> Segment<'static> {
    syn(envelope(TIEFIGHTER, FROM_TIEFIGHTER.0, FROM_TIEFIGHTER.1), 40000, 80)
}

/// A segment of the tiefighter's with payload.
fn request(seq: u32, ack: u32, payload: &[u8]) -> Segment<'_> {
    Segment {
        seq: SeqNumber::new(seq),
        ack: SeqNumber::new(ack),
        flags: TcpFlags::ACK.with(TcpFlags::PSH),
        payload,
        ..tiefighter_syn()
    }
}

#[test]
fn a_packet_is_routed_to_its_pod_with_new_hardware_addresses_and_one_hop_less() {
    let mut rig = Rig::new("");
    let packet = rig.open(TIEFIGHTER, tiefighter_syn());
    let headers = headers(&packet);
    assert_eq!(headers.ethernet.source, our_mac(1));
    assert_eq!(headers.ethernet.destination, pod_mac(1));
    assert_eq!(headers.hop_limit(), Some(63));
}

#[test]
fn what_policy_does_not_allow_is_dropped_and_told() {
    let mut rig = Rig::new(L4);
    let out = rig.send(XWING, &bytes(&syn(envelope(XWING, "10.0.0.3", "10.0.0.2"), 40000, 80)));
    assert!(out.is_empty());
    assert_eq!(rig.dropped(DropReason::PolicyDenied), 1);
    let events: Vec<_> = std::iter::from_fn(|| rig.worker.reporting.events.pop()).collect();
    assert!(matches!(
        events[..],
        [FlowEvent { happening: Happening::PolicyVerdict { denied: Some(_), .. }, .. }]
    ));
}

#[test]
fn a_source_address_that_is_not_the_pods_own_is_dropped() {
    let mut rig = Rig::new("");
    let out = rig.send(XWING, &bytes(&syn(envelope(XWING, "10.0.0.1", "10.0.0.2"), 40000, 80)));
    assert!(out.is_empty());
    assert_eq!(rig.dropped(DropReason::InvalidSourceIp), 1);
}

#[test]
fn a_hardware_address_that_is_not_the_pods_own_is_dropped() {
    let mut rig = Rig::new("");
    let mut forged = tiefighter_syn();
    forged.envelope.source_mac = pod_mac(2);
    assert!(rig.send(TIEFIGHTER, &bytes(&forged)).is_empty());
    assert_eq!(rig.dropped(DropReason::InvalidMac), 1);
}

#[test]
fn the_nodes_stack_cannot_speak_for_a_pod() {
    let mut rig = Rig::new("");
    let out = rig.send(HOST, &bytes(&syn(envelope(HOST, "10.0.0.1", "10.0.0.2"), 40000, 80)));
    assert!(out.is_empty());
    assert_eq!(rig.dropped(DropReason::InvalidSourceIp), 1);
}

#[test]
fn the_wire_cannot_speak_for_a_pod_the_gateway_or_the_node() {
    let mut rig = Rig::new("");
    rig.host_kind = PortKind::Uplink;
    rig.apply("");
    for source in ["10.0.0.1", "10.0.0.3", "10.0.0.254"] {
        let out = rig.send(HOST, &bytes(&syn(envelope(HOST, source, "10.0.0.2"), 40000, 80)));
        assert!(out.is_empty(), "{source}: {out:?}");
    }
    assert_eq!(rig.dropped(DropReason::InvalidSourceIp), 3);
    // Somebody else on the wire is believed, though there is no way back to him here.
    rig.send(HOST, &bytes(&syn(envelope(HOST, "192.0.2.1", "10.0.0.2"), 40000, 80)));
    assert_eq!(rig.dropped(DropReason::InvalidSourceIp), 3);
    assert_eq!(rig.dropped(DropReason::NoRoute), 1);
}

#[test]
fn neighbour_discovery_is_believed_about_oneself_only() {
    let claim = |source: &str, target: &str| {
        let IpAddr::V6(target) = ip(target) else { panic!() };
        let mut out = vec![0; 256];
        let envelope = Envelope { hop_limit: 255, ..envelope(XWING, source, "fd00::2") };
        // A neighbour advertisement: "I am `target`, and here is my hardware address" (RFC 4861 §4.4).
        let body = [&target.octets()[..], &[2, 1, 2, 0, 0, 0, 1, 2]].concat();
        let (icmp_type, word) = (136, [0x20, 0, 0, 0]);
        let length = parser::emit::IcmpPacket { envelope, icmp_type, code: 0, word, body: &body }
            .emit(&mut out)
            .unwrap();
        out.truncate(length);
        out
    };
    let mut rig = Rig::new("");
    rig.neighbours[0] = Arc::new(Neighbour::default());
    rig.apply("");
    assert!(rig.send(XWING, &claim("fd00::1", "fd00::1")).is_empty());
    assert_eq!(rig.dropped(DropReason::InvalidSourceIp), 1);
    // Told about another's address under one's own: taken note of, passed on to nobody, believed by nobody.
    assert!(rig.send(XWING, &claim("fd00::3", "fd00::1")).is_empty());
    assert_eq!(rig.neighbours[0].mac(), None);
    assert_eq!(rig.neighbours[2].mac(), Some(pod_mac(2)));
}

#[test]
fn arp_is_answered_for_everybody_but_the_asker() {
    let mut rig = Rig::new("");
    let [tiefighter, gateway]: [std::net::Ipv4Addr; 2] =
        [[10, 0, 0, 1].into(), [10, 0, 0, 254].into()];
    let mut packet = vec![0; 64];
    let length = Arp::request(pod_mac(0), tiefighter, gateway).emit(&mut packet).unwrap();
    let out = rig.send(TIEFIGHTER, &packet[..length]);
    let [(TIEFIGHTER, answer)] = &out[..] else { panic!("{out:?}") };
    let Network::Arp(reply) = Headers::parse(answer).unwrap().network else { panic!("not ARP") };
    assert_eq!((reply.sender_mac, reply.sender_ip), (our_mac(0), gateway));
    let length = Arp::request(pod_mac(0), tiefighter, tiefighter).emit(&mut packet).unwrap();
    assert!(
        rig.send(TIEFIGHTER, &packet[..length]).is_empty(),
        "an announcement is not contradicted"
    );
    let length = Arp::request(pod_mac(0), [10, 0, 0, 3].into(), gateway).emit(&mut packet).unwrap();
    assert!(rig.send(TIEFIGHTER, &packet[..length]).is_empty());
    assert_eq!(rig.dropped(DropReason::InvalidSourceIp), 1, "a claim to another's address");
}

#[test]
fn a_pod_is_told_once_where_its_gateway_is_now() {
    let mut rig = Rig::new("");
    let world = Arc::clone(&rig.worker.world);
    rig.worker.announce_gateways(&world);
    rig.worker.announce_gateways(&world);
    let out = rig.collect();
    for pod in [TIEFIGHTER, DEATHSTAR, XWING] {
        let told: Vec<_> = out.iter().filter(|(port, _)| *port == pod).collect();
        assert_eq!(told.len(), 2, "one for each family");
        let Network::Arp(arp) = headers(&told[0].1).network else { panic!("{told:?}") };
        assert_eq!((IpAddr::V4(arp.sender_ip), arp.target_ip), (ip("10.0.0.254"), arp.sender_ip));
        assert_eq!(arp.sender_mac, our_mac(usize::from(pod.0)));
        assert_eq!(headers(&told[1].1).source(), Some(ip("fd00::fe")));
    }
    assert!(out.iter().all(|(port, _)| *port != HOST), "the gateway itself is not told");
}

#[test]
fn a_service_leads_to_its_backend_and_answers_under_its_own_address() {
    let mut rig = Rig::new("");
    let packet =
        rig.open(TIEFIGHTER, syn(envelope(TIEFIGHTER, "10.0.0.1", "10.96.0.1"), 40000, 80));
    let there = headers(&packet).flow_tuple().unwrap();
    assert_eq!((there.destination, there.dst_port), (ip("10.0.0.2"), 8080));
    let mut answer = syn(envelope(DEATHSTAR, "10.0.0.2", "10.0.0.1"), 8080, 40000);
    answer.flags = TcpFlags::SYN.with(TcpFlags::ACK);
    answer.ack = SeqNumber::new(1001);
    let packet = rig.open(DEATHSTAR, answer);
    let back = headers(&packet).flow_tuple().unwrap();
    assert_eq!((back.source, back.src_port), (ip("10.96.0.1"), 80));
}

#[test]
fn a_service_port_without_backend_has_its_own_reason() {
    let mut rig = Rig::new("");
    let out = rig
        .send(TIEFIGHTER, &bytes(&syn(envelope(TIEFIGHTER, "10.0.0.1", "10.96.0.1"), 40000, 443)));
    assert!(out.is_empty());
    assert_eq!(rig.dropped(DropReason::ServiceBackendNotFound), 1);
}

#[test]
fn the_last_hop_is_told_to_the_sender() {
    let mut rig = Rig::new("");
    let mut last = tiefighter_syn();
    last.envelope.hop_limit = 1;
    let out = rig.send(TIEFIGHTER, &bytes(&last));
    let [(TIEFIGHTER, error)] = &out[..] else { panic!("{out:?}") };
    assert!(headers(error).icmp_error().is_some());
    assert_eq!(rig.dropped(DropReason::TtlExceeded), 1);
}

#[test]
fn a_revoked_permission_ends_an_established_connection_with_its_next_packet() {
    let mut rig = Rig::new("");
    rig.open(XWING, syn(envelope(XWING, "10.0.0.3", "10.0.0.2"), 40000, 80));
    rig.apply(L4);
    let mut data = syn(envelope(XWING, "10.0.0.3", "10.0.0.2"), 40000, 80);
    data.flags = TcpFlags::ACK;
    data.payload = b"still here?";
    assert!(rig.send(XWING, &bytes(&data)).is_empty());
    assert_eq!(rig.dropped(DropReason::PolicyDenied), 1);
}

/// Nobody may reach the Death Star any more.
const NOBODY: &str = "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: nobody}\n\
                      spec: {endpointSelector: {matchLabels: {class: deathstar}}, ingress: [{}]}\n";

#[test]
fn a_revoked_inspected_connection_is_reset_on_both_sides_whoever_speaks_next() {
    for speaker in [TIEFIGHTER, DEATHSTAR] {
        let mut rig = Rig::new(L7);
        rig.shake_hands();
        rig.apply(NOBODY);
        let next = if speaker == TIEFIGHTER {
            bytes(&request(1001, 5001, b"POST /v1/request-landing HTTP/1.1\r\n"))
        } else {
            let mut answer = syn(envelope(DEATHSTAR, "10.0.0.2", "10.0.0.1"), 80, 40000);
            answer.flags = TcpFlags::ACK;
            answer.seq = SeqNumber::new(5001);
            answer.ack = SeqNumber::new(1001);
            bytes(&answer)
        };
        let mut reset: Vec<PortId> = Vec::new();
        for (port, packet) in rig.send(speaker, &next) {
            assert!(headers(&packet).tcp().unwrap().flags.is_rst(), "nothing else leaves");
            reset.push(port);
        }
        reset.sort();
        assert_eq!(reset, [TIEFIGHTER, DEATHSTAR]);
        assert_eq!(rig.dropped(DropReason::PolicyDenied), 1);
    }
}

#[test]
fn a_permission_that_stays_keeps_its_connection() {
    let mut rig = Rig::new("");
    rig.open(TIEFIGHTER, tiefighter_syn());
    rig.apply(L4);
    let mut data = tiefighter_syn();
    data.flags = TcpFlags::ACK;
    data.payload = b"still here";
    assert_eq!(rig.send(TIEFIGHTER, &bytes(&data)).len(), 1);
}

#[test]
fn a_segment_without_connection_is_picked_up_at_l4_and_reset_at_l7() {
    let mut data = tiefighter_syn();
    data.flags = TcpFlags::ACK;
    data.payload = b"after a restart";
    let mut rig = Rig::new(L4);
    assert_eq!(rig.send(TIEFIGHTER, &bytes(&data))[0].0, DEATHSTAR);
    let mut rig = Rig::new(L7);
    let out = rig.send(TIEFIGHTER, &bytes(&data));
    let [(TIEFIGHTER, reset)] = &out[..] else { panic!("{out:?}") };
    assert!(headers(reset).tcp().unwrap().flags.is_rst());
    // The server's half of such a connection does not open it the other way round either.
    let mut answer = syn(envelope(DEATHSTAR, "10.0.0.2", "10.0.0.1"), 80, 40000);
    answer.flags = TcpFlags::ACK;
    answer.payload = b"HTTP/1.1 200 OK\r\n\r\n";
    let out = rig.send(DEATHSTAR, &bytes(&answer));
    assert!(out.iter().all(|(port, _)| *port == DEATHSTAR), "{out:?}");
}

#[test]
fn a_denied_request_never_reaches_the_server_and_is_answered() {
    let mut rig = Rig::new(L7);
    rig.shake_hands();
    let denied = b"PUT /v1/exhaust-port HTTP/1.1\r\nHost: deathstar\r\n\r\n";
    let out = rig.send(TIEFIGHTER, &bytes(&request(1001, 5001, denied)));
    let payload_to = |to: PortId| -> Vec<u8> {
        let to = out.iter().filter(|(port, _)| *port == to);
        to.flat_map(|(_, packet)| headers(packet).payload(packet).unwrap().to_vec()).collect()
    };
    assert!(payload_to(DEATHSTAR).is_empty(), "nothing of it for the server");
    let answers = payload_to(TIEFIGHTER);
    let text = String::from_utf8(answers).unwrap();
    assert!(
        text.starts_with("HTTP/1.1 403 ") && text.ends_with("\r\n\r\nAccess denied\r\n"),
        "{text}"
    );
    assert_eq!(rig.worker.counters.requests.denied, 1);
}

#[test]
fn an_inspected_segment_with_a_wrong_checksum_is_dropped() {
    let mut rig = Rig::new(L7);
    let mut packet = bytes(&tiefighter_syn());
    let last = packet.len() - 4;
    packet[last] ^= 0x55;
    assert!(rig.send(TIEFIGHTER, &packet).is_empty());
    assert_eq!(rig.dropped(DropReason::BadChecksum), 1);
}

#[test]
fn a_checksum_left_to_hardware_is_completed() {
    let mut rig = Rig::new("");
    let mut packet = bytes(&tiefighter_syn());
    let IpAddr::V4(source) = ip("10.0.0.1") else { panic!() };
    let IpAddr::V4(destination) = ip("10.0.0.2") else { panic!() };
    let pseudo =
        parser::checksum::pseudo_header_v4(source, destination, parser::network::Protocol::TCP, 20);
    packet[14 + 20 + 16..14 + 20 + 18].copy_from_slice(&pseudo.value().to_be_bytes());
    let out = rig.send(TIEFIGHTER, &packet);
    headers(&out[0].1);
}

#[test]
fn a_packet_waits_for_a_silent_pod_and_goes_when_it_has_spoken() {
    let mut rig = Rig::new("");
    rig.neighbours[1] = Arc::new(Neighbour::default());
    rig.apply("");
    let out = rig.send(TIEFIGHTER, &bytes(&tiefighter_syn()));
    let [(DEATHSTAR, question)] = &out[..] else { panic!("{out:?}") };
    let Network::Arp(question) = Headers::parse(question).unwrap().network else {
        panic!("not ARP")
    };
    assert_eq!(question.target_ip, std::net::Ipv4Addr::new(10, 0, 0, 2));
    let mut packet = vec![0; 64];
    let length = question.reply(pod_mac(1)).emit(&mut packet).unwrap();
    let out = rig.send(DEATHSTAR, &packet[..length]);
    let [(DEATHSTAR, syn)] = &out[..] else { panic!("{out:?}") };
    assert!(matches!(headers(syn).transport, Transport::Tcp(_)));
}

#[test]
fn only_so_many_packets_wait_for_a_silent_pod() {
    let mut rig = Rig::new("");
    rig.neighbours[1] = Arc::new(Neighbour::default());
    rig.apply("");
    for port in 0..64 {
        rig.send(
            TIEFIGHTER,
            &bytes(&syn(envelope(TIEFIGHTER, "10.0.0.1", "10.0.0.2"), 40000 + port, 80)),
        );
    }
    assert!(rig.dropped(DropReason::NeighbourUnresolved) > 0);
}

#[test]
fn nothing_passes_before_a_first_snapshot() {
    let mut rig = Rig::new("");
    rig.worker.world = Arc::new(Arc::new(World::new(9, None, Vec::new(), Vec::new())));
    assert!(rig.send(TIEFIGHTER, &bytes(&tiefighter_syn())).is_empty());
}

#[test]
fn a_packet_does_not_wait_forever_for_a_pod_that_never_speaks() {
    let mut rig = Rig::new("");
    rig.neighbours[1] = Arc::new(Neighbour::default());
    rig.apply("");
    rig.send(TIEFIGHTER, &bytes(&tiefighter_syn()));
    assert_eq!(rig.worker.ports.waiting(), 1);
    rig.worker.now = Tick(rig.worker.now.0 + 10_000);
    rig.worker.expire_waiting();
    assert_eq!(rig.dropped(DropReason::NeighbourUnresolved), 1);
    rig.check_ledger();
}

/// "Port unreachable" about `quoted`, as `source` on `port` would send it to `destination`.
fn icmp_error(port: PortId, source: &str, destination: &str, quoted: &[u8]) -> Vec<u8> {
    let mut out = vec![0; 2048];
    let packet = parser::emit::IcmpPacket {
        envelope: envelope(port, source, destination),
        icmp_type: 3,
        code: 3,
        word: [0; 4],
        body: &quoted[14..],
    };
    let length = packet.emit(&mut out).unwrap();
    out.truncate(length);
    out
}

#[test]
fn an_icmp_error_passes_from_the_connections_far_side_and_from_nobody_else() {
    let mut rig = Rig::new("");
    let syn = rig.open(TIEFIGHTER, tiefighter_syn());
    let out = rig.send(DEATHSTAR, &icmp_error(DEATHSTAR, "10.0.0.2", "10.0.0.1", &syn));
    assert_eq!(out.len(), 1, "related");
    assert!(rig.send(XWING, &icmp_error(XWING, "10.0.0.3", "10.0.0.1", &syn)).is_empty());
    assert!(rig.send(DEATHSTAR, &icmp_error(DEATHSTAR, "10.0.0.2", "10.0.0.3", &syn)).is_empty());
    assert_eq!(rig.dropped(DropReason::UnrelatedIcmpError), 2);
}

/// W1 of the threat model: a backend turns a picked-up connection round to open one that its victim's policy forbids.
#[test]
fn a_backend_cannot_open_a_connection_as_a_reply() {
    const VICTIM: &str = r#"
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: nobody-reaches-xwing, namespace: default}
spec: {endpointSelector: {matchLabels: {class: xwing}}, ingress: [{}]}
"#;
    let mut rig = Rig::new(VICTIM);
    let mut ack = syn(envelope(DEATHSTAR, "10.0.0.2", "10.0.0.3"), 8080, 22);
    ack.flags = TcpFlags::ACK;
    rig.send(DEATHSTAR, &bytes(&ack));
    let out =
        rig.send(DEATHSTAR, &bytes(&syn(envelope(DEATHSTAR, "10.0.0.2", "10.0.0.3"), 8080, 22)));
    assert!(out.is_empty(), "{out:?}");
}

/// A deny rule for an SCTP port holds although everything else is allowed; a rule for another port does not.
#[test]
fn sctp_is_judged_by_its_port() {
    const DENY: &str = r#"
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: no-sctp-80, namespace: default}
spec:
  endpointSelector: {matchLabels: {class: deathstar}}
  ingress: [{fromEntities: [all]}]
  ingressDeny: [{toPorts: [{ports: [{port: "80", protocol: SCTP}]}]}]
"#;
    let sctp = |port, source, destination, src_port, dst_port| {
        let mut packet = bytes(&syn(envelope(port, source, destination), src_port, dst_port));
        packet[23] = 132;
        packet[24..26].fill(0);
        let header = parser::checksum::Sum::new().add_bytes(&packet[14..34]).checksum();
        packet[24..26].copy_from_slice(&header.to_be_bytes());
        packet
    };
    let mut rig = Rig::new(DENY);
    let to = |dst_port| sctp(TIEFIGHTER, "10.0.0.1", "10.0.0.2", 40000, dst_port);
    assert!(rig.send(TIEFIGHTER, &to(80)).is_empty());
    assert_eq!(rig.dropped(DropReason::PolicyDeny), 1);
    assert_eq!(rig.send(TIEFIGHTER, &to(81)).len(), 1);
    assert_eq!(rig.send(DEATHSTAR, &sctp(DEATHSTAR, "10.0.0.2", "10.0.0.1", 81, 40000)).len(), 1);
}

#[test]
fn a_connection_is_picked_up_as_one_that_nobody_has_answered() {
    let mut rig = Rig::new("");
    let mut ack = tiefighter_syn();
    ack.flags = TcpFlags::ACK;
    rig.send(TIEFIGHTER, &bytes(&ack));
    let tuple = headers(&bytes(&ack)).flow_tuple().unwrap();
    let found = rig.worker.connections.find(&tuple).unwrap();
    assert_eq!(
        rig.worker.connections.connection(found.id).unwrap().phase,
        crate::connection::tcp::Phase::Opening
    );
}

#[test]
fn a_packet_that_does_not_fit_the_next_link_is_told_to_the_sender() {
    let mut rig = Rig::new("");
    let mut out = vec![0; 2048];
    let datagram = Datagram {
        envelope: envelope(TIEFIGHTER, "10.0.0.1", "10.0.0.2"),
        src_port: 9,
        dst_port: 9,
        payload: &[0; 1600],
    };
    let length = datagram.emit(&mut out).unwrap();
    let out = rig.send(TIEFIGHTER, &out[..length]);
    let [(TIEFIGHTER, error)] = &out[..] else { panic!("{out:?}") };
    let cause = headers(error).icmp_error().unwrap().cause;
    assert_eq!(cause, parser::icmp::ErrorCause::TooBig { mtu: 1500 });
    assert_eq!(rig.dropped(DropReason::TooBig), 1);
}

/// An ICMP message whose identifier is 0, as `source` on `port` sends it.
fn icmp(port: PortId, source: &str, destination: &str, icmp_type: u8) -> Vec<u8> {
    let mut out = vec![0; 256];
    let envelope = envelope(port, source, destination);
    let packet =
        parser::emit::IcmpPacket { envelope, icmp_type, code: 0, word: [0; 4], body: &[0; 16] };
    let length = packet.emit(&mut out).unwrap();
    out.truncate(length);
    out
}

/// W7 of the threat model: other types hid behind an allowed ping, and a ping behind its own answer.
#[test]
fn each_icmp_type_is_its_own_question() {
    const PING_ONLY: &str = r#"
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: ping-only, namespace: default}
spec:
  endpointSelector: {}
  ingress:
  - fromEndpoints: [{matchLabels: {class: tiefighter}}]
    icmps: [{fields: [{type: 8, family: IPv4}]}]
"#;
    let mut rig = Rig::new(PING_ONLY);
    assert_eq!(rig.send(TIEFIGHTER, &icmp(TIEFIGHTER, "10.0.0.1", "10.0.0.2", 8)).len(), 1, "ping");
    assert_eq!(
        rig.send(DEATHSTAR, &icmp(DEATHSTAR, "10.0.0.2", "10.0.0.1", 0)).len(),
        1,
        "its answer"
    );
    assert!(
        rig.send(TIEFIGHTER, &icmp(TIEFIGHTER, "10.0.0.1", "10.0.0.2", 13)).is_empty(),
        "timestamp"
    );
    assert_eq!(rig.dropped(DropReason::PolicyDenied), 1);
    assert!(
        rig.send(DEATHSTAR, &icmp(DEATHSTAR, "10.0.0.2", "10.0.0.1", 8)).is_empty(),
        "ping as a reply"
    );
    assert_eq!(rig.dropped(DropReason::MidStream), 1);
}
