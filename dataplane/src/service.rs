//! ClusterIP services: which endpoint a new connection goes to.
//!
//! Rendezvous hashing: every (connection, backend) pair has a weight, the heaviest backend wins. The choice depends on nothing but
//! the connection and the set of backends, so a restarted daemon chooses alike, and a backend that goes away moves only its own
//! connections. The connection remembers its backend, so later changes do not move it.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    net::{IpAddr, SocketAddr},
};

use hashbrown::{HashMap, HashSet};
use parser::flow_key::FlowTuple;

/// A service's address and port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Frontend {
    address: IpAddr,
    protocol: u8,
    port: u16,
}

/// What a packet's destination is, as far as services know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// No service's address.
    NotAService,
    /// This ready endpoint of a service.
    Backend(SocketAddr),
    /// A service's address, but no ready endpoint for the port.
    NoBackend,
}

/// All services of one snapshot.
#[derive(Debug, Default)]
pub struct Services {
    frontends: HashMap<Frontend, Box<[SocketAddr]>>,
    addresses: HashSet<IpAddr>,
}

impl Services {
    /// The services of a table.
    pub fn new<'s>(services: impl IntoIterator<Item = &'s policy_table::Service>) -> Self {
        let mut all = Self::default();
        for service in services {
            for &address in &service.cluster_ips {
                all.addresses.insert(address);
                for port in &service.ports {
                    let frontend = Frontend { address, protocol: port.protocol.0, port: port.port };
                    let backends = port
                        .backends
                        .iter()
                        .copied()
                        .filter(|backend| backend.is_ipv4() == address.is_ipv4())
                        .collect();
                    all.frontends.insert(frontend, backends);
                }
            }
        }
        all
    }

    /// Whether `address` is a service's.
    pub fn has(&self, address: IpAddr) -> bool {
        self.addresses.contains(&address)
    }

    /// Every service address.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.addresses.iter().copied()
    }

    /// The service that a client's connection to a backend probably went through: one whose choice for this client is this very
    /// backend. The tuple as the client addressed it.
    pub fn frontend_of(&self, to_backend: &FlowTuple) -> Option<FlowTuple> {
        let backend = SocketAddr::new(to_backend.destination, to_backend.dst_port);
        self.frontends.iter().find_map(|(frontend, backends)| {
            let protocol = frontend.protocol == to_backend.protocol.value();
            let tuple =
                FlowTuple { destination: frontend.address, dst_port: frontend.port, ..*to_backend };
            let chosen = protocol
                && backends.contains(&backend)
                && self.destination(&tuple) == Destination::Backend(backend);
            chosen.then_some(tuple)
        })
    }

    /// Where a new connection with this tuple goes.
    pub fn destination(&self, tuple: &FlowTuple) -> Destination {
        let address = tuple.destination;
        if !self.addresses.contains(&address) {
            return Destination::NotAService;
        }
        let frontend = Frontend { address, protocol: tuple.protocol.value(), port: tuple.dst_port };
        self.frontends
            .get(&frontend)
            .and_then(|backends| backends.iter().max_by_key(|backend| weight(tuple, backend)))
            .map_or(Destination::NoBackend, |&backend| Destination::Backend(backend))
    }
}

/// The weight of a backend for a connection. The hash needs no secret: a client that steers itself to one replica gains nothing.
fn weight(tuple: &FlowTuple, backend: &SocketAddr) -> u64 {
    let mut hasher = DefaultHasher::new();
    (tuple.source, tuple.src_port, tuple.destination, tuple.dst_port, backend).hash(&mut hasher);
    hasher.finish()
}
