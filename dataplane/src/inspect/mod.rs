//! TCP bytes to requests, per connection: the L7 engine.
//!
//! Segments of one connection and the time arrive; segments leave through a [`Sink`]. Nothing else happens: no frames, no
//! sockets, no clock, and memory only where a request is split, denied or out of order.
//!
//! INVARIANT (docs/threat-model.md, I1-I7): every byte the server can receive was read here, has one value until the server
//! acknowledges it, and belongs to a request that was allowed; every limit that is reached is a refusal, never a pass.
#![forbid(unsafe_code)]

mod bare;
mod client;
mod flow;
#[cfg(test)]
#[path = "../../../fuzz/src/splice.rs"]
mod fuzz_splice;
mod handshake;
mod holes;
mod kept;
mod limits;
mod numbers;
mod options;
mod outbox;
mod outstanding;
mod release;
mod reply;
mod requests;
mod responses;
mod segment;
mod server;
mod shadow;
mod splice;
mod stream;
mod timers;

pub(crate) use self::bare::Taken;
use self::splice::Splice;
pub use self::{
    limits::{Limits, Tick},
    requests::{Judge, Ruling},
    segment::{Disposition, Edit, Header, NewSegment, Segment, Side, Sink, StreamDrop},
    shadow::{Everybody, Shadow},
    stream::{NO_TICK, Phase, Stream},
};
