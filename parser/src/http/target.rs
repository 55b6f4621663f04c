//! The target: one view that policy matches and every server reads alike (RFC 9112 §3.2, RFC 3986).
//!
//! The target as sent arrives; the part that is matched leaves, or the reason why two servers could disagree.
//! INVARIANT: what is accepted under [`Strictness::STRICT`] equals its own canonical form: decoding what needs no
//! escape, removing dot segments and merging slashes change nothing.
//!
//! The path is everything before the first `?`. In the query, which no server walks as a path, all RFC 3986 bytes and
//! `[ ]` pass (DEVIATION: browsers leave brackets raw), and all escapes but those of controls and malformed ones.

use super::{HttpRefusal, Strictness, line::after_run};

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
    if let Some(query) = judge_path(view.as_bytes(), strictness)? {
        judge_query(query, strictness)?;
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

/// What a byte means in a target.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Plain,
    Slash,
    Dot,
    Percent,
    Semicolon,
    Question,
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
                b'?' => Class::Question,
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

/// Judges the path at the beginning of `view`, which begins with `/`; the query is left, if there is one.
fn judge_path<'a>(
    view: &'a [u8],
    strictness: &Strictness,
) -> Result<Option<&'a [u8]>, HttpRefusal> {
    let mut segment = Segment::Ordinary;
    let mut utf8 = Utf8::Between;
    let mut rest = view;
    while let Some((byte, mut after)) = rest.split_first() {
        if utf8 != Utf8::Between && *byte != b'%' {
            utf8 = utf8.broken(strictness)?;
        }
        segment = match class(*byte) {
            Class::Plain => {
                after = after_run(after, |byte| class(byte) == Class::Plain);
                segment.after_plain()
            }
            Class::Dot => segment.after_dot(),
            Class::Slash => {
                segment.refuse_dots()?;
                if segment == Segment::Empty && !strictness.allow_empty_segments {
                    return Err(HttpRefusal::TargetEmptySegment);
                }
                Segment::Empty
            }
            Class::Semicolon => {
                let parameter = segment.after_semicolon();
                parameter.refuse_dots()?;
                if !strictness.allow_semicolons {
                    return Err(HttpRefusal::TargetSemicolon);
                }
                parameter
            }
            Class::Percent => {
                let decoded;
                (decoded, after) = escape(after)?;
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
            Class::Question => {
                segment.refuse_dots()?;
                return Ok(Some(after));
            }
            Class::Other => return Err(refused_byte(*byte)),
        };
        rest = after;
    }
    if utf8 != Utf8::Between {
        utf8.broken(strictness)?;
    }
    segment.refuse_dots()?;
    Ok(None)
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
    let mut rest = query;
    while let Some((byte, mut after)) = rest.split_first() {
        match (class(*byte), byte) {
            (Class::Plain, _) => {
                after = after_run(after, |byte| class(byte) == Class::Plain);
            }
            (Class::Slash | Class::Dot | Class::Semicolon | Class::Question, _)
            | (Class::Other, b'[' | b']') => {}
            (Class::Percent, _) => {
                let decoded;
                (decoded, after) = escape(after)?;
                let control = decoded < 0x20 || decoded == 0x7f;
                if control && (decoded == 0 || !strictness.allow_escaped_query_controls) {
                    return Err(HttpRefusal::TargetEscapedControl);
                }
            }
            (Class::Other, b'{' | b'}' | b'|' | b'^' | b'`')
                if strictness.allow_raw_query_bytes => {}
            (Class::Other, _) => return Err(refused_byte(*byte)),
        }
        rest = after;
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

/// The byte that the two hexadecimal digits at the beginning stand for (RFC 3986 §2.1), and what follows them.
fn escape(digits: &[u8]) -> Result<(u8, &[u8]), HttpRefusal> {
    let decoded = |high: u8, low: u8| Some((hex(high)? << 4) | hex(low)?);
    match digits {
        [high, low, after @ ..] => match decoded(*high, *low) {
            Some(byte) => Ok((byte, after)),
            None => Err(HttpRefusal::TargetEscapeInvalid),
        },
        _ => Err(HttpRefusal::TargetEscapeInvalid),
    }
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
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

#[cfg(test)]
mod tests {
    use super::{HttpRefusal as R, Strictness, path_and_query};

    fn get<'a>(target: &'a str, strictness: &Strictness) -> Result<&'a str, R> {
        path_and_query(target, "GET", "h:80", strictness)
    }

    #[test]
    fn ordinary_targets_are_their_own_view() {
        for target in [
            "/",
            "/a",
            "/a/",
            "/a.b/.well-known/...",
            "/..a/a../.a./...",
            "/~u/-_!$&'()*+,=:@",
            "/%C3%A4/%e2%82%ac/%F0%9F%98%80",
            "/a%20b%22%3C%3E%5B%5D%7C%26%2B%40",
            "/a?",
            "/?",
            "/a?b=c&d[]=e;f/../g//h?i",
            "/a?%2e%2f%5c%25%c0%af%61%ff%3B",
        ] {
            assert_eq!(get(target, &Strictness::STRICT), Ok(target));
        }
    }

    #[test]
    fn each_ambiguous_target_has_its_own_refusal() {
        for (target, refusal) in [
            ("a", R::TargetForm),
            ("*", R::TargetForm),
            ("*a", R::TargetForm),
            ("h:80", R::TargetForm),
            ("https://h:80/", R::TargetForm),
            ("HTTP://h:80/", R::TargetForm),
            ("http:/h:80/", R::TargetForm),
            ("http://h:80?a", R::TargetForm),
            ("http://h:80#a", R::TargetForm),
            ("http://h/", R::TargetAuthority),
            ("http://h:800/", R::TargetAuthority),
            ("http://H:80/", R::TargetAuthority),
            ("http://u@h:80/", R::TargetAuthority),
            ("http://h:80@evil/", R::TargetAuthority),
            ("http://h:80\\@evil/", R::TargetAuthority),
            ("http:///", R::TargetAuthority),
            ("/\"", R::TargetByte),
            ("/<", R::TargetByte),
            ("/>", R::TargetByte),
            ("/[", R::TargetByte),
            ("/]", R::TargetByte),
            ("/^", R::TargetByte),
            ("/`", R::TargetByte),
            ("/{", R::TargetByte),
            ("/|", R::TargetByte),
            ("/}", R::TargetByte),
            ("/?\"", R::TargetByte),
            ("/?|", R::TargetByte),
            ("/\u{e4}", R::TargetByte),
            ("/\u{7f}", R::TargetByte),
            ("/\\", R::TargetBackslash),
            ("/?\\", R::TargetBackslash),
            ("/#", R::TargetFragment),
            ("/?#", R::TargetFragment),
            ("/.", R::TargetDotSegment),
            ("/..", R::TargetDotSegment),
            ("/./a", R::TargetDotSegment),
            ("/a/../b", R::TargetDotSegment),
            ("/a/..?b", R::TargetDotSegment),
            ("/a/..;b=c/d", R::TargetDotSegment),
            ("/.;/a", R::TargetDotSegment),
            ("//", R::TargetEmptySegment),
            ("/a//b", R::TargetEmptySegment),
            ("//evil/a", R::TargetEmptySegment),
            ("/a;b", R::TargetSemicolon),
            ("/;", R::TargetSemicolon),
            ("/%", R::TargetEscapeInvalid),
            ("/%a", R::TargetEscapeInvalid),
            ("/%g0", R::TargetEscapeInvalid),
            ("/%0g", R::TargetEscapeInvalid),
            ("/%u002f", R::TargetEscapeInvalid),
            ("/%%30%30", R::TargetEscapeInvalid),
            ("/a?%", R::TargetEscapeInvalid),
            ("/%4?1", R::TargetEscapeInvalid),
            ("/%00", R::TargetEscapedControl),
            ("/%0d%0a", R::TargetEscapedControl),
            ("/%1F", R::TargetEscapedControl),
            ("/%7f", R::TargetEscapedControl),
            ("/?%00", R::TargetEscapedControl),
            ("/?a=%0A", R::TargetEscapedControl),
            ("/%2f", R::TargetEscapedSlash),
            ("/a%2Fb", R::TargetEscapedSlash),
            ("/%5c", R::TargetEscapedBackslash),
            ("/%5C", R::TargetEscapedBackslash),
            ("/%2e", R::TargetEscapedDot),
            ("/a/%2E%2e/b", R::TargetEscapedDot),
            ("/.%2e/", R::TargetEscapedDot),
            ("/%25", R::TargetEscapedPercent),
            ("/%252e", R::TargetEscapedPercent),
            ("/%3f", R::TargetEscapedDelimiter),
            ("/%23", R::TargetEscapedDelimiter),
            ("/%3b", R::TargetEscapedDelimiter),
            ("/%61dmin", R::TargetEscapedUnreserved),
            ("/%7E", R::TargetEscapedUnreserved),
            ("/%2d", R::TargetEscapedUnreserved),
            ("/%c0%af", R::TargetOverlongUtf8),
            ("/%c1%81", R::TargetOverlongUtf8),
            ("/%e0%80%af", R::TargetOverlongUtf8),
            ("/%f0%80%80%af", R::TargetOverlongUtf8),
            ("/%80", R::TargetNotUtf8),
            ("/%ff", R::TargetNotUtf8),
            ("/%e4", R::TargetNotUtf8),
            ("/%e4/", R::TargetNotUtf8),
            ("/%e4?", R::TargetNotUtf8),
            ("/%c3%20", R::TargetNotUtf8),
            ("/%c3a", R::TargetNotUtf8),
            ("/%e2%82", R::TargetNotUtf8),
            ("/%c3%c3%a4", R::TargetNotUtf8),
            ("/%ed%a0%80", R::TargetNotUtf8),
            ("/%f4%90%80%80", R::TargetNotUtf8),
            ("/%f5%80%80%80", R::TargetNotUtf8),
        ] {
            assert_eq!(get(target, &Strictness::STRICT), Err(refusal), "{target}");
        }
    }

    #[test]
    fn absolute_form_is_matched_without_its_authority() {
        assert_eq!(get("http://h:80/a?b", &Strictness::STRICT), Ok("/a?b"));
        assert_eq!(get("http://h:80", &Strictness::STRICT), Ok("/"));
        assert_eq!(get("http://h:80/..", &Strictness::STRICT), Err(R::TargetDotSegment));
        assert_eq!(get("http://h:80//", &Strictness::STRICT), Err(R::TargetEmptySegment));
    }

    #[test]
    fn asterisk_is_for_options_only() {
        let star = |method| path_and_query("*", method, "h", &Strictness::STRICT);
        assert_eq!(star("OPTIONS"), Ok("*"));
        assert_eq!(star("GET"), Err(R::TargetForm));
        assert_eq!(star("PRI"), Err(R::TargetForm));
    }

    #[test]
    fn a_widening_opens_its_own_rule_and_no_other() {
        let strict = Strictness::STRICT;
        let widenings = [
            (Strictness { allow_empty_segments: true, ..strict }, "/a//b"),
            (Strictness { allow_semicolons: true, ..strict }, "/a;b=c/;d"),
            (Strictness { allow_escaped_slashes: true, ..strict }, "/a%2Fb%2f"),
            (Strictness { allow_escaped_percent: true, ..strict }, "/100%25"),
            (Strictness { allow_escaped_delimiters: true, ..strict }, "/c%23%3f%3B"),
            (Strictness { allow_escaped_unreserved: true, ..strict }, "/%7Eu/%61%2ejs"),
            (Strictness { allow_escaped_not_utf8: true, ..strict }, "/%e4%80%ff%c3/%c3"),
            (Strictness { allow_raw_query_bytes: true, ..strict }, "/?{a|b}^`"),
            (Strictness { allow_escaped_query_controls: true, ..strict }, "/?a=%0d%0A%7f"),
        ];
        for (index, (strictness, _)) in widenings.iter().enumerate() {
            for (other, (_, target)) in widenings.iter().enumerate() {
                assert_eq!(get(target, strictness).is_ok(), index == other, "{index} {target}");
            }
            for never in [
                "/..",
                "/.",
                "/a/%2e%2E",
                "/%2e",
                "/.%2e/a",
                "/..;a",
                "/%2e%2e;a=b/c",
                "/\\",
                "/%5c",
                "/#",
                "/%00",
                "/%0a",
                "/%",
                "/%c0%ae",
                "/%e0%80%ae",
                "/?%00",
                "/?#",
                "/?%zz",
                "/?\\",
                "/ä",
            ] {
                assert!(get(never, strictness).is_err(), "{index} {never}");
            }
        }
    }

    #[test]
    fn every_byte_outside_rfc_3986_is_refused_in_path_and_query() {
        for byte in 0..=u8::MAX {
            let allowed = byte.is_ascii_alphanumeric() || b"-_~!$&'()*+,=:@/.?".contains(&byte);
            for (prefix, extra) in [("/a", &b""[..]), ("/a?b", &b"[];"[..])] {
                let mut target = prefix.to_owned();
                target.push(char::from(byte));
                let expected = (allowed && byte.is_ascii()) || extra.contains(&byte);
                assert_eq!(get(&target, &Strictness::STRICT).is_ok(), expected, "{target:?}");
            }
        }
    }
}
