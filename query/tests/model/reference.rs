//! The reference: a map from points to fields, in which the last write wins per field and old rows are hidden.

use std::collections::BTreeMap;

use storage::model::FieldValue;

use super::lines::Line;
use super::operation::Deletion;
use super::traces::Traces;

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
    /// What must not be found on the disk.
    pub(crate) traces: Traces,
}

impl Reference {
    pub(crate) fn apply(&mut self, lines: &[Line]) {
        for line in lines {
            let rows = self.tables.entry(line.table.clone()).or_default();
            let row = rows.entry((line.time, line.tags.iter().cloned().collect())).or_default();
            row.extend(line.fields.iter().cloned());
            self.traces.write(line);
        }
    }

    pub(crate) fn delete(&mut self, deletion: &Deletion) {
        for (table, rows) in &mut self.tables {
            rows.retain(|(time, tags), _| !deletion.covers(table, *time, tags));
        }
        self.traces.delete(deletion);
    }

    /// The lines without fields that their points have; those of which nothing is left are left out.
    pub(crate) fn missing(&self, lines: &[Line]) -> Vec<Line> {
        let without = |line: &Line| {
            let point = (line.time, line.tags.iter().cloned().collect());
            let row = self.tables.get(&line.table).and_then(|rows| rows.get(&point));
            let mut line = line.clone();
            line.fields.retain(|(name, _)| row.is_none_or(|row| !row.contains_key(name)));
            (!line.fields.is_empty()).then_some(line)
        };
        lines.iter().filter_map(without).collect()
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
