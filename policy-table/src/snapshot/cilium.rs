//! CiliumNetworkPolicy, CiliumClusterwideNetworkPolicy, CiliumCIDRGroup.
//!
//! Arrives: an object's fields. Leaves: a [`Policy`] in the common shape, with namespaces and cluster filled into its
//! selectors as Cilium's agent does (`pkg/k8s/apis/cilium.io/utils/utils.go`). What Cilium's own validation refuses
//! (`pkg/policy/api/rule_validation.go`) is refused in its words; what it takes and we cannot enforce is refused in ours.

use std::sync::Arc;

use ipnet::IpNet;

use super::Gathering;
use super::cluster::{self, CidrGroup};
use super::reader::{Field, Read, Record};
use super::refusal::{Notice, Severity};
use crate::label::{CLUSTER, LOCAL_CLUSTER, NAMESPACE_LABELS, POD_NAMESPACE};
use crate::rule::pattern::Pattern;
use crate::rule::{
    CidrGroups, Clause, Direction, Effect, Entity, HeaderRule, HttpRule, Peer, Peers, Policy,
    PolicyKind, PortProtocol, PortRule, PortSpec, Ports, Protocol, Rule, Section, ServiceChoice,
    ServicePeer,
};
use crate::selector::{Requirement, Selector, SelectorKey, Test};

/// Most ports of a `toPorts` item, and most fields of an `icmps` item (Cilium's limits).
const MOST: usize = 40;

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
    Ok(Policy { kind, namespace, name, file: Arc::clone(file), line: field.node.line, rules })
}

pub(super) fn cidr_group(into: &mut Gathering, field: &Field<'_>) -> Read<()> {
    let (_, name) = cluster::names(field)?;
    into.name(field, "CiliumCIDRGroup", "", &name)?;
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
    into.snapshot.cidr_groups.push(CidrGroup { name, labels: cluster::labels(field)?, prefixes });
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

/// A label selector with its keys as Cilium reads them; `source` is given to keys that name none.
pub(super) fn selector(field: Field<'_>, key: impl Fn(&str) -> SelectorKey) -> Read<Selector> {
    let mut record = field.record()?;
    let mut requirements = Vec::new();
    let labels = record.take("matchLabels");
    if let Some(labels) = labels {
        for (name, value) in cluster::strings(Some(labels.clone()))? {
            check_key(&labels, &name)?;
            requirements.push(Requirement::equals(key(&name), &value));
        }
    }
    if let Some(expressions) = record.take("matchExpressions") {
        for expression in expressions.list()? {
            let mut expression = expression.record()?;
            let name = expression.need("key")?;
            check_key(&name, name.string()?)?;
            let operator = expression.need("operator")?;
            let mut values = Vec::new();
            let listed = expression.take("values");
            if let Some(listed) = &listed {
                for value in listed.list()? {
                    values.push(value.string()?.to_owned());
                }
            }
            let some = |values: Vec<String>| {
                if values.is_empty() {
                    let reason = "invalid label selector: values: must be specified when `operator` is 'In' or 'NotIn'";
                    return Err(operator.refuse(reason, ""));
                }
                Ok(values)
            };
            let none = |values: &[String]| {
                if values.is_empty() {
                    return Ok(());
                }
                let reason = "invalid label selector: values: may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                Err(operator.refuse(reason, ""))
            };
            let test = match operator.string()? {
                "In" => Test::In(some(values)?),
                "NotIn" => Test::NotIn(some(values)?),
                "Exists" => none(&values).map(|()| Test::Exists)?,
                "DoesNotExist" => none(&values).map(|()| Test::DoesNotExist)?,
                other => {
                    let reason = format!(
                        "invalid label selector: {other:?} is not a valid label selector operator"
                    );
                    return Err(operator.refuse(reason, "write In, NotIn, Exists or DoesNotExist"));
                }
            };
            requirements.push(Requirement { key: key(name.string()?), test });
            expression.finish()?;
        }
    }
    record.finish()?;
    Ok(Selector::new(requirements))
}

/// Label keys as Kubernetes takes them, with Cilium's optional source in front.
fn check_key(field: &Field<'_>, key: &str) -> Read<()> {
    let bare =
        key.strip_prefix('$').unwrap_or_else(|| key.split_once(':').map_or(key, |(_, name)| name));
    let (prefix, name) =
        bare.rsplit_once('/').map_or((None, bare), |(prefix, name)| (Some(prefix), name));
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let fits = |text: &str, most: usize| {
        text.len() <= most
            && edge(text.chars().next())
            && edge(text.chars().next_back())
            && text.chars().all(inner)
    };
    if fits(name, 317) && prefix.is_none_or(|prefix| fits(prefix, 253)) {
        return Ok(());
    }
    Err(field.refuse(format!("invalid label selector: {key:?} is not a valid label key"), ""))
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
            (Some(list), None) => self.ports(effect, &list)?,
            (None, Some(list)) => icmp_types(&list)?,
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

    /// The peers of an item, `None` if no list of peers is there.
    fn peers(
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
            if let Some(names) = record.take("toFQDNs") {
                if effect == Effect::Deny {
                    return Err(
                        names.refuse("toFQDNs is not known in egressDeny", "deny the CIDRs")
                    );
                }
                let reason = "needs addresses learned from DNS, which is not yet supported";
                return Err(names.refuse(reason, "write the CIDRs of the names"));
            }
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
                _ => service(item)?,
            });
        }
        Ok(Some(Peers::AnyOf(peers)))
    }

    fn ports(&mut self, effect: Effect, list: &Field<'_>) -> Read<Ports> {
        let mut rules = Vec::new();
        for item in list.list()? {
            let mut record = item.record()?;
            for (name, reason) in [
                ("terminatingTLS", "TLS is not terminated here"),
                ("originatingTLS", "TLS is not originated here"),
                ("serverNames", "TLS server names are not matched here"),
                ("listener", "there is no proxy to hand the connection to"),
            ] {
                if let Some(field) = record.take(name) {
                    return Err(field.refuse(reason, "allow the port without it, or by CIDR"));
                }
            }
            let ports = record.take("ports");
            let http = match record.take("rules") {
                Some(rules) if effect == Effect::Deny => {
                    return Err(rules.refuse("deny rules take ports only, no L7 rules", ""));
                }
                Some(rules) => self.http(rules)?,
                None => None,
            };
            record.finish()?;
            let Some(ports) = not_empty(ports)? else { continue };
            let entries = ports.list()?;
            if entries.len() > MOST {
                return Err(
                    ports.refuse(format!("too many ports, the max is {MOST}"), "write two items")
                );
            }
            for entry in entries {
                let (protocol, port) = port_protocol(entry.clone())?;
                if http.is_some() {
                    if protocol != PortProtocol::Is(Protocol::TCP) {
                        let name = match protocol {
                            PortProtocol::Any => "ANY".to_owned(),
                            PortProtocol::Is(protocol) => protocol.to_string(),
                        };
                        let reason = format!(
                            "L7 rules can only apply to TCP (not {name}) except for DNS rules"
                        );
                        return Err(entry.refuse(reason, "write `protocol: TCP`"));
                    }
                    if port == PortSpec::Every {
                        return Err(entry.refuse(
                            "L7 rules can not be used when a port is 0",
                            "name the ports",
                        ));
                    }
                }
                rules.push(PortRule { protocol, port, http: http.clone() });
            }
        }
        Ok(if rules.is_empty() { Ports::Nothing } else { Ports::AnyOf(rules) })
    }

    fn http(&mut self, field: Field<'_>) -> Read<Option<Arc<Vec<HttpRule>>>> {
        let mut record = field.record()?;
        for name in ["kafka", "l7proto", "l7"] {
            if let Some(field) = record.take(name) {
                let reason =
                    format!("{name} rules were removed in Cilium 1.20 and are not enforced here");
                return Err(field.refuse(
                    reason,
                    "take the rules section out to allow the port without inspection",
                ));
            }
        }
        if let Some(dns) = not_empty(record.take("dns"))? {
            let reason = "DNS rules are not yet supported";
            return Err(dns.refuse(
                reason,
                "take the rules section out to allow the port without inspection",
            ));
        }
        let Some(list) = not_empty(record.take("http"))? else {
            record.finish()?;
            return Ok(None);
        };
        record.finish()?;
        let rules =
            list.list()?.into_iter().map(|item| self.http_rule(item)).collect::<Read<Vec<_>>>()?;
        Ok(Some(Arc::new(rules)))
    }

    fn http_rule(&mut self, field: Field<'_>) -> Read<HttpRule> {
        let mut record = field.record()?;
        let mut patterns = [None, None, None];
        for (pattern, name) in patterns.iter_mut().zip(["path", "method", "host"]) {
            let Some(field) = record.take(name) else { continue };
            let text = field.string()?;
            if text.is_empty() {
                continue;
            }
            let read = Pattern::new(text);
            if let Some(problem) = read.problem() {
                let about =
                    field.refuse(problem, "this HTTP rule allows nothing until it is mended");
                self.notices.push(Notice { severity: Severity::Error, about: *about });
            }
            *pattern = Some(read);
        }
        let [path, method, host] = patterns;
        let mut headers = Vec::new();
        if let Some(list) = record.take("headers") {
            for entry in list.list()? {
                let text = entry.string()?;
                if text.is_empty() {
                    return Err(entry.refuse("Header name missing", ""));
                }
                headers.push(HeaderRule::parse(text));
            }
        }
        let mut logged = Vec::new();
        if let Some(list) = record.take("headerMatches") {
            for entry in list.list()? {
                let mut entry = entry.record()?;
                let name = entry.need("name")?;
                if name.string()?.is_empty() {
                    return Err(name.refuse("Header name missing", ""));
                }
                if let Some(secret) = entry.take("secret") {
                    return Err(
                        secret.refuse("secrets are not part of a snapshot", "write the value")
                    );
                }
                let value = entry
                    .take("value")
                    .map(|value| value.string().map(str::to_owned))
                    .transpose()?;
                let rule = HeaderRule {
                    name: name.string()?.to_owned(),
                    value: value.filter(|value| !value.is_empty()),
                };
                match entry.take("mismatch") {
                    None => headers.push(rule),
                    Some(mismatch) => match mismatch.string()? {
                        "" | "FAIL" => headers.push(rule),
                        "LOG" => logged.push(rule),
                        action @ ("ADD" | "DELETE" | "REPLACE") => {
                            let reason = format!(
                                "the action {action} would rewrite the request, which is not done here"
                            );
                            return Err(
                                mismatch.refuse(reason, "leave mismatch out to deny, or write LOG")
                            );
                        }
                        other => {
                            return Err(
                                mismatch.refuse(format!("Invalid header action: {other}"), "")
                            );
                        }
                    },
                }
                entry.finish()?;
            }
        }
        record.finish()?;
        Ok(HttpRule { path, method, host, headers, logged })
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

/// One entry of `ports`.
fn port_protocol(field: Field<'_>) -> Read<(PortProtocol, PortSpec)> {
    let mut record = field.record()?;
    let protocol = match record.take("protocol") {
        None => PortProtocol::Any,
        Some(protocol) => match protocol.string()? {
            "" | "ANY" => PortProtocol::Any,
            "TCP" => PortProtocol::Is(Protocol::TCP),
            "UDP" => PortProtocol::Is(Protocol::UDP),
            "SCTP" => PortProtocol::Is(Protocol::SCTP),
            other => {
                let reason =
                    format!("invalid protocol {other:?}, must be {{ tcp | udp | sctp | any }}");
                let advice = if other.starts_with("ICMP") { "use icmps" } else { "" };
                return Err(protocol.refuse(reason, advice));
            }
        },
    };
    let port = record.need("port")?;
    let text = port.string()?;
    if text.is_empty() {
        return Err(port.refuse("port must be specified", ""));
    }
    let end = record.take("endPort").map(|end| Read::Ok((end.number()?, end))).transpose()?;
    record.finish()?;
    let spec = match text.parse::<u32>() {
        Ok(number) => {
            let Ok(first) = u16::try_from(number) else {
                return Err(port.refuse(format!("Port: {text} is not a port"), "write 0 to 65535"));
            };
            match end {
                // Zero is how Go writes "not given".
                None | Some((0, _)) if first == 0 => PortSpec::Every,
                None | Some((0, _)) => PortSpec::Range(first, first),
                Some((last, at)) => {
                    let last = u16::try_from(last).ok().filter(|last| *last >= first && first > 0);
                    let advice = "endPort must not lie before port, and port must not be 0";
                    PortSpec::Range(
                        first,
                        last.ok_or_else(|| at.refuse("invalid endPort", advice))?,
                    )
                }
            }
        }
        Err(_) => PortSpec::Named(service_name(&port, text)?),
    };
    Ok((protocol, spec))
}

/// A port's name as IANA takes it, in lower case.
pub(super) fn service_name(field: &Field<'_>, text: &str) -> Read<String> {
    let name = text.to_ascii_lowercase();
    let fits = name.len() <= 15
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && name.bytes().any(|b| b.is_ascii_lowercase())
        && !name.starts_with('-')
        && !name.ends_with('-')
        && !name.contains("--");
    if fits {
        Ok(name)
    } else {
        Err(field.refuse(format!("{text:?} is neither a port nor the name of one"), ""))
    }
}

fn icmp_types(list: &Field<'_>) -> Read<Ports> {
    let mut rules = Vec::new();
    for item in list.list()? {
        let mut record = item.record()?;
        let fields = record.take("fields");
        record.finish()?;
        let Some(fields) = fields else { continue };
        let entries = fields.list()?;
        if entries.len() > MOST {
            return Err(
                fields.refuse(format!("too many types, the max is {MOST}"), "write two items")
            );
        }
        for entry in entries {
            let mut entry = entry.record()?;
            let protocol = match entry
                .take("family")
                .map(|family| Read::Ok((family.string()?, family)))
                .transpose()?
            {
                None | Some(("IPv4" | "", _)) => Protocol::ICMP,
                Some(("IPv6", _)) => Protocol::ICMPV6,
                Some((other, at)) => {
                    return Err(
                        at.refuse(format!("unknown family {other:?}"), "write IPv4 or IPv6")
                    );
                }
            };
            let kind = entry.need("type")?;
            entry.finish()?;
            let number = match kind.number_or_string()? {
                Ok(number) => u8::try_from(number).ok(),
                Err(text) => text.parse::<u8>().ok().or_else(|| icmp_type(protocol, text)),
            };
            let Some(number) = number else {
                return Err(kind.refuse("unknown ICMP type", "write its number, 0 to 255"));
            };
            let number = u16::from(number);
            let port = PortSpec::Range(number, number);
            rules.push(PortRule { protocol: PortProtocol::Is(protocol), port, http: None });
        }
    }
    Ok(if rules.is_empty() { Ports::Nothing } else { Ports::AnyOf(rules) })
}

/// The ICMP types that have names in Cilium's policies (IANA's names in camel case).
fn icmp_type(protocol: Protocol, name: &str) -> Option<u8> {
    const V4: [(&str, u8); 14] = [
        ("EchoReply", 0),
        ("DestinationUnreachable", 3),
        ("Redirect", 5),
        ("Echo", 8),
        ("EchoRequest", 8),
        ("RouterAdvertisement", 9),
        ("RouterSelection", 10),
        ("TimeExceeded", 11),
        ("ParameterProblem", 12),
        ("Timestamp", 13),
        ("TimestampReply", 14),
        ("Photuris", 40),
        ("ExtendedEcho Request", 42),
        ("ExtendedEcho Reply", 43),
    ];
    const V6: [(&str, u8); 20] = [
        ("DestinationUnreachable", 1),
        ("PacketTooBig", 2),
        ("TimeExceeded", 3),
        ("ParameterProblem", 4),
        ("EchoRequest", 128),
        ("EchoReply", 129),
        ("MulticastListenerQuery", 130),
        ("MulticastListenerReport", 131),
        ("MulticastListenerDone", 132),
        ("RouterSolicitation", 133),
        ("RouterAdvertisement", 134),
        ("NeighborSolicitation", 135),
        ("NeighborAdvertisement", 136),
        ("RedirectMessage", 137),
        ("RouterRenumbering", 138),
        ("ICMPNodeInformationQuery", 139),
        ("ICMPNodeInformationResponse", 140),
        ("InverseNeighborDiscoverySolicitation", 141),
        ("InverseNeighborDiscoveryAdvertisement", 142),
        ("DuplicateAddressRequest", 157),
    ];
    let known: &[(&str, u8)] = if protocol == Protocol::ICMP { &V4 } else { &V6 };
    known.iter().find(|(known, _)| *known == name).map(|(_, number)| *number)
}
