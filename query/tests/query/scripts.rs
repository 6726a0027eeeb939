//! Runs `tests/slt/*.slt` through the service. Beside SQL a statement may be
//! - `write`, then lines (see [`lines`](super::lines)): one batch,
//! - `flush`: all rows into files of the tables,
//! - `stage`: all rows into staged files.

use std::path::Path;

use arrow::array::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use query::ExternalTables;
use sqllogictest::{AsyncDB, DBOutput, DefaultColumnType, Runner};
use storage::engine::EngineConfig;

use super::world::World;

struct Script {
    world: World,
}

#[async_trait::async_trait]
impl AsyncDB for Script {
    type Error = query::Error;
    type ColumnType = DefaultColumnType;

    async fn run(&mut self, sql: &str) -> Result<DBOutput<DefaultColumnType>, query::Error> {
        let sql = sql.trim();
        match sql.split_once('\n').unwrap_or((sql, "")) {
            ("write", lines) => self.world.write_text(lines),
            ("flush", "") => self.world.flush().await,
            ("stage", "") => self.world.stage().await,
            _ => return Ok(rows(&self.world.query(sql).await?)),
        }
        Ok(DBOutput::StatementComplete(0))
    }

    async fn shutdown(&mut self) {}
}

fn rows(batches: &[RecordBatch]) -> DBOutput<DefaultColumnType> {
    let options = FormatOptions::default().with_null("NULL");
    let mut rows = Vec::new();
    for batch in batches {
        let columns: Vec<_> =
            batch.columns().iter().map(|c| ArrayFormatter::try_new(c, &options).unwrap()).collect();
        for row in 0..batch.num_rows() {
            let text = |column: &ArrayFormatter<'_>| match column.value(row).to_string() {
                empty if empty.is_empty() => "(empty)".to_owned(),
                text => text,
            };
            rows.push(columns.iter().map(text).collect());
        }
    }
    let columns = batches.first().map_or(0, RecordBatch::num_columns);
    DBOutput::Rows { types: vec![DefaultColumnType::Any; columns], rows }
}

async fn run(name: &str) {
    run_with(name, |_| {}).await;
}

async fn run_with(name: &str, change: fn(&mut EngineConfig)) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/slt").join(name);
    let world = move || World::with_engine(ExternalTables::default(), |_| {}, change);
    let mut runner = Runner::new(|| async { Ok(Script { world: world().await }) });
    if let Err(error) = runner.run_file_async(path).await {
        panic!("{error}");
    }
}

macro_rules! scripts {
    ($($test:ident: $file:literal,)*) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                run($file).await;
            }
        )*

        #[test]
        fn every_script_is_run() {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/slt");
            let mut found: Vec<_> = std::fs::read_dir(folder)
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            found.sort();
            let mut known = vec![$($file),*];
            known.sort_unstable();
            assert_eq!(found, known);
        }
    };
}

scripts! {
    the_last_write_wins_over_memory_and_files: "last_write.slt",
    times_are_exact_to_the_nanosecond: "time.slt",
    files_lack_columns_that_came_later: "columns.slt",
    aggregates_and_limits_count_points_once: "aggregates.slt",
    the_catalog_shows_this_database_and_no_other: "catalog.slt",
    dashboards_get_what_they_ask_for: "dashboards.slt",
    last_values_are_one_row_per_series: "latest.slt",
}

#[tokio::test(flavor = "multi_thread")]
async fn last_values_that_are_not_kept_are_the_same() {
    run_with("latest.slt", |config| config.last_values.max_bytes = 0).await;
}
