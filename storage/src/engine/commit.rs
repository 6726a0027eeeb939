//! The way of a group of batches through log, disk and memory, as types: what is not [`Durable`] cannot be
//! made visible, and what is not [`Visible`] has no sequence to acknowledge with.

use std::sync::Arc;

use super::{Shared, batch_sequences};
use crate::clock;
use crate::error::Result;
use crate::log::{EncodedBatch, EncodedDefinitions, FrameHeader, decode_group};
use crate::model::{FrameNumber, Sequence, WriteBatch};
use crate::series::SeriesPin;
use crate::tap::CommittedGroup;

/// The one writer's end of an engine.
#[derive(Debug)]
pub struct Committer {
    shared: Arc<Shared>,
    last_sequence: Sequence,
    /// Definitions taken from the queue and not yet durable.
    definitions: EncodedDefinitions,
    /// Retentions among them.
    retentions: usize,
    /// Whether a frame with content was written since the last empty one (LOG-3).
    unconfirmed: bool,
}

/// A group that is written to the log, and not yet durable.
#[must_use = "a group that is not synced is lost by a crash"]
#[derive(Debug)]
pub struct Appended<'a> {
    committer: &'a mut Committer,
    frame: FrameNumber,
    sequence: Sequence,
    batches: Vec<Arc<WriteBatch>>,
    /// The oldest pin of the batches: it keeps what each of them keeps.
    pin: Option<SeriesPin>,
}

/// A group that survives a crash, and is not yet visible.
#[must_use = "a group that is not published cannot be read"]
#[derive(Debug)]
pub struct Durable<'a> {
    appended: Appended<'a>,
}

/// A group that is durable and visible: it may be acknowledged.
#[derive(Debug, Clone, Copy)]
pub struct Visible {
    /// The sequence of the group's last batch.
    pub sequence: Sequence,
    /// The frame that holds the group.
    pub frame: FrameNumber,
}

impl Committer {
    pub(super) fn new(shared: Arc<Shared>, last_sequence: Sequence) -> Self {
        Self {
            shared,
            last_sequence,
            definitions: EncodedDefinitions::default(),
            retentions: 0,
            unconfirmed: false,
        }
    }

    /// What the parts of the engine share.
    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Writes the batches to the log as one frame, with every definition that they can need (KEY-3).
    ///
    /// # Errors
    /// The failure of the log, after which nothing of the group is in it.
    pub fn append(&mut self, group: Vec<EncodedBatch>) -> Result<Appended<'_>> {
        // Whatever a batch refers to was queued before the batch was handed over.
        for definition in self.shared.definitions.drain() {
            self.definitions.push(&definition)?;
            self.retentions += usize::from(definition.is_retention());
        }
        let mut parts = Vec::with_capacity(group.len() + 1);
        parts.push(self.definitions.bytes());
        parts.extend(group.iter().map(|batch| batch.bytes.as_slice()));
        let (appended, sequence) = {
            let mut log = self.shared.log.lock();
            let seen = self.last_sequence.max(self.shared.cluster.floor());
            let first = seen.next(clock::now().unix_millis());
            let sequence = Sequence::new(first.get() + group.len().saturating_sub(1) as u64);
            let appended = log.append(sequence, &parts);
            if appended.is_ok() {
                self.shared.cluster.note_appended(sequence);
            }
            self.shared.disk_use.set_log(log.bytes());
            (appended, sequence)
        };
        let frame = self.shared.noting_fault(appended)?;
        self.last_sequence = sequence;
        self.unconfirmed = true;
        let pin = group.iter().filter_map(|encoded| encoded.pin.clone()).min();
        let batches = group.into_iter().map(|encoded| encoded.batch).collect();
        Ok(Appended { committer: self, frame, sequence, batches, pin })
    }

    /// Adds an empty synced frame, if the last one was not empty, so that a later crash cannot make durable
    /// frames look like a torn tail (LOG-3). Call it when nothing was written for a while, and at the end.
    ///
    /// # Errors
    /// The failure of the log.
    pub fn confirm(&mut self) -> Result<()> {
        if !self.unconfirmed {
            return Ok(());
        }
        let confirmed = {
            let mut log = self.shared.log.lock();
            log.append(self.last_sequence, &[]).and_then(|_| log.sync())
        };
        self.shared.noting_fault(confirmed)?;
        self.unconfirmed = false;
        Ok(())
    }
}

impl<'a> Appended<'a> {
    /// Waits until the group is on the medium (`fdatasync`).
    ///
    /// # Errors
    /// [`Error::LogPoisoned`](crate::Error::LogPoisoned): whether the group is durable is unknown, and the log
    /// takes no more (LOG-4).
    pub fn sync(self) -> Result<Durable<'a>> {
        let shared = &self.committer.shared;
        let synced = shared.log.lock().sync();
        shared.noting_fault(synced)?;
        shared.definitions.synced(std::mem::take(&mut self.committer.retentions));
        shared.logged.append(&mut self.committer.definitions);
        Ok(Durable { appended: self })
    }
}

impl Durable<'_> {
    /// Makes the group visible to queries, all of it at once, and offers it to the tap.
    pub fn publish(self) -> Visible {
        let Appended { committer, frame, sequence, batches, pin } = self.appended;
        let shared = &committer.shared;
        if batches.iter().any(|batch| !batch.is_empty()) {
            shared.tap.owe(frame);
        }
        let sequences = batch_sequences(sequence, batches.len());
        let changes =
            sequences.zip(&batches).flat_map(|(s, batch)| batch.changes().map(move |change| (s, change)));
        let bytes = shared.view.apply(frame, sequence, changes, pin.as_ref());
        shared.account(bytes);
        if batches.iter().any(|batch| !batch.deletes.is_empty()) {
            shared.compact_wanted.notify_one();
            shared.cluster.want_refresh();
        }
        if batches.iter().any(|batch| !batch.is_empty()) {
            let bytes = batches.iter().map(|batch| batch.memory_bytes()).sum();
            shared.tap.publish(&Arc::new(CommittedGroup { frame, sequence, batches, bytes }));
        }
        Visible { sequence, frame }
    }
}

/// The group in a frame of the log.
pub(super) fn group_of(header: &FrameHeader, payload: &[u8]) -> Result<CommittedGroup> {
    let (_, batches) = decode_group(payload)?;
    let bytes = batches.iter().map(WriteBatch::memory_bytes).sum();
    let batches = batches.into_iter().map(Arc::new).collect();
    Ok(CommittedGroup { frame: header.number, sequence: header.sequence, batches, bytes })
}
