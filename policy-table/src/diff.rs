//! What a change of policies changes: who may reach whom before and after, and with which requests.
//!
//! Arrives: two snapshots. Leaves: the [`Change`]s, found by asking both tables the same questions: every pair of pods that
//! both snapshots have and of addresses the policies tell apart, every port between the borders the policies draw, and for
//! inspected ports a request that meets each HTTP rule. Pods of the same identity before and after are asked about once.
//! A pattern that is too large to be sampled is not covered; everything else that differs by peer or port is found.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use crate::HttpScratch;
use crate::identity::{Identities, Identity};
use crate::rule::pattern::Pattern;
use crate::rule::shape::Shape;
use crate::rule::{HeaderRule, PortSpec, Ports, Protocol};
use crate::snapshot::Snapshot;
use crate::table::{Settings, Table};
use crate::verdict::{Access, Flow, HttpRequest, Peer};

/// What becomes of a flow or a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It passes.
    Passes,
    /// It passes, as far as its requests do.
    Inspected,
    /// It passes, as far as its DNS queries do.
    Resolved,
    /// It is dropped; for a request, answered 403.
    Denied,
}

impl fmt::Display for Fate {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Passes => "allowed",
            Self::Inspected => "inspected",
            Self::Resolved => "DNS queries judged",
            Self::Denied => "denied",
        })
    }
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Who opens the flow, and how many more pods are like it.
    pub from: (String, usize),
    /// Whom it is for, and how many more pods are like it.
    pub to: (String, usize),
    /// The protocol.
    pub protocol: Protocol,
    /// The first and the last port (or ICMP type).
    pub ports: (u16, u16),
    /// Method and path, if it is about a request.
    pub request: Option<(String, String)>,
    /// Before.
    pub before: Fate,
    /// After.
    pub after: Fate,
}

impl fmt::Display for Change {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let party = |(name, more): &(String, usize)| match more {
            0 => name.clone(),
            more => format!("{name} (and {more} like it)"),
        };
        let (first, last) = self.ports;
        write!(out, "{} -> {} {}/{first}", party(&self.from), party(&self.to), self.protocol)?;
        if last > first {
            write!(out, "-{last}")?;
        }
        if let Some((method, path)) = &self.request {
            write!(out, " {method} {path}")?;
        }
        write!(out, ": {} -> {}", self.before, self.after)
    }
}

/// One side of the questions: a pod by name, or an address.
struct Party {
    name: String,
    more: usize,
    pod: bool,
    peers: [Peer; 2],
}

/// A request that meets some HTTP rule.
struct Sample {
    method: String,
    path: String,
    host: String,
    headers: Vec<HeaderRule>,
}

/// The protocols whose ports policies tell apart.
const PROTOCOLS: [Protocol; 5] =
    [Protocol::TCP, Protocol::UDP, Protocol::SCTP, Protocol::ICMP, Protocol::ICMPV6];

/// Compares two snapshots under the same settings.
pub fn diff(old: &Snapshot, new: &Snapshot, settings: &Settings) -> Vec<Change> {
    let mut identities = Identities::default();
    let tables = [old, new].map(|snapshot| Table::compile(snapshot, settings, &mut identities, 0));
    let parties = parties(&tables, settings);
    let samples = samples(&[old, new]);
    let mut scratches = [HttpScratch::default(), HttpScratch::default()];
    let mut changes = Vec::new();
    for protocol in PROTOCOLS {
        let borders: Vec<u16> = borders(&[old, new], protocol).into_iter().collect();
        let last_port =
            if matches!(protocol, Protocol::ICMP | Protocol::ICMPV6) { 255 } else { u16::MAX };
        for from in &parties {
            for to in parties.iter().filter(|to| from.pod || to.pod) {
                // Neighbouring runs of ports with one answer are one change.
                let mut open: Option<Change> = None;
                for (place, first) in borders.iter().enumerate() {
                    let next = borders.get(place.saturating_add(1));
                    let last = next.map_or(last_port, |next| next.saturating_sub(1));
                    let answers = [0, 1].map(|side: usize| {
                        let peer = |party: &Party| party.peers.get(side).copied();
                        let (Some(source), Some(destination), Some(table)) =
                            (peer(from), peer(to), tables.get(side))
                        else {
                            return None;
                        };
                        Some(table.judge(&Flow { source, destination, protocol, dst_port: *first }))
                    });
                    let [Some(before), Some(after)] = answers else { continue };
                    let change = |request, before, after| Change {
                        from: (from.name.clone(), from.more),
                        to: (to.name.clone(), to.more),
                        protocol,
                        ports: (*first, last),
                        request,
                        before,
                        after,
                    };
                    let fates = [fate(&before), fate(&after)];
                    let [was, is] = fates;
                    let flow = (was != is).then(|| change(None, was, is));
                    let goes_on = open.as_ref().zip(flow.as_ref()).is_some_and(|(open, flow)| {
                        (open.before, open.after) == (flow.before, flow.after)
                            && open.ports.1.checked_add(1) == Some(*first)
                    });
                    if goes_on {
                        if let Some(open) = &mut open {
                            open.ports.1 = last;
                        }
                    } else {
                        changes.extend(open.take());
                        open = flow;
                    }
                    if fates.contains(&Fate::Denied) || !fates.contains(&Fate::Inspected) {
                        continue;
                    }
                    for sample in &samples {
                        let [was, is] =
                            [(0, &before), (1, &after)].map(|(side, access): (usize, &Access)| {
                                match (access, tables.get(side), scratches.get_mut(side)) {
                                    (Access::Inspect(http), Some(table), Some(scratch)) => sample
                                        .judge(|request| {
                                            table.judge_http(http, request, scratch).is_allowed()
                                        }),
                                    (Access::Allow(_), _, _) => true,
                                    _ => false,
                                }
                            });
                        if was != is {
                            let named = |allowed| if allowed { Fate::Passes } else { Fate::Denied };
                            let request = Some((sample.method.clone(), sample.path.clone()));
                            changes.push(change(request, named(was), named(is)));
                        }
                    }
                }
                changes.extend(open);
            }
        }
    }
    changes
}

fn fate(access: &Access) -> Fate {
    match access {
        Access::Allow(_) => Fate::Passes,
        Access::Deny(_) => Fate::Denied,
        Access::Inspect(_) => Fate::Inspected,
        Access::Resolve(_) => Fate::Resolved,
    }
}

impl Sample {
    fn judge(&self, ask: impl FnOnce(&HttpRequest<'_>) -> bool) -> bool {
        let headers = |each: &mut dyn FnMut(&str, &[u8])| {
            for header in &self.headers {
                each(&header.name, header.value.as_deref().unwrap_or("x").as_bytes());
            }
        };
        ask(&HttpRequest {
            method: &self.method,
            path: &self.path,
            host: &self.host,
            headers: &headers,
        })
    }
}

/// Pods of both tables, one for each pair of identities, then the addresses the policies tell apart.
fn parties(tables: &[Table; 2], settings: &Settings) -> Vec<Party> {
    let [old, new] = tables;
    let mut pods: BTreeMap<(Identity, Identity), Party> = BTreeMap::new();
    for endpoint in old.endpoints().iter() {
        let (namespace, name) = (&endpoint.namespace, &endpoint.name);
        let found = [old, new].map(|table| {
            let index = table.endpoint_named(namespace, name)?;
            Some(Peer { identity: table.endpoint(index)?.identity, endpoint: Some(index) })
        });
        let [Some(before), Some(after)] = found else { continue };
        pods.entry((before.identity, after.identity))
            .and_modify(|party| party.more = party.more.saturating_add(1))
            .or_insert_with(|| Party {
                name: format!("{namespace}/{name}"),
                more: 0,
                pod: true,
                peers: [before, after],
            });
    }
    let world: [IpAddr; 2] = [[192, 0, 2, 1].into(), [0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 1].into()];
    let prefixes = tables
        .iter()
        .flat_map(|table| table.identities().iter())
        .filter_map(|record| record.prefix);
    let addresses: BTreeSet<IpAddr> = prefixes
        // A longer prefix may begin where this one does, or end where it ends, seldom both.
        .flat_map(|prefix| [prefix.network(), prefix.broadcast()])
        .chain(settings.host_addresses.first().copied())
        .chain(world)
        .filter(|address| tables.iter().all(|table| table.endpoint_of(*address).is_none()))
        .collect();
    let strangers = addresses.into_iter().map(|address| Party {
        name: format!("{address} ({})", new.identity_of(address)),
        more: 0,
        pod: false,
        peers: [old, new]
            .map(|table| Peer { identity: table.identity_of(address), endpoint: None }),
    });
    pods.into_values().chain(strangers).collect()
}

/// The ports at which what policies say may change.
fn borders(snapshots: &[&Snapshot], protocol: Protocol) -> BTreeSet<u16> {
    let mut borders = BTreeSet::from([0]);
    for snapshot in snapshots {
        let mut draw = |first: u16, last: u16| {
            borders.insert(first);
            borders.extend(last.checked_add(1));
        };
        for port in
            snapshot.pods.iter().flat_map(|pod| &pod.ports).filter(|port| port.name.is_some())
        {
            draw(port.port, port.port);
        }
        let rules = snapshot.policies.iter().flat_map(|policy| &policy.rules);
        for clause in rules.flat_map(|rule| rule.ingress.clauses.iter().chain(&rule.egress.clauses))
        {
            let Ports::AnyOf(ports) = &clause.ports else { continue };
            for port in ports.iter().filter(|port| port.protocol.covers(protocol)) {
                if let PortSpec::Range(first, last) = port.port {
                    draw(first, last);
                }
            }
        }
    }
    if matches!(protocol, Protocol::ICMP | Protocol::ICMPV6) {
        borders.retain(|border| *border <= 255);
    }
    borders
}

/// A request for each HTTP rule, and one that probably meets none.
fn samples(snapshots: &[&Snapshot]) -> Vec<Sample> {
    let plain = |method: &str, path: &str| Sample {
        method: method.to_owned(),
        path: path.to_owned(),
        host: String::new(),
        headers: Vec::new(),
    };
    let mut samples = vec![plain("GET", "/"), plain("DELETE", "/no-rule-names-this")];
    let mut seen = BTreeSet::new();
    for snapshot in snapshots {
        let rules = snapshot.policies.iter().flat_map(|policy| &policy.rules);
        for clause in rules.flat_map(|rule| rule.ingress.clauses.iter().chain(&rule.egress.clauses))
        {
            let Ports::AnyOf(ports) = &clause.ports else { continue };
            for rule in
                ports.iter().filter_map(|port| port.l7.http()).flat_map(|rules| rules.iter())
            {
                let of = |pattern: &Option<Pattern>, first, otherwise: &str| match pattern {
                    Some(pattern) => Shape::of(pattern)?.sample(first),
                    None => Some(otherwise.to_owned()),
                };
                let (Some(method), Some(path), Some(host)) = (
                    of(&rule.method, None, "GET"),
                    of(&rule.path, Some(b'/'), "/"),
                    of(&rule.host, None, ""),
                ) else {
                    continue;
                };
                if seen.insert((
                    method.clone(),
                    path.clone(),
                    host.clone(),
                    format!("{:?}", rule.headers),
                )) {
                    samples.push(Sample { method, path, host, headers: rule.headers.clone() });
                }
            }
        }
    }
    samples
}

#[cfg(test)]
mod tests {
    use super::*;

    const PODS: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: deathstar, labels: {org: empire, class: deathstar}}
status: {podIP: 10.0.0.1}
---
apiVersion: v1
kind: Pod
metadata: {name: tiefighter-1, labels: {org: empire}}
status: {podIP: 10.0.0.2}
---
apiVersion: v1
kind: Pod
metadata: {name: tiefighter-2, labels: {org: empire}}
status: {podIP: 10.0.0.3}
---
apiVersion: v1
kind: Pod
metadata: {name: xwing, labels: {org: alliance}}
status: {podIP: 10.0.0.4}
"#;

    fn snapshot(items: &str) -> Snapshot {
        let policy = format!(
            "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {{name: r}}\n\
             spec: {{endpointSelector: {{matchLabels: {{class: deathstar}}}}, ingress: [{items}]}}\n"
        );
        Snapshot::parse(&[("pods.yaml", PODS), ("r.yaml", &policy)]).unwrap().snapshot
    }

    fn told(old: &str, new: &str) -> Vec<String> {
        diff(&snapshot(old), &snapshot(new), &Settings::default())
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    const EMPIRE: &str = "fromEndpoints: [{matchLabels: {org: empire}}]";

    #[test]
    fn nothing_changed_is_no_change() {
        let items =
            format!("{{{EMPIRE}, toPorts: [{{ports: [{{port: \"80\", protocol: TCP}}]}}]}}");
        assert!(told(&items, &items).is_empty());
    }

    #[test]
    fn a_port_that_opens_is_told_once_for_all_who_are_alike() {
        let port = |port: &str| {
            format!("{{{EMPIRE}, toPorts: [{{ports: [{{port: \"{port}\", protocol: TCP}}]}}]}}")
        };
        assert_eq!(
            told(&port("80"), &format!("{}, {}", port("80"), port("443"))),
            [
                "default/tiefighter-1 (and 1 like it) -> default/deathstar TCP/443: denied -> allowed"
            ]
        );
        let narrow = told(&format!("{{{EMPIRE}}}"), &port("80"));
        assert!(narrow.contains(
            &"default/tiefighter-1 (and 1 like it) -> default/deathstar TCP/81-65535: allowed -> denied".to_owned()
        ));
        assert!(
            narrow.iter().any(|change| change.contains("UDP/0-65535: allowed -> denied")),
            "{narrow:?}"
        );
    }

    #[test]
    fn a_request_that_changes_is_told_by_a_sample() {
        let port = |http: &str| {
            format!(
                "{{{EMPIRE}, toPorts: [{{ports: [{{port: \"80\", protocol: TCP}}], rules: {{http: [{http}]}}}}]}}"
            )
        };
        let post = "{method: POST, path: \"/v1/request-landing\"}";
        let put = "{method: PUT, path: \"/v1/[a-z]+-port\"}";
        assert_eq!(
            told(&port(post), &port(&format!("{post}, {put}"))),
            [
                "default/tiefighter-1 (and 1 like it) -> default/deathstar TCP/80 PUT /v1/a-port: denied -> allowed"
            ]
        );
    }
}
