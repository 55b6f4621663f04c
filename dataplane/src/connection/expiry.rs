//! How long a silent connection is kept: Cilium's defaults (`cilium-semantics.md` §2.6).

use std::time::Duration;

use super::tcp::Phase;

/// An established TCP connection: 2 h 13 min 20 s.
pub const ESTABLISHED: Duration = Duration::from_secs(8000);
/// A TCP connection that nobody has answered.
pub const OPENING: Duration = Duration::from_secs(60);
/// A TCP connection after both FINs or an RST.
pub const CLOSING: Duration = Duration::from_secs(10);
/// Anything but TCP.
pub const DATAGRAM: Duration = Duration::from_secs(60);

/// After this silence a connection gives back the memory that it keeps for its next request.
pub const REST: Duration = Duration::from_secs(5);

/// How long a connection in this phase is kept without a packet.
pub fn lifetime(phase: Phase) -> Duration {
    match phase {
        Phase::Opening => OPENING,
        Phase::Established | Phase::HalfClosed(_) => ESTABLISHED,
        Phase::Closing => CLOSING,
        Phase::Datagram => DATAGRAM,
    }
}
