//! Tables that are not telemetry: someone else gives their schema and their rows.
//!
//! Invariant: the rows are asked for once per scan, and must fit the schema, else the query fails.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::memory::MemorySourceConfig;
use datafusion::catalog::{SchemaProvider, Session, TableProvider};
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;

/// Why an external table could not give its rows.
pub type ExternalError = Box<dyn std::error::Error + Send + Sync>;

/// A table whose rows come from outside of this crate.
#[async_trait]
pub trait ExternalTable: fmt::Debug + Send + Sync + 'static {
    /// The columns.
    fn schema(&self) -> SchemaRef;

    /// All rows, as of now, in batches of [`schema`](Self::schema).
    ///
    /// # Errors
    /// Whatever kept the rows from being read; the query then fails as an internal error.
    async fn scan(&self) -> Result<Vec<RecordBatch>, ExternalError>;

    /// The rows that a query of this database may see; all of them when it names none.
    ///
    /// # Errors
    /// As [`scan`](Self::scan).
    async fn scan_of(&self, _database: Option<&str>) -> Result<Vec<RecordBatch>, ExternalError> {
        self.scan().await
    }
}

/// External tables by schema and name.
#[derive(Debug, Clone, Default)]
pub struct ExternalTables {
    schemas: BTreeMap<String, ExternalSchema>,
}

impl ExternalTables {
    /// Adds a table, as `schema.name` in SQL. A table of that name is replaced.
    #[must_use]
    pub fn with(mut self, schema: &str, name: &str, table: Arc<dyn ExternalTable>) -> Self {
        self.schemas.entry(schema.to_owned()).or_default().add(name, table);
        self
    }

    pub(crate) fn schemas(&self) -> impl Iterator<Item = &str> {
        self.schemas.keys().map(String::as_str)
    }

    /// The tables of a schema, as a query of this database sees them.
    pub(super) fn schema(&self, name: &str, database: Option<&str>) -> Option<ExternalSchema> {
        let schema = self.schemas.get(name)?.clone();
        Some(ExternalSchema { database: database.map(str::to_owned), ..schema })
    }
}

/// One schema of external tables.
#[derive(Debug, Clone, Default)]
pub(super) struct ExternalSchema {
    tables: BTreeMap<String, Arc<dyn ExternalTable>>,
    /// The database of the query.
    database: Option<String>,
}

impl ExternalSchema {
    pub(super) fn add(&mut self, name: &str, table: Arc<dyn ExternalTable>) {
        self.tables.insert(name.to_owned(), table);
    }

    /// With the tables of another one too.
    pub(super) fn and(mut self, other: Option<Self>) -> Self {
        let Some(other) = other else { return self };
        self.tables.extend(other.tables);
        Self { database: other.database, ..self }
    }
}

#[async_trait]
impl SchemaProvider for ExternalSchema {
    fn table_names(&self) -> Vec<String> {
        self.tables.keys().cloned().collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>, DataFusionError> {
        let provider = |table: &Arc<dyn ExternalTable>| {
            let (table, database) = (Arc::clone(table), self.database.clone());
            Arc::new(ExternalProvider { table, database }) as Arc<dyn TableProvider>
        };
        Ok(self.tables.get(name).map(provider))
    }

    fn table_exist(&self, name: &str) -> bool {
        self.tables.contains_key(name)
    }
}

#[derive(Debug)]
struct ExternalProvider {
    table: Arc<dyn ExternalTable>,
    database: Option<String>,
}

#[async_trait]
impl TableProvider for ExternalProvider {
    fn schema(&self) -> SchemaRef {
        self.table.schema()
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let rows = self.table.scan_of(self.database.as_deref()).await;
        let rows = rows.map_err(DataFusionError::External)?;
        Ok(MemorySourceConfig::try_new_exec(&[rows], self.table.schema(), projection.cloned())?)
    }
}
