//! When a series was last used, in rounds of the flush; and what keeps the series of a round from being forgotten.
//!
//! A *pin* is taken before ids are looked up and goes with them: from the source to the writer, into the memtable,
//! and with that into every snapshot of it. While it is held, no series that was used in its round or later is
//! forgotten. When the last pin of a round is gone, no row can come any more that knows an id only from that
//! round; the log may still hold such rows, up to the frame that was the last at the time (KEY-2).

use std::collections::VecDeque;
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use crate::model::FrameNumber;

/// Keeps the series that are used in a round, and in later ones. Of two pins the older one keeps what both keep.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SeriesPin(Arc<u32>);

impl SeriesPin {
    pub(super) fn round(&self) -> u32 {
        *self.0
    }
}

/// The rounds of which a series may still be referred to.
#[derive(Debug)]
pub(super) struct Rounds {
    /// The number of the current round. Whoever holds this very one is pinned.
    current: ArcSwap<u32>,
    /// The earlier rounds, oldest first.
    earlier: Mutex<VecDeque<Earlier>>,
}

#[derive(Debug)]
struct Earlier {
    /// Our own hold of the round: when it is the only one, the round is over.
    pin: SeriesPin,
    /// The last frame that may hold a row of the round; known when it is over.
    last_frame: Option<FrameNumber>,
}

impl Default for Rounds {
    fn default() -> Self {
        Self { current: ArcSwap::from_pointee(0), earlier: Mutex::default() }
    }
}

impl Rounds {
    pub(super) fn pin(&self) -> SeriesPin {
        SeriesPin(self.current.load_full())
    }

    /// The current round's number.
    pub(super) fn current(&self) -> u32 {
        **self.current.load()
    }

    /// Begins a round. `frame` is the last that is visible.
    pub(super) fn next(&self, frame: FrameNumber) {
        let mut earlier = self.earlier.lock();
        let ended = SeriesPin(self.current.swap(Arc::new(self.current() + 1)));
        earlier.push_back(Earlier { pin: ended, last_frame: None });
        for round in earlier.iter_mut() {
            if round.last_frame.is_none() && Arc::strong_count(&round.pin.0) == 1 {
                round.last_frame = Some(frame);
            }
        }
    }

    /// The first round of which something may still be referred to, given the first frame that the log holds.
    pub(super) fn first_needed(&self, first_frame: FrameNumber) -> u32 {
        let mut earlier = self.earlier.lock();
        while let Some(round) = earlier.front()
            && round.last_frame.is_some_and(|last| last < first_frame)
        {
            earlier.pop_front();
        }
        earlier.front().map_or(self.current(), |round| round.pin.round())
    }
}

#[cfg(test)]
mod tests {
    use super::Rounds;
    use crate::model::FrameNumber;

    #[test]
    fn a_round_is_needed_while_it_is_pinned_and_while_the_log_has_its_rows() {
        let rounds = Rounds::default();
        let pin = rounds.pin();
        rounds.next(FrameNumber::new(10));
        assert_eq!(rounds.first_needed(FrameNumber::new(100)), 0, "a pin is held");
        drop(pin);
        assert_eq!(rounds.first_needed(FrameNumber::new(100)), 0, "the last frame of its rows is not known");
        rounds.next(FrameNumber::new(20));
        assert_eq!(rounds.first_needed(FrameNumber::new(20)), 0, "frame 20 may hold its rows");
        // Nothing pinned the second round either.
        assert_eq!(rounds.first_needed(FrameNumber::new(21)), 2);
    }
}
