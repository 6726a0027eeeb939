//! Reads back by SQL over HTTP and compares with what was sent.
//!
//! Invariant: only what a query answered counts as found. A failed query makes the verdict "not ok" with
//! its reason; it is never taken for an empty table.

pub mod counts;
pub mod points;
pub mod sql;

pub use sql::SqlReader;

use crate::report::summary::append;
use serde::Serialize;

/// How many missing, double and unexpected points are named.
pub const NAMED_POINTS: usize = 10;

/// The comparison of all tables.
#[derive(Debug, Default, Serialize)]
pub struct Verdict {
    /// One per table that was compared.
    pub tables: Vec<TableVerdict>,
    /// Why the comparison could not be finished.
    pub problem: Option<String>,
}

/// The comparison of one table.
#[derive(Debug, Default, Clone, Serialize)]
pub struct TableVerdict {
    /// Its name.
    pub table: String,
    /// Rows that must be there.
    pub rows_expected: u64,
    /// Rows that may be there besides: their batches were refused or given up without an answer.
    pub rows_uncertain: u64,
    /// Rows found.
    pub rows_found: u64,
    /// Rows found with tags and time of another row.
    pub rows_double: u64,
    /// Counts and sums.
    pub columns: Vec<ColumnVerdict>,
    /// The first missing points or batches.
    pub missing: Vec<String>,
    /// The first double points or batches.
    pub double: Vec<String>,
    /// The first points that were found and not sent.
    pub unexpected: Vec<String>,
}

/// The comparison of one column.
#[derive(Debug, Clone, Serialize)]
pub struct ColumnVerdict {
    /// Field name.
    pub column: String,
    /// Values that must be there.
    pub count_expected: u64,
    /// Values found.
    pub count_found: u64,
    /// What was summed: values, true values, or characters.
    pub sum_of: &'static str,
    /// Sum of what was sent.
    pub sum_expected: f64,
    /// Sum of what was found.
    pub sum_found: f64,
    /// Whether counts and sums agree (float sums up to the order of addition).
    pub equal: bool,
}

impl Verdict {
    /// Everything that must be there is there once, and nothing else is.
    #[must_use]
    pub fn ok(&self) -> bool {
        self.problem.is_none() && self.tables.iter().all(TableVerdict::ok)
    }

    /// For people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        for table in &self.tables {
            table.append_to(&mut text);
        }
        if let Some(problem) = &self.problem {
            append(&mut text, format_args!("read-back      FAILED: {problem}"));
        }
        text
    }
}

impl TableVerdict {
    /// Whether this table holds what it must.
    #[must_use]
    pub fn ok(&self) -> bool {
        let within = self.rows_expected..=self.rows_expected + self.rows_uncertain;
        within.contains(&self.rows_found)
            && self.rows_double == 0
            && self.columns.iter().all(|column| column.equal)
            && self.missing.is_empty()
            && self.double.is_empty()
            && self.unexpected.is_empty()
    }

    fn append_to(&self, text: &mut String) {
        let uncertain = match self.rows_uncertain {
            0 => String::new(),
            rows => format!(" (and up to {rows} that were not acknowledged)"),
        };
        append(
            text,
            format_args!(
                "table {}: rows expected {}{uncertain}, found {}, double {}: {}",
                self.table,
                self.rows_expected,
                self.rows_found,
                self.rows_double,
                if self.ok() { "equal" } else { "DIFFERENT" }
            ),
        );
        if !self.columns.is_empty() {
            append(
                text,
                format_args!(
                    "  {:<24} {:>12} {:>12} {:>24} {:>24}",
                    "column", "expected", "found", "sum expected", "sum found"
                ),
            );
        }
        for column in &self.columns {
            append(
                text,
                format_args!(
                    "  {:<24} {:>12} {:>12} {:>24} {:>24}  {}",
                    column.column,
                    column.count_expected,
                    column.count_found,
                    column.sum_expected,
                    column.sum_found,
                    if column.equal { "equal" } else { "DIFFERENT" }
                ),
            );
        }
        for (what, points) in
            [("missing", &self.missing), ("double", &self.double), ("unexpected", &self.unexpected)]
        {
            for point in points {
                append(text, format_args!("  {what}: {point}"));
            }
        }
    }
}
