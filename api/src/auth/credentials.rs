//! Where a request carries its token: `Authorization: Bearer`, `Token` or `Basic` (the password), and on the
//! endpoints of InfluxDB 1 the parameter `p`.
//!
//! Invariant: the header wins over the parameter, and a header that cannot be read is not skipped.

use axum::http::{HeaderMap, Uri, header};
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD};

/// What a request carries.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// Nothing.
    None,
    /// Something that cannot be read.
    Malformed,
    /// A token, not checked yet.
    Token(String),
}

/// What a request carries. `by_parameter` says whether `p` of the query counts.
#[must_use]
pub fn presented(headers: &HeaderMap, uri: &Uri, by_parameter: bool) -> Credentials {
    match headers.get(header::AUTHORIZATION) {
        Some(value) => {
            value.to_str().ok().and_then(from_header).map_or(Credentials::Malformed, Credentials::Token)
        }
        None if by_parameter => from_query(uri).map_or(Credentials::None, Credentials::Token),
        None => Credentials::None,
    }
}

/// The token of an `Authorization` header.
fn from_header(value: &str) -> Option<String> {
    let (scheme, rest) = value.trim().split_once(' ')?;
    let rest = rest.trim();
    let token = match scheme.to_ascii_lowercase().as_str() {
        "bearer" | "token" => rest.to_owned(),
        "basic" => {
            let bytes = BASE64_STANDARD.decode(rest).or_else(|_| BASE64_STANDARD_NO_PAD.decode(rest)).ok()?;
            let pair = String::from_utf8(bytes).ok()?;
            pair.split_once(':')?.1.to_owned()
        }
        _ => return None,
    };
    (!token.is_empty()).then_some(token)
}

/// The token of the parameter `p`; the user `u` is not looked at.
fn from_query(uri: &Uri) -> Option<String> {
    let query = uri.query()?;
    let (_, token) = url::form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == "p")?;
    (!token.is_empty()).then(|| token.into_owned())
}
