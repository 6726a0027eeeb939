//! [`Keys`] in the making.

use std::cmp::Ordering;
use std::ops::Range;

use super::key::{KeyRef, compare, put_key, tags_before};
use super::keys::Keys;
use crate::error::Result;

/// Bytes of a block of keys: enough that the number of blocks does not matter, and few to be kept for one key.
const SHARED_BYTES: usize = 1 << 20;

/// Room of a block that follows a full one: the last key of a block may end behind its bytes.
const BLOCK_BYTES: usize = SHARED_BYTES + (16 << 10);

/// Keys in the making, in the order in which they are pushed.
#[derive(Debug, Default)]
pub(crate) struct KeyBuffer {
    keys: Keys,
    /// Where the keys begin and end that are not in `keys` yet, and their bytes.
    places: Vec<(u32, u32)>,
    bytes: Vec<u8>,
    /// Where the last key stands in `bytes`, if there is one.
    last: Option<Range<usize>>,
}

/// How a pushed key stands to the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pushed {
    /// It comes after it in the order of keys, or is the first.
    Later,
    /// It is the same, and was not added.
    Same,
    /// It comes before it.
    Earlier,
}

impl KeyBuffer {
    /// None, with room for the places of so many.
    pub(super) fn with_capacity(keys: usize) -> Self {
        Self { keys: Keys::with_capacity(keys), ..Self::default() }
    }

    /// Adds the key of the series that has the tags of the last key below position `from`, and else these, which are
    /// sorted by position; unless it is the last one. Neighbours in an order differ in their last tags: what they have
    /// in common is copied in one piece and compared with nothing.
    ///
    /// # Errors
    /// Those of [`canonical_key`](super::canonical_key).
    pub(crate) fn push_tags<'a>(
        &mut self,
        from: usize,
        tags: impl Iterator<Item = (usize, &'a str)>,
    ) -> Result<Pushed> {
        let begin = self.bytes.len();
        let last = self.last.clone();
        let common = last.clone().map_or(0..0, |last| {
            last.start..last.start + tags_before(self.bytes.get(last).unwrap_or_default(), from)
        });
        self.bytes.extend_from_within(common.clone());
        put_key(&mut self.bytes, tags)?;
        let own = self.bytes.get(begin + common.len()..).unwrap_or_default();
        let others = last.and_then(|last| self.bytes.get(common.end..last.end));
        let order = others.map_or(Ordering::Greater, |others| compare(own, others));
        if order.is_eq() {
            self.bytes.truncate(begin);
            return Ok(Pushed::Same);
        }
        self.end_key(begin);
        Ok(if order.is_gt() { Pushed::Later } else { Pushed::Earlier })
    }

    /// Adds a key.
    pub(crate) fn push(&mut self, key: KeyRef<'_>) {
        let from = self.bytes.len();
        self.bytes.extend_from_slice(key.as_bytes());
        self.end_key(from);
    }

    /// The keys.
    pub(crate) fn finish(mut self) -> Keys {
        self.end_block();
        self.keys
    }

    fn end_key(&mut self, from: usize) {
        // One buffer has a little more than a mebibyte, and a key a few kilobytes.
        let place = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        self.places.push((place(from), place(self.bytes.len())));
        self.last = Some(from..self.bytes.len());
        if self.bytes.len() >= SHARED_BYTES {
            self.end_block();
        }
    }

    /// Makes keys of the bytes so far.
    fn end_block(&mut self) {
        if self.places.is_empty() {
            return;
        }
        let last = self.last.take().and_then(|last| self.bytes.get(last)).unwrap_or_default();
        let is_full = self.bytes.len() >= SHARED_BYTES;
        let mut next = Vec::with_capacity(if is_full { BLOCK_BYTES } else { 0 });
        // The next key may begin as the last one does.
        next.extend_from_slice(last);
        self.last = Some(0..next.len());
        let mut bytes = std::mem::replace(&mut self.bytes, next);
        // A list may live for as long as its table.
        bytes.shrink_to_fit();
        self.keys.push_all(bytes.into(), self.places.drain(..));
    }
}

#[cfg(test)]
mod tests {
    use super::{KeyBuffer, Pushed, SHARED_BYTES};
    use crate::series::{KeyRef, Keys, SeriesKey, canonical_key};

    fn key(tag: &str) -> SeriesKey {
        SeriesKey::from_bytes(&canonical_key(std::iter::once((0, tag))).unwrap())
    }

    #[test]
    fn keys_come_out_as_they_went_in_however_many_share_their_bytes() {
        let names: Vec<String> = (0..40_000).map(|number| format!("{number:040}")).collect();
        let (mut tags, mut keys) = (KeyBuffer::default(), KeyBuffer::default());
        for name in &names {
            assert_eq!(tags.push_tags(0, std::iter::once((0, name.as_str()))).unwrap(), Pushed::Later);
            assert_eq!(tags.push_tags(0, std::iter::once((0, name.as_str()))).unwrap(), Pushed::Same);
            keys.push(key(name).borrowed());
        }
        let all: Vec<SeriesKey> = names.iter().map(|name| key(name)).collect();
        let expected: Vec<KeyRef<'_>> = all.iter().map(SeriesKey::borrowed).collect();
        assert!(expected.iter().map(|key| key.as_bytes().len()).sum::<usize>() > SHARED_BYTES);
        assert_eq!(tags.finish().iter().collect::<Vec<_>>(), expected);
        assert_eq!(keys.finish().iter().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_key_begins_as_the_last_one_also_where_memory_ends() {
        let tags = |number: usize| [(0, format!("{:070}", number / 1_000)), (3, format!("{number:070}"))];
        let mut keys = KeyBuffer::default();
        for number in 0..30_000 {
            let from = if number % 1_000 == 0 { 0 } else { 1 };
            let changed = tags(number);
            let changed = changed.iter().filter(|(at, _)| *at >= from);
            let changed = changed.map(|(at, value)| (*at, value.as_str()));
            assert_eq!(keys.push_tags(from, changed.clone()).unwrap(), Pushed::Later);
            assert_eq!(keys.push_tags(from, changed).unwrap(), Pushed::Same);
        }
        let keys = keys.finish();
        assert!(keys.iter().map(|key| key.as_bytes().len()).sum::<usize>() > 2 * SHARED_BYTES);
        for (number, got) in keys.iter().enumerate() {
            let expected = tags(number);
            let expected = canonical_key(expected.iter().map(|(at, value)| (*at, value.as_str()))).unwrap();
            assert_eq!(got.as_bytes(), expected);
        }
    }

    #[test]
    fn a_few_that_stay_do_not_hold_the_memory_of_all() {
        let names: Vec<String> = (0..40_000).map(|number| format!("{number:060}")).collect();
        let all: Vec<SeriesKey> = names.iter().map(|name| key(name)).collect();
        let mut keys: Keys = all.iter().map(SeriesKey::borrowed).collect();
        let before = keys.bytes();
        // One in the middle: it keeps its own block, of more than two.
        keys.retain(|position, key| {
            assert_eq!(key, all[position].borrowed());
            position == 20_000
        });
        assert_eq!(keys.iter().collect::<Vec<_>>(), [all[20_000].borrowed()]);
        assert!(before > 2 * SHARED_BYTES && keys.bytes() < before / 2, "{} of {before}", keys.bytes());
    }

    #[test]
    fn a_key_that_comes_too_early_is_seen() {
        let mut keys = KeyBuffer::default();
        keys.push_tags(0, std::iter::once((0, "b"))).unwrap();
        assert_eq!(keys.push_tags(0, std::iter::once((0, "a"))).unwrap(), Pushed::Earlier);
    }
}
