//! Ten thousand heads that never end: answered 408 when their time is up, unknown to the server, and of no consequence to others.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;

use anyhow::{Context, Result, bail, ensure};
use tests::client::curl;
use tests::daemon::Daemon;
use tests::lab::{Lab, Shape};
use tests::program;

use crate::Case;
use crate::story::expect_balance;

const CONNECTIONS: usize = 10_000;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("slow::ten_thousand_slow_heads_do_not_hurt_other_clients", slow_heads)
            .with(&[("nginx", "nginx-light")]),
    ]
}

/// `DIRECTORY` is where nginx finds its configuration.
const CLUSTER: &str = r#"
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
metadata: {name: slow, labels: {app: client}}
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
          rules: {http: [{method: GET, path: "/public.*"}]}
"#;

const NGINX: &str = "\
daemon off;
worker_processes 1;
worker_rlimit_nofile 20000;
pid DIRECTORY/nginx.pid;
error_log stderr;
events { worker_connections 15000; }
http {
    access_log DIRECTORY/access.log;
    client_body_temp_path DIRECTORY/body;
    proxy_temp_path DIRECTORY/proxy;
    fastcgi_temp_path DIRECTORY/fastcgi;
    uwsgi_temp_path DIRECTORY/uwsgi;
    scgi_temp_path DIRECTORY/scgi;
    server {
        listen 80;
        location / { return 200 \"hello from nginx\\n\"; }
    }
}
";

fn slow_heads() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(directory.path(), open)?;
    let fill = |text: &str| text.replace("DIRECTORY", &directory.path().display().to_string());
    fs::write(directory.path().join("nginx.conf"), fill(NGINX))?;
    let file = directory.path().join("cluster.yaml");
    fs::write(&file, fill(CLUSTER))?;
    let lab = Lab::up("test", &Shape::default(), &[file])?;
    let config = lab.state().join("slow.toml");
    let text = fs::read_to_string(lab.state().join("config.toml"))?;
    fs::write(&config, text + "\n[inspect]\nhead_ms = 4000\n")?;
    let daemon = Daemon::start_with(&lab, &config)?;

    let web = lab.pod("default/web")?.ipv4;
    let slowloris = program::ours("slowloris")?.display().to_string();
    let line = format!("ulimit -n 15000 && exec {slowloris} {web}:80 {CONNECTIONS}");
    let mut command = lab.command("slow", "sh");
    let mut child = command.args(["-c", &line]).stdout(Stdio::piped()).spawn()?;
    let mut said = BufReader::new(child.stdout.take().context("no pipe")?);
    let mut first = String::new();
    said.read_line(&mut first)?;
    ensure!(first == "open\n", "slowloris said {first:?}: {}", daemon.log_text());

    let url = format!("http://{web}/public/index.html");
    let mut served = 0_u32;
    let ended = loop {
        let reply = curl(&lab, "client", 5, &[&url])?;
        ensure!(reply.status() == Some(200), "request {served} of another client: {reply:?}");
        served += 1;
        if let Some(status) = child.try_wait()? {
            break status;
        }
    };
    let mut counts = String::new();
    said.read_to_string(&mut counts)?;
    ensure!(ended.success(), "slowloris ended with {ended}: {counts}");
    let expected = format!("408: {CONNECTIONS}\n");
    ensure!(counts.contains(&expected), "answers to slow heads: {counts}");
    ensure!(served > 3, "only {served} requests were made while heads were slow");

    let log = fs::read_to_string(directory.path().join("access.log"))?;
    let lines = log.lines().count();
    ensure!(lines == served as usize, "the server heard of {lines} requests, not {served}");
    if log.contains("GET /public HTTP") {
        bail!("the server heard of a head that had no end");
    }
    expect_balance(&daemon)?;
    daemon.stop()?;
    lab.down()
}
