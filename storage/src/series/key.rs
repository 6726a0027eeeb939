//! The canonical key of a series: its tags, and the order of series in files.
//!
//! A key is the tags in order of their position in the table's schema, each as `u16` position, `u32` length
//! (both little-endian) and the value's bytes. It alone decides identity (KEY-1), and it does not change when the
//! table gets another tag.
//!
//! Order: by all tags in order of position, the bytes of the values ascending, a missing tag after every value.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use crate::error::{Error, Result};

/// A canonical key of whoever holds it for long. Clones share its bytes.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct SeriesKey(Arc<[u8]>);

/// A canonical key whose bytes stand elsewhere.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct KeyRef<'a>(&'a [u8]);

impl SeriesKey {
    /// Takes over bytes that [`canonical_key`] made.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The key, of which this holds the bytes.
    #[must_use]
    pub fn borrowed(&self) -> KeyRef<'_> {
        KeyRef(&self.0)
    }
}

impl<'a> KeyRef<'a> {
    /// The key in bytes that [`canonical_key`] made.
    #[must_use]
    pub fn from_bytes(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// The tags that the series has: position in the table's schema, and value, in order of position.
    pub fn tags(self) -> impl Iterator<Item = (usize, &'a str)> {
        let tags = Tags { rest: self.0 };
        tags.map_while(|(position, value)| Some((position, std::str::from_utf8(value).ok()?)))
    }

    /// 24 bytes of the key as numbers, from the byte `skipped` on: of two keys that are the same up to there and differ in
    /// these, the numbers are in the order of the keys. Behind the end of a key all bits are set.
    ///
    /// Each byte of a value counts one more, so that 0 can end the value and sorts before a longer one; a missing
    /// tag is 255, which is above every value's first byte, because UTF-8 has no byte above 244.
    pub(crate) fn order_part(self, mut skipped: usize) -> [u64; 3] {
        let mut part = [255_u8; 24];
        let (mut at, mut expected) = (0, 0);
        for (position, value) in (Tags { rest: self.0 }) {
            // Tags that are missing before this one: 255 stands there already.
            let missing = position - expected;
            at += missing.saturating_sub(skipped);
            skipped = skipped.saturating_sub(missing);
            expected = position + 1;
            let Some(value) = value.get(skipped..) else {
                // Its end is skipped as well.
                skipped -= value.len() + 1;
                continue;
            };
            skipped = 0;
            let Some(room) = part.get_mut(at..) else { break };
            for (slot, byte) in room.iter_mut().zip(value) {
                *slot = byte.saturating_add(1);
            }
            let Some(end) = room.get_mut(value.len()) else { break };
            *end = 0;
            at += value.len() + 1;
        }
        let number = |from: usize| {
            part.get(from..).and_then(<[u8]>::first_chunk).map_or(0, |bytes| u64::from_be_bytes(*bytes))
        };
        [number(0), number(8), number(16)]
    }

    /// The value of the tag at this position, if the series has it.
    #[must_use]
    pub fn tag(self, position: usize) -> Option<&'a str> {
        self.tags().find(|(p, _)| *p == position).map(|(_, value)| value)
    }
}

impl Ord for KeyRef<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        compare(self.0, other.0)
    }
}

impl PartialOrd for KeyRef<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Debug for KeyRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.tags()).finish()
    }
}

impl fmt::Debug for SeriesKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.borrowed().fmt(f)
    }
}

/// The order of two keys by their bytes.
pub(super) fn compare(key: &[u8], other: &[u8]) -> Ordering {
    // In a merge most keys that meet are equal.
    if key == other {
        return Ordering::Equal;
    }
    let (mut mine, mut others) = (Tags { rest: key }, Tags { rest: other });
    loop {
        let order = match (mine.next(), others.next()) {
            (None, None) => return Ordering::Equal,
            // Whoever still has a tag where the other has none left stands first: missing is last.
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            // The lower position is a tag that the other key lacks.
            (Some((p, value)), Some((q, other))) => p.cmp(&q).then_with(|| value.cmp(other)),
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

/// Visits the tags in which `key` differs from another one: their positions, ascending, and what it has there.
pub(crate) fn visit_changed_tags<'a>(
    other: &[u8],
    key: &'a [u8],
    mut visit: impl FnMut(usize, Option<&'a [u8]>),
) {
    // Neighbours in an order differ in their last tags: the values of the others are compared as one piece.
    let same = whole_tags(key, common_bytes(other, key));
    let mut others = Tags { rest: other.get(same..).unwrap_or_default() };
    let mut mine = Tags { rest: key.get(same..).unwrap_or_default() };
    let (mut theirs, mut my) = (others.next(), mine.next());
    loop {
        match (theirs, my) {
            (Some((p, value)), Some((q, own))) if p == q => {
                if value != own {
                    visit(q, Some(own));
                }
                (theirs, my) = (others.next(), mine.next());
            }
            (Some((p, _)), own) if own.is_none_or(|(q, _)| p < q) => {
                visit(p, None);
                theirs = others.next();
            }
            (_, Some((q, own))) => {
                visit(q, Some(own));
                my = mine.next();
            }
            (_, None) => return,
        }
    }
}

/// The number of bytes with which both begin.
fn common_bytes(a: &[u8], b: &[u8]) -> usize {
    const WORD: usize = size_of::<u64>();
    let words = a.as_chunks::<WORD>().0.iter().zip(b.as_chunks::<WORD>().0);
    let same = words.take_while(|(a, b)| a == b).count() * WORD;
    let rest = a.iter().skip(same).zip(b.iter().skip(same));
    same + rest.take_while(|(a, b)| a == b).count()
}

/// The bytes of those tags of `key` that stand below a position.
pub(super) fn tags_before(key: &[u8], position: usize) -> usize {
    let mut tags = Tags { rest: key };
    let mut before = 0;
    while tags.next().is_some_and(|(at, _)| at < position) {
        before = key.len() - tags.rest.len();
    }
    before
}

/// The bytes of those tags of `key` that end within its first `bytes`.
fn whole_tags(key: &[u8], bytes: usize) -> usize {
    let mut tags = Tags { rest: key };
    let mut whole = 0;
    while tags.next().is_some() && key.len() - tags.rest.len() <= bytes {
        whole = key.len() - tags.rest.len();
    }
    whole
}

struct Tags<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Tags<'a> {
    type Item = (usize, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (position, rest) = self.rest.split_first_chunk::<2>()?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let (value, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        self.rest = rest;
        Some((usize::from(u16::from_le_bytes(*position)), value))
    }
}

/// Builds a canonical key from tags that are sorted by position.
///
/// # Errors
/// [`Error::LimitExceeded`] when a position or a length does not fit.
pub fn canonical_key<'a>(tags: impl Iterator<Item = (usize, &'a str)>) -> Result<Vec<u8>> {
    let mut key = Vec::with_capacity(64);
    put_key(&mut key, tags)?;
    Ok(key)
}

/// Appends a [canonical key](canonical_key).
///
/// # Errors
/// [`Error::LimitExceeded`] when a position or a length does not fit; then a part of it may be there.
pub fn put_key<'a>(key: &mut Vec<u8>, tags: impl Iterator<Item = (usize, &'a str)>) -> Result<()> {
    for (position, value) in tags {
        let too_long = |_| Error::LimitExceeded("a tag does not fit into a series key".into());
        key.extend_from_slice(&u16::try_from(position).map_err(too_long)?.to_le_bytes());
        key.extend_from_slice(&u32::try_from(value.len()).map_err(too_long)?.to_le_bytes());
        key.extend_from_slice(value.as_bytes());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{SeriesKey, canonical_key, visit_changed_tags};

    type Tags = Vec<Option<String>>;

    fn key(tags: &Tags) -> SeriesKey {
        let present = tags.iter().enumerate().filter_map(|(p, value)| Some((p, value.as_deref()?)));
        SeriesKey::from_bytes(&canonical_key(present).unwrap())
    }

    /// Missing last, as a tuple says it.
    fn by_definition(tags: &Tags) -> Vec<(bool, Option<String>)> {
        tags.iter().map(|tag| (tag.is_none(), tag.clone())).collect()
    }

    proptest! {
        #[test]
        fn keys_are_ordered_by_all_tags_with_missing_ones_last(
            mut a in proptest::collection::vec(proptest::option::of("[\u{0}ab\u{e9}]{0,9}"), 4),
            mut b in proptest::collection::vec(proptest::option::of("[\u{0}ab\u{e9}]{0,9}"), 4),
            alike in proptest::collection::vec(proptest::option::of("[\u{0}a\u{e9}]{0,60}"), 0..2),
            missing in proptest::sample::select(vec![0, 1, 23, 24, 60]),
        ) {
            // What both begin with: tags, tags that they lack, and the first bytes of a value.
            for tags in [&mut a, &mut b] {
                let lacked = std::iter::repeat_n(None, missing);
                tags.splice(0..0, alike.iter().cloned().chain(lacked));
                if let (Some(Some(value)), Some(Some(beginning))) = (tags.last_mut(), alike.last()) {
                    value.insert_str(0, beginning);
                }
            }
            let (first, second) = (key(&a), key(&b));
            let (first, second) = (first.borrowed(), second.borrowed());
            prop_assert_eq!(first.cmp(&second), by_definition(&a).cmp(&by_definition(&b)));
            for (position, value) in a.iter().enumerate() {
                prop_assert_eq!(first.tag(position), value.as_deref());
            }
            // Part after part until they differ, which they do unless all of both keys is the same.
            let parts = (0..24).map(|part| first.order_part(part * 24).cmp(&second.order_part(part * 24)));
            let by_parts = parts.fold(std::cmp::Ordering::Equal, std::cmp::Ordering::then);
            prop_assert_eq!(by_parts, first.cmp(&second));
            let changes = a.iter().zip(&b).enumerate().filter(|(_, (a, b))| a != b);
            let expected: Vec<_> = changes.map(|(at, (_, b))| (at, b.as_ref().map(String::as_bytes))).collect();
            let mut changed = Vec::new();
            visit_changed_tags(first.as_bytes(), second.as_bytes(), |at, value| changed.push((at, value)));
            prop_assert_eq!(changed, expected);
        }
    }
}
