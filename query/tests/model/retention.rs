//! Rows that expire: time goes on, tables keep rows for shorter, files are dropped.
//!
//! The oldest kept time only rises, so a row that was hidden or dropped never has to come back. Some seeds also keep
//! files apart by month, or store floats as decimals: nothing may be seen of that.

use std::time::Duration;

use storage::catalog::{Catalog, TableDeclaration};
use storage::disk::sim::Random;
use storage::log::encode_batch;
use storage::model::{DatabaseName, Partition, Retention, Scale, TableName, WriteBatch};

use super::generate::TABLES;
use super::sent::Written;
use super::world::{DATABASE, World};

/// When a world begins: the second of the two midnights that rows stand around.
pub(crate) const BEGINNING: i64 = 2 * 86_400_000_000_000;

const HOUR: i64 = 3_600_000_000_000;

/// A retention that the log may not hold: the table, and what it said before.
pub(crate) struct Undecided {
    table: String,
    before: Option<i64>,
}

fn declaration(table: &str) -> TableDeclaration {
    TableDeclaration {
        database: DatabaseName::new(DATABASE).unwrap(),
        table: TableName::new(table).unwrap(),
        retention: None,
        partition: None,
        scales: Vec::new(),
    }
}

/// Declares partition and scale of the tables that do not exist yet, as the seed says.
pub(crate) fn declare_tables(catalog: &Catalog, seed: u64) -> storage::Result<()> {
    let mut random = Random::of(seed, 2);
    for table in TABLES {
        let (by_month, scale) = (random.chance(30), random.chance(30).then(|| random.below(2)));
        if (by_month || scale.is_some()) && catalog.table(DATABASE, table).is_none() {
            // Half of the values of `t` are exact at scale 0, all at scale 1.
            let scales = scale.map(|digits| ("t".into(), Scale::new(digits).unwrap()));
            catalog.declare_table(&TableDeclaration {
                partition: by_month.then_some(Partition::Month),
                scales: scales.into_iter().collect(),
                ..declaration(table)
            })?;
        }
    }
    Ok(())
}

impl World {
    /// Keeps the rows of a table for so many hours, if it kept them for longer.
    pub(super) fn keep(&mut self, table: &str, hours: u64) -> Result<(), String> {
        let nanos = i64::try_from(hours).unwrap() * HOUR;
        let before = self.reference.kept(table);
        let is_known = self.engine().catalog().table(DATABASE, table).is_some();
        if !is_known || before.is_some_and(|before| before <= nanos) || self.undecided_retention.is_some() {
            return Ok(());
        }
        let retention = Some(Retention::of(Duration::from_secs(3_600 * hours)).unwrap());
        let declared =
            self.engine().catalog().declare_table(&TableDeclaration { retention, ..declaration(table) });
        declared.map_err(|error| error.to_string())?;
        self.reference.keep(table, Some(nanos));
        self.undecided_retention = Some(Undecided { table: table.to_owned(), before });
        match self.commit_batch(encode_batch(WriteBatch::default()).unwrap()) {
            Written::Acknowledged => self.excuse("keep", Ok::<(), storage::Error>(())),
            Written::Refused(error) | Written::Unsynced(error) => self.excuse("keep", Err(error)),
        }
    }

    pub(super) async fn drop_expired(&mut self) -> Result<(), String> {
        let dropped = self.engine().drop_expired().await;
        if dropped.as_ref().is_ok_and(|dropped| dropped.files > 0) {
            self.count("dropped");
        }
        self.excuse("drop", dropped.map(|_| ()))
    }

    /// What was acknowledged holds; what was not holds or does not.
    pub(super) fn decide_retention(&mut self) -> Result<(), String> {
        for table in TABLES {
            let schema = self.engine().catalog().table(DATABASE, table);
            let found =
                schema.and_then(|schema| schema.retention).map(|retention| retention.nanos().cast_signed());
            let expected = self.reference.kept(table);
            if found == expected {
                continue;
            }
            match &self.undecided_retention {
                Some(undecided) if undecided.table == table && undecided.before == found => {
                    self.reference.keep(table, found);
                }
                _ => return Err(format!("{table} keeps rows for {found:?} and not {expected:?}")),
            }
        }
        self.undecided_retention = None;
        Ok(())
    }
}
