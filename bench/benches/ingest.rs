//! Ingest: from bodies to acknowledgements, through a real engine on the disk.
#![expect(clippy::expect_used, reason = "a benchmark fails by panicking")]

use std::cell::LazyCell;

use bench::data::Fleet;
use bench::node::Node;
use bench::{Scale, time_only};
use bytes::Bytes;
use criterion::{BenchmarkGroup, Criterion, SamplingMode, Throughput, measurement::WallTime};

/// Rows of one iteration.
const ROWS: u32 = 200_000;

/// Rows in memory are flushed between iterations when they take so many bytes: the engine's own default.
const FLUSH_BYTES: usize = 64 << 20;

pub(crate) fn run(criterion: &mut Criterion, scale: Scale) {
    let (few, many) = (crate::few_series(scale), crate::many_series(scale));
    let lines = scale.pick(5_000, 50);
    let mut group = criterion.benchmark_group("ingest");
    // A sync takes as long as the disk likes: few long samples.
    group.sample_size(20).sampling_mode(SamplingMode::Flat);
    bench(&mut group, "few_series_1", &bodies(few, scale, lines), 1);
    bench(&mut group, "few_series_2", &bodies(few, scale, lines), 2);
    bench(&mut group, "many_series_2", &bodies(many, scale, lines), 2);
    bench(&mut group, "small_bodies_32", &bodies(few, scale, lines / 50), 32);
    group.finish();
}

/// The bodies of one iteration, and their rows.
fn bodies(fleet: Fleet, scale: Scale, lines_per_body: usize) -> (u32, impl Fn() -> Vec<Bytes>) {
    let rounds = scale.pick(ROWS, 1_000) / fleet.devices;
    (rounds * fleet.devices, move || fleet.bodies(0..rounds, lines_per_body))
}

fn bench(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    (rows, bodies): &(u32, impl Fn() -> Vec<Bytes>),
    connections: usize,
) {
    // Made once, and only if the benchmark is asked for.
    let mut set_up = LazyCell::new(|| (Node::start().expect("a node starts"), bodies()));
    group.throughput(Throughput::Elements((*rows).into()));
    group.bench_function(name, |b| {
        b.iter_custom(|times| {
            let write = |(node, bodies): &mut (Node, Vec<Bytes>)| {
                let written = node.write(bodies, connections).expect("the bodies are written");
                assert_eq!(written, *rows as usize);
            };
            let make_room = |(node, _): &mut (Node, Vec<Bytes>)| {
                if node.engine().memory_bytes() >= FLUSH_BYTES {
                    node.flush().expect("rows are flushed");
                }
            };
            time_only(times, LazyCell::force_mut(&mut set_up), write, make_room)
        });
    });
}
