//! Where devices are and were.

use super::*;

async fn placed(fixture: &Fixture) -> (House, DeviceId) {
    let house = fixture.house().await;
    let device = fixture.create(Device::new("mqtt", "d1")).await.id;
    fixture.place(device, &in_room(house.lobby), Some(Fixture::at(0))).await.unwrap();
    (house, device)
}

async fn room_at(fixture: &Fixture, device: DeviceId, second: i64) -> Option<RoomId> {
    fixture.registry.location_as_of(device, Fixture::at(second)).await.unwrap()?.place.room_id
}

#[tokio::test]
async fn the_place_of_a_device_follows_from_its_room() {
    let fixture = Fixture::new().await;
    let (house, device) = placed(&fixture).await;
    let stay = fixture.registry.location_as_of(device, Fixture::at(0)).await.unwrap().unwrap();
    let place = Place {
        building_id: house.building,
        floor_id: Some(house.ground),
        area_id: Some(house.area),
        room_id: Some(house.lobby),
    };
    assert_eq!(stay, Stay { device_id: device, place, valid_from: Fixture::at(0), valid_to: None });
}

#[tokio::test]
async fn a_move_ends_one_stay_and_begins_the_next_and_time_decides_which_holds() {
    let mut fixture = Fixture::new().await;
    let (house, device) = placed(&fixture).await;
    fixture.set(100);
    fixture.place(device, &in_room(house.office), None).await.unwrap();
    fixture.reopen().await;
    for (second, room) in [
        (-1, None),
        (0, Some(house.lobby)),
        (99, Some(house.lobby)),
        (100, Some(house.office)),
        (1_000_000, Some(house.office)),
    ] {
        assert_eq!(room_at(&fixture, device, second).await, room, "at {second}");
    }
    let stays = fixture.registry.stays(device).await.unwrap();
    let times: Vec<_> = stays.iter().map(|stay| (stay.valid_from, stay.valid_to)).collect();
    assert_eq!(times, [(Fixture::at(100), None), (Fixture::at(0), Some(Fixture::at(100)))]);
    let moves: Vec<i64> = fixture
        .changes()
        .await
        .into_iter()
        .filter(|change| change.op == ChangeOp::Move)
        .map(|change| change.rev.number())
        .collect();
    assert_eq!(moves, [2, 3]);
}

#[tokio::test]
async fn a_move_may_be_back_dated_but_not_into_another_stay() {
    let fixture = Fixture::new().await;
    let (house, device) = placed(&fixture).await;
    fixture.set(1_000);
    fixture.place(device, &in_room(house.office), Some(Fixture::at(500))).await.unwrap();
    assert_eq!(room_at(&fixture, device, 499).await, Some(house.lobby));
    assert_eq!(room_at(&fixture, device, 500).await, Some(house.office));
    for second in [-5, 0, 400, 500] {
        let error =
            fixture.place(device, &in_room(house.lobby), Some(Fixture::at(second))).await.unwrap_err();
        let earliest_ns = Fixture::at(500).nanos() + 1;
        assert_eq!(conflict(error), Conflict::Overlap { earliest_ns }, "at {second}");
    }
    let error = fixture.place(device, &in_room(house.lobby), Some(Fixture::at(90_000))).await.unwrap_err();
    assert_eq!(faults(error), [("/valid_from".to_owned(), "in_future")]);
    assert_eq!(fixture.registry.stays(device).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_device_can_leave_and_come_back_later_but_not_earlier() {
    let fixture = Fixture::new().await;
    let (house, device) = placed(&fixture).await;
    fixture.set(100);
    let mut write = fixture.registry.write().await.unwrap();
    write.unplace(device, &Expected::Any, Some(Fixture::at(50))).await.unwrap();
    let again = write.unplace(device, &Expected::Any, None).await.unwrap_err();
    assert_eq!(conflict(again), Conflict::NoLocation);
    write.commit().await.unwrap();
    assert_eq!(room_at(&fixture, device, 49).await, Some(house.lobby));
    assert_eq!(room_at(&fixture, device, 50).await, None);
    let error = fixture.place(device, &in_room(house.lobby), Some(Fixture::at(49))).await.unwrap_err();
    assert_eq!(conflict(error), Conflict::Overlap { earliest_ns: Fixture::at(50).nanos() });
    fixture.place(device, &in_room(house.office), Some(Fixture::at(50))).await.unwrap();
    assert_eq!(room_at(&fixture, device, 50).await, Some(house.office));
}

#[tokio::test]
async fn a_move_to_where_it_is_changes_nothing() {
    let fixture = Fixture::new().await;
    let (house, device) = placed(&fixture).await;
    let before = fixture.registry.get::<Device>(device).await.unwrap();
    fixture.set(100);
    let stay = fixture.place(device, &in_room(house.lobby), None).await.unwrap();
    assert_eq!(stay.valid_from, Fixture::at(0));
    assert_eq!(fixture.registry.get::<Device>(device).await.unwrap(), before);
}

#[tokio::test]
async fn a_room_that_changes_its_area_takes_its_devices_along_from_then_on() {
    let fixture = Fixture::new().await;
    let (house, device) = placed(&fixture).await;
    let west = fixture.create(area(house.building, "West")).await.id;
    fixture.set(100);
    fixture.update(house.lobby, &Expected::Any, room(house.ground, Some(west), "Lobby")).await.unwrap();
    let area_at = async |second| {
        fixture.registry.location_as_of(device, Fixture::at(second)).await.unwrap().unwrap().place.area_id
    };
    assert_eq!(area_at(99).await, Some(house.area));
    assert_eq!(area_at(100).await, Some(west));
}

#[tokio::test]
async fn a_place_that_contradicts_itself_is_refused() {
    let fixture = Fixture::new().await;
    let (house, device) = placed(&fixture).await;
    let other = fixture.create(building("Other")).await.id;
    let west = fixture.create(area(house.building, "West")).await.id;
    let foreign = fixture.create(area(other, "Foreign")).await.id;
    let cases = [
        (PlaceRequest::default(), "", "required"),
        (PlaceRequest { floor_id: Some(house.upper), ..in_room(house.lobby) }, "/floor_id", "contradiction"),
        (PlaceRequest { area_id: Some(west), ..in_room(house.lobby) }, "/area_id", "contradiction"),
        (PlaceRequest { building_id: Some(other), ..in_room(house.lobby) }, "/building_id", "contradiction"),
        (
            PlaceRequest { floor_id: Some(house.upper), area_id: Some(foreign), ..PlaceRequest::default() },
            "/area_id",
            "contradiction",
        ),
        (in_room(uuid::Uuid::from_u128(9).into()), "/room_id", "not_found"),
    ];
    for (request, pointer, code) in cases {
        let error = fixture.place(device, &request, None).await.unwrap_err();
        assert_eq!(faults(error), [(pointer.to_owned(), code)], "{request:?}");
    }
}
