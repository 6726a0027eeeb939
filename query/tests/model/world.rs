//! An engine on a simulated disk, and what it must hold.

use std::collections::BTreeMap;
use std::hash::Hasher;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use query::{ExternalTables, QueryService, Settings, Source};
use storage::clock::WallClock;
use storage::disk::sim::SimDisk;
use storage::engine::{Committer, Engine, EngineConfig, is_in_use};
use storage::log::EncodedBatch;
use storage::model::{DatabaseName, FieldType, FieldValue, Timestamp};
use storage::object::{DurableLocalStore, FaultyStore, StoreFaults, TableStore};
use storage::vacuum::VacuumConfig;
use tempfile::TempDir;

use super::aside::Aside;
use super::check;
use super::generate::TABLES;
use super::lines::Line;
use super::operation::{End, Operation};
use super::question::{Question, Shape};
use super::reference::{self, Reference};
use super::retention::{self, Undecided};
use super::runs;
use super::sent::{Sent, Written};

/// The database of all tables.
pub(crate) const DATABASE: &str = "building";

/// Segments this small are rotated and recycled all the time.
pub(super) const SEGMENT_BYTES: u64 = 12 << 10;

pub(crate) struct World {
    /// Only the lock and the spill of queries are here; everything durable is on the simulated disk.
    folder: TempDir,
    disk: SimDisk,
    faults: Arc<StoreFaults>,
    node: Option<Node>,
    seed: u64,
    /// The time by which rows expire.
    pub(super) now: Arc<AtomicI64>,
    /// Failures of the disk when the node was opened: later ones excuse what fails.
    failures: u64,
    store_fails: bool,
    store_is_down: bool,
    pub(super) reference: Reference,
    /// A retention that was declared and may not be durable.
    pub(super) undecided_retention: Option<Undecided>,
    /// A write that was sent and not acknowledged: after the restart it is there, or it is not.
    undecided: Option<Sent>,
    /// What is in the quarantine.
    pub(super) aside: Aside,
    history: std::hash::DefaultHasher,
    /// How often each thing happened, to see that it does.
    tally: Tally,
}

/// Counts by what they count.
pub(crate) type Tally = BTreeMap<String, u64>;

struct Node {
    service: QueryService,
    engine: Engine,
    committer: Committer,
}

impl World {
    pub(crate) async fn new(seed: u64) -> Self {
        let mut world = Self {
            folder: TempDir::new().unwrap(),
            disk: SimDisk::new(seed),
            faults: Arc::new(StoreFaults::new(seed)),
            node: None,
            seed,
            now: Arc::new(AtomicI64::new(retention::BEGINNING)),
            failures: 0,
            store_fails: false,
            store_is_down: false,
            reference: Reference::default(),
            undecided_retention: None,
            undecided: None,
            aside: Aside::default(),
            history: std::hash::DefaultHasher::new(),
            tally: Tally::default(),
        };
        world.node = Some(world.open().await.unwrap());
        world
    }

    /// A number that stands for all that has happened.
    pub(crate) fn trace(&self) -> u64 {
        self.history.finish()
    }

    pub(crate) fn tally(self) -> Tally {
        self.tally
    }

    pub(super) fn count(&mut self, what: impl Into<String>) {
        *self.tally.entry(what.into()).or_default() += 1;
    }

    /// Does one step. The error says what is wrong with the engine.
    pub(crate) async fn run(&mut self, operation: &Operation) -> Result<(), String> {
        match operation {
            Operation::Write(lines) => {
                self.write(Sent::Lines(self.fitting(lines)))?;
            }
            Operation::SetAside(lines) => self.set_aside(lines).await?,
            Operation::Replay(count) => self.replay(*count).await?,
            Operation::DropAside(count) => self.drop_aside(*count).await?,
            Operation::WriteUnsynced(lines, end) => {
                self.write_unsynced(Sent::Lines(self.fitting(lines)), *end).await?;
            }
            Operation::Delete(deletion) => self.delete(deletion).await?,
            Operation::DeleteUnsynced(deletion, end) => {
                self.write_unsynced(Sent::Deletion(deletion.clone()), *end).await?;
            }
            Operation::Flush => {
                let series = self.engine().series().len();
                let flushed = self.engine().flush().await;
                if self.engine().series().len() < series {
                    self.count("series forgotten");
                }
                self.excuse("flush", flushed)?;
            }
            Operation::FlushDue => {
                let flushed = self.engine().flush_due().await;
                if runs::are_waiting(self.engine()) {
                    self.count("runs waiting");
                }
                self.excuse("flush due", flushed)?;
            }
            Operation::Compact => {
                let merged = self.engine().compact(true).await;
                if merged.as_ref().is_ok_and(|merges| *merges > 0) {
                    self.count("merged");
                }
                self.excuse("compact", merged.map(|_| ()))?;
            }
            Operation::Vacuum => {
                let removed = self.engine().vacuum().await;
                if removed.as_ref().is_ok_and(|removed| removed.objects > 0) {
                    self.count("vacuumed");
                }
                self.excuse("vacuum", removed.map(|_| ()))?;
            }
            Operation::Erase => self.erase().await?,
            Operation::Ask(question) => self.ask(question).await?,
            Operation::AskAll => self.ask_all().await?,
            Operation::StoreFails(percent) => {
                self.faults.set_percent(*percent);
                self.store_fails = *percent > 0;
            }
            Operation::StoreDown(down) => {
                self.faults.set_down(*down);
                self.store_is_down = *down;
            }
            Operation::DiskFails(operation, skip) => self.disk.fail(*operation, *skip),
            Operation::DiskFull(room) => {
                self.disk.set_capacity(room.map(|room| self.disk.used_bytes() + room));
            }
            Operation::PowerOffAfter(changes) => self.disk.turn_off_after(*changes),
            Operation::Restart(end, again) => self.restart(*end, *again).await?,
            Operation::Pass(nanos) => {
                self.now.fetch_add(*nanos, Ordering::Relaxed);
            }
            Operation::Keep(table, hours) => self.keep(table, *hours)?,
            Operation::DropExpired => self.drop_expired().await?,
        }
        if self.disk.is_off() {
            self.count("power off in between");
            self.restart(End::PowerCut, None).await?;
        }
        self.history.write_u64(self.disk.trace());
        self.history.write_u64(self.disk.failures());
        Ok(())
    }

    fn node(&self) -> &Node {
        self.node.as_ref().expect("a restart ends with an open engine")
    }

    /// What the engine has, for a report.
    pub(crate) fn describe(&self) -> String {
        let Some(node) = &self.node else { return "  no engine is open".into() };
        let snapshot = node.engine.snapshot();
        let mut text = format!("  as of {:?}, log {:?}", snapshot.sequence(), node.engine.log_extent());
        for (id, view) in snapshot.tables() {
            text += &format!("\n  table {id}: {} rows in memory", view.memory_rows());
            for file in &view.files {
                let (rows, sequences, deleted) = (file.rows, file.sequences, file.deleted_up_to);
                text += &format!("\n    {} {rows} rows, {sequences:?}, deleted up to {deleted:?}", file.path);
            }
            view.tombstones.iter().for_each(|tombstone| text += &format!("\n    {tombstone:?}"));
        }
        text
    }

    pub(super) fn engine(&self) -> &Engine {
        &self.node().engine
    }

    fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub(super) fn aside_folder(&self) -> PathBuf {
        self.folder.path().join("aside")
    }

    /// All that is durable but for the quarantine: the disk, and the folder that holds everything.
    pub(super) fn medium(&self) -> (&SimDisk, &Path) {
        (&self.disk, self.folder.path())
    }

    pub(super) fn committer(&self) -> &Committer {
        &self.node().committer
    }

    async fn open(&self) -> storage::Result<Node> {
        self.until_nobody_has_the_folder().await;
        let disk = Arc::new(self.disk.clone());
        let tables = DurableLocalStore::open_on(&self.folder.path().join("store"), disk.clone())?;
        let store = FaultyStore::new(Arc::new(tables), Arc::clone(&self.faults));
        let mut config = EngineConfig::new(self.data_dir());
        config.segment_bytes = SEGMENT_BYTES;
        config.background = false;
        runs::configure(&mut config, self.seed);
        config.compaction.cpu_percent = 100;
        config.store.tables = TableStore::Given(Arc::new(store));
        config.vacuum = VacuumConfig { min_age: Duration::ZERO, keep_replaced: Duration::ZERO };
        // Some flushes are saved, some are not.
        config.last_values.save_files = 2;
        config.disk = disk;
        let now = Arc::clone(&self.now);
        config.clock = WallClock::of(move || Timestamp::from_nanos(now.load(Ordering::Relaxed)));
        let (engine, committer) = Engine::open(config).await?;
        engine.catalog().create_database(&DatabaseName::new(DATABASE).unwrap())?;
        retention::declare_tables(engine.catalog(), self.seed)?;
        let mut settings = Settings::new(self.folder.path().join("spill"));
        settings.threads = 2;
        settings.deadline = Duration::from_secs(600);
        let source = Source { engine: engine.clone(), external: ExternalTables::default() };
        let service = QueryService::new(source, settings).unwrap();
        Ok(Node { service, engine, committer })
    }

    /// Passes over an error that a fault has brought about.
    pub(super) fn excuse<E: std::fmt::Display + std::fmt::Debug>(
        &mut self,
        what: &str,
        done: Result<(), E>,
    ) -> Result<(), String> {
        self.history.write_u8(u8::from(done.is_ok()));
        self.count(format!("{what} {}", if done.is_ok() { "done" } else { "failed" }));
        match done {
            Err(error) if !self.is_faulty() => {
                Err(format!("{what} fails without a fault: {error}: {error:?}"))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Whether anything has failed or was turned off since the engine was opened.
    pub(super) fn is_faulty(&self) -> bool {
        self.store_fails || self.store_is_down || self.disk.is_off() || self.disk.failures() > self.failures
    }

    /// Commits a batch, and with it every definition that waits.
    pub(super) fn commit_batch(&mut self, batch: EncodedBatch) -> Written {
        let node = self.node.as_mut().expect("a restart ends with an open engine");
        let appended = match node.committer.append(vec![batch]) {
            Ok(appended) => appended,
            Err(error) => return Written::Refused(error),
        };
        match appended.sync() {
            Ok(durable) => {
                durable.publish();
                self.undecided_retention = None;
                Written::Acknowledged
            }
            Err(error) => Written::Unsynced(error),
        }
    }

    /// Writes and returns whether that was acknowledged.
    pub(super) fn write(&mut self, sent: Sent) -> Result<bool, String> {
        let batch = sent.batch(self.engine());
        self.write_batch(batch, sent)
    }

    /// Writes `batch`, which stands for `sent`.
    pub(super) fn write_batch(&mut self, batch: EncodedBatch, sent: Sent) -> Result<bool, String> {
        let done = match self.commit_batch(batch) {
            Written::Acknowledged => {
                sent.apply(&mut self.reference);
                return self.excuse("write", Ok::<(), storage::Error>(())).map(|()| true);
            }
            Written::Refused(error) => {
                if matches!(error, storage::Error::LogPoisoned(_)) && self.engine().log_fault().is_none() {
                    return Err("the log takes no writes and the engine does not say why (LOG-4)".into());
                }
                self.excuse("write", Err(error))
            }
            Written::Unsynced(error) => {
                assert!(self.undecided.is_none(), "a log that failed to sync takes no more (LOG-4)");
                self.undecided = Some(sent);
                self.excuse("write", Err(error))
            }
        };
        done.map(|()| false)
    }

    async fn write_unsynced(&mut self, sent: Sent, end: End) -> Result<(), String> {
        let node = self.node.as_mut().expect("a restart ends with an open engine");
        let batch = sent.batch(&node.engine);
        let is_appended = node.committer.append(vec![batch]).is_ok();
        if is_appended {
            assert!(self.undecided.is_none(), "a log that failed to sync takes no more (LOG-4)");
            self.undecided = Some(sent);
        }
        self.restart(if end == End::Close { End::Kill } else { end }, None).await
    }

    /// The lines with integers where their field is not known yet: it is born as one.
    pub(super) fn fitting(&self, lines: &[Line]) -> Vec<Line> {
        let mut lines = lines.to_vec();
        for line in &mut lines {
            let schema = self.engine().catalog().table(DATABASE, &line.table);
            let known = schema.and_then(|schema| Some(schema.fields[schema.field("n")?].narrow.field_type));
            for (name, value) in &mut line.fields {
                if name == "n"
                    && known != Some(FieldType::Integer)
                    && let FieldValue::Float(float) = value
                {
                    #[expect(clippy::cast_possible_truncation, reason = "values of the model are small")]
                    let whole = float.floor() as i64;
                    *value = FieldValue::Integer(whole);
                }
            }
        }
        lines
    }

    async fn ask(&mut self, question: &Question) -> Result<(), String> {
        let mut columns = question.test.columns().to_vec();
        if matches!(question.shape, Shape::Totals) {
            columns.push("t");
        }
        let node = self.node();
        if !check::has_columns(&node.engine, &question.table, &columns) {
            return Ok(());
        }
        let rows = self.reference.rows(&question.table, self.now.load(Ordering::Relaxed));
        let answer = check::ask(&node.service, question, rows).await;
        check::settle(&node.engine).await;
        match answer {
            Ok(compared) => {
                self.count("query answered");
                compared
            }
            Err(error) => self.excuse("query", Err(error)),
        }
    }

    pub(super) async fn ask_all(&mut self) -> Result<(), String> {
        match self.differs_from(&self.reference).await {
            Ok(compared) => {
                self.count("query answered");
                compared
            }
            Err(error) => self.excuse("query", Err(error)),
        }
    }

    /// Compares all tables. The outer error is the engine's.
    async fn differs_from(&self, reference: &Reference) -> query::Result<Result<(), String>> {
        let node = self.node();
        for table in TABLES {
            let expected = reference.rows(table, self.now.load(Ordering::Relaxed));
            if !check::has_columns(&node.engine, table, &[]) {
                if expected.is_empty() {
                    continue;
                }
                return Ok(Err(format!("the table {table} is gone")));
            }
            let found = check::rows(&node.service, &format!("SELECT * FROM \"{table}\"")).await;
            check::settle(&node.engine).await;
            let compared = check::unique(found?).and_then(|found| check::compare(&found, &expected));
            if let Err(why) = compared {
                return Ok(Err(format!("all of {table}: {why}")));
            }
            let found = check::latest(&node.service, table, "true").await;
            check::settle(&node.engine).await;
            let compared = found?.and_then(|found| check::compare(&found, &reference::latest(&expected)));
            if let Err(why) = compared {
                return Ok(Err(format!("last values of {table}: {why}")));
            }
        }
        Ok(Ok(()))
    }

    async fn restart(&mut self, end: End, again: Option<u64>) -> Result<(), String> {
        let Node { service, engine, mut committer } = self.node.take().expect("an engine was open");
        drop(service);
        if end == End::Close {
            let confirmed = committer.confirm();
            drop(committer);
            let closed = engine.close().await;
            self.excuse("close", confirmed.and(closed))?;
        } else {
            drop(committer);
        }
        self.aside.close();
        self.count(format!("{end:?}"));
        self.disk = if end == End::PowerCut { self.disk.power_cut() } else { self.disk.kill() };
        drop(engine);
        self.disk.set_capacity(None);
        self.faults.set_down(false);
        self.faults.set_percent(0);
        (self.store_fails, self.store_is_down) = (false, false);
        if let Some(changes) = again {
            self.disk.turn_off_after(changes);
            let opened = tokio::select! {
                biased;
                opened = self.open() => opened.map(drop),
                // A start waits for a store that does not answer, here for ever.
                () = self.power_off() => Ok(()),
            };
            if self.disk.is_off() {
                self.count("start cut short");
            } else {
                opened.map_err(|error| format!("the engine does not start: {error}"))?;
            }
            self.disk = self.disk.power_cut();
        }
        let node = self.open().await.map_err(|error| format!("the engine does not start: {error}"))?;
        self.node = Some(node);
        self.failures = self.disk.failures();
        self.no_traces()?;
        self.decide_retention()?;
        self.decide().await
    }

    /// Waits for what a start that was cut short has left on other threads: it keeps the folder for a moment.
    async fn until_nobody_has_the_folder(&self) {
        let deadline = storage::clock::instant() + Duration::from_secs(10);
        while is_in_use(&self.data_dir()) && storage::clock::instant() < deadline {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Waits until the disk is off.
    async fn power_off(&self) {
        while !self.disk.is_off() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// What was acknowledged is there, and what was not as a whole or not at all.
    async fn decide(&mut self) -> Result<(), String> {
        let without = self.differs_from(&self.reference).await.map_err(|error| error.to_string())?;
        let Some(sent) = self.undecided.take() else { return without };
        if without.is_ok() {
            self.count("unacknowledged write is gone");
            self.history.write_u8(0);
            return Ok(());
        }
        let mut with = self.reference.clone();
        sent.apply(&mut with);
        let compared = self.differs_from(&with).await.map_err(|error| error.to_string())?;
        compared.map_err(|why| format!("with the unacknowledged write: {why}; without: {without:?}"))?;
        self.count("unacknowledged write is there");
        self.history.write_u8(1);
        self.reference = with;
        Ok(())
    }
}
