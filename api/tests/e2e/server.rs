//! The program as a process: started, watched by its log, killed or stopped.
//!
//! Invariant: where it listens is what its log says, so no port is guessed.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use reqwest::{RequestBuilder, Response};
use serde_json::{Value, json};
use tokio::sync::watch;

/// No start, stop or answer takes this long, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(120);

/// How to start the program.
#[derive(Clone)]
pub(crate) struct Launch {
    data_dir: PathBuf,
    arguments: Vec<String>,
    variables: Vec<(String, String)>,
}

/// What the log has said so far.
#[derive(Debug, Default, Clone)]
struct Seen {
    http: Option<SocketAddr>,
    mqtt: Option<SocketAddr>,
    ready: bool,
    draining: bool,
    ended: bool,
}

/// The program with these words, and no variable of its own.
pub(crate) fn program(words: &[&str]) -> Command {
    // Another build of the program may be tested by the same tests.
    let path = std::env::var("BUSBAR_E2E_PROGRAM");
    let mut command = Command::new(path.as_deref().unwrap_or(env!("CARGO_BIN_EXE_busbar")));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("BUSBAR_")) {
        command.env_remove(name);
    }
    command.args(words);
    command
}

/// A running program; it is killed when this is dropped.
pub(crate) struct Server {
    child: Child,
    seen: watch::Receiver<Seen>,
    log: Arc<Mutex<Vec<String>>>,
    client: reqwest::Client,
    token: Option<String>,
}

/// A program that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) log: String,
}

impl Ended {
    /// Whether it was killed or has aborted.
    pub(crate) fn by_signal(&self) -> bool {
        self.status.signal().is_some()
    }
}

impl Launch {
    /// The program with its data in `data_dir`, on free ports of this machine.
    pub(crate) fn new(data_dir: &Path) -> Self {
        let this = Self { data_dir: data_dir.to_owned(), arguments: Vec::new(), variables: Vec::new() };
        this.flag("http-addr", "127.0.0.1:0").flag("mqtt-addr", "127.0.0.1:0").flag("logging-format", "json")
    }

    /// With a flag more; the first of equal flags is replaced.
    pub(crate) fn flag(mut self, name: &str, value: &str) -> Self {
        let start = format!("--{name}=");
        self.arguments.retain(|argument| !argument.starts_with(&start));
        self.arguments.push(format!("{start}{value}"));
        self
    }

    /// Without a flag.
    pub(crate) fn without(mut self, name: &str) -> Self {
        let start = format!("--{name}=");
        self.arguments.retain(|argument| !argument.starts_with(&start));
        self
    }

    /// With a variable.
    pub(crate) fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With this text as its configuration.
    pub(crate) fn config(self, text: &str) -> Self {
        let path = self.data_dir.with_extension("toml");
        std::fs::write(&path, text).unwrap();
        self.flag("config", path.to_str().unwrap())
    }

    /// The command, for what is not `serve`.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = program(words);
        command
            .arg(format!("--data-dir={}", self.data_dir.display()))
            .args(&self.arguments)
            .envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Starts it, and returns at once.
    pub(crate) fn spawn(&self) -> Server {
        let mut command = self.command(&["serve"]);
        let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, seen) = watch::channel(Seen::default());
        let log = Arc::new(Mutex::new(Vec::new()));
        let lines = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                sender.send_modify(|seen| seen.note(&line));
                lines.lock().push(line);
            }
            sender.send_modify(|seen| seen.ended = true);
        });
        let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().unwrap();
        Server { child, seen, log, client, token: None }
    }

    /// Starts it and waits until it is ready, or has ended.
    pub(crate) async fn try_start(&self) -> Result<Server, Ended> {
        let mut server = self.spawn();
        if server.is_ready().await { Ok(server) } else { Err(server.ended().await) }
    }

    /// Starts it and waits until it is ready.
    pub(crate) async fn start(&self) -> Server {
        match self.try_start().await {
            Ok(server) => server,
            Err(ended) => panic!("the program did not start: {}\n{}", ended.status, ended.log),
        }
    }
}

impl Seen {
    fn note(&mut self, line: &str) {
        let Ok(entry) = serde_json::from_str::<Value>(line) else { return };
        let addr = || entry["addr"].as_str().and_then(|text| text.parse().ok());
        match entry["message"].as_str() {
            Some("HTTP listens") => self.http = addr(),
            Some("MQTT listens") => self.mqtt = addr(),
            Some("ready") => self.ready = true,
            Some("draining") => self.draining = true,
            _ => {}
        }
    }
}

impl Server {
    /// True once it is ready, false when it has ended before.
    async fn is_ready(&mut self) -> bool {
        let settled = self.seen.wait_for(|seen| seen.ready || seen.ended);
        let waited = tokio::time::timeout(PATIENCE, settled).await.map(|seen| seen.is_ok_and(|s| !s.ended));
        let ready = waited.unwrap_or_else(|_| panic!("neither ready nor ended:\n{}", self.log()));
        if ready {
            let answer = self.get("/ready").send().await;
            // A stop that was armed may have been reached since.
            return answer.is_ok_and(|answer| answer.status() == 200);
        }
        false
    }

    pub(crate) fn http(&self) -> SocketAddr {
        self.seen.borrow().http.expect("it has said where HTTP listens")
    }

    pub(crate) fn mqtt(&self) -> SocketAddr {
        self.seen.borrow().mqtt.expect("it has said where MQTT listens")
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().join("\n")
    }

    /// Sends this token with every request from now on.
    pub(crate) fn with_token(mut self, token: &str) -> Self {
        self.token = Some(token.to_owned());
        self
    }

    pub(crate) fn request(&self, method: &str, path: &str) -> RequestBuilder {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let request = self.client.request(method, format!("http://{}{path}", self.http()));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    pub(crate) fn get(&self, path: &str) -> RequestBuilder {
        self.request("GET", path)
    }

    pub(crate) fn post(&self, path: &str, body: impl Into<reqwest::Body>) -> RequestBuilder {
        self.request("POST", path).body(body)
    }

    /// Sends JSON, and reads the answer, which must have this status.
    pub(crate) async fn json(&self, method: &str, path: &str, body: &Value, status: u16) -> Value {
        let answer = self.request(method, path).json(body).send().await.unwrap();
        let found = answer.status();
        let text = answer.text().await.unwrap();
        assert_eq!(found, status, "{method} {path}: {text}");
        serde_json::from_str(&text).unwrap_or(Value::Null)
    }

    /// Writes lines with times in nanoseconds.
    pub(crate) async fn write(&self, database: &str, lines: impl Into<reqwest::Body>) {
        let answer = self.post(&format!("/write?db={database}"), lines).send().await.unwrap();
        let status = answer.status();
        assert_eq!(status, 204, "{}", answer.text().await.unwrap());
    }

    async fn answer(&self, database: &str, sql: &str, format: &str) -> Response {
        let body = json!({ "db": database, "q": sql, "format": format });
        let answer = self.request("POST", "/api/v3/query_sql").json(&body).send().await.unwrap();
        if answer.status() != 200 {
            panic!("{sql}: {} {}", answer.status(), answer.text().await.unwrap());
        }
        answer
    }

    /// The rows of a query as objects.
    pub(crate) async fn sql(&self, database: &str, sql: &str) -> Vec<Value> {
        self.answer(database, sql, "json").await.json().await.unwrap()
    }

    /// The rows of a query as texts, without the header.
    pub(crate) async fn sql_csv(&self, database: &str, sql: &str) -> Vec<Vec<String>> {
        let text = self.answer(database, sql, "csv").await.text().await.unwrap();
        text.lines().skip(1).map(|line| line.split(',').map(str::to_owned).collect()).collect()
    }

    /// The one number that a query answers.
    pub(crate) async fn count(&self, database: &str, sql: &str) -> i64 {
        self.sql_csv(database, sql).await[0][0].parse().unwrap()
    }

    /// Kills it as `kill -9` does.
    pub(crate) async fn kill(mut self) -> Ended {
        self.child.kill().unwrap();
        self.ended().await
    }

    /// Asks it to stop, and waits until it has begun to.
    pub(crate) async fn begin_stop(&mut self) {
        let kill = format!("kill -TERM {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
        let begun = self.seen.wait_for(|seen| seen.draining || seen.ended);
        assert!(tokio::time::timeout(PATIENCE, begun).await.is_ok(), "it does not stop");
    }

    /// Stops it, which must go well.
    pub(crate) async fn stop(mut self) {
        self.begin_stop().await;
        let ended = self.ended().await;
        assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
        assert!(!ended.log.contains("panicked at"), "{}", ended.log);
    }

    /// Waits until it has ended.
    pub(crate) async fn ended(&mut self) -> Ended {
        let waited = tokio::time::timeout(PATIENCE, self.seen.wait_for(|seen| seen.ended)).await.is_ok();
        assert!(waited, "it does not end:\n{}", self.log());
        // Its standard error is closed, so this takes no time.
        Ended { status: self.child.wait().unwrap(), log: self.log() }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // One that has ended cannot be killed.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
