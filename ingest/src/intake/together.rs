//! Lines whose series are looked up together.

use storage::series::{SeriesLookup, SeriesRef};

use crate::line_protocol::{Head, LineError, Lines, RawLine};

/// So many lines at once: enough that their waits for memory overlap, and so few that the caches keep them until they are
/// read.
const MOST: usize = 64;

/// Some lines of a body, and their series as far as they are known by their spellings.
#[derive(Debug, Default)]
pub(super) struct Together<'l> {
    lines: Vec<RawLine<'l>>,
    followed: Vec<(SeriesRef, usize)>,
    heads: Vec<Result<Head<'l>, LineError>>,
    known: Vec<Option<SeriesRef>>,
}

impl<'l> Together<'l> {
    /// Goes on to the next lines; false when there are none.
    pub(super) fn advance(&mut self, lines: &mut Lines<'l>, lookup: &mut SeriesLookup<'_>) -> bool {
        let Self { lines: together, followed, heads, known } = self;
        together.clear();
        followed.clear();
        heads.clear();
        known.clear();
        together.extend(lines.take(MOST));
        lookup.follow(together.iter().map(|line| line.bytes), followed);
        known.extend(followed.iter().map(|(series, _)| Some(*series)));
        heads.extend(
            together.iter().zip(&*followed).map(|(line, (_, space))| Head::cut_at(*space, line.bytes)),
        );
        heads.extend(together.iter().skip(followed.len()).map(|line| Head::cut(line.bytes)));
        let rest = heads.iter().skip(followed.len());
        lookup.by_spellings(rest.map(|head| head.as_ref().map_or(&[][..], |head| head.series)), known);
        !together.is_empty()
    }

    /// The lines, each with what was cut of it and its series.
    pub(super) fn drain(
        &mut self,
    ) -> impl Iterator<Item = (RawLine<'l>, Result<Head<'l>, LineError>, Option<SeriesRef>)> {
        let heads_and_series = self.heads.drain(..).zip(self.known.drain(..));
        self.lines.drain(..).zip(heads_and_series).map(|(line, (head, known))| (line, head, known))
    }
}
