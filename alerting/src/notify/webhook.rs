//! Webhooks: one POST of JSON per transition and receiver.
//!
//! Headers: `Idempotency-Key` (the same on every attempt), and, when the webhook has a secret,
//! `X-Busbar-Timestamp` (Unix seconds) and `X-Busbar-Signature`: `v1=` and the hexadecimal HMAC-SHA256 with the
//! secret over the timestamp, a dot, and the body. The timestamp lets a receiver refuse a replayed request.
//!
//! Invariants: no redirect is followed and no proxy is used; without `allow_private` only `https` to public
//! addresses is spoken; at most [`limits::ANSWER_BYTES`] of an answer are read, within the timeout.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use hmac::{Hmac, Mac};
use reqwest::{Client, Response, StatusCode, header, redirect};
use serde::Serialize;
use sha2::Sha256;
use storage::model::Timestamp;
use url::Url;

use super::address::{self, PublicResolver};
use crate::error::{Error, Result};
use crate::id;
use crate::limits;
use crate::record::Transition;

/// A secret that is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    #[must_use]
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookConfig {
    /// The name that rules use.
    pub name: String,
    /// Where to POST.
    pub url: String,
    /// The key of the signature; without one, requests are not signed.
    pub secret: Option<Secret>,
    /// Whether plain `http`, and addresses of private networks and of this machine, are allowed.
    pub allow_private: bool,
}

impl WebhookConfig {
    /// The receiver of a URL that a rule names.
    pub(super) fn inline(url: &str) -> Self {
        Self { name: url.into(), url: url.into(), secret: None, allow_private: false }
    }

    /// Whether requests can be made to it.
    pub(super) fn check(&self) -> Result<()> {
        let wrong = |why: &str| Err(Error::Invalid(format!("webhook {:?}: {why}", self.name)));
        let Ok(url) = Url::parse(&self.url) else {
            return wrong("write an absolute URL, as https://host/path");
        };
        match url.scheme() {
            "https" => {}
            "http" if self.allow_private => {}
            "http" => {
                return wrong("use https, or configure it with `allow_private` if its network is trusted");
            }
            _ => return wrong("the URL must begin with https://"),
        }
        if url.host().is_none() {
            return wrong("the URL has no host");
        }
        match address::check_literal(&url) {
            Err(refused) if !self.allow_private => wrong(&refused.to_string()),
            _ => Ok(()),
        }
    }
}

/// What a receiver said.
#[derive(Debug)]
pub(super) enum Answer {
    /// It has the transition.
    Taken(u16),
    /// It will never take it.
    Refused(String),
    /// It may take it later; it may have said when.
    Later { after: Option<Duration>, why: String },
}

/// A receiver, ready for requests.
pub(super) struct Webhook {
    config: WebhookConfig,
    client: Result<(Client, Url), String>,
}

/// The body of a request.
#[derive(Serialize)]
struct Body<'a> {
    alert_id: &'a str,
    transition_id: &'a str,
    rule: &'a str,
    severity: &'a str,
    state: &'a str,
    reason: &'a str,
    subject: &'a str,
    database: &'a str,
    table: &'a str,
    tags: &'a BTreeMap<String, String>,
    value: Option<f64>,
    event_time: String,
    started_at: String,
    late: bool,
    labels: &'a BTreeMap<String, String>,
    annotations: &'a BTreeMap<String, String>,
}

impl Webhook {
    pub(super) fn new(config: WebhookConfig) -> Self {
        let client = config.check().and_then(|()| client(&config)).map_err(|error| error.to_string());
        Self { config, client }
    }

    /// Makes one attempt. `now` is the wall-clock time in nanoseconds.
    pub(super) async fn send(&self, key: &str, transition: &Transition, now: i64) -> Answer {
        let (client, url) = match &self.client {
            Ok(ready) => ready,
            Err(why) => return Answer::Refused(why.clone()),
        };
        let body = match serde_json::to_vec(&body(transition)) {
            Ok(body) => body,
            Err(error) => return Answer::Refused(error.to_string()),
        };
        let mut request = client
            .post(url.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .header("idempotency-key", key);
        if let Some(secret) = &self.config.secret {
            let seconds = (now / 1_000_000_000).to_string();
            request = request
                .header("x-busbar-signature", format!("v1={}", signature(secret, &seconds, &body)))
                .header("x-busbar-timestamp", seconds);
        }
        match request.body(body).send().await {
            Ok(response) => judge(response, now).await,
            Err(error) => match address::refusal(&error) {
                Some(refused) => Answer::Refused(refused.to_string()),
                // The URL may hold a token of the receiver: it is not shown.
                None => Answer::Later { after: None, why: describe(&error.without_url()) },
            },
        }
    }
}

fn client(config: &WebhookConfig) -> Result<(Client, Url)> {
    let url = Url::parse(&config.url).map_err(|e| Error::Invalid(e.to_string()))?;
    let mut builder = Client::builder()
        .redirect(redirect::Policy::none())
        .no_proxy()
        .timeout(limits::REQUEST_TIMEOUT)
        .pool_max_idle_per_host(limits::REQUESTS_PER_RECEIVER)
        .user_agent(concat!("busbar/", env!("CARGO_PKG_VERSION")));
    if !config.allow_private {
        builder = builder.dns_resolver(PublicResolver).https_only(true);
    }
    let client = builder.build().map_err(|e| Error::Internal(format!("HTTP client: {}", describe(&e))))?;
    Ok((client, url))
}

fn body(t: &Transition) -> Body<'_> {
    Body {
        alert_id: &t.alert_id,
        transition_id: &t.transition_id,
        rule: &t.rule,
        severity: t.severity.as_str(),
        state: t.state.as_str(),
        reason: t.reason.as_str(),
        subject: &t.subject,
        database: &t.database,
        table: &t.table,
        tags: &t.tags,
        value: t.value,
        event_time: Timestamp::from_nanos(t.event_time).to_string(),
        started_at: Timestamp::from_nanos(t.started_at).to_string(),
        late: t.late,
        labels: &t.labels,
        annotations: &t.annotations,
    }
}

/// The hexadecimal HMAC-SHA256 over timestamp, dot and body.
pub(super) fn signature(secret: &Secret, seconds: &str, body: &[u8]) -> String {
    // HMAC takes a key of any length, so this cannot fail.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.0.as_bytes()) else { return String::new() };
    mac.update(seconds.as_bytes());
    mac.update(b".");
    mac.update(body);
    id::hex(&mac.finalize().into_bytes())
}

async fn judge(mut response: Response, now: i64) -> Answer {
    let status = response.status();
    let after = retry_after(&response, now);
    // Reading the answer lets the connection be used again; what it says does not matter.
    let mut read = 0;
    while read < limits::ANSWER_BYTES {
        match response.chunk().await {
            Ok(Some(chunk)) => read += chunk.len(),
            Ok(None) | Err(_) => break,
        }
    }
    let why = format!("status {}", status.as_u16());
    if status.is_success() {
        return Answer::Taken(status.as_u16());
    }
    let passing = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS];
    if status.is_server_error() || passing.contains(&status) {
        return Answer::Later { after, why };
    }
    Answer::Refused(why)
}

/// `Retry-After`, in seconds or as a date.
fn retry_after(response: &Response, now: i64) -> Option<Duration> {
    let text = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = chrono::DateTime::parse_from_rfc2822(text).ok()?;
    let wait = date.timestamp().saturating_sub(now / 1_000_000_000);
    Some(Duration::from_secs(u64::try_from(wait).unwrap_or(0)))
}

/// An error with its causes, which `reqwest` leaves out of its text.
fn describe(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |e| e.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
