//! Real servers and clients at full speed with an L7 policy in force: nginx and wrk, iperf3 both ways.
//!
//! `BLASTDOOR_LOAD_SECONDS` (5 unless given) is how long each of them runs.

use std::env;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use tests::client::curl;
use tests::daemon::Daemon;
use tests::lab::{Lab, Shape};
use tests::losses::{Losses, counter};

use crate::Case;
use crate::story::expect_balance;

const NEEDS: &[crate::Program] = &[("nginx", "nginx-light"), ("wrk", "wrk"), ("iperf3", "iperf3")];

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("load::wrk_and_iperf3_run_clean_with_one_worker", || load(1, None)).with(NEEDS),
        Case::new("load::wrk_and_iperf3_run_clean_with_two_workers", || load(2, None)).with(NEEDS),
        Case::new("load::wrk_and_iperf3_run_clean_with_the_mtu_of_the_wire", || {
            load(1, Some(1500))
        })
        .with(NEEDS),
    ]
}

/// `DIRECTORY` is where nginx finds its configuration.
const CLUSTER: &str = r#"
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{port: 80}]
---
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
  name: web
  labels: {app: web}
  annotations: {blastdoor.io/lab-command: "exec nginx -p DIRECTORY -c nginx.conf -e stderr"}
spec: {containers: [{name: c, image: nginx, ports: [{containerPort: 80}]}]}
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
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: web}
spec:
  endpointSelector: {matchLabels: {app: web}}
  ingress:
    - fromEndpoints: [{matchLabels: {app: client}}]
      toPorts:
        - ports: [{port: "80", protocol: TCP}]
          rules:
            http:
              - {method: GET, path: "/public.*"}
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
"#;

const NGINX: &str = "\
daemon off;
worker_processes 1;
pid DIRECTORY/nginx.pid;
error_log stderr;
events { worker_connections 512; }
http {
    access_log DIRECTORY/access.log;
    client_body_temp_path DIRECTORY/body;
    proxy_temp_path DIRECTORY/proxy;
    fastcgi_temp_path DIRECTORY/fastcgi;
    uwsgi_temp_path DIRECTORY/uwsgi;
    scgi_temp_path DIRECTORY/scgi;
    keepalive_requests 1000000000;
    server {
        listen 80;
        listen [::]:80;
        location / { return 200 \"hello from nginx\\n\"; }
    }
}
";

fn load(workers: usize, mtu: Option<u32>) -> Result<()> {
    let directory = tempfile::tempdir()?;
    // nginx gives its files to another user, who must be able to pass.
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(directory.path(), open)?;
    let fill = |text: &str| text.replace("DIRECTORY", &directory.path().display().to_string());
    fs::write(directory.path().join("nginx.conf"), fill(NGINX))?;
    let file = directory.path().join("cluster.yaml");
    fs::write(&file, fill(CLUSTER))?;
    let lab = Lab::up("test", &Shape { workers, mtu }, &[file])?;
    let daemon = Daemon::start(&lab)?;
    let seconds = env::var("BLASTDOOR_LOAD_SECONDS").unwrap_or_else(|_| "5".to_owned());

    wrk_allowed(&lab, &seconds)?;
    wrk_denied(&lab, directory.path())?;
    iperf3(&lab, &daemon, &seconds)?;
    expect_clean(&lab, &daemon)?;
    daemon.stop()?;
    lab.down()
}

fn wrk_allowed(lab: &Lab, seconds: &str) -> Result<()> {
    let line = format!("wrk -t 1 -c 40 -d {seconds}s http://web/public/index.html");
    let answer = lab.shell("client", &line)?;
    let requests = requests_in(&answer.stdout).with_context(|| format!("{line}: {answer}"))?;
    ensure!(
        answer.succeeded()
            && requests > 0
            && !answer.stdout.contains("Socket errors")
            && !answer.stdout.contains("Non-2xx"),
        "{line}: {answer}"
    );
    Ok(())
}

/// Every request is refused, on connections that live on, and the server hears of none.
fn wrk_denied(lab: &Lab, directory: &Path) -> Result<()> {
    let reply = curl(lab, "client", 3, &["http://web/private"])?;
    ensure!(reply.status() == Some(403), "{reply:?}");
    let line = "wrk -t 1 -c 40 -d 2s http://web/private";
    let answer = lab.shell("client", line)?;
    let requests = requests_in(&answer.stdout).with_context(|| format!("{line}: {answer}"))?;
    ensure!(
        answer.stdout.contains(&format!("Non-2xx or 3xx responses: {requests}\n"))
            && !answer.stdout.contains("Socket errors"),
        "{line}: {answer}"
    );
    let log = fs::read_to_string(directory.join("access.log"))?;
    ensure!(log.contains("/public"), "the server's log shows nothing, so it proves nothing");
    ensure!(!log.contains("/private"), "a denied request reached the server");
    Ok(())
}

/// The number in wrk's `12345 requests in 5.00s`.
fn requests_in(text: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.contains(" requests in "))?;
    line.split_whitespace().next()?.parse().ok()
}

fn iperf3(lab: &Lab, daemon: &Daemon, seconds: &str) -> Result<()> {
    let server = lab.pod("default/bulk")?.ipv4;
    for (server, kind) in [
        (server.as_str(), ""),
        (server.as_str(), "-R"),
        (server.as_str(), "-u -b 50M -l 1400"),
        ("bulk", "-u -b 50M -l 1400 -R"),
    ] {
        let before = Losses::of(lab, daemon)?;
        let line = format!("iperf3 -c {server} -t {seconds} -J {kind}");
        let answer = lab.shell("client", &line)?;
        ensure!(answer.succeeded(), "{line}: {answer}");
        let report: serde_json::Value = serde_json::from_str(&answer.stdout)?;
        let sum = if kind.contains("-u") { "/end/sum/bytes" } else { "/end/sum_received/bytes" };
        let bytes = report.pointer(sum).and_then(serde_json::Value::as_u64);
        ensure!(bytes.is_some_and(|bytes| bytes > 1_000_000), "{line}: {bytes:?} bytes");
        if kind.contains("-u") {
            let lost = report.pointer("/end/sum/lost_packets").and_then(serde_json::Value::as_u64);
            let lost = lost.with_context(|| format!("{line}: no lost_packets"))?;
            // A busy machine may lose datagrams, and counts each; we must not.
            let losses = Losses::of(lab, daemon)?.since(&before);
            ensure!(
                lost <= losses.kernel && losses.daemon.is_empty(),
                "{line}: {lost} lost: {losses:?}"
            );
        }
    }
    Ok(())
}

/// No checksum was wrong in any pod, and the ledger balances.
fn expect_clean(lab: &Lab, daemon: &Daemon) -> Result<()> {
    for pod in lab.pods()? {
        let snmp = lab.shell(&pod.pod, "cat /proc/net/snmp")?.stdout;
        for protocol in ["Tcp", "Udp"] {
            let wrong = counter(&snmp, protocol, "InCsumErrors");
            ensure!(wrong == Some(0), "{}: {protocol} InCsumErrors {wrong:?}", pod.pod);
        }
        let seen = counter(&snmp, "Tcp", "InSegs");
        ensure!(seen.is_some_and(|seen| seen > 0), "{}: /proc/net/snmp counts nothing", pod.pod);
    }
    expect_balance(daemon)
}
