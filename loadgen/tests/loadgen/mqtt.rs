//! Replay and fleet over MQTT 3.1.1, against a server on the public codec of `rumqttc`.

use crate::run::{loadgen, words};
use crate::server::Engine;
use bytes::BytesMut;
use rumqttc::mqttbytes::v4::{ConnAck, ConnectReturnCode, Packet, PubAck, Publish};
use rumqttc::mqttbytes::{Error, QoS};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

#[derive(Debug, Default)]
struct Broker {
    engine: Arc<Engine>,
    password: Option<&'static str>,
    /// The publish of this place (over all connections) is stored, not acknowledged, and its connection cut.
    cut_at: Option<usize>,
    /// Nothing is stored.
    loses: bool,
    seen: Mutex<Vec<Publish>>,
}

impl Broker {
    async fn serve(self: &Arc<Self>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let broker = self.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(broker.clone().talk(stream));
            }
        });
        address
    }

    async fn talk(self: Arc<Self>, mut stream: TcpStream) {
        let (mut incoming, mut outgoing) = (BytesMut::new(), BytesMut::new());
        loop {
            match Packet::read(&mut incoming, 1 << 20) {
                Ok(packet) => {
                    let go_on = self.handle(packet, &mut outgoing);
                    stream.write_all(&outgoing.split()).await.unwrap();
                    if !go_on {
                        return;
                    }
                }
                Err(Error::InsufficientBytes(_)) => {
                    if stream.read_buf(&mut incoming).await.unwrap_or(0) == 0 {
                        return;
                    }
                }
                Err(error) => panic!("not MQTT: {error}"),
            }
        }
    }

    fn handle(&self, packet: Packet, outgoing: &mut BytesMut) -> bool {
        match packet {
            Packet::Connect(connect) => {
                let given = connect.login.map(|login| login.password);
                let allowed = self.password.is_none() || given.as_deref() == self.password;
                let code =
                    if allowed { ConnectReturnCode::Success } else { ConnectReturnCode::BadUserNamePassword };
                ConnAck::new(code, false).write(outgoing).unwrap();
                allowed
            }
            Packet::Publish(publish) => {
                let is_acknowledged = publish.qos == QoS::AtLeastOnce;
                if !self.loses {
                    self.engine.store(std::str::from_utf8(&publish.payload).unwrap());
                }
                let id = publish.pkid;
                let place = {
                    let mut seen = self.seen.lock().unwrap();
                    seen.push(publish);
                    seen.len() - 1
                };
                if self.cut_at == Some(place) {
                    return false;
                }
                if is_acknowledged {
                    PubAck::new(id).write(outgoing).unwrap();
                }
                true
            }
            Packet::PingReq => {
                outgoing.extend_from_slice(&[0xD0, 0]);
                true
            }
            _ => false,
        }
    }
}

async fn replay(broker: &Arc<Broker>, options: &str) -> crate::run::Run {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("room.csv");
    let mut text = "time,x\n".to_owned();
    for second in 0..60 {
        text.push_str(&format!("2015-02-02 14:19:{second:02},{second}.5\n"));
    }
    std::fs::write(&path, text).unwrap();
    let url = broker.engine.serve().await;
    let address = broker.serve().await;
    let options = format!("--mqtt {address} --verify-url {url} --db office {options}");
    loadgen([words("replay"), vec![path.display().to_string()], words(&options)].concat()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn each_line_is_one_publish_to_the_topic_of_the_database() {
    let broker = Arc::new(Broker::default());
    replay(&broker, "--inflight 5").await.expect(0, &["60 of 60 rows in 60 batches", "found 60, double 0"]);
    let seen = broker.seen.lock().unwrap();
    assert_eq!(seen.len(), 60);
    assert!(seen.iter().all(|publish| publish.topic == "busbar/office/lp" && !publish.dup));
    assert_eq!(seen[0].payload.as_ref(), b"room x=0.5 1422886740000000000\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_connection_is_opened_again_and_what_waited_is_sent_with_dup() {
    let broker = Arc::new(Broker { cut_at: Some(20), ..Broker::default() });
    let run = replay(&broker, "--inflight 8 --batch 2").await;
    run.expect(0, &["60 of 60 rows in 30 batches", "reconnects 1", "found 60, double 0"]);
    let seen = broker.seen.lock().unwrap();
    let again: Vec<_> = seen.iter().filter(|publish| publish.dup).collect();
    assert!(again.iter().any(|publish| publish.payload == seen[20].payload && publish.pkid == seen[20].pkid));
    let distinct: BTreeSet<_> = seen.iter().map(|publish| publish.payload.clone()).collect();
    assert_eq!(distinct.len(), 30);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_is_the_password_and_a_refused_login_is_not_tried_again() {
    let broker = Arc::new(Broker { password: Some("right"), ..Broker::default() });
    replay(&broker, "--token right").await.expect(0, &["found 60"]);
    let broker = Arc::new(Broker { password: Some("right"), ..Broker::default() });
    let run = replay(&broker, "--token wrong").await.expect(2, &["MQTT login refused", "--token"]);
    assert!(!run.err.contains("wrong"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_publishes_over_several_connections() {
    let broker = Arc::new(Broker::default());
    let (url, address) = (broker.engine.serve().await, broker.serve().await);
    let options = format!(
        "fleet --protocol mqtt --mqtt {address} --url {url} --rate 0 --rows 400 --batch 4 --connections 3"
    );
    loadgen(words(&options)).await.expect(0, &["400 of 400 rows in 100 batches", "result         ok"]);
    assert_eq!(broker.seen.lock().unwrap().len(), 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_qos_0_nothing_is_acknowledged_and_what_arrived_is_read_back() {
    let broker = Arc::new(Broker::default());
    let (url, address) = (broker.engine.serve().await, broker.serve().await);
    let options = format!("fleet --mqtt {address} --qos 0 --url {url} --rate 2000 --rows 400 --batch 4");
    let said = [
        "0 of 400 rows in 0 batches",
        "400 rows sent with QoS 0",
        "rows expected 0 (and up to 80 that were not acknowledged)",
        "result         ok",
    ];
    loadgen(words(&options)).await.expect(0, &said);
    assert!(broker.seen.lock().unwrap().iter().all(|publish| publish.qos == QoS::AtMostOnce));
}

#[tokio::test(flavor = "multi_thread")]
async fn with_qos_0_a_run_of_which_nothing_arrives_is_not_ok() {
    let broker = Arc::new(Broker { loses: true, ..Broker::default() });
    let (url, address) = (broker.engine.serve().await, broker.serve().await);
    broker.engine.store("probe,device=other x=1 1");
    let options =
        format!("fleet --shape four-fields --mqtt {address} --qos 0 --url {url} --rate 2000 --rows 400");
    loadgen(words(&options)).await.expect(1, &["400 rows sent with QoS 0", "found 0", "NOT OK"]);
    loadgen(words("fleet --qos 0")).await.expect(2, &["--qos is for MQTT"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_storm_connections_are_opened_anew_and_what_waited_is_sent_again() {
    let broker = Arc::new(Broker::default());
    let (url, address) = (broker.engine.serve().await, broker.serve().await);
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("storm.toml");
    let scenario = "[[phase]]\nname = 'storm'\nfor = '1s'\nload = 1\nreconnect = '400ms'";
    std::fs::write(&file, scenario).unwrap();
    let options = format!(
        "fleet --shape four-fields --mqtt {address} --url {url} --rate 500 --connections 3 --scenario {}",
        file.display()
    );
    loadgen(words(&options)).await.expect(0, &["500 of 500 rows", "reconnects 6", "result         ok"]);
}
