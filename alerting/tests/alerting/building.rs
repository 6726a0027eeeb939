//! The test's engine: a real catalog, series index and tap over a log that is a vector, and survives the
//! "crash" of what reads it.

use std::path::Path;
use std::sync::Arc;

use alerting::notify::WebhookConfig;
use alerting::rule::RuleSpec;
use alerting::{Alerting, AlertingConfig, Source};
use arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array, StringArray};
use parking_lot::Mutex;
use storage::catalog::{Applied, Catalog, SchemaChange};
use storage::model::{
    DatabaseName, FieldColumn, FieldType, FrameNumber, Sequence, TableBatch, TableName, TableSchema,
    Timestamp, WriteBatch,
};
use storage::series::{SeriesIndex, canonical_key};
use storage::tap::{CommittedGroup, Tap, TapConsumer};

pub(crate) const DATABASE: &str = "office";

/// Wall-clock time of every commit, unless a test says otherwise: 2030, after all event times.
pub(crate) const ARRIVAL_MS: u64 = 1_893_456_000_000;

/// A value of a field.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    Float(f64),
    Integer(i64),
    Truth(bool),
    Text(&'static str),
}

/// One row: table, tags, time, fields.
pub(crate) struct Row<'a> {
    pub(crate) table: &'a str,
    pub(crate) tags: &'a [(&'a str, &'a str)],
    pub(crate) time: i64,
    pub(crate) fields: &'a [(&'a str, Value)],
}

pub(crate) struct Building {
    catalog: Catalog,
    series: SeriesIndex,
    tap: Mutex<Tap>,
    tap_bytes: usize,
    log: Mutex<Log>,
}

#[derive(Default)]
struct Log {
    groups: Vec<Arc<CommittedGroup>>,
    last: u64,
}

impl Building {
    pub(crate) fn new(tap_bytes: usize) -> Arc<Self> {
        Arc::new(Self {
            catalog: Catalog::new(Arc::default()),
            series: SeriesIndex::new(Arc::default(), 1 << 30),
            tap: Mutex::default(),
            tap_bytes,
            log: Mutex::default(),
        })
    }

    /// Commits rows of one series each as one group.
    pub(crate) fn write(&self, rows: &[Row<'_>]) -> FrameNumber {
        self.write_at(ARRIVAL_MS, rows)
    }

    pub(crate) fn write_at(&self, arrival_ms: u64, rows: &[Row<'_>]) -> FrameNumber {
        let batches: Vec<_> = rows.iter().map(|row| Arc::new(self.batch(row))).collect();
        self.commit(arrival_ms, batches)
    }

    /// Commits many samples of one field of one series as one batch.
    pub(crate) fn write_column(
        &self,
        table: &str,
        tags: &[(&str, &str)],
        field: &str,
        samples: &[(i64, f64)],
    ) -> FrameNumber {
        let schema = self.schema(table, tags, &[(field, Value::Float(0.0))]);
        let series = self.series_id(&schema, tags);
        let column = schema.fields[schema.field(field).unwrap()].narrow.id;
        let values: Float64Array = samples.iter().map(|(_, value)| Some(*value)).collect();
        let batch = TableBatch {
            table: schema.id,
            series: vec![series; samples.len()].into(),
            times: samples.iter().map(|(time, _)| *time).collect::<Vec<_>>().into(),
            fields: vec![FieldColumn { column, values: Arc::new(values) }],
        };
        self.commit(ARRIVAL_MS, vec![Arc::new(WriteBatch::of(vec![batch]))])
    }

    fn commit(&self, arrival_ms: u64, batches: Vec<Arc<WriteBatch>>) -> FrameNumber {
        let mut log = self.log.lock();
        log.last += 1;
        let frame = FrameNumber::new(log.last);
        let bytes = batches.iter().map(|b| b.memory_bytes()).sum();
        let sequence = Sequence::new(arrival_ms << 16);
        let group = Arc::new(CommittedGroup { frame, sequence, batches, bytes });
        log.groups.push(Arc::clone(&group));
        self.tap.lock().publish(&group);
        frame
    }

    fn batch(&self, row: &Row<'_>) -> WriteBatch {
        let schema = self.schema(row.table, row.tags, row.fields);
        let series = self.series_id(&schema, row.tags);
        let column = |(name, value): &(&str, Value)| {
            let field = &schema.fields[schema.field(name).unwrap()];
            let values: ArrayRef = match value {
                Value::Float(v) => Arc::new(Float64Array::from(vec![*v])),
                Value::Integer(v) => Arc::new(Int64Array::from(vec![*v])),
                Value::Truth(v) => Arc::new(BooleanArray::from(vec![*v])),
                Value::Text(v) => Arc::new(StringArray::from(vec![*v])),
            };
            let physical = field.columns().find(|c| c.field_type == value.field_type()).unwrap();
            FieldColumn { column: physical.id, values }
        };
        let table = TableBatch {
            table: schema.id,
            series: vec![series].into(),
            times: vec![row.time].into(),
            fields: row.fields.iter().map(column).collect(),
        };
        WriteBatch::of(vec![table])
    }

    fn series_id(&self, schema: &TableSchema, tags: &[(&str, &str)]) -> u32 {
        let mut by_position: Vec<_> = tags.iter().map(|(n, v)| (schema.tag(n).unwrap(), *v)).collect();
        by_position.sort_unstable();
        let key = canonical_key(by_position.into_iter()).unwrap();
        self.series.lookup("b").resolve(schema.id, &key).unwrap().id.get()
    }

    /// The table's schema with all that the row needs, widened where a float meets an integer field.
    fn schema(&self, table: &str, tags: &[(&str, &str)], fields: &[(&str, Value)]) -> Arc<TableSchema> {
        let base = self.catalog.table(DATABASE, table);
        let tag = |n: &str| base.as_ref().and_then(|s| s.tag(n));
        let field = |n: &str| base.as_ref().and_then(|s| s.field(n));
        let widens = |n: &str, v: &Value| {
            let known = &base.as_ref().unwrap().fields[field(n)?];
            let wider = known.logical_type() == FieldType::Integer && matches!(v, Value::Float(_));
            wider.then(|| field(n).unwrap())
        };
        let change = SchemaChange {
            database: DatabaseName::new(DATABASE).unwrap(),
            table: TableName::new(table).unwrap(),
            tags: tags.iter().filter(|(n, _)| tag(n).is_none()).map(|(n, _)| Arc::from(*n)).collect(),
            fields: fields
                .iter()
                .filter(|(n, _)| field(n).is_none())
                .map(|(n, v)| (Arc::from(*n), v.field_type()))
                .collect(),
            widen: fields
                .iter()
                .filter(|(n, _)| field(n).is_some())
                .filter_map(|(n, v)| widens(n, v))
                .collect(),
            base: base.clone(),
        };
        match self.catalog.apply(&change).unwrap() {
            Applied::Schema(schema) => schema,
            Applied::Stale | Applied::Unborn => panic!("stale"),
        }
    }

    /// Ends the tap, as the engine does when it closes.
    pub(crate) fn close(&self) {
        self.tap.lock().close();
    }

    /// A new process: the log is there, the tap is new.
    pub(crate) fn restart(&self) {
        let mut tap = self.tap.lock();
        *tap = Tap::expecting(Vec::new(), tap.let_go_up_to());
    }

    /// Drops frames up to this one, whoever needs them, as the log does when it is too long.
    pub(crate) fn let_go(&self, frame: FrameNumber) {
        self.tap.lock().let_go(frame);
        self.trim();
    }

    /// The frame up to which the log may be trimmed.
    pub(crate) fn checkpoint(&self) -> FrameNumber {
        self.tap.lock().checkpoint().unwrap()
    }

    /// Drops what the checkpoint lets go, as the log does.
    pub(crate) fn trim(&self) {
        let checkpoint = self.checkpoint();
        self.log.lock().groups.retain(|group| group.frame > checkpoint);
    }
}

impl Value {
    fn field_type(&self) -> FieldType {
        match self {
            Self::Float(_) => FieldType::Float,
            Self::Integer(_) => FieldType::Integer,
            Self::Truth(_) => FieldType::Boolean,
            Self::Text(_) => FieldType::Text,
        }
    }
}

impl Source for Building {
    fn consumer(&self, checkpoint: FrameNumber) -> TapConsumer {
        self.tap.lock().subscribe("rules", checkpoint, self.tap_bytes)
    }

    fn newest_frame(&self) -> FrameNumber {
        FrameNumber::new(self.log.lock().last)
    }

    fn read_log(
        &self,
        after: FrameNumber,
        visit: &mut dyn FnMut(&CommittedGroup) -> storage::Result<()>,
    ) -> storage::Result<()> {
        let groups: Vec<_> = self.log.lock().groups.iter().filter(|g| g.frame > after).cloned().collect();
        groups.iter().try_for_each(|group| visit(group))
    }

    fn let_go_up_to(&self) -> FrameNumber {
        self.tap.lock().let_go_up_to()
    }

    fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    fn series(&self) -> &SeriesIndex {
        &self.series
    }
}

/// A configuration whose clock stands at [`ARRIVAL_MS`].
pub(crate) fn config(folder: &Path, rules: &[&str], webhooks: Vec<WebhookConfig>) -> AlertingConfig {
    AlertingConfig {
        rules: rules.iter().map(|text| RuleSpec::from_yaml(text).unwrap()).collect(),
        webhooks,
        clock: Arc::new(|| Timestamp::from_nanos(i64::try_from(ARRIVAL_MS).unwrap() * 1_000_000)),
        ..AlertingConfig::new(folder)
    }
}

/// Opens and starts.
pub(crate) fn start(config: AlertingConfig, building: &Arc<Building>) -> Alerting {
    let alerting = Alerting::open(config, building.clone()).unwrap();
    alerting.start().unwrap();
    alerting
}

/// Turns until something holds: what is waited for happens on other threads, and has no event of its own.
pub(crate) async fn until(what: &str, holds: impl Fn() -> bool) {
    let wait = async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), wait)
        .await
        .unwrap_or_else(|_| panic!("never: {what}"));
}

/// Turns until the rules have applied a frame.
pub(crate) async fn applied(alerting: &Alerting, frame: FrameNumber) {
    until("the frame is applied", || alerting.metrics().snapshot().position >= frame.get()).await;
}
