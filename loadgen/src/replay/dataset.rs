//! The rows of one table, and what the table must hold after they were written.

use crate::error::LoadError;
use crate::protocol::line_protocol::{self, FieldValue};
use crate::replay::{FieldType, ReplayArgs, Row};
use crate::verify::points::{ColumnExpectation, Expectation, Key};

/// Rows of one replay. At about 200 bytes a row this is 2 GB of memory; replay bigger data in parts.
pub const MAX_ROWS: usize = 10_000_000;

/// One table's input.
#[derive(Debug)]
pub struct Dataset {
    /// Its name.
    pub table: String,
    /// Tags on every row.
    pub tags: Vec<(String, String)>,
    /// Keys of the tags that come from columns.
    pub tag_keys: Vec<String>,
    /// Fields by name and type.
    pub fields: Vec<(String, FieldType)>,
    /// In the order of the input.
    pub rows: Vec<Row>,
    /// Rows of the input without any value, which have no line.
    pub rows_without_value: u64,
}

impl Dataset {
    /// Without rows.
    #[must_use]
    pub fn new(table: String, args: &ReplayArgs) -> Self {
        Self {
            table,
            tags: args.tags.clone(),
            tag_keys: args.tag_columns.iter().map(|column| column.tag.clone()).collect(),
            fields: Vec::new(),
            rows: Vec::new(),
            rows_without_value: 0,
        }
    }

    /// The field's place, which is made when it is new.
    pub fn field_index(&mut self, name: &str, kind: FieldType) -> usize {
        if let Some(index) = self.fields.iter().position(|(known, _)| known == name) {
            return index;
        }
        self.fields.push((name.to_owned(), kind));
        self.fields.len() - 1
    }

    /// Adds a row; one without any value is only counted.
    pub fn push(&mut self, row: Row) -> Result<(), LoadError> {
        if row.values.iter().all(Option::is_none) {
            self.rows_without_value += 1;
            return Ok(());
        }
        if self.rows.len() >= MAX_ROWS {
            return Err(LoadError::Options(format!("more than {MAX_ROWS} rows: replay the files in parts")));
        }
        self.rows.push(row);
        Ok(())
    }

    /// One line for the person at the terminal.
    #[must_use]
    pub fn describe(&self) -> String {
        let fields: Vec<_> = self.fields.iter().map(|(name, _)| name.as_str()).collect();
        let tags = self.tags.iter().map(|(key, value)| format!("{key}={value}"));
        let tags: Vec<_> = tags.chain(self.tag_keys.iter().cloned()).collect();
        format!(
            "table {}: {} rows ({} without a value left out), fields {}, tags {}",
            self.table,
            self.rows.len(),
            self.rows_without_value,
            fields.join(", "),
            if tags.is_empty() { "none".to_owned() } else { tags.join(", ") },
        )
    }

    /// Appends the row's line.
    pub fn push_line(&self, row: &Row, buffer: &mut Vec<u8>) -> Result<(), LoadError> {
        let mut tags: Vec<(&str, &str)> = Vec::with_capacity(self.tags.len() + self.tag_keys.len());
        tags.extend(self.tags.iter().map(|(key, value)| (key.as_str(), value.as_str())));
        tags.extend(
            self.tag_keys
                .iter()
                .zip(&row.tags)
                .filter_map(|(key, value)| Some((key.as_str(), value.as_deref()?))),
        );
        buffer.extend_from_slice(line_protocol::series(&self.table, &tags)?.as_bytes());
        let mut separator = b' ';
        for ((name, _), value) in self.fields.iter().zip(&row.values) {
            let Some(value) = value else { continue };
            buffer.push(separator);
            buffer.extend_from_slice(line_protocol::escape_key(name, "field")?.as_bytes());
            buffer.push(b'=');
            line_protocol::push_value(buffer, value)?;
            separator = b',';
        }
        line_protocol::push_time(buffer, row.time_ns);
        Ok(())
    }

    /// What the table must hold: one row per distinct (tags, time), the later value winning per field.
    #[must_use]
    pub fn expectation(&self) -> Expectation {
        let mut order: Vec<&Row> = self.rows.iter().collect();
        order.sort_by(|a, b| (a.time_ns, &a.tags).cmp(&(b.time_ns, &b.tags)));
        let mut columns: Vec<ColumnExpectation> =
            self.fields.iter().map(|(name, kind)| ColumnExpectation::new(name.clone(), *kind)).collect();
        let mut keys = Vec::new();
        for equal in order.chunk_by(|a, b| a.time_ns == b.time_ns && a.tags == b.tags) {
            let Some(first) = equal.first() else { continue };
            keys.push(Key { time_ns: first.time_ns, tags: first.tags.clone() });
            for (index, column) in columns.iter_mut().enumerate() {
                let last = equal.iter().rev().find_map(|row| value_at(row, index));
                if let Some(value) = last {
                    column.add(value);
                }
            }
        }
        Expectation {
            table: self.table.clone(),
            tags: self.tags.clone(),
            tag_keys: self.tag_keys.clone(),
            keys,
            columns,
        }
    }
}

fn value_at(row: &Row, index: usize) -> Option<&FieldValue> {
    row.values.get(index).and_then(Option::as_ref)
}
