//! What is missing: a batch without the fields that its points have already, to be written only if that is so still.
//!
//! 1. [`Engine::missing`] looks the points up in every source of a view, files too, and takes away what is there. What is
//!    left is [`Missing`] as of that view.
//! 2. The writer, alone, decides when all that came before is visible ([`Committer::still_misses`]): if nothing has been
//!    written to these points and fields since, and no file has come that might hold such values, the batch is written;
//!    else whoever sent it looks again.
//!
//! Guarantee: of all that this node has acknowledged before the batch no value is replaced by it, whoever writes at the same
//! time; nor of what other nodes had in the tables when this node looked at them last. What other nodes write later is
//! ordered as ever (SEQ-3).
//!
//! A look reads every file in whose times one of the points lies: it is for few rows, seldom.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use arrow::array::{Array, BooleanArray};
use arrow::buffer::{BooleanBuffer, ScalarBuffer};
use arrow::compute::{filter, nullif};
use futures::StreamExt;
use object_store::ObjectStore;

use crate::engine::{Committer, Engine, Shared};
use crate::error::{Error, Result};
use crate::memtable::{Chunk, RowFilter};
use crate::model::{
    DataFile, FieldColumn, SeriesId, TableBatch, TableId, TableSchema, TimeRange, WriteBatch,
};
use crate::parquet_file::read_sorted;
use crate::rows::SortedRows;
use crate::series::{KeyRef, SeriesKey};
use crate::view::TableView;

/// The fields that a batch's points did not have when they were looked up.
#[derive(Debug, Clone)]
pub struct Missing {
    /// The rows with these fields only; rows without any are left out.
    pub batch: WriteBatch,
    /// What it was looked up in.
    as_of: AsOf,
}

/// The views in which nothing was found.
#[derive(Debug, Clone)]
pub struct AsOf(BTreeMap<TableId, Arc<TableView>>);

impl Missing {
    /// The batch, and what decides whether it may be written.
    #[must_use]
    pub fn into_parts(self) -> (WriteBatch, AsOf) {
        (self.batch, self.as_of)
    }
}

impl Engine {
    /// Takes away from a batch what its points have. The series of its rows must be pinned.
    ///
    /// # Errors
    /// The failure of disk or object store, where files had to be read.
    pub async fn missing(&self, batch: WriteBatch) -> Result<Missing> {
        let shared = self.shared();
        let snapshot = shared.view.snapshot();
        let (mut tables, mut as_of) = (Vec::new(), BTreeMap::new());
        for rows in batch.tables {
            let view = snapshot.table(rows.table).cloned().unwrap_or_default();
            // Looked up after the view, so it knows every column of its rows.
            let schema = shared.schema(rows.table)?;
            let mut points = Points::of(shared, &rows)?;
            points.look_in_files(shared, &schema, &view).await?;
            points.look_in_memory(shared, &schema, &view)?;
            tables.extend(points.without_found(&schema, &rows)?);
            as_of.insert(rows.table, view);
        }
        Ok(Missing { batch: WriteBatch { tables, ..batch }, as_of: AsOf(as_of) })
    }
}

impl Committer {
    /// Whether what was missing is missing still. To be asked when all that was committed before is visible, right before
    /// the batch is appended.
    #[must_use]
    pub fn still_misses(&self, batch: &WriteBatch, as_of: &AsOf) -> bool {
        let shared = self.shared();
        let now = shared.view.snapshot();
        batch.tables.iter().all(|rows| {
            let (Some(schema), Some(before)) =
                (shared.catalog.table_by_id(rows.table), as_of.0.get(&rows.table))
            else {
                return false;
            };
            let Some(view) = now.table(rows.table) else { return true };
            Arc::ptr_eq(view, before) || !has_come(&schema, rows, before, view)
        })
    }
}

/// Whether a value for any of these rows may have come between two views.
fn has_come(schema: &TableSchema, rows: &TableBatch, before: &TableView, now: &TableView) -> bool {
    let Some(times) = TimeRange::of(&rows.times) else { return false };
    let is_known = |file: &Arc<DataFile>| before.files.iter().any(|known| known.path == file.path);
    if now.files.iter().any(|file| file.times.overlaps(&times) && !is_known(file)) {
        return true;
    }
    let newest =
        |view: &TableView| view.memtables().filter_map(|m| m.sequences()).map(|range| range.max).max();
    let looked_up_to = newest(before).unwrap_or_default();
    let chunks = now.memtables().flat_map(|memtable| memtable.chunks());
    let mut new =
        chunks.filter(|chunk| chunk.sequences.max > looked_up_to && chunk.times.overlaps(&times)).peekable();
    if new.peek().is_none() {
        return false;
    }
    let wanted = rows.series.iter().copied().zip(rows.times.iter().copied());
    let wanted: HashMap<(u32, i64), usize> = wanted.zip(0..).collect();
    new.any(|chunk| sets_any(schema, chunk, rows, &wanted))
}

/// Whether a chunk has a value for a field that a wanted row sets. Chunks are merged with older ones; but what these have
/// for the rows was found, and taken away from them.
fn sets_any(
    schema: &TableSchema,
    chunk: &Chunk,
    rows: &TableBatch,
    wanted: &HashMap<(u32, i64), usize>,
) -> bool {
    let field_of = |column: &FieldColumn| schema.column(column.column).map(|(field, _)| field);
    let points = chunk.batch.series.iter().copied().zip(chunk.batch.times.iter().copied());
    let mut met = points.zip(0..).filter_map(|(point, at)| Some((at, *wanted.get(&point)?)));
    met.any(|(at, row): (usize, usize)| {
        let set = chunk.batch.fields.iter().filter(|column| column.values.is_valid(at));
        set.map(field_of).any(|field| {
            rows.fields.iter().any(|column| column.values.is_valid(row) && field_of(column) == field)
        })
    })
}

/// The points of a batch, and which of their fields were found.
struct Points {
    times: TimeRange,
    sorted_times: Vec<i64>,
    keys: Vec<SeriesKey>,
    /// By the bytes of the series' key, and time: the fields, by their position.
    found: HashMap<Box<[u8]>, BTreeMap<i64, BTreeSet<usize>>>,
}

impl Points {
    fn of(shared: &Shared, rows: &TableBatch) -> Result<Self> {
        let mut sorted_times = rows.times.to_vec();
        sorted_times.sort_unstable();
        let mut this = Self {
            times: TimeRange::of(&rows.times).unwrap_or(TimeRange::ALL),
            sorted_times,
            keys: Vec::with_capacity(rows.rows()),
            found: HashMap::new(),
        };
        for (id, time) in rows.series.iter().zip(rows.times.iter()) {
            let series = shared.series.get(SeriesId::new(*id));
            let series =
                series.ok_or_else(|| Error::Internal(format!("series {id} is not defined (KEY-3)")))?;
            this.found.entry(series.key().as_bytes().into()).or_default().insert(*time, BTreeSet::new());
            this.keys.push(series.key().clone());
        }
        Ok(this)
    }

    async fn look_in_files(
        &mut self,
        shared: &Shared,
        schema: &Arc<TableSchema>,
        view: &TableView,
    ) -> Result<()> {
        let has_time = |times: TimeRange| {
            let first = self.sorted_times.partition_point(|time| *time < times.min.nanos());
            self.sorted_times.get(first).is_some_and(|time| *time <= times.max.nanos())
        };
        let files: Vec<_> = view.files.iter().filter(|file| has_time(file.times)).collect();
        for file in files {
            let store = shared.verified(file.place);
            store.expect(file);
            let store = Arc::clone(store) as Arc<dyn ObjectStore>;
            let mut batches = read_sorted(store, Arc::clone(schema), file).await?.rows;
            let tombstones = view.tombstones_of(file);
            while let Some(batch) = batches.next().await {
                self.look_in(schema, &batch?.without(&tombstones, schema)?);
            }
        }
        Ok(())
    }

    fn look_in_memory(&mut self, shared: &Shared, schema: &TableSchema, view: &TableView) -> Result<()> {
        for group in view.memtable_groups() {
            let is_wanted = |series: KeyRef<'_>| self.found.contains_key(series.as_bytes());
            let filter = RowFilter { times: self.times, series: &is_wanted, ..RowFilter::ALL };
            self.look_in(schema, &group.ordered(schema, &shared.series, filter)?.into_rows(schema)?);
        }
        Ok(())
    }

    fn look_in(&mut self, schema: &TableSchema, rows: &SortedRows) {
        for (key, run) in rows.runs() {
            let Some(points) = self.found.get_mut(key.as_bytes()) else { continue };
            let times = rows.times.get(run.clone()).unwrap_or_default();
            for (time, found) in points {
                let Ok(at) = times.binary_search(time) else { continue };
                let set = rows.fields.iter().filter(|column| column.values.is_valid(run.start + at));
                found.extend(set.filter_map(|column| schema.column(column.column).map(|(field, _)| field)));
            }
        }
    }

    /// The rows without what was found; `None` when nothing is left.
    fn without_found(&self, schema: &TableSchema, rows: &TableBatch) -> Result<Option<TableBatch>> {
        let found = |row: usize, field: usize| {
            let point = self.keys.get(row).and_then(|key| self.found.get(key.as_bytes()));
            let fields = point.zip(rows.times.get(row)).and_then(|(times, time)| times.get(time));
            fields.is_some_and(|fields| fields.contains(&field))
        };
        let mut fields = Vec::with_capacity(rows.fields.len());
        for column in &rows.fields {
            let field = schema.column(column.column).map(|(field, _)| field);
            let is_found = |row: usize| field.is_none_or(|field| found(row, field));
            let is_found = BooleanArray::new(BooleanBuffer::collect_bool(rows.rows(), is_found), None);
            fields.push(FieldColumn { column: column.column, values: nullif(&column.values, &is_found)? });
        }
        let has_value = |row: usize| fields.iter().any(|column| column.values.is_valid(row));
        let kept = BooleanArray::new(BooleanBuffer::collect_bool(rows.rows(), has_value), None);
        let positions: Vec<usize> = kept.values().set_indices().collect();
        let mut left = Vec::with_capacity(fields.len());
        for column in &fields {
            let values = filter(&column.values, &kept)?;
            if values.null_count() < values.len() {
                left.push(FieldColumn { column: column.column, values });
            }
        }
        let series: ScalarBuffer<u32> =
            positions.iter().filter_map(|row| rows.series.get(*row).copied()).collect();
        let times: ScalarBuffer<i64> =
            positions.iter().filter_map(|row| rows.times.get(*row).copied()).collect();
        Ok((!positions.is_empty()).then_some(TableBatch { table: rows.table, series, times, fields: left }))
    }
}
