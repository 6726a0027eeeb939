//! Recorded CO2 of a real office: the transitions are those that an independent script computes.

use std::collections::HashSet;
use std::path::Path;

use chrono::NaiveDateTime;

use crate::building::{Building, config, start};
use crate::receiver::Receiver;

const FILES: [&str; 2] = ["datatest.txt", "datatraining.txt"];

fn nanos(text: &str) -> i64 {
    let time = NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S").unwrap();
    time.and_utc().timestamp_nanos_opt().unwrap()
}

fn data() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/occupancy")
}

/// State, event time, start, value, reason.
type Expected = (String, i64, i64, Option<f64>, String);

fn expected(no_data: &str) -> Vec<Expected> {
    let text = std::fs::read_to_string(data().join("expected.csv")).unwrap();
    let rows = text.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let of_case = rows.filter(|row| row[0] == no_data);
    of_case
        .map(|row| (row[1].into(), nanos(row[2]), nanos(row[3]), row[4].parse().ok(), row[5].into()))
        .collect()
}

fn samples() -> Vec<(i64, f64)> {
    let mut samples = Vec::new();
    for file in FILES {
        let text = std::fs::read_to_string(data().join(file)).unwrap();
        for line in text.lines().skip(1) {
            let columns: Vec<&str> = line.split(',').map(|c| c.trim_matches('"')).collect();
            samples.push((nanos(columns[1]), columns[5].parse().unwrap()));
        }
    }
    assert_eq!(samples.len(), 10_808);
    samples
}

async fn check(no_data: &str, extra: &str) {
    let folder = tempfile::tempdir().unwrap();
    let building = Building::new(64 << 20);
    let receiver = Receiver::ok().await;
    let rule = format!(
        "{{name: stuffy, database: office, table: air, when: CO2 > 1000, for: 5m, clear: CO2 < 900, webhooks: [ops]{extra}}}"
    );
    let alerting = start(config(folder.path(), &[&rule], vec![receiver.webhook("ops")]), &building);
    for chunk in samples().chunks(97) {
        building.write_column("air", &[("room", "1.07")], "CO2", chunk);
    }
    let expected = expected(no_data);
    assert!(expected.len() >= 10);
    let requests = receiver.wait_for(expected.len()).await;
    building.close();
    alerting.stop().await.unwrap();

    let entries = alerting.history().entries();
    let found: Vec<Expected> = entries
        .iter()
        .map(|t| (t.state.as_str().into(), t.event_time, t.started_at, t.value, t.reason.as_str().into()))
        .collect();
    assert_eq!(found, expected);
    assert!(entries.iter().all(|t| t.subject == "air,room=1.07" && !t.late));

    let told: HashSet<_> =
        requests.iter().map(|r| r.json()["transition_id"].as_str().unwrap().to_owned()).collect();
    let recorded: HashSet<_> = entries.iter().map(|t| t.transition_id.clone()).collect();
    assert_eq!(told, recorded);
    assert_eq!(receiver.requests().len(), expected.len(), "each transition once");
    let metrics = alerting.metrics().snapshot();
    assert_eq!((metrics.rows, metrics.samples_late), (10_808, 0));
    assert!(metrics.samples_evaluated < 5_000, "the guard turns quiet rows away: {metrics:?}");
}

#[tokio::test]
async fn the_transitions_of_the_recorded_office_are_those_of_the_independent_script() {
    check("", "").await;
}

#[tokio::test]
async fn with_no_data_the_hole_between_the_files_resolves_the_alert() {
    check("0:30:00", ", no_data: 30m").await;
}
