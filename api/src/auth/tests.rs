//! Tokens, and every way to carry one.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use axum::http::{HeaderMap, HeaderValue, Uri, header};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::{Credentials, NewToken, Refusal, TokenHash, Tokens, presented};
use crate::config::Token;

fn tokens() -> Tokens {
    let token = |name: &str, text: &str| Token { name: name.into(), sha256: TokenHash::of(text) };
    Tokens::new(&[token("first", "one"), token("second", "two:2")])
}

fn headers(value: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if !value.is_empty() {
        headers.insert(header::AUTHORIZATION, HeaderValue::from_str(value).unwrap());
    }
    headers
}

#[test]
fn a_token_comes_in_by_every_way_and_only_if_it_is_known() {
    let basic = |pair: &str| format!("Basic {}", BASE64_STANDARD.encode(pair));
    let check = |header: &str, uri: &'static str, v1: bool, expected: Result<&str, Refusal>| {
        let credentials = presented(&headers(header), &Uri::from_static(uri), v1);
        let principal = tokens().admit(&credentials);
        let names = principal.as_ref().map(|principal| principal.name.as_ref()).map_err(|refusal| *refusal);
        assert_eq!(names, expected, "{header:?} {uri:?}");
    };
    check("Bearer one", "/", false, Ok("first"));
    check("bearer one", "/", false, Ok("first"));
    check("Token two:2", "/", false, Ok("second"));
    check("TOKEN  one ", "/", false, Ok("first"));
    check(&basic("anyone:one"), "/", false, Ok("first"));
    check(&basic(":two:2"), "/", false, Ok("second"));
    check("", "/write?u=x&p=one", true, Ok("first"));
    check("", "/write?p=two%3A2", true, Ok("second"));
    check("Bearer two:2", "/write?p=one", true, Ok("second"));

    check("", "/", false, Err(Refusal::Missing));
    check("", "/api/v2/write?p=one", false, Err(Refusal::Missing));
    check("", "/write?u=one", true, Err(Refusal::Missing));
    check("", "/write?p=", true, Err(Refusal::Missing));
    check("Bearer three", "/", false, Err(Refusal::Unknown));
    check("Bearer on", "/", false, Err(Refusal::Unknown));
    check("", "/write?p=three", true, Err(Refusal::Unknown));
    check(&basic("one:x"), "/", false, Err(Refusal::Unknown));
    check("Bearer three", "/write?p=one", true, Err(Refusal::Unknown));
    check("one", "/", false, Err(Refusal::Malformed));
    check("Bearer", "/", false, Err(Refusal::Malformed));
    check("Bearer  ", "/", false, Err(Refusal::Malformed));
    check("Digest one", "/", false, Err(Refusal::Malformed));
    check("Basic ???", "/", false, Err(Refusal::Malformed));
    check(&basic("no-colon"), "/", false, Err(Refusal::Malformed));
    check(&basic("empty:"), "/", false, Err(Refusal::Malformed));
}

#[test]
fn without_tokens_everybody_comes_in() {
    let open = Tokens::new(&[]);
    assert!(open.is_open());
    for credentials in [Credentials::None, Credentials::Malformed, Credentials::Token("x".into())] {
        assert_eq!(open.admit(&credentials).unwrap().name.as_ref(), "anonymous");
    }
}

#[test]
fn a_new_token_is_known_by_its_hash() {
    let (token, other) = (NewToken::create(), NewToken::create());
    assert_ne!(token.text(), other.text());
    let parts: Vec<&str> = token.text().split('_').collect();
    assert_eq!(parts.iter().map(|part| part.len()).collect::<Vec<_>>(), [3, 8, 64]);
    assert!(token.text().starts_with("bbt_"));
    let written: TokenHash = token.hash().to_string().parse().unwrap();
    let tokens = Tokens::new(&[Token { name: "a".into(), sha256: written }]);
    assert_eq!(tokens.find(token.text()).unwrap().name.as_ref(), "a");
    assert_eq!(tokens.find(other.text()), None);
}

#[test]
fn a_hash_is_the_sha256_that_other_tools_compute() {
    let known = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
    assert_eq!(TokenHash::of("hello").to_string(), known);
    assert_eq!(known.to_uppercase().parse::<TokenHash>().unwrap(), TokenHash::of("hello"));
    for bad in ["", "2cf2", &"g".repeat(64), &"ä".repeat(32), &format!("{known}0")] {
        assert!(bad.parse::<TokenHash>().is_err(), "{bad}");
    }
}
