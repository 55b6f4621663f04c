//! `fromEndpoints`, `toCIDRSet`, `toServices` and the other ways to name peers.
//!
//! Arrives: the lists of one item. Leaves: [`Peers`], with the namespace and the cluster that Cilium fills in.

use ipnet::IpNet;

use super::{Reading, prefix};
use crate::label::{CLUSTER, LOCAL_CLUSTER, NAMESPACE_LABELS, POD_NAMESPACE};
use crate::rule::name::NamePattern;
use crate::rule::{CidrGroups, Direction, Effect, Entity, Peer, Peers, ServiceChoice, ServicePeer};
use crate::selector::{Requirement, Selector, SelectorKey, Test};
use crate::snapshot::reader::{Field, Read, Record};
use crate::snapshot::selectors::selector;

impl Reading<'_> {
    /// The peers an endpoint selector means: without a namespace, the policy's own; always the local cluster.
    fn peer(&self, field: Field<'_>) -> Read<Selector> {
        let selector = selector(field, SelectorKey::parse)?;
        if selector.mentions(&[Some("reserved")], |_| true) {
            return Ok(selector);
        }
        let k8s: [Option<&str>; 2] = [None, Some("k8s")];
        let mut filled = selector.clone();
        if !selector.mentions(&k8s, |name| name == POD_NAMESPACE) {
            let by_labels = selector.mentions(&k8s, |name| name.starts_with(NAMESPACE_LABELS));
            let key = SelectorKey::k8s(POD_NAMESPACE);
            match &self.namespace {
                Some(own) if !by_labels => filled = filled.and(Requirement::equals(key, own)),
                None if !self.init => filled = filled.and(Requirement { key, test: Test::Exists }),
                Some(_) | None => {}
            }
        }
        if !selector.mentions(&k8s, |name| name == CLUSTER) {
            filled = filled.and(Requirement::equals(SelectorKey::k8s(CLUSTER), LOCAL_CLUSTER));
        }
        Ok(filled)
    }

    /// The peers of an item, `None` if no list of peers is there.
    pub(super) fn peers(
        &self,
        direction: Direction,
        effect: Effect,
        record: &mut Record<'_>,
    ) -> Read<Option<Peers>> {
        let [endpoints, cidr, cidr_set, entities, nodes, groups, requires] = match direction {
            Direction::Ingress => [
                "fromEndpoints",
                "fromCIDR",
                "fromCIDRSet",
                "fromEntities",
                "fromNodes",
                "fromGroups",
                "fromRequires",
            ],
            Direction::Egress => [
                "toEndpoints",
                "toCIDR",
                "toCIDRSet",
                "toEntities",
                "toNodes",
                "toGroups",
                "toRequires",
            ],
        };
        if let Some(requires) = record.take(requires) {
            let name = requires.path.rsplit('.').next().unwrap_or_default().to_owned();
            let reason = format!("{name} was removed in Cilium 1.19");
            return Err(requires
                .refuse(reason, "say it with a deny rule, or with matchExpressions in the peers"));
        }
        if let Some(nodes) = record.take(nodes) {
            let reason = "FromNodes/ToNodes rules can only be applied when the \"enable-node-selector-labels\" flag is set";
            return Err(nodes.refuse(reason, "use the entities host and remote-node, or CIDRs"));
        }
        if let Some(groups) = record.take(groups) {
            return Err(groups
                .refuse("groups of a cloud provider are not resolved here", "write the CIDRs"));
        }
        let mut given = vec![
            record.take(endpoints),
            record.take(cidr),
            record.take(cidr_set),
            record.take(entities),
        ];
        if direction == Direction::Egress {
            let names = record.take("toFQDNs");
            if let Some(names) = names.as_ref().filter(|_| effect == Effect::Deny) {
                return Err(names.refuse("toFQDNs is not known in egressDeny", "deny the CIDRs"));
            }
            given.push(names);
            given.push(record.take("toServices"));
        }
        let given: Vec<Field<'_>> = given.into_iter().flatten().collect();
        let Some(first) = given.first() else { return Ok(None) };
        let filled: Vec<&Field<'_>> =
            given.iter().filter(|list| !list.node.items().is_empty()).collect();
        for list in &given {
            list.list()?;
        }
        let last_name =
            |field: &Field<'_>| field.path.rsplit('.').next().unwrap_or_default().to_owned();
        if let [one, two, ..] = filled.as_slice() {
            let reason =
                format!("combining {} and {} is not supported yet", last_name(one), last_name(two));
            return Err(two.refuse(reason, "write two items"));
        }
        let Some(list) = filled.first() else {
            if effect == Effect::Deny {
                let reason = format!("an empty {} denies nothing", last_name(first));
                return Err(
                    first.refuse(reason, "take the item out, or take the list out to mean anyone")
                );
            }
            return Ok(Some(Peers::Nobody));
        };
        if filled.len() < given.len() {
            let reason = "an empty list of peers beside one that is not empty selects nothing";
            return Err(first.refuse(reason, "take the empty list out"));
        }
        let mut peers = Vec::new();
        for item in list.list()? {
            peers.push(match last_name(list).as_str() {
                "fromEndpoints" | "toEndpoints" => Peer::Endpoints(self.peer(item)?),
                "fromCIDR" | "toCIDR" => Peer::Cidr { prefix: prefix(&item)?, except: Vec::new() },
                "fromCIDRSet" | "toCIDRSet" => cidr_rule(item)?,
                "fromEntities" | "toEntities" => {
                    let name = item.string()?;
                    let unknown = || item.refuse(format!("unsupported entity: {name}"), "");
                    Peer::Entity(Entity::parse(name).ok_or_else(unknown)?)
                }
                "toFQDNs" => Peer::Name(name_pattern(item)?),
                _ => service(item)?,
            });
        }
        Ok(Some(Peers::AnyOf(peers)))
    }
}

/// An entry of `toFQDNs` or `rules.dns`.
pub(super) fn name_pattern(field: Field<'_>) -> Read<NamePattern> {
    let mut record = field.clone().record()?;
    let [name, pattern] = ["matchName", "matchPattern"].map(|key| record.take(key));
    record.finish()?;
    match (name, pattern) {
        (Some(name), None) => {
            NamePattern::exact(name.string()?).map_err(|reason| name.refuse(reason, ""))
        }
        (None, Some(pattern)) => {
            NamePattern::pattern(pattern.string()?).map_err(|reason| pattern.refuse(reason, ""))
        }
        (Some(_), Some(pattern)) => Err(pattern.refuse(
            "only one of MatchName or MatchPattern is allowed in an FQDNSelector",
            "write two entries",
        )),
        (None, None) => {
            let advice = "write `matchPattern: \"*\"` to mean every name";
            Err(field.refuse("one of matchName or matchPattern is required", advice))
        }
    }
}

fn cidr_rule(field: Field<'_>) -> Read<Peer> {
    let mut record = field.clone().record()?;
    let cidr = record.take("cidr");
    let name = record.take("cidrGroupRef");
    let chosen = record.take("cidrGroupSelector");
    let mut except = Vec::new();
    if let Some(list) = record.take("except") {
        for entry in list.list()? {
            except.push((prefix(&entry)?, entry));
        }
    }
    record.finish()?;
    let plain = |except: Vec<(IpNet, Field<'_>)>| except.into_iter().map(|(net, _)| net).collect();
    match (cidr, name, chosen) {
        (Some(cidr), None, None) => {
            let whole = prefix(&cidr)?;
            for (net, entry) in &except {
                if !whole.contains(net) {
                    let reason = format!(
                        "allow CIDR prefix {whole} does not contain exclude CIDR prefix {net}"
                    );
                    return Err(entry.refuse(reason, ""));
                }
            }
            Ok(Peer::Cidr { prefix: whole, except: plain(except) })
        }
        (None, Some(name), None) => Ok(Peer::CidrGroup {
            groups: CidrGroups::Named(name.string()?.to_owned()),
            except: plain(except),
        }),
        (None, None, Some(chosen)) => {
            let groups = CidrGroups::Selected(selector(chosen, SelectorKey::parse)?);
            Ok(Peer::CidrGroup { groups, except: plain(except) })
        }
        (None, None, None) => {
            Err(field.refuse("one of cidr, cidrGroupRef, or cidrGroupSelector is required", ""))
        }
        (Some(_), _, _) | (None, Some(_), Some(_)) => Err(field.refuse(
            "more than one of cidr, cidrGroupRef, or cidrGroupSelector may not be set",
            "",
        )),
    }
}

fn service(field: Field<'_>) -> Read<Peer> {
    let mut record = field.clone().record()?;
    let named = record.take("k8sService");
    let chosen = record.take("k8sServiceSelector");
    record.finish()?;
    // Without a namespace Cilium looks in all of them (`RuleTranslator.serviceMatches`).
    let namespace = |record: &mut Record<'_>| -> Read<Option<String>> {
        let namespace = record.take("namespace").map(|namespace| namespace.string()).transpose()?;
        Ok(namespace.filter(|namespace| !namespace.is_empty()).map(str::to_owned))
    };
    let (namespace, which) = match (named, chosen) {
        (Some(named), None) => {
            let mut named = named.record()?;
            let name = named.need("serviceName")?.string()?.to_owned();
            let namespace = namespace(&mut named)?;
            named.finish()?;
            (namespace, ServiceChoice::Named(name))
        }
        (None, Some(chosen)) => {
            let mut chosen = chosen.record()?;
            let wanted = selector(chosen.need("selector")?, SelectorKey::parse)?;
            let namespace = namespace(&mut chosen)?;
            chosen.finish()?;
            (namespace, ServiceChoice::Selected(wanted))
        }
        (None, None) | (Some(_), Some(_)) => {
            return Err(field
                .refuse("one of k8sService or k8sServiceSelector is required", "write two items"));
        }
    };
    Ok(Peer::Service(ServicePeer { namespace, which }))
}
