//! Deletes over HTTP: what is hidden, and what is refused.

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::routing::post;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::super::deletes;
use super::{Stand, stand};

const LINES: &str = "room,host=a v=1 1000000000\nroom,host=b v=1 1000000000\nroom,host=a v=1 2000000000\n\
                     other,host=a v=1 1000000000";

/// The rows of a table as queries see them: host and whole seconds.
async fn left(stand: &Stand, table: &str) -> Value {
    let sql = format!("SELECT host, date_part('second', time)::int AS s FROM {table} ORDER BY time, host");
    let body = json!({ "db": "d", "q": sql, "format": "json" }).to_string();
    let answer = stand.post("/api/v3/query_sql", body).await;
    assert_eq!(answer.status, 200, "{:?}", answer.body);
    answer.json()
}

fn rows(rows: &[(&str, i64)]) -> Value {
    rows.iter().map(|(host, s)| json!({ "host": host, "s": s })).collect()
}

#[tokio::test]
async fn influxdb_clients_delete_by_measurement_tags_and_time() {
    let stand = stand().await;
    assert_eq!(stand.post("/write?db=d", LINES).await.status, 204);
    let delete = |start: &str, predicate: &str| {
        json!({ "start": start, "stop": "1970-01-01T00:00:02Z", "predicate": predicate }).to_string()
    };
    let uri = "/api/v2/delete?org=o&bucket=d";
    let body = delete("1970-01-01T00:00:00Z", r#"_measurement="room" AND host="a""#);
    assert_eq!(stand.post(uri, body).await.status, 204);
    assert_eq!(left(&stand, "room").await, rows(&[("b", 1), ("a", 2)]), "the stop is not in the range");
    assert_eq!(left(&stand, "other").await, rows(&[("a", 1)]));
    // Of all measurements.
    assert_eq!(stand.post(uri, delete("1970-01-01T00:00:00Z", "")).await.status, 204);
    assert_eq!(left(&stand, "room").await, rows(&[("a", 2)]));
    assert_eq!(left(&stand, "other").await, rows(&[]));
    // What is not there needs no deleting.
    let body = delete("1970-01-01T00:00:00Z", "_measurement=nowhere");
    assert_eq!(stand.post(uri, body).await.status, 204);
}

#[tokio::test]
async fn a_delete_that_cannot_be_understood_deletes_nothing_and_says_why() {
    let stand = stand().await;
    assert_eq!(stand.post("/write?db=d", LINES).await.status, 204);
    let fine = |predicate: &str| json!({ "start": "1970-01-01T00:00:00Z", "stop": "1971-01-01T00:00:00Z", "predicate": predicate });
    let cases = [
        ("/api/v2/delete?bucket=d", fine("host=a OR host=b"), 400, "a delete for each side of OR"),
        ("/api/v2/delete?bucket=d", fine("host!=a"), 400, "with = only"),
        ("/api/v2/delete?bucket=d", json!({ "start": "1970-01-01T00:00:00Z" }), 400, "stop is missing"),
        ("/api/v2/delete?bucket=d", json!({ "begin": "x" }), 400, "unknown field"),
        ("/api/v2/delete", fine(""), 400, "bucket is required"),
        ("/api/v2/delete?bucket=e", fine(""), 404, "bucket"),
    ];
    for (uri, body, status, why) in cases {
        let answer = stand.post(uri, body.to_string()).await;
        let message = answer.json()["message"].to_string();
        assert_eq!(answer.status, status, "{body}: {message}");
        assert!(message.contains(why), "{body}: {message}");
    }
    assert_eq!(left(&stand, "room").await, rows(&[("a", 1), ("b", 1), ("a", 2)]));
}

#[tokio::test]
async fn the_native_path_deletes_by_table_and_tags() {
    let stand = stand().await;
    assert_eq!(stand.post("/write?db=d", LINES).await.status, 204);
    let router = Router::new()
        .route("/api/v1/databases/{database}/delete", post(deletes::create))
        .with_state(stand.surface.clone());
    let span = json!({ "start": "1970-01-01T00:00:00Z", "stop": "1971-01-01T00:00:00Z" });
    let with = |more: Value| {
        let mut body = span.clone();
        body.as_object_mut().unwrap().append(&mut more.as_object().unwrap().clone());
        body
    };
    let cases = [
        ("d", with(json!({ "table": "room", "tags": { "host": "a" } })), 204),
        ("nowhere", with(json!({})), 404),
        ("d", with(json!({ "tag": {} })), 400),
        ("d", json!({ "start": "now", "stop": "1971-01-01T00:00:00Z" }), 400),
    ];
    for (database, body, status) in cases {
        let uri = format!("/api/v1/databases/{database}/delete");
        let request = Request::post(uri).body(Body::from(body.to_string())).unwrap();
        let answer = router.clone().oneshot(request).await.unwrap();
        assert_eq!(answer.status().as_u16(), status, "{body}");
    }
    assert_eq!(left(&stand, "room").await, rows(&[("b", 1)]));
    assert_eq!(left(&stand, "other").await, rows(&[("a", 1)]));
}

#[test]
fn a_delete_whose_kept_lines_are_left_says_so_in_a_header() {
    let left = ingest::intake::Deleted { lines_left: Some("no\nroom".into()) };
    let answer = deletes::done(&left);
    assert_eq!(answer.status(), 204);
    assert!(answer.headers()["x-busbar-warning"].to_str().unwrap().ends_with("no room"));
    assert!(deletes::done(&ingest::intake::Deleted::default()).headers().is_empty());
}
