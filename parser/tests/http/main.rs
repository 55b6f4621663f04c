//! The HTTP grammar under attack: probe cases, mutations, any segmentation, and a slow reader that is obviously right.
#![cfg(test)]

mod corpus;
mod fuzz_corpus;
mod legitimate;
mod mutations;
mod probe;
mod reference;
mod segmentation;
mod stream;
