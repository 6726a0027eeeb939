//! Verify: reads everything of a data directory that can be checked, and says what is damaged and what is lost.
//!
//! 1. Log: every frame of every segment; reports of earlier salvages.
//! 2. `definitions.log`: every record.
//! 3. Staged files: every manifest, and the checksum of every file that one names.
//! 4. Tables: every line of every commit parses, the table agrees with its newest commit, every file of it is there
//!    with its size, its checksum, a footer that parses and its number of rows.
//! 5. Streams: every record. Registry: SQLite's own check.
//!
//! Invariants: nothing is changed but for files of unfinished writes, which are removed; the directory is locked, so nobody else changes it meanwhile. A finding names
//! file and place, and what is lost. It goes on after a finding: one run finds everything.

mod files;
mod tables;
#[cfg(test)]
mod tests;

use std::path::Path;

use serde::Serialize;

use crate::engine::lock::DirectoryLock;
use crate::error::{Error, Result};

/// Something that is damaged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The file, from the data directory.
    pub file: String,
    /// The byte from which on it is damaged, where that is known.
    pub offset: Option<u64>,
    /// What is wrong, and what is lost.
    pub what: String,
}

/// What a run looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// Frames of the log.
    pub frames: u64,
    /// Records of definitions, each of one thing.
    pub definitions: u64,
    /// Sets of staged files.
    pub staged_sets: u64,
    /// Tables.
    pub tables: u64,
    /// Commits of table logs.
    pub commits: u64,
    /// Files of tables.
    pub files: u64,
    /// Rows of those files.
    pub rows: u64,
    /// Records of streams.
    pub records: u64,
    /// Bytes of all that.
    pub bytes: u64,
}

/// The result of a run.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// What was looked at.
    pub checked: Checked,
    /// What is damaged.
    pub findings: Vec<Finding>,
    /// What is worth knowing and no damage: torn tails, leftovers, earlier salvages.
    pub notes: Vec<String>,
}

impl Report {
    fn damage(&mut self, file: impl Into<String>, offset: Option<u64>, what: impl Into<String>) {
        self.findings.push(Finding { file: file.into(), offset, what: what.into() });
    }

    /// Notes the error as damage of the file; what cannot be read is damaged too.
    fn error(&mut self, file: impl Into<String>, error: &Error) {
        self.damage(file, None, error.to_string());
    }
}

/// Checks a data directory that no engine has open. `progress` is told what is looked at.
///
/// # Errors
/// [`Error::Invalid`] when there is no data directory or it is in use.
pub async fn verify(data_dir: &Path, progress: &mut (dyn FnMut(&str) + Send)) -> Result<Report> {
    if !data_dir.is_dir() {
        return Err(Error::Invalid(format!("{} is not a folder; give --data-dir", data_dir.display())));
    }
    let _lock = DirectoryLock::take(data_dir)?;
    let mut report = Report::default();
    progress("log");
    files::log(data_dir, &mut report)?;
    progress("definitions");
    files::definitions(data_dir, &mut report);
    progress("staged files");
    files::staged(data_dir, &mut report);
    tables::tables(data_dir, &mut report, progress).await;
    progress("streams");
    files::streams(data_dir, &mut report);
    progress("registry");
    files::registry(data_dir, &mut report).await;
    Ok(report)
}

/// A path as it stands in findings: from the data directory.
fn relative(data_dir: &Path, path: &Path) -> String {
    path.strip_prefix(data_dir).unwrap_or(path).display().to_string()
}

/// The names in a folder, in order; none when it is missing.
fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}
