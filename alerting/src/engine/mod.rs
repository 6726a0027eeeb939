//! The engine: takes committed groups from the tap, records what they did, and keeps its place.
//!
//! The order for a group is: states change in memory, the record (position, cause, transitions) is appended and
//! synced, then history and notifier hear of it. Every so often: snapshot, sync, and only then the tap is told
//! that the log may go.
//!
//! Invariants: ALERT-1 to ALERT-3 of the crate. In particular:
//! - records stand in the alert stream in the order of their effects, and a record that could not be appended
//!   is kept and appended before anything else happens;
//! - a snapshot is taken only when nothing waits to be recorded.

mod columns;
mod core;
mod index;
mod rules;
mod run;
#[cfg(all(test, feature = "failpoints"))]
mod tests;

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hashbrown::HashMap;
use parking_lot::RwLock;
use storage::model::FrameNumber;
use storage::stream::{FrozenStream, RecordNumber, Stream, StreamOptions};
use storage::tap::{CommittedGroup, TapConsumer};

pub(crate) use self::core::Core;
pub(crate) use self::index::Carried;
pub(crate) use self::rules::RuleSet;
pub(crate) use self::run::{Changed, Command};

use crate::error::{Error, Result};
use crate::history::History;
use crate::metrics::Metrics;
use crate::notify::Notifier;
use crate::record::{self, AlertRecord, AlertState, Cause, RuleChange, Transition};
use crate::service::Clock;
use crate::snapshot::{self, Snapshot};
use crate::source::Source;

/// What the engine shares with the façade.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) source: Arc<dyn Source>,
    pub(crate) clock: Clock,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) history: Arc<History>,
    pub(crate) notifier: Arc<Notifier>,
    pub(crate) rules: Arc<RwLock<Arc<RuleSet>>>,
    pub(crate) live: Arc<RwLock<Vec<Arc<Transition>>>>,
    /// Set when the façade is dropped: reading the log ends at the next group.
    pub(crate) abandoned: Arc<AtomicBool>,
}

/// See the module's header.
pub(crate) struct Engine {
    core: Core,
    shared: Shared,
    alerts: Stream,
    snapshots: Stream,
    consumer: TapConsumer,
    /// The frame that was applied last.
    position: FrameNumber,
    /// Of what the log has let go, this far is accounted for.
    passed: FrameNumber,
    /// Position and alert record of the newest snapshot.
    snapshot: (FrameNumber, RecordNumber),
    /// What must be recorded before anything else happens.
    unrecorded: VecDeque<Unrecorded>,
    /// While replaying: the transitions recorded after the snapshot.
    recorded: HashMap<String, Arc<Transition>>,
    /// Whether groups after the position must be read from the log.
    behind: bool,
    closed: bool,
}

struct Unrecorded {
    position: FrameNumber,
    cause: Cause,
    transitions: Vec<Arc<Transition>>,
}

impl Engine {
    /// Opens the streams in `folder`, and replays what the newest snapshot lacks.
    pub(crate) fn open(folder: &Path, options: StreamOptions, shared: Shared) -> Result<Self> {
        // One record per segment, and nothing but the newest stays.
        let newest_only = StreamOptions { segment_bytes: 1, max_bytes: 1, ..options };
        let snapshots = Stream::open(folder.join("rule-state"), newest_only)?;
        let alerts = Stream::open(folder.join("alerts"), options)?;
        let snapshot = newest_snapshot(&snapshots)?;
        let newest = shared.source.newest_frame();
        let start = (snapshot.position.min(newest), snapshot.alert_record);
        if start.0 < snapshot.position {
            tracing::warn!(
                position = snapshot.position.get(),
                newest = newest.get(),
                "the log ends before the rules' position: it is a new one, and what the rules missed of the old one is lost"
            );
        }
        if alerts.last() < start.1 || alerts.first() > start.1.next() {
            return Err(Error::Damaged(format!(
                "the alert stream holds records {} to {}, but the rules' state needs those after {}; restore both from one backup",
                alerts.first(),
                alerts.last(),
                start.1
            )));
        }
        let mut core =
            Core::new(Arc::clone(&shared.source), Arc::clone(&shared.clock), Arc::clone(&shared.metrics));
        core.restore(snapshot.rules, &snapshot.states, snapshot.live);
        let consumer = shared.source.consumer(start.0);
        let mut engine = Self {
            core,
            shared,
            alerts,
            snapshots,
            consumer,
            position: start.0,
            passed: FrameNumber::default(),
            // What is stored: a position that was lowered is snapshotted before any frame is applied.
            snapshot: (snapshot.position, start.1),
            unrecorded: VecDeque::new(),
            recorded: HashMap::new(),
            behind: false,
            closed: false,
        };
        let events = engine.read_alerts()?;
        engine.pass_gap();
        engine.replay(events)?;
        // Frames without rows are not visited, and need not be.
        engine.position = engine.position.max(newest);
        engine.shared.metrics.position.set(engine.position.get());
        engine.core.begin_listening();
        engine.publish();
        Ok(engine)
    }

    /// Reads every alert record that is kept: all go to history and notifier; those after the snapshot are
    /// remembered as recorded, and returned if they are inputs of replay: those that do not follow from the log that is
    /// left.
    fn read_alerts(&mut self) -> Result<VecDeque<AlertRecord>> {
        let (mut events, let_go) = (VecDeque::new(), self.shared.source.let_go_up_to());
        for read in self.alerts.read(RecordNumber::START) {
            let read = read?;
            let mut record = record::decode(&read.payload)?;
            let inputs = record.cause != Cause::Frame || record.position <= let_go.get();
            let transitions =
                if inputs { record.transitions.clone() } else { std::mem::take(&mut record.transitions) };
            for transition in transitions.into_iter().map(Arc::new) {
                self.shared.history.push(Arc::clone(&transition));
                self.shared.notifier.resume(read.number, &transition);
                if read.number > self.snapshot.1 {
                    self.recorded.insert(transition.transition_id.clone(), transition);
                }
            }
            if inputs && read.number > self.snapshot.1 {
                events.push_back(record);
            }
        }
        Ok(events)
    }

    fn replay(&mut self, mut events: VecDeque<AlertRecord>) -> Result<()> {
        let source = Arc::clone(&self.shared.source);
        source.read_log(self.position, &mut |group| {
            while let Some(event) = events.pop_front_if(|e| e.position < group.frame.get()) {
                self.replay_event(&event).map_err(into_storage)?;
            }
            self.apply(group).map_err(into_storage)
        })?;
        for event in events {
            self.replay_event(&event)?;
        }
        self.recorded = HashMap::new();
        Ok(())
    }

    fn replay_event(&mut self, event: &AlertRecord) -> Result<()> {
        let made = match &event.cause {
            // Its frame is gone.
            Cause::Frame => {
                self.core.take_over(&event.transitions);
                Vec::new()
            }
            Cause::Silence => self.core.replay_silence(&event.transitions),
            Cause::Rules { changes } => {
                let rules = self.core.rules().changed(changes)?;
                self.core.change_rules(rules).0
            }
        };
        // The record exists: what it says happened, happened.
        self.shared.metrics.repeated.add(made.len() as u64);
        Ok(())
    }

    /// Applies a group, and records what it did. A group at or below the position was applied before.
    fn apply(&mut self, group: &CommittedGroup) -> Result<()> {
        self.record_waiting()?;
        if group.frame <= self.position {
            return Ok(());
        }
        let transitions = self.core.apply(group);
        self.position = group.frame;
        let recorded = self.record(Cause::Frame, transitions);
        // Who sees the position finds the alerts of its rows.
        self.shared.metrics.position.set(group.frame.get());
        recorded
    }

    /// Goes on behind what the log has let go. States stay as they were: what the missing rows would have changed is
    /// not known, and said.
    fn pass_gap(&mut self) {
        let let_go = self.shared.source.let_go_up_to();
        if let_go > self.passed && let_go > self.position {
            let frames = let_go.get() - self.position.get();
            tracing::warn!(
                after = self.position.get(),
                up_to = let_go.get(),
                "the rules have missed frames of the log, which was not kept while they hung: rows of that time were not evaluated"
            );
            self.shared.metrics.gaps.add(1);
            self.shared.metrics.gap_frames.add(frames);
            self.position = let_go;
            self.shared.metrics.position.set(let_go.get());
        }
        self.passed = self.passed.max(let_go);
    }

    /// Resolves the alerts of silent subjects.
    fn silence(&mut self) -> Result<()> {
        self.record_waiting()?;
        let transitions = self.core.silence();
        self.record(Cause::Silence, transitions)
    }

    /// Makes a change of rules durable and puts it in force, or changes nothing.
    pub(crate) fn change_rules(&mut self, changes: Vec<RuleChange>) -> Result<()> {
        self.record_waiting()?;
        let rules = self.core.rules().changed(&changes)?;
        let (transitions, replaced) = self.core.change_rules(rules);
        if let Err(error) = self.append(self.position, &Cause::Rules { changes }, &transitions) {
            self.core.undo(replaced);
            return Err(error);
        }
        self.publish();
        if let Err(error) = self.snapshot() {
            // The change is recorded; a snapshot only shortens replay.
            tracing::warn!(%error, "no snapshot after a change of rules");
        }
        Ok(())
    }

    /// Snapshots the state, lets the log go up to it, and trims the streams.
    pub(crate) fn snapshot(&mut self) -> Result<()> {
        self.record_waiting()?;
        self.core.forget_unwatched();
        let at = (self.position, self.alerts.last());
        if at != self.snapshot || self.snapshots.last() == RecordNumber::START {
            let bytes = snapshot::encode(&self.core, at.0, at.1)?;
            fail::fail_point!("rules-before-snapshot");
            let number = self.counted(|e| Ok(e.snapshots.append(&bytes, (e.shared.clock)())?))?;
            fail::fail_point!("rules-after-snapshot");
            self.snapshot = at;
            self.shared.metrics.snapshots.add(1);
            self.consumer.checkpointed(at.0);
            fail::fail_point!("rules-after-checkpoint");
            self.snapshots.trim((self.shared.clock)(), number)?;
        }
        let pin = self
            .shared
            .notifier
            .oldest_unsettled()
            .map_or(self.snapshot.1.next(), |n| n.min(self.snapshot.1.next()));
        self.alerts.trim((self.shared.clock)(), pin)?;
        Ok(())
    }

    /// The streams as they are now: no group is half applied, and the snapshot is not newer than the alerts.
    pub(crate) fn freeze(&self) -> Result<Vec<FrozenStream>> {
        // Outcomes last: one that is missing only means that a delivery is repeated, with its key.
        Ok(vec![self.snapshots.freeze()?, self.alerts.freeze()?, self.shared.notifier.freeze()?])
    }

    fn record(&mut self, cause: Cause, transitions: Vec<Arc<Transition>>) -> Result<()> {
        let (mut fresh, before) = (Vec::new(), transitions.len());
        for transition in transitions {
            if let Some(recorded) = self.recorded.get(&transition.transition_id) {
                self.core.replace_live(recorded);
            } else if !self.shared.history.contains(&transition.transition_id) {
                fresh.push(transition);
            }
        }
        self.shared.metrics.repeated.add((before - fresh.len()) as u64);
        if fresh.is_empty() {
            if before > 0 {
                self.publish_live();
            }
            return Ok(());
        }
        self.unrecorded.push_back(Unrecorded { position: self.position, cause, transitions: fresh });
        self.record_waiting()
    }

    fn record_waiting(&mut self) -> Result<()> {
        while let Some(next) = self.unrecorded.pop_front() {
            if let Err(error) = self.append(next.position, &next.cause, &next.transitions) {
                self.unrecorded.push_front(next);
                self.shared.metrics.stuck.set(1);
                return Err(error);
            }
            self.publish_live();
        }
        Ok(())
    }

    /// Appends a record; then, and only then, history and notifier hear of it.
    fn append(
        &mut self,
        position: FrameNumber,
        cause: &Cause,
        transitions: &[Arc<Transition>],
    ) -> Result<()> {
        let bytes = record::encode(position.get(), cause, transitions)?;
        fail::fail_point!("rules-before-record");
        let number = self.counted(|e| Ok(e.alerts.append(&bytes, (e.shared.clock)())?))?;
        fail::fail_point!("rules-after-record");
        for transition in transitions {
            let counter = match transition.state {
                AlertState::Firing => &self.shared.metrics.fired,
                AlertState::Resolved => &self.shared.metrics.resolved,
            };
            counter.add(1);
            self.shared.history.push(Arc::clone(transition));
            self.shared.notifier.enqueue(number, transition);
        }
        Ok(())
    }

    fn counted<T>(&self, write: impl FnOnce(&Self) -> Result<T>) -> Result<T> {
        let result = write(self);
        if result.is_err() {
            self.shared.metrics.stream_errors.add(1);
        }
        result
    }

    /// Shows rules and live alerts to the façade.
    fn publish(&self) {
        *self.shared.rules.write() = Arc::clone(self.core.rules());
        self.publish_live();
    }

    fn publish_live(&self) {
        *self.shared.live.write() = self.core.live().values().cloned().collect();
    }

    fn is_abandoned(&self) -> bool {
        self.shared.abandoned.load(Ordering::Relaxed)
    }
}

fn newest_snapshot(snapshots: &Stream) -> Result<Snapshot> {
    let before = RecordNumber::new(snapshots.last().get().saturating_sub(1));
    match snapshots.read(before).next() {
        Some(record) => snapshot::decode(&record?.payload),
        None => Ok(Snapshot {
            position: FrameNumber::new(0),
            alert_record: RecordNumber::START,
            rules: RuleSet::default(),
            live: Vec::new(),
            states: Vec::new(),
        }),
    }
}

/// The log's reader speaks storage's errors.
fn into_storage(error: Error) -> storage::Error {
    match error {
        Error::Storage(error) => error,
        other => storage::Error::Internal(other.to_string()),
    }
}
