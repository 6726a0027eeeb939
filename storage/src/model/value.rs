//! Values of fields.

use std::fmt;

/// The type of a field.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum FieldType {
    /// 64-bit IEEE float.
    Float = 1,
    /// 64-bit signed integer.
    Integer = 2,
    /// 64-bit unsigned integer.
    Unsigned = 3,
    /// Truth value.
    Boolean = 4,
    /// UTF-8 text.
    Text = 5,
}

impl FieldType {
    /// The type with this number in the log, if there is one.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Float),
            2 => Some(Self::Integer),
            3 => Some(Self::Unsigned),
            4 => Some(Self::Boolean),
            5 => Some(Self::Text),
            _ => None,
        }
    }

    /// Whether the values are numbers, which can be widened to float.
    #[must_use]
    pub const fn is_numeric(self) -> bool {
        matches!(self, Self::Float | Self::Integer | Self::Unsigned)
    }
}

impl fmt::Display for FieldType {
    /// The name that InfluxDB uses in its errors.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Float => "float",
            Self::Integer => "integer",
            Self::Unsigned => "unsigned",
            Self::Boolean => "boolean",
            Self::Text => "string",
        })
    }
}

/// A field's value, borrowed from what was received.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum ValueRef<'a> {
    /// A finite float.
    Float(f64),
    /// A signed integer.
    Integer(i64),
    /// An unsigned integer.
    Unsigned(u64),
    /// A truth value.
    Boolean(bool),
    /// Text, already unescaped.
    Text(&'a str),
}

impl ValueRef<'_> {
    /// The type of the value.
    #[must_use]
    pub const fn field_type(&self) -> FieldType {
        match self {
            Self::Float(_) => FieldType::Float,
            Self::Integer(_) => FieldType::Integer,
            Self::Unsigned(_) => FieldType::Unsigned,
            Self::Boolean(_) => FieldType::Boolean,
            Self::Text(_) => FieldType::Text,
        }
    }

    /// The value, owned.
    #[must_use]
    pub fn to_owned(self) -> FieldValue {
        match self {
            Self::Float(v) => FieldValue::Float(v),
            Self::Integer(v) => FieldValue::Integer(v),
            Self::Unsigned(v) => FieldValue::Unsigned(v),
            Self::Boolean(v) => FieldValue::Boolean(v),
            Self::Text(v) => FieldValue::Text(v.into()),
        }
    }
}

/// A field's value, owned.
#[derive(Clone, PartialEq, Debug)]
pub enum FieldValue {
    /// A finite float.
    Float(f64),
    /// A signed integer.
    Integer(i64),
    /// An unsigned integer.
    Unsigned(u64),
    /// A truth value.
    Boolean(bool),
    /// Text.
    Text(Box<str>),
}

impl FieldValue {
    /// The value, borrowed.
    #[must_use]
    pub fn as_ref(&self) -> ValueRef<'_> {
        match self {
            Self::Float(v) => ValueRef::Float(*v),
            Self::Integer(v) => ValueRef::Integer(*v),
            Self::Unsigned(v) => ValueRef::Unsigned(*v),
            Self::Boolean(v) => ValueRef::Boolean(*v),
            Self::Text(v) => ValueRef::Text(v),
        }
    }
}
