//! The connectivity cases of `tests/cases/` on real packets: a prober in every pod, policies swapped under the running daemon.
//!
//! Each attempt has one of three ends: somebody answers it, the dataplane tells that it dropped it (which reason, which direction),
//! or neither is seen, which is a failure. So nothing waits for a silence. What was seen is compared with what the case's file says,
//! and so is what the compiled table says. Invariant: an attempt is recognised among the events by its own port.

#![expect(
    clippy::indexing_slicing,
    reason = "an absent field of JSON is null, which matches nothing"
)]

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::net::IpAddr;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tests::cases::{Case as Written, Cluster, File, Probe, Step};
use tests::daemon::Daemon;
use tests::lab::{Lab, Shape};
use tests::probe::{Attempt, Means, Prober};
use tests::program;
use tests::verdict::Judge;

use crate::Case;
use crate::story::expect_balance;

/// Where the world is.
const WORLD: [(&str, [u8; 4]); 2] = [("world", [1, 1, 1, 1]), ("other-world", [1, 0, 0, 1])];
/// The namespace beyond the node.
const BEYOND: &str = "bd-test-world";
/// How long all attempts of a step may take. Only a failing step takes it.
const PATIENCE: Duration = Duration::from_secs(8);
/// The snapshot's one file.
const SNAPSHOT: &str = "case.yaml";
/// Under which name events come in among what probers say.
const EVENTS: &str = "";

const PING: &[crate::Program] = &[("ping", "iputils-ping")];

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("connectivity::kubernetes_grid_on_real_packets", || play("grid.toml")).with(PING),
        Case::new("connectivity::the_tables_of_the_semantics_on_real_packets", || {
            play("semantics.toml")
        })
        .with(PING),
        Case::new("connectivity::the_connectivity_tests_on_real_packets", || {
            play("connectivity.toml")
        })
        .with(PING),
        Case::new("connectivity::published_policies_on_real_packets", || play("published.toml"))
            .with(PING)
            .with_shared(),
    ]
}

/// The lab, its daemon, a prober in every pod, and what they say.
struct Rig {
    cluster: Cluster,
    addresses: BTreeMap<String, Vec<IpAddr>>,
    node: Vec<IpAddr>,
    said: Receiver<(String, Value)>,
    probers: BTreeMap<String, Prober>,
    observer: Observer,
    daemon: Daemon,
    lab: Lab,
}

/// An `observe` that follows, ended with its owner.
struct Observer(Child);

impl Drop for Observer {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn play(name: &str) -> Result<()> {
    let directory = program::project_root().join("tests/cases");
    let cluster = Cluster::read(&directory.join("cluster.toml"))?;
    let file = File::read(&directory.join(name))?;
    let mut rig = Rig::new(cluster)?;
    let mut wrong = Vec::new();
    let (mut steps, mut probes) = (0, 0);
    for case in &file.case {
        for (number, step) in [&case.first].into_iter().chain(&case.then).enumerate() {
            if step.refused.is_some() {
                continue;
            }
            let place = || format!("{}, step {number} ({})", case.name, case.why);
            let expected = file.expected(&rig.cluster, step).with_context(place)?;
            let seen = rig.step(case, step, &expected).with_context(place)?;
            steps += 1;
            probes += expected.len();
            for (probe, expected) in &expected {
                let Probe { from, to, what } = probe;
                let seen = seen.get(probe).map_or("nothing at all", String::as_str);
                if seen != expected {
                    wrong.push(format!(
                        "{}: {from} -> {to} {what} must be {expected}, is {seen}",
                        place()
                    ));
                }
            }
        }
    }
    ensure!(
        wrong.is_empty(),
        "{} of {probes} attempts in {steps} steps:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    let Rig { daemon, lab, probers, observer, .. } = rig;
    drop((probers, observer));
    expect_balance(&daemon)?;
    daemon.stop()?;
    lab.down()
}

impl Rig {
    fn new(cluster: Cluster) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let manifest = directory.path().join("cluster.yaml");
        fs::write(&manifest, cluster.yaml(&Step::default(), &BTreeMap::new()))?;
        let lab = Lab::up("test", &Shape::default(), &[manifest])?;
        world(&lab)?;
        let mut addresses = BTreeMap::new();
        for pod in lab.pods()? {
            addresses.insert(pod.pod, vec![pod.ipv4.parse()?, pod.ipv6.parse()?]);
        }
        let node: Vec<IpAddr> =
            vec!["10.77.0.1".parse()?, "fd77::1".parse()?, "192.0.2.1".parse()?];
        addresses.insert("node".to_owned(), node.clone());
        for (name, address) in WORLD {
            addresses.insert(name.to_owned(), vec![address.into()]);
        }
        // One file for everything, so that each step is one change.
        lab.put(SNAPSHOT, &cluster.yaml(&Step::default(), &addresses))?;
        lab.take("cluster.yaml")?;
        let daemon = Daemon::start(&lab)?;
        let (sender, said) = channel();
        let observer = observe(&lab, &sender)?;
        let mut probers = BTreeMap::new();
        let program = program::ours("prober")?.display().to_string();
        let parties = cluster.pods.keys().cloned().chain(["node".to_owned(), "world".to_owned()]);
        for party in parties {
            let mut command = if party == "world" {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", BEYOND, &program]);
                command
            } else {
                lab.command(&party, &program)
            };
            command.args(["--tcp", "80,81,443,8080", "--udp", "80,81", "--sctp", "80,81"]);
            probers.insert(party.clone(), Prober::start(command, &party, sender.clone())?);
        }
        let rig = Self { cluster, addresses, node, said, probers, observer, daemon, lab };
        rig.await_ready()?;
        Ok(rig)
    }

    fn await_ready(&self) -> Result<()> {
        let mut ready = 0;
        while ready < self.probers.len() {
            let (_, value) = self.said.recv_timeout(PATIENCE).context("a prober does not start")?;
            ready += usize::from(value["ready"] == true);
        }
        Ok(())
    }

    /// Puts a step in force and makes its attempts; what was seen of each.
    fn step(
        &mut self,
        case: &Written,
        step: &Step,
        expected: &BTreeMap<Probe, String>,
    ) -> Result<BTreeMap<Probe, String>> {
        let policies = step.text(&crate::shared())?;
        let text =
            format!("# {}\n{}{policies}", case.name, self.cluster.yaml(step, &self.addresses));
        // The table must say what is written, too; what it says is not what is expected of packets.
        let judge = Judge::new(&text, &self.node)?;
        for (probe, wanted) in expected {
            let said = judge.says(probe, &self.addresses)?;
            ensure!(said == *wanted, "the table says {said}, {wanted} is written: {probe:?}");
        }
        self.daemon.reload(|| self.lab.put(SNAPSHOT, &text))?;
        let outcome = self.attempt(expected.keys());
        for prober in self.probers.values_mut() {
            prober.begin(&[])?;
        }
        outcome
    }

    fn attempt<'p>(
        &mut self,
        probes: impl Iterator<Item = &'p Probe>,
    ) -> Result<BTreeMap<Probe, String>> {
        // What was said of the step before.
        while self.said.try_recv().is_ok() {}
        let mut watch = Watch::default();
        let mut batches: BTreeMap<&str, Vec<Attempt>> = BTreeMap::new();
        for (id, probe) in probes.enumerate() {
            let address = |who: &str| {
                let found = self.addresses.get(who).and_then(|all| all.first()).copied();
                found.with_context(|| format!("{who} has no address"))
            };
            let means = probe.means()?;
            watch.add(probe, &means, address(&probe.from)?, address(&probe.to)?);
            let attempt = Attempt { id, address: address(&probe.to)?, means };
            batches.entry(&probe.from).or_default().push(attempt);
        }
        for (from, attempts) in &batches {
            let prober = self.probers.get_mut(*from).with_context(|| format!("{from}: nobody"))?;
            prober.begin(attempts)?;
        }
        let end = program::now() + PATIENCE;
        while !watch.is_done() {
            let left = end.saturating_duration_since(program::now());
            match self.said.recv_timeout(left) {
                Ok((name, value)) if name == EVENTS => watch.event(&value),
                Ok((_, value)) => watch.said(&value),
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => bail!("the probers are gone"),
            }
        }
        Ok(watch.outcomes())
    }
}

/// A flow as an event names it: protocol, addresses, ports; the ports of ICMP are 0.
type Key = (&'static str, IpAddr, u64, IpAddr, u64);

/// The attempts of a step, and what was seen of each.
#[derive(Default)]
struct Watch {
    attempts: Vec<Watched>,
    undecided: BTreeSet<usize>,
    flows: HashMap<Key, usize>,
    /// What was dropped; an event may come before the prober has told its port.
    dropped: HashMap<Key, String>,
}

struct Watched {
    probe: Probe,
    protocol: &'static str,
    from: IpAddr,
    to: IpAddr,
    port: u64,
    answer: Option<String>,
    dropped: Option<String>,
}

impl Watched {
    /// What is known for sure.
    fn outcome(&self) -> Option<String> {
        match (&self.answer, &self.dropped) {
            // A 403 is known by its answer, its side by its event.
            (Some(status), Some(dropped)) if status == "403" && dropped.starts_with("403") => {
                Some(dropped.clone())
            }
            (Some(status), None) if status == "403" => None,
            (Some(answer), None) => Some(answer.clone()),
            (None, Some(dropped)) if !dropped.starts_with("403") => Some(dropped.clone()),
            (None, _) => None,
            (Some(answer), Some(dropped)) => Some(format!("{answer}, and {dropped}")),
        }
    }
}

impl Watch {
    fn add(&mut self, probe: &Probe, means: &Means, from: IpAddr, to: IpAddr) {
        let (protocol, port) = match means {
            Means::Tcp { port } | Means::Http { port, .. } => ("TCP", *port),
            Means::Udp { port } => ("UDP", *port),
            Means::Sctp { port } => ("SCTP", *port),
            Means::Ping => ("ICMPv4", 0),
        };
        let (id, probe, port) = (self.attempts.len(), probe.clone(), u64::from(port));
        let (answer, dropped) = (None, None);
        self.attempts.push(Watched { probe, protocol, from, to, port, answer, dropped });
        self.undecided.insert(id);
        if *means == Means::Ping {
            self.flows.insert((protocol, from, 0, to, 0), id);
        }
    }

    /// What a prober says.
    fn said(&mut self, value: &Value) {
        let id = value["id"].as_u64().and_then(|id| usize::try_from(id).ok());
        let Some((id, attempt)) = id.and_then(|id| Some((id, self.attempts.get_mut(id)?))) else {
            return;
        };
        if let Some(said) = value["said"].as_str() {
            attempt.answer = Some(said.to_owned());
        }
        if let Some(own) = value["from_port"].as_u64() {
            let flow = (attempt.protocol, attempt.from, own, attempt.to, attempt.port);
            attempt.dropped = self.dropped.get(&flow).cloned();
            self.flows.insert(flow, id);
        }
        self.decide(id);
    }

    /// What the dataplane tells.
    fn event(&mut self, event: &Value) {
        let flow = &event["flow"];
        if flow["verdict"] != "DROPPED" {
            return;
        }
        let known = ["TCP", "UDP", "SCTP", "ICMPv4"];
        let Some(protocol) = known.into_iter().find(|name| !flow["l4"][name].is_null()) else {
            return;
        };
        let address = |field: &str| flow["IP"][field].as_str().and_then(|text| text.parse().ok());
        let (Some(from), Some(to)) = (address("source"), address("destination")) else { return };
        let l4 = &flow["l4"][protocol];
        let port = |field: &str| l4[field].as_u64().unwrap_or(0);
        let key = (protocol, from, port("source_port"), to, port("destination_port"));
        let side = flow["traffic_direction"].as_str().unwrap_or("nowhere").to_lowercase();
        let dropped = match flow["Type"].as_str() {
            Some("L7") => format!("403 {side}"),
            _ => format!("{} {side}", flow["drop_reason"]),
        };
        self.dropped.insert(key, dropped.clone());
        let Some(id) = self.flows.get(&key).copied() else { return };
        if let Some(attempt) = self.attempts.get_mut(id) {
            attempt.dropped = Some(dropped);
        }
        self.decide(id);
    }

    fn decide(&mut self, id: usize) {
        if self.attempts.get(id).is_some_and(|attempt| attempt.outcome().is_some()) {
            self.undecided.remove(&id);
        }
    }

    fn is_done(&self) -> bool {
        self.undecided.is_empty()
    }

    fn outcomes(self) -> BTreeMap<Probe, String> {
        let seen = self.attempts.into_iter().map(|attempt| {
            let half = || format!("answered {:?}, dropped {:?}", attempt.answer, attempt.dropped);
            let outcome = attempt.outcome().unwrap_or_else(half);
            (attempt.probe, outcome)
        });
        seen.collect()
    }
}

/// Follows the daemon's events.
fn observe(lab: &Lab, said: &Sender<(String, Value)>) -> Result<Observer> {
    use std::io::{BufRead, BufReader};
    let mut child = Command::new(lab.blastdoor())
        .args(["observe", "--last", "0", "--follow", "-o", "json", "--socket"])
        .arg(lab.state().join("blastdoor.sock"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("start observe")?;
    let output = BufReader::new(child.stdout.take().context("observe's standard output")?);
    let said = said.clone();
    std::thread::Builder::new().spawn(move || {
        for line in output.lines().map_while(Result::ok) {
            let event = serde_json::from_str(&line).unwrap_or(Value::Null);
            if said.send((EVENTS.to_owned(), event)).is_err() {
                return;
            }
        }
    })?;
    Ok(Observer(child))
}

/// A host beyond the node, which the node routes to.
fn world(lab: &Lab) -> Result<()> {
    let own: Vec<String> = WORLD
        .iter()
        .map(|(_, address)| {
            let address = IpAddr::from(*address);
            format!("ip -n {BEYOND} address add {address}/32 dev lo && ip route add {address}/32 via 192.0.2.2")
        })
        .collect();
    let line = format!(
        "ip netns add {BEYOND} && ip link add world0 type veth peer name eth0 netns {BEYOND} && \
         ip address add 192.0.2.1/24 dev world0 && ip link set world0 up && \
         ip -n {BEYOND} link set lo up && ip -n {BEYOND} address add 192.0.2.2/24 dev eth0 && \
         ip -n {BEYOND} link set eth0 up && {} && \
         ip -n {BEYOND} route add 10.77.0.0/24 via 192.0.2.1 src 1.1.1.1 && \
         ip netns exec {BEYOND} ethtool -K eth0 tx off && sysctl -qw net.ipv4.ip_forward=1",
        own.join(" && ")
    );
    let answer = lab.shell("node", &line)?;
    ensure!(answer.succeeded(), "{answer}");
    Ok(())
}
