//! Judging is apart from acting: this file reads headers and tables and returns a verdict; it sends nothing and edits no packet.
//!
//! ```text
//!   addresses ok? ── neighbour? ── source its own? ── connection known? ─yes─ verdict of this epoch ─┐
//!                                                          └─no── service ── policy ── new one ──────┤
//!                                                                                forward │ inspect │ refuse
//! ```

use std::net::IpAddr;

use parser::{
    flow_key::FlowTuple,
    headers::{Headers, Transport},
    icmp::IcmpMessage,
    icmpv6::Icmpv6Message,
    network::Protocol,
    tcp::TcpFlags,
};
use policy_table::{Access, Direction as PolicyDirection, Flow, Identity, Names, Peer, Table};

use super::{PortId, Worker, WorkerId, clock::Tick, related::Quoted};
use crate::{
    connection::{
        Connection, ConnectionId, Direction, Follower, Found, Judgement, Sought, tcp::Phase,
    },
    drop_reason::DropReason,
    flow::{FlowEvent, Happening},
    inspect::Stream,
    reply::Answer,
    service::Destination,
    umem::Port,
    world::{PortKind, PortView, World},
};

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verdict {
    /// Send it out of this port, its addresses rewritten to this tuple if there is one.
    Forward {
        /// The port.
        port: PortId,
        /// The addresses and ports that it shall have.
        rewrite: Option<FlowTuple>,
    },
    /// Show it to the shadow of its connection, or begin one with it, and forward it.
    Follow {
        /// The connection.
        found: Found,
        /// The port.
        port: PortId,
        /// The addresses and ports that it shall have.
        rewrite: Option<FlowTuple>,
    },
    /// Give it to the inspected stream of its connection.
    Inspect(Found),
    /// Read it as a DNS message of this connection.
    Resolve(Found),
    /// Send this ICMP error out of this port, its quote as the quoted packet's sender knows it.
    Relate {
        /// The port.
        port: PortId,
        /// What the quoted packet's sender knows of it.
        quoted: Quoted,
    },
    /// Keep it until its packet is whole, which is judged then.
    Gather {
        /// As in [`Verdict::HandOn`].
        settled: bool,
    },
    /// Answer it; its frame has done its work.
    Answer(Answer),
    /// It told something that we took note of.
    Note,
    /// Hand it to the worker that may have its connection.
    HandOn {
        /// The worker.
        worker: WorkerId,
        /// Whether that worker must open the connection if it has none.
        settled: bool,
    },
    /// Drop it and tell the sender.
    Refuse(DropReason, Answer),
    /// Drop it.
    Drop(DropReason),
}

/// Where a packet comes from and goes to, as far as policy is concerned.
#[derive(Clone, Copy, Debug)]
struct Ends {
    source: Peer,
    source_port: PortId,
    destination: Peer,
    destination_port: PortId,
}

impl<P: Port> Worker<P> {
    /// The verdict on a packet that came in on `port`.
    pub(super) fn judge(
        &mut self,
        world: &World,
        port: PortId,
        (headers, sought): (&Headers, Option<&Sought>),
        settled: bool,
        now: Tick,
    ) -> Verdict {
        let Some(view) = world.port(port) else { return Verdict::Drop(DropReason::PortGone) };
        let tuple = sought.map(Sought::tuple);
        let found = sought.and_then(|sought| self.connections.found(sought));
        if let (Some(tuple), Some(found), Some(table)) = (tuple, found, world.table.as_deref())
            && let Some(connection) = self.connections.connection(found.id)
            && is_expected(world, (port, view), (connection, found.direction), headers, tuple)
        {
            let flags = headers.tcp().map(|tcp| tcp.flags);
            if !is_over(connection, found.direction, flags) {
                return self.judge_fresh(world, table, found, headers, tuple, flags, now);
            }
        }
        if let Some(verdict) = super::neighbour::judge(world, view, headers) {
            return verdict;
        }
        let Some(table) = world.table.as_deref() else {
            return Verdict::Drop(DropReason::EndpointNotReady);
        };
        let source = match source_of(world, view, table, headers) {
            Ok(source) => source,
            Err(reason) => return Verdict::Drop(reason),
        };
        if let Some(error) = headers.icmp_error() {
            return self.judge_icmp_error(world, port, headers, error);
        }
        match headers.transport {
            Transport::Fragment(_) => Verdict::Gather { settled },
            _ => match tuple {
                Some(tuple) => {
                    let flow = (tuple, found);
                    self.judge_flow(world, table, (port, source), headers, flow, settled, now)
                }
                None => Verdict::Drop(DropReason::UnknownL4Protocol),
            },
        }
    }

    /// The verdict on a packet of a flow, whose connection is known or not.
    #[expect(
        clippy::too_many_arguments,
        reason = "all of it is the packet's own context, read once in `judge`"
    )]
    fn judge_flow(
        &mut self,
        world: &World,
        table: &Table,
        (port, source): (PortId, Peer),
        headers: &Headers,
        (tuple, found): (&FlowTuple, Option<Found>),
        settled: bool,
        now: Tick,
    ) -> Verdict {
        let flags = headers.tcp().map(|tcp| tcp.flags);
        if let Some(found) = found {
            let connection = self.connections.connection(found.id);
            if !connection.is_some_and(|it| is_over(it, found.direction, flags)) {
                return self.judge_known(world, table, found, headers, tuple, flags, now);
            }
            self.forget(found.id);
        }
        let opens = flags.is_some_and(TcpFlags::is_opening);
        if !opens && !settled {
            // The other end may have opened it; then the connection is with the worker that receives from there.
            let other = world.home_towards(tuple.destination);
            if let Some(worker) = other.filter(|worker| *worker != self.id) {
                let home = world.port(port).map(|view| view.home);
                // If we are not the sender's home, we were asked as the other end; the sender's home opens it.
                return match home {
                    Some(home) if home != self.id => {
                        Verdict::HandOn { worker: home, settled: true }
                    }
                    _ => Verdict::HandOn { worker, settled: false },
                };
            }
            if let Some(home) =
                world.port(port).map(|view| view.home).filter(|home| *home != self.id)
            {
                return Verdict::HandOn { worker: home, settled: true };
            }
        }
        match flags {
            Some(flags) if !flags.is_opening() => {
                self.pick_up(world, table, source, headers, tuple, flags, now)
            }
            _ => self.open(world, table, source, headers, tuple, now),
        }
    }

    /// The verdict on a packet of a known connection.
    #[expect(
        clippy::too_many_arguments,
        reason = "all of it is the packet's own context, read once in `judge`"
    )]
    fn judge_known(
        &mut self,
        world: &World,
        table: &Table,
        found: Found,
        headers: &Headers,
        tuple: &FlowTuple,
        flags: Option<TcpFlags>,
        now: Tick,
    ) -> Verdict {
        let stale = match self.connections.connection(found.id) {
            Some(connection) => connection.judgement.epoch != world.epoch,
            None => return Verdict::Drop(DropReason::MidStream),
        };
        if stale {
            match self.judge_again(world, table, found, flags.unwrap_or_default(), now) {
                Ok(()) => {}
                Err(reason) => return Verdict::Drop(reason),
            }
        }
        self.judge_fresh(world, table, found, headers, tuple, flags, now)
    }

    /// The verdict on a packet of a connection that is judged by the table of this epoch.
    #[expect(
        clippy::too_many_arguments,
        reason = "all of it is the packet's own context, read once in `judge`"
    )]
    fn judge_fresh(
        &mut self,
        world: &World,
        table: &Table,
        found: Found,
        headers: &Headers,
        tuple: &FlowTuple,
        flags: Option<TcpFlags>,
        now: Tick,
    ) -> Verdict {
        let Some(mut connection) = self.connections.connection(found.id) else {
            return Verdict::Drop(DropReason::MidStream);
        };
        if connection.follower.is_shadow() && inspects(connection.judgement.access) {
            self.adopt(found.id);
            match self.connections.connection(found.id) {
                Some(adopted) => connection = adopted,
                None => return Verdict::Drop(DropReason::MidStream),
            }
        }
        if found.direction == Direction::Reply
            && (flags.is_some_and(TcpFlags::is_opening) || asks_for_an_echo(headers))
        {
            // What opens is never a reply. Let through, it would open a connection that no policy was asked about.
            return Verdict::Drop(DropReason::MidStream);
        }
        // ICMP messages of several types have one key; each type is its own question to policy.
        let policy_port = policy_port(headers, &connection.flow);
        if found.direction == Direction::Original && policy_port != connection.policy_port {
            let Judgement { source, destination, source_port, destination_port, .. } =
                *connection.judgement;
            let ends = Ends { source, source_port, destination, destination_port };
            let names = connection.judgement.access.names();
            if let Access::Deny(denial) =
                access(table, &ends, connection.flow.protocol, policy_port, &names)
            {
                self.hits.denied(denial.cause);
                return Verdict::Drop(denied(denial.explicit));
            }
        }
        let denied_now = matches!(connection.judgement.access, Access::Deny(_));
        if found.direction == Direction::Original {
            match connection.judgement.access {
                // Policy is re-checked on every packet of the original direction (Cilium, §2.6); replies pass. An inspected
                // stream is not left to stall: it is reset, whichever side speaks first.
                Access::Deny(denial) if !connection.follower.is_stream() => {
                    self.hits.denied(denial.cause);
                    return Verdict::Drop(denied(denial.explicit));
                }
                Access::Inspect(http) if !connection.follower.is_stream() && !http.is_tried() => {
                    // An HTTP rule came to hold in the middle of a stream whose framing nobody followed.
                    self.forget(found.id);
                    return Verdict::Refuse(DropReason::MidStream, Answer::Reset);
                }
                Access::Allow(_) | Access::Inspect(_) | Access::Resolve(_) | Access::Deny(_) => {}
            }
        }
        // Replies of a connection that is denied now pass, as with Cilium, but do not keep it alive.
        if !denied_now {
            connection.last_seen = now;
        }
        if let Some(flags) = flags {
            connection.phase = connection.phase.after(flags, found.direction);
        }
        let (port, wanted) = connection.way(found.direction);
        if connection.follower.is_stream() {
            // The engine must not note bytes that then do not pass.
            return too_big(world, port, headers).unwrap_or(Verdict::Inspect(found));
        }
        if let Access::Resolve(dns) = connection.judgement.access {
            return self.judge_resolved(world, table, found, &dns, headers, tuple);
        }
        let follows = connection.follower.is_shadow();
        let verdict = forward(world, port, headers, tuple, wanted);
        if follows { followed(verdict, found) } else { verdict }
    }

    /// An HTTP rule came to hold for a connection that was opened without one: whoever followed it decides from now on.
    fn adopt(&mut self, id: ConnectionId) {
        if let Some(shadow) = self.connections.take_shadow(id) {
            let stream = shadow.into_stream().map(Follower::Stream);
            if let Some(connection) = self.connections.connection(id) {
                connection.follower = stream.unwrap_or_default();
            }
        }
    }

    /// Judges a connection by the table of this epoch.
    pub(super) fn judge_again(
        &mut self,
        world: &World,
        table: &Table,
        found: Found,
        flags: TcpFlags,
        now: Tick,
    ) -> Result<(), DropReason> {
        let connection = self.connections.connection(found.id).ok_or(DropReason::MidStream)?;
        let (flow, policy_port) = (connection.flow, connection.policy_port);
        let before = connection.judgement.access;
        // A pod that talks to itself through a service has the loopback address as its source; its port stays.
        let source = connection.opener();
        let ends = ends(world, source, flow.destination).ok_or(DropReason::NoRoute)?;
        let mut names = self.names_between(table, &ends, flow.destination, now);
        // A connection keeps the names that it was opened under, as in Cilium, even if they have ended since.
        names.extend(&before.names());
        let access = access(table, &ends, flow.protocol, policy_port, &names);
        let judgement = self.judgements.share(judgement(world, &ends, access));
        let connection = self.connections.connection(found.id).ok_or(DropReason::MidStream)?;
        connection.judgement = judgement;
        connection.follower.revoke();
        self.count_grounds(access);
        let changed = std::mem::discriminant(&before) != std::mem::discriminant(&access);
        if changed && found.direction == Direction::Original {
            self.tell_verdict(table, &flow, &ends, access, (flags, policy_port), now);
        }
        Ok(())
    }

    /// The verdict on a packet that opens a connection.
    fn open(
        &mut self,
        world: &World,
        table: &Table,
        source: Peer,
        headers: &Headers,
        tuple: &FlowTuple,
        now: Tick,
    ) -> Verdict {
        let (flow, service) = match world.services.destination(tuple) {
            Destination::NotAService => (*tuple, None),
            Destination::NoBackend => return Verdict::Drop(DropReason::ServiceBackendNotFound),
            Destination::Backend(backend) => (
                FlowTuple { destination: backend.ip(), dst_port: backend.port(), ..*tuple },
                Some(Box::new(*tuple)),
            ),
        };
        let Some(ends) = ends(world, tuple.source, flow.destination) else {
            return Verdict::Refuse(DropReason::NoRoute, Answer::HostUnreachable);
        };
        let ends = Ends { source, ..ends };
        if ends.source_port == ends.destination_port && ends.source.endpoint.is_none() {
            // From the node's stack to the node's stack: it has no business here.
            return Verdict::Refuse(DropReason::NoRoute, Answer::HostUnreachable);
        }
        let flow = if ends.source_port == ends.destination_port { hairpin(&flow) } else { flow };
        let policy_port = policy_port(headers, &flow);
        let names = self.names_between(table, &ends, flow.destination, now);
        let access = access(table, &ends, flow.protocol, policy_port, &names);
        let flags = headers.tcp().map(|tcp| tcp.flags).unwrap_or_default();
        self.tell_verdict(table, &flow, &ends, access, (flags, policy_port), now);
        if let Access::Deny(denial) = access {
            self.hits.denied(denial.cause);
            return Verdict::Drop(denied(denial.explicit));
        }
        let judgement = self.judgements.share(judgement(world, &ends, access));
        let connection = Connection::new(flow, service, policy_port, judgement, now);
        // HTTP rules are for TCP only, so this is a SYN; its stream starts here or not at all.
        let inspected = inspects(access);
        if inspected && headers.tcp().is_none() {
            return Verdict::Drop(DropReason::PolicyDenied);
        }
        let (port, wanted) = connection.way(Direction::Original);
        self.count_grounds(access);
        match self.connections.insert(connection, now) {
            Ok(id) => {
                let found = Found { id, direction: Direction::Original };
                match access {
                    Access::Inspect(http) if !http.is_tried() => return Verdict::Inspect(found),
                    Access::Resolve(dns) => {
                        return self.judge_resolved(world, table, found, &dns, headers, tuple);
                    }
                    Access::Allow(_) | Access::Inspect(_) | Access::Deny(_) => {}
                }
                let follows = headers.tcp().is_some() && self.connections.can_follow();
                let verdict = forward(world, port, headers, tuple, wanted);
                if follows { followed(verdict, found) } else { verdict }
            }
            Err(full) => Verdict::Drop(full),
        }
    }

    /// The verdict on a segment in the middle of a connection that nobody here knows: after a restart, or after an idle time.
    /// What policy allows at L4 goes on, as in Cilium; where an HTTP rule decides in either direction, nobody knows the framing,
    /// so it is reset.
    #[expect(
        clippy::too_many_arguments,
        reason = "all of it is the packet's own context, read once in `judge`"
    )]
    fn pick_up(
        &mut self,
        world: &World,
        table: &Table,
        source: Peer,
        headers: &Headers,
        tuple: &FlowTuple,
        flags: TcpFlags,
        now: Tick,
    ) -> Verdict {
        if flags.is_rst() || flags.is_syn() {
            return Verdict::Drop(DropReason::MidStream);
        }
        let (flow, service) = match world.services.destination(tuple) {
            Destination::NotAService => (*tuple, None),
            Destination::NoBackend => return Verdict::Drop(DropReason::ServiceBackendNotFound),
            Destination::Backend(backend) => (
                FlowTuple { destination: backend.ip(), dst_port: backend.port(), ..*tuple },
                Some(Box::new(*tuple)),
            ),
        };
        let Some(ends) = ends(world, tuple.source, flow.destination) else {
            return Verdict::Drop(DropReason::NoRoute);
        };
        let ends = Ends { source, ..ends };
        if ends.source_port == ends.destination_port {
            return Verdict::Drop(DropReason::MidStream);
        }
        let names = self.names_between(table, &ends, flow.destination, now);
        let forth = access(table, &ends, flow.protocol, flow.dst_port, &names);
        // If the other end opened it, this would be a reply, and the other way is the one that policy speaks of.
        let turned = Ends {
            source: ends.destination,
            source_port: ends.destination_port,
            destination: ends.source,
            destination_port: ends.source_port,
        };
        let back = access(table, &turned, flow.protocol, flow.src_port, &Names::NONE);
        let judged =
            |access| inspects(access) || matches!(access, Access::Resolve(dns) if !dns.is_tried());
        // Under which name the other end opened it, if it did, is not known here.
        let named = table.may_be_inspected(&question(&turned, flow.protocol, flow.src_port));
        if judged(forth) || judged(back) || named {
            return Verdict::Refuse(DropReason::MidStream, Answer::Reset);
        }
        if service.is_none() && matches!(back, Access::Allow(_)) {
            // A backend speaks in the middle of a connection to its service: the client spoke to the service's address.
            let client = flow.reversed();
            if let Some(frontend) = world.services.frontend_of(&client) {
                let judgement = self.judgements.share(judgement(world, &turned, back));
                let service = Some(Box::new(frontend));
                let connection = Connection::new(client, service, client.dst_port, judgement, now);
                return self.resume(world, connection, Direction::Reply, headers, tuple, now);
            }
        }
        if let Access::Deny(denial) = forth {
            self.tell_verdict(table, &flow, &ends, forth, (flags, flow.dst_port), now);
            self.hits.denied(denial.cause);
            return Verdict::Drop(denied(denial.explicit));
        }
        let judgement = self.judgements.share(judgement(world, &ends, forth));
        let connection = Connection::new(flow, service, flow.dst_port, judgement, now);
        self.resume(world, connection, Direction::Original, headers, tuple, now)
    }

    /// What the pod that opens a connection calls the other end.
    fn names_between(&mut self, table: &Table, ends: &Ends, other: IpAddr, now: Tick) -> Names {
        self.names_of(table, (ends.source_port, ends.source.endpoint), other, now)
    }

    fn resume(
        &mut self,
        world: &World,
        connection: Connection,
        direction: Direction,
        headers: &Headers,
        tuple: &FlowTuple,
        now: Tick,
    ) -> Verdict {
        let (port, wanted) = connection.way(direction);
        self.count_grounds(connection.judgement.access);
        match self.connections.insert(connection, now) {
            Ok(_) => forward(world, port, headers, tuple, wanted),
            Err(full) => Verdict::Drop(full),
        }
    }

    /// Takes a connection out of the table.
    pub(super) fn forget(&mut self, id: ConnectionId) {
        drop(self.connections.remove(id));
    }

    /// Counts a connection for the rules that let it pass, if it may.
    fn count_grounds(&mut self, access: Access) {
        if let Some(grounds) = access.grounds() {
            self.hits.connection(&grounds);
        }
    }

    /// Tells of a verdict on a connection.
    fn tell_verdict(
        &mut self,
        table: &Table,
        flow: &FlowTuple,
        ends: &Ends,
        access: Access,
        (flags, policy_port): (TcpFlags, u16),
        now: Tick,
    ) {
        let icmp = matches!(flow.protocol, Protocol::ICMP | Protocol::ICMPV6);
        let event = |happening| FlowEvent {
            tick: now,
            epoch: table.epoch(),
            tuple: *flow,
            source: ends.source.identity,
            destination: ends.destination.identity,
            flags,
            icmp_type: u8::try_from(policy_port).ok().filter(|_| icmp),
            happening,
        };
        let (grounds, denial) = match access {
            Access::Allow(grounds) => (Some(grounds), None),
            Access::Inspect(http) => (Some(http.grounds()), None),
            Access::Resolve(_) => (access.grounds(), None),
            Access::Deny(denial) => (None, Some(denial)),
        };
        let audited = grounds.and_then(|grounds| grounds.audited);
        self.counters.audited += u64::from(audited.is_some());
        if let Some(denial) = denial.or(audited) {
            self.tell(event(Happening::PolicyVerdict {
                denied: Some(denied(denial.explicit)),
                audited: audited.is_some(),
                direction: denial.direction,
                cause: denial.cause,
            }));
        }
        let sides = grounds.map(|grounds| {
            [(PolicyDirection::Egress, grounds.egress), (PolicyDirection::Ingress, grounds.ingress)]
        });
        for (direction, cause) in sides.into_iter().flatten() {
            if let Some(cause) = cause {
                let (denied, audited) = (None, false);
                let happening = Happening::PolicyVerdict { denied, audited, direction, cause };
                self.tell(event(happening));
            }
        }
    }
}

impl Connection {
    /// The opener's own address.
    fn opener(&self) -> IpAddr {
        self.service.as_deref().unwrap_or(&self.flow).source
    }

    /// Whether a packet's source address is its end's own. A service's address, and the loopback of a pod that talks to itself, belong
    /// to a connection and to no source.
    pub(super) fn is_from_its_end(&self, direction: Direction, tuple: &FlowTuple) -> bool {
        tuple.source
            == match direction {
                Direction::Original => self.opener(),
                Direction::Reply => self.flow.destination,
            }
    }

    /// Which port a packet of this direction leaves on and the tuple it has then.
    pub(super) fn way(&self, direction: Direction) -> (PortId, FlowTuple) {
        match direction {
            Direction::Original => (self.judgement.destination_port, self.flow),
            Direction::Reply => (
                self.judgement.source_port,
                self.service.as_deref().unwrap_or(&self.flow).reversed(),
            ),
        }
    }
}

/// Whether a packet comes from where its connection's packets come from, between the same stations, so that everything which is
/// asked of a source was asked in this epoch when the connection was judged: its address is that of the port's pod, or of
/// nobody here.
fn is_expected(
    world: &World,
    (port, view): (PortId, &PortView),
    (connection, direction): (&Connection, Direction),
    headers: &Headers,
    tuple: &FlowTuple,
) -> bool {
    let judgement = &connection.judgement;
    let from = match direction {
        Direction::Original => judgement.source_port,
        Direction::Reply => judgement.destination_port,
    };
    judgement.epoch == world.epoch
        && from == port
        && connection.is_from_its_end(direction, tuple)
        && view.neighbour.mac() == Some(headers.ethernet.source)
        && view.mac == headers.ethernet.destination
        && !headers.network.has_martian_source()
        && !headers.network.is_to_group()
}

/// Whether this segment is of another connection, which took this one's place: the connection is finished and the segment opens a new
/// one; or its opener answers an opening, which is then known to the worker that received it.
fn is_over(connection: &Connection, direction: Direction, flags: Option<TcpFlags>) -> bool {
    let Some(flags) = flags else { return false };
    if !flags.is_opening() {
        return flags.is_syn() && direction == Direction::Original;
    }
    connection.phase == Phase::Closing
        || connection.follower.stream().is_some_and(Stream::is_closed)
}

/// Forwards, or tells the sender why not: hop limit or size.
pub(super) fn forward(
    world: &World,
    port: PortId,
    headers: &Headers,
    tuple: &FlowTuple,
    wanted: FlowTuple,
) -> Verdict {
    if headers.hop_limit().is_none_or(|hops| hops <= 1) {
        return Verdict::Refuse(DropReason::TtlExceeded, Answer::TimeExceeded);
    }
    too_big(world, port, headers)
        .unwrap_or(Verdict::Forward { port, rewrite: (*tuple != wanted).then_some(wanted) })
}

/// The verdict on a packet that the link behind `port` cannot carry.
fn too_big(world: &World, port: PortId, headers: &Headers) -> Option<Verdict> {
    let Some(view) = world.port(port) else { return Some(Verdict::Drop(DropReason::PortGone)) };
    headers
        .network
        .packet_len()
        .is_none_or(|length| length > view.mtu)
        .then_some(Verdict::Refuse(DropReason::TooBig, Answer::TooBig { mtu: view.mtu }))
}

/// Forwards under the eyes of the connection's shadow.
fn followed(verdict: Verdict, found: Found) -> Verdict {
    match verdict {
        Verdict::Forward { port, rewrite } => Verdict::Follow { found, port, rewrite },
        other => other,
    }
}

/// Who sent a packet: the pod of the port and nobody else; on the host port and the uplink, nobody's pod here.
fn source_of(
    world: &World,
    view: &PortView,
    table: &Table,
    headers: &Headers,
) -> Result<Peer, DropReason> {
    if headers.network.has_martian_source() {
        return Err(DropReason::InvalidSourceIp);
    }
    let address = headers.network.source().ok_or(DropReason::UnsupportedL3Protocol)?;
    if headers.network.is_to_group() {
        return Err(DropReason::Multicast);
    }
    match view.kind {
        PortKind::Pod => {
            let endpoint = view.endpoint.ok_or(DropReason::EndpointNotReady)?;
            if table.endpoint_of(address) != Some(endpoint) {
                return Err(DropReason::InvalidSourceIp);
            }
            Ok(Peer { identity: table.identity_of(address), endpoint: Some(endpoint) })
        }
        PortKind::Host | PortKind::Uplink => {
            // The node's own addresses are the host, with its implied access; nobody beyond the link has them.
            let claims_the_node =
                view.kind == PortKind::Uplink && table.identity_of(address) == Identity::HOST;
            if world.local_endpoint(address).is_some() || claims_the_node {
                return Err(DropReason::InvalidSourceIp);
            }
            Ok(Peer { identity: table.identity_of(address), endpoint: None })
        }
    }
}

fn ends(world: &World, source: IpAddr, destination: IpAddr) -> Option<Ends> {
    let from = world.route(source)?;
    let to = world.route(destination)?;
    Some(Ends {
        source: from.peer,
        source_port: from.port,
        destination: to.peer,
        destination_port: to.port,
    })
}

/// Whether a stream decides: HTTP rules that are not only tried.
fn inspects(access: Access) -> bool {
    matches!(access, Access::Inspect(http) if !http.is_tried())
}

fn question(ends: &Ends, protocol: Protocol, dst_port: u16) -> Flow {
    let protocol = policy_table::Protocol(protocol.value());
    Flow { source: ends.source, destination: ends.destination, protocol, dst_port }
}

fn access(table: &Table, ends: &Ends, protocol: Protocol, dst_port: u16, names: &Names) -> Access {
    table.judge_named(&question(ends, protocol, dst_port), names)
}

/// The port that policy speaks of: for ICMP the message type (`cilium-semantics.md` §1.9).
fn policy_port(headers: &Headers, flow: &FlowTuple) -> u16 {
    match headers.transport {
        Transport::Icmp(icmp) => u16::from(icmp.icmp_type),
        Transport::Icmpv6(icmpv6) => u16::from(icmpv6.icmp_type),
        _ => flow.dst_port,
    }
}

/// Whether the packet is an echo request, which opens a connection.
fn asks_for_an_echo(headers: &Headers) -> bool {
    match headers.transport {
        Transport::Icmp(icmp) => matches!(icmp.message, IcmpMessage::EchoRequest(_)),
        Transport::Icmpv6(icmpv6) => matches!(icmpv6.message, Icmpv6Message::EchoRequest(_)),
        _ => false,
    }
}

fn judgement(world: &World, ends: &Ends, access: Access) -> Judgement {
    Judgement {
        epoch: world.epoch,
        access,
        source: ends.source,
        destination: ends.destination,
        source_port: ends.source_port,
        destination_port: ends.destination_port,
    }
}

/// A pod that reaches itself through a service would refuse a packet from its own address, so it sees this one instead, as with
/// Cilium (169.254.42.1 and its IPv6 counterpart, `pod-to-itself-via-service`).
fn hairpin(flow: &FlowTuple) -> FlowTuple {
    let loopback = match flow.source {
        IpAddr::V4(_) => IpAddr::V4([169, 254, 42, 1].into()),
        IpAddr::V6(_) => IpAddr::V6([0xfe80, 0, 0, 0, 0, 0, 0xa9fe, 0x2a01].into()),
    };
    FlowTuple { source: loopback, ..*flow }
}

pub(super) fn denied(explicit: bool) -> DropReason {
    if explicit { DropReason::PolicyDeny } else { DropReason::PolicyDenied }
}
