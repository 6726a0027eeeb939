//! Lists: filters and pages.
//!
//! Invariants
//! - A page goes on after (sort key, id) of the last row, so rows that are added or deleted meanwhile move nothing.
//! - A cursor carries a fingerprint of kind, order and filters; with others it is refused, not misread.
//! - Every name in a query must be known: a misspelt filter is an error, not an empty list.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::DateTime;
use serde_json::{Value as Json, json};
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use super::Registry;
use super::device::DeviceState;
use super::entity::{ColumnType, Kind, Record, Resource, Value, bind};
use super::error::{Faults, RegistryError, Result};
use crate::model::Timestamp;

/// Rows of a page when the caller does not say.
pub const DEFAULT_LIMIT: u32 = 100;
/// The most rows of a page: at 16 KiB of attributes each, 16 MiB.
pub const MAX_LIMIT: u32 = 1_000;
/// Filters of one query; each costs a comparison per row.
const MAX_FILTERS: usize = 32;

/// The order of a list.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Sort {
    /// By id, which is the order of creation for ids that the server made.
    #[default]
    Id,
    /// By name.
    Name,
    /// By the time of the last change.
    UpdatedAt,
}

impl Sort {
    const fn name(self) -> &'static str {
        match self {
            Self::Id => "id",
            Self::Name => "name",
            Self::UpdatedAt => "updated_at",
        }
    }
}

/// Which rows, in which order, from where on.
#[derive(Clone, PartialEq, Debug)]
pub struct ListQuery {
    kind: Kind,
    limit: u32,
    sort: Sort,
    with_deleted: bool,
    conditions: Vec<Condition>,
    fingerprint: u32,
    after: Option<(Option<Value>, Uuid)>,
}

/// A piece of a WHERE clause with the values it binds.
#[derive(Clone, PartialEq, Debug)]
struct Condition {
    sql: String,
    values: Vec<Value>,
}

/// A part of a list.
#[derive(Clone, PartialEq, Debug)]
pub struct Page<R: Resource> {
    /// The rows.
    pub records: Vec<Record<R>>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<String>,
}

impl ListQuery {
    /// Reads the parameters of a list: `limit`, `cursor`, `sort` (`id`, `name`, `updated_at`), `updated_since`
    /// (RFC 3339), `deleted=include`, `attr.<name>`, every typed column, and the places above the rows. A parameter
    /// that is given several times matches any of its values.
    ///
    /// # Errors
    /// [`RegistryError::Invalid`] with all faults; their pointers are `?name`.
    pub fn parse<R: Resource>(parameters: &[(String, String)]) -> Result<Self> {
        let mut faults = Faults::default();
        let mut query = Self {
            kind: R::KIND,
            limit: DEFAULT_LIMIT,
            sort: Sort::default(),
            with_deleted: false,
            conditions: Vec::new(),
            fingerprint: fingerprint(R::KIND, parameters),
            after: None,
        };
        if parameters.len() > MAX_FILTERS {
            return Err(Faults::one("?", "too_many", format!("give at most {MAX_FILTERS} parameters")));
        }
        let mut cursor = None;
        let mut filters: Vec<(&str, Vec<&str>)> = Vec::new();
        for (name, value) in parameters {
            match name.as_str() {
                "limit" => query.limit = parse_limit(value, &mut faults),
                "cursor" => cursor = Some(value),
                "sort" => query.sort = parse_sort(value, &mut faults),
                "deleted" if value == "include" => query.with_deleted = true,
                "deleted" => faults.add("?deleted", "bad_value", "must be include"),
                "updated_since" => match parse_time(value) {
                    Some(time) => query.conditions.push(Condition {
                        sql: "updated_at >= ?".to_owned(),
                        values: vec![Value::Int(Some(time.nanos()))],
                    }),
                    None => faults.add(
                        "?updated_since",
                        "bad_time",
                        "must be a time such as 2026-01-31T12:00:00Z",
                    ),
                },
                other => match filters.iter_mut().find(|(known, _)| *known == other) {
                    Some((_, values)) => values.push(value),
                    None => filters.push((other, vec![value])),
                },
            }
        }
        for (name, values) in filters {
            query.conditions.extend(condition::<R>(name, &values, &mut faults));
        }
        if let Some(cursor) = cursor {
            match decode(cursor, query.fingerprint, query.sort) {
                Ok(after) => query.after = Some(after),
                Err((code, detail)) => faults.add("?cursor", code, detail),
            }
        }
        faults.into_result()?;
        Ok(query)
    }

    fn sql(&self) -> String {
        let mut conditions: Vec<&str> =
            self.conditions.iter().map(|condition| condition.sql.as_str()).collect();
        if !self.with_deleted {
            conditions.push("deleted_at IS NULL");
        }
        let (order, after) = match self.sort {
            Sort::Id => ("id", "id > ?"),
            Sort::Name => ("name, id", "(name, id) > (?, ?)"),
            Sort::UpdatedAt => ("updated_at, id", "(updated_at, id) > (?, ?)"),
        };
        if self.after.is_some() {
            conditions.push(after);
        }
        let conditions = if conditions.is_empty() { "TRUE".to_owned() } else { conditions.join(" AND ") };
        format!("SELECT * FROM {} WHERE {conditions} ORDER BY {order} LIMIT ?", self.kind.table())
    }
}

impl Registry {
    /// One page of a list.
    ///
    /// # Errors
    /// When the database fails, or `query` was parsed for another kind.
    pub async fn list<R: Resource>(&self, query: &ListQuery) -> Result<Page<R>> {
        if query.kind != R::KIND {
            return Err(Faults::one("?cursor", "other_kind", "the query is for another kind of row"));
        }
        let mut statement = sqlx::query(AssertSqlSafe(query.sql()));
        for condition in &query.conditions {
            for value in &condition.values {
                statement = bind(statement, value.clone());
            }
        }
        if let Some((key, id)) = &query.after {
            if let Some(key) = key {
                statement = bind(statement, key.clone());
            }
            statement = bind(statement, Value::id(*id));
        }
        // One more than asked for tells whether there is a next page.
        let rows = statement.bind(i64::from(query.limit) + 1).fetch_all(&self.readers).await?;
        let limit = query.limit as usize;
        let records: Vec<Record<R>> = rows.iter().take(limit).map(Record::from_row).collect::<Result<_>>()?;
        let next = match records.last() {
            Some(last) if rows.len() > limit => Some(encode(query, last)?),
            _ => None,
        };
        Ok(Page { records, next })
    }
}

/// The condition of one filter; a fault if there is no such filter or a value does not fit.
fn condition<R: Resource>(name: &str, values: &[&str], faults: &mut Faults) -> Option<Condition> {
    let pointer = format!("?{name}");
    let places = vec!["?"; values.len()].join(", ");
    if let Some(attribute) = name.strip_prefix("attr.") {
        if attribute.is_empty() || attribute.contains('"') {
            faults.add(pointer, "bad_name", "name an attribute after attr.");
            return None;
        }
        // JSON true is 1 in SQLite: the word is what people write.
        let path = Value::Text(Some(format!("$.\"{attribute}\"")));
        let sql = format!(
            "CASE json_type(attributes, ?) WHEN 'true' THEN 'true' WHEN 'false' THEN 'false' \
             ELSE CAST(json_extract(attributes, ?) AS TEXT) END IN ({places})"
        );
        let texts = values.iter().map(|value| Value::text(value));
        return Some(Condition { sql, values: [path.clone(), path].into_iter().chain(texts).collect() });
    }
    let column = R::COLUMNS.iter().find(|column| column.name == name && column.of != ColumnType::Json);
    let (sql, of) = match (column, place_filter(R::KIND, name)) {
        (Some(column), _) => (format!("{name} IN ({places})"), column.of),
        (None, Some((head, kind))) => (format!("{head} IN ({places}))"), ColumnType::Parent(kind)),
        (None, None) => {
            faults.add(pointer, "unknown_parameter", "there is no such parameter here");
            return None;
        }
    };
    let mut parsed = Vec::with_capacity(values.len());
    for value in values {
        match parse_value(of, value) {
            Some(value) => parsed.push(value),
            None => faults.add(pointer.as_str(), "bad_value", format!("must be {}", describe(of))),
        }
    }
    if name == "state" && values.iter().any(|value| DeviceState::by_name(value).is_none()) {
        let names = DeviceState::ALL.map(DeviceState::name).join(", ");
        faults.add(pointer, "bad_value", format!("must be one of {names}"));
    }
    Some(Condition { sql, values: parsed })
}

/// Filters by a place further up than the parent: the begin of the condition, and the kind of the place.
fn place_filter(kind: Kind, name: &str) -> Option<(String, Kind)> {
    let place = Kind::ALL.into_iter().find(|place| name.strip_suffix("_id") == Some(place.name()))?;
    match (kind, place) {
        (Kind::Room, Kind::Building) => {
            Some(("floor_id IN (SELECT id FROM floors WHERE building_id".to_owned(), place))
        }
        (Kind::Device, Kind::Building | Kind::Floor | Kind::Area | Kind::Room) => {
            let head = "id IN (SELECT device_id FROM device_locations WHERE valid_to IS NULL AND";
            Some((format!("{head} {name}"), place))
        }
        _ => None,
    }
}

fn parse_value(of: ColumnType, text: &str) -> Option<Value> {
    match of {
        ColumnType::Text | ColumnType::Json => Some(Value::text(text)),
        ColumnType::Int => text.parse().ok().map(|int| Value::Int(Some(int))),
        ColumnType::Real => text.parse().ok().map(|real| Value::Real(Some(real))),
        ColumnType::Parent(_) => text.parse().ok().map(|id| Value::Id(Some(id))),
    }
}

const fn describe(of: ColumnType) -> &'static str {
    match of {
        ColumnType::Text | ColumnType::Json => "a text",
        ColumnType::Int => "a whole number",
        ColumnType::Real => "a number",
        ColumnType::Parent(_) => "an id (UUID)",
    }
}

fn parse_limit(value: &str, faults: &mut Faults) -> u32 {
    match value.parse() {
        Ok(limit) if (1..=MAX_LIMIT).contains(&limit) => limit,
        _ => {
            faults.add("?limit", "out_of_range", format!("must be a whole number from 1 to {MAX_LIMIT}"));
            DEFAULT_LIMIT
        }
    }
}

fn parse_sort(value: &str, faults: &mut Faults) -> Sort {
    let known = [Sort::Id, Sort::Name, Sort::UpdatedAt].into_iter().find(|sort| sort.name() == value);
    known.unwrap_or_else(|| {
        faults.add("?sort", "bad_value", "must be id, name or updated_at");
        Sort::default()
    })
}

fn parse_time(text: &str) -> Option<Timestamp> {
    DateTime::parse_from_rfc3339(text).ok()?.timestamp_nanos_opt().map(Timestamp::from_nanos)
}

/// A checksum of everything that must be the same on the next page; `limit` may change.
fn fingerprint(kind: Kind, parameters: &[(String, String)]) -> u32 {
    let mut parts: Vec<String> = parameters
        .iter()
        .filter(|(name, _)| name != "limit" && name != "cursor")
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    parts.sort_unstable();
    parts.push(kind.name().to_owned());
    crc32c::crc32c(parts.join("\n").as_bytes())
}

fn encode<R: Resource>(query: &ListQuery, last: &Record<R>) -> Result<String> {
    let key = match query.sort {
        Sort::Id => Json::Null,
        Sort::UpdatedAt => json!(last.updated_at.nanos()),
        Sort::Name => {
            let position = R::COLUMNS.iter().position(|column| column.name == "name");
            match position.and_then(|position| last.fields.values().into_iter().nth(position)) {
                Some(Value::Text(Some(name))) => json!(name),
                _ => return Err(RegistryError::Corrupt(format!("a {} without a name", R::KIND.name()))),
            }
        }
    };
    let id: Uuid = last.id.into();
    Ok(URL_SAFE_NO_PAD.encode(json!([query.fingerprint, key, id]).to_string()))
}

/// Sort key and id of a cursor, or code and detail of what is wrong with it.
fn decode(
    cursor: &str,
    fingerprint: u32,
    sort: Sort,
) -> Result<(Option<Value>, Uuid), (&'static str, &'static str)> {
    let broken = ("bad_cursor", "must be a cursor as it came with the page before");
    let bytes = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| broken)?;
    let (made_for, key, id): (u32, Json, Uuid) = serde_json::from_slice(&bytes).map_err(|_| broken)?;
    if made_for != fingerprint {
        return Err((
            "changed_filters",
            "belongs to a list with other filters or another order: begin again",
        ));
    }
    let key = match (sort, key) {
        (Sort::Id, Json::Null) => None,
        (Sort::Name, Json::String(name)) => Some(Value::Text(Some(name))),
        (Sort::UpdatedAt, Json::Number(nanos)) => Some(Value::Int(Some(nanos.as_i64().ok_or(broken)?))),
        _ => return Err(broken),
    };
    Ok((key, id))
}
