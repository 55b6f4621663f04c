//! A connection that was opened without an HTTP rule is judged by one that comes later, if and only if every byte that its server
//! has is known to have been read as we read it.

use super::*;

const ALLOWED: &[u8] = b"POST /v1/request-landing HTTP/1.1\r\nHost: deathstar\r\n\r\n";
const DENIED: &[u8] = b"PUT /v1/exhaust-port HTTP/1.1\r\nHost: deathstar\r\n\r\n";
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n";

/// A connection of the tiefighter's to the deathstar, as both ends count it.
struct Talk {
    rig: Rig,
    client: u32,
    server: u32,
}

impl Talk {
    /// Opens it under a policy without HTTP rules.
    fn open() -> Self {
        let mut rig = Rig::new(L4);
        rig.shake_hands();
        Self { rig, client: 1001, server: 5001 }
    }

    fn say(&mut self, payload: &[u8]) -> Vec<(PortId, Vec<u8>)> {
        let out = self.rig.send(TIEFIGHTER, &bytes(&request(self.client, self.server, payload)));
        self.client += u32::try_from(payload.len()).unwrap();
        out
    }

    fn answer(&mut self, payload: &[u8]) -> Vec<(PortId, Vec<u8>)> {
        let segment = Segment {
            flags: TcpFlags::ACK,
            seq: SeqNumber::new(self.server),
            ack: SeqNumber::new(self.client),
            payload,
            ..syn(envelope(DEATHSTAR, "10.0.0.2", "10.0.0.1"), 80, 40000)
        };
        self.server += u32::try_from(payload.len()).unwrap();
        self.rig.send(DEATHSTAR, &bytes(&segment))
    }

    /// Says something under a new HTTP policy that must end the connection, and that nothing of it reaches the server.
    fn expect_reset(&mut self, payload: &[u8]) {
        self.rig.apply(L7);
        let out = self.say(payload);
        let [(TIEFIGHTER, reset)] = &out[..] else { panic!("{out:?}") };
        assert!(headers(reset).tcp().unwrap().flags.is_rst());
        assert_eq!(self.rig.dropped(DropReason::MidStream), 1);
    }
}

fn payload_to(out: &[(PortId, Vec<u8>)], to: PortId) -> Vec<u8> {
    let to = out.iter().filter(|(port, _)| *port == to);
    to.flat_map(|(_, packet)| headers(packet).payload(packet).unwrap().to_vec()).collect()
}

#[test]
fn a_connection_between_two_requests_is_judged_from_the_next_one_on() {
    let mut talk = Talk::open();
    assert_eq!(payload_to(&talk.say(DENIED), DEATHSTAR), DENIED, "no rule speaks of it yet");
    talk.answer(ANSWER);
    talk.rig.apply(L7);
    let out = talk.say(DENIED);
    assert!(payload_to(&out, DEATHSTAR).is_empty(), "{out:?}");
    assert!(payload_to(&out, TIEFIGHTER).starts_with(b"HTTP/1.1 403 "));
    assert_eq!(payload_to(&talk.say(ALLOWED), DEATHSTAR), ALLOWED, "and it goes on");
    assert_eq!(talk.rig.dropped(DropReason::MidStream), 0);
}

#[test]
fn a_request_that_the_server_has_already_is_its_own_and_its_answer_passes() {
    let mut talk = Talk::open();
    talk.say(DENIED);
    talk.rig.apply(L7);
    assert_eq!(payload_to(&talk.answer(ANSWER), TIEFIGHTER), ANSWER);
    assert_eq!(payload_to(&talk.say(ALLOWED), DEATHSTAR), ALLOWED);
    assert!(payload_to(&talk.say(DENIED), DEATHSTAR).is_empty());
}

#[test]
fn content_that_was_announced_before_is_content_and_what_follows_it_is_judged() {
    let mut talk = Talk::open();
    talk.say(b"POST /upload HTTP/1.1\r\nHost: deathstar\r\nContent-Length: 100\r\n\r\n");
    talk.say(&[b'x'; 40]);
    talk.rig.apply(L7);
    // Sixty bytes of content are owed; what looks like a request in them is none, and what follows them is one.
    let mut rest = DENIED.to_vec();
    rest.resize(60, b'y');
    rest.extend_from_slice(DENIED);
    let out = talk.say(&rest);
    assert_eq!(payload_to(&out, DEATHSTAR), &rest[..60]);
    assert_eq!(talk.rig.worker.counters.requests.denied, 1);
}

#[test]
fn half_a_head_that_has_passed_cannot_be_judged() {
    let mut talk = Talk::open();
    talk.say(&DENIED[..20]);
    talk.expect_reset(&DENIED[20..]);
}

#[test]
fn bytes_that_the_server_may_not_have_taken_are_not_built_upon() {
    // The server drops the first version for its checksum and takes the second: a body for us, requests for the server.
    let mut talk = Talk::open();
    let mut wrong =
        bytes(&request(1001, 5001, b"POST / HTTP/1.1\r\nHost: d\r\nContent-Length: 99\r\n\r\n"));
    wrong[14 + 20 + 16] ^= 1; // the checksum's first byte
    talk.rig.send(TIEFIGHTER, &wrong);
    talk.expect_reset(DENIED);
}

#[test]
fn a_byte_that_was_sent_twice_with_two_values_is_not_built_upon() {
    let mut talk = Talk::open();
    talk.say(b"POST / HTTP/1.1\r\nHost: d\r\nContent-Length: 99\r\n\r\n");
    talk.client = 1001;
    talk.say(b"POST / HTTP/1.1\r\nHost: d\r\nContent-Length: 11\r\n\r\n");
    talk.expect_reset(DENIED);
}

#[test]
fn urgent_data_leaves_two_readings_and_none_is_built_upon() {
    let mut talk = Talk::open();
    let mut urgent = request(1001, 5001, ALLOWED);
    urgent.flags = urgent.flags.with(TcpFlags::URG);
    talk.rig.send(TIEFIGHTER, &bytes(&urgent));
    talk.client += u32::try_from(ALLOWED.len()).unwrap();
    talk.expect_reset(DENIED);
}

#[test]
fn another_protocol_is_not_taken_for_requests_later() {
    let mut talk = Talk::open();
    talk.say(b"SSH-2.0-OpenSSH_9.2\r\n");
    talk.expect_reset(DENIED);
}

#[test]
fn a_server_that_speaks_first_speaks_no_http() {
    let mut talk = Talk::open();
    talk.answer(b"220 mail ready\r\n");
    talk.expect_reset(DENIED);
}

#[test]
fn a_tunnel_that_no_rule_was_asked_about_does_not_outlive_the_change() {
    let mut talk = Talk::open();
    talk.say(
        b"GET /chat HTTP/1.1\r\nHost: deathstar\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
          Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    );
    talk.answer(
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
          Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
    );
    talk.expect_reset(b"opaque");
}

#[test]
fn only_so_many_connections_are_followed() {
    let mut talk = Talk::open();
    talk.say(ALLOWED);
    let tuple = headers(&bytes(&tiefighter_syn())).flow_tuple().unwrap();
    let found = talk.rig.worker.connections.find(&tuple).unwrap();
    assert_eq!(talk.rig.worker.connections.shadows(), 1);
    talk.rig.worker.forget(found.id);
    assert_eq!(talk.rig.worker.connections.shadows(), 0, "its place is free again");
}

#[test]
fn a_budget_of_none_follows_none() {
    let mut rig = Rig::new(L4);
    let budgets = crate::budgets::Budgets { shadows: 0, ..Default::default() };
    rig.worker.connections = crate::connection::Connections::new(budgets);
    rig.shake_hands();
    assert_eq!(rig.worker.connections.shadows(), 0);
    let mut talk = Talk { rig, client: 1001, server: 5001 };
    talk.say(ALLOWED);
    talk.answer(ANSWER);
    talk.expect_reset(DENIED);
}
