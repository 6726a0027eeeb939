//! Flush: from a memtable to a file that is in its Delta table.
#![expect(clippy::expect_used, reason = "a benchmark fails by panicking")]

use std::cell::LazyCell;

use bench::Scale;
use bench::data::Fleet;
use bench::node::Node;
use criterion::{BatchSize, BenchmarkGroup, Criterion, SamplingMode, Throughput, measurement::WallTime};
use storage::memtable::{OrderedRows, RowFilter};
use storage::rows::SortedRows;

/// Rows of one flush: about a third of what the engine's default of 64 MiB holds.
const ROWS: u32 = 500_000;

/// Lines of the bodies that fill the memtable.
const LINES_PER_BODY: usize = 5_000;

pub(crate) fn run(criterion: &mut Criterion, scale: Scale) {
    let mut group = criterion.benchmark_group("flush");
    group.sample_size(10).sampling_mode(SamplingMode::Flat);
    bench(&mut group, "few_series", crate::few_series(scale), scale);
    bench(&mut group, "many_series", crate::many_series(scale), scale);
    group.finish();
}

fn bench(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, fleet: Fleet, scale: Scale) {
    let rounds = scale.pick(ROWS, 1_000) / fleet.devices;
    let rows = rounds * fleet.devices;
    group.throughput(Throughput::Elements(rows.into()));
    let bodies = LazyCell::new(|| fleet.bodies(1..1 + rounds, LINES_PER_BODY));
    // The first round makes the table and its series: what is measured is a flush like any other.
    let first = LazyCell::new(|| fleet.bodies(0..1, LINES_PER_BODY));
    let filled = || {
        let node = Node::start().expect("a node starts");
        node.write(&first, 1).expect("the first round is written");
        node.flush().expect("the first round is flushed");
        node.write(&bodies, 2).expect("the rows are written");
        node
    };

    let node = LazyCell::new(filled);
    group.bench_function(format!("sort_{name}"), |b| {
        b.iter_with_large_drop(|| assert_eq!(sorted(&node).rows(), rows as usize));
    });
    drop(node);
    group.bench_function(format!("files_{name}"), |b| {
        let flush = |node: Node| {
            node.flush().expect("the rows are flushed");
            node
        };
        b.iter_batched(filled, flush, BatchSize::PerIteration);
    });
}

fn sorted(node: &Node) -> SortedRows {
    let (schema, view) = node.table().expect("the table is there");
    let ordered = OrderedRows::of(view.memtables(), node.engine().series(), RowFilter::ALL);
    ordered.and_then(|ordered| ordered.into_rows(&schema)).expect("rows are sorted")
}
