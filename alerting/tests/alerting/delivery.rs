//! Webhooks: at least once, in order per alert, never again once settled, and only where they may go.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use alerting::notify::{RetryPolicy, Secret, WebhookConfig};
use alerting::{Alerting, AlertingConfig};
use hmac::{Hmac, Mac};
use sha2::Sha256;

use crate::building::{ARRIVAL_MS, Building, Row, Value, config, start, until};
use crate::receiver::{Receiver, Reply};

fn rule(webhooks: &str) -> String {
    format!(
        "{{name: hot, database: office, table: air, when: t > 30, severity: critical, labels: {{team: hvac}}, webhooks: [{webhooks}]}}"
    )
}

/// A configuration with waits that a test can sit through.
fn quick(folder: &tempfile::TempDir, webhooks: &str, configured: Vec<WebhookConfig>) -> AlertingConfig {
    let retry = RetryPolicy {
        base: Duration::from_millis(1),
        cap: Duration::from_millis(4),
        ..RetryPolicy::default()
    };
    AlertingConfig { retry, ..config(folder.path(), &[&rule(webhooks)], configured) }
}

fn heat(building: &Building, room: &str, time: i64, value: f64) {
    let fields = [("t", Value::Float(value))];
    building.write(&[Row { table: "air", tags: &[("room", room)], time, fields: &fields }]);
}

#[tokio::test]
async fn a_notification_says_everything_and_is_signed() {
    let folder = tempfile::tempdir().unwrap();
    let building = Building::new(1 << 20);
    let receiver = Receiver::ok().await;
    let webhook = WebhookConfig { secret: Some(Secret::new("key")), ..receiver.webhook("ops") };
    let alerting = start(quick(&folder, "ops", vec![webhook]), &building);
    heat(&building, "a b", 1_500_000_000_000_000_000, 31.5);
    heat(&building, "a b", 1_500_000_060_000_000_000, 30.0);
    let requests = receiver.wait_for(2).await;
    alerting.stop().await.unwrap();
    let body = requests[0].json();
    let entries = alerting.history().entries();
    let expected = serde_json::json!({
        "alert_id": entries[0].alert_id,
        "transition_id": entries[0].transition_id,
        "rule": "hot",
        "severity": "critical",
        "state": "firing",
        "reason": "condition",
        "subject": "air,room=a\\ b",
        "database": "office",
        "table": "air",
        "tags": {"room": "a b"},
        "value": 31.5,
        "event_time": "2017-07-14T02:40:00Z",
        "started_at": "2017-07-14T02:40:00Z",
        "late": false,
        "labels": {"team": "hvac"},
        "annotations": {},
    });
    assert_eq!(body, expected);
    assert_eq!(requests[1].json()["state"], "resolved");
    assert_eq!(requests[1].json()["event_time"], "2017-07-14T02:41:00Z");
    assert_ne!(requests[0].key(), requests[1].key());
    let timestamp = &requests[0].headers["x-busbar-timestamp"];
    assert_eq!(timestamp, &(ARRIVAL_MS / 1_000).to_string());
    let mut mac = Hmac::<Sha256>::new_from_slice(b"key").unwrap();
    mac.update(format!("{timestamp}.").as_bytes());
    mac.update(&requests[0].raw);
    let hex: String = mac.finalize().into_bytes().iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(requests[0].headers["x-busbar-signature"], format!("v1={hex}"));
}

#[tokio::test]
async fn a_failing_receiver_is_tried_again_with_the_same_key_and_hears_firing_before_resolved() {
    let folder = tempfile::tempdir().unwrap();
    let building = Building::new(1 << 20);
    let receiver = Receiver::start(|n, _| match n {
        0 => Reply::Status("503 Service Unavailable"),
        1 => Reply::Status("429 Too Many Requests\r\nretry-after: 0"),
        2 => Reply::Status("408 Request Timeout"),
        _ => Reply::Status("204 No Content"),
    })
    .await;
    let alerting = start(quick(&folder, "ops", vec![receiver.webhook("ops")]), &building);
    heat(&building, "a", 1, 31.0);
    heat(&building, "a", 2, 29.0);
    let requests = receiver.wait_for(5).await;
    until("both are settled", || alerting.metrics().snapshot().delivered == 2).await;
    alerting.stop().await.unwrap();
    let states: Vec<_> = requests.iter().map(|r| r.json()["state"].as_str().unwrap().to_owned()).collect();
    assert_eq!(states, ["firing", "firing", "firing", "firing", "resolved"]);
    assert!(requests[..4].iter().all(|r| r.key() == requests[0].key()));
    let metrics = alerting.metrics().snapshot();
    assert_eq!((metrics.webhook_requests, metrics.webhook_retries, metrics.undelivered), (5, 3, 0));
}

#[tokio::test]
async fn a_permanent_refusal_and_a_redirect_are_dead_at_once() {
    for status in ["410 Gone", "302 Found\r\nlocation: http://127.0.0.1:1/"] {
        let folder = tempfile::tempdir().unwrap();
        let building = Building::new(1 << 20);
        let receiver = Receiver::start(move |_, _| Reply::Status(status)).await;
        let alerting = start(quick(&folder, "ops", vec![receiver.webhook("ops")]), &building);
        heat(&building, "a", 1, 31.0);
        until("it is dead", || alerting.metrics().snapshot().dead == 1).await;
        alerting.stop().await.unwrap();
        assert_eq!(receiver.requests().len(), 1, "{status}");
    }
}

#[tokio::test]
async fn what_was_not_delivered_is_sent_after_a_crash_and_what_was_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let building = Building::new(1 << 20);
    let sick = Arc::new(AtomicBool::new(true));
    let is_sick = Arc::clone(&sick);
    let receiver = Receiver::start(move |_, request| {
        let ill = is_sick.load(Ordering::SeqCst) && request.json()["tags"]["room"] != "well";
        Reply::Status(if ill { "500 Internal Server Error" } else { "200 OK" })
    })
    .await;
    let open = || start(quick(&folder, "ops", vec![receiver.webhook("ops")]), &building);
    let alerting = open();
    heat(&building, "well", 1, 31.0);
    heat(&building, "ill", 1, 31.0);
    until("one is settled, the other tried", || {
        let metrics = alerting.metrics().snapshot();
        metrics.delivered == 1 && metrics.webhook_retries > 0
    })
    .await;
    drop(alerting);
    sick.store(false, Ordering::SeqCst);
    building.restart();
    let alerting = open();
    until("the other is settled", || alerting.metrics().snapshot().delivered == 1).await;
    assert_eq!(alerting.metrics().snapshot().webhook_requests, 1);
    drop(alerting);
    building.restart();
    let alerting = open();
    heat(&building, "third", 1, 31.0);
    until("the third is settled", || alerting.metrics().snapshot().delivered == 1).await;
    alerting.stop().await.unwrap();
    assert_eq!(alerting.metrics().snapshot().webhook_requests, 1, "what was settled is not sent again");
    let mut keys: HashMap<String, HashSet<String>> = HashMap::new();
    let mut requests: HashMap<String, usize> = HashMap::new();
    for request in receiver.requests() {
        let room = request.json()["tags"]["room"].as_str().unwrap().to_owned();
        *requests.entry(room.clone()).or_default() += 1;
        keys.entry(room).or_default().insert(request.key().to_owned());
    }
    assert!(keys.values().all(|k| k.len() == 1), "one key for all attempts, across the restart: {keys:?}");
    assert_eq!((requests["well"], requests["third"]), (1, 1));
    assert!(requests["ill"] >= 2);
}

#[tokio::test]
async fn a_receiver_that_hangs_delays_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let building = Building::new(1 << 20);
    let hanging = Receiver::start(|_, _| Reply::Hang).await;
    let quick_one = Receiver::ok().await;
    let webhooks = vec![hanging.webhook("slow"), quick_one.webhook("ops")];
    let alerting = start(quick(&folder, "slow, ops", webhooks), &building);
    for room in 0..40 {
        heat(&building, &room.to_string(), 1, 31.0);
    }
    quick_one.wait_for(40).await;
    let held = hanging.wait_for(8).await;
    assert_eq!(held.len(), 8, "its slots bound the requests in flight");
    until("the quick one is settled", || alerting.metrics().snapshot().undelivered == 40).await;
    drop(alerting);
}

#[tokio::test]
async fn a_name_that_resolves_to_this_machine_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let building = Building::new(1 << 20);
    let alerting = start(quick(&folder, "\"https://localhost:9/\"", vec![]), &building);
    heat(&building, "a", 1, 31.0);
    until("it is dead", || alerting.metrics().snapshot().dead == 1).await;
    assert_eq!(alerting.metrics().snapshot().webhook_retries, 0);
    drop(alerting);
    let refused = |webhooks: &str, configured| {
        let folder = tempfile::tempdir().unwrap();
        Alerting::open(quick(&folder, webhooks, configured), Building::new(1)).unwrap_err().to_string()
    };
    assert!(refused("nobody", vec![]).contains("no webhook \"nobody\" is configured"));
    assert!(refused("\"https://169.254.169.254/latest\"", vec![]).contains("private address"));
    assert!(refused("\"http://example.org/\"", vec![]).contains("https"));
    let inside = WebhookConfig {
        name: "ops".into(),
        url: "https://10.0.0.1/".into(),
        secret: None,
        allow_private: false,
    };
    assert!(refused("ops", vec![inside]).contains("private address"));
}

#[tokio::test]
async fn a_transition_whose_time_is_over_is_a_dead_letter() {
    let folder = tempfile::tempdir().unwrap();
    let building = Building::new(1 << 20);
    let receiver = Receiver::start(|_, _| Reply::Status("500 Oh No")).await;
    let mut settings = quick(&folder, "ops", vec![receiver.webhook("ops")]);
    settings.retry.give_up_critical = Duration::ZERO;
    let now = Arc::new(std::sync::atomic::AtomicI64::new(1));
    settings.clock = {
        let now = Arc::clone(&now);
        // Each look at the clock is a nanosecond later.
        Arc::new(move || storage::model::Timestamp::from_nanos(now.fetch_add(1, Ordering::SeqCst)))
    };
    let alerting = start(settings, &building);
    heat(&building, "a", 1, 31.0);
    until("it is dead", || alerting.metrics().snapshot().dead == 1).await;
    alerting.stop().await.unwrap();
}
