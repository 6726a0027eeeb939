//! The catalog: databases, tables and columns.
//!
//! Invariants:
//! - a schema is an immutable [`TableSchema`] behind an `Arc`, replaced as a whole;
//! - a definition is queued for the log before anyone can see it (KEY-3), because both happen under one lock;
//! - a change is made against the schema version that it was validated on, else it is refused as stale, and
//!   the source validates again (KEY-4).

mod definition;
mod properties;
mod shared;
mod stored_name;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::RwLock;

pub use definition::{Definition, DefinitionQueue};
pub use properties::{Declared, TableDeclaration};
pub(crate) use shared::FoundTable;

use crate::error::{Error, Result};
use crate::limits;
use crate::model::{
    ColumnId, DatabaseName, FieldSchema, FieldType, Partition, PhysicalColumn, Retention, SeriesId, TableId,
    TableName, TableSchema, TagSchema,
};

/// Databases, tables and columns of this node.
#[derive(Debug)]
pub struct Catalog {
    inner: RwLock<Inner>,
    definitions: Arc<DefinitionQueue>,
    /// Whether nodes share the tables, so that what is new of them is agreed on first.
    is_shared: bool,
}

#[derive(Debug, Default)]
struct Inner {
    databases: BTreeMap<DatabaseName, HashMap<TableName, TableId>>,
    tables: BTreeMap<TableId, Arc<TableSchema>>,
    next_table: u32,
    /// Columns below these were given, and their definitions may be lost (KEY-2).
    given_columns: HashMap<TableId, u16>,
    /// What databases say of how long rows are kept.
    retentions: HashMap<DatabaseName, Retention>,
    /// The last loss of definitions, if there was one, by the next series then: what is known of a retention may not be
    /// what was declared last.
    lost: Option<SeriesId>,
    /// Tables that were declared or made after a loss, and which one.
    declared: HashMap<TableId, SeriesId>,
    /// The same for databases.
    declared_databases: HashMap<DatabaseName, SeriesId>,
}

/// A change of one table's schema, validated against [`base`](Self::base).
#[derive(Debug, Clone)]
pub struct SchemaChange {
    /// The database, made if it is missing.
    pub database: DatabaseName,
    /// The table, made if it is missing.
    pub table: TableName,
    /// The schema that the change was validated on; `None` when the table did not exist.
    pub base: Option<Arc<TableSchema>>,
    /// Names of new tags.
    pub tags: Vec<Arc<str>>,
    /// New fields and their types.
    pub fields: Vec<(Arc<str>, FieldType)>,
    /// Positions of integer fields that get a float column.
    pub widen: Vec<usize>,
}

/// What became of a [`SchemaChange`].
#[derive(Debug)]
pub enum Applied {
    /// The table's schema now.
    Schema(Arc<TableSchema>),
    /// Another source changed the table since: validate again.
    Stale,
    /// The table is shared by nodes: what is new of it must be [born](crate::engine::Engine::bear) first. Nothing has
    /// changed.
    Unborn,
}

impl Catalog {
    /// An empty catalog that queues its definitions for the log in `definitions`.
    #[must_use]
    pub fn new(definitions: Arc<DefinitionQueue>) -> Self {
        Self { inner: RwLock::default(), definitions, is_shared: false }
    }

    /// The catalog of a node that shares its tables, if `is_shared`.
    #[must_use]
    pub fn shared_by_nodes(self, is_shared: bool) -> Self {
        Self { is_shared, ..self }
    }

    /// The names of all databases, in order.
    #[must_use]
    pub fn databases(&self) -> Vec<DatabaseName> {
        self.inner.read().databases.keys().cloned().collect()
    }

    /// Whether the database exists.
    #[must_use]
    pub fn has_database(&self, name: &str) -> bool {
        self.inner.read().databases.contains_key(name)
    }

    /// Makes a database; `false` if it was there. It is durable with the next frame of the log.
    ///
    /// # Errors
    /// [`Error::LimitExceeded`] at [`limits::DATABASES`].
    pub fn create_database(&self, name: &DatabaseName) -> Result<bool> {
        let mut inner = self.inner.write();
        self.ensure_database(&mut inner, name)
    }

    /// The schema of a table, if it exists.
    #[must_use]
    pub fn table(&self, database: &str, table: &str) -> Option<Arc<TableSchema>> {
        let inner = self.inner.read();
        let id = inner.databases.get(database)?.get(table)?;
        inner.tables.get(id).cloned()
    }

    /// The schema of the table with this id.
    #[must_use]
    pub fn table_by_id(&self, id: TableId) -> Option<Arc<TableSchema>> {
        self.inner.read().tables.get(&id).cloned()
    }

    /// The schemas of all tables of a database, by name.
    #[must_use]
    pub fn tables(&self, database: &str) -> Vec<Arc<TableSchema>> {
        let inner = self.inner.read();
        let Some(tables) = inner.databases.get(database) else { return Vec::new() };
        let mut schemas: Vec<_> = tables.values().filter_map(|id| inner.tables.get(id).cloned()).collect();
        schemas.sort_by(|a, b| a.name.cmp(&b.name));
        schemas
    }

    /// Number of tables of a database.
    #[must_use]
    pub fn table_count(&self, database: &str) -> usize {
        self.inner.read().databases.get(database).map_or(0, HashMap::len)
    }

    /// The schemas of all tables of all databases, by id.
    #[must_use]
    pub fn all_tables(&self) -> Vec<Arc<TableSchema>> {
        self.inner.read().tables.values().cloned().collect()
    }

    /// Applies a change, all of it or nothing.
    ///
    /// # Errors
    /// [`Error::LimitExceeded`] when a count limit would be passed; nothing is changed then.
    pub fn apply(&self, change: &SchemaChange) -> Result<Applied> {
        let mut inner = self.inner.write();
        let current = inner
            .databases
            .get(change.database.as_str())
            .and_then(|tables| tables.get(change.table.as_str()))
            .and_then(|id| inner.tables.get(id))
            .cloned();
        let stale = match (&current, &change.base) {
            (Some(current), Some(base)) => current.id != base.id || current.version != base.version,
            (None, None) => false,
            _ => true,
        };
        if stale {
            return Ok(Applied::Stale);
        }
        let more = change.tags.len() + change.fields.len() + change.widen.len();
        check_columns(current.as_deref(), &change.table, more)?;
        if self.is_shared {
            return Ok(Applied::Unborn);
        }
        let schema = match current {
            Some(current) => TableSchema::clone(&current),
            None => self.create_table(&mut inner, &change.database, &change.table, Partition::Day)?,
        };
        let given = inner.given_columns.get(&schema.id).copied().unwrap_or(0);
        let (schema, columns) = grown(schema, change, given);
        columns.into_iter().for_each(|definition| self.definitions.push(definition));
        let schema = Arc::new(schema);
        inner.tables.insert(schema.id, Arc::clone(&schema));
        Ok(Applied::Schema(schema))
    }

    /// Takes over a definition that was read from the log or a checkpoint. A definition that is known already
    /// changes nothing and gives `false`, so replay may meet it twice. Of two that contradict each other, the later wins.
    ///
    /// # Errors
    /// [`Error::Damaged`] when it refers to what was never defined.
    pub fn restore(&self, definition: &Definition) -> Result<bool> {
        let mut inner = self.inner.write();
        match definition {
            Definition::Database { name } => {
                let known = inner.databases.contains_key(name);
                inner.databases.entry(name.clone()).or_default();
                Ok(!known)
            }
            Definition::Table { id, database, name, partition } => {
                inner.next_table = inner.next_table.max(id.get() + 1);
                inner.databases.entry(database.clone()).or_default().insert(name.clone(), *id);
                let known = inner.tables.contains_key(id);
                let fresh = || {
                    let mut schema = TableSchema::new(*id, database.clone(), name.clone());
                    schema.partition = *partition;
                    Arc::new(schema)
                };
                inner.tables.entry(*id).or_insert_with(fresh);
                Ok(!known)
            }
            Definition::Tag { table, tag } => {
                let schema = inner.table_mut(*table)?;
                let known = schema.tag(&tag.name).is_some();
                if !known {
                    schema.push_tag(tag.clone());
                }
                Ok(!known)
            }
            Definition::Field { table, name, column } => {
                let schema = inner.table_mut(*table)?;
                let known = schema.field(name).is_some();
                if !known {
                    schema.push_field(FieldSchema { name: name.clone(), narrow: column.clone(), wide: None });
                }
                Ok(!known)
            }
            Definition::Widened { table, name, column } => {
                let schema = inner.table_mut(*table)?;
                let field = schema.field(name).ok_or_else(|| {
                    Error::Damaged(format!("field {name:?} was widened before it was defined"))
                })?;
                let known = schema.fields.get(field).is_some_and(|f| f.wide.is_some());
                if !known {
                    schema.widen(field, column.clone());
                }
                Ok(!known)
            }
            Definition::Given { table, series } => {
                inner.lost = inner.lost.max(Some(*series));
                inner.next_table = inner.next_table.max(table.get());
                Ok(false)
            }
            Definition::GivenColumns { table, column } => {
                let given = inner.given_columns.entry(*table).or_default();
                *given = (*given).max(column.get());
                Ok(false)
            }
            Definition::Series { .. } => Ok(false),
            Definition::DatabaseRetention { database, retention } => {
                Ok(inner.set_retention(database, *retention))
            }
            Definition::TableRetention { table, retention } => {
                let schema = inner.table_mut(*table)?;
                Ok(std::mem::replace(&mut schema.retention, *retention) != *retention)
            }
            Definition::TableRetentionKnown { table, lost } => {
                Ok(inner.declared.insert(*table, *lost) != Some(*lost))
            }
            Definition::DatabaseRetentionKnown { database, lost } => {
                Ok(inner.declared_databases.insert(database.clone(), *lost) != Some(*lost))
            }
            Definition::TableFolder { table, folder } => {
                let schema = inner.table_mut(*table)?;
                Ok(schema.folder.replace(Arc::clone(folder)).as_ref() != Some(folder))
            }
        }
    }

    /// All definitions of databases, tables and columns, in an order in which they can be restored.
    #[must_use]
    pub fn definitions(&self) -> Vec<Definition> {
        let inner = self.inner.read();
        let mut all: Vec<_> =
            inner.databases.keys().map(|name| Definition::Database { name: name.clone() }).collect();
        all.extend(inner.retentions.iter().map(|(database, retention)| Definition::DatabaseRetention {
            database: database.clone(),
            retention: Some(*retention),
        }));
        for schema in inner.tables.values() {
            let table = schema.id;
            all.push(Definition::Table {
                id: table,
                database: schema.database.clone(),
                name: schema.name.clone(),
                partition: schema.partition,
            });
            all.extend(schema.folder.iter().map(|folder| {
                let folder = Arc::clone(folder);
                Definition::TableFolder { table, folder }
            }));
            if schema.retention.is_some() {
                all.push(Definition::TableRetention { table, retention: schema.retention });
            }
            all.extend(schema.tags.iter().map(|tag| Definition::Tag { table, tag: tag.clone() }));
            for field in &schema.fields {
                let name = field.name.clone();
                all.push(Definition::Field { table, name: name.clone(), column: field.narrow.clone() });
                all.extend(field.wide.iter().map(|column| Definition::Widened {
                    table,
                    name: name.clone(),
                    column: column.clone(),
                }));
            }
        }
        all
    }

    fn ensure_database(&self, inner: &mut Inner, name: &DatabaseName) -> Result<bool> {
        if inner.databases.contains_key(name) {
            return Ok(false);
        }
        if inner.databases.len() >= limits::DATABASES {
            return Err(Error::LimitExceeded(format!("this node has its {} databases", limits::DATABASES)));
        }
        self.definitions.push(Definition::Database { name: name.clone() });
        inner.databases.insert(name.clone(), HashMap::new());
        self.database_is_declared(inner, name);
        Ok(true)
    }

    fn create_table(
        &self,
        inner: &mut Inner,
        database: &DatabaseName,
        name: &TableName,
        partition: Partition,
    ) -> Result<TableSchema> {
        self.ensure_database(inner, database)?;
        let tables = inner.databases.entry(database.clone()).or_default();
        if tables.len() >= limits::TABLES_PER_DATABASE {
            return Err(Error::LimitExceeded(format!(
                "database {database} has its {} tables",
                limits::TABLES_PER_DATABASE
            )));
        }
        let id = TableId::new(inner.next_table);
        inner.next_table += 1;
        tables.insert(name.clone(), id);
        let (database, name) = (database.clone(), name.clone());
        self.definitions.push(Definition::Table {
            id,
            database: database.clone(),
            name: name.clone(),
            partition,
        });
        self.table_is_declared(inner, id);
        let mut schema = TableSchema::new(id, database, name);
        schema.partition = partition;
        Ok(schema)
    }
}

/// A table's schema with what a change adds to it, and the definitions of that. `given` is the first column that may be
/// given.
fn grown(mut schema: TableSchema, change: &SchemaChange, given: u16) -> (TableSchema, Vec<Definition>) {
    let table = schema.id;
    let mut definitions = Vec::new();
    for name in &change.tags {
        let stored_name = stored_name::choose(&schema, name);
        let tag = TagSchema { name: name.clone(), stored_name };
        definitions.push(Definition::Tag { table, tag: tag.clone() });
        schema.push_tag(tag);
    }
    for (name, field_type) in &change.fields {
        let column = PhysicalColumn {
            id: next_column(&schema, given),
            field_type: *field_type,
            stored_name: stored_name::choose(&schema, name),
            scale: None,
        };
        definitions.push(Definition::Field { table, name: name.clone(), column: column.clone() });
        schema.push_field(FieldSchema { name: name.clone(), narrow: column, wide: None });
    }
    for &position in &change.widen {
        let Some(field) = schema.fields.get(position).filter(|f| f.wide.is_none()) else { continue };
        let column = PhysicalColumn {
            id: next_column(&schema, given),
            field_type: FieldType::Float,
            stored_name: stored_name::wide(&field.narrow.stored_name),
            scale: None,
        };
        definitions.push(Definition::Widened { table, name: field.name.clone(), column: column.clone() });
        schema.widen(position, column);
    }
    (schema, definitions)
}

impl Inner {
    fn table_mut(&mut self, id: TableId) -> Result<&mut TableSchema> {
        let table = self.tables.get_mut(&id);
        table
            .map(Arc::make_mut)
            .ok_or_else(|| Error::Damaged(format!("table {id} is used before it is defined")))
    }
}

/// Whether a table may have so many columns more.
fn check_columns(current: Option<&TableSchema>, table: &TableName, more: usize) -> Result<()> {
    let wanted = current.map_or(0, TableSchema::column_count) + more;
    if wanted > limits::COLUMNS_PER_TABLE {
        return Err(Error::LimitExceeded(format!(
            "table {table} would have {wanted} columns, the limit is {}",
            limits::COLUMNS_PER_TABLE
        )));
    }
    Ok(())
}

fn next_column(schema: &TableSchema, given: u16) -> ColumnId {
    let highest = schema.fields.iter().flat_map(FieldSchema::columns).map(|c| c.id.get() + 1).max();
    ColumnId::new(highest.unwrap_or(0).max(given))
}
