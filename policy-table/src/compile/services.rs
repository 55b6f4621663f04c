//! Services with what stands behind each of their ports.
//!
//! Arrives: Services, EndpointSlices, Pods. Leaves: ready backends, sorted.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use crate::snapshot::{self, Snapshot, TargetPort};
use crate::table::{Service, ServicePort};

/// A service with what stands behind each of its ports.
pub(super) fn resolve(snapshot: &Snapshot, service: &snapshot::Service) -> Service {
    let own = |slice: &&snapshot::EndpointSlice| {
        slice.namespace == service.namespace && slice.service == service.name
    };
    let slices: Vec<&snapshot::EndpointSlice> = snapshot.slices.iter().filter(own).collect();
    let pods: Vec<&snapshot::Pod> = if slices.is_empty() && !service.selector.is_empty() {
        let chosen = |pod: &&snapshot::Pod| {
            pod.namespace == service.namespace
                && pod.ready
                && service.selector.iter().all(|pair| pod.labels.contains(pair))
        };
        snapshot.pods.iter().filter(chosen).collect()
    } else {
        Vec::new()
    };
    let ports = service.ports.iter().map(|port| {
        let mut backends = BTreeSet::new();
        for slice in &slices {
            let named = slice
                .ports
                .iter()
                .find(|(name, _, protocol)| *name == port.name && *protocol == port.protocol);
            let Some((_, number, _)) = named else { continue };
            let ready = slice.endpoints.iter().filter(|endpoint| endpoint.ready);
            backends.extend(
                ready.flat_map(|e| &e.addresses).map(|address| SocketAddr::new(*address, *number)),
            );
        }
        for pod in &pods {
            let number = match &port.target {
                TargetPort::Number(number) => Some(*number),
                TargetPort::Name(name) => {
                    let wanted = |own: &&snapshot::ContainerPort| {
                        own.name.as_ref() == Some(name) && own.protocol == port.protocol
                    };
                    pod.ports.iter().find(wanted).map(|own| own.port)
                }
            };
            let Some(number) = number else { continue };
            backends.extend(pod.addresses.iter().map(|address| SocketAddr::new(*address, number)));
        }
        ServicePort {
            name: port.name.clone(),
            port: port.port,
            protocol: port.protocol,
            backends: backends.into_iter().collect(),
        }
    });
    Service {
        namespace: service.namespace.clone(),
        name: service.name.clone(),
        cluster_ips: service.cluster_ips.clone(),
        ports: ports.collect(),
    }
}
