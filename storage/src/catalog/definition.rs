//! Definitions: the records that say what an id in the log means, and the queue on their way there.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use crate::model::{
    ColumnId, DatabaseName, Partition, PhysicalColumn, Retention, SeriesId, TableId, TableName, TagSchema,
};
use crate::series::SeriesKey;

/// What an id means. A definition stands in or before the first frame that uses the id (KEY-3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Definition {
    /// A database was made.
    Database {
        /// Its name.
        name: DatabaseName,
    },
    /// A table was made.
    Table {
        /// Its id.
        id: TableId,
        /// The database that it belongs to.
        database: DatabaseName,
        /// Its name.
        name: TableName,
        /// How its files are kept apart.
        partition: Partition,
    },
    /// A tag was born; its position is the number of tags before it.
    Tag {
        /// The table.
        table: TableId,
        /// The tag.
        tag: TagSchema,
    },
    /// A field was born.
    Field {
        /// The table.
        table: TableId,
        /// The field's name.
        name: Arc<str>,
        /// Its narrow column.
        column: PhysicalColumn,
    },
    /// A field got its float column.
    Widened {
        /// The table.
        table: TableId,
        /// The field's name.
        name: Arc<str>,
        /// Its wide column.
        column: PhysicalColumn,
    },
    /// A series was seen for the first time.
    Series {
        /// Its id.
        id: SeriesId,
        /// The table.
        table: TableId,
        /// The canonical key: see [`crate::series`].
        key: SeriesKey,
    },
    /// Ids below these were given, also where their definitions were lost with damaged frames: they are never
    /// given again (KEY-2).
    Given {
        /// The next series.
        series: SeriesId,
        /// The next table.
        table: TableId,
    },
    /// The same for the columns of one table.
    GivenColumns {
        /// The table.
        table: TableId,
        /// Its next column.
        column: ColumnId,
    },
    /// How long rows of a database are kept, from now on; `None`: nothing is said any more.
    DatabaseRetention {
        /// The database.
        database: DatabaseName,
        /// What it says.
        retention: Option<Retention>,
    },
    /// How long rows of a table are kept, from now on; `None`: as long as its database says.
    TableRetention {
        /// The table.
        table: TableId,
        /// What it says.
        retention: Option<Retention>,
    },
    /// What is known of a table's retention was declared after the loss of definitions of which `lost` was the
    /// [`Given::series`](Self::Given).
    TableRetentionKnown {
        /// The table.
        table: TableId,
        /// The loss.
        lost: SeriesId,
    },
    /// The same for a database.
    DatabaseRetentionKnown {
        /// The database.
        database: DatabaseName,
        /// The loss.
        lost: SeriesId,
    },
    /// Where a table lies that nodes share: the same folder for each of them, whatever id it has here.
    TableFolder {
        /// The table.
        table: TableId,
        /// Its folder in the store of tables.
        folder: Arc<str>,
    },
}

impl Definition {
    /// Whether it says how long rows are kept, or that this is known.
    pub(crate) const fn is_retention(&self) -> bool {
        matches!(
            self,
            Self::DatabaseRetention { .. }
                | Self::TableRetention { .. }
                | Self::TableRetentionKnown { .. }
                | Self::DatabaseRetentionKnown { .. }
        )
    }
}

/// Definitions that are visible to sources and not yet in the log.
///
/// Invariant: a definition is pushed before its id is visible, and the writer drains the queue after it took
/// the batches of a group; so the group's frame holds every definition that its batches can need.
#[derive(Debug, Default)]
pub struct DefinitionQueue {
    pending: Mutex<Vec<Definition>>,
    /// Retentions that were declared and are not durable yet.
    unsynced_retentions: AtomicUsize,
}

impl DefinitionQueue {
    /// Adds a definition. Call it before the id becomes visible.
    pub(crate) fn push(&self, definition: Definition) {
        self.extend(vec![definition]);
    }

    /// Adds definitions in their order. Call it before the ids become visible.
    pub(crate) fn extend(&self, definitions: Vec<Definition>) {
        let retentions = definitions.iter().filter(|definition| definition.is_retention()).count();
        self.unsynced_retentions.fetch_add(retentions, Ordering::AcqRel);
        self.pending.lock().extend(definitions);
    }

    /// Takes all pending definitions in the order of their birth.
    pub(crate) fn drain(&self) -> Vec<Definition> {
        std::mem::take(&mut *self.pending.lock())
    }

    /// Notes that so many retentions which were taken are durable.
    pub(crate) fn synced(&self, retentions: usize) {
        if retentions > 0 {
            self.unsynced_retentions.fetch_sub(retentions, Ordering::AcqRel);
        }
    }

    /// Whether every retention that anyone can see now survives a crash.
    pub(crate) fn retentions_are_durable(&self) -> bool {
        self.unsynced_retentions.load(Ordering::Acquire) == 0
    }

    /// Whether any definition waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pending.lock().is_empty()
    }
}
