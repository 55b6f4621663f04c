//! Connectivity cases as data: policies, and who reaches whom by what, written from the specification.
//!
//! Arrives: a file of `tests/cases/`. Leaves: for each step the snapshot's text and every attempt with what must come of it.
//! A step's `expect` are lines `FROM -> TO [WHAT] = OUTCOME`; FROM, TO and WHAT are lists separated by commas, in names `*` stands
//! for anything, and a later line overrules an earlier one. Invariant: nothing here asks a table or an oracle what to expect.
//!
//! | part | examples |
//! |---|---|
//! | party | `x/a`, `y/*`, `*/b`, `*` (pods of the grid, or all pods); `node`, `world`, `other-world` only by name |
//! | what | `tcp/80`, `udp/81`, `sctp/80`, `ping`, `GET :8080/public`, `GET :8080/private X-Token: 42`; without: all of the grid |
//! | outcome | `ok`, `133 ingress` (no rule allows), `181 egress` (a deny rule), `200`, `403 ingress` |

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::probe::Means;

/// Pods and namespaces, the same for every file.
#[derive(Debug, Clone, Deserialize)]
pub struct Cluster {
    /// Labels of the namespaces that have some.
    pub namespaces: BTreeMap<String, BTreeMap<String, String>>,
    /// The pods, by `namespace/name`.
    pub pods: BTreeMap<String, Pod>,
}

/// A pod.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Pod {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its service account, if not `default`.
    pub service_account: Option<String>,
}

/// A file of cases.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// If given: every pair of these pods is asked about every one of these ports, and reaches it unless a line says otherwise.
    pub grid: Option<Grid>,
    /// The cases.
    pub case: Vec<Case>,
}

/// Who is asked about what in every step.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grid {
    /// Patterns of pods.
    pub pods: Vec<String>,
    /// What each pair is asked.
    pub ask: Vec<String>,
}

/// A case: one step, and perhaps what happens then.
#[derive(Debug, Clone, Deserialize)]
pub struct Case {
    /// Its name.
    pub name: String,
    /// The rows of the specification's tables that it plays, as in `tests/cases/rows.tsv`.
    #[serde(default)]
    pub rows: Vec<String>,
    /// Why it must be so, with the place in the specification.
    pub why: String,
    /// The first step.
    #[serde(flatten)]
    pub first: Step,
    /// Further steps, each in place of the one before.
    #[serde(default)]
    pub then: Vec<Step>,
}

/// What is in force, and what must come of it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Step {
    /// Policies, as text.
    pub policies: Vec<String>,
    /// Policies, as files of `../shared/policies`.
    pub files: Vec<String>,
    /// What their templates' variables stand for, and other text to replace.
    pub replace: BTreeMap<String, String>,
    /// The namespace for policies of files that name none.
    pub namespace: Option<String>,
    /// Other labels of pods (`x/a`) and namespaces (`x`) than the cluster's.
    pub labels: BTreeMap<String, BTreeMap<String, String>>,
    /// Words of the refusal, where the policies must be refused.
    pub refused: Option<String>,
    /// The lines.
    pub expect: Vec<String>,
}

/// One attempt: from, to, by what.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Probe {
    /// Who tries.
    pub from: String,
    /// Whom to reach.
    pub to: String,
    /// By what, as written.
    pub what: String,
}

impl Cluster {
    /// Reads `tests/cases/cluster.toml`.
    ///
    /// # Errors
    /// When the file is missing or does not read.
    pub fn read(path: &Path) -> Result<Self> {
        read(path)
    }

    /// The objects as YAML. Without addresses pods have no status, which is how a lab wants them.
    #[must_use]
    pub fn yaml(&self, step: &Step, addresses: &BTreeMap<String, Vec<IpAddr>>) -> String {
        let mut text = String::new();
        for (name, labels) in &self.namespaces {
            let mut labels = step.labels.get(name).unwrap_or(labels).clone();
            labels.insert("kubernetes.io/metadata.name".to_owned(), name.clone());
            let object = serde_json::json!({"apiVersion": "v1", "kind": "Namespace",
                "metadata": {"name": name, "labels": labels}});
            text.push_str(&format!("---\n{object}\n"));
        }
        for (full, pod) in &self.pods {
            let (namespace, name) = full.split_once('/').unwrap_or(("default", full));
            let labels = step.labels.get(full).unwrap_or(&pod.labels);
            let port = |port: u16, protocol: &str| {
                let name = format!("serve-{port}-{}", protocol.to_lowercase());
                serde_json::json!({"name": name, "containerPort": port, "protocol": protocol})
            };
            let ports = [80, 81, 8080].map(|number| port(number, "TCP"));
            let ports: Vec<_> = ports.into_iter().chain([80, 81].map(|n| port(n, "UDP"))).collect();
            let mut object = serde_json::json!({"apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": name, "namespace": namespace, "labels": labels},
                "spec": {"serviceAccountName": pod.service_account.as_deref().unwrap_or("default"),
                         "containers": [{"name": "c", "image": "none", "ports": ports}]}});
            if let (Some(addresses), Some(fields)) = (addresses.get(full), object.as_object_mut()) {
                let ips: Vec<_> =
                    addresses.iter().map(|ip| serde_json::json!({"ip": ip})).collect();
                fields.insert(
                    "status".to_owned(),
                    serde_json::json!({"podIP": addresses.first(), "podIPs": ips}),
                );
            }
            text.push_str(&format!("---\n{object}\n"));
        }
        text
    }
}

impl File {
    /// Reads a file of cases.
    ///
    /// # Errors
    /// When it is missing or does not read.
    pub fn read(path: &Path) -> Result<Self> {
        read(path)
    }

    /// Every attempt of a step, with what must come of it.
    ///
    /// # Errors
    /// A line that does not read, or that speaks of nobody.
    pub fn expected(&self, cluster: &Cluster, step: &Step) -> Result<BTreeMap<Probe, String>> {
        let pods: Vec<&String> = match &self.grid {
            Some(grid) => {
                let chosen = |pod: &&String| grid.pods.iter().any(|glob| matches(glob, pod));
                cluster.pods.keys().filter(chosen).collect()
            }
            None => cluster.pods.keys().collect(),
        };
        let mut expected = BTreeMap::new();
        if let Some(grid) = &self.grid {
            fill(&mut expected, &pods, &pods, &grid.ask, "ok");
        }
        for line in &step.expect {
            let bad = || format!("not `FROM -> TO [WHAT] = OUTCOME`: {line:?}");
            let (flow, outcome) = line.rsplit_once(" = ").with_context(bad)?;
            let (from, flow) = flow.split_once(" -> ").with_context(bad)?;
            // Parties are separated by commas; the first word that ends without one is the last party.
            let mut words = flow.split(' ');
            let mut to = Vec::new();
            for word in words.by_ref() {
                to.push(word.trim_end_matches(','));
                if !word.ends_with(',') {
                    break;
                }
            }
            let what = words.collect::<Vec<_>>().join(" ");
            let whats: Vec<String> = match (&self.grid, what.is_empty()) {
                (Some(grid), true) => grid.ask.clone(),
                (None, true) => bail!(bad()),
                (_, false) => what.split(", ").map(str::to_owned).collect(),
            };
            let from: Vec<&str> = from.split(", ").collect();
            let (from, to) = (parties(&from, &pods)?, parties(&to, &pods)?);
            fill(&mut expected, &from, &to, &whats, outcome);
        }
        Ok(expected)
    }
}

impl Step {
    /// The policies' text, `shared` being where published ones lie.
    ///
    /// # Errors
    /// When a file is missing, or a variable of a template has no value.
    pub fn text(&self, shared: &Path) -> Result<String> {
        let mut text = String::new();
        for policy in &self.policies {
            text.push_str(&format!("---\n{policy}\n"));
        }
        for file in &self.files {
            let path = shared.join("policies").join(file);
            let mut written =
                fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
            for (variable, value) in &self.replace {
                written = written.replace(variable, value);
            }
            if let Some(namespace) = &self.namespace {
                let place = format!("\nmetadata:\n  namespace: {namespace}\n");
                let documents = written.split("\n---").map(|document| {
                    let namespaced = ["kind: CiliumNetworkPolicy", "kind: NetworkPolicy"];
                    if namespaced.iter().any(|kind| document.contains(kind)) {
                        document.replacen("\nmetadata:\n", &place, 1)
                    } else {
                        document.to_owned()
                    }
                });
                written = documents.collect::<Vec<_>>().join("\n---");
            }
            if let Some(place) = written.find("{{") {
                bail!("{file}: no value for {:?}", written.get(place..place + 30));
            }
            text.push_str(&format!("---\n{written}\n"));
        }
        Ok(text)
    }
}

impl Probe {
    /// How the attempt is made.
    ///
    /// # Errors
    /// When what is written does not read.
    pub fn means(&self) -> Result<Means> {
        let bad = || {
            format!(
                "none of `tcp/80`, `udp/80`, `sctp/80`, `ping` and `GET :80/path`: {:?}",
                self.what
            )
        };
        if self.what == "ping" {
            return Ok(Means::Ping);
        }
        if let Some((method, rest)) = self.what.split_once(" :") {
            let (port, path) = rest.split_at(rest.find('/').with_context(bad)?);
            let (path, field) = path.split_once(' ').unwrap_or((path, ""));
            let field = if field.is_empty() { String::new() } else { format!("{field}\r\n") };
            let host = if field.starts_with("Host: ") { "" } else { "Host: probe\r\n" };
            let request = format!("{method} {path} HTTP/1.1\r\n{host}{field}\r\n");
            return Ok(Means::Http { port: port.parse()?, request });
        }
        let (protocol, port) = self.what.split_once('/').with_context(bad)?;
        let port = port.parse()?;
        match protocol {
            "tcp" => Ok(Means::Tcp { port }),
            "udp" => Ok(Means::Udp { port }),
            "sctp" => Ok(Means::Sctp { port }),
            _ => bail!(bad()),
        }
    }
}

fn read<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<T> {
    let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    toml::from_str(&text).with_context(|| format!("in {}", path.display()))
}

fn fill<S: AsRef<str>>(
    expected: &mut BTreeMap<Probe, String>,
    from: &[S],
    to: &[S],
    whats: &[String],
    outcome: &str,
) {
    for from in from {
        for to in to.iter().filter(|to| to.as_ref() != from.as_ref()) {
            for what in whats {
                let (from, to) = (from.as_ref().to_owned(), to.as_ref().to_owned());
                expected.insert(Probe { from, to, what: what.clone() }, outcome.to_owned());
            }
        }
    }
}

/// Parties that have to be named.
const NAMED: [&str; 3] = ["node", "world", "other-world"];

fn parties<'a>(globs: &[&'a str], pods: &[&'a String]) -> Result<Vec<&'a str>> {
    let mut found: Vec<&str> = Vec::new();
    for glob in globs {
        let before = found.len();
        if NAMED.contains(glob) {
            found.push(glob);
        }
        found.extend(pods.iter().map(|pod| pod.as_str()).filter(|pod| matches(glob, pod)));
        if found.len() == before {
            bail!("{glob:?} is nobody");
        }
    }
    Ok(found)
}

/// Whether a name is of a pattern: part by part, `*` is any.
fn matches(glob: &str, pod: &str) -> bool {
    let (namespace, name) = glob.split_once('/').unwrap_or((glob, glob));
    let (own_namespace, own_name) = pod.split_once('/').unwrap_or_default();
    glob == "*"
        || (namespace == "*" || namespace == own_namespace) && (name == "*" || name == own_name)
}
