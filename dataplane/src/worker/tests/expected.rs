//! The short way of a packet whose connection is known: it must refuse whatever the long way refuses.

use super::*;

/// An established connection from the tiefighter to the deathstar's service.
fn service_rig() -> Rig {
    let mut rig = Rig::new("");
    rig.open(TIEFIGHTER, syn(envelope(TIEFIGHTER, "10.0.0.1", "10.96.0.1"), 40000, 80));
    let mut answer = syn(envelope(DEATHSTAR, "10.0.0.2", "10.0.0.1"), 8080, 40000);
    answer.flags = TcpFlags::SYN.with(TcpFlags::ACK);
    answer.seq = SeqNumber::new(5000);
    answer.ack = SeqNumber::new(1001);
    rig.open(DEATHSTAR, answer);
    rig
}

fn acknowledgement(envelope: Envelope, src_port: u16, dst_port: u16) -> Segment<'static> {
    let mut segment = syn(envelope, src_port, dst_port);
    segment.flags = TcpFlags::ACK;
    segment.seq = SeqNumber::new(1001);
    segment.ack = SeqNumber::new(5001);
    segment
}

#[test]
fn both_directions_of_a_known_connection_pass() {
    let mut rig = service_rig();
    let there = acknowledgement(envelope(TIEFIGHTER, "10.0.0.1", "10.96.0.1"), 40000, 80);
    assert_eq!(rig.send(TIEFIGHTER, &bytes(&there))[0].0, DEATHSTAR);
    let back = acknowledgement(envelope(DEATHSTAR, "10.0.0.2", "10.0.0.1"), 8080, 40000);
    assert_eq!(rig.send(DEATHSTAR, &bytes(&back))[0].0, TIEFIGHTER);
}

#[test]
fn nobody_else_speaks_in_a_known_connection() {
    let mut rig = service_rig();
    let borrowed = acknowledgement(envelope(XWING, "10.0.0.1", "10.96.0.1"), 40000, 80);
    assert!(rig.send(XWING, &bytes(&borrowed)).is_empty(), "another pod, as the client");
    let borrowed = acknowledgement(envelope(XWING, "10.0.0.2", "10.0.0.1"), 8080, 40000);
    assert!(rig.send(XWING, &bytes(&borrowed)).is_empty(), "another pod, as the server");
    let borrowed = acknowledgement(envelope(HOST, "10.0.0.1", "10.96.0.1"), 40000, 80);
    assert!(rig.send(HOST, &bytes(&borrowed)).is_empty(), "the node's stack, as the client");
    let borrowed = acknowledgement(envelope(DEATHSTAR, "10.96.0.1", "10.0.0.1"), 80, 40000);
    assert!(rig.send(DEATHSTAR, &bytes(&borrowed)).is_empty(), "the backend, as the service");
    assert_eq!(rig.dropped(DropReason::InvalidSourceIp), 4);
}

#[test]
fn a_known_connection_has_its_own_stations() {
    let mut rig = service_rig();
    let mut there = acknowledgement(envelope(TIEFIGHTER, "10.0.0.1", "10.96.0.1"), 40000, 80);
    there.envelope.source_mac = pod_mac(2);
    assert!(rig.send(TIEFIGHTER, &bytes(&there)).is_empty());
    let mut there = acknowledgement(envelope(TIEFIGHTER, "10.0.0.1", "10.96.0.1"), 40000, 80);
    there.envelope.destination_mac = our_mac(1);
    assert!(rig.send(TIEFIGHTER, &bytes(&there)).is_empty());
    assert_eq!(rig.dropped(DropReason::InvalidMac), 2);
}

#[test]
fn the_loopback_of_a_pod_that_reaches_itself_is_no_source() {
    let mut rig = Rig::new("");
    let mut there = syn(envelope(DEATHSTAR, "10.0.0.2", "10.96.0.1"), 40000, 80);
    let packet = rig.open(DEATHSTAR, there);
    let flow = headers(&packet).flow_tuple().unwrap();
    assert_eq!(flow.source, ip("169.254.42.1"));
    there.envelope = envelope(DEATHSTAR, "169.254.42.1", "10.0.0.2");
    there.dst_port = 8080;
    assert!(rig.send(DEATHSTAR, &bytes(&there)).is_empty());
    assert_eq!(rig.dropped(DropReason::InvalidSourceIp), 1);
}

/// Policy is about the port behind the service (`cilium-semantics.md` §2.3), never about the one that the client named.
#[test]
fn a_rule_is_about_the_port_after_translation() {
    let rule = |port: u16| {
        format!(
            "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {{name: p, namespace: default}}\n\
             spec:\n  endpointSelector: {{matchLabels: {{class: deathstar}}}}\n  ingress:\n  \
             - toPorts: [{{ports: [{{port: \"{port}\", protocol: TCP}}]}}]\n"
        )
    };
    for (port, packets) in [(8080, 1), (80, 0)] {
        let mut rig = Rig::new(&rule(port));
        let out = rig.send(
            TIEFIGHTER,
            &bytes(&syn(envelope(TIEFIGHTER, "10.0.0.1", "10.96.0.1"), 40000, 80)),
        );
        assert_eq!(out.len(), packets, "a rule for port {port}");
    }
}
