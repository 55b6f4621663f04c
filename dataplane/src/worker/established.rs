//! What nearly every packet is: plain, and of a connection that was judged in this epoch. It is forwarded here at once.
//!
//! A packet arrives with the places of its parts, and its connection is sought. Either it leaves as it came but for hop limit,
//! hardware addresses and a checksum that was left to its sender's hardware, or it is given back and goes the long way, which finds
//! everything as it was. INVARIANT: what leaves here, and what is known afterwards, are what the long way would send and know
//! (`tests/established.rs`).

use parser::{ethernet::MacAddress, plain::Plain, tcp::TcpFlags};
use policy_table::Access;

use super::{PortId, Worker, clock::Tick, stream::side};
use crate::{
    connection::{Connection, Direction, Sought},
    inspect::{NO_TICK, Segment, Stream},
    umem::{Frame, Port},
    world::World,
};

/// Where a packet goes, and the hardware addresses that it has then.
struct Link {
    port: PortId,
    destination: MacAddress,
    source: MacAddress,
}

impl<P: Port> Worker<P> {
    /// Forwards a packet of an established connection, or gives it back.
    #[inline]
    pub(super) fn forward_established(
        &mut self,
        world: &World,
        port: PortId,
        (plain, sought): (&Plain, &Sought),
        mut frame: Frame,
        now: Tick,
    ) -> Result<(), Frame> {
        let flow = sought.tuple();
        let Some((found, connection)) = self.connections.found_mut(sought) else {
            return Err(frame);
        };
        let link = next_link(world, port, plain, (connection, found.direction), frame.bytes());
        let Some(link) = link.filter(|link| self.ports.can_send(link.port)) else {
            return Err(frame);
        };
        let was_partial = plain.complete_checksum(frame.bytes_mut(), flow);
        let (stream, decides) = match (&mut connection.stream, &mut connection.shadow) {
            (Some(stream), _) => (Some(&mut **stream), true),
            (None, Some(shadow)) => (Some(shadow.stream_mut()), false),
            (None, None) => (None, false),
        };
        let mut held = None;
        let mut is_due = false;
        if let Some(stream) = stream {
            let is_intact = was_partial || plain.is_intact(frame.bytes(), flow);
            if !is_intact || !take_bare(stream, found.direction, plain, &frame, now) {
                return Err(frame);
            }
            held = Some(stream.held_bytes());
            is_due = decides && stream.wake == NO_TICK;
        }
        connection.last_seen = now;
        connection.phase = connection.phase.after(TcpFlags::ACK, found.direction);
        if is_due {
            self.schedule(found.id);
        }
        frame.set_len(plain.packet_end());
        plain.forward(frame.bytes_mut(), link.destination, link.source);
        self.put(link.port, frame);
        match held.filter(|held| *held != self.connections.charged(found.id)) {
            Some(_) if decides => self.settle(world, found.id),
            Some(held) => self.charge_shadow(found.id, held),
            None => {}
        }
        Ok(())
    }
}

/// Where a packet of this connection goes, if nothing has to be asked or changed on its way.
#[inline]
fn next_link(
    world: &World,
    port: PortId,
    plain: &Plain,
    (connection, direction): (&Connection, Direction),
    bytes: &[u8],
) -> Option<Link> {
    let judgement = &connection.judgement;
    let (from, to) = match direction {
        Direction::Original => (judgement.source_port, judgement.destination_port),
        Direction::Reply => (judgement.destination_port, judgement.source_port),
    };
    let passes = match judgement.access {
        Access::Allow(_) => true,
        Access::Inspect(_) => connection.stream.is_some(),
        Access::Resolve(_) | Access::Deny(_) => false,
    };
    let is_expected = judgement.epoch == world.epoch && from == port && passes;
    if !is_expected || connection.service.is_some() {
        return None;
    }
    let (here, there) = (world.port(port)?, world.port(to)?);
    let stations = bytes.first_chunk::<12>()?;
    let (ours, theirs) = (here.mac.octets(), here.neighbour.mac()?.octets());
    let is_from_here = stations.starts_with(&ours) && stations.ends_with(&theirs);
    (is_from_here && plain.packet_len() <= there.mtu).then_some(())?;
    Some(Link { port: to, destination: there.neighbour.mac()?, source: there.mac })
}

/// Shows a segment without payload to a stream; false if it needs the long way.
#[inline]
fn take_bare(
    stream: &mut Stream,
    direction: Direction,
    plain: &Plain,
    frame: &Frame,
    now: Tick,
) -> bool {
    let Some(tcp) = plain.tcp(frame.bytes()) else { return false };
    let segment = Segment {
        from: side(direction),
        seq: tcp.seq,
        ack: tcp.ack,
        flags: tcp.flags,
        window: tcp.window,
        urgent: tcp.urgent,
        options: plain.tcp_option_bytes(frame.bytes()),
        payload: plain.payload(frame.bytes()),
    };
    stream.take_bare(&segment, now)
}
