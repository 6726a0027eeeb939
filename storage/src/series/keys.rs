//! Keys in a list, without an allocation or a counter of each.
//!
//! Whoever walks over them in their order reads memory in its order. Lists that are made of others share their bytes.

use std::fmt;

use bytes::Bytes;

use super::key::KeyRef;

/// Some canonical keys.
#[derive(Clone, Default)]
pub struct Keys {
    /// Bytes of many keys each.
    blocks: Vec<Bytes>,
    places: Vec<Place>,
}

/// Where a key stands.
#[derive(Debug, Clone, Copy)]
struct Place {
    block: u32,
    from: u32,
    to: u32,
}

impl Keys {
    /// None, with room for so many.
    pub(super) fn with_capacity(keys: usize) -> Self {
        Self { blocks: Vec::new(), places: Vec::with_capacity(keys) }
    }

    /// Number of keys.
    #[must_use]
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// The key at a position.
    #[must_use]
    pub fn get(&self, position: usize) -> Option<KeyRef<'_>> {
        self.places.get(position).map(|place| self.at(*place))
    }

    /// The last key.
    #[must_use]
    pub fn last(&self) -> Option<KeyRef<'_>> {
        self.places.last().map(|place| self.at(*place))
    }

    /// All keys.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = KeyRef<'_>> {
        self.places.iter().map(|place| self.at(*place))
    }

    /// Adds the key at a position of another list, if there is one. Its bytes are not copied.
    pub(crate) fn push_from(&mut self, others: &Self, position: usize) {
        let Some(place) = others.places.get(position) else { return };
        let Some(bytes) = others.blocks.get(place.block as usize) else { return };
        if self.blocks.last().map(|last| last.as_ptr()) != Some(bytes.as_ptr()) {
            self.blocks.push(bytes.clone());
        }
        self.places.push(Place { block: self.last_block(), ..*place });
    }

    /// Adds the keys that stand at these places of `bytes`.
    pub(super) fn push_all(&mut self, bytes: Bytes, places: impl Iterator<Item = (u32, u32)>) {
        self.blocks.push(bytes);
        let block = self.last_block();
        self.places.extend(places.map(|(from, to)| Place { block, from, to }));
    }

    /// Only those stay for whose position and key `keep` says so.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(usize, KeyRef<'_>) -> bool) {
        let mut places = std::mem::take(&mut self.places);
        let mut positions = 0..places.len();
        places.retain(|place| positions.next().is_some_and(|position| keep(position, self.at(*place))));
        self.places = places;
        if self.places.len() < self.places.capacity() / 2 {
            // A few must not hold the memory of all.
            let mut few = Self::with_capacity(self.places.len());
            (0..self.places.len()).for_each(|position| few.push_from(self, position));
            *self = few;
        }
    }

    /// Bytes of memory that they take.
    pub(super) fn bytes(&self) -> usize {
        let blocks: usize = self.blocks.iter().map(|block| block.len()).sum();
        blocks + self.places.capacity() * size_of::<Place>()
    }

    fn last_block(&self) -> u32 {
        u32::try_from(self.blocks.len()).unwrap_or(u32::MAX).wrapping_sub(1)
    }

    fn at(&self, place: Place) -> KeyRef<'_> {
        let bytes = self.blocks.get(place.block as usize);
        let bytes = bytes.and_then(|bytes| bytes.get(place.from as usize..place.to as usize));
        KeyRef::from_bytes(bytes.unwrap_or_default())
    }
}

impl PartialEq for Keys {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Keys {}

impl<'a> FromIterator<KeyRef<'a>> for Keys {
    fn from_iter<I: IntoIterator<Item = KeyRef<'a>>>(keys: I) -> Self {
        let keys = keys.into_iter();
        let mut buffer = super::KeyBuffer::with_capacity(keys.size_hint().0);
        keys.for_each(|key| buffer.push(key));
        buffer.finish()
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}
