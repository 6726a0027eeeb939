//! Between the columns that SQL shows and those of files: the plans that read stored rows.

use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::catalog::Session;
use datafusion::catalog::memory::{DataSourceExec, MemorySourceConfig};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, ScalarValue};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, Operator};
use datafusion::physical_expr::expressions::{binary, col, lit};
use datafusion::physical_expr::{PhysicalExpr, conjunction as all_of};
use datafusion::physical_plan::ExecutionPlan;
use object_store::ObjectMeta;
use storage::layout;
use storage::model::{DataFile, FilePlace, TIME_COLUMN, TableSchema, TimeRange};

use super::identity::Identity;
use super::logical_rows::Columns;
use crate::limits;
use crate::source::store_url;

/// The logical columns at `positions` of stored rows.
pub(super) fn to_logical(
    table: &TableSchema,
    batch: &RecordBatch,
    positions: &[usize],
) -> Result<RecordBatch> {
    layout::logical_batch(table, batch, Some(positions)).map_err(engine_fault)
}

/// An error of storage, as DataFusion carries it.
pub(crate) fn engine_fault(error: storage::Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

/// Reads what `columns` need from files of one place, which are spread over at most `partitions` partitions.
/// Only `predicate`, a test of identity, acts below (VIEW-2).
pub(super) fn scan_files(
    files: &[Arc<DataFile>],
    place: FilePlace,
    columns: &Columns,
    predicate: Option<&Arc<dyn PhysicalExpr>>,
    partitions: usize,
) -> Result<Arc<dyn ExecutionPlan>> {
    let stored = layout::stored_schema(&columns.table);
    let names =
        layout::stored_columns(&columns.table, Some(&columns.read_positions())).map_err(engine_fault)?;
    let mut projection = names.iter().map(|name| stored.index_of(name)).collect::<Result<Vec<_>, _>>()?;
    projection.sort_unstable();
    projection.dedup();
    let mut source = ParquetSource::new(stored)
        .with_pushdown_filters(true)
        .with_reorder_filters(true)
        .with_enable_page_index(true)
        .with_bloom_filter_on_read(true);
    if let Some(predicate) = predicate {
        source = source.with_predicate(Arc::clone(predicate));
    }
    let files = files.iter().map(|file| PartitionedFile::new_from_meta(object(file))).collect();
    let config = FileScanConfigBuilder::new(store_url(place)?, Arc::new(source))
        .with_file_groups(FileGroup::new(files).split_files(partitions))
        // One partition is asked for where the order of the file's rows counts.
        .with_preserve_order(partitions == 1)
        .with_projection_indices(Some(projection))?
        .build();
    Ok(DataSourceExec::from_data_source(config))
}

/// What is known of a file's object. A path is never written twice, so its time says nothing.
fn object(file: &DataFile) -> ObjectMeta {
    ObjectMeta {
        location: file.path.clone(),
        last_modified: chrono::DateTime::UNIX_EPOCH,
        size: file.bytes,
        e_tag: None,
        version: None,
    }
}

/// Gives stored rows that are in memory, in batches of the usual size.
pub(super) fn scan_memory(rows: &RecordBatch) -> Result<Arc<dyn ExecutionPlan>> {
    let starts = (0..rows.num_rows()).step_by(limits::BATCH_ROWS);
    let slice = |start| rows.slice(start, limits::BATCH_ROWS.min(rows.num_rows() - start));
    let batches: Vec<RecordBatch> = starts.map(slice).collect();
    Ok(MemorySourceConfig::try_new_exec(&[batches], rows.schema(), None)?)
}

/// The tests of tags over the columns of files; `None` when there are none.
pub(super) fn tag_predicate(
    identity: &Identity,
    table: &TableSchema,
    state: &dyn Session,
) -> Result<Option<Arc<dyn PhysicalExpr>>> {
    let tests = identity.tag_filters.iter().map(|filter| over_stored_names(filter, table));
    let Some(all) = conjunction(tests.collect::<Result<Vec<_>>>()?) else { return Ok(None) };
    let stored = DFSchema::try_from(layout::stored_schema(table))?;
    state.create_physical_expr(all, &stored).map(Some)
}

/// Those tests, and that the stored time lies in `times`: in microseconds rounded down, which is wider than the
/// range by less than a microsecond on each side (VIEW-2).
pub(super) fn predicate(
    tags: Option<&Arc<dyn PhysicalExpr>>,
    times: TimeRange,
    table: &TableSchema,
) -> Result<Option<Arc<dyn PhysicalExpr>>> {
    let stored = layout::stored_schema(table);
    let test = |op, nanos: i64| {
        let micros = ScalarValue::TimestampMicrosecond(Some(nanos.div_euclid(1_000)), Some("UTC".into()));
        binary(col(TIME_COLUMN, &stored)?, op, lit(micros), &stored)
    };
    let (min, max) = (times.min.nanos(), times.max.nanos());
    let mut tests: Vec<Arc<dyn PhysicalExpr>> = tags.cloned().into_iter().collect();
    if min > i64::MIN {
        tests.push(test(Operator::GtEq, min)?);
    }
    if max < i64::MAX {
        tests.push(test(Operator::LtEq, max)?);
    }
    Ok((!tests.is_empty()).then(|| all_of(tests)))
}

/// The filter with the names that tags have in files.
fn over_stored_names(filter: &Expr, table: &TableSchema) -> Result<Expr> {
    let renamed = filter.clone().transform(|expr| {
        let Expr::Column(column) = &expr else { return Ok(Transformed::no(expr)) };
        let tag = table.tag(&column.name).and_then(|position| table.tags.get(position));
        match tag {
            Some(tag) => {
                Ok(Transformed::yes(Expr::Column(Column::new_unqualified(tag.stored_name.as_ref()))))
            }
            None => Err(DataFusionError::Internal(format!("{} is not a tag", column.name))),
        }
    })?;
    Ok(renamed.data)
}
