//! `definitions.log`: what the ids of trimmed segments mean (KEY-3).
//!
//! A list of records, each `u32` length, `u32` CRC-32C of the payload, and the payload: a definitions section
//! as in a frame. Before segments are trimmed, the definitions that they hold are appended here and synced; so
//! a torn record at the end holds only definitions that are still in the log, and is cut. Each append ends with
//! a record without definitions, written after the sync: it proves that the one before it was durable, as an
//! empty frame does in the log (LOG-3). Bad bytes before a good record are damage, and refused.
//!
//! When most of the file is of series that the index has forgotten, it is written anew from catalog and index, which
//! hold all that a row of the log can need, and takes the old one's place by a rename.

use std::io::ErrorKind;
use std::path::Path;

use parking_lot::Mutex;

use super::{Layout, Shared};
use crate::catalog::Definition;
use crate::disk::{Disk, DiskFile};
use crate::error::{Error, Result};
use crate::log::{EncodedDefinitions, decode_group};

const HEADER_BYTES: usize = 8;

/// Definitions of one record of a file that is written anew.
const DEFINITIONS_PER_RECORD: usize = 1 << 16;

/// Definitions on their way to `definitions.log`.
#[derive(Debug)]
pub(crate) struct Logged {
    /// Those in the log that are not in the file yet.
    waiting: Mutex<EncodedDefinitions>,
    /// Held by whoever writes the file.
    writing: Mutex<()>,
}

impl Logged {
    /// These wait to be written.
    pub(super) fn new(waiting: EncodedDefinitions) -> Self {
        Self { waiting: Mutex::new(waiting), writing: Mutex::default() }
    }

    /// Adds what has become durable in the log.
    pub(super) fn append(&self, definitions: &mut EncodedDefinitions) {
        self.waiting.lock().append(definitions);
    }

    /// Hands what waits to whoever writes it; what could not be written waits again. Those that come meanwhile do not wait
    /// for the disk, and are not lost with it.
    fn write(&self, write: impl FnOnce(&EncodedDefinitions) -> Result<()>) -> Result<()> {
        let _one_at_a_time = self.writing.lock();
        let mut taken = Taken { definitions: std::mem::take(&mut *self.waiting.lock()), from: self };
        write(&taken.definitions)?;
        taken.definitions = EncodedDefinitions::default();
        Ok(())
    }
}

/// Definitions that are being written. Those that are not when it is dropped, by an error or a panic, wait again.
struct Taken<'a> {
    definitions: EncodedDefinitions,
    from: &'a Logged,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let mut waiting = self.from.waiting.lock();
        self.definitions.append(&mut waiting);
        *waiting = std::mem::take(&mut self.definitions);
    }
}

/// Makes durable in `definitions.log` what the log defines, so that it may be trimmed.
pub(super) fn save(shared: &Shared) -> Result<()> {
    let disk = &*shared.config.disk;
    let path = Layout(&shared.config.data_dir).definitions();
    shared.logged.write(|logged| {
        if is_mostly_dead(shared, disk, &path)? {
            rewrite_held(shared, disk, &path)
        } else {
            append(disk, &path, logged)
        }
    })
}

/// Writes `definitions.log` anew, whatever part of it is dead. `false`, and it is only added to, if it says that
/// definitions were lost.
pub(super) fn renew(shared: &Shared) -> Result<bool> {
    if shared.has_lost_definitions {
        save(shared)?;
        return Ok(false);
    }
    let path = Layout(&shared.config.data_dir).definitions();
    shared.logged.write(|_| rewrite_held(shared, &*shared.config.disk, &path))?;
    Ok(true)
}

/// Writes the file anew from catalog and index.
fn rewrite_held(shared: &Shared, disk: &dyn Disk, path: &Path) -> Result<()> {
    let series = shared.series.held().into_iter();
    let series = series.map(|(id, table, key)| Definition::Series { id, table, key });
    rewrite(disk, path, shared.catalog.definitions().into_iter().chain(series))
}

/// Whether less than half of the file is of series that the index still holds. A file that says that definitions
/// were lost stays as it is: it keeps their ids from being given again.
fn is_mostly_dead(shared: &Shared, disk: &dyn Disk, path: &Path) -> Result<bool> {
    let bytes = match disk.metadata(path) {
        Ok(found) => usize::try_from(found.bytes).unwrap_or(usize::MAX),
        Err(error) if error.io_kind() == Some(ErrorKind::NotFound) => 0,
        Err(error) => return Err(error),
    };
    let live = shared.series.definition_bytes() + shared.config.series_memory / 64;
    Ok(bytes > 2 * live && !shared.has_lost_definitions)
}

/// Writes a file of these definitions in the place of the old one.
fn rewrite(disk: &dyn Disk, path: &Path, definitions: impl Iterator<Item = Definition>) -> Result<()> {
    let folder = path.parent().unwrap_or(path);
    let new = path.with_extension("new");
    let file = disk.open(&new, true)?;
    file.set_length(0)?;
    let mut definitions = definitions.peekable();
    let mut end = 0;
    while definitions.peek().is_some() {
        let mut section = EncodedDefinitions::default();
        definitions.by_ref().take(DEFINITIONS_PER_RECORD).try_for_each(|d| section.push(&d))?;
        end = write_record(&*file, end, &section)?;
    }
    file.write_at(end, &proof())?;
    file.sync()?;
    disk.rename(&new, path)?;
    disk.sync_folder(folder)
}

/// Appends definitions, durably.
pub(super) fn append(disk: &dyn Disk, path: &Path, definitions: &EncodedDefinitions) -> Result<()> {
    if definitions.is_empty() {
        return Ok(());
    }
    let file = disk.open(path, true)?;
    let end = file.length()?;
    if let Err(error) = append_proven(&*file, end, definitions) {
        // What is on the medium is unknown: the next record takes its place, not the one behind it.
        if let Err(error) = file.set_length(end) {
            tracing::warn!(%error, path = %path.display(), "a record that was not synced could not be cut");
        }
        return Err(error);
    }
    disk.sync_folder(path.parent().unwrap_or(path))
}

/// Writes a record, which with a million new series has a hundred megabytes. Says where it ends.
fn write_record(file: &dyn DiskFile, at: u64, definitions: &EncodedDefinitions) -> Result<u64> {
    let payload = definitions.bytes();
    let length = u32::try_from(payload.len())
        .map_err(|_| Error::LimitExceeded("definitions since the last trim exceed 4 GiB".into()))?;
    let head = [length.to_le_bytes(), crc32c::crc32c(payload).to_le_bytes()].concat();
    let begin = at + head.len() as u64;
    file.write_at(at, &head)?;
    file.write_at(begin, payload)?;
    Ok(begin + payload.len() as u64)
}

/// Writes a record, and behind it what says that it was durable.
fn append_proven(file: &dyn DiskFile, end: u64, definitions: &EncodedDefinitions) -> Result<()> {
    let end = write_record(file, end, definitions)?;
    file.sync()?;
    file.write_at(end, &proof())?;
    file.sync()
}

/// A record without definitions.
fn proof() -> [u8; HEADER_BYTES + 4] {
    let mut record = [0; HEADER_BYTES + 4];
    let checksum = crc32c::crc32c(&[0; 4]).to_le_bytes();
    for (place, byte) in record.iter_mut().zip(4_u32.to_le_bytes().into_iter().chain(checksum)) {
        *place = byte;
    }
    record
}

/// Reads all definitions and cuts a torn record at the end.
pub(super) fn load(disk: &dyn Disk, path: &Path) -> Result<Vec<Definition>> {
    let file = disk.open(path, true)?;
    let read = read(&*file, path)?;
    if read.torn > 0 {
        file.set_length(read.valid)?;
    }
    // A sync of the last record may have failed in a process that was killed: what is read may not be on the medium.
    // Those before it were synced first.
    file.write_at(read.valid - read.last.len() as u64, &read.last)?;
    file.sync()?;
    Ok(read.definitions)
}

/// What `definitions.log` holds.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) definitions: Vec<Definition>,
    /// The last whole record.
    last: Vec<u8>,
    /// Bytes of whole records.
    pub(crate) valid: u64,
    /// Bytes of a torn record behind them.
    pub(crate) torn: u64,
}

/// Reads `definitions.log` and changes nothing.
pub(crate) fn read(file: &dyn DiskFile, path: &Path) -> Result<Loaded> {
    let length =
        usize::try_from(file.length()?).map_err(|_| Error::Damaged("definitions.log is too large".into()))?;
    let mut bytes = vec![0; length];
    let read = file.read_at(0, &mut bytes)?;
    bytes.truncate(read);
    let mut definitions = Vec::new();
    let mut rest = bytes.as_slice();
    let mut last: &[u8] = &[];
    while let Some((payload, next)) = record(rest) {
        definitions.extend(decode_group(payload)?.0);
        last = rest.get(..rest.len() - next.len()).unwrap_or_default();
        rest = next;
    }
    let valid = bytes.len() - rest.len();
    refuse_damage(path, valid, rest)?;
    Ok(Loaded { definitions, last: last.to_vec(), valid: valid as u64, torn: rest.len() as u64 })
}

/// The first record's payload and what follows it; `None` when it is torn.
fn record(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<HEADER_BYTES>()?;
    let length = u32::from_le_bytes(*head.first_chunk()?) as usize;
    let checksum = u32::from_le_bytes(*head.last_chunk()?);
    let (payload, rest) = rest.split_at_checked(length)?;
    (crc32c::crc32c(payload) == checksum).then_some((payload, rest))
}

/// A record that is bad though a good one follows it was durable: that is damage, not a torn end. Its length may
/// be what is damaged, so every place behind it is looked at.
fn refuse_damage(path: &Path, at: usize, rest: &[u8]) -> Result<()> {
    let follows = (1..rest.len()).find(|at| {
        let here = rest.get(*at..).unwrap_or_default();
        // A payload begins with a count; almost no place has a plausible one, so few checksums are computed.
        let plausible = here.get(HEADER_BYTES..).and_then(|payload| payload.first_chunk::<4>());
        let count = plausible.map_or(usize::MAX, |count| u32::from_le_bytes(*count) as usize);
        count <= here.len() && record(here).is_some_and(|(payload, _)| !payload.is_empty())
    });
    match follows {
        None => Ok(()),
        Some(next) => Err(Error::Damaged(format!(
            "{} is damaged at byte {at}: the definitions up to byte {} are lost; restore the file from a backup",
            path.display(),
            at + next
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::{load, proof, rewrite};
    use crate::catalog::Definition;
    use crate::disk::LocalDisk;
    use crate::error::{ErrorKind, Result};
    use crate::log::encode_definitions;
    use crate::model::DatabaseName;

    fn databases(names: &[&str]) -> Vec<Definition> {
        let database = |name: &&str| Definition::Database { name: DatabaseName::new(name).unwrap() };
        names.iter().map(database).collect()
    }

    fn append(disk: &LocalDisk, path: &std::path::Path, definitions: &[Definition]) -> Result<()> {
        super::append(disk, path, &encode_definitions(definitions).unwrap())
    }

    #[test]
    fn a_file_that_is_written_anew_holds_only_what_it_was_given_and_can_be_added_to() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("definitions.log");
        append(&LocalDisk, &path, &databases(&["old", "one"])).unwrap();
        let names: Vec<String> = (0..super::DEFINITIONS_PER_RECORD + 1).map(|n| format!("d{n}")).collect();
        let mut kept = databases(&names.iter().map(String::as_str).collect::<Vec<_>>());
        rewrite(&LocalDisk, &path, kept.clone().into_iter()).unwrap();
        assert_eq!(load(&LocalDisk, &path).unwrap(), kept);
        append(&LocalDisk, &path, &databases(&["new"])).unwrap();
        kept.extend(databases(&["new"]));
        assert_eq!(load(&LocalDisk, &path).unwrap(), kept);
    }

    #[test]
    fn a_flipped_bit_in_any_record_is_damage_also_in_its_length() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("definitions.log");
        append(&LocalDisk, &path, &databases(&["one", "two"])).unwrap();
        append(&LocalDisk, &path, &databases(&["three"])).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for at in 0..whole.len() - proof().len() {
            for bit in 0..8 {
                let mut bytes = whole.clone();
                bytes[at] ^= 1 << bit;
                std::fs::write(&path, bytes).unwrap();
                let error = load(&LocalDisk, &path).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Damaged, "bit {bit} of byte {at}: {error}");
            }
        }
    }

    #[test]
    fn a_torn_record_at_the_end_is_cut() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("definitions.log");
        append(&LocalDisk, &path, &databases(&["one", "two"])).unwrap();
        let before = std::fs::read(&path).unwrap().len();
        append(&LocalDisk, &path, &databases(&["three"])).unwrap();
        let whole = std::fs::read(&path).unwrap();
        let end = whole.len() - proof().len();
        for cut in before..whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let expected =
                if cut < end { databases(&["one", "two"]) } else { databases(&["one", "two", "three"]) };
            assert_eq!(load(&LocalDisk, &path).unwrap(), expected, "cut at {cut}");
            append(&LocalDisk, &path, &databases(&["four"])).unwrap();
            assert_eq!(load(&LocalDisk, &path).unwrap().len(), expected.len() + 1);
        }
    }
}
