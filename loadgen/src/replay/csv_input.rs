//! Reads one CSV file into a dataset.
//!
//! Line ends may be LF, CRLF or CR alone; values may be quoted; a byte order mark is skipped; rows with
//! one value more than the header begin with an unnamed row number.

use crate::error::LoadError;
use crate::protocol::line_protocol::FieldValue;
use crate::replay::dataset::Dataset;
use crate::replay::time_text::TimeReader;
use crate::replay::{FieldType, ReplayArgs, Row};
use csv::{ReaderBuilder, StringRecord};
use std::path::Path;

/// Names of a time column when none is given, in the order of preference, in lower case.
const TIME_NAMES: [&str; 5] = ["time", "timestamp", "date", "datetime", "ts"];
/// Texts that stand for no value in a column of numbers.
const NO_NUMBER: [&str; 5] = ["", "NaN", "NA", "null", "N/A"];

/// Appends the file's rows to `dataset`.
pub fn read(path: &Path, args: &ReplayArgs, dataset: &mut Dataset) -> Result<(), LoadError> {
    let file = CsvFile::open(path, args.delimiter)?;
    let time_column = file.time_column(args)?;
    let mut tag_columns = Vec::new();
    for tag in &args.tag_columns {
        tag_columns.push(file.column(&tag.column)?);
    }
    let fields = file.fields(args, time_column, &tag_columns, dataset)?;
    let times = TimeReader::new(args.time_format.as_deref(), args.time_zone);
    for record in &file.records {
        let time_ns =
            times.read(file.value(record, time_column)).map_err(|reason| file.error(record, reason))?;
        let tags = tag_columns.iter().map(|column| text(file.value(record, *column))).collect();
        let mut values = vec![None; dataset.fields.len()];
        for field in &fields {
            let value = parse(file.value(record, field.column), field.kind).map_err(|reason| {
                file.error(record, format!("column {}: {reason}", file.name(field.column)))
            })?;
            if let Some(slot) = values.get_mut(field.index) {
                *slot = value;
            }
        }
        dataset.push(Row { time_ns, tags, values })?;
    }
    Ok(())
}

struct FieldColumn {
    column: usize,
    index: usize,
    kind: FieldType,
}

struct CsvFile<'a> {
    path: &'a Path,
    header: StringRecord,
    records: Vec<StringRecord>,
    /// 1 when the rows begin with an unnamed row number, else 0.
    unnamed: usize,
}

impl<'a> CsvFile<'a> {
    fn open(path: &'a Path, delimiter: char) -> Result<Self, LoadError> {
        let delimiter = u8::try_from(delimiter)
            .map_err(|_| LoadError::Options("--delimiter must be one ASCII character".to_owned()))?;
        let mut reader = ReaderBuilder::new()
            .delimiter(delimiter)
            .flexible(true)
            .from_path(path)
            .map_err(|error| LoadError::file(path, error))?;
        let header = reader.headers().map_err(|error| LoadError::file(path, error))?.clone();
        let records =
            reader.records().collect::<Result<Vec<_>, _>>().map_err(|error| LoadError::file(path, error))?;
        if records.is_empty() {
            return Err(LoadError::file(path, "the file has no rows below its header"));
        }
        let unnamed = usize::from(records.first().is_some_and(|record| record.len() == header.len() + 1));
        let file = Self { path, header, records, unnamed };
        let columns = file.header.len() + file.unnamed;
        match file.records.iter().find(|record| record.len() != columns) {
            Some(odd) => {
                let reason = format!("the row has {} values where the first row has {columns}", odd.len());
                Err(file.error(odd, reason))
            }
            None => Ok(file),
        }
    }

    fn value<'r>(&self, record: &'r StringRecord, column: usize) -> &'r str {
        record.get(column + self.unnamed).unwrap_or("").trim()
    }

    fn name(&self, column: usize) -> &str {
        self.header.get(column).unwrap_or("")
    }

    fn error(&self, record: &StringRecord, reason: String) -> LoadError {
        let line = record.position().map_or(0, csv::Position::line);
        LoadError::Input { path: self.path.display().to_string(), line, reason }
    }

    fn column(&self, name: &str) -> Result<usize, LoadError> {
        self.header.iter().position(|column| column.trim() == name).ok_or_else(|| {
            let columns: Vec<_> = self.header.iter().collect();
            LoadError::file(self.path, format!("no column {name:?}; there are {}", columns.join(", ")))
        })
    }

    fn time_column(&self, args: &ReplayArgs) -> Result<usize, LoadError> {
        if let Some(name) = &args.time_column {
            return self.column(name);
        }
        let lower: Vec<_> = self.header.iter().map(|name| name.trim().to_lowercase()).collect();
        TIME_NAMES.iter().find_map(|wanted| lower.iter().position(|name| name == wanted)).ok_or_else(|| {
            let columns: Vec<_> = self.header.iter().collect();
            let reason = format!("name the time column with --time-column; there are {}", columns.join(", "));
            LoadError::file(self.path, reason)
        })
    }

    fn fields(
        &self,
        args: &ReplayArgs,
        time_column: usize,
        tag_columns: &[usize],
        dataset: &mut Dataset,
    ) -> Result<Vec<FieldColumn>, LoadError> {
        let mut fields = Vec::new();
        if args.fields.is_empty() {
            for column in 0..self.header.len() {
                if column != time_column && !tag_columns.contains(&column) && self.is_numeric(column) {
                    let index = dataset.field_index(self.name(column).trim(), FieldType::Float);
                    fields.push(FieldColumn { column, index, kind: FieldType::Float });
                }
            }
        }
        for spec in &args.fields {
            let column = self.column(&spec.column)?;
            let index = dataset.field_index(&spec.name, spec.kind);
            fields.push(FieldColumn { column, index, kind: spec.kind });
        }
        if fields.is_empty() {
            return Err(LoadError::file(
                self.path,
                "no column holds only numbers: name the fields with --field",
            ));
        }
        Ok(fields)
    }

    /// At least one number, and nothing that is neither a number nor a sign for none.
    fn is_numeric(&self, column: usize) -> bool {
        let mut numbers = 0;
        for record in &self.records {
            match parse(self.value(record, column), FieldType::Float) {
                Ok(Some(_)) => numbers += 1,
                Ok(None) => {}
                Err(_) => return false,
            }
        }
        numbers > 0
    }
}

fn text(value: &str) -> Option<Box<str>> {
    (!value.is_empty()).then(|| value.into())
}

fn parse(value: &str, kind: FieldType) -> Result<Option<FieldValue>, String> {
    if kind == FieldType::String {
        return Ok(text(value).map(FieldValue::Text));
    }
    if NO_NUMBER.contains(&value) {
        return Ok(None);
    }
    let parsed = match kind {
        FieldType::Float => {
            value.parse::<f64>().ok().filter(|number| number.is_finite()).map(FieldValue::Float)
        }
        FieldType::Integer => value.parse::<i64>().ok().map(FieldValue::Integer),
        FieldType::Boolean => match value.to_ascii_lowercase().as_str() {
            "true" | "t" | "1" => Some(FieldValue::Boolean(true)),
            "false" | "f" | "0" => Some(FieldValue::Boolean(false)),
            _ => None,
        },
        FieldType::String => None,
    };
    parsed.map(Some).ok_or_else(|| format!("{value:?} is no {kind:?}").to_lowercase())
}
