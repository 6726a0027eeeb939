//! The memory of a sorted column: numbers that are written at places all over it.
//!
//! A counting sort writes at as many places as there are series. The processor remembers where some thousand pages
//! of memory lie; with pages of 4 KiB each second write misses that, which took half of a sort. So large columns lie
//! on huge pages, where the system has them (decision 022).

use std::ops::{Deref, DerefMut};

use arrow::buffer::{Buffer, ScalarBuffer};
use arrow::datatypes::ArrowNativeType;
use bytemuck::Pod;
use bytes::Bytes;
use memmap2::MmapMut;

/// Bytes from which a column lies on pages of its own: the size of a huge page.
const LARGE: usize = 2 << 20;

/// A column of fixed length in the making; first it is all zeros.
#[derive(Debug)]
pub(super) enum Slots<T> {
    Small(Vec<T>),
    /// As many bytes as the numbers have.
    Large(MmapMut),
}

impl<T: Pod> Slots<T> {
    /// So many zeros.
    pub(super) fn zeroed(length: usize) -> Self {
        match length.checked_mul(size_of::<T>()) {
            Some(bytes) if bytes >= LARGE => huge_pages(bytes).map(Self::Large),
            _ => None,
        }
        .unwrap_or_else(|| Self::Small(vec![T::zeroed(); length]))
    }
}

/// Memory of so many zero bytes, on huge pages where there are any; `None` when the system gives none.
fn huge_pages(bytes: usize) -> Option<MmapMut> {
    let pages = MmapMut::map_anon(bytes).ok()?;
    #[cfg(target_os = "linux")]
    if let Err(error) = pages.advise(memmap2::Advice::HugePage) {
        tracing::debug!(%error, "this system has no huge pages");
    }
    Some(pages)
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
