//! What queries read from: handed in by the composition root, so that this crate needs no engine to be tested.

use std::fmt;
use std::sync::Arc;

use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::execution::object_store::{ObjectStoreRegistry, ObjectStoreUrl};
use object_store::ObjectStore;
use storage::catalog::Catalog;
use storage::model::FilePlace;
use storage::series::SeriesIndex;
use storage::view::Snapshot;

use crate::catalog::ExternalTables;

/// Where queries find their rows.
#[derive(Clone)]
pub struct Source {
    /// Takes a snapshot of all tables.
    pub snapshot: Arc<dyn Fn() -> Snapshot + Send + Sync>,
    /// Databases, tables and columns.
    pub catalog: Arc<Catalog>,
    /// The series that the rows in memory refer to.
    pub series: Arc<SeriesIndex>,
    /// The object store of committed files.
    pub table_store: Arc<dyn ObjectStore>,
    /// The local disk of staged files.
    pub staged_store: Arc<dyn ObjectStore>,
    /// Tables that are not telemetry: `registry.*`, `alerts.*`.
    pub external: ExternalTables,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("external", &self.external).finish_non_exhaustive()
    }
}

/// The name by which plans refer to the store of a place.
pub(crate) fn store_url(place: FilePlace) -> DataFusionResult<ObjectStoreUrl> {
    ObjectStoreUrl::parse(match place {
        FilePlace::Staged => "busbar://staged",
        FilePlace::Table => "busbar://table",
    })
}

/// Knows the two stores and nothing else: no query can reach the local file system or the network.
#[derive(Debug)]
pub(crate) struct Stores {
    pub(crate) table: Arc<dyn ObjectStore>,
    pub(crate) staged: Arc<dyn ObjectStore>,
}

impl ObjectStoreRegistry for Stores {
    fn register_store(&self, _url: &url::Url, _store: Arc<dyn ObjectStore>) -> Option<Arc<dyn ObjectStore>> {
        None
    }

    fn get_store(&self, url: &url::Url) -> DataFusionResult<Arc<dyn ObjectStore>> {
        match (url.scheme(), url.host_str()) {
            ("busbar", Some("table")) => Ok(Arc::clone(&self.table)),
            ("busbar", Some("staged")) => Ok(Arc::clone(&self.staged)),
            _ => Err(DataFusionError::Plan(format!("there is no store {url}"))),
        }
    }
}
