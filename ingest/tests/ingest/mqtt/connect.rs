//! CONNECT and CONNACK, and what is not offered.

use std::time::Duration;

use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{
    ConnAck, Connect, ConnectReturnCode, Packet, Subscribe, SubscribeFilter, SubscribeReasonCode, Unsubscribe,
};

use super::bench::{Bench, Client, bytes_of, connack, puback};

async fn answer_to(bench: &Bench, connect: Connect) -> Option<Packet> {
    let mut client = Client::open(bench.addr).await;
    client.send(Packet::Connect(connect)).await;
    let answer = client.receive().await;
    if answer != Some(connack(ConnectReturnCode::Success)) {
        assert_eq!(client.receive().await, None, "a refused client is closed");
    }
    answer
}

fn login(password: &str) -> Connect {
    let mut connect = Connect::new("a");
    connect.set_login("user", password);
    connect
}

#[tokio::test]
async fn each_refusal_has_its_code() {
    let bench = Bench::new().await;
    let refused = [
        (login("wrong"), ConnectReturnCode::BadUserNamePassword),
        (Connect::new("not-allowed"), ConnectReturnCode::NotAuthorized),
        (Connect::new("unavailable"), ConnectReturnCode::ServiceUnavailable),
        (Connect::new("bad-id"), ConnectReturnCode::BadClientId),
    ];
    for (connect, code) in refused {
        assert_eq!(answer_to(&bench, connect).await, Some(connack(code)));
    }
    assert_eq!(bench.metrics.refused(), 4);
}

#[tokio::test]
async fn the_right_password_lets_in_and_tells_who_it_is() {
    let mut bench = Bench::new().await;
    let mut client = Client::open(bench.addr).await;
    client.send(Packet::Connect(login("secret"))).await;
    assert_eq!(client.receive().await, Some(connack(ConnectReturnCode::Success)));
    client.publish(1).await;
    assert_eq!(bench.held().await.session.principal.as_deref(), Some("user"));
}

#[tokio::test]
async fn a_client_without_an_id_gets_one_unless_it_wants_a_session() {
    let mut bench = Bench::new().await;
    let mut nameless = Client::open(bench.addr).await;
    nameless.send(Packet::Connect(Connect::new(""))).await;
    assert_eq!(nameless.receive().await, Some(connack(ConnectReturnCode::Success)));
    nameless.publish(1).await;
    assert!(!bench.held().await.session.client_id.is_empty());
    let mut connect = Connect::new("");
    connect.clean_session = false;
    assert_eq!(answer_to(&bench, connect).await, Some(connack(ConnectReturnCode::BadClientId)));
}

#[tokio::test]
async fn a_session_that_is_resumed_is_said_to_be_present() {
    let bench = Bench::new().await;
    let mut client = Client::open(bench.addr).await;
    let mut connect = Connect::new("a");
    connect.clean_session = false;
    client.send(Packet::Connect(connect)).await;
    assert_eq!(
        client.receive().await,
        Some(Packet::ConnAck(ConnAck { session_present: true, code: ConnectReturnCode::Success }))
    );
}

#[tokio::test]
async fn other_versions_are_told_so_in_their_own_words() {
    let bench = Bench::new().await;
    let mut v3_1 = Client::open(bench.addr).await;
    v3_1.send_bytes(b"\x10\x0f\0\x06MQIsdp\x03\x02\0\x0a\0\x01a").await;
    assert_eq!(v3_1.receive_rest().await, [0x20, 2, 0, 1]);
    let mut v5 = Client::open(bench.addr).await;
    v5.send_bytes(b"\x10\x0e\0\x04MQTT\x05\x02\0\x0a\0\0\x01a").await;
    assert_eq!(v5.receive_rest().await, [0x20, 3, 0, 0x84, 0]);
}

#[tokio::test]
async fn a_connect_may_come_in_pieces_and_with_more_behind_it() {
    let mut bench = Bench::new().await;
    let mut client = Client::open(bench.addr).await;
    for byte in bytes_of(&Packet::Connect(Connect::new("a"))) {
        client.send_bytes(&[byte]).await;
    }
    assert_eq!(client.receive().await, Some(connack(ConnectReturnCode::Success)));
    let mut client = Client::open(bench.addr).await;
    let mut bytes = bytes_of(&Packet::Connect(Connect::new("b")));
    bytes.extend(bytes_of(&super::bench::publish(QoS::AtLeastOnce, 4, "m f=1")));
    bytes.extend(bytes_of(&Packet::PingReq));
    client.send_bytes(&bytes).await;
    assert_eq!(client.receive().await, Some(connack(ConnectReturnCode::Success)));
    assert_eq!(client.receive().await, Some(Packet::PingResp));
    bench.held().await.commit();
    assert_eq!(client.receive().await, Some(puback(4)));
}

#[tokio::test]
async fn subscriptions_are_refused_one_by_one() {
    let bench = Bench::new().await;
    let mut client = bench.client("a").await;
    let filters = ["a/#", "b"].map(|path| SubscribeFilter::new(path.into(), QoS::AtLeastOnce));
    let mut subscribe = Subscribe::new_many(filters);
    subscribe.pkid = 3;
    client.send(Packet::Subscribe(subscribe)).await;
    match client.receive().await {
        Some(Packet::SubAck(suback)) => {
            assert_eq!(suback.pkid, 3);
            assert_eq!(suback.return_codes, [SubscribeReasonCode::Failure; 2]);
        }
        other => panic!("{other:?}"),
    }
    let mut unsubscribe = Unsubscribe::new("b");
    unsubscribe.pkid = 4;
    client.send(Packet::Unsubscribe(unsubscribe)).await;
    assert!(matches!(client.receive().await, Some(Packet::UnsubAck(unsuback)) if unsuback.pkid == 4));
    client.ping().await;
}

#[tokio::test]
async fn a_silent_connection_does_not_hold_back_others_and_is_closed() {
    let mut bench = Bench::with(|config| config.connect_timeout = Duration::from_millis(500)).await;
    let mut silent = Client::open(bench.addr).await;
    let mut begun = Client::open(bench.addr).await;
    begun.send_bytes(&[0x10]).await;
    let mut client = bench.client("a").await;
    client.publish(1).await;
    bench.held().await.commit();
    assert_eq!(client.receive().await, Some(puback(1)));
    assert_eq!(silent.receive().await, None);
    assert_eq!(begun.receive().await, None);
    client.ping().await;
}

#[tokio::test]
async fn a_client_that_breaks_its_keep_alive_is_closed() {
    let bench = Bench::new().await;
    let mut client = Client::open(bench.addr).await;
    let mut connect = Connect::new("a");
    connect.keep_alive = 1;
    client.send(Packet::Connect(connect)).await;
    assert_eq!(client.receive().await, Some(connack(ConnectReturnCode::Success)));
    client.ping().await;
    assert_eq!(client.receive().await, None);
    assert_eq!(bench.metrics.idle(), 1);
}
