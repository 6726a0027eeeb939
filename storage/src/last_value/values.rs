//! The last values of one table, as columns by slot. A series has a slot from its first row on.
//!
//! Invariants: a slot stands for one canonical key (KEY-1); ids of series are a way to it that is looked up once, and
//! are not saved, because another log may give them to other series.

use std::collections::BTreeMap;
use std::hash::BuildHasher;
use std::ops::Range;

use arrow::array::{Array, ArrayRef};
use foldhash::fast::FixedState;
use hashbrown::HashTable;

use super::column::{Column, Pick};
use super::newest::is_whole;
use super::tag_index::TagIndex;
use crate::error::{Error, Result};
use crate::model::{
    ColumnId, FieldColumn, FieldSchema, SeriesId, TableBatch, TableSchema, TimeRange, Timestamp,
};
use crate::rows::SortedRows;
use crate::series::{KeyRef, Paged, SeriesIndex, SeriesKey, spread};

/// A slot, and the hash of its key, so that no key is looked at when the table grows.
#[derive(Debug, Clone, Copy)]
struct Slot {
    hash: u32,
    slot: u32,
}

/// See the module's header.
#[derive(Debug, Default)]
pub(super) struct TableValues {
    keys: Vec<SeriesKey>,
    key_bytes: usize,
    hasher: FixedState,
    by_key: HashTable<Slot>,
    /// By id the slot, counted from 1; 0 where it was not looked up.
    by_id: Paged<u32>,
    /// How often the index had forgotten series when `by_id` was begun: afterwards an id may mean another one.
    forgettings: u32,
    /// By the position of the field in the schema; none where no value has come yet.
    columns: BTreeMap<usize, Column>,
    tags: Vec<TagIndex>,
}

impl TableValues {
    /// Bytes of memory that they take.
    pub(super) fn bytes(&self) -> usize {
        let keys = self.keys.capacity() * size_of::<SeriesKey>() + self.key_bytes;
        let columns: usize = self.columns.values().map(Column::bytes).sum();
        let tags: usize = self.tags.iter().map(TagIndex::bytes).sum();
        keys + self.by_key.allocation_size() + self.by_id.memory_bytes() + columns + tags
    }

    /// The keys, by slot.
    pub(super) fn keys(&self) -> &[SeriesKey] {
        &self.keys
    }

    /// The values of the field at this position of the schema.
    pub(super) fn column(&self, field: usize) -> Option<&Column> {
        self.columns.get(&field)
    }

    /// Adds a column that was read back.
    pub(super) fn put_column(&mut self, field: usize, column: Column) {
        self.columns.insert(field, column);
    }

    /// Takes the rows of a batch: of columns with a value in each only the rows `newest`, of which the others are none of
    /// their series' last ones; of all others every row.
    ///
    /// # Errors
    /// [`Error::Internal`] when a series is not defined (KEY-3) or a column has another type than its field.
    pub(super) fn fold_batch(
        &mut self,
        schema: &TableSchema,
        index: &SeriesIndex,
        batch: &TableBatch,
        newest: &[u32],
    ) -> Result<()> {
        if self.forgettings != index.forgettings() {
            self.by_id = Paged::default();
            self.forgettings = index.forgettings();
        }
        let newest = self.picks(index, batch, newest.iter().copied())?;
        let others = if is_whole(batch) { 0 } else { row_number(batch.rows())? };
        let all = self.picks(index, batch, 0..others)?;
        for (position, field) in schema.fields.iter().enumerate() {
            let (narrow, wide) = columns_of(field, &batch.fields);
            if narrow.is_none() && wide.is_none() {
                continue;
            }
            let is_full = [narrow, wide].into_iter().flatten().any(|column| column.null_count() == 0);
            let picks = if is_full { &newest } else { &all };
            self.room(position, field).fold(picks, &batch.times, narrow, wide)?;
        }
        Ok(())
    }

    /// The slots of rows.
    fn picks(
        &mut self,
        index: &SeriesIndex,
        batch: &TableBatch,
        rows: impl ExactSizeIterator<Item = u32>,
    ) -> Result<Vec<Pick>> {
        let mut picks = Vec::with_capacity(rows.len());
        let mut last = None;
        for row in rows {
            let Some(id) = batch.series.get(row as usize).copied() else { continue };
            let slot = match last {
                Some((known, slot)) if known == id => slot,
                _ => self.slot_of_id(index, id)?,
            };
            last = Some((id, slot));
            picks.push(Pick { slot, row });
        }
        Ok(picks)
    }

    /// Takes some columns of rows in the order of series and time, each point once.
    ///
    /// # Errors
    /// As [`fold_batch`](Self::fold_batch).
    pub(super) fn fold_sorted(
        &mut self,
        schema: &TableSchema,
        rows: &SortedRows,
        columns: &[FieldColumn],
    ) -> Result<()> {
        if columns.is_empty() {
            return Ok(());
        }
        let mut slots = Vec::with_capacity(rows.keys.len());
        for key in rows.keys.iter() {
            slots.push(self.slot_of_key(key)?);
        }
        let mut picks = Vec::with_capacity(slots.len());
        for (position, field) in schema.fields.iter().enumerate() {
            let (narrow, wide) = columns_of(field, columns);
            if narrow.is_none() && wide.is_none() {
                continue;
            }
            picks.clear();
            for ((_, run), slot) in rows.runs().zip(&slots) {
                if let Some(row) = last_value(run, narrow, wide) {
                    picks.push(Pick { slot: *slot, row: row_number(row)? });
                }
            }
            self.room(position, field).fold(&picks, &rows.times, narrow, wide)?;
        }
        Ok(())
    }

    /// Takes away the values within a range of times of the series for which `series` holds. Says whether there were
    /// any.
    pub(super) fn forget(&mut self, times: TimeRange, series: &dyn Fn(KeyRef<'_>) -> bool) -> bool {
        let mut forgotten = false;
        for (slot, key) in (0_u32..).zip(&self.keys) {
            let is_in = |column: &Column| {
                column.time(slot).is_some_and(|time| times.contains(Timestamp::from_nanos(time)))
            };
            if !self.columns.values().any(is_in) || !series(key.borrowed()) {
                continue;
            }
            forgotten = true;
            self.columns.values_mut().filter(|column| is_in(column)).for_each(|c| c.clear(slot));
        }
        forgotten
    }

    /// Whether there is a series without a value.
    pub(super) fn has_empty_slots(&self) -> bool {
        (0_u32..).zip(&self.keys).any(|(slot, _)| !self.has_value(slot))
    }

    /// Gives the slots of series without a value free. The others get other slots.
    ///
    /// # Errors
    /// As [`slot_of_key`](Self::slot_of_key).
    pub(super) fn free_empty_slots(&mut self) -> Result<()> {
        let stay = (0_u32..).zip(&self.keys).map(|(slot, _)| slot);
        let stay: Vec<u32> = stay.filter(|slot| self.has_value(*slot)).collect();
        if stay.len() == self.keys.len() {
            return Ok(());
        }
        let (keys, columns) = (std::mem::take(&mut self.keys), std::mem::take(&mut self.columns));
        *self = Self::default();
        for slot in &stay {
            if let Some(key) = keys.get(*slot as usize) {
                self.slot_of(key.borrowed(), || key.clone())?;
            }
        }
        self.columns = columns.into_iter().map(|(field, column)| (field, column.only(&stay))).collect();
        Ok(())
    }

    fn has_value(&self, slot: u32) -> bool {
        self.columns.values().any(|column| column.time(slot).is_some())
    }

    /// Whether the tags at these positions have an index that knows every slot.
    pub(super) fn has_indexes(&self, positions: &[usize]) -> bool {
        let slots = self.keys.len();
        positions.iter().all(|position| {
            self.tags.iter().any(|index| index.position() == *position && index.is_complete(slots))
        })
    }

    /// Makes an index of each of these tags, or extends it to every slot.
    pub(super) fn index(&mut self, positions: &[usize]) {
        for position in positions {
            if !self.tags.iter().any(|index| index.position() == *position) {
                self.tags.push(TagIndex::new(*position));
            }
        }
        for index in self.tags.iter_mut().filter(|index| positions.contains(&index.position())) {
            index.extend(&self.keys);
        }
    }

    /// The index of a tag, if it was made.
    pub(super) fn tag_index(&self, position: usize) -> Option<&TagIndex> {
        self.tags.iter().find(|index| index.position() == position)
    }

    /// The slot of a series; a new one is made for a new series.
    ///
    /// # Errors
    /// [`Error::LimitExceeded`] at four billion series.
    pub(super) fn slot_of_key(&mut self, key: KeyRef<'_>) -> Result<u32> {
        self.slot_of(key, || SeriesKey::from_bytes(key.as_bytes()))
    }

    /// The slot of a series; a new one is made for a new series, with a key to hold.
    fn slot_of(&mut self, key: KeyRef<'_>, held: impl FnOnce() -> SeriesKey) -> Result<u32> {
        #[expect(clippy::cast_possible_truncation, reason = "half of the hash is kept")]
        let hash = self.hasher.hash_one(key.as_bytes()) as u32;
        let keys = &self.keys;
        let is_key = |known: &Slot| {
            known.hash == hash && keys.get(known.slot as usize).is_some_and(|other| other.borrowed() == key)
        };
        if let Some(known) = self.by_key.find(spread(hash), is_key) {
            return Ok(known.slot);
        }
        let slot = row_number(self.keys.len())?;
        self.by_key.insert_unique(spread(hash), Slot { hash, slot }, |known| spread(known.hash));
        self.key_bytes += key.as_bytes().len();
        self.keys.push(held());
        Ok(slot)
    }

    fn slot_of_id(&mut self, index: &SeriesIndex, id: u32) -> Result<u32> {
        if let Some(slot) = self.by_id.get(id).checked_sub(1) {
            return Ok(slot);
        }
        let series = index.get(SeriesId::new(id));
        let series = series.ok_or_else(|| Error::Internal(format!("series {id} is not defined (KEY-3)")))?;
        let slot = self.slot_of(series.key().borrowed(), || series.key().clone())?;
        if let Some(key) = self.keys.get_mut(slot as usize) {
            // One that was read from a file has the same bytes in memory of its own.
            *key = series.key().clone();
        }
        *self.by_id.get_mut(id) = slot + 1;
        Ok(slot)
    }

    /// The column of a field, with room for every slot.
    fn room(&mut self, position: usize, field: &FieldSchema) -> &mut Column {
        let slots = self.keys.len();
        let column = self.columns.entry(position).or_insert_with(|| Column::new(field.narrow.field_type));
        column.resize(slots);
        column
    }
}

/// The two physical columns of a field.
fn columns_of<'a>(
    field: &FieldSchema,
    columns: &'a [FieldColumn],
) -> (Option<&'a ArrayRef>, Option<&'a ArrayRef>) {
    let find = |id: ColumnId| columns.iter().find(|column| column.column == id).map(|column| &column.values);
    (find(field.narrow.id), field.wide.as_ref().and_then(|wide| find(wide.id)))
}

/// The last row of a run that has a value.
fn last_value(mut run: Range<usize>, narrow: Option<&ArrayRef>, wide: Option<&ArrayRef>) -> Option<usize> {
    let has = |column: Option<&ArrayRef>, row| column.is_some_and(|values| values.is_valid(row));
    run.rfind(|row| has(narrow, *row) || has(wide, *row))
}

/// The number of a row, or of a slot.
///
/// # Errors
/// [`Error::LimitExceeded`] at four billion.
pub(super) fn row_number(row: usize) -> Result<u32> {
    u32::try_from(row)
        .map_err(|_| Error::LimitExceeded("last values are of 4 billion rows and series at most".into()))
}
