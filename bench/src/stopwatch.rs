//! Times one part of a repeated work.

use std::time::Duration;

use storage::clock;

/// Runs `work` and then `aside` so many times; returns the time that went into `work` alone. For criterion's
/// `iter_custom`, where something must be cleared away between iterations that is not to be measured.
pub fn time_only<S>(
    times: u64,
    state: &mut S,
    mut work: impl FnMut(&mut S),
    mut aside: impl FnMut(&mut S),
) -> Duration {
    let mut spent = Duration::ZERO;
    for _ in 0..times {
        let begun = clock::instant();
        work(state);
        spent += clock::instant().duration_since(begun);
        aside(state);
    }
    spent
}
