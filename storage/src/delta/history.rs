//! Forgets the past of a table: its older versions say what deleted rows were (the least and greatest value of each column
//! of each file).

use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};

use deltalake_core::DeltaTable;
use deltalake_core::checkpoints::create_checkpoint;

use super::TableLog;
use crate::error::{Error, Result};

/// The folder of a table's log, from that of the table.
pub(super) const LOG: &str = "_delta_log";

/// The log of a table after its past was forgotten.
#[derive(Debug, Default)]
pub(crate) struct Forgotten {
    /// Sizes of what was removed.
    pub(crate) removed: Vec<u64>,
    /// Sizes of what is left: a checkpoint, the commit that it is of, later ones.
    pub(crate) left: Vec<u64>,
    /// Objects of which nothing says what they are.
    pub(crate) unknown: Vec<Path>,
}

impl TableLog {
    /// Writes a checkpoint of the table as it is, and removes all entries of the log from before. Older versions cannot be
    /// opened afterwards. What it is interrupted in, the next call finishes.
    ///
    /// # Errors
    /// [`Error::Delta`] and [`Error::ObjectStore`] when the store cannot be read or written.
    pub(crate) async fn forget_history(&mut self, app_id: &str) -> Result<Forgotten> {
        if self.history.is_held() {
            return Err(Error::Conflict(
                "a backup keeps the logs of tables: come again when it is done".into(),
            ));
        }
        let version = self.version();
        let mut table = DeltaTable::new(self.log_store.clone());
        table.state = Some(self.state.clone());
        create_checkpoint(&table, None).await?;
        // What this value knows must not stand on what is removed.
        self.reload(app_id).await?;
        fail::fail_point!("history-before-removal");
        let store = self.log_store.object_store(None);
        let listed: Vec<ObjectMeta> = store.list(Some(&Path::from(LOG))).try_collect().await?;
        let mut forgotten = Forgotten::default();
        for object in listed {
            match version_of(&object.location) {
                Some(of) if of < version => {
                    store.delete(&object.location).await?;
                    forgotten.removed.push(object.size);
                }
                None if object.location.filename() != Some("_last_checkpoint") => {
                    forgotten.unknown.push(object.location);
                }
                _ => forgotten.left.push(object.size),
            }
        }
        Ok(forgotten)
    }
}

/// The version in the name of an object of a log.
pub(super) fn version_of(location: &Path) -> Option<u64> {
    let (digits, _) = location.filename()?.split_once('.')?;
    (digits.len() == 20).then(|| digits.parse().ok()).flatten()
}
