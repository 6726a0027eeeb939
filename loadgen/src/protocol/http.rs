//! Line protocol over HTTP, as the v1, v2 and v3 clients send it.
//!
//! Each connection has one request in flight. It is a plain HTTP/1.1 connection without a pool, redirects or
//! proxies: what is measured is the server that was named, and a request costs as little as it can. A body is
//! `Bytes`: a retry sends the same bytes again without a copy.

use crate::clock;
use crate::error::{LoadError, with_causes};
use crate::protocol::retry::parse_retry_after;
use crate::target::{Api, Target};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HOST, HeaderMap, HeaderValue, RETRY_AFTER, USER_AGENT,
};
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use reqwest::{Client, redirect};
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;
use tower::ServiceExt as _;
use url::Url;

/// What one try gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attempt {
    /// 2xx: the rows are durable.
    Acknowledged,
    /// 429, 5xx or no answer: the rows may or may not be there; writing them again is harmless.
    TryAgain {
        /// The server's wish, if it sent one.
        after: Option<Duration>,
        /// Status or network error.
        reason: String,
    },
    /// Any other status: trying again would not help.
    Refused(String),
}

/// What it calls itself.
const AGENT: &str = concat!("busbar-loadgen/", env!("CARGO_PKG_VERSION"));
/// How much of an error body is kept for the report.
const ERROR_TEXT_BYTES: usize = 500;
/// Error bodies above this are not read: the bytes of a connection are worth less than its memory.
const ERROR_BODY_BYTES: usize = 64 * 1024;

/// One write endpoint: where it is and what each request to it says.
#[derive(Debug)]
pub struct HttpEndpoint {
    connector: HttpsConnector<HttpConnector>,
    url: Uri,
    /// Path and query, as the request's head names them.
    path: Uri,
    headers: HeaderMap,
    timeout: Duration,
}

impl HttpEndpoint {
    /// Does not connect yet. Fails on a bad URL or token.
    pub fn new(target: &Target) -> Result<Self, LoadError> {
        let url = write_url(target)?;
        let bad = |error: &dyn Error| LoadError::Options(format!("bad URL {url}: {error}"));
        let uri = Uri::try_from(url.as_str()).map_err(|error| bad(&error))?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let path = Uri::try_from(path).map_err(|error| bad(&error))?;
        let mut headers = HeaderMap::new();
        let host = uri.authority().map(|authority| authority.as_str().rsplit('@').next().unwrap_or_default());
        let host = HeaderValue::from_str(host.unwrap_or_default()).map_err(|error| bad(&error))?;
        headers.insert(HOST, host);
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        if target.gzip {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        if let Some(token) = &target.token {
            let scheme = if target.api == Api::V3 { "Bearer" } else { "Token" };
            headers.insert(AUTHORIZATION, secret_header(scheme, token)?);
        }
        Ok(Self { connector: connector()?, url: uri, path, headers, timeout: target.timeout })
    }

    fn request(&self, body: Bytes) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.path.clone();
        *request.headers_mut() = self.headers.clone();
        request
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, Cause> {
        let stream = self.connector.clone().oneshot(self.url.clone()).await?;
        let (sender, connection) = handshake(stream).await?;
        // It ends with its sender. What ends it early is told to whoever waits for an answer.
        tokio::spawn(connection);
        Ok(sender)
    }
}

/// Sends bodies to an endpoint, one after the other.
#[derive(Debug)]
pub struct HttpConnection {
    endpoint: Arc<HttpEndpoint>,
    /// Connected, and free for a request.
    sender: Option<SendRequest<Full<Bytes>>>,
}

impl HttpConnection {
    /// Connects with the first request.
    #[must_use]
    pub fn new(endpoint: Arc<HttpEndpoint>) -> Self {
        Self { endpoint, sender: None }
    }

    /// Closes the connection; the next request opens a new one.
    pub fn close(&mut self) {
        self.sender = None;
    }

    /// Sends the body once and reads the answer to its end, so that the connection is used again.
    pub async fn send(&mut self, body: Bytes) -> Attempt {
        let error: Cause = match tokio::time::timeout(self.endpoint.timeout, self.exchange(body)).await {
            Ok(Ok((response, text))) => return attempt(&response, &text),
            Ok(Err(error)) => error,
            Err(_) => format!("no answer within {:?}", self.endpoint.timeout).into(),
        };
        Attempt::TryAgain { after: None, reason: with_causes(&*error) }
    }

    /// The connection, if it is open and free.
    async fn open(&mut self) -> Option<SendRequest<Full<Bytes>>> {
        let mut sender = self.sender.take()?;
        sender.ready().await.ok()?;
        Some(sender)
    }

    /// The answer, of its text the beginning. Unless all of it was read the connection is not used again.
    async fn exchange(&mut self, body: Bytes) -> Result<(Response<()>, Vec<u8>), Cause> {
        let mut request = self.endpoint.request(body);
        let (mut sender, mut is_new) = match self.open().await {
            Some(sender) => (sender, false),
            None => (self.endpoint.connect().await?, true),
        };
        let answer = loop {
            // A server may close a connection that nobody uses; the request has not left then.
            match sender.try_send_request(request).await {
                Ok(answer) => break answer,
                Err(mut error) => match error.take_message() {
                    Some(unsent) if !is_new => request = unsent,
                    _ => return Err(error.into_error().into()),
                },
            }
            (sender, is_new) = (self.endpoint.connect().await?, true);
        };
        let (head, mut body) = answer.into_parts();
        let mut text = Vec::new();
        while text.len() <= ERROR_BODY_BYTES {
            let Some(frame) = body.frame().await else {
                self.sender = Some(sender);
                break;
            };
            match frame {
                Ok(frame) => text.extend_from_slice(&frame.into_data().unwrap_or_default()),
                Err(error) if head.status.is_success() => return Err(error.into()),
                // Its head says what it is.
                Err(_) => break,
            }
        }
        Ok((Response::from_parts(head, ()), text))
    }
}

type Cause = Box<dyn Error + Send + Sync>;

/// What an answer means.
fn attempt(response: &Response<()>, text: &[u8]) -> Attempt {
    let status = response.status();
    if status.is_success() {
        return Attempt::Acknowledged;
    }
    let after = response
        .headers()
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| parse_retry_after(value, clock::unix_ns() / 1_000_000_000));
    let text = String::from_utf8_lossy(text.get(..ERROR_TEXT_BYTES).unwrap_or(text));
    let reason = format!("{status}: {}", text.trim());
    if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() {
        Attempt::TryAgain { after, reason }
    } else {
        Attempt::Refused(reason)
    }
}

/// Opens connections, encrypted ones by the certificates that the system trusts.
fn connector() -> Result<HttpsConnector<HttpConnector>, LoadError> {
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    http.set_nodelay(true);
    let builder = HttpsConnectorBuilder::new()
        .with_provider_and_native_roots(rustls::crypto::aws_lc_rs::default_provider())
        .map_err(|error| LoadError::Network(with_causes(&error)))?;
    Ok(builder.https_or_http().enable_http1().wrap_connector(http))
}

/// A client for queries, without proxies and redirects.
pub(crate) fn client(timeout: Duration, connections: usize) -> Result<Client, LoadError> {
    Client::builder()
        .no_proxy()
        .redirect(redirect::Policy::none())
        .pool_max_idle_per_host(connections)
        .timeout(timeout)
        .user_agent(AGENT)
        .build()
        .map_err(|error| LoadError::Network(with_causes(&error)))
}

/// `scheme token`, marked so that no debug output shows it.
pub(crate) fn secret_header(scheme: &str, token: &str) -> Result<HeaderValue, LoadError> {
    let mut value = HeaderValue::from_str(&format!("{scheme} {token}"))
        .map_err(|_| LoadError::Options("the token holds characters that no header can carry".to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}

/// `base` with `path` appended and the query set.
pub(crate) fn endpoint(base: &Url, path: &str, query: &[(&str, &str)]) -> Result<Url, LoadError> {
    let joined = format!("{}{path}", base.as_str().trim_end_matches('/'));
    let mut url =
        Url::parse(&joined).map_err(|error| LoadError::Options(format!("bad URL {joined}: {error}")))?;
    url.query_pairs_mut().extend_pairs(query);
    Ok(url)
}

fn write_url(target: &Target) -> Result<Url, LoadError> {
    let db = target.db.as_str();
    match target.api {
        Api::V1 => endpoint(&target.url, "/write", &[("db", db), ("precision", "ns")]),
        Api::V2 => {
            let query = [("org", target.org.as_str()), ("bucket", db), ("precision", "ns")];
            endpoint(&target.url, "/api/v2/write", &query)
        }
        Api::V3 => endpoint(&target.url, "/api/v3/write_lp", &[("db", db), ("precision", "nanosecond")]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use std::net::SocketAddr;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};

    #[derive(Parser)]
    struct Options {
        #[command(flatten)]
        target: Target,
    }

    const ACKNOWLEDGED: &str = "HTTP/1.1 204 No Content\r\n\r\n";

    fn connection(addr: SocketAddr, options: &[&str]) -> HttpConnection {
        let url = format!("http://{addr}/base/");
        let words = ["loadgen", "--url", &url].into_iter().chain(options.iter().copied());
        let target = Options::parse_from(words).target;
        HttpConnection::new(Arc::new(HttpEndpoint::new(&target).unwrap()))
    }

    async fn listener() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        (listener, addr)
    }

    /// Reads one request, of which the body is `m v=1`, and answers.
    async fn answer(stream: &mut TcpStream, answer: &[u8]) -> String {
        let mut request = Vec::new();
        while !request.ends_with(b"m v=1") {
            assert_ne!(stream.read_buf(&mut request).await.unwrap(), 0, "{request:?}");
        }
        stream.write_all(answer).await.unwrap();
        String::from_utf8(request).unwrap().to_ascii_lowercase()
    }

    #[tokio::test]
    async fn a_request_says_what_it_must_and_its_connection_is_used_again() {
        let (listener, addr) = listener().await;
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            answer(&mut stream, ACKNOWLEDGED.as_bytes()).await;
            answer(&mut stream, ACKNOWLEDGED.as_bytes()).await
        });
        let mut connection = connection(addr, &["--db", "a b", "--token", "secret"]);
        for _ in 0..2 {
            assert_eq!(connection.send("m v=1".into()).await, Attempt::Acknowledged);
        }
        let request = server.await.unwrap();
        let host = format!("host: {addr}\r\n");
        let line = "post /base/write?db=a+b&precision=ns http/1.1\r\n";
        for part in [line, &host, "authorization: token secret\r\n", "content-length: 5\r\n"] {
            assert!(request.contains(part), "no {part:?} in {request}");
        }
    }

    #[tokio::test]
    async fn a_connection_that_the_server_has_closed_is_opened_again_and_no_failure() {
        let (listener, addr) = listener().await;
        let server = tokio::spawn(async move {
            for _ in 0..2 {
                let (mut stream, _) = listener.accept().await.unwrap();
                answer(&mut stream, ACKNOWLEDGED.as_bytes()).await;
            }
        });
        let mut connection = connection(addr, &[]);
        assert_eq!(connection.send("m v=1".into()).await, Attempt::Acknowledged);
        while connection.sender.as_ref().is_some_and(|sender| !sender.is_closed()) {
            tokio::task::yield_now().await;
        }
        assert_eq!(connection.send("m v=1".into()).await, Attempt::Acknowledged);
        server.await.unwrap();
    }

    #[tokio::test]
    async fn of_a_large_refusal_only_the_beginning_is_read() {
        let (listener, addr) = listener().await;
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let head = "HTTP/1.1 400 Bad Request\r\nContent-Length: 10000000\r\n\r\n".to_owned();
            answer(&mut stream, (head + &"x".repeat(2 * ERROR_BODY_BYTES)).as_bytes()).await;
            // The rest never comes.
            stream
        });
        let mut connection = connection(addr, &[]);
        let refused = Attempt::Refused(format!("400 Bad Request: {}", "x".repeat(ERROR_TEXT_BYTES)));
        assert_eq!(connection.send("m v=1".into()).await, refused);
        assert!(connection.sender.is_none());
        server.await.unwrap();
    }

    #[tokio::test]
    async fn an_answer_that_does_not_come_in_time_is_to_be_tried_again() {
        let (listener, addr) = listener().await;
        let mut connection = connection(addr, &["--timeout", "50ms"]);
        let attempt = connection.send("m v=1".into()).await;
        assert!(matches!(attempt, Attempt::TryAgain { after: None, .. }), "{attempt:?}");
        assert!(connection.sender.is_none());
        drop(listener);
    }
}
