//! Bytes that are no MQTT harm nobody but their sender.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{Connect, Packet};

use super::bench::{Bench, Client, bytes_of, puback, publish};

/// What a connected client must not send.
fn forbidden() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("a second CONNECT", bytes_of(&Packet::Connect(Connect::new("a"))).to_vec()),
        ("packet type 0", vec![0, 0]),
        ("packet type 15", vec![0xf0, 0]),
        ("a length of five bytes", vec![0x30, 0xff, 0xff, 0xff, 0xff, 0x01]),
        ("QoS 3", vec![0x36, 5, 0, 1, b't', 0, 1]),
        ("QoS 2", bytes_of(&publish(QoS::ExactlyOnce, 1, "m f=1")).to_vec()),
        ("packet id 0", vec![0x32, 5, 0, 1, b't', 0, 0]),
        ("a PUBLISH without a packet id", vec![0x32, 3, 0, 1, b't']),
        ("a topic longer than its packet", vec![0x30, 3, 0, 9, b't']),
        ("a topic that is not UTF-8", vec![0x30, 3, 0, 1, 0xff]),
        ("an empty topic", vec![0x30, 3, 0, 0, b'x']),
        ("a topic with a wildcard", vec![0x30, 4, 0, 2, b'a', b'#']),
        ("a SUBSCRIBE without filters", vec![0x82, 2, 0, 1]),
        ("a SUBSCRIBE with wrong flags", vec![0x80, 6, 0, 1, 0, 1, b'a', 0]),
        ("a PINGREQ with wrong flags", vec![0xc1, 0]),
        ("an empty CONNECT", vec![0x10, 0]),
        ("a CONNACK", vec![0x20, 2, 0, 0]),
        ("a PUBREL", vec![0x62, 2, 0, 1]),
        ("a PUBACK", vec![0x40, 2, 0, 1]),
    ]
}

#[tokio::test]
async fn what_is_forbidden_closes_its_connection_and_no_other() {
    let mut bench = Bench::new().await;
    let mut neighbour = bench.client("neighbour").await;
    let cases = forbidden();
    for (what, bytes) in &cases {
        let mut client = bench.client("bad").await;
        client.send_bytes(bytes).await;
        assert_eq!(client.receive().await, None, "{what}");
        neighbour.ping().await;
    }
    neighbour.publish(1).await;
    bench.held().await.commit();
    assert_eq!(neighbour.receive().await, Some(puback(1)));
    assert_eq!(bench.metrics.malformed(), u64::try_from(cases.len()).unwrap());
    assert_eq!(bench.metrics.publishes(), 1);
}

#[tokio::test]
async fn what_came_before_the_mistake_is_stored_and_acknowledged() {
    let mut bench = Bench::new().await;
    let mut client = bench.client("a").await;
    let mut bytes = bytes_of(&publish(QoS::AtLeastOnce, 1, "m f=1"));
    bytes.extend([0xf0, 0]);
    client.send_bytes(&bytes).await;
    bench.held().await.commit();
    assert_eq!(client.receive().await, Some(puback(1)));
    assert_eq!(client.receive().await, None);
}

#[tokio::test]
async fn the_first_packet_must_be_connect() {
    let bench = Bench::new().await;
    for bytes in [
        bytes_of(&Packet::PingReq).to_vec(),
        bytes_of(&publish(QoS::AtLeastOnce, 1, "m f=1")).to_vec(),
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
        vec![0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc],
        vec![0; 64],
    ] {
        let mut client = Client::open(bench.addr).await;
        client.send_bytes(&bytes).await;
        // Close the writing side, so that half a packet is not waited for.
        client.finish_writing().await;
        assert_eq!(client.receive_rest().await, b"");
    }
    assert_eq!(bench.metrics.publishes(), 0);
    bench.client("a").await.ping().await;
}

/// A hundred connections with arbitrary bytes, of which some look like packets.
#[tokio::test]
async fn arbitrary_bytes_harm_nobody() {
    let mut bench = Bench::new().await;
    let mut neighbour = bench.client("neighbour").await;
    let mut runner = TestRunner::deterministic();
    let byte =
        prop_oneof![any::<u8>(), prop::sample::select(vec![0, 1, 2, 4, 0x10, 0x30, 0x32, 0x82, 0xc0, b't'])];
    let strategy = prop::collection::vec(byte, 0..60);
    for number in 0..100 {
        let bytes = strategy.new_tree(&mut runner).unwrap().current();
        let mut client = match number % 2 {
            0 => bench.client("fuzz").await,
            _ => Client::open(bench.addr).await,
        };
        client.send_bytes(&bytes).await;
        client.finish_writing().await;
        while !bench.holds_nothing_new() {}
        client.receive_rest().await;
    }
    neighbour.publish(1).await;
    loop {
        let held = bench.held().await;
        if held.session.client_id.as_ref() == "neighbour" {
            held.commit();
            break;
        }
    }
    assert_eq!(neighbour.receive().await, Some(puback(1)));
}
