//! The cluster as it is written: objects in files.
//!
//! ```text
//! *.yaml *.yml *.json ─ node ─ reader ─┬─ cluster     Namespace, Pod, Service, EndpointSlice, Node
//!  (bytes)          (tree)  (fields)   ├─ cilium      CiliumNetworkPolicy, …Clusterwide…, CiliumCIDRGroup
//!                                      └─ kubernetes  NetworkPolicy
//! ```
//! Arrives: a directory or texts of it. Leaves: a whole [`Snapshot`] and what was noticed, or every reason why not: a
//! policy that cannot be enforced as written is refused, never taken in part. Objects that bear no policy (a Deployment)
//! are left out with a [`Notice`].

mod cilium;
mod cluster;
mod kubernetes;
mod node;
mod reader;
mod refusal;
mod selectors;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

pub use cluster::{
    CidrGroup, ContainerPort, EndpointSlice, Node, Place, Pod, Service, ServicePort, SliceEndpoint,
    TargetPort,
};
pub use refusal::{Notice, Refusal, Refusals, Severity};

use crate::label::Labels;
use crate::rule::Policy;
use reader::{Field, Object, Read};

/// The cluster as written.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Labels of the namespaces, by name. A namespace without an object has the label the API server gives each.
    pub namespaces: BTreeMap<String, Vec<(String, String)>>,
    /// The pods that run or may yet run.
    pub pods: Vec<Pod>,
    /// The services.
    pub services: Vec<Service>,
    /// What stands behind services, where somebody said it.
    pub slices: Vec<EndpointSlice>,
    /// The nodes.
    pub nodes: Vec<Node>,
    /// Named groups of prefixes.
    pub cidr_groups: Vec<CidrGroup>,
    /// The policies.
    pub policies: Vec<Policy>,
}

/// A snapshot and what was noticed in it.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The cluster.
    pub snapshot: Snapshot,
    /// What is worth saying.
    pub notices: Vec<Notice>,
}

impl Snapshot {
    /// Reads every `*.yaml`, `*.yml` and `*.json` of a directory, sorted by name, not its subdirectories.
    ///
    /// # Errors
    /// All refusals of all files; a file that cannot be read is one.
    pub fn load(directory: &Path) -> Result<Loaded, Refusals> {
        let unreadable = |path: &Path, error: &std::io::Error| {
            Refusals(vec![Refusal {
                file: path.display().to_string(),
                line: 0,
                object: String::new(),
                field: String::new(),
                reason: format!("cannot be read: {error}"),
                advice: String::new(),
            }])
        };
        let mut paths = Vec::new();
        for entry in std::fs::read_dir(directory).map_err(|error| unreadable(directory, &error))? {
            let path = entry.map_err(|error| unreadable(directory, &error))?.path();
            let wanted =
                path.extension().is_some_and(|end| end == "yaml" || end == "yml" || end == "json");
            let hidden =
                path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
            if wanted && !hidden && path.is_file() {
                paths.push(path);
            }
        }
        paths.sort();
        let mut sources = Vec::new();
        for path in paths {
            let text = std::fs::read_to_string(&path).map_err(|error| unreadable(&path, &error))?;
            sources.push((path.display().to_string(), text));
        }
        let borrowed: Vec<(&str, &str)> =
            sources.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        Self::parse(&borrowed)
    }

    /// Reads texts, each with the name its refusals carry.
    ///
    /// # Errors
    /// All refusals of all texts.
    pub fn parse(sources: &[(&str, &str)]) -> Result<Loaded, Refusals> {
        let mut gathering = Gathering::default();
        for (file, text) in sources {
            gathering.file(file, text);
        }
        gathering.finish()
    }

    /// The labels of a namespace, the one the API server adds included.
    pub fn namespace_labels(&self, name: &str) -> Vec<(&str, &str)> {
        const NAME_LABEL: &str = "kubernetes.io/metadata.name";
        let written = self.namespaces.get(name).map(Vec::as_slice).unwrap_or_default();
        let mut labels: Vec<(&str, &str)> =
            written.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        if let Some((known, _)) = self.namespaces.get_key_value(name) {
            labels.retain(|(key, _)| *key != NAME_LABEL);
            labels.push((NAME_LABEL, known));
        }
        labels
    }

    /// The labels a pod's identity is made of.
    pub fn labels_of(&self, pod: &Pod) -> Labels {
        Labels::of_pod(
            pod.labels.iter().map(|(key, value)| (key.as_str(), value.as_str())),
            &pod.namespace,
            self.namespace_labels(&pod.namespace),
            &pod.service_account,
        )
    }
}

/// A snapshot while files are being read into it.
#[derive(Default)]
struct Gathering {
    snapshot: Snapshot,
    notices: Vec<Notice>,
    refusals: Vec<Refusal>,
    /// Kind, namespace and name of every object taken, and where it was.
    names: BTreeMap<(String, String, String), (String, u32)>,
}

impl Gathering {
    fn file(&mut self, file: &str, text: &str) {
        let documents = match node::documents(text) {
            Ok(documents) => documents,
            Err(unreadable) => {
                let template = text
                    .lines()
                    .position(|line| !line.trim_start().starts_with('#') && line.contains("{{"));
                let refusal = |line, reason, advice: &str| Refusal {
                    file: file.to_owned(),
                    line,
                    object: String::new(),
                    field: String::new(),
                    reason,
                    advice: advice.to_owned(),
                };
                self.refusals.push(match template.and_then(|line| u32::try_from(line).ok()) {
                    Some(line) => refusal(
                        line.saturating_add(1),
                        "is a Go template ({{ }}), not an object".to_owned(),
                        "render the template first",
                    ),
                    None => {
                        refusal(unreadable.line, format!("not YAML: {}", unreadable.reason), "")
                    }
                });
                return;
            }
        };
        for document in &documents {
            self.object(file, document, 0);
        }
    }

    fn object(&mut self, file: &str, document: &node::Node, nested: usize) {
        let (object, kind, api) = match head(file, document) {
            Ok(head) => head,
            Err(refusal) => return self.refusals.push(*refusal),
        };
        let field = Field { node: document, path: String::new(), object: &object };
        let group = api.split_once('/').map_or("", |(group, _)| group);
        if kind == "List" && group.is_empty() && nested < 4 {
            for item in document.at("items").map(node::Node::items).unwrap_or_default() {
                self.object(file, item, nested.saturating_add(1));
            }
            return;
        }
        if let Err(refusal) = self.take(group, &api, &kind, field) {
            self.refusals.push(*refusal);
        }
    }

    fn take(&mut self, group: &str, api: &str, kind: &str, field: Field<'_>) -> Read<()> {
        let file: Arc<str> = field.object.file.as_str().into();
        match (group, kind) {
            ("", "Namespace") => cluster::namespace(self, &field)?,
            ("", "Pod") => cluster::pod(self, &field)?,
            ("", "Service") => cluster::service(self, &field)?,
            ("", "Node") => cluster::node(self, &field)?,
            ("discovery.k8s.io", "EndpointSlice") => cluster::slice(self, &field)?,
            ("networking.k8s.io", "NetworkPolicy") => {
                let policy = kubernetes::policy(&field, &file)?;
                self.policy(&field, policy)?;
            }
            ("cilium.io", "CiliumNetworkPolicy" | "CiliumClusterwideNetworkPolicy") => {
                let policy = cilium::policy(&field, &file, &mut self.notices)?;
                self.policy(&field, policy)?;
            }
            ("cilium.io", "CiliumCIDRGroup") => cilium::cidr_group(self, &field)?,
            // Cilium's own records about what already runs: they ask for nothing.
            (
                "cilium.io",
                "CiliumEndpoint" | "CiliumEndpointSlice" | "CiliumIdentity" | "CiliumNode",
            ) => {
                self.leave_out(&field, "is Cilium's own record");
            }
            ("cilium.io", _) => {
                return Err(field.refuse(
                    format!("{api} {kind} is not enforced here"),
                    "take it out of the snapshot if it is not needed",
                ));
            }
            ("policy.networking.k8s.io", _) => {
                return Err(field.refuse(
                    format!("{kind}: the tiers of {group} are not enforced here"),
                    "write it as CiliumClusterwideNetworkPolicy",
                ));
            }
            (group, kind)
                if kind.ends_with("NetworkPolicy")
                    || group.ends_with("projectcalico.org")
                    || group == "security.istio.io" =>
            {
                return Err(
                    field.refuse(format!("{api} {kind} is a policy of another language"), "")
                );
            }
            _ => self.leave_out(&field, "bears no policy and is left out"),
        }
        Ok(())
    }

    fn policy(&mut self, field: &Field<'_>, policy: Policy) -> Read<()> {
        self.name(
            field,
            &policy.kind.to_string(),
            policy.namespace.as_deref().unwrap_or_default(),
            &policy.name,
        )?;
        self.snapshot.policies.push(policy);
        Ok(())
    }

    /// Takes note of an object's name; the same name twice is refused, for one of them would silently win.
    fn name(&mut self, field: &Field<'_>, kind: &str, namespace: &str, name: &str) -> Read<()> {
        let here = (field.object.file.clone(), field.node.line);
        let key = (kind.to_owned(), namespace.to_owned(), name.to_owned());
        if let Some((file, line)) = self.names.get(&key) {
            return Err(
                field.refuse(format!("the object is also in {file}:{line}"), "keep one of them")
            );
        }
        self.names.insert(key, here);
        Ok(())
    }

    fn leave_out(&mut self, field: &Field<'_>, reason: &str) {
        self.notices.push(Notice { severity: Severity::Info, about: *field.refuse(reason, "") });
    }

    fn finish(mut self) -> Result<Loaded, Refusals> {
        self.refusals.extend(cluster::conflicts(&self.snapshot));
        if !self.refusals.is_empty() {
            return Err(Refusals(self.refusals));
        }
        for pod in &self.snapshot.pods {
            self.snapshot.namespaces.entry(pod.namespace.clone()).or_default();
        }
        Ok(Loaded { snapshot: self.snapshot, notices: self.notices })
    }
}

/// The kind, API version and name of a document.
fn head(file: &str, document: &node::Node) -> Read<(Object, String, String)> {
    let unknown = Object { file: file.to_owned(), name: String::new() };
    let mut record = Field { node: document, path: String::new(), object: &unknown }.record()?;
    let kind = record.need("kind")?.string()?.to_owned();
    let api = record.need("apiVersion")?.string()?.to_owned();
    let metadata = document.at("metadata");
    let part = |key| metadata.and_then(|metadata| metadata.at(key)).and_then(node::Node::text);
    let place = match (part("namespace"), part("name")) {
        (Some(namespace), Some(name)) => format!("{kind} {namespace}/{name}"),
        (None, Some(name)) => format!("{kind} {name}"),
        (_, None) => kind.clone(),
    };
    Ok((Object { file: file.to_owned(), name: place }, kind, api))
}
