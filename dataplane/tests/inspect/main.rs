//! The stream engine against a model of TCP: whatever the network and the client do, the server receives exactly the allowed
//! requests and the client exactly their responses and the denials.
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    clippy::result_large_err,
    clippy::needless_range_loop,
    reason = "a model counts in plain numbers, and a wrong one must stop the test"
)]

mod attacks;
mod endpoint;
mod fuzz_corpus;
mod hand;
mod hostile;
mod legitimate;
mod network;
mod packet;
mod random;
mod run;
mod script;
mod segmentation;
