//! What a connection costs in memory: the bytes that the whole program holds more, after many were opened.
//!
//! Needs [`crate::allocation::Counting`] as the global allocator; without it every figure is 0.

use dataplane::{budgets::Budgets, connection::Connections};

use crate::{
    allocation::held,
    rig::{Policy, Rig},
};

/// Bytes per connection.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Memory {
    /// Connections that were open.
    pub connections: usize,
    /// Bytes held for each of them.
    pub bytes: f64,
}

/// `connections` established ones, judged at L4, each of which carries a packet in the end.
#[must_use]
pub fn packets(connections: usize) -> Memory {
    measure(Policy::Bare, connections, |rig| {
        for _ in 0..connections / crate::rig::BATCH {
            rig.packets();
        }
    })
}

/// `connections` inspected ones, idle after a request each.
#[must_use]
pub fn requests(connections: usize) -> Memory {
    measure(Policy::Requests, connections, |rig| {
        for _ in 0..connections / crate::rig::BATCH {
            rig.requests();
        }
        rig.idle(connections);
    })
}

#[expect(clippy::cast_precision_loss, reason = "bytes of one machine")]
fn measure(policy: Policy, connections: usize, then: impl FnOnce(&mut Rig)) -> Memory {
    // The worker's table takes its room at the start: counted is what one of this size takes.
    let before = held();
    let table = Connections::new(Budgets { connections, ..Budgets::default() });
    let room = held().saturating_sub(before);
    drop(table);
    // One client opens them all.
    let room_for = connections + crate::rig::BATCH;
    let budgets =
        Budgets { connections: room_for, connections_per_endpoint: room_for, ..Budgets::default() };
    let mut rig = Rig::with_budgets(policy, crate::rig::BATCH, budgets);
    rig.reserve(connections);
    let before = held();
    rig.open(policy, connections);
    then(&mut rig);
    let bytes = (room + held().saturating_sub(before)) as f64 / connections as f64;
    Memory { connections: rig.connections(), bytes }
}
