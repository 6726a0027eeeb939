//! What a writer was told is durable, and whether it is.
//!
//! Invariants: each journal owns its series, so that what is found under them is its doing alone; one body is on
//! its way at a time, and a body is there as a whole or not at all.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS};

use crate::server::Server;

/// Where the journals write.
pub(crate) const DATABASE: &str = "k";

const START_NS: i64 = 1_700_000_000_000_000_000;
const SERIES: u64 = 4;

/// How a journal writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    HttpV1,
    HttpV3,
    Mqtt,
}

/// Series and time.
type Key = (u64, i64);

/// The fields of a point: `v` is written always, `f` in every third write, so fields of two writes are merged.
type Fields = (i64, Option<i64>);

/// Random numbers that a seed repeats (xorshift64*).
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) % bound
    }
}

#[derive(Debug)]
pub(crate) struct Journal {
    writer: usize,
    way: Way,
    random: Random,
    /// Points of one body.
    batch: u64,
    /// How many times were used.
    times: u64,
    /// The value of the next write: later writes have greater values.
    next: i64,
    acknowledged: BTreeMap<Key, Fields>,
    /// The body that is on its way.
    in_flight: Vec<(Key, Fields)>,
    /// Bodies that were acknowledged.
    pub(crate) bodies: usize,
}

impl Journal {
    pub(crate) fn new(writer: usize, way: Way, seed: u64, batch: u64) -> Self {
        Self {
            writer,
            way,
            random: Random::new(seed + writer as u64),
            batch,
            times: 0,
            next: 0,
            acknowledged: BTreeMap::new(),
            in_flight: Vec::new(),
            bodies: 0,
        }
    }

    pub(crate) fn points(&self) -> usize {
        self.acknowledged.len()
    }

    /// The next body: new points, and every fourth time a point that was written before.
    fn next_body(&mut self) -> String {
        let mut body = String::new();
        for _ in 0..self.batch {
            let again = self.times > 0 && self.random.below(4) == 0;
            let index = if again { self.random.below(self.times) } else { self.times };
            self.times = self.times.max(index + 1);
            // Remainders below a microsecond are kept too.
            let nanos = START_NS + i64::try_from(index * 1_000_000_000 + index % 3).unwrap();
            let key = (index % SERIES, nanos);
            self.next += 1;
            let f = (self.next % 3 == 0).then_some(self.next * 2);
            let more = f.map(|f| format!(",f={f}i")).unwrap_or_default();
            body += &format!("p,w={},s={} v={}i{more} {nanos}\n", self.writer, key.0, self.next);
            self.in_flight.push((key, (self.next, f)));
        }
        body
    }

    fn acknowledge(&mut self) {
        for (key, (v, f)) in self.in_flight.drain(..) {
            let point = self.acknowledged.entry(key).or_default();
            *point = (v, f.or(point.1));
        }
        self.bodies += 1;
    }

    /// Writes until `bodies` more are acknowledged, or the server is gone.
    pub(crate) async fn write(mut self, http: SocketAddr, mqtt: SocketAddr, bodies: usize) -> Self {
        match self.way {
            Way::HttpV1 => self.write_http(&format!("http://{http}/write?db={DATABASE}"), bodies).await,
            Way::HttpV3 => {
                let query = format!("db={DATABASE}&precision=nanosecond");
                self.write_http(&format!("http://{http}/api/v3/write_lp?{query}"), bodies).await;
            }
            Way::Mqtt => self.write_mqtt(mqtt, bodies).await,
        }
        self
    }

    async fn write_http(&mut self, url: &str, bodies: usize) {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        for _ in 0..bodies {
            let body = self.next_body();
            let Ok(answer) = client.post(url).body(body).send().await else { return };
            let status = answer.status();
            assert_eq!(status, 204, "{:?}", answer.text().await);
            self.acknowledge();
        }
    }

    async fn write_mqtt(&mut self, mqtt: SocketAddr, bodies: usize) {
        let name = format!("journal-{}", self.writer);
        let mut options = MqttOptions::new(name, mqtt.ip().to_string(), mqtt.port());
        options.set_keep_alive(Duration::from_secs(60)).set_max_packet_size(1 << 20, 1 << 20);
        let (client, mut events) = AsyncClient::new(options, 8);
        for _ in 0..bodies {
            let (topic, body) = (format!("busbar/{DATABASE}/lp"), self.next_body());
            client.publish(topic, QoS::AtLeastOnce, false, body).await.unwrap();
            loop {
                match events.poll().await {
                    Ok(Event::Incoming(Packet::PubAck(_))) => break,
                    Ok(_) => {}
                    // The client would connect again; what is on its way stays in doubt.
                    Err(_) => return,
                }
            }
            self.acknowledge();
        }
    }

    /// Holds what is found against what was acknowledged; a body in doubt may be there or not, but whole.
    fn settle(&mut self, found: &BTreeMap<Key, Fields>) {
        if *found == self.acknowledged {
            self.in_flight.clear();
            return;
        }
        let without = self.acknowledged.clone();
        self.acknowledge();
        self.bodies -= 1;
        if *found == self.acknowledged {
            return;
        }
        let lost = without.keys().filter(|key| !found.contains_key(*key)).count();
        let wrong = |(key, fields): &(&Key, &Fields)| {
            let found = found.get(*key);
            found.is_some_and(|f| f != *fields && Some(f) != without.get(*key))
        };
        let wrong: Vec<_> = self.acknowledged.iter().filter(wrong).take(5).collect();
        panic!(
            "writer {} ({:?}): {lost} acknowledged points lost, {} found of {} (with the one in doubt {}), wrong: {wrong:?}",
            self.writer,
            self.way,
            found.len(),
            without.len(),
            self.acknowledged.len()
        );
    }
}

/// Lets all journals write at once, until each has `bodies` more acknowledged or the server is gone.
pub(crate) fn write_all(
    journals: Vec<Journal>,
    server: &Server,
    bodies: usize,
) -> Vec<tokio::task::JoinHandle<Journal>> {
    let (http, mqtt) = (server.http(), server.mqtt());
    journals.into_iter().map(|journal| tokio::spawn(journal.write(http, mqtt, bodies))).collect()
}

pub(crate) async fn join(writers: Vec<tokio::task::JoinHandle<Journal>>) -> Vec<Journal> {
    let mut journals = Vec::new();
    for writer in writers {
        journals.push(writer.await.unwrap());
    }
    journals
}

/// Reads everything back by SQL: nothing acknowledged is lost, nothing is there twice, each value is the newest.
pub(crate) async fn check(server: &Server, journals: &mut [Journal]) {
    let mut found = vec![BTreeMap::new(); journals.len()];
    let rows = if has_table(server).await {
        let sql = "SELECT w, s, CAST(time AS BIGINT), v, f FROM p";
        server.sql_csv(DATABASE, sql).await
    } else {
        Vec::new()
    };
    for row in &rows {
        let [writer, series, time, v, f] = row.as_slice() else { panic!("{row:?}") };
        let key = (series.parse().unwrap(), time.parse().unwrap());
        let fields = (v.parse().unwrap(), f.parse().ok());
        let before = found[writer.parse::<usize>().unwrap()].insert(key, fields);
        assert!(before.is_none(), "the point {row:?} is there twice");
    }
    for (journal, found) in journals.iter_mut().zip(&found) {
        journal.settle(found);
    }
    if !rows.is_empty() {
        let counted = server.count(DATABASE, "SELECT count(*) FROM p").await;
        assert_eq!(usize::try_from(counted).unwrap(), rows.len());
    }
}

async fn has_table(server: &Server) -> bool {
    let body = serde_json::json!({ "db": DATABASE, "q": "SELECT * FROM p LIMIT 1" });
    server.request("POST", "/api/v3/query_sql").json(&body).send().await.unwrap().status() == 200
}
