//! Which store holds the tables: the local disk, S3, or one that is handed in.
//!
//! Invariants: a put that was answered is durable. Creating an object that exists fails, whoever made it, which
//! is what the commits of Delta tables stand on: S3 does it by `If-None-Match: *`, without a table of locks.
//! A remote store is one that may be away for a while; the local disk is not.

use std::fmt;
use std::path::Path as FsPath;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3, AmazonS3Builder, S3ConditionalPut};
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{ClientOptions, ObjectStore, RetryConfig};

use super::{CachedStore, DurableLocalStore, RetryPolicy, RetryingStore, StoreActivity};
use crate::disk::Disk;
use crate::error::{Error, Result};

/// How long a connection may take to be made. Across the world it takes 0.3 s, with one lost packet 1.3 s.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Where tables are, and how patiently they are asked for.
#[derive(Debug, Clone, Default)]
pub struct StoreSettings {
    /// The store.
    pub tables: TableStore,
    /// How often and how long a request to a remote store is repeated.
    pub retry: RetryPolicy,
    /// Bytes of the local cache of a remote store's files; 0 is none.
    pub cache_bytes: u64,
    /// What is counted.
    pub activity: Arc<StoreActivity>,
}

/// The store of the tables.
#[derive(Debug, Clone, Default)]
pub enum TableStore {
    /// `tables/` in the data directory.
    #[default]
    Local,
    /// A bucket of S3 or of a server that speaks its protocol.
    S3(S3Config),
    /// The store itself: in-memory ones and those that fail on purpose, in tests. It counts as remote.
    Given(Arc<dyn ObjectStore>),
}

/// A store that is open.
pub(crate) struct OpenStore {
    /// It.
    pub(crate) store: Arc<dyn ObjectStore>,
    /// The cache in front of it, if there is one.
    pub(crate) cache: Option<CachedStore>,
    /// Itself, if it is the local disk.
    pub(crate) local: Option<DurableLocalStore>,
}

/// A place in an S3 bucket.
#[derive(Debug, Clone)]
pub struct S3Config {
    /// The bucket, which exists.
    pub bucket: String,
    /// What the name of every object begins with, as in a URL (`a%20b`); may be empty.
    pub prefix: String,
    /// The server's URL; `None` for AWS.
    pub endpoint: Option<String>,
    /// The region; `None` takes that of the environment, or `us-east-1`.
    pub region: Option<String>,
    /// Whether the bucket is named in the path of a URL rather than in its host.
    pub path_style: bool,
    /// Whether the endpoint may be reached without TLS.
    pub allow_http: bool,
    /// Who asks.
    pub credentials: Credentials,
}

/// Who asks S3.
#[derive(Clone)]
pub enum Credentials {
    /// The variables `AWS_*`, a web identity or the machine's own role, in the order of AWS's tools.
    Environment,
    /// A key.
    Key {
        /// Its public half.
        access_key_id: String,
        /// Its secret half.
        secret_access_key: String,
    },
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment => f.write_str("Environment"),
            Self::Key { access_key_id, .. } => {
                f.debug_struct("Key").field("id", access_key_id).finish_non_exhaustive()
            }
        }
    }
}

impl StoreSettings {
    /// Whether the store may be away for a while.
    #[must_use]
    pub fn is_remote(&self) -> bool {
        !matches!(self.tables, TableStore::Local)
    }

    /// Opens the store; `local` is the folder of local tables on `disk`, `cache` that of the cache. A remote store is not
    /// asked anything yet.
    ///
    /// # Errors
    /// A folder cannot be made; what is wrong with the settings of S3.
    pub fn open(&self, disk: Arc<dyn Disk>, local: &FsPath, cache: &FsPath) -> Result<Arc<dyn ObjectStore>> {
        Ok(self.open_parts(disk, local, cache)?.store)
    }

    /// As [`open`](Self::open), and what the store is made of.
    pub(crate) fn open_parts(
        &self,
        disk: Arc<dyn Disk>,
        local: &FsPath,
        cache: &FsPath,
    ) -> Result<OpenStore> {
        let remote: Arc<dyn ObjectStore> = match &self.tables {
            TableStore::Local => {
                let local = DurableLocalStore::open_on(local, disk)?;
                return Ok(OpenStore { store: Arc::new(local.clone()), cache: None, local: Some(local) });
            }
            TableStore::S3(config) => {
                let client = s3(config, self.retry.attempt_timeout)?;
                let patient = RetryingStore::new(client, self.retry, Arc::clone(&self.activity));
                let prefix = Path::from_url_path(&config.prefix).map_err(object_store::Error::from)?;
                Arc::new(PrefixStore::new(patient, prefix))
            }
            TableStore::Given(store) => Arc::clone(store),
        };
        if self.cache_bytes == 0 {
            return Ok(OpenStore { store: remote, cache: None, local: None });
        }
        let cached = CachedStore::open(remote, cache, self.cache_bytes, Arc::clone(&self.activity));
        let cached = cached.map_err(Error::io("cannot make the cache in", cache))?;
        Ok(OpenStore { store: Arc::new(cached.clone()), cache: Some(cached), local: None })
    }
}

/// A client that sends each request once: whether a lost answer may be asked for again is not for it to know.
fn s3(config: &S3Config, attempt_timeout: Duration) -> Result<AmazonS3> {
    let once = RetryConfig { max_retries: 0, ..RetryConfig::default() };
    let options = ClientOptions::new()
        .with_timeout(attempt_timeout)
        .with_connect_timeout(CONNECT_TIMEOUT)
        .with_allow_http(config.allow_http);
    let mut builder = match &config.credentials {
        Credentials::Environment => AmazonS3Builder::from_env(),
        Credentials::Key { access_key_id, secret_access_key } => {
            AmazonS3Builder::new().with_access_key_id(access_key_id).with_secret_access_key(secret_access_key)
        }
    };
    if let Some(endpoint) = &config.endpoint {
        builder = builder.with_endpoint(endpoint);
    }
    if let Some(region) = &config.region {
        builder = builder.with_region(region);
    }
    let builder = builder
        .with_bucket_name(&config.bucket)
        .with_virtual_hosted_style_request(!config.path_style)
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        .with_retry(once)
        .with_client_options(options);
    Ok(builder.build()?)
}
