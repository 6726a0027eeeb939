//! How a value is read from the text of a variable or flag, and written into the file.

use std::fmt::Display;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::config::{Auto, ByteSize, LogFormat, Period, Recovery, Span, Token};

/// A value that a variable or flag can hold.
pub(super) trait Scalar: Sized {
    const IS_SWITCH: bool = false;
    /// From the text of a variable or flag.
    fn from_text(text: &str) -> Result<Self, String>;
    /// As it is written in the file.
    fn to_toml(&self) -> Option<String>;
}

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

impl Scalar for Option<String> {
    fn from_text(text: &str) -> Result<Self, String> {
        Ok(Some(text.to_owned()))
    }

    fn to_toml(&self) -> Option<String> {
        self.as_ref().and_then(quoted)
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

impl Scalar for Auto {
    fn from_text(text: &str) -> Result<Self, String> {
        text.parse()
    }

    fn to_toml(&self) -> Option<String> {
        quoted(self)
    }
}

impl Scalar for Period {
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
