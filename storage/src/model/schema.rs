//! Schemas of tables, as an immutable value that is replaced as a whole when a column is born.
//!
//! Invariants: a column never changes its type and never goes away; tags and fields keep their order of
//! birth; `version` rises with every new tag or column (properties are not part of it: no batch depends on them). A field that got both integers and floats owns two physical
//! columns (the narrow one and the wide one), of which a row fills at most one.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use hashbrown::HashMap;

use super::{ColumnId, DatabaseName, FieldType, Partition, Retention, Scale, TableId, TableName};

/// The name of the time column in SQL and in files.
pub const TIME_COLUMN: &str = "time";

/// A tag of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagSchema {
    /// The name, as it was written.
    pub name: Arc<str>,
    /// The name in files (Delta refuses some characters and ignores case).
    pub stored_name: Arc<str>,
}

/// One physical column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PhysicalColumn {
    /// Its id within the table.
    pub id: ColumnId,
    /// The type of its values.
    pub field_type: FieldType,
    /// The name in files.
    pub stored_name: Arc<str>,
    /// The scale that was declared for its floats: see [`crate::layout`].
    pub scale: Option<Scale>,
}

/// A field of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldSchema {
    /// The name, as it was written.
    pub name: Arc<str>,
    /// The column of the type that the field was born with.
    pub narrow: PhysicalColumn,
    /// The float column of a field that was born with integers and later got floats.
    pub wide: Option<PhysicalColumn>,
}

impl FieldSchema {
    /// The type that SQL shows.
    #[must_use]
    pub fn logical_type(&self) -> FieldType {
        if self.wide.is_some() { FieldType::Float } else { self.narrow.field_type }
    }

    /// The physical columns, narrow first.
    pub fn columns(&self) -> impl Iterator<Item = &PhysicalColumn> {
        std::iter::once(&self.narrow).chain(&self.wide)
    }
}

/// The schema of one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableSchema {
    /// The table's id.
    pub id: TableId,
    /// The database that it belongs to.
    pub database: DatabaseName,
    /// The table's name.
    pub name: TableName,
    /// Rises by one with every new tag or column.
    pub version: u32,
    /// The tags in order of birth: a series key names them by this position.
    pub tags: Vec<TagSchema>,
    /// The fields in order of birth.
    pub fields: Vec<FieldSchema>,
    /// How long rows are kept; `None` is as long as its database says.
    pub retention: Option<Retention>,
    /// How its files are kept apart.
    pub partition: Partition,
    /// Its folder in the store of tables, where it does not follow from its names and its id.
    pub folder: Option<Arc<str>>,
    tag_positions: HashMap<Arc<str>, usize>,
    field_positions: HashMap<Arc<str>, usize>,
}

impl TableSchema {
    /// A table without columns.
    #[must_use]
    pub fn new(id: TableId, database: DatabaseName, name: TableName) -> Self {
        Self {
            id,
            database,
            name,
            version: 0,
            tags: Vec::new(),
            fields: Vec::new(),
            retention: None,
            partition: Partition::Day,
            folder: None,
            tag_positions: HashMap::new(),
            field_positions: HashMap::new(),
        }
    }

    /// The position of a tag.
    #[must_use]
    pub fn tag(&self, name: &str) -> Option<usize> {
        self.tag_positions.get(name).copied()
    }

    /// The position of a field.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<usize> {
        self.field_positions.get(name).copied()
    }

    /// Tags and physical columns.
    #[must_use]
    pub fn column_count(&self) -> usize {
        self.tags.len() + self.fields.iter().map(|f| f.columns().count()).sum::<usize>()
    }

    /// The field and the physical column with this id.
    #[must_use]
    pub fn column(&self, id: ColumnId) -> Option<(usize, &PhysicalColumn)> {
        self.fields.iter().enumerate().find_map(|(i, f)| Some((i, f.columns().find(|c| c.id == id)?)))
    }

    /// The schema that SQL shows: `time` (nanoseconds, UTC), tags (dictionary text), fields.
    ///
    /// Columns come in this order: tags in order of birth, `time`, fields in order of birth.
    #[must_use]
    pub fn logical_arrow(&self) -> SchemaRef {
        let tags = self.tags.iter().map(|tag| Field::new(tag.name.as_ref(), tag_type(), true));
        let time = Field::new(TIME_COLUMN, DataType::Timestamp(TimeUnit::Nanosecond, None), false);
        let fields = self
            .fields
            .iter()
            .map(|field| Field::new(field.name.as_ref(), logical_data_type(field.logical_type()), true));
        Arc::new(Schema::new(tags.chain(std::iter::once(time)).chain(fields).collect::<Vec<_>>()))
    }

    pub(crate) fn push_tag(&mut self, tag: TagSchema) {
        self.tag_positions.insert(tag.name.clone(), self.tags.len());
        self.tags.push(tag);
        self.version += 1;
    }

    pub(crate) fn push_field(&mut self, field: FieldSchema) {
        self.field_positions.insert(field.name.clone(), self.fields.len());
        self.fields.push(field);
        self.version += 1;
    }

    /// Gives a field its float column. Does nothing when there is no such field.
    pub(crate) fn widen(&mut self, field: usize, column: PhysicalColumn) {
        if let Some(field) = self.fields.get_mut(field) {
            field.wide = Some(column);
            self.version += 1;
        }
    }
}

/// The Arrow type of a tag: a dictionary, because tags repeat.
fn tag_type() -> DataType {
    DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
}

fn logical_data_type(field_type: FieldType) -> DataType {
    match field_type {
        FieldType::Float => DataType::Float64,
        FieldType::Integer => DataType::Int64,
        FieldType::Unsigned => DataType::UInt64,
        FieldType::Boolean => DataType::Boolean,
        FieldType::Text => DataType::Utf8,
    }
}
