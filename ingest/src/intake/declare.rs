//! Declarations of databases and tables: durable on return, as rows are.
//!
//! Invariant: what was declared before, by whomever, is durable too on return: the writer may have taken its
//! definition and not yet synced it, so there is always a frame to wait for.

use storage::catalog::{Declared, TableDeclaration};
use storage::log::encode_batch;
use storage::model::{DatabaseName, Retention, WriteBatch};

use super::{Intake, WriteError, unborn};

impl Intake {
    /// Makes a database, durably; if it is there, makes sure that it stays.
    ///
    /// # Errors
    /// Why it could not be made.
    pub async fn create_database(&self, name: DatabaseName) -> Result<(), WriteError> {
        self.engine.catalog().create_database(&name)?;
        self.sync_definitions().await
    }

    /// Declares how long rows of a database are kept whose table says nothing; makes it if it is missing. `true` when
    /// it was made.
    ///
    /// # Errors
    /// Why it could not be declared.
    pub async fn declare_database(
        &self,
        name: &DatabaseName,
        retention: Option<Retention>,
    ) -> Result<bool, WriteError> {
        let created = self.engine.catalog().declare_database(name, retention)?;
        self.sync_definitions().await?;
        Ok(created)
    }

    /// Declares what a table is like; makes it if it is missing.
    ///
    /// # Errors
    /// Why it could not be declared.
    pub async fn declare_table(&self, declaration: &TableDeclaration) -> Result<Declared, WriteError> {
        let catalog = self.engine.catalog();
        let is_known = catalog.table(declaration.database.as_str(), declaration.table.as_str()).is_some();
        self.engine.bear_declared(declaration).await.map_err(unborn)?;
        let declared = catalog.declare_table(declaration)?;
        self.sync_definitions().await?;
        Ok(Declared { created: !is_known, ..declared })
    }

    async fn sync_definitions(&self) -> Result<(), WriteError> {
        self.submit(encode_batch(WriteBatch::default())?).await
    }
}
