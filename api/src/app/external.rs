//! Tables of SQL that are not telemetry: `registry.*`, `alerts.history` and `system.quarantine`.

use std::sync::Arc;

use alerting::{Alerting, History};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use query::{ExternalError, ExternalTable, ExternalTables};
use storage::quarantine::Quarantine;
use storage::registry::{Registry, RegistryTable};

use super::quarantined::QuarantineTable;

/// All of them.
pub(super) fn tables(
    registry: &Arc<Registry>,
    alerting: &Arc<Alerting>,
    quarantine: &Arc<Quarantine>,
) -> ExternalTables {
    let of_registry = RegistryTable::ALL.into_iter().fold(ExternalTables::default(), |tables, table| {
        let registry = Arc::clone(registry);
        tables.with("registry", table.name(), Arc::new(OfRegistry { registry, table }))
    });
    of_registry.with("alerts", "history", Arc::new(AlertHistory(Arc::clone(alerting.history())))).with(
        "system",
        "quarantine",
        Arc::new(QuarantineTable(Arc::clone(quarantine))),
    )
}

struct OfRegistry {
    registry: Arc<Registry>,
    table: RegistryTable,
}

impl std::fmt::Debug for OfRegistry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("OfRegistry").field(&self.table).finish()
    }
}

#[async_trait::async_trait]
impl ExternalTable for OfRegistry {
    fn schema(&self) -> SchemaRef {
        self.table.schema()
    }

    async fn scan(&self) -> Result<Vec<RecordBatch>, ExternalError> {
        Ok(self.registry.scan(self.table).await?)
    }
}

#[derive(Debug)]
struct AlertHistory(Arc<History>);

#[async_trait::async_trait]
impl ExternalTable for AlertHistory {
    fn schema(&self) -> SchemaRef {
        History::schema()
    }

    async fn scan(&self) -> Result<Vec<RecordBatch>, ExternalError> {
        Ok(self.0.batches()?)
    }
}
