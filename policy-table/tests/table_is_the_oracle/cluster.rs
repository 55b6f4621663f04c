//! Small random clusters: pods, what stands around them, and the addresses and names that are none of theirs.

use proptest::prelude::*;

use crate::text::any_of;

pub(crate) const HOST: &str = "192.168.0.1";
pub(crate) const STRANGERS: [&str; 8] = [
    HOST,
    "192.168.0.2",
    "192.168.0.3",
    "8.8.8.8",
    "172.16.1.1",
    "172.16.1.9",
    "2001:db8::1",
    "2001:db8:1::1",
];

/// Names that are asked for, and that addresses may have.
pub(crate) const NAMES: [&str; 5] =
    ["api.example.com.", "a.b.example.com.", "example.com.", "evil.com.", "api.other.com."];

pub(crate) fn pod(index: usize) -> impl Strategy<Value = String> {
    let namespace = any_of(&["a", "a", "b"]);
    let labels = any_of(&[
        "app: w",
        "app: x",
        "app: w, tier: f",
        "app: x, tier: g",
        "tier: f, pod-template-hash: abc",
        "\"kubernetes.io/x\": y, app: x",
    ]);
    let ports = any_of(&[
        "",
        "",
        "{name: web, containerPort: 80}",
        "{name: web, containerPort: 8080}",
        "{name: web, containerPort: 53, protocol: UDP}, {name: alt, containerPort: 443}",
    ]);
    let account = any_of(&["", "serviceAccountName: robot, "]);
    let addresses = any_of(&["v4", "v4", "v4", "v4", "both", "none"]);
    (namespace, labels, ports, account, addresses).prop_map(move |(namespace, labels, ports, account, addresses)| {
        let ips = match addresses.as_str() {
            "v4" => format!("{{ip: 10.0.0.{index}}}"),
            "both" => format!("{{ip: 10.0.0.{index}}}, {{ip: \"fd00::{index}\"}}"),
            _ => String::new(),
        };
        format!(
            "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: p{index}, namespace: {namespace}, labels: {{{labels}}}}}\n\
             spec: {{{account}containers: [{{ports: [{ports}]}}]}}\nstatus: {{podIPs: [{ips}]}}\n"
        )
    })
}

/// What does not change from case to case.
pub(crate) const SURROUNDINGS: &str = r#"
apiVersion: v1
kind: Namespace
metadata: {name: a, labels: {team: x}}
---
apiVersion: v1
kind: Namespace
metadata: {name: b, labels: {team: y, kubernetes.io/metadata.name: forged}}
---
apiVersion: v1
kind: Node
metadata: {name: n1}
status: {addresses: [{type: InternalIP, address: 192.168.0.1}, {type: Hostname, address: n1}]}
---
apiVersion: v1
kind: Node
metadata: {name: n2}
status: {addresses: [{type: InternalIP, address: 192.168.0.2}]}
---
apiVersion: v1
kind: Pod
metadata: {name: on-the-node, namespace: a, labels: {app: w}}
spec: {hostNetwork: true}
status: {podIP: 192.168.0.3}
---
apiVersion: v1
kind: Service
metadata: {name: chosen, namespace: a, labels: {kind: inside}}
spec: {clusterIP: 10.96.0.1, ports: [{port: 80}], selector: {app: w}}
---
apiVersion: v1
kind: Service
metadata: {name: outer, namespace: a, labels: {kind: outside}}
spec: {clusterIP: 10.96.0.2, ports: [{port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: outer-1, namespace: a, labels: {kubernetes.io/service-name: outer}}
addressType: IPv4
endpoints: [{addresses: [172.16.1.9]}]
ports: [{port: 80}]
---
apiVersion: cilium.io/v2
kind: CiliumCIDRGroup
metadata: {name: group, labels: {which: far}}
spec: {externalCIDRs: [172.16.0.0/12, "2001:db8::/32"]}
"#;

pub(crate) fn api_server() -> impl Strategy<Value = String> {
    any_of(&["192.168.0.1", "192.168.0.2", "172.16.1.1", "none"]).prop_map(|address| match address.as_str() {
        "none" => String::new(),
        address => format!(
            "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
             metadata: {{name: k, labels: {{kubernetes.io/service-name: kubernetes}}}}\n\
             addressType: IPv4\nendpoints: [{{addresses: [{address}]}}]\nports: [{{name: https, port: 6443}}]\n"
        ),
    })
}
