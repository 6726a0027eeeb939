//! The shared nouns: names, ids, times, values, schemas and batches.
//!
//! Invariant: nothing here does input or output, and nothing here can be in a state that the rest of the
//! engine must check again: a [`DatabaseName`] is a valid name, a [`TableBatch`] has columns of equal length.

mod batch;
mod delete;
mod file;
mod id;
mod name;
mod property;
mod schema;
mod time;
mod value;

pub use batch::{Change, FieldColumn, TableBatch, WriteBatch};
pub use delete::{Delete, TagTest};
pub use file::{DataFile, FilePlace, SequenceRange};
pub use id::{ColumnId, FrameNumber, Sequence, SeriesId, TableId};
pub use name::{DatabaseName, NameError, TableName, check_column_name};
pub use property::{Partition, PropertyError, Retention, Scale};
pub use schema::{FieldSchema, PhysicalColumn, TIME_COLUMN, TableSchema, TagSchema};
pub use time::{TimeRange, Timestamp};
pub use value::{FieldType, FieldValue, ValueRef};
