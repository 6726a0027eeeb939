//! Tables that nodes share: what is new of one is drafted, agreed on in its Delta log ([`crate::cluster`]), and adopted
//! from there. Winner and loser of a race adopt the same.
//!
//! Invariant: a draft changes nothing; what is adopted was committed to the Delta log (KEY-4).

use std::sync::Arc;

use super::properties::{add_scaled, new_fields};
use super::{Catalog, Definition, Inner, SchemaChange, TableDeclaration, check_columns, grown, next_column};
use crate::error::{Error, Result};
use crate::layout::{Described, table_folder};
use crate::model::{
    DatabaseName, FieldSchema, Partition, PhysicalColumn, TableId, TableName, TableSchema, TagSchema,
};

/// A table as its Delta log says it is.
#[derive(Debug)]
pub(crate) struct FoundTable {
    pub(crate) database: DatabaseName,
    pub(crate) table: TableName,
    /// Its folder in the store of tables.
    pub(crate) folder: Arc<str>,
    pub(crate) partition: Partition,
    pub(crate) columns: Described,
}

impl Catalog {
    /// The schema of a table after a change, which is not applied; `None` when the table has changed since the change was
    /// validated. Ids in the draft of a new table mean nothing.
    ///
    /// # Errors
    /// [`Error::LimitExceeded`] when a count limit would be passed.
    pub(crate) fn draft(&self, change: &SchemaChange) -> Result<Option<TableSchema>> {
        let inner = self.inner.read();
        let current = inner.find(change.database.as_str(), change.table.as_str());
        let version = |schema: &Arc<TableSchema>| (schema.id, schema.version);
        if current.as_ref().map(version) != change.base.as_ref().map(version) {
            return Ok(None);
        }
        let more = change.tags.len() + change.fields.len() + change.widen.len();
        check_columns(current.as_deref(), &change.table, more)?;
        let (schema, given) = inner.base(current, &change.database, &change.table);
        Ok(Some(grown(schema, change, given).0))
    }

    /// The schema of a table with the fields of a declaration, which is not applied.
    ///
    /// # Errors
    /// Those of [`Catalog::declare_table`].
    pub(crate) fn draft_declared(&self, wanted: &TableDeclaration) -> Result<TableSchema> {
        let inner = self.inner.read();
        let current = inner.find(wanted.database.as_str(), wanted.table.as_str());
        let fields = new_fields(current.as_deref(), wanted)?;
        check_columns(current.as_deref(), &wanted.table, fields.len())?;
        let is_new = current.is_none();
        let (mut schema, given) = inner.base(current, &wanted.database, &wanted.table);
        if is_new {
            schema.partition = wanted.partition.unwrap_or_default();
        }
        add_scaled(&mut schema, fields, given);
        Ok(schema)
    }

    /// Takes over what the Delta log of a table has and this catalog lacks.
    ///
    /// # Errors
    /// [`Error::Conflict`] when the catalog has a table of that name in another folder; [`Error::LimitExceeded`] when it has
    /// no room for a table more.
    pub(crate) fn adopt(&self, found: &FoundTable) -> Result<Arc<TableSchema>> {
        let mut inner = self.inner.write();
        let mut schema = match inner.find(found.database.as_str(), found.table.as_str()) {
            Some(known) if *table_folder(&known).as_ref() == *found.folder => TableSchema::clone(&known),
            Some(known) => {
                let (database, table, ours) = (&found.database, &found.table, table_folder(&known));
                return Err(Error::Conflict(format!(
                    "table {table} of database {database} is in two folders, {ours} and {}: this node reads the first; write \
                     the rows of one again and remove it",
                    found.folder
                )));
            }
            None => {
                let mut schema =
                    self.create_table(&mut inner, &found.database, &found.table, found.partition)?;
                let (table, folder) = (schema.id, Arc::clone(&found.folder));
                self.definitions.push(Definition::TableFolder { table, folder: Arc::clone(&folder) });
                schema.folder = Some(folder);
                schema
            }
        };
        let given = inner.given_columns.get(&schema.id).copied().unwrap_or(0);
        for definition in adopted(&mut schema, &found.columns, given) {
            self.definitions.push(definition);
        }
        let schema = Arc::new(schema);
        inner.tables.insert(schema.id, Arc::clone(&schema));
        Ok(schema)
    }
}

impl Inner {
    /// What a change of a table begins with: its schema, and the first column that may be given.
    fn base(
        &self,
        current: Option<Arc<TableSchema>>,
        database: &DatabaseName,
        table: &TableName,
    ) -> (TableSchema, u16) {
        let schema = current.map_or_else(
            || TableSchema::new(TableId::new(u32::MAX), database.clone(), table.clone()),
            |current| TableSchema::clone(&current),
        );
        let given = self.given_columns.get(&schema.id).copied().unwrap_or(0);
        (schema, given)
    }
}

/// Adds the columns that a schema lacks; returns their definitions.
fn adopted(schema: &mut TableSchema, columns: &Described, given: u16) -> Vec<Definition> {
    let table = schema.id;
    let mut definitions = Vec::new();
    for tag in &columns.tags {
        if schema.tag(&tag.name).is_none() && schema.field(&tag.name).is_none() {
            let tag = TagSchema::clone(tag);
            definitions.push(Definition::Tag { table, tag: tag.clone() });
            schema.push_tag(tag);
        }
    }
    for field in &columns.fields {
        let name = &field.name;
        if schema.field(name).is_none() && schema.tag(name).is_none() {
            let column = PhysicalColumn { id: next_column(schema, given), ..field.narrow.clone() };
            definitions.push(Definition::Field { table, name: name.clone(), column: column.clone() });
            schema.push_field(FieldSchema { name: name.clone(), narrow: column, wide: None });
        }
        let Some(position) = schema.field(name) else { continue };
        let is_narrow = schema.fields.get(position).is_some_and(|known| known.wide.is_none());
        if let Some(wide) = field.wide.as_ref().filter(|_| is_narrow) {
            let column = PhysicalColumn { id: next_column(schema, given), ..wide.clone() };
            definitions.push(Definition::Widened { table, name: name.clone(), column: column.clone() });
            schema.widen(position, column);
        }
    }
    definitions
}
