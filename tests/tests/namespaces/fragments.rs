//! Packets larger than the link: real stacks cut them, they are judged as a whole, and real stacks put them together again.

use std::fs;

use anyhow::{Context, Result, ensure};
use tests::daemon::Daemon;
use tests::lab::{Lab, Shape};
use tests::losses::{Losses, counter};

use crate::Case;
use crate::story::expect_balance;

const NEEDS: &[crate::Program] = &[("ping", "iputils-ping"), ("iperf3", "iperf3")];

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("fragments::large_pings_and_datagrams_arrive_in_pieces", || arrive(1))
            .with(NEEDS),
        Case::new("fragments::they_arrive_with_two_workers_too", || arrive(2)).with(NEEDS),
        Case::new("fragments::what_policy_denies_is_denied_in_pieces", denied).with(NEEDS),
    ]
}

const CLUSTER: &str = r#"
apiVersion: v1
kind: Service
metadata: {name: bulk}
spec:
  selector: {app: bulk}
  ports:
    - {name: tcp, port: 5201, protocol: TCP}
    - {name: udp, port: 5201, protocol: UDP}
---
apiVersion: v1
kind: Pod
metadata:
  name: bulk
  labels: {app: bulk}
  annotations: {blastdoor.io/lab-command: "exec iperf3 -s"}
spec: {containers: [{name: c, image: iperf3, ports: [{containerPort: 5201}]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: client, labels: {app: client}}
---
apiVersion: v1
kind: Pod
metadata: {name: stranger, labels: {app: stranger}}
---
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: bulk}
spec:
  endpointSelector: {matchLabels: {app: bulk}}
  ingress:
    - fromEndpoints: [{matchLabels: {app: client}}]
      toPorts:
        - ports: [{port: "5201", protocol: TCP}, {port: "5201", protocol: UDP}]
    - fromEndpoints: [{matchLabels: {app: client}}]
      icmps: [{fields: [{type: 8, family: IPv4}, {type: 128, family: IPv6}]}]
"#;

fn cluster(workers: usize) -> Result<(Lab, Daemon)> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("cluster.yaml");
    fs::write(&file, CLUSTER)?;
    let lab = Lab::up("test", &Shape { workers, mtu: Some(1500) }, &[file])?;
    let daemon = Daemon::start(&lab)?;
    Ok((lab, daemon))
}

fn arrive(workers: usize) -> Result<()> {
    let (lab, daemon) = cluster(workers)?;
    let bulk = lab.pod("default/bulk")?;
    for address in [&bulk.ipv4, &bulk.ipv6, "10.77.0.1", "fd77::1"] {
        let line = format!("ping -n -c 5 -i 0.2 -W 2 -s 3000 {address}");
        let answer = lab.shell("client", &line)?;
        ensure!(answer.stdout.contains(" 0% packet loss"), "{line}: {answer}");
    }
    for (server, kind) in [(bulk.ipv4.as_str(), ""), (&bulk.ipv6, ""), ("bulk", "-R")] {
        let before = Losses::of(&lab, &daemon)?;
        let line = format!("iperf3 -c {server} -u -b 5M -l 8000 -t 2 -J {kind}");
        let answer = lab.shell("client", &line)?;
        ensure!(answer.succeeded(), "{line}: {answer}");
        let report: serde_json::Value = serde_json::from_str(&answer.stdout)?;
        let sum = |name: &str| report.pointer(&format!("/end/sum/{name}")).cloned();
        let bytes = sum("bytes").and_then(|bytes| bytes.as_u64());
        ensure!(bytes.is_some_and(|bytes| bytes > 1_000_000), "{line}: {bytes:?} bytes");
        let lost = sum("lost_packets").and_then(|lost| lost.as_u64());
        let lost = lost.with_context(|| format!("{line}: no lost_packets"))?;
        // A busy machine may lose fragments, and counts each; we must not, but for those whose neighbours it lost.
        let losses = Losses::of(&lab, &daemon)?.since(&before);
        ensure!(lost <= losses.kernel, "{line}: {lost} lost: {losses:?}");
        let orphaned = |reason: &String| losses.kernel > 0 && reason == "fragment-expired";
        ensure!(losses.daemon.keys().all(orphaned), "{line}: {losses:?}");
    }
    // What arrived did so in pieces, and every piece was whole.
    let snmp = lab.shell("bulk", "cat /proc/net/snmp")?.stdout;
    let reassembled = counter(&snmp, "Ip", "ReasmOKs").context("no ReasmOKs")?;
    ensure!(reassembled > 100, "{reassembled} packets were put together in the pod");
    ensure!(counter(&snmp, "Udp", "InCsumErrors") == Some(0), "{snmp}");
    expect_balance(&daemon)?;
    daemon.stop()?;
    lab.down()
}

fn denied() -> Result<()> {
    let (lab, daemon) = cluster(Shape::default().workers)?;
    let bulk = lab.pod("default/bulk")?;
    let before = daemon.drops("policy-denied")?;
    for address in [&bulk.ipv4, &bulk.ipv6] {
        let answer =
            lab.shell("stranger", &format!("ping -n -c 2 -i 0.2 -W 1 -s 3000 {address}"))?;
        ensure!(answer.stdout.contains(" 100% packet loss"), "{answer}");
    }
    let dropped = daemon.drops("policy-denied")?.saturating_sub(before);
    ensure!(dropped >= 12, "{dropped} fragments counted as denied, of 4 packets of 3");
    let snmp = lab.shell("bulk", "cat /proc/net/snmp")?.stdout;
    let seen = counter(&snmp, "Ip", "ReasmReqds");
    ensure!(seen == Some(0), "{seen:?} fragments reached the pod");
    expect_balance(&daemon)?;
    daemon.stop()?;
    lab.down()
}
