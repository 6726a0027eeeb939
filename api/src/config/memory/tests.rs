//! Tests of how memory is divided.

use super::available::bound;
use super::{Auto, MemoryPlan};
use crate::config::{ByteSize, Config};

const MIB: usize = 1 << 20;

fn size(mebibytes: usize) -> Auto {
    Auto(Some(ByteSize::mebibytes(mebibytes)))
}

/// Everything that the plan gives, the reserve of the flush included.
fn sum(plan: &MemoryPlan) -> usize {
    plan.bodies + 2 * plan.memtables + plan.series + plan.last_values + plan.queries + plan.merges
}

#[test]
fn the_parts_never_exceed_the_whole_and_each_has_some() {
    for total in [192, 256, 512, 1_024, 2_048, 8_192, 1 << 17].map(|mebibytes| mebibytes * MIB) {
        let plan = Config::default().divide(total).unwrap();
        assert!(sum(&plan) <= total, "{plan:?}");
        let parts = [plan.bodies, plan.memtables, plan.series, plan.last_values, plan.queries, plan.merges];
        assert!(parts.iter().all(|part| *part >= 8 * MIB), "{plan:?}");
        assert!(plan.bodies >= 25_000_000, "one body must fit: {plan:?}");
        assert!(plan.flush_begins <= plan.flush_begins_at_most, "{plan:?}");
        assert!(plan.flush_begins_at_most * 4 <= plan.memtables, "{plan:?}");
    }
}

#[test]
fn two_gibibytes_are_divided_by_weight() {
    let plan = Config::default().divide(2_048 * MIB).unwrap();
    let expected = MemoryPlan {
        total: 2_048 * MIB,
        bodies: 128 * MIB,
        memtables: 384 * MIB,
        flush_begins: 64 * MIB,
        flush_begins_at_most: 96 * MIB,
        series: 384 * MIB,
        last_values: 128 * MIB,
        queries: 512 * MIB,
        merges: 128 * MIB,
    };
    assert_eq!(plan, expected);
}

#[test]
fn what_a_key_names_is_given_and_the_others_share_the_rest() {
    let mut config = Config::default();
    config.query.memory_bytes = size(900);
    let plan = config.divide(1_800 * MIB).unwrap();
    assert_eq!((plan.queries, plan.memtables), (900 * MIB, 225 * MIB));
    assert!(sum(&plan) <= 1_800 * MIB);
}

#[test]
fn a_flush_begins_where_its_key_says_and_else_within_a_quarter_of_the_memtables() {
    let begins = |memtables: Option<usize>, flush: Option<usize>| {
        let mut config = Config::default();
        if let Some(mebibytes) = memtables {
            config.write.memtable_bytes = size(mebibytes);
        }
        if let Some(mebibytes) = flush {
            config.flush.bytes = size(mebibytes);
        }
        let plan = config.divide(1 << 34).unwrap();
        (plan.flush_begins / MIB, plan.flush_begins_at_most / MIB)
    };
    assert_eq!(begins(None, None), (64, 128));
    assert_eq!(begins(Some(80), None), (20, 20));
    assert_eq!(begins(Some(4_096), None), (64, 128));
    assert_eq!(begins(Some(4_096), Some(200)), (200, 200));
}

#[test]
fn more_than_there_is_is_refused_by_the_names_of_the_keys() {
    let mut config = Config::default();
    config.write.memtable_bytes = size(500);
    let message = config.divide(1_000 * MIB).unwrap_err().to_string();
    for part in
        ["memory.max_bytes is 1000MiB", "write.memtable_bytes = 500MiB (twice", "raise memory.max_bytes"]
    {
        assert!(message.contains(part), "{message:?} lacks {part:?}");
    }
    Config::default().divide(64 * MIB).unwrap_err();
}

#[test]
fn the_bound_is_the_least_of_the_group_and_those_above_it() {
    let root = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = root.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    let of = |groups: &str| bound(root.path(), groups);
    assert_eq!(of("0::/a/b\n"), None);
    write("a/memory.max", "2000\n");
    write("a/b/memory.max", "max\n");
    assert_eq!(of("0::/a/b\n"), Some(2_000), "the group above has one");
    write("a/b/memory.max", "1000\n");
    assert_eq!(of("0::/a/b\n"), Some(1_000));
    write("memory/memory.limit_in_bytes", "9223372036854771712\n");
    write("memory/c/memory.limit_in_bytes", "3000\n");
    assert_eq!(of("9:cpu,memory:/c\n8:pids:/a\n"), Some(3_000));
    assert_eq!(of("9:memory:/of/the/host\n"), Some(9_223_372_036_854_771_712), "only the root is shown");
    assert_eq!(of("garbage\n\n"), None);
}

#[test]
fn a_size_or_auto_reads_what_it_displays() {
    for text in ["auto", "64MiB", "25MB"] {
        assert_eq!(text.parse::<Auto>().unwrap().to_string(), text);
    }
    assert!("some".parse::<Auto>().unwrap_err().contains("\"auto\""));
}
