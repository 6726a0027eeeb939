//! Erasures in between, and cut short: queries see no difference, and no byte of deleted rows is left.

use std::time::Duration;

use storage::erasure::{Progress, Wanted};

use super::check;
use super::world::World;

impl World {
    /// Erases what is deleted. Without a fault all of it goes at once: no query and no consumer is in between.
    pub(super) async fn erase(&mut self) -> Result<(), String> {
        let wanted = Wanted {
            database: None,
            table: None,
            wait: Duration::ZERO,
            neighbours: Vec::new(),
            backups: Vec::new(),
        };
        self.aside_is_rewritten().await?;
        let erased = self.engine().erase(&wanted, &Progress::default()).await;
        check::settle(self.engine()).await;
        let report = match erased {
            Ok(report) => report,
            Err(error) => return self.excuse("erase", Err(error)),
        };
        if report.is_complete() {
            self.count("erased all");
            self.reference.traces.erase();
            self.no_traces()?;
        } else {
            self.count("erased not all");
            if !self.is_faulty() {
                return Err(format!("an erasure leaves something without a fault: {report:#?}"));
            }
        }
        self.ask_all().await
    }

    /// Nothing that was erased is on the disk.
    pub(super) fn no_traces(&self) -> Result<(), String> {
        let (disk, folder) = self.medium();
        if disk.is_off() { Ok(()) } else { self.reference.traces.check(disk, folder) }
    }
}
