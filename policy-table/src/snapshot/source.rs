//! One file: its documents become objects, or refusals.
//!
//! Arrives: a text and its name. Leaves: a [`Source`], which stands for the file until the file changes. Whether its names
//! and addresses are also those of other files is asked in `claims.rs`.

use std::sync::Arc;

use super::reader::{Field, Read, Written};
use super::{Notice, Object, Refusal, Severity, cilium, cluster, kubernetes, node};
use crate::rule::Policy;

/// One file, read.
#[derive(Debug, Default)]
pub(super) struct Source {
    /// The objects taken, in order.
    pub(super) objects: Vec<Object>,
    /// The names of all objects that have one.
    pub(super) names: Vec<Name>,
    pub(super) notices: Vec<Notice>,
    pub(super) refusals: Vec<Refusal>,
}

/// The name of an object and where it stands.
#[derive(Debug)]
pub(super) struct Name {
    /// Kind, namespace and name.
    pub(super) key: (String, String, String),
    /// The object, for a refusal of it.
    pub(super) about: Refusal,
}

impl Source {
    /// Reads a text; `file` is the name its refusals carry.
    pub(super) fn read(file: &str, text: &str) -> Self {
        let mut source = Self::default();
        source.file(file, text);
        source
    }

    /// The place of the next object.
    pub(super) fn position(&self) -> u32 {
        u32::try_from(self.objects.len()).unwrap_or(u32::MAX)
    }

    fn file(&mut self, file: &str, text: &str) {
        match node::each_document(text, |document| self.object(file, document, 0)) {
            Ok(()) => {}
            Err(unreadable) => {
                // What it began with is no object of a snapshot, and need not be refused too.
                *self = Self::default();
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
            }
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
                let policy = kubernetes::policy(&field, &file, self.position())?;
                self.policy(&field, policy);
            }
            ("cilium.io", "CiliumNetworkPolicy" | "CiliumClusterwideNetworkPolicy") => {
                let policy = cilium::policy(&field, &file, self.position(), &mut self.notices)?;
                self.policy(&field, policy);
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

    fn policy(&mut self, field: &Field<'_>, policy: Policy) {
        let namespace = policy.namespace.clone().unwrap_or_default();
        self.name(field, &policy.kind.to_string(), &namespace, &policy.name);
        self.objects.push(Object::Policy(Arc::new(policy)));
    }

    /// Takes note of an object's name; the same name twice will be refused, for one of them would silently win.
    pub(super) fn name(&mut self, field: &Field<'_>, kind: &str, namespace: &str, name: &str) {
        let key = (kind.to_owned(), namespace.to_owned(), name.to_owned());
        self.names.push(Name { key, about: *field.refuse("", "") });
    }

    pub(super) fn leave_out(&mut self, field: &Field<'_>, reason: &str) {
        self.notices.push(Notice { severity: Severity::Info, about: *field.refuse(reason, "") });
    }
}

/// The kind, API version and name of a document.
fn head(file: &str, document: &node::Node) -> Read<(Written, String, String)> {
    let unknown = Written { file: file.to_owned(), name: String::new() };
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
    Ok((Written { file: file.to_owned(), name: place }, kind, api))
}
