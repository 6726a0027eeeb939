//! A line that is kept aside, and its id.

use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;

use bytes::Bytes;

use crate::model::Timestamp;

/// Bytes that a kept line is charged beside its own: its place in the index and its share of a frame.
const CHARGE_BYTES: usize = 256;

/// The id of a kept line. It is not reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LineId(u64);

impl LineId {
    /// Wraps the raw number, as an answer named it.
    #[must_use]
    pub const fn new(raw: u64) -> Self {
        Self(raw)
    }

    /// The raw number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for LineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for LineId {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, ParseIntError> {
        text.parse().map(Self)
    }
}

/// A line, or a row of a mapping, with all that is needed to try it again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptLine {
    /// When it came. A line without a time has this one.
    pub received_at: Timestamp,
    /// The database it was for.
    pub database: Box<str>,
    /// Its table; `None` when it could not be read.
    pub table: Option<Box<str>>,
    /// Its tags; none when they could not be read.
    pub tags: Vec<(Box<str>, Box<str>)>,
    /// Its time; `None` when it has none, or it could not be read.
    pub time: Option<Timestamp>,
    /// A stable word for why it was refused.
    pub reason: Box<str>,
    /// Why it was refused, for people.
    pub detail: Box<str>,
    /// How it came: a word of the source.
    pub protocol: Box<str>,
    /// The unit of its time: a word of the source.
    pub precision: Box<str>,
    /// What `content` is: a word of the source.
    pub form: Box<str>,
    /// The whole of it, as it came.
    pub content: Bytes,
}

impl KeptLine {
    /// The bytes that it counts for.
    #[must_use]
    pub fn charge(&self) -> u64 {
        let texts = [&self.database, &self.reason, &self.detail, &self.protocol, &self.precision, &self.form];
        let tags = self.tags.iter().map(|(name, value)| name.len() + value.len() + 8);
        let own = texts.iter().map(|text| text.len()).sum::<usize>()
            + self.table.as_ref().map_or(0, |table| table.len())
            + tags.sum::<usize>()
            + self.content.len();
        (own + CHARGE_BYTES) as u64
    }
}
