//! Compares a table with the points that were sent: rows, sums, and which points are missing or double.
//!
//! 1. Counts rows and, per column, values and their sum, within the time range and constant tags sent.
//! 2. Counts distinct (tags, time).
//! 3. Only if a count differs: lists the keys in windows of time and names the first ones that differ.

use crate::error::LoadError;
use crate::protocol::line_protocol::FieldValue;
use crate::replay::FieldType;
use crate::replay::time_text::{read_utc, write_utc};
use crate::verify::sql::{SqlRow, count, identifier, scope};
use crate::verify::{ColumnVerdict, NAMED_POINTS, SqlReader, TableVerdict};
use serde_json::Value;
use std::collections::BTreeMap;

/// Columns of one query; 20 × about 100 bytes stay far below every limit of a URL.
const COLUMNS_PER_QUERY: usize = 20;
/// Keys of one distinct count: bounded memory on the server.
const KEYS_PER_COUNT: usize = 1_000_000;
/// Keys of one listing: about 1 MB of JSON.
const KEYS_PER_LISTING: usize = 10_000;
/// Two orders of addition of n values differ by at most about n × 1e-16 of the sum of magnitudes.
const SUM_TOLERANCE: f64 = 1e-9;

/// What a table must hold.
#[derive(Debug, Clone)]
pub struct Expectation {
    /// Its name.
    pub table: String,
    /// Tags on every row.
    pub tags: Vec<(String, String)>,
    /// Tags that differ from row to row.
    pub tag_keys: Vec<String>,
    /// Distinct points, in order.
    pub keys: Vec<Key>,
    /// Fields.
    pub columns: Vec<ColumnExpectation>,
}

/// Identity of a point within a table.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// Nanoseconds since 1970, UTC.
    pub time_ns: i64,
    /// In the order of `tag_keys`.
    pub tags: Vec<Option<Box<str>>>,
}

/// Count and sum of a field.
#[derive(Debug, Clone)]
pub struct ColumnExpectation {
    name: String,
    kind: FieldType,
    count: u64,
    /// Integers, true values, characters.
    whole: i128,
    float: f64,
    compensation: f64,
    magnitude: f64,
}

impl ColumnExpectation {
    /// Of no values.
    #[must_use]
    pub fn new(name: String, kind: FieldType) -> Self {
        Self { name, kind, count: 0, whole: 0, float: 0.0, compensation: 0.0, magnitude: 0.0 }
    }

    /// One value more.
    pub fn add(&mut self, value: &FieldValue) {
        self.count += 1;
        match value {
            FieldValue::Float(number) => {
                // Neumaier's sum: exact to the last digit for what a replay holds.
                let sum = self.float + number;
                self.compensation += if self.float.abs() >= number.abs() {
                    (self.float - sum) + number
                } else {
                    (number - sum) + self.float
                };
                self.float = sum;
                self.magnitude += number.abs();
            }
            FieldValue::Integer(number) => self.whole += i128::from(*number),
            FieldValue::Boolean(truth) => self.whole += i128::from(*truth),
            FieldValue::Text(text) => {
                self.whole += i128::try_from(text.chars().count()).unwrap_or(i128::MAX);
            }
        }
    }

    fn select(&self, index: usize) -> String {
        let column = identifier(&self.name);
        let sum = match self.kind {
            FieldType::Integer if i64::try_from(self.whole).is_err() => {
                format!("sum(CAST({column} AS DOUBLE))")
            }
            FieldType::Float | FieldType::Integer => format!("sum({column})"),
            FieldType::Boolean => format!("sum(CASE WHEN {column} THEN 1 ELSE 0 END)"),
            FieldType::String => format!("sum(length({column}))"),
        };
        format!("count({column}) AS n{index}, {sum} AS s{index}")
    }

    #[expect(clippy::cast_precision_loss, reason = "for display, and for sums that no i64 holds")]
    fn compare(&self, row: &SqlRow, index: usize) -> Result<ColumnVerdict, LoadError> {
        let found = row.get(&format!("s{index}")).unwrap_or(&Value::Null);
        let whole_found = found.as_i64().map(i128::from).or_else(|| found.as_u64().map(i128::from));
        let float_found = found.as_f64().unwrap_or(0.0);
        let float_expected = self.float + self.compensation;
        let (sum_expected, equal) = match (self.kind, whole_found) {
            (FieldType::Float, _) => (float_expected, self.near(float_expected, float_found, self.magnitude)),
            (_, Some(whole)) => (self.whole as f64, whole == self.whole),
            (_, None) => {
                let expected = self.whole as f64;
                (expected, self.near(expected, float_found, expected.abs()))
            }
        };
        let count_found = count(row, &format!("n{index}"))?;
        Ok(ColumnVerdict {
            column: self.name.clone(),
            count_expected: self.count,
            count_found,
            sum_of: match self.kind {
                FieldType::Float | FieldType::Integer => "values",
                FieldType::Boolean => "true values",
                FieldType::String => "characters",
            },
            sum_expected,
            sum_found: float_found,
            equal: equal && count_found == self.count,
        })
    }

    fn near(&self, expected: f64, found: f64, magnitude: f64) -> bool {
        (expected - found).abs() <= magnitude * SUM_TOLERANCE
    }
}

/// Reads the table and compares.
pub async fn compare(reader: &SqlReader, expected: &Expectation) -> Result<TableVerdict, LoadError> {
    let mut verdict = TableVerdict {
        table: expected.table.clone(),
        rows_expected: expected.keys.len() as u64,
        ..TableVerdict::default()
    };
    let (Some(first), Some(last)) = (expected.keys.first(), expected.keys.last()) else { return Ok(verdict) };
    let query = Query::new(expected);
    let whole = query.scope(first.time_ns, last.time_ns);
    let row = reader.row(&format!("SELECT count(*) AS n FROM {} WHERE {whole}", query.table)).await?;
    verdict.rows_found = count(&row, "n")?;
    let columns: Vec<_> = expected.columns.iter().filter(|column| column.count > 0).collect();
    for chunk in columns.chunks(COLUMNS_PER_QUERY) {
        let selects: Vec<_> = chunk.iter().enumerate().map(|(index, column)| column.select(index)).collect();
        let sql = format!("SELECT {} FROM {} WHERE {whole}", selects.join(", "), query.table);
        let row = reader.row(&sql).await?;
        for (index, column) in chunk.iter().enumerate() {
            verdict.columns.push(column.compare(&row, index)?);
        }
    }
    let distinct = query.distinct(reader).await?;
    verdict.rows_double = verdict.rows_found.saturating_sub(distinct);
    if distinct != verdict.rows_expected || verdict.rows_found != verdict.rows_expected {
        query.name_differences(reader, &mut verdict).await?;
    }
    Ok(verdict)
}

struct Query<'a> {
    expected: &'a Expectation,
    table: String,
    /// `time` and the tags that some row has (a tag that none has is no column of the table).
    key_columns: String,
    tags: Vec<(usize, &'a str)>,
}

impl<'a> Query<'a> {
    fn new(expected: &'a Expectation) -> Self {
        let present =
            |index: usize| expected.keys.iter().any(|key| key.tags.get(index).is_some_and(Option::is_some));
        let tags: Vec<_> = expected
            .tag_keys
            .iter()
            .enumerate()
            .filter(|(index, _)| present(*index))
            .map(|(index, key)| (index, key.as_str()))
            .collect();
        let mut key_columns = "time".to_owned();
        for (_, key) in &tags {
            key_columns.push_str(", ");
            key_columns.push_str(&identifier(key));
        }
        Self { expected, table: identifier(&expected.table), key_columns, tags }
    }

    fn scope(&self, first_ns: i64, last_ns: i64) -> String {
        scope(first_ns, last_ns, &self.expected.tags)
    }

    async fn distinct(&self, reader: &SqlReader) -> Result<u64, LoadError> {
        let mut distinct = 0;
        for (_, first_ns, last_ns) in windows(&self.expected.keys, KEYS_PER_COUNT) {
            let sql = format!(
                "SELECT count(*) AS n FROM (SELECT {keys} FROM {} WHERE {} GROUP BY {keys}) AS points",
                self.table,
                self.scope(first_ns, last_ns),
                keys = self.key_columns,
            );
            distinct += count(&reader.row(&sql).await?, "n")?;
        }
        Ok(distinct)
    }

    async fn name_differences(
        &self,
        reader: &SqlReader,
        verdict: &mut TableVerdict,
    ) -> Result<(), LoadError> {
        for (keys, first_ns, last_ns) in windows(&self.expected.keys, KEYS_PER_LISTING) {
            let sql = format!(
                "SELECT {} FROM {} WHERE {}",
                self.key_columns,
                self.table,
                self.scope(first_ns, last_ns)
            );
            let mut found: BTreeMap<Key, u64> = BTreeMap::new();
            for row in reader.rows(&sql).await? {
                *found.entry(self.key_of(&row)?).or_default() += 1;
            }
            for key in keys {
                match found.remove(key) {
                    None => self.name(&mut verdict.missing, key),
                    Some(1) => {}
                    Some(_) => self.name(&mut verdict.double, key),
                }
            }
            for key in found.keys() {
                self.name(&mut verdict.unexpected, key);
            }
        }
        Ok(())
    }

    fn key_of(&self, row: &SqlRow) -> Result<Key, LoadError> {
        let text = row.get("time").and_then(Value::as_str).unwrap_or_default();
        let time_ns = read_utc(text).map_err(LoadError::Query)?;
        let mut tags = vec![None; self.expected.tag_keys.len()];
        for (index, key) in &self.tags {
            if let (Some(slot), Some(value)) = (tags.get_mut(*index), row.get(*key).and_then(Value::as_str)) {
                *slot = Some(value.into());
            }
        }
        Ok(Key { time_ns, tags })
    }

    fn name(&self, list: &mut Vec<String>, key: &Key) {
        if list.len() >= NAMED_POINTS {
            return;
        }
        let mut text = write_utc(key.time_ns);
        for (tag, value) in self.expected.tag_keys.iter().zip(&key.tags) {
            if let Some(value) = value {
                text.push_str(&format!(" {tag}={value}"));
            }
        }
        list.push(text);
    }
}

/// Sorted keys in parts of about `size`, each with its range of time; the ranges touch, so a point
/// between two parts belongs to one of them. Equal times are never parted.
fn windows(keys: &[Key], size: usize) -> Vec<(&[Key], i64, i64)> {
    let mut parts = Vec::new();
    let mut rest = keys;
    while let Some(first) = rest.first() {
        let mut end = size.min(rest.len());
        while let (Some(last), Some(next)) = (rest.get(end.saturating_sub(1)), rest.get(end)) {
            if last.time_ns != next.time_ns {
                break;
            }
            end += 1;
        }
        let (part, after) = rest.split_at(end);
        let last_ns = match (after.first(), part.last()) {
            (Some(next), _) => next.time_ns - 1,
            (None, Some(last)) => last.time_ns,
            (None, None) => first.time_ns,
        };
        parts.push((part, first.time_ns, last_ns));
        rest = after;
    }
    parts
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]
    use super::*;

    fn keys(times: &[i64]) -> Vec<Key> {
        times.iter().map(|time_ns| Key { time_ns: *time_ns, tags: vec![] }).collect()
    }

    #[test]
    fn windows_touch_and_never_part_equal_times() {
        let keys = keys(&[1, 2, 2, 2, 7, 9]);
        let ranges: Vec<_> = windows(&keys, 2).into_iter().map(|(part, a, b)| (part.len(), a, b)).collect();
        assert_eq!(ranges, [(4, 1, 6), (2, 7, 9)]);
        assert!(windows(&[], 2).is_empty());
    }

    #[test]
    fn sums_are_compared_up_to_the_order_of_addition_and_not_further() {
        let mut column = ColumnExpectation::new("t".to_owned(), FieldType::Float);
        for value in [1e16, 1.0, -1e16, 0.25] {
            column.add(&FieldValue::Float(value));
        }
        assert!((column.float + column.compensation - 1.25).abs() < 1e-12, "compensated");
        let mut column = ColumnExpectation::new("t".to_owned(), FieldType::Float);
        (0..1000).for_each(|_| column.add(&FieldValue::Float(23.7)));
        let answer = |sum: f64| {
            let row = serde_json::json!({"n0": 1000, "s0": sum}).as_object().cloned().unwrap();
            column.compare(&row, 0).unwrap().equal
        };
        assert!(answer(23_700.000_000_001));
        assert!(!answer(23_699.9));
        let nothing = serde_json::json!({"n0": 0}).as_object().cloned().unwrap();
        assert!(!column.compare(&nothing, 0).unwrap().equal, "a sum over nothing is null");
    }
}
