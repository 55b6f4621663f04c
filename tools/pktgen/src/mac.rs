//! A MAC address as written on the command line or in a mix: six pairs of hexadecimal digits between colons arrive, the address
//! leaves; as a number too, so that ranges can be counted through.

use parser::ethernet::MacAddress;

/// The text is not a MAC address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a MAC address: write six pairs of hexadecimal digits, as in 02:00:00:00:00:01")]
pub struct MacError;

/// Reads `text` as a MAC address.
///
/// # Errors
/// It is anything but six pairs of hexadecimal digits between colons.
pub fn parse(text: &str) -> Result<MacAddress, MacError> {
    let mut octets = [0; 6];
    let mut pairs = text.split(':');
    for octet in &mut octets {
        let pair = pairs.next().ok_or(MacError)?;
        // `from_str_radix` alone would also take a sign.
        if pair.len() != 2 || !pair.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(MacError);
        }
        *octet = u8::from_str_radix(pair, 16).map_err(|_checked| MacError)?;
    }
    if pairs.next().is_some() { Err(MacError) } else { Ok(MacAddress::new(octets)) }
}

/// The address as a number, first octet highest.
pub fn to_number(mac: MacAddress) -> u128 {
    mac.octets().into_iter().fold(0, |number, octet| number << 8 | u128::from(octet))
}

/// The address of a number below 2^48.
pub fn from_number(number: u128) -> MacAddress {
    let [.., a, b, c, d, e, f] = number.to_be_bytes();
    MacAddress::new([a, b, c, d, e, f])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_read_back() {
        let mac = MacAddress::new([0x02, 0xab, 0, 9, 0xff, 1]);
        assert_eq!(parse(&mac.to_string()), Ok(mac));
        assert_eq!(from_number(to_number(mac)), mac);
        assert_eq!(to_number(mac), 0x02ab_0009_ff01);
    }

    #[test]
    fn anything_else_is_refused() {
        let wrong = [
            "",
            "02:00:00:00:00",
            "02:00:00:00:00:01:02",
            "2:0:0:0:0:1",
            "+2:00:00:00:00:01",
            "0g:00:00:00:00:01",
        ];
        for text in wrong {
            assert_eq!(parse(text), Err(MacError), "{text}");
        }
    }
}
