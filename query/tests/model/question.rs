//! Queries, as SQL and as what the reference says.

use storage::model::FieldValue;

use super::reference::{Fields, Rows, Tags, number};

/// One query.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    pub(crate) table: String,
    pub(crate) test: Test,
    pub(crate) shape: Shape,
}

/// Which rows are asked for.
#[derive(Debug, Clone)]
pub(crate) enum Test {
    All,
    Host(String),
    NoFloor,
    /// From the first time on, before the second.
    Times(i64, i64),
    TemperatureAbove(f64),
    NumberIs(i64),
}

/// What is asked of them.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Shape {
    Rows,
    /// In the order of time.
    Ordered,
    /// Their number, the first and last time, and number and bounds of `t`.
    Totals,
    /// The newest few.
    Newest(usize),
    /// The last values of each series. The test is of those, not of the rows.
    Latest,
}

impl Test {
    /// The columns that the test needs.
    pub(crate) fn columns(&self) -> &'static [&'static str] {
        match self {
            Self::All | Self::Times(..) => &[],
            Self::Host(_) => &["host"],
            Self::NoFloor => &["floor"],
            Self::TemperatureAbove(_) => &["t"],
            Self::NumberIs(_) => &["n"],
        }
    }

    pub(crate) fn sql(&self) -> String {
        match self {
            Self::All => "true".into(),
            Self::Host(host) => format!("host = '{host}'"),
            Self::NoFloor => "floor IS NULL".into(),
            Self::Times(from, to) => {
                format!("time >= to_timestamp_nanos({from}) AND time < to_timestamp_nanos({to})")
            }
            Self::TemperatureAbove(value) => format!("t > {value:.1}"),
            Self::NumberIs(value) => format!("n = {value}"),
        }
    }

    fn holds(&self, time: i64, tags: &Tags, fields: &Fields) -> bool {
        match self {
            Self::All => true,
            Self::Host(host) => tags.get("host") == Some(host),
            Self::NoFloor => !tags.contains_key("floor"),
            Self::Times(from, to) => (*from..*to).contains(&time),
            Self::TemperatureAbove(value) => {
                fields.get("t").and_then(number).is_some_and(|temperature| temperature > *value)
            }
            Self::NumberIs(value) => {
                let wanted = number(&FieldValue::Integer(*value));
                fields.get("n").is_some_and(|found| number(found) == wanted)
            }
        }
    }

    /// The rows for which it holds.
    pub(crate) fn of(&self, rows: Rows) -> Rows {
        rows.into_iter().filter(|((time, tags), fields)| self.holds(*time, tags, fields)).collect()
    }
}
