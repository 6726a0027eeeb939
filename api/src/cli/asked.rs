//! A running engine that a command asks: where it is, and with which token.

use std::path::PathBuf;

use clap::{Arg, ArgMatches};
use serde_json::Value;

use super::{Failure, host};
use crate::health_client::{self, Answer, Question};

/// `--url`.
pub(super) fn url_arg(help: &'static str) -> Arg {
    Arg::new("url").long("url").value_name("URL").help(help)
}

/// `--token-file`.
pub(super) fn token_arg() -> Arg {
    Arg::new("token-file")
        .long("token-file")
        .value_name("FILE")
        .value_parser(clap::value_parser!(PathBuf))
        .help("A file with the token for the engine [default: BUSBAR_TOKEN, if set]")
}

/// An engine that is asked.
pub(super) struct Asked {
    /// `name:port`.
    pub(super) host: String,
    token: Option<String>,
}

impl Asked {
    /// The engine at `host`, with the token that the command was given.
    pub(super) fn new(host: String, matches: &ArgMatches) -> Result<Self, Failure> {
        Ok(Self { host, token: token(matches)? })
    }

    /// Where `--url` says an engine is.
    pub(super) fn named(matches: &ArgMatches) -> Result<Option<String>, Failure> {
        matches.get_one::<String>("url").map(|url| host(url)).transpose()
    }

    /// Sends a request.
    pub(super) async fn send(&self, method: &str, path: &str, body: Option<&str>) -> std::io::Result<Answer> {
        health_client::send(&self.host, Question { method, path, token: self.token.as_deref(), body }).await
    }
}

/// Why an engine refuses, for people.
pub(super) fn refusal(answer: &Answer) -> Failure {
    let problem: Value = serde_json::from_str(&answer.body).unwrap_or_default();
    let text = |name: &str| problem.get(name).and_then(Value::as_str).map(str::to_owned);
    let detail = text("detail").or_else(|| text("error")).unwrap_or_else(|| answer.body.clone());
    format!("the engine answers {}: {detail}", answer.status).into()
}

fn token(matches: &ArgMatches) -> Result<Option<String>, Failure> {
    let text = match matches.get_one::<PathBuf>("token-file") {
        Some(file) => {
            let text = std::fs::read_to_string(file);
            Some(text.map_err(|error| format!("cannot read the token in {}: {error}", file.display()))?)
        }
        None => std::env::var("BUSBAR_TOKEN").ok(),
    };
    let text = text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
    match text {
        Some(text) if !text.bytes().all(|byte| byte.is_ascii_graphic()) => {
            Err("the token is not one line of ASCII".into())
        }
        text => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use super::refusal;
    use crate::health_client::Answer;

    #[test]
    fn a_refusal_says_why() {
        let refused = Answer { status: 409, body: r#"{"detail":"backup 3 is running"}"#.into() };
        assert_eq!(refusal(&refused).to_string(), "the engine answers 409: backup 3 is running");
    }
}
