//! Good answers, and how they are kept for a repeat.
//!
//! Invariant: a replayed answer is the first one, byte for byte in its body, plus `Idempotency-Replayed: true`.

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use storage::registry::{Begin, RegistryError, Rev, Write};

use super::call::Call;
use crate::problem::Problem;

/// What a handler gives back.
pub(super) type Reply = Result<Response, Problem>;

/// Marks an answer that was given before.
pub(super) const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// A good answer with a JSON body.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Answer {
    status: u16,
    etag: Option<String>,
    location: Option<String>,
    body: String,
}

impl Answer {
    /// 200 with this body.
    pub(super) fn ok(body: &impl Serialize) -> Result<Self, Problem> {
        let body = serde_json::to_string(body)
            .map_err(|error| RegistryError::Corrupt(format!("an answer cannot be written: {error}")))?;
        Ok(Self { status: StatusCode::OK.as_u16(), etag: None, location: None, body })
    }

    /// The same with the revision as its `ETag`.
    pub(super) fn at(mut self, rev: Rev) -> Self {
        self.etag = Some(etag(rev));
        self
    }

    /// The same as 201 with the address of what was made.
    pub(super) fn created(mut self, location: String) -> Self {
        self.status = StatusCode::CREATED.as_u16();
        self.location = Some(location);
        self
    }

    /// Commits with this answer kept for a repeat, and gives it.
    pub(super) async fn commit(self, write: Write) -> Reply {
        let kept = serde_json::to_string(&self)
            .map_err(|error| RegistryError::Corrupt(format!("an answer cannot be kept: {error}")))?;
        write.commit_with_answer(&kept).await?;
        Ok(self.into_response())
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::OK);
        let mut response = (status, [(header::CONTENT_TYPE, "application/json")], self.body).into_response();
        for (name, value) in [(header::ETAG, self.etag), (header::LOCATION, self.location)] {
            if let Some(value) = value.and_then(|value| HeaderValue::from_str(&value).ok()) {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }
}

/// How a write begins.
pub(super) enum Start {
    /// Do the work.
    Fresh(Write),
    /// It was done before; this is the answer.
    Replayed(Response),
}

/// Begins a write; with an idempotency key that was used, gives the first answer instead.
pub(super) async fn start(call: &Call) -> Result<Start, Problem> {
    let Some(once) = call.once()? else { return Ok(Start::Fresh(call.registry.write().await?)) };
    match call.registry.write_once(once).await? {
        Begin::Fresh(write) => Ok(Start::Fresh(write)),
        Begin::Replay(kept) => {
            let answer: Answer = serde_json::from_str(&kept)
                .map_err(|error| RegistryError::Corrupt(format!("a kept answer cannot be read: {error}")))?;
            let mut response = answer.into_response();
            response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
            Ok(Start::Replayed(response))
        }
    }
}

/// 304 for a client that has this revision.
pub(super) fn not_modified(rev: Rev) -> Response {
    (StatusCode::NOT_MODIFIED, [(header::ETAG, etag(rev))]).into_response()
}

fn etag(rev: Rev) -> String {
    format!("\"{}\"", rev.number())
}
