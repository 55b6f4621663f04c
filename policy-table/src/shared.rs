//! Vectors and maps in shared pieces: a copy shares every piece, a change copies one.
//!
//! Arrives: what a compiler changes between two tables. Leaves: tables that share all that did not change, so that
//! publishing costs the number of pieces and not the number of things. Nothing here locks; reading is two array reads for
//! a vector (a thing lies in its piece, not behind it), and one look into a small hash table for a map.

use std::hash::{BuildHasher, Hash};
use std::net::IpAddr;
use std::sync::Arc;

use hashbrown::{DefaultHashBuilder, HashTable};

/// Things in one piece of a vector, as a power of two.
const PIECE_BITS: u32 = 8;
const PIECE: usize = 1 << PIECE_BITS;
/// Pieces of a map.
const SHARDS: usize = 256;

/// A vector in shared pieces.
#[derive(Clone, Debug)]
pub struct Chunks<T> {
    /// Filled from the front: only the last one has places left.
    pieces: Vec<Arc<[Option<T>; PIECE]>>,
    len: usize,
}

impl<T> Default for Chunks<T> {
    fn default() -> Self {
        Self { pieces: Vec::new(), len: 0 }
    }
}

impl<T> Chunks<T> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The one at `place`.
    #[inline]
    pub fn get(&self, place: usize) -> Option<&T> {
        self.pieces.get(place >> PIECE_BITS)?.get(place & (PIECE - 1))?.as_ref()
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.pieces.iter().flat_map(|piece| piece.iter().flatten())
    }

    /// Whether both are the same pieces, so that nothing can differ.
    pub fn is_same(&self, other: &Self) -> bool {
        self.len == other.len
            && self.pieces.iter().zip(&other.pieces).all(|(one, two)| Arc::ptr_eq(one, two))
    }
}

impl<T: Clone> Chunks<T> {
    /// Adds one at the end; its place.
    pub(crate) fn push(&mut self, value: T) -> usize {
        if self.len & (PIECE - 1) == 0 {
            self.pieces.push(Arc::new(std::array::from_fn(|_| None)));
        }
        let place = self.len;
        if let Some(there) = self.place_mut(place) {
            *there = Some(value);
        }
        self.len = self.len.saturating_add(1);
        place
    }

    /// The one at `place`, to be changed: its piece is copied if it is shared.
    pub(crate) fn get_mut(&mut self, place: usize) -> Option<&mut T> {
        self.place_mut(place)?.as_mut()
    }

    fn place_mut(&mut self, place: usize) -> Option<&mut Option<T>> {
        Arc::make_mut(self.pieces.get_mut(place >> PIECE_BITS)?).get_mut(place & (PIECE - 1))
    }

    /// Takes out the one at `place`; the last one takes its place.
    pub(crate) fn swap_remove(&mut self, place: usize) -> Option<T> {
        self.get(place)?;
        let end = self.len.checked_sub(1)?;
        let last = self.place_mut(end)?.take()?;
        self.len = end;
        if end & (PIECE - 1) == 0 {
            self.pieces.pop();
        }
        if place == end {
            return Some(last);
        }
        self.get_mut(place).map(|there| std::mem::replace(there, last))
    }
}

impl<T: Clone> FromIterator<T> for Chunks<T> {
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Self {
        let mut all = Self::default();
        for value in values {
            all.push(value);
        }
        all
    }
}

/// A hash map in shared pieces. Keys are part of the entries, or are found through them.
#[derive(Clone, Debug)]
pub(crate) struct Shards<E> {
    shards: Vec<Arc<HashTable<(u64, E)>>>,
    hasher: DefaultHashBuilder,
}

impl<E> Default for Shards<E> {
    fn default() -> Self {
        Self {
            shards: std::iter::repeat_n(Arc::new(HashTable::new()), SHARDS).collect(),
            hasher: DefaultHashBuilder::default(),
        }
    }
}

/// The shard of a hash: of bits that a small hash table does not look at.
fn shard(hash: u64) -> usize {
    let [_, _, _, byte, ..] = hash.to_be_bytes();
    usize::from(byte)
}

impl<E> Shards<E> {
    /// The entry under `key`, told apart from others of its hash by `is`.
    #[inline]
    pub(crate) fn find(&self, key: &impl Hash, is: impl Fn(&E) -> bool) -> Option<&E> {
        let hash = self.hasher.hash_one(key);
        let found = self.shards.get(shard(hash))?.find(hash, |(_, entry)| is(entry))?;
        Some(&found.1)
    }
}

impl<E> Shards<E> {
    /// All entries, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &E> {
        self.shards.iter().flat_map(|shard| shard.iter()).map(|(_, entry)| entry)
    }
}

impl<E: Clone> Shards<E> {
    /// Puts an entry under `key`, in place of one that `is` tells to be the same.
    pub(crate) fn put(&mut self, key: &impl Hash, entry: E, is: impl Fn(&E) -> bool) {
        let hash = self.hasher.hash_one(key);
        let Some(shard) = self.shards.get_mut(shard(hash)) else { return };
        let shard = Arc::make_mut(shard);
        match shard.find_mut(hash, |(_, entry)| is(entry)) {
            Some(there) => there.1 = entry,
            None => {
                shard.insert_unique(hash, (hash, entry), |(hash, _)| *hash);
            }
        }
    }

    /// Takes the entry under `key` out that `is` tells.
    pub(crate) fn remove(&mut self, key: &impl Hash, is: impl Fn(&E) -> bool) {
        let hash = self.hasher.hash_one(key);
        let Some(shard) = self.shards.get_mut(shard(hash)) else { return };
        if shard.find(hash, |(_, entry)| is(entry)).is_none() {
            return;
        }
        if let Ok(there) = Arc::make_mut(shard).find_entry(hash, |(_, entry)| is(entry)) {
            there.remove();
        }
    }
}

/// Addresses to something.
pub(crate) type Addresses<V> = Shards<(IpAddr, V)>;

impl<V: Copy> Addresses<V> {
    #[inline]
    pub(crate) fn of(&self, address: IpAddr) -> Option<V> {
        self.find(&address, |(own, _)| *own == address).map(|(_, value)| *value)
    }

    pub(crate) fn set(&mut self, address: IpAddr, value: Option<V>) {
        let is = |(own, _): &(IpAddr, V)| *own == address;
        match value {
            Some(value) => self.put(&address, (address, value), is),
            None => self.remove(&address, is),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn chunks_are_a_vector(steps in prop::collection::vec((0_u8..4, 0_usize..900, 0_u32..9), 0..1200)) {
            let mut model = Vec::new();
            let mut chunks = Chunks::default();
            let mut kept = Vec::new();
            for (step, place, value) in steps {
                match step {
                    0 | 1 => {
                        prop_assert_eq!(chunks.push(value), model.len());
                        model.push(value);
                    }
                    2 if place < model.len() => {
                        prop_assert_eq!(chunks.swap_remove(place), Some(model.swap_remove(place)));
                    }
                    3 if place < model.len() => {
                        // A copy that is kept must not see the change.
                        kept.push((chunks.clone(), model.clone()));
                        kept.truncate(3);
                        *chunks.get_mut(place).unwrap() = value;
                        model[place] = value;
                    }
                    _ => prop_assert_eq!(chunks.get(place), model.get(place)),
                }
            }
            kept.push((chunks, model));
            for (chunks, model) in kept {
                prop_assert_eq!(chunks.len(), model.len());
                prop_assert_eq!(chunks.iter().copied().collect::<Vec<_>>(), model);
            }
        }

        #[test]
        fn addresses_are_a_map(steps in prop::collection::vec((0_u32..400, prop::option::of(0_u32..9)), 0..800)) {
            let mut model = std::collections::HashMap::new();
            let mut addresses = Addresses::default();
            let before = addresses.clone();
            for (address, value) in steps {
                let address = IpAddr::from(address.to_be_bytes());
                addresses.set(address, value);
                match value {
                    Some(value) => model.insert(address, value),
                    None => model.remove(&address),
                };
            }
            for address in 0_u32..400 {
                let address = IpAddr::from(address.to_be_bytes());
                prop_assert_eq!(addresses.of(address), model.get(&address).copied());
                prop_assert_eq!(before.of(address), None);
            }
        }
    }
}
