//! Any client, and any network, against an honest server behind the stream engine.
#![no_main]

#[path = "../../dataplane/src/inspect/mod.rs"]
#[expect(dead_code, unused_imports, reason = "the engine without the worker that calls all of it")]
mod inspect;

#[path = "../../dataplane/src/prefetch.rs"]
mod prefetch;

#[path = "../src/stream.rs"]
mod check;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| check::check(bytes));
