//! Line protocol over HTTP, as the v1, v2 and v3 clients send it.
//!
//! One client is shared by all connections; each connection has at most one request in flight, so the
//! pool holds as many sockets as there are connections. A body is `Bytes`: a retry sends the same bytes
//! again without a copy.

use crate::clock;
use crate::error::{LoadError, with_causes};
use crate::protocol::retry::parse_retry_after;
use crate::target::{Api, Target};
use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Client, Method, Request, StatusCode, redirect};
use std::sync::{PoisonError, RwLock};
use std::time::Duration;
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

/// How much of an error body is kept for the report.
const ERROR_TEXT_BYTES: usize = 500;
/// Error bodies above this are not read: the bytes of a connection are worth less than its memory.
const ERROR_BODY_BYTES: usize = 64 * 1024;

/// Sends bodies to one write endpoint.
#[derive(Debug)]
pub struct HttpWriter {
    /// And how often the connections were to be opened anew when it was made.
    client: RwLock<(u64, Client)>,
    template: Request,
    timeout: Duration,
    connections: usize,
}

impl HttpWriter {
    /// Does not connect yet. Fails on a bad URL or token.
    pub fn new(target: &Target) -> Result<Self, LoadError> {
        let (timeout, connections) = (target.timeout, target.connections);
        let client = RwLock::new((0, client(timeout, connections)?));
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        if target.gzip {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        if let Some(token) = &target.token {
            let scheme = if target.api == Api::V3 { "Bearer" } else { "Token" };
            headers.insert(AUTHORIZATION, secret_header(scheme, token)?);
        }
        let mut template = Request::new(Method::POST, write_url(target)?);
        *template.headers_mut() = headers;
        Ok(Self { client, template, timeout, connections })
    }

    /// Closes all connections, once for each count; the next requests open new ones. Says how many this call closed.
    ///
    /// # Errors
    /// [`LoadError::Network`] when there can be no new ones.
    pub fn renew(&self, count: u64) -> Result<u64, LoadError> {
        let is_done = |known: u64| known >= count;
        if is_done(self.client.read().unwrap_or_else(PoisonError::into_inner).0) {
            return Ok(0);
        }
        // Made before anybody must wait for it. Of several that are made at once one is used.
        let client = client(self.timeout, self.connections)?;
        let mut known = self.client.write().unwrap_or_else(PoisonError::into_inner);
        if is_done(known.0) {
            return Ok(0);
        }
        *known = (count, client);
        Ok(self.connections as u64)
    }

    /// Sends the body once and reads the answer to its end, so that the connection is used again.
    pub async fn send(&self, body: Bytes) -> Attempt {
        let Some(mut request) = self.template.try_clone() else {
            return Attempt::Refused("the request cannot be repeated".to_owned());
        };
        *request.body_mut() = Some(body.into());
        let client = self.client.read().unwrap_or_else(PoisonError::into_inner).1.clone();
        let response = match client.execute(request).await {
            Ok(response) => response,
            Err(error) => return Attempt::TryAgain { after: None, reason: with_causes(&error) },
        };
        let status = response.status();
        if status.is_success() {
            return match response.bytes().await {
                Ok(_) => Attempt::Acknowledged,
                Err(error) => Attempt::TryAgain { after: None, reason: with_causes(&error) },
            };
        }
        let after = response
            .headers()
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| parse_retry_after(value, clock::unix_ns() / 1_000_000_000));
        let reason = format!("{status}: {}", error_text(response).await);
        if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() {
            Attempt::TryAgain { after, reason }
        } else {
            Attempt::Refused(reason)
        }
    }
}

/// A client without proxies and redirects: what is measured is the server that was named.
pub(crate) fn client(timeout: Duration, connections: usize) -> Result<Client, LoadError> {
    Client::builder()
        .no_proxy()
        .redirect(redirect::Policy::none())
        .pool_max_idle_per_host(connections)
        .timeout(timeout)
        .user_agent(concat!("busbar-loadgen/", env!("CARGO_PKG_VERSION")))
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

async fn error_text(mut response: reqwest::Response) -> String {
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        body.extend_from_slice(&chunk);
        if body.len() > ERROR_BODY_BYTES {
            break;
        }
    }
    body.truncate(ERROR_TEXT_BYTES);
    String::from_utf8_lossy(&body).trim().to_owned()
}
