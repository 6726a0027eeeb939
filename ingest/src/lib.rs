//! Busbar's sources: line protocol, MQTT, and the way of a point to the log.
//!
//! Purpose: decode what devices and adapters send, validate it against the schema, and hand it to the one
//! writer, which answers when it is durable and visible.
//!
//! This crate does not know HTTP, SQL, rules or files. The way: a source decodes on its own task into columns
//! ([`intake`]), pushes them into the bounded lock-free [`ring`], and waits; the [`writer`] takes what is there
//! as one group: log, `fdatasync`, memory, acknowledgement.

pub mod intake;
pub mod line_protocol;
pub mod mqtt;
pub mod ring;
pub mod row;
pub mod writer;
