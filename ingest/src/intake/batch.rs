//! A batch that is being built from the lines or rows of one request.

use std::borrow::Cow;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use smallvec::SmallVec;
use storage::catalog::{Applied, SchemaChange};
use storage::clock;
use storage::engine::Engine;
use storage::limits;
use storage::model::{
    DatabaseName, SeriesId, TIME_COLUMN, TableId, TableName, Timestamp, ValueRef, WriteBatch,
};
use storage::series::{SeriesLookup, SeriesPin, SeriesRef, canonical_key};

use super::WriteError;
use super::problem::LineProblem;
use super::table::{RowSeries, TableBuilder, USUAL_FIELDS};
use crate::line_protocol::{self, Line, LineError, Precision, RawLine, Value};
use crate::row::Row;

/// What a builder becomes.
pub(super) enum Finished {
    /// The batch; every id in it is defined or queued, and kept by the pin.
    Batch(WriteBatch, SeriesPin),
    /// A schema changed since the builder looked at it: build again.
    Stale,
    /// What is new must be known to other nodes first: make it so, and build again.
    Unborn(Vec<SchemaChange>),
}

/// Tags as written: name and value.
type Tags<'a> = Vec<(Cow<'a, str>, Cow<'a, str>)>;

pub(super) struct BatchBuilder<'a> {
    engine: &'a Engine,
    database: &'a DatabaseName,
    lookup: SeriesLookup<'a>,
    tables: Vec<TableBuilder>,
    by_name: HashMap<Box<str>, usize>,
    by_id: HashMap<TableId, usize>,
    /// The table that was looked up last.
    last_table: Option<(TableId, usize)>,
    new_series: Vec<NewSeries>,
    /// Where the raw spellings of new series lead: table, and position among the new series.
    spellings: HashMap<Box<[u8]>, (usize, u32), FixedState>,
    /// Canonical keys of new series, by table.
    keys: HashMap<(usize, Box<[u8]>), u32>,
    /// When rows that have expired are refused: the time by which they have.
    refused_at: Option<Timestamp>,
    /// The clock by which times lie ahead.
    now: Timestamp,
}

/// A series that was not known by the spelling of its line. It is resolved when the batch is finished, since its table or
/// tags may be new.
struct NewSeries {
    table: usize,
    key: Box<[u8]>,
    spelling: Option<Box<[u8]>>,
}

/// The series of a line: found, or to be added if the line passes all checks.
enum LineSeries<'l> {
    Found(usize, RowSeries),
    Fresh { table: usize, key: Vec<u8>, tags: Tags<'l> },
}

impl<'a> BatchBuilder<'a> {
    /// A batch for a database. With `refused_at`, rows that have expired by then are bad.
    pub(super) fn new(engine: &'a Engine, database: &'a DatabaseName, refused_at: Option<Timestamp>) -> Self {
        Self {
            engine,
            database,
            lookup: engine.series().lookup(database.as_str()),
            tables: Vec::new(),
            by_name: HashMap::new(),
            by_id: HashMap::new(),
            last_table: None,
            new_series: Vec::new(),
            spellings: HashMap::default(),
            keys: HashMap::new(),
            refused_at,
            now: clock::now(),
        }
    }

    /// Adds a line that came at `received_at`, which is its time if it has none. `Ok(Some(problem))` means that the row is in, without the field that the problem names.
    pub(super) fn add_line(
        &mut self,
        bytes: &[u8],
        precision: Precision,
        received_at: Timestamp,
    ) -> Result<Option<LineProblem>, LineProblem> {
        let line = Line::split(bytes)?;
        let known = self.lookup.by_spelling(line.series);
        self.add_cut_line(&line, known, precision, received_at)
    }

    /// Looks the series of some lines up together: fills `known` with those that are known by their spelling.
    pub(super) fn look_up(
        &self,
        lines: &[(RawLine<'_>, Result<Line<'_>, LineError>)],
        known: &mut Vec<Option<SeriesRef>>,
    ) {
        let spellings = lines.iter().map(|(_, cut)| cut.as_ref().ok().map(|line| line.series));
        self.lookup.by_spellings(spellings, known);
    }

    /// As [`add_line`](Self::add_line), of a line that was cut and whose series was looked up.
    pub(super) fn add_cut_line(
        &mut self,
        line: &Line<'_>,
        known: Option<SeriesRef>,
        precision: Precision,
        received_at: Timestamp,
    ) -> Result<Option<LineProblem>, LineProblem> {
        let time = match line.timestamp {
            Some(raw) => Timestamp::from_nanos(precision.to_nanos(raw)?),
            None => Timestamp::from_nanos(precision.truncate(received_at.nanos())),
        };
        check_time(time, self.now)?;
        let mut values: SmallVec<[(Cow<'_, str>, Value<'_>); USUAL_FIELDS]> = SmallVec::new();
        for field in line.fields() {
            let field = field?;
            values.push((field.key, field.value));
        }
        let before = values.len();
        values.retain(|(name, _)| name != TIME_COLUMN);
        let stripped = values.len() < before;
        let fields: SmallVec<[(Cow<'_, str>, ValueRef<'_>); USUAL_FIELDS]> =
            values.iter().map(|(name, value)| (Cow::Borrowed(name.as_ref()), value.as_ref())).collect();
        let series = self.series_of(line.series, known)?;
        let table = self.add_fields(series, Some(line.series), time, &fields, stripped)?;
        Ok(stripped.then(|| self.time_field(table, false)))
    }

    /// Adds a row of a mapping that came at `received_at`, which is its time if it has none.
    pub(super) fn add_row(&mut self, row: &Row, received_at: Timestamp) -> Result<(), LineProblem> {
        let time = row.time.unwrap_or(received_at);
        check_time(time, self.now)?;
        let tags: Tags<'_> = row
            .tags
            .iter()
            .map(|(name, value)| (Cow::Borrowed(name.as_str()), Cow::Borrowed(value.as_str())))
            .collect();
        let fields: Vec<_> =
            row.fields.iter().map(|(name, value)| (Cow::Borrowed(name.as_str()), value.as_ref())).collect();
        if let Some((name, _)) = fields.iter().find(|(name, _)| name == TIME_COLUMN) {
            return Err(LineProblem::Name(format!("a field may not be called {name:?}")));
        }
        let series = self.fresh_series(&row.table, tags)?;
        self.add_fields(series, None, time, &fields, false)?;
        Ok(())
    }

    /// Defines what is new, and makes the batch.
    pub(super) fn finish(self) -> Result<Finished, WriteError> {
        let mut schemas = Vec::with_capacity(self.tables.len());
        let mut unborn = Vec::new();
        for table in &self.tables {
            let change = (!table.is_empty()).then(|| table.change(self.database)).flatten();
            let Some(change) = change else {
                schemas.push(table.base.clone());
                continue;
            };
            match self.engine.catalog().apply(&change)? {
                Applied::Schema(schema) => schemas.push(Some(schema)),
                Applied::Stale => return Ok(Finished::Stale),
                Applied::Unborn => unborn.push(change),
            }
        }
        if !unborn.is_empty() {
            return Ok(Finished::Unborn(unborn));
        }
        let mut new_ids: Vec<SeriesId> = Vec::with_capacity(self.new_series.len());
        for NewSeries { table, key, spelling } in self.new_series {
            let Some(schema) = schemas.get(table).and_then(Option::as_ref) else {
                new_ids.push(SeriesId::default());
                continue;
            };
            let series = self.lookup.resolve(schema.id, &key).map_err(full)?;
            if let Some(raw) = spelling {
                self.lookup.remember(&raw, series);
            }
            new_ids.push(series.id);
        }
        let tables = self.tables.into_iter().zip(schemas).filter(|(table, _)| !table.is_empty());
        let tables = tables.filter_map(|(table, schema)| Some(table.finish(&*schema?, &new_ids)));
        Ok(Finished::Batch(WriteBatch::of(tables.collect()), self.lookup.into_pin()))
    }

    fn add_fields(
        &mut self,
        series: LineSeries<'_>,
        spelling: Option<&[u8]>,
        time: Timestamp,
        fields: &[(Cow<'_, str>, ValueRef<'_>)],
        stripped: bool,
    ) -> Result<usize, LineProblem> {
        let (LineSeries::Found(position, _) | LineSeries::Fresh { table: position, .. }) = &series;
        let position = *position;
        if self.tables.get(position).is_some_and(|table| time < table.oldest) {
            return Err(LineProblem::Expired);
        }
        if fields.is_empty() {
            return Err(if stripped {
                self.time_field(position, true)
            } else {
                LineError::MissingFields.into()
            });
        }
        if let LineSeries::Fresh { tags, .. } = &series
            && let Some((name, _)) = fields.iter().find(|(name, _)| tags.iter().any(|(tag, _)| tag == name))
        {
            let table = self.tables.get(position).map(|t| t.name.to_string()).unwrap_or_default();
            return Err(LineProblem::TagAndField { table, name: name.to_string() });
        }
        let mut checked = SmallVec::new();
        let table =
            self.tables.get_mut(position).ok_or_else(|| LineProblem::Limit("no such table".into()))?;
        table.check(fields, &mut checked)?;
        let series = match series {
            LineSeries::Found(_, series) => series,
            LineSeries::Fresh { key, tags, .. } => {
                table.add_tags(&tags);
                let number = u32::try_from(self.new_series.len()).unwrap_or(u32::MAX);
                let key: Box<[u8]> = key.into();
                self.keys.insert((position, key.clone()), number);
                let spelling: Option<Box<[u8]>> = spelling.map(Into::into);
                if let Some(raw) = &spelling {
                    self.spellings.insert(raw.clone(), (position, number));
                }
                self.new_series.push(NewSeries { table: position, key, spelling });
                RowSeries::New(number)
            }
        };
        if let Some(table) = self.tables.get_mut(position) {
            table.add(series, time, fields, &checked);
        }
        Ok(position)
    }

    /// The series of a line by its raw spelling: new to this request, `known` to the index, or parsed.
    fn series_of<'l>(
        &mut self,
        raw: &'l [u8],
        known: Option<SeriesRef>,
    ) -> Result<LineSeries<'l>, LineProblem> {
        if let Some((table, number)) = self.spellings.get(raw) {
            return Ok(LineSeries::Found(*table, RowSeries::New(*number)));
        }
        if let Some(series) = known
            && let Some(table) = self.table_by_id(series.table)
        {
            return Ok(LineSeries::Found(table, RowSeries::Known(series.id)));
        }
        let parts = line_protocol::parse_series(raw)?;
        self.fresh_series(&parts.measurement, parts.tags)
    }

    fn fresh_series<'l>(&mut self, table: &str, tags: Tags<'l>) -> Result<LineSeries<'l>, LineProblem> {
        let position = self.table_by_name(table)?;
        let table = self.tables.get(position).ok_or_else(|| LineProblem::Limit("no such table".into()))?;
        let positions = table.check_tags(&tags)?;
        let key =
            canonical_key(positions.into_iter()).map_err(|error| LineProblem::Limit(error.to_string()))?;
        match self.keys.get(&(position, key.clone().into_boxed_slice())) {
            Some(number) => Ok(LineSeries::Found(position, RowSeries::New(*number))),
            None => Ok(LineSeries::Fresh { table: position, key, tags }),
        }
    }

    fn table_by_id(&mut self, id: TableId) -> Option<usize> {
        if let Some((last, position)) = self.last_table
            && last == id
        {
            return Some(position);
        }
        let position = match self.by_id.get(&id) {
            Some(position) => *position,
            None => {
                let schema = self.engine.catalog().table_by_id(id)?;
                self.table_by_name(schema.name.as_str()).ok()?
            }
        };
        self.last_table = Some((id, position));
        Some(position)
    }

    fn table_by_name(&mut self, name: &str) -> Result<usize, LineProblem> {
        if let Some(position) = self.by_name.get(name) {
            return Ok(*position);
        }
        let table_name = TableName::new(name).map_err(|error| LineProblem::Name(error.to_string()))?;
        let base = self.engine.catalog().table(self.database.as_str(), name);
        if base.is_none() {
            self.check_new_table()?;
        }
        let position = self.tables.len();
        if let Some(schema) = &base {
            self.by_id.insert(schema.id, position);
        }
        let oldest = self.oldest(base.as_ref().map(|schema| schema.id));
        self.tables.push(TableBuilder::new(table_name, base, oldest));
        self.by_name.insert(name.into(), position);
        Ok(position)
    }

    /// The oldest time that is not refused.
    fn oldest(&self, table: Option<TableId>) -> Timestamp {
        match (self.refused_at, table) {
            (None, _) => Timestamp::from_nanos(i64::MIN),
            (Some(now), Some(table)) => self.engine.oldest_kept(table, now),
            (Some(now), None) => {
                let declared = self.engine.catalog().database_retention(self.database.as_str()).flatten();
                declared.unwrap_or(self.engine.config().retention).oldest(now)
            }
        }
    }

    /// Whether the database has room for the new tables of this batch and one more.
    fn check_new_table(&self) -> Result<(), LineProblem> {
        let known = self.engine.catalog().table_count(self.database.as_str());
        let new = self.tables.iter().filter(|table| table.base.is_none() && !table.is_empty()).count();
        if known + new >= limits::TABLES_PER_DATABASE {
            return Err(LineProblem::Limit(format!(
                "database {} has its {} tables",
                self.database,
                limits::TABLES_PER_DATABASE
            )));
        }
        Ok(())
    }

    fn time_field(&self, table: usize, dropped: bool) -> LineProblem {
        let table = self.tables.get(table).map(|t| t.name.to_string()).unwrap_or_default();
        LineProblem::TimeField { table, dropped }
    }
}

/// There is room for new series again when others are forgotten: the same lines may come later.
fn full(error: storage::Error) -> WriteError {
    match error {
        storage::Error::LimitExceeded(reason) => {
            WriteError::Unavailable { reason, retry_after: super::RETRY_AFTER }
        }
        other => WriteError::Storage(other),
    }
}

fn check_time(time: Timestamp, now: Timestamp) -> Result<(), LineProblem> {
    if time.nanos() > now.nanos().saturating_add(limits::TIME_AHEAD_NS) {
        return Err(LineProblem::Time(format!(
            "the time {time} is more than a day ahead of the server's clock ({now}): check its unit"
        )));
    }
    Ok(())
}
