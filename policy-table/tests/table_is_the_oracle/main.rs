//! Small random clusters, policies, flows and requests: the compiled table answers as the oracle does.
//!
//! Everything is generated as the text people write, so the loader is part of what is compared. A failure prints the
//! smallest snapshot found and its question; the seed is kept beside this file (`proptest-regressions/`).

#![expect(clippy::expect_used, reason = "a test that cannot go on has failed")]

mod asking;
mod case;
mod cluster;
mod policy;
mod text;

use std::ffi::OsStr;

use policy_table::compiled::Compiled;
use policy_table::{Compiler, Directory, Identities, Snapshot, Table};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{FileFailurePersistence, TestRunner};

use asking::{KINDS, ask};
use case::{Case, case};

/// Cases of one run; `PROPTEST_CASES` asks for more.
const CASES: u32 = 2000;

/// Compares the table of a case with the oracle, and the same table out of a compiled file.
fn compare(case: &Case) -> Result<[usize; KINDS], TestCaseError> {
    let files = case.files();
    let sources: Vec<(&str, &str)> =
        files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let loaded = Snapshot::parse(&sources)
        .map_err(|refusals| TestCaseError::fail(format!("refused: {refusals}")))?;
    let settings = case.settings();
    let table = Table::compile(&loaded.snapshot, &settings, &mut Identities::default(), 1);
    let seen = ask(&loaded.snapshot, &settings, &table)?;
    let (bytes, _) = Compiled::make(&sources, case.enforcement)
        .map_err(|refusals| TestCaseError::fail(format!("refused: {refusals}")))?;
    let compiled =
        Compiled::read(&bytes).map_err(|error| TestCaseError::fail(error.to_string()))?;
    let loaded_table = compiled
        .table(&settings, 1)
        .map_err(|refusals| TestCaseError::fail(format!("refused: {refusals}")))?;
    ask(&loaded.snapshot, &settings, &loaded_table)?;
    Ok(seen)
}

/// Changes files from those of one case to those of others, step by step; the table that follows the changes is compared
/// with the oracle after each.
fn follow(cases: &[Case], masks: &[u32]) -> Result<(), TestCaseError> {
    let directory = tempfile::tempdir().expect("a directory");
    let mut files = Directory::new(directory.path());
    let mut compiler = Compiler::default();
    let mut there = std::collections::BTreeMap::new();
    for (case, mask) in cases.iter().zip(masks) {
        let wanted: std::collections::BTreeMap<String, String> = case.files().into_iter().collect();
        let names: std::collections::BTreeSet<String> =
            wanted.keys().chain(there.keys()).cloned().collect();
        let mut changed = Vec::new();
        for (place, name) in names.into_iter().enumerate() {
            // The first case comes whole.
            if !there.is_empty() && mask >> (place % 32) & 1 == 0 {
                continue;
            }
            let path = directory.path().join(&name);
            match wanted.get(&name) {
                Some(text) => std::fs::write(path, text).expect("a file"),
                None => std::fs::remove_file(path).expect("a file"),
            }
            changed.push(name);
        }
        there.extend(
            changed.iter().filter_map(|name| Some((name.clone(), wanted.get(name)?.clone()))),
        );
        there.retain(|name, _| wanted.contains_key(name) || !changed.contains(name));
        let sources: Vec<(&str, &str)> =
            there.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        let update = files.read_files(changed.iter().map(OsStr::new));
        let (update, loaded) = match (update, Snapshot::parse(&sources)) {
            (Ok(update), Ok(loaded)) => (update, loaded),
            // Pods of two cases may have one address: then both ways of reading refuse, and the next step mends it.
            (Err(_), Err(_)) => continue,
            (one, two) => {
                let said = format!("{one:?} but {:?}", two.err());
                return Err(TestCaseError::fail(said));
            }
        };
        let settings = case.settings();
        compiler.set(settings.clone());
        let table = compiler.apply(&update, 1);
        ask(&loaded.snapshot, &settings, &table)?;
        let scratch = Table::compile(&loaded.snapshot, &settings, &mut Identities::default(), 1);
        prop_assert_eq!(
            scratch.rules().count(),
            table.rules().count(),
            "as many rules as from scratch"
        );
        prop_assert_eq!(scratch.identities().len(), table.identities().len());
        prop_assert_eq!(services(&scratch), services(&table));
    }
    Ok(())
}

fn services(table: &Table) -> Vec<String> {
    let mut all: Vec<String> =
        table.services().iter().map(|service| format!("{service:?}")).collect();
    all.sort();
    all
}

#[test]
fn the_table_answers_as_the_oracle_does() {
    let cases =
        std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(CASES);
    let kept = concat!(env!("CARGO_MANIFEST_DIR"), "/proptest-regressions/table_is_the_oracle.txt");
    let mut runner = TestRunner::new(ProptestConfig {
        cases,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(kept))),
        ..ProptestConfig::default()
    });
    let seen = std::cell::RefCell::new([0_usize; KINDS]);
    let outcome = runner.run(&case(), |case| {
        let more = compare(&case)?;
        seen.borrow_mut().iter_mut().zip(more).for_each(|(all, more)| *all += more);
        Ok(())
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
    let seen = seen.into_inner();
    println!(
        "{cases} snapshots; answers: allow, deny by default, deny by rule, inspect, resolve, audited, audited requests: {seen:?}"
    );
    let enough = usize::try_from(cases / 4).unwrap_or(usize::MAX);
    assert!(
        cases < 200 || seen.iter().all(|count| *count > enough),
        "every kind of answer is common: {seen:?}"
    );
}

#[test]
fn a_table_that_was_changed_answers_as_one_from_scratch() {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    let kept = concat!(env!("CARGO_MANIFEST_DIR"), "/proptest-regressions/table_follows.txt");
    let mut runner = TestRunner::new(ProptestConfig {
        cases: cases.unwrap_or(CASES) / 8,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(kept))),
        ..ProptestConfig::default()
    });
    let steps = vec((case(), any::<u32>()), 2..6);
    let outcome = runner.run(&steps, |steps| {
        let (cases, masks): (Vec<Case>, Vec<u32>) = steps.into_iter().unzip();
        follow(&cases, &masks)
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
}
