//! DataFusion sessions: one per query, cheap, and unable to do anything but read.
//!
//! Invariants: the session's only catalog is the request's, its only stores are the source's; it knows no file
//! format and no table factory. Names are taken as they are written (`CO2` is not `co2`), as the devices wrote
//! them.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use datafusion::config::ConfigNonZeroUsize;
use datafusion::error::DataFusionError;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{FairSpillPool, MemoryPool};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::session_state::SessionState;
use datafusion::execution::{FunctionRegistry, SessionStateBuilder};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::{SQLOptions, SessionConfig, SessionContext};

use super::Settings;
use super::interrupt::{Interrupt, Interruptible};
use super::memory::QueryMemory;
use crate::catalog::{RequestCatalog, TABLES_SCHEMA};
use crate::error::{Error, Result};
use crate::functions::{LATEST, Latest};
use crate::limits;
use crate::source::{Source, Stores};

/// Functions that make a value as long as an argument says. What an expression makes is counted by no memory
/// pool, so one short query could take all of the machine's memory. The table functions `generate_series` and
/// `range` make rows one batch after the other, and stay.
const UNBOUNDED_FUNCTIONS: [&str; 7] =
    ["repeat", "lpad", "rpad", "array_repeat", "array_resize", "range", "generate_series"];

/// Makes the session of each query.
pub(super) struct Sessions {
    source: Source,
    /// Functions and rules, which are the same for all.
    template: SessionState,
    runtime: RuntimeEnv,
    query_memory_bytes: usize,
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions").field("source", &self.source).finish_non_exhaustive()
    }
}

/// How DataFusion names its folders of spill files.
const SPILL_PREFIX: &str = "datafusion-";

/// Removes what a killed process spilled: nobody reads it again, and it counts in no quota.
fn remove_leftovers(folder: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(SPILL_PREFIX) {
            std::fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

impl Sessions {
    /// Sessions over `source`, which share memory, spill folder and the cache of footers.
    pub(super) fn new(source: Source, settings: &Settings) -> Result<Self> {
        std::fs::create_dir_all(&settings.spill_dir).map_err(Error::internal)?;
        remove_leftovers(&settings.spill_dir).map_err(Error::internal)?;
        let stores = Stores::of(&source.engine);
        let pool: Arc<dyn MemoryPool> = Arc::new(FairSpillPool::new(settings.memory_bytes));
        let measured = Arc::clone(&pool);
        source.engine.add_memory_part(
            "queries",
            settings.memory_bytes,
            Arc::new(move || measured.reserved()),
        );
        let disk = DiskManagerBuilder::default()
            .with_mode(DiskManagerMode::Directories(vec![settings.spill_dir.clone()]))
            .with_max_temp_directory_size(settings.spill_bytes);
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(pool)
            .with_disk_manager_builder(disk)
            .with_metadata_cache_limit(limits::FOOTER_CACHE_BYTES)
            .with_object_store_registry(Arc::new(stores))
            .build()?;
        let mut template = SessionStateBuilder::new_with_default_features()
            .with_table_factories(HashMap::new())
            .with_file_formats(Vec::new())
            .with_config(config(settings)?)
            .build();
        for name in UNBOUNDED_FUNCTIONS {
            template.deregister_udf(name)?;
        }
        Ok(Self { source, template, runtime, query_memory_bytes: settings.query_memory_bytes })
    }

    pub(super) fn has_database(&self, name: &str) -> bool {
        self.source.engine.catalog().has_database(name)
    }

    /// A session for one query: takes the snapshot.
    pub(super) fn session(&self, database: Option<&str>, interrupt: &Interrupt) -> SessionContext {
        let catalog = RequestCatalog::new(self.source.clone(), database);
        let latest = Arc::new(Latest(catalog.clone()));
        let mut config = self.template.config().clone();
        catalog.name().clone_into(&mut config.options_mut().catalog.default_catalog);
        let memory = QueryMemory::new(Arc::clone(&self.runtime.memory_pool), self.query_memory_bytes);
        let runtime = RuntimeEnv { memory_pool: Arc::new(memory), ..self.runtime.clone() };
        let state = SessionStateBuilder::new_from_existing(self.template.clone())
            .with_config(config)
            .with_runtime_env(Arc::new(runtime))
            .with_catalog_list(Arc::new(catalog))
            .with_physical_optimizer_rule(Arc::new(Interruptible::new(interrupt.clone())))
            .build();
        let session = SessionContext::new_with_state(state);
        session.register_udtf(LATEST, latest);
        session
    }
}

fn config(settings: &Settings) -> Result<SessionConfig> {
    let mut config = SessionConfig::new()
        .with_target_partitions(settings.threads.max(1))
        .with_batch_size(limits::BATCH_ROWS)
        .with_create_default_catalog_and_schema(false)
        // Ours stands in the request's catalog.
        .with_information_schema(false);
    let options = config.options_mut();
    TABLES_SCHEMA.clone_into(&mut options.catalog.default_schema);
    options.sql_parser.enable_ident_normalization = false;
    options.sql_parser.recursion_limit = ConfigNonZeroUsize::try_new(limits::SQL_NESTING)?;
    Ok(config)
}

/// Plans one read-only statement.
///
/// # Errors
/// [`Error::Invalid`] when it is none, or more than one, or not read only.
pub(super) async fn plan(session: &SessionContext, sql: &str) -> Result<Arc<dyn ExecutionPlan>> {
    let state = session.state();
    let dialect = state.config_options().sql_parser.dialect;
    let statement = state.sql_to_statement(sql, &dialect).map_err(one_statement)?;
    let plan = state.statement_to_plan(statement).await?;
    check_read_only(&plan)?;
    Ok(state.create_physical_plan(&plan).await?)
}

fn check_read_only(plan: &LogicalPlan) -> Result<()> {
    let options = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
    options.verify_plan(plan).map_err(|error| {
        let reason = error.strip_backtrace();
        Error::Invalid(format!("only SELECT, SHOW, DESCRIBE and EXPLAIN are allowed: {reason}"))
    })
}

fn one_statement(error: DataFusionError) -> Error {
    match error {
        DataFusionError::NotImplemented(message) if message.contains("single SQL statement") => {
            Error::Invalid("send one SQL statement at a time".into())
        }
        other => other.into(),
    }
}
