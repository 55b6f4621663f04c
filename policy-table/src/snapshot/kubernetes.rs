//! networking.k8s.io/v1 NetworkPolicy.
//!
//! Arrives: an object's fields. Leaves: a [`Policy`] in the common shape, mapped as Cilium maps it
//! (`pkg/k8s/network_policy.go`): allow rules with default deny, `k8s:` labels, a missing protocol is TCP, a missing peer
//! list is anyone, `ipBlock` reaches only outside the cluster.

use std::sync::Arc;

use ipnet::IpNet;

use super::cilium::service_name;
use super::cluster;
use super::reader::{Field, Read, Record};
use super::selectors::selector;
use crate::label::{CLUSTER, LOCAL_CLUSTER, NAMESPACE_LABELS, POD_NAMESPACE};
use crate::rule::{
    Clause, Effect, L7, Peer, Peers, Policy, PolicyKind, PortProtocol, PortRule, PortSpec, Ports,
    Rule, Section,
};
use crate::selector::{Requirement, Selector, SelectorKey, Test};

pub(super) fn policy(field: &Field<'_>, file: &Arc<str>, position: u32) -> Read<Policy> {
    let (namespace, name) = cluster::names(field)?;
    let mut object = field.clone().record()?;
    for free in ["apiVersion", "kind", "metadata", "status"] {
        object.take(free);
    }
    let mut spec = object.need("spec")?.record()?;
    object.finish()?;
    let own = Requirement::equals(SelectorKey::k8s(POD_NAMESPACE), &namespace);
    // An absent podSelector is an empty one: Go has no way to tell.
    let subject = spec
        .take("podSelector")
        .map_or(Ok(Selector::default()), |pods| selector(pods, SelectorKey::k8s))?;
    let mut types = (false, false);
    if let Some(list) = spec.take("policyTypes") {
        for entry in list.list()? {
            match entry.string()? {
                "Ingress" => types.0 = true,
                "Egress" => types.1 = true,
                other => {
                    return Err(entry.refuse(
                        format!("unknown policy type {other:?}"),
                        "write Ingress or Egress",
                    ));
                }
            }
        }
    }
    let ingress = clauses(&namespace, spec.take("ingress"), "from")?;
    let egress = clauses(&namespace, spec.take("egress"), "to")?;
    let line = spec.field().node.line;
    spec.finish()?;
    let (wants_ingress, wants_egress) = (types.0 || !types.1, types.1);
    let section = |clauses: Vec<Clause>, wanted: bool, field: &str| {
        let nothing = Clause {
            field: field.to_owned(),
            line,
            effect: Effect::Allow,
            peers: Peers::Nobody,
            ports: Ports::All,
        };
        let clauses = if clauses.is_empty() && wanted { vec![nothing] } else { clauses };
        Section { default_deny: true, clauses }
    };
    let rule = Rule {
        subject: subject.and(own),
        ingress: section(ingress, wants_ingress, "spec.ingress"),
        egress: section(egress, wants_egress, "spec.egress"),
    };
    Ok(Policy {
        kind: PolicyKind::Kubernetes,
        namespace: Some(namespace),
        name,
        file: Arc::clone(file),
        line: field.node.line,
        position,
        audited: cluster::audited(field)?,
        rules: vec![rule],
    })
}

fn clauses(namespace: &str, list: Option<Field<'_>>, peers: &'static str) -> Read<Vec<Clause>> {
    let Some(list) = list else { return Ok(Vec::new()) };
    let mut clauses = Vec::new();
    for item in list.list()? {
        let (field, line) = (item.path.clone(), item.node.line);
        let mut record = item.record()?;
        let mut from = Vec::new();
        if let Some(list) = record.take(peers) {
            for peer in list.list()? {
                from.push(self::peer(namespace, peer)?);
            }
        }
        let mut ports = Vec::new();
        if let Some(list) = record.take("ports") {
            for entry in list.list()? {
                ports.push(port(entry.record()?)?);
            }
        }
        record.finish()?;
        clauses.push(Clause {
            field,
            line,
            effect: Effect::Allow,
            peers: if from.is_empty() { Peers::Anyone } else { Peers::AnyOf(from) },
            ports: if ports.is_empty() { Ports::All } else { Ports::AnyOf(ports) },
        });
    }
    Ok(clauses)
}

fn peer(namespace: &str, field: Field<'_>) -> Read<Peer> {
    let mut record = field.clone().record()?;
    let pods = record.take("podSelector");
    let namespaces = record.take("namespaceSelector");
    let block = record.take("ipBlock");
    record.finish()?;
    if let Some(block) = block {
        if pods.is_some() || namespaces.is_some() {
            return Err(
                field.refuse("ipBlock stands alone: it may not be combined with a selector", "")
            );
        }
        return ip_block(block);
    }
    if pods.is_none() && namespaces.is_none() {
        return Err(
            field.refuse("must specify a peer", "write podSelector, namespaceSelector or ipBlock")
        );
    }
    let mut wanted = match pods {
        Some(pods) => selector(pods, SelectorKey::k8s)?,
        None => Selector::default(),
    };
    let key = SelectorKey::k8s(POD_NAMESPACE);
    match namespaces {
        None => wanted = wanted.and(Requirement::equals(key, namespace)),
        Some(namespaces) => {
            let labels = selector(namespaces, |name| {
                SelectorKey::k8s(&format!("{NAMESPACE_LABELS}{name}"))
            })?;
            for requirement in labels.requirements() {
                wanted = wanted.and(requirement.clone());
            }
            // A selector that only excludes would reach beyond the pods otherwise.
            wanted = wanted.and(Requirement { key, test: Test::Exists });
        }
    }
    Ok(Peer::Endpoints(wanted.and(Requirement::equals(SelectorKey::k8s(CLUSTER), LOCAL_CLUSTER))))
}

fn ip_block(field: Field<'_>) -> Read<Peer> {
    let mut record = field.record()?;
    let net = |field: &Field<'_>| -> Read<IpNet> {
        let text = field.string()?;
        let net: IpNet = text
            .parse()
            .map_err(|_not_one| field.refuse(format!("unable to parse CIDR: {text:?}"), ""))?;
        Ok(net.trunc())
    };
    let prefix = net(&record.need("cidr")?)?;
    let mut except = Vec::new();
    if let Some(list) = record.take("except") {
        for entry in list.list()? {
            let hole = net(&entry)?;
            if !prefix.contains(&hole) {
                let reason = format!(
                    "allow CIDR prefix {prefix} does not contain exclude CIDR prefix {hole}"
                );
                return Err(entry.refuse(reason, ""));
            }
            except.push(hole);
        }
    }
    record.finish()?;
    Ok(Peer::Cidr { prefix, except })
}

fn port(mut record: Record<'_>) -> Read<PortRule> {
    let protocol = PortProtocol::Is(cluster::protocol(record.take("protocol"))?);
    let port = record.take("port");
    let end = record.take("endPort").map(|end| Read::Ok((end.number()?, end))).transpose()?;
    let spec = match port {
        None => PortSpec::Every,
        Some(port) => match port.number_or_string()? {
            Ok(number) => {
                let bad = |at: &Field<'_>| at.refuse("is not a port", "write 1 to 65535");
                let first = u16::try_from(number)
                    .ok()
                    .filter(|port| *port > 0)
                    .ok_or_else(|| bad(&port))?;
                let last = match &end {
                    None => first,
                    Some((last, at)) => u16::try_from(*last)
                        .ok()
                        .filter(|last| *last >= first)
                        .ok_or_else(|| bad(at))?,
                };
                PortSpec::Range(first, last)
            }
            Err(name) => PortSpec::Named(service_name(&port, name)?),
        },
    };
    if let Some((_, at)) = end
        && !matches!(spec, PortSpec::Range(..))
    {
        return Err(at.refuse("endPort needs a port number", ""));
    }
    record.finish()?;
    Ok(PortRule { protocol, port: spec, l7: L7::Anything })
}
