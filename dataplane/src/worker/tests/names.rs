//! DNS over a whole worker: names that may be asked for, answers that open addresses, and answers that must not.

use super::*;

/// Tiefighter asks the deathstar for names; the world is behind the host port.
const RULES: &str = r#"
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: names}
spec:
  endpointSelector: {matchLabels: {class: tiefighter}}
  egress:
  - toEndpoints: [{matchLabels: {class: deathstar}}]
    toPorts:
    - ports: [{port: "53", protocol: ANY}]
      rules: {dns: [{matchPattern: "*.example.com"}, {matchName: other.org}]}
  - toFQDNs: [{matchName: api.example.com}]
    toPorts: [{ports: [{port: "443", protocol: TCP}]}]
"#;
const NAMED: &str = "198.51.100.1";
const OTHER: &str = "198.51.100.2";
const API: &str = "api.example.com";

fn labels(name: &str) -> Vec<u8> {
    let labels = name
        .split('.')
        .flat_map(|label| std::iter::once(u8::try_from(label.len()).unwrap()).chain(label.bytes()));
    labels.chain([0]).collect()
}

fn query(id: u16, name: &str) -> Vec<u8> {
    let head = [&id.to_be_bytes()[..], &[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]].concat();
    [head, labels(name), vec![0, 1, 0, 1]].concat()
}

/// The answer to that query: these owners have these addresses for a minute.
fn answer(id: u16, name: &str, records: &[(&str, &str)]) -> Vec<u8> {
    let mut message = query(id, name);
    message[2] = 0x81;
    message[7] = u8::try_from(records.len()).unwrap();
    for (owner, address) in records {
        let IpAddr::V4(address) = ip(address) else { panic!("an IPv4 address") };
        message.extend(
            [&labels(owner)[..], &[0, 1, 0, 1, 0, 0, 0, 60, 0, 4], &address.octets()].concat(),
        );
    }
    message
}

fn datagram(from: PortId, source: (&str, u16), to: (&str, u16), payload: &[u8]) -> Vec<u8> {
    let envelope = envelope(from, source.0, to.0);
    let mut out = vec![0; 2048];
    let built = Datagram { envelope, src_port: source.1, dst_port: to.1, payload }.emit(&mut out);
    out.truncate(built.unwrap());
    out
}

impl Rig {
    fn named() -> Self {
        let mut rig = Self::new(RULES);
        let world = Arc::clone(&rig.worker.world);
        rig.worker.prepare_names(&world);
        rig
    }

    /// What comes out when tiefighter asks.
    fn ask(&mut self, message: &[u8]) -> Vec<(PortId, Vec<u8>)> {
        self.send(TIEFIGHTER, &datagram(TIEFIGHTER, ("10.0.0.1", 5353), ("10.0.0.2", 53), message))
    }

    /// Whether an answer of the deathstar arrives.
    fn reply(&mut self, message: &[u8]) -> bool {
        let packet = datagram(DEATHSTAR, ("10.0.0.2", 53), ("10.0.0.1", 5353), message);
        self.send(DEATHSTAR, &packet).iter().any(|(port, _)| *port == TIEFIGHTER)
    }

    /// Whether tiefighter may open a connection there.
    fn reaches(&mut self, address: &str, src_port: u16) -> bool {
        let out = self.send(
            TIEFIGHTER,
            &bytes(&syn(envelope(TIEFIGHTER, "10.0.0.1", address), src_port, 443)),
        );
        out.iter().any(|(port, _)| *port == HOST)
    }
}

#[test]
fn an_answer_opens_the_addresses_of_its_name_before_it_arrives() {
    let mut rig = Rig::named();
    assert!(!rig.reaches(NAMED, 1), "nothing is known");
    assert_eq!(rig.ask(&query(7, API)).len(), 1);
    assert!(!rig.reaches(NAMED, 2), "nothing is answered");
    assert!(rig.reply(&answer(7, API, &[(API, NAMED)])));
    assert!(rig.reaches(NAMED, 3));
    assert!(!rig.reaches(OTHER, 4));
    let other_port = syn(envelope(TIEFIGHTER, "10.0.0.1", NAMED), 5, 80);
    assert!(rig.send(TIEFIGHTER, &bytes(&other_port)).is_empty());
    let other_pod = syn(envelope(XWING, "10.0.0.3", NAMED), 6, 443);
    assert_eq!(rig.send(XWING, &bytes(&other_pod)).len(), 1, "no policy is about the xwing");
    assert_eq!(rig.dropped(DropReason::PolicyDenied), 4);
}

#[test]
fn a_name_that_no_rule_allows_is_refused_and_never_asked() {
    let mut rig = Rig::named();
    for (id, name) in
        [(1, "evil.com"), (2, "example.com"), (3, "a.b.example.com"), (4, "bad!.example.com")]
    {
        let out = rig.ask(&query(id, name));
        let [(port, packet)] = &out[..] else { panic!("{name}: {out:?}") };
        assert_eq!(*port, TIEFIGHTER, "{name} goes back");
        let headers = headers(packet);
        let tuple = headers.flow_tuple().unwrap();
        assert_eq!((tuple.source, tuple.src_port), (ip("10.0.0.2"), 53));
        assert_eq!((tuple.destination, tuple.dst_port), (ip("10.0.0.1"), 5353));
        let message = headers.payload(packet).unwrap();
        assert_eq!(
            (&message[..2], message[3] & 15),
            (&id.to_be_bytes()[..], 5),
            "{name} is refused"
        );
    }
    assert_eq!(rig.dropped(DropReason::DnsNameRefused), 4);
    assert!(rig.ask(&query(5, "WWW.Example.COM")).iter().all(|(port, _)| *port == DEATHSTAR));
}

#[test]
fn an_answer_that_nobody_asked_for_goes_nowhere_and_opens_nothing() {
    let mut rig = Rig::named();
    rig.ask(&query(7, "www.example.com"));
    let forged = [
        answer(8, "www.example.com", &[("www.example.com", NAMED)]),
        answer(7, API, &[(API, NAMED)]),
    ];
    for message in &forged {
        assert!(!rig.reply(message));
    }
    assert_eq!(rig.dropped(DropReason::DnsUnsolicited), 2);
    // Another pod, with the right number and name.
    rig.ask(&query(9, API));
    let message = answer(9, API, &[(API, NAMED)]);
    rig.send(XWING, &datagram(XWING, ("10.0.0.3", 53), ("10.0.0.1", 5353), &message));
    assert!(!rig.reaches(NAMED, 1));
    // The server's second answer to one query.
    assert!(rig.reply(&message));
    assert!(!rig.reply(&answer(9, API, &[(API, OTHER)])));
    assert!(rig.reaches(NAMED, 2) && !rig.reaches(OTHER, 3));
}

#[test]
fn an_answer_teaches_nothing_about_other_names() {
    let mut rig = Rig::named();
    rig.ask(&query(7, "www.example.com"));
    assert!(rig.reply(&answer(7, "www.example.com", &[("www.example.com", OTHER), (API, NAMED)])));
    assert!(!rig.reaches(NAMED, 1), "not its name");
    assert!(!rig.reaches(OTHER, 2), "a name that may be asked for, but opens nothing");
}

#[test]
fn what_is_no_dns_does_not_pass_the_port() {
    let mut rig = Rig::named();
    let two = [query(1, API), query(2, API)].concat();
    for message in [&b"tunnel"[..], &[], &two, &answer(1, API, &[])] {
        assert!(rig.ask(message).is_empty());
    }
    assert_eq!(rig.dropped(DropReason::DnsMalformed), 4);
    rig.ask(&query(7, API));
    assert!(!rig.reply(b"tunnel"));
    let out =
        rig.send(TIEFIGHTER, &bytes(&syn(envelope(TIEFIGHTER, "10.0.0.1", "10.0.0.2"), 40000, 53)));
    let [(TIEFIGHTER, reset)] = &out[..] else { panic!("{out:?}") };
    assert!(headers(reset).tcp().unwrap().flags.is_rst());
    assert_eq!(rig.dropped(DropReason::DnsOverTcp), 1);
}

#[test]
fn a_connection_outlives_its_name_but_not_its_rule() {
    let mut rig = Rig::named();
    rig.ask(&query(7, API));
    assert!(rig.reply(&answer(7, API, &[(API, NAMED)])));
    assert!(rig.reaches(NAMED, 1));
    rig.worker.forget_names(TIEFIGHTER);
    let mut more = syn(envelope(TIEFIGHTER, "10.0.0.1", NAMED), 1, 443);
    (more.flags, more.ack, more.seq) = (TcpFlags::ACK, SeqNumber::new(1), SeqNumber::new(1001));
    rig.apply(&format!("{RULES}---\n{L4}"));
    assert_eq!(rig.send(TIEFIGHTER, &bytes(&more)).len(), 1, "the rule still stands");
    assert!(!rig.reaches(NAMED, 2), "for a new one the name is unknown");
    rig.apply(&RULES.replace("matchName: api.example.com", "matchName: www.example.com"));
    assert!(rig.send(TIEFIGHTER, &bytes(&more)).is_empty());
}
