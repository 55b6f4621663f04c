//! A whole worker over plain memory: any frames, any order, policies that come and go.
#![no_main]

#[path = "../src/pipeline.rs"]
mod check;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| check::check(bytes));
