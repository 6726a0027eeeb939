//! A table: its files and its memory as one, in which the last write wins.
//!
//! How a scan is planned:
//! 1. The filters give the *identity* of the wanted rows: a range of times, and tests of tags.
//! 2. Files that cannot hold such rows, or of which all rows are deleted, are left out. The memory is sorted, of wanted
//!    rows only.
//! 3. Time is cut into stretches, in which one of the sources that are left (each file, and the memory as the
//!    newest) has rows, or more than one.
//! 4. A source alone in its stretch is read as it is. The others are merged by series and time:
//!    [`LastWriteWinsExec`] makes one row of each point. It also leaves out of a file what is deleted, so a file that
//!    holds deleted rows goes there even alone.
//!
//! Rows that have expired are in no answer: the times of the wanted rows begin with the oldest that is kept, and a
//! source that holds older rows is read with a test of each row's time. That is a test of identity, too.
//!
//! Invariants (VIEW-2): nothing but tests of identity acts below the merge, deletes among them; every filter is reported
//! as inexact, so it is applied again above; no limit is pushed down. Statistics are given only when they are exact,
//! which they are not of a file that holds deleted rows.

mod identity;
mod lanes;
mod last_write;
mod logical_rows;
mod memory;
mod overlap;
mod stored;

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, ScalarValue, Statistics};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::union::UnionExec;
use storage::engine::Engine;
use storage::model::{DataFile, FilePlace, TableSchema, TimeRange, Timestamp};
use storage::tombstone::{Tombstone, Tombstones};
use storage::view::TableView;

pub(crate) use self::identity::Identity;
pub(crate) use self::stored::engine_fault;

use self::lanes::LanesExec;
use self::last_write::{Inputs, LastWriteWinsExec};
use self::logical_rows::{Columns, LogicalRowsExec, Pins};
use self::memory::MemoryRows;
use self::overlap::Extent;

/// One table as of a snapshot.
#[derive(Debug)]
pub(crate) struct Table {
    schema: Arc<TableSchema>,
    view: Arc<TableView>,
    engine: Engine,
    logical: SchemaRef,
    /// Older rows have expired.
    oldest: Timestamp,
}

impl Table {
    /// The table as `view` has it, without rows before `oldest`. `schema` must know every column of the view's rows.
    pub(crate) fn new(
        schema: Arc<TableSchema>,
        view: Arc<TableView>,
        engine: Engine,
        oldest: Timestamp,
    ) -> Self {
        let logical = schema.logical_arrow();
        Self { schema, view, engine, logical, oldest }
    }

    /// The table as storage knows it.
    pub(crate) fn stored(&self) -> &Arc<TableSchema> {
        &self.schema
    }

    /// What the query sees of it.
    pub(crate) fn view(&self) -> &Arc<TableView> {
        &self.view
    }

    /// Rows before this have expired.
    pub(crate) fn oldest(&self) -> Timestamp {
        self.oldest
    }

    /// The engine that it is of.
    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }
}

#[async_trait]
impl TableProvider for Table {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.logical)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let positions = projection.cloned().unwrap_or_else(|| (0..self.logical.fields().len()).collect());
        let identity = Arc::new(Identity::of(filters, &self.schema).not_before(self.oldest));
        let mut sources = Vec::new();
        for file in self.view.files.iter().filter(|file| identity.may_be_in(file, &self.schema)) {
            let tombstones = self.view.tombstones_of(file);
            if tombstones.iter().any(|tombstone| tombstone.covers(file)) {
                continue;
            }
            // From here on a changed bit in it is an error, not a row.
            self.engine.expect(file);
            sources.push(RowSource::File(Arc::clone(file), tombstones));
        }
        let memory = memory::wanted_rows(&self.schema, &self.view, &self.engine, &identity, state).await?;
        sources.extend(memory.into_iter().map(RowSource::Memory));
        let scan = Scan {
            table: Arc::clone(&self.schema),
            positions,
            times: identity.times.unwrap_or(TimeRange::ALL),
            oldest: self.oldest,
            tags: stored::tag_predicate(&identity, &self.schema, state)?,
            complete: filters.is_empty(),
            partitions: state.config().target_partitions(),
        };
        scan.plan(&sources)
    }
}

/// Something that holds each point at most once.
#[derive(Debug, Clone)]
enum RowSource {
    /// A file, and the deletes that may hide rows of it.
    File(Arc<DataFile>, Tombstones),
    Memory(MemoryRows),
}

impl RowSource {
    fn extent(&self) -> Extent {
        match self {
            Self::File(file, _) => Extent { times: file.times, rows: file.rows },
            Self::Memory(memory) => Extent { times: memory.times, rows: memory.rows.num_rows() as u64 },
        }
    }

    fn tombstones(&self) -> &[Arc<Tombstone>] {
        match self {
            Self::File(_, tombstones) => tombstones,
            Self::Memory(_) => &[],
        }
    }
}

/// What one scan wants.
struct Scan {
    table: Arc<TableSchema>,
    /// The wanted columns, as positions in the logical schema.
    positions: Vec<usize>,
    /// The times of the wanted rows: a filter above drops others, but for those that have expired.
    times: TimeRange,
    /// Older rows have expired, and nothing above drops them.
    oldest: Timestamp,
    /// Tests of tags, for files.
    tags: Option<Arc<dyn PhysicalExpr>>,
    /// Whether all rows are wanted, so that counts are exact.
    complete: bool,
    partitions: usize,
}

impl Scan {
    /// `sources` are oldest first.
    fn plan(&self, sources: &[RowSource]) -> Result<Arc<dyn ExecutionPlan>> {
        // Where two sources overlap outside of the wanted times does not matter: the filters above drop it.
        let clipped = |source: &RowSource| {
            let extent = source.extent();
            Extent { times: clip(extent.times, self.times), ..extent }
        };
        let extents: Vec<Extent> = sources.iter().map(clipped).collect();
        let (mut alone, mut parts) = (Vec::new(), Vec::new());
        for stretch in overlap::stretches(&extents) {
            let sources: Vec<&RowSource> = stretch.sources.iter().filter_map(|&i| sources.get(i)).collect();
            match sources.as_slice() {
                [source] if !source.tombstones().is_empty() => {
                    parts.push(self.merged(&sources, stretch.times)?);
                }
                [source] if self.is_whole(source, stretch.times) => alone.push(*source),
                [source] => parts.push(self.part(source, stretch.times)?),
                sources => parts.push(self.merged(sources, stretch.times)?),
            }
        }
        let mut plans = self.alone(&alone)?;
        if parts.len() > self.partitions {
            plans.push(Arc::new(LanesExec::new(UnionExec::try_new(parts)?, self.partitions)));
        } else {
            plans.extend(parts);
        }
        match plans.len() {
            0 => Ok(Arc::new(EmptyExec::new(Arc::new(self.table.logical_arrow().project(&self.positions)?)))),
            1 => Ok(plans.swap_remove(0)),
            _ => UnionExec::try_new(plans),
        }
    }

    /// Whether a source may be read as it is for a stretch: all its wanted rows are in it, and none has expired.
    fn is_whole(&self, source: &RowSource, stretch: TimeRange) -> bool {
        let times = source.extent().times;
        clip(times, self.times) == stretch && times.min >= self.oldest
    }

    /// Sources of which none overlaps another: the files of each place in one scan, and the memory.
    fn alone(&self, sources: &[&RowSource]) -> Result<Vec<Arc<dyn ExecutionPlan>>> {
        let (mut staged, mut table, mut memory) = (Vec::new(), Vec::new(), Vec::new());
        for source in sources {
            match source {
                RowSource::File(file, _) if file.place == FilePlace::Staged => staged.push(Arc::clone(file)),
                RowSource::File(file, _) => table.push(Arc::clone(file)),
                RowSource::Memory(rows) => memory.push(rows),
            }
        }
        let columns = self.columns(self.positions.clone(), None);
        let mut plans: Vec<Arc<dyn ExecutionPlan>> = Vec::new();
        for (place, files) in [(FilePlace::Table, table), (FilePlace::Staged, staged)] {
            let Some(times) = files.iter().map(|file| file.times).reduce(TimeRange::union) else { continue };
            let predicate = self.predicate(self.times, times)?;
            let input = stored::scan_files(&files, place, &columns, predicate.as_ref(), self.partitions)?;
            let statistics = self.statistics(files.iter().map(|file| file.rows).sum(), times);
            let pins = Pins { files, memory: None };
            plans.push(Arc::new(LogicalRowsExec::alone(input, columns.clone(), pins, statistics)?));
        }
        for memory in memory {
            let statistics = self.statistics(memory.rows.num_rows() as u64, memory.times);
            let (input, pins) = self.read_memory(memory)?;
            plans.push(Arc::new(LogicalRowsExec::alone(input, columns.clone(), pins, statistics)?));
        }
        Ok(plans)
    }

    /// The rows of one source in a stretch in which no other has any.
    fn part(&self, source: &RowSource, within: TimeRange) -> Result<Arc<dyn ExecutionPlan>> {
        let columns = self.columns(self.positions.clone(), Some(within));
        let (input, pins) = self.read(source, &columns, within)?;
        Ok(Arc::new(LogicalRowsExec::alone(input, columns, pins, None)?))
    }

    /// Sources that overlap, oldest first, in one stretch, as one row per point, without what is deleted.
    fn merged(&self, sources: &[&RowSource], within: TimeRange) -> Result<Arc<dyn ExecutionPlan>> {
        // A point is found by all its tags and its time, whatever is wanted of it.
        let identity = 0..=self.table.tags.len();
        let fields = self.positions.iter().copied().filter(|position| !identity.contains(position));
        let read = self.columns(identity.clone().chain(fields).collect(), None);
        let (mut inputs, mut of_inputs) = (Vec::with_capacity(sources.len()), Inputs::default());
        for source in sources {
            let (input, pins) = self.read(source, &read, within)?;
            inputs.push(input);
            of_inputs.pins.push(pins);
            of_inputs.tombstones.push(source.tombstones().to_vec());
        }
        let inside = |source: &&RowSource| {
            let times = source.extent().times;
            times.min >= within.min && times.max <= within.max
        };
        let stretch = (!sources.iter().all(inside)).then_some(within);
        let columns = self.columns(self.positions.clone(), stretch);
        Ok(Arc::new(LastWriteWinsExec::new(inputs, columns, Arc::new(of_inputs))?))
    }

    /// Reads what `columns` need of one source, in its order. Rows outside of `times` may be left out.
    fn read(
        &self,
        source: &RowSource,
        columns: &Columns,
        times: TimeRange,
    ) -> Result<(Arc<dyn ExecutionPlan>, Pins)> {
        match source {
            RowSource::Memory(memory) => self.read_memory(memory),
            RowSource::File(file, _) => {
                let files = vec![Arc::clone(file)];
                let predicate = self.predicate(clip(times, self.times), file.times)?;
                let input = stored::scan_files(&files, file.place, columns, predicate.as_ref(), 1)?;
                Ok((input, Pins { files, memory: None }))
            }
        }
    }

    fn read_memory(&self, memory: &MemoryRows) -> Result<(Arc<dyn ExecutionPlan>, Pins)> {
        let pins = Pins { files: Vec::new(), memory: Some(Arc::clone(&memory.reservation)) };
        Ok((stored::scan_memory(&memory.rows)?, pins))
    }

    fn columns(&self, positions: Vec<usize>, within: Option<TimeRange>) -> Columns {
        Columns { table: Arc::clone(&self.table), positions, within }
    }

    /// Tests of identity for files whose times are `of_files`: the tags, and that the time is in `wanted`, where that is
    /// not sure.
    fn predicate(&self, wanted: TimeRange, of_files: TimeRange) -> Result<Option<Arc<dyn PhysicalExpr>>> {
        let TimeRange { min: first, max: last } = TimeRange::ALL;
        let min = if of_files.min >= wanted.min { first } else { wanted.min };
        let max = if of_files.max <= wanted.max { last } else { wanted.max };
        stored::predicate(self.tags.as_ref(), TimeRange::new(min, max), &self.table)
    }

    /// Statistics of rows that stand alone; none when some rows are filtered out.
    fn statistics(&self, rows: u64, times: TimeRange) -> Option<Statistics> {
        let rows = usize::try_from(rows).ok().filter(|_| self.complete)?;
        let time = self.table.tags.len();
        let nanos = |nanos| Precision::Exact(ScalarValue::TimestampNanosecond(Some(nanos), None));
        let column = |position: &usize| {
            let mut column = ColumnStatistics::new_unknown();
            if *position == time {
                column.null_count = Precision::Exact(0);
                column.min_value = nanos(times.min.nanos());
                column.max_value = nanos(times.max.nanos());
            }
            column
        };
        Some(Statistics {
            num_rows: Precision::Exact(rows),
            total_byte_size: Precision::Absent,
            column_statistics: self.positions.iter().map(column).collect(),
        })
    }
}

/// The part of `range` within `wanted`, which it overlaps.
fn clip(range: TimeRange, wanted: TimeRange) -> TimeRange {
    TimeRange::new(range.min.max(wanted.min), range.max.min(wanted.max))
}
