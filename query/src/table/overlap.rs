//! Which sources of rows overlap in time, and must be merged.

use storage::model::TimeRange;

/// Groups sources into connected components: two sources are in one group if a chain of overlapping time
/// ranges joins them. Each group lists positions in `times`, ascending; groups are in order of time.
///
/// 1. The sources are visited in order of their first time.
/// 2. One that begins after everything in the current group has ended begins a new group.
pub(super) fn components(times: &[TimeRange]) -> Vec<Vec<usize>> {
    let mut by_start: Vec<(usize, &TimeRange)> = times.iter().enumerate().collect();
    by_start.sort_by_key(|(_, range)| range.min);
    let mut groups: Vec<Vec<usize>> = Vec::new();
    let mut end = None;
    for (source, range) in by_start {
        match groups.last_mut() {
            Some(group) if end.is_some_and(|end| range.min <= end) => group.push(source),
            _ => groups.push(vec![source]),
        }
        end = end.max(Some(range.max));
    }
    for group in &mut groups {
        group.sort_unstable();
    }
    groups
}

#[cfg(test)]
mod tests {
    use storage::model::{TimeRange, Timestamp};

    use super::components;

    fn check(ranges: &[(i64, i64)], expected: &[&[usize]]) {
        let ranges: Vec<_> = ranges
            .iter()
            .map(|&(min, max)| TimeRange::new(Timestamp::from_nanos(min), Timestamp::from_nanos(max)))
            .collect();
        assert_eq!(components(&ranges), expected);
    }

    #[test]
    fn sources_that_touch_or_are_joined_by_a_third_are_one_group() {
        check(&[], &[]);
        check(&[(0, 1), (2, 3)], &[&[0], &[1]]);
        check(&[(0, 2), (2, 3)], &[&[0, 1]]);
        check(&[(4, 9), (0, 5), (20, 21), (9, 10)], &[&[0, 1, 3], &[2]]);
        check(&[(0, 100), (1, 2), (50, 51), (101, 102)], &[&[0, 1, 2], &[3]]);
    }
}
