//! The memory of a sorted column: numbers that are written at places all over it.
//!
//! A flush needs some hundred megabytes for a moment. Page by page, as they are first written to, the system takes
//! three microseconds for each of them, which was a third of a sort; so large columns of which every number is written
//! are had with all their pages at once (decision 022).

use std::ops::{Deref, DerefMut};

use arrow::buffer::{Buffer, ScalarBuffer};
use arrow::datatypes::ArrowNativeType;
use bytemuck::Pod;
use bytes::Bytes;
use memmap2::{MmapMut, MmapOptions};

/// Bytes from which a column lies on pages of its own.
const LARGE: usize = 1 << 20;

/// A column of fixed length in the making; first it is all zeros.
#[derive(Debug)]
pub(super) enum Slots<T> {
    Small(Vec<T>),
    /// As many bytes as the numbers have.
    Large(MmapMut),
}

impl<T: Pod> Slots<T> {
    /// So many zeros, all of which will be written over.
    pub(super) fn zeroed(length: usize) -> Self {
        match length.checked_mul(size_of::<T>()) {
            Some(bytes) if bytes >= LARGE => {
                MmapOptions::new().len(bytes).populate().map_anon().ok().map(Self::Large)
            }
            _ => None,
        }
        .unwrap_or_else(|| Self::Small(vec![T::zeroed(); length]))
    }
}

impl<T: Pod> Deref for Slots<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match self {
            Self::Small(values) => values,
            // Pages begin where numbers may begin.
            Self::Large(pages) => bytemuck::cast_slice(pages),
        }
    }
}

impl<T: Pod> DerefMut for Slots<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        match self {
            Self::Small(values) => values,
            Self::Large(pages) => bytemuck::cast_slice_mut(pages),
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

    use super::{LARGE, Slots};

    #[test]
    fn small_and_large_columns_begin_with_zeros_and_keep_what_is_written() {
        for length in [0, 1, LARGE / 8 - 1, LARGE / 8, LARGE + 1] {
            let mut slots = Slots::<i64>::zeroed(length);
            assert!(slots.iter().all(|value| *value == 0));
            assert_eq!(matches!(slots, Slots::Large(_)), length >= LARGE / 8);
            for (slot, value) in slots.iter_mut().zip(1..) {
                *slot = value;
            }
            let column = ScalarBuffer::from(slots);
            assert_eq!(column.len(), length);
            assert!(column.iter().copied().eq(1..=i64::try_from(length).unwrap()));
        }
    }
}
