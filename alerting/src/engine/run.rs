//! The engine's loop, on a thread of its own: evaluation and syncs block nobody else.
//!
//! Invariant: while something waits to be recorded or read from the log, nothing is taken from the tap (which
//! cuts the engine off rather than wait); commands are answered all the same.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use storage::clock;
use storage::stream::FrozenStream;
use storage::tap::Next;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval, interval_at, sleep};

use super::Engine;
use crate::error::{Error, Result};
use crate::limits;
use crate::record::RuleChange;
use crate::rule::StoredRule;
use crate::service::{Expect, next_version};

/// How long to wait before a failed write or read is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// What the façade asks of the engine.
pub(crate) enum Command {
    /// Change one rule, if it is as expected. Answers with the rule as it was and as it is.
    Change { change: RuleChange, expect: Expect, reply: oneshot::Sender<Result<Changed>> },
    /// Give the streams as they are between two groups.
    Freeze { reply: oneshot::Sender<Result<Vec<FrozenStream>>> },
    /// Take what the tap holds, snapshot, and end.
    Stop { reply: oneshot::Sender<Result<()>> },
}

/// The rule before and after a change.
pub(crate) struct Changed {
    pub(crate) before: Option<Arc<StoredRule>>,
    pub(crate) after: Option<Arc<StoredRule>>,
}

impl Engine {
    /// Runs until it is told to stop, or until the façade is gone (as in a crash: without a snapshot).
    pub(crate) async fn run(mut self, mut commands: mpsc::Receiver<Command>, snapshot_interval: Duration) {
        let mut silence = interval(limits::SILENCE_INTERVAL);
        // Opening ended with a snapshot: the next one is due an interval later.
        let mut snapshots = interval_at((clock::instant() + snapshot_interval).into(), snapshot_interval);
        for ticks in [&mut silence, &mut snapshots] {
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        }
        loop {
            let recovered = self.recover();
            let working = recovered.is_ok();
            self.shared.metrics.stuck.set(u64::from(!working));
            if let Err(error) = recovered {
                tracing::warn!(%error, "the rules cannot go on; trying again");
            }
            tokio::select! {
                biased;
                command = commands.recv() => match command {
                    None => return,
                    Some(Command::Stop { reply }) => {
                        // Nobody to tell is as good as told.
                        drop(reply.send(self.finish()));
                        return;
                    }
                    Some(Command::Freeze { reply }) => drop(reply.send(self.freeze())),
                    Some(Command::Change { change, expect, reply }) => {
                        drop(reply.send(self.change(change, expect)));
                    }
                },
                () = sleep(RETRY), if !working => {}
                _ = silence.tick(), if working => self.tolerate(Self::silence),
                _ = snapshots.tick(), if working => self.tolerate(Self::snapshot),
                next = self.consumer.next(), if working && !self.closed => self.take(next),
            }
        }
    }

    /// Does an attempt whose failure is seen again, and handled, by [`Self::recover`] or the next tick.
    fn tolerate(&mut self, attempt: fn(&mut Self) -> Result<()>) {
        if let Err(error) = attempt(self) {
            tracing::warn!(%error, "the rules' state could not be recorded");
        }
    }

    fn take(&mut self, next: Next) {
        match next {
            Next::Group(group) => {
                if let Err(error) = self.apply(&group) {
                    tracing::warn!(%error, "a transition could not be recorded");
                    // Applied or not: the log has the group, and the position says whether it is needed.
                    self.behind = true;
                }
            }
            Next::CutOff => {
                self.shared.metrics.cut_offs.add(1);
                self.behind = true;
            }
            Next::CheckpointWanted => self.tolerate(Self::snapshot),
            Next::Closed => self.closed = true,
        }
    }

    /// Records what waits, and reads from the log what the tap dropped.
    fn recover(&mut self) -> Result<()> {
        self.record_waiting()?;
        if !self.behind {
            return Ok(());
        }
        self.pass_gap();
        let source = Arc::clone(&self.shared.source);
        let read = source.read_log(self.position, &mut |group| {
            if self.is_abandoned() {
                return Err(storage::Error::Closing);
            }
            if group.frame > source.let_go_up_to() {
                // Frames may have gone while they were read.
                self.pass_gap();
            }
            self.apply(group).map_err(super::into_storage)
        });
        if let Err(error) = read {
            self.shared.metrics.log_errors.add(1);
            return Err(error.into());
        }
        self.behind = false;
        Ok(())
    }

    fn change(&mut self, change: RuleChange, expect: Expect) -> Result<Changed> {
        let name = match &change {
            RuleChange::Put { spec, .. } => spec.name.clone(),
            RuleChange::Delete { name } => name.clone(),
        };
        let before = self.core.rules().by_name(&name).cloned();
        expect.check(&name, before.as_deref())?;
        let change = match change {
            RuleChange::Put { spec, origin, .. } => {
                if before.is_none() && self.core.rules().len() >= limits::RULES {
                    return Err(Error::LimitExceeded(format!("this node has its {} rules", limits::RULES)));
                }
                RuleChange::Put { spec, origin, version: next_version(before.as_deref()) }
            }
            delete @ RuleChange::Delete { .. } => delete,
        };
        self.change_rules(vec![change])?;
        Ok(Changed { before, after: self.core.rules().by_name(&name).cloned() })
    }

    /// Takes what the tap holds now, or what it dropped from the log, and snapshots. What fails here is done
    /// again by the next start.
    fn finish(&mut self) -> Result<()> {
        self.recover()?;
        while !self.closed {
            match self.consumer.next().now_or_never() {
                Some(Next::Group(group)) => self.apply(&group)?,
                Some(next) => self.take(next),
                None => break,
            }
            self.recover()?;
        }
        self.snapshot()
    }
}
