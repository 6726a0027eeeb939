//! The registry as Arrow.

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimeUnit, TimestampNanosecondType};
use futures::TryStreamExt;

use super::*;

#[tokio::test]
async fn an_empty_table_is_one_empty_batch_of_its_schema() {
    let fixture = Fixture::new().await;
    for table in RegistryTable::ALL {
        let batches = fixture.registry.scan(table).await.unwrap();
        assert_eq!((batches.len(), batches[0].num_rows()), (1, 0));
        assert_eq!(batches[0].schema(), table.schema());
    }
}

#[tokio::test]
async fn columns_have_the_types_that_sql_expects() {
    let fixture = Fixture::new().await;
    let mut zurich = building("Zürich");
    (zurich.latitude, zurich.longitude) = (Some(47.5), Some(8.5));
    zurich.attributes.insert("floors".to_owned(), serde_json::json!(3));
    let id = fixture.create(zurich).await.id;
    let house = fixture.house().await;
    let gone = fixture.create(building("Gone")).await.id;
    fixture.delete::<Building>(gone, false).await.unwrap();

    let batch = fixture.registry.scan(RegistryTable::Buildings).await.unwrap().remove(0);
    assert_eq!(batch.num_rows(), 2, "deleted rows are hidden");
    let column = |name: &str| batch.column_by_name(name).unwrap();
    assert_eq!(column("id").as_string::<i32>().value(0), id.to_string());
    assert_eq!(column("name").as_string::<i32>().value(0), "Zürich");
    assert!((column("latitude").as_primitive::<Float64Type>().value(0) - 47.5).abs() < f64::EPSILON);
    assert!(column("latitude").is_null(1));
    assert_eq!(column("attributes").as_string::<i32>().value(0), r#"{"floors":3}"#);
    assert_eq!(*column("created_at").data_type(), DataType::Timestamp(TimeUnit::Nanosecond, None));
    assert_eq!(column("created_at").as_primitive::<TimestampNanosecondType>().value(0), NEW_YEAR_NS);

    let floors = fixture.registry.scan(RegistryTable::Floors).await.unwrap().remove(0);
    assert_eq!(floors.column_by_name("level").unwrap().as_primitive::<Int64Type>().values(), &[0, 1]);
    let building_ids = floors.column_by_name("building_id").unwrap().as_string::<i32>();
    assert_eq!(building_ids.value(1), house.building.to_string());
}

#[tokio::test]
async fn the_stays_of_a_removed_device_remain_with_its_key() {
    let fixture = Fixture::new().await;
    let house = fixture.house().await;
    let device = fixture.create(Device::new("mqtt", "d1")).await.id;
    fixture.place(device, &in_room(house.lobby), None).await.unwrap();
    fixture.set(10);
    fixture.place(device, &in_room(house.office), None).await.unwrap();
    fixture.set(20);
    fixture.delete::<Device>(device, false).await.unwrap();
    let devices = fixture.registry.scan(RegistryTable::Devices).await.unwrap();
    assert_eq!(devices[0].num_rows(), 0);
    let stays = fixture.registry.scan(RegistryTable::DeviceLocations).await.unwrap().remove(0);
    assert_eq!(stays.num_rows(), 2);
    let times =
        |name: &str| stays.column_by_name(name).unwrap().as_primitive::<TimestampNanosecondType>().clone();
    assert_eq!(times("valid_from").values(), &[Fixture::at(0).nanos(), Fixture::at(10).nanos()]);
    assert_eq!(times("valid_to").values(), &[Fixture::at(10).nanos(), Fixture::at(20).nanos()]);
    assert_eq!(stays.column_by_name("external_id").unwrap().as_string::<i32>().value(1), "d1");
    assert_eq!(
        stays.column_by_name("room_id").unwrap().as_string::<i32>().value(1),
        house.office.to_string()
    );
}

#[tokio::test]
async fn a_scan_comes_in_chunks_and_sees_one_state() {
    let fixture = Fixture::new().await;
    let rows: String = (0..10_000).map(|number| format!("B{number}\n")).collect();
    let mut import = BuildingImport::new(Arc::clone(&fixture.registry), ImportOptions::default());
    import.push(format!("name\n{rows}").as_bytes()).await.unwrap();
    import.finish().await.unwrap();

    let mut scan = Box::pin(fixture.registry.scan_stream(RegistryTable::Buildings));
    let first = scan.try_next().await.unwrap().unwrap();
    assert_eq!(first.num_rows(), 8_192);
    fixture.create(building("late")).await;
    let rest: Vec<_> = scan.try_collect().await.unwrap();
    assert_eq!(rest.iter().map(|batch| batch.num_rows()).sum::<usize>(), 10_000 - 8_192);
    let again = fixture.registry.scan(RegistryTable::Buildings).await.unwrap();
    assert_eq!(again.iter().map(|batch| batch.num_rows()).sum::<usize>(), 10_001);
}
