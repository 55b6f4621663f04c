//! Kubernetes YAML arrives as files; the few fields a lab needs leave.
//!
//! Pods, workloads with a pod template, Services and Namespaces become part of the lab. Every other kind (policies,
//! above all) passes through to the snapshot as the text it was, so that the daemon judges it, not us.
//! Invariant: an object that would make pods is either understood or refused by name, never skipped.

use std::fs;
use std::path::{Path, PathBuf};

use saphyr::{LoadableYamlNode, Scalar, Yaml};
use serde_json::{Map, Number, Value, json};

use super::error::LabError;

/// What the given files say, in the files' order.
#[derive(Debug, Default)]
pub struct Manifest {
    /// Namespace objects as written.
    pub namespaces: Vec<Value>,
    /// Pods, written as such or made from a workload's template.
    pub pods: Vec<PodManifest>,
    /// Service objects as written, with `metadata.namespace` filled in.
    pub services: Vec<Value>,
    /// The text of every document of another kind.
    pub others: Vec<String>,
}

/// A pod that will exist.
#[derive(Debug, Clone)]
pub struct PodManifest {
    /// Its namespace (`default` when the file says none).
    pub namespace: String,
    /// Its name, unique in the namespace.
    pub name: String,
    /// The Pod object as written, without status.
    pub object: Value,
}

impl Manifest {
    /// Reads the files in the given order.
    ///
    /// # Errors
    /// [`LabError::File`] or [`LabError::Manifest`] with the file, the object and the field.
    pub fn read(files: &[PathBuf]) -> Result<Self, LabError> {
        let mut manifest = Self::default();
        for path in files {
            let text = fs::read_to_string(path).map_err(LabError::file("read", path))?;
            manifest.add(path, &text)?;
        }
        Ok(manifest)
    }

    fn add(&mut self, path: &Path, text: &str) -> Result<(), LabError> {
        let refuse = |problem: String| LabError::Manifest { path: path.to_path_buf(), problem };
        for document in split_documents(text) {
            let parsed = Yaml::load_from_str(document).map_err(|e| refuse(e.to_string()))?;
            let Some(yaml) = parsed.first() else { continue };
            let object = to_json(yaml).map_err(&refuse)?;
            if object.is_null() {
                continue;
            }
            self.add_object(object, document).map_err(refuse)?;
        }
        Ok(())
    }

    fn add_object(&mut self, mut object: Value, document: &str) -> Result<(), String> {
        let kind = text_at(&object, "/kind").ok_or("an object without `kind`")?;
        match kind.as_str() {
            "Namespace" => self.namespaces.push(object),
            "Pod" => {
                let name = required_name(&object, &kind)?;
                self.add_pod(namespace_of(&object), name, object)?;
            }
            "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet" => {
                self.add_workload(&object, &kind)?;
            }
            "Service" => {
                required_name(&object, &kind)?;
                let namespace = namespace_of(&object);
                set(&mut object, &["metadata", "namespace"], json!(namespace));
                self.services.push(object);
            }
            "List" => {
                return Err("kind List: give the lab its items as documents of their own, \
                            separated by `---`"
                    .to_owned());
            }
            "Job" | "CronJob" | "ReplicationController" => {
                return Err(format!(
                    "kind {kind}: the lab makes pods of Pod, Deployment, ReplicaSet, StatefulSet \
                     and DaemonSet"
                ));
            }
            _ => self.others.push(document.to_owned()),
        }
        Ok(())
    }

    fn add_workload(&mut self, object: &Value, kind: &str) -> Result<(), String> {
        let name = required_name(object, kind)?;
        let template = object
            .pointer("/spec/template")
            .ok_or_else(|| format!("{kind} {name}: spec.template is missing"))?;
        let replicas = match object.pointer("/spec/replicas") {
            None => 1,
            Some(value) => value
                .as_u64()
                .ok_or_else(|| format!("{kind} {name}: spec.replicas is not a number"))?,
        };
        let namespace = namespace_of(object);
        for replica in 0..replicas {
            let pod = if kind == "Deployment" {
                format!("{name}-{:04x}-{replica}", template_hash(template))
            } else {
                format!("{name}-{replica}")
            };
            let mut pod_object = template.clone();
            set(&mut pod_object, &["apiVersion"], json!("v1"));
            set(&mut pod_object, &["kind"], json!("Pod"));
            set(&mut pod_object, &["metadata", "name"], json!(pod));
            self.add_pod(namespace.clone(), pod, pod_object)?;
        }
        Ok(())
    }

    fn add_pod(
        &mut self,
        namespace: String,
        name: String,
        mut object: Value,
    ) -> Result<(), String> {
        if object.pointer("/spec/hostNetwork") == Some(&Value::Bool(true)) {
            return Err(format!("Pod {namespace}/{name}: spec.hostNetwork has no port to enforce"));
        }
        if self.pods.iter().any(|p| p.namespace == namespace && p.name == name) {
            return Err(format!("Pod {namespace}/{name} is there twice"));
        }
        set(&mut object, &["metadata", "namespace"], json!(namespace));
        self.pods.push(PodManifest { namespace, name, object });
        Ok(())
    }
}

impl PodManifest {
    /// An annotation's text.
    #[must_use]
    pub fn annotation(&self, key: &str) -> Option<String> {
        self.object.pointer("/metadata/annotations")?.get(key).and_then(as_text)
    }

    /// The pod's labels, as written.
    #[must_use]
    pub fn labels(&self) -> Map<String, Value> {
        match self.object.pointer("/metadata/labels") {
            Some(Value::Object(labels)) => labels.clone(),
            _ => Map::new(),
        }
    }

    /// The containers (init containers have run, in a lab).
    #[must_use]
    pub fn containers(&self) -> &[Value] {
        self.object.pointer("/spec/containers").and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }
}

/// The text at a JSON pointer; numbers are taken as their digits.
#[must_use]
pub fn text_at(object: &Value, pointer: &str) -> Option<String> {
    object.pointer(pointer).and_then(as_text)
}

/// Sets a field, making the objects on the way.
pub(crate) fn set(object: &mut Value, path: &[&str], value: Value) {
    let mut place = object;
    for key in path {
        if !place.is_object() {
            *place = Value::Object(Map::new());
        }
        let Value::Object(map) = place else { return };
        place = map.entry((*key).to_owned()).or_insert(Value::Null);
    }
    *place = value;
}

fn as_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

fn namespace_of(object: &Value) -> String {
    text_at(object, "/metadata/namespace").unwrap_or_else(|| "default".to_owned())
}

/// The object's name, checked as a DNS label, since namespaces, files and hosts entries are named after it.
fn required_name(object: &Value, kind: &str) -> Result<String, String> {
    let name = text_at(object, "/metadata/name")
        .ok_or_else(|| format!("{kind}: metadata.name is missing"))?;
    for part in [&name, &namespace_of(object)] {
        let allowed =
            |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
        if part.is_empty()
            || part.len() > 100
            || part.starts_with('.')
            || !part.bytes().all(allowed)
        {
            return Err(format!("{kind} {name}: `{part}` is not a DNS name"));
        }
    }
    Ok(name)
}

/// Cuts a stream at its document markers. `---` at the start of a line is one even inside a block scalar
/// (YAML 1.2.2 §9.1.2), so looking at lines is exact.
fn split_documents(text: &str) -> Vec<&str> {
    let mut documents = Vec::new();
    let mut start = 0;
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let marker = line
            .strip_prefix("---")
            .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']));
        if marker {
            documents.push(text.get(start..at).unwrap_or_default());
            start = at;
        }
        at += line.len();
    }
    documents.push(text.get(start..).unwrap_or_default());
    documents.retain(|document| !document.trim().is_empty());
    documents
}

fn to_json(yaml: &Yaml<'_>) -> Result<Value, String> {
    Ok(match yaml {
        Yaml::Value(scalar) => match scalar {
            Scalar::Null => Value::Null,
            Scalar::Boolean(value) => Value::Bool(*value),
            Scalar::Integer(value) => Value::Number((*value).into()),
            Scalar::FloatingPoint(value) => {
                Number::from_f64(value.into_inner()).map_or(Value::Null, Value::Number)
            }
            Scalar::String(text) => Value::String(text.to_string()),
        },
        Yaml::Sequence(items) => Value::Array(items.iter().map(to_json).collect::<Result<_, _>>()?),
        Yaml::Mapping(entries) => {
            let mut map = Map::new();
            for (key, value) in entries {
                let key = as_text(&to_json(key)?).ok_or("a mapping key that is not text")?;
                map.insert(key, to_json(value)?);
            }
            Value::Object(map)
        }
        Yaml::Tagged(_, inner) => to_json(inner)?,
        Yaml::Representation(text, ..) => Value::String(text.to_string()),
        Yaml::Alias(_) | Yaml::BadValue => return Err("a value that does not fit its tag".into()),
    })
}

/// Sixteen bits that change with the template, as a pod-template-hash does (FNV-1a over its JSON).
fn template_hash(template: &Value) -> u16 {
    let mut hash: u32 = 0x811c_9dc5;
    for byte in template.to_string().bytes() {
        hash = (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    }
    let [a, b, c, d] = hash.to_be_bytes();
    u16::from_be_bytes([a ^ c, b ^ d])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Manifest, LabError> {
        let mut manifest = Manifest::default();
        manifest.add(Path::new("app.yaml"), text).map(|()| manifest)
    }

    #[test]
    fn a_deployment_becomes_its_replicas_with_stable_names() {
        let text = "kind: Deployment\nmetadata: {name: web}\nspec:\n  replicas: 2\n  template:\n    \
                    metadata: {labels: {app: web}}\n    spec: {containers: [{name: c, image: x}]}\n";
        let first = read(text).unwrap();
        let names: Vec<_> = first.pods.iter().map(|p| p.name.clone()).collect();
        assert_eq!(names.len(), 2);
        assert!(names[0].starts_with("web-") && names[0].ends_with("-0"), "{names:?}");
        assert_eq!(first.pods[1].labels()["app"], "web");
        assert_eq!(first.pods[1].object["metadata"]["namespace"], "default");
        let again: Vec<_> = read(text).unwrap().pods.into_iter().map(|p| p.name).collect();
        assert_eq!(names, again);
    }

    #[test]
    fn policies_pass_through_as_they_were_written() {
        let policy = "---\nkind: CiliumNetworkPolicy\nmetadata: {name: a} # why\n";
        let text = format!("kind: Pod\nmetadata: {{name: p}}\n{policy}");
        assert_eq!(read(&text).unwrap().others, [policy]);
    }

    #[test]
    fn a_document_marker_inside_a_scalar_line_does_not_cut() {
        assert_eq!(split_documents("a: '---'\nb: x ---\n--- # two\nc: 1\n---\n").len(), 3);
    }

    #[test]
    fn what_would_make_pods_but_is_not_understood_is_refused() {
        for (text, reason) in [
            ("kind: Job\nmetadata: {name: j}\n", "kind Job"),
            ("kind: List\nitems: []\n", "kind List"),
            ("metadata: {name: j}\n", "without `kind`"),
            ("kind: Pod\nmetadata: {name: ../x}\n", "not a DNS name"),
            ("kind: Pod\nmetadata: {name: p}\nspec: {hostNetwork: true}\n", "hostNetwork"),
            ("kind: Pod\nmetadata: {name: p}\n---\nkind: Pod\nmetadata: {name: p}\n", "twice"),
            ("kind: Deployment\nmetadata: {name: d}\n", "spec.template"),
        ] {
            let message = read(text).unwrap_err().to_string();
            assert!(message.contains(reason) && message.starts_with("app.yaml"), "{message}");
        }
    }

    #[test]
    fn annotations_are_text_even_when_written_as_numbers() {
        let text = "kind: Pod\nmetadata: {name: p, annotations: {a: 24, b: '24'}}\n";
        let pod = read(text).unwrap().pods.remove(0);
        assert_eq!(pod.annotation("a"), Some("24".to_owned()));
        assert_eq!(pod.annotation("b"), pod.annotation("a"));
    }
}
