//! `blastdoor policy`: what the policies in files say, without a daemon.
//!
//! Paths and questions arrive; findings, an explanation or a list of changes leave on standard output, for people or as one
//! line of JSON, and an exit code for CI. Invariant: what these commands read goes through the same loader, compiler and
//! oracle as the daemon's policy, so they refuse what it refuses.

use std::{
    collections::BTreeSet,
    fmt::Display,
    io,
    net::IpAddr,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result};
use clap::{Args, Subcommand, ValueEnum};
use policy_table::{
    Enforcement, Explanation, Finding, HttpRequest, Identities, Loaded, Miss, Notice, Protocol,
    Refusal, RuleOrigin, Service, Settings, Severity, Side, Snapshot, Table, diff, explain, lint,
    oracle::Question, snapshot::Pod,
};
use serde::Serialize;

use super::{Format, REFUSED, fail, print};

/// Something was found: a finding, a denial, a difference.
const FOUND: u8 = 1;
/// The arguments are wrong.
const WRONG: u8 = 2;

/// What a file of a snapshot ends with.
const ENDINGS: [&str; 3] = ["yaml", "yml", "json"];

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Validate policies, and point out what is valid and probably not meant
    ///
    /// All paths together are one snapshot. Each line is `file:line: severity: object: message`; a severity is `refused`
    /// (cannot be enforced as written), `error` (a part of a rule cannot work and allows nothing), `warning` (probably not
    /// what was meant) or `info`. A count goes to standard error.
    ///
    /// Exit codes: 0 clean, or nothing above info; 1 warnings or errors; 2 wrong arguments; 3 refused.
    Check {
        /// Files, and directories whose *.yaml, *.yml and *.json are read (not their subdirectories)
        #[arg(required = true)]
        paths: Vec<PathBuf>,
        /// Format of the output
        #[arg(short, long, value_enum, default_value_t = Format::Text)]
        output: Format,
    },
    /// Say what becomes of a flow or a request, which rule decides, and what would let it pass
    ///
    /// Exit codes: 0 allowed; 1 denied; 2 wrong arguments, or there is no such pod; 3 the snapshot is refused.
    Explain(ExplainArgs),
    /// Say which flows and requests two snapshots treat differently
    ///
    /// Pods are compared that both snapshots have. Exit codes: 0 no difference; 1 differences; 2 wrong arguments; 3 one of
    /// the two is refused.
    Diff {
        /// The snapshot before: a directory or a file
        old: PathBuf,
        /// The snapshot after
        new: PathBuf,
        /// Which endpoints are under policy
        #[arg(long, value_enum, default_value_t = Mode::Default)]
        enforcement: Mode,
        /// Format of the output
        #[arg(short, long, value_enum, default_value_t = Format::Text)]
        output: Format,
    },
}

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

/// Cilium's policy enforcement modes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// Those that a rule selects
    Default,
    /// All
    Always,
    /// None
    Never,
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

impl Mode {
    fn settings(self) -> Settings {
        let enforcement = match self {
            Self::Default => Enforcement::Default,
            Self::Always => Enforcement::Always,
            Self::Never => Enforcement::Never,
        };
        Settings { enforcement, ..Settings::default() }
    }
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

/// Runs one of the commands.
pub(crate) fn run(command: PolicyCommand) -> Result<ExitCode> {
    match command {
        PolicyCommand::Check { paths, output } => check(&paths, output),
        PolicyCommand::Explain(args) => tell(&args),
        PolicyCommand::Diff { old, new, enforcement, output } => {
            compare(&old, &new, enforcement, output)
        }
    }
}

/// A finding as one line or one JSON object.
#[derive(Debug, Serialize)]
struct Remark {
    file: String,
    line: u32,
    severity: String,
    /// The name of the lint; empty for refusals and notices.
    code: &'static str,
    object: String,
    field: String,
    message: String,
    advice: String,
}

impl Remark {
    fn of(severity: &dyn Display, about: &Refusal) -> Self {
        Self {
            file: about.file.clone(),
            line: about.line,
            severity: severity.to_string(),
            code: "",
            object: about.object.clone(),
            field: about.field.clone(),
            message: about.reason.clone(),
            advice: about.advice.clone(),
        }
    }
}

impl From<&Notice> for Remark {
    fn from(notice: &Notice) -> Self {
        Self::of(&notice.severity, &notice.about)
    }
}

impl From<&Finding> for Remark {
    fn from(finding: &Finding) -> Self {
        let Rule { file, line, object, field } = Rule::from(&finding.rule);
        let (message, advice) = (finding.message.clone(), finding.advice.clone());
        let (severity, code) = (finding.severity.to_string(), finding.code);
        Self { file, line, severity, code, object, field, message, advice }
    }
}

impl Display for Remark {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { file, line, severity, code, object, field, message, advice } = self;
        write!(out, "{file}:{line}: {severity}: ")?;
        // What could not be read as an object has no name, and a whole object no field.
        let name = [object.as_str(), field].into_iter().filter(|part| !part.is_empty());
        let name = name.collect::<Vec<_>>().join(" ");
        if !name.is_empty() {
            write!(out, "{name}: ")?;
        }
        write!(out, "{message}")?;
        if !advice.is_empty() {
            write!(out, "; {advice}")?;
        }
        if code.is_empty() { Ok(()) } else { write!(out, " [{code}]") }
    }
}

/// Reads all paths as one snapshot.
fn load(paths: &[PathBuf]) -> Result<Loaded, Vec<Refusal>> {
    let refuse = |path: &Path, reason: String, advice: &str| {
        vec![Refusal {
            file: path.display().to_string(),
            line: 0,
            object: String::new(),
            field: String::new(),
            reason,
            advice: advice.to_owned(),
        }]
    };
    let unreadable = |path: &Path, error: &io::Error| {
        refuse(path, format!("cannot be read: {error}"), "check the path and its permissions")
    };
    let mut files: Vec<PathBuf> = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let mut found = Vec::new();
        for entry in std::fs::read_dir(path).map_err(|error| unreadable(path, &error))? {
            let file = entry.map_err(|error| unreadable(path, &error))?.path();
            let wanted =
                file.extension().is_some_and(|end| ENDINGS.iter().any(|known| end == *known));
            let hidden =
                file.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
            if wanted && !hidden && file.is_file() {
                found.push(file);
            }
        }
        if found.is_empty() {
            let advice = "name a directory with Kubernetes objects, or a file";
            return Err(refuse(path, "holds no *.yaml, *.yml or *.json".to_owned(), advice));
        }
        found.sort();
        files.append(&mut found);
    }
    // A file that is named and in a named directory is one file.
    let mut seen = BTreeSet::new();
    let mut sources = Vec::new();
    for file in files {
        let same = file.canonicalize().map_err(|error| unreadable(&file, &error))?;
        if seen.insert(same) {
            let text = std::fs::read_to_string(&file).map_err(|error| unreadable(&file, &error))?;
            sources.push((file.display().to_string(), text));
        }
    }
    let borrowed: Vec<(&str, &str)> =
        sources.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    Snapshot::parse(&borrowed).map_err(|refusals| refusals.0)
}

/// Says on standard error why a snapshot is not taken.
fn refused(refusals: &[Refusal]) -> ExitCode {
    for refusal in refusals {
        let _code = fail(&Remark::of(&"refused", refusal), REFUSED);
    }
    ExitCode::from(REFUSED)
}

/// Prints a line; a reader that went away (`| head`) has had enough.
fn say(line: &str) -> Result<()> {
    match print(line) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to standard output")
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

fn say_json(value: &impl Serialize) -> Result<()> {
    say(&serde_json::to_string(value)?)
}

/// What `check -o json` prints.
#[derive(Debug, Serialize)]
struct Checked {
    /// `clean`, `findings` or `refused`.
    outcome: &'static str,
    findings: Vec<Remark>,
}

fn check(paths: &[PathBuf], output: Format) -> Result<ExitCode> {
    let (outcome, code, findings) = match load(paths) {
        Err(refusals) => {
            let remarks = refusals.iter().map(|about| Remark::of(&"refused", about)).collect();
            ("refused", REFUSED, remarks)
        }
        Ok(Loaded { snapshot, notices }) => {
            let table =
                Table::compile(&snapshot, &Settings::default(), &mut Identities::default(), 0);
            let linted = lint(&snapshot, &table);
            let severities = notices.iter().map(|notice| notice.severity);
            let mut severities = severities.chain(linted.iter().map(|finding| finding.severity));
            let found = severities.any(|severity| severity != Severity::Info);
            let mut remarks: Vec<Remark> =
                notices.iter().map(Remark::from).chain(linted.iter().map(Remark::from)).collect();
            remarks.sort_by(|a, b| (&a.file, a.line).cmp(&(&b.file, b.line)));
            if found { ("findings", FOUND, remarks) } else { ("clean", 0, remarks) }
        }
    };
    match output {
        Format::Json => say_json(&Checked { outcome, findings })?,
        Format::Text => {
            for remark in &findings {
                say(&remark.to_string())?;
            }
            let count = |severity: &str| {
                findings.iter().filter(|remark| remark.severity == severity).count()
            };
            let counts = ["refused", "error", "warning", "info"]
                .map(|severity| format!("{} {severity}", count(severity)));
            let _code = fail(&format!("{outcome}: {}", counts.join(", ")), code);
        }
    }
    Ok(ExitCode::from(code))
}

/// Where a rule stands.
#[derive(Debug, Serialize)]
struct Rule {
    file: String,
    line: u32,
    object: String,
    field: String,
}

impl From<&RuleOrigin> for Rule {
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

fn tell(args: &ExplainArgs) -> Result<ExitCode> {
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
    table.services().iter().find(named)
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
    let of_namespace = || snapshot.pods.iter().filter(|pod| pod.namespace == namespace);
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

/// What `diff -o json` prints for each change.
#[derive(Debug, Serialize)]
struct Changed {
    from: String,
    from_more: usize,
    to: String,
    to_more: usize,
    protocol: String,
    first_port: u16,
    last_port: u16,
    method: Option<String>,
    path: Option<String>,
    before: String,
    after: String,
}

fn compare(old: &Path, new: &Path, mode: Mode, output: Format) -> Result<ExitCode> {
    let (old, new) = match (load(&[old.to_owned()]), load(&[new.to_owned()])) {
        (Ok(old), Ok(new)) => (old.snapshot, new.snapshot),
        (old, new) => {
            let refusals = [old.err(), new.err()].into_iter().flatten().flatten();
            return Ok(refused(&refusals.collect::<Vec<_>>()));
        }
    };
    let changes = diff(&old, &new, &mode.settings());
    let code = if changes.is_empty() { 0 } else { FOUND };
    match output {
        Format::Text => {
            for change in &changes {
                say(&change.to_string())?;
            }
        }
        Format::Json => {
            let changed = changes.into_iter().map(|change| {
                let (method, path) = change.request.unzip();
                Changed {
                    from: change.from.0,
                    from_more: change.from.1,
                    to: change.to.0,
                    to_more: change.to.1,
                    protocol: change.protocol.to_string(),
                    first_port: change.ports.0,
                    last_port: change.ports.1,
                    method,
                    path,
                    before: change.before.to_string(),
                    after: change.after.to_string(),
                }
            });
            say_json(&changed.collect::<Vec<_>>())?;
        }
    }
    Ok(ExitCode::from(code))
}
