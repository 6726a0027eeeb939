//! The order in which sources are merged: all tags in schema order, time, rank.
//!
//! Invariant: it is the order of every file and of the sorted memory (tags ascending by bytes, missing last),
//! so a merge needs no sort; the rank comes last, so of equal points the newest stands last.

use arrow::compute::SortOptions;
use arrow::datatypes::SchemaRef;
use datafusion::error::{DataFusionError, Result};
use datafusion::physical_expr::expressions::col;
use datafusion::physical_expr::{LexOrdering, PhysicalSortExpr};
use storage::model::{TIME_COLUMN, TableSchema};

/// The column that says which source a row came from. Clients cannot write names that begin like this.
pub(super) const RANK_COLUMN: &str = "busbar_rank";

/// Ascending, missing last, as files are.
const ORDER: SortOptions = SortOptions { descending: false, nulls_first: false };

/// The number of columns that make up a point's identity: all tags and time. They come first when sources are
/// merged.
pub(super) fn key_columns(table: &TableSchema) -> usize {
    table.tags.len() + 1
}

/// The order of sources with all tags, time, fields and the rank as columns.
pub(super) fn merge_order(table: &TableSchema, schema: &SchemaRef) -> Result<LexOrdering> {
    let tags = table.tags.iter().map(|tag| tag.name.as_ref());
    let names = tags.chain([TIME_COLUMN, RANK_COLUMN]);
    let sort = |name| Ok(PhysicalSortExpr::new(col(name, schema)?, ORDER));
    let order = names.map(sort).collect::<Result<Vec<_>>>()?;
    LexOrdering::new(order).ok_or_else(|| DataFusionError::Internal("a merge has an order".into()))
}
