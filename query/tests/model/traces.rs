//! Texts of deleted rows: once an erasure is complete, none of them is in any byte that is left.
//!
//! Each text that is long enough to be looked for is written once in a seed, so where it is found says which row it is of.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use bytes::Bytes;
use datafusion::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use storage::disk::Disk;
use storage::model::FieldValue;

use super::lines::Line;
use super::operation::Deletion;
use super::reference::Tags;

/// What such a text begins with, and how many letters follow.
const MARK: &str = "zq";
const LETTERS: usize = 12;

/// The text of a number.
pub(crate) fn text(number: u64) -> String {
    format!("{MARK}{:012x}", number & 0xFFFF_FFFF_FFFF)
}

/// Texts by what became of their rows.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Traces {
    /// Of every point all texts that it was given.
    written: BTreeMap<(String, i64, Tags), BTreeSet<String>>,
    /// Of deleted rows.
    deleted: BTreeSet<String>,
    /// Of rows whose deletes are erased.
    erased: BTreeSet<String>,
}

impl Traces {
    pub(crate) fn write(&mut self, line: &Line) {
        for text in texts(line) {
            let point = (line.table.clone(), line.time, line.tags.iter().cloned().collect());
            self.written.entry(point).or_default().insert(text);
        }
    }

    pub(crate) fn delete(&mut self, deletion: &Deletion) {
        let deleted = &mut self.deleted;
        self.written.retain(|(table, time, tags), texts| {
            let stays = !deletion.covers(table, *time, tags);
            if !stays {
                deleted.append(texts);
            }
            stays
        });
    }

    /// What is deleted now is nowhere from now on.
    pub(crate) fn erase(&mut self) {
        self.erased.append(&mut self.deleted);
    }

    /// Looks through all files of a disk for what is erased.
    pub(crate) fn check(&self, disk: &dyn Disk, root: &Path) -> Result<(), String> {
        if self.erased.is_empty() {
            return Ok(());
        }
        let mut found = Vec::new();
        visit(disk, root, &mut |path, bytes| {
            let mut texts = marked(&bytes);
            if path.extension().is_some_and(|extension| extension == "parquet") {
                texts.append(&mut stored(bytes));
            }
            found
                .extend(texts.intersection(&self.erased).map(|text| format!("{text} in {}", path.display())));
        });
        if found.is_empty() { Ok(()) } else { Err(format!("erased texts are left: {found:?}")) }
    }
}

/// The texts of a line that can be looked for.
pub(crate) fn texts(line: &Line) -> impl Iterator<Item = String> {
    let text = |(_, value): &(String, FieldValue)| match value {
        FieldValue::Text(text) if text.starts_with(MARK) => Some(text.to_string()),
        _ => None,
    };
    line.fields.iter().filter_map(text)
}

/// The texts that stand in bytes as they are. A checksum may begin like one, and what follows it is none.
fn marked(bytes: &[u8]) -> BTreeSet<String> {
    let length = MARK.len() + LETTERS;
    let starts = bytes.windows(MARK.len()).enumerate().filter(|(_, window)| *window == MARK.as_bytes());
    let texts = starts.filter_map(|(at, _)| std::str::from_utf8(bytes.get(at..at + length)?).ok());
    let is_one = |text: &&str| text.bytes().skip(MARK.len()).all(|letter| letter.is_ascii_hexdigit());
    texts.filter(is_one).map(str::to_owned).collect()
}

/// The texts of the rows of a Parquet file, if it is one.
fn stored(bytes: Vec<u8>) -> BTreeSet<String> {
    let mut texts = BTreeSet::new();
    let Ok(reader) = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(bytes)) else { return texts };
    for batch in reader.build().into_iter().flatten().flatten() {
        for column in batch.columns().iter().filter(|column| *column.data_type() == DataType::Utf8) {
            let column = cast(column, &DataType::Utf8).unwrap();
            texts.extend(column.as_string::<i32>().iter().flatten().map(str::to_owned));
        }
    }
    texts
}

/// The texts of all files.
pub(crate) fn all_in(disk: &dyn Disk, root: &Path) -> BTreeSet<String> {
    let mut texts = BTreeSet::new();
    visit(disk, root, &mut |_, bytes| texts.append(&mut marked(&bytes)));
    texts
}

fn visit(disk: &dyn Disk, path: &Path, visit_file: &mut dyn FnMut(&Path, Vec<u8>)) {
    let found = disk.metadata(path).unwrap();
    if found.is_folder {
        for name in disk.list(path).unwrap() {
            visit(disk, &path.join(name), visit_file);
        }
        return;
    }
    let file: Arc<dyn storage::disk::DiskFile> = Arc::from(disk.open_to_read(path).unwrap());
    let mut bytes = vec![0; usize::try_from(found.bytes).unwrap()];
    let read = file.read_at(0, &mut bytes).unwrap();
    bytes.truncate(read);
    visit_file(path, bytes);
}
