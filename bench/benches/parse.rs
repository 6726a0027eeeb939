//! Parse: from the bytes of a body to fields, without an engine.
#![expect(clippy::expect_used, reason = "a benchmark fails by panicking")]

use std::hint::black_box;

use ::ingest::line_protocol::{Line, lines, parse_series};
use bench::Scale;
use criterion::{Criterion, Throughput};

/// Lines of the body: about 1.3 MB, so it lies in the second or third cache, as a body from the network does.
const LINES: u32 = 10_000;

pub(crate) fn run(criterion: &mut Criterion, scale: Scale) {
    let rows = scale.pick(LINES, 100);
    let fleet = crate::few_series(scale);
    let body = fleet.bodies(0..rows / fleet.devices, rows as usize).concat();
    let cut = lines(&body).map(|line| Line::split(line.bytes));
    let series: Vec<&[u8]> = cut.map(|line| line.expect("the data is right").series).collect();
    assert_eq!(series.len(), rows as usize);

    let mut group = criterion.benchmark_group("parse");
    group.throughput(Throughput::Elements(rows.into()));
    group.bench_function("lines", |b| b.iter(|| lines(black_box(&body)).count()));
    group.bench_function("fields", |b| {
        b.iter(|| {
            for line in lines(black_box(&body)) {
                let line = Line::split(line.bytes).expect("the data is right");
                black_box((line.series, line.timestamp));
                for field in line.fields() {
                    black_box(field.expect("the data is right"));
                }
            }
        });
    });
    group.bench_function("series", |b| {
        b.iter(|| {
            for series in black_box(&series) {
                black_box(parse_series(series).expect("the data is right"));
            }
        });
    });
    group.finish();
}
