//! Records of the alert stream.
//!
//! A record is one byte (1, the version) and a JSON object: the log position up to which frames were applied,
//! the cause, and the transitions. Floats are texts, because they must come back bit for bit.
//!
//! Invariant: a record with cause [`Cause::Frame`] follows from the log alone; the other causes are inputs that
//! replay takes from the record (ALERT-2).

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::id;
use crate::rule::{Origin, RuleId, RuleSpec, Severity};

/// The version of the records that this code writes.
const VERSION: u8 = 1;

/// The state that a transition leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertState {
    /// The alert fired.
    Firing,
    /// The alert resolved.
    Resolved,
}

impl AlertState {
    /// The name, as it is shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Firing => "firing",
            Self::Resolved => "resolved",
        }
    }
}

/// Why a transition happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// `when` held for long enough.
    Condition,
    /// `clear` held.
    Cleared,
    /// The subject was silent for longer than `no_data`.
    NoData,
    /// The rule was changed so that its alerts do not go on.
    RuleChanged,
    /// The rule was switched off.
    RuleDisabled,
    /// The rule was deleted.
    RuleDeleted,
}

impl Reason {
    /// The name, as it is shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Condition => "condition",
            Self::Cleared => "cleared",
            Self::NoData => "no_data",
            Self::RuleChanged => "rule_changed",
            Self::RuleDisabled => "rule_disabled",
            Self::RuleDeleted => "rule_deleted",
        }
    }
}

/// One transition of an alert, with all that history and notifications say of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Transition {
    /// `hash(alert id, state)`.
    pub transition_id: String,
    /// `hash(rule id, database, subject, start of the episode)`.
    pub alert_id: String,
    /// The rule's name.
    pub rule: String,
    /// The rule's id.
    pub rule_id: RuleId,
    /// The version of the rule that fired.
    pub rule_version: u64,
    /// The database of the subject.
    pub database: String,
    /// The table of the subject.
    pub table: String,
    /// The subject as text, `table,tag=value`, tags sorted by name, spelled as in line protocol.
    pub subject: String,
    /// The series id of the subject in this node's log.
    pub series: u32,
    /// The tags of the subject.
    pub tags: BTreeMap<String, String>,
    /// The state that it leads to.
    pub state: AlertState,
    /// Why.
    pub reason: Reason,
    /// Event time, in nanoseconds since 1970.
    pub event_time: i64,
    /// Event time at which `when` began to hold, in nanoseconds since 1970.
    pub started_at: i64,
    /// The value that did it; `None` when no value did.
    #[serde(with = "exact", default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// Whether a late sample did it.
    pub late: bool,
    /// Whether it was withdrawn. Nothing withdraws transitions yet.
    pub withdrawn: bool,
    /// 1, and more when a later record corrects it.
    pub revision: u32,
    /// How grave the alert is.
    pub severity: Severity,
    /// The rule's labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The rule's annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// The receivers; a resolving goes to those that the firing went to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub receivers: Vec<String>,
    /// Wall-clock time of the recording, in nanoseconds since 1970.
    pub recorded_at: i64,
}

impl Transition {
    /// The alert id of an episode.
    pub(crate) fn alert_id(rule: RuleId, database: &str, subject: &str, since: i64) -> String {
        let rule = rule.uuid();
        id::hash("alert", &[rule.as_bytes(), database.as_bytes(), subject.as_bytes(), &since.to_le_bytes()])
    }

    /// The id of an alert's transition to a state.
    pub(crate) fn id_of(alert_id: &str, state: AlertState) -> String {
        id::hash("transition", &[alert_id.as_bytes(), state.as_str().as_bytes()])
    }
}

/// What made a record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum Cause {
    /// A frame of the log.
    Frame,
    /// Subjects were silent by the clock.
    Silence,
    /// Rules were changed.
    Rules {
        /// The changes, in their order.
        changes: Vec<RuleChange>,
    },
}

/// A change of one rule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub(crate) enum RuleChange {
    /// The rule is now this.
    Put {
        /// The rule.
        spec: Box<RuleSpec>,
        /// Its version.
        version: u64,
        /// Its owner.
        origin: Origin,
    },
    /// The rule is gone.
    Delete {
        /// Its name.
        name: String,
    },
}

/// One record, as it is read.
#[derive(Debug, Deserialize)]
pub(crate) struct AlertRecord {
    pub(crate) position: u64,
    pub(crate) cause: Cause,
    pub(crate) transitions: Vec<Transition>,
}

#[derive(Serialize)]
struct Borrowed<'a> {
    position: u64,
    cause: &'a Cause,
    transitions: Vec<&'a Transition>,
}

/// The bytes of a record.
pub(crate) fn encode(position: u64, cause: &Cause, transitions: &[Arc<Transition>]) -> Result<Vec<u8>> {
    let record = Borrowed { position, cause, transitions: transitions.iter().map(|t| &**t).collect() };
    to_bytes(&record)
}

/// The record of these bytes.
pub(crate) fn decode(bytes: &[u8]) -> Result<AlertRecord> {
    from_bytes(bytes, "alert")
}

/// A version byte and JSON.
pub(crate) fn to_bytes<T: Serialize>(value: &T) -> Result<Vec<u8>> {
    let mut bytes = vec![VERSION];
    serde_json::to_writer(&mut bytes, value).map_err(|e| Error::Internal(format!("encode a record: {e}")))?;
    Ok(bytes)
}

/// Reads what [`to_bytes`] wrote.
pub(crate) fn from_bytes<'a, T: Deserialize<'a>>(bytes: &'a [u8], what: &str) -> Result<T> {
    match bytes.split_first() {
        Some((&VERSION, json)) => {
            serde_json::from_slice(json).map_err(|e| Error::Damaged(format!("{what} record: {e}")))
        }
        version => {
            let version = version.map_or(0, |(v, _)| *v);
            Err(Error::Damaged(format!("{what} record of version {version}; this release reads {VERSION}")))
        }
    }
}

/// A float as its shortest exact text.
mod exact {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    #[expect(clippy::ref_option, reason = "serde calls it with a reference to the field")]
    pub(super) fn serialize<S: Serializer>(value: &Option<f64>, to: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => to.serialize_str(&value.to_string()),
            None => to.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<f64>, D::Error> {
        let text = Option::<String>::deserialize(from)?;
        text.map(|t| t.parse().map_err(D::Error::custom)).transpose()
    }
}
