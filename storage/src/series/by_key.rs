//! Where the series of a key is: hashes and ids. The keys themselves are in the slots.

use hashbrown::HashTable;

use super::spread;

/// Tables, so that none takes long to grow.
const SHARDS: usize = 16;

/// Ids by the hashes of their keys.
#[derive(Debug, Default)]
pub(super) struct ByKey {
    shards: [HashTable<Entry>; SHARDS],
}

/// The key itself is looked at only if the hash agrees.
#[derive(Debug, Clone, Copy)]
struct Entry {
    hash: u32,
    id: u32,
}

impl ByKey {
    /// The id with this hash whose key `is` the one that is meant.
    pub(super) fn find(&self, hash: u32, is: impl Fn(u32) -> bool) -> Option<u32> {
        let shard = self.shards.get(shard_of(hash))?;
        Some(shard.find(spread(hash), |entry| entry.hash == hash && is(entry.id))?.id)
    }

    /// Adds an id that it does not have.
    pub(super) fn insert(&mut self, hash: u32, id: u32) {
        if let Some(shard) = self.shards.get_mut(shard_of(hash)) {
            shard.insert_unique(spread(hash), Entry { hash, id }, |entry| spread(entry.hash));
        }
    }

    /// Removes an id.
    pub(super) fn remove(&mut self, hash: u32, id: u32) {
        if let Some(shard) = self.shards.get_mut(shard_of(hash))
            && let Ok(entry) = shard.find_entry(spread(hash), |entry| entry.id == id)
        {
            entry.remove();
        }
    }

    /// The numbers of its shards: for what should not hold all of it for long.
    pub(super) fn shards() -> impl Iterator<Item = usize> {
        0..SHARDS
    }

    /// Removes the ids of a shard that are not to be kept. Returns how many.
    pub(super) fn retain(&mut self, shard: usize, mut keep: impl FnMut(u32) -> bool) -> usize {
        let Some(shard) = self.shards.get_mut(shard) else { return 0 };
        let before = shard.len();
        shard.retain(|entry| keep(entry.id));
        if shard.len() < shard.capacity() / 4 {
            shard.shrink_to_fit(|entry| spread(entry.hash));
        }
        before - shard.len()
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.shards.iter().map(HashTable::allocation_size).sum()
    }
}

fn shard_of(hash: u32) -> usize {
    hash as usize % SHARDS
}
