//! The committed seeds and regressions of the fuzz target `stream`, replayed with the target's own promises.

use std::path::Path;

#[path = "../../../fuzz/src/stream.rs"]
mod stream;

use dataplane::inspect;

#[test]
fn every_file_keeps_the_engines_promises() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/stream");
    let mut files = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        stream::check(&bytes);
        // Whatever happens before the end of a conversation holds, too.
        for len in (0..bytes.len()).step_by(1 + bytes.len() / 16) {
            stream::check(&bytes[..len]);
        }
        files += 1;
    }
    assert!(files > 100, "the corpus is there: {files}");
}
