//! What the columns of a Delta table mean: the way back from its schema to tags and fields.
//!
//! A column says in its metadata what it is and what it is called in SQL, since text may be a tag or a field and a stored
//! name may be escaped. Columns of tables that were made before have none: those before `time` are tags, the others
//! fields, until the next commit of a node that knows better.

use std::sync::Arc;

use deltalake_core::kernel::{DataType as DeltaType, MetadataValue, PrimitiveType, StructField, StructType};
use percent_encoding::percent_decode_str;

use super::{DATE_COLUMN, REMAINDER_COLUMN, UNSIGNED_DIGITS, scaled};
use crate::model::{ColumnId, FieldSchema, FieldType, PhysicalColumn, Scale, TIME_COLUMN, TagSchema};

/// The key of what a column is.
const MEANING: &str = "busbar.column";

/// The key of what it is called.
const NAME: &str = "busbar.name";

/// The stored name of a column beside another begins with this.
const BESIDE: &str = "busbar_f64_";

/// What a column of a Delta table is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    Tag,
    /// The column that a field was born with.
    Field,
    /// The floats of a field that was born with integers.
    Wide,
    /// The floats that are no decimals of a field with a scale.
    Rest,
}

/// The columns of a table, as its Delta schema has them. Ids of columns mean nothing here: each node gives its own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Described {
    pub(crate) tags: Vec<TagSchema>,
    pub(crate) fields: Vec<FieldSchema>,
}

impl Meaning {
    const fn text(self) -> &'static str {
        match self {
            Self::Tag => "tag",
            Self::Field => "field",
            Self::Wide => "wide",
            Self::Rest => "rest",
        }
    }

    /// The column, saying what it is.
    pub(super) fn of(self, name: &str, column: StructField) -> StructField {
        column.with_metadata([(MEANING, self.text()), (NAME, name)])
    }

    fn read(column: &StructField) -> Option<Self> {
        let said = text_of(column, MEANING)?;
        [Self::Tag, Self::Field, Self::Wide, Self::Rest].into_iter().find(|meaning| meaning.text() == said)
    }
}

/// Whether a column says what it is.
pub(crate) fn is_described(column: &StructField) -> bool {
    Meaning::read(column).is_some()
}

/// What the columns of a table mean.
pub(crate) fn described(schema: &StructType) -> Described {
    let mut described = Described::default();
    let mut is_after_time = false;
    for column in schema.fields() {
        let stored_name = column.name().as_str();
        if [TIME_COLUMN, REMAINDER_COLUMN, DATE_COLUMN].contains(&stored_name) {
            is_after_time = true;
            continue;
        }
        let meaning = Meaning::read(column).unwrap_or_else(|| guess(column, schema, is_after_time));
        let name = text_of(column, NAME).map_or_else(|| decoded(stored_name), Arc::from);
        match meaning {
            Meaning::Tag => described.tags.push(TagSchema { name, stored_name: stored_name.into() }),
            Meaning::Field => {
                if let Some(narrow) = physical(column) {
                    described.fields.push(FieldSchema { name, narrow, wide: None });
                }
            }
            Meaning::Wide => {
                if let Some(field) = described.fields.iter_mut().find(|field| field.name == name) {
                    field.wide = physical(column);
                }
            }
            Meaning::Rest => {}
        }
    }
    described
}

/// What a column is that does not say it.
fn guess(column: &StructField, schema: &StructType, is_after_time: bool) -> Meaning {
    let Some(narrow) = column.name().strip_prefix(BESIDE).and_then(|narrow| schema.field(narrow)) else {
        return if is_after_time { Meaning::Field } else { Meaning::Tag };
    };
    match physical(narrow) {
        Some(PhysicalColumn { scale: Some(_), .. }) => Meaning::Rest,
        _ => Meaning::Wide,
    }
}

/// The name in SQL of a column that does not say it.
fn decoded(stored_name: &str) -> Arc<str> {
    let narrow = stored_name.strip_prefix(BESIDE).unwrap_or(stored_name);
    let name = narrow.split("%~").next().unwrap_or(narrow);
    percent_decode_str(name).decode_utf8_lossy().into()
}

/// The physical column of a field; `None` where no field has such a type.
fn physical(column: &StructField) -> Option<PhysicalColumn> {
    let DeltaType::Primitive(primitive) = column.data_type() else { return None };
    let (field_type, scale) = match primitive {
        PrimitiveType::Double => (FieldType::Float, None),
        PrimitiveType::Long => (FieldType::Integer, None),
        PrimitiveType::Boolean => (FieldType::Boolean, None),
        PrimitiveType::String => (FieldType::Text, None),
        PrimitiveType::Decimal(decimal) if decimal.precision() == UNSIGNED_DIGITS => {
            (FieldType::Unsigned, None)
        }
        PrimitiveType::Decimal(decimal) if decimal.precision() == scaled::DECIMAL_DIGITS => {
            (FieldType::Float, Some(Scale::new(decimal.scale().into()).ok()?))
        }
        _ => return None,
    };
    Some(PhysicalColumn {
        id: ColumnId::default(),
        field_type,
        stored_name: column.name().as_str().into(),
        scale,
    })
}

fn text_of<'a>(column: &'a StructField, key: &str) -> Option<&'a str> {
    match column.metadata.get(key)? {
        MetadataValue::String(text) => Some(text),
        _ => None,
    }
}
