//! Retention: rows that have expired are hidden at once, and their files are dropped.
//!
//! 1. A row has expired when its time is before [`Shared::oldest_kept`]. A query reads the clock once and leaves such
//!    rows out.
//! 2. Every minute the files of partitions in which all rows have expired are taken out of their table, by one commit
//!    that names them and reads nothing, and out of the view in the same step. [`crate::vacuum`] removes their objects
//!    as it does those of replaced files.
//!
//! Invariants:
//! - The files of a partition go together. If one went alone it might hold the newest version of a point whose older
//!   versions stay, and a retention that is made longer would bring these back.
//! - The table's log is taken from before the files are chosen until the view lacks them, so no compaction and no
//!   flush is in between: a compaction that read such a file finds it gone and gives up.
//! - What was dropped stays so everywhere, also in last values ([`crate::last_value`]).
//! - Nothing is dropped by a retention that is not durable, or of which a later change may have been lost.

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex as SyncMutex;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::cluster::{self, Lease};
use crate::engine::Shared;
use crate::error::Result;
use crate::last_value;
use crate::model::{DataFile, FilePlace, TableId, Timestamp};

/// How often the job looks for files that have expired. A row is hidden before; only disk waits for it.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// What was dropped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Number of files.
    pub files: u64,
    /// Their rows, before last-write-wins.
    pub rows: u64,
    /// Their size.
    pub bytes: u64,
}

/// Drops files when they have expired.
#[derive(Debug)]
pub(crate) struct RetentionJob {
    stop: watch::Sender<bool>,
    task: SyncMutex<Option<JoinHandle<()>>>,
}

impl RetentionJob {
    /// Starts the job, if this engine looks after the files of its tables.
    pub(crate) fn start(shared: &Arc<Shared>) -> Self {
        let (stop, stopped) = watch::channel(false);
        let runs = shared.config.background && shared.config.compaction.enabled;
        let task = runs.then(|| tokio::spawn(work(Arc::clone(shared), stopped)));
        Self { stop, task: SyncMutex::new(task) }
    }

    /// Ends the job; a commit that has begun is finished.
    pub(crate) async fn stop(&self) {
        self.stop.send_replace(true);
        let task = self.task.lock().take();
        if let Some(task) = task
            && let Err(error) = task.await
        {
            tracing::error!(%error, "the retention job ended badly");
        }
    }
}

async fn work(shared: Arc<Shared>, mut stopped: watch::Receiver<bool>) {
    let mut look = tokio::time::interval(LOOK_EVERY);
    // Said once: a store may be away for hours.
    let mut failed = false;
    loop {
        tokio::select! {
            _ = stopped.changed() => return,
            _ = look.tick() => {}
        }
        match run(&shared).await {
            Ok(_) => failed = false,
            Err(error) => {
                if !failed {
                    tracing::error!(%error, "expired files could not be dropped; it is tried again");
                }
                failed = true;
            }
        }
    }
}

impl Shared {
    /// The oldest time of a table's rows that is kept at `now`.
    pub(crate) fn oldest_kept(&self, table: TableId, now: Timestamp) -> Timestamp {
        self.catalog.retention_of(table).unwrap_or(self.config.retention).oldest(now)
    }
}

/// Drops what has expired in all tables. One that fails keeps no other from it, and is the error.
pub(crate) async fn run(shared: &Arc<Shared>) -> Result<Dropped> {
    let mut dropped = Dropped::default();
    let mut result = Ok(());
    let now = shared.config.clock.now();
    let tables: Vec<TableId> = {
        let snapshot = shared.view.snapshot();
        let has_expired = |(table, files): &(TableId, &[Arc<DataFile>])| {
            shared.catalog.knows_retention_of(*table)
                && !expired(files, shared.oldest_kept(*table, now)).is_empty()
        };
        let files = snapshot.tables().map(|(table, view)| (table, view.files.as_slice()));
        files.filter(has_expired).map(|(table, _)| table).collect()
    };
    for table in tables {
        match drop_expired(shared, table, now).await {
            Ok(of_table) => dropped.add(of_table),
            Err(error) => result = result.and(Err(error)),
        }
    }
    result.map(|()| dropped)
}

/// Drops what has expired in one table.
async fn drop_expired(shared: &Arc<Shared>, id: TableId, now: Timestamp) -> Result<Dropped> {
    let Some(lease) = cluster::take_turn(shared, id).await? else { return Ok(Dropped::default()) };
    let dropped = drop_files(shared, id, now, &lease).await;
    lease.release().await;
    dropped
}

async fn drop_files(shared: &Arc<Shared>, id: TableId, now: Timestamp, lease: &Lease) -> Result<Dropped> {
    let schema = shared.schema(id)?;
    let Some(mut table) = shared.tables.take(&schema).await? else { return Ok(Dropped::default()) };
    let files = {
        let snapshot = shared.view.snapshot();
        let files = snapshot.table(id).map(|view| view.files.as_slice()).unwrap_or_default();
        expired(files, shared.oldest_kept(id, now))
    };
    // Asked after the retention was read: one that is not durable may not be there after the next start.
    if files.is_empty() || !shared.definitions.retentions_are_durable() {
        return Ok(Dropped::default());
    }
    last_value::forget_dropped(shared, id, &files).await?;
    fail::fail_point!("expired-before-commit");
    if !lease.is_held() {
        last_value::make_anew(shared, id);
        return Ok(Dropped::default());
    }
    if let Err(error) = table.retire(&files, shared.tables.app_id()).await {
        last_value::make_anew(shared, id);
        return Err(error);
    }
    fail::fail_point!("expired-after-commit");
    shared.view.change(id, |view| {
        view.files.retain(|file| !files.iter().any(|expired| Arc::ptr_eq(expired, file)));
    });
    shared.view.note_gone(&files);
    let dropped = Dropped {
        files: files.len() as u64,
        rows: files.iter().map(|file| file.rows).sum(),
        bytes: files.iter().map(|file| file.bytes).sum(),
    };
    tracing::info!(
        database = %schema.database,
        table = %schema.name,
        files = dropped.files,
        bytes = dropped.bytes,
        "files that have expired are dropped"
    );
    shared.expired.lock().add(dropped);
    last_value::forget_dropped(shared, id, &files).await?;
    Ok(dropped)
}

/// The files of partitions in which every row is older than `oldest`.
fn expired(files: &[Arc<DataFile>], oldest: Timestamp) -> Vec<Arc<DataFile>> {
    let in_table = || files.iter().filter(|file| file.place == FilePlace::Table);
    let kept: HashSet<i32> =
        in_table().filter(|file| file.times.max >= oldest).map(|file| file.date).collect();
    in_table().filter(|file| !kept.contains(&file.date)).cloned().collect()
}

impl Dropped {
    fn add(&mut self, other: Self) {
        self.files += other.files;
        self.rows += other.rows;
        self.bytes += other.bytes;
    }
}
