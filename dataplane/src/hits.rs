//! What each rule did: a worker counts causes, the control thread turns them into rules and keeps the sums.
//!
//! A worker meets a [`Cause`], a place in its table, and adds one to it: one look-up in a map that never grows, no lock, no
//! search for the rule behind it. When the worker takes up another table, its [`Hits`] go to the control thread as they are,
//! because a cause means nothing in another table. Invariant: a hit is counted for one rule, the one that is told as deciding.

use std::sync::Arc;

use hashbrown::HashMap;
use policy_table::{Cause, Grounds, RuleOrigin, Table, rule::HttpRule};

/// Causes that one worker can tell apart between two collections; hits beyond are only counted as such.
const CAPACITY: usize = 4096;

/// Rules that no policy has any more are forgotten when this many more are kept than there are.
const SLACK: usize = 1024;

/// What one cause did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Connections it let through: when they opened, and again when a new policy was taken up while they lived.
    pub connections: u64,
    /// Requests it let through.
    pub requests: u64,
    /// Packets it denied.
    pub denied: u64,
}

impl Count {
    fn add(&mut self, other: &Self) {
        self.connections += other.connections;
        self.requests += other.requests;
        self.denied += other.denied;
    }
}

/// What the causes of one table did on one worker.
#[derive(Debug)]
pub struct Hits {
    table: Option<Arc<Table>>,
    counts: HashMap<Cause, Count>,
    /// How many causes find a place.
    room: usize,
    /// Hits of causes that found no place.
    lost: u64,
}

impl Hits {
    /// None yet, for causes of this table. Allocates all that it will ever need.
    pub fn new(table: Option<Arc<Table>>) -> Self {
        Self { table, counts: HashMap::with_capacity(CAPACITY), room: CAPACITY, lost: 0 }
    }

    /// Counts a connection that may pass on these grounds.
    pub fn connection(&mut self, grounds: &Grounds) {
        for cause in [&grounds.egress, &grounds.ingress].into_iter().flatten() {
            self.count(cause, |count| count.connections += 1);
        }
    }

    /// Counts a request that may pass for these causes.
    pub fn request<'a>(&mut self, causes: impl IntoIterator<Item = &'a Cause>) {
        for cause in causes {
            self.count(cause, |count| count.requests += 1);
        }
    }

    /// Counts a packet that a deny rule stopped; what no rule allows hits none.
    pub fn denied(&mut self, cause: Cause) {
        self.count(&cause, |count| count.denied += 1);
    }

    fn count(&mut self, cause: &Cause, add: impl FnOnce(&mut Count)) {
        if !cause.is_of_a_rule() {
            return;
        }
        if let Some(count) = self.counts.get_mut(cause) {
            return add(count);
        }
        if self.counts.len() >= self.room {
            self.lost += 1;
            return;
        }
        let mut count = Count::default();
        add(&mut count);
        self.counts.insert(*cause, count);
    }

    /// Ends this count and begins one for `table`. None if nothing was counted.
    pub fn turn(&mut self, table: Option<&Arc<Table>>) -> Option<Self> {
        if self.counts.is_empty() && self.lost == 0 {
            self.table = table.cloned();
            return None;
        }
        Some(std::mem::replace(self, Self::new(table.cloned())))
    }

    /// Whether they belong to this table.
    pub fn are_of(&self, table: Option<&Arc<Table>>) -> bool {
        match (&self.table, table) {
            (Some(own), Some(table)) => Arc::ptr_eq(own, table),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        }
    }
}

/// The sums of all workers, by rule. A rule is its reference: when its file, place or name changes, it is another.
#[derive(Debug, Default)]
pub struct HitBook {
    rules: HashMap<RuleOrigin, RuleHits>,
    lost: u64,
}

/// What one rule did.
#[derive(Clone, Debug, Default)]
pub struct RuleHits {
    /// All of it.
    pub count: Count,
    /// Requests that its HTTP rules let through.
    pub http: HashMap<HttpRule, u64>,
}

impl HitBook {
    /// Takes in what a worker counted.
    pub fn absorb(&mut self, hits: &Hits) {
        self.lost += hits.lost;
        let Some(table) = &hits.table else { return };
        for (cause, count) in &hits.counts {
            let Some(origin) = table.rule_of(*cause).and_then(|rule| table.rule(rule)) else {
                continue; // The node's own access, or default allow: nobody wrote it.
            };
            let rule = self.rules.entry_ref(origin).or_default();
            rule.count.add(count);
            if let Some(http) = table.http_rule_of(*cause) {
                *rule.http.entry_ref(http).or_default() += count.requests;
            }
        }
        if self.rules.len() > table.rule_count() + SLACK {
            let known: hashbrown::HashSet<&RuleOrigin> =
                table.rules().map(|(_, origin)| origin).collect();
            self.rules.retain(|origin, _| known.contains(origin));
        }
    }

    /// What a rule did.
    pub fn of(&self, rule: &RuleOrigin) -> Option<&RuleHits> {
        self.rules.get(rule)
    }

    /// Hits that could not be told apart.
    pub fn lost(&self) -> u64 {
        self.lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use policy_table::{
        Access, Flow, HttpRequest, HttpScratch, HttpVerdict, Identities, Peer, Protocol, Settings,
        Snapshot,
    };

    const CLUSTER: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: a, labels: {app: a}}
status: {podIP: 10.0.0.1}
---
apiVersion: v1
kind: Pod
metadata: {name: b, labels: {app: b}}
status: {podIP: 10.0.0.2}
---
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: rule1}
spec:
  endpointSelector: {matchLabels: {app: b}}
  ingress:
  - fromEndpoints: [{matchLabels: {app: a}}]
    toPorts:
    - ports: [{port: "80", protocol: TCP}]
      rules: {http: [{method: POST}, {method: GET}]}
  - toPorts: [{ports: [{port: "443", protocol: TCP}]}]
  ingressDeny:
  - toPorts: [{ports: [{port: "22", protocol: TCP}]}]
"#;

    fn table(text: &str) -> Arc<Table> {
        let snapshot = Snapshot::parse(&[("all.yaml", text)]).unwrap().snapshot;
        Arc::new(Table::compile(&snapshot, &Settings::default(), &mut Identities::default(), 1))
    }

    fn judge(table: &Table, dst_port: u16) -> Access {
        let peer = |address: &str| {
            let address = address.parse().unwrap();
            Peer { identity: table.identity_of(address), endpoint: table.endpoint_of(address) }
        };
        table.judge(&Flow {
            source: peer("10.0.0.1"),
            destination: peer("10.0.0.2"),
            protocol: Protocol::TCP,
            dst_port,
        })
    }

    fn hit(hits: &mut Hits, table: &Table, dst_port: u16) {
        match judge(table, dst_port) {
            Access::Allow(grounds) => hits.connection(&grounds),
            Access::Deny(denial) => hits.denied(denial.cause),
            Access::Resolve(_) => panic!("no rule is about DNS"),
            Access::Inspect(http) => {
                hits.connection(&http.grounds());
                for method in ["GET", "GET", "PUT"] {
                    let request = HttpRequest { method, path: "/", host: "", headers: &|_| {} };
                    match table.judge_http(&http, &request, &mut HttpScratch::default()) {
                        HttpVerdict::Allow { egress, ingress, .. } => {
                            hits.request(egress.iter().chain(&ingress));
                        }
                        HttpVerdict::Deny { cause, .. } => {
                            assert!(cause.is_no_request());
                            hits.denied(cause);
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn what_rules_did_is_counted_by_rule_and_http_rule() {
        let table = table(CLUSTER);
        let mut hits = Hits::new(Some(Arc::clone(&table)));
        for port in [80, 22, 22, 8080] {
            hit(&mut hits, &table, port);
        }
        let mut book = HitBook::default();
        book.absorb(&hits.turn(Some(&table)).unwrap());
        assert!(hits.turn(Some(&table)).is_none(), "what was collected is not counted again");
        let rules: Vec<&RuleOrigin> = table.rules().map(|(_, origin)| origin).collect();
        let [http, plain, deny] = rules[..] else { panic!("three rules") };
        let found = book.of(http).unwrap();
        assert_eq!(found.count, Count { connections: 1, requests: 2, denied: 0 });
        let by_method: Vec<(String, u64)> = found
            .http
            .iter()
            .map(|(rule, requests)| (rule.method.as_ref().unwrap().text().to_owned(), *requests))
            .collect();
        assert_eq!(by_method, [("GET".to_owned(), 2)], "the one that never matched has no count");
        assert!(book.of(plain).is_none(), "a dead rule");
        assert_eq!(book.of(deny).unwrap().count, Count { denied: 2, ..Count::default() });
    }

    #[test]
    fn sums_survive_a_new_table_while_the_rule_stays() {
        let mut book = HitBook::default();
        for text in [
            CLUSTER.to_owned(),
            format!("{CLUSTER}---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: x}}\n"),
        ] {
            let table = table(&text);
            let mut hits = Hits::new(Some(Arc::clone(&table)));
            hit(&mut hits, &table, 443);
            book.absorb(&hits);
        }
        let table = table(CLUSTER);
        assert_eq!(book.of(table.rules().nth(1).unwrap().1).unwrap().count.connections, 2);
    }

    #[test]
    fn causes_beyond_the_capacity_are_told_and_take_no_memory() {
        let table = table(CLUSTER);
        let mut hits = Hits { room: 1, ..Hits::new(Some(Arc::clone(&table))) };
        let room = hits.counts.capacity();
        assert!(room >= CAPACITY);
        for port in [22, 443, 443, 22] {
            hit(&mut hits, &table, port);
        }
        assert_eq!((hits.lost, hits.counts.len(), hits.counts.capacity()), (2, 1, room));
        let mut book = HitBook::default();
        book.absorb(&hits);
        assert_eq!(
            (book.lost(), book.of(table.rules().nth(2).unwrap().1).unwrap().count.denied),
            (2, 2)
        );
    }
}
