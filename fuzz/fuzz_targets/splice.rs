//! Any edits of one direction, against a list of bytes.
#![no_main]

#[path = "../../dataplane/src/inspect/splice.rs"]
#[expect(dead_code, reason = "the model has no question for it")]
mod splice;

#[path = "../src/splice.rs"]
mod check;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| check::check(bytes));
