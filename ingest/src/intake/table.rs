//! The rows of one table of a batch that is being built.
//!
//! A line is first checked as a whole ([`TableBuilder::check`]) and then added ([`TableBuilder::add`]); a line that
//! fails the check changes nothing. One with the fields of the row before is read by these
//! ([`TableBuilder::read_expected`]), which says all that the check would, and added
//! ([`TableBuilder::add_expected`]).

use std::borrow::Cow;
use std::sync::Arc;

use arrow::buffer::ScalarBuffer;
use hashbrown::HashMap;
use smallvec::SmallVec;
use storage::catalog::SchemaChange;
use storage::limits;
use storage::model::{
    DatabaseName, FieldColumn, FieldType, SeriesId, TableBatch, TableName, TableSchema, Timestamp, ValueRef,
    check_column_name,
};

use super::column::{ColumnBuilder, Placed, place};
use super::problem::LineProblem;
use crate::line_protocol::{self, Head, LineError};

/// The series of a row.
#[derive(Debug, Clone, Copy)]
pub(super) enum RowSeries {
    Known(SeriesId),
    /// Its position among the series that are new to the batch.
    New(u32),
}

/// Up to so many fields, a line takes no memory but its rows.
pub(super) const USUAL_FIELDS: usize = 16;

/// Tags of a series: their positions, ascending, and values.
pub(super) type TagPositions<'t> = SmallVec<[(usize, &'t str); 8]>;

/// Values of a line that is like the one before.
pub(super) type ExpectedValues = SmallVec<[ValueRef<'static>; USUAL_FIELDS]>;

/// A value that passed the check: the position of its field, or none if it is new, and where it goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Checked<'v> {
    field: Option<usize>,
    placed: Placed<'v>,
}

#[derive(Debug)]
pub(super) struct TableBuilder {
    pub(super) name: TableName,
    pub(super) base: Option<Arc<TableSchema>>,
    /// Older rows are refused.
    pub(super) oldest: Timestamp,
    /// New tags in order of birth; their positions follow those of `base`.
    new_tags: Vec<Arc<str>>,
    tag_positions: HashMap<Arc<str>, usize>,
    /// The fields of `base`, then new ones.
    fields: Vec<FieldBuilder>,
    field_positions: HashMap<Arc<str>, usize>,
    /// The fields of the row before, if the next line may be [read](Self::read_expected) by them.
    expected: Vec<usize>,
    rows: Vec<RowSeries>,
    times: Vec<i64>,
    /// Counts lines, so that a field can tell that it was seen in this one.
    line: u64,
}

#[derive(Debug)]
struct FieldBuilder {
    name: Arc<str>,
    field_type: FieldType,
    is_wide: bool,
    /// See [`line_protocol::is_plain_name`].
    is_plain: bool,
    seen_in: u64,
    narrow: ColumnBuilder,
    wide: ColumnBuilder,
}

impl FieldBuilder {
    fn new(name: Arc<str>, field_type: FieldType, is_wide: bool) -> Self {
        let (narrow, wide) = (ColumnBuilder::new(field_type), ColumnBuilder::new(FieldType::Float));
        let is_plain = line_protocol::is_plain_name(&name);
        Self { name, field_type, is_wide, is_plain, seen_in: 0, narrow, wide }
    }

    /// Whether it has a float column, by the schema or by a row of this batch.
    fn is_widened(&self) -> bool {
        self.is_wide || !self.wide.is_empty()
    }

    /// Whether a line may be read by it: it stands there as it is, and its values are numbers or truth values that all go
    /// to one column.
    fn is_expected(&self) -> bool {
        self.is_plain && self.field_type != FieldType::Text && !self.is_widened()
    }
}

impl TableBuilder {
    pub(super) fn new(name: TableName, base: Option<Arc<TableSchema>>, oldest: Timestamp) -> Self {
        let mut builder = Self {
            name,
            new_tags: Vec::new(),
            tag_positions: HashMap::new(),
            fields: Vec::new(),
            field_positions: HashMap::new(),
            expected: Vec::new(),
            rows: Vec::new(),
            times: Vec::new(),
            line: 0,
            base: None,
            oldest,
        };
        if let Some(schema) = &base {
            let tags = schema.tags.iter().enumerate();
            builder.tag_positions = tags.map(|(i, tag)| (Arc::clone(&tag.name), i)).collect();
            for field in &schema.fields {
                builder.push_field(&field.name, field.narrow.field_type, field.wide.is_some());
            }
        }
        builder.base = base;
        builder
    }

    /// Checks the fields of a line; fills `checked` with where each goes.
    pub(super) fn check<'v>(
        &mut self,
        fields: &'v [(Cow<'_, str>, ValueRef<'_>)],
        checked: &mut SmallVec<[Checked<'v>; USUAL_FIELDS]>,
    ) -> Result<(), LineProblem> {
        self.line += 1;
        let mut new = 0;
        for (position, (name, value)) in fields.iter().enumerate() {
            let field = self.position_of(name, position);
            if let Some(field) = field.and_then(|f| self.fields.get_mut(f)) {
                if field.seen_in == self.line {
                    return Err(LineError::DuplicateField(name.as_ref().into()).into());
                }
                field.seen_in = self.line;
            } else {
                self.check_new_field(name, fields.get(..position).unwrap_or_default())?;
                new += 1;
            }
            let existing = field.and_then(|f| self.fields.get(f));
            let (field_type, is_wide) =
                existing.map_or((value.field_type(), false), |f| (f.field_type, f.is_widened()));
            let placed = place(field_type, is_wide, *value);
            if placed == Placed::Conflict {
                return Err(self.conflict(name, value.field_type(), field_type, is_wide));
            }
            new += usize::from(matches!(placed, Placed::Wide(_)) && !is_wide);
            checked.push(Checked { field, placed });
        }
        self.check_columns(new)
    }

    /// Whether the tags of a series that is new to this builder are allowed, with their positions; new tags
    /// get the positions that they will have.
    pub(super) fn check_tags<'t>(
        &self,
        tags: &'t [(Cow<'_, str>, Cow<'_, str>)],
    ) -> Result<TagPositions<'t>, LineProblem> {
        let mut positions = TagPositions::new();
        let mut next = self.tag_count();
        for (guess, (name, value)) in tags.iter().enumerate() {
            // Lines of a table mostly have its tags in their order.
            if self.tag(guess).is_some_and(|tag| **tag == **name) {
                positions.push((guess, value.as_ref()));
                continue;
            }
            if name == storage::model::TIME_COLUMN {
                return Err(LineProblem::TimeTag { table: self.name.to_string() });
            }
            if self.field_positions.contains_key(name.as_ref()) {
                return Err(self.tag_and_field(name));
            }
            let position = match self.tag_positions.get(name.as_ref()) {
                Some(position) => *position,
                None => {
                    check_column_name("tag", name).map_err(|error| LineProblem::Name(error.to_string()))?;
                    next += 1;
                    next - 1
                }
            };
            positions.push((position, value.as_ref()));
        }
        self.check_columns(next - self.tag_count())?;
        positions.sort_unstable_by_key(|(position, _)| *position);
        Ok(positions)
    }

    /// Takes over the tags of a series whose line passed all checks.
    pub(super) fn add_tags(&mut self, tags: &[(Cow<'_, str>, Cow<'_, str>)]) {
        for (guess, (name, _)) in tags.iter().enumerate() {
            if self.tag(guess).is_none_or(|tag| **tag != **name)
                && !self.tag_positions.contains_key(name.as_ref())
            {
                let name: Arc<str> = name.as_ref().into();
                self.tag_positions.insert(Arc::clone(&name), self.tag_count());
                self.new_tags.push(name);
            }
        }
    }

    /// Adds a line that passed the check.
    pub(super) fn add(
        &mut self,
        series: RowSeries,
        time: Timestamp,
        fields: &[(Cow<'_, str>, ValueRef<'_>)],
        checked: &[Checked<'_>],
    ) {
        let row = self.rows.len();
        self.expected.clear();
        let mut is_expected = true;
        for ((name, value), checked) in fields.iter().zip(checked) {
            let position = match checked.field {
                Some(position) => position,
                None => self.push_field(&name.as_ref().into(), value.field_type(), false),
            };
            let Some(field) = self.fields.get_mut(position) else { continue };
            match checked.placed {
                Placed::Narrow(value) => field.narrow.set(row, value),
                Placed::Wide(value) => field.wide.set(row, ValueRef::Float(value)),
                Placed::Conflict => {}
            }
            is_expected &= field.is_expected();
            self.expected.push(position);
        }
        if !is_expected || self.expected.len() > USUAL_FIELDS {
            self.expected.clear();
        }
        self.push_row(series, time);
    }

    /// Reads a line that has the fields of the row before, with values of their types; gives its timestamp. `None` says
    /// nothing but that it is another kind of line, or has a mistake.
    #[inline]
    pub(super) fn read_expected(&self, line: &Head<'_>, values: &mut ExpectedValues) -> Option<Option<i64>> {
        if self.expected.is_empty() {
            return None;
        }
        let fields = || self.expected.iter().filter_map(|position| self.fields.get(*position));
        let mut types = fields().map(|field| field.field_type);
        line.read_expected(fields().map(|field| field.name.as_bytes()), |value| {
            values.push(value);
            (types.next()? == value.field_type()).then_some(())
        })
    }

    /// Adds a row of values that were [read so](Self::read_expected) and nothing was added since.
    pub(super) fn add_expected(&mut self, series: RowSeries, time: Timestamp, values: &[ValueRef<'static>]) {
        let row = self.rows.len();
        for (position, value) in self.expected.iter().zip(values) {
            if let Some(field) = self.fields.get_mut(*position) {
                field.narrow.set(row, *value);
            }
        }
        self.push_row(series, time);
    }

    fn push_row(&mut self, series: RowSeries, time: Timestamp) {
        self.rows.push(series);
        self.times.push(time.nanos());
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// What the table's schema must get for these rows; `None` when it has it all.
    pub(super) fn change(&self, database: &DatabaseName) -> Option<SchemaChange> {
        let known = self.base.as_ref().map_or(0, |schema| schema.fields.len());
        let new_fields = self.fields.iter().skip(known).map(|f| (Arc::clone(&f.name), f.field_type));
        let widened = |(position, field): (usize, &FieldBuilder)| {
            (!field.wide.is_empty() && !field.is_wide).then_some(position)
        };
        let change = SchemaChange {
            database: database.clone(),
            table: self.name.clone(),
            base: self.base.clone(),
            tags: self.new_tags.clone(),
            fields: new_fields.collect(),
            widen: self.fields.iter().enumerate().filter_map(widened).collect(),
        };
        let needed = change.base.is_none()
            || !change.tags.is_empty()
            || !change.fields.is_empty()
            || !change.widen.is_empty();
        needed.then_some(change)
    }

    /// The rows as columns, given the schema that has them all and the ids of the batch's new series.
    pub(super) fn finish(self, schema: &TableSchema, new_ids: &[SeriesId]) -> TableBatch {
        let rows = self.rows.len();
        let mut fields = Vec::with_capacity(self.fields.len());
        for (builder, field) in self.fields.into_iter().zip(&schema.fields) {
            if !builder.narrow.is_empty() {
                fields.push(FieldColumn { column: field.narrow.id, values: builder.narrow.finish(rows) });
            }
            if let Some(wide) = field.wide.as_ref().filter(|_| !builder.wide.is_empty()) {
                fields.push(FieldColumn { column: wide.id, values: builder.wide.finish(rows) });
            }
        }
        let id_of = |series: &RowSeries| match series {
            RowSeries::Known(id) => id.get(),
            RowSeries::New(position) => new_ids.get(*position as usize).copied().unwrap_or_default().get(),
        };
        let series: ScalarBuffer<u32> = self.rows.iter().map(id_of).collect();
        TableBatch { table: schema.id, series, times: ScalarBuffer::from(self.times), fields }
    }

    /// The tag at a position.
    fn tag(&self, position: usize) -> Option<&Arc<str>> {
        let base = self.base.as_ref().map_or(&[][..], |schema| &schema.tags);
        match base.get(position) {
            Some(tag) => Some(&tag.name),
            None => self.new_tags.get(position.checked_sub(base.len())?),
        }
    }

    fn tag_count(&self) -> usize {
        self.base.as_ref().map_or(0, |schema| schema.tags.len()) + self.new_tags.len()
    }

    /// Lines of a table mostly have the same fields in the same order: look at that place first.
    fn position_of(&self, name: &str, guess: usize) -> Option<usize> {
        match self.fields.get(guess) {
            Some(field) if *field.name == *name => Some(guess),
            _ => self.field_positions.get(name).copied(),
        }
    }

    fn check_new_field(
        &self,
        name: &str,
        before: &[(Cow<'_, str>, ValueRef<'_>)],
    ) -> Result<(), LineProblem> {
        if before.iter().any(|(other, _)| other == name) {
            return Err(LineError::DuplicateField(name.into()).into());
        }
        if self.tag_positions.contains_key(name) {
            return Err(self.tag_and_field(name));
        }
        check_column_name("field", name).map_err(|error| LineProblem::Name(error.to_string()))
    }

    fn check_columns(&self, new: usize) -> Result<(), LineProblem> {
        if new == 0 {
            return Ok(());
        }
        let fields: usize = self.fields.iter().map(|f| 1 + usize::from(f.is_widened())).sum();
        let wanted = fields + self.tag_count() + new;
        if wanted > limits::COLUMNS_PER_TABLE {
            return Err(LineProblem::Limit(format!(
                "table {} would have {wanted} columns, the limit is {}",
                self.name,
                limits::COLUMNS_PER_TABLE
            )));
        }
        Ok(())
    }

    fn push_field(&mut self, name: &Arc<str>, field_type: FieldType, is_wide: bool) -> usize {
        let position = self.fields.len();
        self.field_positions.insert(Arc::clone(name), position);
        self.fields.push(FieldBuilder::new(Arc::clone(name), field_type, is_wide));
        position
    }

    fn tag_and_field(&self, name: &str) -> LineProblem {
        LineProblem::TagAndField { table: self.name.to_string(), name: name.to_owned() }
    }

    fn conflict(&self, field: &str, is: FieldType, narrow: FieldType, is_wide: bool) -> LineProblem {
        let exists = if is_wide { FieldType::Float } else { narrow };
        LineProblem::TypeConflict { table: self.name.to_string(), field: field.to_owned(), is, exists }
    }
}
