//! The node's own link: frames to pods and services are taken off it, everything else is the node's.

use std::fs;
use std::process::Command;

use anyhow::{Result, ensure};
use tests::daemon::Daemon;
use tests::lab::{Lab, Shape};
use tests::program;

use crate::Case;
use crate::story::expect_balance;

const CLUSTER: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec: {containers: [{name: c, image: starwars, ports: [{containerPort: 80}]}]}
"#;

/// Only pods may reach the web server: the world may not.
const NO_WORLD: &str = r#"
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: no-world, namespace: default}
spec:
  endpointSelector: {matchLabels: {app: web}}
  ingress:
  - fromEndpoints: [{}]
"#;

pub(crate) fn cases() -> Vec<Case> {
    vec![Case::new("uplink::pods_are_reached_under_policy_and_the_node_always", uplink)]
}

/// A host beyond the node's link, in a namespace that goes with the lab's.
pub(crate) fn outside(lab: &Lab) -> Result<()> {
    let line = "ip netns add bd-test-outside && \
        ip link add up0 type veth peer name eth0 netns bd-test-outside && \
        ip address add 192.0.2.1/24 dev up0 && ip link set up0 up && \
        ip -n bd-test-outside address add 192.0.2.2/24 dev eth0 && \
        ip -n bd-test-outside address add 192.0.2.3/24 dev eth0 && ip -n bd-test-outside link set eth0 up && \
        ip -n bd-test-outside route add 10.77.0.0/24 via 192.0.2.1 && \
        ip netns exec bd-test-outside ethtool -K eth0 tx off && \
        sysctl -qw net.ipv4.ip_forward=1";
    let answer = lab.shell("node", line)?;
    ensure!(answer.succeeded(), "{answer}");
    Ok(())
}

fn from_outside(line: &str) -> Result<program::Answer> {
    program::run(Command::new("ip").args(["netns", "exec", "bd-test-outside", "sh", "-c", line]))
}

fn uplink() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("cluster.yaml");
    fs::write(&file, CLUSTER)?;
    let lab = Lab::up("test", &Shape::default(), &[file])?;
    outside(&lab)?;
    let config = directory.path().join("config.toml");
    let text = fs::read_to_string(lab.state().join("config.toml"))?;
    fs::write(&config, format!("{text}\n[uplink]\ninterface = \"up0\"\n"))?;
    let daemon = Daemon::start_with(&lab, &config)?;
    let web = format!("curl -s -m 3 http://{}/v1/", lab.pod("default/web")?.ipv4);

    let answer = from_outside(&web)?;
    ensure!(answer.stdout.contains("Death Star"), "a pod, without policy: {answer}");
    let taken =
        daemon.status()?.ports.iter().find(|port| port.name == "up0").map(|port| port.received);
    ensure!(
        taken.is_some_and(|packets| packets > 0),
        "nothing was taken off the uplink: {taken:?}"
    );

    daemon.reload(|| lab.put("policy.yaml", NO_WORLD))?;
    let answer = from_outside(&web)?;
    ensure!(!answer.succeeded(), "a pod that the world may not reach: {answer}");
    ensure!(daemon.drops("policy-denied")? > 0, "not counted");

    // A dead daemon closes the pods and leaves the node alone.
    expect_balance(&daemon)?;
    daemon.kill()?;
    let answer = from_outside(&web)?;
    ensure!(!answer.succeeded(), "a pod, without a daemon: {answer}");
    let node = "python3 -c 'import socket; socket.create_connection((\"192.0.2.1\", 9), 2)'";
    let answer = from_outside(node)?;
    // Nobody listens there: the node's own stack refuses, so it has heard the question.
    ensure!(answer.stderr.contains("refused"), "the node, without a daemon: {answer}");
    lab.down()
}
