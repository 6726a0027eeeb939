//! Devices: their keys, their life, their places.

use super::*;

async fn device(server: &Server) -> String {
    let path = "/devices";
    server.make(path, json!({"source": "tuya", "external_id": "vdevo/1 ä", "name": "Lamp"})).await
}

#[tokio::test]
async fn a_device_is_found_by_its_key_at_the_source() {
    let server = Server::start().await;
    let id = device(&server).await;
    let found = server.get("/devices/by-external/tuya/vdevo%2F1%20%C3%A4").await;
    assert_eq!((found.status, found.id(), found.header("etag")), (200, id, "\"1\""));
    assert_eq!(found.json()["state"], "SHADOW");
    let known = [("if-none-match", "\"1\"")];
    let path = "/devices/by-external/tuya/vdevo%2F1%20%C3%A4";
    assert_eq!(server.send("GET", path, &known, Body::empty()).await.status, 304);
    assert_eq!(server.get("/devices/by-external/tuya/other").await.status, 404);
    let twin = json!({"source": "tuya", "external_id": "vdevo/1 ä", "name": "Twin"});
    let answer = server.with_json("POST", "/devices", &twin).await;
    assert_eq!((answer.status, answer.json()["code"].as_str()), (409, Some("already_exists")));
}

#[tokio::test]
async fn a_device_goes_through_its_life_and_keeps_its_history() {
    let server = Server::start().await;
    let path = format!("/devices/{}", device(&server).await);
    let moves = format!("{path}/transitions");
    let refused = server.with_json("POST", &moves, &json!({"to": "ACTIVATED"})).await;
    let problem = refused.json();
    assert_eq!((refused.status, problem["code"].as_str()), (409, Some("illegal_transition")));
    assert_eq!((&problem["state"], &problem["legal"]), (&json!("SHADOW"), &json!(["PENDING"])));
    let faults = server.with_json("POST", &moves, &json!({"to": "BROKEN", "why": 1})).await.faults();
    assert_eq!(faults, pairs([("/why", "unknown_property"), ("/to", "bad_value")]));
    let faults = server.with_json("PATCH", &path, &json!({"state": "ACTIVATED"})).await.faults();
    assert_eq!(faults, pairs([("/state", "read_only")]));

    for to in ["PENDING", "ACTIVATED"] {
        let moved = server.with_json("POST", &moves, &json!({"to": to, "reason": "tested"})).await;
        assert_eq!((moved.status, moved.json()["state"].as_str()), (200, Some(to)));
    }
    // Other changes leave the state alone, a PUT too.
    let put = json!({"source": "tuya", "external_id": "vdevo/1 ä", "name": "Light"});
    assert_eq!(server.with_json("PUT", &path, &put).await.json()["state"], "ACTIVATED");
    assert_eq!(server.with_json("PATCH", &path, &json!({"kind": "Lamp"})).await.json()["state"], "ACTIVATED");
    assert_eq!(server.send("DELETE", &path, &[], Body::empty()).await.status, 409);
    for to in ["DEACTIVATED", "REMOVED"] {
        assert_eq!(server.with_json("POST", &moves, &json!({"to": to})).await.status, 200);
    }
    assert_eq!(server.get(&path).await.status, 404);
    let history = server.get(&format!("{path}/history")).await.json();
    let steps: Vec<&str> =
        history["transitions"].as_array().unwrap().iter().map(|step| step["to"].as_str().unwrap()).collect();
    assert_eq!(steps, ["REMOVED", "DEACTIVATED", "ACTIVATED", "PENDING"]);
    assert_eq!(history["transitions"][3]["reason"], "tested");
}

#[tokio::test]
async fn a_device_moves_and_is_found_where_it_was() {
    let server = Server::start().await;
    let [building, floor, area, lobby] = server.house().await;
    let office = server.make("/rooms", json!({"floor_id": floor, "name": "Office"})).await;
    let id = device(&server).await;
    let path = format!("/devices/{id}/location");
    assert_eq!(server.get(&path).await.status, 404);
    let first = json!({"room_id": lobby, "valid_from": "2026-01-01T00:00:00Z"});
    let stay = server.with_json("PUT", &path, &first).await;
    let wanted = json!({
        "device_id": id, "building_id": building, "floor_id": floor, "area_id": area, "room_id": lobby,
        "valid_from": "2026-01-01T00:00:00Z", "valid_to": null,
    });
    assert_eq!((stay.status, stay.json()), (200, wanted));
    let second = json!({"room_id": office, "valid_from": "2026-02-01T00:00:00Z"});
    assert_eq!(server.with_json("POST", &path, &second).await.status, 200);
    for (as_of, room) in [
        ("2025-12-31T23:59:59Z", None),
        ("2026-01-01T01:00:00%2B01:00", Some(&lobby)),
        ("2026-01-31T23:59:59.999999999Z", Some(&lobby)),
        ("2026-02-01T00:00:00Z", Some(&office)),
    ] {
        let answer = server.get(&format!("{path}?as_of={as_of}")).await;
        match room {
            Some(room) => assert_eq!(answer.json()["room_id"].as_str(), Some(room.as_str()), "{as_of}"),
            None => assert_eq!(answer.status, 404, "{as_of}"),
        }
    }
    let early = json!({"room_id": lobby, "valid_from": "2026-01-15T00:00:00Z"});
    let refused = server.with_json("PUT", &path, &early).await;
    assert_eq!((refused.status, refused.json()["code"].as_str()), (409, Some("location_overlap")));
    assert_eq!(refused.json()["earliest"], "2026-02-01T00:00:00.000000001Z");

    let listed = async |filter: String| {
        server.get(&format!("/devices?{filter}")).await.json()["items"].as_array().unwrap().len()
    };
    assert_eq!((listed(format!("room_id={office}")).await, listed(format!("room_id={lobby}")).await), (1, 0));
    assert_eq!(listed(format!("building_id={building}&state=SHADOW")).await, 1);
    let ended =
        server.send("DELETE", &format!("{path}?valid_to=2026-03-01T00:00:00Z"), &[], Body::empty()).await;
    assert_eq!((ended.status, ended.json()["valid_to"].as_str()), (200, Some("2026-03-01T00:00:00Z")));
    let again = server.send("DELETE", &path, &[], Body::empty()).await;
    assert_eq!((again.status, again.json()["code"].as_str()), (409, Some("no_location")));
    let history = server.get(&format!("/devices/{id}/history")).await.json();
    assert_eq!(history["locations"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_place_is_checked_as_a_whole() {
    let server = Server::start().await;
    let path = format!("/devices/{}/location", device(&server).await);
    let bad = json!({"room_id": "x", "area_id": "00000000-0000-0000-0000-000000000001", "valid_from": 7, "where": 1});
    let mut faults = server.with_json("PUT", &path, &bad).await.faults();
    faults.sort_unstable();
    let wanted = pairs([
        ("/area_id", "not_found"),
        ("/room_id", "bad_id"),
        ("/valid_from", "wrong_type"),
        ("/where", "unknown_property"),
    ]);
    assert_eq!(faults, wanted);
    assert_eq!(server.with_json("PUT", &path, &json!({})).await.faults(), pairs([("", "required")]));
    assert_eq!(server.get(&format!("{path}?as_of=now")).await.faults(), pairs([("?as_of", "bad_time")]));
}
