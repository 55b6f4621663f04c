//! CiliumNetworkPolicy, CiliumClusterwideNetworkPolicy, CiliumCIDRGroup.
//!
//! Arrives: an object's fields. Leaves: a [`Policy`] in the common shape, with namespaces and cluster filled into its
//! selectors as Cilium's agent does (`pkg/k8s/apis/cilium.io/utils/utils.go`). What Cilium's own validation refuses
//! (`pkg/policy/api/rule_validation.go`) is refused in its words; what it takes and we cannot enforce is refused in ours.

mod http;
mod peers;
mod ports;

use std::sync::Arc;

use ipnet::IpNet;

use super::Object;
use super::cluster::{self, CidrGroup};
use super::reader::{Field, Read};
use super::refusal::Notice;
use super::selectors::selector;
use super::source::Source;
use crate::label::POD_NAMESPACE;
use crate::rule::{Clause, Direction, Effect, Peers, Policy, PolicyKind, Ports, Rule, Section};
use crate::selector::{Requirement, Selector, SelectorKey, Test};
pub(super) use ports::service_name;

/// What a rule's fields are read against.
struct Reading<'n> {
    /// The policy's namespace; `None` for a cluster-wide one.
    namespace: Option<String>,
    notices: &'n mut Vec<Notice>,
    /// Whether the subject is `reserved:init`, whose peers get no namespace.
    init: bool,
}

pub(super) fn policy(
    field: &Field<'_>,
    file: &Arc<str>,
    position: u32,
    notices: &mut Vec<Notice>,
) -> Read<Policy> {
    let (namespace, name) = cluster::names(field)?;
    let mut object = field.clone().record()?;
    let clusterwide = object.need("kind")?.string()? == "CiliumClusterwideNetworkPolicy";
    for free in ["apiVersion", "metadata", "status"] {
        object.take(free);
    }
    let kind = if clusterwide { PolicyKind::CiliumClusterwide } else { PolicyKind::Cilium };
    let mut reading =
        Reading { namespace: (!clusterwide).then(|| namespace.clone()), notices, init: false };
    let mut rules = Vec::new();
    let spec = object.take("spec");
    let specs = object.take("specs");
    if spec.is_none() && specs.is_none() {
        return Err(field.refuse("at least one of spec or specs is required", ""));
    }
    if let Some(spec) = spec {
        rules.push(reading.rule(spec)?);
    }
    if let Some(specs) = specs {
        for spec in specs.list()? {
            rules.push(reading.rule(spec)?);
        }
    }
    object.finish()?;
    let namespace = reading.namespace;
    let (file, line, audited) = (Arc::clone(file), field.node.line, cluster::audited(field)?);
    Ok(Policy { kind, namespace, name, file, line, position, audited, rules })
}

pub(super) fn cidr_group(into: &mut Source, field: &Field<'_>) -> Read<()> {
    let (_, name) = cluster::names(field)?;
    into.name(field, "CiliumCIDRGroup", "", &name);
    let mut object = field.clone().record()?;
    for free in ["apiVersion", "kind", "metadata", "status"] {
        object.take(free);
    }
    let mut spec = object.need("spec")?.record()?;
    let mut prefixes = Vec::new();
    if let Some(list) = spec.take("externalCIDRs") {
        for entry in list.list()? {
            prefixes.push(prefix(&entry)?);
        }
    }
    spec.finish()?;
    object.finish()?;
    let group = CidrGroup { name, labels: cluster::labels(field)?, prefixes };
    into.objects.push(Object::CidrGroup(Arc::new(group)));
    Ok(())
}

fn prefix(field: &Field<'_>) -> Read<IpNet> {
    let text = field.string()?;
    if text.is_empty() {
        return Err(field.refuse("IP must be specified", "write address/length"));
    }
    let net: IpNet = text.parse().map_err(|_not_one| {
        field.refuse(
            format!("unable to parse CIDR: {text:?}"),
            "write address/length, such as 10.0.0.0/8",
        )
    })?;
    Ok(net.trunc())
}

fn not_empty<'a>(field: Option<Field<'a>>) -> Read<Option<Field<'a>>> {
    field
        .map(|field| Ok((!field.list()?.is_empty()).then_some(field)))
        .transpose()
        .map(Option::flatten)
}

impl Reading<'_> {
    fn rule(&mut self, field: Field<'_>) -> Read<Rule> {
        let mut record = field.record()?;
        for free in ["labels", "description", "log"] {
            record.take(free);
        }
        let nodes = record.take("nodeSelector");
        let subject = record.take("endpointSelector");
        let [ingress, ingress_deny, egress, egress_deny] =
            ["ingress", "ingressDeny", "egress", "egressDeny"].map(|name| record.take(name));
        let some = |list: &Option<Field<'_>>| not_empty(list.clone()).map(|list| list.is_some());
        let has_ingress = some(&ingress)? || some(&ingress_deny)?;
        let has_egress = some(&egress)? || some(&egress_deny)?;
        if !has_ingress && !has_egress {
            let reason = "rule must have at least one of Ingress, IngressDeny, Egress, EgressDeny";
            return Err(record.field().refuse(reason, "to deny everything write `ingress: [{}]`"));
        }
        if let Some(nodes) = nodes {
            if subject.is_some() {
                return Err(
                    nodes.refuse("rule cannot have both EndpointSelector and NodeSelector", "")
                );
            }
            if self.namespace.is_some() {
                return Err(nodes.refuse(
                    "Invalid CiliumNetworkPolicy spec: rule cannot have NodeSelector",
                    "",
                ));
            }
            let advice =
                "keep host policies out of the snapshot: the node's own traffic does not pass here";
            return Err(nodes.refuse("host policies are not enforced here", advice));
        }
        let Some(subject) = subject else {
            return Err(record
                .field()
                .refuse("rule must have one of EndpointSelector or NodeSelector", ""));
        };
        let subject = self.subject(subject)?;
        let mut default_deny = [has_ingress, has_egress];
        if let Some(switch) = record.take("enableDefaultDeny") {
            let mut switch = switch.record()?;
            for (flag, name) in default_deny.iter_mut().zip(["ingress", "egress"]) {
                if let Some(value) = switch.take(name) {
                    *flag = value.boolean()?;
                }
            }
            switch.finish()?;
        }
        let [ingress_default_deny, egress_default_deny] = default_deny;
        let ingress = Section {
            default_deny: ingress_default_deny,
            clauses: self.clauses(Direction::Ingress, ingress, ingress_deny)?,
        };
        let egress = Section {
            default_deny: egress_default_deny,
            clauses: self.clauses(Direction::Egress, egress, egress_deny)?,
        };
        record.finish()?;
        Ok(Rule { subject, ingress, egress })
    }

    /// The endpoints a rule applies to: a namespaced policy reaches only its own namespace.
    fn subject(&mut self, field: Field<'_>) -> Read<Selector> {
        let selector = selector(field.clone(), SelectorKey::parse)?;
        self.init = selector.mentions(&[Some("reserved")], |name| name == "init");
        let Some(own) = self.namespace.clone() else { return Ok(selector) };
        for requirement in selector.requirements() {
            let about_namespace = requirement.key.name == POD_NAMESPACE
                && matches!(requirement.key.source.as_deref(), None | Some("k8s"));
            if let Test::In(values) = &requirement.test
                && about_namespace
                && !values.contains(&own)
            {
                let reason = format!(
                    "CiliumNetworkPolicy endpointSelector matches namespace(s) {values:?}, but the policy's own namespace is {own:?}"
                );
                return Err(
                    field.refuse(reason, "a namespaced policy reaches only its own namespace")
                );
            }
        }
        Ok(selector.and(Requirement::equals(SelectorKey::k8s(POD_NAMESPACE), &own)))
    }

    fn clauses(
        &mut self,
        direction: Direction,
        allow: Option<Field<'_>>,
        deny: Option<Field<'_>>,
    ) -> Read<Vec<Clause>> {
        let mut clauses = Vec::new();
        for (list, effect) in [(allow, Effect::Allow), (deny, Effect::Deny)] {
            let Some(list) = list else { continue };
            for item in list.list()? {
                clauses.push(self.clause(direction, effect, item)?);
            }
        }
        Ok(clauses)
    }

    fn clause(&mut self, direction: Direction, effect: Effect, field: Field<'_>) -> Read<Clause> {
        let (path, line) = (field.path.clone(), field.node.line);
        let mut record = field.record()?;
        let peers = self.peers(direction, effect, &mut record)?;
        let icmps = not_empty(record.take("icmps"))?;
        let to_ports = not_empty(record.take("toPorts"))?;
        let ports = match (to_ports, icmps) {
            (Some(_), Some(icmps)) => {
                let reason = "the ICMPs block may only be present without ToPorts. Define a separate rule to use ToPorts";
                return Err(icmps.refuse(reason, ""));
            }
            (None, None) => Ports::All,
            (Some(list), None) => self.ports(direction, effect, &list)?,
            (None, Some(list)) => ports::icmp_types(&list)?,
        };
        if let Some(authentication) = record.take("authentication") {
            let mut record = authentication.clone().record()?;
            let mode = record.need("mode")?;
            if mode.string()? != "disabled" {
                let way = if direction == Direction::Ingress { "ingress" } else { "egress" };
                let reason = format!(
                    "mutual auth feature is disabled but an {way} auth rule is defined in policy"
                );
                return Err(
                    mode.refuse(reason, "take authentication out; it is deprecated in Cilium too")
                );
            }
            record.finish()?;
        }
        record.finish()?;
        let peers = match (peers, &ports) {
            (Some(peers), _) => peers,
            // An item that says nothing selects nothing; with ports it means anyone.
            (None, Ports::All) => Peers::Nobody,
            (None, Ports::Nothing | Ports::AnyOf(_)) => Peers::Anyone,
        };
        Ok(Clause { field: path, line, effect, peers, ports })
    }
}
