//! `loadgen replay` over HTTP.

use crate::run::{Run, loadgen, words};
use crate::server::{Engine, Fault};
use axum::http::StatusCode;
use std::path::PathBuf;
use std::sync::Arc;
use tempfile::TempDir;

/// Header of 4 names, rows of 5 values, as the R language writes its tables.
const ROOM: &str = "\"date\",\"Temperature\",\"CO2\",\"Note\"
\"1\",\"2015-02-04 17:51:00\",23.18,721.25,\"a\"
\"2\",\"2015-02-04 17:51:59\",23.15,714,\"b, c\"
\"3\",\"2015-02-04 17:53:00\",23.15,NA,\"d\"
\"4\",\"2015-02-04 17:54:00\",-0.5,708.25,\"e\"
";

struct Setup {
    engine: Arc<Engine>,
    url: String,
    folder: TempDir,
}

impl Setup {
    async fn new() -> Self {
        let engine = Arc::new(Engine::default());
        let url = engine.serve().await;
        Self { engine, url, folder: TempDir::new().unwrap() }
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    async fn replay(&self, text: &str, options: &str) -> Run {
        let mut args = words("replay");
        args.push(self.file("room.csv", text).display().to_string());
        args.extend(words(&format!("--url {} {options}", self.url)));
        loadgen(args).await
    }

    fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&std::fs::read(self.folder.path().join("out.json")).unwrap()).unwrap()
    }

    fn json_option(&self) -> String {
        format!("--json {}", self.folder.path().join("out.json").display())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn numeric_columns_become_float_fields_and_the_row_number_is_left_out() {
    let setup = Setup::new().await;
    let run = setup.replay(ROOM, "--db office --tag room=r1").await;
    run.expect(0, &["rows expected 4, found 4, double 0: equal", "result         ok"]);
    let table = setup.engine.table("room");
    assert_eq!(table.len(), 4);
    let ((time, tags), fields) = table.first_key_value().unwrap();
    assert_eq!(*time, 1_423_072_260_000_000_000);
    assert_eq!(tags, &[("room".to_owned(), "r1".to_owned())]);
    assert_eq!(fields.len(), 2, "the text column is no field: {fields:?}");
    assert_eq!(fields["Temperature"], "23.18");
    assert_eq!(setup.engine.requests.lock().unwrap()[0].uri, "/write?db=office&precision=ns");
}

#[tokio::test(flavor = "multi_thread")]
async fn line_ends_may_be_cr_alone_or_crlf() {
    for (end, name) in [("\r", "cr"), ("\r\n", "crlf")] {
        let setup = Setup::new().await;
        let options = format!("--table {name}");
        setup.replay(&ROOM.replace('\n', end), &options).await.expect(0, &["found 4"]);
        assert_eq!(setup.engine.table(name).len(), 4, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_tags_and_times_are_mapped_as_told() {
    let setup = Setup::new().await;
    let text = "ts;raum;wert;an;wer;leer\n1422886740123;a b;7;TRUE;x=\"1\";\n1422886740124;;8;f;;\n";
    let options = "--delimiter ; --time-column ts --time-format ms --tag-column room=raum \
         --field n=wert:integer --field on=an:boolean --field wer:string --field leer";
    setup.replay(text, options).await.expect(0, &["rows expected 2, found 2"]);
    let table = setup.engine.table("room");
    let rows: Vec<_> = table.iter().collect();
    assert_eq!(rows[0].0.0, 1_422_886_740_123_000_000);
    assert_eq!(rows[0].0.1, [("room".to_owned(), "a b".to_owned())]);
    assert_eq!(format!("{:?}", rows[0].1), r#"{"n": "7", "on": "1", "wer": "'x=\"1\"'"}"#);
    assert_eq!(rows[1].0.1, [], "an empty tag is none");
    assert_eq!(format!("{:?}", rows[1].1), r#"{"n": "8", "on": "0"}"#);
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_points_are_one_row_and_the_later_value_wins_over_any_number_of_connections() {
    let setup = Setup::new().await;
    let mut text = "time,a,b\n".to_owned();
    for round in 0..20 {
        for minute in 0..30 {
            let b = if round < 10 { format!("{}", round * 100 + minute) } else { String::new() };
            text.push_str(&format!("2015-02-02T14:{minute:02}:00Z,{},{b}\n", round * 1_000 + minute));
        }
    }
    let run = setup.replay(&text, "--connections 4 --batch 7").await;
    run.expect(0, &["600 of 600 rows", "rows expected 30, found 30, double 0: equal"]);
    let table = setup.engine.table("room");
    assert!(table.values().enumerate().all(|(minute, row)| {
        row["a"] == format!("{:?}", 19_000.0 + minute as f64)
            && row["b"] == format!("{:?}", 900.0 + minute as f64)
    }));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_files_make_one_table_or_two() {
    let setup = Setup::new().await;
    let a = setup.file("a.csv", "time,x\n2015-02-02 14:19:00,1\n").display().to_string();
    let b = setup.file("b.csv", "time,x,y\n2015-02-02 14:20:00,2,3\n").display().to_string();
    let common = words(&format!("--url {}", setup.url));
    let args =
        |extra: &str| [words("replay"), vec![a.clone(), b.clone()], common.clone(), words(extra)].concat();
    loadgen(args("")).await.expect(0, &["table a: rows expected 1", "table b: rows expected 1"]);
    loadgen(args("--table both")).await.expect(0, &["table both: rows expected 2, found 2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_double_and_altered_rows_are_named_and_end_with_1() {
    let check = async |fault, said: &[&str]| {
        let setup = Setup::new().await;
        setup.engine.faults.lock().unwrap().push(fault);
        setup.replay(ROOM, "").await.expect(1, said).expect(1, &["DIFFERENT", "NOT OK"]);
    };
    check(Fault::Lose(1), &["found 3", "missing: 2015-02-04T17:51:59.000000000Z"]).await;
    check(Fault::Repeat(2), &["found 5, double 1", "double: 2015-02-04T17:53:00.000000000Z"]).await;
    check(Fault::Alter(3, "Temperature"), &["found 4, double 0", "Temperature"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_row_beside_a_double_one_is_found_though_the_count_is_right() {
    let setup = Setup::new().await;
    setup.engine.faults.lock().unwrap().extend([Fault::Lose(0), Fault::Repeat(3)]);
    let said = ["found 4, double 1", "missing: 2015-02-04T17:51:00", "double: 2015-02-04T17:54:00"];
    setup.replay(ROOM, "").await.expect(1, &said);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_server_is_tried_again_until_it_takes_the_batch() {
    let setup = Setup::new().await;
    setup.engine.refusals.lock().unwrap().extend([
        (StatusCode::TOO_MANY_REQUESTS, Some("0")),
        (StatusCode::SERVICE_UNAVAILABLE, Some("0")),
        (StatusCode::INTERNAL_SERVER_ERROR, None),
    ]);
    setup.replay(ROOM, &setup.json_option()).await.expect(0, &["retries 3", "found 4"]);
    let json = setup.json();
    assert_eq!(json["ok"], true);
    assert_eq!(json["retries"], 3);
    assert_eq!(json["acknowledged_rows"], 4);
    assert_eq!(json["verdict"]["tables"][0]["rows_found"], 4);
    assert_eq!(setup.engine.requests.lock().unwrap().len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_batch_is_not_tried_again_and_ends_with_1() {
    let setup = Setup::new().await;
    setup.engine.refusals.lock().unwrap().push_back((StatusCode::BAD_REQUEST, None));
    let run = setup.replay(ROOM, "--batch 2").await;
    run.expect(1, &["refused 2 rows", "told to refuse", "found 2", "missing: 2015-02-04T17:51:00"]);
    assert_eq!(setup.engine.requests.lock().unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_there_ends_the_run_with_1() {
    let setup = Setup::new().await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let file = setup.file("room.csv", ROOM).display().to_string();
    let args = [words("replay"), vec![file], words(&format!("--url {nobody} --retry-for 200ms"))].concat();
    loadgen(args).await.expect(1, &["given up 4 rows", "read-back      FAILED"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_endpoint_gets_its_parameters_token_and_encoding() {
    let check = async |options: &str, uri: &str, authorization: &str| {
        let setup = Setup::new().await;
        let run =
            setup.replay(ROOM, &format!("{options} --db d/x --token s3cret")).await.expect(0, &["found 4"]);
        assert!(!run.out.contains("s3cret") && !run.err.contains("s3cret"));
        let requests = setup.engine.requests.lock().unwrap();
        assert_eq!(requests[0].uri, uri);
        assert_eq!(requests[0].authorization.as_deref(), Some(authorization));
        assert_eq!(requests[0].lines, 4);
    };
    check("--api v1", "/write?db=d%2Fx&precision=ns", "Token s3cret").await;
    check("--api v2 --org o", "/api/v2/write?org=o&bucket=d%2Fx&precision=ns", "Token s3cret").await;
    check("--api v3 --gzip", "/api/v3/write_lp?db=d%2Fx&precision=nanosecond", "Bearer s3cret").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_speed_the_rows_go_in_the_order_of_time_and_far_ones_apart() {
    let setup = Setup::new().await;
    let text = "time,x\n2015-02-02 14:20:00,2\n2015-02-02 14:19:00,1\n2015-02-02 14:19:00.5,3\n";
    // A minute passes in 3 ms, yet rows more than a second apart would not travel together: here all do.
    setup.replay(text, "--speed 20000").await.expect(0, &["3 of 3 rows in 1 batches", "found 3"]);
    // At 40 times a minute takes 1.5 s: two batches, the later row in the second.
    setup.replay(text, "--speed 40").await.expect(0, &["3 of 3 rows in 2 batches", "found 3"]);
    let lines: Vec<_> = setup.engine.requests.lock().unwrap().iter().map(|request| request.lines).collect();
    assert_eq!(lines, [3, 2, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_and_bad_options_say_what_to_do_and_end_with_2() {
    let check = async |text: &str, options: &str, said: &str| {
        let setup = Setup::new().await;
        setup.replay(text, options).await.expect(2, &[said]);
        assert!(setup.engine.requests.lock().unwrap().is_empty(), "nothing was sent");
    };
    check("time,x\nyesterday,1\n", "", "line 2: the time \"yesterday\" is not understood").await;
    check("when,x\n2015-02-02 14:19:00,1\n", "", "--time-column; there are when, x").await;
    check("time,x\n2015-02-02 14:19:00,1\n", "--field y", "no column \"y\"; there are time, x").await;
    check("time,x\n2015-02-02 14:19:00,a\n", "", "no column holds only numbers").await;
    check("time,x\n2015-02-02 14:19:00,a\n", "--field x:integer", "\"a\" is no integer").await;
    check("time,x\n2015-02-02 14:19:00,1\n2015-02-02 14:19:00\n", "", "line 3: the row has 1 values").await;
    check("time,x\n", "", "no rows below its header").await;
    check("time,x,n\n2015-02-02 14:19:00,1,\n", "--field n", "has no rows with values").await;
    check(ROOM, "--speed 0", "--speed must be above 0").await;
    check(ROOM, "--gzip --mqtt 127.0.0.1:1", "--gzip is for HTTP").await;
    check(ROOM, "--connections 0", "whole number from 1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn help_teaches_by_examples() {
    for command in ["", "replay", "fleet", "webhook"] {
        loadgen(words(&format!("{command} --help"))).await.expect(0, &["Examples:", "loadgen "]);
    }
}
