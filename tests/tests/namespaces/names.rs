//! Names: a real resolver, real clients that ask it, and servers in the world that only names open.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tests::daemon::Daemon;
use tests::lab::{Lab, Shape};
use tests::program::{self, Answer};

use crate::Case;
use crate::story::expect_balance;
use crate::uplink::outside;

const DNSMASQ: &[crate::Program] = &[("dnsmasq", "dnsmasq-base")];

const CLUSTER: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: client, labels: {app: client}}
---
apiVersion: v1
kind: Pod
metadata: {name: resolver, labels: {k8s-app: kube-dns}}
"#;

/// `client-egress-only-dns` of Cilium's connectivity tests, for our names.
const DNS_ONLY: &str = r#"
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: dns-only}
spec:
  endpointSelector: {matchLabels: {app: client}}
  egress:
  - toEndpoints: [{matchLabels: {k8s-app: kube-dns}}]
    toPorts:
    - ports: [{port: "53", protocol: ANY}]
      rules: {dns: [{matchPattern: "*.example.test"}]}
"#;

/// `to-fqdns`, with an HTTP rule beside the name.
const TO_FQDNS: &str = r#"
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: to-fqdns}
spec:
  endpointSelector: {matchLabels: {app: client}}
  egress:
  - toFQDNs: [{matchName: api.example.test}]
    toPorts:
    - ports: [{port: "8080", protocol: TCP}]
      rules: {http: [{method: GET, path: "/v1/"}]}
  - toFQDNs: [{matchPattern: "www.*.test"}]
    toPorts: [{ports: [{port: "8080", protocol: TCP}]}]
"#;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("names::a_name_opens_its_addresses_for_as_long_as_it_says", || story(1))
            .with(DNSMASQ),
        Case::new("names::the_same_with_two_workers", || story(2)).with(DNSMASQ),
    ]
}

/// A server that ends with its owner.
struct Running(Child);

impl Running {
    fn start(command: &mut Command) -> Result<Self> {
        let child =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        Ok(Self(child.with_context(|| format!("start {command:?}"))?))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// The names of the test. What an answer says may be used for a second.
fn resolver(lab: &Lab) -> Result<Running> {
    let address = format!("--listen-address={}", lab.pod("default/resolver")?.ipv4);
    let mut dnsmasq = lab.command("resolver", "dnsmasq");
    dnsmasq.args(["--keep-in-foreground", "--conf-file=/dev/null", "--pid-file=", "--user=root"]);
    dnsmasq.args(["--no-resolv", "--no-hosts", "--bind-interfaces", &address]);
    dnsmasq.args(["--host-record=api.example.test,192.0.2.2,1"]);
    dnsmasq.args(["--host-record=other.example.test,192.0.2.3,1"]);
    dnsmasq.args(["--cname=www.example.test,other.example.test,1"]);
    dnsmasq.args(["--host-record=evil.test,192.0.2.3,1"]);
    Running::start(&mut dnsmasq)
}

/// A client whose resolver is the pod.
struct Client<'l> {
    lab: &'l Lab,
    resolv_conf: String,
}

impl Client<'_> {
    fn run(&self, line: &str) -> Result<Answer> {
        let line = format!("mount --bind {} /etc/resolv.conf && {line}", self.resolv_conf);
        self.lab.shell("client", &line)
    }

    /// The status of a request, `timeout` or curl's complaint.
    fn get(&self, arguments: &str) -> Result<String> {
        let answer = self
            .run(&format!("curl -sS --max-time 2 -o /dev/null -w '%{{http_code}}' {arguments}"))?;
        Ok(match answer.code {
            Some(0) => answer.stdout,
            Some(28) => "timeout".to_owned(),
            _ => answer.stderr,
        })
    }

    fn expect(&self, arguments: &str, outcome: &str) -> Result<()> {
        let got = self.get(arguments)?;
        ensure!(got == outcome, "{arguments}: {got}, not {outcome}");
        Ok(())
    }

    fn resolves(&self, name: &str) -> Result<bool> {
        Ok(self.run(&format!("getent ahostsv4 {name}"))?.succeeded())
    }
}

/// What the running daemon explains about the client and an address.
fn explain(lab: &Lab, to: &str) -> Result<Answer> {
    let socket = lab.state().join("blastdoor.sock");
    let mut command = Command::new(lab.blastdoor());
    command.args(["policy", "explain", "--socket"]).arg(socket);
    command.args(["--from", "default/client", "--to", to, "--port", "8080"]);
    program::run(&mut command)
}

fn story(workers: usize) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("cluster.yaml");
    fs::write(&file, CLUSTER)?;
    let lab = Lab::up("test", &Shape { workers, ..Shape::default() }, &[file])?;
    outside(&lab)?;
    let config = directory.path().join("config.toml");
    let text = fs::read_to_string(lab.state().join("config.toml"))?;
    fs::write(&config, format!("{text}\n[dns]\ngrace_s = 1\n"))?;
    let daemon = Daemon::start_with(&lab, &config)?;
    let deathstar = program::ours("deathstar")?.display().to_string();
    let mut server = Command::new("ip");
    server.args(["netns", "exec", "bd-test-outside", &deathstar, "--listen", "[::]:8080"]);
    let server = Running::start(&mut server)?;
    let resolver = resolver(&lab)?;
    let resolv_conf = directory.path().join("resolv.conf");
    let address = lab.pod("default/resolver")?.ipv4;
    fs::write(&resolv_conf, format!("nameserver {address}\noptions timeout:1 attempts:3\n"))?;
    let client = Client { lab: &lab, resolv_conf: resolv_conf.display().to_string() };

    program::wait_for("the world without policy", Duration::from_secs(5), || {
        Ok((client.get("http://api.example.test:8080/v1/")? == "200").then_some(()))
    })?;
    client.expect("http://evil.test:8080/v1/", "200")?;

    // dns-only: names may be asked for, and nothing else passes.
    daemon.reload(|| lab.put("dns-only.yaml", DNS_ONLY))?;
    ensure!(client.resolves("api.example.test")?, "an allowed name");
    ensure!(daemon.drops("dns-name-refused")? == 0, "refused too early");
    ensure!(!client.resolves("evil.test")?, "a name that no rule allows");
    ensure!(daemon.drops("dns-name-refused")? > 0, "not counted");
    client.expect("http://api.example.test:8080/v1/", "timeout")?;
    client.expect("http://192.0.2.2:8080/v1/", "timeout")?;
    let over_tcp = client.run(&format!("curl -sS -m 2 telnet://{address}:53"))?;
    ensure!(over_tcp.code == Some(7), "DNS over TCP is reset, not left waiting: {over_tcp}");
    ensure!(daemon.drops("dns-over-tcp")? > 0, "not counted");

    // to-fqdns: the name's address and no other, the rule's requests and no others.
    daemon.reload(|| lab.put("to-fqdns.yaml", TO_FQDNS))?;
    client.expect("http://api.example.test:8080/v1/", "200")?;
    client.expect("-X POST http://api.example.test:8080/v1/request-landing", "403")?;
    client.expect("http://192.0.2.3:8080/v1/", "timeout")?;
    client.expect("http://other.example.test:8080/v1/", "timeout")?;
    client.expect("-X POST http://www.example.test:8080/v1/request-landing", "200")?;

    // The running daemon explains by what DNS told the pod; the files alone cannot.
    program::wait_for("an explanation by name", Duration::from_secs(10), || {
        client.expect("http://api.example.test:8080/v1/", "200")?;
        let told = explain(&lab, "192.0.2.2")?;
        Ok(told.stdout.contains("that this address is api.example.test.").then_some(told))
    })
    .and_then(|told| {
        ensure!(
            told.code == Some(0) && told.stdout.contains("its HTTP requests are judged"),
            "{told}"
        );
        Ok(())
    })?;
    let unknown = explain(&lab, "192.0.2.9")?;
    ensure!(unknown.code == Some(1), "nobody said what that address is: {unknown}");

    // What the answer said is over: one second, and one of grace.
    program::wait_for("the end of the name", Duration::from_secs(10), || {
        Ok((client.get("http://192.0.2.2:8080/v1/")? == "timeout").then_some(()))
    })?;
    client.expect("http://api.example.test:8080/v1/", "200")?;

    expect_balance(&daemon)?;
    drop((resolver, server));
    daemon.stop()?;
    lab.down()
}
