//! `loadgen webhook`.

use crate::run::command;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use tempfile::TempDir;

struct Receiver {
    child: Child,
    url: String,
    lines: BufReader<std::process::ChildStdout>,
}

impl Receiver {
    fn start(options: &[&str]) -> Self {
        let mut command = command();
        command.args(["webhook", "--listen", "127.0.0.1:0"]).args(options);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut first = String::new();
        BufReader::new(child.stderr.take().unwrap()).read_line(&mut first).unwrap();
        let url =
            first.split_whitespace().find(|word| word.starts_with("http://")).unwrap().trim_end_matches(',');
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { url: url.to_owned(), child, lines }
    }

    async fn post(&mut self, path: &str, key: &str, body: &str) -> (u16, Value) {
        let request =
            reqwest::Client::builder().no_proxy().build().unwrap().post(format!("{}{path}", self.url));
        let status =
            request.header("Idempotency-Key", key).body(body.to_owned()).send().await.unwrap().status();
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        (status.as_u16(), serde_json::from_str(&line).unwrap())
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_request_is_one_line_and_repeated_keys_are_counted() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("alerts.jsonl");
    let mut receiver = Receiver::start(&["--output", file.to_str().unwrap()]);
    let (status, line) = receiver.post("/alert?x=1", "k1", r#"{"state":"firing"}"#).await;
    assert_eq!(status, 200);
    assert_eq!(line["method"], "POST");
    assert_eq!(line["path"], "/alert?x=1");
    assert_eq!(line["idempotency_key"], "k1");
    assert_eq!(line["body"], json!({"state": "firing"}));
    assert_eq!(line["repeat"], 0);
    assert_eq!(receiver.post("/", "k1", "not json\n").await.1["repeat"], 1);
    let (_, third) = receiver.post("/", "k2", "not json\n").await;
    assert_eq!((&third["repeat"], &third["body"]), (&json!(0), &json!("not json\n")));
    let kept = std::fs::read_to_string(&file).unwrap();
    assert_eq!(kept.lines().count(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_requests_fail_as_told_and_a_retry_is_no_repeat() {
    let mut receiver = Receiver::start(&["--fail-first", "2"]);
    let mut statuses = Vec::new();
    for _ in 0..4 {
        let (status, line) = receiver.post("/", "k", "{}").await;
        assert_eq!(line["status"], status);
        statuses.push((status, line["repeat"].as_u64().unwrap()));
    }
    assert_eq!(statuses, [(503, 0), (503, 0), (200, 0), (200, 1)]);
}
