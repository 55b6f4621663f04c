//! ICMP errors about translated connections reach the quoted packet's sender in that sender's own terms, and only from the far side.

use super::*;

const SERVICE: &str = "10.96.0.1";

/// The tuple that an error quotes.
fn quoted(packet: &[u8]) -> parser::flow_key::FlowTuple {
    headers(packet).icmp_error().unwrap().quote.tuple
}

/// What came out of one port, which must be one packet.
fn only(out: Vec<(PortId, Vec<u8>)>, port: PortId) -> Vec<u8> {
    match &out[..] {
        [(to, packet)] if *to == port => packet.clone(),
        _ => panic!("{out:?}"),
    }
}

#[test]
fn an_error_about_a_service_reaches_the_client_as_the_services() {
    let mut rig = Rig::new("");
    let there = rig.open(TIEFIGHTER, syn(envelope(TIEFIGHTER, "10.0.0.1", SERVICE), 40000, 80));
    let out = rig.send(DEATHSTAR, &icmp_error(DEATHSTAR, "10.0.0.2", "10.0.0.1", &there));
    let error = only(out, TIEFIGHTER);
    assert_eq!(headers(&error).source(), Some(ip(SERVICE)));
    let tuple = quoted(&error);
    assert_eq!((tuple.source, tuple.src_port), (ip("10.0.0.1"), 40000));
    assert_eq!((tuple.destination, tuple.dst_port), (ip(SERVICE), 80));
    assert_eq!(headers(&error).hop_limit(), Some(63));
}

#[test]
fn an_error_of_the_client_about_an_answer_reaches_the_backend() {
    let mut rig = Rig::new("");
    rig.open(TIEFIGHTER, syn(envelope(TIEFIGHTER, "10.0.0.1", SERVICE), 40000, 80));
    let mut answer = syn(envelope(DEATHSTAR, "10.0.0.2", "10.0.0.1"), 8080, 40000);
    answer.flags = TcpFlags::SYN.with(TcpFlags::ACK);
    answer.ack = SeqNumber::new(1001);
    let here = rig.open(DEATHSTAR, answer);
    let out = rig.send(TIEFIGHTER, &icmp_error(TIEFIGHTER, "10.0.0.1", SERVICE, &here));
    let error = only(out, DEATHSTAR);
    assert_eq!(headers(&error).destination(), Some(ip("10.0.0.2")));
    let tuple = quoted(&error);
    assert_eq!((tuple.source, tuple.src_port), (ip("10.0.0.2"), 8080));
    assert_eq!((tuple.destination, tuple.dst_port), (ip("10.0.0.1"), 40000));
}

#[test]
fn a_router_on_the_way_speaks_for_itself() {
    let mut rig = Rig::new("");
    let mut out = rig.send(HOST, &bytes(&syn(envelope(HOST, "192.0.2.9", SERVICE), 40000, 80)));
    let (_, there) = out.remove(0);
    let mut answer = syn(envelope(DEATHSTAR, "10.0.0.2", "192.0.2.9"), 8080, 40000);
    answer.flags = TcpFlags::SYN.with(TcpFlags::ACK);
    answer.ack = headers(&there).tcp().unwrap().seq;
    let here = rig.open(DEATHSTAR, answer);
    let error = only(rig.send(HOST, &icmp_error(HOST, "192.0.2.1", SERVICE, &here)), DEATHSTAR);
    assert_eq!(headers(&error).source(), Some(ip("192.0.2.1")));
    assert_eq!(headers(&error).destination(), Some(ip("10.0.0.2")));
}

#[test]
fn an_error_about_an_inspected_segment_names_the_number_its_sender_gave_it() {
    let mut rig = Rig::new(L7);
    rig.shake_hands();
    let denied = b"PUT /v1/exhaust-port HTTP/1.1\r\nHost: deathstar\r\n\r\n";
    let allowed = b"POST /v1/request-landing HTTP/1.1\r\nHost: deathstar\r\n\r\n";
    rig.send(TIEFIGHTER, &bytes(&request(1001, 5001, denied)));
    let next = 1001 + u32::try_from(denied.len()).unwrap();
    let out = rig.send(TIEFIGHTER, &bytes(&request(next, 5001, allowed)));
    let there = out.into_iter().find(|(port, _)| *port == DEATHSTAR).unwrap().1;
    assert_eq!(
        headers(&there).tcp().unwrap().seq,
        SeqNumber::new(1001),
        "the denied one is cut out"
    );

    let out = rig.send(DEATHSTAR, &icmp_error(DEATHSTAR, "10.0.0.2", "10.0.0.1", &there));
    let error = only(out, TIEFIGHTER);
    let seq = headers(&error).icmp_error().unwrap().quote.tcp_seq;
    assert_eq!(seq, Some(SeqNumber::new(next)), "as the client sent it");

    let mut guess = request(next, 5001, allowed);
    guess.seq = SeqNumber::new(999_999);
    let guess = bytes(&guess);
    let out = rig.send(DEATHSTAR, &icmp_error(DEATHSTAR, "10.0.0.2", "10.0.0.1", &guess));
    assert!(out.is_empty(), "a number that cannot be on its way: {out:?}");
    assert_eq!(rig.dropped(DropReason::UnrelatedIcmpError), 1);
}
