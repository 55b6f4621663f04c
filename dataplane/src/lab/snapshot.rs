//! A plan arrives; the daemon's inputs leave: the snapshot directory and `config.toml`.
//!
//! Invariant: what is written is what `kubectl get -o yaml` would show (Namespaces, Pods with status, Services with
//! ClusterIPs), so the daemon cannot tell a lab from a cluster.

use std::fs;

use saphyr::{LoadableYamlNode, Yaml, YamlEmitter};
use serde::Serialize;
use serde_json::{Value, json};

use super::error::LabError;
use super::manifest::{Manifest, text_at};
use super::plan::{GATEWAY4, GATEWAY6, Plan, WIRE_MTU};
use super::state::{StateDirectory, write_file};

/// The cluster's objects, in the snapshot directory.
const CLUSTER_FILE: &str = "cluster.yaml";
/// What the given files held besides.
const OTHERS_FILE: &str = "manifest.yaml";
/// The node's end of the host port, made by the daemon.
const HOST_INTERFACE: &str = "bd-host";

/// Writes the snapshot directory and the configuration into `state`.
///
/// # Errors
/// [`LabError::File`] when they cannot be written.
pub fn write(plan: &Plan, manifest: &Manifest, state: &StateDirectory) -> Result<(), LabError> {
    let directory = state.snapshot();
    fs::create_dir_all(&directory).map_err(LabError::file("create", &directory))?;
    if !manifest.others.is_empty() {
        let text: String = manifest.others.iter().map(|document| as_document(document)).collect();
        write_file(&directory.join(OTHERS_FILE), text.as_bytes())?;
    }
    write_file(&directory.join(CLUSTER_FILE), cluster_yaml(plan, manifest)?.as_bytes())?;
    write_file(&state.config(), config_toml(plan, state)?.as_bytes())
}

fn as_document(text: &str) -> String {
    let start = if text.starts_with("---") { "" } else { "---\n" };
    let end = if text.ends_with('\n') { "" } else { "\n" };
    format!("{start}{text}{end}")
}

/// The cluster as YAML documents.
fn cluster_yaml(plan: &Plan, manifest: &Manifest) -> Result<String, LabError> {
    let written: Vec<&Value> = manifest.namespaces.iter().collect();
    let mut namespaces: Vec<Value> = written.iter().map(|&object| object.clone()).collect();
    for name in plan.namespaces() {
        if !written.iter().any(|object| text_at(object, "/metadata/name").as_deref() == Some(name))
        {
            namespaces.push(json!({"apiVersion": "v1", "kind": "Namespace",
                                   "metadata": {"name": name}}));
        }
    }
    for namespace in &mut namespaces {
        // The API server labels every namespace with its name; policies select by it.
        let name = text_at(namespace, "/metadata/name").unwrap_or_default();
        super::manifest::set(
            namespace,
            &["metadata", "labels", "kubernetes.io/metadata.name"],
            json!(name),
        );
    }
    let pods = plan.pods.iter().map(|pod| &pod.object);
    let services = plan.services.iter().map(|service| &service.object);
    let mut text = String::new();
    for object in namespaces.iter().chain(pods).chain(services) {
        text.push_str(&to_yaml(object)?);
    }
    Ok(text)
}

/// One object as a YAML document. JSON is YAML, so parsing its text gives the tree to emit.
fn to_yaml(object: &Value) -> Result<String, LabError> {
    let refuse = |problem: String| LabError::Manifest { path: CLUSTER_FILE.into(), problem };
    let json = object.to_string();
    let documents = Yaml::load_from_str(&json).map_err(|error| refuse(error.to_string()))?;
    let mut text = String::new();
    for document in &documents {
        YamlEmitter::new(&mut text).dump(document).map_err(|error| refuse(error.to_string()))?;
        text.push('\n');
    }
    Ok(text)
}

#[derive(Serialize)]
struct Config {
    snapshot: String,
    state: String,
    workers: Workers,
    host: Host,
    port: Vec<Port>,
}

#[derive(Serialize)]
struct Workers {
    cores: Vec<usize>,
}

#[derive(Serialize)]
struct Host {
    interface: &'static str,
    addresses: [String; 2],
    mtu: u32,
}

#[derive(Serialize)]
struct Port {
    interface: String,
    pod: String,
}

fn config_toml(plan: &Plan, state: &StateDirectory) -> Result<String, LabError> {
    let config = Config {
        snapshot: state.snapshot().display().to_string(),
        state: state.path().display().to_string(),
        workers: Workers { cores: plan.cores.clone() },
        host: Host {
            interface: HOST_INTERFACE,
            addresses: [format!("{GATEWAY4}/32"), format!("{GATEWAY6}/128")],
            mtu: plan.mtu.min(WIRE_MTU),
        },
        port: plan
            .pods
            .iter()
            .map(|pod| Port { interface: pod.interface.clone(), pod: pod.full_name() })
            .collect(),
    };
    toml::to_string(&config)
        .map_err(|error| LabError::Manifest { path: state.config(), problem: error.to_string() })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn lab(text: &str) -> (Plan, Manifest) {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("app.yaml");
        fs::write(&file, text).unwrap();
        let manifest = Manifest::read(&[file]).unwrap();
        let name = "lab".parse().unwrap();
        let plan = Plan::new(&name, 1500, vec![0, 1], &manifest, Path::new("d")).unwrap();
        (plan, manifest)
    }

    #[test]
    fn what_is_written_reads_back_as_the_same_objects() {
        let text = "kind: Pod\nmetadata: {name: p, labels: {on: 'yes', n: '24', s: 'a: b # c'}}\n";
        let (plan, manifest) = lab(text);
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("cluster.yaml");
        fs::write(&file, cluster_yaml(&plan, &manifest).unwrap()).unwrap();
        let again = Manifest::read(&[file]).unwrap();
        assert_eq!(again.pods[0].object, plan.pods[0].object);
        let label = &again.namespaces[0]["metadata"]["labels"]["kubernetes.io/metadata.name"];
        assert_eq!(label, "default");
    }

    #[test]
    fn the_configuration_names_every_port_and_core() {
        let (plan, _) = lab("kind: Pod\nmetadata: {name: p}\n");
        let state = StateDirectory::of(&"lab".parse().unwrap());
        let text = config_toml(&plan, &state).unwrap();
        let value: toml::Value = toml::from_str(&text).unwrap();
        assert_eq!(value["port"][0]["pod"].as_str(), Some("default/p"));
        assert_eq!(value["port"][0]["interface"].as_str(), Some("bd1"));
        assert_eq!(value["workers"]["cores"].as_array().map(Vec::len), Some(2));
        assert_eq!(value["host"]["addresses"][0].as_str(), Some("10.77.0.1/32"));
        assert_eq!(value["snapshot"].as_str(), Some("/run/blastdoor/lab/snapshot"));
    }

    #[test]
    fn documents_passed_through_stay_documents() {
        assert_eq!(as_document("a: 1"), "---\na: 1\n");
        assert_eq!(as_document("--- # x\na: 1\n"), "--- # x\na: 1\n");
    }
}
