//! Packets whose connection another worker has: what is granted and what is handed on unread must end as what is judged twice.

use proptest::prelude::*;

use super::{
    established::{Kind, POLICIES, Step, script, step, steps},
    *,
};

/// Two workers: the one is the tiefighter's and the host's home, the other the deathstar's and the xwing's.
struct Pair {
    members: [Rig; 2],
    /// Whether every packet goes the long way, at both.
    is_slow: bool,
    now: Tick,
}

const HOMES: [WorkerId; 4] = [WorkerId(0), WorkerId(1), WorkerId(1), WorkerId(0)];

/// Settings under which a TCP connection has a shadow, or has none.
fn settings(follows: bool) -> super::super::Settings {
    let budgets = Budgets { shadows: if follows { 16 } else { 0 }, ..Budgets::default() };
    super::super::Settings { budgets, ..Default::default() }
}

impl Pair {
    fn new(policy: &str, follows: bool, is_slow: bool) -> Self {
        let inboxes = vec![inbox(), inbox()];
        let member =
            |id| Rig::member(WorkerId(id), HOMES, inboxes.clone(), policy, settings(follows));
        Self { members: [member(0), member(1)], is_slow, now: Tick(0) }
    }

    fn apply(&mut self, policy: &str, is_tried: bool) {
        for member in &mut self.members {
            member.audit = is_tried;
            member.apply(policy);
        }
    }

    /// Sends a packet into a port, and lets both work until nothing is left to do; what came out.
    fn send(&mut self, port: PortId, packet: &[u8]) -> Vec<(PortId, Vec<u8>)> {
        self.now.0 += 1;
        let home = usize::from(HOMES[usize::from(port.0)].0);
        let frame = self.members[home].worker.pool.packet(packet).unwrap();
        self.process(home, port, frame, false);
        let parcels = (0..16).take_while(|_| self.take_parcel(0) || self.take_parcel(1)).count();
        assert!(parcels < 16, "it wanders");
        let out = self.members.iter_mut().flat_map(Rig::collect).collect();
        self.check_ledger();
        out
    }

    fn process(&mut self, member: usize, port: PortId, frame: Frame, settled: bool) {
        let worker = &mut self.members[member].worker;
        let world = Arc::clone(&worker.world);
        if self.is_slow {
            worker.counters.received += 1;
            worker.go_the_long_way(&world, port, (frame, None), settled, self.now);
        } else {
            worker.batch.push(frame);
            worker.process_batch(&world, std::iter::once((port, settled)), self.now);
        }
        worker.flush();
    }

    /// Whether there was a parcel for this member.
    fn take_parcel(&mut self, member: usize) -> bool {
        let worker = &mut self.members[member].worker;
        match worker.workers[member].pop() {
            None => return false,
            Some(Parcel::Judge { frame, port, settled }) => {
                self.process(member, port, frame, settled);
            }
            Some(Parcel::Transmit { frame, port }) => {
                worker.transmit(&Arc::clone(&worker.world), port, frame);
            }
            Some(Parcel::Grant(grant)) => worker.connections.keep(*grant),
        }
        true
    }

    /// Every frame is somewhere.
    fn check_ledger(&mut self) {
        let reports = self.members.each_mut().map(|member| member.worker.report());
        let free: usize = reports.iter().map(|report| report.free + report.held).sum();
        assert_eq!(free, 2 * FRAMES as usize, "ledger");
    }

    /// Packets dropped, by reason, and the connections of both.
    fn knowledge(&self) -> (Vec<u64>, [usize; 2]) {
        let reasons = DropReason::ALL.iter();
        let members = &self.members;
        let dropped = reasons.map(|reason| members.iter().map(|it| it.dropped(*reason)).sum());
        (dropped.collect(), members.each_ref().map(|member| member.worker.connections.len()))
    }

    /// Packets that the owner of the tiefighter's connections has received.
    fn owner_received(&self) -> u64 {
        self.members[0].worker.counters.received
    }
}

/// Plays the steps the quick way and the slow way.
fn play(policy: &str, follows: bool, steps: &[Step]) {
    let mut quick = Pair::new(policy, follows, false);
    let mut slow = Pair::new(policy, follows, true);
    for (step, packet) in script(steps) {
        if let Some((policy, is_tried)) = step.policy {
            quick.apply(POLICIES[policy], is_tried);
            slow.apply(POLICIES[policy], is_tried);
        }
        let out = quick.send(step.port(), &packet);
        assert_eq!(out, slow.send(step.port(), &packet), "{step:?}");
        assert_eq!(quick.knowledge(), slow.knowledge(), "{step:?}");
    }
}

proptest! {
    #[test]
    fn what_is_granted_or_handed_on_unread_ends_as_what_is_judged_twice(
        steps in steps(),
        policy in 0..POLICIES.len(),
        follows in any::<bool>(),
    ) {
        play(POLICIES[policy], follows, &steps);
    }
}

/// An honest packet of the talk without a service, or with one.
fn packet_of(through_service: bool, from_client: bool, flags: TcpFlags) -> Step {
    step(false, through_service, from_client, flags)
}

/// Sends the packets of these steps; which of them the owner of the connections received.
fn seen_by_the_owner(pair: &mut Pair, steps: &[Step]) -> Vec<bool> {
    let packets = script(steps);
    let opening = packets.len() - steps.len();
    let mut seen = Vec::new();
    for (step, packet) in packets {
        let before = pair.owner_received();
        assert_eq!(pair.send(step.port(), &packet).len(), 1, "{step:?}");
        seen.push(pair.owner_received() > before);
    }
    seen.split_off(opening)
}

#[test]
fn its_owner_sees_the_first_reply_and_then_none() {
    for (protocol, through_service) in [(Kind::Tcp, false), (Kind::Tcp, true), (Kind::Udp, false)] {
        let mut pair = Pair::new("", false, false);
        let talk = |from_client| {
            let mut step = packet_of(through_service, from_client, TcpFlags::ACK);
            step.protocol = protocol;
            step
        };
        let (ask, reply) = (talk(true), talk(false));
        let seen = seen_by_the_owner(&mut pair, &[ask, reply, reply, ask, reply]);
        assert_eq!(seen, [true, true, false, true, false], "{protocol:?} {through_service}");
    }
}

#[test]
fn who_has_to_see_every_segment_grants_nothing() {
    for policy in ["", L7] {
        let mut pair = Pair::new(policy, true, false);
        let reply = packet_of(false, false, TcpFlags::ACK);
        let talk: Vec<_> = script(&[reply; 4])
            .into_iter()
            .filter(|(step, _)| !step.is_ipv6 && !step.through_service)
            .collect();
        let mut seen = 0;
        for (step, packet) in &talk {
            let before = pair.owner_received();
            assert_eq!(pair.send(step.port(), packet).len(), 1);
            seen += usize::from(pair.owner_received() > before);
        }
        assert_eq!(seen, talk.len(), "{policy}");
    }
}

/// Two workers that carry replies of the talk without a service, or with one, under a grant.
fn granted(through_service: bool) -> (Pair, Vec<u8>) {
    let mut pair = Pair::new("", false, false);
    let reply = packet_of(through_service, false, TcpFlags::ACK);
    assert_eq!(seen_by_the_owner(&mut pair, &[reply, reply]), [true, false]);
    let packet = script(&[reply]).pop().unwrap().1;
    (pair, packet)
}

/// Whether the owner is asked about a packet of the deathstar's.
fn is_asked(pair: &mut Pair, packet: &[u8]) -> bool {
    let before = pair.owner_received();
    assert_eq!(pair.send(DEATHSTAR, packet).len(), 1);
    pair.owner_received() > before
}

#[test]
fn what_one_grant_is_for_is_granted_once() {
    let mut pair = Pair::new("", false, false);
    for (step, packet) in script(&[]) {
        assert_eq!(pair.send(step.port(), &packet).len(), 1);
    }
    let reply = script(&[packet_of(false, false, TcpFlags::ACK)]).pop().unwrap().1;
    for _ in 0..3 {
        let frame = pair.members[1].worker.pool.packet(&reply).unwrap();
        pair.process(1, DEATHSTAR, frame, false);
    }
    while pair.take_parcel(0) {}
    let inbox = Arc::clone(&pair.members[1].worker.workers[1]);
    assert!(matches!(inbox.pop(), Some(Parcel::Grant(_))));
    assert!(inbox.is_empty());
}

#[test]
fn a_packet_does_not_wander_between_workers_that_see_different_worlds() {
    // To the one the tiefighter's home is the other, and the other way round.
    let mut pair = Pair::new("", false, false);
    pair.members[0].homes[0] = WorkerId(1);
    pair.members[0].apply("");
    let early = Segment {
        flags: TcpFlags::ACK,
        ..syn(envelope(DEATHSTAR, "10.0.0.2", "10.0.0.1"), 80, 40000)
    };
    assert_eq!(pair.send(DEATHSTAR, &bytes(&early)).len(), 1);
    let handed_on = pair.members.each_ref().map(|member| member.worker.counters.handed_on);
    assert_eq!(handed_on, [1, 1]);
}

#[test]
fn a_grant_ends_with_its_epoch() {
    let (mut pair, reply) = granted(false);
    pair.apply(L4, false);
    assert!(is_asked(&mut pair, &reply), "and judged again");
    assert!(is_asked(&mut pair, &reply), "and granted again");
    assert!(!is_asked(&mut pair, &reply));
    // Who gave it learns of the next epoch first.
    pair.members[0].apply("");
    let ask = script(&[packet_of(false, true, TcpFlags::ACK)]).pop().unwrap().1;
    pair.send(TIEFIGHTER, &ask);
    assert!(is_asked(&mut pair, &reply));
}

#[test]
fn a_grant_ends_with_its_connection() {
    let (mut pair, reply) = granted(false);
    let connections = &mut pair.members[0].worker.connections;
    connections.expire(Tick(9_000_000), 64);
    assert!(connections.is_empty());
    assert!(is_asked(&mut pair, &reply));
}

#[test]
fn a_grant_ends_when_another_connection_takes_its_flow_over() {
    // The tiefighter speaks to the backend itself, and then to its service from the same port.
    let mut pair = Pair::new("", false, false);
    let direct = syn(envelope(TIEFIGHTER, FROM_TIEFIGHTER.0, FROM_TIEFIGHTER.1), 40001, 8080);
    assert_eq!(pair.send(TIEFIGHTER, &bytes(&direct)).len(), 1);
    let reply = script(&[packet_of(true, false, TcpFlags::ACK)]).pop().unwrap().1;
    assert!(is_asked(&mut pair, &reply) && !is_asked(&mut pair, &reply));
    let opening = script(&[packet_of(true, true, TcpFlags::SYN)]).pop().unwrap().1;
    assert_eq!(pair.send(TIEFIGHTER, &opening).len(), 1);
    let out = pair.send(DEATHSTAR, &reply);
    assert_eq!(headers(&out[0].1).source(), Some(ip("10.96.0.1")), "the service's");
}

#[test]
fn a_grant_is_for_one_port() {
    let (mut pair, reply) = granted(false);
    let mut forged = reply.clone();
    forged[..12].copy_from_slice(
        &parser::ethernet::Stations { destination: our_mac(2), source: pod_mac(2) }.to_bytes(),
    );
    assert!(pair.send(XWING, &forged).is_empty());
    let spoofed = pair.members.each_ref().map(|it| it.dropped(DropReason::InvalidSourceIp));
    assert_eq!(spoofed.iter().sum::<u64>(), 1);
    assert!(!is_asked(&mut pair, &reply), "nobody else can end it");
}

#[test]
fn a_connection_whose_packets_pass_elsewhere_is_not_silent() {
    let (mut pair, reply) = granted(false);
    for _ in 0..4 {
        pair.now.0 += 7_000_000;
        assert!(!is_asked(&mut pair, &reply));
        pair.members[0].worker.connections.expire(pair.now, 64);
    }
    pair.now.0 += 8_001_000;
    pair.members[0].worker.connections.expire(pair.now, 64);
    assert!(is_asked(&mut pair, &reply));
}

#[test]
fn who_answers_an_opening_is_asked_of_its_other_end() {
    // The deathstar's segment was picked up by its own home, before the tiefighter opened the same flow.
    let mut pair = Pair::new("", true, false);
    let early = syn(envelope(DEATHSTAR, "10.0.0.2", "10.0.0.1"), 80, 40000);
    let early = Segment { flags: TcpFlags::ACK, ..early };
    assert_eq!(pair.send(DEATHSTAR, &bytes(&early)).len(), 1);
    assert_eq!(pair.members[1].worker.connections.len(), 1);
    assert_eq!(pair.send(TIEFIGHTER, &bytes(&tiefighter_syn())).len(), 1);
    let answer = Segment { flags: TcpFlags::SYN.with(TcpFlags::ACK), ..early };
    assert!(is_asked(&mut pair, &bytes(&answer)));
    assert!(pair.members[1].worker.connections.is_empty());
}

#[test]
fn a_turn_takes_the_parcels_that_wait_when_it_begins() {
    // The other worker's inbox is this one's, so what it hands on comes while it takes parcels.
    let inbox = inbox();
    let homes = [WorkerId(0), WorkerId(1), WorkerId(0), WorkerId(0)];
    let inboxes = vec![Arc::clone(&inbox), Arc::clone(&inbox)];
    let mut rig = Rig::member(WorkerId(0), homes, inboxes, "", settings(false));
    let early = Segment {
        flags: TcpFlags::ACK,
        ..syn(envelope(DEATHSTAR, "10.0.0.2", "10.0.0.1"), 80, 40000)
    };
    let frame = rig.worker.pool.packet(&bytes(&early)).unwrap();
    inbox.push(Parcel::Judge { frame, port: DEATHSTAR, settled: false }).unwrap();
    assert_eq!(rig.worker.turn(), Progress::Worked);
    assert!(rig.collect().is_empty() && inbox.len() == 1);
    assert_eq!(rig.worker.turn(), Progress::Worked);
    assert_eq!(rig.collect().len(), 1);
}
