//! The state machine of one (rule, subject): inactive → pending → firing → resolved (which is inactive again).
//!
//! It is pure: samples go in, changes come out; it knows no clock, no id and no storage.
//!
//! Semantics, on event time:
//! 1. A sample whose time is not after the subject's newest is *late*. It is counted and nothing else; or, for
//!    a rule that evaluates late samples (and so has no `for`), it fires if it meets `when`, nothing is live,
//!    and it is newer than the last episode's start (so one delivered twice fires once). It never resolves.
//! 2. With `no_data`: when an in-order sample comes more than `no_data` after the newest, pending starts over,
//!    and a firing alert is resolved at newest + `no_data`, before the sample is evaluated.
//! 3. Inactive: a sample that meets `when` starts an episode. Pending: one that does not, ends it; the first one
//!    at least `for` after the episode's start fires. Firing: one that meets `clear` resolves.
//! 4. A sample that is *ahead* of its arrival by more than the allowed skew is evaluated, but does not become
//!    the newest, and its distance to the newest says nothing about silence.
//!
//! Invariants: at most one resolve and one fire per sample, in that order; episodes of in-order samples have
//! rising starts.

#[cfg(test)]
mod tests;

use crate::rule::{Condition, Rule};

/// What the machine needs of a rule.
#[derive(Debug, Clone)]
pub struct Params {
    /// When it fires.
    pub when: Condition,
    /// When it resolves; `None` means as soon as `when` does not hold.
    pub clear: Option<Condition>,
    /// How long `when` must hold, in nanoseconds.
    pub hold_ns: i64,
    /// How long a silence counts as no data, in nanoseconds.
    pub no_data_ns: Option<i64>,
    /// Whether late samples are evaluated.
    pub evaluates_late: bool,
}

impl From<&Rule> for Params {
    fn from(rule: &Rule) -> Self {
        Self {
            when: rule.when.clone(),
            clear: rule.clear.clone(),
            hold_ns: rule.hold_ns,
            no_data_ns: rule.no_data_ns,
            evaluates_late: rule.evaluates_late,
        }
    }
}

/// Where the machine is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum Phase {
    /// Nothing is wrong.
    #[default]
    Inactive = 0,
    /// `when` holds, not yet for long enough.
    Pending = 1,
    /// The alert has fired and has not resolved.
    Firing = 2,
}

/// The state of one (rule, subject): 24 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// Where the machine is.
    pub phase: Phase,
    /// Start of the episode, while it is not inactive.
    pub since: i64,
    /// Start of the last episode that fired; [`NEVER`] if none did.
    pub last_episode: i64,
}

/// The time before every sample.
pub const NEVER: i64 = i64::MIN;

impl Slot {
    /// One that fires in an episode with this start.
    pub(crate) const fn firing(since: i64) -> Self {
        Self { phase: Phase::Firing, since, last_episode: since }
    }
}

impl Default for Slot {
    fn default() -> Self {
        Self { phase: Phase::Inactive, since: NEVER, last_episode: NEVER }
    }
}

/// How a sample's time stands to the subject's newest and to its arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Newer than the newest.
    InOrder,
    /// Not newer than the newest.
    Late,
    /// Ahead of its arrival by more than the allowed skew.
    Ahead,
}

impl Order {
    /// Judges a time. `newest` is [`NEVER`] for a subject without samples; `ahead_limit` is the last time that
    /// is not ahead.
    #[must_use]
    #[inline]
    pub const fn of(time: i64, newest: i64, ahead_limit: i64) -> Self {
        if time > ahead_limit {
            Self::Ahead
        } else if time <= newest {
            Self::Late
        } else {
            Self::InOrder
        }
    }
}

/// One value of the rule's field.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// Event time, in nanoseconds.
    pub time: i64,
    /// The value; finite.
    pub value: f64,
    /// How the time stands to the newest.
    pub order: Order,
}

/// What a sample, or silence, did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The alert fires.
    Fired {
        /// Start of the episode.
        since: i64,
        /// Event time of the firing.
        at: i64,
        /// Whether a late sample did it.
        late: bool,
    },
    /// The alert resolves.
    Resolved {
        /// Start of the episode.
        since: i64,
        /// Event time of the resolving.
        at: i64,
        /// Whether silence did it.
        no_data: bool,
    },
}

/// Takes one sample. `newest` is the newest before it. Returns the changes in their order.
pub fn step(params: &Params, slot: &mut Slot, newest: i64, sample: Sample) -> [Option<Change>; 2] {
    match sample.order {
        Order::Late => [step_late(params, slot, sample), None],
        Order::Ahead => [step_value(params, slot, sample), None],
        Order::InOrder => {
            let silence = params.no_data_ns.filter(|limit| {
                newest != NEVER
                    && sample.time.saturating_sub(newest) > *limit
                    && slot.phase != Phase::Inactive
            });
            let resolved = silence.and_then(|_| go_silent(params, slot, newest));
            [resolved, step_value(params, slot, sample)]
        }
    }
}

/// The subject has been silent for longer than `no_data`: pending starts over, a firing alert resolves.
/// Returns `None`, and changes nothing, for a rule without `no_data`.
pub fn go_silent(params: &Params, slot: &mut Slot, newest: i64) -> Option<Change> {
    let limit = params.no_data_ns?;
    let was = std::mem::replace(&mut slot.phase, Phase::Inactive);
    let at = newest.saturating_add(limit);
    (was == Phase::Firing).then_some(Change::Resolved { since: slot.since, at, no_data: true })
}

fn step_value(params: &Params, slot: &mut Slot, sample: Sample) -> Option<Change> {
    let Sample { time, value, .. } = sample;
    if slot.phase == Phase::Firing {
        let clears = params.clear.as_ref().map_or_else(|| !params.when.holds(value), |c| c.holds(value));
        if !clears {
            return None;
        }
        slot.phase = Phase::Inactive;
        return Some(Change::Resolved { since: slot.since, at: time, no_data: false });
    }
    if !params.when.holds(value) {
        slot.phase = Phase::Inactive;
        return None;
    }
    if slot.phase == Phase::Inactive {
        if sample.order == Order::Ahead && time == slot.last_episode {
            return None;
        }
        *slot = Slot { phase: Phase::Pending, since: time, ..*slot };
    }
    // An episode that a sample ahead of its time began counts from the first sample that is not.
    slot.since = slot.since.min(time);
    if time.saturating_sub(slot.since) < params.hold_ns {
        return None;
    }
    Some(fire(slot, time, false))
}

fn step_late(params: &Params, slot: &mut Slot, sample: Sample) -> Option<Change> {
    let fires = params.evaluates_late
        && slot.phase == Phase::Inactive
        && sample.time > slot.last_episode
        && params.when.holds(sample.value);
    if !fires {
        return None;
    }
    slot.since = sample.time;
    Some(fire(slot, sample.time, true))
}

fn fire(slot: &mut Slot, at: i64, late: bool) -> Change {
    slot.phase = Phase::Firing;
    slot.last_episode = slot.since;
    Change::Fired { since: slot.since, at, late }
}
