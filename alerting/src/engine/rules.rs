//! The set of rules in force, and which of them are about a table.
//!
//! Invariant: a set is immutable; a change makes a new one. Ordinals are positions in one set and mean nothing
//! in another: what outlives a set names rules by id.

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::HashMap;
use storage::model::TableSchema;
use storage::series::Series;

use crate::error::Result;
use crate::record::RuleChange;
use crate::rule::{RuleId, StoredRule};
use crate::state::Params;

/// One rule, ready to be evaluated.
#[derive(Debug)]
pub(crate) struct Compiled {
    pub(crate) stored: Arc<StoredRule>,
    pub(crate) params: Params,
}

/// All rules.
#[derive(Debug, Default)]
pub(crate) struct RuleSet {
    by_name: BTreeMap<String, Arc<StoredRule>>,
    enabled: Vec<Compiled>,
    by_table: HashMap<(String, String), Vec<u32>>,
    ordinals: HashMap<RuleId, u32>,
}

impl RuleSet {
    pub(crate) fn new(rules: impl IntoIterator<Item = Arc<StoredRule>>) -> Self {
        let mut set = Self::default();
        for stored in rules {
            set.by_name.insert(stored.rule.spec.name.clone(), stored);
        }
        for stored in set.by_name.values().filter(|s| s.rule.spec.enabled) {
            let Ok(ordinal) = u32::try_from(set.enabled.len()) else { break };
            let spec = &stored.rule.spec;
            set.by_table.entry((spec.database.clone(), spec.table.clone())).or_default().push(ordinal);
            set.ordinals.insert(stored.rule.id, ordinal);
            set.enabled.push(Compiled { stored: Arc::clone(stored), params: Params::from(&stored.rule) });
        }
        set
    }

    /// The set after these changes.
    pub(crate) fn changed(&self, changes: &[RuleChange]) -> Result<Self> {
        let mut by_name = self.by_name.clone();
        for change in changes {
            match change {
                RuleChange::Put { spec, version, origin } => {
                    let stored = StoredRule { rule: spec.validate()?, version: *version, origin: *origin };
                    by_name.insert(spec.name.clone(), Arc::new(stored));
                }
                RuleChange::Delete { name } => {
                    by_name.remove(name);
                }
            }
        }
        Ok(Self::new(by_name.into_values()))
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<StoredRule>> {
        self.by_name.values()
    }

    pub(crate) fn len(&self) -> usize {
        self.by_name.len()
    }

    pub(crate) fn by_name(&self, name: &str) -> Option<&Arc<StoredRule>> {
        self.by_name.get(name)
    }

    pub(super) fn get(&self, ordinal: u32) -> Option<&Compiled> {
        self.enabled.get(ordinal as usize)
    }

    pub(super) fn ordinal(&self, id: RuleId) -> Option<u32> {
        self.ordinals.get(&id).copied()
    }
}

/// The rules about one table, ready for matching series.
#[derive(Debug, Default)]
pub(super) struct TablePlan {
    /// The fields that any rule watches.
    pub(super) fields: Vec<Arc<str>>,
    /// Rules without a scope: ordinal, and position of the field.
    unscoped: Vec<(u32, u16)>,
    /// Rules with a scope, by the name and the value of their first tag, so that a new series meets only rules
    /// that name one of its own tag values.
    scoped: HashMap<String, HashMap<String, Vec<(u32, u16)>>>,
}

impl TablePlan {
    /// The plan of a table; `None` when no rule is about it.
    pub(super) fn of(rules: &RuleSet, schema: &TableSchema) -> Option<Self> {
        let key = (schema.database.as_str().to_owned(), schema.name.as_str().to_owned());
        let mut plan = Self::default();
        for &ordinal in rules.by_table.get(&key)? {
            let Some(rule) = rules.get(ordinal) else { continue };
            let name = &rule.params.when.field;
            let position = plan.fields.iter().position(|f| f == name).unwrap_or_else(|| {
                plan.fields.push(Arc::clone(name));
                plan.fields.len() - 1
            });
            let entry = (ordinal, u16::try_from(position).unwrap_or(u16::MAX));
            match rule.stored.rule.spec.scope.iter().next() {
                None => plan.unscoped.push(entry),
                Some((tag, value)) => {
                    plan.scoped
                        .entry_ref(tag.as_str())
                        .or_default()
                        .entry_ref(value.as_str())
                        .or_default()
                        .push(entry);
                }
            }
        }
        Some(plan)
    }

    /// The rules whose scope holds the series: ordinal, and position of the field; sorted by field.
    pub(super) fn matching(&self, rules: &RuleSet, schema: &TableSchema, series: &Series) -> Vec<(u32, u16)> {
        let mut found = self.unscoped.clone();
        for (position, value) in series.tags() {
            let by_value = schema.tags.get(position).and_then(|tag| self.scoped.get(&*tag.name));
            let candidates = by_value.and_then(|values| values.get(value));
            found.extend(candidates.into_iter().flatten().filter(|(ordinal, _)| {
                rules.get(*ordinal).is_some_and(|rule| in_scope(rule, schema, series))
            }));
        }
        found.sort_unstable_by_key(|(ordinal, field)| (*field, *ordinal));
        found
    }
}

fn in_scope(rule: &Compiled, schema: &TableSchema, series: &Series) -> bool {
    rule.stored.rule.spec.scope.iter().all(|(tag, value)| {
        schema.tag(tag).and_then(|position| series.tag(position)).is_some_and(|found| found == value)
    })
}
