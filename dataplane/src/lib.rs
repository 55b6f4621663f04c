//! Carries frames.

pub mod inspect;
