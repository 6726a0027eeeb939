//! MQTT over the intake: who may connect, and what a publish becomes.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use ingest::intake::{Intake, LineProblem, LinesRequest, Mode, Protocol, WriteError};
use ingest::line_protocol::{Dialect, Precision};
use ingest::mqtt::mapping::{Route, Router};
use ingest::mqtt::{Authenticate, Publish, PublishError, Refused, Session};
use ingest::row::Row;
use storage::model::DatabaseName;

use crate::auth::{Credentials, Tokens};
use crate::error::kept_text;
use crate::metrics::{Metrics, RefusedLabels};

/// How often a publish is tried again while a budget is full, before its connection is closed. Meanwhile the
/// connection is not read, which slows the client down.
const BUSY_TRIES: u32 = 10;

/// The password is a token, as everywhere.
pub(super) struct TokenPasswords(pub(super) Tokens);

#[async_trait]
impl Authenticate for TokenPasswords {
    async fn connect(
        &self,
        client_id: &str,
        _username: Option<&str>,
        password: Option<&[u8]>,
    ) -> Result<Session, Refused> {
        let credentials = match password.map(std::str::from_utf8) {
            None => Credentials::None,
            Some(Ok("")) => Credentials::None,
            Some(Ok(token)) => Credentials::Token(token.to_owned()),
            Some(Err(_)) => Credentials::Malformed,
        };
        let principal = self.0.admit(&credentials).map_err(|_| Refused::Credentials)?;
        let proven = (!self.0.is_open()).then_some(principal.name);
        Ok(Session { client_id: client_id.into(), principal: proven })
    }
}

/// Writes publishes through the intake.
pub(super) struct IntakePublish {
    intake: Intake,
    router: Router,
    metrics: Arc<Metrics>,
}

impl IntakePublish {
    pub(super) fn new(intake: Intake, router: Router, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self { intake, router, metrics })
    }

    fn count<'p>(&self, problems: impl Iterator<Item = &'p LineProblem>) {
        for problem in problems {
            let labels = RefusedLabels { protocol: Protocol::Mqtt.name(), reason: problem.code() };
            self.metrics.refused_lines.get_or_create(&labels).inc();
        }
    }

    async fn lines(&self, database: &str, body: Bytes) -> Result<(), PublishError> {
        let request = LinesRequest {
            database: database_name(database)?,
            body,
            precision: Precision::Nanosecond,
            mode: Mode::Partial,
            protocol: Protocol::Mqtt,
        };
        let written = while_busy(|| self.intake.write_lines(request.clone())).await?;
        self.count(written.rejected.iter().map(|line| &line.problem));
        match written.rejected.first() {
            None => Ok(()),
            Some(first) => Err(PublishError::Rejected(format!(
                "{} of {} lines, first line {}: {}{}",
                written.rejected.len(),
                written.lines,
                first.number,
                first.problem.reason(Dialect::V3),
                kept_text(first.kept)
            ))),
        }
    }

    async fn rows(&self, rows: &[Row]) -> Result<(), PublishError> {
        let Some(first) = rows.first() else { return Ok(()) };
        // A mapping names one database.
        let database = database_name(&first.database)?;
        let rejected = while_busy(|| self.intake.write_rows(&database, rows)).await?;
        self.count(rejected.iter().map(|row| &row.problem));
        match rejected.first() {
            None => Ok(()),
            Some(first) => Err(PublishError::Rejected(format!(
                "{} of {} rows, first: {}{}",
                rejected.len(),
                rows.len(),
                first.problem.reason(Dialect::V3),
                kept_text(first.kept)
            ))),
        }
    }
}

#[async_trait]
impl Publish for IntakePublish {
    async fn publish(
        &self,
        _session: &Session,
        topic: &str,
        payload: Bytes,
        _retain: bool,
        _dup: bool,
    ) -> Result<(), PublishError> {
        match self.router.route(topic) {
            Some(Route::LineProtocol { database }) => self.lines(database, payload).await,
            Some(Route::Json(route)) => {
                let rows = route.rows(&payload).map_err(|error| PublishError::Rejected(error.to_string()))?;
                self.rows(&rows).await
            }
            None => Err(PublishError::Rejected(format!(
                "no mapping takes the topic {topic:?}: publish line protocol to busbar/<database>/lp, or add a mapping"
            ))),
        }
    }
}

fn database_name(name: &str) -> Result<DatabaseName, PublishError> {
    DatabaseName::new(name).map_err(|error| PublishError::Rejected(error.to_string()))
}

/// Tries again while a budget is full.
async fn while_busy<T, F>(attempt: impl Fn() -> F) -> Result<T, PublishError>
where
    F: Future<Output = Result<T, WriteError>>,
{
    for _ in 0..BUSY_TRIES {
        match attempt().await {
            Err(WriteError::Busy { retry_after }) => tokio::time::sleep(retry_after.min(PAUSE)).await,
            Ok(done) => return Ok(done),
            Err(error @ (WriteError::Rejected(_) | WriteError::DatabaseNotFound(_))) => {
                return Err(PublishError::Rejected(error.to_string()));
            }
            Err(WriteError::Storage(error)) if error.kind() == storage::ErrorKind::LimitExceeded => {
                return Err(PublishError::Rejected(error.to_string()));
            }
            Err(error) => return Err(PublishError::Unavailable(error.to_string())),
        }
    }
    Err(PublishError::Unavailable("too much is waiting to be written".into()))
}

/// The longest pause between two tries.
const PAUSE: Duration = Duration::from_secs(1);
