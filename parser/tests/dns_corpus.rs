//! The committed seeds and findings of the fuzz target `dns`, replayed with the target's own properties.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "helpers of a test, and what the fuzz target asserts"
)]

#[path = "../../fuzz/src/dns.rs"]
mod dns;

use std::{fs, path::Path};

use parser::dns::{read_answer, read_query};

#[test]
fn messages_of_the_fuzz_corpus_are_read_or_refused() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/dns");
    let (mut queries, mut answers, mut refused) = (0, 0, 0);
    for entry in fs::read_dir(folder).unwrap() {
        let message = fs::read(entry.unwrap().path()).unwrap();
        dns::check(&message);
        queries += usize::from(read_query(&message).is_ok());
        answers += usize::from(read_answer(&message).is_ok());
        refused += usize::from(read_query(&message).is_err() && read_answer(&message).is_err());
    }
    assert!(queries >= 5 && answers >= 5 && refused >= 2, "{queries} {answers} {refused}");
}
