//! The policies as lists: every rule in words, and every selector with those it selects.
//!
//! Arrives: a snapshot that was taken, and its table. Leaves: what `blastdoor policy get` and `policy selectors` show. Who is
//! selected is asked of the same label index as the compiler's and of the oracle, so that the lists cannot tell another story.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use hashbrown::HashMap;

use crate::compile::index::LabelIndex;
use crate::explain::{describe_http, describe_peer, describe_peers, describe_ports};
use crate::identity::Identity;
use crate::oracle::{Oracle, Who};
use crate::rule::{Direction, Effect, HttpRule, Peer, Peers, Ports, RuleOrigin};
use crate::snapshot::Snapshot;
use crate::table::{Settings, Table};

/// A rule, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Where it stands.
    pub rule: RuleOrigin,
    /// Which way it looks.
    pub direction: Direction,
    /// Whether it denies.
    pub denies: bool,
    /// Whether its policy is only tried (audit mode).
    pub audited: bool,
    /// The endpoints it applies to.
    pub subject: String,
    /// With whom.
    pub peers: String,
    /// On which ports.
    pub ports: String,
    /// Its HTTP rules, in the order in which `explain` numbers them.
    pub http: Vec<ListedHttp>,
}

/// An HTTP rule of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedHttp {
    /// The rule.
    pub rule: HttpRule,
    /// In words.
    pub text: String,
}

/// Every rule of a snapshot, as written and in that order.
pub fn rules(snapshot: &Snapshot) -> Vec<Listed> {
    let mut listed = Vec::new();
    for policy in &snapshot.policies {
        for rule in &policy.rules {
            for direction in [Direction::Ingress, Direction::Egress] {
                for clause in &rule.section(direction).clauses {
                    listed.push(Listed {
                        rule: policy.origin_of(clause),
                        direction,
                        denies: clause.effect == Effect::Deny,
                        audited: policy.audited,
                        subject: rule.subject.to_string(),
                        peers: describe_peers(&clause.peers),
                        ports: describe_ports(&clause.ports),
                        http: http(&clause.ports),
                    });
                }
            }
        }
    }
    listed
}

/// The HTTP rules of a clause, those of each `toPorts` item once.
fn http(ports: &Ports) -> Vec<ListedHttp> {
    let Ports::AnyOf(ports) = ports else { return Vec::new() };
    let mut lists: Vec<&Arc<Vec<HttpRule>>> = Vec::new();
    for list in ports.iter().filter_map(|port| port.l7.http()) {
        if !lists.iter().any(|known| Arc::ptr_eq(known, list)) {
            lists.push(list);
        }
    }
    let rules = lists.into_iter().flat_map(|list| list.iter());
    rules.map(|rule| ListedHttp { rule: rule.clone(), text: describe_http(rule) }).collect()
}

/// A way to name peers, who uses it and whom it selects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SelectorUse {
    /// In words.
    pub selector: String,
    /// The policies that use it, as `namespace/name`.
    pub policies: Vec<String>,
    /// In how many rules it stands.
    pub users: usize,
    /// The identities it selects, of those that have an address or are a pod's.
    pub identities: Vec<Identity>,
}

/// Every selector of peers in a snapshot; `table` must be compiled from it with these settings.
pub fn selectors(snapshot: &Snapshot, settings: &Settings, table: &Table) -> Vec<SelectorUse> {
    let mut uses: HashMap<&Peer, (BTreeSet<String>, usize)> = HashMap::new();
    for policy in &snapshot.policies {
        let name = match &policy.namespace {
            Some(namespace) => format!("{namespace}/{}", policy.name),
            None => policy.name.clone(),
        };
        for rule in &policy.rules {
            for clause in rule.ingress.clauses.iter().chain(&rule.egress.clauses) {
                let Peers::AnyOf(peers) = &clause.peers else { continue };
                for peer in peers {
                    let (policies, users) = uses.entry(peer).or_default();
                    policies.insert(name.clone());
                    *users = users.saturating_add(1);
                }
            }
        }
    }
    let index = LabelIndex::of(table.identities().iter());
    let oracle = Oracle::new(snapshot, settings);
    let present = present(snapshot, settings, table, &oracle);
    let selected = |peer: &Peer| -> Vec<Identity> {
        if let Peer::Endpoints(selector) = peer {
            let found = index.select(selector);
            let records = table.identities().iter().map(|record| record.identity);
            return records.filter(|identity| found.contains(identity.number())).collect();
        }
        if let Peer::Name(pattern) = peer {
            let names = table.names().filter(|(_, known)| *known == pattern);
            return names.map(|(identity, _)| identity).collect();
        }
        let peers = Peers::AnyOf(vec![peer.clone()]);
        // Whose policy it is counts only for names.
        let selects = |(_, who): &(&Identity, &Who<'_>)| oracle.is_peer(&peers, who, who);
        present.iter().filter(selects).map(|(identity, _)| *identity).collect()
    };
    let mut listed: Vec<SelectorUse> = uses
        .into_iter()
        .map(|(peer, (policies, users))| {
            let mut identities = selected(peer);
            identities.sort_unstable();
            let policies = policies.into_iter().collect();
            SelectorUse { selector: describe_peer(peer), policies, users, identities }
        })
        .collect();
    listed.sort_by(|a, b| (&a.selector, &a.policies).cmp(&(&b.selector, &b.policies)));
    listed
}

/// One of those behind every identity that has an address.
fn present<'s>(
    snapshot: &'s Snapshot,
    settings: &Settings,
    table: &Table,
    oracle: &Oracle<'s>,
) -> BTreeMap<Identity, Who<'s>> {
    let mut found = BTreeMap::new();
    // Pods are many, and looking for one by its address is slow.
    for pod in snapshot.pods.iter().filter(|pod| !pod.host_network) {
        let Some(&address) = pod.addresses.first() else { continue };
        found.entry(table.identity_of(address)).or_insert_with(|| Who {
            address,
            labels: snapshot.labels_of(pod),
            pod: Some(pod),
            outside: false,
        });
    }
    let prefixes = table.identities().iter().filter_map(|record| record.prefix);
    // What narrower prefixes leave of a prefix, or of the world, begins or ends at the border of one.
    let borders = prefixes.flat_map(|prefix| {
        let (first, last) = (prefix.network(), prefix.broadcast());
        [Some(first), Some(last), next(last), previous(first)].into_iter().flatten()
    });
    let world: [IpAddr; 2] = [[192, 0, 2, 1].into(), [0x2001, 0xdb8, 0, 0, 0, 0, 0, 1].into()];
    let nodes = snapshot.nodes.iter().flat_map(|node| node.addresses.iter().copied());
    let shared = snapshot.pods.iter().filter(|pod| pod.host_network);
    let shared = shared.flat_map(|pod| pod.addresses.iter().copied());
    let own = settings.host_addresses.iter().copied();
    for address in own.chain(nodes).chain(shared).chain(borders).chain(world) {
        found.entry(table.identity_of(address)).or_insert_with(|| oracle.who(address));
    }
    found
}

fn next(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(v4) => v4.to_bits().checked_add(1).map(|bits| IpAddr::V4(bits.into())),
        IpAddr::V6(v6) => v6.to_bits().checked_add(1).map(|bits| IpAddr::V6(bits.into())),
    }
}

fn previous(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(v4) => v4.to_bits().checked_sub(1).map(|bits| IpAddr::V4(bits.into())),
        IpAddr::V6(v6) => v6.to_bits().checked_sub(1).map(|bits| IpAddr::V6(bits.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Identities;

    const CLUSTER: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: deathstar, labels: {org: empire, class: deathstar}}
status: {podIP: 10.0.0.1}
---
apiVersion: v1
kind: Pod
metadata: {name: xwing, labels: {org: alliance, class: xwing}}
status: {podIP: 10.0.0.2}
---
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: rule1}
spec:
  endpointSelector: {matchLabels: {class: deathstar}}
  ingress:
  - fromEndpoints: [{matchLabels: {org: empire}}, {matchLabels: {org: nobody}}]
    toPorts:
    - ports: [{port: "80", protocol: TCP}, {port: "8080", protocol: TCP}]
      rules: {http: [{method: POST, path: /v1/request-landing}, {method: GET}]}
  - fromEntities: [host, cluster]
  - fromCIDRSet: [{cidr: 10.0.0.0/8, except: [10.0.0.0/9]}]
  ingressDeny:
  - fromCIDR: [10.0.0.0/9, 0.0.0.0/0]
"#;

    fn cluster() -> (Snapshot, Settings, Table) {
        let snapshot = Snapshot::parse(&[("all.yaml", CLUSTER)]).unwrap().snapshot;
        let host_addresses = vec!["10.0.0.9".parse().unwrap()];
        let settings = Settings { host_addresses, ..Settings::default() };
        let table = Table::compile(&snapshot, &settings, &mut Identities::default(), 1);
        (snapshot, settings, table)
    }

    #[test]
    fn every_rule_is_listed_with_its_http_rules_once() {
        let (snapshot, _, table) = cluster();
        let listed = rules(&snapshot);
        assert_eq!(listed.len(), 4);
        assert_eq!(
            listed.iter().map(|listed| &listed.rule).collect::<Vec<_>>(),
            table.rules().map(|(_, rule)| rule).collect::<Vec<_>>(),
            "a rule of the table and one of the list have one reference"
        );
        let texts: Vec<&str> = listed[0].http.iter().map(|http| http.text.as_str()).collect();
        assert_eq!(texts, ["method \"POST\", path \"/v1/request-landing\"", "method \"GET\""]);
        assert_eq!(listed[0].ports, "TCP/80 or TCP/8080");
        assert!(listed[3].denies && !listed[0].denies);
    }

    /// An identity is listed exactly under the selectors through which the table lets it in.
    #[test]
    fn a_selector_lists_whom_the_compiled_table_selects() {
        let (snapshot, settings, table) = cluster();
        let listed = selectors(&snapshot, &settings, &table);
        let identity = |address: &str| table.identity_of(address.parse().unwrap());
        let of = |selector: &str| {
            let found = listed.iter().find(|listed| listed.selector.contains(selector));
            found.unwrap_or_else(|| panic!("no {selector} in {listed:#?}")).identities.clone()
        };
        assert_eq!(of("org=empire"), [identity("10.0.0.1")]);
        assert_eq!(of("org=nobody"), []);
        assert_eq!(of("entity Host"), [Identity::HOST]);
        assert_eq!(of("10.0.0.0/8 but 10.0.0.0/9"), [identity("10.200.0.0")]);
        let world = [identity("10.200.0.0"), identity("10.1.0.0"), identity("8.8.8.8")];
        assert_eq!(BTreeSet::from_iter(of("0.0.0.0/0")), BTreeSet::from(world));
        let pods = [identity("10.0.0.1"), identity("10.0.0.2"), Identity::HOST];
        assert_eq!(BTreeSet::from_iter(of("entity Cluster")), BTreeSet::from(pods));
        assert!(
            listed.iter().all(|listed| listed.users == 1 && listed.policies == ["default/rule1"])
        );
    }
}
