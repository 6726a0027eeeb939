//! A listener stops in order.

use std::time::Duration;

use tokio::net::TcpStream;

use super::bench::{Bench, puback, soon};

/// Resolves when nothing listens there any more.
async fn closed(bench: &Bench) {
    let addr = bench.addr;
    soon(async {
        while TcpStream::connect(addr).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn what_is_in_flight_is_committed_and_acknowledged_before_the_end() {
    let mut bench = Bench::new().await;
    let (mut client, mut idle) = (bench.client("a").await, bench.client("b").await);
    client.publish(1).await;
    client.publish(2).await;
    let (first, second) = (bench.held().await, bench.held().await);
    bench.stop();
    closed(&bench).await;
    assert_eq!(idle.receive().await, None, "a connection without work is closed at once");
    second.commit();
    first.commit();
    assert_eq!(client.receive().await, Some(puback(1)));
    assert_eq!(client.receive().await, Some(puback(2)));
    assert_eq!(client.receive().await, None);
    let metrics = bench.metrics.clone();
    bench.ended().await;
    assert_eq!((metrics.acks(), metrics.open()), (2, 0));
}

#[tokio::test]
async fn a_commit_that_never_ends_does_not_hold_up_the_end() {
    let mut bench = Bench::with(|config| config.drain_timeout = Duration::from_millis(50)).await;
    let mut client = bench.client("a").await;
    client.publish(1).await;
    let _held = bench.held().await;
    bench.stop();
    assert_eq!(client.receive().await, None, "it is not acknowledged");
    bench.ended().await;
}

#[tokio::test]
async fn a_connection_that_has_not_said_who_it_is_does_not_hold_up_the_end() {
    let mut bench = Bench::new().await;
    let mut silent = super::bench::Client::open(bench.addr).await;
    bench.client("a").await.ping().await;
    bench.stop();
    assert_eq!(silent.receive().await, None);
    bench.ended().await;
}
