//! What nearly every packet is: plain, and of a connection that was judged in this epoch. It is forwarded here at once.
//!
//! A packet arrives with the places of its parts, and its connection is sought. Either it leaves as it came but for hop limit,
//! hardware addresses, a service's addresses and a checksum that was left to its sender's hardware, or it is given back and goes
//! the long way, which finds everything as it was. INVARIANT: what leaves here, and what is known afterwards, are what the long way
//! would send and know (`tests/established.rs`); only budgets are looked at when a stream holds less than before, and not with
//! every segment.

use parser::{ethernet::Stations, flow_key::FlowTuple, plain::Plain, tcp::TcpFlags};
use policy_table::Access;

use super::{PortId, Worker, WorkerId, clock::Tick, judge::Verdict, stream::plain_segment};
use crate::{
    connection::{Connection, ConnectionId, Direction, Follower, Found, Sought},
    drop_reason::DropReason,
    inspect::Taken,
    umem::{Frame, Port},
    world::World,
};

/// The next link of a packet.
pub(super) struct Link<'a> {
    /// Who receives from the link that it came on.
    pub(super) home: WorkerId,
    pub(super) port: PortId,
    /// The hardware addresses there.
    stations: Stations,
    /// What addresses and ports are, and what they shall be, if a service was addressed.
    pub(super) translation: Option<(&'a FlowTuple, FlowTuple)>,
}

impl<P: Port> Worker<P> {
    /// Forwards a packet of an established connection, or gives it back.
    #[inline]
    pub(super) fn forward_established(
        &mut self,
        world: &World,
        (port, settled): (PortId, bool),
        (plain, sought): (&Plain, &Sought),
        mut frame: Frame,
        now: Tick,
    ) -> Result<(), Frame> {
        let Some((found, connection)) = self.connections.found_mut(sought) else {
            return self.pass_elsewhere(world, (port, settled), (plain, sought), frame, now);
        };
        let link =
            next_link(world, port, (plain, sought.tuple()), (connection, found), frame.bytes());
        let Some(link) = link.filter(|link| self.ports.can_send(link.port)) else {
            return Err(frame);
        };
        let pseudo_header = plain.pseudo_header(sought.tuple());
        let transport = plain.transport(frame.bytes_mut());
        let was_partial = plain.complete_checksum(transport, pseudo_header);
        let (stream, decides) = match &mut connection.follower {
            Follower::Stream(stream) => (Some(&mut **stream), true),
            Follower::Shadow(shadow) => (Some(shadow.stream_mut()), false),
            Follower::Nobody | Follower::Grantee(_) => (None, false),
        };
        let mut shown = None;
        if let Some(stream) = stream {
            // Only what its receiver will accept is shown to a stream; the long way knows what to do with other segments.
            let is_intact = was_partial || plain.is_intact(transport, pseudo_header);
            if !is_intact {
                return Err(frame);
            }
            let Some(segment) = plain_segment(found.direction, plain, transport) else {
                return Err(frame);
            };
            shown = Some((stream.take_bare(&segment, now), segment));
        }
        connection.last_seen = now;
        connection.phase = connection.phase.after(TcpFlags::ACK, found.direction);
        match &shown {
            Some((None, _)) if decides => {
                self.inspect_plain(world, found, (plain, &link), frame, now);
                return Ok(());
            }
            Some((None, segment)) => self.follow_plain(world, found, segment, now),
            Some((Some(_), _)) | None => {}
        }
        let is_seen = shown.is_some();
        let bare = shown.and_then(|(taken, _)| taken);
        self.put_through(plain, &link, frame);
        if !is_seen && link.home != self.id {
            self.grant(world, found.id, sought.tuple(), (port, &link));
        }
        if let Some(taken) = bare {
            self.after_bare(world, found.id, taken, decides);
        }
        Ok(())
    }

    /// Sends a packet on that is as it shall be but for its next link.
    #[inline]
    pub(super) fn put_through(&mut self, plain: &Plain, link: &Link<'_>, mut frame: Frame) {
        frame.set_len(plain.packet_end());
        if let Some((flow, wanted)) = &link.translation
            && !plain.translate(frame.bytes_mut(), flow, wanted)
        {
            // A service whose backend is of another family.
            return self.discard(Verdict::Drop(DropReason::InvalidPacket), frame);
        }
        plain.forward(frame.bytes_mut(), link.stations);
        self.put(link.port, frame);
    }

    /// What is left to do when a stream, or else a shadow, has taken a segment without payload.
    #[inline]
    fn after_bare(&mut self, world: &World, id: ConnectionId, taken: Taken, decides: bool) {
        if decides && !taken.is_watched {
            self.schedule(id);
        }
        match (decides, taken.freed) {
            (true, true) => self.settle(world, id),
            (false, true) => self.charge_shadow(id),
            (_, false) => {}
        }
    }
}

/// Where a packet of this connection goes and what is changed on its way, if nothing has to be asked.
#[inline]
fn next_link<'a>(
    world: &World,
    port: PortId,
    (plain, flow): (&Plain, &'a FlowTuple),
    (connection, found): (&Connection, Found),
    bytes: &[u8],
) -> Option<Link<'a>> {
    let judgement = &connection.judgement;
    let (from, to) = match found.direction {
        Direction::Original => (judgement.source_port, judgement.destination_port),
        Direction::Reply => (judgement.destination_port, judgement.source_port),
    };
    let access = &judgement.access;
    let passes = matches!(access, Access::Allow(_))
        || (matches!(access, Access::Inspect(_)) && connection.follower.is_stream());
    if judgement.epoch != world.epoch || from != port || !passes {
        return None;
    }
    let translation = match &connection.service {
        None => None,
        Some(_) if connection.is_from_its_end(found.direction, flow) => {
            Some((flow, connection.way(found.direction).1))
        }
        Some(_) => return None,
    };
    link(world, (port, to), plain, bytes, translation)
}

/// The link behind `to`, if both ends of it and of the one that the packet came on are as they shall be.
#[inline]
pub(super) fn link<'a>(
    world: &World,
    (port, to): (PortId, PortId),
    plain: &Plain,
    bytes: &[u8],
    translation: Option<(&'a FlowTuple, FlowTuple)>,
) -> Option<Link<'a>> {
    let (here, there) = (world.port(port)?, world.port(to)?);
    let arrived = bytes.first_chunk()?;
    let expected = Stations { destination: here.mac, source: here.neighbour.mac()? };
    let stations = Stations { destination: there.neighbour.mac()?, source: there.mac };
    let passes = *arrived == expected.to_bytes() && plain.packet_len() <= there.mtu;
    passes.then_some(Link { home: here.home, port: to, stations, translation })
}
