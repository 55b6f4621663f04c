//! Sets of identities that slots refer to by number: unions of atoms, each union once.
//!
//! ```text
//! atom   a peer as a policy names it, or the peers that have a port of some name ─ who is in it now
//! set    a union of atoms ─ a bitmap of the table
//! ```
//! Arrives: which identity entered or left which atom. Leaves: bitmaps that say so. Invariant: a slot never changes
//! because somebody comes or goes; only the bitmaps under its numbers do, and each of them once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};
use roaring::RoaringBitmap;

use crate::members::Members;
use crate::shared::Chunks;
use crate::side::IdentitySet;

/// Things under numbers that are given again when they are free.
#[derive(Debug)]
pub(super) struct Numbered<T> {
    things: Vec<Option<T>>,
    free: Vec<u32>,
}

impl<T> Default for Numbered<T> {
    fn default() -> Self {
        Self { things: Vec::new(), free: Vec::new() }
    }
}

impl<T> Numbered<T> {
    pub(super) fn insert(&mut self, thing: T) -> u32 {
        if let Some(number) = self.free.pop() {
            if let Some(there) = self.get_slot(number) {
                *there = Some(thing);
            }
            return number;
        }
        self.things.push(Some(thing));
        u32::try_from(self.things.len().saturating_sub(1)).unwrap_or(u32::MAX)
    }

    pub(super) fn remove(&mut self, number: u32) -> Option<T> {
        let gone = self.get_slot(number)?.take();
        if gone.is_some() {
            self.free.push(number);
        }
        gone
    }

    pub(super) fn get(&self, number: u32) -> Option<&T> {
        self.things.get(usize::try_from(number).ok()?)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, number: u32) -> Option<&mut T> {
        self.get_slot(number)?.as_mut()
    }

    fn get_slot(&mut self, number: u32) -> Option<&mut Option<T>> {
        self.things.get_mut(usize::try_from(number).ok()?)
    }
}

/// Peers before they are a set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Whom {
    /// Everyone, the unknown included.
    All,
    /// Whoever is in one of these atoms.
    Atoms(Vec<u32>),
}

impl Whom {
    /// Everybody who is in one of these; `None` if there are none.
    pub(super) fn union<'w>(all: impl Iterator<Item = &'w Self>) -> Option<Self> {
        let mut atoms: Option<Vec<u32>> = None;
        for whom in all {
            match whom {
                Self::All => return Some(Self::All),
                Self::Atoms(more) => atoms.get_or_insert_default().extend(more),
            }
        }
        atoms.map(Self::Atoms)
    }
}

/// Who is in an atom, and which sets it is part of.
#[derive(Debug, Default)]
struct Atom {
    members: Arc<RoaringBitmap>,
    users: HashSet<u32>,
}

#[derive(Debug)]
struct Set {
    atoms: Arc<[u32]>,
    /// The sides that refer to it, each once.
    sides: usize,
}

/// All atoms and sets.
#[derive(Debug, Default)]
pub(super) struct Sets {
    atoms: Numbered<Atom>,
    sets: Numbered<Set>,
    by_atoms: HashMap<Arc<[u32]>, u32>,
    /// Sets of which a member changed, with each such identity.
    touched: BTreeMap<u32, BTreeSet<u32>>,
    /// Sets that are to be made anew.
    renewed: BTreeSet<u32>,
}

impl Sets {
    /// A new atom.
    pub(super) fn add_atom(&mut self, members: RoaringBitmap) -> u32 {
        self.atoms.insert(Atom { members: Arc::new(members), users: HashSet::new() })
    }

    /// Forgets an atom that no set uses any more.
    pub(super) fn remove_atom(&mut self, atom: u32) {
        self.atoms.remove(atom);
    }

    pub(super) fn is_used(&self, atom: u32) -> bool {
        self.atoms.get(atom).is_some_and(|atom| !atom.users.is_empty())
    }

    pub(super) fn contains(&self, atom: u32, identity: u32) -> bool {
        self.atoms.get(atom).is_some_and(|atom| atom.members.contains(identity))
    }

    /// Who is in one of these atoms.
    pub(super) fn union(&self, atoms: &[u32]) -> Arc<RoaringBitmap> {
        let mut members = atoms.iter().filter_map(|atom| Some(&self.atoms.get(*atom)?.members));
        let Some(first) = members.next() else { return Arc::default() };
        let mut all = Arc::clone(first);
        for more in members {
            *Arc::make_mut(&mut all) |= more.as_ref();
        }
        all
    }

    /// Says whether an identity is in an atom from now on.
    pub(super) fn put(&mut self, atom: u32, identity: u32, inside: bool) {
        let Some(known) = self.atoms.get_mut(atom) else { return };
        if known.members.contains(identity) == inside {
            return;
        }
        let members = Arc::make_mut(&mut known.members);
        if inside {
            members.insert(identity);
        } else {
            members.remove(identity);
        }
        for set in &known.users {
            self.touched.entry(*set).or_default().insert(identity);
        }
    }

    /// Says who is in an atom from now on.
    pub(super) fn replace(&mut self, atom: u32, members: RoaringBitmap) {
        let Some(known) = self.atoms.get_mut(atom) else { return };
        if *known.members != members {
            known.members = Arc::new(members);
            self.renewed.extend(&known.users);
        }
    }

    /// The set of these peers, made at its first use. Whoever keeps it tells by [`Sets::keep`].
    pub(super) fn of(&mut self, whom: Option<&Whom>, table: &mut Chunks<Members>) -> IdentitySet {
        let atoms = match whom {
            None => return IdentitySet::None,
            Some(Whom::All) => return IdentitySet::All,
            Some(Whom::Atoms(atoms)) => {
                let mut atoms = atoms.clone();
                atoms.sort_unstable();
                atoms.dedup();
                atoms
            }
        };
        if let Some(set) = self.by_atoms.get(atoms.as_slice()) {
            return IdentitySet::These(*set);
        }
        let members = Members::new(self.union(&atoms));
        let atoms: Arc<[u32]> = atoms.into();
        let number = self.sets.insert(Set { atoms: Arc::clone(&atoms), sides: 0 });
        match usize::try_from(number).ok().and_then(|place| table.get_mut(place)) {
            Some(there) => *there = members,
            None => {
                table.push(members);
            }
        }
        for atom in atoms.iter() {
            if let Some(atom) = self.atoms.get_mut(*atom) {
                atom.users.insert(number);
            }
        }
        self.by_atoms.insert(atoms, number);
        IdentitySet::These(number)
    }

    /// A side keeps a set.
    pub(super) fn keep(&mut self, set: u32) {
        if let Some(set) = self.sets.get_mut(set) {
            set.sides = set.sides.saturating_add(1);
        }
    }

    /// A side is gone that kept a set; returns the atoms that nobody uses any more.
    pub(super) fn release(&mut self, number: u32, table: &mut Chunks<Members>) -> Vec<u32> {
        let Some(set) = self.sets.get_mut(number) else { return Vec::new() };
        set.sides = set.sides.saturating_sub(1);
        if set.sides > 0 {
            return Vec::new();
        }
        let atoms = Arc::clone(&set.atoms);
        self.sets.remove(number);
        self.by_atoms.remove(&atoms);
        self.touched.remove(&number);
        self.renewed.remove(&number);
        if let Some(there) = usize::try_from(number).ok().and_then(|place| table.get_mut(place)) {
            *there = Members::default();
        }
        let mut idle = Vec::new();
        for number_of_atom in atoms.iter() {
            let Some(atom) = self.atoms.get_mut(*number_of_atom) else { continue };
            atom.users.remove(&number);
            if atom.users.is_empty() {
                idle.push(*number_of_atom);
            }
        }
        idle
    }

    /// Brings the bitmaps of the table up to date with the atoms.
    pub(super) fn settle(&mut self, table: &mut Chunks<Members>) {
        for number in std::mem::take(&mut self.renewed) {
            self.touched.remove(&number);
            let Some(set) = self.sets.get(number) else { continue };
            let members = Members::new(self.union(&set.atoms));
            if let Some(there) = usize::try_from(number).ok().and_then(|place| table.get_mut(place))
            {
                *there = members;
            }
        }
        for (number, identities) in std::mem::take(&mut self.touched) {
            let Some(set) = self.sets.get(number) else { continue };
            let Some(there) = usize::try_from(number).ok().and_then(|place| table.get_mut(place))
            else {
                continue;
            };
            there.change(|members| {
                for identity in identities {
                    if set.atoms.iter().any(|atom| self.contains(*atom, identity)) {
                        members.insert(identity);
                    } else {
                        members.remove(identity);
                    }
                }
            });
        }
    }
}
