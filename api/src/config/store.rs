//! Where tables are: the sections `[store]` and `[disk]`, and what they mean.
//!
//! Invariant: a secret stands in a file of its own, never in the configuration, so nothing here can print one.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use storage::backup::Place;
use storage::object::{Credentials, S3Config, TableStore};
use url::Url;

use super::{ByteSize, Config, ConfigError};

/// The smallest cache that is of use: sixteen blocks, the columns of one query.
const LEAST_CACHE: ByteSize = ByteSize::mebibytes(16);

/// The store of the tables.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Store {
    /// `s3://BUCKET/PREFIX`; none: in the data directory.
    pub url: Option<String>,
    /// The S3 server; none: AWS.
    pub endpoint: Option<String>,
    /// Its region.
    pub region: Option<String>,
    /// Whether the bucket is named in the path of URLs rather than in their host.
    pub path_style: bool,
    /// Whether the server may be reached without TLS.
    pub allow_http: bool,
    /// The key; none: from the environment.
    pub access_key_id: Option<String>,
    /// A file with the key's secret.
    pub secret_file: Option<PathBuf>,
    /// The cache of its files.
    pub cache: Cache,
}

/// The cache of a remote store's files.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cache {
    /// How much of the local disk it may take; 0: none.
    pub bytes: ByteSize,
}

/// The local disk.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Disk {
    /// Log and staged files. At this bound writes are told to come again later.
    pub max_bytes: ByteSize,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            url: None,
            endpoint: None,
            region: None,
            // AWS and every server that speaks S3 takes it; names in hosts need a DNS of their own.
            path_style: true,
            allow_http: false,
            access_key_id: None,
            secret_file: None,
            cache: Cache::default(),
        }
    }
}

impl Default for Cache {
    fn default() -> Self {
        // A day of 100,000 points/min at 7 bytes a row.
        Self { bytes: ByteSize::mebibytes(1_024) }
    }
}

impl Default for Disk {
    fn default() -> Self {
        // See `storage::limits::DISK_BYTES`.
        Self { max_bytes: ByteSize::mebibytes(10_240) }
    }
}

impl Config {
    /// Where tables are.
    ///
    /// # Errors
    /// What is wrong with `[store]`, with the key to change.
    pub fn table_store(&self) -> Result<TableStore, ConfigError> {
        let store = &self.store;
        if store.cache.bytes < LEAST_CACHE && store.cache.bytes.0 > 0 {
            return rule(format!(
                "store.cache.bytes is {} but a cache has at least {LEAST_CACHE}: raise it, or say 0 for none",
                store.cache.bytes
            ));
        }
        let Some(url) = &store.url else {
            let needless = [
                ("store.endpoint", store.endpoint.is_some()),
                ("store.region", store.region.is_some()),
                ("store.access_key_id", store.access_key_id.is_some()),
                ("store.secret_file", store.secret_file.is_some()),
            ];
            return match needless.iter().find(|(_, is_set)| *is_set) {
                Some((key, _)) => {
                    rule(format!("{key} is set but store.url is not: set store.url = \"s3://BUCKET/PREFIX\""))
                }
                None => Ok(TableStore::Local),
            };
        };
        Ok(TableStore::S3(self.s3(place("store.url", url)?)?))
    }

    /// Where backups are: a folder, or `s3://BUCKET/PREFIX` with everything else as `[store]` has it.
    ///
    /// # Errors
    /// What is wrong with the text or with `[store]`.
    pub fn backup_place(&self, text: &str) -> Result<Place, ConfigError> {
        if text.contains("://") {
            return Ok(Place::S3(self.s3(place("the place of backups", text)?)?));
        }
        if text.is_empty() {
            return rule("the place of backups is empty: name a folder, or s3://BUCKET/PREFIX".into());
        }
        Ok(Place::Folder(text.into()))
    }

    fn s3(&self, (bucket, prefix): (String, String)) -> Result<S3Config, ConfigError> {
        let store = &self.store;
        self.check_endpoint()?;
        Ok(S3Config {
            bucket,
            prefix,
            endpoint: store.endpoint.clone(),
            region: store.region.clone(),
            path_style: store.path_style,
            allow_http: store.allow_http,
            credentials: self.credentials()?,
        })
    }

    fn check_endpoint(&self) -> Result<(), ConfigError> {
        let Some(endpoint) = &self.store.endpoint else { return Ok(()) };
        match Url::parse(endpoint) {
            Ok(url) if !url.username().is_empty() || url.password().is_some() => rule(
                "store.endpoint holds a user: set store.access_key_id and store.secret_file instead".into(),
            ),
            Ok(url) if url.scheme() == "https" => Ok(()),
            Ok(url) if url.scheme() == "http" && self.store.allow_http => Ok(()),
            Ok(url) if url.scheme() == "http" => rule(format!(
                "store.endpoint = {endpoint:?} is without TLS: write https://, or set store.allow_http = true"
            )),
            Ok(_) | Err(_) => rule(format!(
                "store.endpoint = {endpoint:?} is not a URL: write it as in \"https://s3.example.com\""
            )),
        }
    }

    fn credentials(&self) -> Result<Credentials, ConfigError> {
        match (&self.store.access_key_id, &self.store.secret_file) {
            (None, None) => Ok(Credentials::Environment),
            (Some(id), Some(file)) => {
                Ok(Credentials::Key { access_key_id: id.clone(), secret_access_key: secret(file)? })
            }
            (Some(_), None) => rule(
                "store.access_key_id is set but store.secret_file is not: name the file with the secret"
                    .into(),
            ),
            (None, Some(_)) => rule(
                "store.secret_file is set but store.access_key_id is not: name the key of the secret".into(),
            ),
        }
    }
}

fn rule<T>(message: String) -> Result<T, ConfigError> {
    Err(ConfigError::Rule(message))
}

/// Bucket and prefix. What is wrong is not shown: a URL may hold a password.
fn place(what: &str, url: &str) -> Result<(String, String), ConfigError> {
    let wrong = || ConfigError::Rule(format!("{what} is not a place: write it as in \"s3://BUCKET/PREFIX\""));
    let url = Url::parse(url).map_err(|_| wrong())?;
    let is_plain = url.username().is_empty()
        && url.password().is_none()
        && url.port().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    let bucket = url.host_str().filter(|_| is_plain && url.scheme() == "s3").ok_or_else(wrong)?;
    Ok((bucket.to_owned(), url.path().trim_matches('/').to_owned()))
}

fn secret(file: &Path) -> Result<String, ConfigError> {
    let wrong = |why: String| ConfigError::Rule(format!("store.secret_file {}: {why}", file.display()));
    let text = std::fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
    let text = text.trim();
    if text.is_empty() { Err(wrong("it is empty".into())) } else { Ok(text.to_owned()) }
}
