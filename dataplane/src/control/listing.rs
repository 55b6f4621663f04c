//! Lists that the daemon tells: endpoints, identities, rules with what they did, selectors. The shapes of `-o json`, and their text
//! in the columns that users of `cilium-dbg` know (`cilium-semantics.md` §5.1).
//!
//! Arrives: what the control thread knows. Leaves: rows. Invariant: a list's JSON has all that its text has.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{
    question::RulePlace,
    status::{EndpointStatus, enforcement, table},
};

/// `blastdoor endpoint list`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(transparent)]
pub struct EndpointList(pub Vec<EndpointStatus>);

impl fmt::Display for EndpointList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rows = vec![
            [
                "ENDPOINT",
                "POLICY (ingress) ENFORCEMENT",
                "POLICY (egress) ENFORCEMENT",
                "IDENTITY",
                "LABELS (source:key[=value])",
                "IPv6",
                "IPv4",
                "STATUS",
            ]
            .map(String::from),
        ];
        for endpoint in &self.0 {
            let of_family = |v6: bool| {
                let all = endpoint.addresses.iter().filter(|address| address.contains(':') == v6);
                all.cloned().collect::<Vec<_>>().join(",")
            };
            let mut labels = endpoint.labels.iter().cloned();
            rows.push([
                endpoint.pod.clone(),
                enforcement(endpoint.ingress_enforced, endpoint.ingress_audited).to_owned(),
                enforcement(endpoint.egress_enforced, endpoint.egress_audited).to_owned(),
                endpoint.identity.to_string(),
                labels.next().unwrap_or_default(),
                of_family(true),
                of_family(false),
                if endpoint.port.is_some() { "ready" } else { "no port" }.to_owned(),
            ]);
            rows.extend(labels.map(|label| {
                let mut row: [String; 8] = Default::default();
                row[4] = label;
                row
            }));
        }
        table(f, &rows)
    }
}

/// An identity.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct IdentityEntry {
    /// Its number.
    pub id: u32,
    /// What it stands for, as `source:key=value`; a prefix that a policy names is `cidr:…`.
    pub labels: Vec<String>,
}

/// `blastdoor identity list`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(transparent)]
pub struct IdentityList(pub Vec<IdentityEntry>);

impl fmt::Display for IdentityList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rows = vec![["ID", "LABELS"].map(String::from)];
        for identity in &self.0 {
            let mut labels = identity.labels.iter().cloned();
            rows.push([identity.id.to_string(), labels.next().unwrap_or_default()]);
            rows.extend(labels.map(|label| [String::new(), label]));
        }
        table(f, &rows)
    }
}

/// An HTTP rule and what it did.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct HttpEntry {
    /// The rule in words.
    pub rule: String,
    /// Requests it let through.
    pub requests: u64,
}

/// A rule and what it did.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct RuleEntry {
    /// `Allow` or `Deny`; with ` (Audit)` if its policy is only tried.
    pub policy: String,
    /// `Ingress` or `Egress`.
    pub direction: String,
    /// The endpoints it applies to.
    pub endpoints: String,
    /// With whom.
    pub peers: String,
    /// On which ports.
    pub ports: String,
    /// Its HTTP rules.
    pub http: Vec<HttpEntry>,
    /// Connections it let through.
    pub connections: u64,
    /// Requests it let through.
    pub requests: u64,
    /// Packets it denied.
    pub denied: u64,
    /// Where it stands.
    pub rule: RulePlace,
}

/// `blastdoor policy get`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct RuleList {
    /// The epoch of the policy in force.
    pub revision: u64,
    /// The rules, as written and in that order.
    pub rules: Vec<RuleEntry>,
    /// Hits that could not be told apart, because more causes were met than a worker remembers.
    pub unattributed: u64,
}

impl fmt::Display for RuleList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rows = vec![
            [
                "POLICY",
                "DIRECTION",
                "PORT/PROTO",
                "CONNECTIONS",
                "REQUESTS",
                "DENIED",
                "RULE",
                "PEERS",
                "ENDPOINTS",
            ]
            .map(String::from),
        ];
        for entry in &self.rules {
            let RulePlace { file, line, object, field } = &entry.rule;
            let requests = if entry.http.is_empty() && entry.requests == 0 {
                "-".to_owned()
            } else {
                entry.requests.to_string()
            };
            rows.push([
                entry.policy.clone(),
                entry.direction.clone(),
                entry.ports.clone(),
                entry.connections.to_string(),
                requests,
                entry.denied.to_string(),
                format!("{object} {field} ({file}:{line})"),
                entry.peers.clone(),
                entry.endpoints.clone(),
            ]);
            for (place, http) in entry.http.iter().enumerate() {
                let mut row: [String; 9] = Default::default();
                row[4] = http.requests.to_string();
                row[6] = format!("  http[{place}] {}", http.rule);
                rows.push(row);
            }
        }
        table(f, &rows)?;
        if self.unattributed > 0 {
            writeln!(f, "Hits of rules that could not be told apart: {}", self.unattributed)?;
        }
        writeln!(f, "Revision: {}", self.revision)
    }
}

/// A selector.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct SelectorEntry {
    /// In words.
    pub selector: String,
    /// The policies that use it, as `namespace/name`.
    pub labels: Vec<String>,
    /// In how many rules it stands.
    pub users: usize,
    /// The identities it selects.
    pub identities: Vec<u32>,
}

/// `blastdoor policy selectors`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(transparent)]
pub struct SelectorList(pub Vec<SelectorEntry>);

impl fmt::Display for SelectorList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rows = vec![["SELECTOR", "LABELS", "USERS", "IDENTITIES"].map(String::from)];
        for entry in &self.0 {
            let mut identities = entry.identities.iter().map(u32::to_string);
            rows.push([
                entry.selector.clone(),
                entry.labels.join(","),
                entry.users.to_string(),
                identities.next().unwrap_or_default(),
            ]);
            rows.extend(identities.map(|identity| {
                let mut row: [String; 4] = Default::default();
                row[3] = identity;
                row
            }));
        }
        table(f, &rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_in_the_columns_people_know() {
        let endpoint = EndpointStatus {
            pod: "default/deathstar-a".into(),
            identity: 257,
            ingress_enforced: true,
            ingress_audited: false,
            egress_enforced: true,
            egress_audited: true,
            labels: vec!["k8s:class=deathstar".into(), "k8s:org=empire".into()],
            addresses: vec!["10.0.0.1".into(), "fd00::1".into()],
            port: Some("bd1".into()),
        };
        let absent = EndpointStatus {
            pod: "default/xwing".into(),
            identity: 258,
            addresses: vec!["10.0.0.2".into()],
            ..EndpointStatus::default()
        };
        insta::assert_snapshot!(EndpointList(vec![endpoint, absent]).to_string());
    }

    #[test]
    fn identities_with_one_label_a_line() {
        let list = vec![
            IdentityEntry { id: 1, labels: vec!["reserved:host".into()] },
            IdentityEntry {
                id: 257,
                labels: vec!["k8s:class=deathstar".into(), "k8s:org=empire".into()],
            },
        ];
        insta::assert_snapshot!(IdentityList(list).to_string());
    }

    #[test]
    fn rules_with_what_they_did() {
        let rule = |field: &str, line| RulePlace {
            file: "rule1.yaml".into(),
            line,
            object: "CiliumNetworkPolicy default/rule1".into(),
            field: field.into(),
        };
        let http = |rule: &str, requests| HttpEntry { rule: rule.into(), requests };
        let list = RuleList {
            revision: 3,
            rules: vec![
                RuleEntry {
                    policy: "Allow".into(),
                    direction: "Ingress".into(),
                    endpoints: "{k8s:class=deathstar}".into(),
                    peers: "{any:org=empire}".into(),
                    ports: "TCP/80".into(),
                    http: vec![
                        http("method \"POST\", path \"/v1/request-landing\"", 12),
                        http("method \"GET\"", 0),
                    ],
                    connections: 4,
                    requests: 12,
                    denied: 0,
                    rule: rule("spec.ingress[0]", 8),
                },
                RuleEntry {
                    policy: "Deny".into(),
                    direction: "Ingress".into(),
                    endpoints: "{k8s:class=deathstar}".into(),
                    peers: "anyone".into(),
                    ports: "TCP/22".into(),
                    http: Vec::new(),
                    connections: 0,
                    requests: 0,
                    denied: 7,
                    rule: rule("spec.ingressDeny[0]", 15),
                },
            ],
            unattributed: 2,
        };
        insta::assert_snapshot!(list.to_string());
    }

    #[test]
    fn selectors_with_one_identity_a_line() {
        let entry = |selector: &str, identities: &[u32]| SelectorEntry {
            selector: selector.into(),
            labels: vec!["default/rule1".into(), "default/rule2".into()],
            users: 2,
            identities: identities.to_vec(),
        };
        let list = vec![entry("{any:org=empire}", &[257, 259]), entry("{any:org=nobody}", &[])];
        insta::assert_snapshot!(SelectorList(list).to_string());
    }
}
