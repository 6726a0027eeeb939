//! A request to the registry, read once for all handlers.
//!
//! Invariant: a handler names the query parameters it knows; any other one is an error.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{FromRef, FromRequest, OriginalUri, Request};
use axum::http::{HeaderMap, HeaderName, Method, StatusCode, header};
use serde_json::Value as Json;
use sha2::{Digest, Sha256};
use storage::registry::{Expected, Faults, OnceKey, Registry, Rev};

use crate::problem::Problem;
use crate::routes::body::small;

/// Bytes of a JSON body: attributes of 16 KiB with every byte escaped, and the typed properties.
pub(super) const MAX_BODY_BYTES: usize = 128 * 1024;
/// Bytes of an idempotency key: a UUID has 36; some clients prefix it.
const MAX_KEY_BYTES: usize = 255;

/// The header of a request that may come twice.
pub(super) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// A request with its body.
pub(super) struct Call {
    pub(super) registry: Arc<Registry>,
    method: Method,
    /// The path as the client wrote it, before any nesting was taken off.
    pub(super) path: String,
    /// The query, decoded, in order.
    pub(super) parameters: Vec<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
}

impl<S> FromRequest<S> for Call
where
    Arc<Registry>: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let (mut call, body) = Self::without_body(request, state);
        call.body = small(body, MAX_BODY_BYTES).await?;
        Ok(call)
    }
}

impl Call {
    /// Everything but the body, and the body as it comes.
    pub(super) fn without_body<S>(request: Request, state: &S) -> (Self, Body)
    where
        Arc<Registry>: FromRef<S>,
    {
        let (parts, body) = request.into_parts();
        let original = parts.extensions.get::<OriginalUri>().map(|original| &original.0);
        let uri = original.unwrap_or(&parts.uri);
        let query = uri.query().unwrap_or_default();
        let call = Self {
            registry: Arc::from_ref(state),
            method: parts.method,
            path: uri.path().to_owned(),
            parameters: url::form_urlencoded::parse(query.as_bytes()).into_owned().collect(),
            headers: parts.headers,
            body: Bytes::new(),
        };
        (call, body)
    }

    /// The query, which may hold nothing but `names`, each once.
    pub(super) fn only<const N: usize>(&self, names: [&str; N]) -> Result<[Option<&str>; N], Problem> {
        let mut faults = Faults::default();
        let mut values = [None; N];
        for (name, value) in &self.parameters {
            let slot = names.iter().zip(&mut values).find(|(known, _)| *known == name);
            match slot {
                Some((_, slot @ None)) => *slot = Some(value.as_str()),
                Some(_) => faults.add(format!("?{name}"), "duplicate", "give it once"),
                None => {
                    faults.add(format!("?{name}"), "unknown_parameter", "there is no such parameter here")
                }
            }
        }
        faults.into_result()?;
        Ok(values)
    }

    /// The body as JSON.
    pub(super) fn json(&self) -> Result<Json, Problem> {
        let content_type = self.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let essence = content_type.map(|value| value.split(';').next().unwrap_or_default().trim());
        let patch = self.method == Method::PATCH;
        match essence {
            None | Some("application/json") => {}
            Some("application/merge-patch+json") if patch => {}
            Some(_) => {
                let detail = "send the body as application/json";
                return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_json", detail));
            }
        }
        serde_json::from_slice(&self.body)
            .map_err(|error| Faults::one("", "bad_json", format!("must be JSON: {error}")).into())
    }

    /// What `If-Match` and `If-None-Match` expect of the row that is to be changed.
    pub(super) fn expected(&self) -> Expected {
        if let Some(tags) = self.header(header::IF_MATCH) {
            return if tags.trim() == "*" {
                Expected::Present
            } else {
                // A weak tag never equals a strong one (RFC 9110, section 8.8.3.2).
                Expected::At(revs(&tags, false))
            };
        }
        match self.header(header::IF_NONE_MATCH) {
            Some(tags) if tags.trim() == "*" => Expected::Absent,
            _ => Expected::Any,
        }
    }

    /// True if the client has this revision already.
    pub(super) fn has(&self, rev: Rev) -> bool {
        self.header(header::IF_NONE_MATCH)
            .is_some_and(|tags| tags.trim() == "*" || revs(&tags, true).contains(&rev))
    }

    /// The idempotency key with a fingerprint of method, path, query and body.
    pub(super) fn once(&self) -> Result<Option<OnceKey>, Problem> {
        let Some(key) = self.headers.get(IDEMPOTENCY_KEY) else { return Ok(None) };
        let key = key.to_str().ok().filter(|key| !key.trim().is_empty() && key.len() <= MAX_KEY_BYTES);
        let Some(key) = key else {
            let detail = format!("must be 1 to {MAX_KEY_BYTES} visible ASCII characters");
            return Err(Problem::new(StatusCode::BAD_REQUEST, "bad_idempotency_key", detail));
        };
        let mut hash = Sha256::new();
        // Lengths keep the parts apart.
        let parameters = format!("{:?}", self.parameters);
        for part in [self.method.as_str().as_bytes(), self.path.as_bytes(), parameters.as_bytes(), &self.body]
        {
            hash.update(part.len().to_le_bytes());
            hash.update(part);
        }
        Ok(Some(OnceKey { key: key.to_owned(), fingerprint: hash.finalize().to_vec() }))
    }

    /// All values of a header as one list.
    fn header(&self, name: HeaderName) -> Option<String> {
        let values: Vec<&str> =
            self.headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
        (!values.is_empty()).then(|| values.join(","))
    }
}

/// The revisions in a list of entity tags; what is no tag of ours matches nothing.
fn revs(tags: &str, weak_too: bool) -> Vec<Rev> {
    tags.split(',')
        .filter_map(|tag| {
            let tag = tag.trim();
            let strong = if weak_too { tag.strip_prefix("W/").unwrap_or(tag) } else { tag };
            strong.strip_prefix('"')?.strip_suffix('"')?.parse().ok().map(Rev::new)
        })
        .collect()
}

/// `true` or `false`, false if it is not given.
pub(super) fn flag(name: &str, value: Option<&str>) -> Result<bool, Problem> {
    match value {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(Faults::one(format!("?{name}"), "bad_value", "must be true or false").into()),
    }
}
