//! Any bytes as a DNS message.
#![no_main]

#[path = "../src/dns.rs"]
mod dns;

libfuzzer_sys::fuzz_target!(|message: &[u8]| dns::check(message));
