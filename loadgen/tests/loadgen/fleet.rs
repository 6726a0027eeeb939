//! `loadgen fleet` over HTTP.

use crate::run::{Run, loadgen, words};
use crate::server::{Engine, Fault};
use axum::http::StatusCode;
use std::sync::Arc;

async fn fleet(engine: &Arc<Engine>, options: &str) -> Run {
    let url = engine.serve().await;
    loadgen(words(&format!("fleet --url {url} {options}"))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_of_device_fills_its_own_table() {
    let engine = Arc::new(Engine::default());
    let options =
        "--buildings 1 --floors 2 --rooms 2 --devices 5 --rate 0 --rows 1000 --batch 64 --connections 3";
    let run = fleet(&engine, options).await;
    run.expect(
        0,
        &["1,000 of 1,000 rows in 16 batches", "table climate: rows expected 200, found 200, double 0"],
    );
    let tables = engine.tables.lock().unwrap();
    let names: Vec<_> = tables.keys().map(String::as_str).collect();
    assert_eq!(names, ["air_quality", "climate", "lighting", "motion", "power"]);
    let ((_, tags), fields) = tables["climate"].first_key_value().unwrap();
    let keys: Vec<_> = tags.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(keys, ["building", "device", "floor", "room"]);
    assert!(fields.contains_key("temperature") && fields.contains_key("humidity"), "{fields:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paced_fleet_sends_what_rate_and_duration_say() {
    let engine = Arc::new(Engine::default());
    let run = fleet(&engine, "--rate 2000 --duration 500ms --connections 2").await;
    run.expect(0, &["1,000 of 1,000 rows in 5 batches", "result         ok"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unpaced_fleet_without_rows_ends_after_its_duration() {
    let engine = Arc::new(Engine::default());
    let run = fleet(&engine, "--rate 0 --duration 500ms --batch 5 --no-verify")
        .await
        .expect(0, &["read-back      not made"]);
    // On a machine that is busy it may have sent nothing in that time.
    assert!(run.out.contains("acknowledged") && run.out.contains("p50"), "{}", run.out);
}

#[tokio::test(flavor = "multi_thread")]
async fn prepared_bodies_hold_the_same_rows() {
    let options = "--shape four-fields --series 50 --rate 0 --rows 500 --batch 100 --start 2026-01-05T00:00:00Z --interval 1s";
    let (now, before) = (Arc::new(Engine::default()), Arc::new(Engine::default()));
    fleet(&now, options).await.expect(0, &["table probe: rows expected 500, found 500"]);
    fleet(&before, &format!("{options} --prepare --gzip")).await.expect(0, &["found 500"]);
    assert_eq!(now.table("probe"), before.table("probe"));
    let times: Vec<_> = now.table("probe").keys().map(|(time, _)| *time).collect();
    assert_eq!(times[50] - times[0], 1_000_000_000, "one row per device and second");
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_and_double_rows_are_traced_to_their_batch() {
    let check = async |fault, said: &[&str]| {
        let engine = Arc::new(Engine::default());
        engine.faults.lock().unwrap().push(fault);
        let options = "--shape four-fields --rate 0 --rows 1000 --batch 10";
        fleet(&engine, options).await.expect(1, said).expect(1, &["DIFFERENT", "NOT OK"]);
    };
    check(Fault::Lose(573), &["found 999", "missing: batch 57 (acknowledged)", "expected 10 rows, found 9"])
        .await;
    check(Fault::Repeat(0), &["found 1001, double 1", "double: batch 0 (acknowledged)"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_rows_may_be_absent_but_the_run_is_not_ok() {
    let engine = Arc::new(Engine::default());
    engine.refusals.lock().unwrap().push_back((StatusCode::BAD_REQUEST, None));
    let run = fleet(&engine, "--shape four-fields --rate 0 --rows 100 --batch 10").await;
    let said = [
        "refused 10 rows",
        "rows expected 90 (and up to 10 that were not acknowledged), found 90, double 0: equal",
    ];
    run.expect(1, &said);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_prepared_or_scheduled_is_said_before_anything_is_sent() {
    let check = async |options: &str, said: &str| {
        let engine = Arc::new(Engine::default());
        fleet(&engine, options).await.expect(2, &[said]);
        assert!(engine.requests.lock().unwrap().is_empty());
    };
    check("--rate 0 --prepare", "give --rows").await;
    check("--series 1000 --interval 100ns", "below one nanosecond").await;
    check("--buildings 100000 --floors 1000", "devices: ask for").await;
    check("--protocol http --mqtt 127.0.0.1:1", "contradict").await;
    check("--start tomorrow", "is not understood").await;
}
