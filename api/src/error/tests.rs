//! Every failure in every dialect: status, body, headers.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::time::Duration;

use axum::http::{HeaderMap, StatusCode};
use ingest::intake::{LineProblem, RejectedLine};
use ingest::line_protocol::{LineError, Precision};
use serde_json::{Value, json};
use storage::model::{DatabaseName, FieldType};
use storage::quarantine::{LineId, NotKept};

use super::Dialect::{Native, V1, V2, V3};
use super::{Dialect, Failure, RefusedLines};
use crate::auth::Refusal;
use query::Error as SqlError;

async fn answer(failure: &Failure, dialect: Dialect) -> (StatusCode, HeaderMap, Value) {
    let (parts, body) = failure.answer(dialect).into_parts();
    let bytes = axum::body::to_bytes(body, 1 << 24).await.unwrap();
    (parts.status, parts.headers, serde_json::from_slice(&bytes).unwrap())
}

async fn check(failure: Failure, dialect: Dialect, status: u16, body: Value) -> HeaderMap {
    let (found, headers, found_body) = answer(&failure, dialect).await;
    assert_eq!((found.as_u16(), &found_body), (status, &body), "{failure:?} {dialect:?}");
    headers
}

fn v2(code: &str, message: &str) -> Value {
    json!({ "code": code, "message": message })
}

fn error(message: &str) -> Value {
    json!({ "error": message })
}

fn line(number: usize, line: &str, problem: LineProblem) -> RejectedLine {
    RejectedLine { number, line: line.into(), problem, kept: None }
}

#[tokio::test]
async fn a_line_in_quarantine_is_named_by_its_id_in_the_format_of_each_client() {
    let kept = |dialect| async move {
        let ok = RejectedLine { kept: Some(Ok(LineId::new(17))), ..line(2, "m temp=\"x\"", conflict()) };
        let full = RejectedLine { kept: Some(Err(NotKept::Full)), ..line(3, "m temp=\"x\"", conflict()) };
        answer(&Failure::Lines(RefusedLines::some(vec![ok, full], 1, "d", None)), dialect).await.2
    };
    for (dialect, text) in [(V1, "error"), (V2, "message")] {
        let body = kept(dialect).await;
        assert_eq!(body["quarantined"], json!([{ "line": 2, "id": 17 }]));
        let text = body[text].as_str().unwrap();
        assert!(text.contains("already exists as type float (in quarantine as 17)\n"), "{text}");
        assert!(text.contains("(not kept: the quarantine is full) dropped=2 for database: d"), "{text}");
    }
    let body = kept(V3).await;
    assert_eq!(
        (&body["data"][0]["quarantine_id"], &body["data"][1]["quarantine_id"]),
        (&json!(17), &Value::Null)
    );
    assert!(body["data"][0]["error_message"].as_str().unwrap().ends_with("(in quarantine as 17)"));
}

fn conflict() -> LineProblem {
    LineProblem::TypeConflict {
        table: "m".into(),
        field: "temp".into(),
        is: FieldType::Text,
        exists: FieldType::Float,
    }
}

#[tokio::test]
async fn failures_of_parameters_and_bodies_are_told_as_each_server_tells_them() {
    let name = || Failure::DatabaseName(DatabaseName::new("_x").unwrap_err());
    let text = DatabaseName::new("_x").unwrap_err().to_string();
    check(name(), V1, 400, error(&text)).await;
    check(name(), V2, 400, v2("invalid", &text)).await;
    check(Failure::DatabaseRequired, V1, 400, error("database is required")).await;
    check(Failure::DatabaseRequired, V2, 400, v2("invalid", "bucket is required")).await;
    check(Failure::DatabaseRequired, V3, 400, error("missing field `db`")).await;
    let unknown = || Failure::DatabaseNotFound("x".into());
    check(unknown(), V1, 404, error("database not found: \"x\"")).await;
    check(unknown(), V2, 404, v2("not found", "bucket \"x\" not found")).await;
    check(unknown(), V3, 404, error("database not found: \"x\"")).await;
    let v1 = Failure::Precision(Precision::v1("x").unwrap_err());
    check(v1, V1, 400, error("invalid precision \"x\" (use n, u, ms, s, m or h)")).await;
    let v2_precision = Failure::Precision(Precision::v2("x").unwrap_err());
    check(v2_precision, V2, 400, v2("invalid", "invalid precision \"x\" (use ns, us, ms or s)")).await;
    check(Failure::BodyTooLarge(10), V1, 413, error("Request Entity Too Large")).await;
    check(
        Failure::BodyTooLarge(10),
        V2,
        413,
        v2("request too large", "max request size (10 bytes) exceeded"),
    )
    .await;
    check(Failure::BodyTooLarge(10), V3, 413, error("max request size (10 bytes) exceeded")).await;
    let encoding = || Failure::BodyEncoding("zstd".into());
    check(encoding(), V1, 415, error("unacceptable content-encoding: zstd")).await;
    check(encoding(), V2, 400, v2("invalid", "unacceptable content-encoding: zstd")).await;
    check(encoding(), V3, 400, error("unacceptable content-encoding: zstd")).await;
    let utf8 = Failure::BodyNotUtf8("at 3".into());
    check(utf8, V3, 400, error("body content is not valid utf8: at 3")).await;
    check(Failure::BodyEmpty, V3, 400, error("incoming write was empty")).await;
}

#[tokio::test]
async fn lines_that_cannot_be_read_are_told_as_each_server_tells_them() {
    let rejected = || {
        vec![
            line(2, "m", LineError::MissingFields.into()),
            line(5, "m f=x", LineError::InvalidValue("x".into()).into()),
        ]
    };
    let reasons = "unable to parse 'm': missing fields\nunable to parse 'm f=x': invalid boolean";
    check(Failure::Lines(RefusedLines::some(rejected(), 0, "d", None)), V1, 400, error(reasons)).await;
    let partial = format!("partial write: {reasons} dropped=0 for database: d");
    check(Failure::Lines(RefusedLines::some(rejected(), 3, "d", None)), V1, 400, error(&partial)).await;
    let policy = format!("{partial} for retention policy: autogen");
    check(Failure::Lines(RefusedLines::some(rejected(), 3, "d", Some("autogen"))), V1, 400, error(&policy))
        .await;
    check(Failure::Lines(RefusedLines::all(rejected())), V2, 400, v2("invalid", reasons)).await;
    let first = json!({ "original_line": "m", "line_number": 2, "error_message": "No fields were provided" });
    let all = json!({ "error": "parsing failed for write_lp endpoint", "data": first });
    check(Failure::Lines(RefusedLines::all(rejected())), V3, 400, all).await;
    let message = LineError::InvalidValue("x".into()).reason(ingest::line_protocol::Dialect::V3);
    let second = json!({ "original_line": "m f=x", "line_number": 5, "error_message": message });
    let some = json!({ "error": "partial write of line protocol occurred", "data": [first, second] });
    check(Failure::Lines(RefusedLines::some(rejected(), 3, "d", None)), V3, 400, some).await;
}

#[tokio::test]
async fn lines_that_do_not_fit_the_schema_are_told_as_each_server_tells_them() {
    let rejected = || vec![line(1, "m temp=\"x\"", conflict())];
    let reason = "field type conflict: input field \"temp\" on measurement \"m\" is type string, already exists as type float";
    for rows in [0, 3] {
        let failure = || Failure::Lines(RefusedLines::some(rejected(), rows, "d", None));
        let partial = format!("partial write: {reason} dropped=1 for database: d");
        check(failure(), V1, 400, error(&partial)).await;
        let message = format!("failure writing points to database: {partial}");
        check(failure(), V2, 422, v2("unprocessable entity", &message)).await;
    }
    let v3 = "invalid column type for column 'temp', expected iox::column_type::field::float, got iox::column_type::field::string";
    let data = json!([{ "original_line": "m temp=\"x\"", "line_number": 1, "error_message": v3 }]);
    let body = json!({ "error": "partial write of line protocol occurred", "data": data });
    check(Failure::Lines(RefusedLines::some(rejected(), 3, "d", None)), V3, 400, body).await;
    let stripped = LineProblem::TimeField { table: "m".into(), dropped: false };
    let failure = Failure::Lines(RefusedLines::some(vec![line(1, "m time=1,f=1", stripped)], 1, "d", None));
    let text = "partial write: invalid field name: input field \"time\" on measurement \"m\" is invalid. Field \"time\" has been stripped from point. dropped=0 for database: d";
    check(failure, V1, 400, error(text)).await;
}

#[tokio::test]
async fn an_answer_names_a_bounded_number_of_lines() {
    let many =
        || (0..5_000).map(|number| line(number, "m", LineError::MissingFields.into())).collect::<Vec<_>>();
    let (_, _, body) = answer(&Failure::Lines(RefusedLines::some(many(), 0, "d", None)), V1).await;
    let text = body["error"].as_str().unwrap();
    assert_eq!(text.lines().count(), 101);
    assert!(text.ends_with("and 4900 more lines"));
    let (_, _, body) = answer(&Failure::Lines(RefusedLines::some(many(), 0, "d", None)), V3).await;
    assert_eq!(body["data"].as_array().unwrap().len(), 1_000);
}

#[tokio::test]
async fn a_refused_login_is_401_and_says_how_to_log_in() {
    let refused = |refusal| Failure::Unauthenticated(refusal);
    let headers =
        check(refused(Refusal::Missing), V1, 401, error("unable to parse authentication credentials")).await;
    assert_eq!(headers["www-authenticate"], "Basic realm=\"InfluxDB\"");
    assert_eq!(headers["x-influxdb-error"], "unable to parse authentication credentials");
    check(refused(Refusal::Unknown), V1, 401, error("authorization failed")).await;
    let headers = check(refused(Refusal::Unknown), V2, 401, v2("unauthorized", "unauthorized access")).await;
    assert_eq!(headers["x-platform-error-code"], "unauthorized");
    check(refused(Refusal::Missing), V3, 401, error("the request was not authenticated")).await;
    let (status, headers, body) = answer(&refused(Refusal::Missing), Native).await;
    assert_eq!((status.as_u16(), &body["status"], &body["code"]), (401, &json!(401), &json!("unauthorized")));
    assert_eq!(headers["content-type"], "application/problem+json");
    assert_eq!(headers["www-authenticate"], "Bearer realm=\"Busbar\"");
}

#[tokio::test]
async fn what_passes_says_when_to_come_again_in_whole_seconds() {
    let check = async |failure: Failure, status: u16, seconds: &str| {
        for dialect in [V1, V2, V3, Native] {
            let (found, headers, _) = answer(&failure, dialect).await;
            assert_eq!(found.as_u16(), status, "{failure:?} {dialect:?}");
            assert_eq!(headers["retry-after"], seconds, "{failure:?} {dialect:?}");
        }
    };
    let unavailable = |retry_after| Failure::Unavailable { reason: "closing".into(), retry_after };
    check(Failure::Busy(Duration::from_millis(1)), 429, "1").await;
    check(Failure::Busy(Duration::from_millis(1_001)), 429, "2").await;
    check(Failure::Busy(Duration::ZERO), 429, "1").await;
    check(unavailable(Duration::from_secs(7)), 503, "7").await;
    check(Failure::Timeout(Duration::from_secs(60)), 503, "5").await;
    check(Failure::Storage(storage::Error::LogPoisoned("disk".into())), 503, "5").await;
    check(Failure::Sql(SqlError::Memory("too much".into())), 429, "1").await;
}

#[tokio::test]
async fn errors_of_the_storage_follow_their_kind_and_hide_their_insides() {
    let check = async |make: fn() -> storage::Error, dialect: Dialect, status: u16, part: &str| {
        let (found, _, body) = answer(&Failure::Storage(make()), dialect).await;
        assert_eq!(found.as_u16(), status, "{:?}", make());
        assert!(body.to_string().contains(part), "{body}");
        assert!(!body.to_string().contains("/secret"), "{body}");
    };
    check(|| storage::Error::Invalid("wrong".into()), V1, 400, "wrong").await;
    check(|| storage::Error::LimitExceeded("full".into()), V1, 400, "full").await;
    check(|| storage::Error::LimitExceeded("full".into()), V2, 422, "full").await;
    check(|| storage::Error::NotFound("gone".into()), V3, 404, "gone").await;
    check(|| storage::Error::Closing, V3, 503, "cannot take writes").await;
    check(|| storage::Error::Damaged("/secret".into()), V2, 500, "internal error").await;
    check(|| storage::Error::Internal("/secret".into()), V1, 500, "internal error").await;
}

#[tokio::test]
async fn errors_of_queries_have_their_codes() {
    for (error, status) in [
        (SqlError::Invalid("no table".into()), 400),
        (SqlError::DatabaseNotFound("x".into()), 404),
        (SqlError::Deadline(Duration::from_secs(30)), 408),
        (SqlError::Memory("too much".into()), 429),
        (SqlError::Busy { running: 4, waiting: 8 }, 429),
        (SqlError::StoreUnavailable("the line is cut".into()), 503),
        (SqlError::Internal("/secret".into()), 500),
    ] {
        let (found, _, body) = answer(&error.into(), V3).await;
        assert_eq!(found.as_u16(), status, "{body}");
        assert!(!body.to_string().contains("/secret"));
    }
}

#[tokio::test]
async fn the_error_header_is_short_and_one_line() {
    let long = Failure::Statement(format!("a\nb\u{0}{}", "°".repeat(2_000)));
    let (_, headers, _) = answer(&long, V1).await;
    let header = headers["x-influxdb-error"].as_bytes();
    assert!(header.len() <= 1_024 && header.len() > 1_000);
    assert!(std::str::from_utf8(header).unwrap().starts_with("error parsing query: a b "));
}

#[test]
fn a_dialect_follows_from_the_path() {
    for (path, dialect) in [
        ("/write", V1),
        ("/query", V1),
        ("/api/v2/write", V2),
        ("/api/v3/query_sql", V3),
        ("/api/v1/devices", Native),
        ("/health", Native),
        ("/api/v2", Native),
    ] {
        assert_eq!(Dialect::of_path(path), dialect, "{path}");
    }
}
