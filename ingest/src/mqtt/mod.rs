//! MQTT: a listener for devices, and what turns their messages into rows.
//!
//! The listener speaks MQTT 3.1.1 with QoS 0 and 1. Its promise: a PUBACK leaves after the rows of its PUBLISH are
//! committed, and PUBACKs leave in the order of their PUBLISHes. Not offered yet: SUBSCRIBE (answered with the
//! failure code 0x80), QoS 2 (closes the connection), last wills (read and not published), taking a client id over from an older
//! connection, and MQTT 5 (refused with "unsupported protocol version"). A session that is asked for is said to be
//! present: as nothing can be subscribed, there is nothing in it.
//!
//! This module knows the wire and not what a row is for: [`Authenticate`] and [`Publish`] are handed in.

mod close;
mod config;
mod connection;
mod handler;
mod handshake;
mod in_flight;
mod listener;
pub mod mapping;
mod metrics;
mod path;
pub mod topic;
mod wire;

pub use config::ListenerConfig;
pub use handler::{Authenticate, Publish, PublishError, Refused, Session};
pub use listener::Listener;
pub use metrics::Metrics;
