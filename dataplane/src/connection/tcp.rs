//! How far a connection is, as far as its lifetime in the table depends on it (Cilium's conntrack, `cilium-semantics.md` §2.6).
//! The exact TCP state of an inspected connection is the stream's business (`inspect`).

use parser::tcp::TcpFlags;

use super::Direction;

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// TCP: opened, nothing came back yet.
    Opening,
    /// TCP: both directions have been seen.
    Established,
    /// TCP: one end has sent its FIN.
    HalfClosed(
        /// The end that did.
        ClosedBy,
    ),
    /// TCP: both FINs or an RST have been seen.
    Closing,
    /// Not TCP.
    Datagram,
}

/// Who closed its half.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClosedBy {
    /// The opener.
    Opener,
    /// The other end.
    Responder,
}

impl Phase {
    /// The phase after a segment with these flags.
    #[must_use]
    #[inline]
    pub fn after(self, flags: TcpFlags, direction: Direction) -> Self {
        if !flags.is_fin() && !flags.is_rst() {
            let is_answer = self == Self::Opening && direction == Direction::Reply;
            return if is_answer { Self::Established } else { self };
        }
        let sender = match direction {
            Direction::Original => ClosedBy::Opener,
            Direction::Reply => ClosedBy::Responder,
        };
        match self {
            Self::Datagram => Self::Datagram,
            _ if flags.is_rst() => Self::Closing,
            Self::Closing => Self::Closing,
            Self::HalfClosed(first) if first != sender => Self::Closing,
            Self::HalfClosed(first) => Self::HalfClosed(first),
            Self::Opening | Self::Established => Self::HalfClosed(sender),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use TcpFlags as Flags;

    #[test]
    fn a_handshake_and_two_fins_close() {
        let mut phase = Phase::Opening;
        for (flags, direction, expected) in [
            (Flags::SYN, Direction::Original, Phase::Opening),
            (Flags::SYN.with(Flags::ACK), Direction::Reply, Phase::Established),
            (Flags::ACK, Direction::Original, Phase::Established),
            (Flags::FIN.with(Flags::ACK), Direction::Original, Phase::HalfClosed(ClosedBy::Opener)),
            (Flags::FIN.with(Flags::ACK), Direction::Original, Phase::HalfClosed(ClosedBy::Opener)),
            (Flags::ACK, Direction::Reply, Phase::HalfClosed(ClosedBy::Opener)),
            (Flags::FIN.with(Flags::ACK), Direction::Reply, Phase::Closing),
            (Flags::ACK, Direction::Original, Phase::Closing),
        ] {
            phase = phase.after(flags, direction);
            assert_eq!(phase, expected);
        }
    }

    #[test]
    fn a_reset_closes_at_once() {
        assert_eq!(Phase::Established.after(Flags::RST, Direction::Reply), Phase::Closing);
    }
}
