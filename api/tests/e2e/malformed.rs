//! Wrong input on every endpoint: the documented status, the body of the dialect, good neighbours stored, no panic,
//! and nothing left behind in the schema.

use std::io::Write as _;
use std::net::SocketAddr;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::server::{Launch, Server};

/// Whose words the answer is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Body {
    /// `{"error"}`, and `X-Influxdb-Error`.
    V1,
    /// `{"code", "message"}`, and `X-Platform-Error-Code`.
    V2,
    /// `{"error"}`, perhaps with `data`.
    V3,
    /// `application/problem+json`.
    Problem,
}

/// A request and what must be answered: the status, whose words, and a part of the text.
struct Case {
    method: &'static str,
    path: &'static str,
    headers: &'static [(&'static str, &'static str)],
    body: Vec<u8>,
    expected: (u16, Body, &'static str),
}

const fn case(
    method: &'static str,
    path: &'static str,
    body: Vec<u8>,
    expected: (u16, Body, &'static str),
) -> Case {
    Case { method, path, headers: &[], body, expected }
}

impl Case {
    const fn with(mut self, headers: &'static [(&'static str, &'static str)]) -> Self {
        self.headers = headers;
        self
    }
}

async fn check(server: &Server, cases: Vec<Case>) {
    let mut faults = Vec::new();
    for Case { method, path, headers, body, expected } in cases {
        let shown = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
        let mut request = server.request(method, path).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let Ok(answer) = request.send().await else {
            faults.push(format!("{method} {path} {shown:?}: no answer"));
            continue;
        };
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let text = answer.text().await.unwrap();
        let json: Value = serde_json::from_str(&text).unwrap_or_default();
        let kind = headers.get("content-type").map_or("", |kind| kind.to_str().unwrap());
        let shape = match expected.1 {
            Body::V1 => json["error"].is_string() && headers.contains_key("x-influxdb-error"),
            Body::V2 => json["code"].is_string() && json["message"].is_string(),
            Body::V3 => json["error"].is_string() && kind.starts_with("application/json"),
            Body::Problem => {
                json["status"] == status
                    && json["code"].is_string()
                    && json["detail"].is_string()
                    && kind == "application/problem+json"
            }
        };
        if status != expected.0 || !shape || !text.contains(expected.2) {
            faults.push(format!(
                "{method} {path} {shown:?}: expected {expected:?}, found {status} {kind} {text}"
            ));
        }
    }
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

const GZIP: &[(&str, &str)] = &[("content-encoding", "gzip")];
const V1: &str = "/write?db=one";
const V2: &str = "/api/v2/write?bucket=two";
const V3: &str = "/api/v3/write_lp?db=three&precision=ns";

/// Each line is wrong in its own way; none may leave a table or a column behind.
const BAD_LINES: [&str; 14] = [
    "stray_a",
    "stray_b,tag=x",
    "stray_c field=1 notatime",
    "stray_d,tag= field=1",
    "stray_e,tag field=1",
    "stray_f field=",
    "stray_g field=1.2.3",
    "stray_h field=\"open",
    "stray_i field=12x",
    "stray_j field=9223372036854775808i",
    ",tag=x field=1",
    "stray_k field=nan",
    "stray_l,a=1,a=2 field=1",
    "good,stray_tag= f=1 9",
];

/// What the lines of one database must have left: its tables, and the columns of `good`.
async fn check_schema(server: &Server, database: &str, rows: &[&str]) {
    let tables = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'iox'";
    assert_eq!(server.sql_csv(database, tables).await, [["good"]], "{database}");
    let columns = "SELECT column_name FROM information_schema.columns WHERE table_schema = 'iox' ORDER BY 1";
    assert_eq!(server.sql_csv(database, columns).await, [["f"], ["t"], ["time"]], "{database}");
    let found = server.sql_csv(database, "SELECT CAST(time AS BIGINT) AS ns FROM good ORDER BY ns").await;
    assert_eq!(found.concat(), rows, "{database}");
}

async fn check_alive(server: &Server) {
    assert_eq!(server.get("/health").send().await.unwrap().status(), 200);
    assert_eq!(server.get("/ready").send().await.unwrap().status(), 200);
    assert!(!server.log().contains("panicked at"), "{}", server.log());
    let metrics = server.get("/metrics").send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("busbar_body_bytes 0"), "all memory of bodies was given back");
}

async fn start(folder: &tempfile::TempDir) -> (Launch, Server) {
    let launch = Launch::new(&folder.path().join("data"))
        .flag("limits-v1-body-bytes", "64KiB")
        .flag("limits-v2-body-bytes", "64KiB")
        .flag("limits-v3-body-bytes", "64KiB");
    let server = launch.start().await;
    (launch, server)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_line_costs_no_neighbour_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let (launch, server) = start(&folder).await;
    for path in [V1, V2, V3, "/api/v3/write_lp?db=four&precision=ns"] {
        let answer = server.post(path, "good,t=a f=1.5 1").send().await.unwrap();
        assert_eq!(answer.status(), 204, "{path}");
    }
    for line in BAD_LINES {
        // An open string would take in what follows, so the bad line comes last.
        let body = || format!("good,t=a f=2.5 2\n{line}").into_bytes();
        let mut cases = vec![
            case("POST", V1, body(), (400, Body::V1, "partial write: unable to parse")),
            case("POST", V2, body(), (400, Body::V2, "unable to parse")),
            case("POST", V3, body(), (400, Body::V3, "partial write of line protocol occurred")),
        ];
        let all_or_nothing = "/api/v3/write_lp?db=four&precision=ns&accept_partial=false";
        cases.push(case(
            "POST",
            all_or_nothing,
            body(),
            (400, Body::V3, "parsing failed for write_lp endpoint"),
        ));
        check(&server, cases).await;
    }
    // A value of another type costs its line, with the column that only this line has.
    let conflict = || b"good,t=a f=3.5 3\ngood,t=a f=\"text\",stray_column=1 4\ngood,t=a f=5.5 5".to_vec();
    let time_ahead = || b"good,t=a f=6.5 6\ngood,t=a f=1,stray_column=1 9000000000000000000".to_vec();
    let name = || b"good,t=a f=7.5 7\ngood,t=a busbar_x=1 8".to_vec();
    let both = || b"good,t=a f=7.5 7\ngood,f=a t=1 8".to_vec();
    for body in [conflict(), time_ahead(), name(), both()] {
        check(
            &server,
            vec![
                case("POST", V1, body.clone(), (400, Body::V1, "partial write: ")),
                case("POST", V2, body.clone(), (422, Body::V2, "partial write: ")),
                case("POST", V3, body, (400, Body::V3, "partial write of line protocol occurred")),
            ],
        )
        .await;
    }
    let schemas = async |server: &Server| {
        check_schema(server, "one", &["1", "2", "3", "5", "6", "7"]).await;
        // A line that cannot be read costs the whole body here; one that does not fit costs itself.
        check_schema(server, "two", &["1", "3", "5", "6", "7"]).await;
        check_schema(server, "three", &["1", "2", "3", "5", "6", "7"]).await;
        check_schema(server, "four", &["1"]).await;
    };
    schemas(&server).await;
    check_alive(&server).await;
    server.stop().await;
    let server = launch.start().await;
    schemas(&server).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_request_to_write_has_its_status_and_its_words() {
    let folder = tempfile::tempdir().unwrap();
    let (_launch, server) = start(&folder).await;
    let good = || b"good f=1 1".to_vec();
    let large = || "good f=1 1\n".repeat(10_000).into_bytes();
    let bomb = || gzip(&vec![b'#'; 10 << 20]);
    let cut = || gzip(b"good f=1 1")[..12].to_vec();
    let latin = || b"good f=\"\xe9\"".to_vec();
    let (big, damaged, foreign) = (413, "error decoding gzip body", "unacceptable content-encoding");
    const ZSTD: &[(&str, &str)] = &[("content-encoding", "zstd")];
    check(
        &server,
        vec![
            case("POST", "/write", good(), (400, Body::V1, "database is required")),
            case("POST", "/write?db=_x", good(), (400, Body::V1, "")),
            case("POST", "/write?db=a/b/c", good(), (400, Body::V1, "")),
            case(
                "POST",
                "/write?db=d&precision=x",
                good(),
                (400, Body::V1, "invalid precision \\\"x\\\" (use n, u, ms, s, m or h)"),
            ),
            case("POST", V1, large(), (big, Body::V1, "Request Entity Too Large")),
            case("POST", V1, bomb(), (big, Body::V1, "Request Entity Too Large")).with(GZIP),
            case("POST", V1, good(), (400, Body::V1, damaged)).with(GZIP),
            case("POST", V1, cut(), (400, Body::V1, damaged)).with(GZIP),
            case("POST", V1, good(), (415, Body::V1, foreign)).with(ZSTD),
            case("GET", V1, Vec::new(), (405, Body::V1, "method not allowed")),
            case("POST", "/api/v2/write", good(), (400, Body::V2, "bucket is required")),
            case("POST", "/api/v2/write?bucket=d&precision=h", good(), (400, Body::V2, "invalid precision")),
            case("POST", V2, large(), (big, Body::V2, "max request size (65536 bytes) exceeded")),
            case("POST", V2, bomb(), (big, Body::V2, "max request size")).with(GZIP),
            case("POST", V2, cut(), (400, Body::V2, damaged)).with(GZIP),
            case("POST", V2, good(), (400, Body::V2, foreign)).with(ZSTD),
            case("DELETE", V2, Vec::new(), (405, Body::V2, "method not allowed")),
            case("GET", "/api/v2/nowhere", Vec::new(), (404, Body::V2, "path not found")),
            case("POST", "/api/v3/write_lp", good(), (400, Body::V3, "missing field `db`")),
            case(
                "POST",
                "/api/v3/write_lp?db=d&precision=week",
                good(),
                (400, Body::V3, "invalid precision"),
            ),
            case(
                "POST",
                "/api/v3/write_lp?db=d&accept_partial=perhaps",
                good(),
                (400, Body::V3, "accept_partial"),
            ),
            case("POST", V3, Vec::new(), (400, Body::V3, "incoming write was empty")),
            case("POST", V3, b"# only this".to_vec(), (400, Body::V3, "incoming write was empty")),
            case("POST", V3, latin(), (400, Body::V3, "body content is not valid utf8")),
            case("POST", V3, large(), (big, Body::V3, "max request size (65536 bytes) exceeded")),
            case("POST", V3, bomb(), (big, Body::V3, "max request size")).with(GZIP),
            case("POST", V3, cut(), (400, Body::V3, damaged)).with(GZIP),
            case("POST", V3, good(), (400, Body::V3, foreign)).with(ZSTD),
            case("PUT", V3, Vec::new(), (405, Body::V3, "method not allowed")),
        ],
    )
    .await;
    let databases: Value = server.get("/query?q=SHOW+DATABASES").send().await.unwrap().json().await.unwrap();
    let names = databases["results"][0]["series"][0]["values"].as_array().map_or(0, Vec::len);
    assert_eq!(names, 0, "no bad request made a database: {databases}");
    check_alive(&server).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_query_has_its_status_and_its_words() {
    let folder = tempfile::tempdir().unwrap();
    let (_launch, server) = start(&folder).await;
    server.write("d", "good f=1 1").await;
    const SQL: &str = "/api/v3/query_sql";
    let get = |path, part| case("GET", path, Vec::new(), (400, Body::V3, part));
    let post = |body: &str, part| case("POST", SQL, body.as_bytes().to_vec(), (400, Body::V3, part));
    check(
        &server,
        vec![
            get("/api/v3/query_sql", "missing field `db`"),
            get("/api/v3/query_sql?db=d", "missing field `q`"),
            get("/api/v3/query_sql?db=d&q=SELEC+1", ""),
            get("/api/v3/query_sql?db=d&q=SELECT+nothing+FROM+good", "nothing"),
            get("/api/v3/query_sql?db=d&q=SELECT+*+FROM+nowhere", "nowhere"),
            get("/api/v3/query_sql?db=d&q=DROP+TABLE+good", ""),
            get("/api/v3/query_sql?db=d&q=INSERT+INTO+good+VALUES+(1)", ""),
            get("/api/v3/query_sql?db=d&q=SELECT+1;SELECT+2", ""),
            get("/api/v3/query_sql?db=d&q=COPY+good+TO+'x.csv'", ""),
            get("/api/v3/query_sql?db=d&q=SELECT+1&format=xml", "invalid format"),
            get("/api/v3/query_sql?db=d&q=SELECT+1&params=1", "params is not a JSON object"),
            get("/api/v3/query_sql?db=d&q=%FF%FE", ""),
            case(
                "GET",
                "/api/v3/query_sql?db=x&q=SELECT+1",
                Vec::new(),
                (404, Body::V3, "database not found"),
            ),
            post("", "not a query as JSON"),
            post("{", "not a query as JSON"),
            post("[]", "missing field `db`"),
            post("{\"db\":\"d\"}", "missing field `q`"),
            post("{\"db\":1,\"q\":\"SELECT 1\"}", "not a query as JSON"),
            post("{\"db\":\"d\",\"q\":\"SELECT 1\",\"x\":1}", "unknown field `x`"),
            case("DELETE", SQL, Vec::new(), (405, Body::V3, "method not allowed")),
            case("GET", "/query", Vec::new(), (400, Body::V1, "missing required parameter \\\"q\\\"")),
            case("GET", "/query?q=SELECT+1", Vec::new(), (400, Body::V1, "error parsing query")),
            case("POST", "/query?q=DROP+DATABASE+d", Vec::new(), (400, Body::V1, "error parsing query")),
            case("PUT", "/query?q=SHOW+DATABASES", Vec::new(), (405, Body::V1, "method not allowed")),
        ],
    )
    .await;
    assert_eq!(server.count("d", "SELECT count(*) FROM good").await, 1);
    check_alive(&server).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_request_to_a_resource_is_a_problem() {
    let folder = tempfile::tempdir().unwrap();
    let (_launch, server) = start(&folder).await;
    const NOBODY: &str = "/api/v1/buildings/00000000-0000-4000-8000-000000000000";
    const JSON: &[(&str, &str)] = &[("content-type", "application/json")];
    const TEXT: &[(&str, &str)] = &[("content-type", "text/plain")];
    let problem = |method, path, body: &str, status| {
        case(method, path, body.as_bytes().to_vec(), (status, Body::Problem, "")).with(JSON)
    };
    let large = format!("{{\"name\":\"{}\"}}", "x".repeat(4 << 20));
    check(
        &server,
        vec![
            problem("POST", "/api/v1/buildings", "{", 400),
            problem("POST", "/api/v1/buildings", "[]", 400),
            problem("POST", "/api/v1/buildings", "{}", 400),
            problem("POST", "/api/v1/buildings", "{\"name\":1}", 400),
            problem("POST", "/api/v1/buildings", "{\"name\":\"x\",\"stray\":1}", 400),
            problem("POST", "/api/v1/buildings", "{\"name\":\"x\",\"id\":\"y\"}", 400),
            problem("POST", "/api/v1/buildings", "{\"name\":\"x\",\"latitude\":91,\"longitude\":0}", 400),
            problem("POST", "/api/v1/buildings", &large, 413),
            problem("POST", "/api/v1/buildings", "{\"name\":\"x\"}", 415).with(TEXT),
            problem("GET", "/api/v1/buildings?stray=1", "", 400),
            problem("GET", "/api/v1/buildings?limit=x", "", 400),
            problem("GET", "/api/v1/buildings?after=x", "", 400),
            problem("GET", "/api/v1/buildings/x", "", 404),
            problem("GET", "/api/v1/buildings/%FF", "", 400),
            problem("GET", NOBODY, "", 404),
            problem("DELETE", NOBODY, "", 404),
            problem("POST", "/api/v1/floors", "{\"name\":\"x\"}", 400),
            problem("POST", "/api/v1/devices", "{\"name\":\"x\"}", 400),
            problem("GET", "/api/v1/devices/by-external/mqtt/none", "", 404),
            problem("POST", "/api/v1/import/buildings?mode=x", "name\nx", 400),
            problem("POST", "/api/v1/import/buildings?name=none", "uid\nx", 400),
            problem("POST", "/api/v1/rules", "{", 400),
            problem("POST", "/api/v1/rules", "{}", 400),
            problem(
                "POST",
                "/api/v1/rules",
                "{\"name\":\"r\",\"database\":\"d\",\"table\":\"t\",\"when\":\"f >\"}",
                400,
            ),
            problem(
                "POST",
                "/api/v1/rules",
                "{\"name\":\"r\",\"database\":\"d\",\"table\":\"t\",\"when\":\"f > 1\",\"for\":\"soon\"}",
                400,
            ),
            problem(
                "POST",
                "/api/v1/rules",
                "{\"name\":\"r\",\"database\":\"d\",\"table\":\"t\",\"when\":\"f > 1\",\"stray\":1}",
                400,
            ),
            problem("POST", "/api/v1/rules", &large, 413),
            problem(
                "PUT",
                "/api/v1/rules/other",
                "{\"name\":\"r\",\"database\":\"d\",\"table\":\"t\",\"when\":\"f > 1\"}",
                400,
            ),
            problem("GET", "/api/v1/rules/none", "", 404),
            problem("GET", "/api/v1/rules/%FF", "", 400),
            problem("DELETE", "/api/v1/rules/none", "", 428),
            problem("GET", "/api/v1/alerts?limit=0", "", 400),
            problem("GET", "/api/v1/alerts?limit=x", "", 400),
            problem("GET", "/api/v1/alerts/history?stray=1", "", 400),
            problem("POST", "/api/v1/alerts", "", 405),
            problem("GET", "/api/v1/nowhere", "", 404),
            problem("POST", "/health", "", 405),
            problem("GET", "/nowhere", "", 404),
        ],
    )
    .await;
    let buildings = server.json("GET", "/api/v1/buildings", &Value::Null, 200).await;
    assert_eq!(buildings["items"].as_array().map(Vec::len), Some(0), "{buildings}");
    let rules = server.json("GET", "/api/v1/rules", &Value::Null, 200).await;
    assert_eq!(rules["items"].as_array().map(Vec::len), Some(0), "{rules}");
    check_alive(&server).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_reaches_a_client_that_is_still_sending() {
    let folder = tempfile::tempdir().unwrap();
    let (launch, server) = start(&folder).await;
    let large = || vec![b'#'; 8 << 20];
    check(
        &server,
        vec![
            case("POST", "/write?db=d&precision=x", large(), (400, Body::V1, "invalid precision")),
            case("POST", "/api/v2/write", large(), (400, Body::V2, "bucket is required")),
            case("POST", "/api/v3/write_lp", large(), (400, Body::V3, "missing field `db`")),
            case("POST", "/api/v3/nowhere", large(), (404, Body::V3, "path not found")),
            case("POST", "/health", large(), (405, Body::Problem, "")),
            case("POST", "/api/v1/buildings", large(), (413, Body::Problem, "")),
            case("POST", "/api/v1/import/buildings?mode=x", large(), (400, Body::Problem, "mode")),
        ],
    )
    .await;
    check_alive(&server).await;
    server.stop().await;
    let hash = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
    let server = launch.variable("BUSBAR_TOKENS", &format!("a={hash}")).start().await;
    check(
        &server,
        vec![
            case("POST", V1, large(), (401, Body::V1, "unable to parse authentication credentials")),
            case("POST", V2, large(), (401, Body::V2, "unauthorized access")),
            case("POST", V3, large(), (401, Body::V3, "the request was not authenticated")),
        ],
    )
    .await;
    server.stop().await;
}

/// Sends bytes to the MQTT listener, and reads until it closes.
async fn mqtt_bytes(addr: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    // The listener may close before it has read everything.
    drop(stream.write_all(bytes).await);
    drop(stream.shutdown().await);
    let mut answer = Vec::new();
    drop(stream.read_to_end(&mut answer).await);
    answer
}

/// A CONNECT of MQTT 3.1.1 with the client id `bad`.
const CONNECT: [u8; 17] = [0x10, 15, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 60, 0, 3, b'b', b'a', b'd'];

/// A PUBLISH with QoS 1 and packet id 1.
fn publish(topic: &str, payload: &[u8]) -> Vec<u8> {
    let length = 2 + topic.len() + 2 + payload.len();
    let mut packet = vec![0x32, u8::try_from(length).unwrap(), 0, u8::try_from(topic.len()).unwrap()];
    packet.extend(topic.as_bytes());
    packet.extend([0, 1]);
    packet.extend(payload);
    assert!(length < 128);
    packet
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_bytes_over_mqtt_harm_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let (_launch, server) = start(&folder).await;
    let after_connect: [&[u8]; 8] = [
        &[0, 0],
        &[0xf0, 0],
        &[0x30, 0xff, 0xff, 0xff, 0xff, 0x01],
        &[0x36, 5, 0, 1, b't', 0, 1],
        &[0x32, 5, 0, 1, b't', 0, 0],
        &[0x30, 3, 0, 9, b't'],
        &[0x30, 3, 0, 1, 0xff],
        &CONNECT,
    ];
    for bytes in after_connect {
        let answer = mqtt_bytes(server.mqtt(), &[&CONNECT[..], bytes].concat()).await;
        assert_eq!(answer, [0x20, 2, 0, 0], "CONNACK, then the end: {bytes:?}");
    }
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc], &[0x10, 0], &[0xff; 64]]
    {
        let answer = mqtt_bytes(server.mqtt(), bytes).await;
        assert!(!answer.starts_with(&[0x20, 2, 0, 0]), "{bytes:?} did not connect: {answer:?}");
    }
    // MQTT 3.1.1 cannot refuse a publish, so it is acknowledged; the good lines of it are stored.
    let acknowledged = [0x20, 2, 0, 0, 0x40, 2, 0, 1];
    for (topic, payload) in [
        ("busbar/d/lp", &b"good,t=a f=1.5 1\nstray_a\ngood,t=a f=2.5 2"[..]),
        ("busbar/d/lp", b"good,t=a f=\"text\",stray_column=1 3\ngood,t=a f=4.5 4"),
        ("busbar/d/lp", b"\xff\xfe\x00"),
        ("busbar/_bad/lp", b"stray_b f=1 1"),
        ("elsewhere", b"stray_c f=1 1"),
    ] {
        let answer = mqtt_bytes(server.mqtt(), &[&CONNECT[..], &publish(topic, payload)].concat()).await;
        assert_eq!(answer, acknowledged, "{topic} {payload:?}");
    }
    check_schema(&server, "d", &["1", "2", "4"]).await;
    check_alive(&server).await;
    server.stop().await;
}
