//! What a backup is: the list of its files with the checksum of each, and the moment that they are of.
//!
//! A manifest is JSON with its own CRC-32C as the last line. It is written last, and created only if nothing has its
//! name; so a backup with a manifest is whole.

use std::fmt;

use chrono::{DateTime, Utc};
use object_store::path::Path;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::flush::signed;
use crate::model::Sequence;

/// The version of the format that this code writes, and the newest that it reads.
const FORMAT: u32 = 1;

/// The name of a manifest in its backup's folder.
pub(super) const MANIFEST: &str = "manifest.json";

/// The folder of the files that backups share.
pub(super) const SHARED: &str = "files";

/// The folder of a data directory's tables.
pub(super) const TABLES: &str = "tables/";

/// The time of a backup in its name: such names sort by time.
const TIME_FORMAT: &str = "%Y%m%dT%H%M%S%3fZ";

/// The name of a backup: its time (UTC, to the millisecond) and its sequence, `20261126T081500123Z-0000019a3c…`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BackupId(String);

/// One backup.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Manifest {
    format: u32,
    /// Its name.
    pub id: BackupId,
    /// The moment that it is of, in milliseconds since 1970.
    pub unix_millis: u64,
    /// Every batch up to this sequence is in it, and none above.
    pub sequence: u64,
    /// The last frame of its log.
    pub frame: u64,
    /// The epoch of its log.
    pub epoch: String,
    /// The version of the program that wrote it.
    pub program: String,
    /// Its files, by path.
    pub files: Vec<Entry>,
}

/// One file of a backup.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Entry {
    /// Its path in the data directory, with `/` on every system.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// CRC-32C of all of it.
    pub crc32c: u32,
    /// Whether other backups of the same place may have it too.
    pub shared: bool,
}

impl BackupId {
    pub(super) fn new(unix_millis: u64, sequence: Sequence) -> Self {
        let time =
            i64::try_from(unix_millis).ok().and_then(DateTime::from_timestamp_millis).unwrap_or_default();
        Self(format!("{}-{:016x}", time.format(TIME_FORMAT), sequence.get()))
    }

    /// The name that this text is; `None` when it is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (time, sequence) = text.split_once('-')?;
        let is_time = time.len() == 19
            && time.bytes().enumerate().all(|(at, byte)| match at {
                8 => byte == b'T',
                18 => byte == b'Z',
                _ => byte.is_ascii_digit(),
            });
        let is_sequence = sequence.len() == 16 && u64::from_str_radix(sequence, 16).is_ok();
        (is_time && is_sequence).then(|| Self(text.to_owned()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Where an object of this backup lies.
    pub(super) fn place(&self, path: &str) -> Result<Path> {
        Ok(Path::parse(format!("{}/{path}", self.0)).map_err(object_store::Error::from)?)
    }
}

impl fmt::Display for BackupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Entry {
    /// Where the file lies at the backup's place.
    pub(super) fn place(&self, id: &BackupId) -> Result<Path> {
        if self.shared {
            // The checksum belongs to the name: what two backups share is the same, whatever it is called.
            let path = self.path.strip_prefix(TABLES).unwrap_or(&self.path);
            let place = format!("{SHARED}/{path}.{:08x}", self.crc32c);
            return Ok(Path::parse(place).map_err(object_store::Error::from)?);
        }
        id.place(&format!("data/{}", self.path))
    }
}

impl Manifest {
    pub(super) fn new(
        id: BackupId,
        moment: (u64, Sequence, u64),
        epoch: String,
        mut files: Vec<Entry>,
    ) -> Self {
        files.sort_unstable();
        let (unix_millis, sequence, frame) = moment;
        let program = env!("CARGO_PKG_VERSION").to_owned();
        Self { format: FORMAT, id, unix_millis, sequence: sequence.get(), frame, epoch, program, files }
    }

    /// When it was taken.
    #[must_use]
    pub fn time(&self) -> DateTime<Utc> {
        i64::try_from(self.unix_millis).ok().and_then(DateTime::from_timestamp_millis).unwrap_or_default()
    }

    /// Bytes of all of its files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// As it is written.
    pub(super) fn to_bytes(&self) -> Result<Vec<u8>> {
        let json = serde_json::to_vec(self).map_err(|error| Error::Internal(error.to_string()))?;
        Ok(signed::sign(json))
    }

    /// Reads a manifest that was found at `place`.
    ///
    /// # Errors
    /// [`Error::Damaged`] when it is not what was written; [`Error::Invalid`] when a newer program wrote it.
    pub(super) fn from_bytes(place: &Path, bytes: &[u8]) -> Result<Self> {
        let damaged = |what: &str| Error::Damaged(format!("{place} is {what}: choose another backup"));
        let content = signed::content(std::path::Path::new(place.as_ref()), bytes)
            .map_err(|_| damaged("not what was written"))?;
        let manifest: Self =
            serde_json::from_slice(content).map_err(|error| damaged(&format!("no manifest ({error})")))?;
        if manifest.format > FORMAT {
            return Err(Error::Invalid(format!(
                "{place} has the format {}, this program reads up to {FORMAT}: restore it with busbar {} or newer",
                manifest.format, manifest.program
            )));
        }
        if let Some(file) = manifest.files.iter().find(|file| !is_inside(&file.path)) {
            return Err(damaged(&format!(
                "refused, because {:?} is not a path in a data directory",
                file.path
            )));
        }
        Ok(manifest)
    }
}

/// Whether a path stays in the directory that it is joined to.
fn is_inside(path: &str) -> bool {
    path.split('/').all(|part| !matches!(part, "" | "." | "..") && !part.contains(['\\', '\0']))
}

#[cfg(test)]
mod tests {
    use object_store::path::Path;

    use super::{BackupId, Entry, Manifest, is_inside};
    use crate::model::Sequence;

    #[test]
    fn a_name_is_its_time_and_sequence_and_nothing_else_is_a_name() {
        let id = BackupId::new(1_795_681_000_123, Sequence::new(0xabc));
        assert_eq!(id.as_str(), "20261126T081640123Z-0000000000000abc");
        assert_eq!(BackupId::parse(id.as_str()), Some(id.clone()));
        assert!(BackupId::new(1_795_681_000_124, Sequence::ZERO) > id);
        for other in [
            "",
            "files",
            "20261126T081640123Z",
            "20261126T081640123Z-abc",
            "2026112-T081640123Z-0000000000000abc",
        ] {
            assert_eq!(BackupId::parse(other), None, "{other:?}");
        }
    }

    #[test]
    fn a_manifest_is_read_as_it_was_written_or_not_at_all() {
        let id = BackupId::new(1_000, Sequence::new(7));
        let file =
            |path: &str| Entry { path: path.into(), bytes: 3, crc32c: 5, shared: path.starts_with("tables") };
        let files = vec![file("tables/db/t.1/d/x.parquet"), file("log/epoch")];
        let manifest = Manifest::new(id.clone(), (1_000, Sequence::new(7), 9), "e".into(), files);
        let (bytes, place) = (manifest.to_bytes().unwrap(), Path::from("m"));
        let read = Manifest::from_bytes(&place, &bytes).unwrap();
        assert_eq!((read.files, read.frame, read.id.clone()), (manifest.files.clone(), 9, id.clone()));
        assert_eq!(read_place(&manifest, 0), format!("{id}/data/log/epoch"));
        assert_eq!(read_place(&manifest, 1), "files/db/t.1/d/x.parquet.00000005");
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 4;
            assert!(Manifest::from_bytes(&place, &flipped).is_err(), "byte {at}");
        }
        let outside = Manifest { files: vec![file("../log")], ..manifest };
        assert!(Manifest::from_bytes(&place, &outside.to_bytes().unwrap()).is_err());
    }

    fn read_place(manifest: &Manifest, file: usize) -> String {
        manifest.files[file].place(&manifest.id).unwrap().to_string()
    }

    #[test]
    fn a_path_outside_of_the_directory_is_seen() {
        assert!(is_inside("tables/db/t.1/x") && is_inside("definitions.log"));
        for path in ["", "/etc", "a/../b", "a//b", "./a", "a\\b"] {
            assert!(!is_inside(path), "{path:?}");
        }
    }
}
