//! Rules: what is written in YAML or JSON ([`RuleSpec`]), and what has passed every check ([`Rule`]).
//!
//! Invariants: a [`Rule`] comes only from [`RuleSpec::validate`], which reports all faults at once; no value
//! meets both `when` and `clear` of a rule; a rule's id follows from its name alone, so a rule keeps its
//! alerts' ids across restarts and whoever writes it.

mod condition;
#[cfg(test)]
mod tests;
mod validate;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

pub use condition::{Condition, Op};

/// One rule as it is written. Texts are checked by [`validate`](Self::validate), not by parsing, so that all
/// faults are found at once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleSpec {
    /// The rule's name, unique on the node.
    pub name: String,
    /// The database that it watches.
    pub database: String,
    /// The table that it watches.
    pub table: String,
    /// Tags that a series must have, with these values. Without any, every series of the table is watched.
    #[serde(rename = "where", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub scope: BTreeMap<String, String>,
    /// When it fires: `field op constant`, as `CO2 > 1000`. A field name may stand in double quotes.
    pub when: String,
    /// How long `when` must hold before it fires, as `5m`. Without it, the first sample fires.
    #[serde(rename = "for", default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<String>,
    /// When it resolves, as `CO2 < 900`. Without it: as soon as `when` does not hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clear: Option<String>,
    /// After how long a silence of the subject its alert resolves with the reason `no_data`, as `30m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_data: Option<String>,
    /// `critical`, `major` (default), `minor`, `warning` or `info`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<String>,
    /// Free labels, sent with every notification.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Free texts, sent with every notification.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// What becomes of a sample that is not newer than the subject's newest: `ignore` (default) or `evaluate`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub late: Option<String>,
    /// Receivers: names of configured webhooks, or `https` URLs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub webhooks: Vec<String>,
    /// Whether the rule is evaluated.
    #[serde(default = "enabled", skip_serializing_if = "Clone::clone")]
    pub enabled: bool,
}

const fn enabled() -> bool {
    true
}

impl RuleSpec {
    /// Reads one rule from YAML.
    ///
    /// # Errors
    /// Where the text is not a rule.
    pub fn from_yaml(text: &str) -> Result<Self, Faults> {
        serde_saphyr::from_str(text).map_err(|error| Faults::one("", &error.to_string()))
    }

    /// Reads a file of rules from YAML: a list, or a map with the list under `rules`.
    ///
    /// # Errors
    /// Where the text is not a list of rules.
    pub fn list_from_yaml(text: &str) -> Result<Vec<Self>, Faults> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct File {
            rules: Vec<RuleSpec>,
        }
        let significant = |line: &&str| !line.is_empty() && !line.starts_with('#') && *line != "---";
        let list = text.lines().map(str::trim).find(significant).is_none_or(|line| line.starts_with('-'));
        let parsed = if list {
            serde_saphyr::from_str::<Vec<Self>>(text)
        } else {
            serde_saphyr::from_str::<File>(text).map(|file| file.rules)
        };
        parsed.map_err(|error| Faults::one("", &error.to_string()))
    }

    /// Reads one rule from JSON.
    ///
    /// # Errors
    /// Where the text is not a rule.
    pub fn from_json(bytes: &[u8]) -> Result<Self, Faults> {
        serde_json::from_slice(bytes).map_err(|error| Faults::one("", &error.to_string()))
    }

    /// Checks everything.
    ///
    /// # Errors
    /// Every fault, each with a pointer to what is wrong.
    pub fn validate(&self) -> Result<Rule, Faults> {
        validate::validate(self)
    }
}

/// A checked rule.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// What was written.
    pub spec: RuleSpec,
    /// Its id, which follows from its name.
    pub id: RuleId,
    /// When it fires.
    pub when: Condition,
    /// When it resolves; `None` means as soon as `when` does not hold.
    pub clear: Option<Condition>,
    /// How long `when` must hold, in nanoseconds.
    pub hold_ns: i64,
    /// How long a silence counts as no data, in nanoseconds.
    pub no_data_ns: Option<i64>,
    /// How grave it is.
    pub severity: Severity,
    /// Whether late samples are evaluated.
    pub evaluates_late: bool,
}

impl Rule {
    /// Whether live alerts of `self` go on under `other`: the same subjects and the same shape of condition;
    /// thresholds and durations may differ (decision 9).
    #[must_use]
    pub fn keeps_alerts_of(&self, other: &Self) -> bool {
        let subjects = |r: &Self| (r.spec.database.clone(), r.spec.table.clone(), r.spec.scope.clone());
        let shape = |r: &Self| (r.when.field.clone(), r.when.op, r.clear.as_ref().map(|c| c.op));
        self.spec.enabled == other.spec.enabled
            && subjects(self) == subjects(other)
            && shape(self) == shape(other)
    }
}

/// A rule with its place in the set of rules.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredRule {
    /// The rule.
    pub rule: Rule,
    /// Rises by one with every change; 1 when the rule is made.
    pub version: u64,
    /// Who owns it.
    pub origin: Origin,
}

/// Who owns a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The configuration file: read-only otherwise.
    Config,
    /// Made at run time.
    Api,
}

/// The id of a rule: a UUID (version 8) made of the hash of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RuleId(uuid::Uuid);

impl RuleId {
    /// The id of the rule with this name.
    #[must_use]
    pub fn of(name: &str) -> Self {
        Self(uuid::Builder::from_custom_bytes(crate::id::hash_bytes("rule", &[name.as_bytes()])).into_uuid())
    }

    /// The id as a UUID.
    #[must_use]
    pub const fn uuid(self) -> uuid::Uuid {
        self.0
    }
}

impl fmt::Display for RuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How grave an alert is, gravest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Danger to people or plant: retried for 24 hours.
    Critical,
    /// Needs action today.
    Major,
    /// Needs action.
    Minor,
    /// Worth a look.
    Warning,
    /// For the record.
    Info,
}

impl Severity {
    /// The name, as it is written in rules.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Major => "major",
            Self::Minor => "minor",
            Self::Warning => "warning",
            Self::Info => "info",
        }
    }
}

/// One thing that is wrong with a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// JSON pointer to it, as `/when`; empty for the whole rule.
    pub pointer: String,
    /// What is wrong, and what to do.
    pub detail: String,
}

/// Everything that is wrong with a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Faults(pub Vec<Fault>);

impl Faults {
    pub(crate) fn one(pointer: &str, detail: &str) -> Self {
        Self(vec![Fault { pointer: pointer.into(), detail: detail.into() }])
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, fault) in self.0.iter().enumerate() {
            let separator = if i == 0 { "" } else { "; " };
            let colon = if fault.pointer.is_empty() { "" } else { ": " };
            write!(f, "{separator}{}{colon}{}", fault.pointer.trim_start_matches('/'), fault.detail)?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}
