//! Rows: revisions, conditions, keys, deletion, idempotency, change events.

use serde_json::json;
use uuid::Uuid;

use super::*;

#[tokio::test]
async fn a_row_is_the_same_after_the_database_was_closed_and_opened() {
    let mut fixture = Fixture::new().await;
    let mut attributes = Attributes::new();
    attributes.insert("storeys".to_owned(), json!({"above": 3, "below": [1, 2.5, "P"]}));
    let wanted = Building {
        name: "Haus Zürich".to_owned(),
        source: Some("city".to_owned()),
        external_id: Some("Z-1".to_owned()),
        address: Address {
            street: Some("Langstrasse 1".to_owned()),
            postal_code: Some("8004".to_owned()),
            city: Some("Zürich".to_owned()),
            region: Some("ZH".to_owned()),
            country: Some("CH".to_owned()),
        },
        latitude: Some(47.376_9),
        longitude: Some(8.541_7),
        time_zone: Some("Europe/Zurich".to_owned()),
        attributes,
    };
    let made = fixture.create(wanted.clone()).await;
    fixture.reopen().await;
    let read = fixture.registry.get::<Building>(made.id).await.unwrap();
    assert_eq!(read, made);
    assert_eq!(read.fields, wanted);
    assert_eq!((read.rev, read.created_at), (Rev::FIRST, Fixture::at(0)));
}

#[tokio::test]
async fn an_update_that_changes_nothing_makes_no_revision_and_no_event() {
    let fixture = Fixture::new().await;
    let made = fixture.create(building("A")).await;
    fixture.set(5);
    let same = fixture.update(made.id, &Expected::Any, building("A")).await.unwrap();
    assert_eq!(same, made);
    let other = fixture.update(made.id, &Expected::At(vec![Rev::FIRST]), building("B")).await.unwrap();
    assert_eq!((other.rev, other.updated_at), (Rev::new(2), Fixture::at(5)));
    let events: Vec<(ChangeOp, Vec<String>, i64)> =
        fixture.changes().await.into_iter().map(|c| (c.op, c.fields, c.rev.number())).collect();
    let named = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<String>>();
    let wanted =
        [(ChangeOp::Create, named(&["name", "attributes"]), 1), (ChangeOp::Update, named(&["name"]), 2)];
    assert_eq!(events, wanted);
}

#[tokio::test]
async fn a_change_on_an_old_revision_is_refused_with_the_current_one() {
    let fixture = Fixture::new().await;
    let made = fixture.create(building("A")).await;
    fixture.update(made.id, &Expected::Any, building("B")).await.unwrap();
    let error = fixture.update(made.id, &Expected::At(vec![Rev::FIRST]), building("C")).await.unwrap_err();
    assert!(matches!(error, RegistryError::PreconditionFailed { current: Some(rev) } if rev == Rev::new(2)));
    assert_eq!(fixture.registry.get::<Building>(made.id).await.unwrap().fields.name, "B");
}

#[tokio::test]
async fn all_faults_of_a_row_are_told_at_once() {
    let fixture = Fixture::new().await;
    let bad = Building {
        name: " ".to_owned(),
        address: Address { country: Some("Germany".to_owned()), ..Address::default() },
        latitude: Some(91.0),
        time_zone: Some("Europe/Atlantis".to_owned()),
        ..Building::default()
    };
    let error = fixture.registry.write().await.unwrap().create(None, bad).await.unwrap_err();
    let wanted = [
        ("/name", "required"),
        ("/address/country", "bad_country"),
        ("/latitude", "out_of_range"),
        ("/longitude", "required"),
        ("/time_zone", "unknown_time_zone"),
    ];
    assert_eq!(faults(error), wanted.map(|(pointer, code)| (pointer.to_owned(), code)));

    let nowhere = Uuid::from_u128(7);
    let orphan = room(nowhere.into(), Some(nowhere.into()), "");
    let error = fixture.registry.write().await.unwrap().create(None, orphan).await.unwrap_err();
    let pointers: Vec<String> = faults(error).into_iter().map(|(pointer, _)| pointer).collect();
    assert_eq!(pointers, ["/name", "/floor_id", "/area_id"]);
}

#[tokio::test]
async fn a_room_cannot_take_an_area_of_another_building_and_a_floor_stays_in_its_building() {
    let fixture = Fixture::new().await;
    let house = fixture.house().await;
    let other = fixture.create(building("Other")).await.id;
    let foreign = fixture.create(area(other, "West")).await.id;
    let moved = room(house.ground, Some(foreign), "Lobby");
    let error = fixture.update(house.lobby, &Expected::Any, moved).await.unwrap_err();
    assert_eq!(faults(error), [("/area_id".to_owned(), "other_building")]);
    let error = fixture.update(house.ground, &Expected::Any, floor(other, "Ground", 0)).await.unwrap_err();
    assert_eq!(faults(error), [("/building_id".to_owned(), "immutable")]);
}

#[tokio::test]
async fn a_key_is_unique_among_the_living_only() {
    let fixture = Fixture::new().await;
    let first = fixture.create(Device::new("tuya", "d1")).await;
    fixture.create(Device::new("mqtt", "d1")).await;
    let error =
        fixture.registry.write().await.unwrap().create(None, Device::new("tuya", "d1")).await.unwrap_err();
    assert_eq!(conflict(error).code(), "already_exists");
    assert_eq!(fixture.registry.device_by_external("tuya", "d1").await.unwrap(), first);

    fixture.delete::<Device>(first.id, false).await.unwrap();
    let missing = fixture.registry.device_by_external("tuya", "d1").await.unwrap_err();
    assert!(matches!(missing, RegistryError::NotFound { kind: Kind::Device, .. }));
    let second = fixture.create(Device::new("tuya", "d1")).await;
    assert_eq!(fixture.registry.device_by_external("tuya", "d1").await.unwrap().id, second.id);

    let keyed = Building { external_id: Some("B1".to_owned()), ..building("A") };
    fixture.create(keyed.clone()).await;
    let error = fixture.registry.write().await.unwrap().create(None, keyed).await.unwrap_err();
    assert_eq!(conflict(error).code(), "already_exists");
}

#[tokio::test]
async fn a_put_makes_a_row_with_the_callers_id_and_never_wakes_a_deleted_one() {
    let fixture = Fixture::new().await;
    let id = BuildingId::from(Uuid::from_u128(42));
    let mut write = fixture.registry.write().await.unwrap();
    let put = write.put(id, &Expected::Absent, building("A")).await.unwrap();
    assert!(matches!(put, Put::Created(ref record) if record.id == id));
    let put = write.put(id, &Expected::Present, building("B")).await.unwrap();
    assert!(matches!(put, Put::Updated(ref record) if record.rev == Rev::new(2)));
    let error = write.put(id, &Expected::Absent, building("C")).await.unwrap_err();
    assert!(matches!(error, RegistryError::PreconditionFailed { current: Some(_) }));
    write.commit().await.unwrap();
    fixture.delete::<Building>(id, false).await.unwrap();
    let mut write = fixture.registry.write().await.unwrap();
    let error = write.put(id, &Expected::Any, building("D")).await.unwrap_err();
    assert_eq!(conflict(error), Conflict::Deleted { kind: Kind::Building });
}

#[tokio::test]
async fn ids_rise_also_within_one_tick_of_the_clock() {
    let fixture = Fixture::new().await;
    let mut last = Uuid::nil();
    for _ in 0..100 {
        let id = Uuid::from(fixture.create(building("A")).await.id);
        assert_eq!(id.get_version_num(), 7);
        assert!(id > last, "{id} does not follow {last}");
        last = id;
    }
}

#[tokio::test]
async fn a_parent_with_children_is_not_deleted_unless_asked_to_cascade() {
    let fixture = Fixture::new().await;
    let house = fixture.house().await;
    let device = fixture.create(Device::new("mqtt", "d1")).await.id;
    fixture.place(device, &in_room(house.office), None).await.unwrap();
    fixture.set(60);
    let error = fixture.delete::<Building>(house.building, false).await.unwrap_err();
    let children = vec![("rooms", 2), ("areas", 1), ("floors", 2), ("devices", 1)];
    assert_eq!(conflict(error), Conflict::HasChildren { children });

    fixture.delete::<Building>(house.building, true).await.unwrap();
    assert!(fixture.registry.get::<Room>(house.office).await.is_err());
    assert!(fixture.registry.get::<Floor>(house.upper).await.is_err());
    assert!(fixture.registry.get::<Area>(house.area).await.is_err());
    assert_eq!(fixture.list::<Room>(&[]).await.unwrap().records.len(), 0);
    let deleted = fixture.list::<Room>(&[("deleted", "include")]).await.unwrap().records;
    assert!(deleted.iter().all(|room| room.deleted_at == Some(Fixture::at(60)) && room.rev == Rev::new(2)));
    assert_eq!(deleted.len(), 2);
    // The device lives on, nowhere.
    assert_eq!(fixture.registry.get::<Device>(device).await.unwrap().rev, Rev::new(3));
    assert_eq!(fixture.registry.location_as_of(device, Fixture::at(60)).await.unwrap(), None);
    assert!(fixture.registry.location_as_of(device, Fixture::at(59)).await.unwrap().is_some());
    let deletes = fixture.changes().await.into_iter().filter(|change| change.op == ChangeOp::Delete);
    assert_eq!(deletes.count(), 6);
}

#[tokio::test]
async fn an_area_that_goes_leaves_its_rooms_and_devices_without_an_area() {
    let fixture = Fixture::new().await;
    let house = fixture.house().await;
    let device = fixture.create(Device::new("mqtt", "d1")).await.id;
    fixture.place(device, &in_room(house.office), None).await.unwrap();
    fixture.set(60);
    fixture.delete::<Area>(house.area, true).await.unwrap();
    assert_eq!(fixture.registry.get::<Room>(house.office).await.unwrap().fields.area_id, None);
    let stay = fixture.registry.location_as_of(device, Fixture::at(60)).await.unwrap().unwrap();
    assert_eq!((stay.place.area_id, stay.place.room_id), (None, Some(house.office)));
    let before = fixture.registry.location_as_of(device, Fixture::at(59)).await.unwrap().unwrap();
    assert_eq!(before.place.area_id, Some(house.area));
}

#[tokio::test]
async fn a_transaction_that_is_dropped_leaves_no_row_and_no_event() {
    let fixture = Fixture::new().await;
    let mut write = fixture.registry.write().await.unwrap();
    let made = write.create(None, building("A")).await.unwrap();
    drop(write);
    assert!(fixture.registry.get::<Building>(made.id).await.is_err());
    assert_eq!(fixture.changes().await, []);
    // The writer is free again, and row and event come together.
    let mut write = fixture.registry.write().await.unwrap();
    let made = write.create(None, building("B")).await.unwrap();
    assert_eq!(fixture.changes().await, []);
    write.commit().await.unwrap();
    let changes = fixture.changes().await;
    assert_eq!(changes.len(), 1);
    assert_eq!(
        (changes[0].kind, changes[0].id, changes[0].op),
        (Kind::Building, made.id.into(), ChangeOp::Create)
    );
}

#[tokio::test]
async fn a_follower_wakes_at_the_commit_and_learns_when_it_is_too_late() {
    let mut fixture = Fixture::new().await;
    let registry = Arc::clone(&fixture.registry);
    let waiting = tokio::spawn(async move {
        registry.changed_since(ChangeSeq::START).await;
        registry.changes(ChangeSeq::START, 10).await.unwrap()
    });
    fixture.create(building("A")).await;
    let page = waiting.await.unwrap();
    assert_eq!((page.changes.len(), page.after), (1, fixture.registry.newest_change()));

    fixture.set(i64::try_from(CHANGES_KEPT.as_secs()).unwrap() + 1);
    fixture.create(building("B")).await;
    fixture.registry.maintain().await.unwrap();
    let error = fixture.registry.changes(ChangeSeq::START, 10).await.unwrap_err();
    assert!(matches!(error, RegistryError::Expired { oldest: 2 }));
    assert_eq!(fixture.registry.changes(ChangeSeq::new(1), 10).await.unwrap().changes.len(), 1);
    fixture.reopen().await;
    assert_eq!(fixture.registry.newest_change(), ChangeSeq::new(2));
}

#[tokio::test]
async fn a_repeated_key_gets_the_first_answer_for_a_day() {
    let fixture = Fixture::new().await;
    let key = |fingerprint: u8| OnceKey { key: "k1".to_owned(), fingerprint: vec![fingerprint] };
    // Work that fails keeps no answer.
    let Begin::Fresh(write) = fixture.registry.write_once(key(1)).await.unwrap() else { panic!("a replay") };
    drop(write);
    let Begin::Fresh(mut write) = fixture.registry.write_once(key(1)).await.unwrap() else {
        panic!("a replay")
    };
    write.create(None, building("A")).await.unwrap();
    write.commit_with_answer("made A").await.unwrap();
    let again = fixture.registry.write_once(key(1)).await.unwrap();
    assert!(matches!(again, Begin::Replay(answer) if answer == "made A"));
    assert!(matches!(fixture.registry.write_once(key(2)).await, Err(RegistryError::KeyReused)));
    fixture.set(i64::try_from(ANSWERS_KEPT.as_secs()).unwrap());
    assert!(matches!(fixture.registry.write_once(key(2)).await.unwrap(), Begin::Fresh(_)));
}

#[tokio::test]
async fn the_life_of_a_device_has_these_moves_and_no_others() {
    use DeviceState::{Activated, Deactivated, Pending, Rejected, Removed, Shadow};
    let paths: [(&[DeviceState], &[DeviceState]); 6] = [
        (&[], &[Pending]),
        (&[Pending], &[Activated, Rejected]),
        (&[Pending, Activated], &[Deactivated]),
        (&[Pending, Rejected], &[]),
        (&[Pending, Activated, Deactivated], &[Removed]),
        (&[Pending, Activated, Deactivated, Removed], &[]),
    ];
    let fixture = Fixture::new().await;
    for (number, (path, legal)) in paths.into_iter().enumerate() {
        for to in DeviceState::ALL {
            let device = fixture.create(Device::new("mqtt", &format!("{number}-{}", to.name()))).await;
            assert_eq!(device.fields.state, Shadow);
            for step in path {
                fixture.transition(device.id, *step).await.unwrap();
            }
            let moved = fixture.transition(device.id, to).await;
            if legal.contains(&to) {
                assert_eq!(moved.unwrap().fields.state, to);
                let newest = fixture.registry.transitions(device.id).await.unwrap();
                assert_eq!(newest.len(), path.len() + 1);
                assert_eq!((newest[0].to, newest[0].reason.as_deref()), (to, Some("asked for")));
            } else if path.last() == Some(&Removed) {
                assert!(matches!(moved.unwrap_err(), RegistryError::NotFound { .. }));
            } else {
                let Conflict::IllegalMove { legal: named, .. } = conflict(moved.unwrap_err()) else {
                    panic!()
                };
                assert_eq!(named, legal.iter().map(|state| state.name()).collect::<Vec<_>>());
            }
        }
    }
}

#[tokio::test]
async fn the_state_moves_by_transitions_only_and_a_device_in_service_is_not_deleted() {
    let fixture = Fixture::new().await;
    let device = fixture.create(Device::new("mqtt", "d1")).await;
    let forged = Device { state: DeviceState::Activated, ..device.fields.clone() };
    let error = fixture.update(device.id, &Expected::Any, forged.clone()).await.unwrap_err();
    assert_eq!(faults(error), [("/state".to_owned(), "immutable")]);
    let made = Device { external_id: "d2".to_owned(), ..forged };
    let error = fixture.registry.write().await.unwrap().create(None, made).await.unwrap_err();
    assert_eq!(faults(error), [("/state".to_owned(), "immutable")]);

    fixture.transition(device.id, DeviceState::Pending).await.unwrap();
    fixture.transition(device.id, DeviceState::Activated).await.unwrap();
    let error = fixture.delete::<Device>(device.id, false).await.unwrap_err();
    assert_eq!(conflict(error).code(), "illegal_transition");
    fixture.transition(device.id, DeviceState::Deactivated).await.unwrap();
    fixture.delete::<Device>(device.id, false).await.unwrap();
    let gone = fixture.registry.get_with_deleted::<Device>(device.id).await.unwrap();
    assert_eq!((gone.fields.state, gone.rev), (DeviceState::Removed, Rev::new(5)));
}
