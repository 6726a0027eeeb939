//! Lines that cannot be stored, on their way to the quarantine: whole, with all that is needed to try them again.
//!
//! Invariant: what [`form_of_row`] made, [`row_of_form`] gives back exactly.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use storage::model::{DatabaseName, FieldValue, Timestamp};
use storage::quarantine::{KeptLine, LineId, NotKept};

use super::problem::LineProblem;
use super::{Intake, LinesRequest, Protocol};
use crate::line_protocol::{Line, Precision, parse_series};
use crate::row::Row;

/// What `content` is: a line of line protocol.
pub(super) const LINE: &str = "line";

/// Bytes of a reason for people.
const DETAIL_BYTES: usize = 512;

/// What `content` is: a row of a mapping, as JSON.
pub(super) const ROW: &str = "row";

/// Lines that are set aside while a request is decoded, each with its position among the rejected ones.
#[derive(Debug)]
pub(super) struct SetAside {
    /// Without a quarantine nothing is.
    protocol: Option<Protocol>,
    lines: Vec<(usize, KeptLine)>,
}

impl Intake {
    pub(super) fn aside(&self, protocol: Protocol) -> SetAside {
        SetAside { protocol: self.quarantine.as_ref().map(|_| protocol), lines: Vec::new() }
    }

    /// Keeps what was set aside, and says of each what became of it.
    pub(super) async fn keep(&self, aside: SetAside) -> Vec<(usize, Result<LineId, NotKept>)> {
        let Some(quarantine) = self.quarantine.as_ref().filter(|_| !aside.lines.is_empty()) else {
            return Vec::new();
        };
        let (positions, lines): (Vec<usize>, Vec<KeptLine>) = aside.lines.into_iter().unzip();
        positions.into_iter().zip(quarantine.keep(lines).await).collect()
    }
}

impl SetAside {
    /// Sets a line aside if it is of the kind that is kept. `bytes` are of the request's body.
    pub(super) fn line(
        &mut self,
        position: usize,
        request: &LinesRequest,
        bytes: &[u8],
        problem: &LineProblem,
        received_at: Timestamp,
    ) {
        let Some(protocol) = self.protocol.filter(|protocol| problem.is_kept(protocol.sender_hears())) else {
            return;
        };
        let line = Line::split(bytes).ok();
        let parts = line.and_then(|line| parse_series(line.series).ok());
        let nanos = line.map(|line| match line.timestamp {
            Some(raw) => request.precision.to_nanos(raw).ok(),
            None => Some(request.precision.truncate(received_at.nanos())),
        });
        let tags = parts.iter().flat_map(|parts| &parts.tags);
        let kept = KeptLine {
            table: parts.as_ref().map(|parts| parts.measurement.as_ref().into()),
            tags: tags.map(|(name, value)| (name.as_ref().into(), value.as_ref().into())).collect(),
            time: nanos.flatten().map(Timestamp::from_nanos),
            precision: request.precision.name().into(),
            form: LINE.into(),
            content: request.body.slice_ref(bytes),
            ..refused(&request.database, protocol, problem, received_at)
        };
        self.lines.push((position, kept));
    }

    /// Sets a row aside if it is of the kind that is kept.
    pub(super) fn row(
        &mut self,
        position: usize,
        database: &DatabaseName,
        row: &Row,
        problem: &LineProblem,
        received_at: Timestamp,
    ) {
        let Some(protocol) = self.protocol.filter(|protocol| problem.is_kept(protocol.sender_hears())) else {
            return;
        };
        let tags = row.tags.iter().map(|(name, value)| (name.as_str().into(), value.as_str().into()));
        let kept = KeptLine {
            table: Some(row.table.as_str().into()),
            tags: tags.collect(),
            time: Some(row.time.unwrap_or(received_at)),
            form: ROW.into(),
            content: form_of_row(row),
            ..refused(database, protocol, problem, received_at)
        };
        self.lines.push((position, kept));
    }
}

/// What is known of every line.
fn refused(
    database: &DatabaseName,
    protocol: Protocol,
    problem: &LineProblem,
    received_at: Timestamp,
) -> KeptLine {
    KeptLine {
        received_at,
        database: database.as_str().into(),
        table: None,
        tags: Vec::new(),
        time: None,
        reason: problem.code().into(),
        detail: detail(problem),
        protocol: protocol.name().into(),
        precision: Precision::Nanosecond.name().into(),
        form: Box::default(),
        content: Bytes::new(),
    }
}

/// Why a line was refused, for people; cut to a bound, since names in it may be long.
pub(super) fn detail(problem: &LineProblem) -> Box<str> {
    let mut reason = problem.reason(crate::line_protocol::Dialect::V1);
    reason.truncate(reason.floor_char_boundary(DETAIL_BYTES));
    reason.into()
}

/// A row as JSON. Values are texts, so that each number comes back as it was.
#[derive(Serialize, Deserialize)]
struct RowForm {
    table: String,
    tags: Vec<(String, String)>,
    fields: Vec<(String, ValueForm)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    time: Option<i64>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ValueForm {
    Float(String),
    Integer(String),
    Unsigned(String),
    Boolean(bool),
    Text(String),
}

fn form_of_row(row: &Row) -> Bytes {
    let value = |value: &FieldValue| match value {
        FieldValue::Float(value) => ValueForm::Float(value.to_string()),
        FieldValue::Integer(value) => ValueForm::Integer(value.to_string()),
        FieldValue::Unsigned(value) => ValueForm::Unsigned(value.to_string()),
        FieldValue::Boolean(value) => ValueForm::Boolean(*value),
        FieldValue::Text(value) => ValueForm::Text(value.to_string()),
    };
    let form = RowForm {
        table: row.table.clone(),
        tags: row.tags.clone(),
        fields: row.fields.iter().map(|(name, field)| (name.clone(), value(field))).collect(),
        time: row.time.map(Timestamp::nanos),
    };
    // Texts and numbers always have a form.
    serde_json::to_vec(&form).unwrap_or_default().into()
}

/// The row of a form, for a database; `None` when it is none.
pub(super) fn row_of_form(database: &str, content: &[u8]) -> Option<Row> {
    let form: RowForm = serde_json::from_slice(content).ok()?;
    let value = |form: ValueForm| {
        Some(match form {
            ValueForm::Float(text) => FieldValue::Float(text.parse().ok()?),
            ValueForm::Integer(text) => FieldValue::Integer(text.parse().ok()?),
            ValueForm::Unsigned(text) => FieldValue::Unsigned(text.parse().ok()?),
            ValueForm::Boolean(value) => FieldValue::Boolean(value),
            ValueForm::Text(text) => FieldValue::Text(text.into()),
        })
    };
    let fields = form.fields.into_iter().map(|(name, form)| Some((name, value(form)?)));
    Some(Row {
        database: database.to_owned(),
        table: form.table,
        tags: form.tags,
        fields: fields.collect::<Option<_>>()?,
        time: form.time.map(Timestamp::from_nanos),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_value() -> impl Strategy<Value = FieldValue> {
        prop_oneof![
            any::<f64>().prop_filter("finite", |float| float.is_finite()).prop_map(FieldValue::Float),
            any::<i64>().prop_map(FieldValue::Integer),
            any::<u64>().prop_map(FieldValue::Unsigned),
            any::<bool>().prop_map(FieldValue::Boolean),
            ".{0,9}".prop_map(|text| FieldValue::Text(text.into())),
        ]
    }

    proptest! {
        #[test]
        fn a_row_comes_back_from_its_form_as_it_was(
            table in ".{0,9}",
            tags in proptest::collection::vec((".{0,9}", ".{0,9}"), 0..3),
            fields in proptest::collection::vec((".{0,9}", any_value()), 0..5),
            time in proptest::option::of(any::<i64>().prop_map(Timestamp::from_nanos)),
        ) {
            let row = Row { database: "d".into(), table, tags, fields, time };
            prop_assert_eq!(row_of_form("d", &form_of_row(&row)), Some(row));
        }
    }
}
