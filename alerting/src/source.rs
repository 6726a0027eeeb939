//! What this crate needs from the engine: committed groups, and the meaning of their ids.
//!
//! Invariant: a group that was offered on the tap, or that [`Source::read_log`] visits, is durable.

use storage::catalog::Catalog;
use storage::model::FrameNumber;
use storage::series::SeriesIndex;
use storage::tap::{CommittedGroup, TapConsumer};

/// The engine, as the rules see it. The composition root implements it over the storage engine.
pub trait Source: Send + Sync + 'static {
    /// A consumer of the commit tap whose durable state reaches `checkpoint`: the log keeps every later frame
    /// until the consumer reports that it is done with it.
    fn consumer(&self, checkpoint: FrameNumber) -> TapConsumer;

    /// The newest frame that is durable now.
    fn newest_frame(&self) -> FrameNumber;

    /// Visits every group with rows in a frame after `after` that is durable now, in log order. An error of
    /// `visit` ends the reading and is returned.
    ///
    /// # Errors
    /// When a frame after `after` is not readable or was trimmed; `after` 0 means from the oldest frame kept.
    fn read_log(
        &self,
        after: FrameNumber,
        visit: &mut dyn FnMut(&CommittedGroup) -> storage::Result<()>,
    ) -> storage::Result<()>;

    /// Up to this frame the log may be gone although the consumer's state does not reach so far: it hung for too long.
    fn let_go_up_to(&self) -> FrameNumber;

    /// Databases, tables and columns.
    fn catalog(&self) -> &Catalog;

    /// What a series id means.
    fn series(&self) -> &SeriesIndex;
}
