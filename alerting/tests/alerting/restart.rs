//! Crashes and restarts: no transition is lost, none is repeated.

use std::sync::Arc;

use alerting::rule::RuleSpec;
use alerting::{Alerting, Expect, Transition};
use proptest::prelude::*;
use storage::stream::{RecordNumber, Stream, StreamOptions};

use crate::building::{Building, Row, Value, applied, config, start, until};

const RULES: [&str; 2] = [
    "{name: a, database: office, table: air, when: x > 10, for: 3ns, clear: x < 8, no_data: 20ns}",
    "{name: b, database: office, table: air, where: {room: r1}, when: x < 5, late: evaluate, severity: critical}",
];

#[derive(Debug, Clone)]
enum Step {
    /// Rows of (room, advance in time, value), in one group.
    Write(Vec<(u8, i8, u8)>),
    /// Alerting dies at once, wherever it is, and starts again. The alert stream lacks up to this many bytes of
    /// what came after the last snapshot: their sync had not happened.
    /// If so, the snapshots since the last start had not happened either.
    Crash(u16, bool),
    /// Alerting stops in order, and starts again; the log is trimmed.
    Restart,
    /// The threshold of a rule made at run time changes; `None` deletes it.
    Rule(Option<u8>),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let write = prop::collection::vec((0_u8..3, -4_i8..30, 0_u8..20), 1..12).prop_map(Step::Write);
    let step = prop_oneof![
        8 => write,
        3 => (0_u16..3_000, any::<bool>()).prop_map(|(cut, old)| Step::Crash(cut, old)),
        1 => Just(Step::Restart),
        1 => prop::option::of(0_u8..20).prop_map(Step::Rule),
    ];
    prop::collection::vec(step, 1..25)
}

/// Runs the steps; with `crashes` false, nothing ever stops. Returns what was recorded and what fires.
async fn run(steps: &[Step], crashes: bool) -> (Vec<Transition>, Vec<Transition>) {
    let folder = tempfile::tempdir().unwrap();
    let building = Building::new(400);
    let open = |building: &Arc<Building>| start(config(folder.path(), &RULES, vec![]), building);
    let mut alerting = open(&building);
    let stream = folder.path().join("alerts/00000000000000000001.seg");
    let stream_bytes = || std::fs::metadata(&stream).unwrap().len();
    let mut snapshotted = stream_bytes();
    let mut states = Files::read(&folder.path().join("rule-state"));
    let (mut times, mut frame) = ([1_000_i64; 3], None);
    for step in steps {
        match step {
            Step::Write(rows) => {
                for (room, advance, value) in rows {
                    let time = &mut times[usize::from(*room)];
                    *time += i64::from(*advance);
                    let (room, value) = (format!("r{room}"), f64::from(*value));
                    frame = Some(building.write(&[Row {
                        table: "air",
                        tags: &[("room", &room)],
                        time: *time,
                        fields: &[("x", Value::Float(value))],
                    }]));
                }
            }
            Step::Crash(..) | Step::Restart if !crashes => {}
            Step::Crash(unsynced, old) => {
                drop(alerting);
                if *old {
                    states.put_back(&folder.path().join("rule-state"));
                }
                let all = stream_bytes();
                let kept = all.saturating_sub(u64::from(*unsynced)).max(snapshotted);
                std::fs::OpenOptions::new().write(true).open(&stream).unwrap().set_len(kept).unwrap();
                building.restart();
                alerting = open(&building);
                states = Files::read(&folder.path().join("rule-state"));
                snapshotted = stream_bytes();
            }
            Step::Restart => {
                alerting.stop().await.unwrap();
                drop(alerting);
                building.trim();
                building.restart();
                alerting = open(&building);
                states = Files::read(&folder.path().join("rule-state"));
                snapshotted = stream_bytes();
            }
            Step::Rule(threshold) => {
                // A change takes effect at the position of the moment: make it the same in both runs.
                if let Some(frame) = frame {
                    applied(&alerting, frame).await;
                }
                change_rule(&alerting, *threshold).await;
                snapshotted = stream_bytes();
            }
        }
    }
    building.close();
    alerting.stop().await.unwrap();
    let recorded = recorded_ids(folder.path());
    let distinct: std::collections::HashSet<_> = recorded.iter().collect();
    assert_eq!(distinct.len(), recorded.len(), "the stream holds a transition twice");
    assert_eq!(recorded.len(), alerting.history().entries().len());
    let comparable = |t: &Arc<Transition>| Transition { recorded_at: 0, ..Transition::clone(t) };
    let mut firing: Vec<_> = alerting.firing().iter().map(comparable).collect();
    firing.sort_by(|a, b| a.transition_id.cmp(&b.transition_id));
    (alerting.history().entries().iter().map(comparable).collect(), firing)
}

/// The files of a folder, to put them back.
struct Files(Vec<(std::ffi::OsString, Vec<u8>)>);

impl Files {
    fn read(folder: &std::path::Path) -> Self {
        let entries = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap());
        Self(entries.map(|e| (e.file_name(), std::fs::read(e.path()).unwrap())).collect())
    }

    fn put_back(&self, folder: &std::path::Path) {
        std::fs::remove_dir_all(folder).unwrap();
        std::fs::create_dir(folder).unwrap();
        for (name, bytes) in &self.0 {
            std::fs::write(folder.join(name), bytes).unwrap();
        }
    }
}

/// The transition ids in the alert stream's own records.
fn recorded_ids(folder: &std::path::Path) -> Vec<String> {
    let stream = Stream::open(folder.join("alerts"), StreamOptions::default()).unwrap();
    let mut ids = Vec::new();
    for record in stream.read(RecordNumber::START) {
        let record: serde_json::Value = serde_json::from_slice(&record.unwrap().payload[1..]).unwrap();
        let transitions = record["transitions"].as_array().unwrap();
        ids.extend(transitions.iter().map(|t| t["transition_id"].as_str().unwrap().to_owned()));
    }
    ids
}

async fn change_rule(alerting: &Alerting, threshold: Option<u8>) {
    match threshold {
        Some(threshold) => {
            let text = format!("{{name: c, database: office, table: air, when: x >= {threshold}, for: 1ns}}");
            alerting.put_rule(RuleSpec::from_yaml(&text).unwrap(), Expect::Any).await.unwrap();
        }
        None if alerting.rule("c").is_some() => {
            alerting.delete_rule("c", Expect::Any).await.unwrap();
        }
        None => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_kill_at_any_point_neither_loses_nor_repeats_a_transition(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (calm, calm_firing) = runtime.block_on(run(&steps, false));
        let (crashed, crashed_firing) = runtime.block_on(run(&steps, true));
        prop_assert_eq!(&crashed, &calm);
        prop_assert_eq!(crashed_firing, calm_firing);
        let mut ids: Vec<_> = crashed.iter().map(|t| &t.transition_id).collect();
        ids.sort();
        ids.dedup();
        prop_assert_eq!(ids.len(), crashed.len());
    }
}

fn rows(building: &Building, values: &[(i64, f64)]) -> storage::model::FrameNumber {
    let row = |(time, value): &(i64, f64)| {
        let fields = [("x", Value::Float(*value))];
        building.write(&[Row { table: "air", tags: &[("room", "r1")], time: *time, fields: &fields }])
    };
    values.iter().map(row).last().unwrap()
}

#[tokio::test]
async fn a_consumer_that_was_cut_off_reads_the_log_and_misses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let building = Building::new(100);
    let alerting = Alerting::open(config(folder.path(), &RULES, vec![]), building.clone()).unwrap();
    // Nobody takes these from the tap: its queue overflows.
    let waves: Vec<(i64, f64)> = (0..400).map(|i| (i * 10, f64::from(u8::from(i % 4 < 2)) * 12.0)).collect();
    rows(&building, &waves);
    alerting.start().unwrap();
    let frame = rows(&building, &[(4_000, 6.0)]);
    applied(&alerting, frame).await;
    alerting.stop().await.unwrap();
    assert!(alerting.metrics().snapshot().cut_offs > 0);
    let of = |name: &str| alerting.history().entries().iter().filter(|t| t.rule == name).count();
    assert_eq!((of("a"), of("b")), (200, 200));
    assert_eq!(building.checkpoint(), frame);
}

#[tokio::test]
async fn rules_that_hung_for_too_long_go_on_behind_the_gap_and_say_so() {
    let folder = tempfile::tempdir().unwrap();
    let building = Building::new(100);
    let alerting = Alerting::open(config(folder.path(), &RULES, vec![]), building.clone()).unwrap();
    rows(&building, &[(1, 12.0), (9, 12.0), (12, 7.0)]);
    let missed = rows(&building, &[(20, 7.0)]);
    rows(&building, &[(100, 12.0), (109, 12.0)]);
    building.let_go(missed);
    alerting.start().unwrap();
    let frame = rows(&building, &[(112, 7.0)]);
    applied(&alerting, frame).await;
    let metrics = alerting.metrics().snapshot();
    assert_eq!((metrics.gaps, metrics.gap_frames), (1, missed.get()));
    assert!(alerting.history().entries().iter().all(|t| t.started_at >= 100), "nothing is known of the gap");
    assert!(!alerting.history().entries().is_empty());
    building.close();
    alerting.stop().await.unwrap();
    building.restart();
    let alerting = start(config(folder.path(), &RULES, vec![]), &building);
    let frame = rows(&building, &[(120, 7.0)]);
    applied(&alerting, frame).await;
    assert_eq!(alerting.metrics().snapshot().gaps, 0, "it is behind the gap");
    alerting.stop().await.unwrap();
}

#[tokio::test]
async fn what_was_recorded_before_a_crash_outlives_the_frames_that_it_came_of() {
    let folder = tempfile::tempdir().unwrap();
    let building = Building::new(1 << 20);
    let alerting = start(config(folder.path(), &RULES, vec![]), &building);
    let frame = rows(&building, &[(1, 12.0), (9, 12.0)]);
    applied(&alerting, frame).await;
    let firing = alerting.firing();
    assert_eq!(firing.len(), 1);
    drop(alerting);
    building.let_go(frame);
    building.restart();
    let alerting = start(config(folder.path(), &RULES, vec![]), &building);
    assert_eq!(alerting.firing(), firing);
    let frame = rows(&building, &[(12, 7.0), (22, 7.0)]);
    applied(&alerting, frame).await;
    assert_eq!(alerting.metrics().snapshot().gaps, 1);
    assert_eq!(alerting.firing().len(), 0);
    let ids: Vec<_> = alerting.history().entries().iter().map(|t| t.transition_id.clone()).collect();
    assert_eq!(ids.len(), 2, "fired once, resolved once");
    alerting.stop().await.unwrap();
}

#[tokio::test]
async fn the_log_is_kept_until_a_snapshot_has_its_effects() {
    let folder = tempfile::tempdir().unwrap();
    let building = Building::new(1 << 20);
    let alerting = start(config(folder.path(), &RULES, vec![]), &building);
    let frame = rows(&building, &[(1, 12.0), (9, 12.0)]);
    applied(&alerting, frame).await;
    assert_eq!(building.checkpoint().get(), 0, "no snapshot since the start");
    drop(alerting);
    building.restart();
    let alerting = start(config(folder.path(), &RULES, vec![]), &building);
    assert_eq!(building.checkpoint(), frame, "a start ends with a snapshot");
    assert_eq!(alerting.history().entries().len(), 1);
    assert_eq!(alerting.firing().len(), 1);
    building.trim();
    rows(&building, &[(12, 7.0)]);
    alerting.stop().await.unwrap();
    let entries = alerting.history().entries();
    assert_eq!(entries[1].alert_id, entries[0].alert_id);
    assert_eq!(entries[1].event_time, 12);
}

#[tokio::test]
async fn streams_of_different_moments_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let building = Building::new(1 << 20);
    let alerting = start(config(folder.path(), &RULES, vec![]), &building);
    rows(&building, &[(1, 12.0), (9, 12.0)]);
    alerting.stop().await.unwrap();
    drop(alerting);
    std::fs::remove_dir_all(folder.path().join("alerts")).unwrap();
    building.restart();
    let error = Alerting::open(config(folder.path(), &RULES, vec![]), building).unwrap_err();
    assert_eq!(error.kind(), alerting::ErrorKind::Damaged, "{error}");
}

#[tokio::test]
async fn a_log_that_began_anew_is_followed_from_its_beginning() {
    let folder = tempfile::tempdir().unwrap();
    let rule = "{name: hot, database: office, table: air, when: x > 10}";
    let open = |building: &Arc<Building>| start(config(folder.path(), &[rule], vec![]), building);
    let write = |building: &Building, time: i64, value: f64| {
        let fields = [("x", Value::Float(value))];
        building.write(&[Row { table: "air", tags: &[("room", "r1")], time, fields: &fields }])
    };
    let first = Building::new(1 << 20);
    let alerting = open(&first);
    let frames: Vec<_> = (1..=5).map(|time| write(&first, time, 1.0)).collect();
    applied(&alerting, frames[4]).await;
    alerting.stop().await.unwrap();
    drop(alerting);
    // The log is wiped, the rules' streams stay; and a crash comes before the next snapshot.
    let second = Building::new(1 << 20);
    drop(open(&second));
    second.restart();
    let alerting = open(&second);
    applied(&alerting, write(&second, 6, 20.0)).await;
    until("it fires", || alerting.firing().len() == 1).await;
    alerting.stop().await.unwrap();
}
