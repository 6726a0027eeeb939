//! The rows of a table that are in memory, as one sorted source.
//!
//! Invariants: only rows that the query may want are copied; the copy is accounted to the query before it is
//! used; sorting runs on a thread that may block, so it stops no other query.

use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::catalog::Session;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use storage::engine::Engine;
use storage::layout::physical_batch;
use storage::memtable::{RowFilter, sort_rows};
use storage::model::{TableSchema, TimeRange};
use storage::series::SeriesIndex;
use storage::view::TableView;

use super::identity::Identity;
use super::stored::engine_fault;

/// Rows of the memtables, each point once, sorted by all tags and time, as a file would hold them.
#[derive(Debug, Clone)]
pub(super) struct MemoryRows {
    /// The rows; at least one.
    pub(super) rows: RecordBatch,
    /// The times of the rows.
    pub(super) times: TimeRange,
    /// The memory that the rows take.
    pub(super) reservation: Arc<MemoryReservation>,
}

/// The rows in memory that may be wanted; `None` when there are none.
pub(super) async fn wanted_rows(
    schema: &Arc<TableSchema>,
    view: &Arc<TableView>,
    engine: &Engine,
    identity: &Arc<Identity>,
    state: &dyn Session,
) -> Result<Option<MemoryRows>> {
    let Some(times) = identity.times else { return Ok(None) };
    if !view.memory_times().is_some_and(|memory| memory.overlaps(&times)) {
        return Ok(None);
    }
    let reservation = MemoryConsumer::new("rows in memory").register(&state.runtime_env().memory_pool);
    let (schema, view) = (Arc::clone(schema), Arc::clone(view));
    let (engine, identity) = (engine.clone(), Arc::clone(identity));
    let sorted = tokio::task::spawn_blocking(move || sort(&schema, &view, engine.series(), &identity, times));
    let Some((rows, times)) = sorted.await.map_err(|e| DataFusionError::ExecutionJoin(Box::new(e)))?? else {
        return Ok(None);
    };
    reservation.try_grow(rows.get_array_memory_size())?;
    Ok(Some(MemoryRows { rows, times, reservation: Arc::new(reservation) }))
}

fn sort(
    schema: &TableSchema,
    view: &TableView,
    series: &SeriesIndex,
    identity: &Identity,
    times: TimeRange,
) -> Result<Option<(RecordBatch, TimeRange)>> {
    let filter = RowFilter { times, series: &|series| identity.may_want(series) };
    let sorted = sort_rows(view.memtables(), schema, series, filter).map_err(engine_fault)?;
    let Some(times) = TimeRange::of(&sorted.times) else { return Ok(None) };
    let tags = sorted.tag_columns(schema.tags.len()).map_err(engine_fault)?;
    let rows = physical_batch(schema, tags, &sorted.times, &sorted.fields).map_err(engine_fault)?;
    Ok(Some((rows, times)))
}
