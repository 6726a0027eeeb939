//! Import of buildings.

use serde_json::json;

use super::*;

/// 507 buildings, lines ended by CR alone; see the LICENSE beside it.
const BDG: &[u8] = include_bytes!("../../../tests/data/bdg/meta_open.csv");

fn options(columns: &[(&str, &str)]) -> ImportOptions {
    let columns = columns.iter().map(|(name, column)| ((*name).to_owned(), (*column).to_owned())).collect();
    ImportOptions { columns, ..ImportOptions::default() }
}

fn bdg() -> ImportOptions {
    let columns =
        [("external_id", "uid"), ("name", "uid"), ("time_zone", "timezone"), ("attr.area_m2", "sqm")];
    ImportOptions { source: Some("bdg".to_owned()), ..options(&columns) }
}

/// Imports `bytes` in pieces of `piece` bytes.
async fn import(
    fixture: &Fixture,
    options: &ImportOptions,
    bytes: &[u8],
    piece: usize,
) -> Result<Vec<LineResult>> {
    let mut import = BuildingImport::new(Arc::clone(&fixture.registry), options.clone());
    let mut results = Vec::new();
    for piece in bytes.chunks(piece) {
        results.extend(import.push(piece).await?);
    }
    results.extend(import.finish().await?);
    Ok(results)
}

/// Line number and the codes of its faults; `+`, `~` and `=` for created, updated and unchanged.
fn summary(results: &[LineResult]) -> Vec<(u64, String)> {
    let outcome = |outcome: &LineOutcome| match outcome {
        LineOutcome::Created(_) => "+".to_owned(),
        LineOutcome::Updated(_) => "~".to_owned(),
        LineOutcome::Unchanged(_) => "=".to_owned(),
        LineOutcome::Failed(faults) => faults.iter().map(|fault| fault.code).collect::<Vec<_>>().join(" "),
    };
    results.iter().map(|result| (result.line, outcome(&result.outcome))).collect()
}

fn count(results: &[LineResult], mark: &str) -> usize {
    summary(results).iter().filter(|(_, outcome)| outcome == mark).count()
}

#[tokio::test]
async fn the_building_data_genome_gives_507_buildings() {
    assert!(!BDG.contains(&b'\n'), "the file must keep its CR line ends");
    let fixture = Fixture::new().await;
    let results = import(&fixture, &bdg(), BDG, 4_096).await.unwrap();
    assert_eq!(count(&results, "+"), 507);
    assert_eq!(results.iter().map(|result| result.line).collect::<Vec<_>>(), (2..=508).collect::<Vec<_>>());
    let page = fixture.list::<Building>(&[("external_id", "UnivLab_Lea")]).await.unwrap();
    let [lea] = page.records.as_slice() else { panic!("{} rows", page.records.len()) };
    assert_eq!(lea.fields.name, "UnivLab_Lea");
    assert_eq!(lea.fields.source.as_deref(), Some("bdg"));
    assert_eq!(lea.fields.time_zone.as_deref(), Some("Europe/London"));
    assert_eq!(lea.fields.attributes["numberoffloors"], json!(6));
    assert_eq!(lea.fields.attributes["area_m2"], json!(1561));
    assert_eq!(lea.fields.attributes["sqft"], json!(16802.4479));
    assert_eq!(lea.fields.attributes["datastart"], json!("01/12/14 00:00"));
    assert!(!lea.fields.attributes.contains_key("occupants"), "an empty cell is no attribute");
    let page = fixture.list::<Building>(&[("attr.numberoffloors", "6"), ("limit", "1000")]).await.unwrap();
    let csv = String::from_utf8(BDG.to_vec()).unwrap();
    let six = csv.split('\r').filter(|line| line.split(',').nth(7) == Some("6")).count();
    assert_eq!(page.records.len(), six);
    assert_eq!(fixture.changes().await.len(), 507);
}

#[tokio::test]
async fn a_second_upsert_changes_nothing_and_a_second_create_is_refused_line_by_line() {
    let fixture = Fixture::new().await;
    import(&fixture, &bdg(), BDG, BDG.len()).await.unwrap();
    let upsert = ImportOptions { mode: ImportMode::Upsert, ..bdg() };
    let again = import(&fixture, &upsert, BDG, BDG.len()).await.unwrap();
    assert_eq!(count(&again, "="), 507);
    let refused = import(&fixture, &bdg(), BDG, BDG.len()).await.unwrap();
    assert_eq!(count(&refused, "already_exists"), 507);
    assert_eq!(fixture.changes().await.len(), 507);

    // What has no column stays; what has one is replaced; an empty cell takes away.
    let partial = b"uid,nickname,rating,numberoffloors\nUnivLab_Lea,Leah,B,\nNew_One,New,,7\n";
    let key = ImportOptions {
        mode: ImportMode::Upsert,
        source: Some("bdg".to_owned()),
        ..options(&[("external_id", "uid")])
    };
    let results = import(&fixture, &key, partial, 7).await.unwrap();
    assert_eq!(summary(&results), [(2, "~".to_owned()), (3, "required".to_owned())]);
    let page = fixture.list::<Building>(&[("external_id", "UnivLab_Lea")]).await.unwrap();
    let lea = &page.records[0];
    assert_eq!((lea.rev, lea.fields.name.as_str()), (Rev::new(2), "UnivLab_Lea"));
    assert_eq!(lea.fields.time_zone.as_deref(), Some("Europe/London"));
    assert_eq!(lea.fields.attributes["nickname"], json!("Leah"));
    assert_eq!(lea.fields.attributes["area_m2"], json!(1561));
    assert!(!lea.fields.attributes.contains_key("numberoffloors"));
}

#[tokio::test]
async fn a_dry_run_says_the_same_and_keeps_nothing() {
    let fixture = Fixture::new().await;
    let dry = ImportOptions { dry_run: true, ..bdg() };
    let results = import(&fixture, &dry, BDG, 1_000).await.unwrap();
    assert_eq!(count(&results, "+"), 507);
    assert!(results.iter().all(|result| result.outcome == LineOutcome::Created(None)));
    assert_eq!(fixture.list::<Building>(&[]).await.unwrap().records.len(), 0);
    assert_eq!(fixture.changes().await.len(), 0);
}

#[tokio::test]
async fn a_bad_line_costs_only_itself() {
    let file = b"external_id,name,latitude,longitude,time_zone\n\
        1,One,47.5,8.5,Europe/Zurich\n\
        2,,x,8.5,Europe/Nowhere\n\
        3,Three\n\
        4,Four \xff,,,\n\
        1,Again,,,\n\
        \n\
        5,\"Five, \"\"the\r\nbig\"\"\",,,\n\
        6,Six 6\",,,\n\
        7,\"never closed,,,\n\
        8,Eight,,,\n";
    let wanted = [
        (2, "+"),
        (3, "bad_value required unknown_time_zone"),
        (4, "wrong_columns"),
        (5, "bad_utf8"),
        (6, "duplicate"),
        (8, "control_character"),
        (10, "+"),
        (11, "unclosed_quote"),
        (12, "+"),
    ];
    for piece in [1, 2, 3, 7, 64, file.len()] {
        let fixture = Fixture::new().await;
        let results = import(&fixture, &options(&[]), file, piece).await.unwrap();
        let found = summary(&results);
        assert_eq!(found, wanted.map(|(line, outcome)| (line, outcome.to_owned())), "pieces of {piece}");
        let page = fixture.list::<Building>(&[]).await.unwrap();
        let names: Vec<&str> = page.records.iter().map(|record| record.fields.name.as_str()).collect();
        assert_eq!(names, ["One", "Six 6\"", "Eight"]);
    }
}

#[tokio::test]
async fn every_kind_of_line_end_gives_the_same_lines() {
    for end in ["\n", "\r\n", "\r"] {
        for last in ["", end] {
            let file = format!("\u{feff}name,city{end}A,Bern{end}{end}B,\"Ba{end}sel\"{end}C,Chur{last}");
            for piece in [1, 2, 5, 1_000] {
                let fixture = Fixture::new().await;
                let results = import(&fixture, &options(&[]), file.as_bytes(), piece).await.unwrap();
                let found = summary(&results);
                let wanted = [(2, "+"), (4, "control_character"), (6, "+")];
                assert_eq!(found, wanted.map(|(line, mark)| (line, mark.to_owned())), "{file:?} by {piece}");
            }
        }
    }
}

#[tokio::test]
async fn a_line_that_is_too_long_costs_only_itself() {
    let long = "x".repeat(MAX_LINE_BYTES + 1);
    let file = format!("name,note\nA,1\nB,{long}\nC,\"{long}\nD,2\n");
    for piece in [1_000, MAX_LINE_BYTES, file.len()] {
        let fixture = Fixture::new().await;
        let results = import(&fixture, &options(&[]), file.as_bytes(), piece).await.unwrap();
        let found = summary(&results);
        let wanted = [(2, "+"), (3, "too_long"), (4, "too_long"), (5, "+")];
        assert_eq!(found, wanted.map(|(line, mark)| (line, mark.to_owned())), "pieces of {piece}");
    }
}

#[tokio::test]
async fn a_header_that_does_not_fit_is_told_before_anything_is_kept() {
    let fixture = Fixture::new().await;
    let columns = [("name", "title"), ("colour", "b"), ("city", "a"), ("city", "b")];
    let mapping = ImportOptions { mode: ImportMode::Upsert, ..options(&columns) };
    let error = import(&fixture, &mapping, b"a,b,c,c\n1,2,3,4\n", 4).await.unwrap_err();
    let mut found = faults(error);
    found.sort_unstable();
    let wanted = [
        ("", "duplicate_column"),
        ("?city", "duplicate"),
        ("?colour", "unknown_parameter"),
        ("?external_id", "required"),
        ("?name", "no_column"),
    ];
    assert_eq!(found, wanted.map(|(pointer, code)| (pointer.to_owned(), code)));
    let error = import(&fixture, &options(&[]), b"", 1).await.unwrap_err();
    assert_eq!(faults(error), [(String::new(), "no_header")]);
}

#[tokio::test]
async fn texts_that_look_like_numbers_lose_nothing() {
    let fixture = Fixture::new().await;
    let file = b"name,a,b,c,d,e\nX,007,1.50,12.5,1e3,9007199254740993\nY,0,-0,-3,nan,+1\n";
    import(&fixture, &options(&[]), file, 9).await.unwrap();
    let page = fixture.list::<Building>(&[("sort", "name")]).await.unwrap();
    let attributes = |index: usize| serde_json::Value::Object(page.records[index].fields.attributes.clone());
    assert_eq!(
        attributes(0),
        json!({"a": "007", "b": "1.50", "c": 12.5, "d": "1e3", "e": "9007199254740993"})
    );
    assert_eq!(attributes(1), json!({"a": 0, "b": "-0", "c": -3, "d": "nan", "e": "+1"}));
}
