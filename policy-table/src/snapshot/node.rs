//! A YAML (or JSON) document as a tree that remembers its lines.
//!
//! Arrives: text of unknown origin. Leaves: [`Node`]s. Invariants: no mapping has a key twice, no tree is deeper than
//! [`MAX_DEPTH`], and one file never becomes more than [`MAX_NODES`] nodes however its aliases are arranged. Scalars keep
//! their text; whoever reads a field decides what it must be.

use std::collections::{HashMap, HashSet};

use saphyr_parser::{Event, Parser, ScalarStyle};

/// Deepest nesting taken; the deepest field of a real policy lies at about twelve.
pub(crate) const MAX_DEPTH: usize = 64;
/// Most nodes one file may hold, aliases counted as often as they are used.
pub(crate) const MAX_NODES: usize = 8_000_000;
/// Most bytes of one file.
pub(crate) const MAX_BYTES: usize = 256 << 20;

/// A value and the line it starts on.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) line: u32,
    pub(crate) value: Value,
}

/// What stands at a node.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Scalar { text: String, plain: bool },
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// One key of a mapping with its value.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) line: u32,
    pub(crate) key: String,
    pub(crate) node: Node,
}

impl Node {
    /// Whether the value is null: absent, as far as Kubernetes is concerned.
    pub(crate) fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, plain: true } if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    /// The value under `key` of a mapping, if it is there and not null.
    pub(crate) fn at(&self, key: &str) -> Option<&Self> {
        match &self.value {
            Value::Map(entries) => entries
                .iter()
                .find(|entry| entry.key == key)
                .map(|entry| &entry.node)
                .filter(|node| !node.is_null()),
            Value::Scalar { .. } | Value::List(_) => None,
        }
    }

    /// The items of a list; none for anything else.
    pub(crate) fn items(&self) -> &[Self] {
        match &self.value {
            Value::List(items) => items,
            Value::Scalar { .. } | Value::Map(_) => &[],
        }
    }

    /// The entries of a mapping; none for anything else.
    pub(crate) fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Map(entries) => entries,
            Value::Scalar { .. } | Value::List(_) => &[],
        }
    }

    /// The text of a scalar.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar { text, .. } => Some(text),
            Value::List(_) | Value::Map(_) => None,
        }
    }

    fn size(&self) -> usize {
        let inner = match &self.value {
            Value::Scalar { .. } => 0,
            Value::List(items) => items.iter().map(Self::size).sum(),
            Value::Map(entries) => {
                entries.iter().map(|entry| entry.node.size().saturating_add(1)).sum()
            }
        };
        inner.saturating_add(1)
    }
}

/// Why a text is not a tree.
#[derive(Clone, Debug)]
pub(crate) struct Unreadable {
    pub(crate) line: u32,
    pub(crate) reason: String,
}

impl Unreadable {
    fn at(line: usize, reason: impl Into<String>) -> Self {
        Self { line: u32::try_from(line).unwrap_or(u32::MAX), reason: reason.into() }
    }
}

/// Hands each document of a text to `take`, in order; empty documents are left out. When the text turns out not to be read,
/// the documents before that place have been handed on.
///
/// One document is in memory at a time: what a large file costs is mostly getting and giving back memory.
pub(crate) fn each_document(text: &str, mut take: impl FnMut(&Node)) -> Result<(), Unreadable> {
    if text.len() > MAX_BYTES {
        return Err(Unreadable::at(1, format!("the file is larger than {MAX_BYTES} bytes")));
    }
    let mut builder = Builder::default();
    for event in Parser::new_from_str(text) {
        let (event, span) =
            event.map_err(|error| Unreadable::at(error.marker().line(), error.info()))?;
        builder.take(event, span.start.line())?;
        if let Some(document) = builder.document.take() {
            take(&document);
        }
    }
    Ok(())
}

/// Keys of a mapping among which a further one is looked for without a hash set.
const FEW_KEYS: usize = 16;

/// Whether a mapping has no such key yet.
fn is_new(entries: &[Entry], keys: &mut HashSet<String>, key: &str) -> bool {
    if entries.len() < FEW_KEYS {
        return entries.iter().all(|entry| entry.key != key);
    }
    if keys.is_empty() {
        keys.extend(entries.iter().map(|entry| entry.key.clone()));
    }
    keys.insert(key.to_owned())
}

/// A collection that is still open.
enum Open {
    List {
        line: u32,
        anchor: usize,
        items: Vec<Node>,
    },
    Map {
        line: u32,
        anchor: usize,
        entries: Vec<Entry>,
        /// Empty while they are few.
        keys: HashSet<String>,
        key: Option<(u32, String)>,
    },
}

#[derive(Default)]
struct Builder {
    /// One that has ended, until it is taken.
    document: Option<Node>,
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
}

impl Builder {
    fn take(&mut self, event: Event<'_>, at: usize) -> Result<(), Unreadable> {
        let line = u32::try_from(at).unwrap_or(u32::MAX);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                if tag.is_some_and(|tag| tag.suffix != "str") {
                    return Err(Unreadable::at(at, "a tag is not taken here"));
                }
                let plain = style == ScalarStyle::Plain;
                self.close(
                    Node { line, value: Value::Scalar { text: text.into_owned(), plain } },
                    anchor,
                )
            }
            Event::SequenceStart(anchor, _) => {
                self.push(Open::List { line, anchor, items: Vec::new() }, at)
            }
            Event::MappingStart(anchor, _) => {
                let open = Open::Map {
                    line,
                    anchor,
                    entries: Vec::new(),
                    keys: HashSet::new(),
                    key: None,
                };
                self.push(open, at)
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(Open::List { line, anchor, items }) => {
                    self.close(Node { line, value: Value::List(items) }, anchor)
                }
                Some(Open::Map { line, anchor, entries, .. }) => {
                    self.close(Node { line, value: Value::Map(entries) }, anchor)
                }
                None => Err(Unreadable::at(at, "a collection ends that never began")),
            },
            Event::Alias(anchor) => {
                let Some(node) = self.anchors.get(&anchor) else {
                    return Err(Unreadable::at(at, "an alias refers to what it is part of"));
                };
                let depth = depth(node).saturating_add(self.open.len());
                self.nodes = self.nodes.saturating_add(node.size());
                if depth > MAX_DEPTH || self.nodes > MAX_NODES {
                    return Err(Unreadable::at(
                        at,
                        "aliases expand to more than a policy can mean",
                    ));
                }
                let node = node.clone();
                self.close(node, 0)
            }
            Event::DocumentStart(_) => {
                self.anchors.clear();
                Ok(())
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
        }
    }

    fn push(&mut self, open: Open, at: usize) -> Result<(), Unreadable> {
        if self.open.len() >= MAX_DEPTH {
            return Err(Unreadable::at(at, format!("nested deeper than {MAX_DEPTH}")));
        }
        if let Some(Open::Map { key: None, .. }) = self.open.last() {
            return Err(Unreadable::at(at, "a key must be a plain name"));
        }
        self.open.push(open);
        Ok(())
    }

    fn close(&mut self, node: Node, anchor: usize) -> Result<(), Unreadable> {
        self.nodes = self.nodes.saturating_add(1);
        if self.nodes > MAX_NODES {
            return Err(Unreadable::at(1, "more values than a snapshot file may hold"));
        }
        if anchor != 0 {
            self.nodes = self.nodes.saturating_add(node.size());
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut() {
            None => {
                self.document = Some(node).filter(|node| !node.is_null());
            }
            Some(Open::List { items, .. }) => items.push(node),
            Some(Open::Map { entries, keys, key, .. }) => match key.take() {
                Some((line, key)) => entries.push(Entry { line, key, node }),
                None => {
                    let Value::Scalar { text, .. } = node.value else {
                        return Err(Unreadable {
                            line: node.line,
                            reason: "a key must be a plain name".to_owned(),
                        });
                    };
                    if !is_new(entries, keys, &text) {
                        return Err(Unreadable {
                            line: node.line,
                            reason: format!("the key {text:?} is written twice"),
                        });
                    }
                    *key = Some((node.line, text));
                }
            },
        }
        Ok(())
    }
}

fn depth(node: &Node) -> usize {
    match &node.value {
        Value::Scalar { .. } => 0,
        Value::List(items) => items.iter().map(depth).max().unwrap_or(0).saturating_add(1),
        Value::Map(entries) => {
            entries.iter().map(|entry| depth(&entry.node)).max().unwrap_or(0).saturating_add(1)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn documents(text: &str) -> Result<Vec<Node>, Unreadable> {
        let mut all = Vec::new();
        each_document(text, |document| all.push(document.clone()))?;
        Ok(all)
    }

    fn reason(text: &str) -> String {
        documents(text).unwrap_err().reason
    }

    #[test]
    fn lines_are_those_of_the_file_in_every_document() {
        let docs = documents("a: 1\n---\n\nb:\n  - c\n  - d: {e: f}\n").unwrap();
        assert_eq!(docs.len(), 2);
        let items = docs[1].at("b").unwrap().items();
        assert_eq!((items[0].line, items[1].line), (5, 6));
    }

    #[test]
    fn a_key_written_twice_is_refused() {
        assert!(reason("a: 1\nb: 2\na: 3\n").contains("twice"));
        assert!(reason("{\"a\": 1, \"a\": 2}").contains("twice"));
        let many: String = (0..100).map(|key| format!("k{key}: 1\n")).collect();
        assert!(documents(&many).is_ok());
        for key in [0, 15, 16, 17, 99] {
            assert!(reason(&format!("{many}k{key}: 2\n")).contains("twice"), "{key}");
        }
    }

    #[test]
    fn json_is_read_too_and_null_is_absent() {
        let docs = documents("{\"a\": [], \"b\": null, \"c\": \"null\"}").unwrap();
        assert!(
            docs[0].at("a").is_some() && docs[0].at("b").is_none() && docs[0].at("c").is_some()
        );
    }

    #[test]
    fn an_alias_bomb_is_refused_before_it_grows() {
        let mut text = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
        for level in 1..12 {
            let items = vec![format!("*a{}", level - 1); 10].join(",");
            text += &format!("a{level}: &a{level} [{items}]\n");
        }
        assert!(reason(&text).contains("aliases expand"));
    }

    #[test]
    fn depth_is_bounded() {
        assert!(reason(&"[".repeat(100)).contains("nested deeper"));
        assert!(!reason(&"[".repeat(50_000)).is_empty(), "the parser has a bound of its own");
        assert!(reason("a: &a [*a]").contains("alias"));
    }

    #[test]
    fn a_mapping_as_a_key_is_refused() {
        assert!(reason("{{a}}: 1").contains("plain name"));
    }
}
