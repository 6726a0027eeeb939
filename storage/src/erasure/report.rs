//! What an erasure has done, place by place.

use std::fmt::Display;

/// What an erasure has done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Deletes up to this sequence are erased.
    pub up_to: u64,
    /// When it began.
    pub begun_unix_millis: u64,
    /// When it ended.
    pub ended_unix_millis: u64,
    /// The database that was asked for; all if not given.
    pub database: Option<String>,
    /// The table that was asked for; all if not given.
    pub table: Option<String>,
    /// What was looked at.
    pub places: Vec<Place>,
    /// What nobody can know from here.
    pub unproven: Vec<&'static str>,
}

impl Report {
    /// Whether nothing is left but what stays on purpose.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.places.iter().all(|place| place.left.is_empty())
    }
}

/// What was found and done in one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Its name.
    pub name: &'static str,
    /// What was there.
    pub looked_at: Amount,
    /// What was written anew without what is deleted.
    pub rewritten: Amount,
    /// What was removed.
    pub removed: Amount,
    /// What was overwritten with zeros where it lies.
    pub overwritten: Amount,
    /// What stays on purpose.
    pub kept: Vec<Remnant>,
    /// What should have gone: the job must be run again.
    pub left: Vec<Remnant>,
    /// What else there is to say.
    pub notes: Vec<String>,
}

/// How much.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amount {
    /// Files or objects.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Something that is still there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remnant {
    /// What, or where.
    pub what: String,
    /// Why it is there.
    pub why: String,
}

impl Place {
    pub(super) fn new(name: &'static str) -> Self {
        let (kept, left, notes) = (Vec::new(), Vec::new(), Vec::new());
        let [looked_at, rewritten, removed, overwritten] = [Amount::default(); 4];
        Self { name, looked_at, rewritten, removed, overwritten, kept, left, notes }
    }

    pub(super) fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    pub(super) fn keep(&mut self, what: impl Display, why: impl Into<String>) {
        self.kept.push(Remnant::new(what, why));
    }

    pub(super) fn leave(&mut self, what: impl Display, why: impl Into<String>) {
        self.left.push(Remnant::new(what, why));
    }
}

impl Amount {
    pub(super) fn of(sizes: impl IntoIterator<Item = u64>) -> Self {
        sizes.into_iter().fold(Self::default(), |sum, bytes| sum.and(bytes))
    }

    pub(super) fn plus(self, other: Self) -> Self {
        Self { files: self.files + other.files, bytes: self.bytes + other.bytes }
    }

    /// With one file more.
    pub(super) fn and(self, bytes: u64) -> Self {
        Self { files: self.files + 1, bytes: self.bytes + bytes }
    }
}

impl Remnant {
    pub(super) fn new(what: impl Display, why: impl Into<String>) -> Self {
        Self { what: what.to_string(), why: why.into() }
    }
}

/// What an engine cannot know.
pub(super) fn unproven(is_remote: bool) -> Vec<&'static str> {
    let mut unproven = vec![
        "backups lie elsewhere: those that were taken before this job hold what was deleted, until they are dropped \
         (`busbar backup list`, `busbar backup --keep`)",
        "blocks of removed files may be readable on the medium until the file system uses them again; only segments of the \
         log were overwritten, and a flash disk or a file system that copies on write may hold older blocks all the same",
        "the memory of this process and of the operating system, swap space and core dumps were not searched",
        "what was sent elsewhere is not here: answers to queries, webhooks, copies by other readers of the tables",
    ];
    if is_remote {
        unproven.push(
            "whether the bucket keeps versions or replicas of removed objects: see its versioning and life cycle rules",
        );
        unproven.push("the local cache of other nodes that read the same tables");
    }
    unproven
}
