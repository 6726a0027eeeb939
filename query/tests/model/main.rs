//! Random operations on an engine over a simulated disk, compared with a plain reference at every query.
//!
//! A *seed* gives a list of operations: writes with late, equal and repeated points, type changes, flushes, merges,
//! rows that expire, erasures, lines in the quarantine, stores and disks that fail, kills and power cuts, and queries in between. After each restart: acknowledged ⊆
//! recovered ⊆ sent, each write there as a whole or not at all, each point once.
//!
//! ```text
//! cargo test -p query --test model                                                     a few seeds
//! BUSBAR_MODEL_SEEDS=10000 BUSBAR_MODEL_FIRST=0 cargo test --release -p query --test model   many
//! BUSBAR_MODEL_SEED=17 cargo test -p query --test model -- --nocapture                 one, with its operations
//! ```
//!
//! A seed replays exactly, because operations come one after the other on one thread, nothing runs in the background, and
//! faults follow from the seed and the order of changes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::missing_panics_doc,
    reason = "a test fails by panicking and says why"
)]

mod aside;
mod check;
mod erasure;
mod generate;
#[path = "../query/lines.rs"]
#[expect(dead_code, reason = "the text form is for tests that are written by hand")]
mod lines;
mod operation;
mod question;
mod reference;
mod retention;
mod runs;
mod sent;
mod traces;
mod world;

use std::panic::AssertUnwindSafe;

use futures::FutureExt;

use self::operation::Operation;
use self::world::{Tally, World};

/// Seeds of a run that nobody asked more of: some 20 seconds without optimisation.
const SEEDS: u64 = 6;

/// Operations of a seed.
const OPERATIONS: usize = 60;

/// What a seed came to: a number that stands for all that happened, and counts of it; or what was wrong.
type Outcome = Result<(u64, Tally), String>;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

/// Runs operations on a world of their own. The error ends with the operation that failed.
fn run(seed: u64, operations: &[Operation]) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let work = async {
        let mut world = World::new(seed).await;
        for (number, operation) in operations.iter().enumerate() {
            let done = AssertUnwindSafe(world.run(operation)).catch_unwind().await;
            let done = done.unwrap_or_else(|panic| Err(text_of(&*panic)));
            done.map_err(|why| format!("operation {number}, {operation:?}: {why}\n{}", world.describe()))?;
        }
        Ok((world.trace(), world.tally()))
    };
    runtime.block_on(work)
}

fn text_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic").to_owned()
}

/// Removes operations as long as what is left still fails.
fn shrink(seed: u64, mut operations: Vec<Operation>) -> Vec<Operation> {
    let mut size = operations.len() / 2;
    while size > 0 {
        let mut start = 0;
        while start < operations.len() {
            let end = (start + size).min(operations.len());
            let fewer: Vec<_> = [&operations[..start], &operations[end..]].concat();
            if run(seed, &fewer).is_err() {
                operations = fewer;
            } else {
                start = end;
            }
        }
        size /= 2;
    }
    operations
}

fn check_seed(seed: u64) -> Outcome {
    let operations = generate::operations(seed, OPERATIONS);
    let why = match run(seed, &operations) {
        Err(why) => why,
        fine => return fine,
    };
    let few = shrink(seed, operations);
    let why = run(seed, &few).err().unwrap_or(why);
    let list: Vec<_> = few.iter().map(|operation| format!("  {operation:?}")).collect();
    Err(format!("seed {seed}: {why}\n{}", list.join("\n")))
}

#[test]
fn every_seed_agrees_with_the_reference() {
    if let Some(seed) = number("BUSBAR_MODEL_SEED") {
        let operations = generate::operations(seed, OPERATIONS);
        for (number, operation) in operations.iter().enumerate() {
            eprintln!("{number:3} {operation:?}");
        }
        eprintln!("{:?}", check_seed(seed).unwrap());
        return;
    }
    let (first, seeds) = (number("BUSBAR_MODEL_FIRST").unwrap_or(0), number("BUSBAR_MODEL_SEEDS"));
    let (mut wrong, mut tally) = (Vec::new(), Tally::default());
    for seed in first..first + seeds.unwrap_or(SEEDS) {
        match check_seed(seed) {
            Ok((_, counts)) => counts.into_iter().for_each(|(what, n)| *tally.entry(what).or_default() += n),
            Err(why) => {
                eprintln!("{why}");
                wrong.push(seed);
            }
        }
        if seeds.is_some() && (seed + 1).is_multiple_of(100) {
            eprintln!("{} seeds, {} wrong", seed + 1 - first, wrong.len());
        }
    }
    eprintln!("{tally:#?}");
    assert!(wrong.is_empty(), "wrong: {wrong:?}; replay one with BUSBAR_MODEL_SEED");
}

#[test]
fn a_seed_replays_exactly() {
    for seed in 0..2 {
        let operations = generate::operations(seed, OPERATIONS);
        assert_eq!(run(seed, &operations), run(seed, &operations), "seed {seed}");
    }
}
