//! What a query can name: the tables of its database, `system.*`, the external schemas, `information_schema`.
//!
//! The catalog is the database, its tables stand in the schema `iox` (InfluxDB 3's name, which Grafana's query
//! builder asks for), which is the default, so a bare name is a table of the request's database. `public` is
//! another name of the same schema, for tools that speak to Postgres.
//!
//! Invariants (VIEW-1): one [`RequestCatalog`] is made per query, over one snapshot; a table is resolved once,
//! so all of a query's references to it see the same rows and columns. The schema is read after the snapshot
//! was taken, so it knows every column that the snapshot's rows have. Only the request's database can be named.

mod external;
mod system;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::information_schema::InformationSchemaProvider;
use datafusion::catalog::{CatalogProvider, CatalogProviderList, SchemaProvider, TableProvider};
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use parking_lot::Mutex;
use storage::model::Timestamp;
use storage::view::Snapshot;

pub use external::{ExternalError, ExternalTable, ExternalTables};

use crate::source::Source;
use crate::table::Table;

/// The schema of a database's tables.
pub(crate) const TABLES_SCHEMA: &str = "iox";

/// The other name of [`TABLES_SCHEMA`]; it resolves and is not listed.
const TABLES_ALIAS: &str = "public";

/// The name of the catalog of a query that names no database.
const NO_DATABASE: &str = "busbar";

const SYSTEM_SCHEMA: &str = "system";
const INFORMATION_SCHEMA: &str = "information_schema";

/// Settings are the operator's business.
const HIDDEN_INFORMATION: &str = "df_settings";

/// What one query can name.
#[derive(Clone)]
pub(crate) struct RequestCatalog {
    inner: Arc<Inner>,
}

struct Inner {
    source: Source,
    database: Option<String>,
    snapshot: Snapshot,
    /// When the snapshot was taken: rows have expired as of then in all of the query.
    now: Timestamp,
    resolved: Mutex<HashMap<String, Arc<Table>>>,
}

impl RequestCatalog {
    /// The catalog of one query: takes the snapshot. `database` must exist.
    pub(crate) fn new(source: Source, database: Option<&str>) -> Self {
        let (snapshot, now) = (source.engine.snapshot(), source.engine.now());
        let database = database.map(str::to_owned);
        let inner = Inner { source, database, snapshot, now, resolved: Mutex::default() };
        Self { inner: Arc::new(inner) }
    }

    /// The catalog's name: the database.
    pub(crate) fn name(&self) -> &str {
        self.inner.database.as_deref().unwrap_or(NO_DATABASE)
    }

    /// A table of the request's database, resolved once.
    pub(crate) fn table(&self, name: &str) -> Option<Arc<Table>> {
        let inner = &self.inner;
        let database = inner.database.as_deref()?;
        let mut resolved = inner.resolved.lock();
        if let Some(table) = resolved.get(name) {
            return Some(Arc::clone(table));
        }
        let schema = inner.source.engine.catalog().table(database, name)?;
        let view = inner.snapshot.table(schema.id).cloned().unwrap_or_default();
        let oldest = inner.source.engine.oldest_kept(schema.id, inner.now);
        let table = Arc::new(Table::new(schema, view, inner.source.engine.clone(), oldest));
        resolved.insert(name.to_owned(), Arc::clone(&table));
        Some(table)
    }
}

impl fmt::Debug for RequestCatalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RequestCatalog").field(&self.name()).finish()
    }
}

impl CatalogProviderList for RequestCatalog {
    fn register_catalog(
        &self,
        _name: String,
        _catalog: Arc<dyn CatalogProvider>,
    ) -> Option<Arc<dyn CatalogProvider>> {
        None
    }

    fn catalog_names(&self) -> Vec<String> {
        vec![self.name().to_owned()]
    }

    fn catalog(&self, name: &str) -> Option<Arc<dyn CatalogProvider>> {
        (name == self.name()).then(|| Arc::new(self.clone()) as Arc<dyn CatalogProvider>)
    }
}

impl CatalogProvider for RequestCatalog {
    fn schema_names(&self) -> Vec<String> {
        let own = [TABLES_SCHEMA, SYSTEM_SCHEMA, INFORMATION_SCHEMA].map(str::to_owned);
        // What others add to `system` stands in the same schema.
        let external = self.inner.source.external.schemas().filter(|name| *name != SYSTEM_SCHEMA);
        own.into_iter().chain(external.map(str::to_owned)).collect()
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        let external = |name: &str| self.inner.source.external.schema(name, self.inner.database.as_deref());
        match name {
            TABLES_SCHEMA | TABLES_ALIAS => Some(Arc::new(DatabaseTables { catalog: self.clone() })),
            SYSTEM_SCHEMA => {
                let Inner { source, snapshot, database, .. } = &*self.inner;
                let own = system::tables(source, snapshot, database.as_deref());
                Some(Arc::new(own.and(external(SYSTEM_SCHEMA))))
            }
            INFORMATION_SCHEMA => {
                Some(Arc::new(Information { inner: InformationSchemaProvider::new(Arc::new(self.clone())) }))
            }
            other => external(other).map(|schema| Arc::new(schema) as Arc<dyn SchemaProvider>),
        }
    }
}

/// The tables of the request's database.
#[derive(Debug)]
struct DatabaseTables {
    catalog: RequestCatalog,
}

#[async_trait]
impl SchemaProvider for DatabaseTables {
    fn table_names(&self) -> Vec<String> {
        let Some(database) = &self.catalog.inner.database else { return Vec::new() };
        let tables = self.catalog.inner.source.engine.catalog().tables(database);
        tables.iter().map(|table| table.name.as_str().to_owned()).collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>, DataFusionError> {
        Ok(self.catalog.table(name).map(|table| table as Arc<dyn TableProvider>))
    }

    fn table_exist(&self, name: &str) -> bool {
        let database = self.catalog.inner.database.as_deref();
        database.is_some_and(|database| {
            self.catalog.inner.source.engine.catalog().table(database, name).is_some()
        })
    }
}

/// `information_schema` without the engine's settings.
#[derive(Debug)]
struct Information {
    inner: InformationSchemaProvider,
}

#[async_trait]
impl SchemaProvider for Information {
    fn table_names(&self) -> Vec<String> {
        self.inner.table_names().into_iter().filter(|name| name != HIDDEN_INFORMATION).collect()
    }

    async fn table(&self, name: &str) -> DataFusionResult<Option<Arc<dyn TableProvider>>> {
        if name.eq_ignore_ascii_case(HIDDEN_INFORMATION) {
            return Ok(None);
        }
        self.inner.table(name).await
    }

    fn table_exist(&self, name: &str) -> bool {
        !name.eq_ignore_ascii_case(HIDDEN_INFORMATION) && self.inner.table_exist(name)
    }
}
