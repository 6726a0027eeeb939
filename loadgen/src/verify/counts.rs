//! Compares a fleet's tables with the rows that were acknowledged, by ranges of time.
//!
//! Every row of a fleet has its own time, in the order of its number, so a batch owns a range of time that no other
//! batch touches; late batches own one before the run. A table that differs is halved until the batches that differ
//! are named.

use crate::error::LoadError;
use crate::fleet::plan::{Kind, Plan};
use crate::replay::time_text::write_utc;
use crate::report::Ending;
use crate::verify::sql::{count, identifier, scope};
use crate::verify::{NAMED_POINTS, SqlReader, TableVerdict};
use std::collections::BTreeMap;
use std::ops::Range;

/// Rows of one query: its distinct count is bounded memory on the server.
const ROWS_PER_QUERY: u64 = 1_000_000;

/// What a run sent.
#[derive(Debug)]
pub struct Sent<'a> {
    /// Which rows a batch holds.
    pub plan: &'a Plan,
    /// Batches taken from the source: 0 up to this.
    pub batches: u64,
    /// Those of them that were not acknowledged, where the others were; of those that nobody answers to, the ones that
    /// were not sent.
    pub unsettled: BTreeMap<u64, Ending>,
    /// Whether the server answers to batches.
    pub is_answered: bool,
}

#[derive(Debug, Clone, Copy, Default)]
struct Rows {
    expected: u64,
    uncertain: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Found {
    rows: u64,
    distinct: u64,
}

/// Reads one table and compares.
pub async fn compare(reader: &SqlReader, sent: &Sent<'_>, kind: Kind) -> Result<TableVerdict, LoadError> {
    let mut verdict = TableVerdict { table: sent.plan.table(kind), ..TableVerdict::default() };
    let batches_per_query = (ROWS_PER_QUERY / sent.plan.batch_rows()).max(1);
    let mut from = 0;
    while from < sent.batches {
        let window = from..(from + batches_per_query).min(sent.batches);
        from = window.end;
        let rows = sent.rows(kind, window.clone());
        verdict.rows_expected += rows.expected;
        verdict.rows_uncertain += rows.uncertain;
        let found = sent.ask(reader, kind, &window).await?;
        verdict.rows_found += found.rows;
        verdict.rows_double += found.rows.saturating_sub(found.distinct);
        if sent.differs(rows, found) {
            sent.name_batches(reader, kind, window, &mut verdict).await?;
        }
    }
    Ok(verdict)
}

impl Sent<'_> {
    fn rows(&self, kind: Kind, batches: Range<u64>) -> Rows {
        let all = self.plan.rows_of(kind, self.plan.rows_in(batches.clone()));
        let unsettled = self.unsettled.range(batches).map(|(number, ending)| {
            (self.plan.rows_of(kind, self.plan.rows_in(*number..number + 1)), *ending)
        });
        let mut rows = Rows { expected: all, uncertain: 0 };
        for (count, ending) in unsettled {
            rows.expected -= count;
            rows.uncertain += if ending == Ending::NotSent { 0 } else { count };
        }
        if !self.is_answered {
            rows = Rows { expected: 0, uncertain: rows.expected + rows.uncertain };
        }
        rows
    }

    fn differs(&self, rows: Rows, found: Found) -> bool {
        found.rows != found.distinct
            || found.rows < rows.expected
            || found.rows > rows.expected + rows.uncertain
    }

    async fn ask(&self, reader: &SqlReader, kind: Kind, batches: &Range<u64>) -> Result<Found, LoadError> {
        let rows = self.plan.rows_in(batches.clone());
        if self.plan.rows_of(kind, rows.clone()) == 0 {
            return Ok(Found::default());
        }
        let (first, last) = (self.plan.time_ns(rows.start), self.plan.time_ns(rows.end.saturating_sub(1)));
        let mut found = self.within(reader, kind, first, last).await?;
        if let Some(late) = self.plan.late_by_ns() {
            // The late ones of these batches, and of no others.
            let late = self.within(reader, kind, first - late, last - late).await?;
            found = Found { rows: found.rows + late.rows, distinct: found.distinct + late.distinct };
        }
        Ok(found)
    }

    async fn within(
        &self,
        reader: &SqlReader,
        kind: Kind,
        first_ns: i64,
        last_ns: i64,
    ) -> Result<Found, LoadError> {
        let sql = format!(
            "SELECT count(*) AS n, count(DISTINCT time) AS d FROM {} WHERE {}",
            identifier(&self.plan.table(kind)),
            scope(first_ns, last_ns, self.plan.tags()),
        );
        let row = reader.row(&sql).await?;
        Ok(Found { rows: count(&row, "n")?, distinct: count(&row, "d")? })
    }

    async fn name_batches(
        &self,
        reader: &SqlReader,
        kind: Kind,
        window: Range<u64>,
        verdict: &mut TableVerdict,
    ) -> Result<(), LoadError> {
        let mut open = vec![window];
        while let Some(batches) = open.pop() {
            if verdict.missing.len().max(verdict.double.len()).max(verdict.unexpected.len()) >= NAMED_POINTS {
                return Ok(());
            }
            let rows = self.rows(kind, batches.clone());
            let found = self.ask(reader, kind, &batches).await?;
            if !self.differs(rows, found) {
                continue;
            }
            let middle = batches.start + (batches.end - batches.start) / 2;
            if middle > batches.start {
                open.push(middle..batches.end);
                open.push(batches.start..middle);
                continue;
            }
            let text = self.describe(batches.start, rows, found);
            if found.rows < rows.expected {
                verdict.missing.push(text);
            } else if found.rows > found.distinct {
                verdict.double.push(text);
            } else {
                verdict.unexpected.push(text);
            }
        }
        Ok(())
    }

    fn describe(&self, number: u64, rows: Rows, found: Found) -> String {
        let usual = if self.is_answered { "acknowledged" } else { "unanswered" };
        let ending = self
            .unsettled
            .get(&number)
            .map_or_else(|| usual.to_owned(), |ending| format!("{ending:?}").to_lowercase());
        // As its lines say: a late batch is older than when it was due.
        let (first, last) = self.plan.times_of_batch(number);
        format!(
            "batch {number} ({ending}), {} to {}: expected {} rows, found {} ({} distinct)",
            write_utc(first),
            write_utc(last),
            rows.expected,
            found.rows,
            found.distinct,
        )
    }
}
