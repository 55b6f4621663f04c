//! Carries frames.
