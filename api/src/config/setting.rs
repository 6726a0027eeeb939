//! The list of keys: for each its variable, its flag, its help, and how it is read and written as text.
//!
//! Invariant: variable and flag follow from the key (`http.addr`, `BUSBAR_HTTP_ADDR`, `--http-addr`), and the
//! default in the help is the default of [`Config`]; a test says so.

use std::fmt::Display;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::{ByteSize, Config, LogFormat, Recovery, Span, Token};

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

/// A value that a variable or flag can hold.
trait Scalar: Sized {
    const IS_SWITCH: bool = false;
    /// From the text of a variable or flag.
    fn from_text(text: &str) -> Result<Self, String>;
    /// As it is written in the file.
    fn to_toml(&self) -> Option<String>;
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
        "SIZE",
        "\"128MiB\"",
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
        "SIZE",
        "\"512MiB\"",
        write.memtable_bytes,
        "Memory of rows that are not in files yet; beyond it writers get 429."
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
        "SIZE",
        "\"64MiB\"",
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
        "SIZE",
        "\"512MiB\"",
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

fn quoted(value: &impl Display) -> Option<String> {
    Some(toml::Value::String(value.to_string()).to_string())
}

impl Scalar for PathBuf {
    fn from_text(text: &str) -> Result<Self, String> {
        Ok(text.into())
    }

    fn to_toml(&self) -> Option<String> {
        quoted(&self.display())
    }
}

impl Scalar for Option<PathBuf> {
    fn from_text(text: &str) -> Result<Self, String> {
        Ok(Some(text.into()))
    }

    fn to_toml(&self) -> Option<String> {
        self.as_ref().and_then(|path| quoted(&path.display()))
    }
}

impl Scalar for bool {
    const IS_SWITCH: bool = true;

    fn from_text(text: &str) -> Result<Self, String> {
        match text {
            "true" | "1" => Ok(true),
            "false" | "0" => Ok(false),
            _ => Err(format!("{text:?} is neither true nor false")),
        }
    }

    fn to_toml(&self) -> Option<String> {
        Some(self.to_string())
    }
}

impl Scalar for usize {
    fn from_text(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| format!("{text:?} is not a whole number"))
    }

    fn to_toml(&self) -> Option<String> {
        Some(self.to_string())
    }
}

impl Scalar for SocketAddr {
    fn from_text(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| format!("{text:?} is not an address: write IP:PORT, such as 127.0.0.1:8181"))
    }

    fn to_toml(&self) -> Option<String> {
        quoted(self)
    }
}

impl Scalar for ByteSize {
    fn from_text(text: &str) -> Result<Self, String> {
        text.parse()
    }

    fn to_toml(&self) -> Option<String> {
        quoted(self)
    }
}

impl Scalar for Span {
    fn from_text(text: &str) -> Result<Self, String> {
        text.parse()
    }

    fn to_toml(&self) -> Option<String> {
        quoted(self)
    }
}

impl Scalar for String {
    fn from_text(text: &str) -> Result<Self, String> {
        Ok(text.to_owned())
    }

    fn to_toml(&self) -> Option<String> {
        quoted(self)
    }
}

impl Scalar for LogFormat {
    fn from_text(text: &str) -> Result<Self, String> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(format!("{text:?} is neither text nor json")),
        }
    }

    fn to_toml(&self) -> Option<String> {
        let name = match self {
            Self::Text => "text",
            Self::Json => "json",
        };
        quoted(&name)
    }
}

impl Scalar for Recovery {
    fn from_text(text: &str) -> Result<Self, String> {
        match text {
            "strict" => Ok(Self::Strict),
            "salvage" => Ok(Self::Salvage),
            _ => Err(format!("{text:?} is neither strict nor salvage")),
        }
    }

    fn to_toml(&self) -> Option<String> {
        let name = match self {
            Self::Strict => "strict",
            Self::Salvage => "salvage",
        };
        quoted(&name)
    }
}

impl Scalar for Vec<Token> {
    fn from_text(text: &str) -> Result<Self, String> {
        let one = |pair: &str| match pair.split_once('=') {
            Some((name, hash)) => Ok(Token { name: name.trim().to_owned(), sha256: hash.trim().parse()? }),
            None => Err("tokens are written NAME=SHA256, separated by commas".to_owned()),
        };
        text.split(',').filter(|pair| !pair.trim().is_empty()).map(one).collect()
    }

    fn to_toml(&self) -> Option<String> {
        None
    }
}
