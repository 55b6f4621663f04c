//! Patterns of RE2's syntax, as Envoy reads them: full match, linear time.
//!
//! Arrives: a `path`, `method` or `host` of a policy. Leaves: a [`Pattern`] whose text is RE2's and whose parsed form
//! (`Hir`) means the same in regex-syntax. The two languages differ, and each difference is settled here:
//! `\d \w \s \b` are ASCII only; `[` and `&&` inside a class are plain characters; `\Q…\E` quotes; `\<` is `<`; a `{` that
//! starts no repetition is itself; the flags are `imsU` only; repetition stops at 1000; `\C` is refused.
//! Invariant: a `Pattern` that exists can be compiled, or says why not ([`Pattern::problem`]) and matches nothing.

use std::sync::{Arc, OnceLock};

use regex_syntax::ast;
use regex_syntax::hir::{self, Hir, HirKind, Look};

/// Longest pattern taken, in bytes.
pub const MAX_LENGTH: usize = 64 << 10;

/// A pattern as written. It is taken apart when somebody asks.
#[derive(Clone, Debug)]
pub struct Pattern {
    text: Arc<str>,
    parsed: OnceLock<Result<Arc<Hir>, Arc<str>>>,
}

impl Pattern {
    /// Reads a pattern; a bad one is kept with its problem.
    pub fn new(text: &str) -> Self {
        Self { text: text.into(), parsed: OnceLock::new() }
    }

    fn parsed(&self) -> &Result<Arc<Hir>, Arc<str>> {
        self.parsed.get_or_init(|| parse(&self.text).map(Arc::new).map_err(Into::into))
    }

    /// The pattern as written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What is wrong with it, if something is. Such a pattern matches nothing.
    pub fn problem(&self) -> Option<&str> {
        self.parsed().as_ref().err().map(AsRef::as_ref)
    }

    /// The pattern in regex-syntax's spelling, anchored at both ends, for an engine that is given one field.
    pub(crate) fn anchored(&self) -> Option<String> {
        self.parsed()
            .as_ref()
            .ok()
            .and_then(|_| respell(&self.text).ok())
            .map(|spelled| format!("\\A(?:{spelled})\\z"))
    }

    /// What it means, in a form where its text anchors stand at the edges of a field that is delimited by NUL.
    pub(crate) fn hir(&self) -> Option<&Hir> {
        self.parsed().as_ref().ok().map(AsRef::as_ref)
    }
}

// A pattern is what it says.
impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}
impl Eq for Pattern {}
impl std::hash::Hash for Pattern {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

fn parse(text: &str) -> Result<Hir, String> {
    if text.len() > MAX_LENGTH {
        return Err(format!("the pattern is longer than {MAX_LENGTH} bytes"));
    }
    let spelled = respell(text)?;
    let tree = ast::parse::ParserBuilder::new()
        .nest_limit(200)
        .octal(true)
        .build()
        .parse(&spelled)
        .map_err(|error| format!("invalid regular expression {text:?}: {}", error.kind()))?;
    let hir = hir::translate::TranslatorBuilder::new()
        .utf8(false)
        .build()
        .translate(&spelled, &tree)
        .map_err(|error| format!("invalid regular expression {text:?}: {}", error.kind()))?;
    Ok(field_anchors(&hir))
}

/// Rewrites what RE2 and regex-syntax spell differently.
fn respell(text: &str) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut in_class = false;
    while let Some(c) = rest.chars().next() {
        let after = rest.get(c.len_utf8()..).unwrap_or_default();
        rest = match c {
            '\\' => escape(after, in_class, &mut out)?,
            '[' if !in_class => {
                in_class = true;
                out.push('[');
                let negated = after.strip_prefix('^');
                if negated.is_some() {
                    out.push('^');
                }
                let body = negated.unwrap_or(after);
                // A bracket that comes first is a member, not the end.
                match body.strip_prefix(']') {
                    Some(body) => {
                        out.push_str("\\]");
                        body
                    }
                    None => body,
                }
            }
            '[' => match after.strip_prefix(':').and_then(|name| name.find(":]")) {
                Some(end) => {
                    let name = after.get(..end.saturating_add(3)).unwrap_or_default();
                    out.push('[');
                    out.push_str(name);
                    after.get(name.len()..).unwrap_or_default()
                }
                None => {
                    out.push_str("\\[");
                    after
                }
            },
            ']' if in_class => {
                in_class = false;
                out.push(']');
                after
            }
            '&' | '~' if in_class => {
                out.push('\\');
                out.push(c);
                after
            }
            // `--` would be a set difference; RE2 reads a range or a literal.
            '-' if in_class && after.starts_with('-') => {
                return Err(format!(
                    "invalid regular expression {text:?}: \"--\" in a class; write \"\\-\""
                ));
            }
            '{' if !in_class => match repetition(after) {
                Some((length, most)) => {
                    if most > 1000 {
                        return Err(format!(
                            "invalid regular expression {text:?}: repetition above 1000"
                        ));
                    }
                    let body = after.get(..length).unwrap_or_default();
                    out.push('{');
                    out.push_str(body);
                    after.get(length..).unwrap_or_default()
                }
                None => {
                    out.push_str("\\{");
                    after
                }
            },
            '(' if !in_class && after.starts_with('?') => {
                flags(after)
                    .map_err(|reason| format!("invalid regular expression {text:?}: {reason}"))?;
                out.push('(');
                after
            }
            other => {
                out.push(other);
                after
            }
        };
    }
    Ok(out)
}

/// Takes an escape whose backslash is gone; returns what follows it.
fn escape<'t>(after: &'t str, in_class: bool, out: &mut String) -> Result<&'t str, String> {
    let Some(c) = after.chars().next() else {
        return Err("invalid regular expression: trailing backslash".to_owned());
    };
    let rest = after.get(c.len_utf8()..).unwrap_or_default();
    match c {
        'Q' if !in_class => {
            let (quoted, rest) = rest.split_once("\\E").unwrap_or((rest, ""));
            out.push_str(&regex_syntax::escape(quoted));
            return Ok(rest);
        }
        'E' if !in_class => {}
        'C' => {
            return Err(
                "invalid regular expression: \\C matches half a character and is not taken"
                    .to_owned(),
            );
        }
        // Word edges in regex-syntax, plain characters in RE2.
        '<' | '>' => out.push(c),
        'b' | 'B' if rest.starts_with('{') => {
            return Err("invalid regular expression: a repeated word boundary".to_owned());
        }
        'd' | 'D' | 's' | 'S' | 'w' | 'W' => {
            // ASCII only in RE2, and \s has no vertical tab.
            let members = match c {
                'd' | 'D' => "0-9",
                's' | 'S' => r"\t\n\x0C\r\x20",
                _ => "0-9A-Za-z_",
            };
            match (c.is_ascii_uppercase(), in_class) {
                (true, _) => out.push_str("[^"),
                (false, false) => out.push('['),
                (false, true) => {}
            }
            out.push_str(members);
            if c.is_ascii_uppercase() || !in_class {
                out.push(']');
            }
        }
        // ASCII only in RE2.
        'b' | 'B' if !in_class => {
            out.push_str(if c == 'b' { r"(?-u:\b)" } else { r"(?-u:\B)" });
        }
        'u' | 'U' => return Err(format!("invalid regular expression: \\{c} is not an escape")),
        _ => {
            out.push('\\');
            out.push(c);
            // `\p{…}` and `\x{…}`: the brace belongs to the escape.
            if matches!(c, 'p' | 'P' | 'x') && rest.starts_with('{') {
                let end = rest.find('}').map_or(rest.len(), |end| end.saturating_add(1));
                out.push_str(rest.get(..end).unwrap_or_default());
                return Ok(rest.get(end..).unwrap_or_default());
            }
        }
    }
    Ok(rest)
}

/// The length of a repetition behind its `{`, closing brace included, and its largest count.
fn repetition(after: &str) -> Option<(usize, u32)> {
    let body = after.get(..after.find('}')?)?;
    let (least, most) = body.split_once(',').unwrap_or((body, body));
    let count = |text: &str| {
        (text.bytes().all(|b| b.is_ascii_digit()) && !text.is_empty())
            .then(|| text.parse().unwrap_or(u32::MAX))
    };
    let least = count(least)?;
    let most = if most.is_empty() { least } else { count(most)? };
    Some((body.len().saturating_add(1), most.max(least)))
}

/// Checks what stands behind `(`: a group name or RE2's flags.
fn flags(after: &str) -> Result<(), String> {
    let body = after.strip_prefix('?').unwrap_or_default();
    if body.starts_with("P<")
        || body.starts_with('<') && !body.starts_with("<=") && !body.starts_with("<!")
    {
        return Ok(());
    }
    let end = body.find([':', ')']).unwrap_or(body.len());
    match body
        .get(..end)
        .unwrap_or_default()
        .chars()
        .find(|c| !matches!(c, 'i' | 'm' | 's' | 'U' | '-'))
    {
        Some(other) => Err(format!("the group flag {other:?} is not RE2's")),
        None => Ok(()),
    }
}

/// Turns anchors of the text into anchors of a NUL-delimited field.
///
/// All fields of a request are matched in one pass with NUL between them; the automaton's line terminator is NUL, so a
/// "line" is a field. `(?m)` asks for line feeds, which no field of a request holds: it means the same.
fn field_anchors(hir: &Hir) -> Hir {
    match hir.kind() {
        HirKind::Look(look) => Hir::look(match look {
            Look::Start | Look::StartLF | Look::StartCRLF => Look::StartLF,
            Look::End | Look::EndLF | Look::EndCRLF => Look::EndLF,
            other => *other,
        }),
        HirKind::Repetition(repetition) => Hir::repetition(hir::Repetition {
            sub: Box::new(field_anchors(&repetition.sub)),
            ..repetition.clone()
        }),
        // Groups are of no use here; they only cost states.
        HirKind::Capture(capture) => field_anchors(&capture.sub),
        HirKind::Concat(parts) => Hir::concat(parts.iter().map(field_anchors).collect()),
        HirKind::Alternation(parts) => Hir::alternation(parts.iter().map(field_anchors).collect()),
        HirKind::Empty | HirKind::Literal(_) | HirKind::Class(_) => hir.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_re2_takes_is_taken() {
        for text in [
            "/public(\\?.*)?",
            "^/v1/[^/]+$",
            "GET|POST",
            "(?i)get",
            "[[:alpha:]]+",
            "[[a]x",
            "[a&&b]",
            "\\Qa.b\\E/.*",
            "a{,3}",
            "a{x",
            "\\<b\\>",
            "\\pL+",
            "\\p{Greek}",
            "(?P<id>\\d+)",
            "\\x{41}",
            "[]a]",
            "[^]a]",
            "a{2,5}?",
            "\\/a\\_b\\-c",
            "(?:a|b)*",
            "\\bword\\b",
            "(?s).*",
            "[\\d.]+",
            "{{a}}",
        ] {
            assert_eq!(Pattern::new(text).problem(), None, "{text}");
        }
    }

    #[test]
    fn what_re2_refuses_or_we_do_is_a_problem_not_a_match() {
        for text in [
            "(", "[a", "a{1001}", "(?=a)", "(?<=a)", "(?<!a)", "\\1x(", "(?x)a b", "\\C", "a\\",
            "*a", "[b-a]", "\\b{2}",
        ] {
            assert!(Pattern::new(text).problem().is_some(), "{text}");
        }
    }
}
