//! What the compiled table, the table read back from a compiled file, and the oracle say of a case's attempts, in a case's words.

use std::collections::BTreeMap;
use std::net::IpAddr;

use anyhow::{Result, anyhow, bail, ensure};
use policy_table::compiled::Compiled;
use policy_table::oracle::{Answer, Oracle, Question};
use policy_table::{
    Access, Direction, Flow, HttpRequest, HttpScratch, HttpVerdict, Identities, Peer, Protocol,
    Settings, Snapshot, Table,
};

use crate::cases::Probe;
use crate::probe::Means;

/// A step's policy, compiled.
#[derive(Debug)]
pub struct Judge {
    snapshot: Snapshot,
    settings: Settings,
    table: Table,
    /// Written to a compiled file and read back.
    reloaded: Table,
}

impl Judge {
    /// Reads and compiles a snapshot; `node` are the node's own addresses.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn new(text: &str, node: &[IpAddr]) -> Result<Self> {
        let loaded = Snapshot::parse(&[("case.yaml", text)]);
        let snapshot = loaded.map_err(|refusals| anyhow!("refused: {refusals}"))?.snapshot;
        let settings = Settings { host_addresses: node.to_vec(), ..Settings::default() };
        let table = Table::compile(&snapshot, &settings, &mut Identities::default(), 1);
        let made = Compiled::make(&[("case.yaml", text)], settings.enforcement);
        let (bytes, _) = made.map_err(|refusals| anyhow!("not compiled: {refusals}"))?;
        let reloaded = Compiled::read(&bytes)?.table(&settings, 1);
        let reloaded = reloaded.map_err(|refusals| anyhow!("not read back: {refusals}"))?;
        Ok(Self { snapshot, settings, table, reloaded })
    }

    /// What the table says; the one that was read back and the oracle must agree.
    ///
    /// # Errors
    /// When they do not, or an address is missing.
    pub fn says(&self, probe: &Probe, addresses: &BTreeMap<String, Vec<IpAddr>>) -> Result<String> {
        let address = |who: &str| {
            let found = addresses.get(who).and_then(|addresses| addresses.first()).copied();
            found.ok_or_else(|| anyhow!("{who} has no address"))
        };
        let (source, destination) = (address(&probe.from)?, address(&probe.to)?);
        let means = probe.means()?;
        let (protocol, dst_port) = match means {
            Means::Tcp { port } | Means::Http { port, .. } => (Protocol::TCP, port),
            Means::Udp { port } => (Protocol::UDP, port),
            Means::Sctp { port } => (Protocol::SCTP, port),
            Means::Ping => (Protocol::ICMP, 8),
        };
        let written = match &means {
            Means::Http { request, .. } => request.as_str(),
            Means::Tcp { .. } | Means::Udp { .. } | Means::Sctp { .. } | Means::Ping => {
                "GET / HTTP/1.1\r\n"
            }
        };
        let mut lines = written.lines();
        let mut first = lines.next().unwrap_or_default().split(' ');
        let (method, path) = (first.next().unwrap_or_default(), first.next().unwrap_or_default());
        let fields: Vec<(&str, &str)> = lines.filter_map(|line| line.split_once(": ")).collect();
        let headers = |each: &mut dyn FnMut(&str, &[u8])| {
            fields.iter().for_each(|(name, value)| each(name, value.as_bytes()));
        };
        let host = fields.iter().find(|(name, _)| *name == "Host").map_or("", |(_, host)| host);
        let request = HttpRequest { method, path, host, headers: &headers };
        let question = Question { source, destination, protocol, dst_port };
        let oracle = self.oracle(&question, &request, &means)?;
        let table = table_says(&self.table, &question, &request, &means)?;
        ensure!(table == oracle, "the table says {table}, the oracle {oracle}: {probe:?}");
        let reloaded = table_says(&self.reloaded, &question, &request, &means)?;
        ensure!(table == reloaded, "the table says {table}, read back {reloaded}: {probe:?}");
        Ok(table)
    }

    fn oracle(
        &self,
        question: &Question,
        request: &HttpRequest<'_>,
        means: &Means,
    ) -> Result<String> {
        // What happens: policies in audit mode deny nothing.
        let oracle = Oracle::new(&self.snapshot, &self.settings).sparing();
        Ok(match (oracle.access(question), means) {
            (Answer::Allow, Means::Http { .. }) => "200".to_owned(),
            (Answer::Allow, _) => "ok".to_owned(),
            (Answer::Deny { direction, explicit }, _) => denied(direction, explicit),
            (Answer::Inspect, Means::Http { .. }) => {
                oracle.refuses(question, request).map_or_else(|| "200".to_owned(), refused)
            }
            (Answer::Inspect, _) => "ok".to_owned(),
            (Answer::Resolve, _) => bail!("a case about DNS: {question:?}"),
        })
    }
}

fn table_says(
    table: &Table,
    question: &Question,
    request: &HttpRequest<'_>,
    means: &Means,
) -> Result<String> {
    let Question { source, destination, protocol, dst_port } = *question;
    let peer = |address| Peer {
        identity: table.identity_of(address),
        endpoint: table.endpoint_of(address),
    };
    let flow = Flow { source: peer(source), destination: peer(destination), protocol, dst_port };
    Ok(match (table.judge(&flow), means) {
        (Access::Allow(_), Means::Http { .. }) => "200".to_owned(),
        (Access::Allow(_), _) => "ok".to_owned(),
        (Access::Deny(denial), _) => denied(denial.direction, denial.explicit),
        (Access::Inspect(access), Means::Http { .. }) => {
            match table.judge_http(&access, request, &mut HttpScratch::default()) {
                HttpVerdict::Allow { .. } => "200".to_owned(),
                HttpVerdict::Deny { direction, .. } => refused(direction),
            }
        }
        (Access::Inspect(_), _) => "ok".to_owned(),
        (Access::Resolve(_), _) => bail!("a case about DNS: {question:?}"),
    })
}

fn denied(direction: Direction, explicit: bool) -> String {
    format!("{} {}", if explicit { 181 } else { 133 }, side(direction))
}

fn refused(direction: Direction) -> String {
    format!("403 {}", side(direction))
}

fn side(direction: Direction) -> &'static str {
    match direction {
        Direction::Ingress => "ingress",
        Direction::Egress => "egress",
    }
}
