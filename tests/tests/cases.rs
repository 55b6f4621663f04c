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
            let judge = match (Judge::new(&text, &addresses["node"]), &step.refused) {
                (Ok(judge), None) => judge,
                (Err(said), Some(words)) if said.to_string().contains(words) => continue,
                (Ok(_), Some(words)) => panic!("{place}: taken, and not refused: {words}"),
                (Err(error), _) => panic!("{place}: {error:#}"),
            };
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
fn the_connectivity_tests() {
    play("connectivity.toml");
}

/// A row of `tests/cases/rows.tsv`: its number, where it is played, and what it says.
struct Row {
    id: String,
    place: String,
    says: String,
}

fn rows() -> Vec<Row> {
    let text = std::fs::read_to_string(project_root().join("tests/cases/rows.tsv")).unwrap();
    let rows = text.lines().filter(|line| !line.starts_with('#')).map(|line| {
        let [id, place, says] = line.splitn(3, '\t').collect::<Vec<_>>()[..] else {
            panic!("not `id, place, text`: {line:?}");
        };
        Row { id: id.to_owned(), place: place.to_owned(), says: says.to_owned() }
    });
    rows.collect()
}

/// No row of the specification's tables is forgotten: each is played by so many cases, or by the test that is named.
#[test]
fn every_row_of_the_specifications_tables_is_played() {
    let root = project_root();
    let mut played: BTreeMap<String, usize> = BTreeMap::new();
    for file in ["grid.toml", "semantics.toml", "connectivity.toml", "published.toml"] {
        let cases = File::read(&root.join("tests/cases").join(file)).unwrap();
        for row in cases.case.iter().flat_map(|case| &case.rows) {
            *played.entry(row.clone()).or_default() += 1;
        }
    }
    for Row { id, place, says } in rows() {
        match place.split_once(' ') {
            Some(("case", least)) => {
                let found = played.remove(&id).unwrap_or_default();
                let least: usize = least.parse().unwrap();
                assert!(found >= least, "row {id} is in {found} cases, not {least}: {says}");
            }
            Some((file, name)) => {
                let text = std::fs::read_to_string(root.join(file)).unwrap();
                assert!(text.contains(name), "row {id}: {file} has no test {name}: {says}");
            }
            None => panic!("row {id} is nowhere: {place:?}"),
        }
    }
    assert!(played.is_empty(), "rows that are not in rows.tsv: {played:?}");
}

/// The rows are those of the specification, word by word.
#[test]
fn the_rows_are_the_specifications() {
    let path = project_root().join("../shared/cilium-semantics.md");
    let Ok(text) = std::fs::read_to_string(path) else {
        println!("SKIPPED: ../shared/cilium-semantics.md is absent");
        return;
    };
    let mut written = Vec::new();
    for section in ["2.4", "7.2", "7.3", "7.4"] {
        let begin = text.find(&format!("\n### {section} ")).unwrap() + 1;
        let rest = text.get(begin..).unwrap();
        let end = rest.find("\n## ").into_iter().chain(rest.find("\n### ")).min();
        let section_text = rest.get(..end.unwrap_or(rest.len())).unwrap();
        let (mut table, mut row) = (0, 0);
        for line in section_text.lines() {
            let cells = line.strip_prefix("| ").and_then(|line| line.strip_suffix(" |"));
            match cells {
                None => row = 0,
                // The first two lines are the head and what separates it.
                Some(cells) => {
                    row += 1;
                    table += usize::from(row == 1);
                    if row > 2 {
                        written.push((format!("{section}/{table}/{}", row - 2), cells.to_owned()));
                    }
                }
            }
        }
    }
    // §2.3 is prose: its sentences are numbered by us.
    let known: Vec<(String, String)> = rows()
        .into_iter()
        .filter(|row| !row.id.starts_with("2.3/"))
        .map(|row| (row.id, row.says))
        .collect();
    assert!(written.len() > 60, "{}", written.len());
    assert_eq!(known, written);
}

#[test]
fn the_published_policies() {
    if !project_root().join("../shared/policies").is_dir() {
        println!("SKIPPED: ../shared/policies is absent");
        return;
    }
    play("published.toml");
}
