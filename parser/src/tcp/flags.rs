//! The control bits of a TCP segment. Read RFC 9293 §3.1 first.

use std::fmt;

use crate::ParseError;

/// A set of control bits.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct TcpFlags(u8);

impl TcpFlags {
    /// No flag.
    pub const NONE: Self = Self(0);
    /// The sender has no more data.
    pub const FIN: Self = Self(0x01);
    /// Sequence numbers start here.
    pub const SYN: Self = Self(0x02);
    /// The connection is gone.
    pub const RST: Self = Self(0x04);
    /// The sender waits for the receiver to act on the data.
    pub const PSH: Self = Self(0x08);
    /// The acknowledgement number counts.
    pub const ACK: Self = Self(0x10);
    /// The urgent pointer counts.
    pub const URG: Self = Self(0x20);
    /// A congestion mark was seen (RFC 3168).
    pub const ECE: Self = Self(0x40);
    /// The congestion window was reduced (RFC 3168).
    pub const CWR: Self = Self(0x80);

    const NAMES: [(Self, &'static str); 8] = [
        (Self::SYN, "SYN"),
        (Self::ACK, "ACK"),
        (Self::FIN, "FIN"),
        (Self::RST, "RST"),
        (Self::PSH, "PSH"),
        (Self::URG, "URG"),
        (Self::ECE, "ECE"),
        (Self::CWR, "CWR"),
    ];

    /// The flags of the header's byte 13.
    #[must_use]
    pub const fn new(bits: u8) -> Self {
        Self(bits)
    }

    /// The header's byte 13.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// These flags and those.
    #[must_use]
    pub const fn with(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    /// These flags but those.
    #[must_use]
    pub const fn without(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }

    /// Whether all of `others` are set.
    #[must_use]
    pub const fn contains(self, others: Self) -> bool {
        self.0 & others.0 == others.0
    }

    /// Whether FIN is set.
    #[must_use]
    pub const fn is_fin(self) -> bool {
        self.contains(Self::FIN)
    }

    /// Whether SYN is set.
    #[must_use]
    pub const fn is_syn(self) -> bool {
        self.contains(Self::SYN)
    }

    /// Whether RST is set.
    #[must_use]
    pub const fn is_rst(self) -> bool {
        self.contains(Self::RST)
    }

    /// Whether ACK is set.
    #[must_use]
    pub const fn is_ack(self) -> bool {
        self.contains(Self::ACK)
    }

    /// Whether URG is set.
    #[must_use]
    pub const fn is_urg(self) -> bool {
        self.contains(Self::URG)
    }

    /// Whether this opens a connection: SYN without ACK.
    #[must_use]
    pub const fn is_opening(self) -> bool {
        self.is_syn() && !self.is_ack()
    }

    /// Whether this accepts a connection: SYN with ACK.
    #[must_use]
    pub const fn is_accepting(self) -> bool {
        self.contains(Self(Self::SYN.0 | Self::ACK.0))
    }

    /// Sequence numbers the flags take up: one for SYN, one for FIN (RFC 9293 §3.4).
    #[must_use]
    pub const fn sequence_len(self) -> u32 {
        (self.0 & (Self::SYN.0 | Self::FIN.0)).count_ones()
    }

    /// Refuses combinations no state of RFC 9293 §3.10.7 takes, and segments without the ACK that
    /// all but the first have.
    pub(crate) const fn check(self) -> Result<(), ParseError> {
        if self.is_syn() && self.is_fin() {
            Err(ParseError::TcpSynFin)
        } else if self.is_syn() && self.is_rst() {
            Err(ParseError::TcpSynRst)
        } else if self.0 == 0 {
            Err(ParseError::TcpNoFlags)
        } else if !self.is_ack() && !self.is_syn() && !self.is_rst() {
            Err(ParseError::TcpAckMissing)
        } else {
            Ok(())
        }
    }
}

/// As in Hubble's log: `SYN, ACK`.
impl fmt::Display for TcpFlags {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (flag, name) in Self::NAMES {
            if self.contains(flag) {
                write!(formatter, "{separator}{name}")?;
                separator = ", ";
            }
        }
        Ok(())
    }
}

impl fmt::Debug for TcpFlags {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "TcpFlags({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_print_as_hubble_prints_them() {
        assert_eq!(TcpFlags::SYN.to_string(), "SYN");
        assert_eq!(TcpFlags::ACK.with(TcpFlags::SYN).to_string(), "SYN, ACK");
        assert_eq!(TcpFlags::PSH.with(TcpFlags::ACK).to_string(), "ACK, PSH");
        assert_eq!(TcpFlags::NONE.to_string(), "");
    }

    #[test]
    fn syn_and_fin_take_up_a_number_each() {
        assert_eq!(TcpFlags::SYN.with(TcpFlags::ACK).sequence_len(), 1);
        assert_eq!(TcpFlags::FIN.with(TcpFlags::ACK).sequence_len(), 1);
        assert_eq!(TcpFlags::ACK.with(TcpFlags::PSH).sequence_len(), 0);
    }

    #[test]
    fn illegal_combinations_are_refused_and_all_others_are_not() {
        for bits in 0..=u8::MAX {
            let flags = TcpFlags::new(bits);
            let expected = match (flags.is_syn(), flags.is_fin(), flags.is_rst(), flags.is_ack()) {
                (true, true, ..) => Err(ParseError::TcpSynFin),
                (true, false, true, _) => Err(ParseError::TcpSynRst),
                _ if bits == 0 => Err(ParseError::TcpNoFlags),
                (false, _, false, false) => Err(ParseError::TcpAckMissing),
                _ => Ok(()),
            };
            assert_eq!(flags.check(), expected, "{flags:?}");
        }
    }

    #[test]
    fn opening_and_accepting_are_apart() {
        let accepting = TcpFlags::SYN.with(TcpFlags::ACK);
        assert!(TcpFlags::SYN.is_opening() && !TcpFlags::SYN.is_accepting());
        assert!(accepting.is_accepting() && !accepting.is_opening());
        assert!(!TcpFlags::ACK.is_accepting());
        assert_eq!(accepting.without(TcpFlags::ACK), TcpFlags::SYN);
    }
}
