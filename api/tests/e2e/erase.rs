//! Erasure as an operator does it: a device is deleted, `busbar erase` ends with 0, and nothing of it is in any file but
//! where the report says so; also when the engine was killed in the middle.

use std::path::Path;
use std::process::Output;

use serde_json::{Value, json};

use crate::server::{Launch, Server};

const HOST: &str = "Xq7-erased-device";
const TEXT: &str = "Zw9-erased-text";
const DAY_NS: i64 = 86_400_000_000_000;
const DAYS: i64 = 30;
/// Rows of the device that is not deleted.
const KEPT: &str = "SELECT count(*), sum(v) FROM m WHERE host = 'other'";

fn launch(data: &Path) -> Launch {
    Launch::new(data).flag("flush-bytes", "64KiB").flag("flush-age", "1s").flag("log-segment-bytes", "64KiB")
}

async fn erase(launch: &Launch, server: &Server, words: &[&str]) -> Output {
    let url = format!("http://{}", server.http());
    let mut command = launch.command(&[&["erase", "--url", &url][..], words].concat());
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

async fn erased(launch: &Launch, server: &Server) -> Value {
    let output = erase(launch, server, &["--json"]).await;
    let (out, log) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{out}{log}");
    serde_json::from_str(&out).unwrap()
}

/// Thirty days of two devices, each day twice, and an alert of the one that is deleted.
async fn live(server: &Server) {
    let rule = json!({ "name": "hot", "database": "d", "table": "watched", "when": "v > 1" });
    server.json("POST", "/api/v1/rules", &rule, 201).await;
    server.write("d", format!("watched,host={HOST} v=5,note=\"{TEXT}\" 1")).await;
    server.write("d", format!("watched,host={HOST} v=0,note=\"{TEXT}\" 2")).await;
    for version in 0..2 {
        for day in 0..DAYS {
            let mut body = String::new();
            for row in 0..20 {
                let time = day * DAY_NS + row;
                body += &format!("m,host={HOST} v={version},note=\"{TEXT}-{day}-{row}\" {time}\n");
                body += &format!("m,host=other v={version},note=\"fine\" {time}\n");
            }
            server.write("d", body).await;
        }
    }
}

async fn delete(server: &Server) {
    let body =
        json!({ "start": "1969-01-01T00:00:00Z", "stop": "1980-01-01T00:00:00Z", "tags": { "host": HOST } });
    let answer = server.post("/api/v1/databases/d/delete", body.to_string()).send().await.unwrap();
    assert_eq!(answer.status(), 204);
    for table in ["m", "watched"] {
        let found = server.count("d", &format!("SELECT count(*) FROM {table} WHERE host = '{HOST}'")).await;
        assert_eq!(found, 0, "{table}");
    }
}

/// The files in which something of the device is found, as they lie.
fn traces(root: &Path, folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(traces(root, &path));
        } else if let Ok(bytes) = std::fs::read(&path)
            && [HOST, TEXT].iter().any(|text| memchr::memmem::find(&bytes, text.as_bytes()).is_some())
        {
            found.push(path.strip_prefix(root).unwrap().to_string_lossy().into_owned());
        }
    }
    found
}

/// What the report keeps, by place.
fn kept(report: &Value, place: &str) -> usize {
    let places = report["places"].as_array().unwrap();
    let found = places.iter().find(|it| it["place"] == place);
    found.unwrap_or_else(|| panic!("{place}: {report:#}"))["kept"].as_array().unwrap().len()
}

async fn check(server: &Server, data: &Path, report: &Value) {
    assert_eq!(report["complete"], true, "{report:#}");
    let left = traces(data, data);
    // What the rules have recorded of it, and that alone; a series that they watch keeps its tags.
    let is_said = |path: &String| path.starts_with("alerting/") || path == "definitions.log";
    let unsaid: Vec<_> = left.iter().filter(|path| !is_said(path)).collect();
    assert!(unsaid.is_empty(), "{unsaid:?}: {report:#}");
    assert_eq!(kept(report, "alert history"), 1, "{report:#}");
    let others = server.sql_csv("d", KEPT).await.remove(0);
    assert_eq!(others, [(DAYS * 20).to_string(), format!("{:.1}", (DAYS * 20) as f64)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_device_is_in_no_file_but_where_the_report_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let (data, place) = (folder.path().join("data"), folder.path().join("backups"));
    let launch = launch(&data);
    let server = launch.start().await;
    live(&server).await;
    server.stop().await;
    let server = launch.start().await;
    server.write("d", format!("m,host={HOST} v=3,note=\"{TEXT}-memory\" 7")).await;
    server.json("POST", "/api/v1/erasures", &json!({ "database": "nowhere" }), 404).await;
    delete(&server).await;
    let before = traces(&data, &data);
    assert!(before.iter().any(|path| path.starts_with("log/")), "{before:?}");
    assert!(before.iter().any(|path| path.contains("_delta_log/")), "{before:?}");

    let url = format!("http://{}", server.http());
    let mut command = launch.command(&["backup", "--to", place.to_str().unwrap(), "--url", &url]);
    assert!(tokio::task::spawn_blocking(move || command.output().unwrap().status.success()).await.unwrap());
    let report = erased(&launch, &server).await;
    check(&server, &data, &report).await;
    assert_eq!(kept(&report, "backups"), 1, "{report:#}");
    let jobs = server.json("GET", "/api/v1/erasures", &Value::Null, 200).await;
    assert_eq!(jobs["items"][0]["status"], "done");
    let text = erase(&launch, &server, &["--backups", place.to_str().unwrap()]).await;
    let text = String::from_utf8(text.stdout).unwrap();
    for part in ["erased: nothing", "not proven:", "kept: ", place.to_str().unwrap()] {
        assert!(text.contains(part), "{part}: {text}");
    }
    server.stop().await;
    let server = launch.start().await;
    check(&server, &data, &report).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_is_killed_in_the_middle_is_erased_by_the_next_try() {
    for stop in ["erasure-after-data-files", "history-before-removal", "erasure-before-overwriting"] {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let launch = launch(&data);
        let mut server = launch.clone().variable("BUSBAR_KILL_AT", stop).start().await;
        live(&server).await;
        delete(&server).await;
        let killed = erase(&launch, &server, &[]).await;
        assert_eq!(killed.status.code(), Some(1), "{stop}");
        assert!(server.ended().await.by_signal(), "{stop}");
        let server = launch.start().await;
        let report = erased(&launch, &server).await;
        check(&server, &data, &report).await;
        server.stop().await;
    }
}
