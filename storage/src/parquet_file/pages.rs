//! The pages of a column chunk: a dictionary page if there is one, then data pages (version 1), each compressed as a
//! whole, with a page index.

use bytes::Bytes;
use parquet::basic::{BoundaryOrder, Compression, Encoding, PageType, ZstdLevel};
use parquet::bloom_filter::Sbbf;
use parquet::column::page::{CompressedPage, Page, PageWriter};
use parquet::column::writer::ColumnCloseResult;
use parquet::file::metadata::{
    ColumnChunkMetaData, ColumnIndexBuilder, LevelHistogram, OffsetIndexBuilder, PageEncodingStats,
};
use parquet::file::statistics::Statistics;
use parquet::file::writer::{SerializedPageWriter, TrackedWrite};
use parquet::schema::types::ColumnDescPtr;
use zstd::bulk::Compressor;

use super::ZSTD_LEVEL;
use super::hybrid::Hybrid;
use crate::error::{Error, Result};

/// A compressor for any number of column chunks.
pub(super) fn compressor() -> Result<Compressor<'static>> {
    Compressor::new(ZSTD_LEVEL).map_err(compression)
}

/// What a page, or all of them, hold.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts {
    pub(super) rows: usize,
    pub(super) nulls: usize,
    /// Bytes of text, as if no dictionary held it.
    pub(super) text_bytes: Option<usize>,
}

/// The bounds of a page, as the page index has them.
pub(super) enum PageBounds {
    /// It has no values.
    Empty,
    /// None is below the first or above the second.
    Known(Vec<u8>, Vec<u8>),
    /// It has values that have no order.
    Unknown,
}

/// A column chunk in the making.
pub(super) struct ColumnChunk<'a> {
    description: ColumnDescPtr,
    zstd: &'a mut Compressor<'static>,
    sink: TrackedWrite<Vec<u8>>,
    /// Where the data pages begin, if a dictionary stands before them.
    dictionary_end: Option<usize>,
    encoding: Encoding,
    pages: usize,
    counts: Counts,
    uncompressed: usize,
    column_index: ColumnIndexBuilder,
    offset_index: OffsetIndexBuilder,
}

impl<'a> ColumnChunk<'a> {
    /// A chunk whose data pages are in `encoding`.
    pub(super) fn new(
        description: &ColumnDescPtr,
        encoding: Encoding,
        zstd: &'a mut Compressor<'static>,
    ) -> Self {
        Self {
            description: description.clone(),
            zstd,
            sink: TrackedWrite::new(Vec::new()),
            dictionary_end: None,
            encoding,
            pages: 0,
            counts: Counts::default(),
            uncompressed: 0,
            column_index: ColumnIndexBuilder::new(description.physical_type()),
            offset_index: OffsetIndexBuilder::new(),
        }
    }

    /// Whether rows may be without a value, which pages say first.
    pub(super) fn is_nullable(&self) -> bool {
        self.description.max_def_level() > 0
    }

    /// What the pages that were written hold.
    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    /// Writes the dictionary, before any page: `values` values in the encoding `PLAIN`.
    pub(super) fn write_dictionary(&mut self, plain: &[u8], values: usize, is_sorted: bool) -> Result<()> {
        let page = Page::DictionaryPage {
            buf: self.zstd.compress(plain).map_err(compression)?.into(),
            num_values: u32::try_from(values).unwrap_or(u32::MAX),
            encoding: Encoding::PLAIN,
            is_sorted,
        };
        self.write(page, plain.len())?;
        self.dictionary_end = Some(self.sink.bytes_written());
        Ok(())
    }

    /// Writes a data page.
    pub(super) fn write_page(&mut self, content: &[u8], counts: Counts, bounds: PageBounds) -> Result<()> {
        let page = Page::DataPage {
            buf: self.zstd.compress(content).map_err(compression)?.into(),
            num_values: u32::try_from(counts.rows).unwrap_or(u32::MAX),
            encoding: self.encoding,
            def_level_encoding: Encoding::RLE,
            rep_level_encoding: Encoding::RLE,
            statistics: None,
        };
        let (offset, size) = self.write(page, content.len())?;
        self.offset_index.append_row_count(signed(counts.rows));
        self.offset_index.append_offset_and_size(signed(offset), i32::try_from(size).unwrap_or(i32::MAX));
        self.offset_index.append_unencoded_byte_array_data_bytes(counts.text_bytes.map(signed));
        match bounds {
            PageBounds::Empty => {
                self.column_index.append(true, Vec::new(), Vec::new(), signed(counts.nulls));
            }
            PageBounds::Known(low, high) => {
                self.column_index.append(false, low, high, signed(counts.nulls));
            }
            PageBounds::Unknown => self.column_index.to_invalid(),
        }
        self.column_index.append_histograms(&None, &self.levels(counts));
        self.pages += 1;
        self.counts.rows += counts.rows;
        self.counts.nulls += counts.nulls;
        self.counts.text_bytes =
            counts.text_bytes.map(|bytes| bytes + self.counts.text_bytes.unwrap_or_default());
        Ok(())
    }

    /// The bytes of the chunk, and what the row group has to know of it. `order` is that of the bounds of its pages.
    pub(super) fn finish(
        mut self,
        statistics: Statistics,
        order: BoundaryOrder,
        bloom_filter: Option<Sbbf>,
    ) -> Result<(Bytes, ColumnCloseResult)> {
        let levels = self.levels(self.counts);
        self.column_index.set_boundary_order(order);
        let bytes = self.sink.into_inner()?;
        let page_count = |page_type, encoding, count: usize| PageEncodingStats {
            page_type,
            encoding,
            count: i32::try_from(count).unwrap_or(i32::MAX),
        };
        let mut page_counts = vec![page_count(PageType::DATA_PAGE, self.encoding, self.pages)];
        if self.dictionary_end.is_some() {
            page_counts.insert(0, page_count(PageType::DICTIONARY_PAGE, Encoding::PLAIN, 1));
        }
        let metadata = ColumnChunkMetaData::builder(self.description)
            .set_compression(Compression::ZSTD(ZstdLevel::try_new(ZSTD_LEVEL)?))
            .set_encodings(vec![Encoding::PLAIN, Encoding::RLE, self.encoding])
            .set_page_encoding_stats(page_counts)
            .set_total_compressed_size(signed(bytes.len()))
            .set_total_uncompressed_size(signed(self.uncompressed))
            .set_num_values(signed(self.counts.rows))
            .set_data_page_offset(signed(self.dictionary_end.unwrap_or_default()))
            .set_dictionary_page_offset(self.dictionary_end.map(|_| 0))
            .set_unencoded_byte_array_data_bytes(self.counts.text_bytes.map(signed))
            .set_definition_level_histogram(levels)
            .set_statistics(statistics);
        let column_index = if self.column_index.valid() { Some(self.column_index.build()?) } else { None };
        let close = ColumnCloseResult {
            bytes_written: bytes.len() as u64,
            rows_written: self.counts.rows as u64,
            metadata: metadata.build()?,
            bloom_filter,
            column_index,
            offset_index: Some(self.offset_index.build()),
        };
        Ok((bytes.into(), close))
    }

    /// Appends a page. Returns where it begins and how long it is, header included.
    fn write(&mut self, page: Page, uncompressed: usize) -> Result<(usize, usize)> {
        let offset = self.sink.bytes_written();
        let spec =
            SerializedPageWriter::new(&mut self.sink).write_page(CompressedPage::new(page, uncompressed))?;
        self.uncompressed += spec.uncompressed_size;
        Ok((offset, spec.compressed_size))
    }

    fn levels(&self, counts: Counts) -> Option<LevelHistogram> {
        let mut levels = LevelHistogram::try_new(self.description.max_def_level())?;
        levels.increment_by(0, signed(counts.nulls));
        levels.increment_by(1, signed(counts.rows - counts.nulls));
        Some(levels)
    }
}

/// Appends the definition levels with which a page of a nullable column begins: runs of rows that have a value or none.
pub(super) fn append_definition_levels(runs: impl Iterator<Item = (bool, usize)>, content: &mut Vec<u8>) {
    append_with_length(content, |content| {
        let mut levels = Hybrid::new(1, std::mem::take(content));
        runs.for_each(|(is_present, rows)| levels.push(is_present.into(), rows));
        *content = levels.finish();
    });
}

/// Appends what `append` does, and before it how many bytes that are.
pub(super) fn append_with_length(content: &mut Vec<u8>, append: impl FnOnce(&mut Vec<u8>)) {
    let at = content.len();
    content.extend([0; 4]);
    append(content);
    let length = u32::try_from(content.len() - at - 4).unwrap_or(u32::MAX);
    content.iter_mut().skip(at).zip(length.to_le_bytes()).for_each(|(slot, byte)| *slot = byte);
}

/// The order of the pages' bounds, which lets readers search them. Pages without values do not count.
pub(super) fn boundary_order<T: PartialOrd>(bounds: impl Iterator<Item = (T, T)> + Clone) -> BoundaryOrder {
    if bounds.clone().is_sorted_by(|a, b| a.0 <= b.0 && a.1 <= b.1) {
        BoundaryOrder::ASCENDING
    } else if bounds.clone().is_sorted_by(|a, b| a.0 >= b.0 && a.1 >= b.1) {
        BoundaryOrder::DESCENDING
    } else {
        BoundaryOrder::UNORDERED
    }
}

/// Bits of the index of the last of so many values. Not 0, which some readers do not expect.
pub(super) fn index_bits(values: usize) -> Option<u32> {
    let last = u32::try_from(values.checked_sub(1)?).ok()?;
    Some((u32::BITS - last.leading_zeros()).max(1))
}

/// Sizes and counts of a column chunk, as Parquet has them.
fn signed(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn compression(error: std::io::Error) -> Error {
    Error::Internal(format!("a page cannot be compressed: {error}"))
}
