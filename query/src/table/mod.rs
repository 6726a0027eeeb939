//! A table: its files and its memory as one, in which the last write wins.
//!
//! How a scan is planned:
//! 1. The filters give the *identity* of the wanted rows: a range of times, and tests of tags.
//! 2. Files that cannot hold such rows are left out. The memory is sorted, of wanted rows only.
//! 3. The sources that are left (each file, and the memory as the newest) are grouped by overlapping times.
//! 4. A source alone in its group is read as it is. The others are merged by tags, time and rank, and
//!    [`LastWriteWinsExec`] makes one row of each point.
//!
//! Invariants (VIEW-2): nothing but tests of identity acts below the merge; every filter is reported as inexact,
//! so it is applied again above; no limit is pushed down. Statistics are given only when they are exact.

mod identity;
mod last_write;
mod logical_rows;
mod memory;
mod order;
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
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::union::UnionExec;
use storage::engine::Engine;
use storage::model::{DataFile, FilePlace, TableSchema, TimeRange};
use storage::view::TableView;

use self::identity::Identity;
use self::last_write::LastWriteWinsExec;
use self::logical_rows::{Columns, LogicalRowsExec, Pins};
use self::memory::MemoryRows;

/// One table as of a snapshot.
#[derive(Debug)]
pub(crate) struct Table {
    schema: Arc<TableSchema>,
    view: Arc<TableView>,
    engine: Engine,
    logical: SchemaRef,
}

impl Table {
    /// The table as `view` has it. `schema` must know every column of the view's rows.
    pub(crate) fn new(schema: Arc<TableSchema>, view: Arc<TableView>, engine: Engine) -> Self {
        let logical = schema.logical_arrow();
        Self { schema, view, engine, logical }
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
        let identity = Arc::new(Identity::of(filters, &self.schema));
        let files = self.view.files.iter().filter(|file| identity.may_be_in(file, &self.schema));
        let mut sources: Vec<RowSource> = files.cloned().map(RowSource::File).collect();
        let memory = memory::wanted_rows(&self.schema, &self.view, &self.engine, &identity, state).await?;
        sources.extend(memory.map(RowSource::Memory));
        let scan = Scan {
            times: identity.times.unwrap_or(TimeRange::ALL),
            columns: Columns { table: Arc::clone(&self.schema), positions },
            predicate: stored::predicate(&identity, &self.schema, state)?,
            complete: filters.is_empty(),
            partitions: state.config().target_partitions(),
        };
        scan.plan(sources)
    }
}

/// Something that holds each point at most once.
#[derive(Debug)]
enum RowSource {
    File(Arc<DataFile>),
    Memory(MemoryRows),
}

impl RowSource {
    fn times(&self) -> TimeRange {
        match self {
            Self::File(file) => file.times,
            Self::Memory(memory) => memory.times,
        }
    }
}

/// What one scan wants.
struct Scan {
    columns: Columns,
    /// The times of the wanted rows.
    times: TimeRange,
    predicate: Option<Arc<dyn PhysicalExpr>>,
    /// Whether all rows are wanted, so that counts are exact.
    complete: bool,
    partitions: usize,
}

impl Scan {
    /// `sources` are oldest first.
    fn plan(&self, sources: Vec<RowSource>) -> Result<Arc<dyn ExecutionPlan>> {
        // Where two sources overlap outside of the wanted times does not matter: the filters above drop it.
        let times: Vec<TimeRange> = sources.iter().map(|s| clip(s.times(), self.times)).collect();
        let mut sources: Vec<Option<RowSource>> = sources.into_iter().map(Some).collect();
        let mut take = |position: usize| sources.get_mut(position).and_then(Option::take);
        let (mut alone, mut plans) = (Vec::new(), Vec::new());
        for group in overlap::components(&times) {
            let group: Vec<RowSource> = group.into_iter().filter_map(&mut take).collect();
            if group.len() > 1 {
                plans.push(self.merged(group)?);
            } else {
                alone.extend(group);
            }
        }
        plans.extend(self.alone(alone)?);
        match plans.len() {
            0 => Ok(Arc::new(EmptyExec::new(Arc::new(
                self.columns.table.logical_arrow().project(&self.columns.positions)?,
            )))),
            1 => Ok(plans.swap_remove(0)),
            _ => UnionExec::try_new(plans),
        }
    }

    /// Sources of which none overlaps another: the files of each place in one scan, and the memory.
    fn alone(&self, sources: Vec<RowSource>) -> Result<Vec<Arc<dyn ExecutionPlan>>> {
        let (mut staged, mut table, mut memory) = (Vec::new(), Vec::new(), None);
        for source in sources {
            match source {
                RowSource::File(file) if file.place == FilePlace::Staged => staged.push(file),
                RowSource::File(file) => table.push(file),
                RowSource::Memory(rows) => memory = Some(rows),
            }
        }
        let mut plans: Vec<Arc<dyn ExecutionPlan>> = Vec::new();
        for (place, files) in [(FilePlace::Table, table), (FilePlace::Staged, staged)] {
            let Some(times) = files.iter().map(|file| file.times).reduce(TimeRange::union) else { continue };
            let (columns, predicate) = (&self.columns, self.predicate.as_ref());
            let input = stored::scan_files(&files, place, columns, predicate, self.partitions)?;
            let statistics = self.statistics(files.iter().map(|file| file.rows).sum(), times);
            let pins = Pins { files, memory: None };
            plans.push(Arc::new(LogicalRowsExec::alone(input, columns.clone(), pins, statistics)?));
        }
        if let Some(memory) = memory {
            let statistics = self.statistics(memory.rows.num_rows() as u64, memory.times);
            let input = stored::scan_memory(&memory.rows)?;
            let pins = Pins { files: Vec::new(), memory: Some(memory.reservation) };
            plans.push(Arc::new(LogicalRowsExec::alone(input, self.columns.clone(), pins, statistics)?));
        }
        Ok(plans)
    }

    /// Sources that overlap, oldest first, as one row per point.
    fn merged(&self, sources: Vec<RowSource>) -> Result<Arc<dyn ExecutionPlan>> {
        let table = &self.columns.table;
        let keys = order::key_columns(table);
        let fields = self.columns.positions.iter().copied().filter(|position| *position >= keys);
        let mut fields: Vec<usize> = fields.collect();
        fields.sort_unstable();
        fields.dedup();
        let positions: Vec<usize> = (0..keys).chain(fields).collect();
        let wanted = self.columns.positions.iter().filter_map(|p| positions.iter().position(|q| q == p));
        let wanted = wanted.collect();
        let columns = Columns { table: Arc::clone(table), positions };
        let mut inputs: Vec<Arc<dyn ExecutionPlan>> = Vec::with_capacity(sources.len());
        for (source, rank) in sources.into_iter().zip(0..) {
            let (input, pins) = match source {
                RowSource::File(file) => {
                    let (files, place) = (vec![file.clone()], file.place);
                    let input = stored::scan_files(&files, place, &columns, self.predicate.as_ref(), 1)?;
                    (input, Pins { files, memory: None })
                }
                RowSource::Memory(memory) => {
                    let pins = Pins { files: Vec::new(), memory: Some(memory.reservation) };
                    (stored::scan_memory(&memory.rows)?, pins)
                }
            };
            inputs.push(Arc::new(LogicalRowsExec::ranked(input, columns.clone(), rank, pins)?));
        }
        let union = UnionExec::try_new(inputs)?;
        let order = order::merge_order(table, &union.schema())?;
        let merge = Arc::new(SortPreservingMergeExec::new(order.clone(), union));
        Ok(Arc::new(LastWriteWinsExec::new(merge, keys, wanted, order)?))
    }

    /// Statistics of rows that stand alone; none when some rows are filtered out.
    fn statistics(&self, rows: u64, times: TimeRange) -> Option<Statistics> {
        let rows = usize::try_from(rows).ok().filter(|_| self.complete)?;
        let time = self.columns.table.tags.len();
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
            column_statistics: self.columns.positions.iter().map(column).collect(),
        })
    }
}

/// The part of `range` within `wanted`, which it overlaps.
fn clip(range: TimeRange, wanted: TimeRange) -> TimeRange {
    TimeRange::new(range.min.max(wanted.min), range.max.min(wanted.max))
}
