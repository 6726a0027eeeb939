//! Which slots have a tag with a value: built for a tag when it is first asked for, then extended.
//!
//! The slots with one value are a chain: a table finds the newest, and each slot knows the one before it. So a slot
//! costs four bytes and a value nine, and no value is copied: it is read from the key of its newest slot.

use std::hash::BuildHasher;

use foldhash::fast::FixedState;
use hashbrown::HashTable;

use crate::series::SeriesKey;

/// The end of a chain.
const END: u32 = u32::MAX;

/// The index of one tag.
#[derive(Debug)]
pub(super) struct TagIndex {
    position: usize,
    hasher: FixedState,
    chains: HashTable<Chain>,
    /// For each slot the one before it with the same value.
    before: Vec<u32>,
}

/// The slots with one value.
#[derive(Debug, Clone, Copy)]
struct Chain {
    newest: u32,
    slots: u32,
}

impl TagIndex {
    /// An index of the tag at this position of the schema, of no slots yet.
    pub(super) fn new(position: usize) -> Self {
        let (hasher, chains) = (FixedState::default(), HashTable::new());
        Self { position, hasher, chains, before: Vec::new() }
    }

    /// The tag's position.
    pub(super) fn position(&self) -> usize {
        self.position
    }

    /// Whether every one of so many slots is in it.
    pub(super) fn is_complete(&self, slots: usize) -> bool {
        self.before.len() >= slots
    }

    /// Adds the slots that are not in it yet.
    pub(super) fn extend(&mut self, keys: &[SeriesKey]) {
        let (position, hasher) = (self.position, &self.hasher);
        for (slot, key) in keys.iter().enumerate().skip(self.before.len()) {
            let Some(value) = key.borrowed().tag(position) else {
                self.before.push(END);
                continue;
            };
            let slot = u32::try_from(slot).unwrap_or(END);
            let hash = hasher.hash_one(value);
            if let Some(chain) = self.chains.find_mut(hash, |chain| tag(keys, chain, position) == Some(value))
            {
                self.before.push(chain.newest);
                *chain = Chain { newest: slot, slots: chain.slots + 1 };
            } else {
                self.before.push(END);
                let hash_of = |chain: &Chain| hasher.hash_one(tag(keys, chain, position).unwrap_or_default());
                self.chains.insert_unique(hash, Chain { newest: slot, slots: 1 }, hash_of);
            }
        }
    }

    /// The number of slots that have one of the values.
    pub(super) fn count<'a>(&self, keys: &[SeriesKey], values: impl Iterator<Item = &'a str>) -> usize {
        values.filter_map(|value| self.chain(keys, value)).map(|chain| chain.slots as usize).sum()
    }

    /// The slots that have one of the values, in no order.
    pub(super) fn slots<'a>(&self, keys: &[SeriesKey], values: impl Iterator<Item = &'a str>) -> Vec<u32> {
        let mut slots = Vec::new();
        for chain in values.filter_map(|value| self.chain(keys, value)) {
            let mut slot = chain.newest;
            while slot != END {
                slots.push(slot);
                slot = self.before.get(slot as usize).copied().unwrap_or(END);
            }
        }
        slots
    }

    /// Bytes of memory that it takes.
    pub(super) fn bytes(&self) -> usize {
        self.before.capacity() * size_of::<u32>() + self.chains.allocation_size()
    }

    fn chain(&self, keys: &[SeriesKey], value: &str) -> Option<Chain> {
        let hash = self.hasher.hash_one(value);
        self.chains.find(hash, |chain| tag(keys, chain, self.position) == Some(value)).copied()
    }
}

fn tag<'a>(keys: &'a [SeriesKey], chain: &Chain, position: usize) -> Option<&'a str> {
    keys.get(chain.newest as usize)?.borrowed().tag(position)
}
