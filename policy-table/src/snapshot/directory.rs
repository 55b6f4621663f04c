//! A directory of objects that is read again and again: only the files that changed.
//!
//! ```text
//! *.yaml *.yml *.json ─ read ─ newest ─┬─ all good ─ Update { gone, come } ─ in force
//!   (changed ones)                     └─ refusals: what is in force stays, the next reading asks again
//! ```
//! Arrives: a path, and which files in it changed if that is known. Leaves: a [`Update`] from what was in force to what is
//! now, or every reason why not. Invariant: what is in force is always the whole of files that were good together.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hashbrown::HashMap;

use super::claims::Claims;
use super::refusal::{Notice, Refusal, Refusals};
use super::source::Source;
use super::{Object, Snapshot};

/// What a file of a snapshot ends with.
pub(super) const ENDINGS: [&str; 3] = ["yaml", "yml", "json"];

/// The way from one snapshot to the next.
#[derive(Clone, Debug, Default)]
pub struct Update {
    /// Objects that are no more, or no more as they were.
    pub gone: Vec<Object>,
    /// Objects that are new, or as they are now.
    pub come: Vec<Object>,
}

impl Update {
    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.gone.is_empty() && self.come.is_empty()
    }
}

/// A file as it was read last.
#[derive(Debug)]
struct File {
    /// Of the text; the key is drawn anew by each process, so nobody can write two texts of one hash.
    hash: u64,
    source: Source,
}

/// A directory of objects and what of it is in force.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    hasher: RandomState,
    /// Every file that is there, as read last.
    newest: BTreeMap<PathBuf, Arc<File>>,
    /// The files in force.
    good: BTreeMap<PathBuf, Arc<File>>,
    /// Files of which the two differ.
    stale: BTreeSet<PathBuf>,
    /// Files that could not be read: they are tried again at every reading, and nothing comes into force before.
    unread: BTreeSet<PathBuf>,
    claims: Claims,
}

impl Directory {
    /// A directory of which nothing has been read.
    pub fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            hasher: RandomState::new(),
            newest: BTreeMap::new(),
            good: BTreeMap::new(),
            stale: BTreeSet::new(),
            unread: BTreeSet::new(),
            claims: Claims::default(),
        }
    }

    /// Whether a file of this name is part of a snapshot.
    pub fn holds(path: &Path) -> bool {
        let ends = path.extension().is_some_and(|end| ENDINGS.iter().any(|known| end == *known));
        let hidden = path.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.'));
        ends && !hidden
    }

    /// Reads every file; only those with a new text are taken apart.
    ///
    /// # Errors
    /// All refusals of all files; a file that cannot be read is one. What was in force stays.
    pub fn read(&mut self) -> Result<Update, Refusals> {
        let refuse = |error: &std::io::Error| Refusals(vec![unreadable(&self.path, error)]);
        let mut paths: BTreeSet<PathBuf> = self.newest.keys().cloned().collect();
        for entry in std::fs::read_dir(&self.path).map_err(|error| refuse(&error))? {
            paths.insert(entry.map_err(|error| refuse(&error))?.path());
        }
        self.look(paths)
    }

    /// Reads only these files of the directory.
    ///
    /// # Errors
    /// As [`Directory::read`].
    pub fn read_files<'n>(
        &mut self,
        names: impl IntoIterator<Item = &'n OsStr>,
    ) -> Result<Update, Refusals> {
        let paths = names.into_iter().map(|name| self.path.join(name)).collect();
        self.look(paths)
    }

    /// The snapshot in force.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::of(self.good.values().flat_map(|file| file.source.objects.iter().cloned()))
    }

    /// What is worth saying about it.
    pub fn notices(&self) -> Vec<Notice> {
        self.good.values().flat_map(|file| file.source.notices.iter().cloned()).collect()
    }

    fn look(&mut self, mut paths: BTreeSet<PathBuf>) -> Result<Update, Refusals> {
        let mut refusals = Vec::new();
        paths.append(&mut self.unread);
        for path in paths {
            if !Self::holds(&path) || !path.is_file() {
                if self.newest.remove(&path).is_some() {
                    self.stale.insert(path);
                }
                continue;
            }
            let text = match std::fs::read_to_string(&path) {
                Ok(text) => text,
                Err(error) => {
                    refusals.push(unreadable(&path, &error));
                    self.unread.insert(path);
                    continue;
                }
            };
            let hash = self.hasher.hash_one(&text);
            if self.newest.get(&path).is_none_or(|known| known.hash != hash) {
                let source = Source::read(&path.display().to_string(), &text);
                self.newest.insert(path.clone(), Arc::new(File { hash, source }));
                self.stale.insert(path);
            }
        }
        if refusals.is_empty() { self.accept() } else { Err(Refusals(refusals)) }
    }

    /// Puts the newest files in force, if they are good together.
    fn accept(&mut self) -> Result<Update, Refusals> {
        let of = |files: &BTreeMap<PathBuf, Arc<File>>, stale: &BTreeSet<PathBuf>| {
            stale.iter().filter_map(|path| files.get(path).cloned()).collect::<Vec<_>>()
        };
        let (old, new) = (of(&self.good, &self.stale), of(&self.newest, &self.stale));
        for file in &old {
            self.claims.remove_names(&file.source);
            self.claims.remove_addresses(&file.source.objects);
        }
        let mut refusals = Vec::new();
        for file in &new {
            refusals.extend(file.source.refusals.iter().cloned());
            self.claims.add_names(&file.source, &mut refusals);
        }
        let come: Vec<Object> =
            new.iter().flat_map(|file| file.source.objects.iter().cloned()).collect();
        self.claims.add_addresses(&come, &mut refusals);
        if !refusals.is_empty() {
            self.claims = Claims::default();
            for file in self.good.values() {
                self.claims.add_names(&file.source, &mut Vec::new());
                self.claims.add_addresses(&file.source.objects, &mut Vec::new());
            }
            return Err(Refusals(refusals));
        }
        let gone = old.iter().flat_map(|file| file.source.objects.iter().cloned()).collect();
        for path in std::mem::take(&mut self.stale) {
            match self.newest.get(&path) {
                Some(file) => self.good.insert(path, Arc::clone(file)),
                None => self.good.remove(&path),
            };
        }
        Ok(without_what_stays(Update { gone, come }))
    }
}

/// Takes out of a change the objects that mean in both what they meant before.
fn without_what_stays(mut change: Update) -> Update {
    if change.gone.is_empty() {
        return change;
    }
    let mut old: HashMap<(&'static str, String, String), Vec<usize>> = HashMap::new();
    for (place, object) in change.gone.iter().enumerate() {
        old.entry(object.key()).or_default().push(place);
    }
    let mut stays = BTreeSet::new();
    change.come.retain(|object| {
        let Some(places) = old.get_mut(&object.key()) else { return true };
        let same = places
            .iter()
            .position(|place| change.gone.get(*place).is_some_and(|old| object.means_as(old)));
        match same.map(|place| places.swap_remove(place)) {
            Some(place) => {
                stays.insert(place);
                false
            }
            None => true,
        }
    });
    let mut place = 0_usize;
    change.gone.retain(|_| {
        place = place.saturating_add(1);
        !stays.contains(&place.saturating_sub(1))
    });
    change
}

impl Object {
    /// What tells it apart from others; slices of one service are alike.
    fn key(&self) -> (&'static str, String, String) {
        let (kind, namespace, name) = match self {
            Self::Namespace(namespace) => ("Namespace", "", namespace.name.as_str()),
            Self::Pod(pod) => ("Pod", pod.namespace.as_str(), pod.name.as_str()),
            Self::Service(service) => {
                ("Service", service.namespace.as_str(), service.name.as_str())
            }
            Self::Slice(slice) => ("Slice", slice.namespace.as_str(), slice.service.as_str()),
            Self::Node(node) => ("Node", "", node.name.as_str()),
            Self::CidrGroup(group) => ("CidrGroup", "", group.name.as_str()),
            Self::Policy(policy) => {
                ("Policy", policy.namespace.as_deref().unwrap_or_default(), policy.name.as_str())
            }
        };
        (kind, namespace.to_owned(), name.to_owned())
    }

    /// Whether both mean the same. Where an object stands does not matter, but for policies, whose rules are named by line.
    fn means_as(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Namespace(one), Self::Namespace(two)) => one == two,
            (Self::Pod(one), Self::Pod(two)) => {
                let mut moved = one.as_ref().clone();
                moved.place = two.place.clone();
                moved == **two
            }
            (Self::Service(one), Self::Service(two)) => {
                let mut moved = one.as_ref().clone();
                moved.place = two.place.clone();
                moved == **two
            }
            (Self::Slice(one), Self::Slice(two)) => one == two,
            (Self::Node(one), Self::Node(two)) => {
                one.name == two.name && one.addresses == two.addresses
            }
            (Self::CidrGroup(one), Self::CidrGroup(two)) => one == two,
            (Self::Policy(one), Self::Policy(two)) => one == two,
            _ => false,
        }
    }
}

fn unreadable(path: &Path, error: &std::io::Error) -> Refusal {
    Refusal {
        file: path.display().to_string(),
        line: 0,
        object: String::new(),
        field: String::new(),
        reason: format!("cannot be read: {error}"),
        advice: String::new(),
    }
}
