//! What the daemon answers about the policy in force: explanations, identities, rules and what they did, selectors.

use std::net::IpAddr;

use crossbeam::channel::bounded;
use policy_table::{Direction, oracle::Learned, rules, selectors};

use super::{Daemon, WORKER_PATIENCE};
use crate::{
    control::{
        listing::{
            EndpointList, HttpEntry, IdentityEntry, IdentityList, RuleEntry, RuleList,
            SelectorEntry, SelectorList,
        },
        question::{self, Asked, RulePlace},
        socket::Answer,
    },
    worker::Command,
};

impl Daemon {
    /// Answers `policy explain`.
    pub(super) fn explain(&self, asked: &Asked) -> Answer {
        let Some((snapshot, table)) = self.policy.in_force() else { return nothing_in_force() };
        let settings = self.policy.settings(&self.host_addresses);
        match question::answer(&snapshot, &settings, table, |pods| self.learned(pods), asked) {
            Ok((told, text)) => Answer::Explained { told: Box::new(told), text },
            Err(reason) => Answer::Wrong { reason },
        }
    }

    /// What DNS told the pods of these addresses, as the workers know it.
    fn learned(&self, pods: &[IpAddr]) -> Vec<Learned> {
        let (sender, receiver) = bounded(self.hands.len().max(1));
        for hand in &self.hands {
            hand.tell(Command::Learned { pods: pods.to_vec(), to: sender.clone() });
        }
        drop(sender);
        let mut learned = Vec::new();
        while let Ok(mut more) = receiver.recv_timeout(WORKER_PATIENCE) {
            learned.append(&mut more);
        }
        learned
    }

    /// Answers `endpoint list`.
    pub(super) fn endpoints(&self) -> Answer {
        if self.policy.table().is_none() {
            return nothing_in_force();
        }
        Answer::Endpoints { list: EndpointList(self.endpoint_status()) }
    }

    /// Answers `identity list`.
    pub(super) fn identities(&self) -> Answer {
        let Some(table) = self.policy.table() else { return nothing_in_force() };
        let entries = table.identities().iter().map(|record| {
            let prefix = record.prefix.map(|prefix| format!("cidr:{prefix}"));
            let labels = prefix.into_iter().chain(record.labels.iter().map(ToString::to_string));
            IdentityEntry { id: record.identity.number(), labels: labels.collect() }
        });
        let names = table.names().map(|(identity, pattern)| IdentityEntry {
            id: identity.number(),
            labels: vec![format!("fqdn:{pattern}")],
        });
        let mut entries: Vec<IdentityEntry> = entries.chain(names).collect();
        entries.sort_by_key(|entry| entry.id);
        Answer::Identities { list: IdentityList(entries) }
    }

    /// Answers `policy get`.
    pub(super) fn rules(&mut self) -> Answer {
        self.collect_hits();
        let Some((snapshot, table)) = self.policy.in_force() else { return nothing_in_force() };
        let entries = rules(&snapshot).into_iter().map(|listed| {
            let hits = self.hits.of(&listed.rule);
            let count = hits.map(|hits| hits.count).unwrap_or_default();
            let http = listed.http.iter().map(|http| HttpEntry {
                rule: http.text.clone(),
                requests: hits.and_then(|hits| hits.http.get(&http.rule)).copied().unwrap_or(0),
            });
            RuleEntry {
                policy: match (listed.denies, listed.audited) {
                    (false, false) => "Allow",
                    (false, true) => "Allow (Audit)",
                    (true, false) => "Deny",
                    (true, true) => "Deny (Audit)",
                }
                .to_owned(),
                direction: match listed.direction {
                    Direction::Ingress => "Ingress",
                    Direction::Egress => "Egress",
                }
                .to_owned(),
                endpoints: listed.subject,
                peers: listed.peers,
                ports: listed.ports,
                http: http.collect(),
                connections: count.connections,
                requests: count.requests,
                denied: count.denied,
                rule: RulePlace::from(&listed.rule),
            }
        });
        Answer::Rules(RuleList {
            revision: table.epoch(),
            rules: entries.collect(),
            unattributed: self.hits.lost(),
        })
    }

    /// Answers `policy selectors`.
    pub(super) fn selectors(&self) -> Answer {
        let Some((snapshot, table)) = self.policy.in_force() else { return nothing_in_force() };
        let settings = self.policy.settings(&self.host_addresses);
        let entries =
            selectors(&snapshot, &settings, table).into_iter().map(|used| SelectorEntry {
                selector: used.selector,
                labels: used.policies,
                users: used.users,
                identities: used.identities.into_iter().map(|identity| identity.number()).collect(),
            });
        Answer::Selectors { list: SelectorList(entries.collect()) }
    }

    /// Takes in what rules did since this was last done.
    fn collect_hits(&mut self) {
        let (sender, receiver) = bounded(self.hands.len().max(1));
        for hand in &self.hands {
            hand.tell(Command::Hits(sender.clone()));
        }
        drop(sender);
        while let Ok(hits) = receiver.recv_timeout(WORKER_PATIENCE) {
            self.hits.absorb(&hits);
        }
        self.absorb_hits();
    }

    /// Takes in what workers counted for tables that they use no more.
    pub(super) fn absorb_hits(&mut self) {
        while let Ok(hits) = self.retired_hits.try_recv() {
            self.hits.absorb(&hits);
        }
    }
}

fn nothing_in_force() -> Answer {
    let reason = "no policy is in force yet; `blastdoor status` says why the snapshot was refused";
    Answer::Refused { reason: reason.to_owned() }
}
