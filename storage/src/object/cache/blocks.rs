//! The blocks of the cache: slots of one file, and in memory what each holds.
//!
//! Invariants: a slot is written while no key refers to it. A reader holds no lock while it reads; whether the
//! slot was given to another block meanwhile is seen afterwards by the slot's turn. The next slot to be reused
//! is found by a clock: a block that was read since the hand last passed stays for one more round.

use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path as FsPath;
use std::sync::Arc;

use bytes::Bytes;
use hashbrown::HashMap;
use object_store::ObjectMeta;
use object_store::path::Path;
use parking_lot::Mutex;

use crate::object::{StoreActivity, blocking};

/// Bytes of a block. A column chunk of a flushed file has 0.1 to 4 MiB; a request to S3 takes as long as the
/// transfer of 1 MiB.
pub(super) const BLOCK_BYTES: u64 = 1 << 20;

/// The file with the slots.
const FILE: &str = "blocks";

/// A block of an object.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) location: Path,
    pub(super) number: u64,
}

/// A block's bytes, and the object that they are of.
#[derive(Debug, Clone)]
pub(super) struct Block {
    pub(super) meta: Arc<ObjectMeta>,
    pub(super) bytes: Bytes,
}

impl Block {
    /// What block `number`, which this is, holds of `range`.
    pub(super) fn part(&self, number: u64, range: Range<u64>) -> Bytes {
        let start = number * BLOCK_BYTES;
        let within = |at: u64| {
            let at = at.saturating_sub(start).min(self.bytes.len() as u64);
            usize::try_from(at).unwrap_or(self.bytes.len())
        };
        let (from, to) = (within(range.start), within(range.end));
        if from < to { self.bytes.slice(from..to) } else { Bytes::new() }
    }
}

#[derive(Debug)]
pub(super) struct Blocks {
    file: Arc<File>,
    slots: usize,
    state: Mutex<State>,
    activity: Arc<StoreActivity>,
}

#[derive(Debug, Default)]
struct State {
    index: HashMap<Key, usize>,
    slots: Vec<Slot>,
    hand: usize,
}

#[derive(Debug, Default)]
struct Slot {
    content: Option<Content>,
    /// Counts what the slot has held.
    turn: u64,
    is_written: bool,
    was_read: bool,
}

#[derive(Debug, Clone)]
struct Content {
    key: Key,
    meta: Arc<ObjectMeta>,
    length: usize,
    checksum: u32,
}

impl Blocks {
    pub(super) fn open(folder: &FsPath, bytes: u64, activity: Arc<StoreActivity>) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let options = File::options().read(true).write(true).create(true).truncate(true).clone();
        let file = Arc::new(options.open(folder.join(FILE))?);
        let slots = usize::try_from(bytes / BLOCK_BYTES).unwrap_or(usize::MAX);
        Ok(Self { file, slots, state: Mutex::default(), activity })
    }

    /// The block, when it is there and is what was put there.
    pub(super) async fn read(&self, key: &Key) -> Option<Block> {
        let (number, turn, content) = {
            let mut state = self.state.lock();
            let number = *state.index.get(key)?;
            let slot = state.slots.get_mut(number)?;
            slot.was_read = true;
            (number, slot.turn, slot.content.clone()?)
        };
        let file = Arc::clone(&self.file);
        let read = blocking(move || {
            let mut bytes = vec![0; content.length];
            let read = file.read_exact_at(&mut bytes, number as u64 * BLOCK_BYTES);
            Ok((read.is_ok() && crc32c::crc32c(&bytes) == content.checksum).then_some(bytes))
        });
        let bytes = read.await.ok().flatten();
        let mut state = self.state.lock();
        let is_same = state.slots.get(number).is_some_and(|slot| slot.turn == turn);
        match bytes {
            Some(bytes) if is_same => Some(Block { meta: content.meta, bytes: bytes.into() }),
            None if is_same => {
                StoreActivity::add(&self.activity.cache_damaged, 1);
                state.release(number);
                None
            }
            // The slot holds another block by now.
            _ => None,
        }
    }

    /// Keeps a block, if a slot can be had and written.
    pub(super) async fn write(self: &Arc<Self>, key: Key, block: Block) {
        let Some(number) = self.state.lock().claim(&key, self.slots) else { return };
        let blocks = Arc::clone(self);
        // As one piece of work, which also ends when nobody waits for it: a claimed slot would stay so.
        let work = blocking(move || {
            let Block { meta, bytes } = block;
            let written = blocks.file.write_all_at(&bytes, number as u64 * BLOCK_BYTES);
            let content = Content { key, meta, length: bytes.len(), checksum: crc32c::crc32c(&bytes) };
            blocks.state.lock().fill(number, written.is_ok().then_some(content));
            Ok(written)
        });
        if let Ok(Err(error)) = work.await {
            tracing::debug!(%error, "a block could not be cached");
        }
    }

    /// Drops all blocks, and cuts the file. A block that is being written meanwhile may be lost, which its checksum
    /// tells. Blocks.
    pub(super) fn clear(&self) -> io::Result<u64> {
        let mut state = self.state.lock();
        for number in 0..state.slots.len() {
            state.release(number);
        }
        let bytes = self.file.metadata()?.len();
        self.file.set_len(0)?;
        self.file.sync_all()?;
        Ok(bytes)
    }

    /// Drops all blocks of an object.
    pub(super) fn forget(&self, location: &Path) {
        let mut state = self.state.lock();
        let of_object = |key: &&Key| key.location == *location;
        let keys: Vec<Key> = state.index.keys().filter(of_object).cloned().collect();
        for key in keys {
            if let Some(number) = state.index.get(&key).copied() {
                state.release(number);
            }
        }
    }
}

impl State {
    /// A slot to write `key` to; `None` when it is there already or all slots are being written.
    fn claim(&mut self, key: &Key, most: usize) -> Option<usize> {
        if self.index.contains_key(key) {
            return None;
        }
        if self.slots.len() < most {
            self.slots.push(Slot { is_written: true, ..Slot::default() });
            return Some(self.slots.len() - 1);
        }
        // Two rounds: the first may only take back what was read.
        for _ in 0..2 * self.slots.len() {
            let number = self.hand;
            self.hand = (self.hand + 1) % self.slots.len();
            let slot = self.slots.get_mut(number)?;
            if !slot.is_written && !std::mem::take(&mut slot.was_read) {
                self.release(number);
                self.slots.get_mut(number)?.is_written = true;
                return Some(number);
            }
        }
        None
    }

    fn fill(&mut self, number: usize, content: Option<Content>) {
        let Some(slot) = self.slots.get_mut(number) else { return };
        slot.is_written = false;
        if let Some(content) = content {
            self.index.insert(content.key.clone(), number);
            slot.content = Some(content);
        }
    }

    fn release(&mut self, number: usize) {
        let Some(slot) = self.slots.get_mut(number) else { return };
        slot.turn += 1;
        if let Some(content) = slot.content.take() {
            self.index.remove(&content.key);
        }
    }
}
