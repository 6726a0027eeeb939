//! What is sent to the engine in one batch.

use storage::engine::Engine;
use storage::log::{EncodedBatch, encode_batch};
use storage::model::{Delete, TimeRange, Timestamp, WriteBatch};

use super::generate::TABLES;
use super::lines::{self, Line};
use super::operation::Deletion;
use super::reference::Reference;
use super::world::DATABASE;

#[derive(Debug, Clone)]
pub(crate) enum Sent {
    Lines(Vec<Line>),
    Deletion(Deletion),
}

/// How far a write came.
pub(crate) enum Written {
    Acknowledged,
    /// Nothing of it is in the log.
    Refused(storage::Error),
    /// It is in the log, and nobody knows whether it is durable.
    Unsynced(storage::Error),
}

impl Sent {
    pub(crate) fn apply(&self, reference: &mut Reference) {
        match self {
            Self::Lines(lines) => reference.apply(lines),
            Self::Deletion(deletion) => reference.delete(deletion),
        }
    }

    /// As the engine takes it.
    pub(crate) fn batch(&self, engine: &Engine) -> EncodedBatch {
        let deletion = match self {
            Self::Lines(lines) => return lines::batch(DATABASE, lines, engine.catalog(), engine.series()),
            Self::Deletion(deletion) => deletion,
        };
        let tables = TABLES.iter().filter(|table| deletion.is_of(table));
        let tables =
            tables.filter_map(|table| engine.catalog().table(DATABASE, table)).map(|schema| schema.id);
        let (from, to) = deletion.times;
        let times = TimeRange::new(Timestamp::from_nanos(from), Timestamp::from_nanos(to));
        let delete = Delete { tables: tables.collect(), times, tags: deletion.tags.clone() };
        encode_batch(WriteBatch::of_deletes(vec![delete])).unwrap()
    }
}
