//! Shows how far long work has come: one line on standard error whenever something has changed, and not more often than
//! somebody can read.

use std::future::Future;
use std::io::{self, Write as _};
use std::time::Duration;

use storage::backup::{Counts, Progress};

/// Between two looks.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What was shown last.
#[derive(Debug, Default)]
pub(super) struct Shown(String);

impl Shown {
    /// Shows a line, unless it is the last one again.
    pub(super) fn show(&mut self, line: String) {
        if self.0 != line {
            // Nobody to tell is no reason to stop.
            drop(writeln!(io::stderr(), "{line}"));
            self.0 = line;
        }
    }
}

/// Does the work, and shows how far it is.
pub(super) async fn watched<T>(progress: &Progress, work: impl Future<Output = T>) -> T {
    let (mut work, mut shown) = (std::pin::pin!(work), Shown::default());
    let mut look = tokio::time::interval(LOOK_EVERY);
    loop {
        tokio::select! {
            done = work.as_mut() => {
                shown.show(line(&progress.counts()));
                return done;
            }
            _ = look.tick() => shown.show(line(&progress.counts())),
        }
    }
}

/// How far it is, for people.
pub(super) fn line(counts: &Counts) -> String {
    let Counts { stage, files, files_done, bytes, bytes_done, bytes_copied } = counts;
    let (bytes, done, copied) = (mebibytes(*bytes), mebibytes(*bytes_done), mebibytes(*bytes_copied));
    format!("{stage}: {files_done} of {files} files, {done} of {bytes} MiB, {copied} MiB copied")
}

/// Bytes as MiB with one digit.
pub(super) fn mebibytes(bytes: u64) -> String {
    let tenths = bytes.saturating_mul(10) >> 20;
    format!("{}.{}", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::{line, mebibytes};

    #[test]
    fn sizes_are_cut_to_one_digit() {
        assert_eq!([0, 1 << 20, 1_600_000, u64::MAX].map(mebibytes)[..3], ["0.0", "1.0", "1.5"]);
    }

    #[test]
    fn a_line_says_what_was_there_already() {
        let counts = storage::backup::Counts {
            stage: "data files",
            files: 3,
            files_done: 2,
            bytes: 3 << 20,
            bytes_done: 2 << 20,
            bytes_copied: 1 << 20,
        };
        assert_eq!(line(&counts), "data files: 2 of 3 files, 2.0 of 3.0 MiB, 1.0 MiB copied");
    }
}
