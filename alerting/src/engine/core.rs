//! The deterministic heart of the engine: rules, states and live alerts; groups in, transitions out.
//!
//! Invariants: nothing here waits or writes; a firing slot and an entry of `live` exist together, so a resolving
//! always knows its firing.

use std::sync::Arc;

use hashbrown::HashMap;
use storage::model::{SeriesId, TableSchema};
use storage::series::Series;
use storage::tap::CommittedGroup;

use super::index::{Arrival, Carried, Hit, Index};
use super::rules::{Compiled, RuleSet};
use crate::limits;
use crate::metrics::Metrics;
use crate::record::{AlertState, Reason, Transition};
use crate::rule::{RuleId, StoredRule};
use crate::service::Clock;
use crate::source::Source;
use crate::state::{Change, Phase, Slot};

/// The firings that have not resolved, by (rule, subject).
pub(crate) type Live = HashMap<(RuleId, u32), Arc<Transition>>;

/// See the module's header.
pub(crate) struct Core {
    source: Arc<dyn Source>,
    rules: Arc<RuleSet>,
    index: Index,
    live: Live,
    clock: Clock,
    metrics: Arc<Metrics>,
    /// Wall-clock milliseconds at which listening began: silence counts from here (decision 5).
    ready_ms: i64,
}

/// What a change of rules replaced, to undo it.
pub(crate) struct Replaced {
    rules: Arc<RuleSet>,
    states: Vec<Carried>,
    live: Live,
}

impl Core {
    pub(crate) fn new(source: Arc<dyn Source>, clock: Clock, metrics: Arc<Metrics>) -> Self {
        let rules = Arc::default();
        Self { source, rules, index: Index::default(), live: Live::default(), clock, metrics, ready_ms: 0 }
    }

    pub(crate) fn rules(&self) -> &Arc<RuleSet> {
        &self.rules
    }

    pub(crate) fn live(&self) -> &Live {
        &self.live
    }

    /// Forgets what nobody can ask for any more.
    pub(crate) fn forget_unwatched(&mut self) {
        self.index.forget_unwatched(self.source.series());
    }

    pub(crate) fn states(&self) -> Vec<Carried> {
        self.index.export(&self.rules)
    }

    /// Silence counts from now on.
    pub(crate) fn begin_listening(&mut self) {
        self.ready_ms = self.now_ms();
    }

    /// Takes over what a snapshot holds.
    pub(crate) fn restore(&mut self, rules: RuleSet, states: &[Carried], live: Vec<Transition>) {
        self.rules = Arc::new(rules);
        self.index.adopt((&self.rules, &*self.source), states, &self.metrics);
        let firing: hashbrown::HashSet<_> = firing(&self.states()).collect();
        let entries = live.into_iter().map(|t| ((t.rule_id, t.series), Arc::new(t)));
        self.live = entries.filter(|(key, _)| firing.contains(key)).collect();
        self.gauge();
    }

    /// Takes the recorded form of a firing for the one that replay made.
    pub(crate) fn replace_live(&mut self, recorded: &Arc<Transition>) {
        if let Some(live) = self.live.get_mut(&(recorded.rule_id, recorded.series))
            && live.transition_id == recorded.transition_id
        {
            *live = Arc::clone(recorded);
        }
    }

    /// Takes over transitions that are recorded, and whose samples are gone.
    pub(crate) fn take_over(&mut self, recorded: &[Transition]) {
        let mut states = self.states();
        for transition in recorded {
            let rule = self.rules.ordinal(transition.rule_id).and_then(|ordinal| self.rules.get(ordinal));
            let Some(field) = rule.map(|rule| Arc::clone(&rule.params.when.field)) else { continue };
            let key = (transition.rule_id, transition.series);
            let slot = match transition.state {
                AlertState::Firing => Slot::firing(transition.started_at),
                AlertState::Resolved => Slot { last_episode: transition.started_at, ..Slot::default() },
            };
            match transition.state {
                AlertState::Firing => self.live.insert(key, Arc::new(transition.clone())),
                AlertState::Resolved => self.live.remove(&key),
            };
            let known = states.iter_mut().find(|c| c.series == transition.series && c.field == field);
            let newest = transition.event_time;
            match known {
                Some(carried) => {
                    carried.newest = carried.newest.max(newest);
                    carried.slots.retain(|(id, _)| *id != transition.rule_id);
                    carried.slots.push((transition.rule_id, slot));
                }
                None => states.push(Carried {
                    series: transition.series,
                    field,
                    newest,
                    arrived_ms: 0,
                    slots: vec![(transition.rule_id, slot)],
                }),
            }
        }
        self.index.adopt((&self.rules, &*self.source), &states, &self.metrics);
        self.gauge();
    }

    /// Applies a committed group.
    pub(crate) fn apply(&mut self, group: &CommittedGroup) -> Vec<Arc<Transition>> {
        self.metrics.groups.add(1);
        // The sequence's clock is the arrival: replay sees the same one. 0 means that it is not known.
        let ms = i64::try_from(group.sequence.get() >> 16).unwrap_or(0);
        let ahead_limit = match ms {
            0 => i64::MAX,
            ms => ms.saturating_mul(1_000_000).saturating_add(limits::CLOCK_AHEAD_NS),
        };
        let mut hits = Vec::new();
        for batch in group.batches.iter().flat_map(|b| &b.tables) {
            let arrival = Arrival { ms, ahead_limit, metrics: &self.metrics };
            self.index.apply((&self.rules, &*self.source), batch, arrival, &mut hits);
        }
        self.transitions(&hits)
    }

    /// Resolves the alerts of subjects that are silent by the clock.
    pub(crate) fn silence(&mut self) -> Vec<Arc<Transition>> {
        let now_ms = self.now_ms();
        let hits = self.index.silence(&self.rules, self.live.keys().copied(), now_ms, self.ready_ms);
        self.transitions(&hits)
    }

    /// Resolves what a record says was silent.
    pub(crate) fn replay_silence(&mut self, recorded: &[Transition]) -> Vec<Arc<Transition>> {
        let silent = recorded.iter().filter(|t| t.reason == Reason::NoData);
        let hits: Vec<_> =
            silent.filter_map(|t| self.index.silence_one(&self.rules, t.rule_id, t.series)).collect();
        self.transitions(&hits)
    }

    /// Puts other rules in force. Alerts of rules that changed their shape, were switched off or are gone
    /// resolve at their subject's newest event time.
    pub(crate) fn change_rules(&mut self, rules: RuleSet) -> (Vec<Arc<Transition>>, Replaced) {
        let mut states = self.states();
        let live = self.live.clone();
        let replaced = Replaced { rules: Arc::clone(&self.rules), states: states.clone(), live };
        let mut ended = Vec::new();
        let endings = endings(&self.rules, &rules);
        for carried in &mut states {
            let (series, newest) = (carried.series, carried.newest);
            carried.slots.retain(|(id, slot)| {
                let Some(why) = endings.get(id).copied() else { return true };
                if slot.phase == Phase::Firing {
                    ended.push((*id, series, newest.max(slot.since), why));
                }
                false
            });
        }
        let mut transitions = Vec::new();
        for (id, series, at, why) in ended {
            transitions.extend(self.resolved((id, series), at, None, why));
        }
        self.rules = Arc::new(rules);
        self.index.adopt((&self.rules, &*self.source), &states, &self.metrics);
        self.gauge();
        (transitions, replaced)
    }

    /// Undoes a change of rules.
    pub(crate) fn undo(&mut self, replaced: Replaced) {
        self.rules = replaced.rules;
        self.live = replaced.live;
        self.index.adopt((&self.rules, &*self.source), &replaced.states, &self.metrics);
        self.gauge();
    }

    fn transitions(&mut self, hits: &[Hit]) -> Vec<Arc<Transition>> {
        let rules = Arc::clone(&self.rules);
        let mut transitions = Vec::with_capacity(hits.len());
        for hit in hits {
            let Some(rule) = rules.get(hit.rule) else { continue };
            let transition = match hit.change {
                Change::Fired { since, at, late } => self.fired(rule, hit, since, (at, late)),
                Change::Resolved { at, no_data, .. } => {
                    let why = if no_data { Reason::NoData } else { Reason::Cleared };
                    self.resolved((rule.stored.rule.id, hit.series), at, hit.value, why)
                }
            };
            transitions.extend(transition);
        }
        self.gauge();
        transitions
    }

    fn fired(
        &mut self,
        rule: &Compiled,
        hit: &Hit,
        since: i64,
        (at, late): (i64, bool),
    ) -> Option<Arc<Transition>> {
        let series = self.source.series().get(SeriesId::new(hit.series))?;
        let schema = self.source.catalog().table_by_id(series.table)?;
        let stored = &rule.stored;
        let (subject, tags) = subject(&schema, &series);
        let alert_id = Transition::alert_id(stored.rule.id, schema.database.as_str(), &subject, since);
        let spec = &stored.rule.spec;
        let fired = Arc::new(Transition {
            transition_id: Transition::id_of(&alert_id, AlertState::Firing),
            alert_id,
            rule: spec.name.clone(),
            rule_id: stored.rule.id,
            rule_version: stored.version,
            database: schema.database.as_str().to_owned(),
            table: schema.name.as_str().to_owned(),
            subject,
            series: hit.series,
            tags,
            state: AlertState::Firing,
            reason: Reason::Condition,
            event_time: at,
            started_at: since,
            value: hit.value,
            late,
            withdrawn: false,
            revision: 1,
            severity: stored.rule.severity,
            labels: spec.labels.clone(),
            annotations: spec.annotations.clone(),
            receivers: spec.webhooks.clone(),
            recorded_at: (self.clock)().nanos(),
        });
        self.live.insert((stored.rule.id, hit.series), Arc::clone(&fired));
        Some(fired)
    }

    fn resolved(
        &mut self,
        key: (RuleId, u32),
        at: i64,
        value: Option<f64>,
        reason: Reason,
    ) -> Option<Arc<Transition>> {
        let fired = self.live.remove(&key)?;
        Some(Arc::new(Transition {
            transition_id: Transition::id_of(&fired.alert_id, AlertState::Resolved),
            state: AlertState::Resolved,
            reason,
            event_time: at,
            value,
            late: false,
            recorded_at: (self.clock)().nanos(),
            ..Transition::clone(&fired)
        }))
    }

    fn gauge(&self) {
        self.metrics.firing.set(self.live.len() as u64);
        self.metrics.slots.set(self.index.slots() as u64);
    }

    fn now_ms(&self) -> i64 {
        i64::try_from((self.clock)().unix_millis()).unwrap_or(i64::MAX)
    }
}

/// The rules whose alerts do not go on under the new set, and why.
fn endings(old: &RuleSet, new: &RuleSet) -> HashMap<RuleId, Reason> {
    let why = |old: &StoredRule| match new.by_name(&old.rule.spec.name) {
        None => Some(Reason::RuleDeleted),
        Some(new) if new.rule.keeps_alerts_of(&old.rule) => None,
        Some(new) if new.rule.spec.enabled => Some(Reason::RuleChanged),
        Some(_) => Some(Reason::RuleDisabled),
    };
    old.all().filter_map(|stored| Some((stored.rule.id, why(stored)?))).collect()
}

fn firing(states: &[Carried]) -> impl Iterator<Item = (RuleId, u32)> {
    states.iter().flat_map(|carried| {
        let firing = carried.slots.iter().filter(|(_, slot)| slot.phase == Phase::Firing);
        firing.map(|(id, _)| (*id, carried.series))
    })
}

/// The subject as text, and its tags by name.
fn subject(schema: &TableSchema, series: &Series) -> (String, std::collections::BTreeMap<String, String>) {
    let named = series.tags().filter_map(|(position, value)| {
        Some((schema.tags.get(position)?.name.as_ref().to_owned(), value.to_owned()))
    });
    let tags: std::collections::BTreeMap<_, _> = named.collect();
    let mut text = escaped(schema.name.as_str(), &[',', ' ']);
    for (name, value) in &tags {
        text.push(',');
        text.push_str(&escaped(name, &[',', ' ', '=']));
        text.push('=');
        text.push_str(&escaped(value, &[',', ' ', '=']));
    }
    (text, tags)
}

fn escaped(text: &str, special: &[char]) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if special.contains(&c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}
