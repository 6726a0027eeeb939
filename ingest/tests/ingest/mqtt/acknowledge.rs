//! When a publish is acknowledged, and when not.

use ingest::mqtt::PublishError;
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{self, Packet};

use super::bench::{Bench, bytes_of, puback, publish};

#[tokio::test]
async fn a_publish_is_acknowledged_after_its_commit_and_not_before() {
    let mut bench = Bench::new().await;
    let mut client = bench.client("dev-7").await;
    client.publish(1).await;
    let held = bench.held().await;
    assert_eq!((held.topic.as_str(), &held.payload[..]), ("busbar/db/lp", &b"m f=1"[..]));
    assert_eq!((held.session.client_id.as_ref(), held.retain, held.dup), ("dev-7", false, false));
    // The answer to the ping is behind the PUBLISH on the wire, and comes first.
    client.ping().await;
    held.commit();
    assert_eq!(client.receive().await, Some(puback(1)));
    assert_eq!((bench.metrics.publishes(), bench.metrics.acks()), (1, 1));
}

#[tokio::test]
async fn acknowledgements_keep_the_order_of_the_publishes() {
    let mut bench = Bench::new().await;
    let mut client = bench.client("a").await;
    for packet_id in [7, 3, 9] {
        client.publish(packet_id).await;
    }
    let (first, second, third) = (bench.held().await, bench.held().await, bench.held().await);
    assert_eq!(&first.payload[..], b"m f=7");
    third.commit();
    second.commit();
    client.ping().await;
    first.commit();
    for packet_id in [7, 3, 9] {
        assert_eq!(client.receive().await, Some(puback(packet_id)));
    }
}

#[tokio::test]
async fn a_slow_commit_of_one_connection_does_not_hold_back_another() {
    let mut bench = Bench::new().await;
    let (mut slow, mut fast) = (bench.client("slow").await, bench.client("fast").await);
    slow.publish(1).await;
    let held = bench.held().await;
    fast.publish(2).await;
    bench.held().await.commit();
    assert_eq!(fast.receive().await, Some(puback(2)));
    slow.ping().await;
    held.commit();
    assert_eq!(slow.receive().await, Some(puback(1)));
}

#[tokio::test]
async fn qos_0_is_stored_and_not_acknowledged() {
    let mut bench = Bench::new().await;
    let mut client = bench.client("a").await;
    client.send(publish(QoS::AtMostOnce, 0, "m f=1")).await;
    bench.held().await.commit();
    client.publish(1).await;
    bench.held().await.commit();
    assert_eq!(client.receive().await, Some(puback(1)));
    assert_eq!((bench.metrics.publishes(), bench.metrics.acks()), (2, 1));
}

#[tokio::test]
async fn what_was_published_before_the_client_left_is_stored() {
    let mut bench = Bench::new().await;
    let mut client = bench.client("a").await;
    let mut bytes = bytes_of(&publish(QoS::AtMostOnce, 0, "m f=1"));
    bytes.extend(bytes_of(&Packet::Disconnect));
    client.send_bytes(&bytes).await;
    let mut other = bench.client("b").await;
    other.publish(1).await;
    drop(other);
    // `commit` panics if the future of the publish was dropped.
    bench.held().await.commit();
    bench.held().await.commit();
    assert_eq!(client.receive().await, None);
}

#[tokio::test]
async fn retain_and_dup_are_told() {
    let mut bench = Bench::new().await;
    let mut client = bench.client("a").await;
    let mut message = v4::Publish::new("t", QoS::AtLeastOnce, "x");
    (message.pkid, message.retain, message.dup) = (5, true, true);
    client.send(Packet::Publish(message)).await;
    let held = bench.held().await;
    assert!(held.retain && held.dup);
}

#[tokio::test]
async fn a_payload_that_can_never_be_stored_is_acknowledged_and_kept() {
    let mut bench = Bench::new().await;
    let mut client = bench.client("a").await;
    client.publish(1).await;
    client.publish(2).await;
    let (bad, good) = (bench.held().await, bench.held().await);
    bad.end(Err(PublishError::Rejected("missing fields".into())));
    good.commit();
    assert_eq!(client.receive().await, Some(puback(1)));
    assert_eq!(client.receive().await, Some(puback(2)));
    let (topic, payload, reason) = bench.rejected.recv().await.unwrap();
    assert_eq!(
        (topic.as_str(), &payload[..], reason.as_str()),
        ("busbar/db/lp", &b"m f=1"[..], "missing fields")
    );
    assert_eq!((bench.metrics.rejected(), bench.metrics.acks()), (1, 2));
}

#[tokio::test]
async fn when_storage_is_unavailable_nothing_is_acknowledged_any_more() {
    let mut bench = Bench::new().await;
    let mut client = bench.client("a").await;
    for packet_id in 1..=3 {
        client.publish(packet_id).await;
    }
    let (first, second, third) = (bench.held().await, bench.held().await, bench.held().await);
    third.commit();
    second.end(Err(PublishError::Unavailable("disk full".into())));
    first.commit();
    assert_eq!(client.receive().await, Some(puback(1)));
    assert_eq!(client.receive().await, None);
    assert_eq!((bench.metrics.unavailable(), bench.metrics.acks()), (1, 1));
}

#[tokio::test]
async fn a_lost_qos_0_publish_is_counted_and_its_connection_stays() {
    let mut bench = Bench::new().await;
    let mut client = bench.client("a").await;
    client.send(publish(QoS::AtMostOnce, 0, "m f=1")).await;
    bench.held().await.end(Err(PublishError::Unavailable("disk full".into())));
    client.publish(1).await;
    bench.held().await.commit();
    assert_eq!(client.receive().await, Some(puback(1)));
    assert_eq!(bench.metrics.unavailable(), 1);
}
