//! The pages of a tag column: a dictionary page, then data pages (version 1) with run-length encoded definition
//! levels and dictionary indices, a run per change of the value.
//!
//! Where nearly every row has a value of its own, indices would only add to the values: then pages are plain.

use bytes::Bytes;
use parquet::basic::{BoundaryOrder, Compression, Encoding, PageType, Type, ZstdLevel};
use parquet::column::page::{CompressedPage, Page, PageWriter};
use parquet::column::writer::ColumnCloseResult;
use parquet::data_type::ByteArray;
use parquet::file::metadata::{
    ColumnChunkMetaData, ColumnIndexBuilder, LevelHistogram, OffsetIndexBuilder, PageEncodingStats,
};
use parquet::file::statistics::{Statistics, ValueStatistics};
use parquet::file::writer::{SerializedPageWriter, TrackedWrite};
use parquet::schema::types::ColumnDescPtr;
use zstd::bulk::Compressor;

use super::hybrid::Hybrid;
use super::stats::{text_above, text_below};
use super::tags::{Run, TagColumn};
use super::{PAGE_ROWS, ZSTD_LEVEL};
use crate::error::{Error, Result};

/// A column chunk in the making.
struct Chunk<'a> {
    column: &'a TagColumn,
    /// Bits of an index; none when pages are plain.
    index_bits: Option<u32>,
    sink: TrackedWrite<Vec<u8>>,
    zstd: Compressor<'static>,
    uncompressed: usize,
    column_index: ColumnIndexBuilder,
    offset_index: OffsetIndexBuilder,
}

/// What a page holds.
struct PageSummary<'a> {
    rows: usize,
    nulls: usize,
    value_bytes: usize,
    bounds: Option<(&'a [u8], &'a [u8])>,
}

/// The bytes of the column chunk, and what the row group has to know of it.
pub(super) fn encode(
    column: &TagColumn,
    description: &ColumnDescPtr,
    bloom: bool,
) -> Result<(Bytes, ColumnCloseResult)> {
    let mut chunk = Chunk {
        column,
        index_bits: index_bits(column),
        sink: TrackedWrite::new(Vec::new()),
        zstd: Compressor::new(ZSTD_LEVEL).map_err(compression)?,
        uncompressed: 0,
        column_index: ColumnIndexBuilder::new(Type::BYTE_ARRAY),
        offset_index: OffsetIndexBuilder::new(),
    };
    let dictionary = chunk.index_bits.is_some();
    if dictionary {
        chunk.write_dictionary()?;
    }
    let data_offset = chunk.sink.bytes_written();
    let pages = column.pages(PAGE_ROWS);
    let summaries: Vec<PageSummary<'_>> = pages.iter().map(|page| PageSummary::of(page, column)).collect();
    for (page, summary) in pages.iter().zip(&summaries) {
        chunk.write_page(page, summary)?;
    }
    chunk.column_index.set_boundary_order(boundary_order(&summaries));
    let whole = PageSummary::sum(&summaries);
    let bytes = chunk.sink.into_inner()?;
    let encoding = if dictionary { Encoding::RLE_DICTIONARY } else { Encoding::PLAIN };
    let page_count = |page_type, encoding, count: usize| PageEncodingStats {
        page_type,
        encoding,
        count: i32::try_from(count).unwrap_or(i32::MAX),
    };
    let mut page_counts = vec![page_count(PageType::DATA_PAGE, encoding, pages.len())];
    if dictionary {
        page_counts.insert(0, page_count(PageType::DICTIONARY_PAGE, Encoding::PLAIN, 1));
    }
    let metadata = ColumnChunkMetaData::builder(description.clone())
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(ZSTD_LEVEL)?))
        .set_encodings(vec![Encoding::PLAIN, Encoding::RLE, encoding])
        .set_page_encoding_stats(page_counts)
        .set_total_compressed_size(signed(bytes.len()))
        .set_total_uncompressed_size(signed(chunk.uncompressed))
        .set_num_values(signed(whole.rows))
        .set_data_page_offset(signed(data_offset))
        .set_dictionary_page_offset(dictionary.then_some(0))
        .set_statistics(whole.statistics())
        .set_unencoded_byte_array_data_bytes(Some(signed(whole.value_bytes)))
        .set_definition_level_histogram(whole.levels())
        .build()?;
    let close = ColumnCloseResult {
        bytes_written: bytes.len() as u64,
        rows_written: whole.rows as u64,
        metadata,
        bloom_filter: if bloom { Some(column.bloom_filter()?) } else { None },
        column_index: Some(chunk.column_index.build()?),
        offset_index: Some(chunk.offset_index.build()),
    };
    Ok((bytes.into(), close))
}

/// How many bits an index has, if a dictionary and indices take less than the values row by row.
fn index_bits(column: &TagColumn) -> Option<u32> {
    let last = u32::try_from(column.dictionary.len().checked_sub(1)?).ok()?;
    // Not 0, which some readers do not expect.
    let bits = (u32::BITS - last.leading_zeros()).max(1);
    let bytes_of = |run: &Run| run.code.map_or(0, |code| 4 + column.dictionary.bytes(code).len());
    let plain: usize = column.runs.iter().map(|run| run.rows * bytes_of(run)).sum();
    let indices = column.runs.len() * (1 + bits.div_ceil(8) as usize);
    (column.dictionary.plain.len() + indices < plain).then_some(bits)
}

impl Chunk<'_> {
    fn write_dictionary(&mut self) -> Result<()> {
        let dictionary = &self.column.dictionary;
        let page = Page::DictionaryPage {
            buf: self.zstd.compress(&dictionary.plain).map_err(compression)?.into(),
            num_values: u32::try_from(dictionary.len()).unwrap_or(u32::MAX),
            encoding: Encoding::PLAIN,
            is_sorted: false,
        };
        self.write(page, dictionary.plain.len())?;
        Ok(())
    }

    fn write_page(&mut self, runs: &[Run], summary: &PageSummary<'_>) -> Result<()> {
        let content = self.content(runs);
        let page = Page::DataPage {
            buf: self.zstd.compress(&content).map_err(compression)?.into(),
            num_values: u32::try_from(summary.rows).unwrap_or(u32::MAX),
            encoding: if self.index_bits.is_some() { Encoding::RLE_DICTIONARY } else { Encoding::PLAIN },
            def_level_encoding: Encoding::RLE,
            rep_level_encoding: Encoding::RLE,
            statistics: None,
        };
        let (offset, size) = self.write(page, content.len())?;
        self.offset_index.append_row_count(signed(summary.rows));
        self.offset_index.append_offset_and_size(signed(offset), i32::try_from(size).unwrap_or(i32::MAX));
        self.offset_index.append_unencoded_byte_array_data_bytes(Some(signed(summary.value_bytes)));
        let (low, high) = summary
            .bounds
            .map_or_else(Default::default, |(low, high)| (text_below(low).to_vec(), text_above(high)));
        self.column_index.append(summary.bounds.is_none(), low, high, signed(summary.nulls));
        self.column_index.append_histograms(&None, &summary.levels());
        Ok(())
    }

    /// A data page before compression.
    fn content(&self, runs: &[Run]) -> Vec<u8> {
        let mut levels = Hybrid::new(1, vec![0; 4]);
        runs.iter().for_each(|run| levels.push(run.code.is_some().into(), run.rows));
        let mut content = levels.finish();
        let length = u32::try_from(content.len() - 4).unwrap_or(u32::MAX);
        content.iter_mut().zip(length.to_le_bytes()).for_each(|(slot, byte)| *slot = byte);
        let present = runs.iter().filter_map(|run| Some((run.code?, run.rows)));
        let Some(bits) = self.index_bits else {
            for (code, rows) in present {
                let value = self.column.dictionary.bytes(code);
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

    /// Appends a page. Returns where it begins and how long it is, header included.
    fn write(&mut self, page: Page, uncompressed: usize) -> Result<(usize, usize)> {
        let offset = self.sink.bytes_written();
        let spec =
            SerializedPageWriter::new(&mut self.sink).write_page(CompressedPage::new(page, uncompressed))?;
        self.uncompressed += spec.uncompressed_size;
        Ok((offset, spec.compressed_size))
    }
}

impl<'a> PageSummary<'a> {
    fn of(runs: &[Run], column: &'a TagColumn) -> Self {
        let mut summary = Self { rows: 0, nulls: 0, value_bytes: 0, bounds: None };
        for run in runs {
            summary.rows += run.rows;
            let Some(code) = run.code else {
                summary.nulls += run.rows;
                continue;
            };
            let value = column.dictionary.bytes(code);
            summary.value_bytes += run.rows * value.len();
            let (low, high) = summary.bounds.unwrap_or((value, value));
            summary.bounds = Some((low.min(value), high.max(value)));
        }
        summary
    }

    /// That of all pages together.
    fn sum(pages: &[Self]) -> Self {
        let mut sum = Self { rows: 0, nulls: 0, value_bytes: 0, bounds: None };
        for page in pages {
            sum.rows += page.rows;
            sum.nulls += page.nulls;
            sum.value_bytes += page.value_bytes;
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

    fn levels(&self) -> Option<LevelHistogram> {
        let mut levels = LevelHistogram::try_new(1)?;
        levels.increment_by(0, signed(self.nulls));
        levels.increment_by(1, signed(self.rows - self.nulls));
        Some(levels)
    }
}

/// The order of the pages' bounds, which lets readers search them. Pages without values do not count.
fn boundary_order(pages: &[PageSummary<'_>]) -> BoundaryOrder {
    let bounds = || pages.iter().filter_map(|page| page.bounds);
    if bounds().is_sorted_by(|a, b| a.0 <= b.0 && a.1 <= b.1) {
        BoundaryOrder::ASCENDING
    } else if bounds().is_sorted_by(|a, b| a.0 >= b.0 && a.1 >= b.1) {
        BoundaryOrder::DESCENDING
    } else {
        BoundaryOrder::UNORDERED
    }
}

/// Sizes and counts of a column chunk, as Parquet has them.
fn signed(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn compression(error: std::io::Error) -> Error {
    Error::Internal(format!("a page cannot be compressed: {error}"))
}
