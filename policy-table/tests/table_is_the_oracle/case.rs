//! A case: a cluster, policies in files of their own, and a mode.

use policy_table::{Enforcement, Settings};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use crate::cluster::{HOST, SURROUNDINGS, api_server, pod};
use crate::policy::{cilium, kubernetes};

#[derive(Clone)]
pub(crate) struct Case {
    cluster: String,
    policies: Vec<String>,
    pub(crate) enforcement: Enforcement,
}

impl std::fmt::Debug for Case {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{:?}\n{}\n{}", self.enforcement, self.cluster, self.policies.join("---\n"))
    }
}

pub(crate) fn case() -> impl Strategy<Value = Case> {
    let pods = (pod(1), pod(2), pod(3)).prop_map(|(a, b, c)| [a, b, c].concat());
    let policy = (prop_oneof![3 => cilium(), 1 => kubernetes()], prop::bool::weighted(0.3));
    let policies = vec(policy, 0..5);
    let modes = select(vec![
        Enforcement::Default,
        Enforcement::Default,
        Enforcement::Default,
        Enforcement::Default,
        Enforcement::Always,
        Enforcement::Never,
    ]);
    (pods, api_server(), policies, modes).prop_map(|(pods, api, policies, enforcement)| {
        let policies = policies
            .iter()
            .enumerate()
            .map(|(i, (text, audited))| {
                let tried = ", annotations: {blastdoor.io/policy-audit-mode: enabled}";
                text.replace("NAME", &format!("r{i}{}", if *audited { tried } else { "" }))
            })
            .collect();
        Case { cluster: format!("{pods}{api}"), policies, enforcement }
    })
}

impl Case {
    /// The files of the case, by name: a pod or a policy each, so that one of them can change alone.
    pub(crate) fn files(&self) -> Vec<(String, String)> {
        let pods = self.cluster.split("---\n").filter(|text| !text.is_empty());
        let pods = pods.enumerate().map(|(i, text)| (format!("cluster-{i}.yaml"), text.to_owned()));
        let policies = self.policies.iter().enumerate();
        let policies = policies.map(|(i, text)| (format!("policy-{i}.yaml"), text.clone()));
        let rest = [("rest.yaml".to_owned(), SURROUNDINGS.to_owned())];
        pods.chain(rest).chain(policies).collect()
    }

    pub(crate) fn settings(&self) -> Settings {
        Settings {
            enforcement: self.enforcement,
            host_addresses: vec![HOST.parse().expect("an address")],
            audit: false,
        }
    }
}
