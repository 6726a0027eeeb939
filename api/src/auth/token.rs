//! The text of a token and its hash.
//!
//! A token reads `bbt_<id>_<secret>`: a prefix that secret scanners can look for, 8 hexadecimal digits by which
//! people tell tokens apart, and 64 of secret. The hash covers the whole text.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, de};
use sha2::{Digest as _, Sha256};

/// The SHA-256 of a token.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// The hash of a token's whole text.
    #[must_use]
    pub fn of(token: &str) -> Self {
        Self(Sha256::digest(token.as_bytes()).into())
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for TokenHash {
    /// Hides the value: a printed configuration must not help to guess.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash(..)")
    }
}

impl fmt::Display for TokenHash {
    /// 64 hexadecimal digits, as the configuration wants them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(&self.0).fmt(f)
    }
}

impl FromStr for TokenHash {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || "a token's sha256 is 64 hexadecimal digits: make one with `busbar token create`".to_owned();
        if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        let mut bytes = [0; 32];
        for (byte, at) in bytes.iter_mut().zip((0..64).step_by(2)) {
            let pair = text.get(at..at + 2).ok_or_else(wrong)?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| wrong())?;
        }
        Ok(Self(bytes))
    }
}

impl<'de> Deserialize<'de> for TokenHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// A token that was just made. Its text exists nowhere else and is shown once.
pub struct NewToken {
    text: String,
}

impl NewToken {
    /// Makes a token of 256 random bits.
    #[must_use]
    pub fn create() -> Self {
        let id: [u8; 4] = rand::random();
        let secret: [u8; 32] = rand::random();
        Self { text: format!("bbt_{}_{}", hex(&id), hex(&secret)) }
    }

    /// The token, to be given to its holder.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What the configuration keeps of it.
    #[must_use]
    pub fn hash(&self) -> TokenHash {
        TokenHash::of(&self.text)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
