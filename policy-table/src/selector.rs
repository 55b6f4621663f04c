//! Selectors: predicates over labels, as `matchLabels` and `matchExpressions` say them.
//!
//! Arrives: keys and values as written. Leaves: a [`Selector`], a conjunction of requirements in one normal order, so that
//! two selectors of one meaning and spelling are equal and can share what was computed for them.

use std::fmt;

use crate::label::{Label, Labels};

/// The key of a requirement: `any:app` looks at every source, `k8s:app` at one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SelectorKey {
    /// The source, or `None` for `any`.
    pub source: Option<String>,
    /// The label's key.
    pub name: String,
}

impl SelectorKey {
    /// Reads `key`, `source:key` or `$name` (short for `reserved:name`), as Cilium does.
    pub fn parse(text: &str) -> Self {
        if let Some(name) = text.strip_prefix('$') {
            return Self { source: Some("reserved".to_owned()), name: name.to_owned() };
        }
        match text.split_once(':') {
            Some(("any", name)) => Self { source: None, name: name.to_owned() },
            Some((source, name)) => Self { source: Some(source.to_owned()), name: name.to_owned() },
            None => Self { source: None, name: text.to_owned() },
        }
    }

    /// A key of source `k8s`.
    pub fn k8s(name: &str) -> Self {
        Self { source: Some("k8s".to_owned()), name: name.to_owned() }
    }

    fn find<'a>(&self, labels: &'a Labels) -> Option<&'a Label> {
        labels.find(self.source.as_deref(), &self.name)
    }
}

impl fmt::Display for SelectorKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}", self.source.as_deref().unwrap_or("any"), self.name)
    }
}

/// What is asked of the label under a key. Values are sorted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Test {
    /// It is there and has one of the values (`matchLabels` is this with one value).
    In(Vec<String>),
    /// It is absent or has none of the values.
    NotIn(Vec<String>),
    /// It is there.
    Exists,
    /// It is absent.
    DoesNotExist,
}

/// One requirement of a selector.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Requirement {
    /// Which label.
    pub key: SelectorKey,
    /// What is asked of it.
    pub test: Test,
}

impl Requirement {
    /// The label is there with exactly this value.
    pub fn equals(key: SelectorKey, value: &str) -> Self {
        Self { key, test: Test::In(vec![value.to_owned()]) }
    }

    /// Whether the labels meet the requirement.
    pub fn matches(&self, labels: &Labels) -> bool {
        let found = self.key.find(labels);
        match &self.test {
            Test::In(values) => found.is_some_and(|label| values.contains(&label.value)),
            Test::NotIn(values) => found.is_none_or(|label| !values.contains(&label.value)),
            Test::Exists => found.is_some(),
            Test::DoesNotExist => found.is_none(),
        }
    }
}

/// A conjunction of requirements; without any it selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Selector(Vec<Requirement>);

impl Selector {
    /// The selector of these requirements.
    pub fn new(mut requirements: Vec<Requirement>) -> Self {
        for requirement in &mut requirements {
            if let Test::In(values) | Test::NotIn(values) = &mut requirement.test {
                values.sort();
                values.dedup();
            }
        }
        requirements.sort();
        requirements.dedup();
        Self(requirements)
    }

    /// The requirements, all of which must hold.
    pub fn requirements(&self) -> &[Requirement] {
        &self.0
    }

    /// This selector with one more requirement.
    #[must_use]
    pub fn and(&self, requirement: Requirement) -> Self {
        let mut requirements = self.0.clone();
        requirements.push(requirement);
        Self::new(requirements)
    }

    /// Whether it selects what carries these labels.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.0.iter().all(|requirement| requirement.matches(labels))
    }

    /// Whether a requirement has a key of this source (`None`: `any`) that satisfies `names`.
    pub fn mentions(&self, sources: &[Option<&str>], names: impl Fn(&str) -> bool) -> bool {
        self.0.iter().any(|requirement| {
            sources.contains(&requirement.key.source.as_deref()) && names(&requirement.key.name)
        })
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{{")?;
        for (index, requirement) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            let key = &requirement.key;
            match &requirement.test {
                Test::In(values) if values.len() == 1 => {
                    write!(out, "{comma}{key}={}", values.join(""))
                }
                Test::In(values) => write!(out, "{comma}{key} in ({})", values.join(",")),
                Test::NotIn(values) => write!(out, "{comma}{key} not in ({})", values.join(",")),
                Test::Exists => write!(out, "{comma}{key}"),
                Test::DoesNotExist => write!(out, "{comma}!{key}"),
            }?;
        }
        write!(out, "}}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels() -> Labels {
        Labels::of_pod([("app", "web"), ("tier", "front")], "default", [("team", "x")], "sa")
    }

    fn one(key: &str, test: Test) -> bool {
        Selector::new(vec![Requirement { key: SelectorKey::parse(key), test }]).matches(&labels())
    }

    #[test]
    fn every_operator_on_a_present_and_an_absent_label() {
        let values = |text: &[&str]| text.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>();
        assert!(one("app", Test::In(values(&["api", "web"]))));
        assert!(!one("app", Test::In(values(&["api"]))));
        assert!(!one("gone", Test::In(values(&[""]))));
        assert!(!one("app", Test::NotIn(values(&["web"]))));
        assert!(one("gone", Test::NotIn(values(&["web"]))));
        assert!(one("app", Test::Exists) && !one("gone", Test::Exists));
        assert!(!one("app", Test::DoesNotExist) && one("gone", Test::DoesNotExist));
    }

    #[test]
    fn a_source_narrows_a_key() {
        assert!(one("k8s:app", Test::Exists) && one("any:app", Test::Exists));
        assert!(!one("reserved:app", Test::Exists));
        assert_eq!(SelectorKey::parse("$host"), SelectorKey::parse("reserved:host"));
    }

    #[test]
    fn the_empty_selector_selects_everything() {
        assert!(Selector::default().matches(&labels()));
        assert!(Selector::default().matches(&Labels::reserved(&["world"])));
    }
}
