//! The XDP side.
