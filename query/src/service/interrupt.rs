//! Stops queries that compute for long without a pause.
//!
//! A task can be aborted only where it waits. DataFusion makes the *leaves* of a plan wait now and then, but a
//! join that makes many rows from few goes on for minutes between two looks at its leaves. So
//! 1. such joins are wrapped to give way after some batches of output, and
//! 2. the filter of a join, which may throw all its rows away and so leave no output, first asks whether the
//!    query was interrupted.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Schema};
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::config::ConfigOptions;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{ColumnarValue, Operator};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::BinaryExpr;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::joins::utils::JoinFilter;
use datafusion::physical_plan::joins::{
    CrossJoinExec, HashJoinExec, HashJoinExecBuilder, NestedLoopJoinExec, NestedLoopJoinExecBuilder,
    SortMergeJoinExec,
};
use datafusion::physical_plan::unnest::UnnestExec;

/// Says that a query is to stop.
#[derive(Debug, Clone, Default)]
pub(super) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    pub(super) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Makes a plan interruptible. It must be the last rule.
#[derive(Debug)]
pub(super) struct Interruptible {
    interrupt: Interrupt,
}

impl Interruptible {
    pub(super) fn new(interrupt: Interrupt) -> Self {
        Self { interrupt }
    }

    fn wrap(&self, plan: Arc<dyn ExecutionPlan>) -> Result<Transformed<Arc<dyn ExecutionPlan>>> {
        let guarded: Arc<dyn ExecutionPlan> = if let Some(join) = plan.downcast_ref::<NestedLoopJoinExec>() {
            let filter = join.filter().map(|filter| self.guard(filter));
            Arc::new(NestedLoopJoinExecBuilder::from(join).with_filter(filter).build()?)
        } else if let Some(join) = plan.downcast_ref::<HashJoinExec>() {
            match join.filter() {
                Some(filter) => {
                    HashJoinExecBuilder::from(join).with_filter(Some(self.guard(filter))).build_exec()?
                }
                None => plan,
            }
        } else if plan.is::<CrossJoinExec>() || plan.is::<SortMergeJoinExec>() || plan.is::<UnnestExec>() {
            plan
        } else {
            return Ok(Transformed::no(plan));
        };
        Ok(Transformed::yes(Arc::new(CooperativeExec::new(guarded))))
    }

    /// The filter, failing when the query is interrupted.
    fn guard(&self, filter: &JoinFilter) -> JoinFilter {
        let check = Arc::new(NotInterrupted { interrupt: self.interrupt.clone() });
        let all = BinaryExpr::new(check, Operator::And, Arc::clone(filter.expression()));
        JoinFilter::new(Arc::new(all), filter.column_indices().to_vec(), Arc::clone(filter.schema()))
    }
}

impl PhysicalOptimizerRule for Interruptible {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(plan.transform_up(|plan| self.wrap(plan))?.data)
    }

    fn name(&self) -> &'static str {
        "interruptible"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// True, or an error when the query is interrupted.
#[derive(Debug, Clone)]
struct NotInterrupted {
    interrupt: Interrupt,
}

impl PartialEq for NotInterrupted {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.interrupt.0, &other.interrupt.0)
    }
}

impl Eq for NotInterrupted {}

impl Hash for NotInterrupted {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.interrupt.0).hash(state);
    }
}

impl fmt::Display for NotInterrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not_interrupted")
    }
}

impl PhysicalExpr for NotInterrupted {
    fn data_type(&self, _input_schema: &Schema) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn nullable(&self, _input_schema: &Schema) -> Result<bool> {
        Ok(false)
    }

    fn evaluate(&self, _batch: &RecordBatch) -> Result<ColumnarValue> {
        if self.interrupt.is_set() {
            return Err(DataFusionError::Execution("the query was interrupted".into()));
        }
        Ok(ColumnarValue::Scalar(ScalarValue::Boolean(Some(true))))
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        Vec::new()
    }

    fn with_new_children(
        self: Arc<Self>,
        _children: Vec<Arc<dyn PhysicalExpr>>,
    ) -> Result<Arc<dyn PhysicalExpr>> {
        Ok(self)
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("true")
    }
}
