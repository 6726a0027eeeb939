//! Filters and pages.

use serde_json::json;

use super::*;

#[tokio::test]
async fn pages_survive_rows_that_come_and_go_between_them() {
    let fixture = Fixture::new().await;
    for number in 0..25 {
        fixture.create(building(&format!("{:02}", number * 2))).await;
    }
    for sort in ["id", "name", "updated_at"] {
        let mut names = Vec::new();
        let mut cursor: Option<String> = None;
        for round in 0.. {
            let mut parameters = vec![("limit", "10"), ("sort", sort)];
            parameters.extend(cursor.as_deref().map(|cursor| ("cursor", cursor)));
            let page = fixture.list::<Building>(&parameters).await.unwrap();
            names.extend(page.records.iter().map(|record| record.fields.name.clone()));
            if round == 0 {
                // Behind the reader by name and far ahead by id: only an offset would stumble.
                let behind = fixture.create(building("01")).await;
                fixture.delete::<Building>(behind.id, false).await.unwrap();
                fixture.create(building(&format!("03 {sort}"))).await;
            }
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        let old: Vec<&String> = names.iter().filter(|name| name.len() == 2).collect();
        let wanted: Vec<String> = (0..25).map(|number| format!("{:02}", number * 2)).collect();
        assert_eq!(old, wanted.iter().collect::<Vec<_>>(), "by {sort}");
    }
}

#[tokio::test]
async fn a_cursor_with_other_filters_is_an_error() {
    let fixture = Fixture::new().await;
    for _ in 0..3 {
        fixture.create(building("A")).await;
    }
    let page = fixture.list::<Building>(&[("limit", "1"), ("name", "A")]).await.unwrap();
    let cursor = page.next.unwrap();
    // The size of a page is no filter.
    let rest = fixture.list::<Building>(&[("limit", "2"), ("name", "A"), ("cursor", &cursor)]).await.unwrap();
    assert_eq!((rest.records.len(), rest.next), (2, None));
    for parameters in [
        vec![("cursor", cursor.as_str())],
        vec![("name", "B"), ("cursor", &cursor)],
        vec![("name", "A"), ("sort", "name"), ("cursor", &cursor)],
    ] {
        let error = fixture.list::<Building>(&parameters).await.unwrap_err();
        assert_eq!(faults(error), [("?cursor".to_owned(), "changed_filters")]);
    }
    let error = fixture.list::<Floor>(&[("name", "A"), ("cursor", &cursor)]).await.unwrap_err();
    assert_eq!(faults(error), [("?cursor".to_owned(), "changed_filters")]);
    let error = fixture.list::<Building>(&[("cursor", "nonsense")]).await.unwrap_err();
    assert_eq!(faults(error), [("?cursor".to_owned(), "bad_cursor")]);
}

#[tokio::test]
async fn every_parameter_that_is_not_known_or_not_good_is_told() {
    let fixture = Fixture::new().await;
    let error = fixture
        .list::<Floor>(&[
            ("nmae", "A"),
            ("limit", "1001"),
            ("building_id", "7"),
            ("level", "one"),
            ("updated_since", "yesterday"),
            ("attributes", "{}"),
            ("attr.", "x"),
            ("sort", "size"),
            ("deleted", "yes"),
        ])
        .await
        .unwrap_err();
    let mut found = faults(error);
    found.sort_unstable();
    let wanted = [
        ("?attr.", "bad_name"),
        ("?attributes", "unknown_parameter"),
        ("?building_id", "bad_value"),
        ("?deleted", "bad_value"),
        ("?level", "bad_value"),
        ("?limit", "out_of_range"),
        ("?nmae", "unknown_parameter"),
        ("?sort", "bad_value"),
        ("?updated_since", "bad_time"),
    ];
    assert_eq!(found, wanted.map(|(pointer, code)| (pointer.to_owned(), code)));
    let error = fixture.list::<Device>(&[("state", "BROKEN")]).await.unwrap_err();
    assert_eq!(faults(error), [("?state".to_owned(), "bad_value")]);
}

#[tokio::test]
async fn filters_select_by_column_attribute_place_state_and_time() {
    let fixture = Fixture::new().await;
    let house = fixture.house().await;
    let other = fixture.create(building("Other")).await.id;
    for (number, name) in ["a", "b", "c"].iter().enumerate() {
        let mut device = Device::new("mqtt", name);
        device.attributes.insert("volts".to_owned(), json!(230.5 + f64::from(u8::try_from(number).unwrap())));
        device.attributes.insert("outdoor".to_owned(), json!(number == 0));
        device.attributes.insert("maker's \"no".replace('"', ""), json!("x"));
        let id = fixture.create(device).await.id;
        let place = if number == 0 { house.lobby } else { house.office };
        fixture.place(id, &in_room(place), None).await.unwrap();
        if number == 2 {
            fixture.set(100);
            fixture.transition(id, DeviceState::Pending).await.unwrap();
        }
    }
    let (building, upper, area, lobby) = (
        house.building.to_string(),
        house.upper.to_string(),
        house.area.to_string(),
        house.lobby.to_string(),
    );
    type Case<'a> = (Vec<(&'a str, &'a str)>, &'a [&'a str]);
    let cases: Vec<Case> = vec![
        (vec![], &["a", "b", "c"]),
        (vec![("external_id", "b")], &["b"]),
        (vec![("name", "a"), ("name", "c")], &["a", "c"]),
        (vec![("name", "a"), ("state", "PENDING")], &[]),
        (vec![("state", "PENDING")], &["c"]),
        (vec![("attr.volts", "231.5")], &["b"]),
        (vec![("attr.outdoor", "true")], &["a"]),
        (vec![("attr.outdoor", "false")], &["b", "c"]),
        (vec![("attr.maker's no", "x")], &["a", "b", "c"]),
        (vec![("attr.missing", "x")], &[]),
        (vec![("building_id", &building)], &["a", "b", "c"]),
        (vec![("floor_id", &upper)], &["b", "c"]),
        (vec![("area_id", &area)], &["a", "b", "c"]),
        (vec![("room_id", &lobby)], &["a"]),
        (vec![("updated_since", "2026-01-01T00:01:40Z")], &["c"]),
        (vec![("updated_since", "2026-01-01T01:01:40+01:00")], &["c"]),
    ];
    for (parameters, wanted) in cases {
        let page = fixture.list::<Device>(&parameters).await.unwrap();
        let names: Vec<String> = page.records.into_iter().map(|record| record.fields.name).collect();
        assert_eq!(names, wanted, "{parameters:?}");
    }
    assert_eq!(fixture.list::<Room>(&[("building_id", &building)]).await.unwrap().records.len(), 2);
    let other = other.to_string();
    assert_eq!(fixture.list::<Room>(&[("building_id", &other)]).await.unwrap().records.len(), 0);
    assert_eq!(
        fixture.list::<Floor>(&[("building_id", &building), ("level", "1")]).await.unwrap().records.len(),
        1
    );
}
