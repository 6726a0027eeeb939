//! Runs many partitions in a few lanes, each partition of a lane after the one before.
//!
//! A merge of overlapping files is one partition. A table may have thousands of them, and what runs partitions
//! runs all at once, each with its files open: this bounds how many.

use std::fmt;
use std::sync::Arc;

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{
    Boundedness, ChildrenPropertiesMode, EmissionType, ReplaceChildrenOptions,
};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties,
};
use futures::{StreamExt, TryStreamExt, stream};

/// Runs the partitions of its input in lanes. Lane `i` of `n` runs the partitions `i`, `i + n`, `i + 2n`, ...
#[derive(Debug)]
pub(super) struct LanesExec {
    input: Arc<dyn ExecutionPlan>,
    lanes: usize,
    properties: Arc<PlanProperties>,
}

impl LanesExec {
    /// At most `lanes` partitions of `input` at one time; at least one.
    pub(super) fn new(input: Arc<dyn ExecutionPlan>, lanes: usize) -> Self {
        let lanes = lanes.max(1);
        let properties = PlanProperties::new(
            EquivalenceProperties::new(input.schema()),
            Partitioning::UnknownPartitioning(lanes),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Self { input, lanes, properties: Arc::new(properties) }
    }
}

impl DisplayAs for LanesExec {
    fn fmt_as(&self, _format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LanesExec: lanes={}", self.lanes)
    }
}

impl ExecutionPlan for LanesExec {
    fn name(&self) -> &'static str {
        "LanesExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
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
            (Some(input), true) => Ok(Arc::new(Self::new(input, self.lanes))),
            _ => Err(DataFusionError::Internal("LanesExec has one child".into())),
        }
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let partitions = self.input.output_partitioning().partition_count();
        let input = Arc::clone(&self.input);
        let lane = (partition..partitions).step_by(self.lanes);
        // Each is begun when the one before has ended.
        let rows = stream::iter(lane)
            .map(move |partition| input.execute(partition, Arc::clone(&context)))
            .try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), rows)))
    }
}
