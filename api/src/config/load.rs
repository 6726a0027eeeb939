//! Reads the configuration: defaults, then the file, then variables, then flags.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::{Config, SETTINGS, Setting};

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("cannot read the configuration {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The file is not what it should be.
    #[error("configuration {path}: {source}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
    /// A variable or flag does not hold what it should.
    #[error("{origin}: {message}")]
    Value {
        /// The variable, or the flag with its dashes.
        origin: String,
        /// What is wrong.
        message: String,
    },
    /// Keys that do not go together.
    #[error("{0}")]
    Rule(String),
    /// Other machines could use the engine without a token.
    #[error(
        "{key} = {addr} can be reached from other machines and no token is configured: make one with \
         `busbar token create --name NAME`, or listen on 127.0.0.1, or say --insecure"
    )]
    Exposed {
        /// The key of the listener.
        key: &'static str,
        /// Where it would listen.
        addr: SocketAddr,
    },
}

/// The effective configuration. An empty variable counts as absent, because compose files pass on what is not set.
///
/// # Errors
/// When the file cannot be read or a value is wrong; the message names the key, the variable or the flag.
pub fn load(
    file: Option<&Path>,
    variable: impl Fn(&str) -> Option<String>,
    flag: impl Fn(&Setting) -> Option<String>,
) -> Result<Config, ConfigError> {
    let mut config = match file {
        None => Config::default(),
        Some(path) => read(path)?,
    };
    for setting in SETTINGS {
        let by_variable = variable(setting.variable).filter(|text| !text.is_empty());
        let by_flag = flag(setting);
        let origins = [(by_variable, setting.variable.to_owned()), (by_flag, format!("--{}", setting.flag))];
        for (text, origin) in origins {
            if let Some(text) = text {
                (setting.set)(&mut config, &text)
                    .map_err(|message| ConfigError::Value { origin, message })?;
            }
        }
    }
    config.check()?;
    Ok(config)
}

fn read(path: &Path) -> Result<Config, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    toml::from_str(&text)
        .map_err(|source| ConfigError::Parse { path: path.to_owned(), source: Box::new(source) })
}
