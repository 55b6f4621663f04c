//! Any bytes as a frame.
#![no_main]

#[path = "../src/headers.rs"]
mod headers;

libfuzzer_sys::fuzz_target!(|frame: &[u8]| headers::check(frame));
