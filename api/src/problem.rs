//! Errors of `/api/v1` as they go over the wire: `application/problem+json` (RFC 9457).
//!
//! Invariants: [`From<RegistryError>`] is the only place that gives a registry error its status; a fault of ours is
//! logged here, once, and tells the client nothing about the inside.

use crate::doors::Closed;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use ingest::intake::WriteError;
use serde::Serialize;
use serde_json::{Map, Value as Json, json};
use storage::model::Timestamp;
use storage::registry::{Conflict, Fault, RegistryError};
use utoipa::ToSchema;

/// The media type of a problem.
pub(crate) const PROBLEM_JSON: &str = "application/problem+json";
/// Whole seconds after which a client may try again when the registry is busy: one import transaction takes 0.1 s.
const BUSY_RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

/// An error answer.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(crate) struct Problem {
    /// Always `about:blank`: `code` says more than a link would.
    #[serde(rename = "type")]
    type_uri: &'static str,
    /// The name of the status.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// A stable word for programs.
    code: &'static str,
    /// What to do, for people.
    detail: Box<str>,
    /// Everything that is wrong with the request.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<ProblemError>,
    /// Facts of this problem, such as `current_rev`, `legal`, `children`, `earliest`, `oldest`.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    facts: Box<Map<String, Json>>,
}

/// One thing that is wrong with the request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct ProblemError {
    /// JSON pointer into the body (RFC 6901), or `?name` for a query parameter.
    pub(crate) pointer: String,
    /// A stable word for programs.
    pub(crate) code: &'static str,
    /// What to do, for people.
    pub(crate) detail: String,
}

impl From<Fault> for ProblemError {
    fn from(fault: Fault) -> Self {
        Self { pointer: fault.pointer, code: fault.code, detail: fault.detail }
    }
}

impl Problem {
    /// A problem without further facts.
    pub(crate) fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            type_uri: "about:blank",
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            code,
            detail: detail.into().into(),
            errors: Vec::new(),
            facts: Box::default(),
        }
    }

    fn with(mut self, name: &str, fact: Json) -> Self {
        self.facts.insert(name.to_owned(), fact);
        self
    }

    /// The status of the answer.
    pub(crate) fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

impl From<RegistryError> for Problem {
    fn from(error: RegistryError) -> Self {
        let detail = error.to_string();
        match error {
            RegistryError::NotFound { .. } => Self::new(StatusCode::NOT_FOUND, "not_found", detail),
            RegistryError::Conflict(conflict) => of_conflict(&conflict, detail),
            RegistryError::Invalid { faults } => {
                let mut problem =
                    Self::new(StatusCode::BAD_REQUEST, "invalid", "the request has faults: see errors");
                problem.errors = faults.into_iter().map(ProblemError::from).collect();
                problem
            }
            RegistryError::PreconditionFailed { current } => {
                let problem = Self::new(StatusCode::PRECONDITION_FAILED, "precondition_failed", detail);
                problem.with("current_rev", json!(current.map(storage::registry::Rev::number)))
            }
            RegistryError::KeyReused => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "idempotency_key_reused", detail)
            }
            RegistryError::Expired { oldest } => {
                Self::new(StatusCode::GONE, "expired", detail).with("oldest", json!(oldest))
            }
            RegistryError::Busy => Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", detail),
            RegistryError::Storage(_) | RegistryError::Corrupt(_) => {
                tracing::error!(error = detail, "the registry failed");
                let detail = "the registry failed: the log of the server says why";
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail)
            }
        }
    }
}

impl From<alerting::Error> for Problem {
    fn from(error: alerting::Error) -> Self {
        let detail = error.to_string();
        match error.kind() {
            alerting::ErrorKind::Invalid => {
                let mut problem = Self::new(StatusCode::BAD_REQUEST, "invalid", detail);
                if let alerting::Error::Rule(faults) = error {
                    problem.errors = faults.0.into_iter().map(ProblemError::from).collect();
                }
                problem
            }
            alerting::ErrorKind::LimitExceeded => Self::new(StatusCode::TOO_MANY_REQUESTS, "limit", detail),
            alerting::ErrorKind::NotFound => Self::new(StatusCode::NOT_FOUND, "not_found", detail),
            alerting::ErrorKind::Conflict => {
                let problem = Self::new(StatusCode::PRECONDITION_FAILED, "precondition_failed", detail);
                match error {
                    alerting::Error::Conflict { current } => problem.with("current_rev", json!(current)),
                    _ => problem,
                }
            }
            alerting::ErrorKind::ReadOnly => Self::new(StatusCode::CONFLICT, "read_only", detail),
            alerting::ErrorKind::Unavailable => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail)
            }
            alerting::ErrorKind::Damaged | alerting::ErrorKind::Internal => {
                tracing::error!(error = detail, "alerting failed");
                let detail = "alerting failed: the log of the server says why";
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail)
            }
        }
    }
}

impl From<storage::Error> for Problem {
    fn from(error: storage::Error) -> Self {
        let detail = error.to_string();
        match error.kind() {
            storage::ErrorKind::Invalid => Self::new(StatusCode::BAD_REQUEST, "invalid", detail),
            storage::ErrorKind::LimitExceeded => Self::new(StatusCode::BAD_REQUEST, "limit", detail),
            storage::ErrorKind::NotFound => Self::new(StatusCode::NOT_FOUND, "not_found", detail),
            storage::ErrorKind::Conflict => Self::new(StatusCode::CONFLICT, "conflict", detail),
            storage::ErrorKind::Unavailable => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail)
            }
            storage::ErrorKind::Damaged | storage::ErrorKind::Internal => {
                tracing::error!(error = detail, "the storage failed");
                let detail = "the storage failed: the log of the server says why";
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail)
            }
        }
    }
}

impl From<WriteError> for Problem {
    fn from(error: WriteError) -> Self {
        let detail = error.to_string();
        match error {
            WriteError::Storage(error) => error.into(),
            WriteError::Rejected(_) => Self::new(StatusCode::BAD_REQUEST, "invalid", detail),
            WriteError::DatabaseNotFound(_) => Self::new(StatusCode::NOT_FOUND, "not_found", detail),
            WriteError::Busy { .. } => Self::new(StatusCode::TOO_MANY_REQUESTS, "busy", detail),
            WriteError::Unavailable { .. } => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail)
            }
        }
    }
}

impl From<alerting::rule::Fault> for ProblemError {
    fn from(fault: alerting::rule::Fault) -> Self {
        Self { pointer: fault.pointer, code: "bad_value", detail: fault.detail }
    }
}

impl From<Closed> for Problem {
    fn from(closed: Closed) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "starting", closed.to_string())
    }
}

fn of_conflict(conflict: &Conflict, detail: String) -> Problem {
    let problem = Problem::new(StatusCode::CONFLICT, conflict.code(), detail);
    match conflict {
        Conflict::Taken { .. } | Conflict::Deleted { .. } | Conflict::NoLocation => problem,
        Conflict::HasChildren { children } => {
            let counts = children.iter().map(|(what, count)| ((*what).to_owned(), json!(count)));
            problem.with("children", Json::Object(counts.collect()))
        }
        Conflict::IllegalMove { from, legal, .. } => {
            problem.with("state", json!(from)).with("legal", json!(legal))
        }
        Conflict::Overlap { earliest_ns } => {
            problem.with("earliest", json!(Timestamp::from_nanos(*earliest_ns).to_string()))
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.status();
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let content_type = HeaderValue::from_static(PROBLEM_JSON);
        let mut response = (status, [(header::CONTENT_TYPE, content_type)], body).into_response();
        if matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
            response.headers_mut().insert(header::RETRY_AFTER, BUSY_RETRY_AFTER);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

    use storage::registry::{Faults, Kind, Rev};

    use super::*;

    #[test]
    fn every_registry_error_has_its_status_its_code_and_its_facts() {
        let taken = Conflict::Taken { kind: Kind::Device, key: "id" };
        let illegal = Conflict::IllegalMove { from: "SHADOW", to: "REMOVED", legal: vec!["PENDING"] };
        let cases: Vec<(RegistryError, u16, &str, Json)> = vec![
            (RegistryError::NotFound { kind: Kind::Room, key: "7".to_owned() }, 404, "not_found", json!({})),
            (taken.into(), 409, "already_exists", json!({})),
            (Conflict::Deleted { kind: Kind::Area }.into(), 409, "deleted", json!({})),
            (Conflict::NoLocation.into(), 409, "no_location", json!({})),
            (
                Conflict::HasChildren { children: vec![("rooms", 2)] }.into(),
                409,
                "has_children",
                json!({"children": {"rooms": 2}}),
            ),
            (illegal.into(), 409, "illegal_transition", json!({"state": "SHADOW", "legal": ["PENDING"]})),
            (
                Conflict::Overlap { earliest_ns: 1_000_000_000 }.into(),
                409,
                "location_overlap",
                json!({"earliest": "1970-01-01T00:00:01Z"}),
            ),
            (
                Faults::one("/name", "required", "must be there"),
                400,
                "invalid",
                json!({"errors": [{"pointer": "/name", "code": "required", "detail": "must be there"}]}),
            ),
            (
                RegistryError::PreconditionFailed { current: Some(Rev::new(3)) },
                412,
                "precondition_failed",
                json!({"current_rev": 3}),
            ),
            (
                RegistryError::PreconditionFailed { current: None },
                412,
                "precondition_failed",
                json!({"current_rev": null}),
            ),
            (RegistryError::KeyReused, 422, "idempotency_key_reused", json!({})),
            (RegistryError::Expired { oldest: 9 }, 410, "expired", json!({"oldest": 9})),
            (RegistryError::Busy, 503, "busy", json!({})),
            (RegistryError::Corrupt("secret".to_owned()), 500, "internal", json!({})),
        ];
        for (error, status, code, facts) in cases {
            let problem = serde_json::to_value(Problem::from(error)).unwrap();
            assert_eq!(
                (problem["status"].as_u64(), problem["code"].as_str()),
                (Some(status.into()), Some(code))
            );
            assert!(!problem["detail"].as_str().unwrap().contains("secret"));
            let Json::Object(facts) = facts else { continue };
            for (name, fact) in facts {
                assert_eq!(problem[&name], fact, "{code}");
            }
        }
    }

    #[test]
    fn a_busy_registry_says_when_to_come_back() {
        let response = Problem::from(RegistryError::Busy).into_response();
        assert_eq!(response.headers()[header::RETRY_AFTER], "1");
        assert_eq!(response.headers()[header::CONTENT_TYPE], PROBLEM_JSON);
    }
}
