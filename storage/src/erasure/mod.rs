//! Erasure: what deletes have hidden leaves every place where it may lie, now, and a report says so place by place.
//!
//! Which deletes: all that are visible when the job begins; sequences up to [`Report::up_to`]. The order of the steps is
//! what makes them enough:
//! 1. *memory*: a flush moves what is in memtables to files, without what is deleted.
//! 2. *data files*: each file that a delete still touches is written anew, even alone ([`crate::compaction`]).
//! 3. *deletes*: nothing needs them any more; their objects name tags, and go.
//! 4. *last values*: written anew, or made anew from files where a series has none left.
//! 5. *table logs*: a checkpoint, then everything before it goes: old versions say the least and the greatest value of each
//!    column ([`crate::delta`]).
//! 6. *replaced files*: objects that no table has any more go, whatever their age, once no query reads them.
//! 7. *staged files*, *read cache*.
//! 8. *log*: spares are overwritten, a segment is begun in one of them, and once rows are in tables and the consumers have
//!    seen them, all segments before it are retired and overwritten ([`crate::log`]).
//! 9. *definitions*: series that nothing refers to are forgotten, and the definitions written anew: they name tags.
//! 10. *quarantined segments* go. [`Neighbour`]s, and what is not known, are looked at.
//!
//! Invariants:
//! - There is no state of a job. Each step takes what it finds, so a job that was killed is finished by the next one.
//! - What cannot go now is in the report as [`Place::left`], and the report is not [complete](Report::is_complete). What
//!   stays on purpose is [`Place::kept`].
//! - A query never loses a file that it reads: the job waits for it as long as it was told, then leaves the file.
//! - Nothing that is on its way into a table is removed: meanwhile no flush and no compaction runs; what another node may
//!   be putting stays for [`crate::vacuum::VacuumConfig::min_age`].
//! - While it runs no backup copies, and it does not begin while one does.

mod local;
mod log;
mod report;
mod tables;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::OwnedMutexGuard;

pub use self::report::{Amount, Place, Remnant, Report};

use crate::clock;
use crate::engine::{Engine, Shared};
use crate::error::{Error, Result};
use crate::model::{DataFile, Sequence, TableId, TableSchema};

/// How long a vacuum may hold what the job needs; a backup holds it longer.
const WAIT_FOR_REMOVAL: Duration = Duration::from_secs(10);

/// Between two looks at what the job waits for.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(50);

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The database whose tables are looked at; all if not given.
    pub database: Option<String>,
    /// The one table of it.
    pub table: Option<String>,
    /// How long each step waits for queries and consumers of the log.
    pub wait: Duration,
    /// What others keep in the data directory.
    pub neighbours: Vec<Neighbour>,
    /// The backups that are known, by place and name.
    pub backups: Vec<String>,
}

/// A folder or file of the data directory that is not the engine's.
#[derive(Debug, Clone)]
pub struct Neighbour {
    /// The place in the report.
    pub place: &'static str,
    /// Where it is, from the data directory.
    pub path: PathBuf,
    /// What is done about it.
    pub treatment: Treatment,
}

/// What is done about a place that is not the engine's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Treatment {
    /// It stays, and the report says why.
    Kept(&'static str),
    /// What is there when the job begins goes by itself; the job waits for that.
    Passing,
}

/// How far a job is.
#[derive(Debug, Default)]
pub struct Progress(Mutex<&'static str>);

impl Progress {
    /// The place that is looked at.
    #[must_use]
    pub fn place(&self) -> &'static str {
        *self.0.lock()
    }

    fn at(&self, place: &'static str) {
        *self.0.lock() = place;
    }
}

/// A job.
struct Job<'a> {
    engine: &'a Engine,
    shared: &'a Arc<Shared>,
    wanted: &'a Wanted,
    tables: Vec<Arc<TableSchema>>,
    up_to: Sequence,
    _removal: OwnedMutexGuard<()>,
}

impl Engine {
    /// Removes what deletes have hidden from everywhere. The answer is whole only if it [says so](Report::is_complete).
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no such table; [`Error::Conflict`] while a backup is taken; the first failure of
    /// disk or store, after which the job may be run again.
    pub async fn erase(&self, wanted: &Wanted, progress: &Progress) -> Result<Report> {
        let begun = clock::now().unix_millis();
        progress.at("backups");
        let job = Job::begin(self, wanted).await?;
        let passing = local::Passing::list(&job)?;
        let mut places = Vec::new();
        progress.at("memory");
        places.push(job.memory().await?);
        fail::fail_point!("erasure-after-memory");
        progress.at("data files");
        places.push(job.data_files().await?);
        fail::fail_point!("erasure-after-data-files");
        progress.at("deletes");
        places.push(job.deletes().await?);
        progress.at("last values");
        places.push(job.last_values().await?);
        fail::fail_point!("erasure-after-last-values");
        progress.at("table logs");
        places.push(job.table_logs().await?);
        fail::fail_point!("erasure-after-table-logs");
        progress.at("replaced files");
        places.push(job.replaced_files().await?);
        fail::fail_point!("erasure-after-replaced-files");
        places.push(job.staged_files().await?);
        places.push(job.read_cache().await?);
        progress.at("log");
        places.push(job.log().await?);
        fail::fail_point!("erasure-after-log");
        progress.at("definitions");
        places.push(job.definitions().await?);
        fail::fail_point!("erasure-after-definitions");
        places.push(job.quarantined_segments()?);
        progress.at("other places");
        places.extend(job.neighbours(passing).await?);
        places.push(job.unknown()?);
        places.push(job.backups());
        Ok(Report {
            up_to: job.up_to.get(),
            begun_unix_millis: begun,
            ended_unix_millis: clock::now().unix_millis(),
            database: wanted.database.clone(),
            table: wanted.table.clone(),
            places,
            unproven: report::unproven(self.config().store.is_remote()),
        })
    }
}

impl<'a> Job<'a> {
    async fn begin(engine: &'a Engine, wanted: &'a Wanted) -> Result<Self> {
        let shared = engine.shared();
        let is_wanted = |schema: &Arc<TableSchema>| {
            let is =
                |wanted: &Option<String>, name: &str| wanted.as_ref().is_none_or(|wanted| wanted == name);
            is(&wanted.database, schema.database.as_str()) && is(&wanted.table, schema.name.as_str())
        };
        let tables: Vec<_> = shared.catalog.all_tables().into_iter().filter(is_wanted).collect();
        if tables.is_empty() && (wanted.database.is_some() || wanted.table.is_some()) {
            return Err(Error::NotFound("there is no such table: see `SHOW TABLES`".into()));
        }
        let removal = tokio::time::timeout(WAIT_FOR_REMOVAL, shared.holds.keep_objects()).await;
        let busy = "a backup keeps what is to be erased: come again when it is done";
        let removal = removal.map_err(|_| Error::Conflict(busy.into()))?;
        let up_to = shared.view.snapshot().sequence();
        Ok(Self { engine, shared, wanted, tables, up_to, _removal: removal })
    }

    fn table_ids(&self) -> HashSet<TableId> {
        self.tables.iter().map(|schema| schema.id).collect()
    }

    /// When to stop waiting that begins now.
    fn deadline(&self) -> Instant {
        clock::instant() + self.wanted.wait
    }

    /// What is in memtables becomes files, without what is deleted.
    async fn memory(&self) -> Result<Place> {
        let mut place = Place::new("memory");
        let bytes = self.engine.memory_bytes() as u64;
        let rows: usize = {
            let snapshot = self.shared.view.snapshot();
            snapshot.tables().map(|(_, view)| view.memory_rows()).sum()
        };
        place.looked_at = Amount { files: 0, bytes };
        place.rewritten = place.looked_at;
        place.note(format!("{rows} rows were in memtables"));
        self.engine.flush().await?;
        Ok(place)
    }

    /// Writes anew what a delete still touches.
    async fn data_files(&self) -> Result<Place> {
        let mut place = Place::new("data files");
        let (all, touched) = self.files();
        place.looked_at = Amount::of(all.iter().map(|file| file.bytes));
        place.rewritten = Amount::of(touched.iter().map(|file| file.bytes));
        drop((all, touched));
        let tables = self.table_ids();
        let deadline = self.deadline();
        loop {
            self.engine.compactor().apply_deletes(self.up_to, &tables).await?;
            let (_, touched) = self.files();
            if touched.is_empty() {
                break;
            }
            // Something else replaced an input meanwhile; its output may be touched, too.
            if clock::instant() >= deadline {
                let why = "it was replaced again and again, or the engine closes: run the job again";
                place.left.extend(touched.iter().map(|file| Remnant::new(&file.path, why)));
                break;
            }
            tokio::time::sleep(LOOK_AGAIN_AFTER).await;
        }
        Ok(place)
    }

    /// The files of the tables, and those that a delete touches.
    fn files(&self) -> (Vec<Arc<DataFile>>, Vec<Arc<DataFile>>) {
        let snapshot = self.shared.view.snapshot();
        let views: Vec<_> = self.tables.iter().filter_map(|schema| snapshot.table(schema.id)).collect();
        let all = views.iter().flat_map(|view| view.files.iter().cloned()).collect();
        let touched = views.iter().flat_map(|view| {
            let deletes = view.tombstones.iter().filter(|tombstone| tombstone.sequence <= self.up_to);
            let deletes: Vec<_> = deletes.collect();
            let is_touched = move |file: &&Arc<DataFile>| deletes.iter().any(|delete| delete.touches(file));
            view.files.iter().filter(is_touched).cloned()
        });
        let touched = touched.collect();
        (all, touched)
    }
}
