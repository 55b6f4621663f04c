//! What may be said once only: the name of an object, and the address of a pod or a service.
//!
//! Arrives: the objects of files. Leaves: a refusal for each that claims what another has. Invariant: no two pods that may
//! run have one address, for an address that means two identities means none; nor has a service that of anything else.

use std::net::IpAddr;

use hashbrown::HashMap;

use super::refusal::Refusal;
use super::source::Source;
use super::{Object, Place};

/// What is claimed so far.
#[derive(Debug, Default)]
pub(super) struct Claims {
    /// Kind, namespace and name of every object, and where it is.
    names: HashMap<(String, String, String), (String, u32)>,
    /// Addresses of pods and services, and whose they are.
    own: HashMap<IpAddr, String>,
    /// Addresses of nodes, which may share them among themselves.
    nodes: HashMap<IpAddr, Vec<String>>,
}

/// An address that an object claims for itself alone.
struct Claim<'o> {
    address: IpAddr,
    object: String,
    field: &'static str,
    place: &'o Place,
}

impl Claims {
    /// Claims the names of a file.
    pub(super) fn add_names(&mut self, source: &Source, refusals: &mut Vec<Refusal>) {
        for name in &source.names {
            let here = (name.about.file.clone(), name.about.line);
            match self.names.get(&name.key) {
                Some((file, line)) => refusals.push(Refusal {
                    reason: format!("the object is also in {file}:{line}"),
                    advice: "keep one of them".to_owned(),
                    ..name.about.clone()
                }),
                None => {
                    self.names.insert(name.key.clone(), here);
                }
            }
        }
    }

    /// Gives the names of a file back.
    pub(super) fn remove_names(&mut self, source: &Source) {
        for name in &source.names {
            let own =
                |(file, line): &(String, u32)| *file == name.about.file && *line == name.about.line;
            if self.names.get(&name.key).is_some_and(own) {
                self.names.remove(&name.key);
            }
        }
    }

    /// Claims the addresses of objects: nodes first, then pods, then services.
    pub(super) fn add_addresses(&mut self, objects: &[Object], refusals: &mut Vec<Refusal>) {
        for object in objects {
            let Object::Node(node) = object else { continue };
            for address in &node.addresses {
                if let Some(owner) = self.own.get(address) {
                    refusals.push(Refusal {
                        file: node.place.file.clone(),
                        line: node.place.line,
                        object: format!("Node {}", node.name),
                        field: "status.addresses".to_owned(),
                        reason: format!("the address {address} is also that of {owner}"),
                        advice: "an address can stand for one thing only".to_owned(),
                    });
                }
                self.nodes.entry(*address).or_default().push(node.name.clone());
            }
        }
        for claim in claims(objects) {
            let node = self.nodes.get(&claim.address).and_then(|nodes| nodes.last());
            let node = node.map(|name| format!("Node {name}"));
            let owner = match self.own.get(&claim.address).cloned().or(node) {
                Some(owner) => owner,
                None => {
                    self.own.insert(claim.address, claim.object);
                    continue;
                }
            };
            refusals.push(Refusal {
                file: claim.place.file.clone(),
                line: claim.place.line,
                object: claim.object,
                field: claim.field.to_owned(),
                reason: format!("the address {} is also that of {owner}", claim.address),
                advice: "an address can stand for one thing only".to_owned(),
            });
        }
    }

    /// Gives the addresses of objects back.
    pub(super) fn remove_addresses(&mut self, objects: &[Object]) {
        for object in objects {
            let Object::Node(node) = object else { continue };
            for address in &node.addresses {
                let Some(owners) = self.nodes.get_mut(address) else { continue };
                if let Some(place) = owners.iter().position(|owner| *owner == node.name) {
                    owners.swap_remove(place);
                }
                if owners.is_empty() {
                    self.nodes.remove(address);
                }
            }
        }
        for claim in claims(objects) {
            if self.own.get(&claim.address).is_some_and(|owner| *owner == claim.object) {
                self.own.remove(&claim.address);
            }
        }
    }
}

fn claims(objects: &[Object]) -> impl Iterator<Item = Claim<'_>> {
    let pods = objects.iter().filter_map(|object| match object {
        Object::Pod(pod) if !pod.host_network => Some(pod),
        _ => None,
    });
    let services = objects.iter().filter_map(|object| match object {
        Object::Service(service) => Some(service),
        _ => None,
    });
    let of_pods = pods.flat_map(|pod| {
        pod.addresses.iter().map(move |address| Claim {
            address: *address,
            object: format!("Pod {}/{}", pod.namespace, pod.name),
            field: "status.podIPs",
            place: &pod.place,
        })
    });
    let of_services = services.flat_map(|service| {
        service.cluster_ips.iter().map(move |address| Claim {
            address: *address,
            object: format!("Service {}/{}", service.namespace, service.name),
            field: "spec.clusterIPs",
            place: &service.place,
        })
    });
    of_pods.chain(of_services)
}
