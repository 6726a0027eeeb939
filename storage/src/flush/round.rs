//! Rounds that are not finished, and their steps.
//!
//! Invariants: of one table's sets the first is published first (TXN-1); a round is finished when all its sets are
//! published, and rounds finish in their order, so the log goes only up to where everything is in tables (TXN-2).

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

use super::runs::{MAX_RUNS, Runs};
use super::{StagedSet, StagingArea, gather, publish, staging};
use crate::clock;
use crate::engine::Shared;
use crate::error::{Error, Result};
use crate::last_value;
use crate::memtable::{Memtable, SealedMemtable};
use crate::model::{DataFile, FrameNumber, Sequence, TableId};
use crate::tombstone::stored;

/// Which memtables a round seals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seal {
    /// All that hold rows.
    All,
    /// But for small ones that have not waited for long.
    Due,
    /// None: the round only tries again. If it sealed, an hour without a store would become hundreds of small files.
    None,
}

/// Which runs a round gathers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gathering {
    /// All.
    All,
    /// Those that are due.
    Due,
    /// Those that are due, and it does not wait for them: a later round goes on with what was merged.
    Beside,
}

/// Runs on their way to one set.
#[derive(Debug)]
struct Merging {
    /// They stay the same however often it is tried.
    runs: Vec<Arc<StagedSet>>,
    /// `None` after a failure.
    task: Option<JoinHandle<Result<StagedSet>>>,
}

/// The rounds that are not finished.
#[derive(Debug)]
pub(super) struct State {
    rounds: VecDeque<Round>,
    /// Runs that are being gathered.
    merging: BTreeMap<TableId, Merging>,
    /// All rows up to this frame are in tables.
    pub(super) published: FrameNumber,
    /// Staged files that are in a table now; removed from the disk when no snapshot refers to them.
    pub(super) replaced: Vec<Arc<DataFile>>,
}

#[derive(Debug)]
struct Round {
    /// All rows up to this frame are in this round, an earlier one, or a table.
    frame: FrameNumber,
    sets: Vec<(TableId, Set)>,
}

/// One table's rows in a round. Gathered rows stand in the place of their first run.
#[derive(Debug)]
enum Set {
    Sealed(Arc<SealedMemtable>),
    Staged(Arc<StagedSet>),
}

impl State {
    /// With sets that were staged before a restart.
    pub(super) fn adopting(staged: Vec<StagedSet>) -> Self {
        let sets: Vec<_> = staged.into_iter().map(|s| (s.table, Set::Staged(Arc::new(s)))).collect();
        let adopted = Round { frame: FrameNumber::default(), sets };
        let rounds = VecDeque::from_iter((!adopted.sets.is_empty()).then_some(adopted));
        let (merging, published, replaced) = Default::default();
        Self { rounds, merging, published, replaced }
    }

    /// The sets that are staged and not wholly published.
    pub(super) fn staged(&self) -> impl Iterator<Item = &Arc<StagedSet>> {
        let sets = self.rounds.iter().flat_map(|round| &round.sets);
        sets.filter_map(|(_, set)| if let Set::Staged(staged) = set { Some(staged) } else { None })
    }

    /// Whether runs are being merged, into files that are of no set yet.
    pub(super) fn is_merging(&self) -> bool {
        !self.merging.is_empty()
    }

    /// Whether a round has something to do, though nothing is sealed: more than to wait for runs.
    pub(super) fn is_unfinished(&self, shared: &Shared) -> bool {
        let can_go_on = |set: &Set| !matches!(set, Set::Staged(staged) if staged.is_run());
        let is_done = |merging: &Merging| merging.task.as_ref().is_none_or(JoinHandle::is_finished);
        self.rounds.iter().flat_map(|round| &round.sets).any(|(_, set)| can_go_on(set))
            || self.merging.values().any(is_done)
            || self
                .tables_with_runs()
                .iter()
                .any(|table| !self.merging.contains_key(table) && self.runs_of(*table).are_due(shared))
    }

    /// One round: seals, then stages and publishes whatever is sealed.
    pub(super) async fn round(
        &mut self,
        shared: &Arc<Shared>,
        seal: Seal,
        gathering: Gathering,
    ) -> Result<()> {
        if seal != Seal::None {
            self.seal(shared, seal);
            last_value::follow_sealed(shared).await;
        }
        let staged = self.stage(shared).await;
        // What a table holds is defined beside the log before it is in the table.
        shared.save_definitions().await?;
        let mut gathered = self.gather(shared, gathering).await;
        let mut published = self.publish(shared).await;
        // Runs that stood behind a set which could only go now.
        while gathering == Gathering::All
            && staged.is_ok()
            && gathered.is_ok()
            && published.is_ok()
            && !self.tables_with_runs().is_empty()
        {
            gathered = self.gather(shared, gathering).await;
            published = self.publish(shared).await;
        }
        stored::drop_settled(shared).await;
        while self.rounds.front().is_some_and(|round| round.sets.is_empty()) {
            self.published = self.rounds.pop_front().map_or(self.published, |round| round.frame);
        }
        self.trim(shared).await?;
        self.remove_replaced(shared);
        last_value::save_due(shared).await;
        staged.and(gathered).and(published)
    }

    /// Trims the log as far as tables and consumers allow.
    pub(super) async fn trim(&self, shared: &Arc<Shared>) -> Result<()> {
        if let Err(error) = shared.hurry_consumers(self.published) {
            tracing::warn!(%error, "the log is kept for a consumer that hangs; it is tried again");
        }
        if shared.can_trim(self.published) {
            // The record of a delete goes with the log; what it hides must stay hidden (DEL-1).
            stored::put_all(shared).await?;
            shared.trim_log(self.published).await?;
        }
        Ok(())
    }

    /// Series can be forgotten only when the log goes: consumers that keep it are asked, and it is trimmed as soon as
    /// they have answered, whether a flush is due or not.
    pub(super) async fn trim_for_series(&self, shared: &Arc<Shared>) {
        if shared.series.is_over_room() {
            shared.tap.want_checkpoints(self.published);
            if let Err(error) = self.trim(shared).await {
                tracing::warn!(%error, "the log could not be trimmed; it is tried again");
            }
        }
    }

    fn seal(&mut self, shared: &Shared, seal: Seal) {
        if shared.series.is_over_room() {
            // What is sealed now shall leave the log as soon as it is in tables, not when its segment is full.
            let rolled = shared.log.lock().roll();
            if let Err(error) = shared.noting_fault(rolled) {
                tracing::warn!(%error, "no new segment of the log could be begun");
            }
        }
        *shared.oldest_unsealed.lock() = None;
        let now_ms = clock::now().unix_millis();
        let waited = |oldest: Sequence| Duration::from_millis(now_ms.saturating_sub(oldest.unix_millis()));
        let must_go = seal == Seal::All || shared.log_must_go();
        let may_wait = |memtable: &Memtable| {
            let oldest = memtable.sequences().map(|sequences| sequences.min);
            !must_go
                && memtable.bytes() < shared.config.small_table_bytes
                && oldest.is_none_or(|oldest| waited(oldest) < shared.config.flush_age)
        };
        let sealed = shared.view.seal(may_wait, shared.config.flush_bytes / 2);
        if let Some(oldest) = sealed.oldest_left {
            let now = clock::instant();
            *shared.oldest_unsealed.lock() = Some(now.checked_sub(waited(oldest)).unwrap_or(now));
        }
        shared.series.next_round(sealed.visible);
        let sets = sealed.tables.into_iter().map(|(table, rows)| (table, Set::Sealed(rows))).collect();
        self.rounds.push_back(Round { frame: sealed.frame, sets });
    }

    /// Stages every sealed memtable. One that fails is left for the next round, and is the error; so are the later
    /// ones of its table, because a memtable wins over every file, and a manifest says that all rows up to its
    /// sequence are in files (TXN-2).
    async fn stage(&mut self, shared: &Arc<Shared>) -> Result<()> {
        let mut result = Ok(());
        let mut waiting = HashSet::new();
        let sets = self.rounds.iter_mut().flat_map(|round| round.sets.iter_mut());
        for (table, set) in sets {
            let Set::Sealed(sealed) = set else { continue };
            if waiting.contains(table) {
                continue;
            }
            match staging::stage(Arc::clone(shared), *table, Arc::clone(sealed)).await {
                Ok(staged) => *set = Set::Staged(Arc::new(staged)),
                Err(error) => {
                    result = result.and(Err(error));
                    waiting.insert(*table);
                }
            }
        }
        result
    }

    fn tables_with_runs(&self) -> BTreeSet<TableId> {
        self.staged().filter(|set| set.is_run()).map(|set| set.table).collect()
    }

    /// The runs with which the sets of a table begin.
    fn runs_of(&self, table: TableId) -> Runs {
        let mut runs = Runs::default();
        let sets = self.rounds.iter().flat_map(|round| &round.sets).filter(|(id, _)| *id == table);
        for (_, set) in sets {
            match set {
                Set::Staged(staged) if staged.is_run() => runs.sets.push(Arc::clone(staged)),
                Set::Staged(_) => {
                    runs.are_waited_for = true;
                    break;
                }
                // It becomes a run too, perhaps.
                Set::Sealed(_) => break,
            }
        }
        runs
    }

    /// Merges runs that are wanted, and puts what comes out in their place.
    async fn gather(&mut self, shared: &Arc<Shared>, gathering: Gathering) -> Result<()> {
        let mut result = Ok(());
        for table in self.tables_with_runs() {
            loop {
                let mut runs = self.runs_of(table);
                let is_wanted = || gathering == Gathering::All || runs.are_due(shared);
                // Beside the rounds one table at a time: each merge takes the memory that merges may take.
                let may_begin = gathering != Gathering::Beside || self.merging.is_empty();
                let mut merging = match self.merging.remove(&table) {
                    Some(begun) => begun,
                    None if may_begin && !runs.sets.is_empty() && is_wanted() => {
                        runs.sets.truncate(MAX_RUNS.min(shared.config.compaction.inputs_at_once()));
                        Merging { runs: runs.sets, task: None }
                    }
                    None => break,
                };
                let begin = || {
                    let merge = gather::gather(Arc::clone(shared), table, merging.runs.clone());
                    let shared = Arc::clone(shared);
                    tokio::spawn(async move {
                        let merged = merge.await;
                        shared.flush_wanted.notify_one();
                        merged
                    })
                };
                let task = merging.task.take().unwrap_or_else(begin);
                if gathering == Gathering::Beside && !task.is_finished() {
                    self.merging.insert(table, Merging { task: Some(task), ..merging });
                    break;
                }
                let merged = task.await;
                let ended_badly = |error| Error::Internal(format!("gathering runs ended badly: {error}"));
                match merged.map_err(ended_badly).flatten() {
                    Ok(set) => self.show_gathered(shared, &merging.runs, set),
                    Err(error) => {
                        result = result.and(Err(error));
                        self.merging.insert(table, merging);
                        break;
                    }
                }
            }
        }
        result
    }

    /// Puts a gathered set in the place of its first run, which no later round can overtake, and its files in the view
    /// in the place of all.
    fn show_gathered(&mut self, shared: &Shared, runs: &[Arc<StagedSet>], gathered: StagedSet) {
        let gathered = Arc::new(gathered);
        gathered.files.iter().for_each(|file| shared.disk_use.add_staged(file));
        let of_runs: HashSet<*const DataFile> =
            runs.iter().flat_map(|run| run.files.iter().map(Arc::as_ptr)).collect();
        shared.view.change(gathered.table, |view| {
            view.files.retain(|file| !of_runs.contains(&Arc::as_ptr(file)));
            let last = gathered.files.first().map(|file| file.sequences.max);
            let place = view.files.partition_point(|file| last.is_none_or(|last| file.sequences.max <= last));
            view.files.splice(place..place, gathered.files.iter().cloned());
        });
        let mut place = Some(gathered);
        for round in &mut self.rounds {
            round.sets.retain_mut(|(_, set)| {
                let is_run = matches!(set, Set::Staged(set) if runs.iter().any(|run| Arc::ptr_eq(run, set)));
                if !is_run {
                    return true;
                }
                let is_first = place.take().map(|gathered| *set = Set::Staged(gathered));
                is_first.is_some()
            });
        }
        self.replaced.extend(runs.iter().flat_map(|run| run.files.iter().cloned()));
    }

    /// Publishes every staged set whose table has no earlier set waiting.
    async fn publish(&mut self, shared: &Arc<Shared>) -> Result<()> {
        let mut result = Ok(());
        let mut waiting = HashSet::new();
        let mut has_removed = false;
        for round in &mut self.rounds {
            let mut left = Vec::new();
            for (table, set) in std::mem::take(&mut round.sets) {
                let Set::Staged(staged) = &set else {
                    waiting.insert(table);
                    left.push((table, set));
                    continue;
                };
                if staged.is_run() || waiting.contains(&table) {
                    waiting.insert(table);
                    left.push((table, set));
                    continue;
                }
                match publish::publish(shared, staged).await {
                    Ok(()) => {
                        has_removed = true;
                        self.replaced.extend(staged.files.iter().cloned());
                        shared.compact_wanted.notify_one();
                    }
                    Err(error) => {
                        result = result.and(Err(error));
                        waiting.insert(table);
                        left.push((table, set));
                    }
                }
            }
            round.sets = left;
        }
        if has_removed { result.and(StagingArea::new(shared).sync()) } else { result }
    }

    /// Removes staged files that nothing reads any more.
    pub(super) fn remove_replaced(&mut self, shared: &Shared) {
        let area = StagingArea::new(shared);
        self.replaced.retain(|file| {
            if Arc::strong_count(file) > 1 {
                return true;
            }
            if let Err(error) = area.remove(file) {
                // It is removed at the next start: no manifest names it.
                tracing::warn!(%error, "a staged file that is in its table could not be removed");
            }
            false
        });
    }
}
