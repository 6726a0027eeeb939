//! Import of buildings from CSV.

use axum::body::Bytes;
use futures::stream;

use super::*;

/// 507 buildings, lines ended by CR alone.
const BDG: &[u8] = include_bytes!("../../../../../storage/tests/data/bdg/meta_open.csv");
const MAPPING: &str = "name=uid&external_id=uid&time_zone=timezone&default_source=bdg";

fn lines(answer: &Answer) -> Vec<Json> {
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/x-ndjson"), "{answer:?}");
    answer.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn count(lines: &[Json], status: &str) -> usize {
    lines.iter().filter(|line| line["status"] == status).count()
}

/// `bytes` as a body that comes in small pieces.
fn pieces(bytes: &'static [u8]) -> Body {
    let pieces = bytes.chunks(1_000).map(|piece| Ok::<Bytes, std::io::Error>(Bytes::from_static(piece)));
    Body::from_stream(stream::iter(pieces))
}

#[tokio::test]
async fn a_file_of_507_buildings_is_answered_line_by_line_and_is_in_the_registry() {
    let server = Server::start().await;
    let path = format!("/import/buildings?{MAPPING}");
    let dry = lines(&server.send("POST", &format!("{path}&dry_run=true"), &[], pieces(BDG)).await);
    assert_eq!((count(&dry, "created"), dry[0].get("id")), (507, None));
    assert_eq!(server.registry.newest_change().number(), 0);

    let made = lines(&server.send("POST", &path, &[("content-type", "text/csv")], pieces(BDG)).await);
    assert_eq!((made.len(), count(&made, "created")), (507, 507));
    let lea = server.get("/buildings?external_id=UnivLab_Lea&source=bdg").await.json();
    let line = made.iter().find(|line| line["id"] == lea["items"][0]["id"]).unwrap();
    let text = String::from_utf8(BDG.to_vec()).unwrap();
    let number = text.split('\r').position(|line| line.starts_with("UnivLab_Lea,")).unwrap() + 1;
    assert_eq!(line["line"], json!(number));
    assert_eq!(lea["items"][0]["time_zone"], "Europe/London");
    assert_eq!(lea["items"][0]["attributes"]["numberoffloors"], 6);

    let again = lines(&server.send("POST", &format!("{path}&mode=upsert"), &[], pieces(BDG)).await);
    assert_eq!(count(&again, "unchanged"), 507);
    let refused = lines(&server.send("POST", &path, &[], pieces(BDG)).await);
    assert_eq!(
        (count(&refused, "failed"), &refused[0]["errors"][0]["code"]),
        (507, &json!("already_exists"))
    );
}

#[tokio::test]
async fn a_bad_line_is_told_with_its_number_and_the_others_are_kept() {
    let server = Server::start().await;
    let file = "name,latitude,longitude\nA,1,2\nB,north,2\nC\nD,,\n";
    let found = lines(&server.send("POST", "/import/buildings", &[], file).await);
    let told: Vec<Json> = found
        .iter()
        .map(|line| json!([line["line"], line["status"], line["errors"][0]["pointer"]]))
        .collect();
    let wanted = [
        json!([2, "created", null]),
        json!([3, "failed", "/latitude"]),
        json!([4, "failed", ""]),
        json!([5, "created", null]),
    ];
    assert_eq!(told, wanted);
    assert_eq!(server.get("/buildings").await.json()["items"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn what_is_wrong_with_the_whole_file_has_a_status() {
    let server = Server::start().await;
    let faults =
        server.send("POST", "/import/buildings?mode=replace&dry_run=true", &[], "name\nA\n").await.faults();
    assert_eq!(faults, pairs([("?mode", "bad_value")]));
    let faults =
        server.send("POST", "/import/buildings?colour=name&city=town", &[], "name\nA\n").await.faults();
    assert_eq!(faults, pairs([("?colour", "unknown_parameter"), ("?city", "no_column")]));
    assert_eq!(server.send("POST", "/import/buildings", &[], "").await.faults(), pairs([("", "no_header")]));
    assert_eq!(lines(&server.send("POST", "/import/buildings", &[], "name\n").await).len(), 0);
}

#[tokio::test]
async fn a_body_that_breaks_off_ends_the_answer_with_the_problem_and_keeps_what_was_answered() {
    let server = Server::start().await;
    let rows: String = (0..1_000).map(|number| format!("B{number}\n")).collect();
    let parts =
        [Ok(Bytes::from(format!("name\n{rows}late\n"))), Err(std::io::Error::other("the line is cut"))];
    let answer = server.send("POST", "/import/buildings", &[], Body::from_stream(stream::iter(parts))).await;
    let found = lines(&answer);
    assert_eq!((found.len(), count(&found, "created")), (1_001, 1_000));
    assert_eq!(found[1_000]["code"], "broken_body");
    assert_eq!(server.get("/buildings?name=B999").await.json()["items"].as_array().unwrap().len(), 1);
    assert_eq!(server.get("/buildings?name=late").await.json()["items"].as_array().unwrap().len(), 0);
}
