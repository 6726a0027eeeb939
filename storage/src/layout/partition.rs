//! Partitions of a table: the days or months that its files are kept apart by. A partition is named by its first day.
//!
//! A *span* is a stretch of the calendar that holds whole partitions: a month of days, a year of months.

use chrono::{Datelike, Months, NaiveDate};

use super::{date_of, day};
use crate::model::{Partition, TimeRange, Timestamp};

/// The partition of a time: its first day, in days since 1970-01-01 UTC.
#[must_use]
pub fn partition_of(unit: Partition, time: Timestamp) -> i32 {
    let date = date_of(time);
    match unit {
        Partition::Day => date,
        // Every day that 64 bits of nanoseconds can say is in the calendar.
        Partition::Month => first_of_month(date).map_or(date, |first| first.to_epoch_days()),
    }
}

/// The times of the partition whose first day is `date`.
#[must_use]
pub fn partition_times(unit: Partition, date: i32) -> TimeRange {
    match unit {
        Partition::Day => day(date),
        Partition::Month => {
            let next = first_of_month(date).and_then(|first| first.checked_add_months(Months::new(1)));
            let last = next.map_or(date, |next| next.to_epoch_days() - 1);
            TimeRange::new(day(date).min, day(last).max)
        }
    }
}

/// The span of a time in a table with these partitions: its first day.
#[must_use]
pub fn span_of(unit: Partition, time: Timestamp) -> i32 {
    match unit {
        Partition::Day => partition_of(Partition::Month, time),
        Partition::Month => {
            let date = date_of(time);
            first_of_year(date).map_or(date, |first| first.to_epoch_days())
        }
    }
}

/// The times of the span whose first day is `date`.
#[must_use]
pub fn span_times(unit: Partition, date: i32) -> TimeRange {
    match unit {
        Partition::Day => partition_times(Partition::Month, date),
        Partition::Month => {
            let next = first_of_year(date).and_then(|first| first.checked_add_months(Months::new(12)));
            let last = next.map_or(date, |next| next.to_epoch_days() - 1);
            TimeRange::new(day(date).min, day(last).max)
        }
    }
}

fn first_of_year(date: i32) -> Option<NaiveDate> {
    NaiveDate::from_epoch_days(date)?.with_ordinal(1)
}

fn first_of_month(date: i32) -> Option<NaiveDate> {
    NaiveDate::from_epoch_days(date)?.with_day(1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{partition_of, partition_times, span_of, span_times};
    use crate::layout::date_text;
    use crate::model::{Partition, Timestamp};

    #[test]
    fn a_month_begins_on_its_first_day_also_before_1970() {
        let month = |nanos| date_text(partition_of(Partition::Month, Timestamp::from_nanos(nanos))).unwrap();
        assert_eq!(month(0), "1970-01-01");
        assert_eq!(month(-1), "1969-12-01");
        assert_eq!(month(1_709_164_800_000_000_000), "2024-02-01");
        assert_eq!(month(i64::MAX), "2262-04-01");
        assert_eq!(month(i64::MIN), "1677-09-01");
    }

    proptest! {
        #[test]
        fn every_time_lies_in_its_partition_and_the_next_begins_where_it_ends(
            nanos in any::<i64>(),
            unit in prop_oneof![Just(Partition::Day), Just(Partition::Month)],
        ) {
            let time = Timestamp::from_nanos(nanos);
            let date = partition_of(unit, time);
            let times = partition_times(unit, date);
            prop_assert!(times.contains(time));
            prop_assert_eq!(partition_of(unit, times.max), date);
            if let Some(next) = times.max.nanos().checked_add(1) {
                prop_assert!(partition_of(unit, Timestamp::from_nanos(next)) > date);
            }
            // The first partition is cut by what 64 bits can say.
            if times.min.nanos() > i64::MIN {
                prop_assert_eq!(partition_of(unit, times.min), date);
            }
        }
    }

    proptest! {
        #[test]
        fn a_span_holds_whole_partitions(
            nanos in any::<i64>(),
            unit in prop_oneof![Just(Partition::Day), Just(Partition::Month)],
        ) {
            let time = Timestamp::from_nanos(nanos);
            let span = span_times(unit, span_of(unit, time));
            let partition = partition_times(unit, partition_of(unit, time));
            prop_assert!(span.covers(&partition));
            prop_assert_eq!(span_of(unit, span.max), span_of(unit, time));
            if let Some(next) = span.max.nanos().checked_add(1) {
                prop_assert!(span_of(unit, Timestamp::from_nanos(next)) > span_of(unit, time));
            }
        }
    }
}
