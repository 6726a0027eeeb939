//! A server with three write endpoints and SQL, which can be told to misbehave.

use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use flate2::read::MultiGzDecoder;
use influxdb_line_protocol::{FieldValue, parse_lines};
use loadgen::replay::time_text::write_utc;
use serde_json::{Map, Value};
use sqlx::sqlite::{SqlitePoolOptions, SqliteRow};
use sqlx::{AssertSqlSafe, Column, Executor, Row, SqlitePool, TypeInfo, ValueRef};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::io::Read;
use std::sync::{Arc, Mutex};

pub(crate) type Tags = Vec<(String, String)>;
pub(crate) type Fields = BTreeMap<String, String>;
pub(crate) type Table = BTreeMap<(i64, Tags), Fields>;

/// What the server does wrong when it is read back, to the row of this place.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fault {
    Lose(usize),
    Repeat(usize),
    /// Adds 1 to this row's field of the name.
    Alter(usize, &'static str),
}

#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) uri: String,
    pub(crate) authorization: Option<String>,
    pub(crate) lines: usize,
}

#[derive(Debug, Default)]
pub(crate) struct Engine {
    pub(crate) tables: Mutex<BTreeMap<String, Table>>,
    pub(crate) requests: Mutex<Vec<Request>>,
    pub(crate) faults: Mutex<Vec<Fault>>,
    /// Answers to the next writes, which are then not stored.
    pub(crate) refusals: Mutex<VecDeque<(StatusCode, Option<&'static str>)>>,
}

impl Engine {
    /// Serves on a free port; the base URL.
    pub(crate) async fn serve(self: &Arc<Self>) -> String {
        let app = Router::new()
            .route("/write", post(write))
            .route("/api/v2/write", post(write))
            .route("/api/v3/write_lp", post(write))
            .route("/api/v3/query_sql", get(query))
            .with_state(self.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        base
    }

    /// Stores lines; the number of them.
    pub(crate) fn store(&self, body: &str) -> usize {
        let mut tables = self.tables.lock().unwrap();
        let mut lines = 0;
        for line in parse_lines(body) {
            let line = line.unwrap_or_else(|error| panic!("{error}: {body}"));
            let tags = line.series.tag_set.iter().flatten();
            let tags: Tags = tags.map(|(key, value)| (key.to_string(), value.to_string())).collect();
            let row = tables
                .entry(line.series.measurement.to_string())
                .or_default()
                .entry((line.timestamp.expect("every line has its time"), tags))
                .or_default();
            for (key, value) in &line.field_set {
                row.insert(key.to_string(), sql_literal(value));
            }
            lines += 1;
        }
        lines
    }

    pub(crate) fn table(&self, name: &str) -> Table {
        self.tables.lock().unwrap().get(name).cloned().unwrap_or_default()
    }

    async fn database(&self) -> SqlitePool {
        let pool = SqlitePoolOptions::new().max_connections(1).connect("sqlite::memory:").await.unwrap();
        let tables = self.tables.lock().unwrap().clone();
        let faults = self.faults.lock().unwrap().clone();
        for (name, rows) in &tables {
            for statement in statements(name, rows, &faults) {
                pool.execute(AssertSqlSafe(statement)).await.unwrap();
            }
        }
        pool
    }
}

fn sql_literal(value: &FieldValue<'_>) -> String {
    match value {
        FieldValue::F64(number) => format!("{number:?}"),
        FieldValue::I64(number) => number.to_string(),
        FieldValue::U64(number) => number.to_string(),
        FieldValue::Boolean(truth) => u8::from(*truth).to_string(),
        FieldValue::String(text) => format!("'{}'", text.as_str().replace('\'', "''")),
    }
}

fn statements(name: &str, rows: &Table, faults: &[Fault]) -> Vec<String> {
    let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    let tags: BTreeSet<_> = rows.keys().flat_map(|(_, tags)| tags).map(|(key, _)| key.clone()).collect();
    let fields: BTreeSet<_> = rows.values().flat_map(BTreeMap::keys).cloned().collect();
    let columns: Vec<_> =
        std::iter::once("time").chain(tags.iter().chain(&fields).map(String::as_str)).collect();
    let list = columns.iter().map(|column| quoted(column)).collect::<Vec<_>>().join(", ");
    let mut statements = vec![format!("CREATE TABLE {} ({list})", quoted(name))];
    let mut values = Vec::new();
    for (place, ((time, row_tags), row_fields)) in rows.iter().enumerate() {
        let mut literals = vec![format!("'{}'", write_utc(*time))];
        for tag in &tags {
            let value = row_tags.iter().find(|(key, _)| key == tag);
            literals.push(value.map_or("NULL".to_owned(), |(_, v)| format!("'{}'", v.replace('\'', "''"))));
        }
        for field in &fields {
            let value = row_fields.get(field).map_or("NULL", String::as_str);
            let altered =
                faults.iter().any(|f| matches!(f, Fault::Alter(p, name) if *p == place && name == field));
            literals.push(if altered { format!("{value} + 1") } else { value.to_owned() });
        }
        let copies =
            match faults.iter().find(|f| matches!(f, Fault::Lose(p) | Fault::Repeat(p) if *p == place)) {
                Some(Fault::Lose(_)) => 0,
                Some(Fault::Repeat(_)) => 2,
                _ => 1,
            };
        values.extend(std::iter::repeat_n(format!("({})", literals.join(", ")), copies));
    }
    for chunk in values.chunks(500) {
        statements.push(format!("INSERT INTO {} VALUES {}", quoted(name), chunk.join(", ")));
    }
    statements
}

async fn write(State(engine): State<Arc<Engine>>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let text = match headers.get("content-encoding") {
        Some(encoding) => {
            assert_eq!(encoding, "gzip");
            let mut text = String::new();
            MultiGzDecoder::new(body.as_ref()).read_to_string(&mut text).unwrap();
            text
        }
        None => String::from_utf8(body.to_vec()).unwrap(),
    };
    engine.requests.lock().unwrap().push(Request {
        uri: uri.to_string(),
        authorization: headers.get("authorization").map(|value| value.to_str().unwrap().to_owned()),
        lines: text.lines().count(),
    });
    let refusal = engine.refusals.lock().unwrap().pop_front();
    match refusal {
        Some((status, Some(after))) => (status, [("retry-after", after)], "busy").into_response(),
        Some((status, None)) => (status, "{\"error\":\"told to refuse\"}").into_response(),
        None => {
            engine.store(&text);
            StatusCode::NO_CONTENT.into_response()
        }
    }
}

async fn query(State(engine): State<Arc<Engine>>, Query(params): Query<HashMap<String, String>>) -> Response {
    assert_eq!(params["format"], "json");
    assert!(!params["db"].is_empty());
    let pool = engine.database().await;
    match sqlx::query(AssertSqlSafe(params["q"].clone())).fetch_all(&pool).await {
        Ok(rows) => Json(rows.iter().map(json_row).collect::<Vec<_>>()).into_response(),
        Err(error) => (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
    }
}

fn json_row(row: &SqliteRow) -> Map<String, Value> {
    let mut object = Map::new();
    for (index, column) in row.columns().iter().enumerate() {
        let raw = row.try_get_raw(index).unwrap();
        let value = match raw.type_info().name() {
            _ if raw.is_null() => continue,
            "INTEGER" => Value::from(row.get::<i64, _>(index)),
            "REAL" => Value::from(row.get::<f64, _>(index)),
            "TEXT" => Value::from(row.get::<String, _>(index)),
            other => panic!("no JSON for {other}"),
        };
        object.insert(column.name().to_owned(), value);
    }
    object
}
