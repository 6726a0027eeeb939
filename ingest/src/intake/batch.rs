//! A batch that is being built from the lines or rows of one request.

use std::borrow::Cow;
use std::sync::Arc;

use hashbrown::HashMap;
use smallvec::SmallVec;
use storage::catalog::{Applied, SchemaChange};
use storage::clock;
use storage::engine::Engine;
use storage::limits;
use storage::model::{
    DatabaseName, SeriesId, TIME_COLUMN, TableId, TableName, TableSchema, Timestamp, ValueRef, WriteBatch,
};
use storage::series::{SeriesLookup, SeriesPin, SeriesRef, put_key};

use super::WriteError;
use super::new_series::NewSeries;
use super::problem::LineProblem;
use super::table::{ExpectedValues, RowSeries, TableBuilder, USUAL_FIELDS};
use crate::line_protocol::{self, Head, LineError, Precision, Tags, Value};
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

/// It refers to the lines until it is finished.
pub(super) struct BatchBuilder<'a> {
    engine: &'a Engine,
    database: &'a DatabaseName,
    lookup: SeriesLookup<'a>,
    tables: Vec<TableBuilder>,
    by_name: HashMap<Box<str>, usize>,
    by_id: HashMap<TableId, usize>,
    /// The table that was looked up last.
    last_table: Option<(TableId, usize)>,
    new_series: NewSeries<'a>,
    /// The key of the line's series, if it is [fresh](LineSeries::Fresh).
    key: Vec<u8>,
    /// When rows that have expired are refused: the time by which they have.
    refused_at: Option<Timestamp>,
    /// The clock by which times lie ahead.
    now: Timestamp,
}

/// The series of a line: found, or to be added if the line passes all checks.
#[expect(
    clippy::large_enum_variant,
    reason = "it is there for one line, and a box would take memory for each"
)]
enum LineSeries<'l> {
    Found(usize, RowSeries),
    Fresh(usize, Tags<'l>),
}

impl LineSeries<'_> {
    /// The position of its table.
    fn table(&self) -> usize {
        match self {
            Self::Found(table, _) | Self::Fresh(table, _) => *table,
        }
    }
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
            new_series: NewSeries::default(),
            key: Vec::new(),
            refused_at,
            now: clock::now(),
        }
    }

    /// Adds a line that came at `received_at`, which is its time if it has none. `Ok(Some(problem))` means that the row is
    /// in, without the field that the problem names.
    pub(super) fn add_line(
        &mut self,
        bytes: &'a [u8],
        precision: Precision,
        received_at: Timestamp,
    ) -> Result<Option<LineProblem>, LineProblem> {
        let line = Head::cut(bytes)?;
        let known = self.lookup.by_spelling(line.series);
        self.add_cut_line(&line, known, precision, received_at)
    }

    /// Looks the series of lines up.
    pub(super) fn lookup(&mut self) -> &mut SeriesLookup<'a> {
        &mut self.lookup
    }

    /// As [`add_line`](Self::add_line), of a line whose series was looked up.
    pub(super) fn add_cut_line(
        &mut self,
        line: &Head<'a>,
        known: Option<SeriesRef>,
        precision: Precision,
        received_at: Timestamp,
    ) -> Result<Option<LineProblem>, LineProblem> {
        let series = match known {
            Some(series) => self.known_series(series),
            None => self.expected_series(line.series),
        };
        let (series, line) = match series {
            Some(series) => match self.add_expected(series, line, precision, received_at) {
                None => return Ok(None),
                Some(series) => (Some(series), line.line()?),
            },
            None => (None, line.line()?),
        };
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
        let series = match series {
            Some(series) => series,
            None => self.series_of(line.series)?,
        };
        let table = self.add_fields(series, Some(line.series), time, &fields, stripped)?;
        Ok(stripped.then(|| self.time_field(table, false)))
    }

    /// Adds a line of this series that is like the row before of its table. If it is not, or has a mistake, which is for
    /// others to name, nothing is added and the series comes back.
    fn add_expected<'l>(
        &mut self,
        series: LineSeries<'l>,
        line: &Head<'a>,
        precision: Precision,
        received_at: Timestamp,
    ) -> Option<LineSeries<'l>> {
        let position = series.table();
        let mut values = ExpectedValues::new();
        let Some(time) = self.read_expected(position, line, precision, received_at, &mut values) else {
            return Some(series);
        };
        let series = self.add_series(series, Some(line.series));
        if let Some(table) = self.tables.get_mut(position) {
            table.add_expected(series, time, &values);
        }
        None
    }

    /// The values and the time of a line that is like the row before of its table.
    fn read_expected(
        &self,
        table: usize,
        line: &Head<'_>,
        precision: Precision,
        received_at: Timestamp,
        values: &mut ExpectedValues,
    ) -> Option<Timestamp> {
        let table = self.tables.get(table)?;
        let time = match table.read_expected(line, values)? {
            Some(raw) => precision.to_nanos(raw).ok()?,
            None => precision.truncate(received_at.nanos()),
        };
        let time = Timestamp::from_nanos(time);
        (time >= table.oldest && !is_ahead(time, self.now)).then_some(time)
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
        let table = self.table_by_name(&row.table)?;
        let series = self.fresh_series(table, tags)?;
        self.add_fields(series, None, time, &fields, false)?;
        Ok(())
    }

    /// Defines what is new, and makes the batch.
    pub(super) fn finish(mut self) -> Result<Finished, WriteError> {
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
        let new_ids = self.resolve_new_series(&schemas)?;
        let tables = self.tables.into_iter().zip(schemas).filter(|(table, _)| !table.is_empty());
        let tables = tables.filter_map(|(table, schema)| Some(table.finish(&*schema?, &new_ids)));
        Ok(Finished::Batch(WriteBatch::of(tables.collect()), self.lookup.into_pin()))
    }

    /// The ids of the new series by their numbers.
    fn resolve_new_series(
        &mut self,
        schemas: &[Option<Arc<TableSchema>>],
    ) -> Result<Vec<SeriesId>, WriteError> {
        let table_of = |table: usize| schemas.get(table)?.as_ref().map(|schema| schema.id);
        // Of a table without rows there is no series.
        let new = self.new_series.iter().map(|(table, key, _)| Some((table_of(table)?, key)));
        let new = new.collect::<Option<Vec<_>>>().ok_or_else(|| {
            WriteError::Storage(storage::Error::Internal("a new series has no table".into()))
        })?;
        let mut found = Vec::with_capacity(new.len());
        let resolved = self.lookup.resolve_all(&new, &mut found);
        let spelled = self.new_series.iter().zip(&found);
        let spellings: Vec<_> = spelled.filter_map(|((.., raw), series)| Some((raw?, *series))).collect();
        self.lookup.remember(&spellings);
        resolved.map_err(full)?;
        Ok(found.into_iter().map(|series| series.id).collect())
    }

    fn add_fields(
        &mut self,
        series: LineSeries<'_>,
        spelling: Option<&'a [u8]>,
        time: Timestamp,
        fields: &[(Cow<'_, str>, ValueRef<'_>)],
        stripped: bool,
    ) -> Result<usize, LineProblem> {
        let position = series.table();
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
        let mut checked = SmallVec::new();
        let table =
            self.tables.get_mut(position).ok_or_else(|| LineProblem::Limit("no such table".into()))?;
        table.check(fields, &mut checked)?;
        // Known tags are checked by then, these may be new.
        if let LineSeries::Fresh(_, tags) = &series
            && let Some((name, _)) = fields.iter().find(|(name, _)| tags.iter().any(|(tag, _)| tag == name))
        {
            return Err(LineProblem::TagAndField { table: table.name.to_string(), name: name.to_string() });
        }
        let series = self.add_series(series, spelling);
        if let Some(table) = self.tables.get_mut(position) {
            table.add(series, time, fields, &checked);
        }
        Ok(position)
    }

    /// Adds the series of a line that passed all checks, if it is fresh.
    fn add_series(&mut self, series: LineSeries<'_>, spelling: Option<&'a [u8]>) -> RowSeries {
        match series {
            LineSeries::Found(_, series) => series,
            LineSeries::Fresh(table, tags) => {
                if let Some(table) = self.tables.get_mut(table) {
                    table.add_tags(&tags);
                }
                RowSeries::New(self.new_series.add(table, &self.key, spelling))
            }
        }
    }

    /// A series that the index knows.
    fn known_series<'l>(&mut self, series: SeriesRef) -> Option<LineSeries<'l>> {
        Some(LineSeries::Found(self.table_by_id(series.table)?, RowSeries::Known(series.id)))
    }

    /// A series that the index does not know, if its table is one that has rows in this batch; `None` also if it has a
    /// mistake.
    fn expected_series<'l>(&mut self, raw: &'l [u8]) -> Option<LineSeries<'l>> {
        if let Some((table, number)) = self.new_series.by_spelling(raw) {
            return Some(LineSeries::Found(table, RowSeries::New(number)));
        }
        let parts = line_protocol::parse_series(raw).ok()?;
        let table = *self.by_name.get(&*parts.measurement)?;
        self.fresh_series(table, parts.tags).ok()
    }

    /// A series that is not known by its spelling.
    fn series_of<'l>(&mut self, raw: &'l [u8]) -> Result<LineSeries<'l>, LineProblem> {
        let parts = line_protocol::parse_series(raw)?;
        let table = self.table_by_name(&parts.measurement)?;
        self.fresh_series(table, parts.tags)
    }

    /// The series of these tags; its key is in `key`.
    fn fresh_series<'l>(&mut self, position: usize, tags: Tags<'l>) -> Result<LineSeries<'l>, LineProblem> {
        let table = self.tables.get(position).ok_or_else(|| LineProblem::Limit("no such table".into()))?;
        let positions = table.check_tags(&tags)?;
        self.key.clear();
        put_key(&mut self.key, positions.into_iter())
            .map_err(|error| LineProblem::Limit(error.to_string()))?;
        Ok(match self.new_series.by_key(position, &self.key) {
            Some(number) => LineSeries::Found(position, RowSeries::New(number)),
            None => LineSeries::Fresh(position, tags),
        })
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
    if is_ahead(time, now) {
        return Err(LineProblem::Time(format!(
            "the time {time} is more than a day ahead of the server's clock ({now}): check its unit"
        )));
    }
    Ok(())
}

fn is_ahead(time: Timestamp, now: Timestamp) -> bool {
    time.nanos() > now.nanos().saturating_add(limits::TIME_AHEAD_NS)
}
