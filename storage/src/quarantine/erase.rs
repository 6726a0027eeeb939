//! Erasing lines of deleted rows: no trace of them is left, and none is stored any more.
//!
//! 1. A delete takes its [turn](Quarantine::between_replays) before it gets its sequence: what was replayed until then is
//!    deleted with the rest, and until it is done nothing is replayed.
//! 2. When it is durable its lines are erased: they leave the index, and the stream is written again without them.
//! 3. If the disk does not take that, the erasure is *owed*: it is tried again before the next replay, which is refused as
//!    long as it fails, and whenever the quarantine is tidied.
//!
//! Invariant (QUAR-4): no line of a deleted row is stored after its delete was answered. What is owed is lost by a crash;
//! so whoever deletes is told of it, and deletes again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::Quarantine;
use super::line::KeptLine;
use crate::clock;
use crate::error::Result;
use crate::model::{TagTest, TimeRange};

/// Lines of deleted rows.
#[derive(Debug, Clone)]
pub struct Erasure {
    /// The database.
    pub database: Box<str>,
    /// The table; `None` for all of the database.
    pub table: Option<Box<str>>,
    /// What the tags must be; all of it must hold.
    pub tags: Vec<TagTest>,
    /// The times of the rows.
    pub times: TimeRange,
}

/// The only replay there is. Lines are read, stored and removed while it is held.
#[derive(Debug)]
pub struct Replay<'a> {
    _turn: RwLockWriteGuard<'a, ()>,
}

/// Held by a delete from before it has its sequence until its lines are erased: nothing is replayed meanwhile.
#[derive(Debug)]
pub struct NoReplay<'a> {
    _turn: RwLockReadGuard<'a, ()>,
}

/// Who may store lines, and what must be erased before.
#[derive(Debug, Default)]
pub(super) struct Turns {
    replay: RwLock<()>,
    owed: Mutex<Vec<Erasure>>,
    failures: AtomicU64,
}

impl Turns {
    pub(super) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }
}

impl Erasure {
    /// Whether a line may be one of them. What cannot be told from it counts against it.
    fn covers(&self, line: &KeptLine) -> bool {
        if line.database != self.database {
            return false;
        }
        let Some(table) = &line.table else { return true };
        let value = |test: &TagTest| {
            line.tags.iter().find(|(name, _)| **name == *test.tag).map(|(_, value)| value.as_ref())
        };
        self.table.as_ref().is_none_or(|wanted| wanted == table)
            && self.tags.iter().all(|test| test.holds(value(test)))
            && line.time.is_none_or(|time| self.times.contains(time))
    }
}

impl Quarantine {
    /// The turn of a replay: no other one runs, and no delete is on its way.
    ///
    /// # Errors
    /// The failure of the disk: lines of deleted rows could not be erased yet.
    pub async fn replay_turn(self: &Arc<Self>) -> Result<Replay<'_>> {
        let turn = self.turns.replay.write().await;
        self.blocking(|this| this.pay()).await?;
        Ok(Replay { _turn: turn })
    }

    /// The turn of a delete: no replay runs until it is dropped.
    pub async fn between_replays(&self) -> NoReplay<'_> {
        NoReplay { _turn: self.turns.replay.read().await }
    }

    /// Removes the lines of rows that are deleted, and their bytes. A line of which table, tags or time are not known goes
    /// with them. Returns how many went.
    ///
    /// # Errors
    /// The failure of the disk: the erasure is owed.
    pub async fn erase(self: &Arc<Self>, _turn: &NoReplay<'_>, erasure: Erasure) -> Result<usize> {
        self.blocking(move |this| {
            this.turns.owed.lock().push(erasure);
            this.pay()
        })
        .await
    }

    /// Carries out what is owed. Returns how many lines went.
    pub(super) fn pay(&self) -> Result<usize> {
        // Locked for as long as it takes: whoever comes next must not find less owed than is.
        let mut owed = self.turns.owed.lock();
        let mut count = 0;
        while let Some(erasure) = owed.last() {
            let erased = self.erase_now(erasure);
            count += erased.inspect_err(|_| {
                self.turns.failures.fetch_add(1, Ordering::Relaxed);
            })?;
            owed.pop();
        }
        Ok(count)
    }

    fn erase_now(&self, erasure: &Erasure) -> Result<usize> {
        self.counted(|store| {
            let (ids, is_damaged) = match store.index().has_any_of(&erasure.database) {
                true => store.find(|line| erasure.covers(line))?,
                false => (Vec::new(), false),
            };
            let count = store.erase(ids, clock::now())?;
            // Bytes of lines may stand in what is damaged.
            if is_damaged || store.owes_rewriting() {
                store.rewrite(clock::now()).map(|()| count)
            } else {
                Ok(count)
            }
        })
    }
}
