//! The reference: a map from points to fields, in which the last write wins per field and old rows are hidden.

use std::collections::BTreeMap;

use storage::model::{FieldValue, TagTest};

use super::lines::Line;
use super::operation::Deletion;

/// Tags that a row has, by name.
pub(crate) type Tags = BTreeMap<String, String>;

/// Fields that a row has, by name. Numbers of a field are equal if their values are.
pub(crate) type Fields = BTreeMap<String, FieldValue>;

/// A table's rows.
pub(crate) type Rows = BTreeMap<(i64, Tags), Fields>;

/// All that is known to be stored.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Reference {
    tables: BTreeMap<String, Rows>,
    /// How many nanoseconds a table keeps rows, if not for ever.
    kept: BTreeMap<String, i64>,
}

impl Reference {
    pub(crate) fn apply(&mut self, lines: &[Line]) {
        for line in lines {
            let rows = self.tables.entry(line.table.clone()).or_default();
            let row = rows.entry((line.time, line.tags.iter().cloned().collect())).or_default();
            row.extend(line.fields.iter().cloned());
        }
    }

    pub(crate) fn delete(&mut self, deletion: &Deletion) {
        let (from, to) = deletion.times;
        let is_deleted = |(time, tags): &(i64, Tags)| {
            let holds = |test: &TagTest| {
                let value = tags.get(&test.tag).map(String::as_str).unwrap_or_default();
                (value == test.value) == test.equal
            };
            (from..=to).contains(time) && deletion.tags.iter().all(holds)
        };
        for (table, rows) in &mut self.tables {
            if deletion.table.as_ref().is_none_or(|wanted| wanted == table) {
                rows.retain(|point, _| !is_deleted(point));
            }
        }
    }

    /// The rows that have not expired at `now`.
    pub(crate) fn rows(&self, table: &str, now: i64) -> Rows {
        let mut rows = self.tables.get(table).cloned().unwrap_or_default();
        if let Some(kept) = self.kept.get(table) {
            rows.retain(|(time, _), _| *time >= now - kept);
        }
        rows
    }

    /// How many nanoseconds a table keeps rows; `None` is for ever.
    pub(crate) fn kept(&self, table: &str) -> Option<i64> {
        self.kept.get(table).copied()
    }

    pub(crate) fn keep(&mut self, table: &str, nanos: Option<i64>) {
        match nanos {
            Some(nanos) => self.kept.insert(table.to_owned(), nanos),
            None => self.kept.remove(table),
        };
    }
}

/// One row for each series: the last value of each of its fields, and the greatest time of any.
pub(crate) fn latest(rows: &Rows) -> Rows {
    let mut series: BTreeMap<&Tags, (i64, Fields)> = BTreeMap::new();
    // In the order of time, so what comes later is newer.
    for ((time, tags), fields) in rows {
        let last = series.entry(tags).or_default();
        last.0 = *time;
        last.1.extend(fields.clone());
    }
    series.into_iter().map(|(tags, (time, fields))| ((time, tags.clone()), fields)).collect()
}

/// The value as a number, if it is one that SQL may show as another type.
pub(crate) fn number(value: &FieldValue) -> Option<f64> {
    match value {
        FieldValue::Float(value) => Some(*value),
        #[expect(clippy::cast_precision_loss, reason = "integers of the model are small")]
        FieldValue::Integer(value) => Some(*value as f64),
        _ => None,
    }
}

/// Whether two rows' fields are the same.
pub(crate) fn same_fields(one: &Fields, other: &Fields) -> bool {
    let same = |(a, b): (&FieldValue, &FieldValue)| match (number(a), number(b)) {
        (Some(a), Some(b)) => a.to_bits() == b.to_bits() || (a == b),
        _ => a == b,
    };
    one.keys().eq(other.keys()) && one.values().zip(other.values()).all(same)
}
