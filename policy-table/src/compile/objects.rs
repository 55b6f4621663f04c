//! What is in force, as written: the objects by their names, so that what depends on one finds the others.
//!
//! Arrives: objects that are gone or have come. Leaves: answers about the cluster as it is now.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use hashbrown::HashMap;
use ipnet::IpNet;

use crate::label::{Label, Labels};
use crate::rule::{CidrGroups, Policy, PolicyKind, ServiceChoice, ServicePeer};
use crate::snapshot::{self, CidrGroup, EndpointSlice, Namespace, Node, Object, Pod, Service};

/// Kind, namespace and name of a policy.
type PolicyName = (PolicyKind, Option<String>, String);

/// Namespace, then name.
type Named<T> = BTreeMap<String, BTreeMap<String, T>>;

/// The objects in force.
#[derive(Debug, Default)]
pub(super) struct Objects {
    namespaces: HashMap<String, Arc<Namespace>>,
    pods: Named<Arc<Pod>>,
    services: Named<Arc<Service>>,
    slices: Named<Vec<Arc<EndpointSlice>>>,
    nodes: BTreeMap<String, Arc<Node>>,
    groups: BTreeMap<String, Arc<CidrGroup>>,
    policies: BTreeMap<PolicyName, Arc<Policy>>,
    /// Addresses of pods with addresses of their own: IPv4, IPv6.
    families: [usize; 2],
}

fn put<T>(into: &mut Named<T>, namespace: &str, name: &str, value: T) {
    into.entry(namespace.to_owned()).or_default().insert(name.to_owned(), value);
}

fn take<T>(from: &mut Named<T>, namespace: &str, name: &str) {
    if let Some(names) = from.get_mut(namespace) {
        names.remove(name);
        if names.is_empty() {
            from.remove(namespace);
        }
    }
}

fn name_of(policy: &Policy) -> PolicyName {
    (policy.kind, policy.namespace.clone(), policy.name.clone())
}

impl Objects {
    pub(super) fn remove(&mut self, object: &Object) {
        match object {
            Object::Namespace(namespace) => {
                self.namespaces.remove(&namespace.name);
            }
            Object::Pod(pod) => {
                self.count(pod, usize::saturating_sub);
                take(&mut self.pods, &pod.namespace, &pod.name);
            }
            Object::Service(service) => {
                take(&mut self.services, &service.namespace, &service.name);
            }
            Object::Slice(slice) => {
                let of_service = self.slices.get_mut(&slice.namespace);
                let Some(slices) = of_service.and_then(|slices| slices.get_mut(&slice.service))
                else {
                    return;
                };
                if let Some(place) = slices.iter().position(|known| *known == *slice) {
                    slices.swap_remove(place);
                }
                if slices.is_empty() {
                    take(&mut self.slices, &slice.namespace, &slice.service);
                }
            }
            Object::Node(node) => {
                self.nodes.remove(&node.name);
            }
            Object::CidrGroup(group) => {
                self.groups.remove(&group.name);
            }
            Object::Policy(policy) => {
                self.policies.remove(&name_of(policy));
            }
        }
    }

    pub(super) fn insert(&mut self, object: &Object) {
        match object {
            Object::Namespace(namespace) => {
                self.namespaces.insert(namespace.name.clone(), Arc::clone(namespace));
            }
            Object::Pod(pod) => {
                self.count(pod, usize::saturating_add);
                put(&mut self.pods, &pod.namespace, &pod.name, Arc::clone(pod));
            }
            Object::Service(service) => {
                put(&mut self.services, &service.namespace, &service.name, Arc::clone(service));
            }
            Object::Slice(slice) => {
                let of_namespace = self.slices.entry(slice.namespace.clone()).or_default();
                of_namespace.entry(slice.service.clone()).or_default().push(Arc::clone(slice));
            }
            Object::Node(node) => {
                self.nodes.insert(node.name.clone(), Arc::clone(node));
            }
            Object::CidrGroup(group) => {
                self.groups.insert(group.name.clone(), Arc::clone(group));
            }
            Object::Policy(policy) => {
                self.policies.insert(name_of(policy), Arc::clone(policy));
            }
        }
    }

    fn count(&mut self, pod: &Pod, step: fn(usize, usize) -> usize) {
        if pod.host_network {
            return;
        }
        let [v4, v6] = &mut self.families;
        for address in &pod.addresses {
            let family = if address.is_ipv4() { &mut *v4 } else { &mut *v6 };
            *family = step(*family, 1);
        }
    }

    /// All objects.
    pub(super) fn all(&self) -> Vec<Object> {
        let namespaces = self.namespaces.values().cloned().map(Object::Namespace);
        namespaces
            .chain(self.nodes.values().cloned().map(Object::Node))
            .chain(self.pods.values().flat_map(BTreeMap::values).cloned().map(Object::Pod))
            .chain(self.services.values().flat_map(BTreeMap::values).cloned().map(Object::Service))
            .chain(
                self.slices
                    .values()
                    .flat_map(BTreeMap::values)
                    .flatten()
                    .cloned()
                    .map(Object::Slice),
            )
            .chain(self.groups.values().cloned().map(Object::CidrGroup))
            .chain(self.policies.values().cloned().map(Object::Policy))
            .collect()
    }

    /// Whether pods have IPv4 addresses, and IPv6 ones.
    pub(super) fn families(&self) -> (bool, bool) {
        let [v4, v6] = self.families;
        (v4 > 0, v6 > 0)
    }

    /// The addresses that serve the Kubernetes API: what stands behind `default/kubernetes`.
    pub(super) fn api_servers(&self) -> BTreeSet<IpAddr> {
        let endpoints = self.slices("default", "kubernetes").iter().flat_map(|s| &s.endpoints);
        endpoints.flat_map(|endpoint| &endpoint.addresses).copied().collect()
    }

    /// The labels a pod's identity is made of.
    pub(super) fn labels_of(&self, pod: &Pod) -> Labels {
        let written = self.namespaces.get(&pod.namespace).map(|namespace| &namespace.labels);
        let written = written.map(Vec::as_slice).unwrap_or_default();
        snapshot::labels_of(pod, snapshot::namespace_labels(&pod.namespace, written))
    }

    pub(super) fn pods_in(&self, namespace: &str) -> impl Iterator<Item = &Arc<Pod>> {
        self.pods.get(namespace).into_iter().flat_map(BTreeMap::values)
    }

    pub(super) fn services_in(&self, namespace: &str) -> impl Iterator<Item = &Arc<Service>> {
        self.services.get(namespace).into_iter().flat_map(BTreeMap::values)
    }

    pub(super) fn service(&self, namespace: &str, name: &str) -> Option<&Arc<Service>> {
        self.services.get(namespace)?.get(name)
    }

    pub(super) fn slices(&self, namespace: &str, service: &str) -> &[Arc<EndpointSlice>] {
        let slices = self.slices.get(namespace).and_then(|services| services.get(service));
        slices.map(Vec::as_slice).unwrap_or_default()
    }

    /// The prefixes of the groups that a policy means.
    pub(super) fn group_prefixes(&self, groups: &CidrGroups) -> Vec<IpNet> {
        let chosen = self.groups.values().filter(|group| match groups {
            CidrGroups::Named(name) => group.name == *name,
            CidrGroups::Selected(selector) => selector.matches(&as_labels(&group.labels)),
        });
        chosen.flat_map(|group| &group.prefixes).copied().collect()
    }

    /// The services that a policy means.
    pub(super) fn chosen_services(&self, peer: &ServicePeer) -> Vec<&Arc<Service>> {
        let chosen = |service: &&Arc<Service>| {
            peer.namespace.as_ref().is_none_or(|namespace| service.namespace == *namespace)
                && match &peer.which {
                    ServiceChoice::Named(name) => service.name == *name,
                    ServiceChoice::Selected(selector) => {
                        selector.matches(&as_labels(&service.labels))
                    }
                }
        };
        self.services.values().flat_map(BTreeMap::values).filter(chosen).collect()
    }

    /// The addresses behind services that choose nobody by labels, as prefixes.
    pub(super) fn service_prefixes(&self, peer: &ServicePeer) -> Vec<IpNet> {
        let chosen = self.chosen_services(peer);
        let outer = chosen.into_iter().filter(|service| service.selector.is_empty());
        outer
            .flat_map(|service| self.slices(&service.namespace, &service.name))
            .flat_map(|slice| &slice.endpoints)
            .flat_map(|endpoint| &endpoint.addresses)
            .map(|address| IpNet::from(*address))
            .collect()
    }
}

fn as_labels(pairs: &[(String, String)]) -> Labels {
    pairs.iter().map(|(key, value)| Label::new("k8s", key, value)).collect()
}
