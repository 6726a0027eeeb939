//! The check of a rule: collects every fault, then builds the [`Rule`].

use std::collections::BTreeMap;
use std::time::Duration;

use storage::model::{DatabaseName, TableName, check_column_name};

use super::{Condition, Fault, Faults, Rule, RuleId, RuleSpec, Severity};
use crate::limits;

/// The longest `for` or `no_data`: a year. Longer is a mistake in the unit.
const MAX_DURATION: Duration = Duration::from_hours(366 * 24);

struct Checks {
    faults: Vec<Fault>,
}

impl Checks {
    fn fault(&mut self, pointer: &str, detail: impl Into<String>) {
        self.faults.push(Fault { pointer: pointer.into(), detail: detail.into() });
    }

    fn take<T, E: ToString>(&mut self, pointer: &str, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.fault(pointer, error.to_string())).ok()
    }

    fn duration(&mut self, pointer: &str, text: Option<&str>) -> Option<Duration> {
        let parsed = humantime::parse_duration(text?);
        let wanted = "is not a duration; write a number and a unit, as 90s, 5m, 2h";
        let parsed =
            self.take(pointer, parsed.map_err(|_| format!("{:?} {wanted}", text.unwrap_or_default())))?;
        if parsed > MAX_DURATION {
            self.fault(pointer, "is longer than a year");
            return None;
        }
        Some(parsed)
    }

    fn map(&mut self, pointer: &str, map: &BTreeMap<String, String>) {
        if map.len() > limits::ENTRIES_PER_RULE {
            self.fault(
                pointer,
                format!("has {} entries, the limit is {}", map.len(), limits::ENTRIES_PER_RULE),
            );
        }
        for (name, value) in map {
            // RFC 6901 escapes of a JSON pointer.
            let at = format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1"));
            if name.is_empty() {
                self.fault(&at, "the name is empty");
            }
            if name.len().max(value.len()) > limits::TEXT_BYTES {
                self.fault(&at, format!("is longer than {} bytes", limits::TEXT_BYTES));
            }
        }
    }
}

pub(super) fn validate(spec: &RuleSpec) -> Result<Rule, Faults> {
    let mut checks = Checks { faults: Vec::new() };
    check_names(&mut checks, spec);
    let when = checks.take("/when", Condition::parse(&spec.when));
    let clear = spec.clear.as_deref().and_then(|text| checks.take("/clear", Condition::parse(text)));
    if let (Some(when), Some(clear)) = (&when, &clear) {
        if when.field != clear.field {
            checks.fault("/clear", format!("must be about the field of `when`, {:?}", when.field));
        } else if let Some(value) = when.overlap(clear) {
            checks
                .fault("/clear", format!("{value} meets both `when` and `clear`; leave a gap between them"));
        }
    }
    let hold = checks.duration("/for", spec.hold.as_deref()).unwrap_or_default();
    let no_data = checks.duration("/no_data", spec.no_data.as_deref());
    if no_data.is_some_and(|d| d.is_zero()) {
        checks.fault("/no_data", "must be longer than 0");
    }
    let severity = severity(&mut checks, spec.severity.as_deref());
    let evaluates_late = match spec.late.as_deref() {
        None | Some("ignore") => false,
        Some("evaluate") => true,
        Some(other) => {
            checks.fault("/late", format!("{other:?} is not one of ignore, evaluate"));
            false
        }
    };
    if evaluates_late && !hold.is_zero() {
        checks.fault("/late", "`evaluate` needs a rule without `for`: one late sample proves no duration");
    }
    match when {
        Some(when) if checks.faults.is_empty() => Ok(Rule {
            id: RuleId::of(&spec.name),
            when,
            clear,
            hold_ns: nanos(hold),
            no_data_ns: no_data.map(nanos),
            severity,
            evaluates_late,
            spec: spec.clone(),
        }),
        _ => Err(Faults(checks.faults)),
    }
}

fn check_names(checks: &mut Checks, spec: &RuleSpec) {
    if spec.name.trim().is_empty() {
        checks.fault("/name", "is empty");
    } else if spec.name.len() > limits::TEXT_BYTES || spec.name.chars().any(char::is_control) {
        checks.fault(
            "/name",
            format!("must have at most {} bytes and no control character", limits::TEXT_BYTES),
        );
    }
    checks.take("/database", DatabaseName::new(&spec.database));
    checks.take("/table", TableName::new(&spec.table));
    checks.map("/where", &spec.scope);
    for (tag, value) in &spec.scope {
        checks.take("/where", check_column_name("tag", tag));
        if value.is_empty() {
            checks.fault("/where", format!("the value of the tag {tag:?} is empty, which no series has"));
        }
    }
    checks.map("/labels", &spec.labels);
    checks.map("/annotations", &spec.annotations);
    if spec.webhooks.len() > limits::ENTRIES_PER_RULE {
        checks.fault("/webhooks", format!("has more than {} entries", limits::ENTRIES_PER_RULE));
    }
    for (i, webhook) in spec.webhooks.iter().enumerate() {
        if webhook.is_empty() || webhook.len() > limits::TEXT_BYTES {
            checks.fault(&format!("/webhooks/{i}"), format!("must have 1 to {} bytes", limits::TEXT_BYTES));
        } else if spec.webhooks.iter().take(i).any(|earlier| earlier == webhook) {
            checks.fault(&format!("/webhooks/{i}"), "is named twice");
        }
    }
}

fn severity(checks: &mut Checks, text: Option<&str>) -> Severity {
    use Severity::{Critical, Info, Major, Minor, Warning};
    let Some(text) = text else { return Major };
    let known = [Critical, Major, Minor, Warning, Info];
    known.into_iter().find(|s| s.as_str() == text).unwrap_or_else(|| {
        checks.fault("/severity", format!("{text:?} is not one of critical, major, minor, warning, info"));
        Major
    })
}

fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}
