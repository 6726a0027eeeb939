//! Tests of the engine on a disk that is full. Run with `--features failpoints`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::sync::Arc;

use arrow::array::Float64Array;
use storage::catalog::{Applied, Catalog, SchemaChange};
use storage::model::{
    DatabaseName, FieldColumn, FieldType, FrameNumber, Sequence, TableBatch, TableName, WriteBatch,
};
use storage::series::SeriesIndex;
use storage::tap::{CommittedGroup, Tap, TapConsumer};

use crate::rule::RuleSpec;
use crate::{Alerting, AlertingConfig, Expect, Source};

struct OneSeries {
    catalog: Catalog,
    series: SeriesIndex,
    tap: Tap,
}

impl Source for OneSeries {
    fn consumer(&self, checkpoint: FrameNumber) -> TapConsumer {
        self.tap.subscribe("rules", checkpoint, 1 << 20)
    }

    fn newest_frame(&self) -> FrameNumber {
        FrameNumber::default()
    }

    fn read_log(
        &self,
        _: FrameNumber,
        _: &mut dyn FnMut(&CommittedGroup) -> storage::Result<()>,
    ) -> storage::Result<()> {
        Ok(())
    }

    fn let_go_up_to(&self) -> FrameNumber {
        self.tap.let_go_up_to()
    }

    fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    fn series(&self) -> &SeriesIndex {
        &self.series
    }
}

impl OneSeries {
    fn publish(&self, frame: u64, samples: &[(i64, f64)]) {
        let base = self.catalog.table("d", "t");
        let fields = if base.is_none() { vec![("x".into(), FieldType::Float)] } else { vec![] };
        let change = SchemaChange {
            database: DatabaseName::new("d").unwrap(),
            table: TableName::new("t").unwrap(),
            base,
            tags: vec![],
            fields,
            widen: vec![],
        };
        let Applied::Schema(schema) = self.catalog.apply(&change).unwrap() else { panic!("stale") };
        let series = self.series.lookup("b").resolve(schema.id, b"").unwrap().id.get();
        let values: Float64Array = samples.iter().map(|(_, value)| Some(*value)).collect();
        let table = TableBatch {
            table: schema.id,
            series: vec![series; samples.len()].into(),
            times: samples.iter().map(|(time, _)| *time).collect::<Vec<_>>().into(),
            fields: vec![FieldColumn { column: schema.fields[0].narrow.id, values: Arc::new(values) }],
        };
        self.tap.publish(&Arc::new(CommittedGroup {
            frame: FrameNumber::new(frame),
            sequence: Sequence::ZERO,
            batches: vec![Arc::new(WriteBatch::of(vec![table]))],
            bytes: 1,
        }));
    }
}

#[tokio::test]
async fn on_a_full_disk_transitions_wait_and_rule_changes_are_refused_until_there_is_room() {
    let scenario = fail::FailScenario::setup();
    let folder = tempfile::tempdir().unwrap();
    let source = Arc::new(OneSeries {
        catalog: Catalog::new(Arc::default()),
        series: SeriesIndex::new(Arc::default(), 1 << 30),
        tap: Tap::default(),
    });
    let rule = |name: &str| {
        RuleSpec::from_yaml(&format!("{{name: {name}, database: d, table: t, when: x > 1}}")).unwrap()
    };
    let config = AlertingConfig { rules: vec![rule("a")], ..AlertingConfig::new(folder.path()) };
    let alerting = Alerting::open(config.clone(), source.clone()).unwrap();
    fail::cfg("stream-write", "return").unwrap();
    alerting.start().unwrap();
    let refused = alerting.put_rule(rule("b"), Expect::Any).await.unwrap_err();
    assert_eq!(refused.kind(), crate::ErrorKind::Unavailable, "{refused}");
    assert!(alerting.rule("b").is_none());
    source.publish(1, &[(1, 2.0)]);
    source.publish(2, &[(2, 0.0), (3, 2.0)]);
    while alerting.metrics().snapshot().stuck == 0 {
        tokio::task::yield_now().await;
    }
    assert!(alerting.history().entries().is_empty(), "nobody hears of what is not recorded");
    fail::remove("stream-write");
    while alerting.history().entries().len() < 3 {
        tokio::task::yield_now().await;
    }
    alerting.put_rule(rule("b"), Expect::Any).await.unwrap();
    alerting.stop().await.unwrap();
    let times: Vec<_> =
        alerting.history().entries().iter().map(|t| (t.event_time, t.state.as_str())).collect();
    assert_eq!(times, [(1, "firing"), (2, "resolved"), (3, "firing")]);
    assert_eq!(alerting.metrics().snapshot().stuck, 0);
    drop(alerting);
    let alerting = Alerting::open(config, source).unwrap();
    assert_eq!(alerting.history().entries().len(), 3);
    scenario.teardown();
}
