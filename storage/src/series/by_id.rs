//! What is noted of the series of some rows while these are looked at, by id.

use hashbrown::HashMap;

use crate::model::TableBatch;

/// An array takes so many bytes for each row at most: ids of series that report together usually lie side by side, but
/// a few rows of a million series must not cost the room of all of them.
const BYTES_PER_ROW: usize = 16;

/// A value for each series of some rows, the default at first.
#[derive(Debug)]
pub(crate) struct ById<T> {
    /// The lowest id.
    first: u32,
    /// The values from there on, if the ids are close enough.
    dense: Vec<T>,
    /// The others.
    sparse: HashMap<u32, T>,
}

impl<T: Default + Clone> ById<T> {
    /// For the series of these batches; others have a value too, but it is slower.
    pub(crate) fn of<'a>(batches: impl Iterator<Item = &'a TableBatch>) -> Self {
        let (mut first, mut last, mut rows) = (u32::MAX, 0, 0);
        for batch in batches {
            rows += batch.rows();
            (first, last) = batch.series.iter().fold((first, last), |(a, b), id| (a.min(*id), b.max(*id)));
        }
        let span = last.checked_sub(first).map_or(0, |span| span as usize + 1);
        let is_close = span.saturating_mul(size_of::<T>()) <= rows.saturating_mul(BYTES_PER_ROW);
        let dense = if is_close { vec![T::default(); span] } else { Vec::new() };
        Self { first, dense, sparse: HashMap::new() }
    }

    /// The value of a series, if it has room for one.
    pub(crate) fn get(&self, id: u32) -> Option<&T> {
        let dense = self.dense.get(id.wrapping_sub(self.first) as usize);
        dense.or_else(|| self.sparse.get(&id))
    }

    /// The value of a series, to be changed.
    pub(crate) fn get_mut(&mut self, id: u32) -> &mut T {
        match self.dense.get_mut(id.wrapping_sub(self.first) as usize) {
            Some(value) => value,
            None => self.sparse.entry(id).or_default(),
        }
    }

    /// Series that have room without more memory.
    pub(crate) fn capacity(&self) -> usize {
        self.dense.len()
    }
}
