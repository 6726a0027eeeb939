//! What a seed does.

use storage::disk;
use storage::model::TagTest;

use super::lines::Line;
use super::question::Question;
use super::reference::Tags;

/// One step of a seed.
#[derive(Debug, Clone)]
pub(crate) enum Operation {
    /// One batch is written and acknowledged.
    Write(Vec<Line>),
    /// One batch is written to the log; the process ends before its sync.
    WriteUnsynced(Vec<Line>, End),
    /// Lines are kept in the quarantine.
    SetAside(Vec<Line>),
    /// So many kept lines are stored, where their points lack them.
    Replay(usize),
    /// So many kept lines are dropped.
    DropAside(usize),
    /// Rows are deleted, and that is acknowledged; so are kept lines of such rows.
    Delete(Deletion),
    /// The delete is written to the log; the process ends before its sync.
    DeleteUnsynced(Deletion, End),
    /// All rows go to files of the tables.
    Flush,
    /// What is due goes to files: small tables wait, and so do files that span several days.
    FlushDue,
    /// Small files are merged.
    Compact,
    /// Objects that no table wants any more are removed.
    Vacuum,
    /// What deletes have hidden leaves every place.
    Erase,
    /// A query, compared with the reference.
    Ask(Question),
    /// All of every table, compared with the reference.
    AskAll,
    /// The store of the tables fails from now on, so often of a hundred times.
    StoreFails(u64),
    /// The store answers no call from now on, or does again.
    StoreDown(bool),
    /// One call of the disk fails, after so many others of its kind.
    DiskFails(disk::Operation, u64),
    /// The disk has room for so many more bytes, and later for any number again.
    DiskFull(Option<u64>),
    /// The power goes off after so many changes of the disk, whatever is being done then.
    PowerOffAfter(u64),
    /// The process ends, and a new one starts. The start itself is cut short as well after so many changes.
    Restart(End, Option<u64>),
    /// Time goes on by so many nanoseconds.
    Pass(i64),
    /// The rows of a table are kept for so many hours, if that is less than before.
    Keep(String, u64),
    /// Files in which all rows have expired are dropped.
    DropExpired,
}

/// Rows to be deleted.
#[derive(Debug, Clone)]
pub(crate) struct Deletion {
    /// Their table; without one all tables.
    pub(crate) table: Option<String>,
    /// From the first time up to the second.
    pub(crate) times: (i64, i64),
    /// What their tags must be.
    pub(crate) tags: Vec<TagTest>,
}

impl Deletion {
    /// Whether rows of the table may be hit.
    pub(crate) fn is_of(&self, table: &str) -> bool {
        self.table.as_ref().is_none_or(|wanted| wanted == table)
    }

    /// Whether a row is deleted.
    pub(crate) fn covers(&self, table: &str, time: i64, tags: &Tags) -> bool {
        let holds = |test: &TagTest| {
            let value = tags.get(&test.tag).map(String::as_str).unwrap_or_default();
            (value == test.value) == test.equal
        };
        self.is_of(table) && (self.times.0..=self.times.1).contains(&time) && self.tags.iter().all(holds)
    }
}

/// How a process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// In order.
    Close,
    /// It is killed: the disk keeps what was written.
    Kill,
    /// With the machine: the disk keeps what was synced, and some of the rest.
    PowerCut,
}
