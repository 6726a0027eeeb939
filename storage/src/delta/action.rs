//! A data file as Delta Lake's `add` action, and back.
//!
//! Invariants: what [`from_file`] wrote, [`to_file`] gives back exactly, also through a checkpoint. Whatever plans
//! rely on (path, size, day, times, sequences, rows, checksum, statistics) is covered by a checksum of its own, so
//! a changed bit in the table's log is an error and never a file left out or a row more.

use std::collections::HashMap;

use deltalake_core::kernel::{Add, Remove};
use object_store::path::Path;

use crate::error::{Error, Result};
use crate::layout::{DATE_COLUMN, date_text, parse_date};
use crate::model::{DataFile, FilePlace, Sequence, SequenceRange, TimeRange, Timestamp};

const MIN_SEQUENCE: &str = "busbar.minSequence";
const MAX_SEQUENCE: &str = "busbar.maxSequence";
/// Nanoseconds since 1970, which the statistics cannot hold.
const MIN_TIME: &str = "busbar.minTime";
const MAX_TIME: &str = "busbar.maxTime";
/// The sequence of the last delete that was applied; files from before there were deletes lack it.
const DELETED_UP_TO: &str = "busbar.deletedUpTo";
const ROWS: &str = "busbar.rows";
/// CRC-32C of the whole file, eight hexadecimal digits.
const CHECKSUM: &str = "busbar.crc32c";
/// CRC-32C of what the action says, eight hexadecimal digits: see [`action_checksum`].
const ACTION_CHECKSUM: &str = "busbar.actionCrc32c";

/// The action that adds `file` to the table in `folder`, at `now_ms` since 1970.
pub(super) fn from_file(folder: &Path, file: &DataFile, now_ms: i64) -> Result<Add> {
    let path = path_in(folder, file)?;
    let tags = [
        (MIN_SEQUENCE, file.sequences.min.to_string()),
        (MAX_SEQUENCE, file.sequences.max.to_string()),
        (MIN_TIME, file.times.min.nanos().to_string()),
        (MAX_TIME, file.times.max.nanos().to_string()),
        (ROWS, file.rows.to_string()),
        (DELETED_UP_TO, file.deleted_up_to.to_string()),
        (CHECKSUM, format!("{:08x}", file.checksum)),
    ];
    let mut add = Add {
        path,
        partition_values: HashMap::from([(DATE_COLUMN.to_owned(), Some(date_text(file.date)?))]),
        size: i64::try_from(file.bytes).map_err(|_| Error::Internal("a file beyond 8 EiB".to_owned()))?,
        modification_time: now_ms,
        data_change: true,
        stats: Some(file.stats.clone()),
        tags: Some(tags.into_iter().map(|(key, value)| (key.to_owned(), Some(value))).collect()),
        ..Add::default()
    };
    let checksum = format!("{:08x}", action_checksum(&add));
    if let Some(tags) = &mut add.tags {
        tags.insert(ACTION_CHECKSUM.to_owned(), Some(checksum));
    }
    Ok(add)
}

/// Covers everything of an action that readers rely on, in one order whatever the order in the log.
fn action_checksum(add: &Add) -> u32 {
    let tag = |key: &str| add.tags.as_ref().and_then(|tags| tags.get(key)?.as_deref());
    let tags = [MIN_SEQUENCE, MAX_SEQUENCE, MIN_TIME, MAX_TIME, ROWS, CHECKSUM];
    let tags = tags.map(|key| tag(key).unwrap_or_default());
    let date = add.partition_values.get(DATE_COLUMN).and_then(Option::as_deref).unwrap_or_default();
    let size = add.size.to_string();
    let texts = [add.path.as_str(), &size, date, add.stats.as_deref().unwrap_or_default()];
    texts.into_iter().chain(tags).chain(tag(DELETED_UP_TO)).fold(0, |checksum, text| {
        // With its length, so that no text can borrow from its neighbour.
        let length = (text.len() as u64).to_le_bytes();
        crc32c::crc32c_append(crc32c::crc32c_append(checksum, &length), text.as_bytes())
    })
}

/// The action that removes `file` from the table in `folder`, at `now_ms` since 1970. Without `data_change` other files
/// hold all its rows.
pub(super) fn removal(folder: &Path, file: &DataFile, now_ms: i64, data_change: bool) -> Result<Remove> {
    Ok(Remove {
        path: path_in(folder, file)?,
        deletion_timestamp: Some(now_ms),
        data_change,
        extended_file_metadata: Some(true),
        partition_values: Some(HashMap::from([(DATE_COLUMN.to_owned(), Some(date_text(file.date)?))])),
        size: i64::try_from(file.bytes).ok(),
        ..Remove::default()
    })
}

/// The path of a file from its table's folder.
fn path_in(folder: &Path, file: &DataFile) -> Result<String> {
    let parts = file.path.prefix_match(folder).filter(|_| file.place == FilePlace::Table);
    let parts = parts.ok_or_else(|| Error::Internal(format!("{} is not in {folder}", file.path)))?;
    Ok(parts.map(|part| part.as_ref().to_owned()).collect::<Vec<_>>().join("/"))
}

/// The file that an action of the table in `folder` added.
pub(super) fn to_file(folder: &Path, add: Add) -> Result<DataFile> {
    let read = Tags { folder, add: &add };
    let date = add.partition_values.get(DATE_COLUMN).and_then(|text| parse_date(text.as_deref()?));
    let checksum = read.text(CHECKSUM)?;
    if read.text(ACTION_CHECKSUM)? != format!("{:08x}", action_checksum(&add)) {
        return Err(read.lacks(ACTION_CHECKSUM));
    }
    Ok(DataFile {
        place: FilePlace::Table,
        path: Path::parse(format!("{folder}/{}", add.path)).map_err(|_| read.lacks("path"))?,
        date: date.ok_or_else(|| read.lacks(DATE_COLUMN))?,
        rows: read.number(ROWS)?,
        bytes: u64::try_from(add.size).map_err(|_| read.lacks("size"))?,
        checksum: u32::from_str_radix(checksum, 16).map_err(|_| read.lacks(CHECKSUM))?,
        times: TimeRange::new(
            Timestamp::from_nanos(read.number(MIN_TIME)?),
            Timestamp::from_nanos(read.number(MAX_TIME)?),
        ),
        sequences: SequenceRange {
            min: Sequence::new(read.number(MIN_SEQUENCE)?),
            max: Sequence::new(read.number(MAX_SEQUENCE)?),
        },
        deleted_up_to: match read.text(DELETED_UP_TO) {
            Ok(_) => Sequence::new(read.number(DELETED_UP_TO)?),
            Err(_) => Sequence::ZERO,
        },
        stats: add.stats.clone().unwrap_or_default(),
    })
}

/// The tags of an action that must be there.
struct Tags<'a> {
    folder: &'a Path,
    add: &'a Add,
}

impl<'a> Tags<'a> {
    fn text(&self, key: &str) -> Result<&'a str> {
        let tag = self.add.tags.as_ref().and_then(|tags| tags.get(key));
        tag.and_then(Option::as_deref).ok_or_else(|| self.lacks(key))
    }

    fn number<T: std::str::FromStr>(&self, key: &str) -> Result<T> {
        self.text(key)?.parse().map_err(|_| self.lacks(key))
    }

    fn lacks(&self, what: &str) -> Error {
        let (folder, path) = (self.folder, &self.add.path);
        Error::Damaged(format!(
            "the log of table {folder} is damaged, or another engine has added to it: the entry of the file {path} has no \
             valid {what}; restore the table from a backup"
        ))
    }
}
