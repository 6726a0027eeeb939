//! Last values: those of a building among a million series, as a dashboard asks for them again and again.
#![expect(clippy::expect_used, reason = "a benchmark fails by panicking")]

use std::cell::LazyCell;

use ::query::{ExternalTables, QueryService, Settings, Source};
use bench::Scale;
use bench::data::{DATABASE, Fleet, TABLE};
use bench::node::Node;
use criterion::{Criterion, SamplingMode, Throughput};
use futures::TryStreamExt;

/// Devices of two buildings, which stand for one of 2,000.
const WANTED: u32 = 2_000;

/// Lines of the bodies that fill the node.
const LINES_PER_BODY: usize = 5_000;

pub(crate) fn run(criterion: &mut Criterion, scale: Scale) {
    let fleet = Fleet::shuffled(scale.pick(1_000_000, 2_500));
    let world = LazyCell::new(|| {
        let node = Node::start().expect("a node starts");
        node.write(&fleet.bodies(0..1, LINES_PER_BODY), 2).expect("the rows are written");
        node.flush().expect("the rows are flushed");
        let source = Source { engine: node.engine().clone(), external: ExternalTables::default() };
        let settings = Settings::new(node.folder().join("spill"));
        (QueryService::new(source, settings).expect("the query service starts"), node)
    });
    let sql = format!("SELECT * FROM latest('{TABLE}') WHERE building IN ('b000', 'b001')");
    let mut group = criterion.benchmark_group("latest");
    group.sample_size(100).sampling_mode(SamplingMode::Flat).throughput(Throughput::Elements(WANTED.into()));
    group.bench_function("building", |b| {
        let (service, node) = &*world;
        b.iter(|| {
            let rows = node.runtime().block_on(async {
                let result = service.query(Some(DATABASE), &sql).await.expect("the query is planned");
                let counted = result.batches.try_fold(0, async |rows, batch| Ok(rows + batch.num_rows()));
                counted.await.expect("the query runs")
            });
            assert_eq!(rows, WANTED as usize);
        });
    });
    group.finish();
}
