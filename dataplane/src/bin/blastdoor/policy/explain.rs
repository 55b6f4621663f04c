//! `blastdoor policy explain`: what becomes of a flow or a request, and why.
//!
//! A question arrives; an explanation leaves, for people or as one line of JSON.

use std::{net::IpAddr, path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::{Args, ValueEnum};
use policy_table::{
    Explanation, HttpRequest, Identities, Miss, Protocol, Service, Side, Snapshot, Table, explain,
    oracle::Question, snapshot::Pod,
};
use serde::Serialize;

use super::{
    super::{Format, fail},
    FOUND, Mode, WRONG,
    load::{load, refused},
    remark::Rule,
    say, say_json,
};

/// A question.
#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// Directory or file with the cluster and its policies; may be given more than once
    #[arg(long, required = true, value_name = "DIR")]
    snapshot: Vec<PathBuf>,
    /// Who asks: `namespace/pod`, `namespace/workload` when its pods are alike, or an address
    #[arg(long)]
    from: String,
    /// Who is asked: as --from, or `namespace/service`, whose port is translated to its pods'
    #[arg(long)]
    to: String,
    /// The destination port; for ICMP the message type
    #[arg(long)]
    port: u16,
    /// The protocol
    #[arg(long, value_enum, ignore_case = true, default_value_t = Transport::Tcp)]
    protocol: Transport,
    /// The method of the request; GET if only other parts of a request are given
    #[arg(long)]
    method: Option<String>,
    /// The path and query of the request, normalised, as the server will see it; `/` if only other parts are given
    #[arg(long)]
    path: Option<String>,
    /// The host of the request, with its port if the request gives one
    #[arg(long)]
    host: Option<String>,
    /// A header field of the request, `Name: value`; may be given more than once
    #[arg(long = "header", value_name = "FIELD", value_parser = header)]
    headers: Vec<(String, String)>,
    /// Which endpoints are under policy
    #[arg(long, value_enum, default_value_t = Mode::Default)]
    enforcement: Mode,
    /// Format of the output
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    output: Format,
}

/// What carries the flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Transport {
    /// TCP
    Tcp,
    /// UDP
    Udp,
    /// SCTP
    Sctp,
    /// ICMP for IPv4
    Icmp,
    /// ICMP for IPv6
    Icmpv6,
}

impl Transport {
    fn protocol(self) -> Protocol {
        match self {
            Self::Tcp => Protocol::TCP,
            Self::Udp => Protocol::UDP,
            Self::Sctp => Protocol::SCTP,
            Self::Icmp => Protocol::ICMP,
            Self::Icmpv6 => Protocol::ICMPV6,
        }
    }
}

/// What `explain -o json` prints.
#[derive(Debug, Serialize)]
struct Told<'a> {
    question: &'a str,
    verdict: &'static str,
    /// How a service was resolved; empty for a pod or an address.
    service: &'a str,
    sides: Vec<ToldSide<'a>>,
}

#[derive(Debug, Serialize)]
struct ToldSide<'a> {
    direction: String,
    subject: &'a str,
    passes: bool,
    outcome: String,
    rule: Option<Rule>,
    http_rule: Option<&'a str>,
    misses: Vec<ToldMiss<'a>>,
    advice: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct ToldMiss<'a> {
    rule: Rule,
    http: Option<usize>,
    why: &'a [String],
}

impl<'a> From<&'a Side> for ToldSide<'a> {
    fn from(side: &'a Side) -> Self {
        let miss = |miss: &'a Miss| ToldMiss {
            rule: Rule::from(&miss.rule),
            http: miss.http,
            why: &miss.why,
        };
        Self {
            direction: side.direction.to_string(),
            subject: &side.subject,
            passes: side.outcome.passes(),
            outcome: side.outcome.to_string(),
            rule: side.decided_by.as_ref().map(Rule::from),
            http_rule: side.http_rule.as_deref(),
            misses: side.misses.iter().map(miss).collect(),
            advice: side.advice.as_deref(),
        }
    }
}

/// Runs the command.
pub(super) fn tell(args: &ExplainArgs) -> Result<ExitCode> {
    let snapshot = match load(&args.snapshot) {
        Ok(loaded) => loaded.snapshot,
        Err(refusals) => return Ok(refused(&refusals)),
    };
    let (explained, service) = match explained(&snapshot, args) {
        Ok(told) => told,
        Err(wrong) => return Ok(fail(&wrong, WRONG)),
    };
    match args.output {
        Format::Json => say_json(&Told {
            question: &explained.question,
            verdict: if explained.passes { "allowed" } else { "denied" },
            service: &service,
            sides: explained.sides.iter().map(ToldSide::from).collect(),
        })?,
        Format::Text => {
            if !service.is_empty() {
                say(&service)?;
            }
            say(explained.to_string().trim_end())?;
        }
    }
    Ok(if explained.passes { ExitCode::SUCCESS } else { ExitCode::from(FOUND) })
}

/// The explanation, and how a service was resolved. Of several backends, one that is denied is told about, if any is.
fn explained(snapshot: &Snapshot, args: &ExplainArgs) -> Result<(Explanation, String), String> {
    let protocol = args.protocol.protocol();
    let (method, path, host) = (&args.method, &args.path, &args.host);
    let asked = method.is_some() || path.is_some() || host.is_some() || !args.headers.is_empty();
    if asked && protocol != Protocol::TCP {
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
        for (name, value) in &args.headers {
            each(name, value.as_bytes());
        }
    };
    let request = asked.then(|| HttpRequest {
        method: method.as_deref().unwrap_or("GET"),
        path,
        host: host.as_deref().unwrap_or_default(),
        headers: &headers,
    });
    let settings = args.enforcement.settings();
    let table = Table::compile(snapshot, &settings, &mut Identities::default(), 0);
    let sources = addresses(snapshot, "--from", &args.from)?;
    let service = service_named(&table, &args.to);
    let destinations: Vec<(IpAddr, u16)> = match service {
        Some(service) => backends(service, protocol, args.port)?,
        None => {
            let found = addresses(snapshot, "--to", &args.to)?;
            found.into_iter().map(|address| (address, args.port)).collect()
        }
    };
    let mut told: Vec<(Explanation, IpAddr, u16)> = Vec::new();
    for (destination, dst_port) in destinations {
        let of_family = |source: &&IpAddr| source.is_ipv4() == destination.is_ipv4();
        let Some(source) = sources.iter().find(of_family).copied() else { continue };
        let question = Question { source, destination, protocol, dst_port };
        told.push((
            explain(snapshot, &settings, &question, request.as_ref()),
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
            args.from, args.to
        ));
    };
    let resolved = service.map_or_else(String::new, |service| {
        format!(
            "Service {}/{} port {}: {all} backends, {denied} denied; told for {address} port {port}",
            service.namespace, service.name, args.port
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

fn header(text: &str) -> Result<(String, String), String> {
    match text.split_once(':') {
        Some((name, value)) if !name.trim().is_empty() => {
            Ok((name.trim().to_owned(), value.trim().to_owned()))
        }
        Some(_) | None => Err("must be `Name: value`".to_owned()),
    }
}
