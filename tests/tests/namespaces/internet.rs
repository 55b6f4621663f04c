//! L2 to L4 as a pod sees them: both families, the node, neighbours on a shared subnet, ICMP, services, and sources
//! that are not one's own.

use std::fs;
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tests::client::{Reply, curl};
use tests::daemon::Daemon;
use tests::lab::{Lab, Shape};
use tests::program;

use crate::Case;
use crate::story::expect_balance;

const PING: &[crate::Program] = &[("ping", "iputils-ping")];

/// Two servers behind a dual-stack service, a client on routes of its own and two on a shared subnet, a service that
/// has no backend.
const CLUSTER: &str = r#"
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  ipFamilyPolicy: RequireDualStack
  selector: {app: web}
  ports: [{port: 8080, targetPort: 80}]
---
apiVersion: v1
kind: Service
metadata: {name: nobody}
spec:
  selector: {app: nobody}
  ports: [{port: 80}]
---
apiVersion: v1
kind: Pod
metadata: {name: web-a, labels: {app: web}}
spec: {containers: [{name: c, image: starwars, ports: [{containerPort: 80}]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: web-b, labels: {app: web}, annotations: {blastdoor.io/lab-prefix: "24"}}
spec: {containers: [{name: c, image: starwars, ports: [{containerPort: 80}]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: client, labels: {app: client}}
---
apiVersion: v1
kind: Pod
metadata: {name: near, labels: {app: client}, annotations: {blastdoor.io/lab-prefix: "24"}}
"#;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("internet::both_families_reach_pods_and_services", || families(1)),
        Case::new("internet::both_families_with_two_workers", || families(2)),
        Case::new("internet::pods_on_a_shared_subnet_find_each_other", shared_subnet),
        Case::new("internet::the_node_and_its_pods_reach_each_other", node),
        Case::new("internet::ping_is_answered_and_its_errors_come_back", ping).with(PING),
        Case::new("internet::large_packets_pass_between_pods_and_the_node_keeps_its_mtu", mtus)
            .with(PING),
        Case::new("internet::a_borrowed_source_address_is_dropped", spoofed),
        Case::new("internet::a_service_without_a_backend_says_so", no_backend),
        Case::new("internet::a_pod_reaches_itself_through_its_service", itself),
    ]
}

fn cluster(workers: usize) -> Result<(Lab, Daemon)> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("cluster.yaml");
    fs::write(&file, CLUSTER)?;
    let lab = Lab::up("test", &Shape { workers, ..Shape::default() }, &[file])?;
    let daemon = Daemon::start(&lab)?;
    Ok((lab, daemon))
}

fn finish(lab: Lab, daemon: Daemon) -> Result<()> {
    expect_balance(&daemon)?;
    daemon.stop()?;
    lab.down()
}

fn expect_served(lab: &Lab, pod: &str, url: &str) -> Result<()> {
    let reply = curl(lab, pod, 3, &["-g", url])?;
    ensure!(reply.status() == Some(200), "{pod} -> {url}: {reply:?}");
    Ok(())
}

fn families(workers: usize) -> Result<()> {
    let (lab, daemon) = cluster(workers)?;
    let web = lab.pod("default/web-a")?;
    for _ in 0..10 {
        expect_served(&lab, "client", &format!("http://{}/v1/", web.ipv4))?;
        expect_served(&lab, "client", &format!("http://[{}]/v1/", web.ipv6))?;
        for family in ["-4", "-6"] {
            let reply = curl(&lab, "client", 3, &[family, "http://web.default.svc:8080/v1/"])?;
            ensure!(reply.status() == Some(200), "web by {family}: {reply:?}");
        }
    }
    finish(lab, daemon)
}

/// A pod with a /24 asks for every other pod by ARP or ND, and is answered, by us.
fn shared_subnet() -> Result<()> {
    let (lab, daemon) = cluster(Shape::default().workers)?;
    for pod in ["default/web-a", "default/web-b"] {
        let web = lab.pod(pod)?;
        expect_served(&lab, "near", &format!("http://{}/v1/", web.ipv4))?;
        expect_served(&lab, "near", &format!("http://[{}]/v1/", web.ipv6))?;
    }
    let neighbours = lab.shell("near", "ip neigh")?;
    let web = lab.pod("default/web-b")?;
    ensure!(neighbours.stdout.contains(&web.ipv4), "not reached on the link: {neighbours}");
    finish(lab, daemon)
}

/// Pods exchange packets of many chunks; towards the node, where there is no room for them, their sender is told.
fn mtus() -> Result<()> {
    let (lab, daemon) = cluster(Shape::default().workers)?;
    let _server = NodeServer::start(&lab)?;
    let web = lab.pod("default/web-a")?;
    let large = "ping -c 3 -i 0.2 -W 2 -M do -s 60000";
    for pod in [&web.ipv4, &web.ipv6] {
        let answer = lab.shell("client", &format!("{large} {pod}"))?;
        ensure!(answer.succeeded() && answer.stdout.contains(" 0% packet loss"), "{answer}");
    }
    // Without the route's own limit, only we know what the host port carries: a SYN says less, a ping is answered with it.
    for node in ["10.77.0.1", "fd77::1"] {
        let line =
            format!("ip route replace {node} dev eth0; ping -c 3 -i 0.2 -W 2 -M do -s 2000 {node}");
        let answer = lab.shell("client", &line)?;
        ensure!(answer.stdout.replace(' ', "").contains("mtu=1500"), "{line}: {answer}");
    }
    let upload = "head -c 3000000 /dev/zero | curl -s -m 10 -o /dev/null -w '%{http_code}' \
                  -H Expect: --data-binary @- http://10.77.0.1:8080/v1/request-landing";
    let answer = lab.shell("client", upload)?;
    ensure!(answer.stdout == "200", "{upload}: {answer}");
    finish(lab, daemon)
}

/// A server on the node, ended with its owner.
struct NodeServer(Child);

impl NodeServer {
    fn start(lab: &Lab) -> Result<Self> {
        let deathstar = program::ours("deathstar")?.display().to_string();
        let mut command = lab.command("node", &deathstar);
        let child = command.args(["--listen", "[::]:8080"]).stdout(Stdio::null()).spawn()?;
        let server = Self(child);
        program::wait_for("the node's server", Duration::from_secs(3), || {
            let reply = curl(lab, "node", 1, &["http://127.0.0.1:8080/v1/"])?;
            Ok((reply.status() == Some(200)).then_some(()))
        })?;
        Ok(server)
    }
}

impl Drop for NodeServer {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn node() -> Result<()> {
    let (lab, daemon) = cluster(Shape::default().workers)?;
    let web = lab.pod("default/web-a")?;
    expect_served(&lab, "node", &format!("http://{}/v1/", web.ipv4))?;
    expect_served(&lab, "node", &format!("http://[{}]/v1/", web.ipv6))?;
    let server = NodeServer::start(&lab)?;
    for pod in ["client", "near"] {
        expect_served(&lab, pod, "http://10.77.0.1:8080/v1/")?;
        expect_served(&lab, pod, "http://[fd77::1]:8080/v1/")?;
    }
    drop(server);
    finish(lab, daemon)
}

fn ping() -> Result<()> {
    let (lab, daemon) = cluster(Shape::default().workers)?;
    let web = lab.pod("default/web-a")?;
    for address in [&web.ipv4, &web.ipv6, "10.77.0.1", "fd77::1"] {
        let answer = lab.shell("client", &format!("ping -n -c 3 -i 0.2 -W 2 {address}"))?;
        ensure!(answer.stdout.contains(" 0% packet loss"), "ping {address}: {answer}");
    }
    // A packet that may make one hop dies at the first, and the first says so.
    for (address, gateway) in [(&web.ipv4, "10.77.0.1"), (&web.ipv6, "fd77::1")] {
        let answer = lab.shell("client", &format!("ping -n -t 1 -c 1 -W 2 {address}"))?;
        let exceeded = answer.stdout.lines().any(|line| {
            line.contains(&format!("From {gateway}"))
                && (line.contains("Time to live exceeded") || line.contains("Hop limit"))
        });
        ensure!(exceeded, "ping -t 1 {address}: {answer}");
    }
    finish(lab, daemon)
}

fn spoofed() -> Result<()> {
    let (lab, daemon) = cluster(Shape::default().workers)?;
    let web = lab.pod("default/web-a")?;
    let near = lab.pod("default/near")?;
    let before = daemon.status()?.drops;
    lab.shell("client", &format!("ip addr add {}/32 dev eth0", near.ipv4))?;
    lab.shell("client", &format!("ip -6 addr add {}/128 dev eth0 nodad", near.ipv6))?;
    for (source, url) in [
        (&near.ipv4, format!("http://{}/v1/", web.ipv4)),
        (&near.ipv6, format!("http://[{}]/v1/", web.ipv6)),
    ] {
        let reply = curl(&lab, "client", 1, &["-g", "--interface", source, &url])?;
        ensure!(reply == Reply::Silence, "{source} was believed: {reply:?}");
    }
    let after = daemon.status()?.drops;
    let grown: Vec<&String> = after
        .iter()
        .filter(|(name, count)| before.get(*name).is_none_or(|b| b < count))
        .map(|(name, _)| name)
        .collect();
    ensure!(
        grown.iter().any(|name| name.contains("source")),
        "no drop reason speaks of the source: {grown:?}"
    );
    finish(lab, daemon)
}

fn no_backend() -> Result<()> {
    let (lab, daemon) = cluster(Shape::default().workers)?;
    let before = daemon.status()?.drops;
    let reply = curl(&lab, "client", 2, &["http://nobody.default.svc/"])?;
    ensure!(reply.status().is_none(), "somebody answered: {reply:?}");
    let after = daemon.status()?.drops;
    let grown: Vec<&String> = after
        .iter()
        .filter(|(name, count)| before.get(*name).is_none_or(|b| b < count))
        .map(|(name, _)| name)
        .collect();
    ensure!(
        grown.iter().any(|name| name.contains("backend")),
        "no drop reason speaks of the backend: {grown:?}"
    );
    finish(lab, daemon)
}

/// Cilium's `pod-to-itself-via-service`: every pod of the service calls it until it has met itself.
fn itself() -> Result<()> {
    let (lab, daemon) = cluster(Shape::default().workers)?;
    let met = program::wait_for("web-a behind its own service", Duration::from_secs(10), || {
        let reply = curl(&lab, "web-a", 3, &["-4", "http://web:8080/v1/"])?;
        ensure!(reply.status() == Some(200), "{reply:?}");
        Ok(reply.header("x-deathstar-replica").filter(|name| *name == "web-a").map(str::to_owned))
    });
    met.context("a connection of a pod to itself")?;
    finish(lab, daemon)
}
