//! What the process says of itself: log lines on standard error, as text or JSON. Standard output belongs to
//! commands whose output is a result.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

use crate::config::{LogFormat, Logging};

/// Why logging did not start.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter is wrong.
    #[error("logging.filter: {0}")]
    Filter(#[from] ParseError),
    /// Something else logs already.
    #[error("logging has started already")]
    Twice,
}

/// Starts logging for the whole process.
///
/// # Errors
/// When the filter is wrong, or when logging has started already.
pub fn start(logging: &Logging) -> Result<(), TelemetryError> {
    let filter = EnvFilter::builder().parse(&logging.filter)?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match logging.format {
        LogFormat::Text => builder.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    started.map_err(|_| TelemetryError::Twice)
}
