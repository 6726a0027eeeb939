//! What all resources of the registry have in common: kinds, columns, values and records.
//!
//! Purpose: a resource lists its columns once; reading, writing, filters, change events and the SQL export follow
//! from the list. Invariant: `Resource::values` answers in the order of `Resource::COLUMNS`.

use serde_json::{Map, Value as Json};
use sqlx::Row;
use sqlx::query::Query;
use sqlx::sqlite::{Sqlite, SqliteArguments, SqliteRow};
use uuid::Uuid;

use super::error::{Faults, RegistryError, Result};
use super::id::{RegistryId, Rev};
use crate::model::Timestamp;

/// The free properties of a row.
pub type Attributes = Map<String, Json>;

/// Bytes of a name, a code or one address line. Twice the longest legal name we know of; a list of 1,000 stays small.
pub const MAX_TEXT_BYTES: usize = 256;
/// Bytes of the attributes of one row, as JSON. 1 M devices with full attributes are 16 GB: rare by design.
pub const MAX_ATTRIBUTES_BYTES: usize = 16 * 1024;

/// The kinds of rows.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Kind {
    /// A building.
    Building,
    /// A floor of a building.
    Floor,
    /// An area (zone) of a building; it may cover rooms of several floors.
    Area,
    /// A room on a floor.
    Room,
    /// A device.
    Device,
}

impl Kind {
    /// All kinds, parents before children.
    pub const ALL: [Self; 5] = [Self::Building, Self::Floor, Self::Area, Self::Room, Self::Device];

    /// The word for one of it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Building => "building",
            Self::Floor => "floor",
            Self::Area => "area",
            Self::Room => "room",
            Self::Device => "device",
        }
    }

    /// The word for many of it, and the name of its table.
    #[must_use]
    pub const fn table(self) -> &'static str {
        match self {
            Self::Building => "buildings",
            Self::Floor => "floors",
            Self::Area => "areas",
            Self::Room => "rooms",
            Self::Device => "devices",
        }
    }

    /// The kind with this [`Kind::name`].
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// What a column holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ColumnType {
    /// UTF-8.
    Text,
    /// 64 bits.
    Int,
    /// Double.
    Real,
    /// The id of a row of another kind.
    Parent(Kind),
    /// A JSON object as text.
    Json,
}

/// A column that a resource adds to the ones that every row has.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    pub name: &'static str,
    pub of: ColumnType,
    /// It is set when the row is made and never by an update.
    pub fixed: bool,
}

impl Column {
    pub const fn new(name: &'static str, of: ColumnType) -> Self {
        Self { name, of, fixed: false }
    }

    pub const fn fixed(name: &'static str, of: ColumnType) -> Self {
        Self { name, of, fixed: true }
    }
}

/// A value on its way to the database.
#[derive(Clone, PartialEq, Debug)]
pub enum Value {
    Text(Option<String>),
    Int(Option<i64>),
    Real(Option<f64>),
    Id(Option<Uuid>),
}

impl Value {
    pub fn text(text: &str) -> Self {
        Self::Text(Some(text.to_owned()))
    }

    pub fn id(id: impl Into<Uuid>) -> Self {
        Self::Id(Some(id.into()))
    }

    pub fn attributes(attributes: &Attributes) -> Self {
        Self::Text(Some(Json::Object(attributes.clone()).to_string()))
    }
}

/// Statements of this module: the text is built from constants, values are bound.
pub(crate) type Statement<'q> = Query<'q, Sqlite, SqliteArguments>;

/// Binds `value` as the next parameter.
pub(crate) fn bind<'q>(statement: Statement<'q>, value: Value) -> Statement<'q> {
    match value {
        Value::Text(text) => statement.bind(text),
        Value::Int(int) => statement.bind(int),
        Value::Real(real) => statement.bind(real),
        Value::Id(id) => statement.bind(id.map(|id| id.as_bytes().to_vec())),
    }
}

/// The writable properties of a kind of row.
pub trait Resource:
    Clone + PartialEq + std::fmt::Debug + Send + Sync + Sized + Unpin + 'static + Stored
{
    /// Its id.
    type Id: RegistryId;
    /// Its kind.
    const KIND: Kind;

    /// Adds everything that is wrong with the values themselves; what depends on other rows is checked when it is
    /// written.
    fn check(&self, faults: &mut Faults);
}

/// How a resource lies in its table. It is `pub` as a part of [`Resource`], but cannot be named outside.
pub trait Stored: Sized {
    /// The columns beside the ones that every table has.
    const COLUMNS: &'static [Column];

    /// The values of these columns, in their order.
    fn values(&self) -> Vec<Value>;

    /// The properties from a row of the table.
    ///
    /// # Errors
    /// When the row holds what this version does not know.
    fn from_row(row: &StoredRow) -> Result<Self>;
}

/// A row with its identity and history.
#[derive(Clone, PartialEq, Debug)]
pub struct Record<R: Resource> {
    /// Its id.
    pub id: R::Id,
    /// How often it was changed.
    pub rev: Rev,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// When it was deleted, if it was.
    pub deleted_at: Option<Timestamp>,
    /// Its properties.
    pub fields: R,
}

impl<R: Resource> Record<R> {
    pub(crate) fn from_row(row: &SqliteRow) -> Result<Self> {
        let row = StoredRow(row);
        Ok(Self {
            id: R::Id::from(row.id("id")?),
            rev: Rev::new(row.get("rev")?),
            created_at: Timestamp::from_nanos(row.get("created_at")?),
            updated_at: Timestamp::from_nanos(row.get("updated_at")?),
            deleted_at: row.get::<Option<i64>>("deleted_at")?.map(Timestamp::from_nanos),
            fields: R::from_row(&row)?,
        })
    }
}

/// Reads the columns of a row by name.
pub struct StoredRow<'r>(pub(crate) &'r SqliteRow);

impl StoredRow<'_> {
    pub(crate) fn get<'s, T>(&'s self, column: &str) -> Result<T>
    where
        T: sqlx::Decode<'s, Sqlite> + sqlx::Type<Sqlite>,
    {
        Ok(self.0.try_get(column)?)
    }

    pub(crate) fn id(&self, column: &str) -> Result<Uuid> {
        self.opt_id(column)?.ok_or_else(|| RegistryError::Corrupt(format!("column {column} is null")))
    }

    pub(crate) fn opt_id(&self, column: &str) -> Result<Option<Uuid>> {
        let bytes: Option<&[u8]> = self.get(column)?;
        bytes
            .map(Uuid::from_slice)
            .transpose()
            .map_err(|error| RegistryError::Corrupt(format!("column {column} holds no id: {error}")))
    }

    pub(crate) fn attributes(&self) -> Result<Attributes> {
        serde_json::from_str(self.get("attributes")?)
            .map_err(|error| RegistryError::Corrupt(format!("attributes are no JSON object: {error}")))
    }
}

/// A text that must be there.
pub(crate) fn check_required(faults: &mut Faults, pointer: &str, text: &str) {
    if text.trim().is_empty() {
        faults.add(pointer, "required", "must be a text that is not empty");
    }
    check_text(faults, pointer, text);
}

/// A text that may be missing, but not empty.
pub(crate) fn check_optional(faults: &mut Faults, pointer: &str, text: Option<&str>) {
    if let Some(text) = text {
        if text.trim().is_empty() {
            faults.add(pointer, "empty", "must not be empty: leave it out instead");
        }
        check_text(faults, pointer, text);
    }
}

fn check_text(faults: &mut Faults, pointer: &str, text: &str) {
    if text.len() > MAX_TEXT_BYTES {
        faults.add(pointer, "too_long", format!("must not be longer than {MAX_TEXT_BYTES} bytes"));
    }
    if text.chars().any(char::is_control) {
        faults.add(pointer, "control_character", "must not hold control characters");
    }
}

/// Attributes within their bounds.
pub(crate) fn check_attributes(faults: &mut Faults, attributes: &Attributes) {
    let bytes = Json::Object(attributes.clone()).to_string().len();
    if bytes > MAX_ATTRIBUTES_BYTES {
        faults.add(
            "/attributes",
            "too_long",
            format!("must not be longer than {MAX_ATTRIBUTES_BYTES} bytes"),
        );
    }
    for name in attributes.keys() {
        if name.is_empty() || name.contains('"') || name.len() > MAX_TEXT_BYTES {
            let pointer = format!("/attributes/{}", escape_pointer(name));
            faults.add(pointer, "bad_name", "must have 1 to 256 bytes and no quotation mark");
        }
    }
}

/// One step of a JSON pointer (RFC 6901, section 3).
#[must_use]
pub fn escape_pointer(step: &str) -> String {
    step.replace('~', "~0").replace('/', "~1")
}
