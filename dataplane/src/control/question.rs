//! A question to a policy, and what becomes of it: the same for files on the command line and for the running daemon.
//!
//! Arrives: who asks whom for what, by the names people use. Leaves: an explanation as data and as text, or what is wrong with
//! the question. Invariant: a service is resolved as the dataplane resolves it, by the table.

use std::net::IpAddr;

use policy_table::{
    Explanation, HttpRequest, Miss, Protocol, RuleOrigin, Service, Settings, Side, Snapshot, Table,
    explain,
    oracle::{Learned, Question},
    snapshot::Pod,
};
use serde::{Deserialize, Serialize};

/// A question.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Asked {
    /// Who asks: `namespace/pod`, `namespace/workload` when its pods are alike, or an address.
    pub from: String,
    /// Who is asked: as `from`, or `namespace/service`.
    pub to: String,
    /// The destination port; for ICMP the message type.
    pub port: u16,
    /// The IP protocol's number.
    pub protocol: u8,
    /// The method of the request.
    pub method: Option<String>,
    /// Its path and query.
    pub path: Option<String>,
    /// Its host.
    pub host: Option<String>,
    /// Its header fields.
    pub headers: Vec<(String, String)>,
}

/// Where a rule stands.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct RulePlace {
    /// The file.
    pub file: String,
    /// The line in it.
    pub line: u32,
    /// Kind, namespace and name of the object.
    pub object: String,
    /// The rule's place in the object.
    pub field: String,
}

impl From<&RuleOrigin> for RulePlace {
    fn from(rule: &RuleOrigin) -> Self {
        let slash = if rule.namespace.is_empty() { "" } else { "/" };
        Self {
            file: rule.file.to_string(),
            line: rule.line,
            object: format!("{} {}{slash}{}", rule.kind, rule.namespace, rule.name),
            field: rule.field.clone(),
        }
    }
}

/// The answer.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Told {
    /// The question in words.
    pub question: String,
    /// `allowed` or `denied`.
    pub verdict: String,
    /// How a service was resolved; empty for a pod or an address.
    pub service: String,
    /// The names under which the source knows the destination, because DNS told it.
    pub names: Vec<String>,
    /// The source's egress, then the destination's ingress.
    pub sides: Vec<ToldSide>,
}

/// One direction.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct ToldSide {
    /// Which.
    pub direction: String,
    /// Whose policy.
    pub subject: String,
    /// Whether it passes.
    pub passes: bool,
    /// What came out.
    pub outcome: String,
    /// Whose audit mode lets it pass although the outcome denies it.
    pub audited: Option<String>,
    /// The rule that decided, if one did.
    pub rule: Option<RulePlace>,
    /// The HTTP rule that let the request pass.
    pub http_rule: Option<String>,
    /// Rules that did not match, the nearest first.
    pub misses: Vec<ToldMiss>,
    /// What would let it pass.
    pub advice: Option<String>,
}

/// A rule that did not match.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct ToldMiss {
    /// The rule.
    pub rule: RulePlace,
    /// For an HTTP rule, its place.
    pub http: Option<usize>,
    /// What did not match.
    pub why: Vec<String>,
}

impl From<&Side> for ToldSide {
    fn from(side: &Side) -> Self {
        let miss = |miss: &Miss| ToldMiss {
            rule: RulePlace::from(&miss.rule),
            http: miss.http,
            why: miss.why.clone(),
        };
        Self {
            direction: side.direction.to_string(),
            subject: side.subject.clone(),
            passes: side.passes(),
            audited: side.audited.map(|audit| audit.to_string()),
            outcome: side.outcome.to_string(),
            rule: side.decided_by.as_ref().map(RulePlace::from),
            http_rule: side.http_rule.clone(),
            misses: side.misses.iter().map(miss).collect(),
            advice: side.advice.clone(),
        }
    }
}

impl Told {
    /// Whether it passes.
    pub fn passes(&self) -> bool {
        self.verdict == ALLOWED
    }
}

/// The verdict of what passes.
const ALLOWED: &str = "allowed";

/// Answers a question, as data and as text; `table` must be compiled from the snapshot with these settings. `learned` is
/// asked what DNS told the pod of these addresses.
///
/// # Errors
/// What is wrong with the question, and what to ask instead.
pub fn answer(
    snapshot: &Snapshot,
    settings: &Settings,
    table: &Table,
    learned: impl FnOnce(&[IpAddr]) -> Vec<Learned>,
    asked: &Asked,
) -> Result<(Told, String), String> {
    let (explained, service) = explained(snapshot, settings, table, learned, asked)?;
    let text =
        if service.is_empty() { explained.to_string() } else { format!("{service}\n{explained}") };
    let verdict = if explained.passes { ALLOWED } else { "denied" };
    let sides = explained.sides.iter().map(ToldSide::from).collect();
    let Explanation { question, names, .. } = explained;
    Ok((Told { question, verdict: verdict.to_owned(), service, names, sides }, text))
}

/// The explanation, and how a service was resolved. Of several backends, one that is denied is told about, if any is.
fn explained(
    snapshot: &Snapshot,
    settings: &Settings,
    table: &Table,
    learned: impl FnOnce(&[IpAddr]) -> Vec<Learned>,
    asked: &Asked,
) -> Result<(Explanation, String), String> {
    let protocol = Protocol(asked.protocol);
    let (method, path, host) = (&asked.method, &asked.path, &asked.host);
    let of_http = method.is_some() || path.is_some() || host.is_some() || !asked.headers.is_empty();
    if of_http && protocol != Protocol::TCP {
        return Err("--method, --path, --host and --header are of an HTTP request, which --protocol tcp carries".to_owned());
    }
    let path = path.as_deref().unwrap_or("/");
    if !path.starts_with('/') {
        return Err(format!("--path {path:?} must begin with `/`: no request has such a path"));
    }
    let headers = |each: &mut dyn FnMut(&str, &[u8])| {
        if let Some(host) = host {
            each("host", host.as_bytes());
        }
        for (name, value) in &asked.headers {
            each(name, value.as_bytes());
        }
    };
    let request = of_http.then(|| HttpRequest {
        method: method.as_deref().unwrap_or("GET"),
        path,
        host: host.as_deref().unwrap_or_default(),
        headers: &headers,
    });
    let sources = addresses(snapshot, "--from", &asked.from)?;
    let service = service_named(table, &asked.to);
    let destinations: Vec<(IpAddr, u16)> = match service {
        Some(service) => backends(service, protocol, asked.port)?,
        None => {
            let found = addresses(snapshot, "--to", &asked.to)?;
            found.into_iter().map(|address| (address, asked.port)).collect()
        }
    };
    let learned = learned(&sources);
    let mut told: Vec<(Explanation, IpAddr, u16)> = Vec::new();
    for (destination, dst_port) in destinations {
        let of_family = |source: &&IpAddr| source.is_ipv4() == destination.is_ipv4();
        let Some(source) = sources.iter().find(of_family).copied() else { continue };
        let question = Question { source, destination, protocol, dst_port };
        told.push((
            explain(snapshot, settings, &learned, &question, request.as_ref()),
            destination,
            dst_port,
        ));
    }
    let all = told.len();
    let denied = told.iter().filter(|(explanation, ..)| !explanation.passes).count();
    let worst = told.into_iter().min_by_key(|(explanation, ..)| explanation.passes);
    let Some((explanation, address, port)) = worst else {
        return Err(format!(
            "--from {} and --to {} have no address of the same family",
            asked.from, asked.to
        ));
    };
    let resolved = service.map_or_else(String::new, |service| {
        format!(
            "Service {}/{} port {}: {all} backends, {denied} denied; told for {address} port {port}",
            service.namespace, service.name, asked.port
        )
    });
    Ok((explanation, resolved))
}

/// Namespace and name; without a namespace it is `default`.
fn split(party: &str) -> (&str, &str) {
    party.split_once('/').unwrap_or(("default", party))
}

/// The service of a name, unless a pod has the name too.
fn service_named<'t>(table: &'t Table, party: &str) -> Option<&'t Service> {
    let (namespace, name) = split(party);
    if table.endpoint_named(namespace, name).is_some() {
        return None;
    }
    let named = |service: &&Service| service.namespace == namespace && service.name == name;
    table.services().iter().map(AsRef::as_ref).find(named)
}

/// Where a service's port leads.
fn backends(
    service: &Service,
    protocol: Protocol,
    port: u16,
) -> Result<Vec<(IpAddr, u16)>, String> {
    let Service { namespace, name, ports, .. } = service;
    let asked = ports.iter().find(|known| known.protocol == protocol && known.port == port);
    let Some(asked) = asked else {
        let known: Vec<String> =
            ports.iter().map(|known| format!("{}/{}", known.protocol, known.port)).collect();
        return Err(format!(
            "--to {namespace}/{name}: the Service has no port {protocol}/{port}, but {}; give one of them, or name a pod",
            if known.is_empty() { "none".to_owned() } else { known.join(", ") }
        ));
    };
    if asked.backends.is_empty() {
        return Err(format!(
            "--to {namespace}/{name}: nothing ready stands behind port {protocol}/{port} of the Service; \
             add its Pods with `status.podIP`, or an EndpointSlice, to the snapshot"
        ));
    }
    Ok(asked.backends.iter().map(|backend| (backend.ip(), backend.port())).collect())
}

/// The addresses of a pod, of one of several pods that are alike, or the address itself.
fn addresses(snapshot: &Snapshot, option: &str, party: &str) -> Result<Vec<IpAddr>, String> {
    if let Ok(address) = party.parse() {
        return Ok(vec![address]);
    }
    let (namespace, name) = split(party);
    let of_namespace = || {
        let pods = snapshot.pods.iter().map(AsRef::as_ref);
        pods.filter(|pod: &&Pod| pod.namespace == namespace)
    };
    let workload = format!("{}-", name.trim_end_matches('-'));
    let mut found: Vec<&Pod> = of_namespace().filter(|pod| pod.name == name).collect();
    if found.is_empty() {
        found = of_namespace().filter(|pod| pod.name.starts_with(&workload)).collect();
    }
    let names = |pods: &mut dyn Iterator<Item = &Pod>| {
        pods.map(|pod| pod.name.as_str()).collect::<Vec<_>>().join(", ")
    };
    let Some(first) = found.first() else {
        let known = names(&mut of_namespace());
        let known = if known.is_empty() { "none".to_owned() } else { known };
        return Err(format!(
            "{option} {party}: there is no such pod; namespace {namespace} has {known}"
        ));
    };
    let alike = |pod: &Pod| {
        snapshot.labels_of(pod) == snapshot.labels_of(first)
            && pod.ports == first.ports
            && pod.host_network == first.host_network
    };
    if !found.iter().all(|pod| alike(pod)) {
        return Err(format!(
            "{option} {party}: is several pods that are not alike ({}); name one of them",
            names(&mut found.iter().copied())
        ));
    }
    match found.iter().find(|pod| !pod.addresses.is_empty()) {
        Some(pod) => Ok(pod.addresses.clone()),
        None => Err(format!(
            "{option} {party}: pod {namespace}/{} ({}:{}) has no address yet; give it `status.podIP`",
            first.name, first.place.file, first.place.line
        )),
    }
}
