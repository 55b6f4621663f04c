//! Knows policies.
#![forbid(unsafe_code)]
