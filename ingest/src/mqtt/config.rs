//! What a listener may spend.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

/// Connections at one time. An idle one costs about 2 KB, so these cost 20 MB; the descriptors of a process
/// (1,048,576 under systemd) are not the limit.
const CONNECTIONS: usize = 10_000;

/// Bytes of one packet: about 8,000 lines of 130 bytes, and as much as one text value may have.
const PACKET_BYTES: usize = 1 << 20;

/// Publishes of one connection that are not committed yet. With a commit of 2 ms this allows 500,000 a second.
const IN_FLIGHT: usize = 1_000;

/// Bytes of these publishes: a few of the largest packets.
const IN_FLIGHT_BYTES: usize = 4 << 20;

/// Bytes of packets of all connections that are being received or committed.
const TOTAL_BYTES: usize = 64 << 20;

/// How long a connection may take to its CONNACK: a device on a slow radio needs two or three seconds.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a shutdown waits for commits: a group commit takes milliseconds, a struggling disk takes seconds.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(20);

/// How a listener listens.
#[derive(Debug, Clone)]
pub struct ListenerConfig {
    /// Where to listen. Port 0 takes any free port.
    pub addr: SocketAddr,
    /// Connections at one time; one more is closed as soon as it is accepted.
    pub max_connections: usize,
    /// Bytes of one packet behind its fixed header; a longer one closes its connection.
    pub max_packet_bytes: usize,
    /// Publishes of one connection that are not committed yet; at this number the connection is not read.
    pub max_in_flight: usize,
    /// Bytes of these publishes; at this number the connection is not read. It may be passed by one packet.
    pub max_in_flight_bytes: usize,
    /// Bytes of packets of all connections that are being received or committed; at this number a connection waits
    /// before it reads a packet. At least one packet is always possible.
    pub max_total_bytes: usize,
    /// How long a connection may take from being accepted to its CONNACK.
    pub connect_timeout: Duration,
    /// How long a shutdown waits for what is being committed.
    pub drain_timeout: Duration,
}

impl Default for ListenerConfig {
    fn default() -> Self {
        Self {
            addr: SocketAddr::from((Ipv4Addr::LOCALHOST, 1883)),
            max_connections: CONNECTIONS,
            max_packet_bytes: PACKET_BYTES,
            max_in_flight: IN_FLIGHT,
            max_in_flight_bytes: IN_FLIGHT_BYTES,
            max_total_bytes: TOTAL_BYTES,
            connect_timeout: CONNECT_TIMEOUT,
            drain_timeout: DRAIN_TIMEOUT,
        }
    }
}
