//! Who may use the engine: static tokens, and where a request carries one.
//!
//! Invariants:
//! - a token is known by its SHA-256 only; it holds 256 random bits, so a fast hash is enough;
//! - a token is compared with every configured one, in constant time;
//! - no token ever reaches a log, an error or a metric.

mod credentials;
mod gate;
mod token;

#[cfg(test)]
mod tests;

pub use credentials::{Credentials, presented};
pub use gate::gate;
pub use token::{NewToken, TokenHash};

use std::sync::Arc;

use subtle::ConstantTimeEq as _;

use crate::config::Token;

/// Who sent a request: the name of the token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// The name of the token, or `anonymous` where no token is configured.
    pub name: Arc<str>,
}

/// Why a request may not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It carries no token.
    Missing,
    /// What it carries cannot be read.
    Malformed,
    /// Its token is not one of ours.
    Unknown,
}

/// The configured tokens.
#[derive(Debug, Clone, Default)]
pub struct Tokens {
    known: Arc<[(Principal, TokenHash)]>,
}

impl Tokens {
    /// From the configuration.
    #[must_use]
    pub fn new(tokens: &[Token]) -> Self {
        let entry = |token: &Token| (Principal { name: token.name.as_str().into() }, token.sha256);
        Self { known: tokens.iter().map(entry).collect() }
    }

    /// Whether no token is configured: then everybody may come in.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.known.is_empty()
    }

    /// Who holds this token. Takes the same time for every token that is not known.
    #[must_use]
    pub fn find(&self, token: &str) -> Option<Principal> {
        let hash = TokenHash::of(token);
        let mut found = None;
        for (principal, known) in self.known.iter() {
            if bool::from(known.as_bytes().ct_eq(hash.as_bytes())) {
                found = Some(principal.clone());
            }
        }
        found
    }

    /// Decides about what a request carries. Also the check of MQTT, whose password is the token.
    ///
    /// # Errors
    /// When tokens are configured and this is none of them.
    pub fn admit(&self, credentials: &Credentials) -> Result<Principal, Refusal> {
        if self.is_open() {
            return Ok(Principal { name: "anonymous".into() });
        }
        match credentials {
            Credentials::None => Err(Refusal::Missing),
            Credentials::Malformed => Err(Refusal::Malformed),
            Credentials::Token(token) => self.find(token).ok_or(Refusal::Unknown),
        }
    }
}
