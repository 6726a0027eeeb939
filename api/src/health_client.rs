//! Asks a running engine, for `busbar health` and `busbar backup`. A few lines over a socket, so that the binary needs
//! no HTTP client.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// How long an answer may take. Container health checks give 5 s.
const TIMEOUT: Duration = Duration::from_secs(4);

/// Bytes of an answer that are read: a line of the quarantine may be as long as a body, and has escapes.
const ANSWER_BYTES: u64 = 64 << 20;

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The body.
    pub body: String,
}

/// The address at which this machine reaches a listener: `0.0.0.0` is nowhere, but loopback is.
#[must_use]
pub fn reachable(addr: SocketAddr) -> SocketAddr {
    let ip = match addr.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, addr.port())
}

/// A request.
#[derive(Clone, Copy)]
pub struct Question<'a> {
    /// The method.
    pub method: &'a str,
    /// The path.
    pub path: &'a str,
    /// Who asks.
    pub token: Option<&'a str>,
    /// What is sent, as JSON.
    pub body: Option<&'a str>,
}

/// Asks `host` (`name:port`) for `path`.
///
/// # Errors
/// When nothing answers in time, or not in HTTP.
pub async fn ask(host: &str, path: &str) -> io::Result<Answer> {
    send(host, Question { method: "GET", path, token: None, body: None }).await
}

/// Sends a request to `host` (`name:port`).
///
/// # Errors
/// When nothing answers in time, or not in HTTP.
pub async fn send(host: &str, question: Question<'_>) -> io::Result<Answer> {
    let late = || io::Error::new(io::ErrorKind::TimedOut, "no answer in time");
    tokio::time::timeout(TIMEOUT, exchange(host, question)).await.map_err(|_| late())?
}

async fn exchange(host: &str, question: Question<'_>) -> io::Result<Answer> {
    let mut stream = TcpStream::connect(host).await?;
    stream.write_all(text(host, question).as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES).read_to_end(&mut answer).await?;
    parse(&String::from_utf8_lossy(&answer))
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the answer is not HTTP"))
}

fn text(host: &str, question: Question<'_>) -> String {
    let Question { method, path, token, body } = question;
    let token = token.map_or_else(String::new, |token| format!("Authorization: Bearer {token}\r\n"));
    let length = |body: &str| format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
    let length = body.map_or_else(String::new, length);
    let body = body.unwrap_or_default();
    format!("{method} {path} HTTP/1.0\r\nHost: {host}\r\nConnection: close\r\n{token}{length}\r\n{body}")
}

fn parse(answer: &str) -> Option<Answer> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    Some(Answer { status, body: body.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::{Answer, Question, parse, reachable, text};

    #[test]
    fn a_request_carries_its_token_and_the_length_of_its_body() {
        let question = Question { method: "POST", path: "/p", token: Some("t"), body: Some("{}") };
        let expected = "POST /p HTTP/1.0\r\nHost: h:1\r\nConnection: close\r\nAuthorization: Bearer t\r\n\
                        Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
        assert_eq!(text("h:1", question), expected);
    }

    #[test]
    fn an_answer_is_its_status_and_body() {
        let answer = parse("HTTP/1.0 503 Service Unavailable\r\nA: b\r\n\r\n{}");
        assert_eq!(answer, Some(Answer { status: 503, body: "{}".into() }));
        for bad in ["", "HTTP/1.1 200 OK\r\n", "SSH-2.0\r\n\r\n", "HTTP/1.1 x\r\n\r\n"] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_listener_on_all_interfaces_is_reached_over_loopback() {
        let check = |addr: &str, expected: &str| {
            assert_eq!(reachable(addr.parse().unwrap()).to_string(), expected);
        };
        check("0.0.0.0:8181", "127.0.0.1:8181");
        check("[::]:1", "[::1]:1");
        check("10.0.0.1:1", "10.0.0.1:1");
    }
}
