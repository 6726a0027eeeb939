//! What queries read from, handed in by the composition root, and the only object stores that a plan can name.

use std::sync::Arc;

use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::execution::object_store::{ObjectStoreRegistry, ObjectStoreUrl};
use object_store::ObjectStore;
use storage::engine::Engine;
use storage::model::FilePlace;

use crate::catalog::ExternalTables;

/// Where queries find their rows.
#[derive(Debug, Clone)]
pub struct Source {
    /// The engine that holds the telemetry.
    pub engine: Engine,
    /// Tables that are not telemetry: `registry.*`, `alerts.*`, `system.quarantine`.
    pub external: ExternalTables,
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
    table: Arc<dyn ObjectStore>,
    staged: Arc<dyn ObjectStore>,
}

impl Stores {
    pub(crate) fn of(engine: &Engine) -> Self {
        Self { table: engine.store(FilePlace::Table), staged: engine.store(FilePlace::Staged) }
    }
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
