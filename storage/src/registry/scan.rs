//! The registry as Arrow, for SQL over `registry.*`.
//!
//! Invariants
//! - One scan is one read transaction: it sees one state of the registry, however long it takes.
//! - It holds one chunk in memory at a time.
//! - Deleted rows are not in it; stays of deleted devices are, so that old telemetry keeps its place.

use std::sync::{Arc, LazyLock};

use arrow::array::{
    ArrayRef, Float64Builder, Int64Builder, RecordBatch, StringBuilder, TimestampNanosecondBuilder,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use futures::stream::{self, Stream, TryStreamExt};
use sqlx::sqlite::{Sqlite, SqliteRow};
use sqlx::{AssertSqlSafe, Row, Transaction};
use uuid::Uuid;

use super::Registry;
use super::area::Area;
use super::building::Building;
use super::device::Device;
use super::entity::{Column, ColumnType, Kind, Stored, StoredRow};
use super::error::{RegistryError, Result};
use super::floor::Floor;
use super::room::Room;

/// Rows of one batch: DataFusion's own batch size.
const BATCH_ROWS: i64 = 8_192;

/// A table of the registry in SQL.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum RegistryTable {
    /// `registry.buildings`
    Buildings,
    /// `registry.floors`
    Floors,
    /// `registry.areas`
    Areas,
    /// `registry.rooms`
    Rooms,
    /// `registry.devices`
    Devices,
    /// `registry.device_locations`
    DeviceLocations,
}

impl RegistryTable {
    /// All tables.
    pub const ALL: [Self; 6] =
        [Self::Buildings, Self::Floors, Self::Areas, Self::Rooms, Self::Devices, Self::DeviceLocations];

    /// Its name in the schema `registry`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Buildings => Kind::Building.table(),
            Self::Floors => Kind::Floor.table(),
            Self::Areas => Kind::Area.table(),
            Self::Rooms => Kind::Room.table(),
            Self::Devices => Kind::Device.table(),
            Self::DeviceLocations => "device_locations",
        }
    }

    /// Its columns: ids and texts are Utf8, attributes JSON as Utf8, times nanoseconds UTC without a zone.
    #[must_use]
    pub fn schema(self) -> SchemaRef {
        Arc::clone(&self.layout().schema)
    }

    fn layout(self) -> &'static Layout {
        static LAYOUTS: LazyLock<[Layout; 6]> = LazyLock::new(|| RegistryTable::ALL.map(Layout::of));
        let [buildings, floors, areas, rooms, devices, locations] = &*LAYOUTS;
        match self {
            Self::Buildings => buildings,
            Self::Floors => floors,
            Self::Areas => areas,
            Self::Rooms => rooms,
            Self::Devices => devices,
            Self::DeviceLocations => locations,
        }
    }
}

/// What a column of a scan holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum ScanType {
    Text,
    Int,
    Real,
    Id,
    Time,
}

/// The columns of a scan and the statement for one chunk: `?1`, `?2` are the key of the last row, `?3` its size.
struct Layout {
    columns: Vec<(&'static str, ScanType)>,
    schema: SchemaRef,
    sql: String,
    /// The column that comes second in the key, if the id is not enough.
    second_key: Option<&'static str>,
}

impl Layout {
    fn of(table: RegistryTable) -> Self {
        match table {
            RegistryTable::Buildings => Self::of_resource(table, Building::COLUMNS),
            RegistryTable::Floors => Self::of_resource(table, Floor::COLUMNS),
            RegistryTable::Areas => Self::of_resource(table, Area::COLUMNS),
            RegistryTable::Rooms => Self::of_resource(table, Room::COLUMNS),
            RegistryTable::Devices => Self::of_resource(table, Device::COLUMNS),
            RegistryTable::DeviceLocations => Self::of_locations(),
        }
    }

    fn of_resource(table: RegistryTable, stored: &[Column]) -> Self {
        let mut columns = vec![("id", ScanType::Id)];
        columns.extend(stored.iter().map(|column| {
            let of = match column.of {
                ColumnType::Text | ColumnType::Json => ScanType::Text,
                ColumnType::Int => ScanType::Int,
                ColumnType::Real => ScanType::Real,
                ColumnType::Parent(_) => ScanType::Id,
            };
            (column.name, of)
        }));
        columns.extend([
            ("rev", ScanType::Int),
            ("created_at", ScanType::Time),
            ("updated_at", ScanType::Time),
        ]);
        let name = table.name();
        let sql = format!(
            "SELECT * FROM {name} WHERE deleted_at IS NULL AND id > ?1 AND ?2 = ?2 ORDER BY id LIMIT ?3"
        );
        Self { schema: schema(&columns, &["id", "name", "rev"]), columns, sql, second_key: None }
    }

    fn of_locations() -> Self {
        let columns = vec![
            ("device_id", ScanType::Id),
            ("source", ScanType::Text),
            ("external_id", ScanType::Text),
            ("building_id", ScanType::Id),
            ("floor_id", ScanType::Id),
            ("area_id", ScanType::Id),
            ("room_id", ScanType::Id),
            ("valid_from", ScanType::Time),
            ("valid_to", ScanType::Time),
        ];
        let sql = "SELECT l.*, d.source, d.external_id FROM device_locations l JOIN devices d ON d.id = l.device_id \
                   WHERE (l.device_id, l.valid_from) > (?1, ?2) ORDER BY l.device_id, l.valid_from LIMIT ?3";
        Self {
            schema: schema(&columns, &["device_id", "source", "external_id", "building_id", "valid_from"]),
            columns,
            sql: sql.to_owned(),
            second_key: Some("valid_from"),
        }
    }
}

impl Registry {
    /// A table in batches of at most 8,192 rows, in the order of its key.
    pub fn scan_stream(
        &self,
        table: RegistryTable,
    ) -> impl Stream<Item = Result<RecordBatch>> + Send + 'static + use<> {
        let readers = self.readers.clone();
        let start = async move {
            Ok::<Scan, RegistryError>(Scan {
                layout: table.layout(),
                transaction: readers.begin().await?,
                after: START,
            })
        };
        stream::once(start).map_ok(|scan| stream::try_unfold(scan, Scan::next)).try_flatten()
    }

    /// A table as a whole; an empty table is one empty batch.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn scan(&self, table: RegistryTable) -> Result<Vec<RecordBatch>> {
        let mut batches: Vec<RecordBatch> = self.scan_stream(table).try_collect().await?;
        if batches.is_empty() {
            batches.push(RecordBatch::new_empty(table.schema()));
        }
        Ok(batches)
    }
}

/// Before every key.
const START: Option<(Uuid, i64)> = Some((Uuid::nil(), i64::MIN));

/// A running scan; `after` is `None` when there is nothing more.
struct Scan {
    layout: &'static Layout,
    transaction: Transaction<'static, Sqlite>,
    after: Option<(Uuid, i64)>,
}

impl Scan {
    async fn next(mut self) -> Result<Option<(RecordBatch, Self)>> {
        let Some((id, second)) = self.after else { return Ok(None) };
        let rows = sqlx::query(AssertSqlSafe(self.layout.sql.as_str()))
            .bind(id.as_bytes().to_vec())
            .bind(second)
            .bind(BATCH_ROWS)
            .fetch_all(&mut *self.transaction)
            .await?;
        let Some(last) = rows.last() else { return Ok(None) };
        let last = StoredRow(last);
        let key = self.layout.columns.first().map_or("id", |(name, _)| name);
        let second = self.layout.second_key.map(|column| last.get(column)).transpose()?.unwrap_or(0);
        let full = i64::try_from(rows.len()).is_ok_and(|count| count == BATCH_ROWS);
        self.after = if full { Some((last.id(key)?, second)) } else { None };
        Ok(Some((batch(self.layout, &rows)?, self)))
    }
}

fn batch(layout: &Layout, rows: &[SqliteRow]) -> Result<RecordBatch> {
    let columns =
        layout.columns.iter().map(|(name, of)| array(name, *of, rows)).collect::<Result<Vec<_>>>()?;
    RecordBatch::try_new(Arc::clone(&layout.schema), columns)
        .map_err(|error| RegistryError::Corrupt(format!("a table does not fit its schema: {error}")))
}

fn array(name: &str, of: ScanType, rows: &[SqliteRow]) -> Result<ArrayRef> {
    Ok(match of {
        ScanType::Text => {
            let mut builder = StringBuilder::new();
            for row in rows {
                builder.append_option(row.try_get::<Option<&str>, _>(name)?);
            }
            Arc::new(builder.finish())
        }
        ScanType::Id => {
            let mut builder = StringBuilder::new();
            let mut buffer = Uuid::encode_buffer();
            for row in rows {
                let id = StoredRow(row).opt_id(name)?;
                builder.append_option(id.map(|id| &*id.hyphenated().encode_lower(&mut buffer)));
            }
            Arc::new(builder.finish())
        }
        ScanType::Int => {
            let mut builder = Int64Builder::new();
            for row in rows {
                builder.append_option(row.try_get::<Option<i64>, _>(name)?);
            }
            Arc::new(builder.finish())
        }
        ScanType::Real => {
            let mut builder = Float64Builder::new();
            for row in rows {
                builder.append_option(row.try_get::<Option<f64>, _>(name)?);
            }
            Arc::new(builder.finish())
        }
        ScanType::Time => {
            let mut builder = TimestampNanosecondBuilder::new();
            for row in rows {
                builder.append_option(row.try_get::<Option<i64>, _>(name)?);
            }
            Arc::new(builder.finish())
        }
    })
}

fn schema(columns: &[(&'static str, ScanType)], required: &[&str]) -> SchemaRef {
    let fields: Vec<Field> = columns
        .iter()
        .map(|(name, of)| {
            let of = match of {
                ScanType::Text | ScanType::Id => DataType::Utf8,
                ScanType::Int => DataType::Int64,
                ScanType::Real => DataType::Float64,
                ScanType::Time => DataType::Timestamp(TimeUnit::Nanosecond, None),
            };
            Field::new(*name, of, !required.contains(name))
        })
        .collect();
    Arc::new(Schema::new(fields))
}
