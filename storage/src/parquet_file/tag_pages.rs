//! The pages of a tag column: a dictionary page, then data pages (version 1) with run-length encoded definition
//! levels and dictionary indices, a run per change of the value.
//!
//! Where nearly every row has a value of its own, indices would only add to the values: then pages are plain.

use bytes::Bytes;
use parquet::basic::Encoding;
use parquet::column::writer::ColumnCloseResult;
use parquet::data_type::ByteArray;
use parquet::file::statistics::{Statistics, ValueStatistics};
use parquet::schema::types::ColumnDescPtr;
use zstd::bulk::Compressor;

use super::PAGE_ROWS;
use super::hybrid::Hybrid;
use super::pages::{self, ColumnChunk, Counts, PageBounds};
use super::stats::{text_above, text_below};
use super::tags::{Run, TagColumn};
use crate::error::Result;

/// What a page holds.
struct PageSummary<'a> {
    rows: usize,
    nulls: usize,
    text_bytes: usize,
    bounds: Option<(&'a [u8], &'a [u8])>,
}

/// A column chunk, and what Delta's statistics say of it.
pub(super) struct Encoded<'a> {
    pub(super) bytes: Bytes,
    pub(super) close: ColumnCloseResult,
    pub(super) bounds: Option<(&'a [u8], &'a [u8])>,
    pub(super) nulls: usize,
}

/// The column chunk of a column that has ended.
///
/// # Errors
/// [`Error::Parquet`](crate::Error::Parquet) when the chunk cannot be made.
pub(super) fn encode<'a>(
    column: &'a TagColumn,
    description: &ColumnDescPtr,
    bloom: bool,
    zstd: &mut Compressor<'static>,
) -> Result<Encoded<'a>> {
    let index_bits = index_bits(column);
    let encoding = if index_bits.is_some() { Encoding::RLE_DICTIONARY } else { Encoding::PLAIN };
    let mut chunk = ColumnChunk::new(description, encoding, zstd);
    if index_bits.is_some() {
        chunk.write_dictionary(&column.dictionary.plain, column.dictionary.len(), false)?;
    }
    let (mut page, mut content, mut summaries) = (Vec::new(), Vec::new(), Vec::new());
    let mut pages = Pages { runs: &column.runs, left: None };
    while pages.next(&mut page) {
        let summary = PageSummary::of(&page, column);
        content = put_content(content, column, &page, index_bits);
        chunk.write_page(&content, summary.counts(), summary.page_bounds())?;
        summaries.push(summary);
    }
    let order = pages::boundary_order(summaries.iter().filter_map(|page| page.bounds));
    let bloom = if bloom { Some(column.bloom_filter()?) } else { None };
    let whole = PageSummary::sum(&summaries);
    let (bytes, close) = chunk.finish(whole.statistics(), order, bloom)?;
    Ok(Encoded { bytes, close, bounds: whole.bounds, nulls: whole.nulls })
}

/// Cuts runs into pages.
struct Pages<'a> {
    runs: &'a [Run],
    /// What is left of the run before them.
    left: Option<Run>,
}

impl Pages<'_> {
    /// The runs of the next page; none when there are no more.
    fn next(&mut self, page: &mut Vec<Run>) -> bool {
        page.clear();
        let mut room = PAGE_ROWS;
        while room > 0
            && let Some(run) = self.left.take().or_else(|| self.runs.split_off_first().copied())
        {
            let rows = run.rows.min(room);
            page.push(Run { rows, ..run });
            room -= rows;
            self.left = (run.rows > rows).then_some(Run { rows: run.rows - rows, ..run });
        }
        !page.is_empty()
    }
}

/// How many bits an index has, if a dictionary and indices take less than the values row by row.
fn index_bits(column: &TagColumn) -> Option<u32> {
    let bits = pages::index_bits(column.dictionary.len())?;
    let bytes_of = |run: &Run| run.code.map_or(0, |code| 4 + column.dictionary.bytes(code).len());
    let plain: usize = column.runs.iter().map(|run| run.rows * bytes_of(run)).sum();
    let indices = column.runs.len() * (1 + bits.div_ceil(8) as usize);
    (column.dictionary.plain.len() + indices < plain).then_some(bits)
}

/// A data page before compression, in the memory of the one before.
fn put_content(mut content: Vec<u8>, column: &TagColumn, runs: &[Run], index_bits: Option<u32>) -> Vec<u8> {
    content.clear();
    pages::append_definition_levels(runs.iter().map(|run| (run.code.is_some(), run.rows)), &mut content);
    let present = runs.iter().filter_map(|run| Some((run.code?, run.rows)));
    let Some(bits) = index_bits else {
        for (code, rows) in present {
            let value = column.dictionary.bytes(code);
            for _ in 0..rows {
                content.extend(u32::try_from(value.len()).unwrap_or(u32::MAX).to_le_bytes());
                content.extend(value);
            }
        }
        return content;
    };
    content.extend(bits.to_le_bytes().first());
    let mut indices = Hybrid::new(bits, content);
    present.for_each(|(code, rows)| indices.push(code, rows));
    indices.finish()
}

impl<'a> PageSummary<'a> {
    fn of(runs: &[Run], column: &'a TagColumn) -> Self {
        let mut summary = Self { rows: 0, nulls: 0, text_bytes: 0, bounds: None };
        for run in runs {
            summary.rows += run.rows;
            let Some(code) = run.code else {
                summary.nulls += run.rows;
                continue;
            };
            let value = column.dictionary.bytes(code);
            summary.text_bytes += run.rows * value.len();
            match &mut summary.bounds {
                None => summary.bounds = Some((value, value)),
                Some((_, high)) if value > *high => *high = value,
                Some((low, _)) if value < *low => *low = value,
                Some(_) => {}
            }
        }
        summary
    }

    /// That of all pages together.
    fn sum(pages: &[Self]) -> Self {
        let mut sum = Self { rows: 0, nulls: 0, text_bytes: 0, bounds: None };
        for page in pages {
            sum.rows += page.rows;
            sum.nulls += page.nulls;
            sum.text_bytes += page.text_bytes;
            sum.bounds = match (sum.bounds, page.bounds) {
                (Some((a, b)), Some((low, high))) => Some((low.min(a), high.max(b))),
                (bounds, other) => bounds.or(other),
            };
        }
        sum
    }

    fn statistics(&self) -> Statistics {
        let low = self.bounds.map(|(low, _)| text_below(low).to_vec());
        let high = self.bounds.map(|(_, high)| text_above(high));
        let exact = |kept: &Option<Vec<u8>>, value: Option<&[u8]>| kept.as_deref() == value;
        let (low_exact, high_exact) =
            (exact(&low, self.bounds.map(|b| b.0)), exact(&high, self.bounds.map(|b| b.1)));
        let bytes = |bound: Option<Vec<u8>>| bound.map(ByteArray::from);
        let statistics = ValueStatistics::new(bytes(low), bytes(high), None, Some(self.nulls as u64), false);
        Statistics::ByteArray(statistics.with_min_is_exact(low_exact).with_max_is_exact(high_exact))
    }

    fn counts(&self) -> Counts {
        Counts { rows: self.rows, nulls: self.nulls, text_bytes: Some(self.text_bytes) }
    }

    fn page_bounds(&self) -> PageBounds {
        let known = |(low, high)| PageBounds::Known(text_below(low).to_vec(), text_above(high));
        self.bounds.map_or(PageBounds::Empty, known)
    }
}
