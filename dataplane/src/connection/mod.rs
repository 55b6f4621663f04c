//! Connections: both directions of a flow, seen by one worker.
//!
//! What arrives: a packet's flow tuple. What leaves: the connection it belongs to, with the verdict cached for an epoch. The table
//! is bounded; when it is full an idle or half-open connection makes room, or the packet is a named drop.

pub mod expiry;
pub mod follower;
pub mod grant;
mod hash;
pub mod judgement;
mod shares;
pub mod table;
pub mod tcp;

pub use follower::Follower;
pub use judgement::{Judgement, Judgements};
pub use table::{ConnectionId, Connections, Found, Sought};

use std::{sync::Arc, time::Duration};

use parser::{flow_key::FlowTuple, network::Protocol};

use crate::{
    inspect::Stream,
    prefetch::prefetch,
    worker::{
        PortId,
        clock::{Tick, between},
    },
};

/// Which end sent a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The one that opened the connection.
    Original,
    /// The other one.
    Reply,
}

impl Connection {
    /// One whose first packet passes now.
    #[must_use]
    pub fn new(
        flow: FlowTuple,
        service: Option<Box<FlowTuple>>,
        policy_port: u16,
        judgement: Arc<Judgement>,
        now: Tick,
    ) -> Self {
        let phase =
            if flow.protocol == Protocol::TCP { tcp::Phase::Opening } else { tcp::Phase::Datagram };
        Self {
            flow,
            service,
            policy_port,
            phase,
            generation: 0,
            last_seen: now,
            judgement,
            follower: Follower::Nobody,
        }
    }

    /// The port whose share of the table it takes: the opener's if a pod opened it, else that of the pod it was opened to.
    fn charged_to(&self) -> PortId {
        match self.judgement.source.endpoint {
            Some(_) => self.judgement.source_port,
            None => self.judgement.destination_port,
        }
    }

    /// How long no packet of it has passed, here or elsewhere.
    fn silence(&self, now: Tick) -> Duration {
        let elsewhere = match &self.follower {
            Follower::Grantee(granted) => granted.last_seen(),
            Follower::Nobody | Follower::Stream(_) | Follower::Shadow(_) => Tick(0),
        };
        between(self.last_seen.max(elsewhere), now)
    }

    /// Asks for the memory behind it.
    fn prefetch(&self) {
        match &self.follower {
            Follower::Stream(stream) => prefetch(&raw const **stream, size_of::<Stream>()),
            Follower::Shadow(shadow) => prefetch(shadow.stream(), size_of::<Stream>()),
            Follower::Nobody | Follower::Grantee(_) => {}
        }
    }
}

/// One connection.
#[derive(Debug)]
pub struct Connection {
    /// From the opener to the other end, after service translation.
    pub flow: FlowTuple,
    /// As the opener addressed it, if it addressed a service.
    pub service: Option<Box<FlowTuple>>,
    /// The port that policy speaks of: the destination's, or the type of an ICMP message.
    pub policy_port: u16,
    /// How far it is.
    pub phase: tcp::Phase,
    /// How many had its slot before; the table's own, kept here where there is room for it.
    generation: u32,
    /// When the last packet of it passed here.
    pub last_seen: Tick,
    /// The cached verdict.
    pub judgement: Arc<Judgement>,
    /// Who sees its packets beyond that.
    pub follower: Follower,
}
