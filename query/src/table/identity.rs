//! What a query's filters say about the identity of the wanted rows: their time and their tags.
//!
//! Only this may act below last-write-wins (VIEW-2): all versions of a point have one identity, so such a test
//! keeps all of them or none. A test of a field could drop the newest version and bring an older one back.
//!
//! Invariant: everything here may keep too much, never drop a wanted row; the filters themselves stay above.

use std::collections::HashSet;

use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{Between, BinaryExpr, Expr, Operator, expr::InList};
use storage::model::{DataFile, TIME_COLUMN, TableSchema, TimeRange, Timestamp};
use storage::series::KeyRef;

/// Tests of identity, all of which must hold.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    /// The times of the wanted rows; `None` when no time can satisfy the filters.
    pub(super) times: Option<TimeRange>,
    /// Tags that must have one of some values.
    pub(crate) tags: Vec<TagTest>,
    /// All tests that look at nothing but tags, for the files.
    pub(super) tag_filters: Vec<Expr>,
}

/// A tag that must have one of some values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TagTest {
    /// The tag's position in the table's schema.
    pub(crate) position: usize,
    /// The values.
    pub(crate) values: HashSet<String>,
}

impl Identity {
    /// What `filters`, all of which must hold, say about identity.
    pub(crate) fn of(filters: &[Expr], schema: &TableSchema) -> Self {
        let mut bounds = Bounds::default();
        let (mut tags, mut tag_filters) = (Vec::new(), Vec::new());
        for filter in filters.iter().flat_map(split_conjunction) {
            bounds.narrow(filter);
            tags.extend(tag_test(filter, schema));
            if looks_at_tags_only(filter, schema) {
                tag_filters.push(filter.clone());
            }
        }
        Self { times: bounds.range(), tags, tag_filters }
    }

    /// The same without times before `oldest`.
    pub(super) fn not_before(mut self, oldest: Timestamp) -> Self {
        let kept = |times: TimeRange| TimeRange::new(times.min.max(oldest), times.max);
        self.times = self.times.map(kept).filter(|times| times.min <= times.max);
        self
    }

    /// Whether rows of this series may be wanted.
    pub(super) fn may_want(&self, series: KeyRef<'_>) -> bool {
        self.tags
            .iter()
            .all(|test| series.tag(test.position).is_some_and(|value| test.values.contains(value)))
    }

    /// Whether the file may hold wanted rows, by its time range and the statistics of its tags.
    pub(super) fn may_be_in(&self, file: &DataFile, schema: &TableSchema) -> bool {
        let Some(times) = self.times else { return false };
        file.times.overlaps(&times) && (self.tags.is_empty() || self.tags_may_be_in(file, schema))
    }

    /// Statistics that are missing or cannot be read exclude nothing.
    fn tags_may_be_in(&self, file: &DataFile, schema: &TableSchema) -> bool {
        let Ok(stats) = serde_json::from_str::<serde_json::Value>(&file.stats) else { return true };
        self.tags.iter().all(|test| {
            let Some(tag) = schema.tags.get(test.position) else { return true };
            let bound = |side: &str| stats.get(side)?.get(tag.stored_name.as_ref())?.as_str();
            let (min, max) = (bound("minValues"), bound("maxValues"));
            test.values.iter().any(|value| {
                // A writer may cut a long bound: what begins with the upper bound is still below the true one.
                min.is_none_or(|min| value.as_str() >= min)
                    && max.is_none_or(|max| value.as_str() <= max || value.starts_with(max))
            })
        })
    }
}

/// The closed range of times that is left.
struct Bounds {
    min: i64,
    max: i64,
    empty: bool,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { min: i64::MIN, max: i64::MAX, empty: false }
    }
}

impl Bounds {
    fn range(&self) -> Option<TimeRange> {
        let range = TimeRange::new(Timestamp::from_nanos(self.min), Timestamp::from_nanos(self.max));
        (!self.empty && self.min <= self.max).then_some(range)
    }

    fn narrow(&mut self, filter: &Expr) {
        match filter {
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => match (nanos(left), nanos(right)) {
                (None, Some(nanos)) if is_time(left) => self.compare(*op, nanos),
                (Some(nanos), None) if is_time(right) => {
                    if let Some(op) = op.swap() {
                        self.compare(op, nanos);
                    }
                }
                _ => {}
            },
            Expr::Between(Between { expr, negated: false, low, high }) if is_time(expr) => {
                if let Some(low) = nanos(low) {
                    self.compare(Operator::GtEq, low);
                }
                if let Some(high) = nanos(high) {
                    self.compare(Operator::LtEq, high);
                }
            }
            Expr::InList(InList { expr, list, negated: false }) if is_time(expr) => {
                let times: Option<Vec<i64>> = list.iter().map(nanos).collect();
                let times = times.as_deref().and_then(TimeRange::of);
                if let Some(times) = times {
                    self.compare(Operator::GtEq, times.min.nanos());
                    self.compare(Operator::LtEq, times.max.nanos());
                }
            }
            _ => {}
        }
    }

    /// Narrows by `time <op> nanos`.
    fn compare(&mut self, op: Operator, nanos: i64) {
        match op {
            Operator::Eq => {
                self.min = self.min.max(nanos);
                self.max = self.max.min(nanos);
            }
            Operator::GtEq => self.min = self.min.max(nanos),
            Operator::LtEq => self.max = self.max.min(nanos),
            Operator::Gt => match nanos.checked_add(1) {
                Some(next) => self.min = self.min.max(next),
                None => self.empty = true,
            },
            Operator::Lt => match nanos.checked_sub(1) {
                Some(previous) => self.max = self.max.min(previous),
                None => self.empty = true,
            },
            _ => {}
        }
    }
}

fn is_time(expr: &Expr) -> bool {
    matches!(expr, Expr::Column(column) if column.name == TIME_COLUMN)
}

/// The nanoseconds of a literal that the planner has already made the type of `time`.
fn nanos(expr: &Expr) -> Option<i64> {
    match expr {
        Expr::Literal(ScalarValue::TimestampNanosecond(nanos, _), _) => *nanos,
        _ => None,
    }
}

/// `tag = 'value'` and `tag IN ('value', ...)`, of which the planner makes a chain of `OR` when it is short.
fn tag_test(filter: &Expr, schema: &TableSchema) -> Option<TagTest> {
    let tag = |expr: &Expr| match expr {
        Expr::Column(column) => schema.tag(&column.name),
        _ => None,
    };
    match filter {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) => {
            let (position, value) = match (tag(left), tag(right)) {
                (Some(position), None) => (position, literal_text(right)?),
                (None, Some(position)) => (position, literal_text(left)?),
                _ => return None,
            };
            Some(TagTest { position, values: HashSet::from([value]) })
        }
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
            let (mut left, right) = (tag_test(left, schema)?, tag_test(right, schema)?);
            left.values.extend(right.values);
            (left.position == right.position).then_some(left)
        }
        Expr::InList(InList { expr, list, negated: false }) => {
            let values = list.iter().map(literal_text).collect::<Option<HashSet<_>>>()?;
            Some(TagTest { position: tag(expr)?, values })
        }
        _ => None,
    }
}

fn literal_text(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Literal(value, _) => value.try_as_str().flatten().map(str::to_owned),
        _ => None,
    }
}

/// Whether a filter is a function of the tags alone: the same answer for every version of a point, each time.
fn looks_at_tags_only(filter: &Expr, schema: &TableSchema) -> bool {
    let mut any_tag = false;
    let plain = filter.apply(|expr| {
        let plain = match expr {
            Expr::Column(column) => {
                any_tag = true;
                schema.tag(&column.name).is_some()
            }
            Expr::Literal(..)
            | Expr::BinaryExpr(_)
            | Expr::Not(_)
            | Expr::IsNull(_)
            | Expr::IsNotNull(_)
            | Expr::Like(_)
            | Expr::InList(_)
            | Expr::Cast(_) => true,
            _ => false,
        };
        Ok(if plain { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
    });
    any_tag && plain.is_ok_and(|end| end == TreeNodeRecursion::Continue)
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        reason = "a test fails by panicking"
    )]

    use datafusion::common::ScalarValue;
    use datafusion::logical_expr::{Expr, col, lit};
    use storage::model::TimeRange;

    use super::{Bounds, Timestamp};

    fn time(nanos: i64) -> Expr {
        lit(ScalarValue::TimestampNanosecond(Some(nanos), None))
    }

    fn range(filters: &[Expr]) -> Option<(i64, i64)> {
        let mut bounds = Bounds::default();
        filters.iter().for_each(|filter| bounds.narrow(filter));
        bounds.range().map(|r: TimeRange| (r.min.nanos(), r.max.nanos()))
    }

    #[test]
    fn bounds_of_time_are_closed_and_exact_to_the_nanosecond() {
        let cases = [
            (vec![col("time").gt(time(5))], Some((6, i64::MAX))),
            (vec![col("time").gt_eq(time(5)), col("time").lt(time(9))], Some((5, 8))),
            (vec![time(5).lt(col("time"))], Some((6, i64::MAX))),
            (vec![col("time").eq(time(5))], Some((5, 5))),
            (vec![col("time").between(time(5), time(7))], Some((5, 7))),
            (vec![col("time").in_list(vec![time(9), time(3)], false)], Some((3, 9))),
            (vec![col("time").in_list(vec![time(9)], true)], Some((i64::MIN, i64::MAX))),
            (vec![col("time").gt(time(5)), col("time").lt(time(6))], None),
            (vec![col("time").gt(time(i64::MAX))], None),
            (vec![col("other").gt(time(5))], Some((i64::MIN, i64::MAX))),
        ];
        for (filters, expected) in cases {
            assert_eq!(range(&filters), expected, "{filters:?}");
        }
        assert_eq!(Timestamp::from_nanos(5).nanos(), 5);
    }
}
