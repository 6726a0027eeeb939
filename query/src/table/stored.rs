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
use datafusion::logical_expr::{Expr, col, lit};
use datafusion::physical_expr::PhysicalExpr;
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
pub(super) fn engine_fault(error: storage::Error) -> DataFusionError {
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
    let names = layout::stored_columns(&columns.table, Some(&columns.positions)).map_err(engine_fault)?;
    let projection = names.iter().map(|name| stored.index_of(name)).collect::<Result<Vec<_>, _>>()?;
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

/// The tests of identity over the columns of files; `None` when there are none.
pub(super) fn predicate(
    identity: &Identity,
    table: &TableSchema,
    state: &dyn Session,
) -> Result<Option<Arc<dyn PhysicalExpr>>> {
    let tags = identity.tag_filters.iter().map(|filter| over_stored_names(filter, table));
    let mut tests = tags.collect::<Result<Vec<_>>>()?;
    tests.extend(identity.times.into_iter().flat_map(time_tests));
    let Some(all) = conjunction(tests) else { return Ok(None) };
    let stored = DFSchema::try_from(layout::stored_schema(table))?;
    state.create_physical_expr(all, &stored).map(Some)
}

/// Tests of the stored time, in microseconds rounded down: wider than the range by less than a microsecond on
/// each side (VIEW-2).
fn time_tests(times: TimeRange) -> Vec<Expr> {
    let micros = |nanos: i64| {
        lit(ScalarValue::TimestampMicrosecond(Some(nanos.div_euclid(1_000)), Some("UTC".into())))
    };
    let (min, max) = (times.min.nanos(), times.max.nanos());
    let mut tests = Vec::new();
    if min > i64::MIN {
        tests.push(col(TIME_COLUMN).gt_eq(micros(min)));
    }
    if max < i64::MAX {
        tests.push(col(TIME_COLUMN).lt_eq(micros(max)));
    }
    tests
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
