//! `rumqttc`'s client, as it comes.

use std::time::Duration;

use rumqttc::{AsyncClient, ConnectReturnCode, ConnectionError, Event, Incoming, MqttOptions, Outgoing, QoS};

use super::bench::{Bench, soon};

fn options(bench: &Bench, id: &str) -> MqttOptions {
    let mut options = MqttOptions::new(id, bench.addr.ip().to_string(), bench.addr.port());
    options.set_keep_alive(Duration::from_secs(30)).set_inflight(50);
    options
}

#[tokio::test]
async fn every_publish_of_a_real_client_is_acknowledged_once_and_in_order() {
    const MESSAGES: usize = 300;
    let mut bench = Bench::new().await;
    let (client, mut events) = AsyncClient::new(options(&bench, "real"), 10);
    let publisher = tokio::spawn(async move {
        for number in 0..MESSAGES {
            let payload = format!("m f={number}");
            client.publish("busbar/db/lp", QoS::AtLeastOnce, false, payload).await.unwrap();
        }
        client
    });
    let (mut sent, mut acknowledged, mut stored) = (Vec::new(), Vec::new(), 0);
    while acknowledged.len() < MESSAGES {
        tokio::select! {
            event = soon(events.poll()) => match event.unwrap() {
                Event::Outgoing(Outgoing::Publish(packet_id)) => sent.push(packet_id),
                Event::Incoming(Incoming::PubAck(ack)) => acknowledged.push(ack.pkid),
                _ => {}
            },
            held = bench.held(), if stored < MESSAGES => {
                assert_eq!(held.payload, format!("m f={stored}").as_bytes(), "in order");
                stored += 1;
                held.commit();
            }
        }
    }
    assert_eq!((acknowledged, stored), (sent, MESSAGES));
    drop(publisher.await.unwrap());
}

#[tokio::test]
async fn a_real_client_understands_why_it_is_refused() {
    let bench = Bench::new().await;
    let mut options = options(&bench, "real");
    options.set_credentials("user", "wrong");
    let (_client, mut events) = AsyncClient::new(options, 10);
    match soon(events.poll()).await {
        Err(ConnectionError::ConnectionRefused(code)) => {
            assert_eq!(code, ConnectReturnCode::BadUserNamePassword);
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_real_client_sends_again_what_was_not_acknowledged() {
    let mut bench = Bench::new().await;
    let mut options = options(&bench, "real");
    options.set_clean_session(false);
    let (client, mut events) = AsyncClient::new(options, 10);
    client.publish("busbar/db/lp", QoS::AtLeastOnce, false, "m f=1").await.unwrap();
    let mut refused_once = false;
    loop {
        tokio::select! {
            event = soon(events.poll()) => {
                if let Ok(Event::Incoming(Incoming::PubAck(_))) = event {
                    break;
                }
            }
            held = bench.held() => {
                assert_eq!(&held.payload[..], b"m f=1");
                if refused_once {
                    held.commit();
                } else {
                    refused_once = true;
                    held.end(Err(ingest::mqtt::PublishError::Unavailable("disk full".into())));
                }
            }
        }
    }
    assert!(refused_once);
    assert_eq!((bench.metrics.publishes(), bench.metrics.acks()), (2, 1));
}
