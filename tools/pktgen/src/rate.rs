//! A rate as people write it: `50k`, `1.5M`, `2Gbit`, `10k..100k`, `max`.

use std::{fmt, str::FromStr};

/// What a rate counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Packets.
    Packets,
    /// Bits of frames, Ethernet header included; neither checksum, preamble nor gap of the wire, which a veth does not have.
    Bits,
}

/// How fast to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rate {
    /// As fast as the kernel takes packets.
    Max,
    /// Units per second, from one to the other over the run; the same for a constant rate.
    Line {
        /// At the start.
        from: u64,
        /// At the end.
        to: u64,
        /// Packets or bits.
        unit: Unit,
    },
}

/// The text is no rate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no rate: write packets per second as 50000, 50k or 1.5M, bits per second as 100Mbit or 2Gbit, a ramp as 10k..100k, or max"
)]
pub struct RateError(String);

impl Rate {
    /// A constant number of units per second.
    pub fn constant(rate: u64, unit: Unit) -> Self {
        Self::Line { from: rate, to: rate, unit }
    }
}

impl FromStr for Rate {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Self, RateError> {
        let refused = || RateError(text.to_owned());
        if text == "max" {
            return Ok(Self::Max);
        }
        let (from, to) = text.split_once("..").unwrap_or((text, text));
        let ((from, unit), (to, to_unit)) =
            (amount(from).ok_or_else(refused)?, amount(to).ok_or_else(refused)?);
        if unit != to_unit || from.max(to) == 0 {
            return Err(refused());
        }
        Ok(Self::Line { from, to, unit })
    }
}

/// Reads one amount, to the unit exactly.
fn amount(text: &str) -> Option<(u64, Unit)> {
    let (text, unit) =
        text.strip_suffix("bit").map_or((text, Unit::Packets), |text| (text, Unit::Bits));
    let (digits, zeros) = match text.chars().last()? {
        'k' => (text.strip_suffix('k')?, 3),
        'M' => (text.strip_suffix('M')?, 6),
        'G' => (text.strip_suffix('G')?, 9),
        _ => (text, 0),
    };
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() || part.len() > zeros || digits.ends_with('.') {
        return None;
    }
    if !whole.bytes().chain(part.bytes()).all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let padding = "0".repeat(zeros - part.len());
    Some((format!("{whole}{part}{padding}").parse().ok()?, unit))
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Max => f.write_str("max"),
            Self::Line { from, to, unit } => {
                let unit = match unit {
                    Unit::Packets => "",
                    Unit::Bits => "bit",
                };
                if from == to {
                    write!(f, "{from}{unit}")
                } else {
                    write!(f, "{from}{unit}..{to}{unit}")
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_to_the_unit() {
        let constant = |rate, unit| Ok(Rate::constant(rate, unit));
        assert_eq!("max".parse(), Ok(Rate::Max));
        assert_eq!("50000".parse(), constant(50_000, Unit::Packets));
        assert_eq!("1.5M".parse(), constant(1_500_000, Unit::Packets));
        assert_eq!("2Gbit".parse(), constant(2_000_000_000, Unit::Bits));
        assert_eq!("0.123456789Gbit".parse(), constant(123_456_789, Unit::Bits));
        assert_eq!("0..2k".parse(), Ok(Rate::Line { from: 0, to: 2000, unit: Unit::Packets }));
        for text in ["50000", "10000bit..100bit", "max"] {
            assert_eq!(text.parse::<Rate>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in
            ["", "0", "k", "1.", ".5k", "1.2345k", "-1", "1k..1kbit", "1e3", "1..", "99999999999G"]
        {
            assert!(text.parse::<Rate>().is_err(), "{text}");
        }
    }
}
