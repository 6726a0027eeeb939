//! Deletes: which rows of which tables are hidden from a sequence on.
//!
//! Invariant: a delete looks at nothing but the identity of a row (table, tags, time), so it hides every version of a
//! point or none, and may act below last-write-wins (VIEW-2).

use serde::{Deserialize, Serialize};

use super::{TableId, TimeRange};

/// Rows to be hidden. It has the sequence of its batch, and hides only rows of earlier batches (DEL-1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delete {
    /// The tables.
    pub tables: Vec<TableId>,
    /// The times of the rows.
    pub times: TimeRange,
    /// What their tags must be; all of it must hold.
    pub tags: Vec<TagTest>,
}

impl Delete {
    /// Bytes that it takes in memory.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let tags = self.tags.iter().map(|test| size_of::<TagTest>() + test.tag.len() + test.value.len());
        size_of::<Self>() + self.tables.len() * size_of::<TableId>() + tags.sum::<usize>()
    }
}

/// A tag that must have a value, or must not. It is named and not numbered, so that it holds also for a table that
/// gets the tag later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TagTest {
    /// The name of the tag.
    pub tag: String,
    /// The value. A row without the tag has the empty one.
    pub value: String,
    /// Whether the tag must have the value; else it must have another.
    pub equal: bool,
}

impl TagTest {
    /// A test that a tag has a value.
    #[must_use]
    pub fn is(tag: impl Into<String>, value: impl Into<String>) -> Self {
        Self { tag: tag.into(), value: value.into(), equal: true }
    }

    /// Whether it holds for a row whose tag has this value, or none.
    #[must_use]
    pub fn holds(&self, value: Option<&str>) -> bool {
        (value.unwrap_or_default() == self.value) == self.equal
    }
}
