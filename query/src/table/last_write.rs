//! Merges sources that overlap, as one row per point in which the last write wins per field.
//!
//! The inputs give stored rows in the order of all tags and time, as files and the sorted memory have them;
//! [`storage::merge`] does the rest. A single source of which some rows are deleted comes here too.
//!
//! Invariants: nothing below this looks at a field, and nothing above it sees two versions of a point (VIEW-2); the rows
//! of each source that deletes hide are left out before sources meet (DEL-1).

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
use storage::tombstone::Tombstones;

use super::logical_rows::{Columns, Pins};
use super::stored::engine_fault;
use crate::limits;

/// What belongs to the inputs of a merge, in their order.
#[derive(Debug, Default)]
pub(super) struct Inputs {
    /// They stay while the plan lives.
    pub(super) pins: Vec<Pins>,
    /// The deletes that may hide rows.
    pub(super) tombstones: Vec<Tombstones>,
}

/// Lets the last write win. It runs as one partition.
#[derive(Debug)]
pub(super) struct LastWriteWinsExec {
    /// Oldest first, each one partition.
    inputs: Vec<Arc<dyn ExecutionPlan>>,
    /// The columns to give. Without a stretch all rows of the inputs are wanted.
    columns: Columns,
    of_inputs: Arc<Inputs>,
    properties: Arc<PlanProperties>,
}

impl LastWriteWinsExec {
    /// Over inputs, oldest first, that have all tags, the time and what `columns` need.
    pub(super) fn new(
        inputs: Vec<Arc<dyn ExecutionPlan>>,
        columns: Columns,
        of_inputs: Arc<Inputs>,
    ) -> Result<Self> {
        let schema = Arc::new(columns.table.logical_arrow().project(&columns.positions)?);
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Ok(Self { inputs, columns, of_inputs, properties: Arc::new(properties) })
    }
}

impl DisplayAs for LastWriteWinsExec {
    fn fmt_as(&self, _format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LastWriteWinsExec: table={}, sources={}", self.columns.table.name, self.inputs.len())?;
        let deletes: usize = self.of_inputs.tombstones.iter().map(Vec::len).sum();
        if deletes > 0 {
            write!(f, ", deletes={deletes}")?;
        }
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
        Ok(Arc::new(Self::new(children, self.columns.clone(), Arc::clone(&self.of_inputs))?))
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
        let merge = Merge::new(inputs, self.columns.clone(), Arc::clone(&self.of_inputs));
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
    of_inputs: Arc<Inputs>,
}

impl Merge {
    fn new(inputs: Vec<SendableRecordBatchStream>, columns: Columns, of_inputs: Arc<Inputs>) -> Self {
        let first_field = columns.table.tags.len() + 1;
        let wanted = |position: &usize| columns.positions.contains(&(first_field + position));
        let fields = columns.table.fields.iter().enumerate().filter(|(position, _)| wanted(position));
        let merger = Merger::new(fields.map(|(_, field)| field), inputs.len(), limits::BATCH_ROWS);
        Self { merger, inputs, columns, of_inputs }
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
        let table = &self.columns.table;
        let tombstones = self.of_inputs.tombstones.get(source).map(Vec::as_slice).unwrap_or_default();
        sorted_rows(table, batch)
            .and_then(|rows| rows.without(tombstones, table)?.within(within))
            .and_then(|rows| self.merger.push(source, rows))
            .map_err(engine_fault)
    }
}
