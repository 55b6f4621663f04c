//! A MAC address as written on the command line: six pairs of hexadecimal digits between colons arrive, the address leaves.

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_read_back() {
        let mac = MacAddress::new([0x02, 0xab, 0, 9, 0xff, 1]);
        assert_eq!(parse(&mac.to_string()), Ok(mac));
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
