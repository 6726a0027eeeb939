//! The stages of a point's way, measured one by one: see the crate's documentation for what each does.

mod flush;
mod ingest;
mod latest;
mod log;
mod parse;
mod query;

use bench::Scale;
use bench::data::Fleet;
use criterion::Criterion;

fn main() {
    let scale = Scale::of_arguments(std::env::args());
    let mut criterion = Criterion::default().configure_from_args();
    parse::run(&mut criterion, scale);
    ingest::run(&mut criterion, scale);
    log::run(&mut criterion, scale);
    flush::run(&mut criterion, scale);
    query::run(&mut criterion, scale);
    latest::run(&mut criterion, scale);
    criterion.final_summary();
}

/// 1,000 devices that report in a steady order.
fn few_series(scale: Scale) -> Fleet {
    Fleet::steady(scale.pick(1_000, 20))
}

/// 100,000 devices that report in another order each round.
fn many_series(scale: Scale) -> Fleet {
    Fleet::shuffled(scale.pick(100_000, 500))
}
