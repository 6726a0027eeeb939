//! A real HTTP/1.1 receiver, small enough to see through.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use alerting::notify::WebhookConfig;
use parking_lot::Mutex;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// One request.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) headers: HashMap<String, String>,
    pub(crate) raw: Vec<u8>,
}

impl Request {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.raw).unwrap()
    }

    pub(crate) fn key(&self) -> &str {
        &self.headers["idempotency-key"]
    }
}

/// What to answer: a status line with headers, or nothing at all.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    Status(&'static str),
    Hang,
}

type Script = Box<dyn Fn(usize, &Request) -> Reply + Send + Sync>;

pub(crate) struct Receiver {
    address: SocketAddr,
    inner: Arc<Inner>,
}

struct Inner {
    requests: Mutex<Vec<Request>>,
    count: watch::Sender<usize>,
    script: Script,
}

impl Receiver {
    /// Listens; `script` gets the number of the request, from 0, and the request.
    pub(crate) async fn start(script: impl Fn(usize, &Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let inner = Arc::new(Inner {
            requests: Mutex::default(),
            count: watch::Sender::new(0),
            script: Box::new(script),
        });
        let server = Arc::clone(&inner);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&server)));
            }
        });
        Self { address, inner }
    }

    pub(crate) async fn ok() -> Self {
        Self::start(|_, _| Reply::Status("200 OK")).await
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/hook?token=s3cret", self.address)
    }

    pub(crate) fn webhook(&self, name: &str) -> WebhookConfig {
        WebhookConfig { name: name.into(), url: self.url(), secret: None, allow_private: true }
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.inner.requests.lock().clone()
    }

    /// Waits for this many requests.
    pub(crate) async fn wait_for(&self, count: usize) -> Vec<Request> {
        let mut counted = self.inner.count.subscribe();
        let enough = counted.wait_for(|n| *n >= count);
        let waited = tokio::time::timeout(Duration::from_secs(60), enough).await;
        assert!(waited.is_ok(), "{} requests came, not {count}", self.requests().len());
        self.requests()
    }
}

async fn serve(stream: TcpStream, inner: Arc<Inner>) {
    let mut stream = BufReader::new(stream);
    while let Some(request) = read(&mut stream).await {
        let number = {
            let mut requests = inner.requests.lock();
            requests.push(request.clone());
            requests.len() - 1
        };
        let reply = (inner.script)(number, &request);
        inner.count.send_modify(|n| *n += 1);
        match reply {
            Reply::Status(head) => {
                let answer = format!("HTTP/1.1 {head}\r\ncontent-length: 2\r\n\r\nok");
                if stream.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
            Reply::Hang => std::future::pending().await,
        }
    }
}

async fn read(stream: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok().filter(|n| *n > 0)?;
    assert!(line.starts_with("POST /hook?token=s3cret HTTP/1.1"), "{line}");
    let mut headers = HashMap::new();
    loop {
        line.clear();
        stream.read_line(&mut line).await.ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
    let mut raw = vec![0; headers["content-length"].parse().unwrap()];
    stream.read_exact(&mut raw).await.ok()?;
    Some(Request { headers, raw })
}
