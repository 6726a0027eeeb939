//! Merges sources that overlap, as one row per point in which the last write wins per field.
//!
//! The inputs give stored rows in the order of all tags and time, as files and the sorted memory have them;
//! [`storage::merge`] does the rest.
//!
//! Invariant (VIEW-2): nothing below this looks at a field, and nothing above it sees two versions of a point.

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{Distribution, EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{
    Boundedness, CardinalityEffect, ChildrenPropertiesMode, EmissionType, ReplaceChildrenOptions,
};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, InputDistributionRequirements,
    PlanProperties,
};
use futures::{StreamExt, stream};
use storage::layout::{logical_rows, sorted_rows};
use storage::merge::{Merger, Step};
use storage::model::TimeRange;

use super::logical_rows::{Columns, Pins};
use super::stored::engine_fault;
use crate::limits;

/// Lets the last write win. It runs as one partition.
#[derive(Debug)]
pub(super) struct LastWriteWinsExec {
    /// Oldest first, each one partition.
    inputs: Vec<Arc<dyn ExecutionPlan>>,
    /// The columns to give. Without a stretch all rows of the inputs are wanted.
    columns: Columns,
    pins: Arc<Vec<Pins>>,
    properties: Arc<PlanProperties>,
}

impl LastWriteWinsExec {
    /// Over inputs, oldest first, that have all tags, the time and what `columns` need. `pins` stay while the plan
    /// lives.
    pub(super) fn new(
        inputs: Vec<Arc<dyn ExecutionPlan>>,
        columns: Columns,
        pins: Vec<Pins>,
    ) -> Result<Self> {
        Self::over(inputs, columns, Arc::new(pins))
    }

    fn over(inputs: Vec<Arc<dyn ExecutionPlan>>, columns: Columns, pins: Arc<Vec<Pins>>) -> Result<Self> {
        let schema = Arc::new(columns.table.logical_arrow().project(&columns.positions)?);
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Ok(Self { inputs, columns, pins, properties: Arc::new(properties) })
    }
}

impl DisplayAs for LastWriteWinsExec {
    fn fmt_as(&self, _format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LastWriteWinsExec: table={}, sources={}", self.columns.table.name, self.inputs.len())?;
        match self.columns.within {
            Some(within) => write!(f, ", within={}..{}", within.min, within.max),
            None => Ok(()),
        }
    }
}

impl ExecutionPlan for LastWriteWinsExec {
    fn name(&self) -> &'static str {
        "LastWriteWinsExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        InputDistributionRequirements::new(vec![Distribution::SinglePartition; self.inputs.len()])
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        // An order by our columns says nothing of the stored ones: a sort must not move below.
        vec![false; self.inputs.len()]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        // Rows that are handed round lose their order.
        vec![false; self.inputs.len()]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        self.inputs.iter().collect()
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if children.len() != self.inputs.len() {
            return Err(DataFusionError::Internal("LastWriteWinsExec has one child per source".into()));
        }
        Ok(Arc::new(Self::over(children, self.columns.clone(), Arc::clone(&self.pins))?))
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, _partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let mut inputs = Vec::with_capacity(self.inputs.len());
        for input in &self.inputs {
            // More than one would come in any order.
            if input.output_partitioning().partition_count() != 1 {
                return Err(DataFusionError::Internal("a source of a merge is not one partition".into()));
            }
            inputs.push(input.execute(0, Arc::clone(&context))?);
        }
        let merge = Merge::new(inputs, self.columns.clone(), Arc::clone(&self.pins));
        let rows = stream::try_unfold(merge, |mut merge| async move {
            Ok(merge.next().await?.map(|batch| (batch, merge)))
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), rows)))
    }

    fn cardinality_effect(&self) -> CardinalityEffect {
        CardinalityEffect::LowerEqual
    }
}

/// A merge that runs.
struct Merge {
    merger: Merger,
    inputs: Vec<SendableRecordBatchStream>,
    columns: Columns,
    _pins: Arc<Vec<Pins>>,
}

impl Merge {
    fn new(inputs: Vec<SendableRecordBatchStream>, columns: Columns, pins: Arc<Vec<Pins>>) -> Self {
        let first_field = columns.table.tags.len() + 1;
        let wanted = |position: &usize| columns.positions.contains(&(first_field + position));
        let fields = columns.table.fields.iter().enumerate().filter(|(position, _)| wanted(position));
        let merger = Merger::new(fields.map(|(_, field)| field), inputs.len(), limits::BATCH_ROWS);
        Self { merger, inputs, columns, _pins: pins }
    }

    /// The next points; `None` when there are no more.
    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            match self.merger.step().map_err(engine_fault)? {
                Step::Done => return Ok(None),
                Step::Rows(rows) => {
                    let batch = logical_rows(&self.columns.table, &rows, Some(&self.columns.positions));
                    return batch.map(Some).map_err(engine_fault);
                }
                Step::Needs(source) => {
                    let input = self.inputs.get_mut(source);
                    let input = input.ok_or_else(|| DataFusionError::Internal("no such source".into()))?;
                    match input.next().await.transpose()? {
                        Some(batch) => self.push(source, &batch)?,
                        None => self.merger.end(source),
                    }
                }
            }
        }
    }

    fn push(&mut self, source: usize, batch: &RecordBatch) -> Result<()> {
        let within = self.columns.within.unwrap_or(TimeRange::ALL);
        let rows = sorted_rows(&self.columns.table, batch).and_then(|rows| rows.within(within));
        rows.and_then(|rows| self.merger.push(source, rows)).map_err(engine_fault)
    }
}
