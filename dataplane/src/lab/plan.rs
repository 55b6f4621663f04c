//! A manifest arrives; every name, address and process of the lab leaves. Pure: nothing is made here.
//!
//! Addresses: the node is 10.77.0.1 and fd77::1, pods count up from 10.77.0.2 and fd77::2, ClusterIPs that the
//! manifest leaves open come from 10.96.77.0/24 and fd77:96::/112. Invariant: the same manifest gives the same plan.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::error::LabError;
use super::manifest::{Manifest, PodManifest, set, text_at};
use super::state::LabName;

/// The pods' gateway, answered by the daemon, and the node's own address.
pub const GATEWAY4: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// See [`GATEWAY4`].
pub const GATEWAY6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 1);
/// Where all pods' addresses lie.
pub const PODS4: &str = "10.77.0.0/24";
/// See [`PODS4`].
pub const PODS6: &str = "fd77::/64";
/// Where the ClusterIPs lie that a manifest leaves open.
pub const SERVICES4: &str = "10.96.77.0/24";
/// See [`SERVICES4`].
pub const SERVICES6: &str = "fd77:96::/112";
/// The pods' MTU unless asked otherwise (ADR 5).
pub const DEFAULT_MTU: u32 = 65_000;
/// The MTU towards the node and what lies beyond it.
pub const WIRE_MTU: u32 = 1500;
/// The queues of a veth: TX at the node's end, RX at the pod's, so that each worker can have its own.
pub const MIN_QUEUES: usize = 2;

/// On a Pod: the prefix length of its IPv4 address; below 32 the pod sees the others on its own link.
const PREFIX_ANNOTATION: &str = "blastdoor.io/lab-prefix";
/// On a Pod: a shell command to run instead of the containers' images.
const COMMAND_ANNOTATION: &str = "blastdoor.io/lab-command";

const MAX_PODS: usize = 250;

/// A whole lab, as recorded in `lab.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Plan {
    /// The lab's name.
    pub name: String,
    /// The pods' interfaces' MTU in bytes.
    pub mtu: u32,
    /// The cores of the daemon's workers, one worker each.
    pub cores: Vec<usize>,
    /// The pods, in the manifest's order.
    pub pods: Vec<Pod>,
    /// The services, in the manifest's order.
    pub services: Vec<Service>,
}

/// One pod and where it hangs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Pod {
    /// Kubernetes namespace.
    pub namespace: String,
    /// Kubernetes name.
    pub name: String,
    /// Network namespace.
    pub netns: String,
    /// The node's end of the veth; the pod's is always `eth0`.
    pub interface: String,
    /// IPv4 address.
    pub ipv4: Ipv4Addr,
    /// IPv6 address.
    pub ipv6: Ipv6Addr,
    /// Prefix length of the IPv4 address, 32 for a pod that reaches everyone through the gateway.
    pub prefix4: u8,
    /// Prefix length of the IPv6 address, 128 or 64 along with `prefix4`.
    pub prefix6: u8,
    /// What runs in it; empty when its images do nothing here.
    pub containers: Vec<Container>,
    /// TCP ports that must listen before the pod counts as ready.
    pub listens: BTreeSet<u16>,
    /// The Pod object for the snapshot, status included.
    pub object: Value,
}

/// A process that stands in for a container.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Container {
    /// The container's name.
    pub name: String,
    /// Program and arguments.
    pub command: Vec<String>,
}

/// One service and its addresses.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Service {
    /// Kubernetes namespace.
    pub namespace: String,
    /// Kubernetes name.
    pub name: String,
    /// ClusterIPs; the selected pods' addresses for a headless service.
    pub addresses: Vec<IpAddr>,
    /// The Service object for the snapshot, ClusterIPs included.
    pub object: Value,
}

impl Pod {
    /// `namespace/name`, as the daemon and Hubble write it.
    #[must_use]
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}

impl Plan {
    /// Gives everything in the manifest its place. `deathstar` is the program that stands in for the starwars image.
    ///
    /// # Errors
    /// [`LabError::Capacity`] when a range is exhausted, [`LabError::Manifest`] when a field does not read.
    pub fn new(
        name: &LabName,
        mtu: u32,
        cores: Vec<usize>,
        manifest: &Manifest,
        deathstar: &Path,
    ) -> Result<Self, LabError> {
        if manifest.pods.len() > MAX_PODS {
            return Err(LabError::Capacity(format!(
                "{} pods are more than the {MAX_PODS} that a lab has addresses for",
                manifest.pods.len()
            )));
        }
        let mut pods = Vec::new();
        for (pod, index) in manifest.pods.iter().zip(1_u8..) {
            pods.push(plan_pod(name, pod, index, deathstar)?);
        }
        let services = plan_services(&manifest.services, &pods)?;
        for (pod, written) in pods.iter_mut().zip(&manifest.pods) {
            if !pod.containers.is_empty() {
                pod.listens = listening_ports(written, &manifest.services);
            }
        }
        Ok(Self { name: name.to_string(), mtu, cores, pods, services })
    }

    /// Finds a pod by `name` in the namespace `default`, or by `namespace/name`.
    ///
    /// # Errors
    /// [`LabError::NoPod`] with the names that exist.
    pub fn pod(&self, wanted: &str) -> Result<&Pod, LabError> {
        let full =
            if wanted.contains('/') { wanted.to_owned() } else { format!("default/{wanted}") };
        self.pods.iter().find(|pod| pod.full_name() == full).ok_or_else(|| LabError::NoPod {
            pod: wanted.to_owned(),
            known: self
                .pods
                .iter()
                .map(short_name)
                .chain(["node".to_owned()])
                .collect::<Vec<_>>()
                .join(", "),
        })
    }

    /// Every Kubernetes namespace that has something in it, with `default`.
    #[must_use]
    pub fn namespaces(&self) -> BTreeSet<&str> {
        let pods = self.pods.iter().map(|pod| pod.namespace.as_str());
        let services = self.services.iter().map(|service| service.namespace.as_str());
        pods.chain(services).chain(["default"]).collect()
    }

    /// The TX queues of a veth's end at the node.
    #[must_use]
    pub fn queues(&self) -> usize {
        self.cores.len().max(MIN_QUEUES)
    }
}

/// The name one would type after `lab exec`.
fn short_name(pod: &Pod) -> String {
    if pod.namespace == "default" { pod.name.clone() } else { pod.full_name() }
}

fn plan_pod(
    name: &LabName,
    pod: &PodManifest,
    index: u8,
    deathstar: &Path,
) -> Result<Pod, LabError> {
    let number = index.saturating_add(1);
    let ipv4 = Ipv4Addr::new(10, 77, 0, number);
    let ipv6 = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, u16::from(number));
    let prefix4 = match pod.annotation(PREFIX_ANNOTATION) {
        None => 32,
        Some(text) => text.parse().ok().filter(|p| (8..=32).contains(p)).ok_or_else(|| {
            refuse(pod, &format!("annotation {PREFIX_ANNOTATION}: `{text}` is not within 8 and 32"))
        })?,
    };
    let containers = containers(pod, deathstar);
    let mut object = pod.object.clone();
    set(&mut object, &["spec", "nodeName"], json!("node"));
    set(&mut object, &["status"], pod_status(ipv4, ipv6));
    Ok(Pod {
        namespace: pod.namespace.clone(),
        name: pod.name.clone(),
        netns: format!("{}{}-{}", name.namespace_prefix(), pod.namespace, pod.name),
        interface: format!("bd{index}"),
        ipv4,
        ipv6,
        prefix4,
        prefix6: if prefix4 == 32 { 128 } else { 64 },
        containers,
        listens: BTreeSet::new(),
        object,
    })
}

fn pod_status(ipv4: Ipv4Addr, ipv6: Ipv6Addr) -> Value {
    json!({
        "phase": "Running",
        "hostIP": GATEWAY4,
        "podIP": ipv4,
        "podIPs": [{"ip": ipv4}, {"ip": ipv6}],
        "conditions": [{"type": "Ready", "status": "True"}],
    })
}

fn refuse(pod: &PodManifest, problem: &str) -> LabError {
    LabError::Manifest {
        path: format!("Pod {}/{}", pod.namespace, pod.name).into(),
        problem: problem.to_owned(),
    }
}

fn containers(pod: &PodManifest, deathstar: &Path) -> Vec<Container> {
    if let Some(command) = pod.annotation(COMMAND_ANNOTATION) {
        let command = vec!["/bin/sh".to_owned(), "-c".to_owned(), command];
        return vec![Container { name: "lab-command".to_owned(), command }];
    }
    let known = |image: &str| image.contains("starwars").then(|| deathstar.display().to_string());
    pod.containers()
        .iter()
        .filter_map(|container| {
            let program = known(&text_at(container, "/image")?)?;
            let name = text_at(container, "/name").unwrap_or_else(|| "container".to_owned());
            Some(Container { name, command: vec![program] })
        })
        .collect()
}

/// The TCP ports a pod is expected to serve: its own containerPorts and the target ports of services that select it.
fn listening_ports(pod: &PodManifest, services: &[Value]) -> BTreeSet<u16> {
    let declared: Vec<&Value> = pod
        .containers()
        .iter()
        .filter_map(|container| container.pointer("/ports").and_then(Value::as_array))
        .flatten()
        .filter(|port| is_tcp(port))
        .collect();
    let number = |value: &Value| value.as_u64().and_then(|n| u16::try_from(n).ok());
    let mut ports: BTreeSet<u16> =
        declared.iter().filter_map(|port| number(port.get("containerPort")?)).collect();
    let selecting = services.iter().filter(|service| selects(service, pod));
    for port in selecting.filter_map(|s| s.pointer("/spec/ports")?.as_array()).flatten() {
        let target = port.get("targetPort").or_else(|| port.get("port"));
        if let Some(target) = target.and_then(number).filter(|_| is_tcp(port)) {
            ports.insert(target);
        }
    }
    ports
}

fn is_tcp(port: &Value) -> bool {
    port.get("protocol").is_none_or(|protocol| protocol == "TCP")
}

fn selects(service: &Value, pod: &PodManifest) -> bool {
    let Some(Value::Object(selector)) = service.pointer("/spec/selector") else { return false };
    let labels = pod.labels();
    text_at(service, "/metadata/namespace").as_deref() == Some(pod.namespace.as_str())
        && !selector.is_empty()
        && selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}

fn plan_services(written: &[Value], pods: &[Pod]) -> Result<Vec<Service>, LabError> {
    let given: BTreeSet<IpAddr> = written.iter().flat_map(given_addresses).collect();
    let mut free4 =
        (1..=254).map(|n| IpAddr::from([10, 96, 77, n])).filter(|ip| !given.contains(ip));
    let mut free6 = (1..=u16::MAX)
        .map(|n| IpAddr::from([0xfd77, 0x96, 0, 0, 0, 0, 0, n]))
        .filter(|ip| !given.contains(ip));
    let mut services = Vec::new();
    for object in written {
        let mut object = object.clone();
        let name = text_at(&object, "/metadata/name").unwrap_or_default();
        let namespace = text_at(&object, "/metadata/namespace").unwrap_or_default();
        let addresses = match text_at(&object, "/spec/type").as_deref() {
            Some("ExternalName") => Vec::new(),
            _ if text_at(&object, "/spec/clusterIP").as_deref() == Some("None") => {
                selected_addresses(&object, pods)
            }
            _ => {
                let mut addresses = given_addresses(&object);
                for family in wanted_families(&object) {
                    if !addresses.iter().any(|ip| ip.is_ipv6() == (family == "IPv6")) {
                        let free = if family == "IPv6" { free6.next() } else { free4.next() };
                        addresses.push(free.ok_or_else(|| {
                            LabError::Capacity(format!(
                                "no ClusterIP is left for {namespace}/{name}"
                            ))
                        })?);
                    }
                }
                set(&mut object, &["spec", "clusterIP"], json!(addresses.first()));
                set(&mut object, &["spec", "clusterIPs"], json!(addresses));
                addresses
            }
        };
        services.push(Service { namespace, name, addresses, object });
    }
    Ok(services)
}

fn given_addresses(service: &Value) -> Vec<IpAddr> {
    let listed =
        service.pointer("/spec/clusterIPs").and_then(Value::as_array).into_iter().flatten();
    let mut addresses: Vec<IpAddr> = Vec::new();
    for text in service.pointer("/spec/clusterIP").into_iter().chain(listed) {
        if let Some(ip) = text.as_str().and_then(|text| text.parse().ok())
            && !addresses.contains(&ip)
        {
            addresses.push(ip);
        }
    }
    addresses
}

fn wanted_families(service: &Value) -> Vec<String> {
    let both = matches!(
        text_at(service, "/spec/ipFamilyPolicy").as_deref(),
        Some("PreferDualStack" | "RequireDualStack")
    );
    let listed: Vec<String> = service
        .pointer("/spec/ipFamilies")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|family| family.as_str().map(str::to_owned))
        .collect();
    match (listed.is_empty(), both) {
        (_, true) => vec!["IPv4".to_owned(), "IPv6".to_owned()],
        (false, false) => listed,
        // A service that brought its own address has said what it wants.
        (true, false) if given_addresses(service).is_empty() => vec!["IPv4".to_owned()],
        (true, false) => Vec::new(),
    }
}

fn selected_addresses(service: &Value, pods: &[Pod]) -> Vec<IpAddr> {
    let nothing = Map::new();
    let mut addresses = Vec::new();
    for pod in pods {
        let written = PodManifest {
            namespace: pod.namespace.clone(),
            name: pod.name.clone(),
            object: json!({"metadata": {"labels":
                pod.object.pointer("/metadata/labels").unwrap_or(&Value::Object(nothing.clone()))}}),
        };
        if selects(service, &written) {
            addresses.extend([IpAddr::from(pod.ipv4), IpAddr::from(pod.ipv6)]);
        }
    }
    addresses
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan_of(text: &str) -> Result<Plan, LabError> {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("app.yaml");
        std::fs::write(&file, text).unwrap();
        let manifest = Manifest::read(&[file])?;
        let name = "lab".parse().unwrap();
        Plan::new(&name, 1500, vec![1], &manifest, Path::new("/bin/deathstar"))
    }

    const WEB: &str = "kind: Pod\nmetadata: {name: web, labels: {app: web}}\n\
                       spec: {containers: [{name: c, image: quay.io/cilium/starwars:v2}]}\n";

    #[test]
    fn pods_get_addresses_interfaces_and_namespaces_in_order() {
        let plan = plan_of(&format!("{WEB}---\nkind: Pod\nmetadata: {{name: b, namespace: x}}\n"))
            .unwrap();
        let second = &plan.pods[1];
        assert_eq!(plan.pods[0].ipv4, Ipv4Addr::new(10, 77, 0, 2));
        assert_eq!(second.netns, "bd-lab-x-b");
        assert_eq!(second.interface, "bd2");
        assert_eq!(second.ipv6.to_string(), "fd77::3");
        assert_eq!(second.object["status"]["podIPs"][1]["ip"], "fd77::3");
        assert_eq!(plan.namespaces().into_iter().collect::<Vec<_>>(), ["default", "x"]);
    }

    #[test]
    fn a_service_makes_its_pods_expected_to_listen() {
        let service = "---\nkind: Service\nmetadata: {name: s}\n\
                       spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}, \
                       {port: 53, protocol: UDP}]}\n";
        let plan = plan_of(&format!("{WEB}{service}")).unwrap();
        assert_eq!(plan.pods[0].listens, BTreeSet::from([8080]));
        assert_eq!(plan.pods[0].containers[0].command, ["/bin/deathstar"]);
        assert_eq!(plan.services[0].addresses, [IpAddr::from([10, 96, 77, 1])]);
        assert_eq!(plan.services[0].object["spec"]["clusterIP"], "10.96.77.1");
    }

    #[test]
    fn a_given_cluster_ip_is_kept_and_not_given_twice() {
        let services = "kind: Service\nmetadata: {name: a}\nspec: {ports: [{port: 1}]}\n---\n\
                        kind: Service\nmetadata: {name: b}\nspec: {clusterIP: 10.96.77.1}\n---\n\
                        kind: Service\nmetadata: {name: c}\nspec: {ipFamilyPolicy: PreferDualStack}\n";
        let plan = plan_of(services).unwrap();
        let texts: Vec<String> =
            plan.services.iter().map(|s| format!("{:?}", s.addresses)).collect();
        assert_eq!(texts, ["[10.96.77.2]", "[10.96.77.1]", "[10.96.77.3, fd77:96::1]"]);
    }

    #[test]
    fn a_headless_service_stands_for_its_pods() {
        let text = format!(
            "{WEB}---\nkind: Service\nmetadata: {{name: s}}\n\
             spec: {{clusterIP: None, selector: {{app: web}}}}\n"
        );
        assert_eq!(plan_of(&text).unwrap().services[0].addresses.len(), 2);
    }

    #[test]
    fn annotations_choose_the_subnet_and_the_command() {
        let text = "kind: Pod\nmetadata: {name: p, annotations: {blastdoor.io/lab-prefix: '24', \
                    blastdoor.io/lab-command: nginx -g x}}\n";
        let plan = plan_of(text).unwrap();
        assert_eq!((plan.pods[0].prefix4, plan.pods[0].prefix6), (24, 64));
        assert_eq!(plan.pods[0].containers[0].command[2], "nginx -g x");
        let bad = text.replace("'24'", "'64'");
        assert!(plan_of(&bad).unwrap_err().to_string().contains("lab-prefix"));
    }

    #[test]
    fn an_unknown_pod_is_answered_with_the_known_ones() {
        let message = plan_of(WEB).unwrap().pod("wing").unwrap_err().to_string();
        assert!(message.contains("web, node"), "{message}");
    }
}
