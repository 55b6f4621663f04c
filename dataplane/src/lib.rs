//! Carries frames.

pub mod lab;
