//! Packets that come in fragments: whole or not at all.

use super::*;

/// What a sender makes of a frame when no more than `size` bytes of data, a multiple of 8, fit a fragment.
pub(super) fn fragments(frame: &[u8], size: usize) -> Vec<Vec<u8>> {
    let headers = Headers::parse(frame).unwrap();
    let (header, data) = frame.split_at(headers.transport_offset);
    let count = data.len().div_ceil(size);
    let fragment = |(index, data): (usize, &[u8])| {
        let (offset, more) = (u16::try_from(index * size).unwrap(), index + 1 < count);
        let length = u16::try_from(data.len()).unwrap();
        let mut fragment = header.to_vec();
        if let Network::Ipv6(ipv6) = headers.network {
            let [high, low] = (offset | u16::from(more)).to_be_bytes();
            fragment[20] = 44;
            fragment.extend([ipv6.protocol.value(), 0, high, low, 0, 0, 0, 7]);
            fragment[18..20].copy_from_slice(&(length + 8).to_be_bytes());
        } else {
            fragment[16..18].copy_from_slice(&(length + 20).to_be_bytes());
            fragment[20..22].copy_from_slice(&(offset >> 3 | u16::from(more) << 13).to_be_bytes());
            fragment[24..26].fill(0);
            let checksum = parser::checksum::Sum::new().add_bytes(&fragment[14..34]).checksum();
            fragment[24..26].copy_from_slice(&checksum.to_be_bytes());
        }
        fragment.extend(data);
        fragment
    };
    data.chunks(size).enumerate().map(fragment).collect()
}

fn datagram(envelope: Envelope, dst_port: u16, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![0; 9000];
    let length = Datagram { envelope, src_port: 4000, dst_port, payload }.emit(&mut out).unwrap();
    out.truncate(length);
    out
}

fn joined(packets: &[(PortId, Vec<u8>)]) -> Vec<u8> {
    let mut out = vec![0; 9000];
    let frames = packets.iter().map(|(_, packet)| (packet.as_slice(), packet.len(), []));
    let length = parser::fragment::join(frames, &mut out).unwrap();
    out.truncate(length);
    out
}

const FAMILIES: [(&str, &str); 2] = [("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2")];

#[test]
fn fragments_travel_on_as_they_came_once_the_last_is_here() {
    let payload: Vec<u8> = (0..3000_u16).map(|number| number.to_be_bytes()[1]).collect();
    for (source, destination) in FAMILIES {
        let whole = datagram(envelope(TIEFIGHTER, source, destination), 53, &payload);
        let mut rig = Rig::new("");
        let mut pieces = fragments(&whole, 1232);
        pieces.rotate_left(1);
        let (last, early) = pieces.split_last().unwrap();
        for piece in early {
            assert!(rig.send(TIEFIGHTER, piece).is_empty(), "nothing before the packet is whole");
        }
        let out = rig.send(TIEFIGHTER, last);
        assert_eq!(out.len(), 3);
        assert!(out.iter().all(|(port, _)| *port == DEATHSTAR));
        let packet = joined(&out);
        let headers = headers(&packet);
        assert_eq!(headers.hop_limit(), Some(63));
        assert_eq!(headers.payload(&packet).unwrap(), payload);
    }
}

#[test]
fn every_fragment_to_a_service_is_translated() {
    const UDP: &str = r#"
apiVersion: v1
kind: Service
metadata: {name: dns, namespace: default}
spec:
  clusterIP: 10.96.0.2
  selector: {class: deathstar}
  ports: [{port: 53, targetPort: 5353, protocol: UDP}]
"#;
    let mut rig = Rig::new(UDP);
    let whole = datagram(envelope(TIEFIGHTER, "10.0.0.1", "10.96.0.2"), 53, &[7; 3000]);
    let out: Vec<_> =
        fragments(&whole, 1480).iter().flat_map(|piece| rig.send(TIEFIGHTER, piece)).collect();
    let there = headers(&joined(&out)).flow_tuple().unwrap();
    assert_eq!((there.destination, there.dst_port), (ip("10.0.0.2"), 5353));
    let whole = datagram(envelope(DEATHSTAR, "10.0.0.2", "10.0.0.1"), 4000, &[8; 3000]);
    let mut whole = whole;
    whole[34..36].copy_from_slice(&5353_u16.to_be_bytes());
    whole[40..42].fill(0); // without a checksum
    let out: Vec<_> =
        fragments(&whole, 1480).iter().flat_map(|piece| rig.send(DEATHSTAR, piece)).collect();
    assert!(out.iter().all(|(port, packet)| {
        *port == TIEFIGHTER && Headers::parse(packet).unwrap().source() == Some(ip("10.96.0.2"))
    }));
    assert_eq!(out.len(), 3);
}

#[test]
fn a_fragment_alone_is_not_forwarded_and_dies_in_time() {
    let mut rig = Rig::new("");
    let whole = datagram(envelope(TIEFIGHTER, "10.0.0.1", "10.0.0.2"), 53, &[0; 3000]);
    for piece in &fragments(&whole, 1480)[1..] {
        assert!(rig.send(TIEFIGHTER, piece).is_empty());
    }
    assert_eq!(rig.worker.report().waiting, 2);
    rig.worker.expire_fragments(Tick(rig.worker.now.0 + 4_000));
    assert_eq!(rig.worker.report().waiting, 2);
    rig.worker.expire_fragments(Tick(rig.worker.now.0 + 6_000));
    assert_eq!(rig.dropped(DropReason::FragmentExpired), 2);
    rig.check_ledger();
}

#[test]
fn two_versions_of_a_byte_condemn_the_packet() {
    let mut rig = Rig::new("");
    let whole = datagram(envelope(TIEFIGHTER, "10.0.0.1", "10.0.0.2"), 53, &[0; 3000]);
    let pieces = fragments(&whole, 1480);
    for piece in [&pieces[0], &pieces[1], &pieces[1], &pieces[2], &pieces[0]] {
        assert!(rig.send(TIEFIGHTER, piece).is_empty());
    }
    assert_eq!(rig.dropped(DropReason::Fragment), 5);
}

#[test]
fn what_policy_denies_is_denied_in_pieces_too() {
    let mut rig = Rig::new(L4);
    let whole = datagram(envelope(XWING, "10.0.0.3", "10.0.0.2"), 80, &[0; 3000]);
    for piece in fragments(&whole, 1480) {
        assert!(rig.send(XWING, &piece).is_empty());
    }
    assert_eq!(rig.dropped(DropReason::PolicyDenied), 3);
}

#[test]
fn a_request_in_fragments_is_judged_as_one() {
    for (path, passes) in [("/v1/request-landing", true), ("/v1/exhaust-port", false)] {
        let mut rig = Rig::new(L7);
        rig.open(TIEFIGHTER, tiefighter_syn());
        let mut answer = syn(envelope(DEATHSTAR, "10.0.0.2", "10.0.0.1"), 80, 40000);
        answer.flags = TcpFlags::SYN.with(TcpFlags::ACK);
        answer.seq = SeqNumber::new(5000);
        answer.ack = SeqNumber::new(1001);
        rig.open(DEATHSTAR, answer);
        let mut request = tiefighter_syn();
        request.flags = TcpFlags::ACK.with(TcpFlags::PSH);
        (request.seq, request.ack) = (SeqNumber::new(1001), SeqNumber::new(5001));
        let text = format!("POST {path} HTTP/1.1\r\nHost: deathstar\r\n\r\n");
        request.payload = text.as_bytes();
        let out: Vec<_> = fragments(&bytes(&request), 40)
            .iter()
            .rev()
            .flat_map(|piece| rig.send(TIEFIGHTER, piece))
            .collect();
        let to_server: Vec<_> = out.iter().filter(|(port, _)| *port == DEATHSTAR).collect();
        let payload = to_server
            .iter()
            .flat_map(|(_, packet)| headers(packet).payload(packet).unwrap().to_vec());
        assert_eq!(payload.collect::<Vec<_>>() == text.as_bytes(), passes, "{path}");
        assert_eq!(rig.worker.counters.requests.denied, u64::from(!passes));
    }
}

#[test]
fn a_segment_larger_than_the_next_link_is_dropped_by_name() {
    let mut rig = Rig::new(L7);
    rig.open(TIEFIGHTER, tiefighter_syn());
    let mut data = tiefighter_syn();
    data.flags = TcpFlags::ACK;
    data.payload = &[b'x'; 5000];
    let mut out = vec![0; 9000];
    let length = data.emit(&mut out).unwrap();
    for piece in fragments(&out[..length], 1480) {
        assert!(rig.send(TIEFIGHTER, &piece).is_empty());
    }
    assert_eq!(rig.dropped(DropReason::TooBig), 1);
}

#[test]
fn a_flood_of_fragments_costs_its_sender_its_own_fragments() {
    let mut rig = Rig::new("");
    for identification in 0..100_u16 {
        let whole = datagram(envelope(TIEFIGHTER, "10.0.0.1", "10.0.0.2"), 53, &[0; 100]);
        let mut first = fragments(&whole, 48).swap_remove(0);
        first[18..20].copy_from_slice(&identification.to_be_bytes());
        first[24..26].fill(0);
        let checksum = parser::checksum::Sum::new().add_bytes(&first[14..34]).checksum();
        first[24..26].copy_from_slice(&checksum.to_be_bytes());
        assert!(rig.send(TIEFIGHTER, &first).is_empty());
    }
    assert!(rig.dropped(DropReason::FragmentBudget) > 0);
    let whole = datagram(envelope(XWING, "10.0.0.3", "10.0.0.2"), 53, &[0; 3000]);
    let out = fragments(&whole, 1480);
    let out: Vec<_> = out.iter().flat_map(|piece| rig.send(XWING, piece)).collect();
    assert_eq!(out.len(), 3);
}

#[test]
fn neighbour_discovery_in_fragments_is_not_read() {
    let mut rig = Rig::new("");
    let mut out = vec![0; 256];
    let IpAddr::V6(claimed) = ip("fd00::3") else { panic!() };
    let claim = parser::emit::IcmpPacket {
        envelope: Envelope { hop_limit: 255, ..envelope(TIEFIGHTER, "fd00::1", "fd00::2") },
        icmp_type: 136,
        code: 0,
        word: [0x20, 0, 0, 0],
        body: &[&claimed.octets()[..], &[2, 1, 2, 0, 0, 0, 1, 0]].concat(),
    };
    let length = claim.emit(&mut out).unwrap();
    for piece in fragments(&out[..length], 24) {
        assert!(rig.send(TIEFIGHTER, &piece).is_empty());
    }
    assert_eq!(rig.dropped(DropReason::Fragment), 2);
}
