//! What was recorded: the rows of `alerts.history`, newest [`limits::HISTORY_ENTRIES`] of what the alert stream
//! keeps.
//!
//! Invariant: an entry is in the stream before it is here, and no transition id is here twice.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray, TimestampNanosecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use hashbrown::HashSet;
use parking_lot::RwLock;

use crate::error::Result;
use crate::limits;
use crate::record::Transition;

/// Rows of one batch: DataFusion's own batch size.
const BATCH_ROWS: usize = 8_192;

/// Recorded transitions, oldest first.
#[derive(Debug, Default)]
pub struct History {
    inner: RwLock<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    entries: VecDeque<Arc<Transition>>,
    ids: HashSet<String>,
}

impl History {
    /// The columns of [`batches`](Self::batches).
    #[must_use]
    pub fn schema() -> SchemaRef {
        let text = |name: &str| Field::new(name, DataType::Utf8, false);
        let time = |name: &str| Field::new(name, DataType::Timestamp(TimeUnit::Nanosecond, None), false);
        Arc::new(Schema::new(vec![
            text("rule"),
            text("database"),
            text("subject"),
            text("state"),
            time("event_time"),
            Field::new("value", DataType::Float64, true),
            Field::new("late", DataType::Boolean, false),
            Field::new("withdrawn", DataType::Boolean, false),
            Field::new("revision", DataType::Int64, false),
            text("alert_id"),
            text("transition_id"),
            text("severity"),
            text("reason"),
            time("started_at"),
            time("recorded_at"),
        ]))
    }

    /// All entries as columns, in the order of recording; no batch when there is none.
    ///
    /// # Errors
    /// [`crate::Error::Arrow`] if the columns do not fit the schema.
    pub fn batches(&self) -> Result<Vec<RecordBatch>> {
        self.entries().chunks(BATCH_ROWS).map(batch).collect()
    }

    /// All entries, in the order of recording.
    #[must_use]
    pub fn entries(&self) -> Vec<Arc<Transition>> {
        self.inner.read().entries.iter().cloned().collect()
    }

    /// The newest entries that `wanted` accepts, newest first, at most `limit`.
    #[must_use]
    pub fn newest(&self, limit: usize, wanted: impl Fn(&Transition) -> bool) -> Vec<Arc<Transition>> {
        self.inner.read().entries.iter().rev().filter(|t| wanted(t)).take(limit).cloned().collect()
    }

    pub(crate) fn contains(&self, transition_id: &str) -> bool {
        self.inner.read().ids.contains(transition_id)
    }

    pub(crate) fn push(&self, transition: Arc<Transition>) {
        let mut inner = self.inner.write();
        if !inner.ids.insert(transition.transition_id.clone()) {
            return;
        }
        inner.entries.push_back(transition);
        if inner.entries.len() > limits::HISTORY_ENTRIES
            && let Some(oldest) = inner.entries.pop_front()
        {
            inner.ids.remove(&oldest.transition_id);
        }
    }
}

fn batch(rows: &[Arc<Transition>]) -> Result<RecordBatch> {
    let text = |get: fn(&Transition) -> &str| -> ArrayRef {
        Arc::new(rows.iter().map(|t| Some(get(t))).collect::<StringArray>())
    };
    let time = |get: fn(&Transition) -> i64| -> ArrayRef {
        Arc::new(rows.iter().map(|t| Some(get(t))).collect::<TimestampNanosecondArray>())
    };
    let truth = |get: fn(&Transition) -> bool| -> ArrayRef {
        Arc::new(rows.iter().map(|t| Some(get(t))).collect::<BooleanArray>())
    };
    let columns = vec![
        text(|t| &t.rule),
        text(|t| &t.database),
        text(|t| &t.subject),
        text(|t| t.state.as_str()),
        time(|t| t.event_time),
        Arc::new(rows.iter().map(|t| t.value).collect::<Float64Array>()),
        truth(|t| t.late),
        truth(|t| t.withdrawn),
        Arc::new(rows.iter().map(|t| Some(i64::from(t.revision))).collect::<Int64Array>()),
        text(|t| &t.alert_id),
        text(|t| &t.transition_id),
        text(|t| t.severity.as_str()),
        text(|t| t.reason.as_str()),
        time(|t| t.started_at),
        time(|t| t.recorded_at),
    ];
    Ok(RecordBatch::try_new(History::schema(), columns)?)
}
