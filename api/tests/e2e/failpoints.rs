//! The program ends itself at a named stop between two steps of commit, flush or rules; what was acknowledged is
//! there afterwards, and alert transitions are neither lost nor repeated.
//!
//! One test per stop: (1) write, then `kill -9`, so that the next start has something to replay; (2) start with the
//! stop armed and write until the program ends, at its start or later; (3) start, compare, write on, stop in order,
//! start and compare once more.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::journal::{self, Journal, Way};
use crate::receiver::Receiver;
use crate::server::{Launch, Server};

const MINUTE_NS: i64 = 60_000_000_000;
const START_NS: i64 = 1_700_000_000_000_000_000;
const ROOMS: i64 = 3;
/// Minutes of one body, and of each of the three parts.
const BODY: i64 = 10;
const PART: i64 = 200;

/// CO2 of a room at a minute: a saw tooth between 600 and 1,400 ppm, each room with its own period.
fn co2(room: i64, minute: i64) -> i64 {
    let period = 40 + 7 * room;
    let phase = minute % period;
    600 + 1_600 * phase.min(period - phase) / period
}

/// State, event time and start in minutes of each transition of a room by `co2 > 1000 for 5m, clear co2 < 900`.
fn expected(room: i64) -> Vec<(&'static str, i64, i64)> {
    let (mut transitions, mut since, mut firing) = (Vec::new(), None, false);
    for minute in 0..3 * PART {
        let value = co2(room, minute);
        if firing && value < 900 {
            transitions.push(("resolved", minute, since.take().unwrap()));
            firing = false;
        } else if !firing {
            since = (value > 1_000).then(|| since.unwrap_or(minute));
            if since.is_some_and(|since| minute - since >= 5) {
                transitions.push(("firing", minute, since.unwrap()));
                firing = true;
            }
        }
    }
    transitions
}

/// Writes CO2 in order, body after body; a body that was not acknowledged is written again.
struct Rooms {
    minute: i64,
    /// Bodies that were not acknowledged, and so may be stored twice.
    in_doubt: i64,
}

impl Rooms {
    /// Writes up to a minute; false when the server is gone before.
    async fn write(&mut self, http: SocketAddr, until: i64) -> bool {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let url = format!("http://{http}/write?db=office");
        while self.minute < until {
            let mut body = String::new();
            for minute in self.minute..self.minute + BODY {
                for room in 0..ROOMS {
                    let time = START_NS + minute * MINUTE_NS;
                    body += &format!("air,room={room} co2={}i {time}\n", co2(room, minute));
                }
            }
            match client.post(&url).body(body).send().await {
                Ok(answer) => assert_eq!(answer.status(), 204),
                Err(_) => {
                    self.in_doubt += 1;
                    return false;
                }
            }
            self.minute += BODY;
        }
        true
    }
}

fn rule(revision: usize) -> Value {
    json!({
        "name": "stuffy", "database": "office", "table": "air", "when": "co2 > 1000", "for": "5m",
        "clear": "co2 < 900", "webhooks": ["local"], "annotations": { "revision": revision.to_string() },
    })
}

/// Changes the rule again and again, each time with a snapshot of the rules' state, until the server is gone.
async fn change_rules(http: SocketAddr) {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    for revision in 1.. {
        let put = client.put(format!("http://{http}/api/v1/rules/stuffy")).header("if-match", "*");
        let Ok(answer) = put.json(&rule(revision)).send().await else { return };
        assert_eq!(answer.status(), 200);
    }
}

/// History by SQL and webhooks hold each transition once.
async fn check_alerts(server: &Server, receiver: &Receiver) {
    let mut all: Vec<(String, String, i64, i64)> = Vec::new();
    for room in 0..ROOMS {
        let time = |minute: i64| START_NS + minute * MINUTE_NS;
        let row = |(state, event, start): (&str, i64, i64)| {
            (format!("air,room={room}"), state.to_owned(), time(event), time(start))
        };
        all.extend(expected(room).into_iter().map(row));
    }
    all.sort();
    assert!(all.len() >= 50, "{}", all.len());
    // The rules follow the writes; the last webhook says that they have caught up.
    receiver.wait_for(all.len()).await;
    let sql = "SELECT subject, state, CAST(event_time AS BIGINT) AS event, CAST(started_at AS BIGINT) AS start, \
               transition_id FROM alerts.history";
    let history = server.sql("office", sql).await;
    let text = |row: &Value, name: &str| row[name].as_str().unwrap().to_owned();
    let nanos = |row: &Value, name: &str| row[name].as_i64().unwrap();
    let mut found: Vec<_> = history
        .iter()
        .map(|row| (text(row, "subject"), text(row, "state"), nanos(row, "event"), nanos(row, "start")))
        .collect();
    found.sort();
    assert_eq!(found, all);
    let recorded: BTreeSet<String> = history.iter().map(|row| text(row, "transition_id")).collect();
    assert_eq!(recorded.len(), all.len());
    let told = receiver.by_key();
    let ids: BTreeSet<String> = told.values().map(|body| text(body, "transition_id")).collect();
    assert_eq!(told.len(), all.len(), "one key per transition");
    assert_eq!(ids, recorded);
}

/// The files of the table hold each row once. SQL alone would not show a row that was committed twice, because the
/// last write wins; other readers of the table would.
async fn check_files(server: &Server, rooms: &Rooms) {
    let sql = "SELECT sum(rows) FROM system.files WHERE \"table\" = 'air' AND place = 'table'";
    let found = server.count("office", sql).await;
    let written = ROOMS * 3 * PART;
    let most = written + rooms.in_doubt * ROOMS * BODY;
    assert!((written..=most).contains(&found), "{found} rows in files, {written} written, at most {most}");
}

async fn survives_an_end_at(stop: &str) {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::start().await;
    let launch = Launch::new(&folder.path().join("data"))
        .config(&receiver.config())
        .flag("flush-bytes", "128KiB")
        .flag("flush-age", "1s")
        .flag("log-segment-bytes", "64KiB");
    let ways = [Way::HttpV1, Way::HttpV3];
    let mut journals: Vec<Journal> =
        ways.into_iter().enumerate().map(|(at, way)| Journal::new(at, way, 7, 50)).collect();
    let mut rooms = Rooms { minute: 0, in_doubt: 0 };

    let server = launch.start().await;
    server.json("POST", "/api/v1/rules", &rule(0), 201).await;
    journals = journal::join(journal::write_all(journals, &server, 20)).await;
    assert!(rooms.write(server.http(), PART).await);
    server.kill().await;

    let ended = match launch.clone().variable("BUSBAR_KILL_AT", stop).try_start().await {
        Err(ended) => ended,
        Ok(mut server) => {
            let writers = journal::write_all(journals, &server, usize::MAX);
            let changes = tokio::spawn(change_rules(server.http()));
            rooms.write(server.http(), 2 * PART).await;
            let ended = server.ended().await;
            changes.await.unwrap();
            journals = journal::join(writers).await;
            ended
        }
    };
    assert!(ended.by_signal() && ended.log.contains("ending at the named stop"), "{}", ended.log);
    println!("{stop}: {}", if ended.log.contains("\"ready\"") { "while running" } else { "while starting" });

    let server = launch.start().await;
    journal::check(&server, &mut journals).await;
    journals = journal::join(journal::write_all(journals, &server, 10)).await;
    assert!(rooms.write(server.http(), 3 * PART).await);
    check_alerts(&server, &receiver).await;
    journal::check(&server, &mut journals).await;
    server.stop().await;
    let server = launch.start().await;
    check_alerts(&server, &receiver).await;
    check_files(&server, &rooms).await;
    journal::check(&server, &mut journals).await;
    server.stop().await;
}

macro_rules! stops {
    ($($test:ident: $stop:literal,)*) => {
        /// The stops, in the order in which a row passes them.
        mod nothing_is_lost_or_repeated_by_an_end_at {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                super::survives_an_end_at($stop).await;
            })*
        }
    };
}

// The counts let an end fall into running, not only into the first step after the start.
stops! {
    log_before_sync: "log-before-sync:10",
    log_after_sync: "log-after-sync:10",
    parquet_written: "parquet-written:2",
    object_put_before_rename: "object-put-before-rename:3",
    object_put_before_folder_sync: "object-put-before-folder-sync:3",
    staged_before_manifest: "staged-before-manifest:2",
    staged_after_manifest: "staged-after-manifest:2",
    published_after_put: "published-after-put:2",
    published_before_commit: "published-before-commit:2",
    delta_before_commit: "delta-before-commit:2",
    delta_after_commit: "delta-after-commit:2",
    published_after_commit: "published-after-commit:2",
    log_before_trim: "log-before-trim",
    log_before_a_second_trim: "log-before-trim:2",
    rules_before_record: "rules-before-record",
    rules_after_record: "rules-after-record",
    rules_before_snapshot_at_the_start: "rules-before-snapshot",
    rules_after_snapshot_at_the_start: "rules-after-snapshot",
    rules_after_checkpoint_at_the_start: "rules-after-checkpoint",
    rules_before_snapshot: "rules-before-snapshot:3",
    rules_after_snapshot: "rules-after-snapshot:3",
    rules_after_checkpoint: "rules-after-checkpoint:3",
    notify_before_outcome: "notify-before-outcome",
    stream_before_rename: "stream-before-rename:2",
    stream_after_rename: "stream-after-rename:2",
    stream_after_sync: "stream-after-sync:5",
    stream_trim: "stream-trim:2",
}
