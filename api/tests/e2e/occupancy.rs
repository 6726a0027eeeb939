//! Recorded data of a real office, over HTTP into one database and over MQTT into another: both hold every row, the
//! sums are those of the files, and the alerts are those that an independent script computes (`expected.py` beside
//! the data says how the hole of seven hours between the files is treated).

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use chrono::NaiveDateTime;
use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS};
use serde_json::Value;

use crate::receiver::Receiver;
use crate::server::{Launch, Server};

const FILES: [&str; 2] = ["datatest.txt", "datatraining.txt"];
const COLUMNS: [&str; 6] = ["Temperature", "Humidity", "Light", "CO2", "HumidityRatio", "Occupancy"];
const ROWS: usize = 10_808;
const DATABASES: [&str; 2] = ["http", "mqtt"];

fn text_of(file: &str) -> String {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../alerting/tests/data/occupancy");
    std::fs::read_to_string(folder.join(file)).unwrap()
}

fn nanos(text: &str) -> i64 {
    let time = NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S").unwrap();
    time.and_utc().timestamp_nanos_opt().unwrap()
}

/// Times and values of all rows, as the files have them.
fn rows() -> Vec<(i64, Vec<String>)> {
    let mut rows = Vec::new();
    for file in FILES {
        for line in text_of(file).lines().skip(1) {
            let cells: Vec<&str> = line.split(',').map(|cell| cell.trim_matches('"')).collect();
            rows.push((nanos(cells[1]), cells[2..].iter().map(|&cell| cell.to_owned()).collect()));
        }
    }
    assert_eq!(rows.len(), ROWS);
    rows
}

/// Bodies of line protocol with so many lines each.
fn bodies(lines: usize) -> Vec<String> {
    let line = |(time, values): &(i64, Vec<String>)| {
        let fields: Vec<String> =
            COLUMNS.iter().zip(values).map(|(name, value)| format!("{name}={value}")).collect();
        format!("air,building=office,room=1.07 {} {time}", fields.join(","))
    };
    rows().chunks(lines).map(|chunk| chunk.iter().map(line).collect::<Vec<_>>().join("\n")).collect()
}

/// State, event time and start of each transition.
fn expected() -> Vec<(String, i64, i64)> {
    let text = text_of("expected.csv");
    let cells = text.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let rule = cells.filter(|row| row[0].is_empty());
    rule.map(|row| (row[1].to_owned(), nanos(row[2]), nanos(row[3]))).collect()
}

async fn replay_by_mqtt(server: &Server) {
    let mut options = MqttOptions::new("replay", server.mqtt().ip().to_string(), server.mqtt().port());
    options.set_keep_alive(Duration::from_secs(60)).set_max_packet_size(1 << 20, 1 << 20);
    let (client, mut events) = AsyncClient::new(options, 16);
    let bodies = bodies(50);
    let mut waiting = bodies.len();
    let publisher = tokio::spawn(async move {
        for body in bodies {
            client.publish("busbar/mqtt/lp", QoS::AtLeastOnce, false, body).await.unwrap();
        }
        // Given back, so that the connection stays until everything is acknowledged.
        client
    });
    while waiting > 0 {
        if let Event::Incoming(Packet::PubAck(_)) = events.poll().await.unwrap() {
            waiting -= 1;
        }
    }
    publisher.await.unwrap();
}

/// Rows and sums of both databases are those of the files.
async fn check_rows(server: &Server) {
    let rows = rows();
    let sums = COLUMNS.map(|name| format!("sum(\"{name}\") AS \"{name}\"")).join(", ");
    for database in DATABASES {
        let sql = format!("SELECT count(*) AS n, count(DISTINCT time) AS times, {sums} FROM air");
        let found = server.sql(database, &sql).await.remove(0);
        println!("{database}: {found}");
        assert_eq!(found["n"], ROWS);
        assert_eq!(found["times"], ROWS);
        for (at, name) in COLUMNS.iter().enumerate() {
            let expected: f64 = rows.iter().map(|(_, values)| values[at].parse::<f64>().unwrap()).sum();
            let found = found[name].as_f64().unwrap();
            // The order of adding is SQL's, so the last digits may differ.
            assert!(
                (found - expected).abs() <= 1e-9 * expected.abs(),
                "{database} {name}: {found} {expected}"
            );
        }
        let tags = server.sql_csv(database, "SELECT DISTINCT building, room FROM air").await;
        assert_eq!(tags, [["office", "1.07"]]);
    }
    let both = DATABASES.map(|database| server.sql_csv(database, "SELECT * FROM air ORDER BY time"));
    let [http, mqtt] = both;
    assert!(http.await == mqtt.await, "both databases hold the same rows, bit for bit");
}

/// The history of both rules is that of the script, and each transition went out once.
async fn check_alerts(server: &Server, receiver: &Receiver) {
    let expected = expected();
    receiver.wait_for(2 * expected.len()).await;
    assert_eq!(receiver.requests(), 2 * expected.len(), "each transition once");
    let mut recorded = BTreeSet::new();
    for database in DATABASES {
        let sql = format!(
            "SELECT state, CAST(event_time AS BIGINT) AS event, CAST(started_at AS BIGINT) AS start, transition_id, \
             subject FROM alerts.history WHERE database = '{database}' ORDER BY event_time"
        );
        let history = server.sql(database, &sql).await;
        let found: Vec<_> = history
            .iter()
            .map(|row| {
                let time = |name: &str| row[name].as_i64().unwrap();
                (row["state"].as_str().unwrap().to_owned(), time("event"), time("start"))
            })
            .collect();
        assert_eq!(found, expected, "{database}");
        assert!(history.iter().all(|row| row["subject"] == "air,building=office,room=1.07"));
        recorded.extend(history.iter().map(|row| row["transition_id"].as_str().unwrap().to_owned()));
    }
    let by_key = receiver.by_key();
    let told: BTreeSet<String> =
        by_key.values().map(|body: &Value| body["transition_id"].as_str().unwrap().to_owned()).collect();
    assert_eq!((by_key.len(), told), (recorded.len(), recorded));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recorded_office_is_the_same_by_http_and_mqtt_and_its_alerts_go_out_once() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::start().await;
    let mut config = receiver.config();
    for database in DATABASES {
        config += &format!(
            "[[rules]]\nname = \"stuffy-{database}\"\ndatabase = \"{database}\"\ntable = \"air\"\nwhen = \"CO2 > 1000\"\n\
             for = \"5m\"\nclear = \"CO2 < 900\"\nwebhooks = [\"local\"]\n"
        );
    }
    let launch = Launch::new(&folder.path().join("data")).config(&config);
    let server = launch.start().await;
    for body in bodies(500) {
        server.write("http", body).await;
    }
    replay_by_mqtt(&server).await;
    check_rows(&server).await;
    check_alerts(&server, &receiver).await;

    // The stop flushes; then the same comes from the tables' files alone.
    server.stop().await;
    let server = launch.start().await;
    check_rows(&server).await;
    check_alerts(&server, &receiver).await;
    for database in DATABASES {
        let sql = "SELECT place, sum(rows) AS rows FROM system.files WHERE \"table\" = 'air' GROUP BY place";
        assert_eq!(server.sql_csv(database, sql).await, [["table", "10808"]], "{database}");
        let sql = "SELECT rows_in_memory, file_rows FROM system.tables";
        assert_eq!(server.sql_csv(database, sql).await, [["0", "10808"]], "{database}");
    }
    server.stop().await;
}
