//! One line of a whole head, taken apart strictly (RFC 9112 §3-5).
//!
//! Bytes that begin a line arrive; its parts and the bytes after its CRLF leave, or `None` where anything is unusual: the
//! [`HeadScanner`](super::HeadScanner) then gives the reason. This is the short cut for whole heads, so it is written for
//! speed: sixteen bytes of a value at a time.
//!
//! INVARIANT: what is taken apart here, the scanner finds well formed; every byte belongs to exactly one part.

use super::scanner::{MAX_METHOD, is_method_byte, is_tchar};

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
    /// With its CRLF.
    line: &'a [u8],
    /// The colon is after so many bytes.
    name_len: usize,
}

impl<'a> FieldLine<'a> {
    /// Bytes of the line with its CRLF.
    pub(super) const fn len(&self) -> usize {
        self.line.len()
    }

    /// The name as sent.
    pub(super) fn name(&self) -> &'a [u8] {
        self.line.get(..self.name_len).unwrap_or_default()
    }

    /// The value without the white space around it.
    pub(super) fn value(&self) -> &'a [u8] {
        trim(self.after_colon())
    }

    /// The same, if at most one SP before it, and nothing else, stands around it.
    pub(super) fn plain_value(&self) -> Option<&'a [u8]> {
        let raw = self.after_colon();
        let value = raw.strip_prefix(b" ").unwrap_or(raw);
        (!matches!(value, [b' ' | b'\t', ..] | [.., b' ' | b'\t'])).then_some(value)
    }

    fn after_colon(&self) -> &'a [u8] {
        let after_name = self.line.get(self.name_len..).unwrap_or_default();
        after_name.strip_prefix(b":").and_then(|it| it.strip_suffix(b"\r\n")).unwrap_or_default()
    }
}

/// Takes the request line apart; the target is only found, not judged.
pub(super) fn request_line(bytes: &[u8]) -> Option<(&str, &str, Version, &[u8])> {
    // The line ends with the first control, and its last space is before the version.
    let end = after_graphic(bytes);
    let line = bytes.get(..bytes.len().checked_sub(end.len())?)?;
    let rest = end.strip_prefix(b"\r\n")?;
    let (parts, version) = match line.strip_suffix(b" HTTP/1.1") {
        Some(parts) => (parts, Version::Http11),
        None => (line.strip_suffix(b" HTTP/1.0")?, Version::Http10),
    };
    let parts = core::str::from_utf8(parts).ok()?;
    let method_len = parts.bytes().position(|byte| !is_method_byte(byte))?;
    let (method, target) = parts.split_at_checked(method_len)?;
    let target = target.strip_prefix(' ')?;
    let good = method.len() <= MAX_METHOD
        && method.as_bytes().first().is_some_and(u8::is_ascii_uppercase)
        && method != "CONNECT";
    good.then_some((method, target, version, rest))
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
    matches!(rest, [b' ' | b'\r', ..]).then_some((status, version, after_value(rest)?))
}

/// Takes a field line apart.
#[inline(always)]
pub(super) fn field_line(bytes: &[u8]) -> Option<(FieldLine<'_>, &[u8])> {
    let (name_len, rest) = split_field_line(bytes)?;
    let line = bytes.get(..bytes.len().checked_sub(rest.len())?)?;
    Some((FieldLine { line, name_len }, rest))
}

/// The length of the name, and what follows the line.
// Inlined into a loop over lines, it would have no registers for its constants.
#[inline(never)]
fn split_field_line(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let after_name = after_run(bytes, is_name_byte);
    let name_len = bytes.len().checked_sub(after_name.len()).filter(|name_len| *name_len > 0)?;
    Some((name_len, after_value(after_name.strip_prefix(b":")?)?))
}

/// What begins with the first byte that does not obey `rule`.
// The eight are no loop any more when it is compiled.
#[inline(always)]
pub(super) fn after_run(bytes: &[u8], rule: impl Fn(u8) -> bool) -> &[u8] {
    let mut rest = bytes;
    while let Some((eight, after)) = rest.split_first_chunk::<8>() {
        if let Some(end) = eight.iter().position(|byte| !rule(*byte)) {
            return rest.get(end..).unwrap_or_default();
        }
        rest = after;
    }
    while let [byte, after @ ..] = rest {
        if !rule(*byte) {
            break;
        }
        rest = after;
    }
    rest
}

/// What follows a value and its CRLF, if all before it may stand in a value.
#[inline(always)]
fn after_value(bytes: &[u8]) -> Option<&[u8]> {
    let mut rest = bytes;
    loop {
        match after_graphic(rest) {
            [b'\t', after_tab @ ..] => rest = after_tab,
            [b'\r', b'\n', after_line @ ..] => return Some(after_line),
            _ => return None,
        }
    }
}

/// What begins with the first control.
#[inline(always)]
pub(super) fn after_graphic(bytes: &[u8]) -> &[u8] {
    let mut rest = bytes;
    while let Some((block, after)) = rest.split_first_chunk::<BLOCK>() {
        if has_unusual(block) {
            break;
        }
        rest = after;
    }
    while let Some((word, after)) = rest.split_first_chunk::<8>() {
        let controls = controls(u64::from_le_bytes(*word));
        if controls != 0 {
            return rest.get((controls.trailing_zeros() >> 3) as usize..).unwrap_or_default();
        }
        rest = after;
    }
    while let [byte, after @ ..] = rest {
        if byte.is_ascii_control() {
            break;
        }
        rest = after;
    }
    rest
}

/// So many bytes of a value are looked at together: a vector register of every 64-bit processor.
const BLOCK: usize = 16;

/// Whether a control or a byte above 0x7F is among them. Without a way out of the loop, few instructions see all of them.
#[inline(always)]
fn has_unusual(block: &[u8; BLOCK]) -> bool {
    // Of the signed numbers one above them, those of the controls are 1 to 0x20 and -0x80, those above 0x7F the others below 1.
    block.iter().fold(false, |found, byte| found | (byte.wrapping_add(1).cast_signed() <= 0x20))
}

/// The high bit of the first control among eight bytes, the lowest byte being the first; bits above it are arbitrary.
const fn controls(word: u64) -> u64 {
    // A byte below 0x20 borrows into its high bit, which it does not have itself; 0x7F is zero after the XOR. Only a
    // byte that is found lets the next ones borrow.
    let below_space = word.wrapping_sub(ONES * 0x20) & !word;
    let delete = word ^ (ONES * 0x7f);
    let is_delete = delete.wrapping_sub(ONES) & !delete;
    (below_space | is_delete) & HIGH
}

const ONES: u64 = u64::MAX / 0xff;
const HIGH: u64 = ONES * 0x80;

/// RFC 9110 §5.6.3 OWS around a value.
pub(super) fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// [`is_tchar`] by table.
pub(super) fn is_name_byte(byte: u8) -> bool {
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
    use super::{
        BLOCK, after_graphic, after_run, after_value, field_line, has_unusual, is_name_byte,
        is_tchar,
    };

    #[test]
    fn the_table_of_name_bytes_is_the_rule() {
        for byte in 0..=u8::MAX {
            assert_eq!(is_name_byte(byte), is_tchar(byte));
        }
    }

    #[test]
    fn a_run_ends_in_every_place() {
        for length in 0..30 {
            for after in [&b""[..], b":", b": aaaaaaaaaaaaaaaaaa", b"\0a"] {
                let bytes = [&b"a".repeat(length)[..], after].concat();
                assert_eq!(after_run(&bytes, is_name_byte), after);
            }
        }
    }

    #[test]
    fn every_unusual_byte_is_found_in_every_place_of_a_block() {
        for byte in 0..=u8::MAX {
            for place in 0..BLOCK {
                for filling in [b' ', b'a', b'~'] {
                    let mut block = [filling; BLOCK];
                    block[place] = byte;
                    assert_eq!(has_unusual(&block), !matches!(byte, 0x20..=0x7e), "{byte:#x}");
                }
            }
        }
    }

    #[test]
    fn the_first_control_is_found_in_every_place() {
        for byte in (0..=u8::MAX).filter(u8::is_ascii_control) {
            for length in 0..3 * BLOCK {
                for filling in [b' ', b'a', b'~', 0x80, 0xff] {
                    let mut bytes = vec![filling; length];
                    assert!(after_graphic(&bytes).is_empty());
                    bytes.extend([byte, filling, 0x1f, 0x20, 0x7f, 0x80, 0x00, b'a', b'\r']);
                    assert_eq!(after_graphic(&bytes), &bytes[length..], "{byte:#x} {filling:#x}");
                }
            }
        }
    }

    #[test]
    fn values_of_any_length_end_at_their_crlf() {
        for length in 0..40 {
            let value = b"a\tb \xff".repeat(8)[..length].to_vec();
            let line = [&value, &b"\r\nX"[..]].concat();
            assert_eq!(after_value(&line), Some(&b"X"[..]));
            assert_eq!(after_value(&value), None);
            for end in [&b"\n"[..], b"\r", b"\rX", b"\0\r\n", b"\x7f\r\n", b"\r\r\n"] {
                assert_eq!(after_value(&[&value, end].concat()), None);
            }
        }
    }

    #[test]
    fn space_around_a_value_is_noticed() {
        for (line, value, plain) in [
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
            assert_eq!(found.name(), b"A");
            assert_eq!(found.value(), value, "{line:?}");
            assert_eq!(found.plain_value(), plain.then_some(value), "{line:?}");
            assert_eq!((found.len(), rest), (line.len(), &b""[..]));
        }
    }
}
