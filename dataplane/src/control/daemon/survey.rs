//! How the daemon is: asks every worker, adds what the control thread knows, and makes one [`Status`] of it.

use std::sync::atomic::Ordering;

use crossbeam::channel::bounded;
use parser::ethernet::MacAddress;
use policy_table::Direction;

use super::{Daemon, WORKER_PATIENCE};
use crate::{
    control::status::{
        EndpointStatus, FrameStatus, PacketStatus, PortStatus, RequestStatus, Status, WorkerStatus,
    },
    counters::Counters,
    drop_reason::DropReason,
    umem::frame,
    worker::{Command, Report},
    world::PortKind,
};

impl Daemon {
    /// Everything that `blastdoor status` shows.
    pub(super) fn status(&self) -> Status {
        let reports = self.reports();
        let mut counters = Counters::default();
        for report in &reports {
            counters.add(&report.counters);
        }
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            policy: self.policy.status(),
            ports: self.port_status(&reports),
            workers: self.worker_status(&reports),
            endpoints: self.endpoint_status(),
            packets: PacketStatus {
                received: counters.received,
                sent: counters.sent,
                answered: counters.answered,
                absorbed: counters.absorbed,
                handed_on: counters.handed_on,
                dropped: counters.dropped_in_all(),
                waiting: reports.iter().map(|report| report.waiting as u64).sum(),
                built: counters.built,
                audited: counters.audited,
                events_lost: counters.events_lost,
            },
            requests: RequestStatus {
                allowed: counters.requests.allowed,
                denied: counters.requests.denied,
                refused: counters.requests.refused,
                audited: counters.requests.audited,
            },
            drops: DropReason::ALL
                .iter()
                .map(|&reason| (reason.key().to_owned(), counters.dropped(reason)))
                .filter(|(_, packets)| *packets > 0)
                .collect(),
            frames: self.frame_status(&reports),
        }
    }

    /// A report of every worker, each made between two of its turns.
    fn reports(&self) -> Vec<Report> {
        let mut pending = Vec::new();
        for hand in &self.hands {
            let (sender, receiver) = bounded(1);
            hand.tell(Command::Report(sender));
            pending.push(receiver);
        }
        pending
            .into_iter()
            .map(|receiver| receiver.recv_timeout(WORKER_PATIENCE).unwrap_or_default())
            .collect()
    }

    fn frame_status(&self, reports: &[Report]) -> FrameStatus {
        let mut frames = FrameStatus {
            total: self.umem.region().frames() as usize,
            free: self.reserve.len(),
            held: self.hands.iter().map(|hand| hand.inbox.held()).sum(),
            leaked: frame::leaked(),
            ..FrameStatus::default()
        };
        for report in reports {
            frames.free += report.free;
            frames.held += report.held;
            for (_, port) in &report.ports {
                frames.fill += port.frames.fill;
                frames.rx += port.frames.rx;
                frames.tx += port.frames.tx;
                frames.completion += port.frames.completion;
            }
        }
        let sum =
            frames.free + frames.fill + frames.rx + frames.held + frames.tx + frames.completion;
        frames.balanced = sum == frames.total && frames.leaked == 0;
        frames
    }

    fn port_status(&self, reports: &[Report]) -> Vec<PortStatus> {
        let mut all = Vec::new();
        for (position, port) in self.ports.iter().enumerate() {
            let Some(port) = port else { continue };
            let ours = || {
                reports
                    .iter()
                    .flat_map(|report| &report.ports)
                    .filter(|(id, _)| usize::from(id.0) == position)
                    .map(|(_, report)| report)
            };
            all.push(PortStatus {
                name: port.interface.name.clone(),
                kind: port.kind.as_str().to_owned(),
                pod: port.pod.clone(),
                up: port.kind != PortKind::Pod || self.view(port).endpoint.is_some(),
                mode: port.program.mode().as_str().to_owned(),
                copy: port.copy.as_str().to_owned(),
                worker: port.home.0,
                tx_queues: port.tx_queues,
                mac: port.interface.mac.to_string(),
                neighbour: port.neighbour.mac().as_ref().map(MacAddress::to_string),
                mtu: port.interface.mtu as usize,
                received: ours().map(|report| report.received).sum(),
                sent: ours().map(|report| report.sent).sum(),
                missed: ours().map(|report| report.missed).sum(),
            });
        }
        all
    }

    fn worker_status(&self, reports: &[Report]) -> Vec<WorkerStatus> {
        self.hands
            .iter()
            .zip(reports)
            .enumerate()
            .map(|(number, (hand, report))| WorkerStatus {
                worker: u16::try_from(number).unwrap_or(u16::MAX),
                core: hand.core,
                pinned: hand.pinned.load(Ordering::Relaxed),
                connections: report.connections,
                streams: report.streams,
                evicted: report.evicted,
                held_bytes: report.held_bytes,
                streams_shed: report.counters.streams_shed,
                received: report.counters.received,
            })
            .collect()
    }

    pub(super) fn endpoint_status(&self) -> Vec<EndpointStatus> {
        let Some(table) = self.policy.table() else { return Vec::new() };
        table
            .endpoints()
            .iter()
            .map(|endpoint| {
                let index = table.endpoint_named(&endpoint.namespace, &endpoint.name);
                let audited = |direction| index.is_some_and(|own| table.is_tried(own, direction));
                let pod = format!("{}/{}", endpoint.namespace, endpoint.name);
                let port = self.ports.iter().flatten().find(|port| port.pod.as_ref() == Some(&pod));
                EndpointStatus {
                    identity: endpoint.identity.number(),
                    ingress_enforced: endpoint.ingress_enforced,
                    ingress_audited: audited(Direction::Ingress),
                    egress_enforced: endpoint.egress_enforced,
                    egress_audited: audited(Direction::Egress),
                    labels: endpoint.labels.iter().map(ToString::to_string).collect(),
                    addresses: endpoint.addresses.iter().map(ToString::to_string).collect(),
                    port: port.map(|port| port.interface.name.clone()),
                    pod,
                }
            })
            .collect()
    }
}
