//! A receiver of webhooks that keeps what it gets.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::post;
use axum::{Json, Router};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::watch;

/// No webhook takes this long.
const PATIENCE: Duration = Duration::from_secs(120);

/// Listens from its start to the end of the test.
pub(crate) struct Receiver {
    addr: SocketAddr,
    kept: Arc<Kept>,
}

#[derive(Default)]
struct Kept {
    /// Idempotency key and body, in the order of arrival.
    requests: Mutex<Vec<(String, Value)>>,
    distinct: watch::Sender<usize>,
}

impl Receiver {
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let kept = Arc::<Kept>::default();
        let router = Router::new().route("/hook", post(keep)).with_state(Arc::clone(&kept));
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { addr, kept }
    }

    /// The receiver called `local`, as the configuration names it.
    pub(crate) fn config(&self) -> String {
        let url = format!("http://{}/hook", self.addr);
        format!("[[webhooks]]\nname = \"local\"\nurl = \"{url}\"\nallow_private = true\n")
    }

    /// How many requests came.
    pub(crate) fn requests(&self) -> usize {
        self.kept.requests.lock().len()
    }

    /// The bodies by idempotency key; two bodies of one key must be equal.
    pub(crate) fn by_key(&self) -> BTreeMap<String, Value> {
        let mut by_key = BTreeMap::new();
        for (key, body) in self.kept.requests.lock().iter() {
            let first = by_key.entry(key.clone()).or_insert_with(|| body.clone());
            assert_eq!(first, body, "one key, two bodies");
        }
        by_key
    }

    /// Waits until this many different keys came.
    pub(crate) async fn wait_for(&self, count: usize) {
        let mut distinct = self.kept.distinct.subscribe();
        let waited = tokio::time::timeout(PATIENCE, distinct.wait_for(|n| *n >= count)).await;
        assert!(waited.is_ok(), "{} of {count} webhooks came", self.by_key().len());
    }
}

async fn keep(State(kept): State<Arc<Kept>>, headers: HeaderMap, Json(body): Json<Value>) {
    let key = headers["idempotency-key"].to_str().unwrap().to_owned();
    let mut requests = kept.requests.lock();
    requests.push((key, body));
    let distinct = requests.iter().map(|(key, _)| key).collect::<std::collections::BTreeSet<_>>().len();
    // Under the lock: of two requests at a time the one that counted less must not be the last to say so.
    kept.distinct.send_replace(distinct);
}
