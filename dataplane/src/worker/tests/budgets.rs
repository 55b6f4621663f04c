//! Floods: whoever uses up what is its own share hurts nobody else.

use super::*;
use crate::worker::Settings;

/// Everybody may ask everybody for `/`, and for nothing else.
const HTTP: &str = r#"
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: http, namespace: default}
spec:
  endpointSelector: {matchLabels: {class: deathstar}}
  ingress:
  - fromEndpoints: [{}]
    toPorts: [{ports: [{port: "80", protocol: TCP}], rules: {http: [{method: GET, path: "/"}]}}]
"#;

const ADDRESSES: [&str; 3] = ["10.0.0.1", "10.0.0.2", "10.0.0.3"];

fn settings(budgets: Budgets) -> Settings {
    Settings { budgets, ..Settings::default() }
}

fn between(from: PortId, to: PortId) -> Envelope {
    let [from_address, to_address] = [from, to].map(|port| ADDRESSES[usize::from(port.0)]);
    envelope(from, from_address, to_address)
}

/// A segment of an open connection, with the numbers that `Rig::connect` leaves.
fn data(from: PortId, to: PortId, src_port: u16, payload: &[u8]) -> Segment<'_> {
    Segment {
        flags: TcpFlags::ACK.with(TcpFlags::PSH),
        seq: SeqNumber::new(1001),
        ack: SeqNumber::new(5001),
        payload,
        ..syn(between(from, to), src_port, 80)
    }
}

impl Rig {
    /// Sends a frame into a port and takes a turn, without looking at the ledger; what came out, by port.
    fn push(&mut self, port: PortId, packet: &[u8]) -> Vec<(PortId, Vec<u8>)> {
        self.put_in(port, packet);
        self.worker.turn();
        self.collect()
    }

    /// The three segments of a handshake; whether the server was reached.
    fn connect(&mut self, client: PortId, server: PortId, src_port: u16) -> bool {
        if self.push(client, &bytes(&syn(between(client, server), src_port, 80))).is_empty() {
            return false;
        }
        let answer = Segment {
            flags: TcpFlags::SYN.with(TcpFlags::ACK),
            seq: SeqNumber::new(5000),
            ack: SeqNumber::new(1001),
            ..syn(between(server, client), 80, src_port)
        };
        self.push(server, &bytes(&answer));
        self.push(client, &bytes(&data(client, server, src_port, b"")));
        true
    }
}

#[test]
fn two_pods_that_work_together_cannot_keep_a_third_from_connecting() {
    let budgets = Budgets { connections: 60, connections_per_endpoint: 30, ..Budgets::default() };
    let mut rig = Rig::with_settings("", settings(budgets));
    for src_port in 1..200 {
        rig.connect(TIEFIGHTER, XWING, src_port);
        rig.connect(XWING, TIEFIGHTER, src_port + 1000);
    }
    assert_eq!(rig.worker.connections.len(), 60);
    assert!(rig.dropped(DropReason::EndpointBudget) >= 300);
    for src_port in 1..=20 {
        assert!(rig.connect(DEATHSTAR, XWING, src_port), "{src_port}");
    }
    assert_eq!(rig.dropped(DropReason::ConnectionTableFull), 0);
    rig.check_ledger();
}

#[test]
fn a_flood_of_syns_leaves_connections_in_use_alone() {
    let budgets = Budgets { connections: 50, connections_per_endpoint: 50, ..Budgets::default() };
    let mut rig = Rig::with_settings("", settings(budgets));
    rig.connect(XWING, DEATHSTAR, 7);
    rig.connect(TIEFIGHTER, DEATHSTAR, 7);
    for src_port in 100..1100 {
        let flood = bytes(&syn(between(TIEFIGHTER, DEATHSTAR), src_port, 80));
        assert_eq!(rig.push(TIEFIGHTER, &flood).len(), 1, "half open ones give way to each other");
    }
    assert!(rig.worker.connections.evicted() > 900);
    for client in [XWING, TIEFIGHTER] {
        let tuple = headers(&bytes(&data(client, DEATHSTAR, 7, b""))).flow_tuple().unwrap();
        let found = rig.worker.connections.find(&tuple).unwrap();
        let phase = rig.worker.connections.connection(found.id).unwrap().phase;
        assert_eq!(phase, crate::connection::tcp::Phase::Established);
    }
    rig.check_ledger();
}

#[test]
fn icmp_errors_that_one_pod_provokes_do_not_use_up_anothers() {
    let budgets = Budgets { icmp_errors_per_second: 5, ..Budgets::default() };
    let mut rig = Rig::with_settings("", settings(budgets));
    let last_hop = |client: PortId| {
        let mut segment = syn(between(client, DEATHSTAR), 7, 80);
        segment.envelope.hop_limit = 1;
        bytes(&segment)
    };
    let answered =
        (0..1000).take_while(|_| !rig.send(TIEFIGHTER, &last_hop(TIEFIGHTER)).is_empty()).count();
    assert!((5..1000).contains(&answered), "{answered} answers");
    assert_eq!(rig.send(XWING, &last_hop(XWING)).len(), 1);
}

#[test]
fn ten_thousand_slow_heads_are_bounded_and_hurt_nobody_else() {
    let budgets = Budgets { stream_bytes_per_endpoint: 1 << 20, ..Budgets::default() };
    let mut rig = Rig::with_settings(HTTP, settings(budgets));
    assert!(rig.connect(XWING, DEATHSTAR, 7));
    let begun = format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}", "y".repeat(400));
    for src_port in 1..=10_000 {
        rig.connect(TIEFIGHTER, DEATHSTAR, src_port);
        let out =
            rig.push(TIEFIGHTER, &bytes(&data(TIEFIGHTER, DEATHSTAR, src_port, begun.as_bytes())));
        assert!(
            out.iter().all(|(_, packet)| !packet.windows(5).any(|window| window == b"host:")),
            "nothing of an incomplete head passes"
        );
        assert!(rig.worker.connections.held() <= (1 << 20) + 2048);
    }
    let shed = rig.worker.counters.streams_shed;
    assert!((1000..10_000).contains(&shed), "{shed}");
    let request = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
    let out = rig.push(XWING, &bytes(&data(XWING, DEATHSTAR, 7, request)));
    let [(DEATHSTAR, packet)] = &out[..] else { panic!("{out:?}") };
    assert_eq!(headers(packet).payload(packet).unwrap(), request);
    rig.check_ledger();
}

#[test]
fn early_segments_without_end_cost_their_sender_its_own_connections() {
    let budgets = Budgets { stream_bytes_per_endpoint: 1 << 18, ..Budgets::default() };
    let mut rig = Rig::with_settings(HTTP, settings(budgets));
    assert!(rig.connect(XWING, DEATHSTAR, 7));
    for src_port in 1..=40 {
        rig.connect(TIEFIGHTER, DEATHSTAR, src_port);
        for piece in 1..=20_u32 {
            let mut early = data(TIEFIGHTER, DEATHSTAR, src_port, &[b'x'; 1000]);
            early.seq = SeqNumber::new(1001 + piece * 2000);
            rig.push(TIEFIGHTER, &bytes(&early));
            assert!(rig.worker.connections.held() <= (1 << 18) + 2048);
        }
    }
    assert!(rig.worker.counters.streams_shed > 10);
    let request = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
    assert_eq!(rig.push(XWING, &bytes(&data(XWING, DEATHSTAR, 7, request))).len(), 1);
    rig.check_ledger();
}

/// Frames that nobody sends on yet: every packet that we would have to build is lost by name, and nothing else is.
#[test]
fn without_a_free_frame_answers_are_lost_by_name_and_repeated_later() {
    let mut settings = Settings::default();
    settings.limits.retransmit_time = 1;
    let mut rig = Rig::with_settings(HTTP, settings);
    assert!(rig.connect(XWING, DEATHSTAR, 7));
    let mut src_port = 100;
    while rig.worker.pool.free() > 1 {
        rig.put_in(TIEFIGHTER, &bytes(&syn(between(TIEFIGHTER, XWING), src_port, 81)));
        rig.worker.turn();
        src_port += 1;
    }
    let denied = data(XWING, DEATHSTAR, 7, b"GET /denied HTTP/1.1\r\nhost: a\r\n\r\n");
    rig.put_in(XWING, &bytes(&denied));
    rig.worker.turn();
    assert!(rig.dropped(DropReason::PoolEmpty) > 0);
    rig.check_ledger();
    let out = rig.collect();
    assert!(out.iter().all(|(port, _)| *port == XWING), "{out:?}");
    let answer = std::iter::from_fn(|| {
        rig.worker.turn();
        Some(rig.collect())
    })
    .flatten()
    .find(|(_, packet)| headers(packet).payload_len > 0);
    let Some((XWING, answer)) = answer else { panic!("{answer:?}") };
    assert!(headers(&answer).payload(&answer).unwrap().starts_with(b"HTTP/1.1 403 "));
    rig.check_ledger();
}
