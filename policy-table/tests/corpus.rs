//! Every published policy loads, or is refused for the right reason.
//!
//! `cases/corpus.tsv` says which: a file of `../shared/policies`, then `loads` or the refusal's field and a part of its
//! reason. A file that is not in the table fails the test, and so does a line whose file is gone.

#![expect(clippy::expect_used, reason = "a test that cannot read its input has failed")]

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use policy_table::{Identities, Settings, Snapshot, Table};

const TABLE: &str = include_str!("cases/corpus.tsv");

fn files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|end| end == "yaml") {
            found.push(path);
        }
    }
}

#[test]
fn every_published_policy_loads_or_is_refused_for_the_right_reason() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/policies");
    if !root.is_dir() {
        let _told = writeln!(std::io::stderr(), "SKIPPED: {} is absent", root.display());
        return;
    }
    let mut expected: BTreeMap<&str, &str> = BTreeMap::new();
    for line in TABLE.lines().filter(|line| !line.starts_with('#')) {
        let (file, outcome) = line.split_once('\t').expect("two columns");
        assert!(expected.insert(file, outcome).is_none(), "{file} is in the table twice");
    }
    let mut paths = Vec::new();
    files(&root, &mut paths);
    let mut wrong = Vec::new();
    for path in paths {
        let name = path.strip_prefix(&root).expect("below the root").display().to_string();
        let text = std::fs::read_to_string(&path).expect("readable");
        let outcome = match Snapshot::parse(&[(name.as_str(), text.as_str())]) {
            Ok(loaded) => {
                // What loads also compiles.
                Table::compile(
                    &loaded.snapshot,
                    &Settings::default(),
                    &mut Identities::default(),
                    1,
                );
                "loads".to_owned()
            }
            Err(refusals) => refusals
                .0
                .iter()
                .map(|r| format!("{}: {}", r.field, r.reason))
                .collect::<Vec<_>>()
                .join(" | "),
        };
        match expected.remove(name.as_str()) {
            Some("loads") if outcome == "loads" => {}
            Some(part) if part != "loads" && outcome.contains(part) => {}
            other => wrong.push(format!("{name}\t{outcome}\t(expected {other:?})")),
        }
    }
    assert!(
        wrong.is_empty() && expected.is_empty(),
        "{}\nnot found: {expected:?}",
        wrong.join("\n")
    );
}
