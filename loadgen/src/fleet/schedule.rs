//! When the rows of a fleet are due.

use std::time::Duration;

/// When rows are due, counted from the start of a run.
#[derive(Debug, Clone)]
pub enum Schedule {
    /// As soon as a connection is free.
    Unpaced,
    /// So many rows per second.
    Steady(u64),
    /// Stretches that follow each other.
    Changing(Vec<Stretch>),
}

/// A time in which the rate rises or falls evenly, or stays.
#[derive(Debug, Clone, Copy)]
pub struct Stretch {
    /// Seconds from the start of the run.
    start: f64,
    /// Seconds.
    length: f64,
    /// Rows per second at its start and its end.
    from: f64,
    to: f64,
    /// Rows before it.
    rows_before: f64,
}

impl Schedule {
    /// Stretches of so many seconds, each with the rates (rows per second) at its start and at its end.
    #[must_use]
    pub fn changing(stretches: impl Iterator<Item = (f64, f64, f64)>) -> Self {
        let (mut start, mut rows_before) = (0.0, 0.0);
        let stretch = |(length, from, to)| {
            let stretch = Stretch { start, length, from, to, rows_before };
            start += length;
            rows_before += stretch.rows();
            stretch
        };
        Self::Changing(stretches.map(stretch).collect())
    }

    /// When so many rows have happened; none without a pace.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "rows of one run are far below 2^53")]
    pub fn due(&self, rows: u64) -> Option<Duration> {
        match self {
            Self::Unpaced => None,
            Self::Steady(rate) => {
                let nanos = u128::from(rows) * 1_000_000_000 / u128::from(*rate).max(1);
                Some(Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)))
            }
            Self::Changing(stretches) => {
                let rows = rows as f64;
                let at = stretches.partition_point(|stretch| stretch.rows_before + stretch.rows() < rows);
                let stretch = stretches.get(at).or(stretches.last())?;
                Some(Duration::from_secs_f64(stretch.start + stretch.seconds_of(rows - stretch.rows_before)))
            }
        }
    }

    /// Rows that have happened when so many seconds are over.
    #[must_use]
    pub fn rows_until(&self, seconds: f64) -> f64 {
        match self {
            Self::Unpaced => 0.0,
            #[expect(clippy::cast_precision_loss, reason = "a rate is far below 2^53")]
            Self::Steady(rate) => *rate as f64 * seconds,
            Self::Changing(stretches) => {
                let passed = stretches.iter().take_while(|stretch| stretch.start < seconds);
                passed.last().map_or(0.0, |stretch| stretch.rows_until(seconds - stretch.start))
            }
        }
    }
}

impl Stretch {
    fn rows(&self) -> f64 {
        (self.from + self.to) / 2.0 * self.length
    }

    /// Seconds of the stretch after which so many of its rows have happened: the root of
    /// `from t + (to - from) / (2 length) t^2 = rows`, in the form that is exact also for even rates.
    fn seconds_of(&self, rows: f64) -> f64 {
        let rise = (self.to - self.from) / self.length;
        let root = (self.from * self.from + 2.0 * rise * rows).max(0.0).sqrt();
        let seconds = if rows > 0.0 { 2.0 * rows / (self.from + root) } else { 0.0 };
        seconds.min(self.length)
    }

    /// Rows at the end of so many seconds of the stretch, with those before it.
    fn rows_until(&self, seconds: f64) -> f64 {
        let seconds = seconds.min(self.length);
        let rise = (self.to - self.from) / self.length;
        self.rows_before + self.from * seconds + rise / 2.0 * seconds * seconds
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    #![allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "small numbers"
    )]
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn rows_are_due_one_after_the_other_and_as_many_as_the_rates_say(
            stretches in proptest::collection::vec((1.0..30.0_f64, 0.0..5_000.0_f64, 0.0..5_000.0_f64), 1..6),
        ) {
            let schedule = Schedule::changing(stretches.iter().copied());
            let length: f64 = stretches.iter().map(|(length, ..)| length).sum();
            let total: f64 = stretches.iter().map(|(length, from, to)| (from + to) / 2.0 * length).sum();
            prop_assert!((schedule.rows_until(length) - total).abs() < 1e-6 * total.max(1.0));
            let mut last = 0.0;
            for row in (0..total as u64).step_by(97) {
                let due = schedule.due(row).unwrap().as_secs_f64();
                prop_assert!(due >= last && due <= length + 1e-6, "row {row} at {due}, the one before at {last}");
                prop_assert!((schedule.rows_until(due) - row as f64).abs() < 0.05, "row {row} at {due}");
                last = due;
            }
        }
    }

    #[test]
    fn nothing_is_due_within_a_pause() {
        let schedule =
            Schedule::changing([(1.0, 10.0, 10.0), (5.0, 0.0, 0.0), (1.0, 10.0, 10.0)].into_iter());
        assert_eq!(schedule.due(10), Some(Duration::from_secs(1)));
        assert_eq!(schedule.due(11), Some(Duration::from_millis(6_100)));
    }
}
