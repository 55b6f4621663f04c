//! A cluster to ask questions of: every answer is given by the oracle and by each leg of [`legs`], which must agree.

#![expect(clippy::expect_used, clippy::panic, reason = "a test that cannot go on has failed")]

use std::net::IpAddr;

use policy_table::compiled::Compiled;
use policy_table::oracle::{Answer, Learned, Oracle, Question};
use policy_table::{
    Access, Direction, DnsVerdict, Enforcement, Flow, Grounds, HttpRequest, HttpScratch,
    HttpVerdict, Identities, Names, Peer, Protocol, Settings, Snapshot, Table,
};

/// The node's own address.
pub(crate) const HOST: &str = "192.168.0.1";
/// Another node's.
pub(crate) const NODE: &str = "192.168.0.2";

/// A compiled cluster.
pub(crate) struct Lab {
    snapshot: Snapshot,
    settings: Settings,
    legs: [(&'static str, Table); 2],
    learned: Vec<Learned>,
}

/// The tables that must answer as the oracle does, each by its way into memory.
fn legs(
    sources: &[(&str, &str)],
    snapshot: &Snapshot,
    settings: &Settings,
) -> [(&'static str, Table); 2] {
    let (file, _) = Compiled::make(sources, settings.enforcement).expect("files that are taken");
    let file = Compiled::read(&file).expect("a file that is whole");
    [
        ("compiled", Table::compile(snapshot, settings, &mut Identities::default(), 1)),
        ("reloaded", file.table(settings, 1).expect("files that are taken")),
    ]
}

/// What is asked on an inspected flow.
#[derive(Clone, Copy)]
enum Asked<'a> {
    /// An HTTP request: method, path, host, headers.
    Request(&'a str, &'a str, &'a str, &'a [(&'a str, &'a str)]),
    /// A DNS query for a name.
    Query(&'a str),
}

/// A pod: namespace, name, labels as a flow mapping.
pub(crate) type PodRow<'a> = (&'a str, &'a str, &'a str);

impl Lab {
    /// A cluster of these pods (addresses 10.0.0.1 and up, ports `http-8080` 8080 and `dns` 53/UDP) and texts.
    pub(crate) fn new(pods: &[PodRow<'_>], texts: &[&str]) -> Self {
        Self::with(Enforcement::Default, pods, texts)
    }

    /// The same in another enforcement mode.
    pub(crate) fn with(enforcement: Enforcement, pods: &[PodRow<'_>], texts: &[&str]) -> Self {
        let mut cluster = String::from(
            "apiVersion: v1\nkind: Node\nmetadata: {name: n1}\nstatus: {addresses: [{type: InternalIP, address: 192.168.0.1}]}\n\
             ---\napiVersion: v1\nkind: Node\nmetadata: {name: n2}\n\
             status: {addresses: [{type: InternalIP, address: 192.168.0.2}]}\n",
        );
        for (index, (namespace, name, labels)) in pods.iter().enumerate() {
            cluster += &format!(
                "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: {namespace}, labels: {labels}}}\n\
                 spec: {{containers: [{{ports: [{{name: http-8080, containerPort: 8080}}, \
                 {{name: dns, containerPort: 53, protocol: UDP}}]}}]}}\nstatus: {{podIP: 10.0.0.{}}}\n",
                index + 1
            );
        }
        let names: Vec<String> =
            (0..texts.len()).map(|index| format!("policy-{index}.yaml")).collect();
        let mut sources = vec![("cluster.yaml", cluster.as_str())];
        sources.extend(names.iter().map(String::as_str).zip(texts.iter().copied()));
        let snapshot = match Snapshot::parse(&sources) {
            Ok(loaded) => loaded.snapshot,
            Err(refusals) => panic!("refused: {refusals}"),
        };
        let settings = Settings {
            enforcement,
            host_addresses: vec![HOST.parse().expect("an address")],
            audit: false,
        };
        let legs = legs(&sources, &snapshot, &settings);
        Self { snapshot, settings, legs, learned: Vec::new() }
    }

    /// The same cluster once a DNS answer told a pod an address of a name.
    pub(crate) fn told(mut self, pod: &str, name: &str, address: &str) -> Self {
        let (pod, address) = (self.address(pod), self.address(address));
        self.learned.push(Learned { pod, name: name.to_owned(), address });
        self
    }

    fn address(&self, who: &str) -> IpAddr {
        if let Ok(address) = who.parse() {
            return address;
        }
        let (namespace, name) = who.split_once('/').unwrap_or(("default", who));
        let found =
            self.snapshot.pods.iter().find(|pod| pod.namespace == namespace && pod.name == name);
        *found.and_then(|pod| pod.addresses.first()).expect("a pod of this name")
    }

    /// The answer for a flow between two pods (`namespace/name`, or a name of `default`) or addresses.
    pub(crate) fn ask(
        &self,
        from: &str,
        to: &str,
        protocol: Protocol,
        dst_port: u16,
    ) -> &'static str {
        self.request(from, to, protocol, dst_port, ("GET", "/", "", &[]))
    }

    /// The same over TCP.
    pub(crate) fn tcp(&self, from: &str, to: &str, dst_port: u16) -> &'static str {
        self.ask(from, to, Protocol::TCP, dst_port)
    }

    /// What becomes of a request over TCP.
    pub(crate) fn http(
        &self,
        from: &str,
        to: &str,
        dst_port: u16,
        method: &str,
        path: &str,
    ) -> &'static str {
        self.request(from, to, Protocol::TCP, dst_port, (method, path, "", &[]))
    }

    /// What becomes of a DNS query over UDP: as [`Lab::request`], or on a resolved flow `answered` or `refused`.
    pub(crate) fn dns(&self, from: &str, to: &str, name: &str) -> &'static str {
        self.asked(from, to, Protocol::UDP, 53, Asked::Query(name))
    }

    /// `ok`, `133` or `181` with the direction, or for an inspected flow `200` or `403` with the direction.
    pub(crate) fn request(
        &self,
        from: &str,
        to: &str,
        protocol: Protocol,
        dst_port: u16,
        (method, path, host, headers): (&str, &str, &str, &[(&str, &str)]),
    ) -> &'static str {
        self.asked(from, to, protocol, dst_port, Asked::Request(method, path, host, headers))
    }

    fn asked(
        &self,
        from: &str,
        to: &str,
        protocol: Protocol,
        dst_port: u16,
        asked: Asked<'_>,
    ) -> &'static str {
        let (source, destination) = (self.address(from), self.address(to));
        let question = Question { source, destination, protocol, dst_port };
        let expected = self.oracle_says(&question, asked);
        // The oracle knows audit mode of policies, not that of pods.
        let pods = self.snapshot.pods.iter().any(|pod| pod.audited);
        let bare = |text: &'static str| {
            if pods { text.trim_start_matches("audited ") } else { text }
        };
        for (leg, table) in &self.legs {
            assert_eq!(
                bare(self.table_says(table, &question, asked)),
                bare(expected),
                "the {leg} table and the oracle differ: {from} -> {to} {protocol}/{dst_port}"
            );
        }
        expected
    }

    /// What becomes of it where policies are only tried: what the oracle says, `audited` before what passes nevertheless.
    pub(crate) fn tried(&self, from: &str, to: &str, dst_port: u16, path: &str) -> &'static str {
        let asked = Asked::Request("GET", path, "", &[]);
        let (protocol, expected) =
            (Protocol::TCP, self.asked(from, to, Protocol::TCP, dst_port, asked));
        let question = Question {
            source: self.address(from),
            destination: self.address(to),
            protocol,
            dst_port,
        };
        let said = self.legs.first().map(|(_, table)| self.table_says(table, &question, asked));
        said.unwrap_or(expected)
    }

    /// What the oracle says, `audited` before what passes only because policies are in audit mode.
    fn oracle_says(&self, question: &Question, asked: Asked<'_>) -> &'static str {
        let oracle = || Oracle::new(&self.snapshot, &self.settings).knowing(&self.learned);
        let would = Self::says(&oracle(), question, asked);
        let does = Self::says(&oracle().sparing(), question, asked);
        if is_stopped(would) && !is_stopped(does) { audited(would) } else { does }
    }

    fn says(oracle: &Oracle<'_>, question: &Question, asked: Asked<'_>) -> &'static str {
        match (oracle.access(question), asked) {
            (Answer::Allow, _) => "ok",
            (Answer::Deny { direction, explicit }, _) => denied(direction, explicit),
            (Answer::Inspect, Asked::Request(method, path, host, headers)) => {
                let each = |each: &mut dyn FnMut(&str, &[u8])| {
                    headers.iter().for_each(|(name, value)| each(name, value.as_bytes()))
                };
                let request = HttpRequest { method, path, host, headers: &each };
                oracle.refuses(question, &request).map_or("200", refused)
            }
            (Answer::Resolve, Asked::Query(name)) => {
                answered(!oracle.refuses_query(question, name))
            }
            (Answer::Inspect, Asked::Query(_)) => "inspected",
            (Answer::Resolve, Asked::Request(..)) => "resolved",
        }
    }

    fn table_says(&self, table: &Table, question: &Question, asked: Asked<'_>) -> &'static str {
        let peer = |address| Peer {
            identity: table.identity_of(address),
            endpoint: table.endpoint_of(address),
        };
        let flow = Flow {
            source: peer(question.source),
            destination: peer(question.destination),
            protocol: question.protocol,
            dst_port: question.dst_port,
        };
        let mut names = Names::NONE;
        for learned in &self.learned {
            if let Some(endpoint) = flow.source.endpoint
                && table.endpoint_of(learned.pod) == Some(endpoint)
                && learned.address == question.destination
            {
                names.extend(&table.names_of(endpoint, &learned.name));
            }
        }
        match (table.judge_named(&flow, &names), asked) {
            (Access::Allow(Grounds { audited: Some(denial), .. }), _) => {
                audited(denied(denial.direction, denial.explicit))
            }
            (Access::Allow(_), _) => "ok",
            (Access::Deny(denial), _) => denied(denial.direction, denial.explicit),
            (Access::Inspect(access), Asked::Request(method, path, host, headers)) => {
                let each = |each: &mut dyn FnMut(&str, &[u8])| {
                    headers.iter().for_each(|(name, value)| each(name, value.as_bytes()))
                };
                let request = HttpRequest { method, path, host, headers: &each };
                match table.judge_http(&access, &request, &mut HttpScratch::default()) {
                    HttpVerdict::Allow { audited: told, .. } => {
                        match (access.grounds().audited, told) {
                            (Some(denial), _) => audited(denied(denial.direction, denial.explicit)),
                            (None, Some((direction, _))) => audited(refused(direction)),
                            (None, None) => "200",
                        }
                    }
                    HttpVerdict::Deny { direction, .. } => refused(direction),
                }
            }
            (Access::Resolve(access), Asked::Query(name)) => match table.judge_dns(&access, name) {
                DnsVerdict::Allow(_) => "answered",
                DnsVerdict::Audit(_) => "audited refused",
                DnsVerdict::Deny(_) => "refused",
            },
            (Access::Inspect(_), Asked::Query(_)) => "inspected",
            (Access::Resolve(_), Asked::Request(..)) => "resolved",
        }
    }
}

fn answered(allowed: bool) -> &'static str {
    if allowed { "answered" } else { "refused" }
}

fn denied(direction: Direction, explicit: bool) -> &'static str {
    match (direction, explicit) {
        (Direction::Ingress, false) => "133 ingress",
        (Direction::Ingress, true) => "181 ingress",
        (Direction::Egress, false) => "133 egress",
        (Direction::Egress, true) => "181 egress",
    }
}

fn is_stopped(outcome: &str) -> bool {
    outcome == "refused" || ["133", "181", "403"].iter().any(|number| outcome.starts_with(number))
}

/// What would have been stopped, and passes.
fn audited(stopped: &'static str) -> &'static str {
    match stopped {
        "133 ingress" => "audited 133 ingress",
        "181 ingress" => "audited 181 ingress",
        "403 ingress" => "audited 403 ingress",
        "133 egress" => "audited 133 egress",
        "181 egress" => "audited 181 egress",
        "403 egress" => "audited 403 egress",
        "refused" => "audited refused",
        other => other,
    }
}

fn refused(direction: Direction) -> &'static str {
    match direction {
        Direction::Ingress => "403 ingress",
        Direction::Egress => "403 egress",
    }
}

/// A CiliumNetworkPolicy of `default` about pods with `app: <subject>`.
pub(crate) fn cnp(name: &str, subject: &str, rest: &str) -> String {
    format!(
        "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {{name: {name}}}\n\
         spec: {{endpointSelector: {{matchLabels: {{app: {subject}}}}}, {rest}}}\n"
    )
}

/// A peer list of pods with `app: <name>`.
pub(crate) fn app(name: &str) -> String {
    format!("[{{matchLabels: {{app: {name}}}}}]")
}
