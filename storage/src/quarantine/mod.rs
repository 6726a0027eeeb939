//! The quarantine: lines that cannot be stored because of their types, names or bounds, kept whole until they are
//! replayed, dropped or too old.
//!
//! 1. A line is admitted if there is room for it, and if lines do not come too fast; else it is not kept, and its
//!    sender is told so. Nothing that was kept goes to make room: an id that was answered holds.
//! 2. Lines of all requests that wait are written as one record of a [stream](crate::stream), with one sync, and
//!    at most one sync every [`PACE`]; then each request has its ids.
//! 3. What goes (replayed, dropped, erased) goes by a record too. When more than half of the stream is of lines that
//!    have gone, what is kept is written again and the rest removed; an erasure does that at once.
//!
//! Invariants:
//! - QUAR-1: an id is answered after its line is durable, and is not used again.
//! - QUAR-2: lines that are kept never count for more than [`QuarantineConfig::max_bytes`]; the files hold at most three
//!   times that, for as long as they are written again.
//! - QUAR-3: a line leaves by age, or because somebody says so after what it became is durable. So a replay that was
//!   cut off is done again, and finds what it has stored.
//! - QUAR-4: no line of a deleted row is stored after its delete was answered ([`Erasure`]).
//! - What is damaged on the disk takes the lines of its record along, and nothing else: it holds up neither a start, nor a
//!   delete, nor the other lines.
//!
//! What the texts of a line mean is its source's business: nothing here knows a protocol.

mod admission;
mod erase;
mod index;
mod line;
mod record;
mod store;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::oneshot;

pub use erase::{Erasure, NoReplay, Replay};
pub use index::Filter;
pub use line::{KeptLine, LineId};

use crate::clock;
use crate::error::{Error, Result};
use crate::stream::FrozenStream;
use admission::Admission;
use erase::Turns;
use store::Store;

/// The folder of a data directory that holds the quarantine's stream.
pub const FOLDER: &str = "quarantine";

/// The stream's own folder in it.
const STREAM: &str = "lines";

/// Between two syncs. Whoever sends one bad line a request waits so long for its answer, and costs the disk at most a
/// hundred syncs a second, however many there are of it.
const PACE: Duration = Duration::from_millis(10);

/// Bounds of a quarantine.
#[derive(Debug, Clone, Copy)]
pub struct QuarantineConfig {
    /// Bytes of lines that are kept; 0 keeps none.
    pub max_bytes: u64,
    /// How long a line is kept.
    pub max_age: Duration,
}

impl Default for QuarantineConfig {
    /// 64 MiB, which is 200,000 lines of 80 bytes, and 30 days: a mistake is found at the end of the month.
    fn default() -> Self {
        Self { max_bytes: 64 << 20, max_age: Duration::from_hours(30 * 24) }
    }
}

/// Why a line was not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum NotKept {
    /// There is no room.
    #[error("the quarantine is full")]
    Full,
    /// Lines come too fast.
    #[error("too many lines are refused at a time")]
    TooFast,
    /// The disk did not take it.
    #[error("the quarantine cannot be written")]
    Failed,
}

/// What the quarantine has done since the start.
#[derive(Debug, Default)]
struct Counters {
    kept: Mutex<BTreeMap<Box<str>, u64>>,
    not_kept: [AtomicU64; 3],
}

/// Lines that wait to be written.
#[derive(Debug)]
struct Waiting {
    lines: Vec<KeptLine>,
    done: oneshot::Sender<Result<Vec<LineId>, NotKept>>,
}

/// The quarantine of an engine.
#[derive(Debug)]
pub struct Quarantine {
    max_age: Duration,
    store: Mutex<Store>,
    admission: Mutex<Admission>,
    waiting: Mutex<Vec<Waiting>>,
    /// Whose turn it is to write what waits; when the last one was.
    turn: tokio::sync::Mutex<Option<Instant>>,
    turns: Turns,
    counters: Counters,
}

impl Quarantine {
    /// Opens the quarantine of a data directory, made if it is missing. Every line is read; what is damaged is lost, told of
    /// and [counted](Self::faults).
    ///
    /// # Errors
    /// The failure of the disk.
    pub fn open(data_dir: &Path, config: QuarantineConfig) -> Result<Arc<Self>> {
        let store = Store::open(&data_dir.join(FOLDER).join(STREAM), clock::now())?;
        let this = Self {
            max_age: config.max_age,
            admission: Mutex::new(Admission::new(config.max_bytes, clock::instant())),
            store: Mutex::new(store),
            waiting: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
            turns: Turns::default(),
            counters: Counters::default(),
        };
        this.admission.lock().changed(0, this.store.lock().index().bytes());
        // A full disk is no reason not to start.
        if let Err(error) = this.tidy() {
            tracing::warn!(%error, "the quarantine could not be written again; it is larger than it need be");
        }
        Ok(Arc::new(this))
    }

    /// Keeps lines: says of each its id, with which it is durable, or why it is not kept.
    pub async fn keep(self: &Arc<Self>, lines: Vec<KeptLine>) -> Vec<Result<LineId, NotKept>> {
        let reasons: Vec<Box<str>> = lines.iter().map(|line| line.reason.clone()).collect();
        let (admitted, refused) = self.admit(lines);
        let written = if admitted.is_empty() { Ok(Vec::new()) } else { self.write(admitted).await };
        let mut ids = written.map(Vec::into_iter);
        let outcome = |refused: Option<NotKept>| match (refused, &mut ids) {
            (Some(why), _) => Err(why),
            (None, Err(why)) => Err(*why),
            (None, Ok(ids)) => ids.next().ok_or(NotKept::Failed),
        };
        let outcomes: Vec<_> = refused.into_iter().map(outcome).collect();
        self.count(&reasons, &outcomes);
        outcomes
    }

    /// Reads lines that are meant, in the order of their ids, after the one with the id `after`: at most `limit`, and
    /// at most `bytes` of them but for the first. Those that cannot be read any more have gone on return.
    ///
    /// # Errors
    /// The failure of the disk.
    pub async fn page(
        self: &Arc<Self>,
        filter: Filter,
        after: Option<LineId>,
        (limit, bytes): (usize, u64),
    ) -> Result<Vec<(LineId, KeptLine)>> {
        self.blocking(move |this| {
            this.counted(|store| {
                loop {
                    let ids = store.ids(&filter, after, (limit, bytes));
                    let lines = store.read(&ids)?;
                    // All of them may be lost; then others follow.
                    if !lines.is_empty() || ids.is_empty() {
                        return Ok(lines);
                    }
                }
            })
        })
        .await
    }

    /// Reads a line; `None` when it is not there (any more).
    ///
    /// # Errors
    /// The failure of the disk.
    pub async fn line(self: &Arc<Self>, id: LineId) -> Result<Option<KeptLine>> {
        self.blocking(move |this| Ok(this.counted(|store| store.read(&[id]))?.pop().map(|(_, line)| line)))
            .await
    }

    /// Removes the lines with the ids `gone`, and puts `changed` in the places of others. It is durable on return.
    /// Returns how many went.
    ///
    /// # Errors
    /// The failure of the disk; nothing is changed then.
    pub async fn change(
        self: &Arc<Self>,
        gone: Vec<LineId>,
        changed: Vec<(LineId, KeptLine)>,
    ) -> Result<usize> {
        self.blocking(move |this| this.change_now(gone, changed)).await
    }

    /// Removes the lines that are meant. Returns how many went.
    ///
    /// # Errors
    /// The failure of the disk; nothing is changed then.
    pub async fn remove(self: &Arc<Self>, filter: Filter) -> Result<usize> {
        self.blocking(move |this| {
            let ids = this.store.lock().ids(&filter, None, (usize::MAX, u64::MAX));
            this.change_now(ids, Vec::new())
        })
        .await
    }

    /// Gives back all bytes that lines left behind.
    ///
    /// # Errors
    /// The failure of the disk.
    pub async fn rewrite(self: &Arc<Self>) -> Result<()> {
        self.blocking(|this| this.counted(|store| store.rewrite(clock::now()))).await
    }

    /// Lets lines go that are too old, and gives their bytes back.
    ///
    /// # Errors
    /// The failure of the disk.
    pub fn tidy(&self) -> Result<()> {
        self.pay()?;
        self.counted(|store| {
            let expired = store.expire(clock::now(), self.max_age);
            if expired || store.is_worth_rewriting() { store.rewrite(clock::now()) } else { Ok(()) }
        })
    }

    /// The stream as it is now, for a backup.
    ///
    /// # Errors
    /// The failure of the disk.
    pub async fn freeze(self: &Arc<Self>) -> Result<FrozenStream> {
        self.blocking(|this| this.store.lock().freeze()).await
    }

    /// Lines that are kept, the bytes that they count for, and those of the files.
    #[must_use]
    pub fn size(&self) -> (usize, u64, u64) {
        let store = self.store.lock();
        (store.index().len(), store.index().bytes(), store.stream_bytes())
    }

    /// How many lines were kept since the start, by the word for why they were refused.
    #[must_use]
    pub fn kept(&self) -> BTreeMap<Box<str>, u64> {
        self.counters.kept.lock().clone()
    }

    /// How many lines were not kept since the start, by why.
    #[must_use]
    pub fn not_kept(&self) -> [(NotKept, u64); 3] {
        [NotKept::Full, NotKept::TooFast, NotKept::Failed].map(|why| {
            (why, self.counters.not_kept.get(why as usize).map_or(0, |c| c.load(Ordering::Relaxed)))
        })
    }

    /// What went wrong since the start: places that were found damaged, and erasures that could not be carried out at once.
    #[must_use]
    pub fn faults(&self) -> [(&'static str, u64); 2] {
        [("damaged", self.store.lock().damages()), ("erasure", self.turns.failures())]
    }

    /// Splits lines into those that there is room for, and says of each of all why it is not one of them.
    fn admit(&self, lines: Vec<KeptLine>) -> (Vec<KeptLine>, Vec<Option<NotKept>>) {
        let (mut admission, now) = (self.admission.lock(), clock::instant());
        let mut admitted = Vec::with_capacity(lines.len());
        let refused = lines.into_iter().map(|line| match admission.reserve(line.charge(), now) {
            Ok(()) => {
                admitted.push(line);
                None
            }
            Err(why) => Some(why),
        });
        let refused = refused.collect();
        (admitted, refused)
    }

    /// Writes lines together with what others wait for.
    async fn write(self: &Arc<Self>, lines: Vec<KeptLine>) -> Result<Vec<LineId>, NotKept> {
        let (done, mut answer) = oneshot::channel();
        self.waiting.lock().push(Waiting { lines, done });
        let mut last = self.turn.lock().await;
        // Whoever had the turn before has perhaps written these too.
        if let Ok(answer) = answer.try_recv() {
            return answer;
        }
        if let Some(last) = *last {
            tokio::time::sleep_until((last + PACE).into()).await;
        }
        *last = Some(clock::instant());
        let this = Arc::clone(self);
        // It goes on when the request that waits for it is gone: others wait too.
        let written = tokio::task::spawn_blocking(move || this.write_waiting()).await;
        drop(last);
        if written.is_err() {
            return Err(NotKept::Failed);
        }
        answer.await.unwrap_or(Err(NotKept::Failed))
    }

    fn write_waiting(&self) {
        let mut group = std::mem::take(&mut *self.waiting.lock());
        let counts: Vec<usize> = group.iter().map(|waiting| waiting.lines.len()).collect();
        let lines: Vec<KeptLine> =
            group.iter_mut().flat_map(|waiting| std::mem::take(&mut waiting.lines)).collect();
        let bytes = lines.iter().map(KeptLine::charge).sum();
        let written = self.store.lock().keep(lines, clock::now());
        let written = written.map_err(|error| {
            tracing::error!(%error, "refused lines could not be kept; their senders are told so");
            self.admission.lock().release(bytes);
            NotKept::Failed
        });
        let mut ids = written.map(Vec::into_iter);
        for (waiting, count) in group.into_iter().zip(counts) {
            let answer = match &mut ids {
                Ok(ids) => Ok(ids.by_ref().take(count).collect()),
                Err(why) => Err(*why),
            };
            // Whoever has gone has nobody to tell; its lines stay.
            let _gone = waiting.done.send(answer);
        }
    }

    fn change_now(&self, gone: Vec<LineId>, changed: Vec<(LineId, KeptLine)>) -> Result<usize> {
        self.counted(|store| {
            let count = store.change(gone, changed, clock::now())?;
            if store.is_worth_rewriting()
                && let Err(error) = store.rewrite(clock::now())
            {
                tracing::warn!(%error, "the quarantine could not be written again; it is larger than it need be");
            }
            Ok(count)
        })
    }

    /// Does work that may take lines away, or change them: what is kept counts for other bytes afterwards.
    fn counted<T>(&self, work: impl FnOnce(&mut Store) -> T) -> T {
        let mut store = self.store.lock();
        let before = store.index().bytes();
        let done = work(&mut store);
        self.admission.lock().changed(before, store.index().bytes());
        done
    }

    fn count(&self, reasons: &[Box<str>], outcomes: &[Result<LineId, NotKept>]) {
        let mut kept = self.counters.kept.lock();
        for (reason, outcome) in reasons.iter().zip(outcomes) {
            match outcome {
                Ok(_) => *kept.entry(reason.clone()).or_default() += 1,
                Err(why) => {
                    if let Some(counter) = self.counters.not_kept.get(*why as usize) {
                        counter.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
        }
    }

    /// Does work that waits for the disk where that holds up nobody.
    async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let this = Arc::clone(self);
        let done = tokio::task::spawn_blocking(move || work(&this)).await;
        done.map_err(|error| Error::Internal(format!("the quarantine ended badly: {error}")))?
    }
}
