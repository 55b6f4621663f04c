//! The short way of a packet of an established connection: it must do what the long way does, or nothing.

use proptest::prelude::*;

use super::*;

/// One packet of a talk, relative to what is due.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    pub(super) is_ipv6: bool,
    pub(super) from_client: bool,
    pub(super) protocol: Kind,
    /// Its sender addressed the service, or was.
    pub(super) through_service: bool,
    flags: TcpFlags,
    ahead: i32,
    behind: i32,
    window: u16,
    payload: usize,
    options: usize,
    hop_limit: u8,
    padding: usize,
    checksum: Sent,
    spoils: Spoils,
    /// The policy that comes into force before it, and whether it is only tried.
    pub(super) policy: Option<(usize, bool)>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    Tcp,
    Udp,
}

/// What its sender did about the checksum.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Sent {
    Right,
    Partial,
    Wrong,
}

/// What is not as it should be.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Spoils {
    Nothing,
    SourceMac,
    DestinationMac,
    Port,
    /// A backend speaks as its service.
    Address,
    /// A bit of the packet.
    Bit(usize),
}

pub(super) const POLICIES: [&str; 3] = ["", L4, L7];

/// A long text that begins and ends like this.
const fn filled(head: &[u8], tail: &[u8]) -> [u8; 3000] {
    let mut text = [b'x'; 3000];
    text.split_at_mut(head.len()).0.copy_from_slice(head);
    text.split_at_mut(3000 - tail.len()).1.copy_from_slice(tail);
    text
}

const PAYLOADS: [(&[u8], &[u8]); 8] = [
    (b"", b""),
    (
        b"POST /v1/request-landing HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    ),
    (b"PUT /v1/exhaust-port HTTP/1.1\r\nHost: a\r\n\r\n", b"HTTP/1.1 204 No Content\r\n\r\n"),
    (b"POST /v1/request-landing HTTP/1.1\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"),
    (&[b'x'; 1461], &[b'y'; 1461]),
    // More than is kept for the next request once this one has arrived.
    (
        &filled(
            b"POST /v1/request-landing HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nX: ",
            b"\r\n\r\n",
        ),
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    ),
    // The end of these is kept back: it is not judged yet, or beyond the window.
    (
        b"POST /v1/request-landing HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\nPUT /v1/exha",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    ),
    (
        &filled(
            b"POST /v1/request-landing HTTP/1.1\r\nHost: a\r\nContent-Length: 9000\r\n\r\n",
            b"",
        ),
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    ),
];

const OPTIONS: [&[u8]; 4] = [
    &[],
    &[1, 1, 8, 10, 0, 0, 0, 9, 0, 0, 0, 7],
    &[1, 1, 5, 10, 0, 0, 0, 9, 0, 0, 0, 10],
    &[19, 4, 0, 0],
];

pub(super) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let flags = prop_oneof![
        16 => Just(TcpFlags::ACK),
        8 => Just(TcpFlags::ACK.with(TcpFlags::PSH)),
        1 => Just(TcpFlags::ACK.with(TcpFlags::FIN)),
        1 => Just(TcpFlags::ACK.with(TcpFlags::URG)),
        1 => Just(TcpFlags::ACK.with(TcpFlags::ECE)),
        1 => Just(TcpFlags::RST),
        1 => Just(TcpFlags::SYN),
        1 => Just(TcpFlags::SYN.with(TcpFlags::ACK)),
    ];
    let near = || prop_oneof![12 => Just(0), 1 => -3_i32..3];
    let often = |likely: u32| prop_oneof![likely => Just(true), 1 => Just(false)];
    let payload = prop_oneof![6 => Just(0_usize), 6 => Just(1_usize), 2 => 1..PAYLOADS.len()];
    let options = prop_oneof![6 => Just(1_usize), 2 => 0..OPTIONS.len()];
    let hop_limit = prop_oneof![12 => Just(64_u8), 1 => 0..3_u8];
    let padding = prop_oneof![8 => Just(0_usize), 1 => 1..20_usize];
    let checksum =
        prop_oneof![8 => Just(Sent::Right), 8 => Just(Sent::Partial), 1 => Just(Sent::Wrong)];
    let spoils = prop_oneof![
        24 => Just(Spoils::Nothing),
        1 => Just(Spoils::SourceMac),
        1 => Just(Spoils::DestinationMac),
        1 => Just(Spoils::Port),
        1 => Just(Spoils::Address),
        2 => (0..8 * 74_usize).prop_map(Spoils::Bit),
    ];
    let policy = (0..POLICIES.len(), prop::bool::weighted(0.2));
    let policy = prop_oneof![16 => Just(None), 1 => policy.prop_map(Some)];
    let kind = prop_oneof![8 => Just(Kind::Tcp), 1 => Just(Kind::Udp)];
    let step = (
        (often(4), any::<bool>(), kind, any::<bool>(), flags),
        (near(), near(), 0..2000_u16, payload, options),
        (hop_limit, padding, checksum, spoils, policy),
    );
    let step = step.prop_map(
        |(
            (is_ipv4, from_client, protocol, through_service, flags),
            (ahead, behind, window, payload, options),
            (hop_limit, padding, checksum, spoils, policy),
        )| Step {
            is_ipv6: !is_ipv4,
            from_client,
            protocol,
            through_service,
            flags,
            ahead,
            behind,
            window,
            payload,
            options,
            hop_limit,
            padding,
            checksum,
            spoils,
            policy,
        },
    );
    proptest::collection::vec(step, 1..40)
}

/// What each end of a connection sends next.
#[derive(Clone, Copy)]
struct Due {
    up: u32,
    down: u32,
}

impl Step {
    /// The tiefighter's address, and the one that it knows the deathstar by or that the deathstar has.
    fn addresses(&self) -> (&'static str, &'static str) {
        let as_service = self.from_client || self.spoils == Spoils::Address;
        match (self.is_ipv6, self.through_service && as_service) {
            (true, _) => ("fd00::1", "fd00::2"),
            (false, true) => ("10.0.0.1", "10.96.0.1"),
            (false, false) => ("10.0.0.1", "10.0.0.2"),
        }
    }

    /// The ports: connections through the service have their own.
    fn ports(&self) -> (u16, u16) {
        match (self.is_ipv6, self.through_service, self.from_client) {
            (true, _, _) | (false, false, _) => (40000, 80),
            (false, true, true) => (40001, 80),
            (false, true, false) if self.spoils == Spoils::Address => (40001, 80),
            (false, true, false) => (40001, 8080),
        }
    }

    pub(super) fn port(&self) -> PortId {
        match (self.spoils, self.from_client) {
            (Spoils::Port, _) => XWING,
            (_, true) => TIEFIGHTER,
            (_, false) => DEATHSTAR,
        }
    }

    fn packet(&self, due: Due) -> Vec<u8> {
        let (client, server) = self.addresses();
        let (client_port, server_port) = self.ports();
        let (own, source, destination) = if self.from_client {
            (TIEFIGHTER, client, server)
        } else {
            (DEATHSTAR, server, client)
        };
        let mut envelope = envelope(own, source, destination);
        envelope.hop_limit = self.hop_limit;
        match self.spoils {
            Spoils::SourceMac => envelope.source_mac = pod_mac(2),
            Spoils::DestinationMac => envelope.destination_mac = our_mac(2),
            Spoils::Nothing | Spoils::Port | Spoils::Address | Spoils::Bit(_) => {}
        }
        let (src_port, dst_port) =
            if self.from_client { (client_port, server_port) } else { (server_port, client_port) };
        let text = PAYLOADS[self.payload];
        let payload = if self.from_client { text.0 } else { text.1 };
        let (seq, ack) = if self.from_client { (due.up, due.down) } else { (due.down, due.up) };
        let mut out = vec![0; 4000];
        let length = match self.protocol {
            Kind::Udp => Datagram { envelope, src_port, dst_port, payload }.emit(&mut out),
            Kind::Tcp => Segment {
                envelope,
                src_port,
                dst_port,
                seq: SeqNumber::new(seq.wrapping_add_signed(self.ahead)),
                ack: SeqNumber::new(ack.wrapping_add_signed(self.behind)),
                flags: self.flags,
                window: self.window,
                options: if self.flags.is_syn() { &[] } else { OPTIONS[self.options] },
                payload,
            }
            .emit(&mut out),
        };
        out.truncate(length.unwrap());
        self.spoil(&mut out);
        out.resize(out.len() + self.padding, 0xee);
        out
    }

    fn spoil(&self, packet: &mut [u8]) {
        let place = if self.is_ipv6 { 54 } else { 34 };
        let field = place + if self.protocol == Kind::Tcp { 16 } else { 6 };
        match self.checksum {
            Sent::Right => {}
            Sent::Wrong => packet[field] ^= 1,
            Sent::Partial => {
                let headers = Headers::parse(packet).unwrap();
                let length = u16::try_from(packet.len() - place).unwrap();
                let pseudo_header = match headers.network {
                    Network::Ipv4(ipv4) => parser::checksum::pseudo_header_v4(
                        ipv4.source,
                        ipv4.destination,
                        ipv4.protocol,
                        length,
                    ),
                    Network::Ipv6(ipv6) => parser::checksum::pseudo_header_v6(
                        ipv6.source,
                        ipv6.destination,
                        ipv6.protocol,
                        length,
                    ),
                    Network::Arp(_) => panic!("no ARP here"),
                };
                packet[field..field + 2].copy_from_slice(&pseudo_header.value().to_be_bytes());
            }
        }
        if let Spoils::Bit(bit) = self.spoils
            && let Some(byte) = packet.get_mut(bit / 8)
        {
            *byte ^= 1 << (bit % 8);
        }
    }
}

impl Rig {
    /// Sends a packet into a port, the short way if it may; what came out, and whether it went the short way.
    fn pass(
        &mut self,
        port: PortId,
        packet: &[u8],
        may_be_short: bool,
        now: Tick,
    ) -> (Vec<(PortId, Vec<u8>)>, bool) {
        let mut frame = Some(self.worker.pool.packet(packet).unwrap());
        let world = Arc::clone(&self.worker.world);
        self.worker.counters.received += 1;
        let plain = parser::plain::Plain::read(frame.as_ref().unwrap().bytes());
        let read = plain.map(|(plain, tuple)| (plain, self.worker.connections.seek(&tuple)));
        let mut short = false;
        if let Some((plain, sought)) = read.as_ref().filter(|_| may_be_short) {
            let frame_in = frame.take().unwrap();
            match self.worker.forward_established(
                &world,
                (port, false),
                (plain, sought),
                frame_in,
                now,
            ) {
                Ok(()) => short = true,
                Err(back) => frame = Some(back),
            }
        }
        if let Some(frame) = frame {
            let sought = read.as_ref().map(|(_, sought)| sought);
            self.worker.go_the_long_way(&world, port, (frame, sought), false, now);
        }
        self.worker.flush();
        let out = self.collect();
        self.check_ledger();
        (out, short)
    }

    /// What is known of the connections that steps speak of.
    fn knowledge(&mut self) -> Vec<String> {
        let talks = [("10.0.0.2", 80, 40000), ("10.0.0.2", 8080, 40001), ("fd00::2", 80, 40000)];
        let Worker { counters, deadlines, reporting, .. } = &self.worker;
        let told: Vec<_> = std::iter::from_fn(|| reporting.events.pop()).collect();
        let mut known = vec![format!("{counters:?} {told:?}"), format!("{deadlines:?}")];
        for protocol in [parser::network::Protocol::TCP, parser::network::Protocol::UDP] {
            for (server, dst_port, src_port) in talks {
                let source = ip(if server.contains(':') { "fd00::1" } else { "10.0.0.1" });
                let tuple = parser::flow_key::FlowTuple {
                    source,
                    destination: ip(server),
                    protocol,
                    src_port,
                    dst_port,
                };
                let found = self.worker.connections.find(&tuple);
                let connection = found.and_then(|it| self.worker.connections.connection(it.id));
                known.push(format!("{connection:?}"));
            }
        }
        known.push(format!("{}", self.worker.connections.held()));
        known
    }
}

/// A step as an honest end takes it.
pub(super) fn step(
    is_ipv6: bool,
    through_service: bool,
    from_client: bool,
    flags: TcpFlags,
) -> Step {
    Step {
        is_ipv6,
        from_client,
        protocol: Kind::Tcp,
        through_service,
        flags,
        ahead: 0,
        behind: 0,
        window: 1000,
        payload: 0,
        options: 1,
        hop_limit: 64,
        padding: 0,
        checksum: Sent::Right,
        spoils: Spoils::Nothing,
        policy: None,
    }
}

/// The packets of these steps, behind those that open every talk.
pub(super) fn script(steps: &[Step]) -> Vec<(Step, Vec<u8>)> {
    let mut dues = [Due { up: 1000, down: 5000 }; 3];
    let mut all = Vec::new();
    for (is_ipv6, through_service) in [(false, false), (false, true), (true, false)] {
        all.push(step(is_ipv6, through_service, true, TcpFlags::SYN));
        all.push(step(is_ipv6, through_service, false, TcpFlags::SYN.with(TcpFlags::ACK)));
        all.push(step(is_ipv6, through_service, true, TcpFlags::ACK));
    }
    all.extend_from_slice(steps);
    let packet = |step: Step| {
        let talk =
            usize::from(step.through_service && !step.is_ipv6) + 2 * usize::from(step.is_ipv6);
        let due = &mut dues[talk];
        let packet = step.packet(*due);
        if step.ahead == 0 && step.protocol == Kind::Tcp {
            let text = PAYLOADS[step.payload];
            let length = if step.from_client { text.0.len() } else { text.1.len() };
            let flags = u32::from(step.flags.is_syn()) + u32::from(step.flags.is_fin());
            let length = u32::try_from(length).unwrap() + flags;
            let sent = if step.from_client { &mut due.up } else { &mut due.down };
            *sent = sent.wrapping_add(length);
        }
        (step, packet)
    };
    all.into_iter().map(packet).collect()
}

/// Opens every talk, and plays the steps the short way and the long way; how many of them were short.
fn play(policy: &str, steps: &[Step]) -> usize {
    let [mut quick, mut slow] = [(); 2].map(|()| {
        let mut rig = Rig::new(policy);
        // What comes from the one link may be too long for the other.
        rig.mtus[1] = 4000;
        rig.apply(policy);
        rig
    });
    let mut short = 0;
    for (number, (step, packet)) in (1..).zip(script(steps)) {
        if let Some((policy, is_tried)) = step.policy {
            for rig in [&mut quick, &mut slow] {
                rig.audit = is_tried;
                rig.apply(POLICIES[policy]);
            }
        }
        let now = Tick(number);
        let (out, was_short) = quick.pass(step.port(), &packet, true, now);
        let (expected, _) = slow.pass(step.port(), &packet, false, now);
        assert_eq!(out, expected, "{step:?}");
        assert_eq!(quick.knowledge(), slow.knowledge(), "{step:?}");
        short += usize::from(was_short);
    }
    short
}

proptest! {
    #[test]
    fn the_short_way_of_a_packet_is_the_long_way(
        steps in steps(),
        policy in 0..POLICIES.len(),
    ) {
        play(POLICIES[policy], &steps);
    }
}

#[test]
fn what_an_open_connection_consists_of_goes_the_short_way() {
    for policy in POLICIES {
        let talks = if policy.is_empty() {
            &[(false, false), (false, true), (true, false)][..]
        } else {
            // The service's backend listens on a port that the policies do not name.
            &[(false, false), (true, false)]
        };
        for &(is_ipv6, through_service) in talks {
            let bare = |from_client| step(is_ipv6, through_service, from_client, TcpFlags::ACK);
            let loaded =
                |from_client| Step { payload: 1, checksum: Sent::Partial, ..bare(from_client) };
            let request = [loaded(true), bare(false), loaded(false), bare(true)];
            let steps = request.repeat(5);
            let opening = talks.len();
            assert_eq!(play(policy, &steps), opening + steps.len(), "{policy} {is_ipv6}");
        }
    }
}

#[test]
fn what_an_acknowledgement_frees_is_charged_no_more() {
    // A stream that decides, and one that only watches.
    for policy in [L7, ""] {
        let long = Step { payload: 5, ..step(false, false, true, TcpFlags::ACK) };
        let bare = Step { window: 10_000, ..step(false, false, false, TcpFlags::ACK) };
        play(policy, &[bare, long, bare]);
    }
}

#[test]
fn what_is_kept_back_of_a_segment_does_not_leave_with_the_rest() {
    for payload in [6, 7] {
        play(L7, &[Step { payload, ..step(false, false, true, TcpFlags::ACK) }]);
    }
}

#[test]
fn a_stream_whose_first_segment_is_dropped_is_woken_all_the_same() {
    let bare = step(false, false, true, TcpFlags::ACK);
    let first = Step { policy: Some((2, false)), checksum: Sent::Wrong, ..bare };
    play("", &[first, bare]);
}

#[test]
fn what_only_another_worker_can_send_is_handed_to_it() {
    let mut rig = Rig::new("");
    rig.shake_hands();
    let other = inbox();
    rig.worker.workers.push(Arc::clone(&other));
    rig.homes[1] = WorkerId(1);
    rig.apply("");
    rig.worker.ports.remove(DEATHSTAR);
    for _ in 0..2 {
        rig.put_in(TIEFIGHTER, &bytes(&request(1001, 5001, b"")));
        rig.worker.turn();
        assert!(matches!(other.pop(), Some(Parcel::Transmit { port: DEATHSTAR, .. })));
    }
}
