//! Policy changes while traffic runs: nothing that stays allowed is lost, and no packet is judged by two policies.
//!
//! `BLASTDOOR_POLICY_CHANGES` (100 unless given) is how many changes there are.

use std::env;
use std::fs::File;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use tests::lab::Lab;
use tests::program;

use crate::Case;
use crate::reload::Steady;
use crate::story::{expect_balance, own_manifests, star_wars_lab};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("churn::policy_changes_lose_nothing_and_judge_by_one_epoch", churn),
        Case::new("churn::a_revoked_judged_connection_is_reset", judged_revoked),
    ]
}

/// What holds all the time: the tiefighter may ping and land.
const ALWAYS: &str = r#"
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: always}
spec:
  endpointSelector: {matchLabels: {class: deathstar}}
  ingress:
  - fromEndpoints: [{matchLabels: {class: tiefighter}}]
    icmps: [{fields: [{type: 8}]}]
  - fromEndpoints: [{matchLabels: {class: tiefighter}}]
    toPorts:
    - ports: [{port: "80", protocol: TCP}]
      rules: {http: [{method: POST, path: /v1/request-landing}]}
"#;

/// The x-wing may send to one port, and the Death Star may take from another: together they let nothing pass. The next
/// change exchanges the two, so a packet that was judged by the old egress and the new ingress would pass.
fn crossed(egress: u16, ingress: u16) -> String {
    format!(
        "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {{name: egress}}\nspec:\n  \
         endpointSelector: {{matchLabels: {{class: xwing}}}}\n  egress:\n  \
         - toEndpoints: [{{matchLabels: {{class: deathstar}}}}]\n    \
           toPorts: [{{ports: [{{port: \"{egress}\", protocol: UDP}}]}}]\n---\n\
         apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {{name: ingress}}\nspec:\n  \
         endpointSelector: {{matchLabels: {{class: deathstar}}}}\n  ingress:\n  \
         - fromEndpoints: [{{matchLabels: {{class: xwing}}}}]\n    \
           toPorts: [{{ports: [{{port: \"{ingress}\", protocol: UDP}}]}}]\n"
    )
}

/// A program in a pod that runs until it is told to stop.
struct Running(Child);

impl Running {
    fn start(lab: &Lab, pod: &str, line: &str, log: &std::path::Path) -> Result<Self> {
        let mut command = lab.command(pod, "bash");
        command.args(["-c", line]).stdout(File::create(log)?).stderr(Stdio::null());
        Ok(Self(command.spawn().with_context(|| format!("start {line}"))?))
    }

    /// Interrupts it and waits for its end.
    fn interrupt(&mut self) -> Result<()> {
        let pid = self.0.id().to_string();
        program::run_well(Command::new("kill").args(["-INT", &pid]))?;
        self.0.wait().map(drop).context("wait for an interrupted program")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn churn() -> Result<()> {
    let changes: u16 =
        env::var("BLASTDOOR_POLICY_CHANGES").ok().and_then(|n| n.parse().ok()).unwrap_or(100);
    let manifests = own_manifests();
    let (lab, daemon) = star_wars_lab(&manifests, 1)?;
    daemon.reload(|| lab.put("always.yaml", ALWAYS))?;
    daemon.reload(|| lab.put("crossed.yaml", &crossed(7001, 7002)))?;
    let server = death_star(&lab)?;

    let judged = Steady::start(&lab, "tiefighter", &format!("{server}:80"))?;
    let log = lab.state().join("logs/ping.log");
    let ping = format!("exec ping -n -q -i 0.01 {server}");
    let mut ping = Running::start(&lab, "tiefighter", &ping, &log)?;
    let flood = format!(
        "while :; do for port in 7001 7002; do echo x > /dev/udp/{server}/$port; done; done"
    );
    let flood = Running::start(&lab, "xwing", &flood, &lab.state().join("logs/flood.log"))?;

    let before = (arrived(&lab)?, daemon.drops("policy-denied")?);
    for change in 0..changes {
        let (egress, ingress) = if change % 2 == 0 { (7002, 7001) } else { (7001, 7002) };
        daemon.reload(|| lab.put("crossed.yaml", &crossed(egress, ingress)))?;
    }
    let after = (arrived(&lab)?, daemon.drops("policy-denied")?);
    ensure!(
        after.1 > before.1 + u64::from(changes),
        "the flood was no flood: {before:?} {after:?}"
    );
    ensure!(after.0 == before.0, "{} datagrams were judged by two policies", after.0 - before.0);
    judged.expect_answers().context("a connection that was always allowed")?;
    ping.interrupt()?;
    let told = std::fs::read_to_string(&log)?;
    let (sent, received) = counts(&told).with_context(|| format!("ping said {told:?}"))?;
    // The last one may be under way when it is interrupted.
    ensure!(
        sent > u64::from(changes) && received + 1 >= sent,
        "of {sent} pings {received} arrived"
    );

    // That the datagrams would have been seen: where both sides allow a port, they are.
    daemon.reload(|| lab.put("crossed.yaml", &crossed(7001, 7001)))?;
    program::wait_for("a datagram that is allowed", std::time::Duration::from_secs(5), || {
        Ok((arrived(&lab)? > after.0).then_some(()))
    })?;
    drop((flood, judged));
    expect_balance(&daemon)?;
    daemon.stop()?;
    lab.down()
}

/// A connection whose requests were judged is not left to stall when nothing of it may pass any more.
fn judged_revoked() -> Result<()> {
    let manifests = own_manifests();
    let (lab, daemon) = star_wars_lab(&manifests, 1)?;
    daemon.reload(|| lab.put("always.yaml", ALWAYS))?;
    let judged = Steady::start(&lab, "tiefighter", &format!("{}:80", death_star(&lab)?))?;
    daemon
        .reload(|| lab.put("always.yaml", &ALWAYS.replace("class: tiefighter", "class: gone")))?;
    let last = judged.expect_broken()?;
    ensure!(last.contains("reset"), "it ended, but not by a reset: {last}");
    drop(judged);
    expect_balance(&daemon)?;
    daemon.stop()?;
    lab.down()
}

fn death_star(lab: &Lab) -> Result<String> {
    let pods = lab.pods()?;
    let found = pods.into_iter().find(|pod| pod.pod.starts_with("default/deathstar"));
    found.map(|pod| pod.ipv4).context("the lab has no Death Star")
}

/// How many datagrams the Death Star was given, whether somebody listened or not.
fn arrived(lab: &Lab) -> Result<u64> {
    let pods = lab.pods()?;
    let found = pods.into_iter().find(|pod| pod.pod.starts_with("default/deathstar"));
    let pod = found.context("the lab has no Death Star")?.pod;
    let snmp = lab.shell(&pod, "cat /proc/net/snmp")?.stdout;
    let mut lines = snmp.lines().filter_map(|line| line.strip_prefix("Udp: "));
    let (names, values) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let named = names.split(' ').zip(values.split(' '));
    let counted = named.filter(|(name, _)| matches!(*name, "InDatagrams" | "NoPorts"));
    Ok(counted.filter_map(|(_, value)| value.parse::<u64>().ok()).sum())
}

/// The two numbers of ping's `N packets transmitted, M received`.
fn counts(told: &str) -> Option<(u64, u64)> {
    let line = told.lines().find(|line| line.contains(" packets transmitted, "))?;
    let mut words = line.split(", ");
    let number = |text: &str| text.split(' ').next()?.parse().ok();
    Some((number(words.next()?)?, number(words.next()?)?))
}
