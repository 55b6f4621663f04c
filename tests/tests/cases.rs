//! The connectivity cases of `tests/cases/`, asked of the compiled table and of the oracle: both must say what is written there.
//! `tests/namespaces/connectivity.rs` plays the same cases on real packets.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what it skips, and has failed when it cannot go on"
)]

use std::collections::BTreeMap;
use std::net::IpAddr;

use tests::cases::{Cluster, File};
use tests::program::project_root;
use tests::verdict::Judge;

/// Addresses as a lab would give them.
fn addresses(cluster: &Cluster) -> BTreeMap<String, Vec<IpAddr>> {
    let pods = cluster.pods.keys().zip(2_u8..);
    let pods = pods.map(|(pod, number)| (pod.clone(), vec![IpAddr::from([10, 77, 0, number])]));
    let others = [("node", [10, 77, 0, 1]), ("world", [1, 1, 1, 1]), ("other-world", [1, 0, 0, 1])];
    let others = others.map(|(name, address)| (name.to_owned(), vec![IpAddr::from(address)]));
    pods.chain(others).collect()
}

fn play(file: &str) {
    let root = project_root();
    let cluster = Cluster::read(&root.join("tests/cases/cluster.toml")).unwrap();
    let cases = File::read(&root.join("tests/cases").join(file)).unwrap();
    let addresses = addresses(&cluster);
    let mut wrong = Vec::new();
    let mut asked = 0;
    for case in &cases.case {
        for (number, step) in [&case.first].into_iter().chain(&case.then).enumerate() {
            let place = format!("{}, step {number}", case.name);
            let policies = step.text(&root.join("../shared")).unwrap();
            let text = format!("{}{policies}", cluster.yaml(step, &addresses));
            let judge = Judge::new(&text, &addresses["node"])
                .unwrap_or_else(|error| panic!("{place}: {error:#}"));
            for (probe, expected) in cases.expected(&cluster, step).unwrap() {
                asked += 1;
                let said = judge
                    .says(&probe, &addresses)
                    .unwrap_or_else(|error| panic!("{place}: {error:#}"));
                if said != expected {
                    wrong.push(format!("{place}: {probe:?} must be {expected}, is {said}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {asked}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(asked > 0);
}

#[test]
fn the_grid_of_kubernetes_policies() {
    play("grid.toml");
}

#[test]
fn the_tables_of_the_semantics() {
    play("semantics.toml");
}

#[test]
fn the_published_policies() {
    if !project_root().join("../shared/policies").is_dir() {
        println!("SKIPPED: ../shared/policies is absent");
        return;
    }
    play("published.toml");
}
