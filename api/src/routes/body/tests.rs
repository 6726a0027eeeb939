//! Bodies whole, in pieces, damaged, cut short and without end.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::convert::Infallible;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderValue, header};
use flate2::Compression;
use flate2::write::GzEncoder;
use futures::stream;

use super::{Rules, Whole, read};
use crate::budget::Budget;
use crate::error::{Dialect, Failure};

const LIMIT: usize = 1_000_000;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn headers(encoding: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_ENCODING, HeaderValue::from_str(encoding).unwrap());
    headers
}

fn pieces(bytes: &[u8], size: usize) -> Body {
    let pieces: Vec<_> =
        bytes.chunks(size.max(1)).map(|piece| Ok::<_, Infallible>(Bytes::copy_from_slice(piece))).collect();
    Body::from_stream(stream::iter(pieces))
}

async fn read_with(headers: &HeaderMap, body: Body, budget: &Budget) -> Result<Whole, Failure> {
    read(headers, body, Rules { limit: LIMIT, dialect: Dialect::V1, budget }).await
}

async fn read_gzip(bytes: &[u8], size: usize) -> Result<Vec<u8>, Failure> {
    let budget = Budget::new(LIMIT);
    let whole = read_with(&headers("gzip"), pieces(bytes, size), &budget).await?;
    Ok(whole.bytes.to_vec())
}

#[tokio::test]
async fn a_body_is_the_same_however_it_was_cut_and_packed() {
    let text = b"m,t=1 f=1 1\nm,t=2 f=2 2\n".repeat(20);
    let (first, second) = text.split_at(100);
    let one = gzip(&text);
    let several = [gzip(first), gzip(b""), gzip(second)].concat();
    for size in [1, 2, 3, 7, 10, 18, 64, 1_000] {
        assert_eq!(read_gzip(&one, size).await.unwrap(), text, "one member in pieces of {size}");
        assert_eq!(read_gzip(&several, size).await.unwrap(), text, "several members in pieces of {size}");
    }
    let budget = Budget::new(LIMIT);
    let plain = read_with(&HeaderMap::new(), pieces(&text, 5), &budget).await.unwrap();
    assert_eq!(plain.bytes, text);
}

#[tokio::test]
async fn a_body_that_is_cut_short_or_damaged_is_refused() {
    let text = b"m f=1\n".repeat(1_000);
    let good = gzip(&text);
    for length in [1, 5, 9, 10, 11, good.len() / 2, good.len() - 9, good.len() - 8, good.len() - 1] {
        for size in [1, 1_000] {
            let result = read_gzip(&good[..length], size).await;
            assert!(matches!(result, Err(Failure::BodyCompressed(_))), "{length} bytes: {result:?}");
        }
    }
    let mut wrong_sum = good.clone();
    let at = wrong_sum.len() - 6;
    wrong_sum[at] ^= 1;
    let trailing = [good.as_slice(), b"trailing"].concat();
    let second_cut = [good.as_slice(), &good[..20]].concat();
    for bad in [wrong_sum.as_slice(), b"m f=1", &trailing, &second_cut] {
        let result = read_gzip(bad, 16).await;
        assert!(matches!(result, Err(Failure::BodyCompressed(_))), "{result:?}");
    }
}

#[tokio::test]
async fn an_empty_body_is_empty_in_every_encoding() {
    let budget = Budget::new(LIMIT);
    for encoding in ["", "identity", "gzip"] {
        let whole = read_with(&headers(encoding), Body::empty(), &budget).await.unwrap();
        assert!(whole.bytes.is_empty(), "{encoding}");
    }
}

#[tokio::test]
async fn a_body_that_inflates_without_end_stops_at_the_limit() {
    let bomb = gzip(&vec![b' '; 20 * LIMIT]);
    assert!(bomb.len() < LIMIT / 2, "the bomb passes the limit as sent");
    let budget = Budget::new(2 * LIMIT);
    let result = read_with(&headers("gzip"), pieces(&bomb, 8_192), &budget).await;
    assert!(matches!(result, Err(Failure::BodyTooLarge(LIMIT))), "{result:?}");
    assert_eq!(budget.used(), 0);
    // Had it kept more than the limit, this budget would have been asked for more than it has.
    let exact = Budget::new(LIMIT);
    let result = read_with(&headers("gzip"), pieces(&bomb, 8_192), &exact).await;
    assert!(matches!(result, Err(Failure::BodyTooLarge(LIMIT))), "{result:?}");
}

#[tokio::test]
async fn the_limit_is_what_still_passes() {
    let budget = Budget::new(4 * LIMIT);
    for (size, passes) in [(LIMIT, true), (LIMIT + 1, false)] {
        let text = vec![b'x'; size];
        for (encoding, body) in [("", pieces(&text, 50_000)), ("gzip", pieces(&gzip(&text), 50_000))] {
            let result = read_with(&headers(encoding), body, &budget).await;
            assert_eq!(result.is_ok(), passes, "{size} {encoding:?}");
        }
    }
}

#[tokio::test]
async fn a_declared_length_above_the_limit_is_refused_before_memory_is_taken() {
    let budget = Budget::new(0);
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(LIMIT + 1));
    let result = read_with(&headers, Body::empty(), &budget).await;
    assert!(matches!(result, Err(Failure::BodyTooLarge(LIMIT))), "{result:?}");
}

#[tokio::test]
async fn a_declared_length_is_reserved_before_the_first_byte_is_read() {
    let budget = Budget::new(LIMIT);
    let seen = Arc::new(AtomicUsize::new(0));
    let (inside, during) = (budget.clone(), Arc::clone(&seen));
    let first = stream::once(async move {
        during.store(inside.used(), Ordering::Relaxed);
        Ok::<_, Infallible>(Bytes::from_static(b"m f=1"))
    });
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(300_000));
    let whole = read_with(&headers, Body::from_stream(first), &budget).await.unwrap();
    assert_eq!(seen.load(Ordering::Relaxed), 300_000);
    assert_eq!(budget.used(), 300_000, "held while the body lives");
    drop(whole);
    assert_eq!(budget.used(), 0);
}

#[tokio::test]
async fn a_full_budget_is_busy_and_keeps_nothing() {
    let budget = Budget::new(LIMIT);
    let mut other = budget.reservation();
    assert!(other.grow_to(LIMIT - 70_000));
    let text = vec![b'x'; 100_000];
    for (encoding, bytes) in [("", text.clone()), ("gzip", gzip(&text))] {
        let result = read_with(&headers(encoding), pieces(&bytes, 10_000), &budget).await;
        assert!(matches!(result, Err(Failure::Busy(_))), "{result:?}");
        assert_eq!(budget.used(), LIMIT - 70_000);
    }
    drop(other);
    assert!(read_with(&headers(""), pieces(&text, 10_000), &budget).await.is_ok());
}

#[tokio::test]
async fn a_client_that_stops_sending_is_told_apart() {
    let budget = Budget::new(LIMIT);
    let broken = stream::iter([Ok(Bytes::from_static(b"m f=1")), Err(std::io::Error::other("gone"))]);
    let result = read_with(&HeaderMap::new(), Body::from_stream(broken), &budget).await;
    assert!(matches!(result, Err(Failure::BodyLost)), "{result:?}");
}

#[tokio::test]
async fn encodings_are_those_of_the_dialect() {
    let budget = Budget::new(LIMIT);
    let body = gzip(b"m f=1");
    let check = async |encoding: &str, dialect: Dialect, good: bool| {
        let sent = if encoding.to_lowercase().contains("zip") { body.clone() } else { b"m f=1".to_vec() };
        let rules = Rules { limit: LIMIT, dialect, budget: &budget };
        let result = read(&headers(encoding), sent.into(), rules).await;
        match good {
            true => assert_eq!(result.unwrap().bytes, "m f=1", "{encoding} {dialect:?}"),
            false => assert!(matches!(result, Err(Failure::BodyEncoding(_))), "{encoding} {dialect:?}"),
        }
    };
    for dialect in [Dialect::V1, Dialect::V2, Dialect::V3] {
        check("identity", dialect, true).await;
        check("gzip", dialect, true).await;
        check("GZip", dialect, true).await;
        check("x-gzip", dialect, dialect != Dialect::V3).await;
        check("zstd", dialect, false).await;
        check("gzip, gzip", dialect, false).await;
    }
}
