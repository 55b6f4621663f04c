//! One line of a whole head, taken apart strictly (RFC 9112 §3-5).
//!
//! Bytes that begin a line arrive; its parts and the bytes after its CRLF leave, or `None` where anything is unusual: the
//! [`HeadScanner`](super::HeadScanner) then gives the reason. This is the short cut for whole heads, so it is written for
//! speed: eight bytes of a value at a time.
//!
//! INVARIANT: what is taken apart here, the scanner finds well formed; every byte belongs to exactly one part.

use super::{
    Field,
    scanner::{MAX_METHOD, is_method_byte, is_tchar},
};

/// The protocol version of a message; all others are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    Http11,
}

/// A field line in parts.
#[derive(Clone, Copy, Debug)]
pub(super) struct FieldLine<'a> {
    pub(super) field: Field<'a>,
    /// Whether at most one SP, and nothing else, stood around the value.
    pub(super) one_space: bool,
    /// Bytes of the line with its CRLF.
    pub(super) line_len: usize,
}

/// Takes the request line apart; the target is only found, not judged.
pub(super) fn request_line(bytes: &[u8]) -> Option<(&str, &str, Version, &[u8])> {
    let method_len = bytes.iter().take_while(|byte| is_method_byte(**byte)).count();
    let (method, rest) = bytes.split_at_checked(method_len)?;
    // The line ends with the first control, and its last space is before the version.
    let rest = rest.strip_prefix(b" ")?;
    let (line, rest) = rest.split_at_checked(graphic_or_space(rest))?;
    let rest = rest.strip_prefix(b"\r\n")?;
    let (target, version) = match line.split_last_chunk()? {
        (target, b" HTTP/1.1") => (target, Version::Http11),
        (target, b" HTTP/1.0") => (target, Version::Http10),
        _ => return None,
    };
    let good = method.len() <= MAX_METHOD
        && method.first().is_some_and(u8::is_ascii_uppercase)
        && method != b"CONNECT";
    let method = core::str::from_utf8(method).ok().filter(|_| good)?;
    Some((method, core::str::from_utf8(target).ok()?, version, rest))
}

/// Takes the status line apart.
pub(super) fn status_line(bytes: &[u8]) -> Option<(u16, Version, &[u8])> {
    let (version, rest) = match bytes.split_first_chunk()? {
        (b"HTTP/1.1 ", rest) => (Version::Http11, rest),
        (b"HTTP/1.0 ", rest) => (Version::Http10, rest),
        _ => return None,
    };
    let (digits, rest) = rest.split_first_chunk::<3>()?;
    let status = digits.iter().try_fold(0_u16, |sum, byte| {
        let digit = byte.is_ascii_digit().then_some(byte & 0x0f)?;
        sum.checked_mul(10)?.checked_add(u16::from(digit))
    })?;
    let (reason, rest) = split_value(rest)?;
    matches!(reason, [] | [b' ', ..]).then_some((status, version, rest))
}

/// Takes a field line apart.
// Returned through memory, the parts cost more than the search for them.
#[inline(always)]
pub(super) fn field_line(bytes: &[u8]) -> Option<(FieldLine<'_>, &[u8])> {
    let name_len = bytes.iter().take_while(|byte| is_name_byte(**byte)).count();
    let (name, after_name) = bytes.split_at_checked(name_len).filter(|_| name_len > 0)?;
    let (raw, rest) = split_value(after_name.strip_prefix(b":")?)?;
    let value = trim(raw);
    let around = raw.len().saturating_sub(value.len());
    let one_space = around == 0 || (around == 1 && raw.first() == Some(&b' '));
    let line_len = bytes.len().saturating_sub(rest.len());
    Some((FieldLine { field: Field { name, value }, one_space, line_len }, rest))
}

/// What stands before the CRLF, if all of it may stand in a value, and what after it.
fn split_value(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut rest = bytes;
    let end = loop {
        let end = rest.get(graphic_or_space(rest)..)?;
        match end.split_first()? {
            (b'\t', after_tab) => rest = after_tab,
            _ => break end,
        }
    };
    let value_len = bytes.len().checked_sub(end.len())?;
    Some((bytes.get(..value_len)?, end.strip_prefix(b"\r\n")?))
}

/// How many bytes there are before the first control.
#[inline]
pub(super) fn graphic_or_space(bytes: &[u8]) -> usize {
    let (words, tail) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let controls = controls(u64::from_le_bytes(*word));
        if controls != 0 {
            // At most the length of `bytes`.
            return (index << 3) | (controls.trailing_zeros() >> 3) as usize;
        }
    }
    let tail_len = tail.iter().take_while(|byte| !byte.is_ascii_control()).count();
    bytes.len().saturating_sub(tail.len()).saturating_add(tail_len)
}

/// The high bit of the first control among eight bytes, the lowest byte being the first; bits above it are arbitrary.
const fn controls(word: u64) -> u64 {
    const ONES: u64 = u64::MAX / 0xff;
    const HIGH: u64 = ONES * 0x80;
    // A byte below 0x20 borrows into its high bit, which it does not have itself; 0x7F is zero after the XOR. Only a
    // byte that is found lets the next ones borrow.
    let below_space = word.wrapping_sub(ONES * 0x20) & !word;
    let delete = word ^ (ONES * 0x7f);
    let is_delete = delete.wrapping_sub(ONES) & !delete;
    (below_space | is_delete) & HIGH
}

/// RFC 9110 §5.6.3 OWS around a value.
pub(super) fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// [`is_tchar`] by table.
fn is_name_byte(byte: u8) -> bool {
    const TABLE: [bool; 256] = {
        let mut table = [false; 256];
        let mut byte = 0_u8;
        while byte < 0x80 {
            #[expect(clippy::indexing_slicing, reason = "evaluated at compile time")]
            {
                table[byte as usize] = is_tchar(byte);
            }
            byte += 1;
        }
        table
    };
    TABLE.get(usize::from(byte)).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{field_line, graphic_or_space, is_name_byte, is_tchar, split_value};

    #[test]
    fn the_table_of_name_bytes_is_the_rule() {
        for byte in 0..=u8::MAX {
            assert_eq!(is_name_byte(byte), is_tchar(byte));
        }
    }

    #[test]
    fn the_first_control_is_found_at_every_place() {
        for byte in (0..=u8::MAX).filter(u8::is_ascii_control) {
            for length in 0..20 {
                for filling in [b' ', b'a', b'~', 0x80, 0xff] {
                    let mut bytes = vec![filling; length];
                    assert_eq!(graphic_or_space(&bytes), length);
                    bytes.extend([byte, filling, 0x1f, 0x20, 0x7f, 0x80, 0x00, b'a', b'\r']);
                    assert_eq!(graphic_or_space(&bytes), length, "{byte:#x} {filling:#x}");
                }
            }
        }
    }

    #[test]
    fn values_of_any_length_end_at_their_crlf() {
        for length in 0..40 {
            let value = b"a\tb \xff".repeat(8)[..length].to_vec();
            let line = [&value, &b"\r\nX"[..]].concat();
            assert_eq!(split_value(&line), Some((&value[..], &b"X"[..])));
            assert_eq!(split_value(&value), None);
            for end in [&b"\n"[..], b"\r", b"\rX", b"\0\r\n", b"\x7f\r\n", b"\r\r\n"] {
                assert_eq!(split_value(&[&value, end].concat()), None);
            }
        }
    }

    #[test]
    fn space_around_a_value_is_noticed() {
        for (line, value, one_space) in [
            (&b"A:\r\n"[..], &b""[..], true),
            (b"A: \r\n", b"", true),
            (b"A:b\r\n", b"b", true),
            (b"A: b c\r\n", b"b c", true),
            (b"A:\tb\r\n", b"b", false),
            (b"A:  b\r\n", b"b", false),
            (b"A:b \r\n", b"b", false),
            (b"A: b\t\r\n", b"b", false),
        ] {
            let (found, rest) = field_line(line).unwrap();
            assert_eq!((found.field.value, found.one_space), (value, one_space), "{line:?}");
            assert_eq!((found.line_len, rest), (line.len(), &b""[..]));
        }
    }
}
