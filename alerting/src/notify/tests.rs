//! Tests of what needs no network: addresses, waits and signatures.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::time::Duration;

use super::webhook::signature;
use super::{RetryPolicy, Secret, WebhookConfig, is_public};

#[test]
fn only_addresses_of_the_public_internet_pass() {
    for public in
        ["1.1.1.1", "93.184.216.34", "100.128.0.1", "2606:4700::1111", "64:ff9b::101:101", "::ffff:8.8.8.8"]
    {
        assert!(is_public(public.parse().unwrap()), "{public}");
    }
    for private in [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "0.0.0.0",
        "100.64.0.1",
        "198.18.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "240.0.0.1",
        "192.0.2.1",
        "::",
        "::1",
        "fe80::1",
        "fc00::1",
        "fd12::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::127.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "2001:db8::1",
        "2001:0:1:2:3:4:80ff:fffe",
        "fec0::1",
    ] {
        assert!(!is_public(private.parse().unwrap()), "{private}");
    }
}

#[test]
fn a_webhook_that_could_reach_inside_must_be_allowed_to() {
    let check =
        |url: &str, allow_private| WebhookConfig { allow_private, ..WebhookConfig::inline(url) }.check();
    assert!(check("https://example.org/hook", false).is_ok());
    for url in [
        "http://example.org/",
        "https://127.0.0.1/",
        "https://[::1]:8443/",
        "https://2130706433/",
        "https://0x7f.1/",
    ] {
        assert!(check(url, false).is_err(), "{url}");
        assert!(check(url, true).is_ok(), "{url}");
    }
    for url in ["", "example.org", "ftp://example.org/", "file:///etc/passwd", "data:,x"] {
        assert!(check(url, true).is_err(), "{url}");
    }
}

#[test]
fn waits_double_up_to_the_cap() {
    let policy = RetryPolicy::default();
    let seconds: Vec<u64> = [1, 2, 3, 9, 10, 32, 33, u32::MAX].map(|n| policy.wait(n).as_secs()).to_vec();
    assert_eq!(seconds, [1, 2, 4, 256, 300, 300, 300, 300]);
    assert_eq!(policy.wait(0), Duration::from_secs(1));
}

#[test]
fn the_signature_is_hmac_sha256_over_timestamp_dot_body() {
    // Computed with `printf '1700000000.{}' | openssl dgst -sha256 -hmac key`.
    let expected = "9d713ed406bb7076d4123f0dc2c39d2df5c654ed4b0cd56b52c8b4c940bd63ae";
    assert_eq!(signature(&Secret::new("key"), "1700000000", b"{}"), expected);
    assert_eq!(format!("{:?}", Secret::new("key")), "***");
}
