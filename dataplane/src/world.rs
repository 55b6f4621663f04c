//! Everything that a worker reads and never changes: the compiled policy, the services, the ports and who lives behind them.
//!
//! The control thread makes a new world whenever a policy, a pod or a port changes and hands it to every worker, which takes it up
//! between two turns: a packet is judged by one epoch, and nothing is locked.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parser::ethernet::MacAddress;
use policy_table::{EndpointIndex, Peer, Table};

use crate::{
    service::Services,
    worker::{PortId, WorkerId},
};

/// What a port leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortKind {
    /// A pod.
    Pod,
    /// The node's own network stack, and the world behind it.
    Host,
    /// The node's link: frames come in, none goes out.
    Uplink,
}

impl PortKind {
    /// The word shown to users.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pod => "pod",
            Self::Host => "host",
            Self::Uplink => "uplink",
        }
    }
}

/// The hardware address of whoever is at the other end of a port: unknown until it first speaks, then fixed for the port's life,
/// so that nobody can take its place. Shared by all workers without a lock.
#[derive(Debug, Default)]
pub struct Neighbour(AtomicU64);

/// Marks the address as known; a hardware address has only 48 bits.
const KNOWN: u64 = 1 << 48;

impl Neighbour {
    /// The address, once it is known.
    pub fn mac(&self) -> Option<MacAddress> {
        let value = self.0.load(Ordering::Relaxed);
        (value & KNOWN != 0).then_some(MacAddress::from_bits(value))
    }

    /// Learns the address; the first one stays.
    pub fn learn(&self, mac: MacAddress) {
        let _known_already =
            self.0.compare_exchange(0, mac.bits() | KNOWN, Ordering::Relaxed, Ordering::Relaxed);
    }
}

/// A port as workers see it.
#[derive(Debug)]
pub struct PortView {
    /// The interface's name.
    pub name: String,
    /// What it leads to.
    pub kind: PortKind,
    /// Our hardware address on it: the gateway's, for whoever is at the other end.
    pub mac: MacAddress,
    /// The other end's hardware address.
    pub neighbour: Arc<Neighbour>,
    /// The worker that receives from it.
    pub home: WorkerId,
    /// Largest IP packet, in bytes.
    pub mtu: usize,
    /// The pod, if the snapshot knows it.
    pub endpoint: Option<EndpointIndex>,
}

/// One consistent view of policy, pods, services and ports.
#[derive(Debug)]
pub struct World {
    /// Counts every change; a judgement of another epoch is made again.
    pub epoch: u64,
    /// The compiled policy; none until a first snapshot was good.
    pub table: Option<Arc<Table>>,
    /// Service addresses and their backends.
    pub services: Arc<Services>,
    ports: Vec<Option<PortView>>,
    /// The port of each endpoint of the table that is attached here.
    endpoint_ports: Vec<Option<PortId>>,
    host: Option<PortId>,
    gateways: Vec<IpAddr>,
}

/// Where a packet goes and who is there.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    /// The port it leaves on.
    pub port: PortId,
    /// Who receives it, as the policy knows it.
    pub peer: Peer,
}

impl World {
    /// A world of these ports and this table.
    pub fn new(
        epoch: u64,
        table: Option<Arc<Table>>,
        ports: Vec<Option<PortView>>,
        gateways: Vec<IpAddr>,
    ) -> Self {
        let services = table.as_ref().map(|table| services_of(table)).unwrap_or_default();
        Self::with(epoch, table, services, ports, gateways)
    }

    /// The world after this one: services that stayed are not looked into again.
    pub fn next(
        &self,
        table: Option<Arc<Table>>,
        ports: Vec<Option<PortView>>,
        gateways: Vec<IpAddr>,
    ) -> Self {
        let services = match (&self.table, &table) {
            (Some(before), Some(table)) if before.services().is_same(table.services()) => {
                Arc::clone(&self.services)
            }
            (_, Some(table)) => services_of(table),
            (_, None) => Arc::default(),
        };
        Self::with(self.epoch + 1, table, services, ports, gateways)
    }

    fn with(
        epoch: u64,
        table: Option<Arc<Table>>,
        services: Arc<Services>,
        ports: Vec<Option<PortView>>,
        gateways: Vec<IpAddr>,
    ) -> Self {
        let endpoints = table.as_ref().map_or(0, |table| table.endpoints().len());
        let mut endpoint_ports = vec![None; endpoints];
        let mut host = None;
        for (number, port) in ports.iter().enumerate() {
            let (Some(port), Ok(number)) = (port, u16::try_from(number)) else { continue };
            if port.kind == PortKind::Host {
                host = Some(PortId(number));
            }
            if let Some(slot) =
                port.endpoint.and_then(|endpoint| endpoint_ports.get_mut(endpoint.position()))
            {
                *slot = Some(PortId(number));
            }
        }
        Self { epoch, table, services, ports, endpoint_ports, host, gateways }
    }

    /// Builds what judging the requests of the pods that are attached here needs.
    pub fn warm(&self) {
        let Some(table) = &self.table else { return };
        self.ports.iter().flatten().filter_map(|port| port.endpoint).for_each(|e| table.warm(e));
    }

    /// The port of that number.
    pub fn port(&self, id: PortId) -> Option<&PortView> {
        self.ports.get(usize::from(id.0)).and_then(Option::as_ref)
    }

    /// All ports.
    pub fn ports(&self) -> impl Iterator<Item = (PortId, &PortView)> {
        self.ports.iter().enumerate().filter_map(|(number, port)| {
            Some((PortId(u16::try_from(number).ok()?), port.as_ref()?))
        })
    }

    /// Where packets to `address` go: to a pod that is attached here, else to the node's stack. None if there is no such way.
    pub fn route(&self, address: IpAddr) -> Option<Route> {
        let table = self.table.as_ref()?;
        let (port, endpoint) = self.way(table, address)?;
        Some(Route { port, peer: Peer { identity: table.identity_of(address), endpoint } })
    }

    /// The worker that receives from where packets to `address` go.
    pub fn home_towards(&self, address: IpAddr) -> Option<WorkerId> {
        let (port, _) = self.way(self.table.as_ref()?, address)?;
        Some(self.port(port)?.home)
    }

    fn way(&self, table: &Table, address: IpAddr) -> Option<(PortId, Option<EndpointIndex>)> {
        let endpoint = table.endpoint_of(address);
        let local = endpoint.and_then(|it| *self.endpoint_ports.get(it.position())?);
        match local {
            Some(port) => Some((port, endpoint)),
            None => Some((self.host?, None)),
        }
    }

    /// Whether `address` belongs to a pod that is attached to `port`.
    pub fn owns(&self, port: &PortView, address: IpAddr) -> bool {
        let Some(table) = &self.table else { return false };
        port.endpoint.is_some() && table.endpoint_of(address) == port.endpoint
    }

    /// The node's addresses towards the pods.
    pub fn gateways(&self) -> &[IpAddr] {
        &self.gateways
    }

    /// The node's address towards the pods, of the same family as `other`.
    pub fn gateway_like(&self, other: IpAddr) -> Option<IpAddr> {
        self.gateways.iter().copied().find(|gateway| gateway.is_ipv4() == other.is_ipv4())
    }

    /// Whether the node's stack reaches `address` through us: a pod attached here, or a service.
    pub fn is_ours(&self, address: IpAddr) -> bool {
        self.local_endpoint(address).is_some() || self.services.has(address)
    }

    /// Every such address.
    pub fn addresses(&self) -> Vec<IpAddr> {
        let Some(table) = &self.table else { return Vec::new() };
        let attached = self.ports.iter().flatten().filter_map(|port| port.endpoint);
        let pods = attached.filter_map(|endpoint| table.endpoint(endpoint));
        let pods = pods.flat_map(|endpoint| endpoint.addresses.iter().copied());
        pods.chain(self.services.addresses()).collect()
    }

    /// The pod attached here that has `address`.
    pub fn local_endpoint(&self, address: IpAddr) -> Option<EndpointIndex> {
        let endpoint = self.table.as_ref()?.endpoint_of(address)?;
        self.endpoint_ports.get(endpoint.position()).copied().flatten().map(|_attached| endpoint)
    }
}

fn services_of(table: &Table) -> Arc<Services> {
    Arc::new(Services::new(table.services().iter().map(AsRef::as_ref)))
}
