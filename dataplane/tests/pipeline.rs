//! A whole worker, whatever its pods send: the promises of the fuzz target `pipeline`, kept by its committed seeds and regressions,
//! and by random scripts. `BLASTDOOR_PIPELINE_CASES` scripts, by default enough for every run.
#![expect(
    clippy::indexing_slicing,
    clippy::expect_used,
    clippy::panic,
    let_underscore_drop,
    reason = "a harness counts in plain numbers, and a wrong one must stop the test"
)]

use std::path::Path;

#[path = "../../fuzz/src/pipeline.rs"]
mod pipeline;

#[test]
fn every_file_keeps_the_workers_promises() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/pipeline");
    let mut files = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        pipeline::check(&std::fs::read(entry.unwrap().path()).unwrap());
        files += 1;
    }
    assert!(files > 0, "the corpus is there");
}

#[test]
fn random_scripts_keep_the_workers_promises() {
    let cases = std::env::var("BLASTDOOR_PIPELINE_CASES").ok().and_then(|text| text.parse().ok());
    for seed in 0..cases.unwrap_or(2_000_u64) {
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let mut next = || {
            state ^= state >> 12;
            state ^= state << 25;
            state ^= state >> 27;
            state.wrapping_mul(0x2545_F491_4F6C_DD1D)
        };
        let length = usize::try_from(next() % 1500).unwrap();
        let script: Vec<u8> = (0..length).map(|_| next().to_be_bytes()[1]).collect();
        pipeline::check(&script);
    }
}
