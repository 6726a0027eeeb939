//! The list of keys: for each its variable, its flag, its help, and how it is read and written as text.
//!
//! Invariant: variable and flag follow from the key (`http.addr`, `BUSBAR_HTTP_ADDR`, `--http-addr`), and the
//! default in the help is the default of [`Config`]; a test says so.

mod scalar;

use self::scalar::Scalar;
use super::Config;

/// One key that a variable or a flag can set.
#[derive(Debug)]
pub struct Setting {
    /// The key in the file, with its section: `http.addr`.
    pub key: &'static str,
    /// The variable: `BUSBAR_HTTP_ADDR`.
    pub variable: &'static str,
    /// The flag without its dashes: `http-addr`.
    pub flag: &'static str,
    /// What the value is called in the help.
    pub placeholder: &'static str,
    /// What it does.
    pub help: &'static str,
    /// The help with variable and default, for `--help`.
    pub long_help: &'static str,
    /// The default, as it is written in the file.
    pub default: &'static str,
    /// Whether the flag alone means `true`.
    pub is_switch: bool,
    /// The value, as it is written in the file. `None` for keys that are tables.
    pub get: fn(&Config) -> Option<String>,
    /// Sets the value from the text of a variable or flag.
    pub set: fn(&mut Config, &str) -> Result<(), String>,
}

macro_rules! setting {
    ($key:literal, $variable:literal, $flag:literal, $placeholder:literal, $default:literal, $($field:ident).+, $help:literal) => {
        Setting {
            key: $key,
            variable: $variable,
            flag: $flag,
            placeholder: $placeholder,
            help: $help,
            long_help: concat!($help, " [env: ", $variable, "] [default: ", $default, "]"),
            default: $default,
            is_switch: is_switch(|config: &Config| &config.$($field).+),
            get: |config| config.$($field).+.to_toml(),
            set: |config, text| {
                config.$($field).+ = Scalar::from_text(text)?;
                Ok(())
            },
        }
    };
}

/// Whether the type of a field is a switch.
const fn is_switch<T: Scalar>(_: fn(&Config) -> &T) -> bool {
    T::IS_SWITCH
}

/// Every key that a variable or a flag can set, in the order of the file.
pub const SETTINGS: &[Setting] = &[
    setting!(
        "data_dir",
        "BUSBAR_DATA_DIR",
        "data-dir",
        "DIR",
        "\"./busbar-data\"",
        data_dir,
        "Folder of the log, the tables and the registry."
    ),
    setting!(
        "insecure",
        "BUSBAR_INSECURE",
        "insecure",
        "BOOL",
        "false",
        insecure,
        "Listen beyond this machine although no token is configured."
    ),
    setting!(
        "rules_file",
        "BUSBAR_RULES_FILE",
        "rules-file",
        "FILE",
        "none",
        rules_file,
        "A YAML file of alert rules."
    ),
    setting!(
        "http.addr",
        "BUSBAR_HTTP_ADDR",
        "http-addr",
        "IP:PORT",
        "\"127.0.0.1:8181\"",
        http.addr,
        "Where HTTP listens."
    ),
    setting!(
        "http.connections",
        "BUSBAR_HTTP_CONNECTIONS",
        "http-connections",
        "COUNT",
        "4096",
        http.connections,
        "HTTP connections at one time; further ones wait."
    ),
    setting!(
        "http.request_timeout",
        "BUSBAR_HTTP_REQUEST_TIMEOUT",
        "http-request-timeout",
        "SPAN",
        "\"1m\"",
        http.request_timeout,
        "How long a request may take."
    ),
    setting!(
        "http.drain_timeout",
        "BUSBAR_HTTP_DRAIN_TIMEOUT",
        "http-drain-timeout",
        "SPAN",
        "\"15s\"",
        http.drain_timeout,
        "How long requests may go on after SIGTERM."
    ),
    setting!(
        "mqtt.addr",
        "BUSBAR_MQTT_ADDR",
        "mqtt-addr",
        "IP:PORT",
        "\"127.0.0.1:1883\"",
        mqtt.addr,
        "Where MQTT listens."
    ),
    setting!(
        "memory.max_bytes",
        "BUSBAR_MEMORY_MAX_BYTES",
        "memory-max-bytes",
        "SIZE|auto",
        "\"auto\"",
        memory.max_bytes,
        "Memory of everything below together; auto: 60 % of what the process may have. Parts that say auto share it."
    ),
    setting!(
        "limits.v1_body_bytes",
        "BUSBAR_LIMITS_V1_BODY_BYTES",
        "limits-v1-body-bytes",
        "SIZE",
        "\"25MB\"",
        limits.v1_body_bytes,
        "Body of /write, before and after decompression."
    ),
    setting!(
        "limits.v2_body_bytes",
        "BUSBAR_LIMITS_V2_BODY_BYTES",
        "limits-v2-body-bytes",
        "SIZE",
        "\"25MB\"",
        limits.v2_body_bytes,
        "Body of /api/v2/write, before and after decompression."
    ),
    setting!(
        "limits.v3_body_bytes",
        "BUSBAR_LIMITS_V3_BODY_BYTES",
        "limits-v3-body-bytes",
        "SIZE",
        "\"10MiB\"",
        limits.v3_body_bytes,
        "Body of /api/v3/write_lp, before and after decompression."
    ),
    setting!(
        "limits.body_memory",
        "BUSBAR_LIMITS_BODY_MEMORY",
        "limits-body-memory",
        "SIZE|auto",
        "\"auto\"",
        limits.body_memory,
        "Memory of all request bodies together; beyond it writers get 429."
    ),
    setting!(
        "write.create_on_write",
        "BUSBAR_WRITE_CREATE_ON_WRITE",
        "write-create-on-write",
        "BOOL",
        "true",
        write.create_on_write,
        "Make a database when it is first written to."
    ),
    setting!(
        "write.memtable_bytes",
        "BUSBAR_WRITE_MEMTABLE_BYTES",
        "write-memtable-bytes",
        "SIZE|auto",
        "\"auto\"",
        write.memtable_bytes,
        "Memory of rows that are not in files yet; beyond it writers get 429."
    ),
    setting!(
        "write.series_bytes",
        "BUSBAR_WRITE_SERIES_BYTES",
        "write-series-bytes",
        "SIZE|auto",
        "\"auto\"",
        write.series_bytes,
        "Memory of the series index; beyond it new series are refused."
    ),
    setting!(
        "log.segment_bytes",
        "BUSBAR_LOG_SEGMENT_BYTES",
        "log-segment-bytes",
        "SIZE",
        "\"64MiB\"",
        log.segment_bytes,
        "One segment of the log, which is trimmed by whole segments."
    ),
    setting!(
        "log.recovery",
        "BUSBAR_LOG_RECOVERY",
        "log-recovery",
        "strict|salvage",
        "\"strict\"",
        log.recovery,
        "With a damaged log: refuse to start, or set the damage aside, report it and go on."
    ),
    setting!(
        "flush.bytes",
        "BUSBAR_FLUSH_BYTES",
        "flush-bytes",
        "SIZE|auto",
        "\"auto\"",
        flush.bytes,
        "Rows go to files when they take this much memory."
    ),
    setting!(
        "flush.age",
        "BUSBAR_FLUSH_AGE",
        "flush-age",
        "SPAN",
        "\"10m\"",
        flush.age,
        "Rows go to files when the oldest is this old."
    ),
    setting!(
        "disk.max_bytes",
        "BUSBAR_DISK_MAX_BYTES",
        "disk-max-bytes",
        "SIZE",
        "\"10GiB\"",
        disk.max_bytes,
        "Log and staged files on the local disk; beyond it writers get 503."
    ),
    setting!(
        "store.url",
        "BUSBAR_STORE_URL",
        "store-url",
        "URL",
        "none",
        store.url,
        "Where tables are: s3://BUCKET/PREFIX; without it, in data_dir."
    ),
    setting!(
        "store.endpoint",
        "BUSBAR_STORE_ENDPOINT",
        "store-endpoint",
        "URL",
        "none",
        store.endpoint,
        "The S3 server; without it, AWS."
    ),
    setting!(
        "store.region",
        "BUSBAR_STORE_REGION",
        "store-region",
        "NAME",
        "none",
        store.region,
        "The region; without it, that of AWS_REGION, or us-east-1."
    ),
    setting!(
        "store.path_style",
        "BUSBAR_STORE_PATH_STYLE",
        "store-path-style",
        "BOOL",
        "true",
        store.path_style,
        "Name the bucket in the path of URLs, not in their host."
    ),
    setting!(
        "store.allow_http",
        "BUSBAR_STORE_ALLOW_HTTP",
        "store-allow-http",
        "BOOL",
        "false",
        store.allow_http,
        "Reach the S3 server without TLS."
    ),
    setting!(
        "store.access_key_id",
        "BUSBAR_STORE_ACCESS_KEY_ID",
        "store-access-key-id",
        "ID",
        "none",
        store.access_key_id,
        "The key for S3; without it, AWS_* or the role of the machine."
    ),
    setting!(
        "store.secret_file",
        "BUSBAR_STORE_SECRET_FILE",
        "store-secret-file",
        "FILE",
        "none",
        store.secret_file,
        "A file with the secret of that key."
    ),
    setting!(
        "store.cache.bytes",
        "BUSBAR_STORE_CACHE_BYTES",
        "store-cache-bytes",
        "SIZE",
        "\"1GiB\"",
        store.cache.bytes,
        "Local cache of the files of a remote store."
    ),
    setting!(
        "cluster.shared",
        "BUSBAR_CLUSTER_SHARED",
        "cluster-shared",
        "BOOL",
        "false",
        cluster.shared,
        "Whether other processes have the tables of store.url too."
    ),
    setting!(
        "cluster.refresh",
        "BUSBAR_CLUSTER_REFRESH",
        "cluster-refresh",
        "SPAN",
        "\"5s\"",
        cluster.refresh,
        "How often a table is asked for what they have committed."
    ),
    setting!(
        "compaction.enabled",
        "BUSBAR_COMPACTION_ENABLED",
        "compaction-enabled",
        "BOOL",
        "true",
        compaction.enabled,
        "Whether small files of tables are merged; nodes that share tables take turns."
    ),
    setting!(
        "compaction.target_bytes",
        "BUSBAR_COMPACTION_TARGET_BYTES",
        "compaction-target-bytes",
        "SIZE",
        "\"512MiB\"",
        compaction.target_bytes,
        "Files of this size are large enough."
    ),
    setting!(
        "compaction.settle",
        "BUSBAR_COMPACTION_SETTLE",
        "compaction-settle",
        "SPAN",
        "\"1h\"",
        compaction.settle,
        "A day without new rows for so long gets as few files as its size allows."
    ),
    setting!(
        "compaction.cpu_percent",
        "BUSBAR_COMPACTION_CPU_PERCENT",
        "compaction-cpu-percent",
        "COUNT",
        "50",
        compaction.cpu_percent,
        "The share of one processor that merging may take."
    ),
    setting!(
        "compaction.memory_bytes",
        "BUSBAR_COMPACTION_MEMORY_BYTES",
        "compaction-memory-bytes",
        "SIZE|auto",
        "\"auto\"",
        compaction.memory_bytes,
        "Memory of the files that are merged at a time."
    ),
    setting!(
        "compaction.keep_replaced",
        "BUSBAR_COMPACTION_KEEP_REPLACED",
        "compaction-keep-replaced",
        "SPAN",
        "\"1day\"",
        compaction.keep_replaced,
        "How long a file stays after another has taken its place, or its rows have expired."
    ),
    setting!(
        "retention.default",
        "BUSBAR_RETENTION_DEFAULT",
        "retention-default",
        "PERIOD",
        "\"forever\"",
        retention.default,
        "How long rows are kept for which neither table nor database says anything."
    ),
    setting!(
        "last_values.max_bytes",
        "BUSBAR_LAST_VALUES_MAX_BYTES",
        "last-values-max-bytes",
        "SIZE|auto",
        "\"auto\"",
        last_values.max_bytes,
        "Memory of last values; latest() of a table that does not fit is computed from its rows."
    ),
    setting!(
        "quarantine.max_bytes",
        "BUSBAR_QUARANTINE_MAX_BYTES",
        "quarantine-max-bytes",
        "SIZE",
        "\"64MiB\"",
        quarantine.max_bytes,
        "Lines that cannot be stored and are kept for a later try; beyond it they are refused and forgotten."
    ),
    setting!(
        "quarantine.max_age",
        "BUSBAR_QUARANTINE_MAX_AGE",
        "quarantine-max-age",
        "PERIOD",
        "\"30days\"",
        quarantine.max_age,
        "How long such a line is kept."
    ),
    setting!(
        "query.deadline",
        "BUSBAR_QUERY_DEADLINE",
        "query-deadline",
        "SPAN",
        "\"30s\"",
        query.deadline,
        "How long a query may run."
    ),
    setting!(
        "query.memory_bytes",
        "BUSBAR_QUERY_MEMORY_BYTES",
        "query-memory-bytes",
        "SIZE|auto",
        "\"auto\"",
        query.memory_bytes,
        "Memory of all queries together."
    ),
    setting!(
        "query.concurrency",
        "BUSBAR_QUERY_CONCURRENCY",
        "query-concurrency",
        "COUNT",
        "16",
        query.concurrency,
        "Queries at one time."
    ),
    setting!(
        "logging.format",
        "BUSBAR_LOGGING_FORMAT",
        "logging-format",
        "text|json",
        "\"text\"",
        logging.format,
        "Log lines for people or for machines."
    ),
    setting!(
        "logging.filter",
        "BUSBAR_LOGGING_FILTER",
        "logging-filter",
        "FILTER",
        "\"info,buoyant_kernel=warn,deltalake_core=warn\"",
        logging.filter,
        "What is logged: a level, then exceptions by module."
    ),
    setting!(
        "tokens",
        "BUSBAR_TOKENS",
        "tokens",
        "NAME=SHA256,...",
        "none",
        tokens,
        "Who may use the engine; `busbar token create` makes one."
    ),
];
