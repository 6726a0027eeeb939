//! Opening a log that has lost frames (`salvage`): what is lost is said exactly, and nothing takes its place.
//!
//! A lost frame may have held definitions. So before the log is mended, `definitions.log` gets a record of the
//! ids that were or may have been given: they are never given again (KEY-2), at this start or a later one. Rows
//! that later frames hold for an id without a definition are lost too; they are left out wherever the log is
//! read, and counted.
//!
//! Invariant: a row is never shown under a series, table or column other than its own.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{Array, BooleanArray};
use arrow::buffer::{BooleanBuffer, ScalarBuffer};
use arrow::compute::filter;

use super::{EngineConfig, Layout, Shared, definitions};
use crate::catalog::Definition;
use crate::error::Result;
use crate::last_value;
use crate::limits;
use crate::log::{self, Survey, decode_group, encode_definitions};
use crate::model::{ColumnId, FieldColumn, SeriesId, TableBatch, TableId, WriteBatch};
use crate::tap::CommittedGroup;

/// The fewest bytes of the definition of a series or a table, and of a column: so many definitions fit at most
/// into lost bytes.
const LEAST_DEFINITION_BYTES: u64 = 13;
const LEAST_COLUMN_BYTES: u64 = 16;

/// The greatest ids that anything readable names, plus one.
#[derive(Debug, Default)]
pub(super) struct Ids {
    series: u32,
    table: u32,
    columns: BTreeMap<TableId, u16>,
}

/// Mends the log if it is damaged. Every loss is reported in the log lines and in `log/quarantined/`.
///
/// # Errors
/// Damage that no salvage can mend (the epoch, `definitions.log`); the failure of the disk.
pub(super) fn mend_log(config: &EngineConfig) -> Result<()> {
    let layout = Layout(&config.data_dir);
    let mut ids = Ids::default();
    definitions::load(&*config.disk, &layout.definitions())?.iter().for_each(|known| ids.define(known));
    let survey = log::survey_log(&*config.disk, &layout.log(), &mut |_, payload| {
        let (defined, batches) = decode_group(payload)?;
        defined.iter().for_each(|definition| ids.define(definition));
        batches.iter().for_each(|batch| ids.use_in(batch));
        Ok(())
    })?;
    if survey.losses.is_empty() {
        return Ok(());
    }
    for loss in &survey.losses {
        tracing::error!(%loss, "the log has lost frames");
    }
    last_value::remove_saved(&*config.disk, &config.data_dir)?;
    definitions::append(&*config.disk, &layout.definitions(), &encode_definitions(&ids.given(&survey))?)?;
    if let Some(report) = log::mend(&*config.disk, &layout.log(), &survey)? {
        let kept: PathBuf = layout.log().join("quarantined");
        tracing::warn!(
            losses = report.losses.len(),
            folder = %kept.display(),
            "the log is mended; the damaged segments and the report are kept"
        );
    }
    Ok(())
}

/// Whether these definitions say that others were lost.
pub(super) fn some_are_lost(known: &[Definition]) -> bool {
    known.iter().any(|definition| matches!(definition, Definition::Given { .. }))
}

impl Ids {
    pub(super) fn define(&mut self, definition: &Definition) {
        match definition {
            Definition::Database { .. }
            | Definition::DatabaseRetention { .. }
            | Definition::DatabaseRetentionKnown { .. } => {}
            Definition::Table { id, .. }
            | Definition::Tag { table: id, .. }
            | Definition::TableRetention { table: id, .. }
            | Definition::TableFolder { table: id, .. }
            | Definition::TableRetentionKnown { table: id, .. } => self.table(*id),
            Definition::Field { table, column, .. } | Definition::Widened { table, column, .. } => {
                self.column(*table, column.id.get() + 1);
            }
            Definition::Series { id, table, .. } => {
                self.table(*table);
                self.series = self.series.max(id.get() + 1);
            }
            Definition::Given { series, table } => {
                self.series = self.series.max(series.get());
                self.table = self.table.max(table.get());
            }
            Definition::GivenColumns { table, column } => self.column(*table, column.get()),
        }
    }

    fn use_in(&mut self, batch: &WriteBatch) {
        batch.deletes.iter().flat_map(|delete| &delete.tables).for_each(|table| self.table(*table));
        for rows in &batch.tables {
            self.table(rows.table);
            let highest = rows.series.iter().max().map_or(0, |id| id + 1);
            self.series = self.series.max(highest);
            for field in &rows.fields {
                self.column(rows.table, field.column.get() + 1);
            }
        }
    }

    fn table(&mut self, id: TableId) {
        self.table = self.table.max(id.get() + 1);
        self.columns.entry(id).or_default();
    }

    fn column(&mut self, table: TableId, next: u16) {
        self.table(table);
        let known = self.columns.entry(table).or_default();
        *known = (*known).max(next);
    }

    /// What may have been given, with everything that the lost bytes may have defined.
    fn given(&self, survey: &Survey) -> Vec<Definition> {
        let lost: u64 = survey.losses.iter().map(log::Loss::bytes).sum();
        let definitions = u32::try_from(lost / LEAST_DEFINITION_BYTES).unwrap_or(u32::MAX);
        let columns = usize::try_from(lost / LEAST_COLUMN_BYTES).unwrap_or(usize::MAX);
        self.given_and((definitions, definitions), columns)
    }

    /// What was given, and so many series and tables, and columns of each table, that nothing names.
    pub(super) fn given_and(&self, (series, tables): (u32, u32), columns: usize) -> Vec<Definition> {
        // A table has a bounded number of columns, whatever was lost.
        let columns = u16::try_from(columns.min(limits::COLUMNS_PER_TABLE)).unwrap_or(u16::MAX);
        let mut given = vec![Definition::Given {
            series: SeriesId::new(self.series.saturating_add(series)),
            table: TableId::new(self.table.saturating_add(tables)),
        }];
        given.extend(self.columns.iter().map(|(table, next)| Definition::GivenColumns {
            table: *table,
            column: ColumnId::new(next.saturating_add(columns)),
        }));
        given
    }
}

/// Rows and values that no definition explains, per table.
#[derive(Debug, Default)]
pub(super) struct Unexplained {
    rows: BTreeMap<u32, usize>,
    values: BTreeMap<u32, usize>,
}

impl Unexplained {
    /// Says what was left out.
    pub(super) fn report(&self) {
        for (table, rows) in &self.rows {
            tracing::error!(
                table,
                rows,
                "rows are lost: what their ids mean stood in lost frames of the log"
            );
        }
        for (table, values) in &self.values {
            tracing::error!(
                table,
                values,
                "values are lost: what their columns mean stood in lost frames of the log"
            );
        }
    }
}

impl Shared {
    /// The rows of a batch whose ids are defined, counting the others. A batch that no loss concerns is given
    /// back as it is.
    pub(super) fn explained(&self, batch: WriteBatch, unexplained: &mut Unexplained) -> Result<WriteBatch> {
        if !self.has_lost_definitions {
            return Ok(batch);
        }
        let tables = batch.tables.into_iter();
        let tables = tables.map(|rows| self.explained_rows(rows, unexplained)).collect::<Result<Vec<_>>>()?;
        Ok(WriteBatch { tables: tables.into_iter().flatten().collect(), ..batch })
    }

    /// The rows of a group whose ids are defined.
    pub(super) fn explained_group(&self, group: CommittedGroup) -> Result<CommittedGroup> {
        if !self.has_lost_definitions {
            return Ok(group);
        }
        let batches = group
            .batches
            .iter()
            .map(|batch| self.explained(WriteBatch::clone(batch), &mut Unexplained::default()).map(Arc::new));
        let batches = batches.collect::<Result<Vec<_>>>()?;
        let bytes = batches.iter().map(|batch| batch.memory_bytes()).sum();
        Ok(CommittedGroup { batches, bytes, ..group })
    }

    fn explained_rows(&self, rows: TableBatch, unexplained: &mut Unexplained) -> Result<Option<TableBatch>> {
        let table = rows.table.get();
        let Some(schema) = self.catalog.table_by_id(rows.table) else {
            *unexplained.rows.entry(table).or_default() += rows.rows();
            return Ok(None);
        };
        let columns: Vec<ColumnId> = schema.fields.iter().flat_map(|f| f.columns()).map(|c| c.id).collect();
        let (known, lost): (Vec<FieldColumn>, Vec<FieldColumn>) =
            rows.fields.iter().cloned().partition(|field| columns.contains(&field.column));
        let is_explained = |row: usize| {
            let id = rows.series.get(row).copied().map(SeriesId::new);
            let series = id.and_then(|id| self.series.get(id));
            let has_value = known.iter().any(|field| field.values.is_valid(row));
            series.is_some_and(|series| series.table == rows.table) && (has_value || lost.is_empty())
        };
        let kept = BooleanBuffer::collect_bool(rows.rows(), is_explained);
        let dropped = rows.rows() - kept.count_set_bits();
        if dropped == 0 && lost.is_empty() {
            return Ok(Some(rows));
        }
        if dropped > 0 {
            *unexplained.rows.entry(table).or_default() += dropped;
        }
        let values: usize = lost.iter().map(|field| field.values.len() - field.values.null_count()).sum();
        if values > 0 {
            *unexplained.values.entry(table).or_default() += values;
        }
        let kept = BooleanArray::new(kept, None);
        let filtered = |field: FieldColumn| {
            Ok(FieldColumn { column: field.column, values: filter(&field.values, &kept)? })
        };
        let at = |row: &usize| kept.value(*row);
        let all = || (0..rows.rows()).filter(at);
        let series: ScalarBuffer<u32> = all().filter_map(|row| rows.series.get(row).copied()).collect();
        let times: ScalarBuffer<i64> = all().filter_map(|row| rows.times.get(row).copied()).collect();
        let fields = known.into_iter().map(filtered).collect::<Result<Vec<_>>>()?;
        Ok((!series.is_empty()).then_some(TableBatch { table: rows.table, series, times, fields }))
    }
}
