//! Sends recorded data: CSV files become tables, rows become lines, equal points one row.
//!
//! Invariants:
//! - Rows with equal tags and time always travel over the same connection, in the order of the input, so
//!   the later one wins at the server as it does in the expectation.
//! - Nothing is guessed twice: what is sent and what is expected come from the same parsed values.

pub mod csv_input;
pub mod dataset;
pub mod source;
pub mod time_text;

use crate::delivery::{Stop, deliver};
use crate::error::LoadError;
use crate::protocol::line_protocol::FieldValue;
use crate::reconnects::Reconnects;
use crate::report::page::Page;
use crate::report::progress::Progress;
use crate::report::timeline::Timeline;
use crate::report::{Stats, summary::Summary};
use crate::target::{Target, parse_tag};
use crate::terminal;
use crate::verify::{SqlReader, Verdict, points};
use chrono_tz::Tz;
use clap::Args;
use dataset::Dataset;
use source::ReplaySource;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

/// Options of `loadgen replay`.
#[derive(Debug, Clone, Args)]
pub struct ReplayArgs {
    /// CSV files with a header line; line ends may be LF, CRLF or CR. If the rows have one value more
    /// than the header, the first value is an unnamed row number and is left out.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,

    /// Table of all files [default: each file's name without its ending].
    #[arg(long, help_heading = "Mapping")]
    pub table: Option<String>,

    /// Tag on every row; may be repeated.
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = parse_tag, help_heading = "Mapping")]
    pub tags: Vec<(String, String)>,

    /// Column that becomes a tag, under its name or another one; may be repeated.
    #[arg(long = "tag-column", value_name = "[TAG=]COLUMN", help_heading = "Mapping")]
    pub tag_columns: Vec<TagColumn>,

    /// Column with the time [default: time, timestamp, date, datetime or ts].
    #[arg(long, value_name = "COLUMN", help_heading = "Mapping")]
    pub time_column: Option<String>,

    /// How the time is written: an strftime pattern, or s, ms, us, ns for numbers since 1970
    /// [default: RFC 3339, or %Y-%m-%d %H:%M:%S].
    #[arg(long, value_name = "PATTERN", help_heading = "Mapping")]
    pub time_format: Option<String>,

    /// Zone of times that do not name one.
    #[arg(long, default_value = "UTC", value_name = "ZONE", help_heading = "Mapping")]
    pub time_zone: Tz,

    /// Field, its column and its type (float, integer, boolean, string); may be repeated
    /// [default: every other column that holds only numbers, as float].
    #[arg(long = "field", value_name = "NAME[=COLUMN][:TYPE]", help_heading = "Mapping")]
    pub fields: Vec<FieldSpec>,

    /// Character between values.
    #[arg(long, default_value = ",", value_name = "CHAR", help_heading = "Mapping")]
    pub delimiter: char,

    /// Recorded seconds per second: 1 = as it happened, 60 = an hour in a minute
    /// [default: as fast as possible].
    #[arg(long, value_name = "FACTOR", help_heading = "Pace")]
    pub speed: Option<f64>,

    /// Where to send.
    #[command(flatten)]
    pub target: Target,
}

/// The type that a column's text is read as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FieldType {
    /// float64
    Float,
    /// int64
    Integer,
    /// `true`, `false`, `t`, `f`, `1`, `0`, in any case
    Boolean,
    /// text
    String,
}

/// `--field`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldSpec {
    /// Field name in the table.
    pub name: String,
    /// Column of the file.
    pub column: String,
    /// How to read it.
    pub kind: FieldType,
}

impl FromStr for FieldSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (text, kind) = match text.rsplit_once(':') {
            Some((rest, "float")) => (rest, FieldType::Float),
            Some((rest, "integer")) => (rest, FieldType::Integer),
            Some((rest, "boolean")) => (rest, FieldType::Boolean),
            Some((rest, "string")) => (rest, FieldType::String),
            _ => (text, FieldType::Float),
        };
        let (name, column) = text.split_once('=').unwrap_or((text, text));
        if name.is_empty() || column.is_empty() {
            return Err("give NAME, NAME=COLUMN or NAME=COLUMN:TYPE".to_owned());
        }
        Ok(Self { name: name.to_owned(), column: column.to_owned(), kind })
    }
}

/// `--tag-column`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagColumn {
    /// Tag key in the table.
    pub tag: String,
    /// Column of the file.
    pub column: String,
}

impl FromStr for TagColumn {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (tag, column) = text.split_once('=').unwrap_or((text, text));
        if tag.is_empty() || column.is_empty() {
            return Err("give COLUMN or TAG=COLUMN".to_owned());
        }
        Ok(Self { tag: tag.to_owned(), column: column.to_owned() })
    }
}

/// Reads, sends, reads back, reports. True when all rows were acknowledged and found.
pub async fn run(args: ReplayArgs) -> Result<bool, LoadError> {
    args.target.check()?;
    if args.speed.is_some_and(|speed| !(speed.is_finite() && speed > 0.0)) {
        return Err(LoadError::Options("--speed must be above 0".to_owned()));
    }
    let datasets = Arc::new(load(&args)?);
    for dataset in datasets.iter() {
        terminal::note(&dataset.describe());
    }
    let planned: u64 = datasets.iter().map(|dataset| dataset.rows.len() as u64).sum();
    let source = Arc::new(ReplaySource::new(datasets.clone(), &args.target, args.speed)?);
    let stats = Arc::new(Stats::new());
    let stop = Stop::on_interrupt();
    let progress = Progress::start(stats.clone(), Some(planned));
    let timeline = Timeline::start(stats.clone());
    let took = deliver(&args.target, source, &stats, &stop, &Reconnects::at(Vec::new())).await;
    drop(progress);
    let timeline = timeline.finish();
    let mut summary = Summary::new(&stats, took?, Some(planned), timeline);
    if !args.target.no_verify {
        summary = summary.with_verdict(verify(&args.target, &datasets).await);
    }
    terminal::result(&summary.text());
    if let Some(path) = &args.target.json {
        summary.write_json(path)?;
    }
    if let Some(path) = &args.target.html {
        let names: Vec<String> = datasets.iter().map(Dataset::describe).collect();
        let (title, about) = ("loadgen replay", names.join("; "));
        Page { title, about: &about, summary: &summary, phases: &[], due: &[] }.write(path)?;
    }
    Ok(summary.ok)
}

async fn verify(target: &Target, datasets: &[Dataset]) -> Verdict {
    let mut verdict = Verdict::default();
    let reader = match SqlReader::new(target) {
        Ok(reader) => reader,
        Err(error) => return Verdict { problem: Some(error.to_string()), ..verdict },
    };
    for dataset in datasets {
        match points::compare(&reader, &dataset.expectation()).await {
            Ok(table) => verdict.tables.push(table),
            Err(error) => verdict.problem = Some(error.to_string()),
        }
    }
    verdict
}

/// The files' rows, by table, tables in the order of their first file.
pub fn load(args: &ReplayArgs) -> Result<Vec<Dataset>, LoadError> {
    let mut datasets: Vec<Dataset> = Vec::new();
    for path in &args.files {
        let table = args.table.clone().unwrap_or_else(|| stem(path));
        if !datasets.iter().any(|dataset| dataset.table == table) {
            datasets.push(Dataset::new(table.clone(), args));
        }
        if let Some(dataset) = datasets.iter_mut().find(|dataset| dataset.table == table) {
            csv_input::read(path, args, dataset)?;
        }
    }
    match datasets.iter().find(|dataset| dataset.rows.is_empty()) {
        Some(empty) => {
            Err(LoadError::Options(format!("the input of table {} has no rows with values", empty.table)))
        }
        None => Ok(datasets),
    }
}

fn stem(path: &Path) -> String {
    path.file_stem().map_or_else(|| "replay".to_owned(), |stem| stem.to_string_lossy().into_owned())
}

/// One point of the input.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Nanoseconds since 1970, UTC.
    pub time_ns: i64,
    /// Values of the tag columns; `None` where the file has no text.
    pub tags: Vec<Option<Box<str>>>,
    /// Values of the fields, in the dataset's order; `None` where the file has none. May be shorter than
    /// the dataset's list: fields that a later file brought are absent.
    pub values: Vec<Option<FieldValue>>,
}
