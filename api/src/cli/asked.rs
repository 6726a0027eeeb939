//! A running engine that a command asks: where it is, with which token, and how work that takes long is waited for.

use std::path::PathBuf;

use clap::{Arg, ArgMatches};
use serde_json::Value;

use super::progress::LOOK_EVERY;
use super::{Failure, host};
use crate::health_client::{self, Answer, Question};

/// How often an engine that does not answer is asked again: it may be busy, and the work goes on.
const PATIENCE: u32 = 20;

/// An engine that is asked.
pub(super) struct Asked {
    /// `name:port`.
    pub(super) host: String,
    token: Option<String>,
}

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

/// Where the engine is, and who asks.
pub(super) fn arguments() -> [Arg; 2] {
    let url = url_arg(
        "The running engine, such as http://127.0.0.1:8181 [default: where the configuration says it listens, if it runs]",
    );
    [url, token_arg()]
}

impl Asked {
    /// The engine at `host`, asked with the token that the arguments name.
    pub(super) fn new(host: String, matches: &ArgMatches) -> Result<Self, Failure> {
        Ok(Self { host, token: token(matches)? })
    }

    /// Where `--url` says an engine is.
    pub(super) fn named(matches: &ArgMatches) -> Result<Option<String>, Failure> {
        matches.get_one::<String>("url").map(|url| host(url)).transpose()
    }

    /// Begins a job of a resource, shows each of its states, and returns the last one: it does not run any more.
    pub(super) async fn job(
        &self,
        resource: &str,
        body: &Value,
        mut show: impl FnMut(&Value),
    ) -> Result<Value, Failure> {
        let answer = self.send("POST", resource, Some(&body.to_string())).await;
        let answer = answer.map_err(|error| format!("no engine answers at {}: {error}", self.host))?;
        let mut job = content(&answer)?;
        let path = format!("{resource}/{}", job.get("id").unwrap_or(&Value::Null));
        let mut unanswered = 0;
        while job.get("status").and_then(Value::as_str) == Some("running") {
            show(&job);
            tokio::time::sleep(LOOK_EVERY).await;
            job = match self.send("GET", &path, None).await {
                Ok(answer) => {
                    unanswered = 0;
                    content(&answer)?
                }
                Err(error) if unanswered == PATIENCE => {
                    return Err(format!("the engine does not answer any more: {error}").into());
                }
                Err(_) => {
                    unanswered += 1;
                    job
                }
            };
        }
        show(&job);
        Ok(job)
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

/// What an answer says.
fn content(answer: &Answer) -> Result<Value, Failure> {
    if matches!(answer.status, 200 | 202) {
        return Ok(serde_json::from_str(&answer.body)?);
    }
    Err(refusal(answer))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{LOOK_EVERY, PATIENCE, content};
    use crate::health_client::Answer;

    #[test]
    fn a_refusal_says_why() {
        let refused = Answer { status: 409, body: r#"{"detail":"backup 3 is running"}"#.into() };
        assert_eq!(content(&refused).unwrap_err().to_string(), "the engine answers 409: backup 3 is running");
    }

    #[test]
    fn an_engine_may_be_silent_for_some_seconds() {
        assert!(LOOK_EVERY * PATIENCE >= Duration::from_secs(10));
    }
}
