//! Services with what stands behind each of their ports.
//!
//! Arrives: Services, EndpointSlices, Pods. Leaves: ready backends, sorted; a service is resolved anew only when it, its
//! slices or a pod it may choose changed.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use hashbrown::HashMap;

use super::objects::Objects;
use crate::shared::Chunks;
use crate::snapshot::{self, ContainerPort, Pod, TargetPort};
use crate::table::{Service, ServicePort};

/// The services of the table.
#[derive(Debug, Default)]
pub(super) struct Services {
    /// The place of each.
    places: HashMap<(String, String), usize>,
    /// Services that may be others now.
    restless: BTreeSet<(String, String)>,
}

impl Services {
    /// A service, or its slices, are others now.
    pub(super) fn touch(&mut self, namespace: &str, name: &str) {
        self.restless.insert((namespace.to_owned(), name.to_owned()));
    }

    /// A pod is another now: so may be the services that choose it by labels.
    pub(super) fn touch_pod(&mut self, pod: &Pod, objects: &Objects) {
        for service in objects.services_in(&pod.namespace) {
            if chooses(service, pod) {
                self.touch(&service.namespace, &service.name);
            }
        }
    }

    /// Resolves the services that may be others now.
    pub(super) fn settle(&mut self, objects: &Objects, table: &mut Chunks<Arc<Service>>) {
        for key in std::mem::take(&mut self.restless) {
            let (namespace, name) = &key;
            let resolved =
                objects.service(namespace, name).map(|service| resolve(objects, service));
            match (self.places.get(&key).copied(), resolved) {
                (Some(place), Some(resolved)) => {
                    if table.get(place).is_some_and(|known| **known == resolved) {
                        continue;
                    }
                    if let Some(there) = table.get_mut(place) {
                        *there = Arc::new(resolved);
                    }
                }
                (Some(place), None) => {
                    table.swap_remove(place);
                    self.places.remove(&key);
                    if let Some(moved) = table.get(place) {
                        self.places.insert((moved.namespace.clone(), moved.name.clone()), place);
                    }
                }
                (None, Some(resolved)) => {
                    self.places.insert(key, table.push(Arc::new(resolved)));
                }
                (None, None) => {}
            }
        }
    }
}

/// Whether a service chooses a pod by its labels.
fn chooses(service: &snapshot::Service, pod: &Pod) -> bool {
    !service.selector.is_empty() && service.selector.iter().all(|pair| pod.labels.contains(pair))
}

/// A service with what stands behind each of its ports.
fn resolve(objects: &Objects, service: &snapshot::Service) -> Service {
    let slices = objects.slices(&service.namespace, &service.name);
    let pods: Vec<&Arc<Pod>> = if slices.is_empty() {
        let chosen = |pod: &&Arc<Pod>| pod.ready && chooses(service, pod);
        objects.pods_in(&service.namespace).filter(chosen).collect()
    } else {
        Vec::new()
    };
    let ports = service.ports.iter().map(|port| {
        let mut backends = BTreeSet::new();
        for slice in slices {
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
                    let wanted = |own: &&ContainerPort| {
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
