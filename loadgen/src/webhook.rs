//! Receives webhooks and shows them, so that a person or a test can see what an engine sends.
//!
//! Invariants:
//! - A line is printed, and in the file, before its request is answered.
//! - `repeat` counts earlier deliveries of the same key that were answered with 200; a retry after a
//!   refusal is no repeat.

use crate::delivery::Stop;
use crate::error::LoadError;
use crate::{clock, terminal};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use clap::Args;
use serde::Serialize;
use serde_json::Value;
use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::net::TcpListener;

/// Keys that are remembered: about 100 MB. Later new keys are not counted.
const MAX_KEYS: usize = 1_000_000;
/// Larger bodies get 413; an alert has a few kB.
const MAX_BODY_BYTES: usize = 4 * 1024 * 1024;

/// Options of `loadgen webhook`.
#[derive(Debug, Clone, Args)]
pub struct WebhookArgs {
    /// Address to listen on; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:9099", value_name = "HOST:PORT")]
    pub listen: SocketAddr,

    /// Append the lines to this file as well.
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,

    /// Answer 503 to the first N requests.
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub fail_first: u64,
}

/// One received request.
#[derive(Debug, Serialize)]
struct Delivery<'a> {
    at: String,
    method: &'a str,
    path: &'a str,
    idempotency_key: Option<&'a str>,
    status: u16,
    repeat: u64,
    body: Value,
}

#[derive(Debug)]
struct Receiver {
    fail_first: u64,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    requests: u64,
    accepted: u64,
    repeats: u64,
    /// Accepted deliveries by key.
    keys: HashMap<String, u64>,
    output: Option<File>,
}

/// Receives until interrupted, then says how much came.
pub async fn run(args: WebhookArgs) -> Result<bool, LoadError> {
    let output = match &args.output {
        Some(path) => {
            let file = File::options().create(true).append(true).open(path);
            Some(file.map_err(|error| LoadError::file(path, error))?)
        }
        None => None,
    };
    let receiver = Arc::new(Receiver {
        fail_first: args.fail_first,
        seen: Mutex::new(Seen { output, ..Seen::default() }),
    });
    let listener = TcpListener::bind(args.listen)
        .await
        .map_err(|error| LoadError::Network(format!("cannot listen on {}: {error}", args.listen)))?;
    let address = listener.local_addr().map_err(|error| LoadError::Network(error.to_string()))?;
    terminal::note(&format!("webhook receiver on http://{address}, Ctrl-C ends it"));
    let app = Router::new()
        .fallback(receive)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(receiver.clone());
    let stop = Stop::on_interrupt();
    axum::serve(listener, app)
        .with_graceful_shutdown(async move { stop.stopped().await })
        .await
        .map_err(|error| LoadError::Network(format!("the listener failed: {error}")))?;
    let seen = receiver.lock();
    terminal::note(&format!(
        "{} requests, {} accepted, {} keys, {} repeats",
        seen.requests,
        seen.accepted,
        seen.keys.len(),
        seen.repeats
    ));
    Ok(true)
}

async fn receive(
    State(receiver): State<Arc<Receiver>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    let key = headers.get("idempotency-key").and_then(|value| value.to_str().ok());
    let mut seen = receiver.lock();
    seen.requests += 1;
    let failing = seen.requests <= receiver.fail_first;
    let status = if failing { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    let repeat = if failing { seen.earlier(key) } else { seen.accept(key) };
    let delivery = Delivery {
        at: crate::replay::time_text::write_utc(clock::unix_ns()),
        method: method.as_str(),
        path: uri.path_and_query().map_or("/", |path| path.as_str()),
        idempotency_key: key,
        status: status.as_u16(),
        repeat,
        body: serde_json::from_slice(&body)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&body).into_owned())),
    };
    match seen.write(&delivery) {
        Ok(()) => status,
        Err(error) => {
            terminal::note(&format!("cannot write the line: {error}"));
            StatusCode::INTERNAL_SERVER_ERROR
        }
    }
}

impl Receiver {
    fn lock(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    fn earlier(&self, key: Option<&str>) -> u64 {
        key.and_then(|key| self.keys.get(key)).copied().unwrap_or(0)
    }

    fn accept(&mut self, key: Option<&str>) -> u64 {
        self.accepted += 1;
        let earlier = self.earlier(key);
        self.repeats += u64::from(earlier > 0);
        if let Some(key) = key
            && (earlier > 0 || self.keys.len() < MAX_KEYS)
        {
            self.keys.insert(key.to_owned(), earlier + 1);
        }
        earlier
    }

    fn write(&mut self, delivery: &Delivery<'_>) -> std::io::Result<()> {
        let mut line = serde_json::to_string(delivery)?;
        line.push('\n');
        terminal::result(&line);
        match &mut self.output {
            Some(file) => file.write_all(line.as_bytes()),
            None => Ok(()),
        }
    }
}
