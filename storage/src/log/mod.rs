//! The log (write-ahead log): what is acknowledged stands here first.
//!
//! A log is a folder of numbered *segments*, files of one size that are written with zeros before use and
//! recycled after it, because a sync of bytes that the file system has already placed costs half. Where there is
//! none to be recycled, one is made ahead ([`spare`]). A segment holds *frames*; one group write is one frame.
//! `FORMAT.md` has the bytes.
//!
//! Invariants:
//! - LOG-1: a frame's checksum is seeded with the log's epoch and its segment's number, so the old bytes of a
//!   recycled segment never parse; making and renaming a segment syncs the folder.
//! - LOG-2: frames are numbered without gaps and carry the last number that was durable when they were
//!   written. A missing or bad frame at or below that number of any later frame is *damage* and refuses to
//!   start; above all of them it is a *torn tail*, cut and zeroed before new writes.
//! - LOG-3: a writer that is idle, or closing, adds an empty synced frame, so only the last moments before a
//!   crash cannot be told from a torn tail.
//! - LOG-4: a failed sync poisons the log: nothing more is written or acknowledged until a restart.
//!   After it the operating system may show what the disk does not hold, and call it clean; so at the start the
//!   folder is synced, and the last header and the frames that no later one says to be durable are written again
//!   before anybody sees them.

mod aside;
mod codec;
mod epoch;
mod frame;
mod reader;
mod salvage;
#[cfg(test)]
mod salvage_tests;
mod segment;
#[cfg(test)]
mod sim_tests;
mod spare;
mod survey;
#[cfg(test)]
mod tests;
mod writer;

pub(crate) use aside::overwrite_aside;
pub use codec::{
    EncodedBatch, EncodedDefinitions, decode_definitions, decode_group, encode_batch, encode_definitions,
};
pub use epoch::Epoch;
pub use frame::{Frame, FrameHeader};
pub use reader::{LogReader, Visit};
pub use salvage::{RecoveryMode, SalvageReport, mend, salvage_reports, survey_log};
pub(crate) use segment::{is_segment, is_spare};
pub(crate) use spare::make as make_spare;
pub(crate) use survey::quarantine;
pub use survey::{Loss, Survey};
pub use writer::{LogCut, LogWriter, SegmentInfo, found};
