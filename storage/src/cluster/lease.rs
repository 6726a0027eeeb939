//! Leases: one node at a time merges and removes files of a table (TXN-3).
//!
//! A lease is a row of objects, `{table}/_busbar/lease/{term:020}.json`, each of which is only ever created. Whoever creates the
//! next term has the lease; to renew it is to create the term after one's own. So it needs of the store what every commit
//! needs, and no more.
//!
//! 1. The terms are listed. If the last is another node's, and neither released nor seen unchanged for as long
//!    as a lease holds, there is nothing to be had.
//! 2. The next term is created, if nobody else has. Then the terms are listed again: who was slow may have created one that
//!    was over already, and has nothing.
//! 3. Older terms are removed.
//!
//! Clocks: no node reads another's. The holder stops after three quarters of the duration since *before* it asked for its
//! term; another takes over after the whole of it since it first *saw* that term. So all that is assumed is that two monotonic
//! clocks do not differ by a quarter within a minute, and that a request is not on its way for as long as that quarter. What a
//! holder does that was stopped for longer between the check and the act conflicts if it is a commit; a removal is of an
//! object that has been unreferenced for an hour.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::TryStreamExt;
use hashbrown::{HashMap, HashSet};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt, PutMode};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;

use crate::clock;
use crate::error::{Error, Result};
use crate::layout::table_folder;
use crate::log::Epoch;
use crate::model::{TableId, TableSchema};

/// The folder of the terms in that of their table.
const FOLDER: &str = "_busbar/lease";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Term {
    /// The epoch of the holder's log.
    owner: String,
    /// Whether the holder has no more use for it.
    released: bool,
}

/// The leases that this node may ask for.
#[derive(Debug)]
pub(crate) struct Leases {
    store: Arc<dyn ObjectStore>,
    owner: String,
    duration: Duration,
    /// When a term of another node was seen first.
    seen: Mutex<HashMap<TableId, (u64, Instant)>>,
    /// The tables whose lease some task of this node has.
    taken: Arc<Mutex<HashSet<TableId>>>,
}

/// A lease of this node. It is renewed until it is dropped.
#[derive(Debug)]
pub(crate) struct Lease(Option<Claim>);

#[derive(Debug)]
struct Claim {
    held: Arc<Held>,
    renewal: JoinHandle<()>,
    _turn: Turn,
}

/// Keeps other tasks of this node from the lease of a table.
#[derive(Debug)]
struct Turn {
    taken: Arc<Mutex<HashSet<TableId>>>,
    table: TableId,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.taken.lock().remove(&self.table);
    }
}

#[derive(Debug)]
struct Held {
    store: Arc<dyn ObjectStore>,
    folder: Path,
    owner: String,
    duration: Duration,
    state: Mutex<State>,
}

/// The term that is held, and until when.
#[derive(Debug, Clone, Copy)]
struct State {
    term: u64,
    until: Instant,
}

impl Leases {
    pub(super) fn new(store: Arc<dyn ObjectStore>, epoch: Epoch, duration: Duration) -> Self {
        Self { store, owner: epoch.to_string(), duration, seen: Mutex::default(), taken: Arc::default() }
    }

    /// The lease of a table; `None` while another node has it, or another task of this one.
    ///
    /// # Errors
    /// The failure of the store.
    pub(crate) async fn acquire(&self, schema: &TableSchema) -> Result<Option<Lease>> {
        if !self.taken.lock().insert(schema.id) {
            return Ok(None);
        }
        let turn = Turn { taken: Arc::clone(&self.taken), table: schema.id };
        let folder = Path::from(format!("{}/{FOLDER}", table_folder(schema)));
        let last = last_of(&list(&*self.store, &folder).await?);
        if let Some((term, path)) = &last
            && !self.is_over(schema.id, *term, &read(&*self.store, path).await?)
        {
            return Ok(None);
        }
        let asked_at = clock::instant();
        let held = Held {
            store: Arc::clone(&self.store),
            folder,
            owner: self.owner.clone(),
            duration: self.duration,
            state: Mutex::new(State { term: last.map_or(1, |(term, _)| term + 1), until: asked_at }),
        };
        if !held.create(false).await? {
            return Ok(None);
        }
        held.hold_from(asked_at);
        self.seen.lock().remove(&schema.id);
        let held = Arc::new(held);
        let renewal = tokio::spawn(renew(Arc::clone(&held)));
        Ok(Some(Lease(Some(Claim { held, renewal, _turn: turn }))))
    }

    /// Whether the holder of a term has it no more. The directory of this node has one process: what an earlier one held is
    /// over.
    fn is_over(&self, table: TableId, term: u64, read: &Term) -> bool {
        if read.released || read.owner == self.owner {
            return true;
        }
        let now = clock::instant();
        let mut seen = self.seen.lock();
        let first = seen.entry(table).or_insert((term, now));
        if first.0 != term {
            *first = (term, now);
        }
        now.duration_since(first.1) >= self.duration
    }
}

impl Lease {
    /// Where nothing is shared.
    pub(super) const fn of_one_node() -> Self {
        Self(None)
    }

    /// Whether it is still held: to be asked before anything is removed.
    pub(crate) fn is_held(&self) -> bool {
        self.0.as_ref().is_none_or(|claim| clock::instant() < claim.held.state.lock().until)
    }

    /// As if another node had taken it over.
    #[cfg(test)]
    pub(super) fn lose(&self) {
        if let Some(claim) = &self.0 {
            claim.renewal.abort();
            claim.held.hold_no_more();
        }
    }

    /// Gives it back, so that another node need not wait. If that fails it runs out.
    pub(crate) async fn release(self) {
        let Some(claim) = &self.0 else { return };
        claim.renewal.abort();
        if !self.is_held() {
            return;
        }
        let held = &claim.held;
        let term = held.state.lock().term + 1;
        held.state.lock().term = term;
        if let Err(error) = held.create(true).await {
            tracing::debug!(%error, folder = %held.folder, "a lease was not released and runs out");
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(claim) = &self.0 {
            claim.renewal.abort();
        }
    }
}

impl Held {
    fn hold_from(&self, asked_at: Instant) {
        self.state.lock().until = asked_at + self.duration * 3 / 4;
    }

    /// It is lost.
    fn hold_no_more(&self) {
        self.state.lock().until = clock::instant();
    }

    /// Creates the object of the term; `false` when another node has created it, or a later one.
    async fn create(&self, released: bool) -> Result<bool> {
        let term = self.state.lock().term;
        let content = Term { owner: self.owner.clone(), released };
        let bytes = serde_json::to_vec(&content).map_err(|error| Error::Internal(error.to_string()))?;
        let path = Path::from(format!("{}/{term:020}.json", self.folder));
        match self.store.put_opts(&path, bytes.into(), PutMode::Create.into()).await {
            Ok(_) => {}
            Err(object_store::Error::AlreadyExists { .. }) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        let terms = list(&*self.store, &self.folder).await?;
        if last_of(&terms).is_none_or(|(last, _)| last != term) {
            return Ok(false);
        }
        for older in terms.iter().filter(|object| term_of(&object.location).is_some_and(|other| other < term))
        {
            // What stays is removed by the next.
            if let Err(error) = self.store.delete(&older.location).await {
                tracing::debug!(%error, path = %older.location, "the term of a lease that is over could not be removed");
            }
        }
        Ok(true)
    }
}

/// Renews a lease until another node has taken it over.
async fn renew(held: Arc<Held>) {
    loop {
        tokio::time::sleep(held.duration / 3).await;
        let asked_at = clock::instant();
        held.state.lock().term += 1;
        match held.create(false).await {
            Ok(true) => held.hold_from(asked_at),
            Ok(false) => return held.hold_no_more(),
            Err(error) => {
                // Whether it was created is unknown: the next term is asked for, as long as there is time.
                tracing::debug!(%error, folder = %held.folder, "a lease could not be renewed");
                if clock::instant() >= held.state.lock().until {
                    return;
                }
            }
        }
    }
}

async fn list(store: &dyn ObjectStore, folder: &Path) -> Result<Vec<ObjectMeta>> {
    Ok(store.list(Some(folder)).try_collect().await?)
}

fn last_of(terms: &[ObjectMeta]) -> Option<(u64, Path)> {
    terms.iter().filter_map(|object| Some((term_of(&object.location)?, object.location.clone()))).max()
}

fn term_of(path: &Path) -> Option<u64> {
    path.filename()?.strip_suffix(".json")?.parse().ok()
}

/// What a term says. One that is gone was followed by another, whose holder has it; one that cannot be read runs out.
async fn read(store: &dyn ObjectStore, path: &Path) -> Result<Term> {
    let unknown = Term { owner: String::new(), released: false };
    match store.get(path).await {
        Ok(found) => Ok(serde_json::from_slice(&found.bytes().await?).unwrap_or(unknown)),
        Err(object_store::Error::NotFound { .. }) => Ok(unknown),
        Err(error) => Err(error.into()),
    }
}
