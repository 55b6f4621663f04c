//! The values that a field takes from packet to packet.
//!
//! A text arrives (`7`, `7-90`, `7,9,12`, `random:7-90`); a number leaves for each packet's number. There is no state: the same
//! seed and the same number always give the same value, so a run can be repeated and a packet explained. Fields that count
//! through their values do so side by side: two of equal length move in step.

/// What is written in place of a value to draw instead of counting through.
const RANDOM: &str = "random:";

/// Why a text names no values.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValuesError {
    /// A single value could not be read.
    #[error("`{text}`: {reason}")]
    Value {
        /// What was written.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The range runs backwards.
    #[error("the range `{0}` ends before it begins")]
    Backwards(String),
}

/// The values of one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Values {
    set: Set,
    is_random: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Set {
    /// INVARIANT: `first <= last`.
    Range { first: u128, last: u128 },
    /// INVARIANT: not empty.
    List(Vec<u128>),
}

impl Values {
    /// Always the same value.
    pub fn fixed(value: u128) -> Self {
        Self { set: Set::Range { first: value, last: value }, is_random: false }
    }

    /// Counts through `first`, then `rest`, again and again.
    pub fn listed(first: u128, rest: &[u128]) -> Self {
        let list = std::iter::once(first).chain(rest.iter().copied()).collect();
        Self { set: Set::List(list), is_random: false }
    }

    /// Reads a value, a range, a list, or one of them after `random:`. `read` reads one value.
    ///
    /// # Errors
    /// A value is refused by `read`, or a range runs backwards.
    pub fn parse(
        text: &str,
        mut read: impl FnMut(&str) -> Result<u128, String>,
    ) -> Result<Self, ValuesError> {
        let (is_random, values) =
            text.strip_prefix(RANDOM).map_or((false, text), |values| (true, values));
        let mut read = |text: &str| {
            let text = text.trim();
            read(text).map_err(|reason| ValuesError::Value { text: text.to_owned(), reason })
        };
        let set = if values.contains(',') {
            Set::List(values.split(',').map(read).collect::<Result<_, _>>()?)
        } else if let Some((first, last)) = values.split_once('-') {
            let (first, last) = (read(first)?, read(last)?);
            if last < first {
                return Err(ValuesError::Backwards(values.to_owned()));
            }
            Set::Range { first, last }
        } else {
            let value = read(values)?;
            Set::Range { first: value, last: value }
        };
        Ok(Self { set, is_random })
    }

    /// The value of packet `number`; `noise` is that packet's and field's own random number.
    pub fn value(&self, number: u64, noise: impl FnOnce() -> u128) -> u128 {
        if let Set::Range { first, last } = self.set
            && first == last
        {
            return first;
        }
        let position = if self.is_random { noise() } else { u128::from(number) };
        match &self.set {
            Set::Range { first, last } => {
                let span = last.wrapping_sub(*first);
                let offset = span.checked_add(1).map_or(position, |count| position % count);
                first.wrapping_add(offset)
            }
            Set::List(list) => {
                let index = usize::try_from(position % (list.len().max(1) as u128)).unwrap_or(0);
                list.get(index).copied().unwrap_or(0)
            }
        }
    }

    /// The least and the largest value.
    pub fn bounds(&self) -> (u128, u128) {
        match &self.set {
            Set::Range { first, last } => (*first, *last),
            Set::List(list) => {
                (list.iter().copied().min().unwrap_or(0), list.iter().copied().max().unwrap_or(0))
            }
        }
    }

    /// How many there are.
    pub fn count(&self) -> u128 {
        match &self.set {
            Set::Range { first, last } => last.wrapping_sub(*first).saturating_add(1),
            Set::List(list) => list.len() as u128,
        }
    }

    /// Whether `value` is one of them.
    pub fn contains(&self, value: u128) -> bool {
        match &self.set {
            Set::Range { first, last } => (first..=last).contains(&&value),
            Set::List(list) => list.contains(&value),
        }
    }
}

/// A random number that is always the same for the same seed, stream, field and packet: two outputs of SplitMix64 (Steele, Lea
/// and Flood, OOPSLA 2014), which needs no state to be carried along.
pub fn noise(seed: u64, stream: u16, field: u16, number: u64) -> u128 {
    let place = u64::from(stream) << 16 | u64::from(field);
    let mixed = mix(mix(seed ^ mix(place)) ^ number);
    u128::from(mixed) << 64 | u128::from(mix(mixed))
}

/// SplitMix64's step and finaliser.
pub fn mix(state: u64) -> u64 {
    let step = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let once = (step ^ step >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let twice = (once ^ once >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    twice ^ twice >> 31
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn number(text: &str) -> Result<u128, String> {
        text.parse().map_err(|error| format!("{error}"))
    }

    fn first(text: &str, count: u64) -> Vec<u128> {
        let values = Values::parse(text, number).unwrap();
        (0..count).map(|packet| values.value(packet, || noise(1, 2, 3, packet))).collect()
    }

    #[test]
    fn every_way_to_write_values_is_read() {
        assert_eq!(first("7", 3), [7, 7, 7]);
        assert_eq!(first("7-9", 4), [7, 8, 9, 7]);
        assert_eq!(first("7, 3,7", 4), [7, 3, 7, 7]);
        assert!(first("random:3-5", 200).iter().all(|value| (3..=5).contains(value)));
        assert!(first("random:3,50", 200).iter().all(|value| [3, 50].contains(value)));
    }

    #[test]
    fn a_drawn_field_takes_every_value() {
        let drawn = first("random:0-9", 1000);
        for value in 0..10 {
            let count = drawn.iter().filter(|&&drawn| drawn == value).count();
            assert!((50..150).contains(&count), "{value} came {count} times of 1000");
        }
    }

    #[test]
    fn what_names_no_values_is_refused() {
        assert_eq!(Values::parse("9-7", number), Err(ValuesError::Backwards("9-7".to_owned())));
        for wrong in ["", "x", "1,", "1-", "random:", "1-2-3"] {
            assert!(
                matches!(Values::parse(wrong, number), Err(ValuesError::Value { .. })),
                "{wrong}"
            );
        }
    }

    proptest! {
        #[test]
        fn values_stay_inside_and_repeat(
            first: u128, span: u128, seed: u64, packet: u64, is_random: bool,
        ) {
            let last = first.saturating_add(span);
            let values = Values { set: Set::Range { first, last }, is_random };
            let value = values.value(packet, || noise(seed, 1, 1, packet));
            prop_assert!(values.contains(value));
            prop_assert!((first..=last).contains(&value));
            prop_assert_eq!(value, values.value(packet, || noise(seed, 1, 1, packet)));
        }
    }
}
