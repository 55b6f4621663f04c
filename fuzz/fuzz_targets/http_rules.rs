//! Any text as HTTP rules and requests.
#![no_main]

#[path = "../src/http_rules.rs"]
mod http_rules;

libfuzzer_sys::fuzz_target!(|text: &[u8]| {
    http_rules::check(text);
});
