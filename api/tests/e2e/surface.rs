//! What an operator and a client see of the program: probes, configuration, tokens, stop, registry, rules.

use rumqttc::{AsyncClient, ConnectReturnCode, ConnectionError, Event, MqttOptions, Packet, QoS};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::server::{Launch, Server, program};

fn launch() -> (Launch, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    (Launch::new(&folder.path().join("data")), folder)
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_and_metrics_answer() {
    let (launch, _folder) = launch();
    let server = launch.start().await;
    let health: Value = server.get("/health").send().await.unwrap().json().await.unwrap();
    assert_eq!((&health["name"], &health["status"]), (&json!("busbar"), &json!("pass")));
    assert!(health["message"].is_string() && health["version"].is_string());
    let ping = server.get("/ping").send().await.unwrap();
    assert_eq!(ping.status(), 204);
    assert!(ping.headers().contains_key("x-influxdb-version"));
    let ready: Value = server.get("/ready").send().await.unwrap().json().await.unwrap();
    assert_eq!(ready, json!({ "status": "ready", "reasons": [] }));
    server.write("d", "m f=1 1\nm f=2 2").await;
    let metrics = server.get("/metrics").send().await.unwrap().text().await.unwrap();
    for line in ["tsdb_points_written_total{protocol=\"v1\"} 2", "busbar_build_info{version="] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
    let output = program(&["health", "--url", &format!("http://{}", server.http())]).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    server.stop().await;
}

#[test]
fn flags_variables_and_file_agree() {
    let (launch, _folder) = launch();
    let launch = launch.without("http-addr").without("mqtt-addr").without("logging-format");
    let print = |launch: Launch| {
        let output = launch.command(&["config", "print"]).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let by_flag = print(
        launch
            .clone()
            .flag("http-addr", "127.0.0.1:9")
            .flag("flush-age", "7s")
            .flag("flush-bytes", "1MiB")
            .flag("log-segment-bytes", "1MiB")
            .flag("query-concurrency", "3")
            .flag("write-create-on-write", "false"),
    );
    let by_variable = print(
        launch
            .clone()
            .variable("BUSBAR_HTTP_ADDR", "127.0.0.1:9")
            .variable("BUSBAR_FLUSH_AGE", "7s")
            .variable("BUSBAR_FLUSH_BYTES", "1MiB")
            .variable("BUSBAR_LOG_SEGMENT_BYTES", "1MiB")
            .variable("BUSBAR_QUERY_CONCURRENCY", "3")
            .variable("BUSBAR_WRITE_CREATE_ON_WRITE", "false"),
    );
    let file = "http.addr = \"127.0.0.1:9\"\nflush = { age = \"7s\", bytes = \"1MiB\" }\nquery.concurrency = 3\n\
                log.segment_bytes = \"1MiB\"\nwrite.create_on_write = false\n";
    let by_file = launch.clone().config(file);
    assert_ne!(by_flag, print(launch.clone()));
    assert_eq!((&by_variable, &print(by_file.clone())), (&by_flag, &by_flag));
    // A flag wins over a variable, a variable over the file.
    let mixed = by_file.variable("BUSBAR_QUERY_CONCURRENCY", "4").variable("BUSBAR_FLUSH_AGE", "8s");
    let mixed = print(mixed.flag("query-concurrency", "5"));
    assert!(mixed.contains("concurrency = 5") && mixed.contains("age = \"8s\""), "{mixed}");
    let check = |launch: Launch| launch.command(&["config", "check"]).output().unwrap();
    assert_eq!(check(launch.clone()).status.code(), Some(0));
    let wrong = check(launch.variable("BUSBAR_FLUSH_AGE", "soon"));
    assert_eq!(wrong.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("BUSBAR_FLUSH_AGE"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_lets_a_request_end_and_exits_with_0() {
    let (launch, _folder) = launch();
    let mut server = launch.start().await;
    let mut stream = TcpStream::connect(server.http()).await.unwrap();
    stream.write_all(b"POST /write?db=d HTTP/1.1\r\nHost: x\r\nContent-Length: 7\r\n\r\nm f").await.unwrap();
    loop {
        let metrics = server.get("/metrics").send().await.unwrap().text().await.unwrap();
        // Memory for the body is reserved once the request is being read.
        if metrics.lines().any(|line| line.starts_with("busbar_body_bytes ") && !line.ends_with(" 0")) {
            break;
        }
    }
    server.begin_stop().await;
    stream.write_all(b"=1 1").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 204"), "{answer}");
    let ended = server.ended().await;
    assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
    let server = launch.start().await;
    assert_eq!(server.count("d", "SELECT count(*) FROM m").await, 1);
    assert_eq!(server.count("d", "SELECT sum(rows) FROM system.files").await, 1, "the stop flushed");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_number_bounds_the_memory_of_every_part() {
    let (launch, _folder) = launch();
    let server = launch.flag("memory-max-bytes", "512MiB").start().await;
    server.write("d", "m f=1 1").await;
    let parts = server.sql("d", "SELECT part, limit_bytes FROM system.memory ORDER BY part").await;
    let names: Vec<_> = parts.iter().map(|row| row["part"].as_str().unwrap()).collect();
    let expected =
        ["bodies", "compaction", "flush", "last_values", "memtables", "queries", "queue", "series"];
    assert_eq!(names, expected);
    let bounded = parts.iter().filter(|row| row["part"] != "queue");
    let sum: u64 = bounded.map(|row| row["limit_bytes"].as_u64().unwrap()).sum();
    assert!((400 << 20..=512 << 20).contains(&sum), "{sum} of 512 MiB");
    server.stop().await;
}

async fn made(server: &Server, what: &str, body: Value) -> String {
    let view = server.json("POST", &format!("/api/v1/{what}"), &body, 201).await;
    view["id"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn telemetry_joins_with_the_place_of_its_device_at_its_time() {
    let (launch, _folder) = launch();
    let server = launch.start().await;
    let building = made(&server, "buildings", json!({ "name": "Town hall" })).await;
    let floor = json!({ "building_id": building, "name": "Ground", "level": 0 });
    let floor = made(&server, "floors", floor).await;
    let lobby = made(&server, "rooms", json!({ "floor_id": floor, "name": "Lobby" })).await;
    let office = made(&server, "rooms", json!({ "floor_id": floor, "name": "Office" })).await;
    let device = json!({ "source": "mqtt", "external_id": "d1", "name": "Sensor 1" });
    let device = made(&server, "devices", device).await;
    for (room, from) in [(&lobby, "2026-01-01T00:00:00Z"), (&office, "2026-02-01T00:00:00Z")] {
        let body = json!({ "room_id": room, "valid_from": from });
        let stay = server.json("PUT", &format!("/api/v1/devices/{device}/location"), &body, 200).await;
        assert_eq!(stay["building_id"], json!(building), "the rest follows from the room");
    }
    // 2025-12-31 (nowhere yet), 2026-01-15, the very moment of the move, 2026-02-15.
    let lines = "climate,device=d1 temp=1 1767139200\nclimate,device=d1 temp=2 1768435200\n\
                 climate,device=d1 temp=3 1769904000\nclimate,device=d1 temp=4 1771113600\n\
                 climate,device=unknown temp=5 1771113600";
    let written = server.post("/write?db=d&precision=s", lines).send().await.unwrap();
    assert_eq!(written.status(), 204);
    let sql = "SELECT c.temp, d.name AS device, b.name AS building, f.level, r.name AS room FROM climate c \
               JOIN registry.devices d ON d.external_id = c.device \
               LEFT JOIN registry.device_locations l ON l.device_id = d.id AND c.time >= l.valid_from \
               AND (l.valid_to IS NULL OR c.time < l.valid_to) \
               LEFT JOIN registry.rooms r ON r.id = l.room_id LEFT JOIN registry.floors f ON f.id = l.floor_id \
               LEFT JOIN registry.buildings b ON b.id = l.building_id ORDER BY c.time";
    let expected = [
        ["1.0", "Sensor 1", "", "", ""],
        ["2.0", "Sensor 1", "Town hall", "0", "Lobby"],
        ["3.0", "Sensor 1", "Town hall", "0", "Office"],
        ["4.0", "Sensor 1", "Town hall", "0", "Office"],
    ];
    assert_eq!(server.sql_csv("d", sql).await, expected);
    server.stop().await;
    let server = launch.start().await;
    assert_eq!(server.sql_csv("d", sql).await, expected, "after a flush and a restart");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn buildings_come_in_from_a_csv_file() {
    let (launch, _folder) = launch();
    let server = launch.start().await;
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../storage/tests/data/bdg/meta_open.csv");
    let import = async |mode: &str| {
        let query = "default_source=bdg&external_id=uid&name=uid&time_zone=timezone&attr.area_m2=sqm";
        let url = format!("/api/v1/import/buildings?mode={mode}&{query}");
        let request = server.post(&url, std::fs::read(path).unwrap()).header("content-type", "text/csv");
        let answer = request.send().await.unwrap();
        let status = answer.status();
        let text = answer.text().await.unwrap();
        assert_eq!(status, 200, "{text}");
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<Value>>()
    };
    let lines = import("upsert").await;
    assert_eq!(lines.len(), 507);
    assert!(lines.iter().all(|line| line["status"] == "created"));
    assert!(import("upsert").await.iter().all(|line| line["status"] == "unchanged"));
    server.write("d", "m f=1 1").await;
    let sql = "SELECT count(*), count(DISTINCT external_id) FROM registry.buildings WHERE source = 'bdg'";
    assert_eq!(server.sql_csv("d", sql).await, [["507", "507"]]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_description_lists_the_routes_and_they_exist() {
    let (launch, _folder) = launch();
    let server = launch.start().await;
    let description = server.json("GET", "/openapi.json", &Value::Null, 200).await;
    assert!(description["openapi"].as_str().unwrap().starts_with("3."));
    let paths = description["paths"].as_object().unwrap();
    for path in [
        "buildings",
        "floors",
        "areas",
        "rooms",
        "devices",
        "devices/{id}/location",
        "devices/{id}/transitions",
        "import/buildings",
        "rules",
        "rules/{name}",
        "alerts",
        "alerts/history",
        "backups",
        "backups/{id}",
        "erasures",
        "erasures/{id}",
    ] {
        assert!(paths.contains_key(&format!("/api/v1/{path}")), "{path} is missing: {:?}", paths.keys());
    }
    for (path, operations) in paths {
        for method in ["get", "put", "post", "patch", "delete"] {
            if operations.get(method).is_none() {
                continue;
            }
            let real = path.replace(['{', '}'], "");
            let answer = server.request(&method.to_uppercase(), &real).send().await.unwrap();
            let status = answer.status().as_u16();
            let text = answer.text().await.unwrap();
            assert!(status < 500 && status != 405, "{method} {path}: {status} {text}");
            assert!(!text.contains("path not found"), "{method} {path}: {text}");
        }
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_are_changed_by_who_has_seen_them() {
    let (launch, _folder) = launch();
    let server = launch.start().await;
    let rule = |when: &str| json!({ "name": "hot", "database": "d", "table": "m", "when": when });
    let put = async |tag: Option<&str>, when: &str| {
        let request = server.request("PUT", "/api/v1/rules/hot").json(&rule(when));
        let request = match tag {
            Some(tag) => request.header("if-match", tag),
            None => request,
        };
        let answer = request.send().await.unwrap();
        let tag = answer.headers().get("etag").map(|tag| tag.to_str().unwrap().to_owned());
        (answer.status().as_u16(), tag)
    };
    let (status, first) = put(None, "f > 1").await;
    assert_eq!(status, 201);
    assert_eq!(put(None, "f > 2").await.0, 428, "a change needs the tag");
    let (status, second) = put(first.as_deref(), "f > 2").await;
    assert_eq!(status, 200);
    assert_ne!(first, second);
    assert_eq!(put(first.as_deref(), "f > 3").await.0, 412, "an old tag is refused");
    server.write("d", "m,device=a f=2 1\nm,device=a f=3 2").await;
    server.stop().await;

    let server = launch.start().await;
    let found = server.get("/api/v1/rules/hot").send().await.unwrap();
    assert_eq!(found.headers()["etag"].to_str().unwrap(), second.unwrap());
    let body: Value = found.json().await.unwrap();
    assert_eq!((&body["when"], &body["origin"]), (&json!("f > 2"), &json!("api")));
    let firing = server.json("GET", "/api/v1/alerts", &Value::Null, 200).await;
    assert_eq!((firing["items"].as_array().unwrap().len(), &firing["items"][0]["rule"]), (1, &json!("hot")));
    let delete = async |tag: &str| {
        let request = server.request("DELETE", "/api/v1/rules/hot").header("if-match", tag);
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!((delete("\"1\"").await, delete("*").await, delete("*").await), (412, 204, 404));
    let sql = "SELECT state, reason FROM alerts.history ORDER BY recorded_at";
    assert_eq!(server.sql_csv("d", sql).await, [["firing", "condition"], ["resolved", "rule_deleted"]]);
    server.stop().await;
}

/// Connects with a password, and publishes; the code of the refusal if there is one.
async fn mqtt_write(server: &Server, password: Option<&str>) -> Result<(), ConnectReturnCode> {
    let mut options = MqttOptions::new("client", server.mqtt().ip().to_string(), server.mqtt().port());
    if let Some(password) = password {
        options.set_credentials("anybody", password);
    }
    let (client, mut events) = AsyncClient::new(options, 4);
    client.publish("busbar/d/lp", QoS::AtLeastOnce, false, "mqtt f=1 1").await.unwrap();
    loop {
        match events.poll().await {
            Ok(Event::Incoming(Packet::PubAck(_))) => return Ok(()),
            Ok(_) => {}
            Err(ConnectionError::ConnectionRefused(code)) => return Err(code),
            Err(other) => panic!("{other}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_token_nobody_else_comes_in() {
    let output = program(&["token", "create", "--name", "telegraf"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let (shown, kept) = text.split_once("[[tokens]]").unwrap();
    let token = shown.split_whitespace().take_while(|word| *word != "For").last().unwrap().to_owned();
    let (launch, _folder) = launch();
    let launch = launch.config(&format!("[[tokens]]{kept}"));
    let server = launch.start().await;
    let status = async |request: reqwest::RequestBuilder| request.send().await.unwrap().status().as_u16();
    for path in
        ["/api/v3/query_sql?db=d&q=SELECT+1", "/query?q=SHOW+DATABASES", "/api/v1/buildings", "/api/v1/rules"]
    {
        assert_eq!(status(server.get(path)).await, 401, "{path}");
        assert_eq!(status(server.get(path).bearer_auth("wrong")).await, 401, "{path}");
    }
    assert_eq!(status(server.get("/health")).await, 200);
    let write = |path: &str| server.post(path, "m f=1 1");
    for path in ["/write?db=d", "/api/v2/write?bucket=d", "/api/v3/write_lp?db=d"] {
        assert_eq!(status(write(path)).await, 401, "{path}");
        assert_eq!(status(write(path).bearer_auth(&token)).await, 204, "{path}");
        assert_eq!(
            status(write(path).header("authorization", format!("Token {token}"))).await,
            204,
            "{path}"
        );
        assert_eq!(status(write(path).basic_auth("anybody", Some(&token))).await, 204, "{path}");
    }
    assert_eq!(status(write(&format!("/write?db=d&u=x&p={token}"))).await, 204);
    for wrong in [None, Some("wrong")] {
        let refused = mqtt_write(&server, wrong).await.unwrap_err();
        let codes = [ConnectReturnCode::BadUserNamePassword, ConnectReturnCode::NotAuthorized];
        assert!(codes.contains(&refused), "{refused:?}");
    }
    mqtt_write(&server, Some(&token)).await.unwrap();
    let server = server.with_token(&token);
    assert_eq!(server.count("d", "SELECT count(*) FROM mqtt").await, 1);
    assert_eq!(status(server.get("/api/v1/rules")).await, 200);
    assert!(!server.log().contains(&token), "the token is in no log line");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_that_others_reach_needs_a_token() {
    for flag in ["http-addr", "mqtt-addr"] {
        let (launch, folder) = launch();
        let open = launch.flag(flag, "0.0.0.0:0");
        let Err(ended) = open.try_start().await else { panic!("it started") };
        assert_eq!(ended.status.code(), Some(1));
        assert!(
            ended.log.contains("busbar token create") && ended.log.contains("--insecure"),
            "{}",
            ended.log
        );
        assert!(!folder.path().join("data").exists(), "nothing was touched");
        open.flag("insecure", "true").start().await.stop().await;
    }
}
