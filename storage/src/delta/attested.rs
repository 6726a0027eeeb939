//! What a commit says of the whole table, so that a line of its log that is lost to a flipped bit is missed.
//!
//! An `add` proves itself (see [`action`](super::action)), but a key with a flipped bit is an unknown action, which
//! readers of Delta Lake skip: the file would silently be gone. So the `commitInfo` of each commit holds under
//! `busbar.table` how many files the table has after it, the sum of the checksums of their paths, and the
//! transaction. At open that of the newest commit must agree with what was read.
//!
//! Invariant: a table that opens has exactly the files that its newest commit says. A newest commit by another
//! engine says nothing, and is believed.

use deltalake_core::kernel::Action;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::TableLog;
use crate::error::{Error, Result};

/// The key in `commitInfo`.
const KEY: &str = "busbar.table";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Attestation {
    files: u64,
    /// The sum of the CRC-32C of all paths, so that it does not depend on their order.
    #[serde(with = "hexadecimal")]
    paths: u64,
    /// The newest transaction of whoever committed: name and version.
    transaction: Option<(String, i64)>,
}

/// A number as text that is as long whatever it is, so that a commit is as long whatever its files are called.
mod hexadecimal {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(number: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format!("{number:016x}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        u64::from_str_radix(&String::deserialize(deserializer)?, 16).map_err(D::Error::custom)
    }
}

impl Attestation {
    fn add(&mut self, path: &str) {
        self.files = self.files.wrapping_add(1);
        self.paths = self.paths.wrapping_add(u64::from(crc32c::crc32c(path.as_bytes())));
    }

    fn remove(&mut self, path: &str) {
        self.files = self.files.wrapping_sub(1);
        self.paths = self.paths.wrapping_sub(u64::from(crc32c::crc32c(path.as_bytes())));
    }
}

impl TableLog {
    /// What `commitInfo` says of the table when `actions` are committed on top of what this value knows.
    pub(super) fn attest(
        &self,
        actions: &[Action],
        transaction: Option<(&str, i64)>,
    ) -> Result<(String, Value)> {
        let transaction = transaction.map(|(app_id, version)| (app_id.to_owned(), version));
        let mut now = self.attestation(transaction)?;
        for action in actions {
            match action {
                Action::Add(add) => now.add(&add.path),
                Action::Remove(remove) => now.remove(&remove.path),
                _ => {}
            }
        }
        let value = serde_json::to_value(now).map_err(|error| Error::Internal(error.to_string()))?;
        Ok((KEY.to_owned(), value))
    }

    /// Holds the table against what its newest commit says.
    pub(super) async fn attested(&self, app_id: &str) -> Result<()> {
        let Some(bytes) = self.log_store.read_commit_entry(self.version()).await? else { return Ok(()) };
        let lines = std::str::from_utf8(&bytes).unwrap_or_default().lines();
        let info = lines.filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let said = info.filter_map(|line| line.get("commitInfo")?.get(KEY).cloned()).next();
        let Some(said) = said else { return Ok(()) };
        let damaged = |what: &str| {
            Error::Damaged(format!(
                "the log of table {} is damaged: {what}; restore it from a backup (version {})",
                self.folder,
                self.version()
            ))
        };
        let said: Attestation =
            serde_json::from_value(said).map_err(|_| damaged("its newest commit is not readable"))?;
        let found = self.attestation(said.transaction.clone())?;
        if found != said {
            let (has, must) = (found.files, said.files);
            return Err(damaged(&format!("it names {has} files, and its newest commit says {must} others")));
        }
        match said.transaction {
            Some((name, version)) if name == app_id && self.transaction_version(app_id) != Some(version) => {
                Err(damaged("its newest transaction is not the one that was committed"))
            }
            _ => Ok(()),
        }
    }

    fn attestation(&self, transaction: Option<(String, i64)>) -> Result<Attestation> {
        let mut now = Attestation { files: 0, paths: 0, transaction };
        for file in self.state.snapshot().try_log_data()?.iter() {
            now.add(&file.path());
        }
        Ok(now)
    }
}
