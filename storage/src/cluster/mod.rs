//! Tables that several processes ("nodes") share: each has its own log and data directory, and all commit to the same Delta
//! tables in one object store.
//!
//! 1. *Refresh*: every few seconds a node asks each table's log whether others have committed ([`refresh`]); what they have
//!    is shown in one change of the view. New tables and columns are adopted on the way.
//! 2. *Birth*: a table or column is committed to the Delta metadata before its first row is taken ([`birth`], KEY-4).
//! 3. *Lease*: compaction, retention and vacuum of a table run on one node at a time ([`lease`], TXN-3).
//! 4. *Marks*: each node says up to where its rows are in tables ([`marks`]), so that a delete's object goes when nobody
//!    needs it any more (DEL-1).
//!
//! Invariants:
//! - SEQ-1: the clock is raised above every sequence of a snapshot before the snapshot is shown.
//! - SEQ-3: files stand in the order of their upper ends, equal ones by name, for every reader.
//! - No node waits for another: only a lease and an object of a delete outlast one that is away.
//!
//! A node that shares nothing pays nothing: no task runs, and no request is sent.

pub(crate) mod birth;
mod lease;
pub(crate) mod marks;
pub(crate) mod refresh;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hashbrown::{HashMap, HashSet};
use object_store::ObjectStore;
use object_store::path::Path;
use parking_lot::Mutex as SyncMutex;
use rand::RngExt;
use tokio::sync::{Mutex, Notify, watch};
use tokio::task::JoinHandle;

pub(crate) use self::lease::{Lease, Leases};

use crate::delta::is_unanswered;
use crate::engine::Shared;
use crate::error::Result;
use crate::log::Epoch;
use crate::model::{Sequence, TableId};
use crate::tombstone::Tombstone;

/// Between two times that a node which starts asks for what the others have.
const JOIN_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// The room that a merge leaves, in the time that its own commit took: to read it takes another about one, and to commit a
/// second.
const COMMITS_OF_ROOM: u32 = 2;

/// The room that is enough whatever a commit took: one that was overtaken again and again took long because others got in.
const LONGEST_ROOM: Duration = Duration::from_secs(5);

/// How tables are shared.
#[derive(Debug, Clone, Copy)]
pub struct ClusterConfig {
    /// Whether other nodes have the same tables.
    pub shared: bool,
    /// How often a table's log is asked for what others have committed. A request for each table: 5 s are 17,000 a day.
    pub refresh: Duration,
    /// How long a lease holds that is not renewed. It is renewed at a third of it; another node takes over after all of it.
    pub lease: Duration,
}

impl Default for ClusterConfig {
    fn default() -> Self {
        Self { shared: false, refresh: Duration::from_secs(5), lease: Duration::from_secs(60) }
    }
}

/// Objects of deletes.
type Objects = std::collections::HashMap<Path, Arc<Tombstone>>;

/// What a node knows of the others.
#[derive(Debug)]
pub(crate) struct Cluster {
    config: ClusterConfig,
    leases: Leases,
    /// The greatest sequence that was seen anywhere: the next batch gets a greater one (SEQ-1).
    floor: AtomicU64,
    /// The sequence of the last batch that was appended to the log.
    appended: AtomicU64,
    /// One birth at a time.
    births: Mutex<()>,
    /// The version of each table's log that the view shows.
    shown: SyncMutex<HashMap<TableId, u64>>,
    /// The deletes of which there were objects when the table was shown last.
    heard: SyncMutex<HashMap<TableId, Objects>>,
    /// Folders that are no tables of this node and will not be.
    passed_over: SyncMutex<HashSet<Path>>,
    /// The mark that the others know.
    marked: SyncMutex<Option<Sequence>>,
    /// Wakes the task that refreshes.
    refresh_wanted: Notify,
}

impl Cluster {
    pub(crate) fn new(config: ClusterConfig, store: Arc<dyn ObjectStore>, epoch: Epoch) -> Self {
        Self {
            config,
            leases: Leases::new(store, epoch, config.lease),
            floor: AtomicU64::new(0),
            appended: AtomicU64::new(0),
            births: Mutex::default(),
            shown: SyncMutex::default(),
            heard: SyncMutex::default(),
            passed_over: SyncMutex::default(),
            marked: SyncMutex::default(),
            refresh_wanted: Notify::new(),
        }
    }

    /// Whether other nodes have the same tables.
    pub(crate) fn is_shared(&self) -> bool {
        self.config.shared
    }

    /// The next batch gets a sequence above this one.
    pub(crate) fn floor(&self) -> Sequence {
        Sequence::new(self.floor.load(Ordering::Acquire))
    }

    /// Notes what is appended to the log. Called by whoever holds it, as [`floor`](Self::floor) is.
    pub(crate) fn note_appended(&self, sequence: Sequence) {
        self.appended.store(sequence.get(), Ordering::Release);
    }

    fn appended(&self) -> Sequence {
        Sequence::new(self.appended.load(Ordering::Acquire))
    }

    fn raise(&self, seen: Sequence) {
        self.floor.fetch_max(seen.get(), Ordering::AcqRel);
    }

    /// Wakes the task that refreshes: there is something to tell the others.
    pub(crate) fn want_refresh(&self) {
        self.refresh_wanted.notify_one();
    }

    /// An object of a delete is gone.
    pub(crate) fn forget_delete(&self, table: TableId, object: &Path) {
        if let Some(heard) = self.heard.lock().get_mut(&table) {
            heard.remove(object);
        }
    }
}

/// The right to merge and remove files of a table, which is shown as it is now; `None` while another node has it. Where
/// nothing is shared there always is.
///
/// # Errors
/// The failure of the store.
pub(crate) async fn take_turn(shared: &Arc<Shared>, table: TableId) -> Result<Option<Lease>> {
    if !shared.cluster.is_shared() {
        return Ok(Some(Lease::of_one_node()));
    }
    let schema = shared.schema(table)?;
    let Some(lease) = shared.cluster.leases.acquire(&schema).await? else { return Ok(None) };
    // What is chosen next must be chosen of what the table has, and not of what it had.
    refresh::table(shared, &schema).await?;
    Ok(Some(lease))
}

/// Waits after a commit of a merge, so that a node which it has overtaken reads it and gets its own commit in. A backlog of
/// merges is hundreds of commits, and a node loses against them as long as it takes longer to read one than the next takes
/// to come; its flushes and deletes would wait for all of them.
pub(crate) async fn leave_room(shared: &Shared, commit_took: Duration, stopped: &watch::Receiver<bool>) {
    if shared.cluster.is_shared() {
        let mut stopped = stopped.clone();
        tokio::select! {
            _ = stopped.wait_for(|stopped| *stopped) => {}
            () = tokio::time::sleep(LONGEST_ROOM.min(commit_took * COMMITS_OF_ROOM)) => {}
        }
    }
}

/// Hears of everything before the first row is taken: the other nodes must know of this one by then. It waits for the
/// store, as every start does.
pub(crate) async fn join(shared: &Arc<Shared>) {
    if !shared.cluster.is_shared() {
        return;
    }
    while let Err(error) = refresh::run(shared).await {
        tracing::warn!(%error, "not all of what other nodes have committed could be read; it is tried again");
        let is_marked = shared.cluster.marked.lock().is_some();
        if is_marked || !is_unanswered(&error) {
            return;
        }
        shared.config.store.activity.unanswered(&error);
        tokio::time::sleep(JOIN_AGAIN_AFTER).await;
    }
}

/// Refreshes every few seconds.
#[derive(Debug)]
pub(crate) struct Refresher {
    stop: watch::Sender<bool>,
    task: SyncMutex<Option<JoinHandle<()>>>,
}

impl Refresher {
    /// Starts the task, if tables are shared and the configuration says so.
    pub(crate) fn start(shared: &Arc<Shared>) -> Self {
        let (stop, stopped) = watch::channel(false);
        let runs = shared.config.background && shared.cluster.is_shared();
        let task = runs.then(|| tokio::spawn(work(Arc::clone(shared), stopped)));
        Self { stop, task: SyncMutex::new(task) }
    }

    /// Ends the task.
    pub(crate) async fn stop(&self) {
        self.stop.send_replace(true);
        let task = self.task.lock().take();
        if let Some(task) = task
            && let Err(error) = task.await
        {
            tracing::error!(%error, "refreshing tables ended badly");
        }
    }
}

async fn work(shared: Arc<Shared>, mut stopped: watch::Receiver<bool>) {
    // Said once: a store may be away for hours.
    let mut failed = false;
    loop {
        // Nodes that were started together do not ask together.
        let pause = shared.cluster.config.refresh.mul_f64(rand::rng().random_range(0.75..1.25));
        tokio::select! {
            _ = stopped.changed() => return,
            () = shared.cluster.refresh_wanted.notified() => {}
            () = tokio::time::sleep(pause) => {}
        }
        match refresh::run(&shared).await {
            Ok(()) => failed = false,
            Err(error) => {
                if !failed {
                    tracing::warn!(%error, "not all of what other nodes have committed could be read; it is tried again");
                }
                failed = true;
            }
        }
    }
}
