//! What is wrong with a line or a row.

use storage::model::FieldType;
use storage::quarantine::{LineId, NotKept};

use crate::line_protocol::{Dialect, LineError, RawLine};

/// Bytes of a bad line that are kept for the answer.
const KEPT_LINE_BYTES: usize = 512;

/// Bad lines kept in full; of further ones only the number is.
#[derive(Debug, Clone)]
pub struct RejectedLine {
    /// Its number in the body, from 1.
    pub number: usize,
    /// Its text, cut to a bound.
    pub line: String,
    /// What is wrong.
    pub problem: LineProblem,
    /// Whether the quarantine keeps it; `None` when it is not of the kind that is kept.
    pub kept: Option<Result<LineId, NotKept>>,
}

impl RejectedLine {
    pub(super) fn new(line: &RawLine<'_>, problem: LineProblem) -> Self {
        let kept = line.bytes.get(..KEPT_LINE_BYTES).unwrap_or(line.bytes);
        Self { number: line.number, line: String::from_utf8_lossy(kept).into_owned(), problem, kept: None }
    }
}

/// A row of a mapping that was not written.
#[derive(Debug, Clone)]
pub struct RejectedRow {
    /// Its position among the rows, from 0.
    pub position: usize,
    /// What is wrong.
    pub problem: LineProblem,
    /// Whether the quarantine keeps it; `None` when it is not of the kind that is kept.
    pub kept: Option<Result<LineId, NotKept>>,
}

/// What is wrong with a line or a row.
#[derive(Debug, Clone, PartialEq)]
pub enum LineProblem {
    /// It does not parse.
    Parse(LineError),
    /// A field has values of another type, and this value cannot be widened without loss.
    TypeConflict {
        /// The table.
        table: String,
        /// The field.
        field: String,
        /// The type of this value.
        is: FieldType,
        /// The type that the field has.
        exists: FieldType,
    },
    /// A name is a tag in one line and a field in another.
    TagAndField {
        /// The table.
        table: String,
        /// The name.
        name: String,
    },
    /// A field is called `time`; if there were others, the row was written without it.
    TimeField {
        /// The table.
        table: String,
        /// Whether the row was dropped, because it had no other field.
        dropped: bool,
    },
    /// A tag is called `time`.
    TimeTag {
        /// The table.
        table: String,
    },
    /// A name is not allowed.
    Name(String),
    /// A count limit is reached.
    Limit(String),
    /// The time is outside of what is accepted.
    Time(String),
    /// The row is older than its table keeps rows.
    Expired,
}

impl From<LineError> for LineProblem {
    fn from(error: LineError) -> Self {
        Self::Parse(error)
    }
}

impl LineProblem {
    /// Whether the line did not parse, as opposed to a line that the schema refuses.
    #[must_use]
    pub fn is_parse(&self) -> bool {
        matches!(self, Self::Parse(_))
    }

    /// Whether a row was lost to it.
    #[must_use]
    pub fn dropped(&self) -> bool {
        !matches!(self, Self::TimeField { dropped: false, .. })
    }

    /// Whether its line is kept for a later try: what its types, names or bounds keep out now may fit later. What does
    /// not parse never will, and is kept only when the sender does not hear of it. What has expired is kept by nobody.
    pub(super) fn is_kept(&self, sender_hears: bool) -> bool {
        match self {
            Self::Parse(_) => !sender_hears,
            Self::TypeConflict { .. }
            | Self::TagAndField { .. }
            | Self::TimeTag { .. }
            | Self::TimeField { dropped: true, .. }
            | Self::Name(_)
            | Self::Limit(_)
            | Self::Time(_) => true,
            // Without that field it is stored.
            Self::TimeField { dropped: false, .. } | Self::Expired => false,
        }
    }

    /// A short name that does not change, for metrics and filters.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Parse(_) => "parse",
            Self::TypeConflict { .. } => "type_conflict",
            Self::TagAndField { .. } => "tag_and_field",
            Self::TimeField { .. } | Self::TimeTag { .. } => "reserved_name",
            Self::Name(_) => "name",
            Self::Limit(_) => "limit",
            Self::Time(_) => "time",
            Self::Expired => "expired",
        }
    }

    /// The reason in the words of `dialect`.
    #[must_use]
    pub fn reason(&self, dialect: Dialect) -> String {
        match self {
            Self::Parse(error) => error.reason(dialect),
            Self::TypeConflict { table, field, is, exists } => match dialect {
                Dialect::V1 | Dialect::V2 => format!(
                    "field type conflict: input field \"{field}\" on measurement \"{table}\" is type {is}, \
                     already exists as type {exists}"
                ),
                Dialect::V3 => format!(
                    "invalid column type for column '{field}', expected iox::column_type::field::{exists}, \
                     got iox::column_type::field::{is}"
                ),
            },
            Self::TagAndField { table, name } => {
                format!("\"{name}\" on measurement \"{table}\" is both a tag and a field")
            }
            Self::TimeField { table, dropped: false } => format!(
                "invalid field name: input field \"time\" on measurement \"{table}\" is invalid. \
                 Field \"time\" has been stripped from point."
            ),
            Self::TimeField { table, dropped: true } => {
                format!("invalid field name: input field \"time\" on measurement \"{table}\" is invalid")
            }
            Self::TimeTag { table } => {
                format!("invalid tag key: input tag \"time\" on measurement \"{table}\" is invalid")
            }
            Self::Expired => "points beyond retention policy".to_owned(),
            Self::Name(reason) | Self::Limit(reason) | Self::Time(reason) => reason.clone(),
        }
    }
}
