//! From a JSON payload to rows, as a mapping in the configuration says.
//!
//! Rules: a JSON number is a float unless the mapping says integer; `null` and what is missing make no field; a
//! value that cannot be what the mapping says it is makes the whole message bad, so that it is kept as it came. A
//! payload that is an array of objects is one row for each.

mod decode;
mod time;

use std::collections::BTreeMap;

use serde::Deserialize;

use super::path::JsonPath;
use super::topic::{Captures, TemplateError, TopicTemplate, is_capture_name};
use crate::row::Row;

/// The topic that carries line protocol.
const LINE_PROTOCOL_TOPIC: &str = "busbar/{database}/lp";

/// Mappings of one node. Each message tries them in turn, so this is what a message may cost.
const MAPPINGS: usize = 1_000;

/// How messages of some topics become rows, as it stands in the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mapping {
    /// A topic template: `building/{building}/+/{device}/telemetry`.
    pub topic: String,
    /// The database.
    pub database: String,
    /// The table: text in which `{name}` stands for a captured level.
    pub table: String,
    /// Where in the payload the measurements are, for flattening with `fields = "*"`: a JSON path, by default `$`.
    #[serde(default = "root")]
    pub root: String,
    /// Tags: text with `{name}`s, or a JSON path (`$.device.id`). A tag that is empty or missing is left out.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// Fields: `"*"` for every leaf, or names with their paths.
    pub fields: FieldsMapping,
    /// With `fields = "*"`: leaves that are taken, by flattened name, `power.*` for all below. Empty: all.
    #[serde(default)]
    pub allow: Vec<String>,
    /// With `fields = "*"`: leaves that are not taken, in the same form. Goes before `allow`.
    #[serde(default)]
    pub deny: Vec<String>,
    /// With `fields = "*"`: texts that are taken, in the same form. Other texts are not.
    #[serde(default)]
    pub strings: Vec<String>,
    /// The JSON path of the time: a number (s, ms, us or ns, by its size) or ISO 8601 text with a zone. Without it,
    /// and where it leads to nothing of this kind, the time of arrival counts.
    #[serde(default)]
    pub time: Option<String>,
}

fn root() -> String {
    "$".to_owned()
}

/// Which fields a mapping makes.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum FieldsMapping {
    /// Only `"*"`: every number and truth value, named by its way from the root, joined with `.`. Arrays are not
    /// gone into.
    All(String),
    /// These.
    Listed(BTreeMap<String, FieldMapping>),
}

/// Where one field comes from.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum FieldMapping {
    /// The JSON path; the type is that of the JSON value, numbers are floats.
    Path(String),
    /// The JSON path and the type.
    Typed(TypedField),
}

/// Where one field comes from, and what it is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TypedField {
    /// The JSON path.
    pub path: String,
    /// The type.
    #[serde(rename = "type")]
    pub kind: FieldKind,
}

/// The type of a field in a mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FieldKind {
    /// A number, also as text ("37.00").
    Float,
    /// A whole number, also as text.
    Integer,
    /// `true` and `false`, 1 and 0, and the texts `true`, `on`, `yes`, `1`, `false`, `off`, `no`, `0` in any case.
    Boolean,
    /// Text; numbers and truth values as they are written in JSON.
    String,
}

/// Why a mapping was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MappingError {
    /// The topic.
    #[error(transparent)]
    Topic(#[from] TemplateError),
    /// A JSON path.
    #[error("mapping of '{topic}': '{path}' is no JSON path; write $.a.b, $['a b'] or $.list[0]")]
    Path {
        /// The topic of the mapping.
        topic: String,
        /// The path.
        path: String,
    },
    /// A `{name}` that the topic does not have, or a brace alone.
    #[error("mapping of '{topic}': '{text}' names something that the topic does not capture")]
    Capture {
        /// The topic of the mapping.
        topic: String,
        /// The text.
        text: String,
    },
    /// `fields` is a text other than `"*"`, or has no names.
    #[error("mapping of '{topic}': fields must be \"*\" or names with JSON paths")]
    Fields {
        /// The topic of the mapping.
        topic: String,
    },
    /// Too many mappings.
    #[error("{0} mappings are configured, {MAPPINGS} are allowed")]
    TooMany(usize),
}

/// Why a payload was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// It is no JSON.
    #[error("the payload is no JSON: {0}")]
    Json(String),
    /// It is JSON, and neither an object nor an array of objects.
    #[error("the payload is no JSON object")]
    NoObject,
    /// A value is not what the mapping says.
    #[error("the field '{field}' is no {expected}: {value}")]
    Value {
        /// The name of the field.
        field: String,
        /// What it should be.
        expected: &'static str,
        /// The beginning of what it is.
        value: String,
    },
    /// Nothing in it makes a field.
    #[error("the payload holds no field of the mapping")]
    NoFields,
    /// It makes too many fields.
    #[error("the payload makes {0} fields, {limit} are allowed", limit = storage::limits::COLUMNS_PER_TABLE)]
    TooManyFields(usize),
}

/// What a topic means.
#[derive(Debug)]
pub enum Route<'a> {
    /// The payload is line protocol for this database.
    LineProtocol {
        /// The database.
        database: &'a str,
    },
    /// The payload is JSON.
    Json(JsonRoute<'a>),
}

/// A mapping that fits a topic.
#[derive(Debug)]
pub struct JsonRoute<'a> {
    mapping: &'a Compiled,
    captures: Captures<'a>,
}

impl JsonRoute<'_> {
    /// The rows of a payload: at least one.
    ///
    /// # Errors
    /// What is wrong with the payload.
    pub fn rows(&self, payload: &[u8]) -> Result<Vec<Row>, DecodeError> {
        decode::rows(self.mapping, &self.captures, payload)
    }
}

/// All topics that mean something, compiled.
#[derive(Debug)]
pub struct Router {
    line_protocol: TopicTemplate,
    mappings: Vec<Compiled>,
}

impl Router {
    /// Compiles mappings. The first one that fits a topic is used; `busbar/{database}/lp` is always line protocol.
    ///
    /// # Errors
    /// What is wrong with the first bad one.
    pub fn new(mappings: &[Mapping]) -> Result<Self, MappingError> {
        if mappings.len() > MAPPINGS {
            return Err(MappingError::TooMany(mappings.len()));
        }
        let line_protocol = TopicTemplate::new(LINE_PROTOCOL_TOPIC)?;
        let mappings = mappings.iter().map(Compiled::new).collect::<Result<_, _>>()?;
        Ok(Self { line_protocol, mappings })
    }

    /// What a topic means; `None` if nothing.
    #[must_use]
    pub fn route<'a>(&'a self, topic: &'a str) -> Option<Route<'a>> {
        if let Some(captures) = self.line_protocol.matches(topic) {
            return captures.get("database").map(|database| Route::LineProtocol { database });
        }
        self.mappings.iter().find_map(|mapping| {
            let captures = mapping.topic.matches(topic)?;
            Some(Route::Json(JsonRoute { mapping, captures }))
        })
    }
}

/// A mapping whose texts are understood.
#[derive(Debug)]
struct Compiled {
    topic: TopicTemplate,
    database: Text,
    table: Text,
    tags: Vec<(String, TagSource)>,
    fields: FieldSource,
    time: Option<JsonPath>,
}

#[derive(Debug)]
enum TagSource {
    Text(Text),
    Path(JsonPath),
}

#[derive(Debug)]
enum FieldSource {
    All { root: JsonPath, allow: Vec<String>, deny: Vec<String>, strings: Vec<String> },
    Listed(Vec<(String, JsonPath, Option<FieldKind>)>),
}

/// Text with names of captured levels in it.
#[derive(Debug)]
struct Text(Vec<Piece>);

#[derive(Debug)]
enum Piece {
    Literal(String),
    Capture(String),
}

impl Text {
    /// `None` when a brace stands alone or a name is not among `names`.
    fn new(text: &str, names: &[&str]) -> Option<Self> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((literal, after)) = rest.split_once('{') {
            let (name, after) = after.split_once('}')?;
            if literal.contains('}') || !is_capture_name(name) || !names.contains(&name) {
                return None;
            }
            pieces.push(Piece::Literal(literal.to_owned()));
            pieces.push(Piece::Capture(name.to_owned()));
            rest = after;
        }
        if rest.contains('}') {
            return None;
        }
        pieces.push(Piece::Literal(rest.to_owned()));
        Some(Self(pieces))
    }

    fn render(&self, captures: &Captures<'_>) -> String {
        let part = |piece: &Piece| match piece {
            Piece::Literal(text) => text.clone(),
            Piece::Capture(name) => captures.get(name).unwrap_or_default().to_owned(),
        };
        self.0.iter().map(part).collect()
    }
}

impl Compiled {
    fn new(mapping: &Mapping) -> Result<Self, MappingError> {
        let topic = TopicTemplate::new(&mapping.topic)?;
        let names: Vec<&str> = topic.names().collect();
        let text = |text: &str| {
            Text::new(text, &names)
                .ok_or_else(|| MappingError::Capture { topic: mapping.topic.clone(), text: text.to_owned() })
        };
        let path = |path: &str| {
            JsonPath::new(path)
                .ok_or_else(|| MappingError::Path { topic: mapping.topic.clone(), path: path.to_owned() })
        };
        let tag = |(name, source): (&String, &String)| {
            let source = match source.starts_with('$') {
                true => TagSource::Path(path(source)?),
                false => TagSource::Text(text(source)?),
            };
            Ok((name.clone(), source))
        };
        let field = |(name, field): (&String, &FieldMapping)| match field {
            FieldMapping::Path(at) => Ok((name.clone(), path(at)?, None)),
            FieldMapping::Typed(TypedField { path: at, kind }) => Ok((name.clone(), path(at)?, Some(*kind))),
        };
        let fields = match &mapping.fields {
            FieldsMapping::All(star) if star == "*" => FieldSource::All {
                root: path(&mapping.root)?,
                allow: mapping.allow.clone(),
                deny: mapping.deny.clone(),
                strings: mapping.strings.clone(),
            },
            FieldsMapping::Listed(fields) if !fields.is_empty() => {
                FieldSource::Listed(fields.iter().map(field).collect::<Result<_, MappingError>>()?)
            }
            _ => return Err(MappingError::Fields { topic: mapping.topic.clone() }),
        };
        Ok(Self {
            database: text(&mapping.database)?,
            table: text(&mapping.table)?,
            tags: mapping.tags.iter().map(tag).collect::<Result<_, MappingError>>()?,
            fields,
            time: mapping.time.as_deref().map(path).transpose()?,
            topic,
        })
    }
}

#[cfg(test)]
mod tests;
