//! What a connection, and all of them together, may hold.

use rumqttc::mqttbytes::QoS;

use super::bench::{Bench, Client, puback, publish, soon};

#[tokio::test]
async fn a_packet_over_the_limit_closes_its_connection_before_it_is_sent() {
    let mut bench = Bench::with(|config| config.max_packet_bytes = 1_000).await;
    let mut client = bench.client("a").await;
    // Only the length of 1,001 bytes: the rest never comes.
    client.send_bytes(&[0x30, 0xe9, 0x07]).await;
    assert_eq!(client.receive().await, None);
    assert_eq!(bench.metrics.malformed(), 1);
    let mut client = bench.client("b").await;
    let payload = "x".repeat(1_000 - 2 - "busbar/db/lp".len() - 2);
    client.send(publish(QoS::AtLeastOnce, 1, &payload)).await;
    bench.held().await.commit();
    assert_eq!(client.receive().await, Some(puback(1)));
}

#[tokio::test]
async fn no_more_is_read_while_too_many_publishes_are_in_flight() {
    let mut bench = Bench::with(|config| config.max_in_flight = 2).await;
    let mut client = bench.client("a").await;
    for packet_id in 1..=5 {
        client.publish(packet_id).await;
    }
    let (first, second) = (bench.held().await, bench.held().await);
    bench.client("b").await.ping().await;
    assert!(bench.holds_nothing_new());
    second.commit();
    bench.client("b").await.ping().await;
    assert!(bench.holds_nothing_new(), "the second waits for the first");
    first.commit();
    for _ in 3..=5 {
        bench.held().await.commit();
    }
    for packet_id in 1..=5 {
        assert_eq!(client.receive().await, Some(puback(packet_id)));
    }
}

#[tokio::test]
async fn no_more_is_read_while_too_many_bytes_are_in_flight() {
    let mut bench = Bench::with(|config| config.max_in_flight_bytes = 1_000).await;
    let mut client = bench.client("a").await;
    for packet_id in 1..=2 {
        client.send(publish(QoS::AtLeastOnce, packet_id, &"x".repeat(2_000))).await;
    }
    let first = bench.held().await;
    bench.client("b").await.ping().await;
    assert!(bench.holds_nothing_new());
    first.commit();
    bench.held().await.commit();
    assert_eq!(client.receive().await, Some(puback(1)));
    assert_eq!(client.receive().await, Some(puback(2)));
}

#[tokio::test]
async fn all_connections_share_one_budget() {
    let mut bench = Bench::with(|config| config.max_total_bytes = 3_000).await;
    let (mut first, mut second) = (bench.client("a").await, bench.client("b").await);
    first.send(publish(QoS::AtLeastOnce, 1, &"x".repeat(2_000))).await;
    let held = bench.held().await;
    second.send(publish(QoS::AtLeastOnce, 2, &"x".repeat(2_000))).await;
    first.ping().await;
    assert!(bench.holds_nothing_new());
    held.commit();
    bench.held().await.commit();
    assert_eq!(first.receive().await, Some(puback(1)));
    assert_eq!(second.receive().await, Some(puback(2)));
    // A packet that is larger than the budget waits for all of it, and then passes.
    first.send(publish(QoS::AtLeastOnce, 3, &"x".repeat(5_000))).await;
    bench.held().await.commit();
    assert_eq!(first.receive().await, Some(puback(3)));
}

#[tokio::test]
async fn connections_are_limited_and_room_comes_back() {
    let bench = Bench::with(|config| config.max_connections = 1).await;
    let first = bench.client("a").await;
    assert_eq!(Client::open(bench.addr).await.receive().await, None);
    assert_eq!((bench.metrics.over_limit(), bench.metrics.open()), (1, 1));
    drop(first);
    soon(async {
        while bench.metrics.open() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    // The task may be counted a moment longer than its connection.
    let mut client = loop {
        if let Some(client) = bench.try_client("b").await {
            break client;
        }
    };
    client.ping().await;
}
