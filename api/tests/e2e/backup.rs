//! Backup and restore as an operator does them: of an engine that runs and of one that is stopped.

use std::path::Path;
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use serde_json::{Value, json};

use crate::server::{Launch, Server};

/// Rows between two changes of the alert's state.
const ROWS_OF_A_STATE: i64 = 3;

fn launch(data: &Path) -> Launch {
    // Small, so that flushes, commits and trims happen meanwhile.
    Launch::new(data).flag("flush-bytes", "64KiB").flag("flush-age", "1s").flag("log-segment-bytes", "64KiB")
}

/// Runs a command to its end.
async fn done(launch: &Launch, words: &[&str]) -> Output {
    let mut command = launch.command(words);
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

/// Runs a command that must go well; what it printed.
async fn printed(launch: &Launch, words: &[&str]) -> String {
    let output = done(launch, words).await;
    assert_eq!(output.status.code(), Some(0), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn line(row: i64) -> String {
    let hot = row / ROWS_OF_A_STATE % 2 * 2;
    format!("m,device=a i={row}i,f={hot} {}", row + 1)
}

/// Writes one row after the other until it is told to stop; `written` is the last one that was acknowledged.
fn write_on(server: &Server, written: Arc<AtomicI64>, stop: Arc<AtomicBool>) -> tokio::task::JoinHandle<()> {
    let url = format!("http://{}/write?db=d", server.http());
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    tokio::spawn(async move {
        let mut row = written.load(Ordering::Acquire) + 1;
        while !stop.load(Ordering::Relaxed) {
            let answer = client.post(&url).body(line(row)).send().await.unwrap();
            assert_eq!(answer.status(), 204);
            written.store(row, Ordering::Release);
            row += 1;
        }
    })
}

/// All rows from the first to the last one are there, each alert transition that they caused is recorded once, and the
/// last row is returned.
async fn check(server: &Server) -> i64 {
    let found = server.sql_csv("d", "SELECT count(*), count(DISTINCT i), max(i) FROM m").await.remove(0);
    let [rows, distinct, last] = [0, 1, 2].map(|at| found[at].parse::<i64>().unwrap());
    assert_eq!((rows, distinct), (last + 1, last + 1), "a prefix of what was written");
    let sql = "SELECT count(*), count(DISTINCT transition_id) FROM alerts.history";
    let found = server.sql_csv("d", sql).await.remove(0);
    let expected = (last / ROWS_OF_A_STATE).to_string();
    assert_eq!(found, [expected.clone(), expected], "each transition once, after row {last}");
    last
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_of_a_running_engine_comes_back_with_rows_registry_rules_and_each_alert_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (place, other) = (path("backups"), path("other"));
    let (place, other) = (place.to_str().unwrap(), other.to_str().unwrap());
    let original = launch(&path("data"));
    let server = original.start().await;
    let rule = json!({ "name": "hot", "database": "d", "table": "m", "when": "f > 1" });
    server.json("POST", "/api/v1/rules", &rule, 201).await;
    let building = server.json("POST", "/api/v1/buildings", &json!({ "name": "Town hall" }), 201).await;
    let (written, stop) = (Arc::new(AtomicI64::new(-1)), Arc::new(AtomicBool::new(false)));
    let writer = write_on(&server, Arc::clone(&written), Arc::clone(&stop));
    while written.load(Ordering::Acquire) < 100 {
        tokio::task::yield_now().await;
    }
    let before = written.load(Ordering::Acquire);
    let url = format!("http://{}", server.http());
    let id = printed(&original, &["backup", "--to", place, "--url", &url]).await;
    let second = printed(&original, &["backup", "--to", place, "--url", &url, "--keep", "2"]).await;
    assert!(id < second);
    let jobs = server.json("GET", "/api/v1/backups", &Value::Null, 200).await;
    assert_eq!(
        (&jobs["items"][0]["status"], &jobs["items"][0]["backup"]),
        (&json!("done"), &json!(second.trim()))
    );
    server.json("GET", "/api/v1/backups/9", &Value::Null, 404).await;
    let nowhere = server.json("POST", "/api/v1/backups", &json!({ "to": "relative" }), 400).await;
    assert_eq!(nowhere["code"], "bad_place");
    let inside = path("data").join("backups");
    let refused = done(&original, &["backup", "--to", inside.to_str().unwrap(), "--url", &url]).await;
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("lie within one another"));
    stop.store(true, Ordering::Relaxed);
    writer.await.unwrap();
    server.kill().await;

    let listed = printed(&original, &["backup", "list", place]).await;
    assert_eq!(
        listed.lines().map(|line| line.split("  ").next().unwrap()).collect::<Vec<_>>(),
        [id.trim(), second.trim()]
    );
    let copy = launch(&path("copy"));
    printed(&copy, &["restore", "--from", &format!("{place}/{}", id.trim())]).await;
    let again = done(&copy, &["restore", "--from", place]).await;
    assert_eq!(again.status.code(), Some(1), "nothing is overwritten");
    printed(&copy, &["verify"]).await;

    let server = copy.start().await;
    let last = check(&server).await;
    assert!(last >= before, "row {before} was acknowledged before the backup began, the last one is {last}");
    let address = format!("/api/v1/buildings/{}", building["id"].as_str().unwrap());
    let found = server.json("GET", &address, &Value::Null, 200).await;
    assert_eq!(found["name"], "Town hall");
    server.json("GET", "/api/v1/rules/hot", &Value::Null, 200).await;
    for row in last + 1..last + 50 {
        server.write("d", line(row)).await;
    }
    server.stop().await;
    let server = copy.start().await;
    assert_eq!(check(&server).await, last + 49);
    server.kill().await;

    // Nothing runs there: the directory is read by the command itself.
    printed(&copy, &["backup", "--to", other]).await;
    let third = launch(&path("third"));
    printed(&third, &["restore", "--from", other, "--at", "2100-01-01T00:00:00Z"]).await;
    let server = third.start().await;
    assert_eq!(check(&server).await, last + 49);
    server.stop().await;
}
