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

/// The bytes of the column chunk, and what the row group has to know of it.
pub(super) fn encode(
    column: &TagColumn,
    description: &ColumnDescPtr,
    bloom: bool,
    zstd: &mut Compressor<'static>,
) -> Result<(Bytes, ColumnCloseResult)> {
    let index_bits = index_bits(column);
    let encoding = if index_bits.is_some() { Encoding::RLE_DICTIONARY } else { Encoding::PLAIN };
    let mut chunk = ColumnChunk::new(description, encoding, zstd);
    if index_bits.is_some() {
        chunk.write_dictionary(&column.dictionary.plain, column.dictionary.len(), false)?;
    }
    let pages = column.pages(PAGE_ROWS);
    let summaries: Vec<PageSummary<'_>> = pages.iter().map(|page| PageSummary::of(page, column)).collect();
    for (page, summary) in pages.iter().zip(&summaries) {
        chunk.write_page(&content(column, page, index_bits), summary.counts(), summary.page_bounds())?;
    }
    let order = pages::boundary_order(summaries.iter().filter_map(|page| page.bounds));
    let bloom = if bloom { Some(column.bloom_filter()?) } else { None };
    chunk.finish(PageSummary::sum(&summaries).statistics(), order, bloom)
}

/// How many bits an index has, if a dictionary and indices take less than the values row by row.
fn index_bits(column: &TagColumn) -> Option<u32> {
    let bits = pages::index_bits(column.dictionary.len())?;
    let bytes_of = |run: &Run| run.code.map_or(0, |code| 4 + column.dictionary.bytes(code).len());
    let plain: usize = column.runs.iter().map(|run| run.rows * bytes_of(run)).sum();
    let indices = column.runs.len() * (1 + bits.div_ceil(8) as usize);
    (column.dictionary.plain.len() + indices < plain).then_some(bits)
}

/// A data page before compression.
fn content(column: &TagColumn, runs: &[Run], index_bits: Option<u32>) -> Vec<u8> {
    let mut content = Vec::new();
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
            let (low, high) = summary.bounds.unwrap_or((value, value));
            summary.bounds = Some((low.min(value), high.max(value)));
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
