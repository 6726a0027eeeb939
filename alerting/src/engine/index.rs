//! The index from series to the rules that watch it, with their states; and the loop over rows.
//!
//! The cost of a row is the rules of its series: a series without rules costs one array read, and a quiet row
//! (no rule's `when` can hold, nothing is live) touches only its watch.
//!
//! Invariants:
//! - a series is matched with the rules once, when its first row comes, and again when rules change; one that is
//!   watched is kept by the series index, so that its state never loses its name;
//! - a watch's guard is never narrower than its rules: a value strictly between `low` and `high` meets no `when`;
//! - `live` counts the slots of a watch that are not inactive.

use std::sync::Arc;

use hashbrown::HashMap;
use storage::model::{SeriesId, TableBatch, TableId, TableSchema};
use storage::series::{Paged, SeriesIndex};

use super::columns::Numbers;
use super::rules::{RuleSet, TablePlan};
use crate::limits;
use crate::metrics::Metrics;
use crate::rule::{Op, RuleId};
use crate::source::Source;
use crate::state::{self, Change, NEVER, Order, Phase, Sample, Slot};

const UNRESOLVED: u32 = 0;
const UNWATCHED: u32 = 1;
const FIRST: u32 = 2;

/// The rules that watch one field of one series.
#[derive(Debug)]
struct Watch {
    /// Position in the table plan's fields.
    field: u16,
    /// Slots that are not inactive.
    live: u32,
    /// Newest event time.
    newest: i64,
    /// Wall-clock milliseconds at which the last sample came while something was live.
    arrived_ms: i64,
    low: f64,
    high: f64,
    slots: Box<[(u32, Slot)]>,
}

#[derive(Debug)]
struct Watched {
    series: u32,
    plan: Arc<TablePlan>,
    watches: Box<[Watch]>,
}

/// A state change of one slot.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hit {
    pub(super) rule: u32,
    pub(super) series: u32,
    pub(super) change: Change,
    pub(super) value: Option<f64>,
}

/// The state of one watch, named so that it outlives the index.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Carried {
    pub(crate) series: u32,
    pub(crate) field: Arc<str>,
    pub(crate) newest: i64,
    /// Wall-clock milliseconds of the last arrival; 0 after a restart, which begins the wait anew.
    pub(crate) arrived_ms: i64,
    /// Only slots that differ from a new one.
    pub(crate) slots: Vec<(RuleId, Slot)>,
}

/// When a batch came.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrival<'a> {
    /// Wall-clock milliseconds.
    pub(super) ms: i64,
    /// The last event time that is not ahead, in nanoseconds.
    pub(super) ahead_limit: i64,
    /// What is counted on the way.
    pub(super) metrics: &'a Metrics,
}

/// See the module's header.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// [`UNRESOLVED`], [`UNWATCHED`], or a place in `watched` from [`FIRST`] on.
    by_series: Paged<u32>,
    watched: Vec<Watched>,
    plans: HashMap<TableId, Option<Arc<TablePlan>>>,
    slots: usize,
}

impl Index {
    /// Watched (rule, series) pairs.
    pub(super) fn slots(&self) -> usize {
        self.slots
    }

    /// Applies the rows of one table, in their order.
    pub(super) fn apply(
        &mut self,
        (rules, source): (&RuleSet, &dyn Source),
        batch: &TableBatch,
        arrival: Arrival<'_>,
        hits: &mut Vec<Hit>,
    ) {
        let metrics = arrival.metrics;
        metrics.rows.add(batch.rows() as u64);
        if let Some(None) = self.plans.get(&batch.table) {
            return;
        }
        let Some(schema) = source.catalog().table_by_id(batch.table) else { return };
        let Some(plan) = self.plan(rules, &schema) else { return };
        let numbers: Vec<_> = plan.fields.iter().map(|field| Numbers::of(&schema, batch, field)).collect();
        metrics.samples_not_numeric.add(numbers.iter().map(|n| n.not_numeric as u64).sum());
        if numbers.iter().all(Numbers::is_empty) {
            return;
        }
        for (row, (&series, &time)) in batch.series.iter().zip(batch.times.iter()).enumerate() {
            let mut entry = *self.by_series.get(series);
            if entry == UNRESOLVED {
                entry = self.resolve((rules, source), (&plan, &schema), series, metrics);
            }
            let Some(watched) = self.watched.get_mut(entry.wrapping_sub(FIRST) as usize) else { continue };
            for watch in &mut watched.watches {
                let Some(value) = numbers.get(usize::from(watch.field)).and_then(|n| n.get(row)) else {
                    continue;
                };
                let in_order = time > watch.newest && time <= arrival.ahead_limit;
                if in_order && watch.live == 0 && watch.low < value && value < watch.high {
                    watch.newest = time;
                } else {
                    watch.step(rules, (series, time, value), arrival, hits);
                }
            }
        }
    }

    /// The firing slots whose subject has sent nothing for longer than the rule's `no_data`, by the clock; they
    /// are resolved. `since_ms` is when listening began: silence before that does not count.
    pub(super) fn silence(
        &mut self,
        rules: &RuleSet,
        live: impl Iterator<Item = (RuleId, u32)>,
        now_ms: i64,
        since_ms: i64,
    ) -> Vec<Hit> {
        let mut hits = Vec::new();
        for (id, series) in live {
            let Some(rule) = rules.ordinal(id) else { continue };
            let limit_ms = rules.get(rule).and_then(|r| r.params.no_data_ns).map(|ns| ns / 1_000_000);
            let Some(watch) = self.watch_of(series, rule) else { continue };
            let silent_ms = now_ms.saturating_sub(watch.arrived_ms.max(since_ms));
            if limit_ms.is_some_and(|limit| silent_ms > limit) {
                hits.extend(watch.silence(rules, series, rule));
            }
        }
        hits
    }

    /// Resolves one firing slot as silent, as a record of the alert stream says.
    pub(super) fn silence_one(&mut self, rules: &RuleSet, id: RuleId, series: u32) -> Option<Hit> {
        let rule = rules.ordinal(id)?;
        self.watch_of(series, rule)?.silence(rules, series, rule)
    }

    /// All state, in a form that does not depend on the set of rules.
    pub(super) fn export(&self, rules: &RuleSet) -> Vec<Carried> {
        let mut all = Vec::new();
        for watched in &self.watched {
            for watch in &watched.watches {
                let Some(field) = watched.plan.fields.get(usize::from(watch.field)) else { continue };
                let touched = watch.slots.iter().filter(|(_, slot)| *slot != Slot::default());
                let named =
                    touched.filter_map(|(rule, slot)| Some((rules.get(*rule)?.stored.rule.id, *slot)));
                let slots = named.collect();
                all.push(Carried {
                    series: watched.series,
                    field: field.clone(),
                    newest: watch.newest,
                    arrived_ms: watch.arrived_ms,
                    slots,
                });
            }
        }
        all
    }

    /// Forgets what is known of series that the series index has forgotten; none of them is watched.
    pub(super) fn forget_unwatched(&mut self, series: &SeriesIndex) {
        self.by_series.retain(|id, entry| *entry >= FIRST || series.get(SeriesId::new(id)).is_some());
    }

    /// Begins again under `rules`, with the states that were exported. What no rule watches now is dropped.
    pub(super) fn adopt(
        &mut self,
        (rules, source): (&RuleSet, &dyn Source),
        carried: &[Carried],
        metrics: &Metrics,
    ) {
        for watched in std::mem::take(self).watched {
            source.series().release(SeriesId::new(watched.series));
        }
        for old in carried {
            if *self.by_series.get(old.series) == UNRESOLVED {
                let known = source.series().get(SeriesId::new(old.series));
                let schema = known.and_then(|s| source.catalog().table_by_id(s.table));
                let Some(schema) = schema else { continue };
                let Some(plan) = self.plan(rules, &schema) else { continue };
                self.resolve((rules, source), (&plan, &schema), old.series, metrics);
            }
            let entry = *self.by_series.get(old.series);
            let Some(watched) = self.watched.get_mut(entry.wrapping_sub(FIRST) as usize) else { continue };
            let field = watched.plan.fields.iter().position(|f| *f == old.field);
            let watch = watched.watches.iter_mut().find(|w| Some(usize::from(w.field)) == field);
            let Some(watch) = watch else { continue };
            watch.newest = old.newest;
            watch.arrived_ms = old.arrived_ms;
            for (id, slot) in &old.slots {
                let ordinal = rules.ordinal(*id);
                if let Some((_, place)) = watch.slots.iter_mut().find(|(rule, _)| Some(*rule) == ordinal) {
                    *place = *slot;
                }
            }
            watch.count_live();
        }
    }

    fn watch_of(&mut self, series: u32, rule: u32) -> Option<&mut Watch> {
        let entry = self.by_series.get(series).checked_sub(FIRST)?;
        let watched = self.watched.get_mut(entry as usize)?;
        watched.watches.iter_mut().find(|watch| watch.slots.iter().any(|(r, _)| *r == rule))
    }

    fn plan(&mut self, rules: &RuleSet, schema: &TableSchema) -> Option<Arc<TablePlan>> {
        let plan = || TablePlan::of(rules, schema).map(Arc::new);
        self.plans.entry(schema.id).or_insert_with(plan).clone()
    }

    /// Matches a series with the rules. Returns its entry.
    fn resolve(
        &mut self,
        (rules, source): (&RuleSet, &dyn Source),
        (plan, schema): (&Arc<TablePlan>, &TableSchema),
        id: u32,
        metrics: &Metrics,
    ) -> u32 {
        let Some(series) = source.series().get(SeriesId::new(id)) else { return UNWATCHED };
        let matching = plan.matching(rules, schema, &series);
        let fits = self.slots + matching.len() <= limits::SLOTS;
        if !fits {
            metrics.series_unwatched.add(1);
        }
        let entry = match u32::try_from(self.watched.len()) {
            Ok(next) if fits && !matching.is_empty() => {
                self.slots += matching.len();
                let by_field = matching.chunk_by(|a, b| a.1 == b.1);
                let watches = by_field.map(|group| Watch::new(rules, group)).collect();
                self.watched.push(Watched { series: id, plan: Arc::clone(plan), watches });
                source.series().keep(series.id);
                next + FIRST
            }
            _ => UNWATCHED,
        };
        *self.by_series.get_mut(id) = entry;
        entry
    }
}

impl Watch {
    /// A watch of the rules, which are about one field.
    fn new(rules: &RuleSet, group: &[(u32, u16)]) -> Self {
        let (mut low, mut high) = (f64::NEG_INFINITY, f64::INFINITY);
        for when in group.iter().filter_map(|(rule, _)| rules.get(*rule)).map(|rule| &rule.params.when) {
            match when.op {
                Op::Greater | Op::GreaterOrEqual => high = high.min(when.constant),
                Op::Less | Op::LessOrEqual => low = low.max(when.constant),
                // Any value may meet these: the guard is closed.
                Op::Equal | Op::NotEqual => low = f64::INFINITY,
            }
        }
        let slots = group.iter().map(|(rule, _)| (*rule, Slot::default())).collect();
        let field = group.first().map_or(0, |(_, field)| *field);
        Self { field, live: 0, newest: NEVER, arrived_ms: 0, low, high, slots }
    }

    fn count_live(&mut self) {
        let live = self.slots.iter().filter(|(_, slot)| slot.phase != Phase::Inactive).count();
        self.live = u32::try_from(live).unwrap_or(u32::MAX);
    }

    /// The way of a sample that the guard did not turn away.
    fn step(
        &mut self,
        rules: &RuleSet,
        (series, time, value): (u32, i64, f64),
        arrival: Arrival<'_>,
        hits: &mut Vec<Hit>,
    ) {
        let metrics = arrival.metrics;
        let order = Order::of(time, self.newest, arrival.ahead_limit);
        match order {
            Order::Late => metrics.samples_late.add(1),
            Order::Ahead => metrics.samples_ahead.add(1),
            Order::InOrder => {}
        }
        metrics.samples_evaluated.add(1);
        let sample = Sample { time, value, order };
        for (rule, slot) in &mut self.slots {
            let Some(compiled) = rules.get(*rule) else { continue };
            let changes = state::step(&compiled.params, slot, self.newest, sample);
            for change in changes.into_iter().flatten() {
                let by_value = !matches!(change, Change::Resolved { no_data: true, .. });
                hits.push(Hit { rule: *rule, series, change, value: by_value.then_some(value) });
            }
        }
        if order == Order::InOrder {
            self.newest = time;
        }
        self.arrived_ms = arrival.ms;
        self.count_live();
    }

    fn silence(&mut self, rules: &RuleSet, series: u32, rule: u32) -> Option<Hit> {
        let (_, slot) = self.slots.iter_mut().find(|(r, _)| *r == rule)?;
        let change = state::go_silent(&rules.get(rule)?.params, slot, self.newest);
        self.count_live();
        change.map(|change| Hit { rule, series, change, value: None })
    }
}
