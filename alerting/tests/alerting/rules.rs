//! Rules at work: scopes, types, changes at run time, silence, and the columns of the history.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use alerting::rule::{Origin, RuleSpec};
use alerting::{Alerting, AlertingConfig, ErrorKind, Expect, History};
use arrow::array::{Array, Float64Array, StringArray, TimestampNanosecondArray};
use storage::model::Timestamp;

use crate::building::{ARRIVAL_MS, Building, Row, Value, applied, config, start, until};
use crate::receiver::Receiver;

fn write(building: &Building, tags: &[(&str, &str)], time: i64, fields: &[(&str, Value)]) {
    building.write(&[Row { table: "air", tags, time, fields }]);
}

fn spec(text: &str) -> RuleSpec {
    RuleSpec::from_yaml(&format!("{{database: office, table: air, {text}}}")).unwrap()
}

/// Rule, subject, state, event time of every entry.
fn told(alerting: &Alerting) -> Vec<(String, String, &'static str, i64)> {
    let entries = alerting.history().entries();
    entries.iter().map(|t| (t.rule.clone(), t.subject.clone(), t.state.as_str(), t.event_time)).collect()
}

fn row(rule: &str, subject: &str, state: &'static str, time: i64) -> (String, String, &'static str, i64) {
    (rule.into(), subject.into(), state, time)
}

#[tokio::test]
async fn a_rule_watches_the_series_of_its_scope_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let building = Building::new(1 << 20);
    let rules = [
        "{name: all, database: office, table: air, when: x > 10}",
        "{name: north, database: office, table: air, where: {side: north, room: r1}, when: x > 10}",
        "{name: elsewhere, database: home, table: air, when: x > 10}",
        "{name: water, database: office, table: water, when: x > 10}",
        "{name: off, database: office, table: air, when: x > 10, enabled: false}",
        "{name: other, database: office, table: air, when: y > 10}",
    ];
    let alerting = start(config(folder.path(), &rules, vec![]), &building);
    let x = [("x", Value::Float(11.0))];
    write(&building, &[("room", "r1")], 1, &x);
    write(&building, &[("room", "r1"), ("side", "north")], 2, &x);
    write(&building, &[("room", "r2"), ("side", "north")], 3, &x);
    write(&building, &[("room", "r1"), ("side", "north")], 4, &[("z", Value::Float(1.0))]);
    building.write(&[Row { table: "soil", tags: &[], time: 5, fields: &x }]);
    alerting.stop().await.unwrap();
    let expected = [
        row("all", "air,room=r1", "firing", 1),
        row("all", "air,room=r1,side=north", "firing", 2),
        row("north", "air,room=r1,side=north", "firing", 2),
        row("all", "air,room=r2,side=north", "firing", 3),
    ];
    assert_eq!(told(&alerting), expected);
    assert_eq!(alerting.metrics().snapshot().slots, 7);
}

#[tokio::test]
async fn integers_truth_values_and_widened_fields_compare_and_texts_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let building = Building::new(1 << 20);
    let rules = [
        "{name: n, database: office, table: air, when: n > 10}",
        "{name: open, database: office, table: air, when: open == true}",
    ];
    let alerting = start(config(folder.path(), &rules, vec![]), &building);
    write(&building, &[], 1, &[("n", Value::Integer(11)), ("open", Value::Truth(true))]);
    write(&building, &[], 2, &[("n", Value::Float(10.5)), ("open", Value::Truth(true))]);
    write(&building, &[], 3, &[("n", Value::Float(9.5)), ("open", Value::Truth(false))]);
    write(&building, &[], 4, &[("n", Value::Integer(12))]);
    building.write(&[Row { table: "b", tags: &[], time: 1, fields: &[("n", Value::Text("12"))] }]);
    alerting.stop().await.unwrap();
    let expected = [
        row("n", "air", "firing", 1),
        row("open", "air", "firing", 1),
        row("n", "air", "resolved", 3),
        row("open", "air", "resolved", 3),
        row("n", "air", "firing", 4),
    ];
    assert_eq!(told(&alerting), expected);
}

#[tokio::test]
async fn a_rule_made_at_run_time_is_durable_versioned_and_guarded() {
    let folder = tempfile::tempdir().unwrap();
    let building = Building::new(1 << 20);
    let fixed = ["{name: fixed, database: office, table: air, when: x > 10}"];
    let alerting = start(config(folder.path(), &fixed, vec![]), &building);
    let put = alerting.put_rule(spec("name: mine, when: x > 5"), Expect::Absent).await.unwrap();
    assert!(put.created);
    assert_eq!((put.rule.version, put.rule.origin), (1, Origin::Api));
    let stale = alerting.put_rule(spec("name: mine, when: x > 6"), Expect::Version(7)).await.unwrap_err();
    assert!(matches!(stale, alerting::Error::Conflict { current: Some(1) }), "{stale}");
    let put = alerting.put_rule(spec("name: mine, when: x > 6"), Expect::Version(1)).await.unwrap();
    assert_eq!((put.created, put.rule.version), (false, 2));
    for error in [
        alerting.put_rule(spec("name: fixed, when: x > 1"), Expect::Any).await.unwrap_err(),
        alerting.delete_rule("fixed", Expect::Any).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::ReadOnly);
    }
    let wrong =
        alerting.put_rule(spec("name: bad, when: x, webhooks: [who]"), Expect::Any).await.unwrap_err();
    let alerting::Error::Rule(faults) = wrong else { panic!("{wrong}") };
    assert_eq!(faults.0.iter().map(|f| f.pointer.as_str()).collect::<Vec<_>>(), ["/when", "/webhooks/0"]);
    assert_eq!(alerting.delete_rule("none", Expect::Any).await.unwrap_err().kind(), ErrorKind::NotFound);
    drop(alerting);

    // A crash; meanwhile the configuration got another rule instead.
    building.restart();
    let other = ["{name: newer, database: office, table: air, when: x > 10}"];
    let alerting = start(config(folder.path(), &other, vec![]), &building);
    let names: Vec<_> = alerting.rules().iter().map(|r| (r.rule.spec.name.clone(), r.version)).collect();
    assert_eq!(names, [("mine".into(), 2), ("newer".into(), 1)]);
    let id = alerting.rule("mine").unwrap().rule.id.to_string();
    alerting.delete_rule(&id, Expect::Version(2)).await.unwrap();
    assert!(alerting.rule("mine").is_none());
    alerting.stop().await.unwrap();
    assert_eq!(
        alerting.put_rule(spec("name: m, when: x > 5"), Expect::Any).await.unwrap_err().kind(),
        ErrorKind::Unavailable
    );
}

#[tokio::test]
async fn a_changed_rule_keeps_its_alerts_if_its_shape_stays_and_else_resolves_them() {
    let folder = tempfile::tempdir().unwrap();
    let building = Building::new(1 << 20);
    let alerting = start(config(folder.path(), &[], vec![]), &building);
    for name in ["kept", "moved", "off", "gone"] {
        alerting.put_rule(spec(&format!("name: {name}, when: x > 10")), Expect::Any).await.unwrap();
    }
    write(&building, &[], 1, &[("x", Value::Float(11.0))]);
    until("all fire", || alerting.firing().len() == 4).await;
    alerting.put_rule(spec("name: kept, when: x > 9, severity: info"), Expect::Any).await.unwrap();
    alerting.put_rule(spec("name: moved, when: x > 10, where: {a: b}"), Expect::Any).await.unwrap();
    alerting.put_rule(spec("name: off, when: x > 10, enabled: false"), Expect::Any).await.unwrap();
    alerting.delete_rule("gone", Expect::Any).await.unwrap();
    let firing: Vec<_> = alerting.firing().iter().map(|t| t.rule.clone()).collect();
    assert_eq!(firing, ["kept"]);
    write(&building, &[], 2, &[("x", Value::Float(9.5))]);
    write(&building, &[], 3, &[("x", Value::Float(9.0))]);
    alerting.stop().await.unwrap();
    let entries = alerting.history().entries();
    let resolved: Vec<_> =
        entries[4..].iter().map(|t| (t.rule.as_str(), t.reason.as_str(), t.event_time)).collect();
    let expected = [
        ("moved", "rule_changed", 1),
        ("off", "rule_disabled", 1),
        ("gone", "rule_deleted", 1),
        ("kept", "cleared", 3),
    ];
    assert_eq!(resolved, expected);
}

/// A configuration whose clock a test sets, in milliseconds.
fn with_clock(base: AlertingConfig, now_ms: &Arc<AtomicI64>) -> AlertingConfig {
    let now_ms = Arc::clone(now_ms);
    let clock = move || Timestamp::from_nanos(now_ms.load(Ordering::SeqCst) * 1_000_000);
    AlertingConfig { clock: Arc::new(clock), ..base }
}

#[tokio::test]
async fn a_subject_that_falls_silent_resolves_by_the_clock_once_and_downtime_is_no_silence() {
    let folder = tempfile::tempdir().unwrap();
    let building = Building::new(1 << 20);
    let receiver = Receiver::ok().await;
    let start_ms = i64::try_from(ARRIVAL_MS).unwrap();
    let now_ms = Arc::new(AtomicI64::new(start_ms));
    let rule = "{name: r, database: office, table: air, when: x > 10, no_data: 30m, webhooks: [ops]}";
    let settings = || with_clock(config(folder.path(), &[rule], vec![receiver.webhook("ops")]), &now_ms);
    let alerting = start(settings(), &building);
    let event = start_ms * 1_000_000 - 5;
    write(&building, &[], event, &[("x", Value::Float(11.0))]);
    receiver.wait_for(1).await;
    alerting.stop().await.unwrap();
    drop(alerting);

    // Down for an hour: the clock of silence begins anew.
    now_ms.fetch_add(3_600_000, Ordering::SeqCst);
    building.restart();
    let alerting = start(settings(), &building);
    alerting.stop().await.unwrap();
    assert_eq!(alerting.firing().len(), 1);
    drop(alerting);
    building.restart();
    let alerting = start(settings(), &building);
    now_ms.fetch_add(1_800_001, Ordering::SeqCst);
    let requests = receiver.wait_for(2).await;
    assert_eq!(requests[1].json()["reason"], "no_data");
    assert_eq!(requests[1].json()["value"], serde_json::Value::Null);
    drop(alerting);

    // The crash came before any snapshot: the record of the silence is replayed, and nothing is repeated.
    building.restart();
    let alerting = start(settings(), &building);
    write(&building, &[], event + 1, &[("x", Value::Float(12.0))]);
    alerting.stop().await.unwrap();
    let expected = [
        row("r", "air", "firing", event),
        row("r", "air", "resolved", event + 1_800_000_000_000),
        row("r", "air", "firing", event + 1),
    ];
    assert_eq!(told(&alerting), expected);
}

#[tokio::test]
async fn a_device_whose_clock_runs_ahead_does_not_silence_its_rule() {
    let folder = tempfile::tempdir().unwrap();
    let building = Building::new(1 << 20);
    let rule = "{name: r, database: office, table: air, when: x > 10}";
    let alerting = start(config(folder.path(), &[rule], vec![]), &building);
    let now = i64::try_from(ARRIVAL_MS).unwrap() * 1_000_000;
    write(&building, &[], now + 86_000_000_000_000, &[("x", Value::Float(1.0))]);
    write(&building, &[], now, &[("x", Value::Float(11.0))]);
    alerting.stop().await.unwrap();
    assert_eq!(told(&alerting), [row("r", "air", "firing", now)]);
    assert_eq!(alerting.metrics().snapshot().samples_ahead, 1);
}

#[tokio::test]
async fn the_history_is_columns_with_the_values_bit_for_bit_also_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let building = Building::new(1 << 20);
    let rule = "{name: r, database: office, table: air, when: x > 0.1}";
    let alerting = start(config(folder.path(), &[rule], vec![]), &building);
    assert!(alerting.history().batches().unwrap().is_empty());
    let value = 0.1 + 0.2;
    let row = Row { table: "air", tags: &[], time: 7, fields: &[("x", Value::Float(value))] };
    let frame = building.write(&[row]);
    applied(&alerting, frame).await;
    drop(alerting);
    building.restart();
    let alerting = start(config(folder.path(), &[rule], vec![]), &building);
    let batches = alerting.history().batches().unwrap();
    assert_eq!(batches.len(), 1);
    assert_eq!(batches[0].schema(), History::schema());
    let column = |name: &str| batches[0].column_by_name(name).unwrap().clone();
    let state = column("state");
    assert_eq!(state.as_any().downcast_ref::<StringArray>().unwrap().value(0), "firing");
    let values = column("value");
    let found = values.as_any().downcast_ref::<Float64Array>().unwrap().value(0);
    assert_eq!(found.to_bits(), value.to_bits());
    let times = column("event_time");
    assert_eq!(times.as_any().downcast_ref::<TimestampNanosecondArray>().unwrap().value(0), 7);
    assert_eq!(batches[0].num_columns(), 15);
    assert_eq!(column("revision").null_count(), 0);
}
