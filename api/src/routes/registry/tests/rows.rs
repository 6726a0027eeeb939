//! Rows: making, reading, changing, deleting, listing; conditions and repeats.

use super::*;

#[tokio::test]
async fn a_building_comes_back_as_it_was_sent() {
    let server = Server::start().await;
    let sent = json!({
        "name": "Haus Zürich", "source": "city", "external_id": "Z/1",
        "address": {"street": "Langstrasse 1", "city": "Zürich", "country": "CH"},
        "latitude": 47.3769, "longitude": 8.5417, "time_zone": "Europe/Zurich",
        "attributes": {"storeys": 3, "tags": ["site", {"deep": null}]},
    });
    let made = server.with_json("POST", "/buildings", &sent).await;
    assert_eq!((made.status, made.header("etag")), (201, "\"1\""));
    assert_eq!(made.header("location"), format!("/api/v1/buildings/{}", made.id()));
    let read = server.get(&format!("/buildings/{}", made.id())).await;
    assert_eq!((read.status, read.json()), (200, made.json()));
    let view = read.json();
    for (name, value) in sent.as_object().unwrap() {
        assert_eq!(&view[name], value, "{name}");
    }
    assert!(view["created_at"].as_str().unwrap().ends_with('Z'));
}

#[tokio::test]
async fn all_faults_of_a_body_come_at_once_with_their_pointers() {
    let server = Server::start().await;
    let bad = json!({
        "nmae": "A", "id": "x", "rev": 7, "latitude": "north", "time_zone": "Mars/Olympus",
        "address": {"street": 1, "country": "germany", "planet/moon": "x"}, "attributes": [],
    });
    let mut faults = server.with_json("POST", "/buildings", &bad).await.faults();
    faults.sort_unstable();
    let wanted = pairs([
        ("/address/country", "bad_country"),
        ("/address/planet~1moon", "unknown_property"),
        ("/address/street", "wrong_type"),
        ("/attributes", "wrong_type"),
        ("/id", "read_only"),
        ("/latitude", "wrong_type"),
        ("/name", "required"),
        ("/nmae", "unknown_property"),
        ("/rev", "read_only"),
        ("/time_zone", "unknown_time_zone"),
    ]);
    assert_eq!(faults, wanted);

    let orphan = json!({"floor_id": "00000000-0000-0000-0000-000000000007", "name": "", "size": 1});
    let mut faults = server.with_json("POST", "/rooms", &orphan).await.faults();
    faults.sort_unstable();
    assert_eq!(
        faults,
        pairs([("/floor_id", "not_found"), ("/name", "required"), ("/size", "unknown_property")])
    );
    let faults = server.with_json("POST", "/floors", &json!({"name": "A"})).await.faults();
    assert_eq!(faults, pairs([("/building_id", "required")]));
}

#[tokio::test]
async fn a_body_that_is_not_json_is_told_apart() {
    let server = Server::start().await;
    let json_type = ("content-type", "application/json");
    for (body, fault) in
        [("", "bad_json"), ("{\"name\":", "bad_json"), ("[1]", "wrong_type"), ("7", "wrong_type")]
    {
        let answer = server.send("POST", "/buildings", &[json_type], body).await;
        let faults = answer.faults();
        assert!(faults.contains(&(String::new(), fault.to_owned())), "{body}: {faults:?}");
    }
    let answer = server.send("POST", "/buildings", &[("content-type", "text/plain")], "{}").await;
    assert_eq!((answer.status, answer.json()["code"].as_str()), (415, Some("not_json")));
    let long = json!({"name": "x".repeat(200_000)}).to_string();
    let answer = server.send("POST", "/buildings", &[json_type], long).await;
    assert_eq!((answer.status, answer.json()["code"].as_str()), (413, Some("too_large")));
}

#[tokio::test]
async fn a_merge_patch_changes_what_it_names_and_keeps_the_rest() {
    let server = Server::start().await;
    let made = json!({
        "name": "A", "time_zone": "Europe/Zurich", "address": {"city": "Bern", "country": "CH"},
        "attributes": {"a": 1, "b": {"c": 2, "d": 3}, "gone": true},
    });
    let path = format!("/buildings/{}", server.make("/buildings", made).await);
    let patch = json!({"address": {"city": null, "street": "X 1"}, "time_zone": null,
        "attributes": {"b": {"c": 9}, "gone": null, "new": [1]}});
    let merge = ("content-type", "application/merge-patch+json");
    let answer = server.send("PATCH", &path, &[merge], patch.to_string()).await;
    assert_eq!((answer.status, answer.header("etag")), (200, "\"2\""));
    let view = answer.json();
    assert_eq!(view["address"], json!({"street": "X 1", "country": "CH"}));
    assert_eq!(view["attributes"], json!({"a": 1, "b": {"c": 9, "d": 3}, "new": [1]}));
    assert_eq!((view["name"].as_str(), view.get("time_zone")), (Some("A"), None));

    // The same again changes nothing, so the revision stays.
    let same = server.send("PATCH", &path, &[merge], patch.to_string()).await;
    assert_eq!((same.status, same.header("etag")), (200, "\"2\""));
    let faults = server.with_json("PATCH", &path, &json!({"name": null, "colour": "red"})).await.faults();
    assert_eq!(faults, pairs([("/colour", "unknown_property"), ("/name", "required")]));
}

#[tokio::test]
async fn conditions_protect_a_row_from_blind_changes() {
    let server = Server::start().await;
    let path = format!("/buildings/{}", server.make("/buildings", json!({"name": "A"})).await);
    let body = json!({"name": "B"}).to_string();
    let json_type = ("content-type", "application/json");
    let changed = server.send("PUT", &path, &[json_type, ("if-match", "\"9\", \"1\"")], body.clone()).await;
    assert_eq!((changed.status, changed.header("etag")), (200, "\"2\""));
    for (method, tag) in [("PUT", "\"1\""), ("PATCH", "W/\"2\""), ("DELETE", "\"x\""), ("PUT", "2")] {
        let answer = server.send(method, &path, &[json_type, ("if-match", tag)], body.clone()).await;
        let problem = answer.json();
        assert_eq!((answer.status, problem["current_rev"].as_i64()), (412, Some(2)), "{method} {tag}");
    }
    let answer = server.send("PUT", &path, &[json_type, ("if-none-match", "*")], body).await;
    assert_eq!(answer.status, 412);

    for (tag, status) in [("\"2\"", 304), ("W/\"2\"", 304), ("*", 304), ("\"1\", \"2\"", 304), ("\"1\"", 200)]
    {
        let answer = server.send("GET", &path, &[("if-none-match", tag)], Body::empty()).await;
        assert_eq!((answer.status, answer.header("etag")), (status, "\"2\""), "{tag}");
        assert_eq!(answer.text.is_empty(), status == 304);
    }
    let gone = server.send("DELETE", &path, &[("if-match", "\"2\"")], Body::empty()).await;
    assert_eq!((gone.status, gone.text.as_str()), (204, ""));
}

#[tokio::test]
async fn a_put_makes_a_row_with_the_clients_id() {
    let server = Server::start().await;
    let path = "/buildings/0198c0de-0000-7000-8000-000000000001";
    let made = server.with_json("PUT", path, &json!({"name": "A"})).await;
    assert_eq!((made.status, made.header("location")), (201, format!("/api/v1{path}").as_str()));
    let changed = server.with_json("PUT", path, &json!({"name": "B"})).await;
    assert_eq!((changed.status, changed.header("etag")), (200, "\"2\""));
    let faults = server.with_json("PUT", "/buildings/mine", &json!({"name": "A"})).await.faults();
    assert_eq!(faults, pairs([("", "bad_id")]));
    let missing = server
        .send(
            "PUT",
            "/buildings/0198c0de-0000-7000-8000-000000000002",
            &[("if-match", "*")],
            "{\"name\":\"A\"}",
        )
        .await;
    assert_eq!((missing.status, &missing.json()["current_rev"]), (412, &Json::Null));
}

#[tokio::test]
async fn a_deleted_row_is_hidden_and_a_parent_names_its_children() {
    let server = Server::start().await;
    let [building, floor, area, room] = server.house().await;
    let path = format!("/buildings/{building}");
    let refused = server.send("DELETE", &path, &[], Body::empty()).await;
    assert_eq!((refused.status, refused.json()["code"].as_str()), (409, Some("has_children")));
    assert_eq!(refused.json()["children"], json!({"rooms": 1, "areas": 1, "floors": 1}));
    let done = server.send("DELETE", &format!("{path}?cascade=true"), &[], Body::empty()).await;
    assert_eq!(done.status, 204);
    for path in [path.clone(), format!("/floors/{floor}"), format!("/areas/{area}"), format!("/rooms/{room}")]
    {
        assert_eq!(server.get(&path).await.status, 404, "{path}");
        let hidden = server.get(&format!("{path}?deleted=include")).await.json();
        assert!(hidden["deleted_at"].is_string(), "{path}");
    }
    assert_eq!(server.get("/rooms").await.json(), json!({"items": [], "next": null}));
    assert_eq!(server.get("/buildings/nonsense").await.status, 404);
    let again = server.with_json("PUT", &path, &json!({"name": "A"})).await;
    assert_eq!((again.status, again.json()["code"].as_str()), (409, Some("deleted")));
}

#[tokio::test]
async fn a_client_reads_a_list_to_its_end_by_link_or_cursor() {
    let server = Server::start().await;
    for number in 0..7 {
        server
            .make(
                "/buildings",
                json!({"name": format!("B {number}"), "attributes": {"odd": number % 2 == 1}}),
            )
            .await;
    }
    let mut path = "/buildings?limit=2&sort=name&attr.odd=false".to_owned();
    let mut names = Vec::new();
    loop {
        let answer = server.get(&path).await;
        let page = answer.json();
        names.extend(
            page["items"].as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap().to_owned()),
        );
        let Some(cursor) = page["next"].as_str() else { break };
        let link = answer.header("link").to_owned();
        let next = link.strip_prefix("</api/v1").unwrap().strip_suffix(">; rel=\"next\"").unwrap();
        assert!(next.ends_with(&format!("&cursor={cursor}")), "{link}");
        path = next.to_owned();
    }
    assert_eq!(names, ["B 0", "B 2", "B 4", "B 6"]);
    let faults = server.get("/buildings?limit=0&colour=red").await.faults();
    assert_eq!(faults, pairs([("?limit", "out_of_range"), ("?colour", "unknown_parameter")]));
    let other = path.replace("sort=name", "sort=id");
    assert_eq!(server.get(&other).await.faults(), pairs([("?cursor", "changed_filters")]));
}

#[tokio::test]
async fn unknown_parameters_are_refused_everywhere() {
    let server = Server::start().await;
    let [building, ..] = server.house().await;
    let one = format!("/buildings/{building}?colour=red");
    for (method, path) in [
        ("GET", one.as_str()),
        ("PUT", &one),
        ("PATCH", &one),
        ("DELETE", &one),
        ("POST", "/buildings?colour=red"),
        ("GET", "/changes?colour=red"),
    ] {
        let answer = server.with_json(method, path, &json!({"name": "A"})).await;
        assert_eq!(answer.faults(), pairs([("?colour", "unknown_parameter")]), "{method} {path}");
    }
    assert_eq!(server.get(&format!("/buildings/{building}")).await.header("etag"), "\"1\"");
}

#[tokio::test]
async fn a_repeated_post_with_its_key_gets_the_first_answer_and_makes_nothing() {
    let server = Server::start().await;
    let headers = [("content-type", "application/json"), ("idempotency-key", "k-1")];
    let body = json!({"name": "A"}).to_string();
    let first = server.send("POST", "/buildings", &headers, body.clone()).await;
    let again = server.send("POST", "/buildings", &headers, body.clone()).await;
    assert_eq!((again.status, &again.text), (201, &first.text));
    assert_eq!((first.header("idempotency-replayed"), again.header("idempotency-replayed")), ("", "true"));
    for name in ["etag", "location"] {
        assert_eq!(first.header(name), again.header(name));
    }
    assert_eq!(server.get("/buildings").await.json()["items"].as_array().unwrap().len(), 1);
    let other = server.send("POST", "/buildings", &headers, json!({"name": "B"}).to_string()).await;
    assert_eq!((other.status, other.json()["code"].as_str()), (422, Some("idempotency_key_reused")));
    let elsewhere = server.send("POST", "/devices", &headers, body).await;
    assert_eq!(elsewhere.status, 422);
    // A failure is not kept: the corrected request may use the key.
    let headers = [("idempotency-key", "k-2")];
    assert_eq!(server.send("POST", "/buildings", &headers, "{}").await.status, 400);
    assert_eq!(server.send("POST", "/buildings", &headers, "{\"name\":\"C\"}").await.status, 201);
}

#[tokio::test]
async fn changes_come_in_order_and_a_waiting_follower_gets_the_next_one() {
    let server = Server::start().await;
    let building = server.make("/buildings", json!({"name": "A"})).await;
    server.with_json("PATCH", &format!("/buildings/{building}"), &json!({"name": "B"})).await;
    let page = server.get("/changes").await.json();
    let told: Vec<Json> = page["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|change| json!([change["seq"], change["entity"], change["id"], change["rev"], change["op"]]))
        .collect();
    assert_eq!(
        told,
        [json!([1, "building", building, 1, "create"]), json!([2, "building", building, 2, "update"])]
    );
    assert_eq!((&page["items"][1]["fields"], &page["after"]), (&json!(["name"]), &json!(2)));

    let follower = server.get("/changes?after=2&wait=30");
    let writer = server.make("/buildings", json!({"name": "C"}));
    let (page, made) = tokio::join!(follower, writer);
    assert_eq!(page.json()["items"][0]["id"].as_str(), Some(made.as_str()));
    let faults = server.get("/changes?after=-1&limit=0&wait=31").await.faults();
    assert_eq!(
        faults,
        ["?after", "?limit", "?wait"].map(|name| (name.to_owned(), "out_of_range".to_owned()))
    );
}
