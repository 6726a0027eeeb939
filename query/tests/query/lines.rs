//! Writes rows in a small part of line protocol: no escapes, a time on every line.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array, StringArray, UInt64Array};
use storage::catalog::{Applied, Catalog, SchemaChange};
use storage::log::{EncodedBatch, encode_batch};
use storage::model::{
    ColumnId, DatabaseName, FieldColumn, FieldType, FieldValue, TableBatch, TableName, TableSchema,
    WriteBatch,
};
use storage::series::{SeriesIndex, SeriesLookup, canonical_key};

/// One line.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) table: String,
    pub(crate) tags: Vec<(String, String)>,
    pub(crate) fields: Vec<(String, FieldValue)>,
    pub(crate) time: i64,
}

/// `table,tag=value field=1.5,other=2i 1000`
pub(crate) fn parse(line: &str) -> Line {
    let (key, rest) = line.split_once(' ').expect("a line has fields");
    let (fields, time) = rest.rsplit_once(' ').expect("a line has a time");
    let mut key = key.split(',');
    let pair = |text: &str| {
        let (name, value) = text.split_once('=').expect("name=value");
        (name.to_owned(), value.to_owned())
    };
    Line {
        table: key.next().unwrap().to_owned(),
        tags: key.map(pair).collect(),
        fields: split_outside_quotes(fields)
            .into_iter()
            .map(pair)
            .map(|(name, value)| (name, field_value(&value)))
            .collect(),
        time: time.parse().expect("a time in nanoseconds"),
    }
}

fn split_outside_quotes(fields: &str) -> Vec<&str> {
    let mut quoted = false;
    let comma = |c: char| {
        quoted ^= c == '"';
        c == ',' && !quoted
    };
    fields.split(comma).collect()
}

fn field_value(text: &str) -> FieldValue {
    if let Some(text) = text.strip_prefix('"') {
        return FieldValue::Text(text.trim_end_matches('"').into());
    }
    match text.as_bytes().last() {
        Some(b'i') => FieldValue::Integer(text.trim_end_matches('i').parse().unwrap()),
        Some(b'u') => FieldValue::Unsigned(text.trim_end_matches('u').parse().unwrap()),
        Some(b't' | b'f') => FieldValue::Boolean(text == "t"),
        _ => FieldValue::Float(text.parse().unwrap()),
    }
}

/// The lines as one batch; databases, tables and columns are made.
pub(crate) fn batch(database: &str, lines: &[Line], catalog: &Catalog, series: &SeriesIndex) -> EncodedBatch {
    let lookup = series.lookup(database);
    let mut by_table: BTreeMap<&str, Vec<&Line>> = BTreeMap::new();
    for line in lines {
        by_table.entry(&line.table).or_default().push(line);
    }
    let tables = by_table.into_iter().map(|(table, lines)| {
        let schema = schema_for(database, table, &lines, catalog);
        table_batch(&schema, &lines, &lookup)
    });
    let batch = encode_batch(WriteBatch::of(tables.collect())).unwrap();
    EncodedBatch { pin: Some(lookup.into_pin()), ..batch }
}

fn schema_for(database: &str, table: &str, lines: &[&Line], catalog: &Catalog) -> Arc<TableSchema> {
    let base = catalog.table(database, table);
    let mut change = SchemaChange {
        database: DatabaseName::new(database).unwrap(),
        table: TableName::new(table).unwrap(),
        base: base.clone(),
        tags: Vec::new(),
        fields: Vec::new(),
        widen: Vec::new(),
    };
    for (name, _) in lines.iter().flat_map(|line| &line.tags) {
        let known = base.as_ref().is_some_and(|schema| schema.tag(name).is_some());
        if !known && !change.tags.iter().any(|tag| **tag == **name) {
            change.tags.push(name.as_str().into());
        }
    }
    for (name, value) in lines.iter().flat_map(|line| &line.fields) {
        let given = value.as_ref().field_type();
        match base.as_ref().and_then(|schema| Some((schema, schema.field(name)?))) {
            None if !change.fields.iter().any(|(field, _)| **field == **name) => {
                change.fields.push((name.as_str().into(), given));
            }
            Some((schema, position)) => {
                let field = &schema.fields[position];
                let fits = field.columns().any(|column| column.field_type == given);
                if !fits && given == FieldType::Float && !change.widen.contains(&position) {
                    change.widen.push(position);
                }
            }
            None => {}
        }
    }
    match catalog.apply(&change).unwrap() {
        Applied::Schema(schema) => schema,
        Applied::Stale | Applied::Unborn => panic!("only the test changes the catalog"),
    }
}

fn table_batch(schema: &TableSchema, lines: &[&Line], lookup: &SeriesLookup<'_>) -> TableBatch {
    let mut columns: BTreeMap<ColumnId, (FieldType, Vec<Option<FieldValue>>)> = BTreeMap::new();
    let mut ids = Vec::new();
    for (row, line) in lines.iter().enumerate() {
        let mut tags: Vec<_> =
            line.tags.iter().map(|(name, value)| (schema.tag(name).unwrap(), value.as_str())).collect();
        tags.sort_unstable();
        let key = canonical_key(tags.into_iter()).unwrap();
        ids.push(lookup.resolve(schema.id, &key).unwrap().id.get());
        for (name, value) in &line.fields {
            let field = &schema.fields[schema.field(name).unwrap()];
            let given = value.as_ref().field_type();
            let column = field.columns().find(|c| c.field_type == given).expect("the type fits the field");
            let (_, values) = columns.entry(column.id).or_insert_with(|| (given, vec![None; lines.len()]));
            values[row] = Some(value.clone());
        }
    }
    let fields = columns
        .into_iter()
        .map(|(column, (kind, values))| FieldColumn { column, values: array(kind, values) });
    TableBatch {
        table: schema.id,
        series: ids.into(),
        times: lines.iter().map(|line| line.time).collect::<Vec<_>>().into(),
        fields: fields.collect(),
    }
}

fn array(kind: FieldType, values: Vec<Option<FieldValue>>) -> ArrayRef {
    macro_rules! collect {
        ($array:ty, $kind:ident) => {
            Arc::new(
                values
                    .into_iter()
                    .map(|value| match value {
                        Some(FieldValue::$kind(value)) => Some(value),
                        _ => None,
                    })
                    .collect::<$array>(),
            )
        };
    }
    match kind {
        FieldType::Float => collect!(Float64Array, Float),
        FieldType::Integer => collect!(Int64Array, Integer),
        FieldType::Unsigned => collect!(UInt64Array, Unsigned),
        FieldType::Boolean => collect!(BooleanArray, Boolean),
        FieldType::Text => collect!(StringArray, Text),
    }
}
