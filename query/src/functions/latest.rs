//! `latest('table')`: a table of one row per series, with the columns of `table`: its tags, the last value of each
//! field, and as `time` the greatest time of any of them.
//!
//! The engine keeps last values up to date. Where it does not keep those of a table, because they take too much
//! memory, the same rows are computed from all rows of the table.
//!
//! Invariants: what was acknowledged before the query began is seen; what came since may be. Tests of tags choose the
//! series; every filter is applied again above, so that one of `time` or of a field acts on the last values.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, ScalarValue};
use datafusion::datasource::provider_as_source;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::functions::core::expr_fn::coalesce;
use datafusion::functions_aggregate::expr_fn::max;
use datafusion::functions_aggregate::first_last::last_value_udaf;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{
    Expr, ExprFunctionExt, LogicalPlan, LogicalPlanBuilder, TableProviderFilterPushDown, TableType, lit,
};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use datafusion::physical_plan::{ExecutionPlan, SendableRecordBatchStream};
use storage::last_value::{LastRows, TagTest};
use storage::model::{TIME_COLUMN, TableSchema, Timestamp};

use crate::catalog::RequestCatalog;
use crate::limits;
use crate::table::{Identity, Table, engine_fault};

/// The function's name.
pub(crate) const LATEST: &str = "latest";

/// The function, for one query.
#[derive(Debug)]
pub(crate) struct Latest(pub(crate) RequestCatalog);

impl TableFunctionImpl for Latest {
    fn call_with_args(&self, args: TableFunctionArgs<'_, '_>) -> Result<Arc<dyn TableProvider>> {
        let name = match args.exprs() {
            [Expr::Literal(value, _)] => value.try_as_str().flatten(),
            _ => None,
        };
        let name = name.ok_or_else(|| {
            DataFusionError::Plan("latest needs the name of a table as text: latest('room')".into())
        })?;
        let table = self.0.table(name).ok_or_else(|| {
            let database = self.0.name();
            DataFusionError::Plan(format!("latest('{name}'): there is no table {name:?} in {database:?}"))
        })?;
        Ok(Arc::new(LastValues { table }))
    }
}

/// The last values of a table.
#[derive(Debug)]
struct LastValues {
    table: Arc<Table>,
}

#[async_trait]
impl TableProvider for LastValues {
    fn schema(&self) -> SchemaRef {
        self.table.schema()
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let (schema, view) = (self.table.stored(), self.table.view());
        let Some(rows) = self.table.engine().last_values(schema, view).await.map_err(engine_fault)? else {
            return state.create_physical_plan(&self.computed(projection, filters)?).await;
        };
        let identity = Identity::of(filters, schema);
        let tests = identity.tags.iter();
        let tests: Vec<_> =
            tests.map(|test| TagTest { position: test.position, values: &test.values }).collect();
        let slots = rows.select(&tests).map_err(engine_fault)?;
        let projection = projection.cloned().unwrap_or_else(|| (0..self.schema().fields().len()).collect());
        let projected = Arc::new(self.schema().project(&projection)?);
        let (slots, oldest) = (slots.into(), self.table.oldest());
        let found = Found { rows, slots, oldest, projection, schema: Arc::clone(&projected) };
        let partition: Arc<dyn PartitionStream> = Arc::new(found);
        Ok(Arc::new(StreamingTableExec::try_new(projected, vec![partition], None, [], false, limit)?))
    }
}

impl LastValues {
    /// The same rows, computed from all rows of the table.
    fn computed(&self, projection: Option<&Vec<usize>>, filters: &[Expr]) -> Result<LogicalPlan> {
        let schema = self.table.stored();
        let provider: Arc<dyn TableProvider> = Arc::clone(&self.table) as Arc<dyn TableProvider>;
        let rows = LogicalPlanBuilder::scan(LATEST, provider_as_source(provider), None)?;
        let tags = schema.tags.iter().map(|tag| column(&tag.name));
        let rows = rows.aggregate(tags, last_of_each(schema)?)?;
        // Without tags there is a row even of nothing.
        let rows = rows.filter(column(TIME_COLUMN).is_not_null())?;
        let names = schema.logical_arrow();
        // Every row has a time now, which the planner does not know.
        let never = lit(ScalarValue::TimestampNanosecond(Some(i64::MIN), None));
        let shown = |name: &str| match name {
            TIME_COLUMN => coalesce(vec![column(name), never.clone()]).alias(name),
            _ => column(name),
        };
        // Under the function's own name, by which the filters may call the columns.
        let rows = rows.project(names.fields().iter().map(|field| shown(field.name())))?;
        let rows = match conjunction(filters.iter().map(unqualified).collect::<Result<Vec<_>>>()?) {
            Some(filter) => rows.filter(filter)?,
            None => rows,
        };
        match projection {
            Some(projection) => {
                let names = names.project(projection)?;
                rows.project(names.fields().iter().map(|field| column(field.name())))?.build()
            }
            None => rows.build(),
        }
    }
}

/// The greatest time if there is a row, and each field's value with the greatest time, under the names that they have in the table.
fn last_of_each(schema: &TableSchema) -> Result<Vec<Expr>> {
    let mut all = vec![max(column(TIME_COLUMN)).alias(TIME_COLUMN)];
    for field in &schema.fields {
        let value = column(&field.name);
        let has_one = value.clone().is_not_null();
        // One builder for both: another one would lose the order.
        let last = last_value_udaf().call(vec![value]).order_by(vec![column(TIME_COLUMN).sort(true, false)]);
        all.push(last.filter(has_one).build()?.alias(field.name.as_ref()));
    }
    Ok(all)
}

/// A column whatever its name holds.
fn column(name: &str) -> Expr {
    Expr::Column(Column::new_unqualified(name))
}

fn unqualified(filter: &Expr) -> Result<Expr> {
    let renamed = filter.clone().transform(|expr| {
        Ok(match expr {
            Expr::Column(found) => Transformed::yes(column(&found.name)),
            other => Transformed::no(other),
        })
    })?;
    Ok(renamed.data)
}

/// Series whose last values are given batch by batch.
struct Found {
    rows: LastRows,
    slots: Arc<[u32]>,
    /// Values before this have expired.
    oldest: Timestamp,
    projection: Vec<usize>,
    schema: SchemaRef,
}

impl fmt::Debug for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Found").field("series", &self.slots.len()).finish_non_exhaustive()
    }
}

impl PartitionStream for Found {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let (rows, slots, projection) = (self.rows.clone(), Arc::clone(&self.slots), self.projection.clone());
        let oldest = self.oldest;
        let starts = (0..slots.len()).step_by(limits::BATCH_ROWS);
        let batches = starts.map(move |start| {
            let end = slots.len().min(start + limits::BATCH_ROWS);
            let some = slots.get(start..end).unwrap_or_default();
            rows.batch(some, &projection, oldest).map_err(engine_fault)
        });
        let stream = futures::stream::iter(batches);
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), stream))
    }
}
