//! Lines that cannot be stored and the real program: named by an id in the words of each client, kept across a kill
//! and a backup, stored when their cause is gone, bounded.

use std::path::Path;
use std::process::Output;

use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS};
use serde_json::{Value, json};

use crate::server::{Launch, Server};

async fn refused(server: &Server, path: &str, body: &str, status: u16) -> Value {
    let answer = server.post(path, body.to_owned()).send().await.unwrap();
    let found = answer.status();
    let text = answer.text().await.unwrap();
    assert_eq!(found, status, "{path}: {text}");
    serde_json::from_str(&text).unwrap()
}

async fn publish(server: &Server, topic: &str, body: &str) {
    let options = MqttOptions::new("adapter", server.mqtt().ip().to_string(), server.mqtt().port());
    let (client, mut events) = AsyncClient::new(options, 10);
    client.publish(topic, QoS::AtLeastOnce, false, body).await.unwrap();
    while !matches!(events.poll().await.unwrap(), Event::Incoming(Packet::PubAck(_))) {}
}

async fn ids(server: &Server, query: &str) -> Vec<u64> {
    let path = format!("/api/v1/quarantine?{query}");
    let page = server.json("GET", &path, &Value::Null, 200).await;
    page["items"].as_array().unwrap().iter().map(|line| line["id"].as_u64().unwrap()).collect()
}

/// Runs a command to its end; its exit code and what it printed.
async fn command(launch: &Launch, words: &[&str]) -> (i32, String) {
    let mut command = launch.command(words);
    let Output { status, stdout, stderr } =
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let text = String::from_utf8(stdout).unwrap() + &String::from_utf8_lossy(&stderr);
    (status.code().unwrap(), text)
}

/// Sends lines that do not fit by every way there is: five stay, `1` to `5`.
async fn send_bad_lines(server: &Server) {
    server.write("d", "room,host=a v=1 1").await;
    let body = refused(server, "/write?db=d", "room,host=a v=2 2\nroom,host=a v=\"x\" 3", 400).await;
    assert_eq!(body["quarantined"], json!([{ "line": 2, "id": 1 }]));
    assert!(body["error"].as_str().unwrap().contains("exists as type float (in quarantine as 1) dropped=1"));
    let body = refused(server, "/api/v2/write?bucket=d&org=o", "room,host=a v=\"y\" 4", 422).await;
    assert_eq!(body["quarantined"], json!([{ "line": 1, "id": 2 }]));
    let path = "/api/v3/write_lp?db=d&precision=nanosecond";
    let body = refused(server, path, "room,host=a v=\"z\" 5\nroom,host=a v=3 6", 400).await;
    assert_eq!((&body["data"][0]["quarantine_id"], &body["data"][0]["line_number"]), (&json!(3), &json!(1)));

    // Where nothing is written, nothing is kept: the client has it all.
    let body = refused(server, "/api/v2/write?bucket=d&org=o", "room v=\"y\" 4\nroom v=", 400).await;
    assert!(body["quarantined"].is_null());
    let strict = format!("{path}&accept_partial=false");
    let body = refused(server, &strict, "room v=\"y\" 4\nroom v=1 5", 400).await;
    assert!(body["data"]["quarantine_id"].is_null());

    // Who publishes does not hear of it, so what does not parse is kept too.
    publish(server, "busbar/d/lp", "room,host=b v=4 7\nroom,host=b v=\"m\" 8\nnonsense").await;
    assert_eq!(server.count("d", "SELECT count(*) FROM room").await, 4, "the rest is stored");
}

async fn check_kept(server: &Server) {
    let sql = "SELECT id, \"table\", reason, protocol, line FROM system.quarantine ORDER BY id";
    let rows = server.sql("d", sql).await;
    let row = |id, reason, protocol, line: &str| {
        let table = if reason == "parse" { Value::Null } else { json!("room") };
        json!({ "id": id, "table": table, "reason": reason, "protocol": protocol, "line": line })
    };
    let expected = [
        row(1, "type_conflict", "v1", "room,host=a v=\"x\" 3"),
        row(2, "type_conflict", "v2", "room,host=a v=\"y\" 4"),
        row(3, "type_conflict", "v3", "room,host=a v=\"z\" 5"),
        row(4, "type_conflict", "mqtt", "room,host=b v=\"m\" 8"),
        row(5, "parse", "mqtt", "nonsense"),
    ];
    // JSON leaves out what is null.
    let without_null = |mut row: Value| {
        row.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        row
    };
    assert_eq!(rows.into_iter().map(without_null).collect::<Vec<_>>(), expected.map(without_null));
    assert_eq!(ids(server, "limit=2").await, [1, 2]);
    assert_eq!(ids(server, "limit=2&cursor=2").await, [3, 4]);
    assert_eq!(ids(server, "cursor=5").await, [0; 0]);
    assert_eq!(ids(server, "reason=parse&database=d").await, [5]);
    assert_eq!(ids(server, "database=other").await, [0; 0]);
    assert_eq!(ids(server, "since=2000-01-01T00:00:00Z").await.len(), 5);
    assert_eq!(ids(server, "since=2200-01-01T00:00:00Z").await.len(), 0);
}

async fn check_hostile(server: &Server) {
    for (method, path, status) in [
        ("GET", "/0", 404),
        ("GET", "/18446744073709551615", 404),
        ("GET", "/18446744073709551616", 400),
        ("GET", "/-1", 400),
        ("DELETE", "/..%2f1", 400),
        ("GET", "?limit=0", 400),
        ("GET", "?limit=1001", 400),
        ("GET", "?cursor=x", 400),
        ("GET", "?since=yesterday", 400),
        ("GET", "?unknown=1", 400),
        ("DELETE", "", 400),
        ("DELETE", "/999", 404),
        ("POST", "/1", 405),
        ("POST", "/replay", 415),
        ("POST", "/1/replay", 415),
    ] {
        let answer = server.request(method, &format!("/api/v1/quarantine{path}")).send().await.unwrap();
        assert_eq!(answer.status(), status, "{method} {path}");
    }
    let many = json!({ "limit": 1_000_000 });
    server.json("POST", "/api/v1/quarantine/replay", &many, 400).await;
    server.json("POST", "/api/v1/quarantine/99/replay", &json!({}), 404).await;
}

/// Leaves nothing of a data directory but its quarantine.
fn begin_anew(data: &Path) {
    for entry in std::fs::read_dir(data).unwrap().map(Result::unwrap) {
        match entry.file_type().unwrap().is_dir() {
            _ if entry.file_name() == "quarantine" => {}
            true => std::fs::remove_dir_all(entry.path()).unwrap(),
            false => std::fs::remove_file(entry.path()).unwrap(),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_does_not_fit_is_kept_across_kill_and_backup_and_stored_when_it_fits() {
    let folder = tempfile::tempdir().unwrap();
    let (data, place, copied) =
        (folder.path().join("data"), folder.path().join("place"), folder.path().join("copy"));
    let launch = Launch::new(&data);
    let server = launch.start().await;
    send_bad_lines(&server).await;
    check_kept(&server).await;
    let metrics = server.get("/metrics").send().await.unwrap().text().await.unwrap();
    for line in [
        "busbar_quarantined_lines_total{reason=\"type_conflict\"} 4",
        "busbar_quarantine_lines 5",
        "busbar_ingest_rejected_rows_total{protocol=\"mqtt\",reason=\"parse\"} 1",
    ] {
        assert!(metrics.contains(line), "{line}:\n{metrics}");
    }
    server.kill().await;

    let server = launch.start().await;
    check_kept(&server).await;
    check_hostile(&server).await;
    let url = format!("--url=http://{}", server.http());
    let (code, text) = command(&launch, &["backup", "--to", place.to_str().unwrap(), &url]).await;
    assert_eq!(code, 0, "{text}");
    let (code, text) = command(&launch, &["quarantine", "replay", "--all", &url]).await;
    assert_eq!((code, text.as_str()), (1, "0 stored, 5 refused again\n"));
    server.stop().await;
    assert_eq!(command(&launch, &["verify"]).await.0, 0);

    let copy = Launch::new(&copied);
    let (code, text) = command(&copy, &["restore", "--from", place.to_str().unwrap()]).await;
    assert_eq!(code, 0, "{text}");
    let server = copy.start().await;
    check_kept(&server).await;
    server.stop().await;

    // The cause goes: an engine in which the field may be text.
    begin_anew(&data);
    let server = launch.start().await;
    let url = format!("--url=http://{}", server.http());
    let one = server.json("POST", "/api/v1/quarantine/2/replay", &json!({}), 200).await;
    assert_eq!(one, json!({ "stored": 1, "refused": 0, "next": null }));
    let words = ["quarantine", "replay", "--reason", "type_conflict", &url];
    let (code, text) = command(&launch, &words).await;
    assert_eq!((code, text.as_str()), (0, "3 stored, 0 refused again\n"));
    let rows = server.sql_csv("d", "SELECT v, host FROM room ORDER BY time").await;
    assert_eq!(rows, [["x", "a"], ["y", "a"], ["z", "a"], ["m", "b"]]);
    server.kill().await;
    let server = launch.start().await;
    let url = format!("--url=http://{}", server.http());
    assert_eq!(ids(&server, "").await, [5], "what was stored has left, what was not stays");
    let (code, text) = command(&launch, &["quarantine", "list", &url]).await;
    assert!(code == 0 && text.starts_with("5  ") && text.ends_with("  d  parse  nonsense\n"), "{text}");
    let (code, text) = command(&launch, &["quarantine", "show", "5", &url]).await;
    assert!(code == 0 && text.contains("\"line\": \"nonsense\""), "{text}");
    let (code, text) = command(&launch, &["quarantine", "drop", "5", &url]).await;
    assert_eq!((code, text.as_str()), (0, "1 dropped\n"));
    assert_eq!(command(&launch, &["quarantine", "show", "5", &url]).await.0, 1);
    assert_eq!(command(&launch, &["quarantine", "drop", "--all", &url]).await, (0, "0 dropped\n".to_owned()));
    let body = refused(&server, "/write?db=d", "room,host=a v=1 9", 400).await;
    assert_eq!(body["quarantined"][0]["id"], 6, "no id is used twice");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_quarantine_says_so_and_the_good_lines_are_stored() {
    let folder = tempfile::tempdir().unwrap();
    let launch = Launch::new(&folder.path().join("data")).flag("quarantine-max-bytes", "2KiB");
    let server = launch.start().await;
    server.write("d", "room v=1 1").await;
    let lines: Vec<String> = (2..40).map(|at| format!("room v=\"x\" {at}\nroom v={at} {at}")).collect();
    let body = refused(&server, "/write?db=d", &lines.join("\n"), 400).await;
    let kept = body["quarantined"].as_array().unwrap().len();
    assert!((1..8).contains(&kept), "{kept} lines");
    assert!(body["error"].as_str().unwrap().contains("(not kept: the quarantine is full)"));
    assert_eq!(ids(&server, "").await.len(), kept);
    assert_eq!(server.count("d", "SELECT count(*) FROM room").await, 39);
    server.json("DELETE", "/api/v1/quarantine?database=d", &Value::Null, 200).await;
    let body = refused(&server, "/write?db=d", "room v=\"x\" 50", 400).await;
    assert_eq!(body["quarantined"][0]["id"], kept as u64 + 1, "there is room again");
    server.stop().await;
}

/// All bytes of the files of a folder.
fn bytes_below(folder: &Path) -> Vec<u8> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| if path.is_dir() { bytes_below(&path) } else { std::fs::read(path).unwrap() })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delete_takes_lines_of_its_rows_along_and_no_byte_of_them_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let launch = Launch::new(&data);
    let server = launch.start().await;
    server.write("d", "room,host=a v=1 1").await;
    refused(&server, "/write?db=d", "room,host=a v=\"unmistakable of a\" 2", 400).await;
    refused(&server, "/write?db=d", "room,host=b v=\"unmistakable of b\" 3", 400).await;
    let body = json!({
        "start": "1970-01-01T00:00:00Z", "stop": "1970-01-02T00:00:00Z", "tags": { "host": "a" },
    });
    let answer = server.post("/api/v1/databases/d/delete", body.to_string()).send().await.unwrap();
    assert_eq!(answer.status(), 204);
    assert_eq!(ids(&server, "").await, [2]);
    server.stop().await;
    let bytes = bytes_below(&data.join("quarantine"));
    let holds = |text: &[u8]| bytes.windows(text.len()).any(|window| window == text);
    assert!(holds(b"unmistakable of b") && !holds(b"unmistakable of a"));
}
