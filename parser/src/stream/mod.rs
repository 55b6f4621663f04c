//! TCP's byte stream as arithmetic: sequence numbers modulo 2^32.

mod seq;

pub use seq::SeqNumber;
