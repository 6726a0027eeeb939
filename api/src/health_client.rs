//! `busbar health`: asks a running engine how it is, for container health checks. A few lines over a socket, so
//! that the binary needs no HTTP client.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// How long an answer may take. Container health checks give 5 s.
const TIMEOUT: Duration = Duration::from_secs(4);

/// Bytes of an answer that are read: `/health` is far smaller.
const ANSWER_BYTES: u64 = 64 << 10;

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

/// Asks `host` (`name:port`) for `path`.
///
/// # Errors
/// When nothing answers in time, or not in HTTP.
pub async fn ask(host: &str, path: &str) -> io::Result<Answer> {
    let late = || io::Error::new(io::ErrorKind::TimedOut, "no answer in time");
    tokio::time::timeout(TIMEOUT, exchange(host, path)).await.map_err(|_| late())?
}

async fn exchange(host: &str, path: &str) -> io::Result<Answer> {
    let mut stream = TcpStream::connect(host).await?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES).read_to_end(&mut answer).await?;
    parse(&String::from_utf8_lossy(&answer))
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the answer is not HTTP"))
}

fn parse(answer: &str) -> Option<Answer> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    Some(Answer { status, body: body.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::{Answer, parse, reachable};

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
