//! The same questions to a table and to the oracle.

use std::net::IpAddr;

use policy_table::oracle::{Answer, Learned, Oracle, Question};
use policy_table::{
    Access, Denial, DnsVerdict, Flow, HttpRequest, HttpScratch, HttpVerdict, Names, Peer, Protocol,
    Settings, Snapshot, Table, explain,
};
use proptest::prelude::*;

use crate::cluster::{NAMES, STRANGERS};

/// Kinds of answers: the five of [`Answer`], flows and requests that pass in audit mode only.
pub(crate) const KINDS: usize = 7;
const PORTS: [u16; 5] = [79, 80, 443, 8080, 0];
const PROTOCOLS: [Protocol; 6] =
    [Protocol::TCP, Protocol::UDP, Protocol::SCTP, Protocol::ICMP, Protocol::ICMPV6, Protocol(47)];

const REQUESTS: [(&str, &str, &str, &str); 7] = [
    ("GET", "/a", "h", ""),
    ("GET", "/a?x=1", "h", "1"),
    ("PUT", "/b", "x.h", "1,2"),
    ("put", "/", "h:80", ""),
    ("POST", "/a/b", "", "2,1"),
    ("GET", "(", "h", "1"),
    ("GET", "/\u{e9}", ".h", ""),
];

/// Asks both about every pair of addresses, every protocol and port; returns how many answers of each kind there were.
pub(crate) fn ask(
    snapshot: &Snapshot,
    settings: &Settings,
    table: &Table,
) -> Result<[usize; KINDS], TestCaseError> {
    // Each pod is told other addresses of other names.
    let mut learned = Vec::new();
    let told = table.endpoints().iter().flat_map(|pod| pod.addresses.first()).zip(NAMES);
    for (pod, own) in told {
        for (name, address) in [
            (own, "8.8.8.8"),
            ("evil.com.", "172.16.1.1"),
            ("api.example.com.", "172.16.1.1"),
            (own, "192.168.0.2"),
            ("example.com.", "2001:db8::1"),
        ] {
            let address = address.parse().expect("an address");
            learned.push(Learned { pod: *pod, name: name.to_owned(), address });
        }
    }
    let oracle = Oracle::new(snapshot, settings).knowing(&learned);
    let sparing = Oracle::new(snapshot, settings).knowing(&learned).sparing();
    let mut scratch = HttpScratch::default();
    let mut seen = [0_usize; KINDS];
    let pods: Vec<IpAddr> =
        table.endpoints().iter().flat_map(|endpoint| endpoint.addresses.clone()).collect();
    let strangers = STRANGERS.map(|address| address.parse::<IpAddr>().expect("an address"));
    let everyone: Vec<IpAddr> = pods.iter().copied().chain(strangers).collect();
    let peer = |address| Peer {
        identity: table.identity_of(address),
        endpoint: table.endpoint_of(address),
    };
    for source in &everyone {
        for destination in &everyone {
            if !pods.contains(source) && !pods.contains(destination) {
                continue;
            }
            for protocol in PROTOCOLS {
                let asked: &[u16] = match protocol {
                    Protocol::TCP => &PORTS,
                    Protocol::ICMP | Protocol::ICMPV6 => &[8, 0, 128],
                    Protocol::SCTP => &[80, 65535],
                    Protocol(47) => &[0],
                    _ => &[53, 80],
                };
                for dst_port in asked.iter().copied() {
                    let flow = Flow {
                        source: peer(*source),
                        destination: peer(*destination),
                        protocol,
                        dst_port,
                    };
                    let question =
                        Question { source: *source, destination: *destination, protocol, dst_port };
                    let (would, expected) = (oracle.access(&question), sparing.access(&question));
                    let stops = |answer| matches!(answer, Answer::Deny { .. });
                    prop_assert!(stops(would) || would == expected, "audit mode denies nothing");
                    let mut names = Names::NONE;
                    for one in learned.iter().filter(|one| one.address == *destination) {
                        let pod = table.endpoint_of(one.pod);
                        if let Some(pod) = pod.filter(|pod| flow.source.endpoint == Some(*pod)) {
                            names.extend(&table.names_of(pod, &one.name));
                        }
                    }
                    let access = table.judge_named(&flow, &names);
                    let answer = match access {
                        Access::Allow(_) => Answer::Allow,
                        Access::Deny(Denial { direction, explicit, .. }) => {
                            Answer::Deny { direction, explicit }
                        }
                        Access::Inspect(_) => Answer::Inspect,
                        Access::Resolve(_) => Answer::Resolve,
                    };
                    prop_assert_eq!(answer, expected, "{:?}", question);
                    // What would have been denied, were no policy in audit mode, is told.
                    let audited = access.grounds().and_then(|grounds| grounds.audited);
                    let told = audited.map(|Denial { direction, explicit, .. }| Answer::Deny {
                        direction,
                        explicit,
                    });
                    let passes = stops(would) && !stops(expected);
                    prop_assert_eq!(told, passes.then_some(would), "{:?}", question);
                    let kind = match answer {
                        Answer::Allow => 0,
                        Answer::Deny { explicit: false, .. } => 1,
                        Answer::Deny { explicit: true, .. } => 2,
                        Answer::Inspect => 3,
                        Answer::Resolve => 4,
                    };
                    let mut see = |kind: usize| {
                        if let Some(count) = seen.get_mut(kind) {
                            *count += 1;
                        }
                    };
                    see(kind);
                    if passes {
                        see(5);
                    }
                    // A denial by rule names a deny rule; one by default names none.
                    let denial = match access {
                        Access::Deny(denial) => Some(denial),
                        _ => audited,
                    };
                    if let Some(denial) = denial {
                        prop_assert_eq!(
                            table.rule_of(denial.cause).is_some(),
                            denial.explicit,
                            "{:?}",
                            question
                        );
                    }
                    // What people are told is what happens.
                    let explains = |request: Option<&HttpRequest<'_>>| {
                        explain(snapshot, settings, &learned, &question, request)
                    };
                    let explained =
                        pods.first() == Some(source) && (protocol, dst_port) == (Protocol::TCP, 80);
                    if explained {
                        let passes = !matches!(answer, Answer::Deny { .. });
                        let said = explains(None);
                        prop_assert_eq!(said.passes, passes, "{}", said);
                        let audits = said.sides.iter().any(|side| side.audited.is_some());
                        prop_assert!(!said.passes || audits == told.is_some(), "{}", said);
                    }
                    if let Access::Resolve(dns) = &access {
                        for name in NAMES.into_iter().chain(["."]) {
                            let (refuses, would) = (
                                sparing.refuses_query(&question, name),
                                oracle.refuses_query(&question, name),
                            );
                            let (refused, told) = match table.judge_dns(dns, name) {
                                DnsVerdict::Deny(_) => (true, true),
                                DnsVerdict::Audit(_) => (false, true),
                                DnsVerdict::Allow(_) => (false, false),
                            };
                            prop_assert_eq!(refused, refuses, "{:?} {}", question, name);
                            if !passes {
                                prop_assert_eq!(told, would, "{:?} {}", question, name);
                            }
                            if told && !refused {
                                see(6);
                            }
                        }
                    }
                    let Access::Inspect(http) = access else { continue };
                    for (method, path, host, key) in REQUESTS {
                        let headers = |each: &mut dyn FnMut(&str, &[u8])| {
                            key.split(',')
                                .filter(|part| !part.is_empty())
                                .for_each(|part| each("X-k", part.as_bytes()));
                        };
                        let request = HttpRequest { method, path, host, headers: &headers };
                        let refused = sparing.refuses(&question, &request);
                        let (verdict, told) = match table.judge_http(&http, &request, &mut scratch)
                        {
                            HttpVerdict::Allow { audited, .. } => {
                                (None, audited.map(|(direction, _)| direction))
                            }
                            HttpVerdict::Deny { direction, .. } => (Some(direction), None),
                        };
                        if !passes && refused.is_none() {
                            let would = oracle.refuses(&question, &request);
                            prop_assert_eq!(told, would, "{:?} {:?}", question, request);
                        }
                        if told.is_some() {
                            see(6);
                        }
                        if explained {
                            let told = explains(Some(&request));
                            prop_assert_eq!(told.passes, refused.is_none(), "{}", told);
                        }
                        prop_assert_eq!(
                            verdict,
                            refused,
                            "{:?} {:?} key {:?}",
                            question,
                            request,
                            key
                        );
                    }
                }
            }
        }
    }
    Ok(seen)
}
