//! The rows of a table that are in memory, as sorted sources: one, but for those of before and after a delete.
//!
//! Invariants: only rows that the query may want are copied; the copy is accounted to the query before it is
//! made; sorting runs on a thread that may block, so it stops no other query.

use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::catalog::Session;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use parking_lot::Mutex;
use storage::engine::Engine;
use storage::layout::physical_batch;
use storage::memtable::RowFilter;
use storage::model::{TableSchema, TimeRange};
use storage::series::SeriesIndex;
use storage::view::TableView;

use super::identity::Identity;
use super::stored::engine_fault;

/// Rows of some memtables, none deleted, each point once, sorted by all tags and time, as a file would hold them.
#[derive(Debug, Clone)]
pub(super) struct MemoryRows {
    /// The rows; at least one.
    pub(super) rows: RecordBatch,
    /// The times of the rows.
    pub(super) times: TimeRange,
    /// The memory that they and their like take.
    pub(super) reservation: Arc<MemoryReservation>,
}

/// The rows in memory that may be wanted, oldest first.
pub(super) async fn wanted_rows(
    schema: &Arc<TableSchema>,
    view: &Arc<TableView>,
    engine: &Engine,
    identity: &Arc<Identity>,
    state: &dyn Session,
) -> Result<Vec<MemoryRows>> {
    let Some(times) = identity.times else { return Ok(Vec::new()) };
    if !view.memory_times().is_some_and(|memory| memory.overlaps(&times)) {
        return Ok(Vec::new());
    }
    let reservation = MemoryConsumer::new("rows in memory").register(&state.runtime_env().memory_pool);
    let (schema, view) = (Arc::clone(schema), Arc::clone(view));
    let (engine, identity) = (engine.clone(), Arc::clone(identity));
    let sort = move || {
        let sources = sort(&schema, &view, engine.series(), (&identity, times), &reservation)?;
        // Tags have come to it, and what was overwritten or deleted has gone.
        reservation.try_resize(sources.iter().map(|(rows, _)| rows.get_array_memory_size()).sum())?;
        let reservation = Arc::new(reservation);
        let rows = |(rows, times)| MemoryRows { rows, times, reservation: Arc::clone(&reservation) };
        Ok(sources.into_iter().map(rows).collect())
    };
    let sorted = tokio::task::spawn_blocking(sort).await;
    sorted.map_err(|e| DataFusionError::ExecutionJoin(Box::new(e)))?
}

fn sort(
    schema: &TableSchema,
    view: &TableView,
    series: &SeriesIndex,
    (identity, times): (&Identity, TimeRange),
    reservation: &MemoryReservation,
) -> Result<Vec<(RecordBatch, TimeRange)>> {
    let refused = Mutex::new(None);
    let room = |bytes| {
        reservation.try_grow(bytes).map_err(|error| {
            let why = error.to_string();
            *refused.lock() = Some(error);
            storage::Error::LimitExceeded(why)
        })
    };
    let fault = |error| refused.lock().take().unwrap_or_else(|| engine_fault(error));
    let filter = RowFilter { times, series: &|series| identity.may_want(series), room: &room };
    let mut sources = Vec::new();
    for group in view.memtable_groups() {
        let sorted = group.ordered(schema, series, filter).map_err(fault)?;
        let sorted = sorted.into_rows(schema).map_err(engine_fault)?;
        let Some(times) = TimeRange::of(&sorted.times) else { continue };
        let tags = sorted.tag_columns(schema.tags.len()).map_err(engine_fault)?;
        let rows = physical_batch(schema, tags, &sorted.times, &sorted.fields).map_err(engine_fault)?;
        sources.push((rows, times));
    }
    Ok(sources)
}
