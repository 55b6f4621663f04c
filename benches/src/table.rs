//! Connection tables of any size.
#![expect(clippy::expect_used, reason = "a benchmark without its table must not run")]

use std::{net::IpAddr, sync::Arc};

use dataplane::{
    budgets::Budgets,
    connection::{Connection, Connections, Judgement, tcp::Phase},
    worker::{PortId, clock::Tick},
};
use parser::{flow_key::FlowTuple, network::Protocol};
use policy_table::{Access, Grounds, Identity, Peer};

/// The flow of that number: clients of 50 000 ports each, one server.
#[must_use]
pub fn flow(number: u32) -> FlowTuple {
    let [_, high, middle, low] = (number / 50_000 + 1).to_be_bytes();
    FlowTuple {
        source: IpAddr::from([10, high, middle, low]),
        destination: IpAddr::from([10, 255, 0, 1]),
        protocol: Protocol::TCP,
        src_port: u16::try_from(number % 50_000 + 10_000).unwrap_or(0),
        dst_port: 80,
    }
}

/// A table with the connections of the flows below `size`.
#[must_use]
pub fn full(size: u32) -> Connections {
    let budgets = Budgets {
        connections: size as usize,
        connections_per_endpoint: size as usize,
        ..Budgets::default()
    };
    let mut table = Connections::new(budgets);
    for number in 0..size {
        table.insert(connection(number), Tick(0)).expect("there is room");
    }
    assert_eq!(table.len(), size as usize);
    table
}

fn connection(number: u32) -> Connection {
    let peer = Peer { identity: Identity::WORLD, endpoint: None };
    let judgement = Judgement {
        epoch: 1,
        access: Access::Allow(Grounds { egress: None, ingress: None, audited: None }),
        source: peer,
        destination: peer,
        source_port: PortId(0),
        destination_port: PortId(1),
    };
    let mut connection = Connection::new(flow(number), None, 80, Arc::new(judgement), Tick(0));
    connection.phase = Phase::Established;
    connection
}
