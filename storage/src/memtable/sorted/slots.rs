//! The memory of a sorted column: numbers that are written at places all over it.
//!
//! A flush needs some hundred megabytes, one column after the other. Page by page, as they are first written to, the
//! system takes three microseconds for each of them, which was a third of a sort; so large columns of which every
//! number is written are had with all their pages at once, and the next column takes the pages of one that is gone
//! (decisions 022 and 023).

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use arrow::buffer::{Buffer, ScalarBuffer};
use arrow::datatypes::ArrowNativeType;
use bytemuck::Pod;
use bytes::Bytes;
use memmap2::{MmapMut, MmapOptions};
use parking_lot::Mutex;

/// Bytes from which a column lies on pages of its own.
const LARGE: usize = 1 << 20;

/// Where the pages of columns come from, and where they go when nobody has the column any more.
#[derive(Debug, Clone, Default)]
pub(super) struct PagePool(Arc<Mutex<Option<MmapMut>>>);

/// Pages that are of the pool again when they are dropped.
#[derive(Debug)]
pub(super) struct Pages {
    /// `None` only while they are dropped.
    mapped: Option<MmapMut>,
    bytes: usize,
    pool: PagePool,
}

/// A column of fixed length in the making.
#[derive(Debug)]
pub(super) enum Slots<T> {
    Small(Vec<T>),
    /// As many bytes as the numbers have.
    Large(Pages),
}

impl PagePool {
    /// So many numbers, all of which must be written over: they are zeros, or those of another column.
    pub(super) fn slots<T: Pod>(&self, length: usize) -> Slots<T> {
        let bytes = length.checked_mul(size_of::<T>()).filter(|bytes| *bytes >= LARGE);
        let pages = bytes.and_then(|bytes| self.pages(bytes));
        pages.map_or_else(|| Slots::Small(vec![T::zeroed(); length]), Slots::Large)
    }

    fn pages(&self, bytes: usize) -> Option<Pages> {
        let known = self.0.lock().take().filter(|pages| pages.len() >= bytes);
        let mapped = known.or_else(|| MmapOptions::new().len(bytes).populate().map_anon().ok())?;
        Some(Pages { mapped: Some(mapped), bytes, pool: self.clone() })
    }
}

impl AsRef<[u8]> for Pages {
    fn as_ref(&self) -> &[u8] {
        self.mapped.as_ref().and_then(|pages| pages.get(..self.bytes)).unwrap_or_default()
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // If there are some already, the larger ones stay.
        let mut pool = self.pool.0.lock();
        let larger = [pool.take(), self.mapped.take()].into_iter().flatten().max_by_key(|pages| pages.len());
        *pool = larger;
    }
}

impl<T: Pod> Deref for Slots<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match self {
            Self::Small(values) => values,
            // Pages begin where numbers may begin.
            Self::Large(pages) => bytemuck::cast_slice(pages.as_ref()),
        }
    }
}

impl<T: Pod> DerefMut for Slots<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        match self {
            Self::Small(values) => values,
            Self::Large(Pages { mapped, bytes, .. }) => {
                let bytes = mapped.as_mut().and_then(|pages| pages.get_mut(..*bytes));
                bytemuck::cast_slice_mut(bytes.unwrap_or_default())
            }
        }
    }
}

impl<T: Pod + ArrowNativeType> From<Slots<T>> for ScalarBuffer<T> {
    fn from(slots: Slots<T>) -> Self {
        let length = slots.len();
        match slots {
            Slots::Small(values) => values.into(),
            Slots::Large(pages) => Self::new(Buffer::from(Bytes::from_owner(pages)), 0, length),
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow::buffer::ScalarBuffer;

    use super::{LARGE, PagePool, Slots};

    #[test]
    fn small_and_large_columns_keep_what_is_written_whatever_was_there_before() {
        let pool = PagePool::default();
        for length in [0, 1, LARGE / 8 - 1, LARGE / 8, LARGE + 1, LARGE / 2, LARGE * 2] {
            let mut slots: Slots<i64> = pool.slots(length);
            assert_eq!(slots.len(), length);
            assert_eq!(matches!(slots, Slots::Large(_)), length >= LARGE / 8);
            for (slot, value) in slots.iter_mut().zip(1..) {
                *slot = value;
            }
            let column = ScalarBuffer::from(slots);
            assert_eq!(column.len(), length);
            assert!(column.iter().copied().eq(1..=i64::try_from(length).unwrap()));
        }
    }

    #[test]
    fn the_pages_of_a_column_that_is_gone_become_the_next_one_and_never_two() {
        let pool = PagePool::default();
        let column = |value: i64| -> ScalarBuffer<i64> {
            let mut slots = pool.slots(LARGE);
            slots.fill(value);
            slots.into()
        };
        let first = column(1);
        let place = first.as_ptr();
        let part = first.slice(0, 10);
        drop(first);
        // A part of it is still read.
        let second = column(2);
        assert_ne!(second.as_ptr(), place);
        assert!(part.iter().all(|value| *value == 1));
        drop(part);
        assert_eq!(column(3).as_ptr(), place);
        assert!(second.iter().all(|value| *value == 2));
    }
}
