//! An engine in a folder of its own, a writer, and the query service over it.

use std::path::PathBuf;

use arrow::array::RecordBatch;
use futures::TryStreamExt;
use query::{ExternalTables, QueryService, Result, Settings, Source};
use storage::clock::WallClock;
use storage::engine::{Committer, Engine, EngineConfig};
use storage::log::encode_batch;
use storage::model::{Delete, TableId, TagTest, TimeRange, Timestamp, WriteBatch};
use tempfile::TempDir;

use super::lines::{self, Line};

/// The database of all tests.
pub(crate) const DATABASE: &str = "building";

pub(crate) struct World {
    pub(crate) service: QueryService,
    pub(crate) engine: Engine,
    committer: Committer,
    folder: TempDir,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(ExternalTables::default(), |_| {}).await
    }

    pub(crate) async fn with(external: ExternalTables, change: impl FnOnce(&mut Settings)) -> Self {
        Self::with_engine(external, change, |_| {}).await
    }

    /// A world in which it is `now`.
    pub(crate) async fn at(now: WallClock) -> Self {
        Self::with_engine(ExternalTables::default(), |_| {}, |config| config.clock = now).await
    }

    /// One whose engine does not have the defaults.
    pub(crate) async fn with_engine(
        external: ExternalTables,
        change: impl FnOnce(&mut Settings),
        change_engine: impl FnOnce(&mut EngineConfig),
    ) -> Self {
        let folder = TempDir::new().unwrap();
        let mut config = EngineConfig::new(folder.path().join("data"));
        config.segment_bytes = 1 << 20;
        config.compaction.enabled = false;
        change_engine(&mut config);
        let (engine, committer) = Engine::open(config).await.unwrap();
        engine.catalog().create_database(&storage::model::DatabaseName::new(DATABASE).unwrap()).unwrap();
        let mut settings = Settings::new(folder.path().join("spill"));
        settings.threads = 2;
        change(&mut settings);
        let source = Source { engine: engine.clone(), external };
        let service = QueryService::new(source, settings).unwrap();
        Self { service, engine, committer, folder }
    }

    /// Writes the lines as one batch.
    pub(crate) fn write(&mut self, lines: &[Line]) {
        let batch = lines::batch(DATABASE, lines, self.engine.catalog(), self.engine.series());
        self.committer.append(vec![batch]).unwrap().sync().unwrap().publish();
    }

    /// Writes lines of text as one batch.
    pub(crate) fn write_text(&mut self, text: &str) {
        let lines: Vec<Line> = text.lines().map(lines::parse).collect();
        self.write(&lines);
    }

    /// Deletes the rows of a table within some times, of all tags or of one.
    pub(crate) fn delete(&mut self, table: &str, (min, max): (i64, i64), tag: Option<(&str, &str)>) {
        let delete = Delete {
            tables: vec![self.engine.catalog().table(DATABASE, table).unwrap().id],
            times: TimeRange::new(Timestamp::from_nanos(min), Timestamp::from_nanos(max)),
            tags: tag.map(|(tag, value)| TagTest::is(tag, value)).into_iter().collect(),
        };
        let encoded = encode_batch(WriteBatch::of_deletes(vec![delete])).unwrap();
        self.committer.append(vec![encoded]).unwrap().sync().unwrap().publish();
    }

    /// Moves all rows into files of the tables.
    pub(crate) async fn flush(&self) {
        self.engine.flush().await.unwrap();
    }

    /// Moves all rows into staged files: the folder of the tables cannot be written meanwhile.
    pub(crate) async fn stage(&self) {
        let (tables, aside) = (self.data().join("tables"), self.data().join("aside"));
        std::fs::create_dir_all(&tables).unwrap();
        std::fs::rename(&tables, &aside).unwrap();
        std::fs::write(&tables, "not a folder").unwrap();
        let held = self.engine.memory_bytes() > 0;
        let staged = self.engine.flush().await;
        assert!(staged.is_err() || !held, "no table can be written");
        std::fs::remove_file(&tables).unwrap();
        std::fs::rename(&aside, &tables).unwrap();
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub(crate) async fn query(&self, sql: &str) -> Result<Vec<RecordBatch>> {
        let result = self.service.query(Some(DATABASE), sql).await?;
        result.batches.try_collect().await
    }

    /// The number of files and of rows in memory of a table.
    pub(crate) fn shape(&self, table: &str) -> (usize, usize) {
        let id: TableId = self.engine.catalog().table(DATABASE, table).unwrap().id;
        let snapshot = self.engine.snapshot();
        snapshot.table(id).map_or((0, 0), |view| (view.files.len(), view.memory_rows()))
    }
}
