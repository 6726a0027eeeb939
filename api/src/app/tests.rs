//! The whole process, as it starts and stops, over real sockets.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::SocketAddr;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{App, AppError};
use crate::config::{Config, ConfigError, Span};
use crate::health_client;

fn config(folder: &TempDir) -> Config {
    let mut config = Config { data_dir: folder.path().join("data"), ..Config::default() };
    config.http.addr = SocketAddr::from(([127, 0, 0, 1], 0));
    config.mqtt.addr = config.http.addr;
    config
}

/// Sends a head that announces `length` bytes, and waits until the server reads the body.
async fn begin_write(app: &App, length: usize) -> TcpStream {
    let mut stream = TcpStream::connect(app.http_addr()).await.unwrap();
    let head = format!("POST /write?db=d HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    while app.surface().bodies.used() == 0 {
        tokio::task::yield_now().await;
    }
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn it_starts_answers_and_stops() {
    let folder = tempfile::tempdir().unwrap();
    let app = App::start(&config(&folder)).await.unwrap();
    let addr = app.http_addr().to_string();
    assert_eq!(health_client::ask(&addr, "/health").await.unwrap().status, 200);
    assert_eq!(health_client::ask(&addr, "/ready").await.unwrap().status, 200);
    let metrics = health_client::ask(&addr, "/metrics").await.unwrap().body;
    assert!(metrics.contains("busbar_log_groups_total"), "{metrics}");
    app.stop().await.unwrap();
    assert!(health_client::ask(&addr, "/health").await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledged_row_is_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    for start in 1..=3 {
        let app = App::start(&config(&folder)).await.unwrap();
        let body = format!("m{start} f=1 1");
        let mut stream = begin_write(&app, body.len()).await;
        stream.write_all(body.as_bytes()).await.unwrap();
        let mut status = [0; 12];
        stream.read_exact(&mut status).await.unwrap();
        assert_eq!(&status, b"HTTP/1.1 204");
        let tables = app.surface().doors.intake().unwrap().engine().catalog().tables("d").len();
        assert_eq!(tables, start);
        drop(stream);
        app.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_runs_when_a_stop_is_asked_for_is_still_answered() {
    let folder = tempfile::tempdir().unwrap();
    let app = App::start(&config(&folder)).await.unwrap();
    let (addr, surface) = (app.http_addr(), app.surface().clone());
    let mut stream = begin_write(&app, 7).await;
    let stopping = tokio::spawn(app.stop());
    while surface.readiness.reasons().is_empty() {
        tokio::task::yield_now().await;
    }
    // The listener is gone at some moment after the stop was asked for; until then a connection is only queued.
    while TcpStream::connect(addr).await.is_ok() {
        tokio::task::yield_now().await;
    }
    stream.write_all(b"m f=1 1").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 204"), "{answer}");
    stopping.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_never_ends_does_not_hold_up_a_stop() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(&folder);
    config.http.drain_timeout = Span(std::time::Duration::from_millis(10));
    let app = App::start(&config).await.unwrap();
    let surface = app.surface().clone();
    let mut stream = begin_write(&app, 7).await;
    app.stop().await.unwrap();
    let mut answer = Vec::new();
    // An orderly end or a reset, but no answer.
    drop(stream.read_to_end(&mut answer).await);
    assert!(answer.is_empty());
    assert_eq!(surface.bodies.used(), 0);
}

#[tokio::test]
async fn it_refuses_to_listen_beyond_this_machine_without_a_token() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(&folder);
    config.http.addr = "0.0.0.0:0".parse().unwrap();
    let error = App::start(&config).await.err().unwrap();
    assert!(matches!(error, AppError::Config(ConfigError::Exposed { key: "http.addr", .. })), "{error}");
    assert!(!config.data_dir.exists(), "nothing was touched");
    config.insecure = true;
    App::start(&config).await.unwrap().stop().await.unwrap();
}

#[tokio::test]
async fn a_port_in_use_is_an_error_that_names_the_key() {
    let folder = tempfile::tempdir().unwrap();
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut config = config(&folder);
    config.http.addr = taken.local_addr().unwrap();
    let error = App::start(&config).await.err().unwrap().to_string();
    assert!(error.contains("http.addr"), "{error}");
    assert!(!config.data_dir.exists(), "nothing was touched");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_directory_in_use_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let first = App::start(&config(&folder)).await.unwrap();
    let error = App::start(&config(&folder)).await.err().unwrap();
    assert!(error.to_string().contains("data"), "{error}");
    first.stop().await.unwrap();
}
