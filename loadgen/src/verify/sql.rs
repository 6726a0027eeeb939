//! Asks the server SQL: `GET {base}/api/v3/query_sql?db=&q=&format=json`, answered by an array of rows.
//!
//! The SQL is plain enough for any engine: quoted names, counts, sums, and times compared as RFC 3339.

use crate::clock;
use crate::error::{LoadError, with_causes};
use crate::protocol::http;
use crate::protocol::retry::Backoff;
use crate::replay::time_text::write_utc;
use crate::target::Target;
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue};
use serde_json::{Map, Value};
use std::time::Duration;
use url::Url;

/// One row of an answer.
pub type SqlRow = Map<String, Value>;

/// A query over some million rows may take a while; longer than this it is a fault of its own.
const QUERY_TIMEOUT: Duration = Duration::from_secs(120);
/// No question of this module has an answer above 20,000 short rows.
const MAX_ANSWER_BYTES: usize = 64 * 1024 * 1024;

/// A connection to the SQL endpoint of one database.
#[derive(Debug)]
pub struct SqlReader {
    client: reqwest::Client,
    base: Url,
    db: String,
    headers: HeaderMap,
    retry_for: Duration,
}

enum Failure {
    TryAgain(String),
    Final(LoadError),
}

impl SqlReader {
    /// Does not connect yet.
    pub fn new(target: &Target) -> Result<Self, LoadError> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        if let Some(token) = &target.token {
            headers.insert(AUTHORIZATION, http::secret_header("Bearer", token)?);
        }
        Ok(Self {
            client: http::client(QUERY_TIMEOUT, 1)?,
            base: target.verify_url.clone().unwrap_or_else(|| target.url.clone()),
            db: target.db.clone(),
            headers,
            retry_for: target.retry_for,
        })
    }

    /// All rows of the answer. Tries again on network errors, 429 and 5xx, within `--retry-for`.
    pub async fn rows(&self, sql: &str) -> Result<Vec<SqlRow>, LoadError> {
        let mut backoff = Backoff::new(self.retry_for);
        loop {
            let reason = match self.ask(sql).await {
                Ok(rows) => return Ok(rows),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::TryAgain(reason)) => reason,
            };
            match backoff.next(None) {
                Some(wait) => clock::sleep_until(clock::now() + wait).await,
                None => return Err(LoadError::Query(format!("{reason} (query: {sql})"))),
            }
        }
    }

    /// The single row of the answer.
    pub async fn row(&self, sql: &str) -> Result<SqlRow, LoadError> {
        let mut rows = self.rows(sql).await?;
        match (rows.pop(), rows.is_empty()) {
            (Some(row), true) => Ok(row),
            _ => Err(LoadError::Query(format!("the answer to {sql} is not one row"))),
        }
    }

    async fn ask(&self, sql: &str) -> Result<Vec<SqlRow>, Failure> {
        let query = [("db", self.db.as_str()), ("q", sql), ("format", "json")];
        let url = http::endpoint(&self.base, "/api/v3/query_sql", &query).map_err(Failure::Final)?;
        let try_again = |error: reqwest::Error| Failure::TryAgain(with_causes(&error.without_url()));
        let mut response =
            self.client.get(url).headers(self.headers.clone()).send().await.map_err(try_again)?;
        let status = response.status();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(try_again)? {
            body.extend_from_slice(&chunk);
            if body.len() > MAX_ANSWER_BYTES {
                let reason = format!("the answer to {sql} is above {MAX_ANSWER_BYTES} bytes");
                return Err(Failure::Final(LoadError::Query(reason)));
            }
        }
        if status.is_server_error() || status.as_u16() == 429 {
            return Err(Failure::TryAgain(format!("{status}: {}", excerpt(&body))));
        }
        if !status.is_success() {
            let reason = format!("{status}: {} (query: {sql})", excerpt(&body));
            return Err(Failure::Final(LoadError::Query(reason)));
        }
        serde_json::from_slice(&body).map_err(|error| {
            let reason = format!("the answer to {sql} is no array of objects ({error}): {}", excerpt(&body));
            Failure::Final(LoadError::Query(reason))
        })
    }
}

/// A name between double quotes.
#[must_use]
pub fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text between single quotes.
#[must_use]
pub fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// `time` from the first to the last of these, both included, and these tags.
#[must_use]
pub fn scope(first_ns: i64, last_ns: i64, tags: &[(String, String)]) -> String {
    let mut scope =
        format!("time >= {} AND time <= {}", literal(&write_utc(first_ns)), literal(&write_utc(last_ns)));
    for (key, value) in tags {
        scope.push_str(&format!(" AND {} = {}", identifier(key), literal(value)));
    }
    scope
}

/// A count of the answer; absent or null is 0.
pub fn count(row: &SqlRow, name: &str) -> Result<u64, LoadError> {
    match row.get(name) {
        None | Some(Value::Null) => Ok(0),
        Some(value) => value
            .as_u64()
            .ok_or_else(|| LoadError::Query(format!("{name} should be a count, but is {value}"))),
    }
}

fn excerpt(body: &[u8]) -> String {
    String::from_utf8_lossy(body).chars().take(300).collect()
}
