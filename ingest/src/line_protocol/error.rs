//! Why a line was refused, in the words of the server that the client believes to talk to.

use std::fmt;

/// Whose words an endpoint uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// `/write`, as InfluxDB 1.
    V1,
    /// `/api/v2/write`, as InfluxDB 2.
    V2,
    /// `/api/v3/write_lp`, as InfluxDB 3.
    V3,
}

/// Why a line was refused.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum LineError {
    /// Nothing stands before the first comma or space.
    MissingMeasurement,
    /// A tag has no name.
    MissingTagKey,
    /// A tag has no value.
    MissingTagValue,
    /// Two tags have this name.
    DuplicateTag(Box<str>),
    /// A measurement, tag or field name, or a tag value, ends in a backslash.
    TrailingBackslash,
    /// There is no field.
    MissingFields,
    /// A field has no name.
    MissingFieldKey,
    /// A field has no value.
    MissingFieldValue,
    /// The fields are not `name=value` separated by single commas.
    InvalidFieldFormat,
    /// Two fields have this name. Found by whoever gathers the fields, not by the scan.
    DuplicateField(Box<str>),
    /// This begins like a number and is none, or it is NaN or infinite.
    InvalidNumber(Box<str>),
    /// This whole number does not fit a signed integer of 64 bits.
    IntegerOutOfRange(Box<str>),
    /// This whole number does not fit an unsigned integer of 64 bits.
    UnsignedOutOfRange(Box<str>),
    /// This number does not fit a float of 64 bits.
    FloatOutOfRange(Box<str>),
    /// This is neither number, nor truth value, nor quoted text.
    InvalidValue(Box<str>),
    /// A quoted text has no end.
    UnbalancedQuotes,
    /// This is not a timestamp.
    InvalidTimestamp(Box<str>),
    /// The time does not fit nanoseconds in 64 bits.
    TimestampOutOfRange(Box<str>),
    /// Something follows the timestamp.
    TrailingContent(Box<str>),
    /// These parts are not UTF-8.
    NotUtf8(&'static str),
    /// Measurement and tags are too long.
    SeriesTooLong {
        /// Bytes that came.
        actual: usize,
        /// Bytes that are allowed.
        limit: usize,
    },
    /// A field name is too long.
    FieldKeyTooLong {
        /// Bytes that came.
        actual: usize,
        /// Bytes that are allowed.
        limit: usize,
    },
    /// A text value is too long.
    TextTooLong {
        /// Bytes that came.
        actual: usize,
        /// Bytes that are allowed.
        limit: usize,
    },
}

/// Bytes of the input that an error repeats: enough to find it, and an answer stays small.
const EXCERPT_BYTES: usize = 120;

/// The beginning of a piece of input, as text for an error.
#[cold]
pub(super) fn excerpt(bytes: &[u8]) -> Box<str> {
    match bytes.get(..EXCERPT_BYTES) {
        Some(start) => format!("{}...", String::from_utf8_lossy(start)).into(),
        None => String::from_utf8_lossy(bytes).into(),
    }
}

impl LineError {
    /// The reason in the words of `dialect`. InfluxDB 1 and 2 share their parser and so their words.
    #[must_use]
    pub fn reason(&self, dialect: Dialect) -> String {
        match dialect {
            Dialect::V1 | Dialect::V2 => self.reason_of_points(),
            Dialect::V3 => self.reason_of_v3(),
        }
    }

    fn reason_of_points(&self) -> String {
        match self {
            Self::MissingMeasurement => "missing measurement".into(),
            Self::MissingTagKey => "missing tag key".into(),
            Self::MissingTagValue => "missing tag value".into(),
            Self::DuplicateTag(_) => "duplicate tags".into(),
            Self::MissingFields => "missing fields".into(),
            Self::MissingFieldKey => "missing field key".into(),
            Self::MissingFieldValue => "missing field value".into(),
            Self::InvalidFieldFormat => "invalid field format".into(),
            Self::DuplicateField(name) => format!("duplicate field '{name}'"),
            Self::InvalidNumber(_) => "invalid number".into(),
            Self::IntegerOutOfRange(text) => format!(
                "unable to parse integer {text}: strconv.ParseInt: parsing \"{text}\": value out of range"
            ),
            Self::UnsignedOutOfRange(text) => format!(
                "unable to parse unsigned {text}: strconv.ParseUint: parsing \"{text}\": value out of range"
            ),
            Self::FloatOutOfRange(_) => "invalid float".into(),
            Self::InvalidValue(_) => "invalid boolean".into(),
            Self::UnbalancedQuotes => "unbalanced quotes".into(),
            Self::InvalidTimestamp(_) => "bad timestamp".into(),
            Self::TimestampOutOfRange(_) => {
                "time outside range -9223372036854775806 - 9223372036854775806".into()
            }
            Self::TrailingContent(_) => "point is invalid".into(),
            Self::SeriesTooLong { actual, limit } | Self::FieldKeyTooLong { actual, limit } => {
                format!("max key length exceeded: {actual} > {limit}")
            }
            Self::TrailingBackslash | Self::NotUtf8(_) | Self::TextTooLong { .. } => self.plain(),
        }
    }

    fn reason_of_v3(&self) -> String {
        match self {
            Self::MissingMeasurement => "Invalid measurement was provided".into(),
            Self::MissingTagKey | Self::MissingTagValue => "Tag Set Malformed".into(),
            Self::DuplicateTag(name) => {
                format!("Must not contain duplicate tags, but \"{name}\" was repeated")
            }
            Self::TrailingBackslash => {
                "Measurements, tag keys and values, and field keys may not end with a backslash".into()
            }
            Self::MissingFields | Self::MissingFieldKey | Self::MissingFieldValue => {
                "No fields were provided".into()
            }
            Self::DuplicateField(name) => {
                format!("invalid line protocol - multiple instances of '{name}' field found")
            }
            Self::IntegerOutOfRange(text) => format!("Unable to parse integer value '{text}'"),
            Self::UnsignedOutOfRange(text) => format!("Unable to parse unsigned integer value '{text}'"),
            Self::InvalidNumber(text) | Self::FloatOutOfRange(text) => {
                format!("Unable to parse floating-point value '{text}'")
            }
            Self::InvalidTimestamp(text) | Self::TimestampOutOfRange(text) => {
                format!("Unable to parse timestamp value '{text}'")
            }
            Self::TrailingContent(text) => {
                format!("Could not parse entire line. Found trailing content: '{text}'")
            }
            Self::InvalidFieldFormat
            | Self::InvalidValue(_)
            | Self::UnbalancedQuotes
            | Self::NotUtf8(_)
            | Self::SeriesTooLong { .. }
            | Self::FieldKeyTooLong { .. }
            | Self::TextTooLong { .. } => self.plain(),
        }
    }

    /// The reason in our own words.
    fn plain(&self) -> String {
        match self {
            Self::MissingMeasurement => "the line has no measurement".into(),
            Self::MissingTagKey => "a tag has no name".into(),
            Self::MissingTagValue => "a tag has no value".into(),
            Self::DuplicateTag(name) => format!("the tag '{name}' is there twice"),
            Self::TrailingBackslash => "a name or tag value must not end with a backslash".into(),
            Self::MissingFields => "the line has no fields".into(),
            Self::MissingFieldKey => "a field has no name".into(),
            Self::MissingFieldValue => "a field has no value".into(),
            Self::InvalidFieldFormat => "fields must be name=value separated by single commas".into(),
            Self::DuplicateField(name) => format!("the field '{name}' is there twice"),
            Self::InvalidNumber(text) => format!("'{text}' is not a finite number"),
            Self::IntegerOutOfRange(text) => format!("{text} does not fit a 64-bit integer"),
            Self::UnsignedOutOfRange(text) => format!("{text} does not fit a 64-bit unsigned integer"),
            Self::FloatOutOfRange(text) => format!("{text} does not fit a 64-bit float"),
            Self::InvalidValue(text) => format!("'{text}' is no number, truth value or quoted text"),
            Self::UnbalancedQuotes => "unbalanced quotes: a text value has no closing quote".into(),
            Self::InvalidTimestamp(text) => format!("'{text}' is not a timestamp"),
            Self::TimestampOutOfRange(text) => format!("the time {text} does not fit 64-bit nanoseconds"),
            Self::TrailingContent(text) => format!("'{text}' follows the timestamp"),
            Self::NotUtf8(what) => format!("the {what} is not valid UTF-8"),
            Self::SeriesTooLong { actual, limit } => {
                format!("measurement and tags have {actual} bytes, {limit} are allowed")
            }
            Self::FieldKeyTooLong { actual, limit } => {
                format!("a field name has {actual} bytes, {limit} are allowed")
            }
            Self::TextTooLong { actual, limit } => {
                format!("a text value has {actual} bytes, {limit} are allowed")
            }
        }
    }
}

impl fmt::Display for LineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.plain())
    }
}

impl std::error::Error for LineError {}
