//! DNS on its way: queries are judged by name, answers teach what names stand for.
//!
//! Arrives: a datagram of a connection that policy says to resolve. Leaves: its verdict. A query whose name no rule allows is
//! answered REFUSED and goes nowhere; an answer that nobody asked for goes nowhere. An answer leaves after what it says is
//! known, so that the connection it leads to finds it known. Over TCP nothing is read: such a connection is reset.

use std::{net::IpAddr, sync::atomic::Ordering};

use parser::{
    checksum,
    dns::{self, DnsError},
    flow_key::FlowTuple,
    headers::Headers,
    network::Protocol,
    tcp::TcpFlags,
};
use policy_table::{Access, DnsAccess, DnsVerdict, EndpointIndex, Names, Table, oracle::Learned};

use super::{
    PortId, Worker,
    clock::Tick,
    judge::{Verdict, forward},
};
use crate::{
    connection::{Connection, Direction, Found},
    drop_reason::DropReason,
    flow::{FlowEvent, Happening},
    names::PodNames,
    reply::Answer,
    umem::{Frame, Port},
    world::World,
};

impl<P: Port> Worker<P> {
    /// Makes room for what DNS will tell the pods that this worker is the home of, where their policies speak of it.
    pub(super) fn prepare_names(&mut self, world: &World) {
        let Some(table) = world.table.as_deref() else { return };
        for (id, view) in world.ports().filter(|(_, view)| view.home == self.id) {
            let place = usize::from(id.0);
            if self.names.len() <= place {
                self.names.resize_with(place + 1, || None);
            }
            let speaks = view.endpoint.is_some_and(|endpoint| table.reads_dns(endpoint));
            if let Some(names) = self.names.get_mut(place).filter(|names| speaks && names.is_none())
            {
                *names = Some(Box::default());
            }
        }
    }

    /// Forgets what the pod of a port was told.
    pub(super) fn forget_names(&mut self, port: PortId) {
        if let Some(names) = self.names.get_mut(usize::from(port.0)) {
            *names = None;
        }
    }

    /// What the pod of a port calls an address.
    pub(super) fn names_of(
        &mut self,
        table: &Table,
        (port, pod): (PortId, Option<EndpointIndex>),
        address: IpAddr,
        now: Tick,
    ) -> Names {
        let (Some(pod), Some(names)) = (pod, self.pod_names(port)) else { return Names::NONE };
        names.of(address, now, table.epoch(), |name| table.names_of(pod, name))
    }

    /// What DNS told pods, by their addresses.
    pub(super) fn learned(&self, pods: &[IpAddr]) -> Vec<Learned> {
        let mut learned = Vec::new();
        let Some(table) = self.world.table.as_deref() else { return learned };
        for (id, view) in self.world.ports() {
            let names = self.names.get(usize::from(id.0)).and_then(Option::as_deref);
            let pod = view.endpoint.and_then(|endpoint| table.endpoint(endpoint));
            let (Some(names), Some(pod)) = (names, pod) else { continue };
            let Some(pod) = pod.addresses.iter().find(|address| pods.contains(address)) else {
                continue;
            };
            learned.extend(names.known_now(self.now).map(|(name, address)| Learned {
                pod: *pod,
                name: name.to_owned(),
                address,
            }));
        }
        learned
    }

    fn pod_names(&mut self, port: PortId) -> Option<&mut PodNames> {
        self.names.get_mut(usize::from(port.0))?.as_deref_mut()
    }

    /// The verdict on a packet of a connection whose DNS queries are judged, as far as it can be given without its bytes.
    pub(super) fn judge_resolved(
        &mut self,
        world: &World,
        table: &Table,
        found: Found,
        access: &DnsAccess,
        headers: &Headers,
        tuple: &FlowTuple,
    ) -> Verdict {
        let Some(connection) = self.connections.connection(found.id) else {
            return Verdict::Drop(DropReason::MidStream);
        };
        if connection.flow.protocol == Protocol::UDP {
            return Verdict::Resolve(found);
        }
        let (port, wanted) = connection.way(found.direction);
        // A rule without names allows the server whatever is asked, so nothing is left to judge.
        if access.is_tried() || table.allows_every_query(access) {
            return forward(world, port, headers, tuple, wanted);
        }
        self.forget(found.id);
        Verdict::Refuse(DropReason::DnsOverTcp, Answer::Reset)
    }

    /// Reads a message and does what policy says of it.
    pub(super) fn resolve(
        &mut self,
        world: &World,
        port: PortId,
        found: Found,
        headers: &mut Headers,
        frame: Frame,
        now: Tick,
    ) {
        let verdict = self.judge_message(world, found, headers, frame.bytes(), now);
        self.carry_out(world, port, headers, verdict, frame, now);
    }

    fn judge_message(
        &mut self,
        world: &World,
        found: Found,
        headers: &Headers,
        bytes: &[u8],
        now: Tick,
    ) -> Verdict {
        // What the receiver would not take is neither asked nor told.
        if !checksum::verify_transport(bytes, headers) {
            return Verdict::Drop(DropReason::BadChecksum);
        }
        let (Some(table), Some(tuple), Some(message)) =
            (world.table.as_deref(), headers.flow_tuple(), headers.payload(bytes))
        else {
            return Verdict::Drop(DropReason::InvalidTransportHeader);
        };
        let Some(connection) = self.connections.connection(found.id) else {
            return Verdict::Drop(DropReason::MidStream);
        };
        let (way, telling) = (connection.way(found.direction), Telling::of(connection));
        let Access::Resolve(access) = connection.judgement.access else {
            return Verdict::Drop(DropReason::MidStream);
        };
        let passed = match found.direction {
            Direction::Original => self.query(table, found, &access, &telling, message, now),
            Direction::Reply => self.answer_to(table, found, &telling, message, now),
        };
        match passed {
            Ok(()) => forward(world, way.0, headers, &tuple, way.1),
            // What is only tried stops nothing, not even what cannot be read.
            Err(_) if access.is_tried() => forward(world, way.0, headers, &tuple, way.1),
            Err(refused) => refused,
        }
    }

    /// Judges a query.
    fn query(
        &mut self,
        table: &Table,
        found: Found,
        access: &DnsAccess,
        telling: &Telling,
        message: &[u8],
        now: Tick,
    ) -> Result<(), Verdict> {
        let question = match dns::read_query(message) {
            Ok(question) => question,
            // A name that no rule can speak of is one that no rule allows.
            Err(DnsError::NameLetters) => {
                return Err(Verdict::Refuse(DropReason::DnsNameRefused, Answer::NameRefused));
            }
            Err(_malformed) => return Err(Verdict::Drop(DropReason::DnsMalformed)),
        };
        let (allowed, audited, cause) = match table.judge_dns(access, question.name.as_str()) {
            DnsVerdict::Allow(cause) => (true, false, cause),
            DnsVerdict::Audit(cause) => (true, true, cause),
            DnsVerdict::Deny(cause) => (false, false, cause),
        };
        self.counters.audited += u64::from(audited);
        if !allowed || audited || self.reporting.observers.following.load(Ordering::Relaxed) {
            let (name, record_type) = (question.name, question.record_type);
            let happening = Happening::Query { allowed, audited, name, record_type, cause };
            self.tell(telling.event(table, happening, now));
        }
        if !allowed {
            self.hits.denied(cause);
            return Err(Verdict::Refuse(DropReason::DnsNameRefused, Answer::NameRefused));
        }
        self.hits.request([&cause]);
        // Without a place to note the query its answer could not be told from a forged one.
        let names = self.pod_names(telling.port).ok_or(Verdict::Drop(DropReason::MidStream))?;
        names.ask(found.id, &question, now);
        Ok(())
    }

    /// Judges an answer, and learns from it.
    fn answer_to(
        &mut self,
        table: &Table,
        found: Found,
        telling: &Telling,
        message: &[u8],
        now: Tick,
    ) -> Result<(), Verdict> {
        let answer = dns::read_answer(message)
            .map_err(|_malformed| Verdict::Drop(DropReason::DnsMalformed))?;
        let times = self.settings.leases;
        let Some(names) = self.pod_names(telling.port) else {
            return Err(Verdict::Drop(DropReason::DnsUnsolicited));
        };
        if !names.answered(found.id, &answer.question, now) {
            return Err(Verdict::Drop(DropReason::DnsUnsolicited));
        }
        let name = answer.question.name;
        let stands_for = telling.pod.map(|pod| table.names_of(pod, name.as_str()));
        // What was cut the asker does not use either.
        let Some(stands_for) = stands_for.filter(|names| !names.is_empty() && !answer.cut) else {
            return Ok(());
        };
        if answer.code != 0 {
            return Ok(());
        }
        let mut learned = 0_u16;
        let read = answer.addresses(&mut |address, ttl| {
            names.learn(&name, stands_for, address, (ttl, times), now);
            learned = learned.saturating_add(1);
        });
        read.map_err(|_malformed| Verdict::Drop(DropReason::DnsMalformed))?;
        if self.reporting.observers.following.load(Ordering::Relaxed) {
            let happening = Happening::Learned { name, addresses: learned };
            self.tell(telling.event(table, happening, now));
        }
        Ok(())
    }
}

/// Whose query or answer it is.
#[derive(Clone, Copy, Debug)]
struct Telling {
    flow: FlowTuple,
    port: PortId,
    pod: Option<EndpointIndex>,
    source: policy_table::Identity,
    destination: policy_table::Identity,
}

impl Telling {
    fn of(connection: &Connection) -> Self {
        let judgement = &connection.judgement;
        Self {
            flow: connection.flow,
            port: judgement.source_port,
            pod: judgement.source.endpoint,
            source: judgement.source.identity,
            destination: judgement.destination.identity,
        }
    }

    fn event(&self, table: &Table, happening: Happening, now: Tick) -> FlowEvent {
        FlowEvent {
            tick: now,
            epoch: table.epoch(),
            tuple: self.flow,
            source: self.source,
            destination: self.destination,
            flags: TcpFlags::NONE,
            icmp_type: None,
            happening,
        }
    }
}
