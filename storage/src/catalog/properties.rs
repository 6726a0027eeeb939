//! What is declared of databases and tables: retention, partitions, scales.
//!
//! Invariants:
//! - a retention may change at any time, the later record wins; partition and scales never change once they stand;
//! - a field with a scale is born by its declaration, as a field of floats, so it has no value that was stored
//!   otherwise;
//! - a declaration is applied as a whole or not at all;
//! - after a loss of definitions nothing is dropped by a retention that may have been replaced by a lost one.

use std::sync::Arc;

use super::{Catalog, Definition, Inner, check_columns, next_column, stored_name};
use crate::error::{Error, Result};
use crate::model::{
    DatabaseName, FieldSchema, FieldType, Partition, PhysicalColumn, Retention, Scale, SeriesId, TIME_COLUMN,
    TableId, TableName, TableSchema, check_column_name,
};

/// What a table shall be like.
#[derive(Debug, Clone)]
pub struct TableDeclaration {
    /// The database, made if it is missing.
    pub database: DatabaseName,
    /// The table, made if it is missing.
    pub table: TableName,
    /// How long its rows are kept; `None` is as long as the database says.
    pub retention: Option<Retention>,
    /// How its files are kept apart; `None` is as they are, for a new table by day.
    pub partition: Option<Partition>,
    /// Fields and their scales; others stay as they are.
    pub scales: Vec<(Arc<str>, Scale)>,
}

/// A table as it was declared.
#[derive(Debug)]
pub struct Declared {
    /// Its schema now.
    pub schema: Arc<TableSchema>,
    /// Whether it was made.
    pub created: bool,
}

impl Catalog {
    /// What was declared of a database: `None` when there is no such database, `Some(None)` when nothing was.
    #[must_use]
    pub fn database_retention(&self, database: &str) -> Option<Option<Retention>> {
        let inner = self.inner.read();
        let name = inner.databases.get_key_value(database)?.0;
        Some(inner.retentions.get(name).copied())
    }

    /// What was declared of a table, else of its database, if anything was.
    #[must_use]
    pub fn retention_of(&self, table: TableId) -> Option<Retention> {
        let inner = self.inner.read();
        let schema = inner.tables.get(&table)?;
        schema.retention.or_else(|| inner.retentions.get(&schema.database).copied())
    }

    /// Whether what is known of a table's retention is what was declared last. After a loss of definitions that is
    /// so only for what was declared or made since, of the table and, if the table says nothing, of its database.
    #[must_use]
    pub fn knows_retention_of(&self, table: TableId) -> bool {
        let inner = self.inner.read();
        let Some(lost) = inner.lost else { return true };
        let is_since = |declared: Option<&SeriesId>| declared == Some(&lost);
        let Some(schema) = inner.tables.get(&table) else { return false };
        is_since(inner.declared.get(&table))
            && (schema.retention.is_some() || is_since(inner.declared_databases.get(&schema.database)))
    }

    /// After a loss of definitions: notes, durably with the next frame of the log, that a table's retention is known.
    pub(super) fn table_is_declared(&self, inner: &mut Inner, table: TableId) {
        if let Some(lost) = inner.lost
            && inner.declared.insert(table, lost) != Some(lost)
        {
            self.definitions.push(Definition::TableRetentionKnown { table, lost });
        }
    }

    /// The same for a database.
    pub(super) fn database_is_declared(&self, inner: &mut Inner, database: &DatabaseName) {
        if let Some(lost) = inner.lost
            && inner.declared_databases.insert(database.clone(), lost) != Some(lost)
        {
            self.definitions.push(Definition::DatabaseRetentionKnown { database: database.clone(), lost });
        }
    }

    /// Declares how long rows of a database are kept whose table says nothing; makes it if it is missing. `true` when
    /// it was made. Durable with the next frame of the log.
    ///
    /// # Errors
    /// [`Error::LimitExceeded`] when it cannot be made.
    pub fn declare_database(&self, database: &DatabaseName, retention: Option<Retention>) -> Result<bool> {
        let mut inner = self.inner.write();
        let created = self.ensure_database(&mut inner, database)?;
        if inner.retentions.get(database).copied() != retention {
            self.definitions.push(Definition::DatabaseRetention { database: database.clone(), retention });
            inner.set_retention(database, retention);
        }
        self.database_is_declared(&mut inner, database);
        Ok(created)
    }

    /// Declares what a table is like; makes it if it is missing. Durable with the next frame of the log.
    ///
    /// # Errors
    /// [`Error::Conflict`] when the table has another partition, or a field that stands cannot get the scale;
    /// [`Error::Name`] and [`Error::Invalid`] for names that no field can have; [`Error::LimitExceeded`] when a count
    /// limit would be passed. Nothing is changed then.
    pub fn declare_table(&self, wanted: &TableDeclaration) -> Result<Declared> {
        let mut inner = self.inner.write();
        let current = inner.find(wanted.database.as_str(), wanted.table.as_str());
        let fields = new_fields(current.as_deref(), wanted)?;
        check_columns(current.as_deref(), &wanted.table, fields.len())?;
        let created = current.is_none();
        let mut schema = match current {
            Some(current) => TableSchema::clone(&current),
            None => {
                let partition = wanted.partition.unwrap_or_default();
                self.create_table(&mut inner, &wanted.database, &wanted.table, partition)?
            }
        };
        let table = schema.id;
        if schema.retention != wanted.retention {
            let retention = wanted.retention;
            self.definitions.push(Definition::TableRetention { table, retention });
            schema.retention = retention;
        }
        let given = inner.given_columns.get(&table).copied().unwrap_or(0);
        for definition in add_scaled(&mut schema, fields, given) {
            self.definitions.push(definition);
        }
        self.table_is_declared(&mut inner, table);
        let schema = Arc::new(schema);
        inner.tables.insert(table, Arc::clone(&schema));
        Ok(Declared { schema, created })
    }
}

/// Adds fields with a scale; returns their definitions.
pub(super) fn add_scaled(
    schema: &mut TableSchema,
    fields: Vec<(Arc<str>, Scale)>,
    given: u16,
) -> Vec<Definition> {
    let mut definitions = Vec::with_capacity(fields.len());
    for (name, scale) in fields {
        let column = PhysicalColumn {
            id: next_column(schema, given),
            field_type: FieldType::Float,
            stored_name: stored_name::choose(schema, &name),
            scale: Some(scale),
        };
        let (table, column_of_field) = (schema.id, column.clone());
        definitions.push(Definition::Field { table, name: name.clone(), column });
        schema.push_field(FieldSchema { name, narrow: column_of_field, wide: None });
    }
    definitions
}

impl Inner {
    /// The table of this name.
    pub(super) fn find(&self, database: &str, table: &str) -> Option<Arc<TableSchema>> {
        let id = self.databases.get(database)?.get(table)?;
        self.tables.get(id).cloned()
    }

    /// Sets what a database says; `true` when it said something else.
    pub(super) fn set_retention(&mut self, database: &DatabaseName, retention: Option<Retention>) -> bool {
        let before = match retention {
            Some(retention) => self.retentions.insert(database.clone(), retention),
            None => self.retentions.remove(database),
        };
        before != retention
    }
}

/// The fields that the declaration brings into being, once nothing speaks against any of it.
pub(super) fn new_fields(
    current: Option<&TableSchema>,
    wanted: &TableDeclaration,
) -> Result<Vec<(Arc<str>, Scale)>> {
    let table = &wanted.table;
    if let Some((schema, partition)) = current.zip(wanted.partition)
        && schema.partition != partition
    {
        let unit = schema.partition.as_str();
        return Err(Error::Conflict(format!(
            "table {table} is partitioned by {unit}, which was fixed when it was made"
        )));
    }
    let mut fields: Vec<(Arc<str>, Scale)> = Vec::new();
    for (name, scale) in &wanted.scales {
        check_column_name("field", name)?;
        if **name == *TIME_COLUMN || fields.iter().any(|(other, _)| other == name) {
            return Err(Error::Invalid(format!(
                "no field {name:?} can be declared here: choose another name"
            )));
        }
        if current.is_some_and(|schema| schema.tag(name).is_some()) {
            return Err(Error::Conflict(format!("{name:?} is a tag of table {table} and cannot be a field")));
        }
        let field = current.and_then(|schema| schema.fields.get(schema.field(name)?));
        match field.map(|field| field.narrow.scale) {
            None => fields.push((name.clone(), *scale)),
            Some(Some(known)) if known == *scale => {}
            Some(Some(known)) => {
                return Err(Error::Conflict(format!(
                    "field {name:?} of table {table} has the scale {known}"
                )));
            }
            Some(None) => {
                return Err(Error::Conflict(format!(
                    "field {name:?} of table {table} has values already: declare a scale before the first"
                )));
            }
        }
    }
    Ok(fields)
}
