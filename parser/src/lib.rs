//! Reads bytes. Filled by the parser work.
#![forbid(unsafe_code)]

pub mod http;
pub mod stream;
