//! The target: one view that policy matches and every server reads alike (RFC 9112 §3.2, RFC 3986).
//!
//! The target as sent arrives; the part that is matched leaves, or the reason why two servers could disagree.
//! INVARIANT: what is accepted under [`Strictness::STRICT`] equals its own canonical form: decoding what needs no
//! escape, removing dot segments and merging slashes change nothing.
//!
//! The path is everything before the first `?`. In the query, which no server walks as a path, all RFC 3986 bytes and
//! `[ ]` pass (DEVIATION: browsers leave brackets raw), and all escapes but those of controls and malformed ones.

use super::{HttpRefusal, Strictness};

/// What policy matches: path and query, from the origin-form view of `target`.
///
/// `*` is given as it is, and only to OPTIONS. An absolute-form without path is `/`.
pub(super) fn path_and_query<'a>(
    target: &'a str,
    method: &str,
    host: &str,
    strictness: &Strictness,
) -> Result<&'a str, HttpRefusal> {
    let view = match target.as_bytes() {
        [b'/', ..] => target,
        b"*" if method == "OPTIONS" => return Ok(target),
        _ => absolute(target, host)?,
    };
    let (path, query) = match view.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (view, None),
    };
    judge_path(path.as_bytes(), strictness)?;
    if let Some(query) = query {
        judge_query(query.as_bytes(), strictness)?;
    }
    Ok(view)
}

/// RFC 9112 §3.2.2. DEVIATION: the scheme in lower case only, the authority byte for byte the Host.
fn absolute<'a>(target: &'a str, host: &str) -> Result<&'a str, HttpRefusal> {
    let rest = target.strip_prefix("http://").ok_or(HttpRefusal::TargetForm)?;
    let path = rest.strip_prefix(host).ok_or(HttpRefusal::TargetAuthority)?;
    match path.as_bytes() {
        [] => Ok("/"),
        [b'/', ..] => Ok(path),
        // A query without path would need a `/` that was not sent.
        [b'?' | b'#', ..] => Err(HttpRefusal::TargetForm),
        _ => Err(HttpRefusal::TargetAuthority),
    }
}

/// What a byte means in a path.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Plain,
    Slash,
    Dot,
    Percent,
    Semicolon,
    Other,
}

const CLASSES: [Class; 256] = {
    let mut table = [Class::Other; 256];
    let mut byte = 0_u8;
    loop {
        #[expect(
            clippy::indexing_slicing,
            reason = "evaluated at compile time, one entry per byte"
        )]
        {
            table[byte as usize] = match byte {
                b'/' => Class::Slash,
                b'.' => Class::Dot,
                b'%' => Class::Percent,
                b';' => Class::Semicolon,
                _ if is_unreserved(byte) || is_plain_delimiter(byte) => Class::Plain,
                _ => Class::Other,
            };
        }
        if byte == u8::MAX {
            break;
        }
        byte += 1;
    }
    table
};

/// RFC 3986 §2.3.
const fn is_unreserved(byte: u8) -> bool {
    matches!(byte, b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~')
}

/// RFC 3986 §3.3 pchar beyond unreserved and escapes, without `;`.
const fn is_plain_delimiter(byte: u8) -> bool {
    matches!(
        byte,
        b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b'=' | b':' | b'@'
    )
}

fn class(byte: u8) -> Class {
    CLASSES.get(usize::from(byte)).copied().unwrap_or(Class::Other)
}

/// How the segment so far looks to a reader that strips parameters and decodes dots.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Segment {
    Empty,
    /// One or two dots and nothing else.
    Dots(u8),
    /// Dots and then a parameter: still a dot segment, whatever follows.
    DotsWithParameter,
    Ordinary,
}

impl Segment {
    const fn after_dot(self) -> Self {
        match self {
            Self::Empty => Self::Dots(1),
            Self::Dots(1) => Self::Dots(2),
            Self::Dots(_) | Self::Ordinary => Self::Ordinary,
            Self::DotsWithParameter => Self::DotsWithParameter,
        }
    }

    const fn after_semicolon(self) -> Self {
        match self {
            Self::Dots(_) | Self::DotsWithParameter => Self::DotsWithParameter,
            Self::Empty | Self::Ordinary => Self::Ordinary,
        }
    }

    const fn after_plain(self) -> Self {
        match self {
            Self::DotsWithParameter => Self::DotsWithParameter,
            Self::Empty | Self::Dots(_) | Self::Ordinary => Self::Ordinary,
        }
    }

    fn refuse_dots(self) -> Result<(), HttpRefusal> {
        match self {
            Self::Dots(_) | Self::DotsWithParameter => Err(HttpRefusal::TargetDotSegment),
            Self::Empty | Self::Ordinary => Ok(()),
        }
    }
}

/// `path` begins with `/`.
fn judge_path(path: &[u8], strictness: &Strictness) -> Result<(), HttpRefusal> {
    let mut bytes = path.iter();
    bytes.next();
    let mut segment = Segment::Empty;
    let mut utf8 = Utf8::Between;
    while let Some(byte) = bytes.next() {
        if utf8 != Utf8::Between && *byte != b'%' {
            utf8 = utf8.broken(strictness)?;
        }
        segment = match class(*byte) {
            Class::Plain => segment.after_plain(),
            Class::Dot => segment.after_dot(),
            Class::Slash => {
                segment.refuse_dots()?;
                if segment == Segment::Empty && !strictness.allow_empty_segments {
                    return Err(HttpRefusal::TargetEmptySegment);
                }
                Segment::Empty
            }
            Class::Semicolon => {
                let after = segment.after_semicolon();
                after.refuse_dots()?;
                if !strictness.allow_semicolons {
                    return Err(HttpRefusal::TargetSemicolon);
                }
                after
            }
            Class::Percent => {
                let decoded = escape(bytes.next(), bytes.next())?;
                if decoded < 0x80 && utf8 != Utf8::Between {
                    utf8 = utf8.broken(strictness)?;
                }
                match decoded {
                    0x80.. => {
                        utf8 = utf8.after(decoded, strictness)?;
                        segment.after_plain()
                    }
                    b'.' if strictness.allow_escaped_unreserved => segment.after_dot(),
                    _ => {
                        judge_path_escape(decoded, strictness)?;
                        segment.after_plain()
                    }
                }
            }
            Class::Other => return Err(refused_byte(*byte)),
        };
    }
    if utf8 != Utf8::Between {
        utf8.broken(strictness)?;
    }
    segment.refuse_dots()
}

/// An escape below 0x80 in the path.
fn judge_path_escape(decoded: u8, strictness: &Strictness) -> Result<(), HttpRefusal> {
    let (allowed, refusal) = match decoded {
        0x00..=0x1f | 0x7f => (false, HttpRefusal::TargetEscapedControl),
        b'\\' => (false, HttpRefusal::TargetEscapedBackslash),
        b'/' => (strictness.allow_escaped_slashes, HttpRefusal::TargetEscapedSlash),
        b'%' => (strictness.allow_escaped_percent, HttpRefusal::TargetEscapedPercent),
        b'?' | b'#' | b';' => {
            (strictness.allow_escaped_delimiters, HttpRefusal::TargetEscapedDelimiter)
        }
        b'.' => (strictness.allow_escaped_unreserved, HttpRefusal::TargetEscapedDot),
        _ if is_unreserved(decoded) => {
            (strictness.allow_escaped_unreserved, HttpRefusal::TargetEscapedUnreserved)
        }
        _ => (true, HttpRefusal::TargetByte),
    };
    if allowed { Ok(()) } else { Err(refusal) }
}

fn judge_query(query: &[u8], strictness: &Strictness) -> Result<(), HttpRefusal> {
    let mut bytes = query.iter();
    while let Some(byte) = bytes.next() {
        match (class(*byte), byte) {
            (Class::Plain | Class::Slash | Class::Dot | Class::Semicolon, _)
            | (Class::Other, b'?' | b'[' | b']') => {}
            (Class::Percent, _) => {
                let decoded = escape(bytes.next(), bytes.next())?;
                let control = decoded < 0x20 || decoded == 0x7f;
                if control && (decoded == 0 || !strictness.allow_escaped_query_controls) {
                    return Err(HttpRefusal::TargetEscapedControl);
                }
            }
            (Class::Other, b'{' | b'}' | b'|' | b'^' | b'`')
                if strictness.allow_raw_query_bytes => {}
            (Class::Other, _) => return Err(refused_byte(*byte)),
        }
    }
    Ok(())
}

const fn refused_byte(byte: u8) -> HttpRefusal {
    match byte {
        b'\\' => HttpRefusal::TargetBackslash,
        b'#' => HttpRefusal::TargetFragment,
        _ => HttpRefusal::TargetByte,
    }
}

/// The byte that two hexadecimal digits stand for (RFC 3986 §2.1).
fn escape(high: Option<&u8>, low: Option<&u8>) -> Result<u8, HttpRefusal> {
    let (Some(high), Some(low)) = (high.and_then(hex), low.and_then(hex)) else {
        return Err(HttpRefusal::TargetEscapeInvalid);
    };
    Ok((high << 4) | low)
}

fn hex(digit: &u8) -> Option<u8> {
    char::from(*digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// Where a run of escaped bytes stands in UTF-8 (RFC 3629 §4).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Utf8 {
    Between,
    /// So many more bytes, the next between `low` and `high`.
    Expect {
        more: u8,
        low: u8,
        high: u8,
    },
}

impl Utf8 {
    const fn expect(more: u8, low: u8, high: u8) -> Self {
        Self::Expect { more, low, high }
    }

    fn after(self, byte: u8, strictness: &Strictness) -> Result<Self, HttpRefusal> {
        match self {
            Self::Between => match byte {
                0xc0 | 0xc1 => Err(HttpRefusal::TargetOverlongUtf8),
                0xc2..=0xdf => Ok(Self::expect(1, 0x80, 0xbf)),
                0xe0 => Ok(Self::expect(2, 0xa0, 0xbf)),
                0xed => Ok(Self::expect(2, 0x80, 0x9f)),
                0xe1..=0xef => Ok(Self::expect(2, 0x80, 0xbf)),
                0xf0 => Ok(Self::expect(3, 0x90, 0xbf)),
                0xf1..=0xf3 => Ok(Self::expect(3, 0x80, 0xbf)),
                0xf4 => Ok(Self::expect(3, 0x80, 0x8f)),
                _ => self.broken(strictness),
            },
            Self::Expect { more, low, high } if (low..=high).contains(&byte) => match more {
                0 | 1 => Ok(Self::Between),
                _ => Ok(Self::expect(more.saturating_sub(1), 0x80, 0xbf)),
            },
            // E0 and F0 raise the lower bound: a continuation below it is the overlong form.
            Self::Expect { low: 0x90 | 0xa0, .. } if (0x80..=0xbf).contains(&byte) => {
                Err(HttpRefusal::TargetOverlongUtf8)
            }
            Self::Expect { .. } => self.broken(strictness)?.after(byte, strictness),
        }
    }

    fn broken(self, strictness: &Strictness) -> Result<Self, HttpRefusal> {
        if strictness.allow_escaped_not_utf8 {
            Ok(Self::Between)
        } else {
            Err(HttpRefusal::TargetNotUtf8)
        }
    }
}
