//! TCP. Read RFC 9293 first.

mod seq;

pub use seq::SeqNumber;
