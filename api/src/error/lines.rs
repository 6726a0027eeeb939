//! Refused lines, as each dialect tells of them.

use ingest::intake::{LineProblem, RejectedLine};
use serde::Serialize;
use storage::quarantine::{LineId, NotKept};

use super::Dialect;

/// Lines that one answer names in a text: enough to see the fault, and an answer stays small.
const TEXT_LINES: usize = 100;

/// Lines that one answer lists: InfluxDB 3 lists all, so this is large; with each line cut it is below 1 MB.
const LISTED_LINES: usize = 1_000;

/// Lines that were refused, and what became of the others.
#[derive(Debug)]
pub struct RefusedLines {
    rejected: Vec<RejectedLine>,
    /// Whether good lines were written (or would have been, had there been any).
    partial: bool,
    rows: usize,
    place: String,
}

/// The body of InfluxDB 3.
#[derive(Debug, Serialize)]
pub(super) struct V3Body {
    error: &'static str,
    data: V3Data,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum V3Data {
    Many(Vec<V3Line>),
    One(Option<V3Line>),
}

#[derive(Debug, Serialize)]
struct V3Line {
    original_line: String,
    line_number: usize,
    error_message: String,
    /// Where the quarantine keeps it; InfluxDB 3 has nothing of the kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    quarantine_id: Option<u64>,
}

/// A line that the quarantine keeps.
#[derive(Debug, Serialize)]
pub(super) struct Quarantined {
    line: usize,
    id: u64,
}

impl RefusedLines {
    /// Nothing was written because of these lines.
    #[must_use]
    pub fn all(rejected: Vec<RejectedLine>) -> Self {
        Self { rejected, partial: false, rows: 0, place: String::new() }
    }

    /// These lines were refused and `rows` others were written to this database (and InfluxDB 1 retention policy).
    #[must_use]
    pub fn some(rejected: Vec<RejectedLine>, rows: usize, database: &str, policy: Option<&str>) -> Self {
        let policy = policy.map(|name| format!(" for retention policy: {name}")).unwrap_or_default();
        Self { rejected, partial: true, rows, place: format!(" for database: {database}{policy}") }
    }

    /// Whether a line could not be read at all.
    #[must_use]
    pub fn has_parse_errors(&self) -> bool {
        self.rejected.iter().any(|line| line.problem.is_parse())
    }

    /// The text of InfluxDB 1 and 2.
    pub(super) fn message(&self, dialect: Dialect) -> String {
        let reasons = self.reasons(dialect);
        let unread = self.rejected.iter().all(|line| line.problem.is_parse());
        if !self.partial || (unread && self.rows == 0) {
            return reasons;
        }
        // As the v1 server counts: a line that could not be read, or lost only a field, was never a dropped point.
        let is_dropped = |line: &&RejectedLine| line.problem.dropped() && !line.problem.is_parse();
        let dropped = self.rejected.iter().filter(is_dropped).count();
        let text = format!("partial write: {reasons} dropped={dropped}{}", self.place);
        match dialect {
            Dialect::V2 => format!("failure writing points to database: {text}"),
            _ => text,
        }
    }

    /// The body of InfluxDB 3.
    pub(super) fn v3_body(&self) -> V3Body {
        let line = |line: &RejectedLine| V3Line {
            original_line: line.line.clone(),
            line_number: line.number,
            error_message: line.problem.reason(ingest::line_protocol::Dialect::V3) + &kept_text(line.kept),
            quarantine_id: line.kept.and_then(Result::ok).map(LineId::get),
        };
        if self.partial {
            let lines = self.rejected.iter().take(LISTED_LINES).map(line).collect();
            return V3Body { error: "partial write of line protocol occurred", data: V3Data::Many(lines) };
        }
        // Newer servers say "line protocol parsing error"; InfluxDB's own Python client knows only this one.
        V3Body {
            error: "parsing failed for write_lp endpoint",
            data: V3Data::One(self.rejected.first().map(line)),
        }
    }

    /// The lines that the quarantine keeps, for clients of InfluxDB 1 and 2 that read more than the text.
    pub(super) fn quarantined(&self) -> Vec<Quarantined> {
        let id = |line: &RejectedLine| {
            let id = line.kept?.ok()?.get();
            Some(Quarantined { line: line.number, id })
        };
        self.rejected.iter().filter_map(id).take(LISTED_LINES).collect()
    }

    fn reasons(&self, dialect: Dialect) -> String {
        let words = match dialect {
            Dialect::V1 | Dialect::Native => ingest::line_protocol::Dialect::V1,
            Dialect::V2 => ingest::line_protocol::Dialect::V2,
            Dialect::V3 => ingest::line_protocol::Dialect::V3,
        };
        let one = |line: &RejectedLine| {
            let reason = line.problem.reason(words) + &kept_text(line.kept);
            if line.problem.is_parse() {
                format!("unable to parse '{}': {reason}", line.line)
            } else {
                reason
            }
        };
        // Old rows come in numbers, and there is nothing to say of each.
        let mut named: Vec<&RejectedLine> = self.rejected.iter().take(TEXT_LINES).collect();
        let is_expired = |line: &RejectedLine| matches!(line.problem, LineProblem::Expired);
        named.dedup_by(|line, before| is_expired(line) && is_expired(before));
        let mut reasons: Vec<String> = named.into_iter().map(one).collect();
        let more = self.rejected.len().saturating_sub(TEXT_LINES);
        if more > 0 {
            reasons.push(format!("and {more} more lines"));
        }
        reasons.join("\n")
    }
}

/// What became of a line, for people; nothing when lines of its kind are not kept.
pub(crate) fn kept_text(kept: Option<Result<LineId, NotKept>>) -> String {
    match kept {
        None => String::new(),
        Some(Ok(id)) => format!(" (in quarantine as {id})"),
        Some(Err(why)) => format!(" (not kept: {why})"),
    }
}
