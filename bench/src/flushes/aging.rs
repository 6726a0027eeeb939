//! Makes the entries of the table's log as old as the flushes after them say.
//!
//! A checkpoint removes entries by the age of their files. In a run that stands for months all are minutes old, so
//! their times of change are moved back.

use std::fs::{File, read_dir};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::error::Result;

/// Times are moved once in so many flushes: often enough for the checkpoints, which come once in a hundred commits.
const EVERY: u32 = 50;

const DAY: Duration = Duration::from_secs(86_400);

/// Ages the logs below a folder.
#[derive(Debug)]
pub(super) struct Aging {
    tables: PathBuf,
    /// What a flush stands for.
    of_flush: Duration,
}

impl Aging {
    pub(super) fn new(tables: PathBuf, flushes_per_day: u32) -> Self {
        Self { tables, of_flush: DAY / flushes_per_day.max(1) }
    }

    /// After so many flushes. What is there becomes older by the time of the last `EVERY`, also what came with them.
    pub(super) fn after(&self, flushes: u32) -> Result<()> {
        if flushes.is_multiple_of(EVERY) { self.age(&self.tables, self.of_flush * EVERY) } else { Ok(()) }
    }

    fn age(&self, folder: &Path, by: Duration) -> Result<()> {
        for entry in read_dir(folder)? {
            let (path, kind) = entry.and_then(|entry| Ok((entry.path(), entry.metadata()?)))?;
            if kind.is_dir() && !is_partition(&path) {
                self.age(&path, by)?;
            } else if folder.ends_with("_delta_log") {
                let changed = kind.modified()?.checked_sub(by).unwrap_or(SystemTime::UNIX_EPOCH);
                File::options().append(true).open(&path)?.set_modified(changed)?;
            }
        }
        Ok(())
    }
}

/// Folders of data have nothing of the log.
fn is_partition(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("busbar_date="))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::time::Duration;

    use super::{Aging, DAY};

    #[test]
    fn entries_of_the_log_become_older_and_data_do_not() {
        let folder = tempfile::tempdir().unwrap();
        let (log, data) =
            (folder.path().join("d/t/_delta_log"), folder.path().join("d/t/busbar_date=2026-01-01"));
        let paths = [log.join("0.json"), data.join("0.parquet")];
        for (folder, path) in [&log, &data].into_iter().zip(&paths) {
            std::fs::create_dir_all(folder).unwrap();
            std::fs::write(path, "x").unwrap();
        }
        let changed = || paths.each_ref().map(|path| std::fs::metadata(path).unwrap().modified().unwrap());
        let before = changed();
        let aging = Aging::new(folder.path().to_owned(), 100);
        aging.after(49).unwrap();
        assert_eq!(changed(), before);
        aging.after(50).unwrap();
        let after = changed();
        assert_eq!(before[0].duration_since(after[0]).unwrap(), DAY / 2);
        assert_eq!(before[1].duration_since(after[1]).unwrap(), Duration::ZERO);
    }
}
