//! Labels: what a pod, a node or an address is known by.
//!
//! Arrives: the labels people wrote on pods and namespaces. Leaves: the sorted set of labels that makes an identity, with
//! the labels Cilium never uses for identities taken out (`Identity-Relevant Labels`, Cilium's default filter).
//! Invariant: a [`Labels`] is sorted and holds every (source, key) at most once, so equal sets are equal values.

use std::fmt;

/// The label that carries a pod's namespace.
pub const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
/// Prefix of the labels a pod inherits from its namespace.
pub const NAMESPACE_LABELS: &str = "io.cilium.k8s.namespace.labels.";
/// The label that carries a pod's service account.
pub const SERVICE_ACCOUNT: &str = "io.cilium.k8s.policy.serviceaccount";
/// The label that carries the cluster's name.
pub const CLUSTER: &str = "io.cilium.k8s.policy.cluster";
/// The name of the one cluster a snapshot describes, as in a Cilium installation without a cluster mesh.
pub const LOCAL_CLUSTER: &str = "default";

/// One label, `source:key=value`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label {
    /// The key, without its source.
    pub key: String,
    /// Who gave the label: `k8s`, `reserved`, `cidr`, …
    pub source: String,
    /// The value; empty where the label has none.
    pub value: String,
}

impl Label {
    /// A label from its three parts.
    pub fn new(source: &str, key: &str, value: &str) -> Self {
        Self { key: key.to_owned(), source: source.to_owned(), value: value.to_owned() }
    }
}

impl fmt::Display for Label {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.value.is_empty() {
            write!(out, "{}:{}", self.source, self.key)
        } else {
            write!(out, "{}:{}={}", self.source, self.key, self.value)
        }
    }
}

/// A set of labels: sorted by key, then source.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Labels(Vec<Label>);

impl Labels {
    /// The labels of a pod as an identity has them: its own labels that the filter keeps, then what Cilium adds.
    pub fn of_pod<'a>(
        own: impl IntoIterator<Item = (&'a str, &'a str)>,
        namespace: &str,
        namespace_labels: impl IntoIterator<Item = (&'a str, &'a str)>,
        service_account: &str,
    ) -> Self {
        let mut labels: Vec<Label> = own
            .into_iter()
            .filter(|(key, _)| is_identity_relevant(key))
            .map(|(key, value)| Label::new("k8s", key, value))
            .collect();
        labels.push(Label::new("k8s", POD_NAMESPACE, namespace));
        labels.push(Label::new("k8s", SERVICE_ACCOUNT, service_account));
        labels.push(Label::new("k8s", CLUSTER, LOCAL_CLUSTER));
        for (key, value) in namespace_labels {
            labels.push(Label::new("k8s", &format!("{NAMESPACE_LABELS}{key}"), value));
        }
        labels.into_iter().collect()
    }

    /// The set of reserved labels with these names.
    pub fn reserved(names: &[&str]) -> Self {
        names.iter().map(|name| Label::new("reserved", name, "")).collect()
    }

    /// The labels in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Label> {
        self.0.iter()
    }

    /// The first label with this key, of this source (`None`: of any source).
    pub fn find(&self, source: Option<&str>, key: &str) -> Option<&Label> {
        self.0
            .iter()
            .find(|label| label.key == key && source.is_none_or(|source| label.source == source))
    }

    /// Whether the reserved label `name` is in the set.
    pub fn has_reserved(&self, name: &str) -> bool {
        self.find(Some("reserved"), name).is_some()
    }
}

impl FromIterator<Label> for Labels {
    fn from_iter<I: IntoIterator<Item = Label>>(labels: I) -> Self {
        let mut labels: Vec<Label> = labels.into_iter().collect();
        // Later wins: what Cilium adds stands after what people wrote.
        labels.reverse();
        labels.sort_by(|a, b| (&a.key, &a.source).cmp(&(&b.key, &b.source)));
        labels.dedup_by(|a, b| a.key == b.key && a.source == b.source);
        Self(labels)
    }
}

impl<'a> IntoIterator for &'a Labels {
    type Item = &'a Label;
    type IntoIter = std::slice::Iter<'a, Label>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl fmt::Display for Labels {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, label) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(out, "{comma}{label}")?;
        }
        Ok(())
    }
}

/// Whether a label a person wrote on a pod takes part in its identity (Cilium's default label filter).
///
/// The keys Cilium sets itself cannot be forged by writing them on a pod: they are dropped here and added afterwards.
pub fn is_identity_relevant(key: &str) -> bool {
    const EXACT: [&str; 9] = [
        "pod-template-hash",
        "pod-template-generation",
        "controller-revision-hash",
        "controller-uid",
        "statefulset.kubernetes.io/pod-name",
        "apps.kubernetes.io/pod-index",
        "batch.kubernetes.io/job-completion-index",
        "batch.kubernetes.io/controller-uid",
        "etcd_node",
    ];
    const PREFIX: [&str; 6] = [
        "io.kubernetes",
        "kubernetes.io",
        "k8s.io",
        "annotation",
        "topology.kubernetes.io",
        "io.cilium.k8s.",
    ];
    if key.starts_with("app.kubernetes.io") {
        return true;
    }
    !(EXACT.contains(&key)
        || PREFIX.iter().any(|prefix| key.starts_with(prefix))
        || key.contains("beta.kubernetes.io"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_cannot_claim_another_namespace_by_a_label() {
        let forged = [(POD_NAMESPACE, "kube-system"), (SERVICE_ACCOUNT, "admin"), ("app", "a")];
        let labels = Labels::of_pod(forged, "default", [], "default");
        assert_eq!(labels.find(None, POD_NAMESPACE).unwrap().value, "default");
        assert_eq!(labels.find(None, SERVICE_ACCOUNT).unwrap().value, "default");
        assert_eq!(labels.find(Some("k8s"), "app").unwrap().value, "a");
    }

    #[test]
    fn labels_that_differ_between_replicas_are_left_out() {
        for key in [
            "pod-template-hash",
            "apps.kubernetes.io/pod-index",
            "x.beta.kubernetes.io/zone",
            "k8s.io/x",
        ] {
            assert!(!is_identity_relevant(key), "{key}");
        }
        for key in ["app.kubernetes.io/name", "app", "k8s-app", "tier"] {
            assert!(is_identity_relevant(key), "{key}");
        }
    }

    #[test]
    fn the_order_in_which_labels_are_written_does_not_matter() {
        let one = Labels::of_pod([("a", "1"), ("b", "2")], "n", [("t", "x")], "s");
        let two = Labels::of_pod([("b", "2"), ("a", "1")], "n", [("t", "x")], "s");
        assert_eq!(one, two);
        assert_eq!(Labels::reserved(&["host"]).to_string(), "reserved:host");
    }
}
