//! Last write wins over sources that overlap: of rows with equal tags and time, each field has the value of
//! the newest source that has one.
//!
//! 1. The input is one partition in the order of [`merge_order`], so equal points stand together, oldest first.
//! 2. A batch is joined to the rows that were left of the one before, and split into runs of equal points.
//! 3. The last run is left for the next batch, which may go on with it; every other becomes one row.
//!
//! Invariant (VIEW-2): nothing below this looks at a field, and nothing above it sees two versions of a point.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use arrow::array::{Array, ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, partition, take};
use arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{
    Distribution, EquivalenceProperties, LexOrdering, OrderingRequirements, Partitioning, PhysicalExpr,
};
use datafusion::physical_plan::execution_plan::{
    Boundedness, CardinalityEffect, ChildrenPropertiesMode, EmissionType, ReplaceChildrenOptions,
};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, InputDistributionRequirements, PlanProperties,
};
use futures::{Stream, StreamExt};

/// Lets the last write win.
#[derive(Debug)]
pub(super) struct LastWriteWinsExec {
    input: Arc<dyn ExecutionPlan>,
    shape: Shape,
    order: LexOrdering,
    properties: Arc<PlanProperties>,
}

/// Which columns of the input are what.
#[derive(Debug, Clone)]
struct Shape {
    /// The first so many columns are the identity of a point.
    keys: usize,
    /// The columns to give, as positions in the input.
    output: Vec<usize>,
    schema: SchemaRef,
}

impl LastWriteWinsExec {
    /// Over an input of which the first `keys` columns are a point's identity, sorted by `order`. Gives the
    /// columns at the positions `output`.
    pub(super) fn new(
        input: Arc<dyn ExecutionPlan>,
        keys: usize,
        output: Vec<usize>,
        order: LexOrdering,
    ) -> Result<Self> {
        let schema = Arc::new(input.schema().project(&output)?);
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&schema)),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Ok(Self { input, shape: Shape { keys, output, schema }, order, properties: Arc::new(properties) })
    }
}

impl DisplayAs for LastWriteWinsExec {
    fn fmt_as(&self, _format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LastWriteWinsExec: keys={}", self.shape.keys)
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
        InputDistributionRequirements::new(vec![Distribution::SinglePartition])
    }

    fn required_input_ordering(&self) -> Vec<Option<OrderingRequirements>> {
        vec![Some(OrderingRequirements::from(self.order.clone()))]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
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
            (Some(input), true) => {
                let (keys, output) = (self.shape.keys, self.shape.output.clone());
                Ok(Arc::new(Self::new(input, keys, output, self.order.clone())?))
            }
            _ => Err(DataFusionError::Internal("LastWriteWinsExec has one child".into())),
        }
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let input = self.input.execute(partition, context)?;
        Ok(Box::pin(Merged { input, shape: self.shape.clone(), left: None, ended: false }))
    }

    fn cardinality_effect(&self) -> CardinalityEffect {
        CardinalityEffect::LowerEqual
    }
}

/// The stream of points.
struct Merged {
    input: SendableRecordBatchStream,
    shape: Shape,
    /// The rows of the last run so far.
    left: Option<RecordBatch>,
    ended: bool,
}

impl Merged {
    /// The complete points of the rows that were left and those of `batch`; the last run is left.
    fn push(&mut self, batch: RecordBatch) -> Result<Option<RecordBatch>> {
        let rows = match self.left.take() {
            Some(left) => concat_batches(&batch.schema(), [&left, &batch])?,
            None => batch,
        };
        let runs = self.shape.runs(&rows)?;
        let Some(last) = runs.last().copied() else { return Ok(None) };
        // A copy, so that a run of a few rows does not hold the whole batch.
        self.left = Some(self.shape.copy(&rows, last)?);
        let complete = runs.get(..runs.len() - 1).unwrap_or_default();
        if complete.is_empty() { Ok(None) } else { self.shape.merge(&rows, complete).map(Some) }
    }

    /// The point of the last run.
    fn finish(&mut self) -> Result<Option<RecordBatch>> {
        let Some(rows) = self.left.take() else { return Ok(None) };
        let runs = self.shape.runs(&rows)?;
        self.shape.merge(&rows, &runs).map(Some)
    }
}

/// Consecutive rows of one point: from, to (exclusive).
type Run = (usize, usize);

impl Shape {
    fn runs(&self, rows: &RecordBatch) -> Result<Vec<Run>> {
        if rows.num_rows() == 0 {
            return Ok(Vec::new());
        }
        let keys: Vec<ArrayRef> = rows.columns().iter().take(self.keys).cloned().collect();
        Ok(partition(&keys)?.ranges().into_iter().map(|range| (range.start, range.end)).collect())
    }

    fn copy(&self, rows: &RecordBatch, (from, to): Run) -> Result<RecordBatch> {
        let indices = UInt32Array::from_iter_values((from..to).filter_map(|row| u32::try_from(row).ok()));
        let columns = rows.columns().iter().map(|column| take(column, &indices, None));
        Ok(RecordBatch::try_new(rows.schema(), columns.collect::<Result<_, _>>()?)?)
    }

    /// One row for each run.
    fn merge(&self, rows: &RecordBatch, runs: &[Run]) -> Result<RecordBatch> {
        let single = runs.iter().all(|(from, to)| to - from == 1);
        let columns = self.output.iter().map(|&position| {
            let column = rows.columns().get(position).ok_or_else(|| {
                DataFusionError::Internal(format!("a merged batch has no column {position}"))
            })?;
            if single {
                return Ok(column.slice(0, runs.len()));
            }
            let nulls = column.logical_nulls();
            let valid = |row: &usize| nulls.as_ref().is_none_or(|nulls| nulls.is_valid(*row));
            let winner = |&(from, to): &Run| (from..to).rev().find(valid).unwrap_or(from);
            let indices =
                UInt32Array::from_iter_values(runs.iter().filter_map(|run| u32::try_from(winner(run)).ok()));
            Ok(take(column, &indices, None)?)
        });
        let columns = columns.collect::<Result<Vec<_>>>()?;
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(runs.len()));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?)
    }
}

impl Stream for Merged {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        while !self.ended {
            let points = match ready!(self.input.poll_next_unpin(cx)) {
                Some(Ok(batch)) => self.push(batch),
                Some(Err(error)) => Err(error),
                None => {
                    self.ended = true;
                    self.finish()
                }
            };
            match points.transpose() {
                None => {}
                Some(points) => {
                    self.ended |= points.is_err();
                    return Poll::Ready(Some(points));
                }
            }
        }
        Poll::Ready(None)
    }
}

impl RecordBatchStream for Merged {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.shape.schema)
    }
}

#[cfg(test)]
#[path = "last_write_tests.rs"]
mod tests;
