//! The routes over a real write path in a temporary folder.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod databases;
mod deletes;
mod flushes;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use axum::routing::get;
use ingest::intake::Intake;
use ingest::ring::Ring;
use ingest::writer::Writer;
use serde_json::{Value, json};
use storage::engine::{Engine, EngineConfig};
use tempfile::TempDir;
use tower::ServiceExt as _;

use super::router;
use crate::config::{Config, Token};
use crate::surface::Surface;

/// A whole surface; the writer ends when the ring's last owner is gone.
struct Stand {
    router: Router,
    surface: Surface,
    intake: Intake,
    writer: Option<Writer>,
    folder: TempDir,
}

impl Drop for Stand {
    fn drop(&mut self) {
        if let Some(writer) = self.writer.take() {
            writer.stop();
        }
    }
}

struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {:?}", self.body))
    }
}

async fn stand_with(config: Config) -> Stand {
    let folder = tempfile::tempdir().unwrap();
    let (engine, committer) = Engine::open(EngineConfig::new(folder.path())).await.unwrap();
    let ring = Arc::new(Ring::default());
    let writer = Writer::start(committer, Arc::clone(&ring), Arc::default()).unwrap();
    let source = query::Source { engine: engine.clone(), external: query::ExternalTables::default() };
    let queries =
        query::QueryService::new(source, query::Settings::new(folder.path().join("spill"))).unwrap();
    let intake = Intake::new(engine, ring, config.write.create_on_write);
    let surface = Surface::new(&config, &config.memory_plan().unwrap());
    assert!(surface.doors.open_queries(Arc::new(queries)));
    assert!(surface.doors.open_writes(intake.clone()));
    let more = Router::new().route("/api/v1/panic", get(panics)).route("/api/v1/slow", get(never));
    let router = router(&surface, more);
    Stand { router, surface, intake, writer: Some(writer), folder }
}

async fn stand() -> Stand {
    stand_with(Config::default()).await
}

async fn panics() -> StatusCode {
    panic!("a secret of the handler")
}

async fn never() -> StatusCode {
    std::future::pending().await
}

impl Stand {
    async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, 1 << 24).await.unwrap();
        Answer { status: parts.status.as_u16(), headers: parts.headers, body }
    }

    async fn get(&self, uri: &str) -> Answer {
        self.send(Request::get(uri).body(Body::empty()).unwrap()).await
    }

    async fn post(&self, uri: &str, body: impl Into<Body>) -> Answer {
        self.send(Request::post(uri).body(body.into()).unwrap()).await
    }

    /// Rows of a table that the next query would see.
    fn rows(&self, database: &str, table: &str) -> usize {
        let Some(schema) = self.intake.engine().catalog().table(database, table) else { return 0 };
        let snapshot = self.intake.engine().snapshot();
        snapshot.table(schema.id).map_or(0, |table| table.memory_rows())
    }
}

#[tokio::test]
async fn probes_answer_what_clients_read() {
    let stand = stand().await;
    let health = stand.get("/health").await;
    let body = health.json();
    assert_eq!((health.status, &body["name"], &body["status"]), (200, &json!("busbar"), &json!("pass")));
    assert!(body["version"].is_string() && body["message"].is_string() && body["checks"].is_array());
    for method in ["GET", "HEAD"] {
        let request = Request::builder().method(method).uri("/ping").body(Body::empty()).unwrap();
        let ping = stand.send(request).await;
        assert_eq!((ping.status, ping.body.len()), (204, 0));
        for name in ["x-influxdb-version", "x-influxdb-build", "request-id", "x-request-id"] {
            assert!(ping.headers.contains_key(name), "{method} {name}");
        }
    }
    assert_eq!(stand.get("/ready").await.status, 200);
    stand.surface.readiness.hold("log", "poisoned");
    let ready = stand.get("/ready").await;
    let reasons = json!([{ "name": "log", "reason": "poisoned" }]);
    assert_eq!((ready.status, ready.json()), (503, json!({ "status": "not ready", "reasons": reasons })));
    stand.surface.health.check("writer", || Some("no heartbeat".into()));
    let health = stand.get("/health").await;
    assert_eq!((health.status, &health.json()["status"]), (503, &json!("fail")));
}

#[tokio::test]
async fn good_lines_are_204_and_visible_on_every_endpoint() {
    let stand = stand().await;
    for (uri, line) in [
        ("/write?db=d&precision=s", "v1,t=a f=1 1"),
        ("/write?db=d&rp=autogen&precision=h&consistency=one&u=x&p=y", "v1,t=a f=1 2"),
        ("/api/v2/write?org=o&orgID=1&bucket=d&precision=ms", "v2,t=a f=1 3"),
        ("/api/v3/write_lp?db=d&precision=nanosecond&no_sync=true&accept_partial=false", "v3,t=a f=1 4"),
        ("/api/v3/write_lp?db=d", "v3,t=a f=1 1700000000"),
    ] {
        let answer = stand.post(uri, line).await;
        assert_eq!((answer.status, answer.body.len()), (204, 0), "{uri} {:?}", answer.body);
    }
    assert_eq!([stand.rows("d", "v1"), stand.rows("d", "v2"), stand.rows("d", "v3")], [2, 1, 2]);
    let other = stand.post("/write?db=d&rp=weekly", "v1 f=1 1").await;
    assert_eq!((other.status, stand.rows("d/weekly", "v1")), (204, 1));
}

#[tokio::test]
async fn empty_bodies_are_answered_as_each_server_does() {
    let stand = stand().await;
    for body in ["", "\n\n", "# only a comment\n"] {
        assert_eq!(stand.post("/write?db=d", body).await.status, 204);
        assert_eq!(stand.post("/api/v2/write?bucket=d", body).await.status, 204);
        let v3 = stand.post("/api/v3/write_lp?db=d", body).await;
        assert_eq!((v3.status, v3.json()), (400, json!({ "error": "incoming write was empty" })));
    }
}

const MIXED: &str = "m f=1 1\nbad\nm f=2 2\n";

#[tokio::test]
async fn a_line_that_cannot_be_read_costs_its_neighbours_only_where_the_contract_says() {
    let stand = stand().await;
    let v1 = stand.post("/write?db=one", MIXED).await;
    let text = "partial write: unable to parse 'bad': missing fields dropped=0 for database: one";
    assert_eq!((v1.status, v1.json(), stand.rows("one", "m")), (400, json!({ "error": text }), 2));
    let none = stand.post("/write?db=one", "bad").await;
    assert_eq!(none.json(), json!({ "error": "unable to parse 'bad': missing fields" }));

    let v2 = stand.post("/api/v2/write?bucket=two", MIXED).await;
    let message = json!({ "code": "invalid", "message": "unable to parse 'bad': missing fields" });
    assert_eq!((v2.status, v2.json(), stand.rows("two", "m")), (400, message, 0));

    let line =
        json!({ "original_line": "bad", "line_number": 2, "error_message": "No fields were provided" });
    let v3 = stand.post("/api/v3/write_lp?db=three", MIXED).await;
    let body = json!({ "error": "partial write of line protocol occurred", "data": [line] });
    assert_eq!((v3.status, v3.json(), stand.rows("three", "m")), (400, body, 2));
    let all = stand.post("/api/v3/write_lp?db=four&accept_partial=false", MIXED).await;
    let body = json!({ "error": "parsing failed for write_lp endpoint", "data": line });
    assert_eq!((all.status, all.json(), stand.rows("four", "m")), (400, body, 0));
}

#[tokio::test]
async fn a_type_conflict_drops_its_line_and_no_other() {
    let stand = stand().await;
    for (uri, database, status, part) in [
        ("/write?db=one", "one", 400, "partial write: field type conflict: input field \\\"f\\\""),
        (
            "/api/v2/write?bucket=two",
            "two",
            422,
            "failure writing points to database: partial write: field type",
        ),
        ("/api/v3/write_lp?db=three", "three", 400, "iox::column_type::field::string"),
    ] {
        assert_eq!(stand.post(uri, "m f=1.5 1").await.status, 204);
        let answer = stand.post(uri, "m f=\"x\" 2\nm f=2.5 3").await;
        let text = String::from_utf8_lossy(&answer.body);
        assert_eq!(answer.status, status, "{text}");
        assert!(text.contains(part), "{text}");
        assert_eq!(stand.rows(database, "m"), 2);
    }
}

#[tokio::test]
async fn wrong_requests_have_their_codes() {
    let stand = stand().await;
    let mut latin = b"m f=\"".to_vec();
    latin.extend([0xe9, b'"']);
    for (uri, body, status) in [
        ("/write", b"m f=1".to_vec(), 400),
        ("/write?db=_x", b"m f=1".to_vec(), 400),
        ("/write?db=d&precision=x", b"m f=1".to_vec(), 400),
        ("/api/v2/write", b"m f=1".to_vec(), 400),
        ("/api/v2/write?bucket=d&precision=h", b"m f=1".to_vec(), 400),
        ("/api/v3/write_lp", b"m f=1".to_vec(), 400),
        ("/api/v3/write_lp?db=d&precision=week", b"m f=1".to_vec(), 400),
        ("/api/v3/write_lp?db=d&accept_partial=perhaps", b"m f=1".to_vec(), 400),
        ("/api/v3/write_lp?db=d", latin, 400),
        ("/nowhere", Vec::new(), 404),
        ("/api/v2/buckets", Vec::new(), 404),
        ("/health", Vec::new(), 405),
    ] {
        let answer = stand.post(uri, body).await;
        assert_eq!(answer.status, status, "{uri} {:?}", answer.body);
        assert!(answer.json().is_object());
    }
    assert_eq!(stand.get("/write?db=d").await.status, 405);
}

#[tokio::test]
async fn a_database_is_only_made_by_writing_where_that_is_allowed() {
    let mut config = Config::default();
    config.write.create_on_write = false;
    let stand = stand_with(config).await;
    let v1 = stand.post("/write?db=x", "m f=1").await;
    assert_eq!((v1.status, v1.json()), (404, json!({ "error": "database not found: \"x\"" })));
    let v2 = stand.post("/api/v2/write?bucket=x", "m f=1").await;
    let body = json!({ "code": "not found", "message": "bucket \"x\" not found" });
    assert_eq!((v2.status, v2.json()), (404, body));
    assert_eq!(stand.post("/query?q=CREATE+DATABASE+x", "").await.status, 200);
    assert_eq!(stand.post("/write?db=x", "m f=1").await.status, 204);
}

#[tokio::test]
async fn databases_are_made_and_listed_as_telegraf_asks() {
    let stand = stand().await;
    let none = json!({ "results": [{ "statement_id": 0, "series": [{ "name": "databases", "columns": ["name"] }] }] });
    assert_eq!(stand.get("/query?q=SHOW+DATABASES").await.json(), none);
    let form = Request::post("/query")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Body::from("q=CREATE+DATABASE+%22telegraf%22"))
        .unwrap();
    let made = stand.send(form).await;
    assert_eq!((made.status, made.json()), (200, json!({ "results": [{ "statement_id": 0 }] })));
    let answer = stand.get("/query?q=CREATE+DATABASE+%22_x%22%3BSHOW+DATABASES&epoch=ms").await.json();
    assert!(answer["results"][0]["error"].is_string());
    let series = json!([{ "name": "databases", "columns": ["name"], "values": [["telegraf"]] }]);
    assert_eq!(answer["results"][1], json!({ "statement_id": 1, "series": series }));
    let missing = stand.get("/query").await;
    assert_eq!(
        (missing.status, missing.json()),
        (400, json!({ "error": "missing required parameter \"q\"" }))
    );
    let other = stand.get("/query?db=d&q=SELECT+1").await;
    let text = "error parsing query: found SELECT, expected CREATE DATABASE or SHOW DATABASES";
    assert_eq!((other.status, other.json()), (400, json!({ "error": text })));
}

fn with_token() -> Config {
    let token = Token { name: "t".into(), sha256: crate::auth::TokenHash::of("open-sesame") };
    Config { tokens: vec![token], ..Config::default() }
}

#[tokio::test]
async fn with_tokens_only_probes_are_open() {
    let stand = stand_with(with_token()).await;
    for path in ["/health", "/ping", "/ready", "/metrics"] {
        assert_ne!(stand.get(path).await.status, 401, "{path}");
    }
    for path in ["/query?q=SHOW+DATABASES", "/api/v3/query_sql", "/api/v1/panic", "/nowhere"] {
        assert_eq!(stand.get(path).await.status, 401, "{path}");
    }
    let refused = stand.post("/write?db=d&u=x&p=wrong", "m f=1").await;
    assert_eq!(refused.headers["www-authenticate"], "Basic realm=\"InfluxDB\"");
    assert_eq!(stand.post("/write?db=d&u=x&p=open-sesame", "m f=1").await.status, 204);
    assert_eq!(stand.post("/api/v2/write?bucket=d&p=open-sesame", "m f=1").await.status, 401);
    let token = Request::post("/api/v2/write?bucket=d").header("authorization", "Token open-sesame");
    assert_eq!(stand.send(token.body(Body::from("m f=1")).unwrap()).await.status, 204);
    let metrics = stand.get("/metrics").await;
    assert!(String::from_utf8_lossy(&metrics.body).contains("busbar_auth_failures_total 6"));
}

#[tokio::test]
async fn beyond_loopback_metrics_need_a_token() {
    let mut config = with_token();
    config.http.addr = "0.0.0.0:8181".parse().unwrap();
    let stand = stand_with(config).await;
    assert_eq!(stand.get("/metrics").await.status, 401);
    let request =
        Request::get("/metrics").header("authorization", "Bearer open-sesame").body(Body::empty()).unwrap();
    assert_eq!(stand.send(request).await.status, 200);
}

#[tokio::test]
async fn what_is_written_is_counted() {
    let stand = stand().await;
    stand.post("/write?db=d", MIXED).await;
    let text = String::from_utf8(stand.get("/metrics").await.body.to_vec()).unwrap();
    for line in [
        "tsdb_points_written_total{protocol=\"v1\"} 2",
        "busbar_ingest_rejected_rows_total{protocol=\"v1\",reason=\"parse\"} 1",
        &format!("ingest_bytes_total{{protocol=\"v1\"}} {}", MIXED.len()),
        "http_request_duration_seconds_count{route=\"/write\",method=\"POST\",status=\"400\"} 1",
        "process_start_time_seconds ",
        "busbar_build_info{version=",
        "busbar_body_bytes 0",
        "# EOF",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
}

#[tokio::test]
async fn a_full_memory_of_bodies_is_429_until_it_is_free() {
    let stand = stand().await;
    let mut other = stand.surface.bodies.reservation();
    assert!(other.grow_to(Config::default().memory_plan().unwrap().bodies));
    let busy = stand.post("/write?db=d", "m f=1").await;
    assert_eq!((busy.status, &busy.headers["retry-after"]), (429, &"1".parse().unwrap()));
    drop(other);
    assert_eq!(stand.post("/write?db=d", "m f=1").await.status, 204);
    assert_eq!(stand.surface.bodies.used(), 0);
}

#[tokio::test]
async fn before_the_engine_is_open_writes_and_queries_are_told_to_come_again() {
    let mut stand = stand().await;
    let config = Config::default();
    stand.surface = Surface::new(&config, &config.memory_plan().unwrap());
    stand.router = router(&stand.surface, Router::new());
    for uri in ["/write?db=d", "/api/v2/write?bucket=d", "/api/v3/write_lp?db=d", "/query?q=SHOW+DATABASES"] {
        let answer = stand.post(uri, "m f=1").await;
        assert_eq!((answer.status, answer.headers.contains_key("retry-after")), (503, true), "{uri}");
    }
    assert_eq!(stand.get("/api/v3/query_sql?db=d&q=SELECT+1").await.status, 503);
    assert_eq!(stand.get("/health").await.status, 200);
}

#[tokio::test]
async fn a_handler_that_panics_is_a_500_that_tells_nothing() {
    let stand = stand().await;
    let answer = stand.get("/api/v1/panic").await;
    assert_eq!((answer.status, &answer.json()["error"]), (500, &json!("internal error")));
    assert!(answer.headers.contains_key("x-request-id"));
    assert!(!String::from_utf8_lossy(&answer.body).contains("secret"));
    assert_eq!(stand.get("/ping").await.status, 204);
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_ended() {
    let mut config = Config::default();
    config.http.request_timeout = crate::config::Span(Duration::from_millis(1));
    let stand = stand_with(config).await;
    let answer = stand.get("/api/v1/slow").await;
    assert_eq!((answer.status, answer.headers.contains_key("retry-after")), (503, true));
}

#[tokio::test]
async fn a_client_may_name_its_request_but_not_write_into_the_log() {
    let stand = stand().await;
    let check = async |given: &str, kept: bool| {
        let request = Request::get("/ping").header("x-request-id", given).body(Body::empty()).unwrap();
        let answer = stand.send(request).await;
        assert_eq!(answer.headers["x-request-id"] == given, kept, "{given:?}");
        assert_eq!(answer.headers["x-request-id"], answer.headers["request-id"]);
    };
    check("trace-1", true).await;
    check("with space", false).await;
    check("", false).await;
    check(&"x".repeat(65), false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_is_answered_in_the_format_that_was_asked_for() {
    let stand = stand().await;
    assert_eq!(stand.post("/write?db=d", "m,h=a f=1.5 1000000000").await.status, 204);
    let check = |answer: &Answer, content_type: &str, body: &str| {
        let found = (answer.status, answer.headers["content-type"].to_str().unwrap(), answer.body.as_ref());
        assert_eq!(found, (200, content_type, body.as_bytes()));
    };
    let q = "SELECT+h,time,f+FROM+m";
    let csv = "h,time,f\na,1970-01-01T00:00:01,1.5\n";
    check(
        &stand.get(&format!("/api/v3/query_sql?db=d&q={q}&format=csv")).await,
        "text/csv; charset=utf-8",
        csv,
    );
    let row = "{\"h\":\"a\",\"time\":\"1970-01-01T00:00:01\",\"f\":1.5}";
    let plain = stand.get(&format!("/api/v3/query_sql?db=d&q={q}")).await;
    check(&plain, "application/json", &format!("[{row}]"));
    let body = json!({ "db": "d", "q": "SELECT h,time,f FROM m", "format": "jsonl" }).to_string();
    check(&stand.post("/api/v3/query_sql", body).await, "application/jsonl", &format!("{row}\n"));
    let request =
        Request::get(format!("/api/v3/query_sql?db=d&q={q}")).header("accept", "text/html, text/csv;q=0.5");
    let accepted = stand.send(request.body(Body::empty()).unwrap()).await;
    check(&accepted, "text/csv; charset=utf-8", csv);
    for format in ["pretty", "parquet", "arrow"] {
        assert_eq!(stand.get(&format!("/api/v3/query_sql?db=d&q={q}&format={format}")).await.status, 200);
    }
    assert_eq!(stand.get("/api/v3/query_sql?db=other&q=SELECT+1").await.status, 404);
}

#[tokio::test]
async fn a_wrong_query_is_400_and_says_why() {
    let stand = stand().await;
    assert_eq!(stand.post("/write?db=d", "m f=1 1").await.status, 204);
    let check = async |answer: Answer, part: &str| {
        let text = answer.json()["error"].as_str().unwrap().to_owned();
        assert_eq!(answer.status, 400, "{text}");
        assert!(text.contains(part), "{text}");
    };
    check(stand.post("/api/v3/query_sql", "").await, "not a query as JSON").await;
    check(stand.post("/api/v3/query_sql", "{}").await, "missing field `db`").await;
    check(stand.post("/api/v3/query_sql", "{\"db\":\"d\"}").await, "missing field `q`").await;
    check(stand.post("/api/v3/query_sql", "{\"db\":\"d\",\"sql\":\"x\"}").await, "unknown field `sql`").await;
    check(stand.get("/api/v3/query_sql?q=x").await, "missing field `db`").await;
    check(stand.get("/api/v3/query_sql?db=d&q=x&format=xml").await, "invalid format \"xml\"").await;
    check(stand.get("/api/v3/query_sql?db=d&q=x&params=1").await, "params is not a JSON object").await;
    check(stand.get("/api/v3/query_sql?db=d&q=x&params=%7B%22a%22%3A1%7D").await, "params are not supported")
        .await;
    for statement in ["DROP+TABLE+m", "SET+a+%3D+1", "SELECT+nothing+FROM+m", "COPY+m+TO+%27%2Ftmp%2Fx%27"] {
        assert_eq!(
            stand.get(&format!("/api/v3/query_sql?db=d&q={statement}")).await.status,
            400,
            "{statement}"
        );
    }
}
