//! Reads a file of a table as sorted rows.

use std::ops::Range;
use std::sync::Arc;

use arrow::datatypes::Schema;
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::ParquetRecordBatchStreamBuilder;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};

use super::Columns;
use crate::error::{Error, Result};
use crate::layout::{REMAINDER_COLUMN, parts_of, sorted_rows, stored_schema};
use crate::model::{DataFile, PhysicalColumn, TableSchema};
use crate::rows::SortedRows;

/// Rows of a batch: some megabytes with ten columns.
const BATCH_ROWS: usize = 16 * 1024;

/// A file that is being read.
pub struct StoredRows {
    /// The columns that it has beside the tags and `time`.
    pub columns: Columns,
    /// Its rows in batches, in order.
    pub rows: BoxStream<'static, Result<SortedRows>>,
}

/// Reads a file of `store`, all columns.
///
/// # Errors
/// [`Error::ObjectStore`](crate::Error::ObjectStore) and [`Error::Parquet`](crate::Error::Parquet) when it cannot be
/// read, also from the stream; from the stream [`Error::Damaged`](crate::Error::Damaged) when it holds what no writer
/// put there.
pub async fn read_sorted(
    store: Arc<dyn ObjectStore>,
    schema: Arc<TableSchema>,
    file: &DataFile,
) -> Result<StoredRows> {
    let mut reader = ObjectReader { store, path: file.path.clone(), bytes: file.bytes };
    let found = ArrowReaderMetadata::load_async(&mut reader, ArrowReaderOptions::new()).await?;
    // Columns in the types of this schema, whatever Arrow schema the file carries: tags as dictionaries.
    let stored = stored_schema(&schema);
    let columns = found.schema().fields().iter().map(|field| {
        stored
            .field_with_name(field.name())
            .map_or_else(|_| Arc::clone(field), |known| Arc::new(known.clone()))
    });
    let has = |name: &str| found.schema().index_of(name).is_ok();
    let fields = schema.fields.iter().flat_map(|field| field.columns());
    let has_any = |column: &PhysicalColumn| parts_of(column).iter().any(|stored| has(stored.field.name()));
    let fields = fields.filter(|column| has_any(column)).map(|column| column.id);
    let present = Columns { fields: fields.collect(), remainder: has(REMAINDER_COLUMN) };
    let options = ArrowReaderOptions::new().with_schema(Arc::new(Schema::new(columns.collect::<Vec<_>>())));
    let metadata = ArrowReaderMetadata::try_new(Arc::clone(found.metadata()), options)?;
    let builder = ParquetRecordBatchStreamBuilder::new_with_metadata(reader, metadata);
    let batches = builder.with_batch_size(BATCH_ROWS).build()?;
    let rows = batches.map(move |batch| sorted_rows(&schema, &batch.map_err(Error::from)?));
    Ok(StoredRows { columns: present, rows: rows.boxed() })
}

/// An object as Parquet's reader wants it.
struct ObjectReader {
    store: Arc<dyn ObjectStore>,
    path: Path,
    bytes: u64,
}

impl AsyncFileReader for ObjectReader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, parquet::errors::Result<Bytes>> {
        async move { self.store.get_range(&self.path, range).await.map_err(external) }.boxed()
    }

    fn get_byte_ranges(
        &mut self,
        ranges: Vec<Range<u64>>,
    ) -> BoxFuture<'_, parquet::errors::Result<Vec<Bytes>>> {
        async move { self.store.get_ranges(&self.path, &ranges).await.map_err(external) }.boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        _options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, parquet::errors::Result<Arc<ParquetMetaData>>> {
        let bytes = self.bytes;
        async move { Ok(Arc::new(ParquetMetaDataReader::new().load_and_finish(self, bytes).await?)) }.boxed()
    }
}

fn external(error: object_store::Error) -> ParquetError {
    ParquetError::External(Box::new(error))
}
