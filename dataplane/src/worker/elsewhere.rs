//! Plain packets whose connection another worker has: forwarded here if its owner has granted that, else handed on unread.
//!
//! A connection is with the home of whoever opened it, so every reply between two homes arrives at the wrong one. What leaves here
//! under a grant is what its owner would send, and what is handed on is judged there in full, by the port that it came in on.

use parser::{flow_key::FlowTuple, plain::Plain};

use super::{
    PortId, Worker,
    clock::Tick,
    established::{Link, link},
    handoff::Parcel,
};
use crate::{
    connection::{ConnectionId, Follower, Sought, grant::Grant},
    umem::{Frame, Port},
    world::World,
};

impl<P: Port> Worker<P> {
    /// Forwards a packet of a connection that is not known here, or hands it to the worker that may know it. Given back is what
    /// nobody else can know, or was asked about already.
    // Most packets find their connection, and need the registers.
    #[inline(never)]
    pub(super) fn pass_elsewhere(
        &mut self,
        world: &World,
        (port, settled): (PortId, bool),
        (plain, sought): (&Plain, &Sought),
        mut frame: Frame,
        now: Tick,
    ) -> Result<(), Frame> {
        let flow = sought.tuple();
        if settled || world.port(port).is_none_or(|view| view.home != self.id) {
            return Err(frame);
        }
        if let Some(grant) = self.connections.granted(sought, world.epoch)
            && grant.from == port
            && let Some(link) = link(
                world,
                (port, grant.to),
                plain,
                frame.bytes(),
                grant.wanted.map(|wanted| (flow, wanted)),
            )
            && self.ports.can_send(link.port)
        {
            grant.renew(now);
            let pseudo_header = plain.pseudo_header(flow);
            plain.complete_checksum(plain.transport(frame.bytes_mut()), pseudo_header);
            self.put_through(plain, &link, frame);
            return Ok(());
        }
        match world.home_towards(flow.destination).filter(|worker| *worker != self.id) {
            Some(worker) => {
                self.hand_on(worker, Parcel::Judge { frame, port, settled });
                Ok(())
            }
            None => Err(frame),
        }
    }

    /// Lets the home of `port` forward by itself what comes next of this flow, if nobody has to see it here.
    #[inline(never)]
    pub(super) fn grant(
        &mut self,
        world: &World,
        id: ConnectionId,
        flow: &FlowTuple,
        (port, link): (PortId, &Link<'_>),
    ) {
        let Some(connection) = self.connections.connection(id) else { return };
        if let Follower::Nobody = connection.follower {
            connection.follower = Follower::Grantee(Default::default());
        }
        let Follower::Grantee(granted) = &connection.follower else { return };
        if granted.is_in_use() {
            return;
        }
        let wanted = link.translation.as_ref().map(|(_, wanted)| *wanted);
        let grant = Grant::new(*flow, wanted, (port, link.port), world.epoch, granted);
        self.hand_on(link.home, Parcel::Grant(Box::new(grant)));
    }
}
