//! The engine as the rules see it.

use storage::catalog::Catalog;
use storage::engine::Engine;
use storage::model::FrameNumber;
use storage::series::SeriesIndex;
use storage::tap::{CommittedGroup, TapConsumer};

/// Bytes of committed groups that may wait for the rules before they are cut off and read the log instead.
const TAP_BYTES: usize = 64 << 20;

/// The name of the rules on the commit tap.
pub(super) const CONSUMER: &str = "rules";

/// Hands the engine's commits to alerting.
pub(super) struct EngineSource(pub(super) Engine);

impl alerting::Source for EngineSource {
    fn consumer(&self, checkpoint: FrameNumber) -> TapConsumer {
        self.0.tap().subscribe(CONSUMER, checkpoint, TAP_BYTES)
    }

    fn newest_frame(&self) -> FrameNumber {
        self.0.durable_frame()
    }

    fn read_log(
        &self,
        after: FrameNumber,
        visit: &mut dyn FnMut(&CommittedGroup) -> storage::Result<()>,
    ) -> storage::Result<()> {
        self.0.read_log(after, visit)
    }

    fn let_go_up_to(&self) -> FrameNumber {
        self.0.tap().let_go_up_to()
    }

    fn catalog(&self) -> &Catalog {
        self.0.catalog()
    }

    fn series(&self) -> &SeriesIndex {
        self.0.series()
    }
}
