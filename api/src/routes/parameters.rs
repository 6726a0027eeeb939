//! The parameters of a query string or a form. The first of equal names counts; unknown names are ignored, as
//! InfluxDB's servers do.

use axum::http::Uri;
use url::form_urlencoded;

use crate::error::Failure;

/// Names and values, decoded.
#[derive(Debug, Default)]
pub(super) struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Those of a request's address.
    pub(super) fn of(uri: &Uri) -> Self {
        let mut this = Self::default();
        this.add(uri.query().unwrap_or_default().as_bytes());
        this
    }

    /// Adds those of a form; what was there before counts first.
    pub(super) fn add(&mut self, form: &[u8]) {
        self.0.extend(form_urlencoded::parse(form).into_owned());
    }

    /// The value of a parameter; empty when it is absent, which means the same to all endpoints.
    pub(super) fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }

    /// A switch.
    ///
    /// # Errors
    /// When it is neither true nor false.
    pub(super) fn switch(&self, name: &str, default: bool) -> Result<bool, Failure> {
        match self.get(name) {
            "" => Ok(default),
            "true" => Ok(true),
            "false" => Ok(false),
            other => {
                let shown: String = other.chars().take(32).collect();
                Err(Failure::Parameter(format!("invalid {name} {shown:?} (use true or false)")))
            }
        }
    }
}
