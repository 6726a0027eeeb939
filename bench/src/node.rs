//! A node without doors: an engine, its writer and its intake, in a folder that goes with it.
//!
//! Invariants: every row is written by the way of a request, from the intake through ring, writer and log; a
//! flush happens only when it is asked for, so that none falls into a measurement.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ingest::intake::{Intake, LinesRequest, Mode, Protocol};
use ingest::line_protocol::Precision;
use ingest::ring::Ring;
use ingest::writer::Writer;
use storage::catalog::TableDeclaration;
use storage::engine::{Engine, EngineConfig};
use storage::model::{DatabaseName, Scale, TableName, TableSchema};
use storage::view::TableView;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use crate::data::{DATABASE, SCALES, TABLE};
use crate::error::{Error, Result};

/// Bytes in memtables before rows are refused: the largest benchmark holds a million rows of 44 bytes there.
const MEMORY_BYTES: usize = 1 << 30;

/// Bytes of a segment of the log. Smaller than the engine's default, because every node writes its first one
/// with zeros, and large enough that a new one is rare.
const SEGMENT_BYTES: u64 = 16 << 20;

/// Longer than any run.
const NEVER: Duration = Duration::from_secs(86_400);

/// A running node. Dropping it ends its writer and removes its folder; rows in memory are not flushed.
#[derive(Debug)]
pub struct Node {
    runtime: Runtime,
    intake: Intake,
    /// `None` only while the node is dropped.
    writer: Option<Writer>,
    folder: Arc<TempDir>,
}

impl Node {
    /// Starts an empty node in the temporary folder.
    ///
    /// # Errors
    /// When folder, threads or engine cannot be had.
    pub fn start() -> Result<Self> {
        Self::start_with(|config| {
            config.segment_bytes = SEGMENT_BYTES;
            config.flush_bytes = MEMORY_BYTES;
            config.flush_age = NEVER;
            config.memory_limit = MEMORY_BYTES;
        })
    }

    /// Starts an empty node in the temporary folder, with an engine that is set by `adjust`.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_with(adjust: impl FnOnce(&mut EngineConfig)) -> Result<Self> {
        Self::open(Arc::new(tempfile::tempdir()?), adjust)
    }

    /// Stops the node as a server stops, which flushes its rows, and starts it again on its folder.
    ///
    /// # Errors
    /// As [`start`](Self::start), and when the last flush fails.
    pub fn restarted(mut self, adjust: impl FnOnce(&mut EngineConfig)) -> Result<Self> {
        if let Some(writer) = self.writer.take() {
            writer.stop();
        }
        self.runtime.block_on(self.engine().close())?;
        let folder = Arc::clone(&self.folder);
        drop(self);
        Self::open(folder, adjust)
    }

    fn open(folder: Arc<TempDir>, adjust: impl FnOnce(&mut EngineConfig)) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let mut config = EngineConfig::new(folder.path().join("data"));
        adjust(&mut config);
        let (engine, committer) = runtime.block_on(Engine::open(config))?;
        let ring = Arc::new(Ring::default());
        let writer = Writer::start(committer, Arc::clone(&ring), Arc::default())?;
        let intake = Intake::new(engine, ring, true);
        Ok(Self { runtime, intake, writer: Some(writer), folder })
    }

    /// Declares the scales of the data's floats, before the first row.
    ///
    /// # Errors
    /// When the table cannot be made.
    pub fn declare_scales(&self) -> Result<()> {
        let mut scales = Vec::with_capacity(SCALES.len());
        for (field, digits) in SCALES {
            scales.push((field.into(), Scale::new(digits).map_err(storage::Error::from)?));
        }
        let (database, table) = (DatabaseName::new(DATABASE)?, TableName::new(TABLE)?);
        let wanted = TableDeclaration { database, table, retention: None, partition: None, scales };
        self.engine().catalog().declare_table(&wanted)?;
        Ok(())
    }

    /// Writes the bodies, over so many connections that each send one and wait for its acknowledgement.
    /// Returns the rows, which are durable and visible.
    ///
    /// # Errors
    /// When a body is not written, or a line of it is refused.
    pub fn write(&self, bodies: &[Bytes], connections: usize) -> Result<usize> {
        let connections = connections.max(1);
        self.runtime.block_on(async {
            let mut running = JoinSet::new();
            for first in 0..connections {
                let own: Vec<Bytes> = bodies.iter().skip(first).step_by(connections).cloned().collect();
                running.spawn(send(self.intake.clone(), own));
            }
            let mut rows = 0;
            while let Some(ended) = running.join_next().await {
                rows += ended??;
            }
            Ok(rows)
        })
    }

    /// Moves all rows from memory into files of their table.
    ///
    /// # Errors
    /// The failure of disk or table log.
    pub fn flush(&self) -> Result<()> {
        Ok(self.runtime.block_on(self.engine().flush())?)
    }

    /// The engine.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        self.intake.engine()
    }

    /// The schema of the data's table, and what it holds now; `None` before the first row.
    #[must_use]
    pub fn table(&self) -> Option<(Arc<TableSchema>, Arc<TableView>)> {
        let schema = self.engine().catalog().table(DATABASE, TABLE)?;
        let view = Arc::clone(self.engine().snapshot().table(schema.id)?);
        Some((schema, view))
    }

    /// The runtime of the node's requests.
    #[must_use]
    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// The node's folder.
    #[must_use]
    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(writer) = self.writer.take() {
            writer.stop();
        }
    }
}

/// One connection: sends its bodies one after the other.
async fn send(intake: Intake, bodies: Vec<Bytes>) -> Result<usize> {
    let database = DatabaseName::new(DATABASE)?;
    let mut rows = 0;
    for body in bodies {
        let (database, precision, mode) = (database.clone(), Precision::Nanosecond, Mode::Partial);
        let protocol = Protocol::V3;
        let written = intake.write_lines(LinesRequest { database, body, precision, mode, protocol }).await?;
        if let Some(refused) = written.rejected.into_iter().next() {
            return Err(Error::Refused { number: refused.number, line: refused.line });
        }
        rows += written.rows;
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::Node;
    use crate::data::Fleet;
    use crate::error::Error;

    #[test]
    fn rows_come_through_the_intake_and_stay_in_memory_until_the_flush() {
        let node = Node::start().unwrap();
        assert!(node.table().is_none());
        assert_eq!(node.write(&Fleet::shuffled(30).bodies(0..10, 7), 3).unwrap(), 300);
        let (_, view) = node.table().unwrap();
        assert_eq!((view.files.len(), view.memory_rows()), (0, 300));
        node.flush().unwrap();
        let (_, view) = node.table().unwrap();
        assert_eq!((view.files.len(), view.memory_rows()), (1, 0));
    }

    #[test]
    fn a_restart_keeps_the_rows() {
        let node = Node::start().unwrap();
        assert_eq!(node.write(&Fleet::steady(30).bodies(0..10, 7), 1).unwrap(), 300);
        let node = node.restarted(|_| ()).unwrap();
        let (_, view) = node.table().unwrap();
        assert_eq!((view.files.len(), view.memory_rows()), (1, 0));
    }

    #[test]
    fn a_line_that_is_refused_is_an_error_and_not_a_faster_run() {
        let node = Node::start().unwrap();
        let refused = node.write(&["climate temp=1 1\nclimate temp= 2".into()], 1);
        assert!(matches!(refused, Err(Error::Refused { number: 2, .. })), "{refused:?}");
    }
}
