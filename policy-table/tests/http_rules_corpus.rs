//! The committed seeds and findings of the fuzz target `http_rules`, replayed with the target's own property.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "helpers of a test, and what the fuzz target asserts"
)]

#[path = "../../fuzz/src/http_rules.rs"]
mod http_rules;

use std::{fs, path::Path};

#[test]
fn rules_of_the_fuzz_corpus_allow_what_each_alone_does() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/http_rules");
    let mut answers = [0, 0];
    for entry in fs::read_dir(folder).unwrap() {
        let own = http_rules::check(&fs::read(entry.unwrap().path()).unwrap());
        answers.iter_mut().zip(own).for_each(|(all, own)| *all += own);
    }
    assert!(answers.iter().all(|count| *count >= 4), "{answers:?} denied and allowed");
}
