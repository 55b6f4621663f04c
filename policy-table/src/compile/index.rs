//! Labels to identities, and labels to selectors.
//!
//! Arrives: identities that are born or die, selectors that come or go. Leaves: the identities a selector selects, at the
//! cost of its requirements; and the selectors that may select an identity, at the cost of its labels.

use std::collections::BTreeMap;

use hashbrown::HashMap;
use roaring::RoaringBitmap;

use crate::label::{Label, Labels};
use crate::selector::{Requirement, Selector, Test};
use crate::table::IdentityRecord;

/// A value for each (source, key, value), where a source of `None` stands for any.
#[derive(Debug)]
struct ByLabel<T>(HashMap<String, BySource<T>>);

type BySource<T> = BTreeMap<Option<String>, OfSource<T>>;

#[derive(Debug, Default)]
struct OfSource<T> {
    values: HashMap<String, T>,
    /// What stands under any value.
    every: T,
}

impl<T> Default for ByLabel<T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<T: Default> ByLabel<T> {
    fn of(&self, source: Option<&str>, key: &str) -> Option<&OfSource<T>> {
        let mut sources = self.0.get(key)?.iter();
        sources.find(|(own, _)| own.as_deref() == source).map(|(_, of)| of)
    }

    fn of_mut(&mut self, source: Option<&str>, key: &str) -> &mut OfSource<T> {
        let sources = self.0.entry_ref(key).or_default();
        sources.entry(source.map(Into::into)).or_default()
    }

    /// Everything a label of an identity stands under: its own source, and any source if it is the first of its key.
    fn under<'t>(
        &'t self,
        labels: &'t Labels,
    ) -> impl Iterator<Item = (&'t OfSource<T>, &'t Label)> {
        labels.iter().flat_map(move |label| {
            let first = labels.find(None, &label.key) == Some(label);
            let sources = self.0.get(label.key.as_str()).into_iter().flatten();
            let counts = move |(source, _): &(&Option<String>, _)| match source.as_deref() {
                Some(source) => source == label.source,
                None => first,
            };
            sources.filter(counts).map(move |(_, of)| (of, label))
        })
    }
}

/// Identities by their labels.
#[derive(Debug, Default)]
pub(crate) struct LabelIndex {
    everyone: RoaringBitmap,
    labels: ByLabel<RoaringBitmap>,
}

impl LabelIndex {
    /// The index of a whole table's identities.
    pub(crate) fn of<'r>(records: impl IntoIterator<Item = &'r IdentityRecord>) -> Self {
        let mut index = Self::default();
        records.into_iter().for_each(|record| index.add(record));
        index
    }

    pub(super) fn add(&mut self, record: &IdentityRecord) {
        let number = record.identity.number();
        self.everyone.insert(number);
        self.each(&record.labels, |set| {
            set.insert(number);
        });
    }

    pub(super) fn remove(&mut self, record: &IdentityRecord) {
        let number = record.identity.number();
        self.everyone.remove(number);
        self.each(&record.labels, |set| {
            set.remove(number);
        });
        for label in record.labels.iter() {
            let Some(sources) = self.labels.0.get_mut(label.key.as_str()) else { continue };
            for of in sources.values_mut() {
                if of.values.get(label.value.as_str()).is_some_and(RoaringBitmap::is_empty) {
                    of.values.remove(label.value.as_str());
                }
            }
            sources.retain(|_, of| !of.every.is_empty());
            if sources.is_empty() {
                self.labels.0.remove(label.key.as_str());
            }
        }
    }

    fn each(&mut self, labels: &Labels, mut act: impl FnMut(&mut RoaringBitmap)) {
        for label in labels {
            // Only the first label of a key counts where the source is not asked for.
            let first = labels.find(None, &label.key) == Some(label);
            for source in [Some(label.source.as_str()), None] {
                if source.is_some() || first {
                    let of = self.labels.of_mut(source, &label.key);
                    act(&mut of.every);
                    act(of.values.entry_ref(label.value.as_str()).or_default());
                }
            }
        }
    }

    /// The identities that carry a reserved label of one of these names.
    pub(super) fn carrying(&self, names: &[&str]) -> RoaringBitmap {
        let carriers = names.iter().filter_map(|name| self.labels.of(Some("reserved"), name));
        let mut all = RoaringBitmap::new();
        for of in carriers {
            all |= &of.every;
        }
        all
    }

    pub(crate) fn select(&self, selector: &Selector) -> RoaringBitmap {
        let mut found: Option<RoaringBitmap> = None;
        for requirement in selector.requirements() {
            let set = self.meet(requirement);
            found = Some(match found {
                None => set,
                Some(found) => found & set,
            });
        }
        found.unwrap_or_else(|| self.everyone.clone())
    }

    fn meet(&self, requirement: &Requirement) -> RoaringBitmap {
        let of = self.labels.of(requirement.key.source.as_deref(), &requirement.key.name);
        let any_of = |values: &[String]| {
            let mut set = RoaringBitmap::new();
            for value in values {
                if let Some(more) = of.and_then(|of| of.values.get(value.as_str())) {
                    set |= more;
                }
            }
            set
        };
        match &requirement.test {
            Test::In(values) => any_of(values),
            Test::NotIn(values) => &self.everyone - any_of(values),
            Test::Exists => of.map(|of| of.every.clone()).unwrap_or_default(),
            Test::DoesNotExist => match of {
                Some(of) => &self.everyone - &of.every,
                None => self.everyone.clone(),
            },
        }
    }

    /// How many identities have one of the values that a requirement names; `None` if it names none.
    fn crowd(&self, requirement: &Requirement) -> Option<u64> {
        let Test::In(values) = &requirement.test else { return None };
        let of = self.labels.of(requirement.key.source.as_deref(), &requirement.key.name);
        let count = |value: &String| of.and_then(|of| of.values.get(value.as_str()));
        Some(values.iter().filter_map(count).map(RoaringBitmap::len).sum())
    }
}

/// Selectors by a label they ask for, each under a number.
#[derive(Debug, Default)]
pub(super) struct SelectorIndex {
    labels: ByLabel<Vec<u32>>,
    /// Those that ask for no label of a certain value.
    rest: Vec<u32>,
    /// The requirement that each of the others stands under.
    under: HashMap<u32, Requirement>,
}

impl SelectorIndex {
    /// Puts a selector under its requirement that the fewest meet.
    pub(super) fn add(&mut self, selector: &Selector, number: u32, index: &LabelIndex) {
        let named = selector
            .requirements()
            .iter()
            .filter_map(|requirement| Some((index.crowd(requirement)?, requirement)));
        let Some((_, requirement)) = named.min_by_key(|(crowd, _)| *crowd) else {
            return self.rest.push(number);
        };
        let Test::In(values) = &requirement.test else { return self.rest.push(number) };
        let of = self.labels.of_mut(requirement.key.source.as_deref(), &requirement.key.name);
        for value in values {
            of.values.entry_ref(value.as_str()).or_default().push(number);
        }
        self.under.insert(number, requirement.clone());
    }

    pub(super) fn remove(&mut self, number: u32) {
        let Some(Requirement { key, test: Test::In(values) }) = self.under.remove(&number) else {
            return self.rest.retain(|known| *known != number);
        };
        let of = self.labels.of_mut(key.source.as_deref(), &key.name);
        for value in &values {
            if let Some(numbers) = of.values.get_mut(value.as_str()) {
                numbers.retain(|known| *known != number);
                if numbers.is_empty() {
                    of.values.remove(value.as_str());
                }
            }
        }
    }

    /// The selectors that may select what carries these labels, each once; no other does.
    pub(super) fn candidates(&self, labels: &Labels) -> Vec<u32> {
        let mut numbers = self.rest.clone();
        for (of, label) in self.labels.under(labels) {
            numbers.extend(of.values.get(label.value.as_str()).into_iter().flatten());
        }
        numbers
    }
}
