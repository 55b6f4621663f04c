//! The lab: what the namespace tests share.
