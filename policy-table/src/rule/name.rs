//! Names as policies write them: `matchName` and `matchPattern` of `toFQDNs` and `rules.dns`.
//!
//! Arrives: the text of a policy. Leaves: a [`NamePattern`] that says whether a name is meant. A name is asked about in one
//! form only: lower case, labels of letters, digits, `-` and `_`, each ended by a dot. Cilium's meaning
//! (`pkg/fqdn/matchpattern`): `*` stands for any number of such letters within one label, `**.` at the beginning for one
//! label or more, and `*` alone for every name.

use std::fmt;

/// Longest text of a name (RFC 1035 §2.3.4).
const MOST_BYTES: usize = 255;

/// A name, or a pattern of names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NamePattern {
    /// In lower case, with its last dot; `*` alone stays as it is.
    text: String,
}

impl NamePattern {
    /// Reads `matchName`.
    ///
    /// # Errors
    /// Cilium's words for what is none.
    pub fn exact(text: &str) -> Result<Self, String> {
        let trimmed = text.trim();
        if !fits(trimmed, is_letter) {
            return Err(format!(
                "Invalid characters in MatchName: {text:?}. Only 0-9, a-z, A-Z and . and - characters are allowed"
            ));
        }
        Ok(Self::of(trimmed))
    }

    /// Reads `matchPattern`.
    ///
    /// # Errors
    /// Cilium's words for what is none.
    pub fn pattern(text: &str) -> Result<Self, String> {
        let trimmed = text.trim();
        if !fits(trimmed, |byte| is_letter(byte) || byte == b'*') {
            return Err(format!(
                "Invalid characters in MatchPattern: {text:?}. Only 0-9, a-z, A-Z and ., - and * characters are allowed"
            ));
        }
        Ok(if trimmed == "*" { Self::every() } else { Self::of(trimmed) })
    }

    /// The pattern that every name meets.
    pub fn every() -> Self {
        Self { text: "*".to_owned() }
    }

    fn of(text: &str) -> Self {
        let mut text = text.to_ascii_lowercase();
        if !text.ends_with('.') {
            text.push('.');
        }
        Self { text }
    }

    /// The text, in lower case and with its last dot.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The labels at the end that hold no star: what every name that matches ends in.
    pub(crate) fn suffix(&self) -> &str {
        match self.text.rfind('*') {
            None => &self.text,
            Some(star) => {
                let behind = self.text.get(star..).unwrap_or_default();
                behind.split_once('.').map_or("", |(_, suffix)| suffix)
            }
        }
    }

    /// Whether `name` is meant. It must be in lower case, with its last dot.
    pub fn matches(&self, name: &str) -> bool {
        if !is_name(name) {
            return false;
        }
        if self.text == "*" {
            return true;
        }
        let (text, any_depth) = match self.text.strip_prefix("**.") {
            Some(rest) => (rest, true),
            None => (self.text.as_str(), false),
        };
        let mut wanted = labels(text).rev();
        let mut given = labels(name).rev();
        loop {
            match (wanted.next(), given.next()) {
                (Some(pattern), Some(label)) if label_matches(pattern, label) => {}
                (None, None) => return !any_depth,
                // What is left over stands before the pattern: one label or more.
                (None, Some(_)) => return any_depth,
                (Some(_), _) => return false,
            }
        }
    }
}

impl fmt::Display for NamePattern {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text)
    }
}

/// Whether it is a name in the one form that is asked about.
pub(crate) fn is_name(name: &str) -> bool {
    name == "."
        || name.ends_with('.')
            && labels(name).all(|label| !label.is_empty() && label.bytes().all(is_letter))
}

/// The labels of a name that ends in a dot. The root has one, which is empty.
fn labels(text: &str) -> impl DoubleEndedIterator<Item = &str> {
    text.strip_suffix('.').unwrap_or(text).split('.')
}

fn is_letter(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}

/// Labels of these bytes, none empty, with or without the last dot.
fn fits(text: &str, good: impl Fn(u8) -> bool + Copy) -> bool {
    !text.is_empty()
        && text.len() <= MOST_BYTES
        && labels(text).all(|label| !label.is_empty() && label.bytes().all(good))
}

/// Whether a label matches one with stars: the last star is the only one that may have to take more.
fn label_matches(pattern: &str, label: &str) -> bool {
    let (mut pattern, mut label) = (pattern.as_bytes(), label.as_bytes());
    let mut retry: Option<(&[u8], &[u8])> = None;
    loop {
        match (pattern, label) {
            ([], []) => return true,
            ([b'*', rest @ ..], _) => {
                retry = Some((rest, label));
                pattern = rest;
                continue;
            }
            ([wanted, rest @ ..], [given, more @ ..]) if wanted == given => {
                (pattern, label) = (rest, more);
                continue;
            }
            _ => {}
        }
        match retry {
            Some((after, [_taken, left @ ..])) => {
                retry = Some((after, left));
                (pattern, label) = (after, left);
            }
            Some((_, [])) | None => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_ciliums_documentation_says() {
        let rows: [(&str, &[&str], &[&str]); 8] = [
            ("*.cilium.io", &["sub.cilium.io."], &["cilium.io.", "a.sub.cilium.io.", "."]),
            ("**.cilium.io", &["app.cilium.io.", "test.app.cilium.io."], &["cilium.io."]),
            ("part*ial.com", &["partial.com.", "part-extra-ial.com."], &["part.ial.com."]),
            ("*", &["a.", "a.b.c.", "."], &[]),
            ("*.", &["com.", "."], &["a.com."]),
            ("a*b*c.io", &["abc.io.", "a1b2bb3c.io."], &["ab.io.", "abcd.io."]),
            ("CILIUM.io", &["cilium.io."], &["xcilium.io.", "cilium.io.evil."]),
            ("sub*.*.io", &["sub.x.io.", "subx..io"], &["x.x.io."]),
        ];
        for (pattern, yes, no) in rows {
            let read = NamePattern::pattern(pattern).unwrap();
            // A name with an empty label is none, whatever it is asked against.
            for name in yes {
                assert_eq!(read.matches(name), is_name(name), "{pattern} {name}");
            }
            for name in no {
                assert!(!read.matches(name), "{pattern} {name}");
            }
        }
    }

    #[test]
    fn what_no_dns_name_can_hold_is_refused() {
        for bad in ["", ".", "a..b", ".a", "a b", "a/b", "ä.de", &"a".repeat(256)] {
            assert!(NamePattern::pattern(bad).is_err(), "{bad}");
        }
        assert!(NamePattern::exact("*.cilium.io").is_err());
        assert_eq!(NamePattern::exact(" Cilium.IO ").unwrap().text(), "cilium.io.");
    }

    #[test]
    fn names_in_another_form_match_nothing() {
        let all = NamePattern::pattern("*").unwrap();
        for name in ["", "a", "a b.", "a..b.", "*.", "a\0."] {
            assert!(!all.matches(name), "{name:?}");
        }
    }

    #[test]
    fn the_suffix_is_what_every_match_ends_in() {
        for (pattern, suffix) in [
            ("*", ""),
            ("*.cilium.io", "cilium.io."),
            ("a*b.c.io", "c.io."),
            ("a.*.io", "io."),
            ("a.b*", ""),
            ("a.b", "a.b."),
        ] {
            assert_eq!(NamePattern::pattern(pattern).unwrap().suffix(), suffix, "{pattern}");
        }
    }
}
