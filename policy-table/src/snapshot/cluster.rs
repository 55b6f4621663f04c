//! Namespace, Pod, Service, EndpointSlice, Node: only the fields that bear on policy are read.
//!
//! Arrives: objects as the API server prints them, with everything else they hold. Leaves: plain records.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::Object;
use super::node::Node as Tree;
use super::reader::{Field, Read};
use super::source::Source;
use crate::rule::Protocol;

/// The annotation of a pod whose policy is only tried: `enabled` or `disabled`.
const AUDIT_MODE: &str = "blastdoor.io/policy-audit-mode";

/// A namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    /// Its name.
    pub name: String,
    /// The labels written on it.
    pub labels: Vec<(String, String)>,
}

/// A pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The labels written on it.
    pub labels: Vec<(String, String)>,
    /// Its service account.
    pub service_account: String,
    /// Its addresses; none yet if it has not been given any.
    pub addresses: Vec<IpAddr>,
    /// Whether it shares the node's network; then it is the node, as far as policy goes.
    pub host_network: bool,
    /// The node it runs on.
    pub node: Option<String>,
    /// The ports its containers declare.
    pub ports: Vec<ContainerPort>,
    /// Whether it takes traffic of services. A pod of which nothing is said does.
    pub ready: bool,
    /// Whether its policy is only tried (audit mode).
    pub audited: bool,
    /// Where it was written.
    pub place: Place,
}

/// A file and a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
}

/// A port a container declares.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContainerPort {
    /// Its name, if it has one.
    pub name: Option<String>,
    /// Its number.
    pub port: u16,
    /// Its protocol.
    pub protocol: Protocol,
}

/// A service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The labels written on it.
    pub labels: Vec<(String, String)>,
    /// Its cluster addresses; none for a headless one.
    pub cluster_ips: Vec<IpAddr>,
    /// Its ports.
    pub ports: Vec<ServicePort>,
    /// The labels of the pods behind it; empty: nobody is chosen by labels.
    pub selector: Vec<(String, String)>,
    /// Where it was written.
    pub place: Place,
}

/// A port of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// Its name; empty if it has none.
    pub name: String,
    /// Its number.
    pub port: u16,
    /// Its protocol.
    pub protocol: Protocol,
    /// Where it leads.
    pub target: TargetPort,
}

/// The port of a pod behind a service's port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetPort {
    /// This number.
    Number(u16),
    /// The container port of this name.
    Name(String),
}

/// What stands behind a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSlice {
    /// The namespace, also the service's.
    pub namespace: String,
    /// The service (`kubernetes.io/service-name`).
    pub service: String,
    /// The endpoints.
    pub endpoints: Vec<SliceEndpoint>,
    /// Port name, number and protocol.
    pub ports: Vec<(String, u16, Protocol)>,
}

/// One endpoint of a slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SliceEndpoint {
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Whether it takes new connections.
    pub ready: bool,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Where it was written.
    pub place: Place,
}

/// A named group of prefixes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CidrGroup {
    /// Its name.
    pub name: String,
    /// The labels written on it.
    pub labels: Vec<(String, String)>,
    /// Its prefixes, host bits cleared.
    pub prefixes: Vec<IpNet>,
}

/// The field at `keys` below `field`, if every step is there.
fn below<'a>(field: &Field<'a>, keys: &[&str]) -> Option<Field<'a>> {
    let mut here = field.clone();
    for key in keys {
        here.node = here.node.at(key)?;
        if !here.path.is_empty() {
            here.path.push('.');
        }
        here.path.push_str(key);
    }
    Some(here)
}

fn text_at(field: &Field<'_>, keys: &[&str]) -> Read<Option<String>> {
    below(field, keys).map(|at| at.string().map(str::to_owned)).transpose()
}

fn list_at<'a>(field: &Field<'a>, keys: &[&str]) -> Read<Vec<Field<'a>>> {
    below(field, keys).map_or_else(|| Ok(Vec::new()), |at| at.list())
}

/// A mapping of strings, such as `labels`.
pub(super) fn strings(field: Option<Field<'_>>) -> Read<Vec<(String, String)>> {
    let Some(field) = field else { return Ok(Vec::new()) };
    field.clone().record()?;
    let mut pairs = Vec::new();
    for entry in field.node.entries() {
        let path = format!("{}[{}]", field.path, entry.key);
        let value = Field { node: &entry.node, path, object: field.object };
        let text = if entry.node.is_null() { "" } else { value.string()? };
        pairs.push((entry.key.clone(), text.to_owned()));
    }
    Ok(pairs)
}

/// `metadata.name` and `metadata.namespace`, `default` where it is left out.
pub(super) fn names(field: &Field<'_>) -> Read<(String, String)> {
    let kind = field.node.at("kind").and_then(Tree::text).unwrap_or_default();
    let name = text_at(field, &["metadata", "name"])?.filter(|name| !name.is_empty());
    let Some(name) = name else { return Err(field.refuse(format!("{kind} must have name"), "")) };
    let namespace =
        text_at(field, &["metadata", "namespace"])?.filter(|namespace| !namespace.is_empty());
    Ok((namespace.unwrap_or_else(|| "default".to_owned()), name))
}

pub(super) fn labels(field: &Field<'_>) -> Read<Vec<(String, String)>> {
    strings(below(field, &["metadata", "labels"]))
}

fn address(field: &Field<'_>) -> Read<IpAddr> {
    let text = field.string()?;
    text.parse().map_err(|_not_one| field.refuse(format!("{text:?} is not an address"), ""))
}

fn port(field: &Field<'_>) -> Read<u16> {
    let number = field.number()?;
    u16::try_from(number)
        .ok()
        .filter(|port| *port > 0)
        .ok_or_else(|| field.refuse(format!("{number} is not a port"), "write 1 to 65535"))
}

/// `protocol`, TCP where it is left out.
pub(super) fn protocol(field: Option<Field<'_>>) -> Read<Protocol> {
    let Some(field) = field else { return Ok(Protocol::TCP) };
    match field.string()? {
        "TCP" => Ok(Protocol::TCP),
        "UDP" => Ok(Protocol::UDP),
        "SCTP" => Ok(Protocol::SCTP),
        other => Err(field.refuse(format!("invalid protocol {other:?}"), "write TCP, UDP or SCTP")),
    }
}

pub(super) fn namespace(into: &mut Source, field: &Field<'_>) -> Read<()> {
    let (_, name) = names(field)?;
    into.name(field, "Namespace", "", &name);
    let namespace = Namespace { name, labels: labels(field)? };
    into.objects.push(Object::Namespace(Arc::new(namespace)));
    Ok(())
}

/// Whether an object's annotation puts it into audit mode.
pub(super) fn audited(field: &Field<'_>) -> Read<bool> {
    let Some(mode) = below(field, &["metadata", "annotations", AUDIT_MODE]) else {
        return Ok(false);
    };
    match mode.string()? {
        "enabled" => Ok(true),
        "disabled" => Ok(false),
        other => {
            Err(mode.refuse(format!("{other:?} is no audit mode"), "write enabled or disabled"))
        }
    }
}

pub(super) fn pod(into: &mut Source, field: &Field<'_>) -> Read<()> {
    let (namespace, name) = names(field)?;
    into.name(field, "Pod", &namespace, &name);
    let phase = text_at(field, &["status", "phase"])?.unwrap_or_default();
    if phase == "Succeeded" || phase == "Failed" {
        into.leave_out(field, "has ended; its address may be another's");
        return Ok(());
    }
    let mut addresses = Vec::new();
    for entry in list_at(field, &["status", "podIPs"])? {
        addresses.extend(below(&entry, &["ip"]).map(|at| address(&at)).transpose()?);
    }
    if let Some(at) = below(field, &["status", "podIP"]) {
        let first = address(&at)?;
        if !addresses.contains(&first) {
            addresses.insert(0, first);
        }
    }
    let mut ports = Vec::new();
    for container in list_at(field, &["spec", "containers"])? {
        for entry in list_at(&container, &["ports"])? {
            let Some(number) = below(&entry, &["containerPort"]) else { continue };
            ports.push(ContainerPort {
                name: text_at(&entry, &["name"])?,
                port: port(&number)?,
                protocol: protocol(below(&entry, &["protocol"]))?,
            });
        }
    }
    let mut ready = true;
    for condition in list_at(field, &["status", "conditions"])? {
        if text_at(&condition, &["type"])?.as_deref() == Some("Ready") {
            ready = text_at(&condition, &["status"])?.as_deref() == Some("True");
        }
    }
    if below(field, &["metadata", "deletionTimestamp"]).is_some() {
        ready = false;
    }
    let account =
        text_at(field, &["spec", "serviceAccountName"])?.filter(|account| !account.is_empty());
    let pod = Pod {
        labels: labels(field)?,
        service_account: account.unwrap_or_else(|| "default".to_owned()),
        addresses,
        host_network: below(field, &["spec", "hostNetwork"])
            .map_or(Ok(false), |at| at.boolean())?,
        node: text_at(field, &["spec", "nodeName"])?,
        ports,
        ready,
        audited: audited(field)?,
        place: Place { file: field.object.file.clone(), line: field.node.line },
        namespace,
        name,
    };
    into.objects.push(Object::Pod(Arc::new(pod)));
    Ok(())
}

pub(super) fn service(into: &mut Source, field: &Field<'_>) -> Read<()> {
    let (namespace, name) = names(field)?;
    into.name(field, "Service", &namespace, &name);
    let mut cluster_ips = Vec::new();
    let mut written = list_at(field, &["spec", "clusterIPs"])?;
    if written.is_empty() {
        written.extend(below(field, &["spec", "clusterIP"]));
    }
    for at in written {
        if !matches!(at.node.text(), Some("None" | "")) {
            cluster_ips.push(address(&at)?);
        }
    }
    let mut ports = Vec::new();
    for entry in list_at(field, &["spec", "ports"])? {
        let Some(number) = below(&entry, &["port"]) else {
            return Err(entry.refuse("port is missing", ""));
        };
        let number = port(&number)?;
        let target = match below(&entry, &["targetPort"]) {
            None => TargetPort::Number(number),
            Some(at) => match at.number_or_string()? {
                Ok(_) => TargetPort::Number(port(&at)?),
                Err(name) => TargetPort::Name(name.to_owned()),
            },
        };
        ports.push(ServicePort {
            name: text_at(&entry, &["name"])?.unwrap_or_default(),
            port: number,
            protocol: protocol(below(&entry, &["protocol"]))?,
            target,
        });
    }
    let service = Service {
        labels: labels(field)?,
        cluster_ips,
        ports,
        selector: strings(below(field, &["spec", "selector"]))?,
        place: Place { file: field.object.file.clone(), line: field.node.line },
        namespace,
        name,
    };
    into.objects.push(Object::Service(Arc::new(service)));
    Ok(())
}

pub(super) fn slice(into: &mut Source, field: &Field<'_>) -> Read<()> {
    const SERVICE: &str = "kubernetes.io/service-name";
    let (namespace, name) = names(field)?;
    into.name(field, "EndpointSlice", &namespace, &name);
    let Some((_, service)) = labels(field)?.into_iter().find(|(key, _)| key == SERVICE) else {
        into.leave_out(field, "belongs to no service");
        return Ok(());
    };
    if text_at(field, &["addressType"])?.as_deref() == Some("FQDN") {
        into.leave_out(field, "holds names, not addresses");
        return Ok(());
    }
    let mut endpoints = Vec::new();
    for entry in list_at(field, &["endpoints"])? {
        let addresses =
            list_at(&entry, &["addresses"])?.iter().map(address).collect::<Read<_>>()?;
        let ready = below(&entry, &["conditions", "ready"]).map_or(Ok(true), |at| at.boolean())?;
        endpoints.push(SliceEndpoint { addresses, ready });
    }
    let mut ports = Vec::new();
    for entry in list_at(field, &["ports"])? {
        let Some(number) = below(&entry, &["port"]) else { continue };
        let name = text_at(&entry, &["name"])?.unwrap_or_default();
        ports.push((name, port(&number)?, protocol(below(&entry, &["protocol"]))?));
    }
    let slice = EndpointSlice { namespace, service, endpoints, ports };
    into.objects.push(Object::Slice(Arc::new(slice)));
    Ok(())
}

pub(super) fn node(into: &mut Source, field: &Field<'_>) -> Read<()> {
    let (_, name) = names(field)?;
    into.name(field, "Node", "", &name);
    let mut addresses = Vec::new();
    for entry in list_at(field, &["status", "addresses"])? {
        let kind = text_at(&entry, &["type"])?.unwrap_or_default();
        if let Some(at) =
            below(&entry, &["address"]).filter(|_| kind == "InternalIP" || kind == "ExternalIP")
        {
            addresses.push(address(&at)?);
        }
    }
    let place = Place { file: field.object.file.clone(), line: field.node.line };
    into.objects.push(Object::Node(Arc::new(Node { name, addresses, place })));
    Ok(())
}
