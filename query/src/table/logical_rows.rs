//! Turns the stored rows of one source (files that overlap nothing, one file, or the memory) into the columns
//! that SQL shows.
//!
//! Invariants: the input has the columns that the logical ones need; what the plan reads stays on disk and
//! accounted in memory while the plan lives (`pins`).

use std::fmt;
use std::sync::Arc;

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::TimestampNanosecondType;
use datafusion::common::Statistics;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::config::ConfigOptions;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::memory_pool::MemoryReservation;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{EmissionType, ReplaceChildrenOptions};
use datafusion::physical_plan::statistics::StatisticsArgs;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties,
};
use futures::StreamExt;
use storage::model::{DataFile, TableSchema, TimeRange, Timestamp};

use super::stored;

/// What must stay as it is while the rows are read.
#[derive(Debug, Default)]
pub(super) struct Pins {
    /// Files: storage removes a file from disk only when nobody holds it.
    pub(super) files: Vec<Arc<DataFile>>,
    /// The rows that were copied out of the memtables.
    pub(super) memory: Option<Arc<MemoryReservation>>,
}

/// Which columns of which table a source gives.
#[derive(Debug, Clone)]
pub(super) struct Columns {
    /// The table.
    pub(super) table: Arc<TableSchema>,
    /// Positions in the table's logical schema.
    pub(super) positions: Vec<usize>,
    /// Only rows in this stretch of time, to the nanosecond.
    pub(super) within: Option<TimeRange>,
}

impl Columns {
    /// Positions of the columns that must be read: with a stretch, the time too, as the last.
    pub(super) fn read_positions(&self) -> Vec<usize> {
        let time = self.within.map(|_| self.table.tags.len());
        self.positions.iter().copied().chain(time).collect()
    }
}

/// Gives the logical columns of stored rows.
#[derive(Debug)]
pub(super) struct LogicalRowsExec {
    input: Arc<dyn ExecutionPlan>,
    columns: Columns,
    pins: Arc<Pins>,
    /// Of all rows together, if known.
    statistics: Option<Arc<Statistics>>,
    properties: Arc<PlanProperties>,
}

impl LogicalRowsExec {
    /// Rows of which no other source holds a version. Statistics must be exact or absent.
    pub(super) fn alone(
        input: Arc<dyn ExecutionPlan>,
        columns: Columns,
        pins: Pins,
        statistics: Option<Statistics>,
    ) -> Result<Self> {
        Self::new(input, columns, Arc::new(pins), statistics.map(Arc::new))
    }

    fn new(
        input: Arc<dyn ExecutionPlan>,
        columns: Columns,
        pins: Arc<Pins>,
        statistics: Option<Arc<Statistics>>,
    ) -> Result<Self> {
        let schema = Arc::new(columns.table.logical_arrow().project(&columns.positions)?);
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            input.output_partitioning().clone(),
            EmissionType::Incremental,
            input.boundedness(),
        );
        Ok(Self { input, columns, pins, statistics, properties: Arc::new(properties) })
    }

    fn over(&self, input: Arc<dyn ExecutionPlan>) -> Result<Self> {
        let (pins, statistics) = (Arc::clone(&self.pins), self.statistics.clone());
        Self::new(input, self.columns.clone(), pins, statistics)
    }
}

impl DisplayAs for LogicalRowsExec {
    fn fmt_as(&self, _format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LogicalRowsExec: table={}, files={}", self.columns.table.name, self.pins.files.len())?;
        if let Some(memory) = &self.pins.memory {
            write!(f, ", memory_bytes={}", memory.size())?;
        }
        if let Some(within) = self.columns.within {
            write!(f, ", within={}..{}", within.min, within.max)?;
        }
        Ok(())
    }
}

impl ExecutionPlan for LogicalRowsExec {
    fn name(&self) -> &'static str {
        "LogicalRowsExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        // An order by our columns says nothing of the stored ones: a sort must not move below.
        vec![false]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        // To turn rows into others is cheaper than to hand them round.
        vec![false]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match (children.pop(), children.is_empty()) {
            (Some(input), true) => Ok(Arc::new(self.over(input)?)),
            _ => Err(DataFusionError::Internal("LogicalRowsExec has one child".into())),
        }
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let options = ReplaceChildrenOptions::new(
            datafusion::physical_plan::execution_plan::ChildrenPropertiesMode::Recompute,
        );
        self.replace_children(children, options)
    }

    fn repartitioned(
        &self,
        target_partitions: usize,
        config: &ConfigOptions,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let input = self.input.repartitioned(target_partitions, config)?;
        input.map(|input| Ok(Arc::new(self.over(input)?) as Arc<dyn ExecutionPlan>)).transpose()
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let input = self.input.execute(partition, context)?;
        let columns = self.columns.clone();
        let (schema, pins) = (self.schema(), Arc::clone(&self.pins));
        let rows = input.map(move |batch| {
            let _held = &pins;
            convert(&batch?, &columns)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
    }

    fn statistics_from_inputs(
        &self,
        _input_stats: &[Arc<Statistics>],
        args: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        match (&self.statistics, args.partition()) {
            (Some(statistics), None) => Ok(Arc::clone(statistics)),
            _ => Ok(Arc::new(Statistics::new_unknown(&self.schema()))),
        }
    }
}

fn convert(batch: &RecordBatch, columns: &Columns) -> Result<RecordBatch> {
    let logical = stored::to_logical(&columns.table, batch, &columns.read_positions())?;
    match columns.within {
        Some(within) => rows_within(&logical, within),
        None => Ok(logical),
    }
}

/// The rows whose time, the last column, lies in the stretch; without that column.
fn rows_within(batch: &RecordBatch, within: TimeRange) -> Result<RecordBatch> {
    let last = batch.num_columns().saturating_sub(1);
    let times = batch.columns().get(last).and_then(|c| c.as_primitive_opt::<TimestampNanosecondType>());
    let times = times.ok_or_else(|| DataFusionError::Internal("a stretch needs the time of rows".into()))?;
    let inside = |time: &i64| within.contains(Timestamp::from_nanos(*time));
    let wanted: BooleanArray = times.values().iter().map(|time| Some(inside(time))).collect();
    let columns = batch.project(&(0..last).collect::<Vec<_>>())?;
    Ok(filter_record_batch(&columns, &wanted)?)
}
