//! What nearly every packet is: plain, and of a connection that was judged in this epoch. It is forwarded here at once.
//!
//! A packet arrives with the places of its parts, and its connection is sought. Either it leaves as it came but for hop limit,
//! hardware addresses and a checksum that was left to its sender's hardware, or it is given back and goes the long way, which finds
//! everything as it was. INVARIANT: what leaves here, and what is known afterwards, are what the long way would send and know
//! (`tests/established.rs`).

use parser::{ethernet::Stations, plain::Plain, tcp::TcpFlags};
use policy_table::Access;

use super::{PortId, Worker, clock::Tick, stream::side};
use crate::{
    connection::{Connection, Direction, Sought},
    inspect::{NO_TICK, Segment, Taken},
    umem::{Frame, Port},
    world::World,
};

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
        let Some((found, connection)) = self.connections.found_mut(sought) else {
            return Err(frame);
        };
        let link = next_link(world, port, plain, (connection, found.direction), frame.bytes());
        let Some((to, stations)) = link.filter(|(to, _)| self.ports.can_send(*to)) else {
            return Err(frame);
        };
        let pseudo_header = plain.pseudo_header(sought.tuple());
        let transport = plain.transport(frame.bytes_mut());
        let was_partial = plain.complete_checksum(transport, pseudo_header);
        let (stream, decides) = match (&mut connection.stream, &mut connection.shadow) {
            (Some(stream), _) => (Some(&mut **stream), true),
            (None, Some(shadow)) => (Some(shadow.stream_mut()), false),
            (None, None) => (None, false),
        };
        let mut held = None;
        let mut is_due = false;
        if let Some(stream) = stream {
            if plain.payload_len() > 0
                || !(was_partial || plain.is_intact(transport, pseudo_header))
            {
                return Err(frame);
            }
            let taken = plain.tcp(transport).and_then(|(tcp, options)| {
                let segment = Segment {
                    from: side(found.direction),
                    seq: tcp.seq,
                    ack: tcp.ack,
                    flags: tcp.flags,
                    window: tcp.window,
                    urgent: tcp.urgent,
                    options,
                    payload: &[],
                };
                stream.take_bare(&segment, now)
            });
            let Some(Taken { freed }) = taken else { return Err(frame) };
            held = freed.then(|| stream.held_bytes());
            is_due = decides && stream.wake == NO_TICK;
        }
        connection.last_seen = now;
        connection.phase = connection.phase.after(TcpFlags::ACK, found.direction);
        if is_due {
            self.schedule(found.id);
        }
        frame.set_len(plain.packet_end());
        plain.forward(frame.bytes_mut(), stations);
        self.put(to, frame);
        match held {
            Some(_) if decides => self.settle(world, found.id),
            Some(held) => self.charge_shadow(found.id, held),
            None => {}
        }
        Ok(())
    }
}

/// The port that a packet of this connection leaves on, and the hardware addresses that it has then, if nothing else has to be asked
/// or changed on its way.
#[inline]
fn next_link(
    world: &World,
    port: PortId,
    plain: &Plain,
    (connection, direction): (&Connection, Direction),
    bytes: &[u8],
) -> Option<(PortId, Stations)> {
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
    let arrived = Stations::read(bytes.first_chunk()?);
    let expected = Stations { destination: here.mac, source: here.neighbour.mac()? };
    let leaves = Stations { destination: there.neighbour.mac()?, source: there.mac };
    (arrived == expected && plain.packet_len() <= there.mtu).then_some((to, leaves))
}
