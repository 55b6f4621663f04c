//! Carries frames.
pub mod umem;
