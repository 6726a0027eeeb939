//! One file of the simulated disk: what readers see, and what is on the medium.
//!
//! Invariant: a byte of the two differs only in a dirty sector, or where a failed sync has lost it.

use std::collections::BTreeSet;

use super::Random;

/// Bytes that the medium writes as a whole or not at all.
pub(super) const SECTOR: usize = 512;

#[derive(Debug, Clone, Default)]
pub(super) struct FileState {
    /// What readers see.
    pub(super) content: Vec<u8>,
    /// What is on the medium.
    durable: Vec<u8>,
    /// Sectors that were written and not synced.
    dirty: BTreeSet<usize>,
    /// Whether the length was changed and not synced.
    resized: bool,
}

impl FileState {
    pub(super) fn write(&mut self, offset: usize, bytes: &[u8]) {
        let end = offset + bytes.len();
        if self.content.len() < end {
            self.content.resize(end, 0);
            self.resized = true;
        }
        if let Some(place) = self.content.get_mut(offset..end) {
            place.copy_from_slice(bytes);
        }
        self.dirty.extend(offset / SECTOR..end.div_ceil(SECTOR));
    }

    pub(super) fn resize(&mut self, length: usize) {
        let shorter = length.min(self.content.len());
        self.content.resize(length, 0);
        // The bytes behind the end of the last sector that stays become zeros, or never were anything else.
        self.dirty.extend((!shorter.is_multiple_of(SECTOR)).then_some(shorter / SECTOR));
        self.dirty.extend(shorter / SECTOR..length.div_ceil(SECTOR));
        self.resized = true;
    }

    /// Everything is on the medium.
    pub(super) fn sync(&mut self) {
        // Also when an earlier sync that failed has lost the length.
        self.durable.resize(self.content.len(), 0);
        self.settle(|| true);
    }

    /// The sync failed: of each change nobody knows.
    pub(super) fn fail_sync(&mut self, random: &mut Random) {
        self.settle(|| random.chance(50));
    }

    /// The file after a power cut.
    pub(super) fn survive(mut self, random: &mut Random) -> Self {
        self.settle(|| random.chance(50));
        self.content.clone_from(&self.durable);
        self
    }

    /// Brings to the medium what `is_kept` says; nothing is dirty any more.
    fn settle(&mut self, mut is_kept: impl FnMut() -> bool) {
        if std::mem::take(&mut self.resized) && is_kept() {
            self.durable.resize(self.content.len(), 0);
        }
        for sector in std::mem::take(&mut self.dirty) {
            if !is_kept() {
                continue;
            }
            let start = sector * SECTOR;
            let end = (start + SECTOR).min(self.content.len()).min(self.durable.len());
            let (from, to) = (self.content.get(start..end), self.durable.get_mut(start..end));
            if let (Some(from), Some(to)) = (from, to) {
                to.copy_from_slice(from);
            }
        }
    }
}
