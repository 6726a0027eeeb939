//! From a seed to operations. Domains are small, so that points meet each other all the time.

use storage::disk::Operation as DiskOperation;
use storage::disk::sim::Random;
use storage::model::{FieldValue, TagTest};

use super::lines::Line;
use super::operation::{Deletion, End, Operation};
use super::question::{Question, Shape, Test};
use super::traces;

const DAY: i64 = 86_400_000_000_000;
/// The tables that a seed may use.
pub(crate) const TABLES: [&str; 3] = ["room", "°C", "m 3"];
const HOSTS: [&str; 4] = ["a", "b", "B", "ä c"];

/// The operations of a seed.
pub(crate) fn operations(seed: u64, count: usize) -> Vec<Operation> {
    let mut random = Random::of(seed, 1);
    let tables = 1 + usize::try_from(random.below(3)).unwrap();
    let expires = random.chance(40);
    let mut operations: Vec<_> = (0..count)
        .map(|_| {
            if expires && random.chance(15) {
                expiry(&mut random, tables)
            } else {
                operation(&mut random, tables)
            }
        })
        .collect();
    // The last restart finds everything mended.
    operations.extend([
        Operation::Restart(End::PowerCut, None),
        Operation::AskAll,
        Operation::Flush,
        Operation::DropExpired,
        Operation::Compact,
        Operation::Vacuum,
        Operation::Erase,
        Operation::AskAll,
    ]);
    operations
}

fn operation(random: &mut Random, tables: usize) -> Operation {
    match random.below(100) {
        0..29 => Operation::Write(lines(random, tables)),
        29..33 => Operation::Delete(deletion(random, tables)),
        33..34 => Operation::DeleteUnsynced(deletion(random, tables), end(random)),
        34..41 => Operation::Flush,
        41..47 => Operation::FlushDue,
        47..48 => Operation::Vacuum,
        48..53 => Operation::Compact,
        53..55 => Operation::Erase,
        55..58 => aside(random, tables),
        58..72 => Operation::Ask(question(random, tables)),
        72..75 => Operation::AskAll,
        75..77 => Operation::StoreFails(if random.chance(50) { 0 } else { 20 }),
        77..80 => Operation::StoreDown(random.chance(40)),
        80..84 => Operation::DiskFails(disk_operation(random), random.below(12)),
        84..86 => Operation::DiskFull(random.chance(60).then(|| random.below(8_000))),
        86..91 => Operation::PowerOffAfter(random.below(60)),
        91..93 => Operation::WriteUnsynced(lines(random, tables), end(random)),
        _ => {
            let again = random.chance(30).then(|| random.below(30));
            Operation::Restart(end(random), again)
        }
    }
}

/// Rows stand around the midnights of two days, the clock begins at the second: they expire step by step.
fn expiry(random: &mut Random, tables: usize) -> Operation {
    let table = TABLES[usize::try_from(random.below(tables as u64)).unwrap()].to_owned();
    match random.below(10) {
        0..3 => Operation::Pass(pick(random, &[1, 999, DAY / 24, DAY / 2])),
        3..6 => Operation::Keep(table, pick(random, &[48, 36, 24, 12])),
        _ => Operation::DropExpired,
    }
}

fn aside(random: &mut Random, tables: usize) -> Operation {
    match random.below(5) {
        0..3 => Operation::SetAside(lines(random, tables)),
        3 => Operation::Replay(1 + usize::try_from(random.below(9)).unwrap()),
        _ => Operation::DropAside(1),
    }
}

fn end(random: &mut Random) -> End {
    match random.below(5) {
        0 => End::Close,
        1 => End::Kill,
        _ => End::PowerCut,
    }
}

fn disk_operation(random: &mut Random) -> DiskOperation {
    let all = [
        DiskOperation::Write,
        DiskOperation::Sync,
        DiskOperation::Open,
        DiskOperation::Rename,
        DiskOperation::Link,
        DiskOperation::Remove,
        DiskOperation::SyncFolder,
    ];
    pick(random, &all)
}

fn pick<T: Copy>(random: &mut Random, all: &[T]) -> T {
    all[usize::try_from(random.below(all.len() as u64)).unwrap()]
}

fn lines(random: &mut Random, tables: usize) -> Vec<Line> {
    let count = if random.chance(10) { 60 } else { 1 + random.below(8) };
    // Integers of a field may be floats in another batch, not within one: a line in between would be refused.
    let float = random.chance(15);
    let mut lines: Vec<_> = (0..count).map(|_| line(random, tables, float)).collect();
    if random.chance(25) {
        // As of a backfill: over months, and years.
        lines.iter_mut().for_each(|line| line.time -= pick(random, &[0, 1, 2, 40, 400]) * DAY);
    }
    lines
}

fn deletion(random: &mut Random, tables: usize) -> Deletion {
    let index = usize::try_from(random.below(tables as u64)).unwrap();
    let table = (!random.chance(20)).then(|| TABLES[index].to_owned());
    let from = time(random);
    let times = match random.below(3) {
        0 => (i64::MIN, i64::MAX),
        1 => (from, from),
        _ => (from, from + pick(random, &[1, 1_000, DAY])),
    };
    let mut tags = Vec::new();
    if random.chance(60) {
        tags.push(TagTest { equal: random.chance(80), ..TagTest::is("host", pick(random, &HOSTS)) });
    }
    if random.chance(20) {
        tags.push(TagTest { equal: random.chance(50), ..TagTest::is("floor", pick(random, &["1", ""])) });
    }
    Deletion { table, times, tags }
}

fn line(random: &mut Random, tables: usize, float: bool) -> Line {
    let table = TABLES[usize::try_from(random.below(tables as u64)).unwrap()].to_owned();
    let mut tags = vec![("host".to_owned(), pick(random, &HOSTS).to_owned())];
    if random.chance(20) {
        tags.push(("floor".to_owned(), pick(random, &["1", "2"]).to_owned()));
    }
    if random.chance(5) {
        tags.remove(0);
    }
    let mut fields = Vec::new();
    let small = |random: &mut Random| i32::try_from(random.below(9)).unwrap() - 2;
    if random.chance(60) {
        fields.push(("t".to_owned(), FieldValue::Float(f64::from(small(random)) / 2.0)));
    }
    if random.chance(50) {
        let value = small(random);
        let value =
            if float { FieldValue::Float(f64::from(value) + 0.5) } else { FieldValue::Integer(value.into()) };
        fields.push(("n".to_owned(), value));
    }
    if random.chance(15) {
        fields.push(("u".to_owned(), FieldValue::Unsigned(u64::MAX - random.below(4))));
    }
    if random.chance(15) {
        let text = match random.below(4) {
            0 => pick(random, &["", "x"]).to_owned(),
            _ => traces::text(random.below(u64::MAX)),
        };
        fields.push(("s".to_owned(), FieldValue::Text(text.as_str().into())));
    }
    if fields.is_empty() || random.chance(15) {
        fields.push(("on".to_owned(), FieldValue::Boolean(random.chance(50))));
    }
    Line { table, tags, fields, time: time(random) }
}

/// Around two midnights, some equal up to a microsecond.
fn time(random: &mut Random) -> i64 {
    let midnight = DAY * (1 + i64::try_from(random.below(2)).unwrap());
    midnight + pick(random, &[-1_000, -1, 0, 1, 999, 1_000, 60_000_000_000])
}

fn question(random: &mut Random, tables: usize) -> Question {
    let table = TABLES[usize::try_from(random.below(tables as u64)).unwrap()].to_owned();
    let test = match random.below(6) {
        0 => Test::All,
        1 => Test::Host(pick(random, &HOSTS).to_owned()),
        2 => Test::NoFloor,
        3 => {
            let from = time(random);
            Test::Times(from, from + pick(random, &[1, 1_000, DAY]))
        }
        4 => Test::TemperatureAbove(f64::from(i32::try_from(random.below(8)).unwrap() - 2) / 2.0),
        _ => Test::NumberIs(i64::try_from(random.below(9)).unwrap() - 2),
    };
    let shape = match random.below(5) {
        0 => Shape::Rows,
        3 => Shape::Latest,
        1 => Shape::Ordered,
        2 => Shape::Totals,
        _ => Shape::Newest(1 + usize::try_from(random.below(5)).unwrap()),
    };
    Question { table, test, shape }
}
