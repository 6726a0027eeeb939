//! Keeps a thread's work within a share of its time.

use std::time::{Duration, Instant};

use crate::clock;

/// Work shorter than this is not worth a pause.
const SHORTEST_WORK: Duration = Duration::from_millis(5);

/// Says how long to pause between pieces of work.
#[derive(Debug)]
pub(crate) struct Pace {
    percent: u32,
    since: Instant,
}

impl Pace {
    /// A pace of so many percent, from now.
    pub(crate) fn new(percent: u32) -> Self {
        Self { percent: percent.clamp(1, 100), since: clock::instant() }
    }

    /// How long to pause for the work since the last pause; `None` while that is short.
    pub(crate) fn due(&self) -> Option<Duration> {
        let worked = clock::instant().duration_since(self.since);
        (worked >= SHORTEST_WORK && self.percent < 100).then(|| pause_after(worked, self.percent))
    }

    /// Begins to count anew, after a pause.
    pub(crate) fn resume(&mut self) {
        self.since = clock::instant();
    }
}

fn pause_after(worked: Duration, percent: u32) -> Duration {
    worked * (100 - percent) / percent
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::pause_after;

    #[test]
    fn the_pause_makes_the_work_its_share_of_the_time() {
        let worked = Duration::from_millis(30);
        assert_eq!(pause_after(worked, 50), Duration::from_millis(30));
        assert_eq!(pause_after(worked, 75), Duration::from_millis(10));
        assert_eq!(pause_after(worked, 100), Duration::ZERO);
    }
}
