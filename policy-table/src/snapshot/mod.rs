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
mod claims;
mod cluster;
mod directory;
mod kubernetes;
mod node;
mod reader;
mod refusal;
mod selectors;
mod source;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

pub use cluster::{
    CidrGroup, ContainerPort, EndpointSlice, Namespace, Node, Place, Pod, Service, ServicePort,
    SliceEndpoint, TargetPort,
};
pub use directory::{Directory, Update};
pub use refusal::{Notice, Refusal, Refusals, Severity};

use crate::label::Labels;
use crate::rule::Policy;
use claims::Claims;
use source::Source;

/// The cluster as written.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Labels of the namespaces, by name. A namespace without an object has the label the API server gives each.
    pub namespaces: BTreeMap<String, Vec<(String, String)>>,
    /// The pods that run or may yet run.
    pub pods: Vec<Arc<Pod>>,
    /// The services.
    pub services: Vec<Arc<Service>>,
    /// What stands behind services, where somebody said it.
    pub slices: Vec<Arc<EndpointSlice>>,
    /// The nodes.
    pub nodes: Vec<Arc<Node>>,
    /// Named groups of prefixes.
    pub cidr_groups: Vec<Arc<CidrGroup>>,
    /// The policies.
    pub policies: Vec<Arc<Policy>>,
}

/// One object of a snapshot.
#[derive(Clone, Debug)]
pub enum Object {
    /// A namespace.
    Namespace(Arc<Namespace>),
    /// A pod.
    Pod(Arc<Pod>),
    /// A service.
    Service(Arc<Service>),
    /// What stands behind a service.
    Slice(Arc<EndpointSlice>),
    /// A node.
    Node(Arc<Node>),
    /// A named group of prefixes.
    CidrGroup(Arc<CidrGroup>),
    /// A policy of any kind.
    Policy(Arc<Policy>),
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
        let mut files = Directory::new(directory);
        let change = files.read()?;
        Ok(Loaded { snapshot: Self::of(change.come), notices: files.notices() })
    }

    /// Reads texts, each with the name its refusals carry.
    ///
    /// # Errors
    /// All refusals of all texts.
    pub fn parse(sources: &[(&str, &str)]) -> Result<Loaded, Refusals> {
        let mut claims = Claims::default();
        let (mut objects, mut notices, mut refusals) = (Vec::new(), Vec::new(), Vec::new());
        for (file, text) in sources {
            let mut source = Source::read(file, text);
            claims.add_names(&source, &mut refusals);
            refusals.append(&mut source.refusals);
            notices.append(&mut source.notices);
            objects.append(&mut source.objects);
        }
        claims.add_addresses(&objects, &mut refusals);
        if refusals.is_empty() {
            Ok(Loaded { snapshot: Self::of(objects), notices })
        } else {
            Err(Refusals(refusals))
        }
    }

    /// The snapshot of these objects.
    pub fn of(objects: impl IntoIterator<Item = Object>) -> Self {
        let mut all = Self::default();
        for object in objects {
            match object {
                Object::Namespace(namespace) => {
                    all.namespaces.insert(namespace.name.clone(), namespace.labels.clone());
                }
                Object::Pod(pod) => all.pods.push(pod),
                Object::Service(service) => all.services.push(service),
                Object::Slice(slice) => all.slices.push(slice),
                Object::Node(node) => all.nodes.push(node),
                Object::CidrGroup(group) => all.cidr_groups.push(group),
                Object::Policy(policy) => all.policies.push(policy),
            }
        }
        for pod in &all.pods {
            if !all.namespaces.contains_key(&pod.namespace) {
                all.namespaces.insert(pod.namespace.clone(), Vec::new());
            }
        }
        all
    }

    /// Its objects.
    pub fn objects(&self) -> Vec<Object> {
        let namespaces = self.namespaces.iter().map(|(name, labels)| {
            Object::Namespace(Arc::new(Namespace { name: name.clone(), labels: labels.clone() }))
        });
        namespaces
            .chain(self.nodes.iter().cloned().map(Object::Node))
            .chain(self.pods.iter().cloned().map(Object::Pod))
            .chain(self.services.iter().cloned().map(Object::Service))
            .chain(self.slices.iter().cloned().map(Object::Slice))
            .chain(self.cidr_groups.iter().cloned().map(Object::CidrGroup))
            .chain(self.policies.iter().cloned().map(Object::Policy))
            .collect()
    }

    /// The labels of a namespace, the one the API server adds included.
    pub fn namespace_labels(&self, name: &str) -> Vec<(&str, &str)> {
        match self.namespaces.get_key_value(name) {
            Some((known, written)) => namespace_labels(known, written),
            None => Vec::new(),
        }
    }

    /// The labels a pod's identity is made of.
    pub fn labels_of(&self, pod: &Pod) -> Labels {
        labels_of(pod, self.namespace_labels(&pod.namespace))
    }
}

/// The labels of a namespace that exists: those written on it, and the one the API server gives each.
pub(crate) fn namespace_labels<'n>(
    name: &'n str,
    written: &'n [(String, String)],
) -> Vec<(&'n str, &'n str)> {
    const NAME_LABEL: &str = "kubernetes.io/metadata.name";
    let own = written.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    own.filter(|(key, _)| *key != NAME_LABEL).chain([(NAME_LABEL, name)]).collect()
}

/// The labels a pod's identity is made of, with those of its namespace.
pub(crate) fn labels_of(pod: &Pod, namespace_labels: Vec<(&str, &str)>) -> Labels {
    Labels::of_pod(
        pod.labels.iter().map(|(key, value)| (key.as_str(), value.as_str())),
        &pod.namespace,
        namespace_labels,
        &pod.service_account,
    )
}
