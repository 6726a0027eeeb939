//! The MQTT listener. Commits are under the control of the test, so nothing here depends on time.

mod acknowledge;
mod bench;
mod connect;
mod limits;
mod malformed;
mod real_client;
mod shutdown;
